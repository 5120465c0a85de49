//! How fast the server takes hits, and how long the rest takes. Nothing here reads a clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::report::Extent;

/// The pace is that of the last seconds, so that it follows a server that becomes slower.
const WINDOW: Duration = Duration::from_secs(30);
/// Responses that the pace is taken from, however long ago they were: a server may take minutes for
/// one.
const MIN_STEPS: usize = 6;
/// Responses after which the first one no longer counts. It also took the time to connect, and is
/// often for a few hits only.
const WARM_UP_STEPS: usize = 3;

/// Estimates the time left from what was settled when.
///
/// Lines that need no request cost next to nothing, so the pace is that of the lines that the
/// server has taken. What is not read yet is expected to hold as many of them as what was read.
#[derive(Clone, Debug)]
pub struct Pace {
    /// When the server had taken how many bytes. The first step is the start.
    steps: VecDeque<PaceStep>,
    /// Whether the first step is the start.
    has_start: bool,
    now: PaceStep,
    extent: Extent,
}

#[derive(Clone, Copy, Debug, Default)]
struct PaceStep {
    /// Since the start.
    at: Duration,
    bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            steps: VecDeque::from([PaceStep::default()]),
            has_start: true,
            now: PaceStep::default(),
            extent: Extent::default(),
        }
    }
}

impl Pace {
    /// Takes how far the run is. `at` is the time since the start.
    pub fn observe(&mut self, at: Duration, extent: Extent) {
        self.extent = extent;
        self.now = PaceStep {
            at,
            bytes: extent.by_server,
        };
        let last = self.steps.back().copied().unwrap_or_default();
        if extent.by_server <= last.bytes {
            return;
        }
        self.steps.push_back(self.now);
        while self.steps.len() > MIN_STEPS
            && (self.steps.get(1)).is_some_and(|step| at.saturating_sub(step.at) > WINDOW)
        {
            self.steps.pop_front();
            self.has_start = false;
        }
    }

    /// The time until the server has taken all of `total` bytes. `None` while it is not known.
    pub fn time_left(&self, total: u64) -> Option<Duration> {
        let Extent {
            read,
            open,
            by_server,
        } = self.extent;
        let unread = total.saturating_sub(read) as f64;
        if by_server == 0 {
            // No line of what was read needs a request.
            let is_read_only = open == 0 && read > 0;
            return is_read_only
                .then(|| of_seconds(unread / read as f64 * self.now.at.as_secs_f64()));
        }
        let for_server = open.saturating_add(by_server) as f64;
        let remaining = open as f64 + unread * for_server / read.max(1) as f64;
        let (first, last) = (self.first_step()?, *self.steps.back()?);
        let bytes = last.bytes.saturating_sub(first.bytes) as f64;
        let span = last.at.saturating_sub(first.at).as_secs_f64();
        if bytes <= 0.0 || span <= 0.0 {
            return None;
        }
        let waited = self.now.at.saturating_sub(last.at).as_secs_f64();
        // What is due by now has been on its way since the last response. If it is overdue, the
        // server has become slower.
        let mean = span / self.number_of_steps() as f64;
        let span = span + (waited - 2.0 * mean).max(0.0);
        let left = remaining * span / bytes;
        Some(of_seconds((left - waited.min(mean)).max(left / 4.0)))
    }

    fn first_step(&self) -> Option<PaceStep> {
        self.steps.get(usize::from(self.skips_start())).copied()
    }

    fn skips_start(&self) -> bool {
        self.has_start && self.steps.len() > WARM_UP_STEPS
    }

    /// Steps after the first one.
    fn number_of_steps(&self) -> usize {
        let steps = self.steps.len() - usize::from(self.skips_start());
        steps.saturating_sub(1).max(1)
    }
}

/// Casts from float saturate; a duration of a year is as good as one without end.
fn of_seconds(seconds: f64) -> Duration {
    const YEAR: f64 = 365.0 * 86_400.0;
    Duration::from_secs_f64(seconds.clamp(0.0, YEAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of so many bytes, and a server that answers a request each second (or `latency`).
    struct Simulation {
        total: u64,
        /// The share of bytes whose lines need no request, in percent.
        dropped: u64,
        /// Bytes read in a second.
        reading: u64,
        latency: f64,
        /// Bytes of the request with this number.
        batch: fn(usize) -> u64,
    }

    impl Simulation {
        /// Runs in steps of 100 ms. Returns each estimate with its time and the true time left.
        fn run(&self) -> Vec<(f64, Option<f64>, f64)> {
            let mut pace = Pace::default();
            let mut estimates = Vec::new();
            let (mut by_server, mut sent, mut due) = (0u64, 0usize, self.latency);
            let mut tick = 0u32;
            let all = self.total * (100 - self.dropped) / 100;
            while by_server < all {
                tick += 1;
                let now = f64::from(tick) / 10.0;
                let read = self.total.min((self.reading as f64 * now) as u64);
                let needed = read * (100 - self.dropped) / 100;
                if now + 0.001 >= due && needed > by_server {
                    by_server = needed.min(by_server + (self.batch)(sent));
                    sent += 1;
                    due = now + self.latency;
                }
                let extent = Extent {
                    read,
                    open: needed - by_server,
                    by_server,
                };
                pace.observe(Duration::from_millis(u64::from(tick) * 100), extent);
                let left = pace.time_left(self.total);
                estimates.push((now, left.map(|left| left.as_secs_f64())));
            }
            let end = f64::from(tick) / 10.0;
            let known = |(now, left)| (now, left, end - now);
            estimates.into_iter().map(known).collect()
        }

        /// Checks that each estimate from the third second on is within a factor of two. In the
        /// last seconds, a whole request may be under way or not.
        #[track_caller]
        fn assert_is_right(&self) {
            let estimates = self.run();
            assert!(estimates.len() > 60, "{} is too short", estimates.len());
            for (now, left, truth) in estimates {
                if now < 3.0 || truth < 2.0 * self.latency {
                    continue;
                }
                let left = left.unwrap_or_else(|| panic!("nothing is known after {now} s"));
                assert!(
                    left <= truth * 2.0 + 0.1 && left >= truth / 2.0 - 0.1,
                    "after {now} s: {left} s, in truth {truth} s"
                );
            }
        }
    }

    const SIMPLE: Simulation = Simulation {
        total: 700_000,
        dropped: 0,
        reading: 50_000_000,
        latency: 1.0,
        batch: |_| 50_000,
    };

    #[test]
    fn a_small_log_and_a_slow_server() {
        SIMPLE.assert_is_right();
    }

    #[test]
    fn the_first_request_has_a_single_hit() {
        Simulation {
            batch: |number| if number == 0 { 180 } else { 50_000 },
            ..SIMPLE
        }
        .assert_is_right();
    }

    #[test]
    fn most_lines_need_no_request() {
        Simulation {
            dropped: 90,
            batch: |_| 5_000,
            ..SIMPLE
        }
        .assert_is_right();
    }

    #[test]
    fn the_log_is_read_as_the_server_takes_it() {
        Simulation {
            total: 7_000_000,
            reading: 300_000,
            latency: 0.2,
            ..SIMPLE
        }
        .assert_is_right();
        Simulation {
            total: 7_000_000,
            reading: 600_000,
            dropped: 50,
            latency: 0.2,
            ..SIMPLE
        }
        .assert_is_right();
    }

    #[test]
    fn the_pace_follows_a_server_that_becomes_slower() {
        let estimates = Simulation {
            total: 60_000_000,
            batch: |number| if number < 60 { 400_000 } else { 100_000 },
            ..SIMPLE
        }
        .run();
        // 30 s after the change, in the middle of the slow part.
        for (now, left, truth) in estimates.into_iter().filter(|(now, ..)| *now > 95.0) {
            let left = left.unwrap();
            assert!(
                truth < 2.0 || (left / truth - 1.0).abs() < 0.6,
                "{now}: {left} {truth}"
            );
        }
    }

    #[test]
    fn a_server_that_hangs_makes_the_time_left_grow() {
        let mut pace = Pace::default();
        let extent = |by_server| Extent {
            read: 1000,
            open: 1000 - by_server,
            by_server,
        };
        for second in 1..=5 {
            pace.observe(Duration::from_secs(second), extent(second * 100));
        }
        let before = pace.time_left(1000).unwrap();
        pace.observe(Duration::from_secs(60), extent(500));
        assert!(pace.time_left(1000).unwrap() > 5 * before);
    }

    #[test]
    fn nothing_is_known_before_the_first_response() {
        let mut pace = Pace::default();
        assert_eq!(pace.time_left(1000), None);
        let extent = Extent {
            read: 1000,
            open: 900,
            by_server: 0,
        };
        pace.observe(Duration::from_secs(9), extent);
        assert_eq!(pace.time_left(1000), None);
    }

    #[test]
    fn a_log_that_needs_no_request_takes_as_long_as_reading_it() {
        let mut pace = Pace::default();
        let extent = Extent {
            read: 250,
            ..Extent::default()
        };
        pace.observe(Duration::from_secs(5), extent);
        assert_eq!(pace.time_left(1000), Some(Duration::from_secs(15)));
    }

    #[test]
    fn extreme_numbers_are_no_problem() {
        let mut pace = Pace::default();
        let extent = |by_server| Extent {
            read: u64::MAX,
            open: u64::MAX,
            by_server,
        };
        pace.observe(Duration::from_nanos(1), extent(1));
        pace.observe(Duration::MAX, extent(u64::MAX));
        assert!(pace.time_left(u64::MAX).is_some());
        assert!(pace.time_left(0).is_some());
    }
}
