//! A line of a log, and how a log's lines are to be read.

use super::encoding::Encoding;

/// How to read a log.
#[derive(Clone, Debug)]
pub struct LineOptions {
    pub encoding: Encoding,
    /// The position to begin at, in unpacked bytes: where a line begins.
    pub start: u64,
    /// The number of the line that begins there; 1 for a log's first.
    pub start_line: u64,
    /// Bytes of the longest line. A longer one is cut.
    pub max_line: usize,
    /// Whether what follows the last line end is a line; not for a log that may still grow.
    pub incomplete_last: bool,
}

impl Default for LineOptions {
    /// The whole log, in UTF-8, lines of up to 1 MiB.
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            start: 0,
            start_line: 1,
            max_line: 1 << 20,
            incomplete_last: true,
        }
    }
}

/// One line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text without line end (`\n` or `\r\n`): UTF-8, but for bytes that are no text in the log's encoding.
    pub bytes: &'a [u8],
    /// The bytes as they stand in the log, without `\n`; UTF-16 that only its BOM tells is little-endian here.
    pub raw: &'a [u8],
    /// From 1.
    pub number: u64,
    /// Where it begins, in unpacked bytes.
    pub start: u64,
    /// Where the next line begins, in unpacked bytes.
    pub end: u64,
    /// Whether the line has its line end.
    pub terminated: bool,
    /// The line is longer than [`LineOptions::max_line`], and `bytes` holds only its beginning: it is invalid.
    pub too_long: bool,
}

/// What comes next in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEvent<'a> {
    Line(Line<'a>),
    /// No line within the time given. Ask again.
    Pause,
    /// There is no more, and no more will come.
    End,
}
