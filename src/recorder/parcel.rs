//! What the parser hands to a recorder: finished tracking requests, and which lines they come from.

/// One line's worth of tracking requests, and what a recorder must know of the line. A line is nearly always one
/// request; a connection to a radio stream is several, which stay together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Which log, counted in the order in which they were opened.
    pub file: u32,
    /// From 1.
    pub line: u64,
    /// The line's place in its log, in unpacked bytes, line end included.
    pub start: u64,
    pub end: u64,
    /// Index into the run's sites.
    pub site: u32,
    /// The hit's day, counted from 1970, UTC.
    pub day: i32,
    /// How many tracking requests it is.
    pub requests: u32,
    /// Hash of the user agent: hits of one agent are cheap for Matomo when they stand side by side.
    pub agent: u64,
    /// Hash of the visitor, whose hits keep their order.
    pub visitor: u64,
}

/// A bounded bunch of units. Buffers go round: an emptied parcel returns to the parser.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The requests' JSON objects, end to end.
    pub body: Vec<u8>,
    /// Where each request ends in `body`.
    pub ends: Vec<u32>,
    pub units: Vec<Unit>,
    /// The input pauses or has ended: what is there goes out now.
    pub flush: bool,
}

impl Parcel {
    pub fn clear(&mut self) {
        self.body.clear();
        self.ends.clear();
        self.units.clear();
        self.flush = false;
    }

    /// The request written last is finished.
    pub fn end_request(&mut self) {
        self.ends.push(self.body.len() as u32);
    }
}
