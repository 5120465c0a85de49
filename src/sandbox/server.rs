//! The HTTP side: connections on tokio, and which room a request goes to.

use std::convert::identity;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Shared;
use super::access::basic_auth_fits;
use super::answer::{Answer, Closed, Reply};
use super::body::{Received, read};
use super::{api, tracker};

/// Serves until told to stop, or until the sandbox is gone.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, stop: oneshot::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(Arc::clone(&shared), stream))),
                // Out of file descriptors: some come back as connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::select! {
        _ = stop => {}
        () = accept => {}
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let _open = shared.watch.connection();
    // Small answers in two writes would otherwise wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| detached(Arc::clone(&shared), request));
    // An error here is a connection closed by either side, which is no news.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Answers in a task of its own: PHP goes on after the client hung up, and hyper drops what it waits for.
async fn detached(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let work = tokio::spawn(async move { answer(&shared, request).await });
    let reply = work.await.map_err(|_| Closed).and_then(identity);
    reply.map(Answer::into_response)
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let options = &shared.options;
    let login_fits = basic_auth_fits(options.basic_auth.as_ref(), &head.headers);
    if login_fits && head.method == Method::POST && !is_form(&head) && is_tracker(&head) {
        return tracker::serve(shared, &head, body).await;
    }
    let Received::Whole(bytes) = read(body, options.body_limit).await? else {
        return Ok(Answer::too_large());
    };
    if !login_fits {
        return Ok(Answer::html(401).with("www-authenticate", "Basic realm=\"sandbox\""));
    }
    if head.method != Method::POST {
        // The start page, or the tracker's "Keep full reports and data ownership".
        return Ok(Answer::html(200));
    }
    match api::Call::read(&head, &bytes) {
        Some(call) => api::serve(shared, &head, call).await,
        None if is_tracker(&head) => Ok(Answer::no_tracking_request()),
        None => Ok(Answer::html(404)),
    }
}

fn is_form(head: &Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    })
}

fn is_tracker(head: &Parts) -> bool {
    head.uri.path().ends_with(".php")
}
