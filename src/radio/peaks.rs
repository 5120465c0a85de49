//! The most listeners at once, and when: exact in bounded memory, in whatever order connections come.
//!
//! A connection adds a listener at its start and takes one away at its end: in the second of its end it no longer
//! counts, and one of 0 seconds never does. These changes are kept hour by hour. When they take too much room, the
//! hours that were touched longest ago are closed: of each mount point only the change over the hour and the most
//! within it are kept, which is all that a maximum needs. A connection that covers a closed hour does not touch it.
//! One that begins or ends *within* a closed hour shifts what is known of it, nearly always still exactly; where it
//! may not be exact, [`Summary::possible`] says by how much, and the figure is marked.

mod hour;
mod summary;

use std::collections::BTreeMap;

use self::hour::Hour;
use self::summary::{Summaries, Summary, append};
use super::connection::Session;
use super::mounts::ALL;

/// Bytes of the hours that are open: enough for the changes of 1.5 million connections wherever they lie, and of
/// many more that share their seconds.
const ROOM: usize = 24 << 20;

/// Summaries of closed hours; about 64 bytes each.
const MOST_SUMMARIES: usize = 150_000;

/// Seconds.
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

    pub fn add(&mut self, mount: u16, connection: Session) {
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

#[cfg(test)]
mod tests;
