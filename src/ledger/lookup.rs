//! Looking up a file: which log it is, and what happened to that log since it was last read.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::database::Change;
use super::fingerprint::{
    ChecksumTracker, FileId, Fingerprint, HeadChecksum, HeadMatcher, MAX_SAMPLE_BYTES, PathText,
};
use super::ranges::{LogRanges, Ranges};
use super::state::{KnownLog, LogId};
use super::{Ledger, TrackedState, now};
use crate::error::{Error, Result};
use crate::input::decompress::Decompressor;
use crate::input::line_ends::{LineCounter, last_line_end};
use crate::input::regular_file::open_regular;

/// How much of two files is compared at once.
const COMPARED_BYTES: usize = 64 * 1024;

/// How far from a position the end of its line is searched.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Reads the decompressed bytes of a log from any position.
pub trait ReadAt {
    /// Fills `buffer` with the decompressed bytes from `position` on. Returns their number, which
    /// is smaller than the buffer only at the end of the log. Truncated compressed data is an
    /// error.
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Fills `buffer` with the first bytes. Damaged data is an error only if nothing precedes it,
    /// since the lines before it can be imported.
    fn read_beginning(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at(0, buffer)
    }
}

/// For a file that is not compressed.
impl ReadAt for File {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, position.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A file to look up.
pub struct FileProbe<'a> {
    pub path: &'a Path,
    pub file: FileId,
    pub is_compressed: bool,
    /// Whether it may be a shorter copy of a known log. A spool never is.
    pub may_be_copy: bool,
    pub content: &'a mut dyn ReadAt,
}

impl FileProbe<'_> {
    /// The first KiB.
    pub(super) fn beginning(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; MAX_SAMPLE_BYTES];
        let count = self.content.read_beginning(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// The number of decompressed bytes.
    pub(super) fn length(&mut self) -> io::Result<u64> {
        if !self.is_compressed {
            return Ok(self.file.size);
        }
        let mut buffer = vec![0; COMPARED_BYTES];
        let mut length = 0;
        loop {
            match self.content.read_at(length, &mut buffer)? {
                0 => return Ok(length),
                count => length += count as u64,
            }
        }
    }

    /// Whether there is a byte at `position`.
    fn has_byte_at(&mut self, position: u64) -> io::Result<bool> {
        Ok(self.content.read_at(position, &mut [0])? == 1)
    }
}

/// A log file, opened to be looked up.
pub struct LogFile {
    path: PathBuf,
    id: FileId,
    content: LogContent,
    may_grow: bool,
}

enum LogContent {
    Plain(File),
    Compressed(StreamedFile),
}

/// Opens a file at its beginning.
type Opener = Box<dyn Fn() -> io::Result<Box<dyn Read>>>;

/// A file that is read as a stream: it has to be read from its beginning again to go back.
pub(super) struct StreamedFile {
    open: Opener,
    reader: Decompressor<Box<dyn Read>>,
    position: u64,
    /// Truncated data is the end of the file, not an error.
    may_grow: bool,
}

impl LogFile {
    /// Returns `None` for pipes and devices, which cannot be read twice.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let plain = open_regular(path)?;
        let content = match Self::is_packed_file(&plain)? {
            false => LogContent::Plain(plain),
            true => {
                let path = path.to_owned();
                let open = move || Ok(Box::new(open_regular(&path)?) as Box<dyn Read>);
                LogContent::Compressed(StreamedFile::new(Box::new(open))?)
            }
        };
        Ok(Some(Self {
            path: path.to_owned(),
            id: FileId::from(&metadata),
            content,
            may_grow: false,
        }))
    }

    /// A file that is open already and not compressed, with the name that it has or had.
    pub fn plain(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: FileId::from(&file.metadata()?),
            content: LogContent::Plain(file.try_clone()?),
            may_grow: false,
        })
    }

    /// Whether an open file is compressed. Its position is at the beginning afterwards.
    pub fn is_packed_file(file: &File) -> io::Result<bool> {
        let mut file = file.try_clone()?;
        file.rewind()?;
        let is_packed = Decompressor::new(&file)?.is_compressed();
        file.rewind()?;
        Ok(is_packed)
    }

    /// For a spool, or to find a log again: accepts truncated compressed data, because the rest may
    /// follow.
    pub fn growing(mut self) -> Self {
        self.may_grow = true;
        if let LogContent::Compressed(file) = &mut self.content {
            file.may_grow = true;
        }
        self
    }

    pub fn is_packed(&self) -> bool {
        matches!(self.content, LogContent::Compressed(_))
    }

    /// What [`Ledger::lookup`] takes.
    pub fn probe(&mut self) -> FileProbe<'_> {
        FileProbe {
            path: &self.path,
            file: self.id,
            is_compressed: self.is_packed(),
            may_be_copy: !self.may_grow,
            content: match &mut self.content {
                LogContent::Plain(file) => file,
                LogContent::Compressed(file) => file,
            },
        }
    }
}

impl ReadAt for StreamedFile {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.seek(position)? {
            return Ok(0);
        }
        match self.fill(buffer) {
            (_, Some(error)) => Err(error),
            (filled, None) => Ok(filled),
        }
    }

    fn read_beginning(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.seek(0)?;
        match self.fill(buffer) {
            (0, Some(error)) => Err(error),
            (filled, _) => Ok(filled),
        }
    }
}

impl StreamedFile {
    pub(super) fn new(open: Opener) -> io::Result<Self> {
        Ok(Self {
            reader: Decompressor::new(open()?)?,
            open,
            position: 0,
            may_grow: false,
        })
    }

    /// Returns false if the data ends before `position`.
    fn seek(&mut self, position: u64) -> io::Result<bool> {
        if position < self.position {
            self.reader = Decompressor::new((self.open)()?)?;
            self.position = 0;
        }
        let mut skipped = vec![0; COMPARED_BYTES];
        while self.position < position {
            let room = skipped
                .len()
                .min(usize::try_from(position - self.position).unwrap_or(usize::MAX));
            match self.read(&mut skipped[..room])? {
                0 => return Ok(false),
                read => self.position += read as u64,
            }
        }
        Ok(true)
    }

    /// Reads from the current position on. Returns also the error that stopped it.
    fn fill(&mut self, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    self.position += read as u64;
                }
                Err(error) => return (filled, Some(error)),
            }
        }
        (filled, None)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.may_grow => {
                    return Ok(0);
                }
                other => return other,
            }
        }
    }
}

/// What happened to a log since it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Never seen before.
    New,
    /// Seen under this name. There is or may be more to read.
    Grown,
    /// The same file under another name.
    Renamed,
    /// Compressed, under another name.
    Compressed,
    /// Another file with the same content.
    Copied,
    /// The file was truncated, so it is another log from here on.
    Truncated,
    /// All lines are done.
    Done,
    /// A shorter copy of a log that is there as well. It has nothing of its own.
    Beginning,
    /// Already read in this run, from a copy or from the same file before it was renamed. Whatever
    /// else this file contains is left for the next run.
    ReadAlready,
}

impl FileChange {
    /// For the file of a known log that has more to read.
    fn of_known(known: &Fingerprint, path: &Path, file: &FileId, is_compressed: bool) -> Self {
        if known.path.0 == path {
            Self::Grown
        } else if known.file.is_same_file(file) {
            Self::Renamed
        } else if is_compressed {
            Self::Compressed
        } else {
            Self::Copied
        }
    }

    /// For a file of an unknown log. `before` is the log that had its name.
    fn of_unknown(before: Option<&Fingerprint>, file: &FileId) -> Self {
        match before {
            Some(before) if before.file.is_same_file(file) => Self::Truncated,
            _ => Self::New,
        }
    }
}

/// What the ledger knows about a log that is about to be read.
#[derive(Clone, Debug)]
pub struct LogState {
    pub log: LogId,
    pub change: FileChange,
    /// Whether it is the file in which the log was last seen, whatever its name.
    pub same_file: bool,
    /// Whether the file contains more than this run read of the log.
    pub has_more: bool,
    /// Where the log was last seen, if it was elsewhere.
    pub known_as: Option<PathBuf>,
    /// The lines that are done.
    pub done: Ranges,
}

impl LogState {
    /// The position, in decompressed bytes, before which all lines are done.
    pub fn resume_at(&self) -> u64 {
        self.done.first_gap()
    }

    /// The number of the line that begins there. Lines are counted from 1.
    pub fn resume_line(&self) -> u64 {
        self.done.lines_before_gap().saturating_add(1)
    }
}

/// The result of comparing a file with the known logs.
struct Comparison {
    known: Option<(LogId, KnownLog)>,
    /// Whether the file contains more than this run read of the known log.
    has_more: bool,
    /// The whole lines the file shares with the known log, if all of them are done.
    shared: Option<Ranges>,
    /// The first KiB of the file.
    beginning: Vec<u8>,
    /// Whether all lines of the file are done.
    is_done: bool,
}

impl Ledger {
    /// Finds out which log a file is, and which of its lines are done.
    ///
    /// Must be called just before the file is read, after the files before it were read to their
    /// end. Otherwise a copy of one of those is not recognized.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or decompressed as far as needed, and if the ledger cannot be
    /// written.
    pub fn lookup(&self, mut probe: FileProbe) -> Result<LogState> {
        let path = absolute(probe.path);
        // The fingerprint of the log before is not up to date until then.
        self.write_checksums(&mut self.lock());
        let compared = (self.compare(&mut probe)).map_err(|error| unreadable(&path, &error))?;
        let shorter = match compared.known {
            None if probe.may_be_copy => self.find_longer(&mut probe, &compared.beginning),
            _ => Ok(None),
        };
        let shorter = shorter.map_err(|error| unreadable(&path, &error))?;
        let mut inner = self.lock();
        let day = inner.state.days;
        let Some((log, known)) = compared.known else {
            let copied = match shorter {
                None => None,
                Some((log, known, None)) => {
                    return Ok(LogState {
                        log,
                        change: FileChange::Beginning,
                        same_file: known.fingerprint.file.is_same_file(&probe.file),
                        has_more: false,
                        known_as: Some(known.fingerprint.path.0),
                        done: known.done,
                    });
                }
                Some((_, known, Some(shared))) => Some((known.fingerprint.path.0, shared)),
            };
            return Ok(self.add(&mut inner, path, &probe.file, compared.beginning, copied));
        };
        let head = HeadChecksum::of(&compared.beginning);
        let before = known.fingerprint;
        let same_file = before.file.is_same_file(&probe.file);
        let read_already = inner.read_logs.contains(&log);
        // The known log is still where it was, unchanged. So this is either another log with the
        // same beginning, or a copy that has grown. They become two logs here, unless lines that
        // they share are unfinished.
        if !compared.is_done
            && !same_file
            && is_unchanged(&before)
            && let Some(shared) = compared.shared
        {
            let copied = Some((before.path.0, shared));
            return Ok(self.add(&mut inner, path, &probe.file, compared.beginning, copied));
        }
        let change = if compared.is_done {
            inner.read_logs.insert(log);
            FileChange::Done
        } else if read_already {
            FileChange::ReadAlready
        } else {
            FileChange::of_known(&before, &path, &probe.file, probe.is_compressed)
        };
        let known_as = Some(before.path.0.clone()).filter(|known| *known != path);
        if !read_already {
            let fingerprint = Fingerprint {
                path: PathText(path),
                file: probe.file,
                head: match head.length > before.head.length {
                    true => head,
                    false => before.head,
                },
                // The clock may have been set back.
                seen: now().max(before.seen),
                end: compared.is_done.then(|| known.done.first_gap()),
                ..before
            };
            if let Some(known) = inner.state.logs.get_mut(&log) {
                known.fingerprint = fingerprint;
                known.day = day;
                self.write_later(Change::Log(log, known.without_lines()));
            }
            inner.track(ChecksumTracker::new(log, compared.beginning));
        }
        Ok(LogState {
            log,
            change,
            same_file,
            has_more: compared.has_more,
            known_as,
            done: known.done,
        })
    }

    /// Adds an unknown log. `copied` is the path of a known log with the same beginning, and the
    /// lines they share, which are done.
    fn add(
        &self,
        inner: &mut TrackedState,
        path: PathBuf,
        file: &FileId,
        beginning: Vec<u8>,
        copied: Option<(PathBuf, Ranges)>,
    ) -> LogState {
        let mut logs = inner.state.logs.values().map(|log| &log.fingerprint);
        // Paths are compared as texts, since there may be many.
        let is_before = |it: &&Fingerprint| {
            it.target == self.target && it.path.0.as_os_str() == path.as_os_str()
        };
        let before = logs.rfind(is_before);
        let (change, known_as, done) = match copied {
            None => (
                FileChange::of_unknown(before, file),
                None,
                Ranges::default(),
            ),
            Some((path, shared)) => (FileChange::Copied, Some(path), shared),
        };
        let fingerprint = Fingerprint {
            target: self.target,
            path: PathText(path),
            file: *file,
            head: HeadChecksum::of(&beginning),
            seen: now(),
            end: None,
        };
        let log = inner.state.add_log(fingerprint.clone());
        let known = KnownLog::new(fingerprint, inner.state.days);
        self.write_later(Change::Log(log, known));
        inner.track(ChecksumTracker::new(log, beginning));
        if !done.is_empty() {
            let lines = LogRanges::from([(log, done.clone())]);
            inner.state.mark_done(&lines);
            inner.marked_done.extend(lines);
        }
        LogState {
            log,
            change,
            same_file: false,
            has_more: true,
            known_as,
            done,
        }
    }

    /// Whether a file is that log, as far as the log was read: to find the lines of a pending
    /// batch. Changes nothing.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or decompressed as far as needed.
    pub fn matches(&self, log: LogId, mut probe: FileProbe) -> Result<bool> {
        self.write_checksums(&mut self.lock());
        let Some(known) = self.lock().state.logs.get(&log).cloned() else {
            return Ok(false);
        };
        let path = absolute(probe.path);
        let compare = |probe: &mut FileProbe| {
            let beginning = probe.beginning()?;
            let mut matcher = HeadMatcher::new(&beginning);
            Ok(known.may_be(&probe.file, &mut matcher) && known.continues_in(probe)?)
        };
        compare(&mut probe).map_err(|error| unreadable(&path, &error))
    }

    /// Compares a file with the known logs. Does not hold the lock while it reads, because
    /// decompressing may take long.
    fn compare(&self, probe: &mut FileProbe) -> io::Result<Comparison> {
        if let Some(known) = self.find_done(&probe.file) {
            return Ok(Comparison {
                known: Some(known),
                has_more: false,
                shared: None,
                beginning: Vec::new(),
                is_done: true,
            });
        }
        let beginning = probe.beginning()?;
        for (id, log) in self.candidates(&probe.file, &beginning) {
            if log.continues_in(probe)? {
                let gap = log.done.first_gap();
                let is_done = gap > 0 && log.read_position() <= gap && !probe.has_byte_at(gap)?;
                return Ok(Comparison {
                    // A file that cannot be decompressed any further may be longer.
                    has_more: self.lock().read_logs.contains(&id)
                        && probe.has_byte_at(log.read_position()).unwrap_or(true),
                    shared: log.shared_lines(probe),
                    known: Some((id, log)),
                    beginning,
                    is_done,
                });
            }
        }
        Ok(Comparison {
            known: None,
            has_more: true,
            shared: None,
            beginning,
            is_done: false,
        })
    }

    /// Finds a log that begins with all of this file. Also returns the
    /// lines that they share and that are done; `None` if the file has no others.
    fn find_longer(
        &self,
        probe: &mut FileProbe,
        beginning: &[u8],
    ) -> io::Result<Option<(LogId, KnownLog, Option<Ranges>)>> {
        let candidates: Vec<_> = {
            let inner = self.lock();
            let logs = self.of_target(&inner.state.logs);
            let mut matcher = HeadMatcher::new(beginning);
            logs.filter(|(_, log)| log.samples.match_beginning(&mut matcher))
                .map(|(id, log)| (*id, log.clone()))
                .collect()
        };
        if candidates.is_empty() {
            return Ok(None);
        }
        let length = probe.length()?;
        let mut best: Option<(u64, LogId, KnownLog)> = None;
        for (id, log) in candidates {
            if log.read_position() > length
                && let Some(position) = log.samples.last_match(probe.content, length)?
                && best.as_ref().is_none_or(|(before, ..)| *before < position)
            {
                best = Some((position, id, log));
            }
        }
        let Some((position, id, log)) = best else {
            return Ok(None);
        };
        let differs_at = match log.still_in_its_file(&probe.file) {
            Some(mut file) => {
                first_difference(probe.content, file.probe().content, position, length)?
            }
            None => Some(position),
        };
        let shared = match differs_at {
            Some(end) => Some(log.lines_before(probe, end)?),
            None => None,
        };
        Ok(Some((id, log, shared)))
    }

    /// Finds the log whose lines were all done when the file was exactly as it is now. Saves
    /// decompressing the file. Checks the ranges as well, because records of them may have been
    /// damaged since.
    fn find_done(&self, file: &FileId) -> Option<(LogId, KnownLog)> {
        let inner = self.lock();
        let is_done = |log: &KnownLog| {
            let fingerprint = &log.fingerprint;
            let end = fingerprint.end.filter(|_| fingerprint.file == *file);
            end.is_some_and(|end| end <= log.done.first_gap())
        };
        let known = self
            .of_target(&inner.state.logs)
            .find(|(_, log)| is_done(log));
        known.map(|(id, log)| (*id, log.clone()))
    }

    /// The logs that begin like the file, the most likely first.
    fn candidates(&self, file: &FileId, beginning: &[u8]) -> Vec<(LogId, KnownLog)> {
        let inner = self.lock();
        let mut matcher = HeadMatcher::new(beginning);
        let mut candidates: Vec<_> = self
            .of_target(&inner.state.logs)
            .filter(|(_, log)| log.may_be(file, &mut matcher))
            .map(|(id, log)| (*id, log.clone()))
            .collect();
        candidates.sort_by_key(|(id, log)| {
            let other_file = !log.fingerprint.file.is_same_file(file);
            // A log without a tail was empty when it was seen, and matches any file.
            let order = Reverse((log.read_position(), *id));
            (log.tail.is_none(), other_file, order)
        });
        candidates
    }

    /// The logs of this ledger's target that are files.
    fn of_target<'a>(
        &self,
        logs: &'a BTreeMap<LogId, KnownLog>,
    ) -> impl Iterator<Item = (&'a LogId, &'a KnownLog)> {
        let target = self.target;
        logs.iter().filter(move |(_, log)| {
            let fingerprint = &log.fingerprint;
            fingerprint.target == target && !fingerprint.file.is_object()
        })
    }
}

impl KnownLog {
    /// Whether the file begins like this log, or was empty when it was seen as this log.
    fn may_be(&self, file: &FileId, matcher: &mut HeadMatcher) -> bool {
        let same_file = self.fingerprint.file.is_same_file(file);
        match self.fingerprint.head.length {
            0 => same_file,
            // A log that was never read is only useful as the same file.
            _ => (same_file || self.tail.is_some()) && matcher.matches(&self.fingerprint.head),
        }
    }

    /// Whether a file that begins like this log also has the same bytes before the furthest
    /// position read.
    pub(super) fn continues_in(&self, probe: &mut FileProbe) -> io::Result<bool> {
        let matches = match &self.tail {
            Some(tail) => tail.matches(probe.content)?,
            None => true,
        };
        let done_end = self.done.end();
        Ok(matches && (done_end <= self.read_position() || probe.has_byte_at(done_end - 1)?))
    }

    /// Opens the file in which the log was last seen, if it still has the log and is another one
    /// than `than`.
    fn still_in_its_file(&self, than: &FileId) -> Option<LogFile> {
        let mut file = LogFile::open(&self.fingerprint.path.0).ok()??;
        let mut probe = file.probe();
        let is_log = !probe.file.is_same_file(than) && self.continues_in(&mut probe).ok()?;
        is_log.then_some(file)
    }

    /// The lines before a position that are done. The number of lines is counted in the file.
    fn lines_before(&self, probe: &mut FileProbe, end: u64) -> io::Result<Ranges> {
        let mut buffer = vec![0; COMPARED_BYTES];
        let mut position = 0;
        let mut found = LineCounter::default();
        while position < end {
            let count = probe.content.read_at(position, &mut buffer)?;
            let rest = usize::try_from(end - position).unwrap_or(usize::MAX);
            found.add(&buffer[..count.min(rest)]);
            if count == 0 {
                break;
            }
            position += count as u64;
        }
        let line_end = found.end();
        let mut shared = Ranges::default();
        if self.done.first_gap() >= line_end {
            shared.insert(0..line_end, found.lines());
        } else {
            let whole = self.done.iter().filter(|(range, _)| range.end <= line_end);
            whole.for_each(|(range, lines)| shared.insert(range, lines));
        }
        Ok(shared)
    }

    /// The whole lines that this log shares with a file that begins like it. Returns `None` if some
    /// of them are not done. A last line without its line end does not count, because it may
    /// continue in the file.
    fn shared_lines(&self, probe: &mut FileProbe) -> Option<Ranges> {
        let (gap, read) = (self.done.first_gap(), self.read_position());
        let mut bytes = |from: u64, to: u64| {
            let mut bytes = vec![0; usize::try_from(to - from).ok()?];
            let count = probe.content.read_at(from, &mut bytes).ok()?;
            (count == bytes.len()).then_some(bytes)
        };
        if read.saturating_sub(gap) > MAX_LINE_BYTES {
            return None;
        }
        let after = bytes(gap, read.max(gap))?;
        // A `\r` at the end is no line end yet.
        if last_line_end(after.strip_suffix(b"\r").unwrap_or(&after)).is_some() {
            return None;
        }
        let from = gap.saturating_sub(MAX_LINE_BYTES);
        let before = bytes(from, gap)?;
        let end = match last_line_end(&before) {
            // In UTF-16 a zero byte follows the line feed.
            Some(end) if end + 1 >= before.len() => gap,
            Some(end) => from + end as u64,
            None if from == 0 => 0,
            None => return None,
        };
        let unfinished = u64::from(end < gap);
        let lines = self.done.lines_before_gap().saturating_sub(unfinished);
        let mut shared = Ranges::default();
        shared.insert(0..end, lines);
        Some(shared)
    }
}

/// The first position from `start` to `end` at which two files differ.
fn first_difference(
    one: &mut dyn ReadAt,
    other: &mut dyn ReadAt,
    start: u64,
    end: u64,
) -> io::Result<Option<u64>> {
    let (mut ours, mut theirs) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    let mut position = start;
    while position < end {
        let count = one.read_at(position, &mut ours)?;
        let of_other = other.read_at(position, &mut theirs)?;
        let pairs = ours[..count].iter().zip(&theirs[..of_other]);
        let same = pairs.take_while(|(one, other)| one == other).count();
        if same < count {
            return Ok(Some(position + same as u64));
        }
        if count == 0 {
            break;
        }
        position += count as u64;
    }
    Ok(None)
}

/// Whether the file in which a log was last seen is still there, unchanged.
fn is_unchanged(log: &Fingerprint) -> bool {
    let now = std::fs::metadata(&log.path.0).map(|metadata| FileId::from(&metadata));
    now.is_ok_and(|now| now == log.file)
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::stopped(format!(
        "cannot read {}: {error}; check that file, or leave it out",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_compressed_file_is_read_from_any_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.gz");
        let text: Vec<u8> = (0..200_000u32)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let mut gz = flate2::write::GzEncoder::new(
            File::create(&path).unwrap(),
            flate2::Compression::fast(),
        );
        gz.write_all(&text).unwrap();
        gz.finish().unwrap();
        let mut file = LogFile::open(&path).unwrap().unwrap();
        assert!(file.is_packed());
        let end = text.len();
        for position in [0, 900_000, 5, end - 3, end, end + 10, 70_000] {
            let mut buffer = [0; 10];
            let read = file
                .probe()
                .content
                .read_at(position as u64, &mut buffer)
                .unwrap();
            let expected = text
                .get(position..(position + 10).min(end))
                .unwrap_or_default();
            assert_eq!(&buffer[..read], expected, "at {position}");
        }
    }
}
