//! A small HTTP/1.1 server for the tests of this module. It keeps all requests, and responds or
//! fails as the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The reaction to a request.
pub enum Act {
    /// Sends these bytes and keeps the connection open.
    Say(String),
    /// Sends these bytes and closes the connection.
    SayAndClose(String),
    /// Closes the connection at once.
    Close,
    /// Sends nothing until the client hangs up.
    Stall,
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct TestRequest {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

type TestRule = dyn Fn(usize, &TestRequest) -> Act + Send + Sync;

struct TestService {
    seen: Mutex<Vec<TestRequest>>,
    rule: Box<TestRule>,
    /// Reacts to the head without reading the body.
    hasty: bool,
}

pub struct Server {
    port: u16,
    shared: Arc<TestService>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Reacts to each request by `rule`, which also gets its number (from 0).
    pub fn new(rule: impl Fn(usize, &TestRequest) -> Act + Send + Sync + 'static) -> Self {
        Self::start(rule, None, false)
    }

    /// Reacts before the body is read.
    pub fn hasty(rule: impl Fn(usize, &TestRequest) -> Act + Send + Sync + 'static) -> Self {
        Self::start(rule, None, true)
    }

    pub fn tls(
        config: ServerConfig,
        rule: impl Fn(usize, &TestRequest) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start(rule, Some(Arc::new(config)), false)
    }

    fn start(
        rule: impl Fn(usize, &TestRequest) -> Act + Send + Sync + 'static,
        tls: Option<Arc<ServerConfig>>,
        hasty: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(TestService {
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

    pub fn seen(&self) -> Vec<TestRequest> {
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

impl TestService {
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

fn read_request(stream: &mut impl BufRead, connection: usize, hasty: bool) -> Option<TestRequest> {
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
    Some(TestRequest {
        connection,
        head,
        body,
    })
}

/// A complete response with a body.
pub fn reply(status: u16, headers: &str, body: &str) -> Act {
    Act::Say(format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}
