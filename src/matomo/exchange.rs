//! One exchange with Matomo: what was seen, before anyone says what it means.

use std::fmt;
use std::time::{Duration, SystemTime};

/// What came of one request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Where it went, as it may be shown: without credentials and query.
    pub url: String,
    /// The option that address came from: `--url` or `--api-url`.
    pub option: &'static str,
    /// What stands behind that address in `url`: the tracker's path, without a slash before it. Empty: nothing.
    pub endpoint: String,
    pub seen: Seen,
}

/// Each `detail` says what happened, where, and what to do; it never holds a secret.
#[derive(Clone, Debug)]
pub enum Seen {
    /// No connection stood, so the server has nothing of the request.
    NotSent {
        cause: Cause,
        detail: String,
    },
    /// A connection stood, and no answer came: the server may have worked on the request, or still does.
    NoAnswer {
        timed_out: bool,
        detail: String,
    },
    Answer(Answer),
}

/// Why no connection came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    NoSuchHost,
    Refused,
    /// One side does not trust the other's certificate. Trying again does not heal that.
    Certificate,
    /// The TLS handshake failed in another way.
    Tls,
    ConnectTimeout,
    Other,
}

/// An answer whose head at least was read.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    /// `Retry-After`, counted from when the answer came.
    pub retry_after: Option<Duration>,
    /// Where a redirect leads, as it may be shown.
    pub location: Option<String>,
    /// A `WWW-Authenticate` header: the web server, not Matomo, wants to know who is there.
    pub challenge: bool,
    /// What was read of the body, perhaps not all of it.
    pub body: Vec<u8>,
    /// The body was read to its end. Where it is not, the connection broke, time ran out, or it was too long.
    pub whole: bool,
}

/// The body is left out: the answer to a login holds a token.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("location", &self.location)
            .field("challenge", &self.challenge)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("whole", &self.whole)
            .finish()
    }
}

/// Reads a `Retry-After` header: whole seconds, or an HTTP date (one that has passed is no wait).
/// `None`: it is neither.
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(header).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
                retry_after(header, now),
                want.map(Duration::from_secs),
                "{header}"
            );
        }
    }

    #[test]
    fn an_answer_does_not_show_its_body() {
        let answer = Answer {
            status: 200,
            retry_after: None,
            location: None,
            challenge: false,
            body: b"{\"value\":\"secret\"}".to_vec(),
            whole: true,
        };
        let shown = format!("{answer:?}");
        assert!(
            !shown.contains("secret") && shown.contains("18 bytes"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn any_retry_after_is_read_or_passed_over(header: String) {
            retry_after(&header, SystemTime::now());
        }
    }
}
