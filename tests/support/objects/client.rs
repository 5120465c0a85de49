//! One HTTP request over a connection of its own.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use crate::support::http;

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case. Those about the connection and the transfer are left out.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Sends a request, and reads the response to its end.
pub fn exchange(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
    head += &format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
    let mut stream = BufReader::new(stream);
    let first = http::line(&mut stream)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut headers = http::headers(&mut stream)?;
    let has_no_body = method == "HEAD" || matches!(status, 204 | 304);
    let mut body = Vec::new();
    if value(&headers, "transfer-encoding").is_some() {
        body = http::chunks(&mut stream)?;
    } else if !has_no_body {
        let length = value(&headers, "content-length").and_then(|length| length.parse().ok());
        body.resize(length.ok_or(io::ErrorKind::UnexpectedEof)?, 0);
        stream.read_exact(&mut body)?;
    }
    headers.retain(|(name, _)| {
        !["connection", "keep-alive", "transfer-encoding"].contains(&name.as_str())
    });
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}
