//! What the ledger knows of the log that is being read: where to go on, and which lines are done.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Log;
use super::way::Way;
use super::{Importer, TICK};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::import::format_selector::BufferedLine;
use crate::input::InputError;
use crate::input::lines::{LineEvent, LineOptions, Lines};
use crate::ledger::{FileChange, FileId, LogFile, LogId, LogState};
use crate::recorder::LinePosition;
use crate::report::rejects;

/// How often it is looked whether the recorders are through with a log.
const GLANCE: Duration = Duration::from_millis(20);
/// What is acknowledged is in the ledger so soon.
const IDLE: Duration = Duration::from_secs(1);

/// A log in the ledger.
pub(super) struct Known {
    pub state: LogState,
    /// Lines, one behind the other, that need no sending and that the ledger has not been told of yet.
    passed: Range<u64>,
    passed_lines: u64,
}

/// What a look into a file gave.
pub(super) enum Look {
    /// To be read; and whether it is packed.
    Read(LogState, bool),
    /// Nothing is to be read in it, for it was done in an earlier run, or is read in this one.
    Over,
    /// The same content as a log of this run, in another file or named twice.
    Twice,
}

impl Known {
    pub fn new(state: LogState) -> Self {
        Self {
            state,
            passed: 0..0,
            passed_lines: 0,
        }
    }

    /// Whether a line was dealt with in an earlier run.
    pub fn is_done(&self, start: u64) -> bool {
        start < self.state.done.end() && self.state.done.contains(start)
    }
}

impl Importer {
    /// What the ledger knows of a file; the user is told of it.
    pub(super) fn recognise(&mut self, path: &Path) -> Result<Look> {
        let not_plain = || unreadable(path, ErrorKind::InvalidInput.into());
        let (mut state, mut packed) = self.identify(path, |file| file)?.ok_or_else(not_plain)?;
        // It begins as a log does that this run has read, and goes on: once nothing of that one is under way any more,
        // it is known what of this one is done.
        if state.change == FileChange::ReadAlready && state.has_more && !state.same_file {
            self.wait_for_recorders(&state);
            if self.stop.requested() {
                return Ok(Look::Over);
            }
            (state, packed) = self.identify(path, |file| file)?.ok_or_else(not_plain)?;
        }
        let name = path.display();
        let before = state.known_as.as_ref().map_or_else(String::new, |before| {
            let before = before.display();
            match state.change {
                FileChange::Copied => format!(" (it begins as {before} does)"),
                _ => format!(" (it was {before})"),
            }
        });
        match state.change {
            FileChange::Done | FileChange::ReadAlready if self.kept().is_none() => {
                let Some(before) = state.known_as.filter(|_| state.same_file) else {
                    return Ok(Look::Twice);
                };
                let as_before = before.display();
                match is_one_file(path, &before) {
                    true => self.console.note(format!(
                        "{name}: another name of {as_before}, which is read once"
                    )),
                    false => self.console.warn_incomplete(format!(
                        "{name}: this is the file that was read as {as_before}, renamed meanwhile; what had this name \
                         then is not imported: name it in another run"
                    )),
                }
                return Ok(Look::Over);
            }
            FileChange::Done => {
                self.console
                    .note(format!("{name}: imported to its end already{before}"));
                return Ok(Look::Over);
            }
            FileChange::ReadAlready => {
                let told = format!("{name}: this run reads it already{before}");
                match (state.has_more, state.same_file) {
                    (false, _) => self.console.note(told),
                    (true, same_file) => {
                        let told = format!("{told}; what it has beyond that is for the next run");
                        match same_file {
                            true => self.console.note(told),
                            false => self.console.warn_incomplete(told),
                        }
                    }
                }
                return Ok(Look::Over);
            }
            FileChange::Truncated => self.console.note(format!(
                "{name}: it was cut off since the last run and is read from its beginning"
            )),
            _ if state.resume_at() > 0 => {
                self.console.note(format!(
                    "{name}: going on at line {}{before}",
                    state.resume_line()
                ));
            }
            _ => {}
        }
        Ok(Look::Read(state, packed))
    }

    /// What the ledger knows of a file, opened in that way, and whether it is packed. `None`: it is no plain file.
    pub(super) fn identify(
        &self,
        path: &Path,
        way: impl FnOnce(LogFile) -> LogFile,
    ) -> Result<Option<(LogState, bool)>> {
        let Some(books) = &self.books else {
            return Ok(None);
        };
        let Some(file) = LogFile::open(path).map_err(|error| unreadable(path, error))? else {
            return Ok(None);
        };
        let mut file = way(file);
        let packed = file.is_packed();
        Ok(Some((books.ledger.lookup(file.probe())?, packed)))
    }

    /// Waits until the recorders are through with what was read of a log, or the program is to stop.
    fn wait_for_recorders(&mut self, state: &LogState) {
        let Some(books) = &self.books else { return };
        if self.outbox.flush().is_err() {
            return;
        }
        let mut idle_since = None;
        while books.ledger.has_unfinished_lines(state.log) {
            // A last line without its end is not sent, and never done.
            let idle = self.account.under_way() == 0;
            idle_since = idle.then(|| idle_since.unwrap_or_else(Instant::now));
            let is_over = idle_since.is_some_and(|since: Instant| since.elapsed() > IDLE);
            if is_over || self.stop.wait(GLANCE) {
                return;
            }
        }
    }

    /// Whether a name still stands for a log as the ledger knows it: time has passed since it was looked into.
    pub(super) fn is_still(&self, path: &Path, log: LogId) -> bool {
        let Some(books) = &self.books else {
            return true;
        };
        let Ok(Some(file)) = LogFile::open(path) else {
            return false;
        };
        let mut file = file.growing();
        books.ledger.matches(log, file.probe()).unwrap_or(false)
    }

    /// Has the ledger see every block before its lines are handed on: by its last bytes the log is known again.
    pub(super) fn watch(&self, lines: &mut Lines, state: Option<&LogState>) {
        let (Some(state), Some(books)) = (state, &self.books) else {
            return;
        };
        let (ledger, log, stop) = (Arc::clone(&books.ledger), state.log, self.stop.clone());
        lines.watch(Box::new(move |start, block| {
            if let Err(error) = ledger.note_read(log, start, block) {
                stop.halt(error);
            }
        }));
    }

    /// Opens the log once more where it is to go on, if lines can be passed over: not those of a pipe, nor a header that
    /// its format needs. What was read to find the format is not needed then. Says whether it is an earlier run's
    /// rejects.
    pub(super) fn go_on(
        &self,
        way: &Way,
        format: &dyn Format,
        lines: &mut Lines,
        held: &mut Vec<BufferedLine>,
    ) -> std::result::Result<bool, InputError> {
        let Some(state) = way.state.as_ref().filter(|state| {
            state.resume_at() > 0 && lines.total().is_some() && !format.has_header()
        }) else {
            return Ok(false);
        };
        // What the first line says holds behind it too.
        let is_rejects = match held.first() {
            Some(held) => rejects::format_of(held.line().bytes).is_some(),
            None => {
                matches!(lines.next(TICK), Ok(LineEvent::Line(line)) if rejects::format_of(line.bytes).is_some())
            }
        };
        let options = LineOptions {
            start: state.resume_at(),
            start_line: state.resume_line(),
            ..way.options.clone()
        };
        *lines = Lines::open(way.source, options)?;
        self.watch(lines, Some(state));
        held.clear();
        Ok(is_rejects)
    }

    /// Notes a line that needs no sending.
    pub(super) fn pass(&self, log: &mut Log, LinePosition { start, end, .. }: LinePosition) {
        let Some(known) = &mut log.known else {
            return;
        };
        if known.passed.end != start || known.passed_lines == 0 {
            self.tell_passed(log);
        }
        if let Some(known) = &mut log.known {
            if known.passed_lines == 0 {
                known.passed = start..end;
            }
            known.passed.end = end;
            known.passed_lines += 1;
        }
    }

    /// Tells the ledger of such lines, many at once.
    pub(super) fn tell_passed(&self, log: &mut Log) {
        if let (Some(known), Some(books)) = (&mut log.known, &self.books)
            && known.passed_lines > 0
        {
            books
                .ledger
                .mark_done(known.state.log, known.passed.clone(), known.passed_lines);
            known.passed_lines = 0;
        }
    }
}

/// Whether two names are of one file, now.
fn is_one_file(one: &Path, other: &Path) -> bool {
    let file = |path| std::fs::metadata(path).map(|metadata| FileId::from(&metadata));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one.is_same_file(&other))
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> Error {
    let log = path.display().to_string();
    Error::stopped(InputError::Open { log, source }.to_string())
}
