//! Batches that an interrupted run left pending: their lines are read again, and Matomo is asked
//! which of their hits it has. Those lines are done; the others are read as if they were new
//! (guide/guarantees.md, "Unconfirmed batches").

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;

use super::ledger_handle::MAX_RUNS;
use super::line::{LineProcessor, position};
use super::open_log::OpenLog;
use super::sessions::{FinishedSession, ListenerEvent, SessionMode};
use super::{Flow, Importer, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::format::{Fit, Format, Record};
use crate::hit_id::HitId;
use crate::input::InputError;
use crate::input::buffered::BufferedLine;
use crate::input::discover::Source;
use crate::input::lines::{Line, LineEvent, LineOptions, Lines};
use crate::ledger::{BatchId, BatchState, FileId, LogId, PendingBatch, Ranges, UnconfirmedLines};
use crate::matomo::visit_log::{LookupError, Presence};
use crate::recorder::{Chunk, Decision, HIDDEN_HITS, LinePosition, UNANSWERED_LOOKUPS};
use crate::report::{Account, Count, Counter, FileAccount, Row};

/// How often a log is looked for again that was renamed while its batches were settled.
pub(super) const MAX_RENAMES: u32 = 5;

/// What Matomo has of a pending batch.
#[derive(Default)]
struct ReconciledBatch {
    /// Lines all of whose requests Matomo has.
    complete: Ranges,
    /// Lines some of whose requests Matomo has, and the ids of these requests.
    partial: Ranges,
    ids: Vec<HitId>,
    /// The number of hits of these lines.
    hits: u64,
}

/// Requests made again from their lines.
pub(super) struct RebuiltBatch {
    pub chunk: Chunk,
    /// All requests carry our hit ids, not ids from the log.
    pub has_hit_ids: bool,
    pub groups: Vec<RebuiltGroup>,
}

impl RebuiltBatch {
    fn new() -> Self {
        Self {
            chunk: Chunk::default(),
            has_hit_ids: true,
            groups: Vec::new(),
        }
    }

    /// Whether Matomo may have these requests and not show them: if it shows none, and all may have
    /// been sent to the reports of AI assistants. A batch has either visits or hits of assistants.
    fn may_be_hidden(&self, presences: &[Presence]) -> bool {
        let mut groups = self.groups.iter();
        !presences.is_empty()
            && presences.iter().all(|it| *it == Presence::Missing)
            && groups.all(|group| group.assistant != RebuiltAssistant::No)
    }
}

/// The lines of a request group, and the ids of its requests.
pub(super) struct RebuiltGroup {
    pub lines: Vec<LinePosition>,
    pub ids: Vec<HitId>,
    /// The status of its last line.
    pub status: Vec<u8>,
    pub assistant: RebuiltAssistant,
}

/// Whether a hit is one of an AI assistant, which Matomo does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RebuiltAssistant {
    No,
    /// This run would send it as a visit. An earlier run may have sent it to the reports of AI
    /// assistants.
    Perhaps,
    /// This run would send it to those reports. An earlier run may have sent it as a visit.
    Yes,
}

/// How far the batches of a log are settled.
#[derive(Default)]
pub(super) struct Reconciliation {
    /// Lines that are done by that.
    pub done: Ranges,
    /// The other lines of settled batches: they are sent.
    pub missing: Ranges,
    /// Lines of batches that are not settled yet: they are left alone.
    pub held_back: Ranges,
    /// Whether another log has the path now.
    pub is_replaced: bool,
}

/// A log with batches that are settled when all other logs are read.
pub(super) struct WaitingLog {
    pub log: LogId,
    pub path: PathBuf,
    pub row: Row,
    pub options: LineOptions,
}

/// Whether to wait until a server is certainly finished with a batch, or to settle only what is
/// ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    Wait,
    OnlyReady,
}

/// What to do with the requests made so far, which it may take.
pub(super) type TakeRebuilt<'t> = dyn FnMut(&mut RebuiltBatch) -> Result<()> + 't;

impl Importer {
    /// Settles the batches that earlier runs left open for this log. Those that are not settled
    /// stay open, in the ledger and in `pending`.
    pub(super) fn reconcile_pending(
        &mut self,
        log: LogId,
        path: &Path,
        options: &LineOptions,
        account: &FileAccount,
        patience: Patience,
    ) -> Result<Reconciliation> {
        let mut result = Reconciliation::default();
        let Some(handle) = &self.ledger else {
            return Ok(result);
        };
        let of_log = |batch: &&PendingBatch| batch.lines.iter().any(|(id, ..)| *id == log);
        let mut batches: Vec<_> = handle.pending.iter().filter(of_log).cloned().collect();
        // First those that were answered: Matomo need not be asked about their requests.
        batches.sort_by_key(|batch| batch.recorded.is_none());
        let ledger = Arc::clone(&handle.ledger);
        for batch in &batches {
            let of_log = batch.lines.iter().find(|(id, ..)| *id == log);
            let Some((_, _, lines)) = of_log else {
                continue;
            };
            if let Some(recorded) = &batch.recorded {
                self.processor.requests.recorded.extend(recorded.iter());
                let rebuilt = self.rebuild_batch(log, path, options, lines)?;
                for group in &rebuilt.groups {
                    self.close_session(log, &group.lines);
                }
                self.remove_pending(batch.id, log, 0);
                continue;
            }
            let settled = match result.is_replaced {
                true => None,
                false => {
                    let settled =
                        self.settle_batch(log, path, options, batch, account, patience)?;
                    // Settling can take a while.
                    result.is_replaced = !self.is_still(path, log);
                    settled
                }
            };
            let Some(ReconciledBatch {
                complete,
                partial,
                ids,
                hits,
            }) = settled
            else {
                result.held_back.extend(lines);
                continue;
            };
            result.missing.extend(&lines.without(&complete));
            result.done.extend(&complete);
            if !partial.is_empty() {
                ledger.note_recorded_lines([(log, partial)].into(), ids.iter().collect())?;
            }
            ledger.settle_log(batch.id, log, complete, hits)?;
            self.remove_pending(batch.id, log, hits);
            reach("after-settled");
        }
        Ok(result)
    }

    /// Removes the lines of a log, and their hits, from a batch that is pending.
    fn remove_pending(&mut self, id: BatchId, log: LogId, hits: u64) {
        let Some(handle) = &mut self.ledger else {
            return;
        };
        if let Some(batch) = handle.pending.iter_mut().find(|batch| batch.id == id) {
            batch.lines.retain(|(other, ..)| *other != log);
            batch.numbers.remove(&log);
            batch.hits = batch.hits.saturating_sub(hits);
        }
        handle.pending.retain(|batch| !batch.lines.is_empty());
    }

    /// Settles one batch. Returns `None` if that has to wait, if another log has the path, or if
    /// the run is stopping.
    fn settle_batch(
        &mut self,
        log: LogId,
        path: &Path,
        options: &LineOptions,
        batch: &PendingBatch,
        account: &FileAccount,
        patience: Patience,
    ) -> Result<Option<ReconciledBatch>> {
        let Some(lines) = batch.lines.iter().find(|(id, ..)| *id == log) else {
            return Ok(None);
        };
        let timeout = self.ledger.as_ref().map_or(Duration::ZERO, |it| it.timeout);
        // A server that has answered is finished.
        let times: &[u32] = match batch.state {
            BatchState::Acknowledged => &[0],
            BatchState::Pending | BatchState::Unconfirmed => &UNANSWERED_LOOKUPS,
        };
        for (index, time) in times.iter().enumerate() {
            let left = timeout
                .saturating_mul(*time)
                .saturating_sub(batch.elapsed());
            if !left.is_zero() && patience == Patience::OnlyReady {
                return Ok(None);
            }
            if left > Duration::from_secs(1) {
                self.console.note(format!(
                    "waiting {} s: the server may still be processing a request of the interrupted \
                     run",
                    left.as_secs()
                ));
            }
            if self.shutdown.wait(left) || !self.is_still(path, log) {
                return Ok(None);
            }
            let rebuilt = self.rebuild_batch(log, path, options, &lines.2);
            // The lines may be those of another log, which was rotated in just now, and a shutdown
            // may have cut the batch short: the next run settles it.
            if self.shutdown.requested() || !self.is_still(path, log) {
                return Ok(None);
            }
            let rebuilt = rebuilt?;
            // After the last time, what is missing does not come any more.
            let is_last = index + 1 == times.len()
                || batch.elapsed() >= timeout.saturating_mul(times[times.len() - 1]);
            let hits = match batch.lines.len() {
                1 => batch.hits,
                _ => rebuilt.chunk.ends.len() as u64,
            };
            let mut of_log = batch.clone();
            of_log.hits = hits;
            let reconciled =
                self.reconcile_batch(log, path, &of_log, &lines.2, &rebuilt, account, is_last)?;
            if is_last || reconciled.is_some() {
                return Ok(reconciled.map(|reconciled| ReconciledBatch { hits, ..reconciled }));
            }
        }
        Ok(None)
    }

    /// Settles the batches that had to wait while other logs were read, and sends what Matomo does
    /// not have of them.
    ///
    /// With [`Patience::OnlyReady`], those that are not ready are left for the next call.
    pub(super) fn import_waiting(&mut self, patience: Patience) -> Result<Flow> {
        let waiting = match &mut self.ledger {
            Some(handle) => std::mem::take(&mut handle.waiting),
            None => return Ok(Flow::Continue),
        };
        for WaitingLog {
            log,
            path,
            row,
            options,
        } in waiting
        {
            let mut missing = Ranges::default();
            let mut is_held_back = false;
            // It may be renamed while the batches are settled.
            for _ in 0..MAX_RENAMES {
                let Some(path) = self.find_log(log, &path) else {
                    break;
                };
                let settled = self.reconcile_pending(log, &path, &options, &row.1, patience)?;
                missing.extend(&settled.missing);
                is_held_back = !settled.held_back.is_empty();
                if self.shutdown.requested() {
                    return Ok(Flow::Stop);
                }
                if !settled.is_replaced {
                    break;
                }
            }
            if patience == Patience::OnlyReady
                && is_held_back
                && let Some(handle) = &mut self.ledger
            {
                handle.waiting.push(WaitingLog {
                    log,
                    path: path.clone(),
                    row: (row.0, Arc::clone(&row.1)),
                    options: options.clone(),
                });
            }
            if missing.is_empty() {
                continue;
            }
            if let Some(path) = self.find_log(log, &path)
                && self.import_missing(log, &path, row, options, missing)? == Flow::Stop
            {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// Finds the file of a log, which may have been renamed in its folder.
    pub(super) fn find_log(&self, log: LogId, path: &Path) -> Option<PathBuf> {
        if self.is_still(path, log) {
            return Some(path.to_owned());
        }
        let file = self.ledger.as_ref()?.ledger.file_of(log)?;
        let renamed = renamed_file(path, &file, |path| self.is_still(path, log));
        match self.follower {
            // There may be no later run with another name.
            Some(_) => renamed.or_else(|| self.find_sibling(path, log)),
            None => renamed,
        }
    }

    /// Asks Matomo which hits of a batch it has, and applies `--in-doubt` if it cannot be asked.
    /// Returns `None` if the run is stopping and there is no answer, and if hits are missing that
    /// may still come.
    #[allow(clippy::too_many_arguments)]
    fn reconcile_batch(
        &mut self,
        log: LogId,
        path: &Path,
        batch: &PendingBatch,
        lines: &Ranges,
        rebuilt: &RebuiltBatch,
        account: &FileAccount,
        is_last: bool,
    ) -> Result<Option<ReconciledBatch>> {
        let requests: Vec<&[u8]> = rebuilt.chunk.requests().collect();
        let visits = &self.processor.visits;
        let lookup = visits.find(&requests, rebuilt.has_hit_ids, batch.sent_at());
        let lookup = match lookup {
            Ok(presences) if rebuilt.may_be_hidden(&presences) => Err(LookupError::Never(
                "it does not show hits of AI assistants".to_owned(),
            )),
            lookup => lookup,
        };
        // The last of several runs does not wait for another one.
        let lookup = match lookup {
            Err(LookupError::NotNow(why)) if batch.runs + 1 >= MAX_RUNS => {
                Err(LookupError::Never(why))
            }
            lookup => lookup,
        };
        let policy = self.ledger.as_ref().map(|handle| handle.in_doubt);
        let numbers = batch.numbers.get(&log).map(Ranges::as_some_numbers);
        let hits = format!(
            "{}{}: {} hits of an interrupted run",
            path.display(),
            numbers.map_or_else(String::new, |numbers| format!(":{numbers}")),
            batch.hits
        );
        if let (BatchState::Acknowledged, Err(LookupError::Never(why))) = (batch.state, &lookup) {
            self.console.note(format!(
                "{hits} were acknowledged, and Matomo cannot be asked whether it has them ({why}): \
                 this run relies on its answer"
            ));
            return Ok(Some(ReconciledBatch {
                complete: lines.clone(),
                ..ReconciledBatch::default()
            }));
        }
        if let (BatchState::Acknowledged, Err(LookupError::NotNow(_))) = (batch.state, &lookup) {
            // It is most likely there, so nothing has to wait for it.
            return Ok(None);
        }
        let decision = policy.unwrap_or_default().decide(
            lookup,
            self.shutdown.requested(),
            &format!("{hits} are unconfirmed"),
        );
        let presences = match decision {
            Decision::Settle(presences) => {
                if presences.contains(&Presence::Present) {
                    self.processor.visits.note_shown();
                }
                presences
            }
            Decision::Resend(warning) => {
                self.list(log, path, batch, &warning)?;
                self.console.warn_incomplete(warning);
                account.add(Count::Resent, lines.lines());
                return Ok(Some(ReconciledBatch::default()));
            }
            Decision::Skip(warning) => {
                self.list(log, path, batch, &warning)?;
                self.console.warn_incomplete(warning);
                account.add(Count::Read, lines.lines());
                account.add(Count::InDoubt, lines.lines());
                return Ok(Some(ReconciledBatch {
                    complete: lines.clone(),
                    ..ReconciledBatch::default()
                }));
            }
            Decision::Stop(message) => {
                if let Some(handle) = &self.ledger {
                    handle.ledger.count_run(batch.id)?;
                }
                return Err(Error::stopped(message));
            }
            Decision::Leave => return Ok(None),
        };
        if !is_last && presences.contains(&Presence::Missing) {
            return Ok(None);
        }
        let mut reconciled = ReconciledBatch::default();
        let mut unknown = Ranges::default();
        let mut presences = presences.into_iter();
        for RebuiltGroup { lines, ids, .. } in &rebuilt.groups {
            let of_group: Vec<Presence> = presences.by_ref().take(ids.len()).collect();
            if !of_group.contains(&Presence::Missing) {
                insert(&mut reconciled.complete, lines);
                if of_group.contains(&Presence::Unknown) {
                    insert(&mut unknown, lines);
                }
                continue;
            }
            let before = reconciled.ids.len();
            let is_sent = |presence: Presence| presence != Presence::Missing;
            let sent_ids = ids
                .iter()
                .zip(&of_group)
                .filter(|(_, presence)| is_sent(**presence));
            reconciled.ids.extend(sent_ids.map(|(id, _)| id));
            if reconciled.ids.len() > before {
                insert(&mut reconciled.partial, lines);
            }
            self.close_session(log, lines);
        }
        self.processor.requests.recorded.extend(&reconciled.ids);
        let (there, all) = (reconciled.complete.lines() - unknown.lines(), lines.lines());
        self.console.note(match there == all {
            true => format!("{hits} were looked up: all {all} are there"),
            false => format!(
                "{hits} were looked up: Matomo has {there} of their {all} lines, the others are \
                 sent"
            ),
        });
        if !unknown.is_empty() {
            let warning = format!(
                "{}: {} lines of an interrupted run are unconfirmed: {HIDDEN_HITS}",
                path.display(),
                unknown.lines()
            );
            self.list(log, path, batch, &warning)?;
            self.console.warn_incomplete(warning);
            account.add(Count::Read, unknown.lines());
            account.add(Count::InDoubt, unknown.lines());
        }
        Ok(Some(reconciled))
    }

    /// Lists the lines of a batch in the ledger, with what becomes of them.
    fn list(&self, log: LogId, path: &Path, batch: &PendingBatch, outcome: &str) -> Result<()> {
        let Some(handle) = &self.ledger else {
            return Ok(());
        };
        handle.ledger.list_unconfirmed(UnconfirmedLines {
            log: path.display().to_string(),
            lines: batch
                .numbers
                .get(&log)
                .map_or_else(String::new, Ranges::as_numbers),
            hits: batch.hits,
            outcome: outcome.to_owned(),
        })
    }

    /// Ends the session of these lines with its last line, so that its requests stay the same.
    pub(super) fn close_session(&mut self, log: LogId, lines: &[LinePosition]) {
        if let Some(last) = lines.last() {
            let sessions = &mut self.processor.requests.closed_sessions;
            sessions.insert((log.number(), last.start));
        }
    }

    fn rebuild_batch(
        &mut self,
        id: LogId,
        path: &Path,
        options: &LineOptions,
        wanted: &Ranges,
    ) -> Result<RebuiltBatch> {
        self.rebuild_requests(id, path, options, wanted, &mut |_| Ok(()))
    }

    /// Makes the requests of these lines again. Their ids are those of the first time, because
    /// they depend on the log and the positions only. `take` is called after each line; the
    /// requests that it leaves are returned.
    pub(super) fn rebuild_requests(
        &mut self,
        id: LogId,
        path: &Path,
        options: &LineOptions,
        wanted: &Ranges,
        take: &mut TakeRebuilt,
    ) -> Result<RebuiltBatch> {
        let source = Source::File(path.to_owned());
        let unreadable = |error: InputError| Error::stopped(error.to_string());
        let mut lines = Lines::open(&source, options.clone()).map_err(unreadable)?;
        let name = source.to_string();
        let selected = self.selector.choose(
            &name,
            &mut lines,
            &self.shutdown,
            &self.console,
            self.input.flush_interval,
        )?;
        let mut batch = RebuiltBatch::new();
        let Some((mut format, buffered)) = selected else {
            return Ok(batch);
        };
        let format = format.as_mut();
        let processor = &mut self.processor;
        processor.set_ignored_fields(format);
        let sessions = processor.session_mode(format, self.selector.is_named(), &buffered);
        let mut log = uncounted_log(name, id.number(), sessions);
        let mut arena = Bump::new();
        for line in buffered.iter().flat_map(BufferedLine::lines) {
            processor.rebuild_line(&mut log, format, &line, wanted, &arena, &mut batch)?;
            take(&mut batch)?;
            arena.reset();
        }
        while lines.position() < wanted.end() {
            match lines.next(POLL_INTERVAL).map_err(unreadable)? {
                LineEvent::Line(line) => {
                    processor.rebuild_line(&mut log, format, &line, wanted, &arena, &mut batch)?;
                    take(&mut batch)?;
                }
                LineEvent::Pause if self.shutdown.requested() => break,
                LineEvent::Pause => {}
                LineEvent::End => break,
            }
            arena.reset();
        }
        if let SessionMode::Titles(stitcher) = &mut log.sessions {
            let sessions = stitcher.drain().collect();
            processor.rebuild_sessions(log.id, sessions, &mut batch);
        }
        take(&mut batch)?;
        Ok(batch)
    }
}

/// Finds a file that was renamed in its folder.
pub(super) fn renamed_file(
    before: &Path,
    file: &FileId,
    is_right: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let folder = before.parent()?;
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let mut paths = std::fs::read_dir(folder).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let is_same = file.is_same_file(&FileId::from(&entry.metadata().ok()?));
        is_same.then(|| before.with_file_name(entry.file_name()))
    });
    paths.find(|path| is_right(path))
}

/// A log with counters of its own: the lines are counted when they are read for import.
pub(super) fn uncounted_log(name: String, id: u64, sessions: SessionMode) -> OpenLog {
    let (_, account) = Account::new().open(name.clone());
    OpenLog {
        takes_any_date: true,
        sessions,
        ..OpenLog::new(name, 0, Counter::new(account), id, "")
    }
}

impl LineProcessor {
    /// Makes the requests of one line again, as [`LineProcessor::process_line`] made them.
    fn rebuild_line(
        &mut self,
        log: &mut OpenLog,
        format: &mut dyn Format,
        line: &Line,
        wanted: &Ranges,
        arena: &Bump,
        batch: &mut RebuiltBatch,
    ) -> Result<()> {
        let is_header = line.bytes.starts_with(b"#");
        let is_wanted = wanted.contains(line.start);
        if !is_header && !is_wanted {
            return Ok(());
        }
        // A line that fits the format is not a header, whatever it begins with.
        let mut record = Record::default();
        if line.too_long || format.parse(line.bytes, arena, &mut record) == Fit::Misfit {
            if is_header {
                // An unusable header is reported when the lines are read for import.
                let _ = format.header(line.bytes);
                self.set_ignored_fields(format);
            }
            return Ok(());
        }
        if !is_wanted {
            return Ok(());
        }
        let format = &*format;
        let mut request = self.hit.request(format, &record, arena);
        if self.is_of_other_shard(&request) {
            return Ok(());
        }
        let Ok(mut accepted) = self.accept(log, &mut request, arena)? else {
            return Ok(());
        };
        let event = match accepted.hit.request.is_listener {
            true => self.take_listener(log, line, &accepted),
            false => ListenerEvent::NotListening,
        };
        match event {
            ListenerEvent::Whole(time) => {
                let session = self.whole_session(log, line, &accepted, time);
                self.rebuild_sessions(log.id, vec![session], batch);
            }
            ListenerEvent::Finished(sessions) => self.rebuild_sessions(log.id, sessions, batch),
            // A page view without a duration has the id of a plain hit.
            ListenerEvent::NotListening | ListenerEvent::NoDuration(_) => {
                batch.has_hit_ids &= accepted.has_hit_id();
                let request = accepted.hit.request;
                let status = request.status.to_vec();
                let may_be_assistant = self.filters.may_be_assistant(request);
                let assistant = match (request.is_assistant, may_be_assistant) {
                    (true, _) => RebuiltAssistant::Yes,
                    (false, true) => RebuiltAssistant::Perhaps,
                    (false, false) => RebuiltAssistant::No,
                };
                // In the form that can be looked up.
                self.requests
                    .write_visit(log.id, line.start, &mut accepted, &mut batch.chunk);
                batch.groups.push(RebuiltGroup {
                    lines: vec![position(line)],
                    ids: vec![self.requests.ids.id(log.id, line.start, 0)],
                    status,
                    assistant,
                });
            }
        }
        Ok(())
    }

    fn rebuild_sessions(
        &mut self,
        log: u64,
        sessions: Vec<FinishedSession>,
        batch: &mut RebuiltBatch,
    ) {
        let requests = &mut self.requests;
        for session in sessions {
            requests.write_session(log, &session, &mut batch.chunk);
            let ids = requests.session_ids(log, &session);
            let unknown = ids.filter(|id| !requests.recorded.contains(id));
            batch.groups.push(RebuiltGroup {
                lines: session.lines.iter().map(|line| line.position).collect(),
                ids: unknown.collect(),
                status: Vec::new(),
                assistant: RebuiltAssistant::No,
            });
        }
    }
}

fn insert(ranges: &mut Ranges, lines: &[LinePosition]) {
    for line in lines {
        ranges.insert(line.start..line.end, 1);
    }
}
