//! Who may do what: tokens, HTTP basic authentication, the lock after too many bad tokens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::Shared;
use super::locked;
use super::options::Tokens;
use crate::secret::Secret;

/// What a token allows; the later, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A token that is none.
    Bad,
    /// No token was sent.
    None,
    View,
    Write,
    Super,
}

impl Shared {
    /// The role a token gives; bad ones are counted.
    pub(super) fn role(&self, token: Option<&str>) -> Role {
        let role = match role(&self.options.tokens, token) {
            Role::View | Role::Write | Role::Super if locked(&self.script).token_is_over() => {
                Role::Bad
            }
            role => role,
        };
        if role == Role::Bad {
            locked(&self.guard).bad_token(Instant::now());
        }
        role
    }

    /// Whether so many bad tokens came that every call is refused.
    pub(super) fn locked_out(&self) -> bool {
        locked(&self.guard).is_locked(Instant::now())
    }
}

fn role(tokens: &Tokens, token: Option<&str>) -> Role {
    let is =
        |known: Option<&Secret>, token: &str| known.is_some_and(|known| known.expose() == token);
    match token {
        None | Some("") => Role::None,
        Some(token) if is(Some(&tokens.super_user), token) => Role::Super,
        Some(token) if is(tokens.write.as_ref(), token) => Role::Write,
        Some(token) if is(tokens.view.as_ref(), token) => Role::View,
        Some(_) => Role::Bad,
    }
}

/// More bad tokens than this in an hour close the door, also for good ones.
const MOST_BAD: usize = 20;
const HOUR: Duration = Duration::from_secs(3600);

/// Counts bad tokens.
#[derive(Default)]
pub(super) struct Guard {
    bad: VecDeque<Instant>,
}

impl Guard {
    fn bad_token(&mut self, now: Instant) {
        self.bad.push_back(now);
        // The latest are enough to tell.
        if self.bad.len() > MOST_BAD + 1 {
            self.bad.pop_front();
        }
    }

    fn is_locked(&self, now: Instant) -> bool {
        let recent = |at: &&Instant| now.saturating_duration_since(**at) < HOUR;
        self.bad.iter().filter(recent).count() > MOST_BAD
    }
}

/// Whether a request has the login and password asked for.
pub(super) fn basic_auth_fits(wanted: Option<&(String, Secret)>, headers: &HeaderMap) -> bool {
    wanted.is_none_or(|(login, password)| {
        let pair = base64(format!("{login}:{}", password.expose()).as_bytes());
        let sent = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        sent.and_then(|value| value.strip_prefix("Basic ")) == Some(pair.as_str())
    })
}

/// Base64 as of RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three
            .iter()
            .zip([16, 8, 0])
            .fold(0u32, |number, (byte, shift)| {
                number | u32::from(*byte) << shift
            });
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(match place > three.len() {
                true => '=',
                false => char::from(DIGITS[(number >> shift & 63) as usize]),
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn the_door_closes_after_twenty_bad_tokens_and_opens_after_an_hour() {
        let start = Instant::now();
        let mut guard = Guard::default();
        for _ in 0..20 {
            guard.bad_token(start);
        }
        assert!(!guard.is_locked(start));
        guard.bad_token(start);
        assert!(guard.is_locked(start));
        assert!(!guard.is_locked(start + HOUR));
    }
}
