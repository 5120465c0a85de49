//! A proxy before an object server that spoils responses.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::client::{self, Answer};
use crate::reliability::random::Random;
use crate::support::http::{self, Request};

/// What happens to a request or its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status and S3 error code; the server does not see the request.
    Error(u16, &'static str),
    /// The connection closes without a response; the server does not see the request.
    Close,
    /// The connection closes in the middle of the head of the response.
    HalfHead,
    /// The connection closes in the middle of the body.
    Cut,
    /// After half of the body nothing follows for this long, then the connection closes.
    Stall(Duration),
    /// The whole response, this much later.
    Late(Duration),
}

impl Fault {
    /// What S3 answers when there are too many requests.
    pub const SLOW_DOWN: Self = Self::Error(503, "SlowDown");
}

/// A request that reached the proxy.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// Without escapes and query.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub range: Option<String>,
    pub if_match: Option<String>,
    /// From 1: how often this method, path and query have come, with any range.
    pub attempt: usize,
    pub fault: Option<Fault>,
}

/// A plan in which so many percent of the requests get one of the faults. The seed decides which
/// ones, not the order in which they arrive. From attempt `most` + 1 on, a request passes.
pub fn share(
    seed: u64,
    percent: u64,
    most: usize,
    faults: Vec<Fault>,
) -> impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static {
    move |seen| {
        let mut random = Random::new(&format!(
            "{seed} {} {} {:?} {}",
            seen.method, seen.path, seen.query, seen.attempt
        ));
        let is_spoiled = seen.attempt <= most && random.chance(percent);
        is_spoiled.then(|| random.pick(&faults).clone())
    }
}

/// Serves until dropped.
pub struct FaultyProxy {
    address: SocketAddr,
    /// The path of the server's endpoint.
    path: String,
    shared: Arc<Shared>,
    stopped: Arc<AtomicBool>,
}

struct Shared {
    /// `HOST:PORT`
    server: String,
    plan: Box<Plan>,
    seen: Mutex<Vec<Seen>>,
    attempts: Mutex<HashMap<(String, String), usize>>,
}

type Plan = dyn Fn(&Seen) -> Option<Fault> + Send + Sync;

impl FaultyProxy {
    /// Listens on a port of its own. The plan is asked before the server is, so it can also change
    /// objects just before they are read.
    pub fn start(
        endpoint: &str,
        plan: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let endpoint = Url::parse(endpoint).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            path: endpoint.path().trim_end_matches('/').to_owned(),
            shared: Arc::new(Shared {
                server: endpoint.authority().to_owned(),
                plan: Box::new(plan),
                seen: Mutex::default(),
                attempts: Mutex::default(),
            }),
            stopped: Arc::default(),
        };
        let (shared, stopped) = (Arc::clone(&proxy.shared), Arc::clone(&proxy.stopped));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let shared = Arc::clone(&shared);
                // A client may hang up; that is not the proxy's failure.
                thread::spawn(move || stream.and_then(|stream| shared.serve(stream)));
            }
        });
        proxy
    }

    /// The value of `--endpoint-url`.
    pub fn endpoint(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// All requests so far, in the order of their arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The number of requests with this method whose path begins like this.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        let all = seen.iter();
        all.filter(|seen| seen.method == method && seen.path.starts_with(path))
            .count()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = http::read(&mut stream)? {
            let fault = self.note(&request);
            let answer = match &fault {
                Some(Fault::Close) => return Ok(()),
                Some(Fault::Error(status, code)) => error(*status, code),
                _ => self.forward(&request)?,
            };
            if let Some(Fault::Late(wait)) = &fault {
                sleep(*wait);
            }
            let (head, body) = written(&request.method, &answer);
            let whole = [&head[..], body].concat();
            let half_of_body = head.len() + body.len() / 2;
            let stream = stream.get_mut();
            match fault {
                Some(Fault::HalfHead) => return stream.write_all(&head[..head.len() / 2]),
                Some(Fault::Cut) => return stream.write_all(&whole[..half_of_body]),
                Some(Fault::Stall(wait)) => {
                    stream.write_all(&whole[..half_of_body])?;
                    sleep(wait);
                    return Ok(());
                }
                _ => stream.write_all(&whole)?,
            }
        }
        Ok(())
    }

    /// Records a request. Returns the fault that it gets.
    fn note(&self, request: &Request) -> Option<Fault> {
        let header = |name| request.header(name).map(str::to_owned);
        let key = (request.method.clone(), request.target.clone());
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap();
            let attempts = attempts.entry(key).or_default();
            *attempts += 1;
            *attempts
        };
        let path = percent_decode_str(request.path()).decode_utf8_lossy();
        let mut seen = Seen {
            method: request.method.clone(),
            path: path.into_owned(),
            query: request.query(),
            range: header("range"),
            if_match: header("if-match"),
            attempt,
            fault: None,
        };
        seen.fault = (self.plan)(&seen);
        let fault = seen.fault.clone();
        self.seen.lock().unwrap().push(seen);
        fault
    }

    fn forward(&self, request: &Request) -> io::Result<Answer> {
        let own = ["host", "connection", "content-length", "transfer-encoding"];
        let headers = request.headers.iter();
        let headers = headers.filter(|(name, _)| !own.contains(&name.as_str()));
        let headers: Vec<_> = headers.cloned().collect();
        let (method, target) = (&request.method, &request.target);
        client::exchange(&self.server, method, target, &headers, &request.body)
    }
}

/// An error as S3 writes it.
fn error(status: u16, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>Please try again.</Message><RequestId>1</RequestId></Error>"
    );
    Answer {
        status,
        headers: vec![("content-type".into(), "application/xml".into())],
        body: body.into_bytes(),
    }
}

/// A response's head, and its body unless it answers `HEAD`.
fn written<'a>(method: &str, answer: &'a Answer) -> (Vec<u8>, &'a [u8]) {
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    let is_head = method == "HEAD";
    for (name, value) in &answer.headers {
        // A response to HEAD has the length of the object.
        if name != "content-length" || is_head {
            head += &format!("{name}: {value}\r\n");
        }
    }
    if !is_head && !matches!(answer.status, 204 | 304) {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    let body: &[u8] = if is_head { b"" } else { &answer.body };
    ((head + "\r\n").into_bytes(), body)
}
