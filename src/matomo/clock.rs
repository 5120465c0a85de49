//! The clock of the server, from the `Date` of its answers. Matomo compares the dates of hits with
//! it, and the clock of this machine may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::failpoint;

/// No answer had a date so far.
const UNKNOWN: i64 = i64::MIN;
/// A difference of so many seconds between the clocks is reported.
const MAX_SKEW: i64 = 3600;

/// Clones share what is known.
#[derive(Clone, Debug)]
pub struct ServerClock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    /// How many seconds the server is ahead of this machine.
    offset: AtomicI64,
    is_reported: AtomicBool,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self(Arc::new(ClockState {
            offset: AtomicI64::new(UNKNOWN),
            is_reported: AtomicBool::new(false),
        }))
    }
}

impl ServerClock {
    /// Takes the date of an answer that has just arrived.
    pub fn set(&self, date: SystemTime) {
        let offset = seconds(date) - seconds(failpoint::now());
        self.0.offset.store(offset, Relaxed);
    }

    pub fn is_known(&self) -> bool {
        self.0.offset.load(Relaxed) != UNKNOWN
    }

    /// How many seconds the server is ahead of this machine; 0 if that is not known.
    pub fn offset(&self) -> i64 {
        match self.0.offset.load(Relaxed) {
            UNKNOWN => 0,
            offset => offset,
        }
    }

    /// The time on the server, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.at(failpoint::now())
    }

    /// The time on the server at a time of this machine, in seconds since 1970.
    pub fn at(&self, time: SystemTime) -> i64 {
        seconds(time).saturating_add(self.offset())
    }

    /// A warning if the clocks differ much, returned once.
    pub fn warning(&self) -> Option<String> {
        let offset = self.offset();
        if offset.abs() <= MAX_SKEW || self.0.is_reported.swap(true, Relaxed) {
            return None;
        }
        let direction = if offset < 0 { "ahead of" } else { "behind" };
        let minutes = offset.unsigned_abs() / 60;
        Some(format!(
            "the clock of this machine is {} h {} min {direction} that of the server: dates are \
             compared with the server's; correct the clock that is wrong",
            minutes / 60,
            minutes % 60
        ))
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_difference_of_more_than_an_hour_is_reported_once() {
        let now = SystemTime::now();
        for (date, expected) in [
            (now + Duration::from_secs(3500), None),
            (now - Duration::from_secs(3500), None),
            (now + Duration::from_secs(7_290), Some("2 h 1 min behind")),
            (
                now - Duration::from_secs(90_030),
                Some("25 h 0 min ahead of"),
            ),
        ] {
            let clock = ServerClock::default();
            assert_eq!((clock.is_known(), clock.offset()), (false, 0));
            assert_eq!(clock.warning(), None);
            clock.set(date);
            let warning = clock.clone().warning();
            assert_eq!(warning.is_some(), expected.is_some(), "{warning:?}");
            assert!(
                warning
                    .unwrap_or_default()
                    .contains(expected.unwrap_or_default())
            );
            assert_eq!(clock.warning(), None);
            assert!((clock.now() - seconds(date)).abs() <= 1);
        }
    }

    #[test]
    fn any_date_is_taken() {
        for date in [UNIX_EPOCH, SystemTime::now() + Duration::from_secs(1 << 38)] {
            let clock = ServerClock::default();
            clock.set(date);
            assert!(clock.is_known() && clock.warning().is_some());
        }
    }
}
