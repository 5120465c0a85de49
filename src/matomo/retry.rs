//! How long to wait before the next attempt, and how many there are (SPEC section 8). Nothing here waits.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The doubling ends here, unless `--retry-delay` itself is longer.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// A server may ask for any time, years included, by mistake or by a wrong clock. Beyond an hour it is better
/// to ask again and to be told again than to sit there as if dead.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Waits, and says whether the program was told to stop meanwhile (it then returns at once).
pub type Waiter = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// `--retry-max-attempts` and `--retry-delay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts for one request, the first included; 0 means 1.
    pub attempts: u32,
    /// The wait after the first attempt.
    pub delay: Duration,
}

impl RetryPolicy {
    /// Whether another attempt may follow attempt number `attempt` (from 1).
    pub fn allows_after(&self, attempt: u32) -> bool {
        attempt < self.attempts.max(1)
    }

    /// The wait after attempt number `attempt`, the random share drawn here.
    pub fn wait_after(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        wait(attempt, self.delay, retry_after, random())
    }
}

/// The wait after attempt number `attempt` (from 1): what the server asked for, at most an hour; else `base`,
/// doubled for each attempt before this one, at most five minutes or `base` if longer, of which between half and
/// all is waited, as `random` (from 0 to 1) says, so that many importers do not come back at the same moment.
pub fn wait(attempt: u32, base: Duration, retry_after: Option<Duration>, random: f64) -> Duration {
    // A time that has passed, or none at all, is no answer to "when": a maintenance that takes longer than announced.
    if let Some(asked) = retry_after.filter(|asked| !asked.is_zero()) {
        return asked.min(LONGEST_ASKED);
    }
    let doubled = 2u32
        .checked_pow(attempt.saturating_sub(1))
        .and_then(|factor| base.checked_mul(factor))
        .unwrap_or(Duration::MAX);
    let full = doubled.min(base.max(LONGEST));
    let half = full / 2;
    // A number outside 0..1 (or none) counts as the nearer end; thousandths are fine enough.
    let share = (random.clamp(0.0, 1.0) * 1000.0) as u32;
    let rest = full - half;
    half + rest / 1000 * share
}

/// A number from 0 to 1 that differs from call to call; not for secrets.
pub fn random() -> f64 {
    let drawn = std::hash::RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let full = |attempt| wait(attempt, secs(10), None, 1.0);
        let told: Vec<_> = (1..=8).map(full).collect();
        let want = [10, 20, 40, 80, 160, 300, 300, 300].map(secs);
        assert_eq!(told, want);
        assert_eq!(full(u32::MAX), secs(300));
        assert_eq!(full(0), secs(10));
    }

    #[test]
    fn at_least_half_of_it_is_waited() {
        assert_eq!(wait(2, secs(10), None, 0.0), secs(10));
        assert_eq!(wait(2, secs(10), None, 0.5), secs(15));
    }

    #[test]
    fn a_longer_delay_of_the_user_stays_but_does_not_double() {
        assert_eq!(wait(3, secs(900), None, 1.0), secs(900));
    }

    #[test]
    fn no_delay_is_no_wait() {
        assert_eq!(wait(7, Duration::ZERO, None, 1.0), Duration::ZERO);
    }

    #[test]
    fn what_the_server_asks_for_wins_up_to_an_hour() {
        assert_eq!(wait(5, secs(10), Some(secs(2)), 0.3), secs(2));
        assert_eq!(wait(1, secs(10), Some(secs(1800)), 0.3), secs(1800));
        assert_eq!(wait(1, secs(10), Some(Duration::MAX), 0.3), secs(3600));
    }

    #[test]
    fn a_time_that_has_passed_is_no_time_told() {
        assert_eq!(wait(2, secs(10), Some(Duration::ZERO), 1.0), secs(20));
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
    fn drawn_numbers_differ_and_stay_in_range() {
        let drawn: Vec<f64> = (0..50).map(|_| random()).collect();
        assert!(drawn.iter().all(|r| (0.0..1.0).contains(r)));
        assert!(drawn.iter().any(|r| *r != drawn[0]));
    }

    proptest! {
        #[test]
        fn any_policy_gives_a_wait_in_bounds(attempt: u32, base: Duration, random: f64) {
            let told = wait(attempt, base, None, random);
            prop_assert!(told <= base.max(LONGEST));
            prop_assert!(told >= (base / 2).saturating_sub(Duration::from_micros(1)));
        }
    }
}
