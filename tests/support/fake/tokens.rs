//! Who may do what, and the lock-out after too many bad tokens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use import_logs::secret::Secret;

/// What a token allows, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// An unknown token.
    Bad,
    /// No token was sent.
    None,
    View,
    Write,
    Super,
}

/// Tokens besides the super user's.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// May write to and see every site.
    pub write: Option<Secret>,
    /// May see every site.
    pub view: Option<Secret>,
}

impl Tokens {
    pub(super) fn role(&self, token: Option<&str>, super_user: &Secret) -> Role {
        let is = |known: Option<&Secret>, token: &str| {
            known.is_some_and(|known| known.expose() == token)
        };
        match token {
            None | Some("") => Role::None,
            Some(token) if is(Some(super_user), token) => Role::Super,
            Some(token) if is(self.write.as_ref(), token) => Role::Write,
            Some(token) if is(self.view.as_ref(), token) => Role::View,
            Some(_) => Role::Bad,
        }
    }
}

/// More bad tokens in an hour lock everyone out, even those with a good token.
const MAX_BAD_TOKENS: usize = 20;
const HOUR: Duration = Duration::from_secs(3600);

/// Counts bad tokens.
#[derive(Default)]
pub(super) struct LockOut {
    bad: VecDeque<Instant>,
}

impl LockOut {
    pub fn bad_token(&mut self, now: Instant) {
        self.bad.push_back(now);
        // Only the latest matter.
        if self.bad.len() > MAX_BAD_TOKENS + 1 {
            self.bad.pop_front();
        }
    }

    pub fn is_locked(&self, now: Instant) -> bool {
        let recent = |at: &&Instant| now.saturating_duration_since(**at) < HOUR;
        self.bad.iter().filter(recent).count() > MAX_BAD_TOKENS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_one_bad_tokens_lock_out_for_an_hour() {
        let start = Instant::now();
        let mut lock_out = LockOut::default();
        for _ in 0..20 {
            lock_out.bad_token(start);
        }
        assert!(!lock_out.is_locked(start));
        lock_out.bad_token(start);
        assert!(lock_out.is_locked(start));
        assert!(!lock_out.is_locked(start + HOUR));
    }
}
