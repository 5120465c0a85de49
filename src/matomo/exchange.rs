//! One exchange with Matomo: what was observed, before it is classified.

use std::fmt;
use std::time::{Duration, SystemTime};

/// One request and its result.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The URL of the request, without credentials and query.
    pub url: String,
    /// The option that names the server: `--url`, `--tracker-url` or `--api-url`.
    pub option: &'static str,
    /// The part of `url` that follows the value of `option`, without a leading slash: the path of
    /// the tracker. Empty for the API.
    pub endpoint: String,
    /// Matomo was to put the hits into its own queue.
    pub to_queue: bool,
    pub result: ExchangeResult,
}

/// What was observed of a request. Each `detail` says what failed, where, and what to do; it never
/// contains a secret.
#[derive(Clone, Debug)]
pub enum ExchangeResult {
    /// The connection failed, so the server received nothing.
    NotSent {
        cause: ConnectFailure,
        detail: String,
    },
    /// The server was connected but did not respond: it may have processed the request, or may
    /// still be doing so.
    NoResponse {
        timed_out: bool,
        detail: String,
    },
    Response(HttpResponse),
}

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    UnknownHost,
    Refused,
    /// One side does not trust the other's certificate. A retry does not help.
    Certificate,
    /// The TLS handshake failed for another reason.
    Tls,
    Timeout,
    Other,
}

/// A response. Its status and headers are complete; see `complete` for the body.
#[derive(Clone)]
pub struct HttpResponse {
    pub status: u16,
    /// `Retry-After`, counted from the arrival of the response.
    pub retry_after: Option<Duration>,
    /// The target of a redirect, redacted.
    pub location: Option<String>,
    /// There is a `WWW-Authenticate` header: the web server, not Matomo, asks for a login.
    pub challenge: bool,
    /// The body as far as it was read.
    pub body: Vec<u8>,
    /// The body was read to its end. If not, the connection was lost, the time was up, or the body
    /// was too long.
    pub complete: bool,
}

/// Hides the body: the response to a login contains a token.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("location", &self.location)
            .field("challenge", &self.challenge)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("complete", &self.complete)
            .finish()
    }
}

/// Parses a `Retry-After` header: whole seconds, or an HTTP date (a date in the past means no
/// wait). Returns `None` for anything else.
pub fn parse_retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(header).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (header, want) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                parse_retry_after(header, now),
                want.map(Duration::from_secs),
                "{header}"
            );
        }
    }

    #[test]
    fn debug_output_hides_the_body() {
        let response = HttpResponse {
            status: 200,
            retry_after: None,
            location: None,
            challenge: false,
            body: b"{\"value\":\"secret\"}".to_vec(),
            complete: true,
        };
        let shown = format!("{response:?}");
        assert!(
            !shown.contains("secret") && shown.contains("18 bytes"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn any_retry_after_can_be_parsed(header: String) {
            parse_retry_after(&header, SystemTime::now());
        }
    }
}
