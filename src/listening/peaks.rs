//! The most listeners at once, and when: exact in bounded memory, in whatever order connections come.
//!
//! A connection adds a listener at its start and takes one away at its end: in the second of its end it no longer
//! counts, and one of 0 seconds never does. These changes are kept hour by hour. When they take too much room, the
//! hours that were touched longest ago are closed: of each mount point only the change over the hour and the most
//! within it are kept, which is all that a maximum needs. A connection that covers a closed hour does not touch it.
//! One that begins or ends *within* a closed hour shifts what is known of it, nearly always still exactly; where it
//! may not be exact, [`Summary::possible`] says by how much, and the figure is marked.

use std::collections::BTreeMap;

use super::connection::Connection;
use super::mounts::ALL;

/// Bytes of the hours that are open: enough for the changes of 1.5 million connections wherever they lie, and of
/// many more that share their seconds.
const ROOM: usize = 24 << 20;

/// Summaries of closed hours; about 64 bytes each.
const MOST_SUMMARIES: usize = 150_000;

/// Bytes that an open hour takes beside its changes.
const OPEN_HOUR: usize = 80;

const HOUR: i64 = 3600;

#[derive(Debug)]
pub struct Peaks {
    /// By first hour, counted from 1970.
    spans: BTreeMap<i64, Span>,
    /// Of the open hours.
    bytes: usize,
    /// In the closed hours.
    summaries: usize,
    /// Changes so far: a clock for what was touched when.
    clock: u64,
    room: usize,
    most_summaries: usize,
}

#[derive(Debug)]
enum Span {
    /// One hour.
    Open(Hour),
    /// From its first hour to this one.
    Closed(i64, Summaries),
}

/// By mount point, and of [`ALL`] together.
pub type Summaries = BTreeMap<u16, Summary>;

/// What happened to the number of listeners in a time, counted from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The change over the whole time.
    net: i64,
    /// The most after a change; at least one of the moments has it.
    pub most: i64,
    /// When, in seconds since 1970, UTC: the first moment with that many while `possible` is not more.
    pub when: i64,
    /// The most that it can have been.
    pub possible: i64,
}

impl Summary {
    fn change(time: i64, by: i64) -> Self {
        Self {
            net: by,
            most: by,
            when: time,
            possible: by,
        }
    }

    /// This time and the one after it as one.
    fn then(self, next: Self) -> Self {
        let later = self.net + next.most;
        let (most, when) = if later > self.most {
            (later, next.when)
        } else {
            (self.most, self.when)
        };
        Self {
            net: self.net + next.net,
            most,
            when,
            possible: self.possible.max(self.net + next.possible),
        }
    }

    /// A change at a moment within this time. Everything from then on shifts: up to `when` that moves the most
    /// itself; behind it, or before the first change, one more listener may or may not make a new one.
    fn shift(&mut self, time: i64, by: i64) {
        self.net += by;
        if time <= self.when {
            self.most += by;
        }
        if by > 0 {
            self.possible = self.possible.max(0) + by;
        }
    }
}

impl Default for Peaks {
    fn default() -> Self {
        Self::new(ROOM, MOST_SUMMARIES)
    }
}

impl Peaks {
    fn new(room: usize, most_summaries: usize) -> Self {
        Self {
            spans: BTreeMap::new(),
            bytes: 0,
            summaries: 0,
            clock: 0,
            room,
            most_summaries,
        }
    }

    pub fn add(&mut self, mount: u16, connection: Connection) {
        if connection.seconds() > 0 {
            self.change(mount, connection.start(), 1);
            self.change(mount, connection.end(), -1);
        }
    }

    /// The most listeners at once of each mount point that had any, and of [`ALL`].
    pub fn most(&mut self) -> Summaries {
        let mut total = Summaries::new();
        for (first, span) in &mut self.spans {
            match span {
                Span::Open(hour) => append(&mut total, &hour.summaries(*first)),
                Span::Closed(_, summaries) => append(&mut total, summaries),
            }
        }
        total
    }

    fn change(&mut self, mount: u16, time: i64, by: i64) {
        self.clock += 1;
        let hour = time.div_euclid(HOUR);
        match self.spans.range_mut(..=hour).next_back() {
            Some((_, Span::Closed(last, summaries))) if *last >= hour => {
                self.summaries -= summaries.len();
                for mount in [mount, ALL] {
                    summaries
                        .entry(mount)
                        .and_modify(|summary| summary.shift(time, by))
                        .or_insert(Summary::change(time, by));
                }
                self.summaries += summaries.len();
            }
            Some((first, Span::Open(open))) if *first == hour => {
                self.bytes -= open.bytes();
                open.push(time, mount, by, self.clock);
                self.bytes += open.bytes();
            }
            _ => {
                let mut open = Hour::default();
                open.push(time, mount, by, self.clock);
                self.bytes += open.bytes();
                self.spans.insert(hour, Span::Open(open));
            }
        }
        if self.bytes > self.room {
            self.close(self.room / 2);
        }
        if self.summaries > self.most_summaries {
            self.coarsen();
        }
    }

    /// Closes hours, the one touched longest ago first, until the open ones take no more than `room`.
    fn close(&mut self, room: usize) {
        let mut open: Vec<(u64, i64)> = self
            .spans
            .iter()
            .filter_map(|(first, span)| match span {
                Span::Open(hour) => Some((hour.touched, *first)),
                Span::Closed(..) => None,
            })
            .collect();
        open.sort_unstable();
        for (_, first) in open {
            if self.bytes <= room {
                break;
            }
            if let Some(Span::Open(mut hour)) = self.spans.remove(&first) {
                self.bytes -= hour.bytes();
                let summaries = hour.summaries(first);
                // Where all changes cancelled each other out, there is nothing to remember.
                if !summaries.is_empty() {
                    self.summaries += summaries.len();
                    self.spans.insert(first, Span::Closed(first, summaries));
                }
            }
        }
    }

    /// Makes one of each two closed spans that stand side by side, until half of the room for summaries is free.
    fn coarsen(&mut self) {
        while self.summaries > self.most_summaries / 2 && self.spans.len() > 1 {
            let before = self.spans.len();
            let mut spans = BTreeMap::new();
            let mut rest = std::mem::take(&mut self.spans).into_iter().peekable();
            while let Some((first, mut span)) = rest.next() {
                if let Span::Closed(last, summaries) = &mut span
                    && let Some((_, Span::Closed(next_last, next))) =
                        rest.next_if(|(_, next)| matches!(next, Span::Closed(..)))
                {
                    self.summaries -= summaries.len() + next.len();
                    append(summaries, &next);
                    self.summaries += summaries.len();
                    *last = next_last;
                }
                spans.insert(first, span);
            }
            self.spans = spans;
            if self.spans.len() == before {
                // Open hours stand between all of them.
                self.close(0);
            }
        }
    }
}

/// Adds what happened next.
fn append(total: &mut Summaries, next: &Summaries) {
    for (mount, next) in next {
        append_one(total, *mount, *next);
    }
}

fn append_one(total: &mut Summaries, mount: u16, next: Summary) {
    total
        .entry(mount)
        .and_modify(|summary| *summary = summary.then(next))
        .or_insert(next);
}

/// The changes of one hour.
#[derive(Debug, Default)]
struct Hour {
    /// Packed, so that a million connections take no more than 8 MB: 12 bits of second, 10 of mount point, 10 of
    /// change.
    changes: Vec<u32>,
    touched: u64,
}

/// The change is packed with this added, so that it sorts and never is negative.
const BIAS: i64 = 512;

fn packed(place: u32, by: i64) -> u32 {
    // From 0 to 1023: it fits.
    place << 10 | (by + BIAS) as u32
}

fn change_of(packed: u32) -> i64 {
    i64::from(packed & 1023) - BIAS
}

/// Second and mount point.
fn place_of(packed: u32) -> u32 {
    packed >> 10
}

impl Hour {
    fn push(&mut self, time: i64, mount: u16, by: i64, clock: u64) {
        self.touched = clock;
        if self.changes.len() == self.changes.capacity() {
            self.merge();
            // Little was won: the next time shall not come soon.
            if self.changes.len() > self.changes.capacity() / 4 * 3 {
                self.changes.reserve(self.changes.len());
            }
        }
        // Below 3600: it fits.
        let second = time.rem_euclid(HOUR) as u32;
        self.changes
            .push(packed(second << 10 | u32::from(mount), by));
    }

    fn bytes(&self) -> usize {
        OPEN_HOUR + self.changes.capacity() * size_of::<u32>()
    }

    /// Sorts by second and mount point, and makes one of the changes that share both.
    fn merge(&mut self) {
        self.changes.sort_unstable();
        let (mut from, mut to) = (0, 0);
        while from < self.changes.len() {
            let place = place_of(self.changes[from]);
            let mut sum = 0;
            while from < self.changes.len() && place_of(self.changes[from]) == place {
                sum += change_of(self.changes[from]);
                from += 1;
            }
            // What one entry cannot hold takes several: never more than there were.
            while sum != 0 {
                let part = sum.clamp(-BIAS, BIAS - 1);
                self.changes[to] = packed(place, part);
                to += 1;
                sum -= part;
            }
        }
        self.changes.truncate(to);
    }

    fn summaries(&mut self, hour: i64) -> Summaries {
        self.merge();
        let mut total = Summaries::new();
        for second in self.changes.chunk_by(|a, b| a >> 20 == b >> 20) {
            let time = hour * HOUR + i64::from(second[0] >> 20);
            let mut add = |mount, changes: &[u32]| {
                let by = changes.iter().map(|change| change_of(*change)).sum();
                append_one(&mut total, mount, Summary::change(time, by));
            };
            for changes in second.chunk_by(|a, b| place_of(*a) == place_of(*b)) {
                add((place_of(changes[0]) & 1023) as u16, changes);
            }
            add(ALL, second);
        }
        total
    }
}

#[cfg(test)]
mod tests;
