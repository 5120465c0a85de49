//! Batches that an interrupted run left pending: their lines are read again, and Matomo is asked
//! which of their hits it has. Those lines are done; the others are read as if they were new
//! (guide/guarantees.md, "Unconfirmed batches").

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;

use super::ledger_handle::MAX_RUNS;
use super::line::{LineProcessor, position};
use super::objects::READ_AHEAD;
use super::open_log::OpenLog;
use super::sessions::{FinishedSession, ListenerEvent, SessionMode};
use super::{Flow, Importer, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::failpoint::{self, reach};
use crate::format::{Fit, Format, Record};
use crate::hit_id::HitId;
use crate::input::InputError;
use crate::input::buffered::BufferedLine;
use crate::input::discover::Source;
use crate::input::lines::{Line, LineEvent, LineOptions, Lines};
use crate::ledger::{BatchId, BatchState, FileId, LogId, PendingBatch, Ranges, UnconfirmedLines};
use crate::matomo::visit_log::{LookupError, Presence, VisitLog};
use crate::recorder::{Chunk, Decision, HIDDEN_HITS, InDoubt, LinePosition, UNANSWERED_LOOKUPS};
use crate::report::{Account, Count, Counter, FileAccount, Row};

/// How often a log is looked for again that was renamed while its batches were settled.
pub(super) const MAX_RENAMES: u32 = 5;

/// Why hits of AI assistants cannot be looked up.
const HIDDEN_ASSISTANTS: &str = "it does not show hits of AI assistants";

/// Hits that are looked up at once.
const MAX_LOOKED_UP: usize = 500;

/// What Matomo has of a pending batch.
#[derive(Default)]
struct ReconciledBatch {
    /// Lines all of whose requests Matomo has.
    complete: Ranges,
    /// Lines some of whose requests Matomo has, and the ids of these requests.
    partial: Ranges,
    ids: Vec<HitId>,
    /// Lines among the complete ones some of whose requests Matomo may have and not show.
    unknown: Ranges,
    /// The lines of each listening session with missing requests.
    unfinished: Vec<Vec<LinePosition>>,
    /// The number of hits of these lines.
    hits: u64,
}

impl ReconciledBatch {
    /// Adds request groups, with what Matomo has of their requests.
    fn add<'g>(
        &mut self,
        groups: impl Iterator<Item = &'g RebuiltGroup>,
        presences: Vec<Presence>,
    ) {
        let mut presences = presences.into_iter();
        for RebuiltGroup {
            lines,
            ids,
            is_session,
            ..
        } in groups
        {
            let of_group: Vec<Presence> = presences.by_ref().take(ids.len()).collect();
            if !of_group.contains(&Presence::Missing) {
                insert(&mut self.complete, lines);
                if of_group.contains(&Presence::Unknown) {
                    insert(&mut self.unknown, lines);
                }
                continue;
            }
            let before = self.ids.len();
            let is_sent = |presence: Presence| presence != Presence::Missing;
            let sent_ids = ids
                .iter()
                .zip(&of_group)
                .filter(|(_, presence)| is_sent(**presence));
            self.ids.extend(sent_ids.map(|(id, _)| id));
            if self.ids.len() > before {
                insert(&mut self.partial, lines);
            }
            if *is_session {
                self.unfinished.push(lines.clone());
            }
        }
    }
}

/// Requests made again from their lines.
pub(super) struct RebuiltBatch {
    pub chunk: Chunk,
    /// All requests carry our hit ids, not ids from the log.
    pub has_hit_ids: bool,
    pub groups: Vec<RebuiltGroup>,
}

impl RebuiltBatch {
    pub(super) fn new() -> Self {
        Self {
            chunk: Chunk::default(),
            has_hit_ids: true,
            groups: Vec::new(),
        }
    }

    /// Whether Matomo may have these requests and not show them: if it shows none, and all may have
    /// been sent to the reports of AI assistants. A batch has either visits or hits of assistants.
    fn may_be_hidden(&self, presences: &[Presence]) -> bool {
        may_be_hidden(self.groups.iter(), presences)
    }
}

fn may_be_hidden<'g>(
    mut groups: impl Iterator<Item = &'g RebuiltGroup>,
    presences: &[Presence],
) -> bool {
    !presences.is_empty()
        && presences.iter().all(|it| *it == Presence::Missing)
        && groups.all(|group| group.assistant != RebuiltAssistant::No)
}

/// What was made again of the lines of a log.
pub(super) struct RebuiltRequests {
    pub batch: RebuiltBatch,
    /// Why the rest of the log cannot be read.
    pub unreadable: Option<InputError>,
}

impl RebuiltRequests {
    /// # Errors
    ///
    /// Returns an error if the log cannot be read to its end.
    pub fn whole(self) -> Result<RebuiltBatch> {
        match self.unreadable {
            None => Ok(self.batch),
            Some(error) => Err(Error::stopped(error.to_string())),
        }
    }
}

/// The lines of a request group, and the ids of its requests.
pub(super) struct RebuiltGroup {
    pub lines: Vec<LinePosition>,
    pub ids: Vec<HitId>,
    /// The status of its last line.
    pub status: Vec<u8>,
    pub is_session: bool,
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
    pub source: Source,
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
        source: &Source,
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
        let ledger = Arc::clone(&handle.ledger);
        if !handle.queued.queue_is_empty {
            let queued: Vec<_> = batches
                .extract_if(.., |batch| batch.may_be_in_queue())
                .collect();
            self.settle_queued(log, source, options, queued, patience, &mut result)?;
        }
        // First those that were answered: Matomo need not be asked about their requests.
        batches.sort_by_key(|batch| batch.recorded.is_none());
        for batch in &batches {
            let of_log = batch.lines.iter().find(|(id, ..)| *id == log);
            let Some((_, _, lines)) = of_log else {
                continue;
            };
            if let Some(recorded) = &batch.recorded {
                self.processor.requests.recorded.extend(recorded.iter());
                let rebuilt = self.rebuild_batch(log, source, options, lines)?;
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
                        self.settle_batch(log, source, options, batch, account, patience)?;
                    // Settling can take a while.
                    result.is_replaced = !self.is_still_source(source, log);
                    settled
                }
            };
            let Some(ReconciledBatch {
                complete,
                partial,
                ids,
                hits,
                ..
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
    pub(super) fn remove_pending(&mut self, id: BatchId, log: LogId, hits: u64) {
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
        source: &Source,
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
            BatchState::Acknowledged | BatchState::Queued => &[0],
            BatchState::Pending | BatchState::Unconfirmed | BatchState::Queuing => {
                &UNANSWERED_LOOKUPS
            }
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
            if self.shutdown.wait(left) || !self.is_still_source(source, log) {
                return Ok(None);
            }
            let rebuilt = self.rebuild_batch(log, source, options, &lines.2);
            // The lines may be those of another log, which was rotated in just now, and a shutdown
            // may have cut the batch short: the next run settles it.
            if self.shutdown.requested() || !self.is_still_source(source, log) {
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
                self.reconcile_batch(log, source, &of_log, &lines.2, &rebuilt, account, is_last)?;
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
        if waiting
            .iter()
            .any(|waiting| !self.waits_for_queue(waiting.log))
        {
            self.take_queued();
        }
        for waiting in waiting {
            if patience == Patience::OnlyReady && self.waits_for_queue(waiting.log) {
                if let Some(handle) = &mut self.ledger {
                    handle.waiting.push(waiting);
                }
                continue;
            }
            let WaitingLog {
                log,
                source,
                row,
                options,
            } = waiting;
            let mut missing = Ranges::default();
            let mut is_held_back = false;
            let mut is_found = false;
            // It may be renamed while the batches are settled.
            for _ in 0..MAX_RENAMES {
                let Some(source) = self.find_log(log, &source) else {
                    break;
                };
                is_found = true;
                let settled = self.reconcile_pending(log, &source, &options, &row.1, patience)?;
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
                && let Some(handle) = &mut self.ledger
                && (is_held_back || handle.queued.is_on && is_found)
            {
                handle.waiting.push(WaitingLog {
                    log,
                    source: source.clone(),
                    row: (row.0, Arc::clone(&row.1)),
                    options: options.clone(),
                });
            }
            if missing.is_empty() {
                continue;
            }
            if let Some(source) = self.find_log(log, &source)
                && self.import_missing(log, &source, row, options, missing)? == Flow::Stop
            {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// Finds a log again. A file may have been renamed in its folder.
    pub(super) fn find_log(&self, log: LogId, source: &Source) -> Option<Source> {
        if self.is_still_source(source, log) {
            return Some(source.clone());
        }
        let Source::File(path) = source else {
            return None;
        };
        let file = self.ledger.as_ref()?.ledger.file_of(log)?;
        let renamed = renamed_file(path, &file, |path| self.is_still(path, log));
        let found = match self.follower {
            // There may be no later run with another name.
            Some(_) => renamed.or_else(|| self.find_sibling(path, log)),
            None => renamed,
        };
        found.map(Source::File)
    }

    /// Whether a source still has this log.
    pub(super) fn is_still_source(&self, source: &Source, log: LogId) -> bool {
        match source {
            Source::Stdin => false,
            Source::File(path) => self.is_still(path, log),
            // Reading it fails if the bucket does not answer.
            Source::Object(object) => {
                let should_stop = || self.shutdown.requested();
                object.is_unchanged(&should_stop).unwrap_or(true)
            }
        }
    }

    /// Asks Matomo which hits of a batch it has, and applies `--in-doubt` if it cannot be asked.
    /// Returns `None` if the run is stopping and there is no answer, and if hits are missing that
    /// may still come.
    #[allow(clippy::too_many_arguments)]
    fn reconcile_batch(
        &mut self,
        log: LogId,
        source: &Source,
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
            Ok(presences) if rebuilt.may_be_hidden(&presences) => {
                Err(LookupError::Never(HIDDEN_ASSISTANTS.to_owned()))
            }
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
            "{source}{}: {} hits of an interrupted run",
            numbers.map_or_else(String::new, |numbers| format!(":{numbers}")),
            batch.hits
        );
        let is_answered = matches!(batch.state, BatchState::Acknowledged | BatchState::Queued);
        if let (true, Err(LookupError::Never(why))) = (is_answered, &lookup) {
            self.console.note(format!(
                "{hits} were acknowledged, and Matomo cannot be asked whether it has them ({why}): \
                 this run relies on its answer"
            ));
            return Ok(Some(ReconciledBatch {
                complete: lines.clone(),
                ..ReconciledBatch::default()
            }));
        }
        if let (true, Err(LookupError::NotNow(_))) = (is_answered, &lookup) {
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
                self.list(log, source, batch, &warning)?;
                self.console.warn_incomplete(warning);
                account.add(Count::Resent, lines.lines());
                return Ok(Some(ReconciledBatch::default()));
            }
            Decision::Skip(warning) => {
                self.list(log, source, batch, &warning)?;
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
        reconciled.add(rebuilt.groups.iter(), presences);
        for lines in &reconciled.unfinished {
            self.close_session(log, lines);
        }
        self.processor.requests.recorded.extend(&reconciled.ids);
        let unknown = &reconciled.unknown;
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
                "{source}: {} lines of an interrupted run are unconfirmed: {HIDDEN_HITS}",
                unknown.lines()
            );
            self.list(log, source, batch, &warning)?;
            self.console.warn_incomplete(warning);
            account.add(Count::Read, unknown.lines());
            account.add(Count::InDoubt, unknown.lines());
        }
        Ok(Some(reconciled))
    }

    /// Lists the lines of a batch in the ledger, with what becomes of them.
    fn list(&self, log: LogId, source: &Source, batch: &PendingBatch, outcome: &str) -> Result<()> {
        let Some(handle) = &self.ledger else {
            return Ok(());
        };
        handle.ledger.list_unconfirmed(UnconfirmedLines {
            log: source.to_string(),
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
        source: &Source,
        options: &LineOptions,
        wanted: &Ranges,
    ) -> Result<RebuiltBatch> {
        let rebuilt = self.rebuild_requests(id, source, options, wanted, &mut |_| Ok(()))?;
        rebuilt.whole()
    }

    /// Makes the requests of these lines again. Their ids are those of the first time, because
    /// they depend on the log and the positions only. `take` is called after each line; the
    /// requests that it leaves are returned, also if the log cannot be read to its end.
    pub(super) fn rebuild_requests(
        &mut self,
        id: LogId,
        source: &Source,
        options: &LineOptions,
        wanted: &Ranges,
        take: &mut TakeRebuilt,
    ) -> Result<RebuiltRequests> {
        let opened = Lines::open(source, options.clone());
        let mut lines = opened.map_err(|error| Error::stopped(error.to_string()))?;
        let name = source.to_string();
        let selected = self.selector.choose(
            &name,
            &mut lines,
            &self.shutdown,
            &self.console,
            self.input.flush_interval,
        )?;
        let mut batch = RebuiltBatch::new();
        let mut unreadable = None;
        let Some((mut format, buffered)) = selected else {
            // Unless it has no lines.
            unreadable = lines.next(Duration::ZERO).err();
            return Ok(RebuiltRequests { batch, unreadable });
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
            match lines.next(POLL_INTERVAL) {
                Ok(LineEvent::Line(line)) => {
                    processor.rebuild_line(&mut log, format, &line, wanted, &arena, &mut batch)?;
                    take(&mut batch)?;
                }
                Ok(LineEvent::Pause) if self.shutdown.requested() => break,
                Ok(LineEvent::Pause) => {}
                Ok(LineEvent::End) => break,
                Err(error) => {
                    unreadable = Some(error);
                    break;
                }
            }
            arena.reset();
        }
        if let SessionMode::Titles(stitcher) = &mut log.sessions {
            let sessions = stitcher.drain().collect();
            processor.rebuild_sessions(log.id, sessions, &mut batch);
        }
        take(&mut batch)?;
        Ok(RebuiltRequests { batch, unreadable })
    }

    /// Finds out which lines of objects Matomo has, since another worker may have sent them, and
    /// marks them as done. Returns the objects that can be read now: not those that cannot be read
    /// or looked up.
    ///
    /// # Errors
    ///
    /// Returns an error if `--in-doubt=stop` stops the run, and if a log cannot be looked up.
    pub(super) fn find_sent(&mut self, objects: &[SentObject]) -> Result<HashSet<LogId>> {
        let Some(handle) = &self.ledger else {
            return Ok(HashSet::new());
        };
        let ledger = Arc::clone(&handle.ledger);
        let options = self.input.line_options();
        let shutdown = self.shutdown.clone();
        let mut lookup = SentLookup {
            visits: self.processor.visits.clone(),
            policy: handle.in_doubt,
            found: objects.iter().map(|_| FoundHits::default()).collect(),
            waiting: Vec::new(),
            not_now: None,
        };
        let mut unreadable = HashSet::new();
        for (index, object) in objects.iter().enumerate() {
            for next in objects.iter().skip(index).take(READ_AHEAD) {
                if let Source::Object(object) = &next.source {
                    object.prefetch();
                }
            }
            let mut wanted = Ranges::default();
            wanted.insert(0..u64::MAX, 1);
            let wanted = wanted.without(&ledger.done(object.log));
            let source = &object.source;
            let rebuilt =
                self.rebuild_requests(object.log, source, &options, &wanted, &mut |batch| {
                    if shutdown.requested() {
                        return Err(Error::interrupted("interrupted while hits were looked up"));
                    }
                    match lookup.hits() + batch.groups.len() >= MAX_LOOKED_UP {
                        true => {
                            lookup.add(index, batch);
                            lookup.look_up(objects)
                        }
                        false => Ok(()),
                    }
                });
            if shutdown.requested() || lookup.not_now.is_some() {
                break;
            }
            let problem = match rebuilt {
                Ok(mut rebuilt) => {
                    lookup.add(index, &mut rebuilt.batch);
                    // What cannot be read later either needs no answer.
                    let error = rebuilt.unreadable.filter(|error| !error.is_lasting());
                    error.map(|error| error.to_string())
                }
                Err(error) if error.is_about_log() => Some(error.to_string()),
                Err(error) => return Err(error),
            };
            if let Some(problem) = problem {
                self.console.warn_incomplete(problem);
                unreadable.insert(object.log);
            }
        }
        let looked_up = lookup.look_up(objects);
        if shutdown.requested() {
            return Ok(HashSet::new());
        }
        if let Some(why) = lookup.not_now {
            self.console.warn_incomplete(format!(
                "another worker may have sent hits of {} objects, and Matomo cannot be asked about \
                 them now ({why}): tried again later",
                objects.len()
            ));
            return Ok(HashSet::new());
        }
        looked_up?;
        let mut readable = HashSet::new();
        for (object, found) in objects.iter().zip(lookup.found) {
            self.take_found(object, found);
            if !unreadable.contains(&object.log) {
                readable.insert(object.log);
            }
        }
        Ok(readable)
    }

    /// Marks the lines of an object as done that Matomo has.
    fn take_found(&mut self, object: &SentObject, found: FoundHits) {
        let SentObject {
            log,
            source,
            account,
        } = object;
        let FoundHits {
            batch,
            skipped,
            resent,
            warning,
        } = found;
        if let Some(warning) = warning {
            self.console.warn_incomplete(warning);
            account.add(Count::Resent, resent);
            account.add(Count::Read, skipped.lines());
            account.add(Count::InDoubt, skipped.lines());
        }
        let ReconciledBatch {
            mut complete,
            ids,
            unknown,
            unfinished,
            ..
        } = batch;
        if !complete.is_empty() {
            self.console.note(format!(
                "{source}: Matomo has {} lines of it from an earlier attempt",
                complete.lines() - unknown.lines()
            ));
        }
        if !unknown.is_empty() {
            self.console.warn_incomplete(format!(
                "{source}: {} lines of an earlier attempt are unconfirmed: {HIDDEN_HITS}",
                unknown.lines()
            ));
            account.add(Count::Read, unknown.lines());
            account.add(Count::InDoubt, unknown.lines());
        }
        for lines in &unfinished {
            self.close_session(*log, lines);
        }
        self.processor.requests.recorded.extend(&ids);
        complete.extend(&skipped);
        if let Some(handle) = &self.ledger {
            for (range, lines) in complete.iter() {
                handle.ledger.mark_done(*log, range, lines);
            }
        }
    }
}

/// An object whose hits another worker may have sent.
pub(super) struct SentObject {
    pub log: LogId,
    pub source: Source,
    pub account: Arc<FileAccount>,
}

/// What Matomo has of the hits of an object.
#[derive(Default)]
struct FoundHits {
    batch: ReconciledBatch,
    /// Lines that `--in-doubt=skip` does not send.
    skipped: Ranges,
    /// The number of lines that `--in-doubt=resend` sends, perhaps again.
    resent: u64,
    /// What becomes of the hits that Matomo cannot be asked about.
    warning: Option<String>,
}

/// Asks Matomo for hits of several objects at once: each question takes time, and most objects are
/// small.
struct SentLookup {
    visits: VisitLog,
    policy: InDoubt,
    /// For each object.
    found: Vec<FoundHits>,
    /// Requests that are to be looked up, and the number of their object.
    waiting: Vec<(usize, RebuiltBatch)>,
    /// Why Matomo cannot be asked now.
    not_now: Option<String>,
}

impl SentLookup {
    /// The number of hits that wait.
    fn hits(&self) -> usize {
        self.waiting
            .iter()
            .map(|(_, batch)| batch.groups.len())
            .sum()
    }

    /// Takes the requests out of a batch.
    fn add(&mut self, object: usize, batch: &mut RebuiltBatch) {
        let batch = std::mem::replace(batch, RebuiltBatch::new());
        if !batch.groups.is_empty() {
            self.waiting.push((object, batch));
        }
    }

    /// Looks up the requests that wait.
    ///
    /// # Errors
    ///
    /// Returns an error if Matomo cannot be asked now, and if `--in-doubt=stop` stops the run.
    fn look_up(&mut self, objects: &[SentObject]) -> Result<()> {
        let never = || Err(LookupError::Never(HIDDEN_ASSISTANTS.to_owned()));
        let waiting = std::mem::take(&mut self.waiting);
        let has_hit_ids = waiting.iter().all(|(_, batch)| batch.has_hit_ids);
        let mut requests: Vec<&[u8]> = Vec::new();
        let mut visible: Vec<(usize, Vec<&RebuiltGroup>)> = Vec::new();
        for (object, batch) in &waiting {
            let mut of_batch = batch.chunk.requests();
            let (mut shown, mut hidden) = (Vec::new(), Vec::new());
            for group in &batch.groups {
                let of_group = of_batch.by_ref().take(group.ids.len());
                // Matomo never shows what this run would send to the reports of AI assistants.
                match group.assistant == RebuiltAssistant::Yes {
                    true => {
                        of_group.for_each(drop);
                        hidden.push(group);
                    }
                    false => {
                        requests.extend(of_group);
                        shown.push(group);
                    }
                }
            }
            if !hidden.is_empty() {
                self.decide(objects, *object, never(), &hidden)?;
            }
            visible.push((*object, shown));
        }
        if requests.is_empty() {
            return Ok(());
        }
        let presences = match self.visits.find(&requests, has_hit_ids, failpoint::now()) {
            Ok(presences) => presences,
            Err(LookupError::NotNow(why)) => {
                self.not_now = Some(why.clone());
                return Err(Error::stopped(why));
            }
            Err(LookupError::Never(why)) => {
                for (object, groups) in &visible {
                    self.decide(
                        objects,
                        *object,
                        Err(LookupError::Never(why.clone())),
                        groups,
                    )?;
                }
                return Ok(());
            }
        };
        let mut presences = presences.into_iter();
        for (object, groups) in &visible {
            let hits = groups.iter().map(|group| group.ids.len()).sum();
            let of_object: Vec<Presence> = presences.by_ref().take(hits).collect();
            let found = match may_be_hidden(groups.iter().copied(), &of_object) {
                true => never(),
                false => Ok(of_object),
            };
            self.decide(objects, *object, found, groups)?;
        }
        Ok(())
    }

    fn decide(
        &mut self,
        objects: &[SentObject],
        object: usize,
        found: std::result::Result<Vec<Presence>, LookupError>,
        groups: &[&RebuiltGroup],
    ) -> Result<()> {
        let source = &objects[object].source;
        let subject = format!("{source}: another worker may have sent its hits");
        let of_object = &mut self.found[object];
        match self.policy.decide(found, false, &subject) {
            Decision::Settle(presences) => {
                of_object.batch.add(groups.iter().copied(), presences);
            }
            Decision::Resend(why) => {
                let lines = groups.iter().map(|group| group.lines.len() as u64);
                of_object.resent += lines.sum::<u64>();
                of_object.warning.get_or_insert(why);
            }
            Decision::Skip(why) => {
                for group in groups {
                    insert(&mut of_object.skipped, &group.lines);
                }
                of_object.warning.get_or_insert(why);
            }
            Decision::Stop(why) => return Err(Error::stopped(why)),
            // Only a run that is stopping leaves hits.
            Decision::Leave => {}
        }
        Ok(())
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
                    is_session: false,
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
                is_session: true,
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
