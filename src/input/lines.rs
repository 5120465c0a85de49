//! Splits a log into lines, each with its number and position.

mod front;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use rustix::fs::OFlags;

use self::front::Front;
pub use self::front::LookAhead;
use super::InputError;
use super::archive::Archive;
use super::bucket::{BucketUrl, Object, ObjectReader};
use super::decompress::{Compression, Decompressor};
use super::discover::Source;
use super::encoding::{Encoding, LineEnd};
use super::reader::{
    BLOCK_BYTES, Block, Keeper, MIN_BLOCK_BYTES, Message, OBJECT_BLOCK_BYTES, OpenedSource, Reader,
    SharedSource, SourceFile, TeeState,
};
use crate::error::Error;

/// How to read a log.
#[derive(Clone, Debug)]
pub struct LineOptions {
    pub encoding: Encoding,
    /// Position of the first line to return, in decompressed bytes.
    pub start: u64,
    /// Number of the line at `start`; the first line of a log has number 1.
    pub start_line: u64,
    /// Maximum bytes of a line. Longer ones are truncated.
    pub max_line: usize,
    /// Whether to return a last line without a line break. Off for a log that may still grow, and
    /// for a pipe whose half line is kept for the next run: then it is returned only if it is too
    /// long, was compressed or is UTF-16. A `\r` at the end of a log that may still grow is not a
    /// line break yet, because `\n` may follow.
    pub incomplete_last: bool,
}

impl Default for LineOptions {
    /// The whole log in UTF-8, with lines of up to 1 MiB.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text in UTF-8, without its line end (`\n`, `\r\n` or `\r`) and without the NUL bytes
    /// before it. Bytes that are invalid in the encoding of the log are unchanged.
    pub bytes: &'a [u8],
    /// The same bytes in the encoding of the options. `utf-16` is little-endian here.
    pub raw: &'a [u8],
    /// From 1.
    pub number: u64,
    /// Position of the line, in decompressed bytes: the end of the one before.
    pub start: u64,
    /// Position of the next line, in decompressed bytes. If the line was joined of several lines of
    /// the log, `number`, `start` and `end` are those of the first.
    pub end: u64,
    /// Whether the line ends with a line break.
    pub terminated: bool,
    /// Whether the line is longer than [`LineOptions::max_line`], so that `bytes` is truncated.
    pub too_long: bool,
    /// The other lines of the log that it was joined of.
    pub more: &'a [LinePart],
}

/// Lines of the log that continue a line in an envelope. Lines of another stream may come between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinePart {
    /// In decompressed bytes.
    pub start: u64,
    pub end: u64,
    /// The number of lines.
    pub lines: u64,
}

/// Where to read on in a log that was read to its end. The default is its beginning.
#[derive(Default)]
pub struct LinePlace {
    position: u64,
    /// The number of lines before it.
    lines: u64,
    front: Option<Box<Front>>,
}

impl LinePlace {
    /// In decompressed bytes.
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The result of [`Lines::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEvent<'a> {
    Line(Line<'a>),
    /// No line yet.
    Pause,
    /// The end of the log.
    End,
}

/// Maximum wait, so that adding it to the clock cannot overflow.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Reads the lines of a log. Needs memory for three blocks and a few times the longest line.
pub struct Lines {
    log: String,
    reader: Reader,
    read: Arc<AtomicU64>,
    opening: Arc<Opening>,
    has_tee: bool,
    total: Option<u64>,
    options: LineOptions,
    block: Block,
    /// Bytes of `block` that were returned or saved.
    taken: usize,
    /// The number of line feeds in them, or fewer.
    line_feeds: usize,
    /// NUL bytes before the line that were passed over, and a `\n` of the line end before it.
    skipped: u64,
    /// Whether lines need neither decoding nor another [`Line::raw`].
    is_plain: bool,
    /// The beginning of a line from earlier blocks, truncated to the maximum length of a line.
    partial: Vec<u8>,
    /// Length of that beginning before it was truncated.
    partial_length: u64,
    /// A `\r` follows that beginning. Whether it ends with `\n`, the next block shows.
    after_cr: bool,
    /// The last byte before `options.start` is `\r`, and the next one is not known.
    resumes_after_cr: bool,
    /// A line assembled from several blocks.
    assembled: Vec<u8>,
    /// A decoded line.
    decoded: Vec<u8>,
    /// What [`Line::raw`] is.
    raw: RawText,
    /// Position of the next line.
    position: u64,
    number: u64,
    /// No more lines follow.
    ended: bool,
    /// The source was read to its end.
    at_end: bool,
    /// An error to return again.
    failure: Option<InputError>,
    watcher: Option<Watcher>,
    /// Lines that were read ahead, and the envelope around lines. Absent for most logs.
    front: Option<Box<Front>>,
    /// The encoding of [`Line::raw`].
    raw_encoding: Encoding,
}

/// Copies a pipe before its lines are returned.
pub struct Tee {
    /// What was copied earlier. It is read first.
    pub before: File,
    /// Receives the rest.
    pub keeper: Keeper,
}

/// Called with the position (decompressed bytes) and the contents of each block, before any line
/// that ends in it is returned, and with an empty block before a last line that only the end of the
/// log shows to be complete.
pub type Watcher = Box<dyn FnMut(u64, &[u8]) + Send>;

/// What the reading thread has found out when it opened the source.
#[derive(Default)]
struct Opening {
    /// Also set if it cannot be opened.
    is_open: AtomicBool,
    compression: OnceLock<Compression>,
}

/// How [`Line::raw`] is made.
enum RawText {
    /// As it is in the log.
    AsIs,
    /// From big-endian to little-endian UTF-16.
    Swapped(Vec<u8>),
    /// Decoded: the log has another encoding than the options say.
    Decoded,
}

enum Refill {
    Block,
    Pause,
    End,
}

impl Lines {
    /// Opens a log. Fails if it is missing, a directory, or not readable. A named pipe is opened by
    /// the reading thread, and errors are returned with the first line, since opening it may block.
    pub fn open(source: &Source, options: LineOptions) -> Result<Self, InputError> {
        let log = source.to_string();
        let opened = match source {
            Source::Stdin => stdin().and_then(|stdin| Self::from_file(log.clone(), stdin, options)),
            Source::File(path) => fs::metadata(path).and_then(|metadata| {
                if metadata.is_dir() {
                    let text =
                        "is a directory; name the logs in it, or a pattern such as DIRECTORY/*.log";
                    return Err(io::Error::new(ErrorKind::IsADirectory, text));
                }
                if metadata.is_file() {
                    return Self::from_file(log.clone(), File::open(path)?, options);
                }
                let path = path.clone();
                Self::from_opener(log.clone(), || File::open(path), None, None, None, options)
            }),
            Source::Object(object) => Self::from_object(object.clone(), options),
        };
        opened.map_err(|source| InputError::Open { log, source })
    }

    /// Reads an object. Its thread waits for the first bytes.
    fn from_object(object: Object, options: LineOptions) -> io::Result<Self> {
        let (log, size) = (object.to_string(), object.meta().size);
        let (start, unit) = (options.start, options.encoding.unit());
        let seek = start > 0 && !options.encoding.needs_beginning();
        let read = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&read);
        let opening = Arc::<Opening>::default();
        opening.is_open.store(true, Ordering::Release);
        let opened = Arc::clone(&opening);
        let open = move || {
            let mut decompressor = Decompressor::new(ObjectReader::new(object, count))?;
            if let Some(compression) = decompressor.compression() {
                let _ = opened.compression.set(compression);
            }
            let position = match seek && (unit > 1 || !decompressor.has_utf16_bom()?) {
                true => decompressor.seek_if_plain(start)?,
                false => 0,
            };
            Ok(OpenedSource {
                log: Box::new(decompressor),
                position,
                rest: None,
                // Many objects are open at once.
                block_bytes: OBJECT_BLOCK_BYTES,
            })
        };
        let reader = Reader::start(unit, false, open)?;
        Ok(Self {
            opening,
            ..Self::new(log, reader, read, Some(size), options)
        })
    }

    /// Opens stdin or a named pipe, and copies every byte before its lines are returned.
    pub fn open_pipe(source: &Source, tee: Tee, options: LineOptions) -> Result<Self, InputError> {
        let log = source.to_string();
        let opened = match source {
            Source::Stdin => stdin().and_then(|stdin| {
                let open = || Ok(stdin);
                let lines = Self::from_opener(log.clone(), open, None, None, Some(tee), options)?;
                lines.opening.is_open.store(true, Ordering::Release);
                Ok(lines)
            }),
            Source::File(path) => {
                let path = path.clone();
                Self::from_opener(
                    log.clone(),
                    || File::open(path),
                    None,
                    None,
                    Some(tee),
                    options,
                )
            }
            Source::Object(_) => Err(ErrorKind::Unsupported.into()),
        };
        opened.map_err(|source| InputError::Open { log, source })
    }

    /// Reads an open file, pipe or terminal from its current position, or a regular file from
    /// `options.start`. `log` is its name in errors.
    pub fn from_file(log: String, file: File, options: LineOptions) -> io::Result<Self> {
        Self::from_opened(log, file, None, options)
    }

    /// Reads a regular file from `options.start`, whatever the position of the handle, and leaves
    /// that position as it is. `log` is its name in errors.
    pub fn from_shared(log: String, file: &File, options: LineOptions) -> Result<Self, InputError> {
        let opened = file.try_clone();
        let opened = opened.and_then(|file| Self::from_opened(log.clone(), file, Some(0), options));
        opened.map_err(|source| InputError::Open { log, source })
    }

    /// Reads on in a regular file where another [`Lines`] has found its end.
    pub fn from_place(
        log: String,
        file: &File,
        options: LineOptions,
        place: LinePlace,
    ) -> Result<Self, InputError> {
        let options = LineOptions {
            start: place.position,
            start_line: place.lines.saturating_add(1),
            ..options
        };
        let mut lines = Self::from_shared(log, file, options)?;
        lines.front = place.front;
        Ok(lines)
    }

    /// Where to read on when the log has grown.
    pub fn into_place(self) -> LinePlace {
        LinePlace {
            position: self.position,
            lines: self.number.saturating_sub(1),
            front: self.front,
        }
    }

    fn from_opened(
        log: String,
        file: File,
        place: Option<u64>,
        options: LineOptions,
    ) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let total = metadata.is_file().then_some(metadata.len());
        let lines = Self::from_opener(log, || Ok(file), place, total, None, options)?;
        lines.opening.is_open.store(true, Ordering::Release);
        Ok(lines)
    }

    fn from_opener(
        log: String,
        open_file: impl FnOnce() -> io::Result<File> + Send + 'static,
        place: Option<u64>,
        total: Option<u64>,
        tee: Option<Tee>,
        options: LineOptions,
    ) -> io::Result<Self> {
        let (start, unit) = (options.start, options.encoding.unit());
        let seek = total.is_some() && start > 0 && !options.encoding.needs_beginning();
        let read = Arc::new(AtomicU64::new(0));
        let (count, counted) = (Arc::clone(&read), Arc::clone(&read));
        let opening = Arc::<Opening>::default();
        let opened = Arc::downgrade(&opening);
        let has_tee = tee.is_some();
        let open = move || {
            let file = open_file();
            // A writer that comes too late finds a closed pipe.
            let opening = opened.upgrade().ok_or(ErrorKind::TimedOut)?;
            opening.is_open.store(true, Ordering::Release);
            let file = file?;
            let (before, tee) = match tee {
                Some(Tee { before, keeper }) => (Some(before), Some(TeeState::new(keeper))),
                None => (None, None),
            };
            let source = SharedSource::new(SourceFile {
                before,
                file,
                place,
                size: total,
                count,
                tee,
                tail: Vec::new(),
            });
            let rest = has_tee.then(|| Box::new(source.clone()) as Box<dyn Read + Send>);
            // One more to see the end.
            let bytes = total.map_or(BLOCK_BYTES, |total| {
                usize::try_from(total.saturating_add(1)).unwrap_or(BLOCK_BYTES)
            });
            let mut decompressor = Decompressor::of_size(source, bytes)?;
            if let Some(compression) = decompressor.compression() {
                let _ = opening.compression.set(compression);
            }
            drop(opening);
            // UTF-16 is read from its byte order mark on.
            let position = if seek && (unit > 1 || !decompressor.has_utf16_bom()?) {
                decompressor.seek_if_plain(start)?
            } else {
                0
            };
            // What was skipped counts as read.
            if position > 0 {
                counted.store(position, Ordering::Relaxed);
            }
            let block_bytes = match decompressor.is_compressed() {
                true => BLOCK_BYTES,
                false => bytes,
            };
            Ok(OpenedSource {
                log: Box::new(decompressor),
                position,
                rest,
                block_bytes: block_bytes.clamp(MIN_BLOCK_BYTES, BLOCK_BYTES),
            })
        };
        // Reading a regular file does not block.
        let reader = Reader::start(unit, total.is_some_and(|total| total > 0), open)?;
        Ok(Self {
            opening,
            has_tee,
            ..Self::new(log, reader, read, total, options)
        })
    }

    fn new(
        log: String,
        reader: Reader,
        read: Arc<AtomicU64>,
        total: Option<u64>,
        options: LineOptions,
    ) -> Self {
        Self {
            log,
            reader,
            read,
            opening: Arc::default(),
            has_tee: false,
            total,
            block: Block::default(),
            taken: 0,
            line_feeds: 0,
            skipped: 0,
            is_plain: false,
            partial: Vec::new(),
            partial_length: 0,
            after_cr: false,
            resumes_after_cr: false,
            assembled: Vec::new(),
            decoded: Vec::new(),
            raw: RawText::AsIs,
            position: options.start,
            number: options.start_line,
            ended: false,
            at_end: false,
            failure: None,
            watcher: None,
            front: None,
            raw_encoding: options.encoding.clone(),
            options,
        }
    }

    /// Whether the reading thread is still opening the source: opening a named pipe waits for its
    /// writer.
    pub fn is_opening(&self) -> bool {
        self.total.is_none() && !self.opening.is_open.load(Ordering::Acquire)
    }

    /// The error for a named pipe that nothing has opened for writing.
    pub fn no_writer(&self, waited: Duration) -> InputError {
        let log = self.log.clone();
        InputError::NoWriter { log, waited }
    }

    /// Sets the watcher. Call it before the first line is read.
    pub fn watch(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    /// Makes the next call return this error of [`Lines::next`] again.
    pub fn put_back(&mut self, failure: InputError) {
        self.failure = Some(failure);
    }

    /// Position of the next line, in decompressed bytes. All lines before it were returned.
    pub fn position(&self) -> u64 {
        let first = self.front.as_ref().and_then(|front| front.first());
        first.map_or(self.position, |(position, _)| position)
    }

    /// Number of the next line.
    pub fn number(&self) -> u64 {
        let first = self.front.as_ref().and_then(|front| front.first());
        first.map_or(self.number, |(_, number)| number)
    }

    /// Bytes read so far, compressed as on disk.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of the file when it was opened, compressed as on disk. `None` for anything but a
    /// regular file.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Waits up to `wait` for the next line. Fails if the log cannot be read any further; an
    /// incomplete line is lost then, and [`LineEvent::End`] follows.
    #[inline]
    pub fn next(&mut self, wait: Duration) -> Result<LineEvent<'_>, InputError> {
        match self.front.is_none() {
            true => self.next_raw(wait),
            false => self.next_of_front(wait),
        }
    }

    #[inline(always)]
    fn next_raw(&mut self, wait: Duration) -> Result<LineEvent<'_>, InputError> {
        if let Some(length) = self.usual_length() {
            return Ok(LineEvent::Line(self.take_usual(length)));
        }
        self.next_unusual(wait)
    }

    /// The length of the next line, if it is in the block and is returned as it is there.
    #[inline(always)]
    fn usual_length(&mut self) -> Option<usize> {
        let length = self.next_line_feed()?.checked_sub(self.taken)?;
        let is_whole = self.partial_length == 0 && !self.after_cr && self.skipped == 0;
        let is_usual = is_whole
            && self.is_plain
            && self.position > 0
            && length <= self.options.max_line
            && self.block.bytes().get(self.taken) != Some(&0);
        is_usual.then_some(length)
    }

    /// The place of the next line feed in the block. `None` without one, and if something else may
    /// end the line before it.
    #[inline(always)]
    fn next_line_feed(&mut self) -> Option<usize> {
        loop {
            let place = *self.block.line_feeds.get(self.line_feeds)? as usize;
            if place >= self.taken {
                return Some(place);
            }
            self.line_feeds += 1;
        }
    }

    #[inline(always)]
    fn take_usual(&mut self, length: usize) -> Line<'_> {
        let (from, start, number) = (self.taken, self.position, self.number);
        self.taken = from + length + 1;
        self.line_feeds += 1;
        self.position = start + length as u64 + 1;
        self.number = number.saturating_add(1);
        let bytes = &self.block.bytes()[from..from + length];
        Line {
            bytes,
            raw: bytes,
            number,
            start,
            end: self.position,
            terminated: true,
            too_long: false,
            more: &[],
        }
    }

    #[inline(never)]
    fn next_unusual(&mut self, wait: Duration) -> Result<LineEvent<'_>, InputError> {
        let mut deadline = None;
        loop {
            if self.block.bytes().get(self.taken) == Some(&0) {
                self.skip_zeros();
            }
            let rest = &self.block.bytes()[self.taken..];
            let end = match (self.after_cr, self.block.has_cr) {
                (true, _) => self.line_feed_after_cr(rest),
                (_, true) => self.options.encoding.line_end(rest),
                _ => self.next_line_feed().map(|place| LineEnd {
                    start: place - self.taken,
                    length: 1,
                }),
            };
            if let Some(end) = end {
                return Ok(LineEvent::Line(self.take(end, true)));
            }
            match self.refill(wait, &mut deadline)? {
                Refill::Block => {}
                Refill::Pause => return Ok(LineEvent::Pause),
                Refill::End => return Ok(self.last_line()),
            }
        }
    }

    /// What ends a line after `\r`: `\n`, or nothing.
    #[cold]
    fn line_feed_after_cr(&self, rest: &[u8]) -> Option<LineEnd> {
        let line_feed = self.options.encoding.line_feed();
        let length = match rest.starts_with(line_feed) {
            true => line_feed.len(),
            false => 0,
        };
        (!rest.is_empty()).then_some(LineEnd { start: 0, length })
    }

    /// Passes over NUL bytes at the beginning of a line: a hole. Writers that keep their position
    /// leave one when a log is truncated.
    #[cold]
    fn skip_zeros(&mut self) {
        if self.partial_length > 0 || self.after_cr {
            return;
        }
        let zeros = count_zeros(&self.block.bytes()[self.taken..]);
        // In UTF-16, a zero byte may be half of a character.
        let hole = zeros - zeros % self.options.encoding.unit();
        self.taken += hole;
        self.skipped += hole as u64;
    }

    /// The line at the end of the log, if there is one that is complete.
    fn last_line(&mut self) -> LineEvent<'_> {
        let terminated = self.after_cr;
        let is_complete = match terminated {
            true => self.options.incomplete_last || self.has_tee,
            false => self.partial_length > 0 && self.returns_half_line(),
        };
        if !is_complete {
            return LineEvent::End;
        }
        if let Some(watcher) = &mut self.watcher {
            watcher(self.position + self.skipped + self.partial_length, &[]);
        }
        let end = LineEnd {
            start: 0,
            length: 0,
        };
        LineEvent::Line(self.take(end, terminated))
    }

    /// Whether the log ends with a line that was not returned, since it may still get its end.
    pub fn has_held_back(&self) -> bool {
        self.partial_length > 0 || self.after_cr
    }

    fn returns_half_line(&self) -> bool {
        self.options.incomplete_last
            || self.has_tee
                && (self.partial_length > self.options.max_line as u64
                    || self.opening.compression.get().is_some()
                    || self.options.encoding.unit() > 1)
    }

    /// Reads without returning lines, so that the tee receives the rest: to the end, until nothing
    /// arrives for `pause`, or for `at_most` in total. During a shutdown, reads only what is there.
    /// Returns whether it reached the end. Data that cannot be decompressed is copied, too.
    pub fn drain(
        &mut self,
        pause: Duration,
        at_most: Duration,
        stopping: impl Fn() -> bool,
    ) -> Result<bool, InputError> {
        const POLL_INTERVAL: Duration = Duration::from_millis(50);
        /// Pause and total time during a shutdown. Data that is there arrives at once.
        const SHUTDOWN_LIMITS: (Duration, Duration) =
            (Duration::from_millis(200), Duration::from_secs(2));
        let start = Instant::now();
        let mut last = start;
        let mut failure = None;
        while !self.at_end {
            let (pause, at_most) = match stopping() {
                true => SHUTDOWN_LIMITS,
                false => (pause, at_most),
            };
            if last.elapsed() >= pause || start.elapsed() >= at_most {
                break;
            }
            match self.reader.messages.recv_timeout(POLL_INTERVAL) {
                Ok(Message::Block(block)) => {
                    self.recycle_block();
                    self.set_block(block);
                    last = Instant::now();
                }
                Ok(Message::Copied) => last = Instant::now(),
                Ok(Message::End) => self.at_end = true,
                Ok(Message::Failed(error)) if !self.ended => failure = Some(error),
                // The first error says more.
                Ok(Message::Failed(error)) => return Err(self.failed(failure.unwrap_or(error))),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(failure.unwrap_or_else(thread_failed)));
                }
            }
            self.ended |= self.at_end || failure.is_some();
        }
        Ok(self.at_end)
    }

    /// The decompressed bytes that follow, without consuming them. Empty at the end, or if nothing
    /// arrives within `wait`.
    pub fn peek(&mut self, wait: Duration) -> Result<&[u8], InputError> {
        if self.taken == self.block.bytes().len() {
            self.refill(wait, &mut None)?;
        }
        Ok(&self.block.bytes()[self.taken..])
    }

    /// Inspects the first bytes, before the first line is read. Returns `false` if none arrive
    /// within `wait`. Fails if the log is binary or an archive, or as [`Lines::next`] does.
    pub fn inspect(&mut self, wait: Duration) -> Result<bool, InputError> {
        self.peek(wait)?;
        let first = &self.block.bytes()[self.taken..];
        if let Some(archive) = Archive::of(first) {
            let is_file = self.total.is_some()
                && self.log != Source::Stdin.to_string()
                && BucketUrl::parse(&self.log).is_none();
            let file = is_file.then_some(self.log.as_str());
            return Err(InputError::Archive {
                log: self.log.clone(),
                archive,
                command: archive.command(self.opening.compression.get().copied(), file),
            });
        }
        // UTF-16 text has a NUL next to each ASCII letter.
        if self.options.encoding.unit() == 1 && looks_binary(first) {
            let log = self.log.clone();
            return Err(InputError::Binary { log });
        }
        Ok(!first.is_empty() || self.ended)
    }

    /// Returns the line that ends there in the rest of the block.
    #[inline(always)]
    fn take(&mut self, line_end: LineEnd, terminated: bool) -> Line<'_> {
        let longest = self.options.max_line;
        let (from, length) = (self.taken, line_end.start);
        let raw_length = self.partial_length + length as u64;
        let too_long = raw_length > longest as u64;
        let mut end_length = line_end.length;
        if mem::take(&mut self.after_cr) {
            end_length += self.options.encoding.unit();
        }
        let start = self.position;
        let end = start + mem::take(&mut self.skipped) + raw_length + end_length as u64;
        let number = self.number;
        self.taken = from + length + line_end.length;
        self.position = end;
        self.number = number.saturating_add(1);

        let mut bytes = if self.partial_length == 0 {
            &self.block.bytes()[from..from + length.min(longest)]
        } else {
            let more = length.min(longest - self.partial.len());
            self.partial
                .extend_from_slice(&self.block.bytes()[from..from + more]);
            mem::swap(&mut self.partial, &mut self.assembled);
            self.partial.clear();
            self.partial_length = 0;
            &self.assembled
        };
        if start == 0 {
            bytes = self.options.encoding.without_bom(bytes);
        }
        let in_log = bytes;
        bytes = self.options.encoding.decode(bytes, &mut self.decoded);
        let raw = match &mut self.raw {
            RawText::AsIs => in_log,
            RawText::Decoded => bytes,
            RawText::Swapped(swapped) => {
                swapped.clear();
                swapped.extend_from_slice(in_log);
                let (units, _) = swapped.as_chunks_mut::<2>();
                units.iter_mut().for_each(|unit| unit.reverse());
                swapped
            }
        };
        Line {
            bytes,
            raw,
            number,
            start,
            end,
            terminated,
            too_long,
            more: &[],
        }
    }

    /// Saves the rest of the block and gets the next one. The first call for a line sets the
    /// deadline; later ones return when it has passed, no matter how fast blocks without a line
    /// break arrive.
    #[cold]
    fn refill(
        &mut self,
        wait: Duration,
        deadline: &mut Option<Instant>,
    ) -> Result<Refill, InputError> {
        let mut rest = &self.block.bytes()[self.taken..];
        if let Some(text) = self.options.encoding.strip_cr(rest) {
            rest = text;
            self.after_cr = true;
        }
        let more = rest.len().min(self.options.max_line - self.partial.len());
        self.partial.extend_from_slice(&rest[..more]);
        self.partial_length += rest.len() as u64;
        self.recycle_block();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.ended {
            return Ok(Refill::End);
        }

        let now = Instant::now();
        let until = match *deadline {
            Some(until) if until <= now => return Ok(Refill::Pause),
            Some(until) => until,
            None => *deadline.insert(now + wait.min(MAX_WAIT)),
        };
        let source = match self.reader.messages.recv_deadline(until) {
            Ok(Message::Block(block)) => {
                self.set_block(block);
                return Ok(Refill::Block);
            }
            Err(RecvTimeoutError::Timeout) | Ok(Message::Copied) => return Ok(Refill::Pause),
            Ok(Message::End) => {
                self.ended = true;
                self.at_end = true;
                return Ok(Refill::End);
            }
            Ok(Message::Failed(error)) => error,
            Err(RecvTimeoutError::Disconnected) => thread_failed(),
        };
        Err(self.failed(source))
    }

    fn failed(&mut self, source: io::Error) -> InputError {
        self.ended = true;
        let log = self.log.clone();
        let mut position = self.position + mem::take(&mut self.skipped);
        position += mem::take(&mut self.partial_length);
        if mem::take(&mut self.after_cr) {
            position += self.options.encoding.unit() as u64;
        }
        match source.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            true => InputError::NotCopied { log, source },
            false => InputError::Read {
                log,
                position,
                source,
            },
        }
    }

    /// Returns the block to the reader.
    fn recycle_block(&mut self) {
        if !self.block.bytes().is_empty() {
            self.reader.recycle(mem::take(&mut self.block));
        }
        self.taken = 0;
        self.line_feeds = 0;
    }

    /// Makes this the current block, from `options.start` on.
    fn set_block(&mut self, block: Block) {
        let bytes = block.bytes();
        if block.position == 0 {
            let named = mem::take(&mut self.options.encoding);
            self.options.encoding = named.of_log(bytes);
            self.raw = match named.unit() == self.options.encoding.unit() {
                false => RawText::Decoded,
                true if named.needs_beginning() && self.options.encoding.is_big_endian() => {
                    RawText::Swapped(Vec::new())
                }
                true => RawText::AsIs,
            };
        }
        self.is_plain = self.options.encoding.is_utf8() && matches!(self.raw, RawText::AsIs);
        if let Some(watcher) = &mut self.watcher {
            watcher(block.position, bytes);
        }
        let before = self.options.start.saturating_sub(block.position);
        self.taken = usize::try_from(before)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let encoding = &self.options.encoding;
        let (before, rest) = bytes.split_at(self.taken);
        if !before.is_empty() {
            self.resumes_after_cr = before.ends_with(encoding.carriage_return());
        }
        // The log ended with that `\r` when its lines were read.
        if !rest.is_empty()
            && mem::take(&mut self.resumes_after_cr)
            && rest.starts_with(encoding.line_feed())
        {
            self.taken += encoding.unit();
            self.skipped += encoding.unit() as u64;
        }
        self.block = block;
    }
}

/// The number of NUL bytes at the beginning. Fast over holes of gigabytes.
fn count_zeros(bytes: &[u8]) -> usize {
    const CHUNK_BYTES: usize = 4096;
    let is_hole = |chunk: &&[u8]| chunk.iter().fold(0, |all, byte| all | byte) == 0;
    let chunks = bytes.chunks_exact(CHUNK_BYTES).take_while(is_hole);
    let whole = chunks.count() * CHUNK_BYTES;
    let rest = bytes[whole..].iter().take_while(|byte| **byte == 0);
    whole + rest.count()
}

/// Standard input. Fails if the process was started without one: the runtime opens /dev/null in its
/// place, for reading and writing.
fn stdin() -> io::Result<File> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    let is_null = metadata.file_type().is_char_device()
        && fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev());
    if is_null && rustix::fs::fcntl_getfl(&file)? & OFlags::ACCMODE == OFlags::RDWR {
        return Err(io::Error::other("it is closed; pipe a log into it"));
    }
    Ok(file)
}

fn thread_failed() -> io::Error {
    io::Error::other("the thread that reads it failed")
}

/// Minimum bytes to decide whether a file is binary.
const MIN_SAMPLE_BYTES: usize = 64;
/// Minimum run of NUL bytes that counts as a hole. A log has one if it lost blocks in a crash, or
/// if it was truncated while its writer kept its position; lines follow.
const MIN_HOLE_BYTES: usize = 16;

/// Whether a file that begins with these decompressed bytes is binary: more than one in sixteen is
/// NUL or another control byte that text does not contain (random data has one in ten). Holes of
/// NUL bytes do not count. UTF-16 looks binary, too.
fn looks_binary(bytes: &[u8]) -> bool {
    // Nearly all logs have none. The compiler vectorizes a loop that does not stop early.
    if !(bytes.iter()).fold(false, |any, byte| any | is_control(*byte)) {
        return false;
    }
    let (mut seen, mut control) = (0usize, 0usize);
    for run in bytes.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
        if run[0] == 0 {
            if run.len() < MIN_HOLE_BYTES {
                seen += run.len();
                control += run.len();
            }
        } else {
            seen += run.len();
            control += run.iter().filter(|byte| is_control(**byte)).count();
        }
    }
    seen >= MIN_SAMPLE_BYTES && control > seen / 16
}

/// Control bytes, except for white space, bell, backspace and escape, which occur in terminal
/// output.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0x00..=0x06 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

#[cfg(test)]
mod tests;
