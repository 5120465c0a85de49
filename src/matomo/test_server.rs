//! A small HTTP/1.1 server in a thread, for the tests of this room: it keeps what it was asked and answers, or
//! fails, as the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a request gets.
pub enum Act {
    /// These bytes, and the connection stays.
    Say(String),
    /// These bytes, then the connection ends.
    SayAndClose(String),
    /// The connection ends at once.
    Close,
    /// Nothing, until the other side hangs up.
    Stall,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The connection it came on, counted from 0.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

type Rule = dyn Fn(usize, &Request) -> Act + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Request>>,
    rule: Box<Rule>,
    /// Acts on the head alone and reads no body.
    hasty: bool,
}

pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Asks `rule` what to do with each request, which it gets with its number (from 0).
    pub fn new(rule: impl Fn(usize, &Request) -> Act + Send + Sync + 'static) -> Self {
        Self::start(rule, None, false)
    }

    /// Acts before the body was read.
    pub fn hasty(rule: impl Fn(usize, &Request) -> Act + Send + Sync + 'static) -> Self {
        Self::start(rule, None, true)
    }

    pub fn tls(
        config: ServerConfig,
        rule: impl Fn(usize, &Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start(rule, Some(Arc::new(config)), false)
    }

    fn start(
        rule: impl Fn(usize, &Request) -> Act + Send + Sync + 'static,
        tls: Option<Arc<ServerConfig>>,
        hasty: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            rule: Box::new(rule),
            hasty,
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, stopped) = (shared.clone(), stop.clone());
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (shared, tls, stream) = (theirs.clone(), tls.clone(), stream.unwrap());
                std::thread::spawn(move || match tls {
                    Some(config) => {
                        let side = ServerConnection::new(config).unwrap();
                        shared.serve(connection, StreamOwned::new(side, stream));
                    }
                    None => shared.serve(connection, stream),
                });
            }
        });
        Self { port, shared, stop }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, connection: usize, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream, connection, self.hasty) {
            let number = {
                let mut seen = self.seen.lock().unwrap();
                seen.push(request.clone());
                seen.len() - 1
            };
            match (self.rule)(number, &request) {
                Act::Say(answer) => {
                    if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                    let _ = stream.get_mut().flush();
                }
                Act::SayAndClose(answer) => {
                    let _ = stream.get_mut().write_all(answer.as_bytes());
                    let _ = stream.get_mut().flush();
                    return;
                }
                Act::Close => return,
                Act::Stall => {
                    let _ = stream.read_to_end(&mut Vec::new());
                    return;
                }
            }
        }
    }
}

fn read_request(stream: &mut impl BufRead, connection: usize, hasty: bool) -> Option<Request> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(str::to_owned)
        })
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; if hasty { 0 } else { length }];
    stream.read_exact(&mut body).ok()?;
    Some(Request {
        connection,
        head,
        body,
    })
}

/// A whole answer with a body.
pub fn reply(status: u16, headers: &str, body: &str) -> Act {
    Act::Say(format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}
