//! How long ago a batch was sent, also by a run before this one. The wall clock may be set at any
//! time, so the time since the system was started counts where it is known.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::now_ms;

/// When a batch was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAt {
    /// Milliseconds since 1970 (UTC), for people.
    pub wall: u64,
    uptime: Option<Uptime>,
}

/// A moment after the system was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Uptime {
    /// Identifies the start of the system.
    boot: String,
    /// Milliseconds since then, including those that it slept.
    since: u64,
}

impl Uptime {
    /// Returns `None` on systems that do not tell.
    #[cfg(target_os = "linux")]
    fn now() -> Option<Self> {
        use rustix::time::{ClockId, clock_gettime};

        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let now = clock_gettime(ClockId::Boottime);
        let since = Duration::new(
            u64::try_from(now.tv_sec).ok()?,
            u32::try_from(now.tv_nsec).ok()?,
        );
        Some(Self {
            boot: boot.trim().to_owned(),
            since: u64::try_from(since.as_millis()).ok()?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn now() -> Option<Self> {
        None
    }
}

impl SentAt {
    pub fn now() -> Self {
        Self {
            wall: now_ms(),
            uptime: Uptime::now(),
        }
    }

    /// Of an earlier version, which noted only the wall clock.
    pub fn of_wall_clock(wall: u64) -> Self {
        Self { wall, uptime: None }
    }

    /// How long ago that was at least. `known_since` is when this process learnt of it.
    pub fn elapsed(&self, known_since: Instant) -> Duration {
        self.elapsed_at(Uptime::now(), now_ms())
            .max(known_since.elapsed())
    }

    fn elapsed_at(&self, uptime: Option<Uptime>, wall: u64) -> Duration {
        let (Some(sent), Some(now)) = (&self.uptime, uptime) else {
            return Duration::ZERO;
        };
        Duration::from_millis(match sent.boot == now.boot {
            true => now.since.saturating_sub(sent.since),
            // Before this system was started, or on another machine: then its uptime says nothing.
            false => now.since.min(wall.saturating_sub(self.wall)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    fn uptime(boot: &str, seconds: u64) -> Option<Uptime> {
        Some(Uptime {
            boot: boot.to_owned(),
            since: seconds * SECOND,
        })
    }

    fn elapsed(now: Option<Uptime>, wall: u64) -> u64 {
        let sent = SentAt {
            wall: 1000 * SECOND,
            uptime: uptime("one", 50),
        };
        sent.elapsed_at(now, wall * SECOND).as_secs()
    }

    #[test]
    fn the_wall_clock_makes_no_difference_while_the_system_runs() {
        for wall in [0, 1000, 1020, 90_000] {
            assert_eq!(elapsed(uptime("one", 70), wall), 20, "{wall}");
        }
    }

    #[test]
    fn after_a_restart_it_is_at_most_the_time_since_then() {
        assert_eq!(elapsed(uptime("two", 30), 1100), 30);
        assert_eq!(elapsed(uptime("two", 30), 90_000), 30);
        assert_eq!(elapsed(uptime("two", 9000), 1100), 100);
        assert_eq!(elapsed(uptime("two", 30), 900), 0);
    }

    #[test]
    fn what_is_not_known_is_no_time() {
        assert_eq!(elapsed(None, 90_000), 0);
        let earlier_version = SentAt::of_wall_clock(5);
        assert_eq!(
            earlier_version.elapsed_at(uptime("one", 70), 9),
            Duration::ZERO
        );
    }

    #[test]
    fn time_passes() {
        let sent = SentAt::now();
        let known_since = Instant::now();
        assert!(sent.elapsed(known_since) < Duration::from_secs(60));
        assert!(sent.wall > 0);
    }
}
