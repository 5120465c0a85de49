//! How hard the server is driven: the size of requests and how many are under way at once, learnt together.
//!
//! One round after the other is measured, and after a round at most one of the two changes: were they to change
//! together, nobody could tell which of them made hits cheaper or dearer. Requests that were made up or sent before a
//! change tell nothing about it.

use std::time::Duration;

use super::crowd::{Crowd, Most};
use super::round::Round;
use super::sizer::{Size, Sizer};

/// Requests in a round are at least so many, or twice as many as are under way at once.
const LEAST_ROUND: usize = 4;

/// How the server took a request, as far as its load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    Well,
    /// 413.
    TooLarge,
    /// No answer in time.
    NoAnswer,
    /// The server hung up before it had answered.
    HungUp,
    /// 5xx: as when there are deadlocks, or no memory.
    Failed,
    /// Turned away untouched (429, 503).
    Busy,
    /// It tells nothing about the load.
    Unsaid,
}

/// A change of size or of the limit, by number: what was seen before it does not count after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Era(u64);

/// What was seen of one request.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub hits: usize,
    /// Of its body.
    pub bytes: usize,
    /// From the sending to the end of the answer.
    pub elapsed: Duration,
    pub took: Took,
    /// The size's era when it was made up; `None`: it was sent before, in whole or in part.
    pub cut: Option<Era>,
    /// The era when it was sent.
    pub sent: Era,
    /// As many others were under way as were allowed.
    pub crowded: bool,
}

#[derive(Debug)]
pub struct Tempo {
    sizer: Sizer,
    crowd: Crowd,
    round: Round,
    /// The hits and bytes of a request that the server hung up on, the present size or a half of one that it had hung
    /// up on before: where it then takes the half of it, it was too large.
    hung_up: Option<(usize, usize)>,
    /// Begins with each change.
    era: Era,
    /// Begins with each change of size.
    size_era: Era,
}

impl Tempo {
    pub fn new(most: Most, sizer: Sizer) -> Self {
        Self {
            sizer,
            crowd: Crowd::new(most),
            round: Round::default(),
            hung_up: None,
            era: Era::default(),
            size_era: Era::default(),
        }
    }

    /// The size of the requests to be made up now.
    pub fn size(&self) -> (Size, Era) {
        (self.sizer.size(), self.size_era)
    }

    /// How many requests may be under way at once.
    pub fn limit(&self) -> usize {
        self.crowd.limit()
    }

    /// The number of requests at once that the server was found to like.
    pub fn settled(&self) -> usize {
        self.crowd.settled()
    }

    pub fn era(&self) -> Era {
        self.era
    }

    /// A request has ended. `true`: the size or the limit is another one now.
    pub fn note(&mut self, seen: &Seen) -> bool {
        let before = (self.sizer.size(), self.crowd.limit());
        // Of what was sent before a change, the trouble has been answered by the change.
        let current = seen.sent == self.era;
        self.learn_from_hanging_up(seen);
        match seen.took {
            Took::Well if current => {
                if Sizer::is_slow(seen.elapsed) {
                    self.sizer.shrink(seen.hits);
                }
                if self.sizer.size() == before.0 && self.is_typical(seen) {
                    self.measure(seen);
                }
            }
            Took::TooLarge if seen.cut == Some(self.size_era) => {
                self.sizer.refuse(seen.hits, seen.bytes);
            }
            Took::NoAnswer | Took::HungUp | Took::Failed if current => {
                self.crowd.trouble();
                self.sizer.shrink(seen.hits);
            }
            Took::Busy if current => {
                self.crowd.trouble();
                self.sizer.restart();
            }
            _ => {}
        }
        let changed = before != (self.sizer.size(), self.crowd.limit());
        if changed {
            self.era.0 += 1;
            self.round = Round::default();
            if before.0 != self.sizer.size() {
                self.size_era = self.era;
            }
        }
        changed
    }

    /// A server may hang up on what is too large for it instead of saying so, and for other reasons: the halves tell.
    fn learn_from_hanging_up(&mut self, seen: &Seen) {
        let half_of =
            |(hits, _): (usize, usize)| seen.cut.is_none() && seen.hits.abs_diff(hits / 2) <= 1;
        let is_half = seen.hits > 0 && self.hung_up.is_some_and(half_of);
        match (seen.took, self.hung_up) {
            (Took::HungUp, _) if is_half || self.is_typical(seen) => {
                self.hung_up = Some((seen.hits, seen.bytes));
            }
            (Took::Well, Some((hits, bytes))) if is_half => {
                self.hung_up = None;
                if self.sizer.size().hits > seen.hits {
                    self.sizer.refuse(hits, bytes);
                }
            }
            // It takes as many.
            (Took::Well, Some((hits, _))) if seen.hits >= hits => self.hung_up = None,
            _ => {}
        }
    }

    /// Whether it was made up at the present size and is nearly as large: the last bit of a log costs more a hit.
    fn is_typical(&self, seen: &Seen) -> bool {
        let size = self.sizer.size();
        let large =
            seen.hits.saturating_mul(2) >= size.hits || seen.bytes.saturating_mul(2) >= size.bytes;
        large && seen.cut == Some(self.size_era)
    }

    fn measure(&mut self, seen: &Seen) {
        self.round.request(seen.hits, seen.elapsed, seen.crowded);
        if self.round.requests < LEAST_ROUND.max(2 * self.crowd.limit()) {
            return;
        }
        let round = std::mem::take(&mut self.round);
        if !self.sizer.is_on_trial() && self.crowd.judge(&round) {
            self.sizer.restart();
        } else if let Some(factor) = self.sizer.judge(&round) {
            self.crowd.reprice(factor);
        }
    }
}

#[cfg(test)]
mod tests;
