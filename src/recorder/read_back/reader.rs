//! The thread that asks Matomo for witnesses, and sends again what was lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use zstd::bulk::decompress;

use super::left_out::{LeftOut, NamedLines, network};
use super::packed::{SentRequest, unpack};
use super::{MAX_KEPT_BYTES, POLL_INTERVAL, ReadBackState, SentBatch};
use crate::error::{Error, Result};
use crate::failpoint::{self, reach};
use crate::ledger::BatchId;
use crate::matomo::client::TrackingWay;
use crate::matomo::outcome::{History, Outcome, classify};
use crate::matomo::visit_log::{LookupError, Presence};
use crate::recorder::buffer::write_body;
use crate::recorder::context::Context;
use crate::recorder::window::Window;
use crate::recorder::witness::SentHit;

/// Witnesses in one question.
const QUESTION_WITNESSES: usize = 50;

/// How long a witness waits for others to be asked about together: this many times as long as the
/// last question took, within these limits. A question costs about the same whatever it asks, so a
/// slow server is asked less often.
const WAIT_FACTOR: u32 = 100;
const MIN_WAIT: Duration = Duration::from_secs(5);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A witness may be missing only because a transaction or a replica is late. It is asked about
/// once more after this time.
const RECHECK_WAIT: Duration = Duration::from_secs(2);

/// Suspects that are settled together, and how long the first one waits for others.
const MAX_SUSPECTS: usize = 8;
const MAX_SUSPICION: Duration = Duration::from_secs(60);

/// Pause before the next question while Matomo is away.
const AWAY_WAIT: Duration = Duration::from_secs(30);

/// Addresses that are remembered because Matomo leaves out their hits.
const MAX_LEFT_OUT_ADDRESSES: usize = 10_000;

/// The hits that a batch lost.
struct Loss {
    batch: SentBatch,
    requests: Vec<SentRequest>,
}

/// What became of hits that were sent again.
enum SecondOutcome {
    /// Matomo acknowledged them. The ledger has them as this batch.
    Acknowledged(Option<BatchId>),
    /// Matomo may or may not have them, or the run is stopping: the next run asks.
    Left,
}

/// The thread that asks Matomo.
pub struct WitnessReader {
    context: Arc<Context>,
    window: Arc<Window>,
    shared: Arc<ReadBackState>,
    inbox: Receiver<SentBatch>,
    /// Batches that are not confirmed, oldest first.
    waiting: Vec<SentBatch>,
    /// Batches whose witness is missing. They are settled together, because the recorders have to
    /// wait for that.
    suspects: Vec<SentBatch>,
    /// Matomo has shown a hit of this run or of an interrupted one, so what it does not show is
    /// missing.
    has_seen_hits: bool,
    /// How long a witness waits for others.
    wait: Duration,
    /// Matomo could not be asked. It is asked again at this time.
    away_until: Option<Instant>,
    /// Batches that are left to the next run because Matomo was away.
    left: usize,
    left_out: LeftOut,
}

impl WitnessReader {
    pub fn new(
        context: &Arc<Context>,
        window: &Arc<Window>,
        shared: &Arc<ReadBackState>,
        inbox: Receiver<SentBatch>,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            window: Arc::clone(window),
            shared: Arc::clone(shared),
            inbox,
            waiting: Vec::new(),
            suspects: Vec::new(),
            has_seen_hits: false,
            wait: MIN_WAIT,
            away_until: None,
            left: 0,
            left_out: LeftOut::default(),
        }
    }

    pub fn run(mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.read_back()));
        let result = result.unwrap_or_else(|_| {
            Err(Error::stopped(
                "the read-back thread panicked: this is a bug in import-logs",
            ))
        });
        if let Err(error) = result {
            self.context.stop.halt(error);
        }
        self.left_out.report(&self.context);
    }

    fn read_back(&mut self) -> Result<()> {
        let mut is_open = true;
        while is_open || !self.waiting.is_empty() || !self.suspects.is_empty() {
            let is_idle = self.waiting.is_empty() && self.suspects.is_empty();
            let received = match (is_open, is_idle) {
                (true, true) => self.inbox.recv().map_err(RecvTimeoutError::from),
                (true, false) => self.inbox.recv_timeout(POLL_INTERVAL),
                (false, _) => Err(RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(batch) => self.waiting.push(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => is_open = false,
            }
            self.waiting.extend(self.inbox.try_iter());
            if self.context.stop.requested() {
                return self.finish_interrupted();
            }
            if self.away_until.is_some() && !is_open {
                self.leave_to_next_run()?;
                break;
            }
            let is_urgent = self.shared.is_urgent.swap(false, Ordering::Relaxed)
                || !is_open
                || self.shared.kept.lock().bytes > MAX_KEPT_BYTES / 2;
            let due = self.take_due(is_urgent);
            if !due.is_empty() {
                self.ask(due)?;
            } else if self.has_due_suspects(is_urgent) {
                self.settle_suspects(is_open)?;
            } else if !is_open && !self.waiting.is_empty() {
                self.context.stop.wait(POLL_INTERVAL);
            }
        }
        if self.left > 0 {
            self.context.console.warn_incomplete(format!(
                "{} requests are not confirmed, because Matomo could not be asked or showed no hit: \
                 the next run asks whether it has their hits",
                self.left
            ));
        }
        Ok(())
    }

    /// Asks once more before a run that is stopping ends. The next run asks about the rest.
    fn finish_interrupted(&mut self) -> Result<()> {
        // Recorders let requests in flight finish.
        self.waiting.extend(self.inbox.iter());
        let waiting = std::mem::take(&mut self.waiting);
        for batches in waiting.chunks(QUESTION_WITNESSES) {
            let Ok(presences) = self.ask_about(batches) else {
                return Ok(());
            };
            for (batch, presence) in batches.iter().zip(presences) {
                if presence == Presence::Present {
                    self.confirm(batch)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the batches to ask about now, if any.
    fn take_due(&mut self, is_urgent: bool) -> Vec<SentBatch> {
        let now = Instant::now();
        if self.away_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.away_until = None;
        let fresh = || self.waiting.iter().filter(|batch| batch.recheck.is_none());
        let is_due = is_urgent
            || fresh().count() >= QUESTION_WITNESSES
            || fresh().any(|batch| batch.acknowledged.elapsed() >= self.wait);
        let (mut due, rest): (Vec<_>, _) = self
            .waiting
            .drain(..)
            .partition(|batch| batch.recheck.map_or(is_due, |time| time <= now));
        self.waiting = rest;
        if due.len() > QUESTION_WITNESSES {
            self.waiting.extend(due.drain(QUESTION_WITNESSES..));
        }
        due
    }

    /// Whether to settle suspects now.
    fn has_due_suspects(&self, is_urgent: bool) -> bool {
        let is_old = |batch: &SentBatch| batch.acknowledged.elapsed() >= MAX_SUSPICION;
        let is_due = is_urgent
            || self.suspects.len() >= MAX_SUSPECTS
            || self.suspects.first().is_some_and(is_old);
        is_due && !self.suspects.is_empty() && self.away_until.is_none()
    }

    /// Asks whether Matomo has the witnesses of these batches.
    fn ask(&mut self, batches: Vec<SentBatch>) -> Result<()> {
        reach("before-read-back");
        let presences = match self.ask_about(&batches) {
            Ok(presences) => presences,
            Err(error) => return self.fail(error, batches),
        };
        for (mut batch, presence) in batches.into_iter().zip(presences) {
            if presence == Presence::Present {
                self.confirm(&batch)?;
            } else if batch.recheck.is_none() {
                batch.recheck = Some(Instant::now() + RECHECK_WAIT);
                self.waiting.push(batch);
            } else {
                self.suspects.push(batch);
            }
        }
        Ok(())
    }

    fn ask_about(
        &mut self,
        batches: &[SentBatch],
    ) -> std::result::Result<Vec<Presence>, LookupError> {
        // Each has one: that was checked when the batch was prepared.
        let witnesses = batches.iter().filter_map(|batch| batch.witness.witness());
        let witnesses: Vec<_> = witnesses.collect();
        self.shared.counts.questions.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let presences = self.context.visits.find_witnesses(&witnesses)?;
        self.wait = (begun.elapsed() * WAIT_FACTOR).clamp(MIN_WAIT, MAX_WAIT);
        self.has_seen_hits |= presences.contains(&Presence::Present);
        Ok(presences)
    }

    fn confirm(&self, batch: &SentBatch) -> Result<()> {
        self.shared.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.release(batch)
    }

    /// Marks the lines of a batch as done.
    fn release(&self, batch: &SentBatch) -> Result<()> {
        self.shared.release(batch);
        self.confirm_in_ledger(batch.id)
    }

    fn confirm_in_ledger(&self, batch: Option<BatchId>) -> Result<()> {
        match (&self.context.ledger, batch) {
            (Some(ledger), Some(batch)) => ledger.confirm(batch),
            _ => Ok(()),
        }
    }

    /// Matomo could not be asked about these batches.
    fn fail(&mut self, error: LookupError, batches: Vec<SentBatch>) -> Result<()> {
        match error {
            LookupError::NotNow(why) => {
                self.context.console.debug(1, || {
                    format!("read-back: Matomo cannot be asked now: {why}")
                });
                self.waiting.extend(batches);
                self.away_until = Some(Instant::now() + AWAY_WAIT);
                let is_full = self.shared.kept.lock().bytes > MAX_KEPT_BYTES / 2;
                match is_full {
                    true => self.leave_to_next_run(),
                    false => Ok(()),
                }
            }
            LookupError::Never(why) => {
                self.waiting.extend(batches);
                self.rely_on_answers(&why)
            }
        }
    }

    /// Matomo cannot be asked: what it acknowledged is done.
    fn rely_on_answers(&mut self, why: &str) -> Result<()> {
        if !self.shared.is_off.swap(true, Ordering::Relaxed) {
            self.context.console.note(format!(
                "Matomo cannot be asked whether it has the hits that it acknowledged ({why}): this \
                 run relies on its answers"
            ));
        }
        let mut batches = std::mem::take(&mut self.waiting);
        batches.append(&mut self.suspects);
        batches.iter().try_for_each(|batch| self.release(batch))
    }

    /// Whether batches of an interrupted run are still to be looked up, in this run or the next.
    fn has_earlier_batches(&self) -> bool {
        let ledger = self.context.ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.has_earlier_batches())
    }

    /// Whether the next run knows which batches are not confirmed.
    fn is_on_disk(&self) -> bool {
        let ledger = self.context.ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.is_on_disk())
    }

    /// Matomo is away or shows no hit, and the import has ended or needs the memory. The next run
    /// asks about the batches, which are in the ledger.
    fn leave_to_next_run(&mut self) -> Result<()> {
        if !self.is_on_disk() {
            return self.rely_on_answers("it does not answer now");
        }
        let batches = self.waiting.drain(..).chain(self.suspects.drain(..));
        for batch in batches {
            self.shared.release(&batch);
            self.left += 1;
        }
        Ok(())
    }

    /// Settles the batches whose witness is missing: sends again what they lost, and looks it up.
    fn settle_suspects(&mut self, is_open: bool) -> Result<()> {
        let mut losses: Vec<Loss> = Vec::new();
        self.has_seen_hits |= self.context.visits.has_shown();
        if !self.has_seen_hits && self.has_earlier_batches() {
            // If Matomo shows those, it can be asked, and these are lost.
            let is_full = self.shared.kept.lock().bytes > MAX_KEPT_BYTES / 2;
            return match is_open && !is_full {
                true => Ok(()),
                false => self.leave_to_next_run(),
            };
        }
        if !self.has_seen_hits {
            // Perhaps it is not the hits that are missing, but the right to see them. The smallest
            // batch costs least to look up.
            self.suspects.sort_by_key(|batch| batch.unpacked_bytes);
            let batch = self.suspects.remove(0);
            losses.extend(self.find_loss(batch)?);
            if !self.has_seen_hits {
                let batches = losses.into_iter().map(|loss| loss.batch);
                self.suspects.extend(batches);
                return match self.away_until {
                    Some(_) => Ok(()),
                    None => self.rely_on_answers("it shows none of them"),
                };
            }
        }
        for batch in std::mem::take(&mut self.suspects) {
            // If Matomo leaves out the hits of this visitor, the first batch shows it.
            let visitor = |batch: &SentBatch| (batch.witness.cip, batch.witness.cid.clone());
            if losses
                .iter()
                .any(|loss| visitor(&loss.batch) == visitor(&batch))
            {
                self.suspects.push(batch);
                continue;
            }
            losses.extend(self.find_loss(batch)?);
        }
        if losses.is_empty() {
            return Ok(());
        }
        let window = Arc::clone(&self.window);
        let Some(reserved) = window.reserve(&self.context.stop) else {
            return Ok(());
        };
        let mut sent = Vec::new();
        for loss in losses {
            match self.send_again(&loss)? {
                SecondOutcome::Acknowledged(again) => sent.push((loss, again)),
                SecondOutcome::Left => self.shared.release(&loss.batch),
            }
        }
        drop(reserved);
        self.settle_sent_again(&sent)
    }

    /// Looks up the hits of a batch whose witness is missing. Returns those that it lost, or `None`
    /// if it lost nothing and the batch is confirmed.
    fn find_loss(&mut self, batch: SentBatch) -> Result<Option<Loss>> {
        let unpacked = decompress(&batch.packed, batch.unpacked_bytes).ok();
        let requests = unpacked.and_then(|text| unpack(&text)).unwrap_or_default();
        let presences = match self.find(requests.iter(), batch.sent_at) {
            Ok(presences) => presences,
            Err(error) => return self.fail(error, vec![batch]).map(|()| None),
        };
        // Losses are always at the beginning: what is missing later was left out.
        let end = presences.iter().position(|it| *it == Presence::Present);
        // If it shows the witness after all, questions about witnesses are useless.
        self.has_seen_hits |= end.is_some_and(|end| end > 0);
        let first = &presences[..end.unwrap_or(presences.len())];
        let unknown = first.iter().filter(|it| **it == Presence::Unknown).count();
        let counts = &self.shared.counts;
        counts.unknown.fetch_add(unknown as u64, Ordering::Relaxed);
        let missing = requests
            .into_iter()
            .zip(first)
            .filter(|(_, presence)| **presence == Presence::Missing)
            .map(|(request, _)| request);
        // Matomo leaves out more hits of an address than one.
        let (excluded, requests): (Vec<_>, Vec<_>) =
            missing.partition(|request| self.is_left_out(request));
        excluded.iter().for_each(|request| self.leave_out(request));
        if requests.is_empty() {
            return self.confirm(&batch).map(|()| None);
        }
        self.context.console.debug(1, || {
            format!(
                "read-back: {} of {} hits of a batch are missing",
                requests.len(),
                presences.len()
            )
        });
        Ok(Some(Loss { batch, requests }))
    }

    /// Looks up hits that were sent again. What is missing even now was left out.
    fn settle_sent_again(&mut self, sent: &[(Loss, Option<BatchId>)]) -> Result<()> {
        if sent.is_empty() {
            return Ok(());
        }
        let requests = || sent.iter().flat_map(|(loss, _)| &loss.requests);
        let sent_at = failpoint::now();
        let mut lookup = self.find(requests(), sent_at);
        let has_missing = |presences: &Vec<Presence>| presences.contains(&Presence::Missing);
        if lookup.as_ref().is_ok_and(has_missing) && !self.context.stop.wait(RECHECK_WAIT) {
            lookup = self.find(requests(), sent_at);
        }
        match lookup {
            Ok(presences) => {
                for (request, presence) in requests().zip(presences) {
                    let count = match presence {
                        Presence::Present => &self.shared.counts.sent_again,
                        Presence::Unknown => &self.shared.counts.unknown,
                        Presence::Missing => {
                            self.leave_out(request);
                            continue;
                        }
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(LookupError::Never(why) | LookupError::NotNow(why)) => {
                self.context.console.warn(format!(
                    "{} hits that Matomo had acknowledged and lost were sent again, and it cannot \
                     be asked whether it has them now ({why})",
                    requests().count()
                ));
            }
        }
        for (loss, again) in sent {
            self.confirm_in_ledger(*again)?;
            self.confirm(&loss.batch)?;
        }
        Ok(())
    }

    fn is_left_out(&self, request: &SentRequest) -> bool {
        SentHit::parse(&request.json)
            .is_some_and(|hit| self.shared.left_out.lock().contains(&hit.cip))
    }

    /// Counts a hit that Matomo has on purpose not stored.
    fn leave_out(&mut self, request: &SentRequest) {
        self.shared.counts.left_out.fetch_add(1, Ordering::Relaxed);
        if let Some(hit) = SentHit::parse(&request.json) {
            self.left_out.add(request, &hit);
            let mut addresses = self.shared.left_out.lock();
            // Visitors without an address share the unspecified one.
            if addresses.len() < MAX_LEFT_OUT_ADDRESSES && !hit.cip.is_unspecified() {
                addresses.insert(hit.cip);
                let mut networks = self.shared.left_out_networks.lock();
                networks.insert(network(hit.cip));
            }
        }
    }

    fn find<'r>(
        &self,
        requests: impl Iterator<Item = &'r SentRequest>,
        sent_at: SystemTime,
    ) -> std::result::Result<Vec<Presence>, LookupError> {
        let requests: Vec<&[u8]> = requests.map(|request| &request.json[..]).collect();
        self.context.visits.find(&requests, true, sent_at)
    }

    /// Sends hits again. No other request is in flight.
    fn send_again(&self, Loss { batch, requests }: &Loss) -> Result<SecondOutcome> {
        let context = &self.context;
        let policy = context.options.retry;
        let history = History {
            accepted_for_site: true,
            success: true,
        };
        let mut attempts = 0;
        loop {
            let again = match (&context.ledger, batch.id) {
                (Some(ledger), Some(id)) => Some(ledger.begin_again(id, requests.len() as u64)?),
                _ => None,
            };
            let forget = || match (&context.ledger, again) {
                (Some(ledger), Some(again)) => ledger.forget(again),
                _ => Ok(()),
            };
            let mut body = Vec::new();
            let hits = requests.iter().map(|request| &request.json[..]);
            write_body(&mut body, hits, context.token.as_ref());
            let exchange = context.track(batch.front, body.into(), TrackingWay::Direct)?;
            context.print_response(&exchange);
            attempts += 1;
            let (detail, retry_after) = match classify(&exchange, requests.len(), &history) {
                Outcome::Acknowledged(_) | Outcome::Queued => {
                    return Ok(SecondOutcome::Acknowledged(again));
                }
                Outcome::NotSent { detail } => (detail, None),
                Outcome::NotProcessed {
                    retry_after,
                    detail,
                } => (detail, retry_after),
                Outcome::Unconfirmed { detail, .. } => {
                    self.leave(requests, &detail);
                    return Ok(SecondOutcome::Left);
                }
                Outcome::TooLarge { detail } => {
                    forget()?;
                    self.leave(requests, &detail);
                    return Ok(SecondOutcome::Left);
                }
                Outcome::Stop { message } => {
                    forget()?;
                    self.leave(requests, &message);
                    return Ok(SecondOutcome::Left);
                }
            };
            forget()?;
            if !policy.allows_after(attempts) {
                self.leave(requests, &detail);
                return Ok(SecondOutcome::Left);
            }
            if context.stop.wait(policy.wait_after(attempts, retry_after)) {
                return Ok(SecondOutcome::Left);
            }
        }
    }

    /// Reports hits that are missing and could not be sent again.
    fn leave(&self, requests: &[SentRequest], why: &str) {
        let mut lines = NamedLines::default();
        requests.iter().for_each(|request| lines.add(request));
        let next = match self.is_on_disk() {
            true => "; the next run asks for them again",
            false => "",
        };
        self.context.console.warn_incomplete(format!(
            "{} hits that Matomo acknowledged are missing, and could not be sent again ({why}): \
             {}{next}",
            requests.len(),
            lines.text(&self.context)
        ));
    }
}
