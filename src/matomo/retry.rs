//! How many attempts a request gets, and how long to wait between them. Nothing here waits.
//!
//! See guide/guarantees.md, "Retries".

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The limit of exponential backoff, unless `--retry-delay` is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(5 * 60);

/// The longest `Retry-After` that is obeyed: by mistake or because of a wrong clock, a server may
/// ask for years.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Waits for the given time. Returns `true`, at once, if the program is to shut down.
pub type Waiter = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// `--retry-max-attempts` and `--retry-delay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts for one request, including the first; 0 means 1.
    pub attempts: u32,
    /// The wait after the first attempt.
    pub delay: Duration,
}

impl RetryPolicy {
    /// Whether another attempt may follow attempt number `attempt`, counted from 1.
    pub fn allows_after(&self, attempt: u32) -> bool {
        attempt < self.attempts.max(1)
    }

    /// The wait after attempt number `attempt`, with random jitter.
    pub fn wait_after(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        backoff(attempt, self.delay, retry_after, random())
    }
}

/// The wait after attempt number `attempt`, counted from 1: `retry_after`, if the server sent it,
/// else exponential backoff from `base`.
///
/// `random`, from 0 to 1, selects a wait between half and all of the backoff, so that many
/// importers do not return at the same moment.
fn backoff(attempt: u32, base: Duration, retry_after: Option<Duration>, random: f64) -> Duration {
    // Zero or a date in the past: for example a maintenance that takes longer than announced.
    if let Some(asked) = retry_after.filter(|asked| !asked.is_zero()) {
        return asked.min(MAX_RETRY_AFTER);
    }
    let doubled = 2u32
        .checked_pow(attempt.saturating_sub(1))
        .and_then(|factor| base.checked_mul(factor))
        .unwrap_or(Duration::MAX);
    let full = doubled.min(base.max(MAX_BACKOFF));
    let half = full / 2;
    // A jitter in steps of a thousandth is fine enough.
    let share = (random.clamp(0.0, 1.0) * 1000.0) as u32;
    half + (full - half) / 1000 * share
}

/// A random number from 0 to 1; not for cryptography.
fn random() -> f64 {
    let drawn = std::hash::RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let full = |attempt| backoff(attempt, secs(10), None, 1.0);
        let waits: Vec<_> = (1..=8).map(full).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300].map(secs));
        assert_eq!(full(u32::MAX), secs(300));
        assert_eq!(full(0), secs(10));
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        assert_eq!(backoff(2, secs(10), None, 0.0), secs(10));
        assert_eq!(backoff(2, secs(10), None, 0.5), secs(15));
    }

    #[test]
    fn a_delay_beyond_the_limit_does_not_double() {
        assert_eq!(backoff(3, secs(900), None, 1.0), secs(900));
    }

    #[test]
    fn without_a_delay_there_is_no_wait() {
        assert_eq!(backoff(7, Duration::ZERO, None, 1.0), Duration::ZERO);
    }

    #[test]
    fn retry_after_takes_precedence_up_to_an_hour() {
        assert_eq!(backoff(5, secs(10), Some(secs(2)), 0.3), secs(2));
        assert_eq!(backoff(1, secs(10), Some(secs(1800)), 0.3), secs(1800));
        assert_eq!(backoff(1, secs(10), Some(Duration::MAX), 0.3), secs(3600));
    }

    #[test]
    fn a_retry_after_in_the_past_is_ignored() {
        assert_eq!(backoff(2, secs(10), Some(Duration::ZERO), 1.0), secs(20));
    }

    #[test]
    fn the_first_attempt_counts() {
        let policy = |attempts| RetryPolicy {
            attempts,
            delay: secs(1),
        };
        assert!(policy(3).allows_after(2));
        assert!(!policy(3).allows_after(3));
        assert!(!policy(0).allows_after(1));
    }

    #[test]
    fn random_numbers_differ_and_stay_in_range() {
        let drawn: Vec<f64> = (0..50).map(|_| random()).collect();
        assert!(drawn.iter().all(|r| (0.0..1.0).contains(r)));
        assert!(drawn.iter().any(|r| *r != drawn[0]));
    }

    proptest! {
        #[test]
        fn any_backoff_is_in_bounds(attempt: u32, base: Duration, random: f64) {
            let wait = backoff(attempt, base, None, random);
            prop_assert!(wait <= base.max(MAX_BACKOFF));
            prop_assert!(wait >= (base / 2).saturating_sub(Duration::from_micros(1)));
        }
    }
}
