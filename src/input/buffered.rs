//! Lines that are kept while those after them decide how they are read.

use std::time::Instant;

use super::lines::{Line, LinePart};

/// A line that was read ahead, with the identical lines that follow it.
#[derive(Debug)]
pub struct BufferedLine {
    /// When it was read.
    pub since: Instant,
    bytes: Vec<u8>,
    /// `None` if they are the same.
    raw: Option<Vec<u8>>,
    more: Vec<LinePart>,
    /// The line without its texts.
    line: Line<'static>,
    /// Number of identical lines.
    count: u64,
}

impl BufferedLine {
    pub fn new(line: &Line) -> Self {
        Self {
            since: Instant::now(),
            bytes: line.bytes.to_vec(),
            raw: (line.raw != line.bytes).then(|| line.raw.to_vec()),
            more: line.more.to_vec(),
            line: Line {
                bytes: b"",
                raw: b"",
                more: &[],
                ..*line
            },
            count: 1,
        }
    }

    pub fn line(&self) -> Line<'_> {
        self.nth(0)
    }

    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.count).map(|n| self.nth(n))
    }

    fn nth(&self, n: u64) -> Line<'_> {
        let length = self.length();
        Line {
            bytes: &self.bytes,
            raw: self.raw(),
            more: &self.more,
            number: self.line.number + n,
            start: self.line.start + n * length,
            end: self.line.end + n * length,
            ..self.line
        }
    }

    fn raw(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(&self.bytes)
    }

    fn length(&self) -> u64 {
        self.line.end - self.line.start
    }

    /// Counts the next line, if it is identical.
    pub fn add(&mut self, line: &Line) -> bool {
        let next = self.nth(self.count);
        let is_same = self.raw() == line.raw
            && self.bytes == line.bytes
            && (next.number, next.start, next.end) == (line.number, line.start, line.end)
            && self.more.is_empty()
            && line.more.is_empty()
            && (self.line.terminated, self.line.too_long) == (line.terminated, line.too_long);
        self.count += u64::from(is_same);
        is_same
    }

    /// The number of identical lines.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        let texts = self.bytes.len() + self.raw.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + texts + size_of_val(self.more.as_slice())
    }
}
