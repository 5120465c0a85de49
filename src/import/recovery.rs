//! Batches that an interrupted run left pending: their lines are read again, and Matomo is asked
//! which of their hits it has. Those lines are done; the others are read as if they were new
//! (guide/guarantees.md, "Unconfirmed batches").

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bumpalo::Bump;

use super::format_selector::BufferedLine;
use super::line::{LineProcessor, position};
use super::open_log::OpenLog;
use super::sessions::{FinishedSession, ListenerEvent, SessionMode};
use super::{Importer, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::format::{Fit, Format, Record};
use crate::hit_id::HitId;
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::{Line, LineEvent, LineOptions, Lines};
use crate::ledger::{LogId, PendingBatch, Ranges};
use crate::matomo::visit_log::find_recorded;
use crate::recorder::{Chunk, Decision, LinePosition};
use crate::report::{Account, Count, Counter, FileAccount};

/// What Matomo has of a pending batch.
#[derive(Default)]
struct ReconciledBatch {
    /// Lines all of whose requests Matomo has.
    complete: Ranges,
    /// Lines some of whose requests Matomo has, and the ids of these requests.
    partial: Ranges,
    ids: Vec<HitId>,
}

/// The requests of a pending batch, made again from its lines.
struct RebuiltBatch {
    chunk: Chunk,
    /// All requests carry our hit ids, not ids from the log.
    has_hit_ids: bool,
    groups: Vec<RebuiltGroup>,
}

/// The lines of a request group, and the ids of its requests.
struct RebuiltGroup {
    lines: Vec<LinePosition>,
    ids: Vec<HitId>,
}

impl Importer {
    /// Settles the pending batches that hold lines of this log. Returns the lines that are done
    /// by that, or `None` if another log has the path now, because settling can take a while.
    pub(super) fn reconcile_pending(
        &mut self,
        log: LogId,
        path: &Path,
        options: &LineOptions,
        account: &FileAccount,
    ) -> Result<Option<Ranges>> {
        let mut done = Ranges::default();
        let Some(handle) = &mut self.ledger else {
            return Ok(Some(done));
        };
        let (mut batches, others): (Vec<_>, _) = std::mem::take(&mut handle.pending)
            .into_iter()
            .partition(|batch: &PendingBatch| batch.lines.iter().any(|(id, ..)| *id == log));
        handle.pending = others;
        // First those that were answered: Matomo need not be asked about their requests.
        batches.sort_by_key(|batch| batch.recorded.is_none());
        let ledger = Arc::clone(&handle.ledger);
        let timeout = handle.timeout;
        let has_batches = !batches.is_empty();
        for batch in batches {
            let Some((_, _, lines)) = batch.lines.iter().find(|(id, ..)| *id == log) else {
                continue;
            };
            if let Some(recorded) = &batch.recorded {
                self.processor.requests.recorded.extend(recorded.iter());
                let rebuilt = self.rebuild_batch(log, path, options, lines)?;
                for group in &rebuilt.groups {
                    self.close_session(log, &group.lines);
                }
                continue;
            }
            if self.wait_for_server(&batch, timeout) {
                return Ok(Some(done));
            }
            if !self.is_still(path, log) {
                return Ok(None);
            }
            let rebuilt = self.rebuild_batch(log, path, options, lines)?;
            // A shutdown may have cut the batch short: the next run settles it.
            if self.shutdown.requested() {
                return Ok(Some(done));
            }
            let reconciled = self.reconcile_batch(log, path, &batch, lines, &rebuilt, account)?;
            let Some(reconciled) = reconciled else {
                return Ok(Some(done));
            };
            let ReconciledBatch {
                complete,
                partial,
                ids,
            } = reconciled;
            done.extend(&complete);
            if !partial.is_empty() {
                ledger.note_recorded_lines([(log, partial)].into(), ids.iter().collect())?;
            }
            ledger.settle(batch.id, [(log, complete)].into())?;
            reach("after-settled");
        }
        let is_same_log = !has_batches || self.is_still(path, log);
        Ok(is_same_log.then_some(done))
    }

    /// Waits until the server cannot be processing the batch any more. Returns whether a shutdown
    /// is requested.
    fn wait_for_server(&self, batch: &PendingBatch, timeout: Duration) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // The clock may have been set back since: never wait longer than the time-out.
        let left = Duration::from_millis(batch.sent_at)
            .saturating_add(timeout)
            .saturating_sub(now)
            .min(timeout);
        if left > Duration::from_secs(1) {
            self.console.note(format!(
                "waiting {} s: the server may still be processing a request of the interrupted run",
                left.as_secs()
            ));
        }
        self.shutdown.wait(left)
    }

    /// Asks Matomo which hits of a batch it has, and applies `--in-doubt` if it cannot be asked.
    /// Returns `None` if the run is stopping and there is no answer.
    fn reconcile_batch(
        &mut self,
        log: LogId,
        path: &Path,
        batch: &PendingBatch,
        lines: &Ranges,
        rebuilt: &RebuiltBatch,
        account: &FileAccount,
    ) -> Result<Option<ReconciledBatch>> {
        let requests: Vec<&[u8]> = rebuilt.chunk.requests().collect();
        let lookup = find_recorded(&self.processor.api, &requests, rebuilt.has_hit_ids);
        let policy = self.ledger.as_ref().map(|handle| handle.in_doubt);
        let hits = format!(
            "{}: {} hits of an interrupted run",
            path.display(),
            batch.hits
        );
        let decision = policy.unwrap_or_default().decide(
            lookup,
            self.shutdown.requested(),
            &format!("{hits} are unconfirmed"),
        );
        let recorded = match decision {
            Decision::Settle(recorded) => recorded,
            Decision::Resend(warning) => {
                self.console.warn_incomplete(warning);
                account.add(Count::Resent, lines.lines());
                return Ok(Some(ReconciledBatch::default()));
            }
            Decision::Skip(warning) => {
                self.console.warn_incomplete(warning);
                account.add(Count::Read, lines.lines());
                account.add(Count::InDoubt, lines.lines());
                return Ok(Some(ReconciledBatch {
                    complete: lines.clone(),
                    ..ReconciledBatch::default()
                }));
            }
            Decision::Stop(message) => return Err(Error::stopped(message)),
            Decision::Leave => return Ok(None),
        };
        let mut reconciled = ReconciledBatch::default();
        let mut recorded = recorded.into_iter();
        for RebuiltGroup { lines, ids } in &rebuilt.groups {
            let of_group: Vec<bool> = recorded.by_ref().take(ids.len()).collect();
            if of_group.iter().all(|recorded| *recorded) {
                insert(&mut reconciled.complete, lines);
                continue;
            }
            let before = reconciled.ids.len();
            let recorded_ids = ids.iter().zip(&of_group).filter(|(_, recorded)| **recorded);
            reconciled.ids.extend(recorded_ids.map(|(id, _)| id));
            if reconciled.ids.len() > before {
                insert(&mut reconciled.partial, lines);
            }
            self.close_session(log, lines);
        }
        self.processor.requests.recorded.extend(&reconciled.ids);
        let (there, all) = (reconciled.complete.lines(), lines.lines());
        self.console.note(match there == all {
            true => format!("{hits} were looked up: all {all} are there"),
            false => format!(
                "{hits} were looked up: Matomo has {there} of their {all} lines, the others are \
                 sent"
            ),
        });
        Ok(Some(reconciled))
    }

    /// Ends the session of these lines with its last line, so that its requests stay the same.
    fn close_session(&mut self, log: LogId, lines: &[LinePosition]) {
        if let Some(last) = lines.last() {
            let sessions = &mut self.processor.requests.closed_sessions;
            sessions.insert((log.number(), last.start));
        }
    }

    /// Makes the requests of these lines again. Their ids are those of the first time, because
    /// they depend on the log and the positions only.
    fn rebuild_batch(
        &mut self,
        id: LogId,
        path: &Path,
        options: &LineOptions,
        wanted: &Ranges,
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
        let mut batch = RebuiltBatch {
            chunk: Chunk::default(),
            has_hit_ids: true,
            groups: Vec::new(),
        };
        let Some((mut format, buffered)) = selected else {
            return Ok(batch);
        };
        let format = format.as_mut();
        let processor = &mut self.processor;
        processor.set_ignored_fields(format);
        let sessions = processor.session_mode(format, self.selector.is_named());
        let mut log = uncounted_log(name, id, sessions);
        let mut arena = Bump::new();
        for line in buffered.iter().flat_map(BufferedLine::lines) {
            processor.rebuild_line(&mut log, format, &line, wanted, &arena, &mut batch)?;
            arena.reset();
        }
        while lines.position() < wanted.end() {
            match lines.next(POLL_INTERVAL).map_err(unreadable)? {
                LineEvent::Line(line) => {
                    processor.rebuild_line(&mut log, format, &line, wanted, &arena, &mut batch)?;
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
        Ok(batch)
    }
}

/// A log with counters of its own: the lines are counted when they are read for import.
fn uncounted_log(name: String, id: LogId, sessions: SessionMode) -> OpenLog {
    let (_, account) = Account::new().open(name.clone());
    OpenLog {
        name,
        number: 0,
        account: Counter::new(account),
        id: id.number(),
        resume: None,
        position: 0,
        fitting: 0,
        given_up: 0,
        has_site: false,
        replaced_dates: 0,
        first_replaced: 0,
        sessions,
        unusable_header: None,
        header: None,
        format: "",
        is_rejects: false,
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
        let Ok(accepted) = self.accept(log, &mut request, arena)? else {
            return Ok(());
        };
        let event = match accepted.hit.request.is_listener {
            true => self.take_listener(log, line, &accepted),
            false => ListenerEvent::NotListening,
        };
        match event {
            ListenerEvent::Finished(sessions) => self.rebuild_sessions(log.id, sessions, batch),
            // A page view without a duration has the id of a plain hit.
            ListenerEvent::NotListening | ListenerEvent::NoDuration(_) => {
                batch.has_hit_ids &= accepted.has_hit_id();
                self.requests
                    .write_hit(log.id, line.start, accepted, &mut batch.chunk);
                batch.groups.push(RebuiltGroup {
                    lines: vec![position(line)],
                    ids: vec![self.requests.ids.id(log.id, line.start, 0)],
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
            });
        }
    }
}

fn insert(ranges: &mut Ranges, lines: &[LinePosition]) {
    for line in lines {
        ranges.insert(line.start..line.end, 1);
    }
}
