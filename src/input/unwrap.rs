//! Takes lines out of their envelope, and joins lines that come in parts.

use std::mem;

use super::encoding::Encoding;
use super::envelope::{LogEnvelope, without_carriage_return};
use super::lines::{Line, LinePart};

/// Ranges of parts that are kept of a line. Only parts with other lines between them need a range
/// each.
const MAX_PARTS: usize = 1000;

/// Removes an envelope from lines.
pub(super) struct Unwrapper {
    envelope: LogEnvelope,
    raw: RawContent,
    max_line: usize,
    line: UnwrappedLine,
    /// Lines of both streams whose end is missing.
    unfinished: [Option<UnwrappedLine>; 2],
}

/// How [`Line::raw`] of the text in an envelope is made.
enum RawContent {
    /// The encoding is UTF-8.
    Same,
    /// The encoding extends ASCII: the envelope is removed from the raw line, too.
    Unwrapped,
    /// The text is encoded again.
    Encoded(Encoding),
}

impl Unwrapper {
    /// `encoding` is that of [`Line::raw`]. A line that is joined has at most `max_line` bytes.
    pub fn new(envelope: LogEnvelope, encoding: &Encoding, max_line: usize) -> Self {
        let raw = match encoding.unit() {
            1 if encoding.is_utf8() => RawContent::Same,
            1 => RawContent::Unwrapped,
            _ => RawContent::Encoded(encoding.clone()),
        };
        Self {
            envelope,
            raw,
            max_line,
            line: UnwrappedLine::default(),
            unfinished: [None, None],
        }
    }

    /// Takes a line of the log out of its envelope, or as it is if it has none. Returns whether
    /// `line` is complete.
    pub fn feed(&mut self, line: &Line) -> bool {
        let unwrapped = &mut self.line;
        unwrapped.begin(line);
        let Some(piece) = self.envelope.open(line.bytes, &mut unwrapped.text) else {
            unwrapped.text.extend_from_slice(line.bytes);
            unwrapped.set_raw(line.raw);
            return true;
        };
        match &self.raw {
            RawContent::Same => {}
            RawContent::Unwrapped => {
                unwrapped.has_raw = self
                    .envelope
                    .open(line.raw, &mut unwrapped.raw)
                    .is_some_and(|raw| raw == piece);
            }
            RawContent::Encoded(encoding) => {
                let text = String::from_utf8_lossy(&unwrapped.text);
                let encoded = encoding.encode(&text);
                unwrapped.raw.extend_from_slice(&encoded);
                unwrapped.has_raw = true;
            }
        }
        let unfinished = &mut self.unfinished[piece.stream as usize];
        match unfinished {
            None if piece.is_partial => {
                *unfinished = Some(mem::take(unwrapped));
                false
            }
            None => true,
            Some(head) => {
                head.append(unwrapped, self.max_line);
                let is_full = head.more.len() >= MAX_PARTS;
                if piece.is_partial && !is_full {
                    return false;
                }
                head.too_long |= piece.is_partial;
                self.finish(piece.stream as usize)
            }
        }
    }

    /// Makes a line whose end is missing the one that is returned.
    fn finish(&mut self, stream: usize) -> bool {
        let Some(line) = self.unfinished[stream].take() else {
            return false;
        };
        self.line = line;
        without_carriage_return(&mut self.line.text);
        true
    }

    /// Completes a line whose end is missing. Returns false without such a line.
    pub fn take_unfinished(&mut self) -> bool {
        let starts = self.unfinished.iter().enumerate();
        let starts = starts.filter_map(|(stream, line)| Some((line.as_ref()?.start, stream)));
        let first = starts.min();
        first.is_some_and(|(_, stream)| self.finish(stream))
    }

    /// The line that is complete.
    pub fn line(&self) -> Line<'_> {
        self.line.line()
    }

    pub fn envelope(&self) -> LogEnvelope {
        self.envelope
    }

    /// The position and the number of the first line whose end is missing.
    pub fn first_unfinished(&self) -> Option<(u64, u64)> {
        let lines = self.unfinished.iter().flatten();
        lines.map(|line| (line.start, line.number)).min()
    }
}

/// A line without its envelope.
#[derive(Default)]
struct UnwrappedLine {
    text: Vec<u8>,
    raw: Vec<u8>,
    /// `raw` differs from `text`.
    has_raw: bool,
    number: u64,
    start: u64,
    end: u64,
    terminated: bool,
    too_long: bool,
    more: Vec<LinePart>,
}

impl UnwrappedLine {
    /// Begins a line at the position of this one.
    fn begin(&mut self, line: &Line) {
        self.text.clear();
        self.raw.clear();
        self.has_raw = false;
        self.number = line.number;
        self.start = line.start;
        self.end = line.end;
        self.terminated = line.terminated;
        self.too_long = line.too_long;
        self.more.clear();
    }

    fn set_raw(&mut self, raw: &[u8]) {
        self.has_raw = self.text != raw;
        if self.has_raw {
            self.raw.extend_from_slice(raw);
        }
    }

    /// Appends the next part.
    fn append(&mut self, part: &Self, max_line: usize) {
        if part.has_raw && !self.has_raw {
            self.raw.clone_from(&self.text);
        }
        self.has_raw |= part.has_raw;
        if self.has_raw {
            let raw = if part.has_raw { &part.raw } else { &part.text };
            append_up_to(&mut self.raw, raw, max_line);
        }
        let is_whole = append_up_to(&mut self.text, &part.text, max_line);
        self.too_long |= part.too_long || !is_whole;
        self.terminated = part.terminated;
        match self.more.last_mut() {
            Some(last) if last.end == part.start => {
                last.end = part.end;
                last.lines += 1;
            }
            _ => self.more.push(LinePart {
                start: part.start,
                end: part.end,
                lines: 1,
            }),
        }
    }

    fn line(&self) -> Line<'_> {
        Line {
            bytes: &self.text,
            raw: if self.has_raw { &self.raw } else { &self.text },
            number: self.number,
            start: self.start,
            end: self.end,
            terminated: self.terminated,
            too_long: self.too_long,
            more: &self.more,
        }
    }
}

/// Removes an envelope from all of these lines, and joins those that come in parts.
pub fn unwrap_all(envelope: LogEnvelope, lines: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut unwrapper = Unwrapper::new(envelope, &Encoding::default(), usize::MAX);
    let mut unwrapped = Vec::new();
    for bytes in lines {
        let line = Line {
            bytes,
            raw: bytes,
            ..Line::default()
        };
        if unwrapper.feed(&line) {
            unwrapped.push(unwrapper.line.text.clone());
        }
    }
    unwrapped
}

/// Appends as much as fits. Returns whether all of it does.
fn append_up_to(text: &mut Vec<u8>, more: &[u8], length: usize) -> bool {
    let room = length.saturating_sub(text.len()).min(more.len());
    text.extend_from_slice(&more[..room]);
    room == more.len()
}
