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
mod tests;
