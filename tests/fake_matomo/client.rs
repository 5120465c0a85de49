//! A tiny HTTP client that shows the raw responses.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use url::form_urlencoded;

use super::LONG;
use crate::support::fake::FakeMatomo;

pub struct Client {
    pub stream: TcpStream,
    /// The super user's token.
    token: String,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn is_html(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
            && self.text().contains("<html>")
    }
}

impl Client {
    pub fn of(matomo: &FakeMatomo) -> Self {
        let url = matomo.url();
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            token: matomo.token().expose().to_owned(),
        }
    }

    /// Sends a batch to the default path.
    pub fn track(&mut self, body: &[u8]) -> Option<Reply> {
        self.track_at("/piwik.php?queuedtracking=0", body)
    }

    pub fn track_at(&mut self, target: &str, body: &[u8]) -> Option<Reply> {
        self.post(target, "Content-Type: application/json\r\n", body)
    }

    /// Makes an API call with the super user's token.
    pub fn call(&mut self, method: &str, arguments: &[(&str, &str)]) -> Option<Reply> {
        self.call_as(&self.token.clone(), method, arguments)
    }

    pub fn call_as(
        &mut self,
        token: &str,
        method: &str,
        arguments: &[(&str, &str)],
    ) -> Option<Reply> {
        let usual = [
            ("module", "API"),
            ("format", "json"),
            ("method", method),
            ("token_auth", token),
        ];
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(usual.iter().chain(arguments))
            .finish();
        self.post(
            "/",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            form.as_bytes(),
        )
    }

    /// Sends a POST with further headers, each ending in CRLF.
    pub fn post(&mut self, target: &str, headers: &str, body: &[u8]) -> Option<Reply> {
        self.send(target, headers, body);
        self.receive()
    }

    /// Writes a request without reading. A later read shows whether the connection was closed.
    pub fn send(&mut self, target: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        let _ = self
            .stream
            .write_all(head.as_bytes())
            .and_then(|()| self.stream.write_all(body));
    }

    pub fn receive(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
        self.stream.read_exact(&mut body).ok()?;
        Some(Reply {
            status,
            headers,
            body,
        })
    }
}
