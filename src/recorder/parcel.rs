//! What the parser hands to a recorder: finished tracking requests, and which lines they come from.

use super::window::USUAL;
use crate::ledger::LogId;
use crate::report::rejects::Original;

/// One line's worth of tracking requests, and what a recorder must know of the line. A line is nearly always one
/// request; a connection to a radio stream is several, which stay together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestGroup {
    /// Which log, counted in the order in which they were opened.
    pub file: u32,
    /// The log in the ledger; `None`: it cannot be read again (a pipe), or nothing is kept.
    pub log: Option<LogId>,
    /// The line.
    pub place: LinePosition,
    /// Further lines that make one connection with it.
    pub more: Vec<LinePosition>,
    /// Index into the run's sites.
    pub site: u32,
    /// The first and the last day of its requests, counted from 1970, UTC.
    pub days: (i32, i32),
    /// How many tracking requests it is.
    pub requests: u32,
    /// Hash of the user agent: hits of one agent are cheap for Matomo when they stand side by side.
    pub agent: u64,
    /// Hash of the visitor, whose hits keep their order.
    pub visitor: u64,
    /// Its requests carry our marks. A replayed one may carry what it had before, by which nobody can ask for it alone.
    pub marked: bool,
    /// With `--rejects`: its lines as they were, to be written there if they are refused. Empty otherwise.
    pub originals: Vec<Original>,
}

/// A line in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinePosition {
    /// From 1.
    pub line: u64,
    /// In unpacked bytes.
    pub start: u64,
    /// The same, line end included.
    pub end: u64,
}

impl RequestGroup {
    /// All its lines.
    pub fn places(&self) -> impl Iterator<Item = LinePosition> {
        std::iter::once(self.place).chain(self.more.iter().copied())
    }

    /// How many lines it is.
    pub fn lines(&self) -> u64 {
        1 + self.more.len() as u64
    }
}

/// A bounded bunch of units. Buffers go round: an emptied parcel returns to the parser.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The requests' JSON objects, end to end.
    pub body: Vec<u8>,
    /// Where each request ends in `body`.
    pub ends: Vec<u32>,
    pub units: Vec<RequestGroup>,
    /// The input pauses or has ended: what is there goes out now.
    pub flush: bool,
}

/// Bytes of requests in a parcel before it is handed over: enough that a hand-over costs next to nothing, little
/// enough that the parcels under way do not count.
pub const FULL: usize = 32 * 1024;

/// An emptied parcel keeps its buffers for the next, but for those that an odd line has made so large.
const KEPT: usize = 8 * FULL;

impl Chunk {
    /// With room for what usually goes in, so that it need not grow.
    pub fn new() -> Self {
        let hits = FULL / USUAL;
        Self {
            body: Vec::with_capacity(FULL + FULL / 8),
            ends: Vec::with_capacity(hits),
            units: Vec::with_capacity(hits),
            flush: false,
        }
    }

    pub fn is_full(&self) -> bool {
        self.body.len() >= FULL
    }

    pub fn clear(&mut self) {
        if self.body.capacity() > KEPT {
            *self = Self::new();
        }
        self.body.clear();
        self.ends.clear();
        self.units.clear();
        self.flush = false;
    }

    /// The JSON object of each request.
    pub fn requests(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, end)| &self.body[begin as usize..*end as usize])
    }

    /// The request written last is finished.
    pub fn end_request(&mut self) {
        self.ends.push(self.body.len() as u32);
    }
}
