//! How many requests may be under way at once: one more, as long as the server serves each as fast as before; much
//! fewer when they get slow or fail.
//!
//! The yardstick is what a hit costs (in seconds of waiting) against the least it has cost: of `n` requests at once
//! that each take twice as long as they need, half only stand in the server's queue (this is how TCP Vegas sees a
//! network). Nothing here waits or looks at a clock.

use super::round::Round;

/// Requests at once that `--recorders=auto` begins with: what a hit costs then is without any queue.
const FIRST: usize = 1;
/// With `--recorders=auto`: while fewer requests than this queue, one more is tried.
const SHORT_QUEUE: f64 = 1.0;
/// When more than this queue, there are too many.
const LONG_QUEUE: f64 = 2.0;
/// Shares of a number that the user named, for the same. He may know better: only what takes twice as long is eased.
const SHORT_SHARE: f64 = 1.0 / 3.0;
const LONG_SHARE: f64 = 1.0 / 2.0;
/// Seconds. A server that answers so soon has no queue worth talking of.
const QUICK: f64 = 0.01;
/// The same for a number that the user named.
const QUICK_ENOUGH: f64 = 0.1;
/// Rounds before a number that was too many is tried again; doubled each time.
const PATIENCE: u32 = 8;
const MOST_PATIENCE: u32 = 128;
/// After so many rounds with a queue one is done with half as many requests at once, to see what a hit costs now: hits
/// that have become dearer look just like a queue.
const UNSURE: u32 = 64;

/// How many recorders there are, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// The user's own number.
    Fixed(usize),
    /// As many as the server likes, of at most so many.
    Auto(usize),
}

#[derive(Debug)]
pub struct Crowd {
    most: usize,
    limit: usize,
    short: f64,
    long: f64,
    quick: f64,
    /// What a hit costs without a queue: the least so far, smoothed.
    base: Option<f64>,
    /// Rounds since that was looked at.
    unsure: u32,
    /// It is being looked at; afterwards the limit is this one again.
    looking: Option<usize>,
    /// A number that was too many, not to be tried again for so many rounds.
    shunned: usize,
    rest: u32,
    patience: u32,
    /// The last number that did well.
    settled: usize,
}

impl Crowd {
    pub fn new(most: Most) -> Self {
        let (most, limit, short, long, quick) = match most {
            Most::Fixed(n) => {
                let share = |share| n as f64 * share;
                (n, n, share(SHORT_SHARE), share(LONG_SHARE), QUICK_ENOUGH)
            }
            Most::Auto(n) => (n, n.min(FIRST), SHORT_QUEUE, LONG_QUEUE, QUICK),
        };
        Self {
            most: most.max(1),
            limit: limit.max(1),
            short,
            long,
            quick,
            base: None,
            unsure: 0,
            looking: None,
            shunned: usize::MAX,
            rest: 0,
            patience: PATIENCE,
            settled: limit.max(1),
        }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The number that the server was found to like.
    pub fn settled(&self) -> usize {
        self.settled
    }

    /// A round at this limit went well. `true`: the limit is another one now.
    pub fn judge(&mut self, round: &Round) -> bool {
        if let Some(limit) = self.looking.take() {
            self.base = Some(round.cost());
            self.limit = limit;
            return true;
        }
        let queue = self.queue(round);
        if queue > self.long && self.limit > 1 {
            self.ease(self.limit * 3 / 4);
            return true;
        }
        if self.limit == self.shunned {
            self.shunned = usize::MAX;
            self.patience = PATIENCE;
        }
        self.settled = self.limit;
        self.rest = self.rest.saturating_sub(1);
        let next = self.limit + 1;
        let may = next <= self.most && (next < self.shunned || self.rest == 0);
        if may && queue < self.short && round.is_crowded() {
            self.limit = next;
            return true;
        }
        self.unsure += 1;
        if self.unsure > UNSURE && queue >= self.short / 2.0 && self.limit > 1 {
            self.unsure = 0;
            self.looking = Some(self.limit);
            self.limit /= 2;
            return true;
        }
        false
    }

    /// A request failed as they do when there are too many. `true`: the limit is another one now.
    pub fn trouble(&mut self) -> bool {
        let before = self.limit;
        if before > 1 {
            self.ease(before / 2);
        } else {
            // It fails with one request alone too: there were not too many.
            self.shunned = usize::MAX;
            self.patience = PATIENCE;
        }
        self.settled = self.settled.min(self.limit);
        self.limit != before
    }

    /// Requests are of another size now, in which a hit costs so many times what it did, with as many requests at
    /// once: the queue is as it was.
    pub fn reprice(&mut self, factor: f64) {
        self.base = self.base.map(|base| base * factor);
    }

    fn ease(&mut self, to: usize) {
        self.looking = None;
        self.shunned = self.limit;
        self.limit = to.max(1);
        self.rest = self.patience;
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
    }

    /// How many of the requests under way only wait for others.
    fn queue(&mut self, round: &Round) -> f64 {
        let cost = round.cost();
        let base = match self.base {
            // Half the way down: one lucky round is no measure.
            Some(base) if cost < base => (base + cost) / 2.0,
            known => known.unwrap_or(cost),
        };
        self.base = Some(base);
        if cost <= base || round.latency() < self.quick {
            return 0.0;
        }
        self.limit as f64 * (1.0 - base / cost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    /// So many rounds against a server whose requests of 100 hits take `millis` with so many at once. Gives the
    /// limits on the way.
    fn run(crowd: &mut Crowd, rounds: usize, mut millis: impl FnMut(usize) -> f64) -> Vec<usize> {
        let mut limits = vec![crowd.limit()];
        for _ in 0..rounds {
            let mut round = Round::default();
            for _ in 0..2 * crowd.limit() {
                let elapsed = Duration::from_secs_f64(millis(crowd.limit()) / 1000.0);
                round.request(100, elapsed, true);
            }
            crowd.judge(&round);
            limits.push(crowd.limit());
        }
        limits
    }

    fn doubles_above_four(at_once: usize) -> f64 {
        40.0 * f64::from(1 << ((at_once - 1) / 4))
    }

    /// A server with so many cores, whose requests take turns when there are more.
    fn cores(cores: usize) -> impl Fn(usize) -> f64 {
        move |at_once| 500.0 * (at_once as f64 / cores as f64).max(1.0)
    }

    #[test]
    fn auto_stays_below_where_requests_get_slow() {
        let mut crowd = Crowd::new(Most::Auto(16));
        let limits = run(&mut crowd, 5, doubles_above_four);
        assert_eq!(limits, [1, 2, 3, 4, 5, 3]);
        let limits = run(&mut crowd, 200, doubles_above_four);
        assert!(limits.iter().all(|limit| (3..=5).contains(limit)));
        assert!(limits.iter().filter(|limit| **limit == 4).count() > 150);
        assert_eq!(crowd.settled(), 4);
    }

    #[test]
    fn auto_fills_the_servers_cores_and_little_more() {
        for number in 1..=12 {
            let mut crowd = Crowd::new(Most::Auto(16));
            run(&mut crowd, 1000, cores(number));
            let settled = crowd.settled();
            assert!(
                (number..=number + 2).contains(&settled),
                "{number} cores, {settled} requests"
            );
        }
    }

    #[test]
    fn auto_ends_at_its_most() {
        let mut crowd = Crowd::new(Most::Auto(8));
        assert_eq!(run(&mut crowd, 100, |_| 300.0).last(), Some(&8));
        assert_eq!(crowd.settled(), 8);
    }

    #[test]
    fn noise_does_not_keep_auto_down_nor_let_it_rise() {
        // 30 % up or down, another each time.
        let mut seed = 1u32;
        let mut noise = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.7 + 0.6 * f64::from(seed >> 8) / f64::from(1u32 << 24)
        };
        let mut crowd = Crowd::new(Most::Auto(8));
        let limits = run(&mut crowd, 200, |n| noise() * cores(8)(n));
        assert!(limits[100..].iter().sum::<usize>() > 6 * 100, "{limits:?}");
        let mut crowd = Crowd::new(Most::Auto(8));
        let limits = run(&mut crowd, 200, |n| noise() * doubles_above_four(n));
        assert!(limits[20..].iter().sum::<usize>() < 5 * 180, "{limits:?}");
        assert!((3..=6).contains(&crowd.settled()));
    }

    #[test]
    fn where_the_limit_holds_nobody_back_it_does_not_rise() {
        let mut crowd = Crowd::new(Most::Auto(8));
        let mut round = Round::default();
        for _ in 0..8 {
            round.request(100, Duration::from_millis(50), false);
        }
        assert!(!crowd.judge(&round));
        assert_eq!(crowd.limit(), 1);
    }

    #[test]
    fn errors_halve_it_at_once_and_it_comes_back_step_by_step() {
        let mut crowd = Crowd::new(Most::Fixed(8));
        assert!(crowd.trouble());
        assert_eq!(crowd.limit(), 4);
        assert_eq!(
            run(&mut crowd, 5, |_| 300.0),
            [4, 5, 6, 7, 7, 7],
            "eight were too many a short while ago"
        );
        assert_eq!(run(&mut crowd, 5, |_| 300.0).last(), Some(&8));
        for _ in 0..5 {
            crowd.trouble();
        }
        assert_eq!(crowd.limit(), 1);
        assert!(!crowd.trouble());
        assert_eq!(run(&mut crowd, 100, |_| 300.0).last(), Some(&8));
    }

    #[test]
    fn a_number_that_keeps_failing_is_tried_more_and_more_seldom() {
        let mut crowd = Crowd::new(Most::Fixed(8));
        let mut tries = Vec::new();
        for round in 0..400 {
            if crowd.limit() > 4 {
                crowd.trouble();
                tries.push(round);
            }
            run(&mut crowd, 1, |_| 300.0);
        }
        assert!((4..12).contains(&tries.len()), "{tries:?}");
    }

    #[test]
    fn a_fixed_number_is_eased_when_requests_take_more_than_twice_as_long() {
        let mut crowd = Crowd::new(Most::Fixed(8));
        assert_eq!(run(&mut crowd, 5, |_| 200.0), [8; 6]);
        assert_eq!(run(&mut crowd, 5, |_| 300.0), [8; 6]);
        let limits = run(&mut crowd, 5, |_| 900.0);
        assert!(limits.is_sorted_by(|one, next| one >= next));
        assert!(crowd.limit() < 6, "{limits:?}");
        assert_eq!(run(&mut crowd, 100, |_| 200.0).last(), Some(&8));
    }

    #[test]
    fn dearer_hits_are_told_from_a_queue() {
        let mut crowd = Crowd::new(Most::Auto(16));
        run(&mut crowd, 50, cores(16));
        assert_eq!(crowd.limit(), 16);
        let limits = run(&mut crowd, 10, |n| 2.5 * cores(16)(n));
        assert!(crowd.limit() < 8, "{limits:?}");
        let limits = run(&mut crowd, 300, |n| 2.5 * cores(16)(n));
        assert_eq!(crowd.limit(), 16, "{limits:?}");
    }

    #[test]
    fn a_server_that_answers_within_milliseconds_is_never_eased() {
        let mut crowd = Crowd::new(Most::Fixed(4));
        run(&mut crowd, 5, |_| 0.5);
        assert_eq!(run(&mut crowd, 5, |_| 90.0), [4; 6]);
    }

    #[test]
    fn another_size_of_requests_is_another_price_and_no_queue() {
        let mut crowd = Crowd::new(Most::Auto(4));
        run(&mut crowd, 20, |_| 100.0);
        crowd.reprice(4.0);
        assert_eq!(run(&mut crowd, 20, |_| 400.0), [4; 21]);
        // And no free ticket either: what was a queue before is one still.
        let mut crowd = Crowd::new(Most::Auto(16));
        run(&mut crowd, 20, doubles_above_four);
        crowd.reprice(0.5);
        let limits = run(&mut crowd, 100, |n| doubles_above_four(n) / 2.0);
        assert!(limits.iter().all(|limit| (3..=5).contains(limit)));
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_limit_stays_in_its_bounds(
            most in 0usize..40,
            auto: bool,
            events in proptest::collection::vec((0u8..5, any::<u64>(), 0usize..2000), 0..300),
        ) {
            let mut crowd = Crowd::new(if auto { Most::Auto(most) } else { Most::Fixed(most) });
            for (kind, nanos, hits) in events {
                match kind {
                    0 => drop(crowd.trouble()),
                    1 => crowd.reprice(hits as f64 / 1000.0),
                    _ => {
                        let mut round = Round::default();
                        round.request(hits, Duration::from_nanos(nanos), kind == 2);
                        crowd.judge(&round);
                    }
                }
                for number in [crowd.limit(), crowd.settled()] {
                    prop_assert!((1..=most.max(1)).contains(&number));
                }
            }
        }
    }
}
