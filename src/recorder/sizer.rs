//! How many hits a tracking request takes: more, as long as that makes a hit cheaper for the server; fewer, at once,
//! when a request is too much for it.
//!
//! Nothing here waits or looks at a clock: what was seen goes in, the size to use comes out.

use std::time::Duration;

use super::round::Round;

/// A request begins with so many hits, and grows from there.
const LEAST: usize = 200;
/// Beyond that a hit gets hardly cheaper (measured: 3 % from 1,000 to 2,000), and a batch in doubt dearer.
const MOST: usize = 1000;
/// Bytes of a body: below the 1 MiB that nginx takes where nobody configured it.
const MOST_BYTES: usize = 900_000;
/// A request that takes longer holds too many hits.
const SLOW: Duration = Duration::from_secs(5);
/// What a size costs is known after so many hits in so many requests.
const ENOUGH_HITS: usize = 2000;
const ENOUGH_REQUESTS: usize = 4;
/// Measurements without a trial after a size has not proved itself; doubled each time.
const PATIENCE: u32 = 8;
const MOST_PATIENCE: u32 = 128;

/// The size of a tracking request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub hits: usize,
    /// Of the whole body. A single hit may be larger.
    pub bytes: usize,
    /// The user named the number of hits: full requests and a rest, as he expects.
    pub exact: bool,
}

#[derive(Debug)]
pub struct Sizer {
    size: Size,
    least: usize,
    most: Size,
    /// What was seen at this size.
    seen: Round,
    /// The size before, and what a hit cost there: the present one is on trial.
    trial: Option<(Size, f64)>,
    /// Measurements still to pass before the next trial.
    rest: u32,
    patience: u32,
}

impl Sizer {
    /// `given` is the user's own number of hits (`--recorder-max-payload-size`), which is used until it proves too
    /// many; `room` the bytes that a recorder reads ahead, of which a request cannot be more.
    pub fn new(given: Option<usize>, room: usize) -> Self {
        let most = Size {
            hits: given.unwrap_or(MOST).max(1),
            bytes: MOST_BYTES.min(room),
            exact: given.is_some(),
        };
        Self {
            size: Size {
                hits: given.map_or(LEAST, |_| most.hits),
                ..most
            },
            least: LEAST.min(most.hits),
            most,
            seen: Round::default(),
            trial: None,
            rest: 0,
            patience: PATIENCE,
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether a request that was taken held too many hits all the same.
    pub fn is_slow(elapsed: Duration) -> bool {
        elapsed > SLOW
    }

    /// Whether the present size has yet to prove itself.
    pub fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Requests of this size were taken. When that shows that a size on trial is better, this gives by which factor
    /// a hit's cost has changed.
    pub fn judge(&mut self, round: &Round) -> Option<f64> {
        self.seen.add(round);
        if self.seen.hits < ENOUGH_HITS || self.seen.requests < ENOUGH_REQUESTS {
            return None;
        }
        let cost = std::mem::take(&mut self.seen).cost();
        let trial = self.trial.take();
        if let Some((before, known)) = trial
            && cost >= known
        {
            self.fail(before);
            return None;
        }
        if trial.is_some() {
            self.patience = PATIENCE;
        }
        self.step_up(cost);
        trial.map(|(_, known)| cost / known)
    }

    fn step_up(&mut self, cost: f64) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let next = match self.size.hits.saturating_mul(2) {
            hits if hits < self.most.hits => Size {
                hits,
                bytes: self.size.bytes.saturating_mul(2).min(self.most.bytes),
                ..self.size
            },
            _ => self.most,
        };
        if next.hits > self.size.hits {
            self.trial = Some((self.size, cost));
            self.size = next;
        }
    }

    /// The present size is not to be tried again soon.
    fn fail(&mut self, next: Size) {
        self.size = next;
        self.rest = self.patience;
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
    }

    /// Something else has changed, so costs cannot be compared: a size on trial has not proved itself.
    pub fn restart(&mut self) {
        self.seen = Round::default();
        if let Some((before, _)) = self.trial.take() {
            self.size = before;
        }
    }

    /// A request of so many hits took too long or failed: half of it from now on.
    pub fn shrink(&mut self, hits: usize) {
        let hits = (hits / 2).max(self.least);
        self.halve(hits, self.size.bytes);
    }

    /// A request of the present size, of so many hits and bytes, was too large for the server (413): half of it from
    /// now on, also where that is below the usual least.
    pub fn refuse(&mut self, hits: usize, bytes: usize) {
        self.halve(hits / 2, bytes / 2);
    }

    fn halve(&mut self, hits: usize, bytes: usize) {
        let before = self.size;
        self.restart();
        self.fail(Size {
            hits: hits.clamp(1, before.hits),
            bytes: bytes.clamp(1, before.bytes),
            ..before
        });
    }
}

#[cfg(test)]
mod tests;
