//! Hits in Matomo's own queue. They are stored at any later time, so a hit that Matomo does not
//! show is not sent again: its batch stays open until Matomo has taken all of it out of the queue
//! (guide/guarantees.md, "Matomo's queue").

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Importer;
use super::ledger_handle::LedgerHandle;
use super::recovery::{Patience, RebuiltBatch, Reconciliation};
use crate::error::{Error, Result};
use crate::failpoint::{pause, reach};
use crate::input::discover::Source;
use crate::input::lines::LineOptions;
use crate::ledger::{BatchState, LogId, PendingBatch, Ranges};
use crate::matomo::tracker_queue::{QueueProgress, QueuedBatch, QueuedHit, QueuedOutcome};
use crate::matomo::visit_log::{LookupError, Presence, VisitLog};
use crate::recorder::{DeliveryOptions, HIDDEN_HITS, LinePosition};

/// Matomo is not asked more often about the queued hits of a log, unless the run waits for them.
const ASK_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is asked while the run waits: so many times as long as the last time took, within
/// these limits. Each time the log is read again.
const WAIT_FACTOR: u32 = 10;
const MIN_WAIT: Duration = Duration::from_secs(2);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often it is checked whether all that was read is sent.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// Hits that are looked up at once.
const MAX_LOOKED_UP: usize = 500;

/// Batches that are asked about at once: the oldest and the latest ones.
const MAX_BATCHES: usize = 150;

/// Hits of each batch that are looked up first.
const SAMPLES: usize = 5;

/// What a run knows of hits in Matomo's queue.
pub(super) struct QueuedHits {
    /// `--queued-tracking`
    pub is_on: bool,
    /// `--wait-for-queue`: how long the end of the run waits for them.
    pub wait: Duration,
    /// `--queue-is-empty`: those that Matomo does not show are sent again.
    pub queue_is_empty: bool,
    /// When the run stops waiting. `None` until it begins to.
    deadline: Option<Instant>,
    /// When Matomo was last asked about those of a log.
    asked: HashMap<LogId, Instant>,
    /// What has come out of the queue so far.
    progress: Option<QueueProgress>,
    /// The origin of times.
    begun: Instant,
}

impl QueuedHits {
    pub fn new(delivery: &DeliveryOptions) -> Self {
        Self {
            is_on: delivery.to_queue,
            wait: delivery.queue_wait,
            queue_is_empty: delivery.queue_is_empty,
            deadline: None,
            asked: HashMap::new(),
            progress: None,
            begun: Instant::now(),
        }
    }
}

impl Importer {
    /// Whether the queued hits of a log were asked about a short time ago, and it has no other
    /// batches that wait.
    pub(super) fn waits_for_queue(&self, log: LogId) -> bool {
        let Some(handle) = &self.ledger else {
            return false;
        };
        let asked = handle.queued.asked.get(&log);
        let mut of_log = handle
            .pending
            .iter()
            .filter(|batch| batch.has_lines_of(log));
        asked.is_some_and(|asked| asked.elapsed() < pause(ASK_INTERVAL))
            && of_log.all(PendingBatch::may_be_in_queue)
    }

    /// Takes the batches of this run that are in the queue to those that are pending.
    pub(super) fn take_queued(&mut self) {
        if let Some(handle) = &mut self.ledger
            && handle.queued.is_on
        {
            handle.pending.retain(|batch| !batch.may_be_in_queue());
            handle.pending.extend(handle.ledger.batches_in_queue());
        }
    }

    /// Before the run waits for the queue, waits until all that was read is sent.
    pub(super) fn wait_until_sent(&self) {
        let waits = |handle: &LedgerHandle| handle.queued.is_on && !handle.queued.wait.is_zero();
        if self.ledger.as_ref().is_some_and(waits) {
            while self.account.lines_under_way() > 0 && !self.shutdown.wait(IDLE_POLL) {
                self.service.beat();
            }
        }
    }

    /// Settles the batches of a log that Matomo has taken out of its queue. The lines of the others
    /// are held back.
    pub(super) fn settle_queued(
        &mut self,
        log: LogId,
        source: &Source,
        options: &LineOptions,
        mut batches: Vec<PendingBatch>,
        patience: Patience,
        result: &mut Reconciliation,
    ) -> Result<()> {
        let Some(handle) = &mut self.ledger else {
            return Ok(());
        };
        let now = Instant::now();
        if batches.is_empty() {
            if handle.queued.is_on {
                handle.queued.asked.insert(log, now);
            }
            return Ok(());
        }
        let wait = handle.queued.wait;
        let deadline = match patience {
            // All logs wait for the same queue.
            Patience::Wait => *handle.queued.deadline.get_or_insert(now + wait),
            Patience::OnlyReady => now,
        };
        let asked = handle.queued.asked.get(&log);
        let is_recent = asked.is_some_and(|asked| asked.elapsed() < pause(ASK_INTERVAL));
        let mut is_due = !is_recent || deadline > now;
        while is_due && !batches.is_empty() {
            let begun = Instant::now();
            match self.ask_about_queued(log, source, options, &mut batches, result) {
                Ok(()) => {}
                Err(QueueError::Lookup(LookupError::Never(_))) => {
                    self.ask_about_each(log, source, options, &mut batches, result)?;
                }
                Err(QueueError::Lookup(LookupError::NotNow(why))) => {
                    self.note_not_now(source, &why);
                }
                Err(QueueError::Replaced) => result.is_replaced = true,
                Err(QueueError::Other(error)) => return Err(error),
            }
            if let Some(handle) = &mut self.ledger {
                handle.queued.asked.insert(log, Instant::now());
            }
            self.service.beat();
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = (begun.elapsed() * WAIT_FACTOR).clamp(MIN_WAIT, MAX_WAIT);
            is_due = !batches.is_empty()
                && !result.is_replaced
                && !left.is_zero()
                && !self.shutdown.wait(left.min(pause(wait)));
        }
        for batch in &batches {
            result.held_back.extend(batch.lines_of(log));
        }
        Ok(())
    }

    /// Asks about one batch after the other: a hit that cannot be looked up, or too many visits at
    /// once, say nothing about the other batches. If Matomo cannot be asked about one, its answer
    /// counts. Without an answer, the batch stays open.
    fn ask_about_each(
        &mut self,
        log: LogId,
        source: &Source,
        options: &LineOptions,
        batches: &mut Vec<PendingBatch>,
        result: &mut Reconciliation,
    ) -> Result<()> {
        for batch in std::mem::take(batches) {
            if result.is_replaced {
                batches.push(batch);
                continue;
            }
            let mut one = vec![batch];
            match self.ask_about_queued(log, source, options, &mut one, result) {
                Ok(()) => {}
                Err(QueueError::Lookup(LookupError::NotNow(why))) => {
                    self.note_not_now(source, &why);
                }
                Err(QueueError::Lookup(LookupError::Never(why))) => {
                    for batch in one.extract_if(.., |batch| batch.state == BatchState::Queued) {
                        let lines = batch.lines_of(log).clone();
                        let hits = match batch.lines.len() {
                            1 => batch.hits,
                            _ => {
                                let take = &mut |_: &mut RebuiltBatch| Ok(());
                                let rebuilt =
                                    self.rebuild_requests(log, source, options, &lines, take)?;
                                rebuilt.whole()?.chunk.requests().count() as u64
                            }
                        };
                        self.console.note(format!(
                            "{source}: {hits} hits went into Matomo's queue, and it cannot be asked \
                             whether it has them ({why}): this run relies on its answer"
                        ));
                        self.end_queued(log, &batch, hits, result)?;
                    }
                }
                Err(QueueError::Replaced) => result.is_replaced = true,
                Err(QueueError::Other(error)) => return Err(error),
            }
            batches.append(&mut one);
        }
        Ok(())
    }

    fn note_not_now(&self, source: &Source, why: &str) {
        self.console.debug(1, || {
            format!("{source}: Matomo cannot be asked about its queue now: {why}")
        });
    }

    /// Marks the lines of a log in a batch as done.
    fn end_queued(
        &mut self,
        log: LogId,
        batch: &PendingBatch,
        hits: u64,
        result: &mut Reconciliation,
    ) -> Result<()> {
        let lines = batch.lines_of(log).clone();
        result.done.extend(&lines);
        if let Some(handle) = &self.ledger {
            let ledger = Arc::clone(&handle.ledger);
            ledger.settle_log(batch.id, log, lines, hits)?;
        }
        self.remove_pending(batch.id, log, hits);
        reach("after-settled");
        Ok(())
    }

    /// Ends those batches that Matomo has taken out of its queue. First it is asked about some hits
    /// of each, so that a queue that has not moved costs little.
    fn ask_about_queued(
        &mut self,
        log: LogId,
        source: &Source,
        options: &LineOptions,
        batches: &mut Vec<PendingBatch>,
        result: &mut Reconciliation,
    ) -> std::result::Result<(), QueueError> {
        batches.sort_by_key(|batch| batch.id);
        let times = self.times(batches);
        let is_sampled =
            |index: usize| index < MAX_BATCHES / 2 || index + MAX_BATCHES / 2 >= batches.len();
        let mut wanted = Ranges::default();
        for (_, batch) in batches.iter().enumerate().filter(|(it, _)| is_sampled(*it)) {
            let starts: Vec<u64> = batch.lines_of(log).iter().map(|(it, _)| it.start).collect();
            let step = starts.len().div_ceil(SAMPLES).max(1);
            let chosen = starts.iter().step_by(step).chain(starts.last());
            chosen.for_each(|start| wanted.insert(*start..start + 1, 1));
        }
        let samples = self.look_up_queued(log, source, options, &wanted, batches)?;
        // What is shown now is known before the batches are looked up as a whole.
        for (batch, time) in batches.iter().zip(&times) {
            let lines = batch.lines_of(log);
            let of_batch = samples.iter().filter(|it| lines.contains(it.start()));
            let hits: Vec<_> = of_batch.flat_map(|it| it.hits.iter().copied()).collect();
            self.note_stored(&hits, *time);
        }
        let mut due = Vec::new();
        for (index, batch) in batches.iter().enumerate().filter(|(it, _)| is_sampled(*it)) {
            let lines = batch.lines_of(log);
            let mut of_batch = samples.iter().filter(|it| lines.contains(it.start()));
            // A session may need other lines to be the same, and with the options of this run,
            // the lines may have no hits.
            let has_moved = of_batch.clone().next().is_none()
                || of_batch.any(|it| it.lines.len() > 1 || it.is_session || it.is_shown());
            if has_moved || self.is_past(times[index]) {
                due.push((batch.clone(), times[index]));
            }
        }
        let mut wanted = Ranges::default();
        due.iter()
            .for_each(|(batch, _)| wanted.extend(batch.lines_of(log)));
        if due.is_empty() {
            return Ok(());
        }
        let found = self.look_up_queued(log, source, options, &wanted, batches)?;
        if let Some(progress) = self
            .ledger
            .as_mut()
            .and_then(|it| it.queued.progress.as_mut())
        {
            progress.note_visitors(found.iter().flat_map(|it| &it.hits));
        }
        for (batch, time) in due {
            let lines = batch.lines_of(log);
            let has = |line: &LinePosition| lines.contains(line.start);
            let is_of_batch = |it: &&LineHits| it.lines.iter().any(has);
            let is_apart = |it: &LineHits| it.lines.iter().all(has);
            let mut of_batch: Vec<_> = found.iter().filter(is_of_batch).cloned().collect();
            if !of_batch.iter().all(is_apart) {
                // Lines of several batches were joined to one session.
                let one = std::slice::from_ref(&batch);
                of_batch = self.look_up_queued(log, source, options, lines, one)?;
            }
            let hits = match batch.lines.len() {
                1 => batch.hits,
                _ => of_batch.iter().map(|it| it.hits.len() as u64).sum(),
            };
            match self.judge_queued(source, &batch, &of_batch, time) {
                QueuedEnd::Waiting => continue,
                QueuedEnd::Done => self.end_queued(log, &batch, hits, result)?,
                QueuedEnd::Resend(missing) => {
                    let complete = lines.without(&missing);
                    result.done.extend(&complete);
                    result.missing.extend(&missing);
                    if let Some(handle) = &self.ledger {
                        let ledger = Arc::clone(&handle.ledger);
                        ledger.settle_log(batch.id, log, complete, hits)?;
                    }
                    self.remove_pending(batch.id, log, hits);
                }
            }
            batches.retain(|other| other.id != batch.id);
        }
        Ok(())
    }

    /// When batches were sent, in milliseconds since the run began. Whatever the clock says, a batch
    /// was not sent after one with a higher number.
    fn times(&self, batches: &[PendingBatch]) -> Vec<i64> {
        let begun = self
            .ledger
            .as_ref()
            .map(|handle| handle.queued.begun.elapsed());
        let begun = begun.unwrap_or_default().as_millis() as i64;
        let mut times: Vec<i64> = batches
            .iter()
            .map(|batch| begun - batch.elapsed().as_millis() as i64)
            .collect();
        let mut earliest = i64::MAX;
        for time in times.iter_mut().rev() {
            earliest = earliest.min(*time);
            *time = earliest;
        }
        times
    }

    fn note_stored(&mut self, hits: &[(QueuedHit, Presence)], time: i64) {
        if let Some(handle) = &mut self.ledger {
            let (visits, timeout) = (&self.processor.visits, handle.timeout);
            let progress = handle
                .queued
                .progress
                .get_or_insert_with(|| visits.queue_progress(timeout));
            progress.note(hits, time);
        }
    }

    /// Whether Matomo has shown a hit that was certainly sent after this time.
    fn is_past(&self, time: i64) -> bool {
        let progress = self
            .ledger
            .as_ref()
            .and_then(|it| it.queued.progress.as_ref());
        progress.is_some_and(|progress| progress.is_past(time))
    }

    /// Judges a batch by what Matomo shows of it.
    fn judge_queued(
        &mut self,
        source: &Source,
        batch: &PendingBatch,
        found: &[LineHits],
        time: i64,
    ) -> QueuedEnd {
        let hits: Vec<_> = found
            .iter()
            .flat_map(|it| it.hits.iter().copied())
            .collect();
        let progress = self
            .ledger
            .as_ref()
            .and_then(|it| it.queued.progress.as_ref());
        // Matomo may have worked on a request without an answer for twice the time-out, and put its
        // hits into the queue only then.
        let latest = match (batch.state, &self.ledger) {
            (BatchState::Queuing, Some(handle)) => time + handle.timeout.as_millis() as i64,
            _ => time,
        };
        let judged = progress.map(|progress| progress.judge(&hits, latest));
        self.note_stored(&hits, time);
        let Some(QueuedBatch::Over(outcomes)) = judged else {
            return QueuedEnd::Waiting;
        };
        let count = |outcome| outcomes.iter().filter(|it| **it == outcome).count();
        if batch.state == BatchState::Queuing {
            // Without an answer, nothing says that what is missing ever was in the queue, and it is
            // not there now: later hits have come out of it.
            let missing = || found.iter().filter(|it| !it.is_stored());
            if missing().any(LineHits::is_shown) {
                return QueuedEnd::Waiting;
            }
            let mut resent = Ranges::default();
            for line in missing().flat_map(|it| &it.lines) {
                resent.insert(line.start..line.end, 1);
            }
            if !resent.is_empty() {
                return QueuedEnd::Resend(resent);
            }
        }
        if count(QueuedOutcome::Missing) > 0 {
            return QueuedEnd::Waiting;
        }
        if found.iter().any(LineHits::is_shown) {
            self.processor.visits.note_shown();
        }
        self.console.debug(1, || {
            format!(
                "{source}: Matomo has taken {} hits out of its queue, and left {} of them out",
                hits.len(),
                count(QueuedOutcome::LeftOut)
            )
        });
        let hidden = count(QueuedOutcome::Hidden);
        if hidden > 0 {
            self.console.warn_incomplete(format!(
                "{source}: {hidden} hits that came out of Matomo's queue are unconfirmed: \
                 {HIDDEN_HITS}"
            ));
        }
        QueuedEnd::Done
    }

    /// Makes the requests of some lines again and looks them up.
    fn look_up_queued(
        &mut self,
        log: LogId,
        source: &Source,
        options: &LineOptions,
        wanted: &Ranges,
        batches: &[PendingBatch],
    ) -> std::result::Result<Vec<LineHits>, QueueError> {
        if !self.is_still_source(source, log) {
            return Err(QueueError::Replaced);
        }
        let sent_at = batches.iter().map(PendingBatch::sent_at).min();
        let mut lookup = QueueLookup {
            visits: self.processor.visits.clone(),
            sent_at: sent_at.unwrap_or(SystemTime::UNIX_EPOCH),
            found: Vec::new(),
            error: None,
        };
        let (shutdown, service) = (self.shutdown.clone(), self.service.clone());
        let rebuilt = self.rebuild_requests(log, source, options, wanted, &mut |batch| {
            if shutdown.requested() {
                return Err(Error::interrupted("interrupted while hits were looked up"));
            }
            match batch.groups.len() >= MAX_LOOKED_UP {
                true => {
                    service.beat();
                    lookup.look_up(batch)
                }
                false => Ok(()),
            }
        });
        if let Some(error) = lookup.error.take() {
            return Err(error.into());
        }
        if shutdown.requested() {
            return Err(LookupError::NotNow("the run is stopping".to_owned()).into());
        }
        // The lines may be those of another log, which was rotated in just now.
        if !self.is_still_source(source, log) {
            return Err(QueueError::Replaced);
        }
        let mut rest = rebuilt.map_err(QueueError::Other)?.whole()?;
        let _ = lookup.look_up(&mut rest);
        match lookup.error {
            Some(error) => Err(error.into()),
            None => Ok(lookup.found),
        }
    }
}

/// What becomes of a batch.
enum QueuedEnd {
    /// Hits may still come.
    Waiting,
    Done,
    /// These lines never went into the queue, so they are sent again. The others are done.
    Resend(Ranges),
}

/// Why queued hits could not be looked up.
enum QueueError {
    Lookup(LookupError),
    /// Another log has the path, or none.
    Replaced,
    Other(Error),
}

impl From<LookupError> for QueueError {
    fn from(error: LookupError) -> Self {
        Self::Lookup(error)
    }
}

impl From<Error> for QueueError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What Matomo shows of the hits of a line, or of a listening session.
#[derive(Clone)]
struct LineHits {
    lines: Vec<LinePosition>,
    hits: Vec<(QueuedHit, Presence)>,
    is_session: bool,
}

impl LineHits {
    fn start(&self) -> u64 {
        self.lines.first().map_or(0, |line| line.start)
    }

    fn is_stored(&self) -> bool {
        let mut presences = self.hits.iter().map(|(_, presence)| *presence);
        presences.all(|presence| presence != Presence::Missing)
    }

    fn is_shown(&self) -> bool {
        let mut presences = self.hits.iter().map(|(_, presence)| *presence);
        presences.any(|presence| presence == Presence::Present)
    }
}

/// Looks up hits while their log is read.
struct QueueLookup {
    visits: VisitLog,
    sent_at: SystemTime,
    found: Vec<LineHits>,
    /// Why Matomo cannot be asked.
    error: Option<LookupError>,
}

impl QueueLookup {
    /// Looks up the requests made so far, and takes them.
    ///
    /// # Errors
    ///
    /// Returns an error if Matomo cannot be asked. See [`QueueLookup::error`].
    fn look_up(&mut self, batch: &mut RebuiltBatch) -> Result<()> {
        let batch = std::mem::replace(batch, RebuiltBatch::new());
        let requests: Vec<&[u8]> = batch.chunk.requests().collect();
        let presences = match self.visits.find(&requests, batch.has_hit_ids, self.sent_at) {
            Ok(presences) => presences,
            Err(error) => {
                self.error = Some(error);
                return Err(Error::stopped("Matomo cannot be asked"));
            }
        };
        let hits = requests.iter().map(|json| QueuedHit::parse(json));
        let mut hits = hits.zip(presences);
        for group in batch.groups {
            self.found.push(LineHits {
                lines: group.lines,
                hits: hits.by_ref().take(group.ids.len()).collect(),
                is_session: group.is_session,
            });
        }
        Ok(())
    }
}
