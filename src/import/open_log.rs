//! The log that is being read: what has been found out about it, and which of its lines are done.

use std::ops::Range;
use std::sync::Arc;

use super::invalid::InvalidLines;
use super::sessions::SessionMode;
use crate::error::Error;
use crate::input::lines::Line;
use crate::ledger::{Ledger, LogId, LogState, Ranges};
use crate::recorder::LinePosition;
use crate::report::{Count, Counter};

/// So many lines of a pipe, all without a site, are set aside instead of dropped.
const MIN_LINES_WITHOUT_SITE: u64 = 10;

/// The log that is being read.
pub(super) struct OpenLog {
    pub name: String,
    /// Its index in the account.
    pub number: u32,
    pub account: Counter,
    /// Distinguishes the hits of this log from those of others in their ids.
    pub id: u64,
    /// `None` if the log is not recorded in the ledger.
    pub resume: Option<ResumePoint>,
    /// The position of the line that is being read, in bytes after decompression.
    pub position: u64,
    /// Reading pauses before the first line that is later, in seconds since 1970 (UTC).
    pub until: Option<i64>,
    /// The time of the last hit, or of the line before which reading pauses.
    pub time: i64,
    /// Number of lines that fitted the format.
    pub fitting: u64,
    pub invalid: InvalidLines,
    /// Number of lines on which a regular expression took too long.
    pub given_up: u64,
    /// A line belongs to a site that Matomo has.
    pub has_site: bool,
    /// Its lines were sent, perhaps by a version that also sent dates which Matomo replaces.
    pub takes_any_date: bool,
    pub sessions: SessionMode,
    /// Why the last `#Fields:` line cannot be used; an error if a line follows it.
    pub unusable_header: Option<Error>,
    /// The last `#Fields:` line, for `--rejects`.
    pub header: Option<Arc<[u8]>>,
    /// The name of the format, for `--rejects`.
    pub format: &'static str,
    /// The log is a file of `--rejects` of an earlier run.
    pub is_rejects: bool,
}

impl OpenLog {
    pub fn new(name: String, number: u32, account: Counter, id: u64, format: &'static str) -> Self {
        Self {
            name,
            number,
            account,
            id,
            resume: None,
            position: 0,
            until: None,
            time: i64::MIN,
            fitting: 0,
            invalid: InvalidLines::default(),
            given_up: 0,
            has_site: false,
            takes_any_date: false,
            sessions: SessionMode::Off,
            unusable_header: None,
            header: None,
            format,
            is_rejects: false,
        }
    }

    /// Records that a line is done without a request.
    pub fn pass(&mut self, position: LinePosition) {
        if let Some(resume) = &mut self.resume {
            resume.pass(position.start, position.end);
        }
    }

    /// Records that nothing but the first line of the log is left to do of a joined line. It must
    /// be known before the first is done: otherwise a later run would read the others alone.
    #[inline]
    pub fn pass_parts(&self, line: &Line) {
        if let (false, Some(resume)) = (line.more.is_empty(), &self.resume) {
            for more in line.more {
                let (ledger, log) = (&resume.ledger, resume.state.log);
                ledger.mark_done(log, more.start..more.end, more.lines);
            }
        }
    }

    pub fn flush_passed(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.flush_passed();
        }
    }

    /// Makes known what was counted and done so far: it may take long until the next line comes.
    pub fn pause(&mut self) {
        self.flush_passed();
        self.account.flush();
    }

    /// Records that a line belongs to a site.
    pub fn find_site(&mut self) {
        if !self.has_site {
            self.has_site = true;
            self.release_passed();
        }
    }

    pub fn release_passed(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.release();
        }
    }

    /// Whether none of at least ten lines belongs to a site, so that something is wrong with the
    /// hosts.
    pub fn has_no_site(&self) -> bool {
        !self.has_site && self.account.file().get(Count::NoSite) >= MIN_LINES_WITHOUT_SITE
    }
}

/// A log in the ledger: which lines are done, and the lines that this run found to need no
/// request.
pub(super) struct ResumePoint {
    ledger: Arc<Ledger>,
    state: LogState,
    /// Only these lines are read.
    only: Option<Ranges>,
    /// Adjacent lines without a request, not yet in the ledger: one call records many lines.
    passed: Range<u64>,
    passed_lines: u64,
    /// Such lines of a pipe none of whose lines had a site so far: if it stays so, they are not
    /// done.
    held: Option<Vec<(Range<u64>, u64)>>,
}

impl ResumePoint {
    pub fn new(ledger: Arc<Ledger>, state: LogState, only: Option<Ranges>, holds: bool) -> Self {
        Self {
            ledger,
            state,
            only,
            passed: 0..0,
            passed_lines: 0,
            held: holds.then(Vec::new),
        }
    }

    pub fn log(&self) -> LogId {
        self.state.log
    }

    /// Returns whether the line that starts there is not to be read: it is done, or is settled
    /// apart.
    pub fn is_done(&self, start: u64) -> bool {
        match &self.only {
            None => start < self.state.done.end() && self.state.done.contains(start),
            Some(only) => !only.contains(start),
        }
    }

    /// Returns whether nothing of the log was done by an earlier run.
    pub fn is_new(&self) -> bool {
        self.only.is_none() && self.state.done.first_gap() == 0
    }

    /// Returns whether no line from this position on is to be read.
    pub fn ends_before(&self, position: u64) -> bool {
        self.only
            .as_ref()
            .is_some_and(|only| only.end() <= position)
    }

    fn pass(&mut self, start: u64, end: u64) {
        if self.passed.end != start {
            self.flush_passed();
        }
        if self.passed_lines == 0 {
            self.passed.start = start;
        }
        self.passed.end = end;
        self.passed_lines += 1;
    }

    fn flush_passed(&mut self) {
        if self.passed_lines > 0 {
            let (log, passed) = (self.state.log, self.passed.clone());
            match &mut self.held {
                Some(held) => match held.last_mut() {
                    Some((last, lines)) if last.end == passed.start => {
                        last.end = passed.end;
                        *lines += self.passed_lines;
                    }
                    _ => held.push((passed, self.passed_lines)),
                },
                None => self.ledger.mark_done(log, passed, self.passed_lines),
            }
            self.passed_lines = 0;
        }
    }

    fn release(&mut self) {
        for (passed, lines) in self.held.take().into_iter().flatten() {
            self.ledger.mark_done(self.state.log, passed, lines);
        }
    }
}
