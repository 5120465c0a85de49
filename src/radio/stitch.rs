//! Joins the titles of a listener to a session, for SHOUTcast: it writes a line whenever the title
//! changes, not only when the listener leaves (guide/listening.md, "SHOUTcast titles").
//!
//! Lines of one listener and mount point that follow each other are one session. The log does not
//! say which line is the last, so a line is held until its session must have ended. A session is
//! released
//! - by a line of the same key that starts after a gap, if the key has no other open session.
//!   People behind one address with the same player look like one listener, and the return of one
//!   of them says nothing about the others;
//! - by any line that ends more than [`MAX_TITLE_SECONDS`] after it. A line is written at the end
//!   of its title, which can be hours after the line before;
//! - when the open sessions take too much memory, beginning with the one that ended first;
//! - by [`Stitcher::drain`], at the end of the log.
//!
//! A line that continues no session starts one, so no second is lost or counted twice.

use std::collections::{BTreeMap, BTreeSet};

use super::session::Session;

/// Maximum seconds between the end of a line and the start of the next in a session, or by which
/// they overlap. The server rounds each duration.
const MAX_GAP_SECONDS: i64 = 5;

/// Maximum seconds of a title.
const MAX_TITLE_SECONDS: i64 = 86_400;

/// Maximum bytes of all open sessions: enough for about 30,000 listeners at the same time.
const MAX_OPEN_BYTES: usize = 32 << 20;

/// The memory that a value takes.
pub trait MemoryUse {
    /// Bytes, including what the value owns on the heap.
    fn bytes(&self) -> usize;
}

/// The open sessions of a log.
///
/// `K` identifies listener and mount point, for example a hash of both. `F` is what the caller
/// keeps of the first line of a session, and `L` what it keeps of each line.
#[derive(Debug)]
pub struct Stitcher<K, F, L> {
    open: BTreeMap<OpenKey<K>, Stitched<F, L>>,
    /// The same keys, ordered by end.
    by_end: BTreeSet<(i64, u64, K)>,
    lines: usize,
    bytes: usize,
    max_bytes: usize,
    /// Number of sessions so far. Distinguishes sessions of a key that end in the same second.
    started: u64,
}

/// Whether another line of the session can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    Perhaps,
    /// The line is known to be the last.
    No,
}

/// Key, end of the last line, and number of the session.
type OpenKey<K> = (K, i64, u64);

/// A session and the lines that it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stitched<F, L> {
    /// Starts with the first line and is as long as all lines together.
    pub time: Session,
    /// What is kept of the first line.
    pub first: F,
    /// In the order of the log; never empty.
    pub lines: Vec<L>,
    /// Bytes of `first` and `lines`.
    bytes: usize,
}

impl<F: MemoryUse, L: MemoryUse> Stitched<F, L> {
    /// A session of one line.
    pub fn new(time: Session, first: F, line: L) -> Self {
        Self {
            bytes: first.bytes() + line.bytes(),
            time,
            first,
            lines: vec![line],
        }
    }

    fn add(&mut self, line: L) {
        self.bytes += line.bytes();
        self.lines.push(line);
    }
}

impl<K: Copy + Ord, F: MemoryUse, L: MemoryUse> Default for Stitcher<K, F, L> {
    fn default() -> Self {
        Self::new(MAX_OPEN_BYTES)
    }
}

impl<K: Copy + Ord, F: MemoryUse, L: MemoryUse> Stitcher<K, F, L> {
    fn new(max_bytes: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            by_end: BTreeSet::new(),
            lines: 0,
            bytes: 0,
            max_bytes,
            started: 0,
        }
    }

    /// Adds a line, and returns the sessions that have ended. `first` is called only if the line
    /// starts a session.
    pub fn add(
        &mut self,
        key: K,
        time: Session,
        line: L,
        continuation: Continuation,
        first: impl FnOnce() -> F,
    ) -> Vec<Stitched<F, L>> {
        let mut ended = self.take_ended_before(time.end().saturating_sub(MAX_TITLE_SECONDS));
        let continued = self
            .find_continued(key, time)
            .and_then(|open| Some((open, self.open[&open].time.joined(time)?)));
        let (number, session) = if let Some((open, joined)) = continued
            && let Some(mut session) = self.take(open)
        {
            session.time = joined;
            session.add(line);
            (open.2, session)
        } else {
            ended.extend(self.take_left(key, time.start()));
            let session = Stitched::new(time, first(), line);
            self.started += 1;
            (self.started, session)
        };
        match continuation {
            Continuation::Perhaps => self.insert((key, time.end(), number), session),
            Continuation::No => ended.push(session),
        }
        while self.bytes > self.max_bytes {
            ended.extend(self.take_first_ended());
        }
        ended
    }

    /// Removes all open sessions, in the order of their ends.
    pub fn drain(&mut self) -> impl Iterator<Item = Stitched<F, L>> {
        std::iter::from_fn(|| self.take_first_ended())
    }

    /// Number of lines of the open sessions.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Finds the session that a line continues: the one whose end is nearest to the line's start.
    fn find_continued(&self, key: K, line: Session) -> Option<OpenKey<K>> {
        let start = line.start();
        let in_range = |bounds| self.open.range(bounds);
        let before =
            in_range((key, start - MAX_GAP_SECONDS, 0)..=(key, start - 1, u64::MAX)).next_back();
        let after = in_range((key, start, 0)..=(key, start + MAX_GAP_SECONDS, u64::MAX)).next();
        before
            .into_iter()
            .chain(after)
            .map(|(open, _)| *open)
            .min_by_key(|(_, end, _)| (end - start).abs())
    }

    /// Removes the key's session if it is the only one and ended before a gap.
    fn take_left(&mut self, key: K, start: i64) -> Option<Stitched<F, L>> {
        let mut of_key = self
            .open
            .range((key, i64::MIN, 0)..=(key, i64::MAX, u64::MAX));
        match (of_key.next(), of_key.next()) {
            (Some((open, _)), None) if open.1.saturating_add(MAX_GAP_SECONDS) < start => {
                let open = *open;
                self.take(open)
            }
            _ => None,
        }
    }

    fn take_ended_before(&mut self, time: i64) -> Vec<Stitched<F, L>> {
        let mut ended = Vec::new();
        while self.by_end.first().is_some_and(|(end, ..)| *end < time) {
            ended.extend(self.take_first_ended());
        }
        ended
    }

    fn take_first_ended(&mut self) -> Option<Stitched<F, L>> {
        let (end, number, key) = *self.by_end.first()?;
        self.take((key, end, number))
    }

    fn insert(&mut self, open: OpenKey<K>, session: Stitched<F, L>) {
        let (key, end, number) = open;
        self.lines += session.lines.len();
        self.bytes += session.bytes;
        self.by_end.insert((end, number, key));
        self.open.insert(open, session);
    }

    fn take(&mut self, open: OpenKey<K>) -> Option<Stitched<F, L>> {
        let (key, end, number) = open;
        self.by_end.remove(&(end, number, key));
        let session = self.open.remove(&open)?;
        self.lines -= session.lines.len();
        self.bytes -= session.bytes;
        Some(session)
    }
}

#[cfg(test)]
mod tests;
