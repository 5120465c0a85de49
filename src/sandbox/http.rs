//! The sandbox's HTTP server, and the responses that tracker and API share.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::api::ApiRequest;
use super::store::HitStore;
use crate::secret::Secret;

/// The longest request body accepted, in bytes.
const MAX_BODY_BYTES: usize = 256 << 20;
/// How long to wait when a connection cannot be accepted, such as without file descriptors.
const ACCEPT_DELAY: Duration = Duration::from_millis(10);

/// Headers that browsers send, and the program never does.
const FROM_BROWSERS: [&str; 2] = ["origin", "sec-fetch-site"];

/// Sees each request before the sandbox does, also those that the sandbox refuses without a hook.
/// Tests use it to build a Matomo with faults.
pub trait Hook: Send + Sync {
    /// Called when a connection opens. The returned value is dropped when the connection closes.
    fn connect(&self) -> Box<dyn Any + Send>;

    /// Handles a request: may wait, answer it, pass it on to [`Responder::respond`] and change the
    /// response. `None` closes the connection without a response.
    fn handle(self: Arc<Self>, request: Request<Incoming>, responder: Arc<Responder>)
    -> HookFuture;
}

pub type HookFuture = Pin<Box<dyn Future<Output = Option<Response<Bytes>>> + Send>>;

/// Answers requests from the store.
pub struct Responder {
    store: HitStore,
    token: Secret,
}

impl Responder {
    pub(super) fn new(store: HitStore) -> Self {
        Self {
            store,
            token: random_token(),
        }
    }

    pub fn store(&self) -> &HitStore {
        &self.store
    }

    pub fn token(&self) -> &Secret {
        &self.token
    }

    pub(super) fn is_token(&self, token: Option<&str>) -> bool {
        token == Some(self.token.expose())
    }

    /// Refuses a request that comes from a browser, whose pages may be anyone's, or that is for
    /// another address. Returns `None` if it may be the program's own.
    fn refuse_sender(headers: &HeaderMap, address: SocketAddr) -> Option<Response<Bytes>> {
        let is_of_browser = FROM_BROWSERS.iter().any(|name| headers.contains_key(*name));
        // A page can give its own host name this address (DNS rebinding).
        let host = headers.get(HOST).map(HeaderValue::as_bytes);
        (is_of_browser || host != Some(address.to_string().as_bytes())).then(|| html(403))
    }

    /// Refuses a body without the token of this run.
    fn refuse_body(&self, body: &[u8]) -> Option<Response<Bytes>> {
        let token = self.token.expose().as_bytes();
        memmem::find(body, token).is_none().then(|| html(401))
    }

    /// Answers a request as Matomo does: any path that ends in `.php` takes tracking requests, and
    /// forms are API calls.
    pub fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let is_tracker = request.uri().path().ends_with(".php");
        if request.method() != Method::POST {
            html(200)
        } else if is_tracker && !is_form(request) {
            self.track(request)
        } else {
            match ApiRequest::read(request) {
                Some(call) => self.call(&call),
                None => html(if is_tracker { 400 } else { 404 }),
            }
        }
    }
}

fn is_form(request: &Request<Bytes>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    })
}

/// Draws 32 hexadecimal digits, as in Matomo's tokens, from the randomly seeded hash keys of std.
fn random_token() -> Secret {
    let half = |part: u8| RandomState::new().hash_one(part);
    Secret::new(format!("{:016x}{:016x}", half(0), half(1)))
}

/// A JSON response.
pub fn json(status: u16, body: &Value) -> Response<Bytes> {
    response(status, "application/json; charset=utf-8", body.to_string())
}

/// A page as web servers and Matomo's error screens send it.
pub fn html(status: u16) -> Response<Bytes> {
    let reason = StatusCode::from_u16(status).ok();
    let reason = reason
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let page = format!(
        "<html>\n<head><title>{status} {reason}</title></head>\n<body>\n\
         <center><h1>{status} {reason}</h1></center>\n</body>\n</html>\n"
    );
    response(status, "text/html; charset=utf-8", page)
}

/// An error of the API. Matomo sends most of them with status 200.
pub fn api_error(status: u16, message: &str) -> Response<Bytes> {
    json(status, &json!({"result": "error", "message": message}))
}

fn response(status: u16, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Serves until `stop` is sent or dropped.
pub(super) async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    responder: Arc<Responder>,
    hook: Option<Arc<dyn Hook>>,
    stop: oneshot::Receiver<()>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection =
                        connection(stream, address, Arc::clone(&responder), hook.clone());
                    tokio::spawn(connection);
                }
                Err(_) => tokio::time::sleep(ACCEPT_DELAY).await,
            }
        }
    };
    tokio::select! {
        _ = stop => {}
        () = accept => {}
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    responder: Arc<Responder>,
    hook: Option<Arc<dyn Hook>>,
) {
    let _guard = hook.as_ref().map(|hook| hook.connect());
    // Otherwise a small response in two writes waits for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(|request| answer(request, address, Arc::clone(&responder), hook.clone()));
    // An error here only means that one side closed the connection.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// An error closes the connection without a response.
async fn answer(
    request: Request<Incoming>,
    address: SocketAddr,
    responder: Arc<Responder>,
    hook: Option<Arc<dyn Hook>>,
) -> io::Result<Response<Full<Bytes>>> {
    let response = match hook {
        Some(hook) => hook.handle(request, responder).await,
        None => match Responder::refuse_sender(request.headers(), address) {
            // Its body is not even read.
            Some(refused) => Some(refused),
            None => {
                let (head, body) = request.into_parts();
                let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
                body.ok().map(|body| {
                    let request = Request::from_parts(head, body.to_bytes());
                    let refused = responder.refuse_body(request.body());
                    refused.unwrap_or_else(|| responder.respond(&request))
                })
            }
        },
    };
    response
        .map(|response| response.map(Full::new))
        .ok_or_else(|| io::Error::other("closed without a response"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_random_and_look_like_matomos() {
        let token = random_token();
        assert_ne!(token, random_token());
        assert_eq!(token.expose().len(), 32);
        assert!(token.expose().bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn only_the_programs_own_requests_are_answered() {
        let responder = Responder::new(HitStore::open(None).unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let own = format!("{{\"token_auth\":\"{}\"}}", responder.token().expose());
        let own = own.as_str();
        let wrong = r#"{"token_auth":"0123456789abcdef0123456789abcdef"}"#;
        for (headers, body, want) in [
            (&[("host", "127.0.0.1:8080")][..], own, None),
            (&[("host", "127.0.0.1:8080")], wrong, Some(401)),
            (&[("host", "127.0.0.1:8080")], "", Some(401)),
            (&[], own, Some(403)),
            (&[("host", "127.0.0.1")], own, Some(403)),
            (&[("host", "rebound.example:8080")], own, Some(403)),
            (
                &[("host", "127.0.0.1:8080"), ("origin", "null")],
                own,
                Some(403),
            ),
            (
                &[
                    ("host", "127.0.0.1:8080"),
                    ("Sec-Fetch-Site", "same-origin"),
                ],
                own,
                Some(403),
            ),
        ] {
            let mut request = Request::builder().method("POST").uri("/piwik.php");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Bytes::from(body.to_owned())).unwrap();
            let refused = Responder::refuse_sender(request.headers(), address)
                .or_else(|| responder.refuse_body(request.body()));
            assert_eq!(refused.map(|it| it.status().as_u16()), want, "{headers:?}");
        }
    }

    #[test]
    fn requests_are_routed_by_method_path_and_type() {
        let responder = Responder::new(HitStore::open(None).unwrap());
        let status = |method: &str, path: &str, content_type: &str, body: &'static str| {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(CONTENT_TYPE, content_type)
                .body(Bytes::from(body))
                .unwrap();
            responder.respond(&request).status().as_u16()
        };
        let form = "application/x-www-form-urlencoded";
        for path in ["/piwik.php", "/matomo.php", "/sub/dir/own.php"] {
            let batch = r#"{"requests":["?idsite=1&rec=1"]}"#;
            assert_eq!(status("POST", path, "application/json", batch), 200);
        }
        assert_eq!(status("POST", "/", "application/json", "{}"), 404);
        assert_eq!(status("POST", "/", form, "method=No.such"), 401);
        assert_eq!(status("POST", "/piwik.php", form, "a=1"), 400);
        assert_eq!(status("GET", "/", "", ""), 200);
    }
}
