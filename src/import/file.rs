//! Opens one log: looks it up in the ledger, detects its format, reads its lines, and records the
//! result.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bumpalo::Bump;
use chrono::DateTime;

use super::follow::ReadSoFar;
use super::format_selector::MAX_BUFFERED_BYTES;
use super::ledger_handle::StateDir;
use super::open_log::{OpenLog, ResumePoint};
use super::recovery::{MAX_RENAMES, Patience, WaitingLog};
use super::spool::{self, SpoolFile, SpooledPipe};
use super::{Flow, Importer, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::input::InputError;
use crate::input::buffered::BufferedLine;
use crate::input::discover::{Source, is_same_file};
use crate::input::lines::{LineEvent, LineOptions, Lines};
use crate::ledger::{FileChange, LogFile, LogId, LogState, Ranges};
use crate::report::rejects;
use crate::report::{Count, Counter, Row, grouped};

/// How often to check whether the recorders are done with a log.
const RECORDER_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long Matomo may take to confirm what it acknowledged.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long recorders may be idle before their last acknowledgements are in the ledger.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the other logs wait for a log that is followed.
const MAX_FOLLOWED_WAIT: Duration = Duration::from_secs(5);

/// If so many lines at the beginning of a log are dated ahead, and no other, the import stops.
const MAX_LINES_AHEAD_OF_TIME: u32 = 100;

/// Lines to look at for their hosts.
pub(super) const MAX_LINES_AHEAD: usize = 200;
/// What to do about lines without a site.
pub(super) const SITE_ADVICE: &str =
    "create the site in Matomo, or give --idsite, --idsite-fallback or --add-sites-new-hosts";

/// A log to be read.
pub(super) struct Job<'s> {
    pub source: &'s Source,
    /// Its counters.
    pub row: Row,
    pub options: LineOptions,
    /// Copies every byte of a pipe to its spool before it is parsed.
    pub pipe: Option<SpooledPipe>,
    pub spool: Option<SpoolFile<'s>>,
    /// What the ledger knows about it; `None` if the log is not recorded.
    pub state: Option<LogState>,
    /// Only these lines are read.
    pub only: Option<Ranges>,
    /// The open file of a log that is followed.
    pub followed: Option<&'s File>,
    /// Reading pauses before the first line that is later, in seconds since 1970 (UTC).
    pub until: Option<i64>,
}

impl<'s> Job<'s> {
    /// A log that is read whole and not recorded in the ledger.
    pub(super) fn new(source: &'s Source, row: Row, options: LineOptions) -> Self {
        Self {
            source,
            row,
            options,
            pipe: None,
            spool: None,
            state: None,
            only: None,
            followed: None,
            until: None,
        }
    }

    /// Opens the log at the place of these options.
    fn open(&self, options: LineOptions) -> std::result::Result<Lines, InputError> {
        match self.followed {
            Some(file) => Lines::from_shared(self.source.to_string(), file, options),
            None => Lines::open(self.source, options),
        }
    }

    /// Returns whether this is a spool that an earlier run left. The user did not name it, so an
    /// error in it must not stop the import.
    fn is_leftover(&self) -> bool {
        self.spool.is_some_and(|spool| spool.is_leftover)
    }

    /// Where its lines can be read again. `None` for standard input without a spool.
    fn lasting_source(&self) -> Option<Source> {
        match (self.spool, self.source) {
            (Some(spool), _) => Some(Source::File(spool.path.to_owned())),
            (None, Source::Stdin) => None,
            (None, source) => Some(source.clone()),
        }
    }
}

/// How far a log was read.
pub(super) enum ReadEnd {
    /// Reading stopped early, for a reason outside the log.
    Stopped,
    /// The log was read to its end, which is at this position.
    Complete(u64),
    /// What follows this position cannot be read.
    Unreadable(u64, InputError),
    /// What follows this position does not fit the options.
    Unusable(u64, Error),
    /// The log was read to its end, but no line belongs to a site.
    NoSite(Error),
    /// The log was read to its end, and is followed from there. Or reading pauses, since other logs
    /// have earlier lines.
    Open(Box<OpenedLog>),
    /// The next line is later than reading was to go.
    Ahead,
}

/// A log whose format is known, so that its lines can be read.
pub(super) struct OpenedLog {
    pub log: OpenLog,
    format: Box<dyn Format>,
    /// Lines that were read ahead.
    ahead: VecDeque<BufferedLine>,
    is_pipe: bool,
    is_leftover: bool,
}

/// The beginning of a log.
enum LogStart {
    /// A log whose format is known.
    Lines(Box<OpenedLog>),
    /// It has no line to import, or cannot be read.
    Ended(Flow, ReadEnd),
}

/// What the ledger says about a file.
enum FileLookup {
    Read {
        state: LogState,
        is_packed: bool,
    },
    /// An earlier run has finished it, or this run reads it under another name.
    Skip,
    /// Another file of this run has the same content.
    Duplicate,
}

// From a source to its lines.
impl Importer {
    pub(super) fn import_source(&mut self, source: &Source, row: Row) -> Result<Flow> {
        self.import_source_until(source, row, None)
    }

    /// Imports a log. An object is only read as far as its lines are not later than `until`. If it
    /// has others, it is left in `paused`.
    pub(super) fn import_source_until(
        &mut self,
        source: &Source,
        row: Row,
        until: Option<i64>,
    ) -> Result<Flow> {
        match (source, self.state_dir().cloned()) {
            (source, Some(dir)) if source.is_pipe() => self.import_pipe(source, row, &dir),
            (Source::File(path), _)
                if self.ledger.is_some() && !source.is_pipe() && !path.is_dir() =>
            {
                self.import_file(source, row, path)
            }
            (Source::Object(object), _) => self.import_object(source, row, object, until),
            _ => self.import_unrecorded(source, row),
        }
    }

    fn import_file(&mut self, source: &Source, row: Row, path: &Path) -> Result<Flow> {
        match self.look_up(path) {
            Ok(FileLookup::Read { state, is_packed }) => {
                let options = LineOptions {
                    // The log may still grow: a line without its end is not complete yet.
                    incomplete_last: self.state_dir().is_none() || is_packed,
                    ..self.input.line_options()
                };
                self.import_job(Job {
                    state: Some(state),
                    ..Job::new(source, row, options)
                })
            }
            Ok(FileLookup::Skip) => {
                row.1.begin();
                row.1
                    .set_passed(fs::metadata(path).map_or(0, |file| file.len()));
                Ok(Flow::Continue)
            }
            // Without a state directory, a log that is named twice is imported twice.
            Ok(FileLookup::Duplicate) => self.import_unrecorded(source, row),
            Err(error) => {
                let reason = self.why_unreadable(source, &error);
                self.console.warn_incomplete(reason);
                Ok(Flow::Continue)
            }
        }
    }

    /// Why a file could not be looked up. Reading it gives a more precise error.
    pub(super) fn why_unreadable(&self, source: &Source, error: &Error) -> String {
        let inspected = Lines::open(source, self.input.line_options())
            .and_then(|mut lines| self.wait_for_input(&mut lines));
        inspected.map_or_else(|error| error.of_file(), |_| error.to_string())
    }

    fn import_unrecorded(&mut self, source: &Source, row: Row) -> Result<Flow> {
        self.import_job(Job::new(source, row, self.input.line_options()))
    }

    /// Reads a log and records how far it was read.
    pub(super) fn import_job(&mut self, mut job: Job) -> Result<Flow> {
        let mut copy = None;
        // From here on, everything that comes through a pipe is in its spool, whatever fails.
        let opened = match job.pipe.take() {
            Some(SpooledPipe { tee, spool }) => {
                copy = Some(spool);
                Lines::open_pipe(job.source, tee, job.options.clone())
            }
            None => job.open(job.options.clone()),
        };
        let mut lines = match opened {
            Ok(lines) => lines,
            Err(error) => {
                match job.spool {
                    Some(spool) => spool.wait_for_more(&error.of_file(), &self.console),
                    None => self.report_unreadable(job.source, &error),
                }
                return Ok(Flow::Continue);
            }
        };
        let total_bytes = lines.total();
        let is_pipe = total_bytes.is_none();
        let is_object = matches!(job.source, Source::Object(_));
        let log = job.state.as_ref().map(|state| state.log);
        let (source, name, spool) = (job.source, job.source.to_string(), job.spool);
        let account = Arc::clone(&job.row.1);
        let outcome = self.read_log(job, &mut lines);
        if let (Some(copy), Some(spool)) = (copy, spool) {
            let (shutdown, console) = (&self.shutdown, &self.console);
            match &outcome {
                Err(_) | Ok((Flow::Stop, _)) => {
                    let is_log = !outcome.as_ref().is_err_and(Error::is_about_log);
                    spool::save_rest(&name, &mut lines, &copy, is_log, shutdown, console);
                }
                Ok((_, ReadEnd::Unreadable(_, error))) if spool.is_hopeless(error) => {
                    spool::save_unreadable(&name, &mut lines, &copy, shutdown, console);
                }
                Ok((_, ReadEnd::Complete(_))) => {
                    spool::note_half_line(&name, &copy.lock(), console);
                }
                Ok(_) => {}
            }
        }
        let (flow, end) = outcome?;
        match (spool, log, &mut self.ledger, end) {
            (Some(spool), Some(log), Some(ledger), end) => {
                ledger.spools.extend(spool.finish(log, end, &self.console));
            }
            (.., ReadEnd::Open(opened)) if is_object => {
                self.paused = Some((opened, lines));
                return Ok(flow);
            }
            (_, log, _, end) if is_object => {
                self.end_object(source, log, &end, lines.has_held_back());
            }
            (.., ReadEnd::Unreadable(_, error)) => self.report_unreadable(source, &error),
            (.., ReadEnd::Open(opened)) => {
                if let Some(follower) = &mut self.follower {
                    follower.opened = Some(ReadSoFar::new(*opened, lines));
                }
            }
            _ => {}
        }
        if let Some(total) = total_bytes {
            account.set_passed(total);
        }
        // So may what comes after it. The lines of files share batches.
        if is_pipe && flow != Flow::Stop && self.processor.queue.flush().is_err() {
            return Ok(Flow::Stop);
        }
        Ok(flow)
    }

    /// Settles the log's pending batches, waits for its first bytes, and reads it.
    fn read_log(&mut self, mut job: Job, lines: &mut Lines) -> Result<(Flow, ReadEnd)> {
        if !self.reconcile_job(&mut job)? {
            return Ok((Flow::Continue, ReadEnd::Stopped));
        }
        // A pipe may take its time.
        if lines.total().is_none() && self.processor.queue.flush().is_err() {
            return Ok((Flow::Stop, ReadEnd::Stopped));
        }
        self.watch(lines, job.state.as_ref());
        if let Err(error) = self.wait_for_input(lines) {
            let end = ReadEnd::Unreadable(lines.position(), error);
            return Ok((Flow::Continue, end));
        }
        let is_leftover = job.is_leftover();
        match self.read_with_format(job, lines) {
            Err(error) if is_leftover && error.is_about_log() => {
                Ok((Flow::Continue, ReadEnd::Unusable(0, error)))
            }
            outcome => outcome,
        }
    }

    /// Settles the batches that an earlier run left pending for this log. Returns false if the
    /// file was replaced meanwhile.
    fn reconcile_job(&mut self, job: &mut Job) -> Result<bool> {
        let (Some(state), Some(mut source), None) = (&job.state, job.lasting_source(), &job.only)
        else {
            return Ok(true);
        };
        let log = state.log;
        let patience = Patience::OnlyReady;
        let mut reconciliation =
            self.reconcile_pending(log, &source, &job.options, &job.row.1, patience)?;
        // A log that is followed may be renamed while its batches are settled.
        for _ in 0..MAX_RENAMES {
            if !reconciliation.is_replaced || job.followed.is_none() {
                break;
            }
            let Some(found) = self.find_log(log, &source) else {
                break;
            };
            source = found;
            let settled =
                self.reconcile_pending(log, &source, &job.options, &job.row.1, patience)?;
            reconciliation.is_replaced = settled.is_replaced;
            reconciliation.done.extend(&settled.done);
            reconciliation.held_back.extend(&settled.held_back);
        }
        if let Some(handle) = &mut self.ledger
            && (handle.queued.is_on || !reconciliation.held_back.is_empty())
            && handle.waiting.iter().all(|waiting| waiting.log != log)
        {
            handle.waiting.push(WaitingLog {
                log,
                source: source.clone(),
                row: (job.row.0, Arc::clone(&job.row.1)),
                options: job.options.clone(),
            });
        }
        if reconciliation.is_replaced && job.followed.is_some() {
            if let Some(follower) = &mut self.follower {
                follower.must_wait = true;
            }
            return Ok(false);
        }
        if reconciliation.is_replaced {
            self.console.warn_incomplete(format!(
                "{}: the log was replaced or truncated while its unconfirmed hits were looked up; \
                 the next run resumes with both logs",
                job.source
            ));
            return Ok(false);
        }
        if let Some(state) = &mut job.state {
            state.done.extend(&reconciliation.done);
            state.done.extend(&reconciliation.held_back);
        }
        Ok(true)
    }

    /// Reads only these lines of a log that this run has read otherwise.
    pub(super) fn import_missing(
        &mut self,
        log: LogId,
        source: &Source,
        row: Row,
        options: LineOptions,
        missing: Ranges,
    ) -> Result<Flow> {
        let Some(handle) = &self.ledger else {
            return Ok(Flow::Continue);
        };
        let state = LogState {
            log,
            change: FileChange::Grown,
            same_file: true,
            has_more: true,
            known_as: None,
            done: handle.ledger.done(log),
        };
        self.import_job(Job {
            state: Some(state),
            only: Some(missing),
            ..Job::new(source, row, options)
        })
    }

    /// Waits for the first bytes: the writer of a pipe may take its time.
    fn wait_for_input(&self, lines: &mut Lines) -> std::result::Result<(), InputError> {
        self.input.wait_for_writer(lines, &self.shutdown)?;
        while !lines.inspect(POLL_INTERVAL)? && !self.shutdown.requested() {}
        Ok(())
    }

    fn read_with_format(&mut self, job: Job, lines: &mut Lines) -> Result<(Flow, ReadEnd)> {
        let (is_followed, until) = (job.followed.is_some(), job.until);
        let mut opened = match self.open_with_format(job, lines)? {
            LogStart::Lines(opened) => opened,
            LogStart::Ended(flow, end) => return Ok((flow, end)),
        };
        let unsent_since = opened.ahead.front().map(|line| line.since);
        self.processor
            .look_up_hosts(opened.format.as_ref(), &opened.ahead)?;
        self.check_first_dates(&mut opened, lines)?;
        let outcome = self.read_lines(&mut opened, until, unsent_since, lines);
        match outcome {
            Ok((Flow::Continue, ReadEnd::Complete(_))) if is_followed => {
                opened.log.pause();
                Ok((Flow::Continue, ReadEnd::Open(opened)))
            }
            Ok((Flow::Continue, ReadEnd::Ahead)) => {
                opened.log.pause();
                Ok((Flow::Continue, ReadEnd::Open(opened)))
            }
            outcome => self.end_log(*opened, outcome),
        }
    }

    /// Detects the format of a log, and goes to the line where it resumes.
    fn open_with_format(&mut self, job: Job, lines: &mut Lines) -> Result<LogStart> {
        let name = job.source.to_string();
        self.console.debug(1, || format!("{name}: reading"));
        let selected = self.selector.choose(
            &name,
            lines,
            &self.shutdown,
            &self.console,
            self.input.flush_interval,
        )?;
        let is_leftover = job.is_leftover();
        let is_pipe = job.spool.is_some() || job.source.is_pipe();
        let (number, account) = (job.row.0, Arc::clone(&job.row.1));
        let Some((format, mut buffered)) = selected else {
            if self.shutdown.requested() {
                return Ok(LogStart::Ended(Flow::Stop, ReadEnd::Stopped));
            }
            let failed = lines.next(Duration::ZERO).err();
            if let Some(error) = failed {
                let end = ReadEnd::Unreadable(lines.position(), error);
                return Ok(LogStart::Ended(Flow::Continue, end));
            }
            account.begin();
            // Headers and blank lines alone, which need no request.
            if let (Some(state), Some(ledger)) = (&job.state, &self.ledger) {
                let read = 0..lines.position();
                ledger.ledger.mark_done(state.log, read, lines.number() - 1);
            }
            let end = ReadEnd::Complete(lines.position());
            return Ok(LogStart::Ended(Flow::Continue, end));
        };
        account.begin();
        if format.ready() {
            self.processor
                .check_host(&name, format.as_ref(), &buffered)?;
            self.processor
                .warn_of_missing_fields(&name, format.as_ref());
        }
        self.processor.set_ignored_fields(format.as_ref());
        let is_named = self.selector.is_named();
        let sessions = self
            .processor
            .session_mode(format.as_ref(), is_named, &buffered);
        let is_rejects = match self.resume(&job, format.as_ref(), lines, &mut buffered) {
            Ok(Some(is_rejects)) => is_rejects,
            Ok(None) => {
                self.console.warn_incomplete(format!(
                    "{name}: the log was replaced or truncated while it was opened; the next run \
                     resumes with both logs"
                ));
                return Ok(LogStart::Ended(Flow::Continue, ReadEnd::Stopped));
            }
            Err(error) => {
                let end = ReadEnd::Unreadable(lines.position(), error);
                return Ok(LogStart::Ended(Flow::Continue, end));
            }
        };
        let id = job
            .state
            .as_ref()
            .map_or(u64::MAX - number as u64, |state| state.log.number());
        let ledger = self
            .ledger
            .as_ref()
            .map(|handle| Arc::clone(&handle.ledger));
        let resume = ledger
            .zip(job.state)
            .map(|(ledger, state)| ResumePoint::new(ledger, state, job.only, is_pipe));
        self.processor
            .hint_at_listening(&name, format.as_ref(), &sessions);
        let account = Counter::new(account);
        let log = OpenLog {
            resume,
            sessions,
            is_rejects,
            ..OpenLog::new(name, number as u32, account, id, format.name())
        };
        Ok(LogStart::Lines(Box::new(OpenedLog {
            log,
            format,
            ahead: VecDeque::from(buffered),
            is_pipe,
            is_leftover,
        })))
    }

    /// Reads on in an open log: what was added to it, or what comes before a time.
    pub(super) fn read_on(
        &mut self,
        opened: &mut OpenedLog,
        until: Option<i64>,
        lines: &mut Lines,
    ) -> Result<(Flow, ReadEnd)> {
        self.processor.set_ignored_fields(opened.format.as_ref());
        let outcome = self.read_lines(opened, until, None, lines)?;
        opened.log.pause();
        Ok(outcome)
    }

    /// Ends the sessions of a log, and reports what is odd about it. `outcome` is that of
    /// reading it.
    pub(super) fn end_log(
        &mut self,
        opened: OpenedLog,
        outcome: Result<(Flow, ReadEnd)>,
    ) -> Result<(Flow, ReadEnd)> {
        let OpenedLog {
            mut log,
            format,
            is_pipe,
            is_leftover,
            ..
        } = opened;
        let outcome = match outcome {
            Err(error) if is_leftover && error.is_about_log() => {
                Ok((Flow::Continue, ReadEnd::Unusable(log.position, error)))
            }
            outcome => outcome,
        };
        // If the import stops here, the last sessions of the log may not be complete.
        let outcome = match outcome {
            Ok((Flow::Continue | Flow::EndLog, end)) => {
                Ok((self.processor.end_sessions(&mut log), end))
            }
            other => {
                self.processor.count_open_sessions(&log);
                other
            }
        };
        log.flush_passed();
        let outcome = match outcome {
            Ok((flow, ReadEnd::Complete(end))) if is_pipe && log.has_no_site() => {
                let lines = grouped(log.account.file().get(Count::Read));
                let error = Error::of_log(format!(
                    "{}: none of its {lines} lines belongs to a known site",
                    log.name
                ));
                match log.resume {
                    Some(_) => return Ok((flow, ReadEnd::NoSite(error))),
                    None => {
                        self.console
                            .warn_incomplete(format!("{error}; {SITE_ADVICE}"));
                        Ok((flow, ReadEnd::Complete(end)))
                    }
                }
            }
            outcome => outcome,
        };
        log.release_passed();
        if log.given_up > 0 {
            self.console.warn(format!(
                "{}: the regular expression takes too long on {} lines, which count as invalid: \
                 simplify it (it may take 200,000 steps for a line; with look-around or references \
                 a line may have 32 KiB)",
                log.name, log.given_up
            ));
        }
        self.judge_invalid(&log, format.name());
        outcome
    }

    fn read_lines(
        &mut self,
        opened: &mut OpenedLog,
        until: Option<i64>,
        first_read: Option<Instant>,
        lines: &mut Lines,
    ) -> Result<(Flow, ReadEnd)> {
        let OpenedLog {
            log, format, ahead, ..
        } = opened;
        log.until = until;
        let format = format.as_mut();
        let mut arena = Bump::new();
        let is_pipe = lines.total().is_none();
        // The lines of followed logs share a time.
        let is_paced = is_pipe || self.follower.is_some();
        if is_pipe {
            self.unsent_since = Some(first_read.unwrap_or_else(Instant::now));
        }
        loop {
            if self.shutdown.requested() {
                return Ok((Flow::Stop, ReadEnd::Stopped));
            }
            // Where one host is new, others follow.
            if self.processor.sites.take_miss() {
                if ahead.len() <= 1 {
                    ahead.extend(read_ahead(lines));
                }
                self.processor.look_up_hosts(format, ahead)?;
            }
            if let Some(buffered) = ahead.pop_front() {
                if is_paced {
                    self.unsent_since.get_or_insert_with(Instant::now);
                }
                for (index, line) in buffered.lines().enumerate() {
                    match self.processor.process_line(log, format, &line, &arena)? {
                        Flow::Continue => arena.reset(),
                        Flow::Ahead => {
                            let rest = buffered.lines().skip(index);
                            for (place, line) in rest.enumerate() {
                                ahead.insert(place, BufferedLine::new(&line));
                            }
                            return Ok((Flow::Continue, ReadEnd::Ahead));
                        }
                        flow => return Ok((flow, ReadEnd::Stopped)),
                    }
                }
                continue;
            }
            let resume = log.resume.as_ref();
            if resume.is_some_and(|resume| resume.ends_before(lines.position())) {
                return Ok((Flow::Continue, ReadEnd::Stopped));
            }
            let flow = match lines.next(POLL_INTERVAL) {
                // Not moved out, because that costs a copy.
                Ok(LineEvent::Line(ref line)) => {
                    if is_paced {
                        self.unsent_since.get_or_insert_with(Instant::now);
                    }
                    match self.processor.process_line(log, format, line, &arena)? {
                        Flow::Ahead => {
                            ahead.push_back(BufferedLine::new(line));
                            return Ok((Flow::Continue, ReadEnd::Ahead));
                        }
                        flow => flow,
                    }
                }
                Ok(LineEvent::Pause) => {
                    log.account.flush();
                    Flow::Continue
                }
                Ok(LineEvent::End) => {
                    return Ok((Flow::Continue, ReadEnd::Complete(lines.position())));
                }
                Err(error) => {
                    let end = ReadEnd::Unreadable(lines.position(), error);
                    return Ok((Flow::Continue, end));
                }
            };
            arena.reset();
            if flow != Flow::Continue {
                return Ok((flow, ReadEnd::Stopped));
            }
            if is_paced && self.is_flush_due() {
                log.flush_passed();
                if self.flush_paced() == Flow::Stop {
                    return Ok((Flow::Stop, ReadEnd::Stopped));
                }
            }
            // The reader is ahead of this line. Without compression, the position is exact.
            let bytes = lines.bytes_read().min(lines.position());
            log.account.set_bytes(bytes);
        }
    }
}

// Lines of pipes and of followed logs, which are sent after `--flush-interval`.
impl Importer {
    /// When lines that were read have to be sent at the latest. `None` if there are none.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.unsent_since
            .and_then(|since| since.checked_add(self.input.flush_interval))
    }

    pub(super) fn is_flush_due(&self) -> bool {
        self.flush_at().is_some_and(|at| at <= Instant::now())
    }

    /// Sends what was read so far.
    pub(super) fn flush_paced(&mut self) -> Flow {
        self.unsent_since = None;
        self.service.beat();
        match self.processor.queue.flush().is_err() {
            true => Flow::Stop,
            false => Flow::Continue,
        }
    }
}

// The dates at the beginning of a log.
impl Importer {
    /// Stops the import if all lines at the beginning of a log are dated ahead: a clock or a time
    /// zone is wrong, and with the right one the lines can be imported. What is read for that,
    /// usually one line, was then read ahead.
    ///
    /// # Errors
    ///
    /// Returns an error if all are.
    fn check_first_dates(&mut self, opened: &mut OpenedLog, lines: &mut Lines) -> Result<()> {
        let OpenedLog {
            log, format, ahead, ..
        } = opened;
        let format = format.as_ref();
        if log.resume.as_ref().is_some_and(|resume| !resume.is_new()) {
            return Ok(());
        }
        // The columns may be named by a header that is not processed yet.
        let mut with_header = match format.ready() {
            true => None,
            false => self.selector.given()?,
        };
        let mut arena = Bump::new();
        let (mut skipped, mut bytes, mut next, mut dated) = (self.processor.skip, 0, 0, 0);
        loop {
            while next >= ahead.len() {
                match lines.next(POLL_INTERVAL) {
                    _ if self.shutdown.requested() => return Ok(()),
                    Ok(LineEvent::Line(line)) => {
                        let line = BufferedLine::new(&line);
                        bytes += line.size();
                        ahead.push_back(line);
                    }
                    // Nothing of it is to be sent so far.
                    Ok(LineEvent::Pause) => {}
                    Ok(LineEvent::End) => return Ok(()),
                    Err(error) => {
                        lines.put_back(error);
                        return Ok(());
                    }
                }
            }
            if bytes > MAX_BUFFERED_BYTES {
                return Ok(());
            }
            for line in ahead[next].lines() {
                if skipped > 0 {
                    skipped -= 1;
                    continue;
                }
                if let Some(format) = &mut with_header
                    && line.bytes.starts_with(b"#")
                {
                    // An unusable header is reported when its line is processed.
                    let _ = format.header(line.bytes);
                    continue;
                }
                let format = with_header.as_deref().unwrap_or(format);
                let dates = self.processor.is_ahead(format, &line, &arena)?;
                arena.reset();
                match dates {
                    // Identical lines have no date either.
                    None => break,
                    Some((false, _)) => return Ok(()),
                    Some((true, time)) => {
                        dated += 1;
                        if dated == MAX_LINES_AHEAD_OF_TIME {
                            return Err(dates_ahead(&log.name, time, self.processor.now()));
                        }
                    }
                }
            }
            next += 1;
        }
    }
}

fn dates_ahead(log: &str, time: i64, now: i64) -> Error {
    let text = |time: i64| {
        let time = DateTime::from_timestamp(time, 0).unwrap_or_default();
        time.format("%Y-%m-%d %H:%M:%S UTC")
    };
    Error::of_log(format!(
        "{log}: its first {MAX_LINES_AHEAD_OF_TIME} lines are all dated ahead ({}, and now it is \
         {}), so nothing of it is imported: check the clocks of the server and of this machine, \
         --log-timezone and --add-to-date, and run again",
        text(time),
        text(now)
    ))
}

// The log in the ledger.
impl Importer {
    pub(super) fn state_dir(&self) -> Option<&StateDir> {
        self.ledger.as_ref()?.state_dir.as_ref()
    }

    /// Looks a file up in the ledger and prints what that means for it.
    fn look_up(&mut self, path: &Path) -> Result<FileLookup> {
        let not_a_file = || unreadable(path, ErrorKind::InvalidInput.into());
        let (mut state, mut is_packed) =
            self.identify(path, |file| file)?.ok_or_else(not_a_file)?;
        // It begins with the content of a log that this run has read, and is longer. Which of its
        // lines are done is known when the recorders are done with that log.
        if state.change == FileChange::ReadAlready && state.has_more && !state.same_file {
            if !self.wait_for_recorders(state.log) {
                self.console.warn_incomplete(format!(
                    "{}: it continues a log of this run that Matomo has not confirmed yet; left to \
                     the next run",
                    path.display()
                ));
                return Ok(FileLookup::Skip);
            }
            if self.shutdown.requested() {
                return Ok(FileLookup::Skip);
            }
            (state, is_packed) = self.identify(path, |file| file)?.ok_or_else(not_a_file)?;
        }
        let name = path.display();
        let before = state.known_as.as_ref().map_or_else(String::new, |before| {
            let before = before.display();
            match state.change {
                FileChange::Copied => format!(" (it begins like {before})"),
                _ => format!(" (formerly {before})"),
            }
        });
        match state.change {
            FileChange::Beginning if self.state_dir().is_none() => {
                return Ok(FileLookup::Duplicate);
            }
            FileChange::Beginning => {
                self.console.note(format!(
                    "{name}: a copy of the beginning of {}; it has no line of its own",
                    state.known_as.unwrap_or_default().display()
                ));
                return Ok(FileLookup::Skip);
            }
            FileChange::Done | FileChange::ReadAlready if self.state_dir().is_none() => {
                let Some(before) = state.known_as.filter(|_| state.same_file) else {
                    return Ok(FileLookup::Duplicate);
                };
                let before_name = before.display();
                match is_same_file(path, &before) {
                    true => self.console.note(format!(
                        "{name}: this is the same file as {before_name}; it is read once"
                    )),
                    false => self.console.warn_incomplete(format!(
                        "{name}: this file was read as {before_name} and renamed since; the file \
                         that had this name before is not imported: name it in another run"
                    )),
                }
                return Ok(FileLookup::Skip);
            }
            FileChange::Done => {
                self.console
                    .note(format!("{name}: already imported to its end{before}"));
                return Ok(FileLookup::Skip);
            }
            FileChange::ReadAlready => {
                let text = format!("{name}: already read by this run{before}");
                if !state.has_more {
                    self.console.note(text);
                    return Ok(FileLookup::Skip);
                }
                let text = format!("{text}; its further lines are left to the next run");
                match state.same_file {
                    true => self.console.note(text),
                    false => self.console.warn_incomplete(text),
                }
                return Ok(FileLookup::Skip);
            }
            FileChange::Truncated => self.console.note(format!(
                "{name}: truncated since the last run; reading it from the beginning"
            )),
            _ if !state.done.is_empty() => {
                let done = grouped(state.done.lines());
                let total = match is_packed {
                    true => None,
                    false => count_lines(path, self.input.line_options()),
                };
                let of_total =
                    total.map_or_else(String::new, |total| format!(" of {}", grouped(total)));
                self.console.note(format!(
                    "{name}: {done}{of_total} lines are done; continuing with the rest{before}"
                ));
            }
            _ => {}
        }
        Ok(FileLookup::Read { state, is_packed })
    }

    /// Looks a file up in the ledger. Returns also whether it is compressed; `None` if it is not
    /// a plain file. `prepare` may change how the file is compared.
    pub(super) fn identify(
        &self,
        path: &Path,
        prepare: impl FnOnce(LogFile) -> LogFile,
    ) -> Result<Option<(LogState, bool)>> {
        let Some(handle) = &self.ledger else {
            return Ok(None);
        };
        let Some(file) = LogFile::open(path).map_err(|error| unreadable(path, error))? else {
            return Ok(None);
        };
        let mut file = prepare(file);
        let is_packed = file.is_packed();
        let state = handle.ledger.lookup(file.probe())?;
        Ok(Some((state, is_packed)))
    }

    /// Waits until the recorders are done with what was read of a log, and Matomo has confirmed it,
    /// or for a shutdown. Returns false if Matomo does not confirm it in time.
    pub(super) fn wait_for_recorders(&mut self, log: LogId) -> bool {
        let Some(handle) = &self.ledger else {
            return true;
        };
        if self.processor.queue.flush().is_err() {
            return true;
        }
        let (mut idle_since, mut unconfirmed_since) = (None, None);
        let is_over = |since: &mut Option<Instant>, waits: bool, limit| {
            *since = waits.then(|| since.unwrap_or_else(Instant::now));
            since.is_some_and(|since| since.elapsed() > limit)
        };
        let begun = Instant::now();
        while handle.ledger.has_unfinished_lines(log) {
            self.service.beat();
            // Other logs have to be read, too.
            if self.follower.is_some() && begun.elapsed() > MAX_FOLLOWED_WAIT {
                return false;
            }
            let is_idle = self.account.lines_under_way() == 0;
            if is_idle && handle.ledger.has_queued_lines(log) {
                return false;
            }
            let is_unconfirmed = self.processor.queue.confirm();
            if is_over(
                &mut unconfirmed_since,
                is_idle && is_unconfirmed,
                CONFIRM_TIMEOUT,
            ) {
                return false;
            }
            // An incomplete last line is not sent, so its log is never done.
            let is_idle = is_idle && !is_unconfirmed;
            if is_over(&mut idle_since, is_idle, IDLE_TIMEOUT)
                || self.shutdown.wait(RECORDER_POLL_INTERVAL)
            {
                break;
            }
        }
        true
    }

    /// Returns whether a path still leads to this log. It may have been rotated since it was
    /// looked up.
    pub(super) fn is_still(&self, path: &Path, log: LogId) -> bool {
        let Some(handle) = &self.ledger else {
            return true;
        };
        let Ok(Some(file)) = LogFile::open(path) else {
            return false;
        };
        let mut file = file.growing();
        handle.ledger.matches(log, file.probe()).unwrap_or(false)
    }

    /// Like [`Importer::is_still`], but true for a compressed log, which would have to be read.
    fn is_still_if_plain(&self, path: &Path, log: LogId) -> bool {
        let is_packed = LogFile::open(path).is_ok_and(|file| file.is_some_and(|it| it.is_packed()));
        is_packed || self.is_still(path, log)
    }

    /// Shows the ledger every block before its lines are parsed: the fingerprint of the log
    /// covers what was read.
    fn watch(&self, lines: &mut Lines, state: Option<&LogState>) {
        if let Some(state) = state {
            self.watch_log(lines, state.log);
        }
    }

    /// Like [`Importer::watch`], for a log that is in the ledger.
    pub(super) fn watch_log(&self, lines: &mut Lines, log: LogId) {
        let Some(handle) = &self.ledger else {
            return;
        };
        let ledger = Arc::clone(&handle.ledger);
        let shutdown = self.shutdown.clone();
        let note = move |start: u64, bytes: &[u8]| {
            if let Err(error) = ledger.note_read(log, start, bytes) {
                shutdown.halt(error);
            }
        };
        lines.watch(match lines.total() {
            Some(_) => Box::new(note),
            None => spool::whole_lines(note),
        });
    }

    /// Reopens the log at the position where it resumes, and drops the lines that were read to
    /// detect the format. Does nothing for a pipe, and for a format that needs the log's header.
    /// Returns whether the log is a file of `--rejects`, or `None` if another log has its path now.
    fn resume(
        &self,
        job: &Job,
        format: &dyn Format,
        lines: &mut Lines,
        buffered: &mut Vec<BufferedLine>,
    ) -> std::result::Result<Option<bool>, InputError> {
        let Some(state) = job.state.as_ref().filter(|state| {
            state.resume_at() > 0 && lines.total().is_some() && !format.has_header()
        }) else {
            return Ok(Some(false));
        };
        // The first line says so for the whole log.
        let is_first_of_rejects = |line: &[u8]| rejects::format_of(line).is_some();
        let is_rejects = match buffered.first() {
            Some(first) => is_first_of_rejects(first.line().bytes),
            None => match lines.next(POLL_INTERVAL) {
                Ok(LineEvent::Line(line)) => is_first_of_rejects(line.bytes),
                _ => false,
            },
        };
        let options = LineOptions {
            start: state.resume_at(),
            start_line: state.resume_line(),
            ..job.options.clone()
        };
        job.row.1.set_resumed(state.resume_line().saturating_sub(1));
        let envelope = lines.envelope();
        *lines = job.open(options)?;
        if let Some(envelope) = envelope {
            lines.set_envelope(envelope);
        }
        self.watch(lines, Some(state));
        buffered.clear();
        // It may have been rotated just before it was opened again.
        let is_still = match job.lasting_source().filter(|_| job.followed.is_none()) {
            Some(Source::File(path)) => self.is_still_if_plain(&path, state.log),
            _ => true,
        };
        Ok(is_still.then_some(is_rejects))
    }
}

/// Reads the lines that are there already.
fn read_ahead(lines: &mut Lines) -> Vec<BufferedLine> {
    let mut ahead: Vec<BufferedLine> = Vec::new();
    while ahead.len() < MAX_LINES_AHEAD {
        match lines.next(Duration::ZERO) {
            Ok(LineEvent::Line(line)) => {
                if !ahead.last_mut().is_some_and(|last| last.add(&line)) {
                    ahead.push(BufferedLine::new(&line));
                }
            }
            Ok(LineEvent::Pause | LineEvent::End) => break,
            Err(error) => {
                lines.put_back(error);
                break;
            }
        }
    }
    ahead
}

/// Counts the complete lines of a file for a message, unless that would take long.
fn count_lines(path: &Path, options: LineOptions) -> Option<u64> {
    const MAX_BYTES: u64 = 64 << 20;
    let options = LineOptions {
        incomplete_last: false,
        ..options
    };
    let mut lines = Lines::open(&Source::File(path.to_owned()), options).ok()?;
    while lines.total()? <= MAX_BYTES && lines.position() <= MAX_BYTES {
        match lines.next(POLL_INTERVAL).ok()? {
            LineEvent::Line(_) | LineEvent::Pause => {}
            LineEvent::End => return Some(lines.number() - 1),
        }
    }
    None
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> Error {
    let log = path.display().to_string();
    Error::stopped(InputError::Open { log, source }.to_string())
}
