//! An answer of the sandbox, in the shapes Matomo and its front end have.

use std::fmt;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// An answer, or a connection closed without one.
pub(super) type Reply = Result<Answer, Closed>;

/// The connection is to be closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            body: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::typed(
            status,
            "application/json; charset=utf-8",
            body.to_string().into_bytes(),
        )
    }

    /// A page as web servers and Matomo's own error screens send.
    pub fn html(status: u16) -> Self {
        let reason = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error");
        let page = format!(
            "<html>\n<head><title>{status} {reason}</title></head>\n<body>\n<center><h1>{status} {reason}</h1></center>\n</body>\n</html>\n"
        );
        Self::typed(status, "text/html; charset=utf-8", page.into_bytes())
    }

    /// The tracker's answer to a batch; `indices` of refused hits are for super users only.
    pub fn tracked(tracked: usize, invalid: usize, indices: Option<&[usize]>) -> Self {
        Self::counts(200, "success", tracked, invalid, indices)
    }

    /// The tracker's answer to a batch that failed.
    pub fn failed(tracked: usize, indices: Option<&[usize]>) -> Self {
        Self::counts(500, "error", tracked, 0, indices)
    }

    /// The tracker's answer where the database will not do; nothing of the batch stays.
    pub fn broken(error: &rusqlite::Error) -> Self {
        let message = format!("the sandbox's database: {error}");
        Self::json(
            500,
            &json!({"status": "error", "tracked": 0, "invalid": 0, "message": message}),
        )
    }

    fn counts(
        status: u16,
        word: &str,
        tracked: usize,
        invalid: usize,
        indices: Option<&[usize]>,
    ) -> Self {
        let mut body = json!({"status": word, "tracked": tracked, "invalid": invalid});
        if let Some(indices) = indices {
            body["invalid_indices"] = json!(indices);
        }
        Self::json(status, &body)
    }

    /// What a single-hit request that cannot be read gets: a GIF, then HTML.
    pub fn no_tracking_request() -> Self {
        let mut body = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;".to_vec();
        body.extend(Self::html(400).body);
        Self::typed(400, "image/gif", body)
    }

    /// nginx's answer to a body over its limit.
    pub fn too_large() -> Self {
        let mut answer = Self::html(413);
        answer
            .headers
            .push((CONNECTION, HeaderValue::from_static("close")));
        answer
    }

    /// An error of the API: `{"result":"error","message":...}`
    pub fn api_error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"result": "error", "message": message}))
    }

    /// With one header more; a value that cannot be one is left out.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    pub fn map_body(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.body);
        self
    }

    /// With a text before the body.
    pub fn after_text(self, text: &str) -> Self {
        self.map_body(|body| {
            body.splice(..0, text.bytes());
        })
    }

    fn typed(status: u16, kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            body,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static(kind))],
        }
    }

    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        response
    }
}
