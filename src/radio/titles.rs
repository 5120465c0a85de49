//! The pieces of a connection, for SHOUTcast: it writes a line whenever the title changes, not only when the
//! listener leaves.
//!
//! Lines of one listener and mount point that follow each other are one connection. A line is held until its
//! connection is known to be over; nothing in the log says so but the absence of a next line. A connection is
//! released
//! - by a line of the same key that begins after a gap. Only where the key has one connection open: people behind
//!   one address with the same player look like one listener, and the return of one of them says nothing of the
//!   others;
//! - by a line of any listener that ends more than [`LONGEST_TITLE`] later: the next line is written at the end of
//!   its title, which can be hours after the one before;
//! - when more is held than may be, the one that ended longest ago first;
//! - by [`Stitcher::drain`], at the end of the log.
//!
//! What is no continuation becomes a connection of its own, so no second is lost or counted twice.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Session;

/// Seconds between the end of a line and the beginning of the next, or by which they overlap, in one connection:
/// the server rounds each duration.
const GAP: i64 = 5;

/// Seconds that a title may take.
const LONGEST_TITLE: i64 = 86_400;

/// Bytes held at most: enough for some 30,000 listeners at once.
const MOST: usize = 32 << 20;

/// What holding something takes.
pub trait MemoryUse {
    /// Bytes of memory, all in all.
    fn weight(&self) -> usize;
}

/// Connections that may go on. `K` tells listener and mount point (a hash of them, say), `C` is what the caller
/// keeps of a connection's first line, and `L` what it keeps of every line.
#[derive(Debug)]
pub struct Stitcher<K, C, L> {
    held: BTreeMap<Place<K>, Stitched<C, L>>,
    /// The same places in the order in which they ended.
    by_end: BTreeSet<(i64, u64, K)>,
    lines: usize,
    weight: usize,
    most: usize,
    /// Connections begun so far; tells those apart that end in the same second.
    begun: u64,
}

/// Whether a line may be followed by another of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    Perhaps,
    /// It is known to be the last.
    No,
}

/// Key, end of the last line, and number.
type Place<K> = (K, i64, u64);

/// A connection and the lines it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stitched<C, L> {
    /// From the start of the first line, and as long as all of them together.
    pub connection: Session,
    /// From the first line.
    pub first: C,
    /// In the order of the log; never empty.
    pub lines: Vec<L>,
    /// Of all its pieces.
    weight: usize,
}

impl<C: MemoryUse, L: MemoryUse> Stitched<C, L> {
    /// A connection of one line.
    pub fn new(connection: Session, first: C, line: L) -> Self {
        Self {
            connection,
            weight: first.weight() + line.weight(),
            first,
            lines: vec![line],
        }
    }

    fn add(&mut self, line: L) {
        self.weight += line.weight();
        self.lines.push(line);
    }
}

impl<K: Copy + Ord, C: MemoryUse, L: MemoryUse> Default for Stitcher<K, C, L> {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl<K: Copy + Ord, C: MemoryUse, L: MemoryUse> Stitcher<K, C, L> {
    /// `most`: bytes that may be held.
    fn new(most: usize) -> Self {
        Self {
            held: BTreeMap::new(),
            by_end: BTreeSet::new(),
            lines: 0,
            weight: 0,
            most,
            begun: 0,
        }
    }

    /// Takes a line, and gives the connections that are over. `first` is asked only where the line begins a
    /// connection.
    pub fn offer(
        &mut self,
        key: K,
        connection: Session,
        line: L,
        goes_on: Continuation,
        first: impl FnOnce() -> C,
    ) -> Vec<Stitched<C, L>> {
        let mut over = self.ended_before(connection.end().saturating_sub(LONGEST_TITLE));
        let continued = self
            .followed_by(key, connection)
            .and_then(|place| Some((place, self.held[&place].connection.joined(connection)?)));
        let (number, whole) = if let Some((place, joined)) = continued
            && let Some(mut whole) = self.take(place)
        {
            whole.connection = joined;
            whole.add(line);
            (place.2, whole)
        } else {
            over.extend(self.left_by(key, connection.start()));
            let whole = Stitched::new(connection, first(), line);
            self.begun += 1;
            (self.begun, whole)
        };
        match goes_on {
            Continuation::Perhaps => self.hold((key, connection.end(), number), whole),
            Continuation::No => over.push(whole),
        }
        while self.weight > self.most {
            over.extend(self.take_oldest());
        }
        over
    }

    /// Gives all that is held, in the order in which it ended: the log is at its end.
    pub fn drain(&mut self) -> impl Iterator<Item = Stitched<C, L>> {
        std::iter::from_fn(|| self.take_oldest())
    }

    /// Lines that are held; they are not yet imported.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The connection that this line continues: the one whose end is nearest to its start.
    fn followed_by(&self, key: K, line: Session) -> Option<Place<K>> {
        let start = line.start();
        let place = |bounds| self.held.range(bounds);
        let before = place((key, start - GAP, 0)..=(key, start - 1, u64::MAX)).next_back();
        let after = place((key, start, 0)..=(key, start + GAP, u64::MAX)).next();
        before
            .into_iter()
            .chain(after)
            .map(|(place, _)| *place)
            .min_by_key(|(_, end, _)| (end - start).abs())
    }

    /// The key's only connection, where it had ended before `start`.
    fn left_by(&mut self, key: K, start: i64) -> Option<Stitched<C, L>> {
        let mut places = self
            .held
            .range((key, i64::MIN, 0)..=(key, i64::MAX, u64::MAX));
        match (places.next(), places.next()) {
            (Some((place, _)), None) if place.1.saturating_add(GAP) < start => {
                let place = *place;
                self.take(place)
            }
            _ => None,
        }
    }

    fn ended_before(&mut self, time: i64) -> Vec<Stitched<C, L>> {
        let mut over = Vec::new();
        while self.by_end.first().is_some_and(|(end, ..)| *end < time) {
            over.extend(self.take_oldest());
        }
        over
    }

    fn take_oldest(&mut self) -> Option<Stitched<C, L>> {
        let (end, number, key) = *self.by_end.first()?;
        self.take((key, end, number))
    }

    fn hold(&mut self, place: Place<K>, whole: Stitched<C, L>) {
        let (key, end, number) = place;
        self.lines += whole.lines.len();
        self.weight += whole.weight;
        self.by_end.insert((end, number, key));
        self.held.insert(place, whole);
    }

    fn take(&mut self, place: Place<K>) -> Option<Stitched<C, L>> {
        let (key, end, number) = place;
        self.by_end.remove(&(end, number, key));
        let whole = self.held.remove(&place)?;
        self.lines -= whole.lines.len();
        self.weight -= whole.weight;
        Some(whole)
    }
}

#[cfg(test)]
mod tests;
