//! A log that stays open between rounds.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::file::{OpenedLog, ReadEnd};
use super::super::{Flow, Importer};
use crate::error::Result;
use crate::input::lines::{LineOptions, LinePlace, Lines};
use crate::ledger::{FileId, LogFile, LogId};

/// A log that has lost its name is closed when it has not changed for this time: its writer may
/// still have it open.
const UNNAMED_IDLE: Duration = Duration::from_secs(300);

/// How far a log was read.
pub struct ReadSoFar {
    opened: OpenedLog,
    place: LinePlace,
}

impl ReadSoFar {
    pub fn new(opened: OpenedLog, lines: Lines) -> Self {
        Self {
            opened,
            place: lines.into_place(),
        }
    }
}

/// A file that is open.
pub struct Tail {
    /// The name that it has or had.
    pub path: PathBuf,
    pub file: File,
    /// What the system said about the file before it was read.
    pub seen: FileId,
    /// What it says now, as far as the names were looked at.
    pub now: Option<FileId>,
    /// `None` if nothing of it had to be read.
    pub log: Option<LogId>,
    so_far: Option<ReadSoFar>,
    /// When it has to be looked at again, even if it does not change.
    due: Option<Instant>,
    /// One of the names of the command line leads to it.
    pub is_named: bool,
    pub changed: Instant,
}

/// What becomes of a file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEnd {
    Kept,
    /// It has changed, and it is not known yet which log it is.
    Unread,
    /// Its content was replaced.
    Truncated,
    /// It cannot be read any further.
    Failed,
    /// Nothing more will come.
    Over,
    /// The import stops.
    Stopped,
}

impl Tail {
    pub fn new(
        path: PathBuf,
        file: File,
        seen: FileId,
        log: Option<LogId>,
        so_far: Option<ReadSoFar>,
    ) -> Self {
        Self {
            path,
            file,
            seen,
            now: None,
            log,
            so_far,
            due: None,
            is_named: true,
            changed: Instant::now(),
        }
    }

    /// A file that has to wait, since another one with the same content is read first. The longer
    /// it took since `begun` to find that out, the later it is tried again.
    pub fn waiting(path: PathBuf, file: File, seen: FileId, begun: Instant) -> Self {
        Self {
            due: Instant::now().checked_add(begun.elapsed() * 10),
            ..Self::new(path, file, seen, None, None)
        }
    }

    /// Whether it has not grown since it was read.
    pub fn is_at_end(&self) -> bool {
        let now = self.file.metadata();
        now.is_ok_and(|metadata| FileId::from(&metadata) == self.seen)
    }

    /// Whether lines of this log are read here.
    pub fn reads(&self, log: LogId) -> bool {
        self.log == Some(log) && self.so_far.is_some()
    }
}

impl Importer {
    /// Reads what was added to a file. Asks the system nothing if the file has not changed.
    pub(super) fn read_tail(&mut self, tail: &mut Tail) -> Result<TailEnd> {
        let now = match tail.now.take() {
            Some(now) => now,
            None => match tail.file.metadata() {
                Ok(metadata) => FileId::from(&metadata),
                Err(_) => return Ok(TailEnd::Over),
            },
        };
        let is_due = tail.due.is_some_and(|due| due <= Instant::now());
        if now == tail.seen && !is_due {
            let is_over = !tail.is_named && tail.changed.elapsed() >= UNNAMED_IDLE;
            return Ok(match is_over {
                true => TailEnd::Over,
                false => TailEnd::Kept,
            });
        }
        tail.changed = Instant::now();
        let (Some(so_far), Some(log)) = (&mut tail.so_far, tail.log) else {
            return Ok(TailEnd::Unread);
        };
        if now.size < so_far.place.position() || !self.is_same(tail, log)? {
            return Ok(TailEnd::Truncated);
        }
        // It may grow while it is read.
        tail.seen = now;
        let Some(so_far) = &mut tail.so_far else {
            return Ok(TailEnd::Kept);
        };
        let options = LineOptions {
            incomplete_last: false,
            ..self.input.line_options()
        };
        let name = tail.path.display().to_string();
        let place = std::mem::take(&mut so_far.place);
        let mut lines = match Lines::from_place(name.clone(), &tail.file, options, place) {
            Ok(lines) => lines,
            Err(error) => {
                self.report_once(&tail.path, || error.of_file());
                return Ok(TailEnd::Failed);
            }
        };
        self.console.debug(2, || format!("{name}: reading on"));
        self.watch_log(&mut lines, log);
        let outcome = self.read_on(&mut so_far.opened, None, &mut lines);
        so_far.place = lines.into_place();
        match outcome {
            Ok((Flow::Stop, _)) => Ok(TailEnd::Stopped),
            Ok((_, ReadEnd::Unreadable(_, error))) if error.is_replaced() => Ok(TailEnd::Truncated),
            Ok((_, ReadEnd::Unreadable(_, error))) => {
                self.report_once(&tail.path, || error.of_file());
                Ok(TailEnd::Failed)
            }
            Ok(_) => Ok(TailEnd::Kept),
            Err(error) if error.is_about_log() => {
                self.report_once(&tail.path, || error.to_string());
                Ok(TailEnd::Failed)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a file still begins with what was read of it.
    fn is_same(&self, tail: &Tail, log: LogId) -> Result<bool> {
        let (Some(handle), Ok(file)) = (&self.ledger, LogFile::plain(&tail.path, &tail.file))
        else {
            return Ok(true);
        };
        let mut file = file.growing();
        Ok(handle.ledger.matches(log, file.probe()).unwrap_or(false))
    }

    /// Ends what was read of a file: its last sessions, and what is odd about its lines. If the
    /// import stops, the sessions are left to the next run.
    pub(super) fn close_tail(&mut self, tail: Tail, flow: Flow) -> Result<Flow> {
        let Some(so_far) = tail.so_far else {
            return Ok(Flow::Continue);
        };
        let end = match flow {
            Flow::Stop => ReadEnd::Stopped,
            _ => ReadEnd::Complete(so_far.place.position()),
        };
        let (flow, _) = self.end_log(so_far.opened, Ok((flow, end)))?;
        // The ledger need not know any more that this run has read it.
        if let (Some(handle), Some(log)) = (&self.ledger, tail.log)
            && !handle.ledger.has_unfinished_lines(log)
        {
            handle.ledger.release(log);
        }
        Ok(flow)
    }
}
