//! A small HTTP/1.1 server that computes each response from the request, for responses that the
//! fake Matomo never gives.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use url::form_urlencoded;

pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }

    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }
}

pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(status: u16, body: impl ToString) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    pub fn html(status: u16) -> Self {
        Self::new(
            status,
            "text/html",
            "<html><body>Welcome</body></html>".to_owned(),
        )
    }

    fn new(status: u16, content_type: &str, body: String) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: body.into_bytes(),
        }
    }
}

/// Serves until dropped.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    stopped: Arc<AtomicBool>,
}

/// Wraps a connection, for example in TLS.
pub type Wrap = dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync;

pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::start_with("http", Arc::new(|stream| Box::new(stream)), answer)
    }

    pub fn start_with(
        scheme: &'static str,
        wrap: Arc<Wrap>,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            scheme,
            stopped: Arc::default(),
        };
        let stopped = Arc::clone(&server.stopped);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let (wrap, answer) = (Arc::clone(&wrap), Arc::clone(&answer));
                // A client may hang up; that is not the server's failure.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &*wrap, &*answer)));
            }
        });
        server
    }

    /// `HOST:PORT`
    pub fn place(&self) -> String {
        self.address.to_string()
    }

    /// Without a trailing slash.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, wrap: &Wrap, answer: &dyn Fn(&Request) -> Response) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(wrap(stream));
    while let Some(request) = read(&mut stream)? {
        let Response {
            status,
            headers,
            body,
        } = answer(&request);
        let mut head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut whole = (head + "\r\n").into_bytes();
        whole.extend_from_slice(&body);
        stream.get_mut().write_all(&whole)?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

/// Returns `None` when the client closes the connection.
pub(super) fn read(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let first = line(stream)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut request = Request {
        method,
        target,
        headers: headers(stream)?,
        body: Vec::new(),
    };
    let chunked = request
        .header("transfer-encoding")
        .is_some_and(|how| how.contains("chunked"));
    request.body = if chunked {
        chunks(stream)?
    } else {
        let length = request.header("content-length").map_or(Ok(0), str::parse);
        let mut body = vec![0; length.map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        body
    };
    Ok(Some(request))
}

/// Names in lower case, and values.
pub(super) fn headers(stream: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while let Some((name, value)) = line(stream)?.split_once(':') {
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(headers)
}

pub(super) fn chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&line(stream)?, 16).map_err(io::Error::other)?;
        let begin = body.len();
        body.resize(begin + length, 0);
        stream.read_exact(&mut body[begin..])?;
        line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A line without its line end.
pub(super) fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
