//! Sends what was taken from the window, until its outcome is known.
//!
//! What a response means is decided in [`crate::matomo::outcome`]; this module acts on it. See
//! guide/guarantees.md, "Outcome of an exchange".

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;

use super::acks::Acks;
use super::adaptive::{LoadSignal, Permit, RequestLoad, Semaphore};
use super::batch::{Batch, BatchIter};
use super::buffer::{Buffer, HitOutcome};
use super::context::{Context, FrontState};
use super::in_doubt::{Decision, HIDDEN_HITS, UNANSWERED_LOOKUPS};
use super::read_back::ReadBack;
use super::witness::{HitRarity, move_witness_to_front};
use crate::error::{Error, Result};
use crate::failpoint::{self, reach};
use crate::matomo::api::ApiError;
use crate::matomo::client::TrackingWay;
use crate::matomo::outcome::{Acknowledged, History, Outcome, classify};
use crate::matomo::visit_log::{LookupError, Presence};

/// Waits of this length are reported.
const REPORTED_WAIT: Duration = Duration::from_secs(2);

/// No web server has a limit below this: a 413 for a smaller body comes from a proxy or a firewall
/// that refuses the request for another reason, which may pass.
const MIN_BODY_LIMIT: usize = 8 << 10;

/// Hits in Matomo's queue that are not confirmed. The ledger needs about 80 bytes for each.
const MAX_QUEUED_HITS: u64 = 1_000_000;

/// If the server rejects more hits than this in a row, the server is at fault.
const MAX_REJECTED: usize = 3;

/// Sends the batches of one recorder.
pub struct Sender {
    context: Arc<Context>,
    /// The number of its front end.
    front: usize,
    semaphore: Arc<Semaphore>,
    acks: Acks,
    read_back: Option<ReadBack>,
    has_sent: bool,
}

/// What to do with a batch after an attempt.
enum NextStep {
    Done,
    /// Try what is left of it again, after this wait and after any backoff.
    Retry(Batch, Duration),
    /// Send it as two halves. A single hit is refused for this reason.
    Split(Batch, String),
    /// A single hit that is refused if the server accepts other hits.
    Suspect(Suspect),
    Stop(String),
}

/// A single hit that failed in all attempts, or that the server says is wrong.
struct Suspect {
    batch: Batch,
    reason: String,
    /// The server says that it is wrong.
    is_rejected: bool,
}

/// Who waits before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryScope {
    /// The server is away, or asks for a pause: all recorders of its front end.
    FrontEnd,
    /// The server answered, so it may accept other batches.
    ThisBatch,
}

/// What is known of a batch that Matomo may have stored in whole, in part or not at all.
struct Unconfirmed {
    /// When it was sent, if there was no response: the server may still be working on it.
    unanswered_since: Option<Instant>,
    sent_at: SystemTime,
    /// Send what is missing as two halves.
    split: bool,
    /// Send nothing again: it would be answered alike.
    hopeless: bool,
    /// The server says that one of the hits is wrong.
    rejected: bool,
    way: TrackingWay,
    retry_after: Option<Duration>,
    detail: String,
}

/// Whether Matomo still accepts the token.
enum TokenCheck {
    /// It does, so the hits themselves were refused.
    Valid,
    /// The token or the site is no longer valid, or Matomo cannot be asked.
    Failed(String),
    /// The program is stopping.
    Interrupted,
}

impl Sender {
    pub fn new(
        context: Arc<Context>,
        front: usize,
        semaphore: Arc<Semaphore>,
        read_back: Option<ReadBack>,
    ) -> Self {
        Self {
            acks: Acks::new(Arc::clone(&context), read_back.clone()),
            read_back,
            context,
            front,
            semaphore,
            has_sent: false,
        }
    }

    fn front(&self) -> &FrontState {
        self.context.server.front(self.front)
    }

    /// Waits while too many batches are not confirmed.
    pub fn wait_for_room(&self) {
        if let Some(read_back) = &self.read_back {
            read_back.wait_for_room(|| self.context.stop.requested());
        }
    }

    /// Sends all requests of a buffer, the first batch with this permit. When it returns, each line
    /// is settled, or the program is stopping.
    ///
    /// # Errors
    /// The import cannot continue.
    pub fn send(&mut self, buffer: &mut Buffer, epoch: u64, permit: Permit<'_>) -> Result<()> {
        let rarity = match &self.read_back {
            Some(read_back) if !self.context.options.keep_order => read_back.rarity(buffer, epoch),
            _ => Vec::new(),
        };
        let mut batches = BatchIter::new(buffer.requests());
        let mut permit = Some(permit);
        let semaphore = Arc::clone(&self.semaphore);
        // A stack: what is left of a batch goes before the next batch.
        let mut retries: Vec<Batch> = Vec::new();
        // Hits that are refused once the server accepts another one.
        let mut suspects: Vec<Suspect> = Vec::new();
        while let Some(batch) = retries
            .pop()
            .or_else(|| batches.next_batch(buffer, self.semaphore.batch_limits()))
        {
            if self.exceeds_size_limit(buffer, &batch) {
                retries.extend(batch.split());
                continue;
            }
            let context = Arc::clone(&self.context);
            let backoff = &context.server.front(self.front).backoff;
            // Others may send during a pause.
            permit = permit.filter(|_| !backoff.is_active() && context.options.pace.is_none());
            if backoff.wait(&context.stop) || self.wait_for_pace() {
                return Ok(());
            }
            let permit = permit
                .take()
                .or_else(|| semaphore.acquire(&self.context.stop));
            // A backoff may have started during the wait for the permit.
            let permit = permit.filter(|_| !self.front().backoff.is_active());
            let step = match permit {
                Some(permit) => self.attempt(buffer, batch, permit, &rarity)?,
                None => NextStep::Retry(batch, Duration::ZERO),
            };
            match step {
                NextStep::Done => {}
                NextStep::Retry(batch, wait) => {
                    retries.push(batch);
                    if self.context.stop.wait(wait) {
                        return Ok(());
                    }
                }
                NextStep::Split(batch, reason) => match batch.requests[..] {
                    [request] => {
                        let reason = format!("the server does not accept it even alone: {reason}");
                        self.acks.refuse(buffer, request, &reason);
                    }
                    _ => retries.extend(batch.split()),
                },
                NextStep::Suspect(suspect) => {
                    // Without a success in between: the server fails, not the hits.
                    let most = match suspect.is_rejected {
                        true => MAX_REJECTED,
                        false => 1,
                    };
                    if suspects.len() >= most {
                        return Err(Error::stopped(suspect.reason));
                    }
                    suspects.push(suspect);
                }
                NextStep::Stop(reason) => return Err(Error::stopped(reason)),
            }
            suspects.retain(|suspect| !self.refuse_poison_hit(buffer, suspect));
            self.acks.close_settled(buffer)?;
            self.check_queue_length()?;
        }
        for suspect in suspects {
            // It may be the last hit of the log.
            let may_refuse = suspect.is_rejected && self.front().count_rejected(1) <= MAX_REJECTED;
            if !may_refuse {
                return Err(Error::stopped(suspect.reason));
            }
            match self.check_site(buffer, &suspect.batch) {
                TokenCheck::Valid => self.refuse_suspect(buffer, &suspect),
                TokenCheck::Failed(reason) => return Err(Error::stopped(reason)),
                TokenCheck::Interrupted => return Ok(()),
            }
        }
        self.acks.close_settled(buffer)?;
        self.acks.clear();
        Ok(())
    }

    /// Stops the import if too many hits wait in Matomo's queue: the ledger has their lines.
    fn check_queue_length(&self) -> Result<()> {
        let ledger = self.context.ledger.as_ref();
        let hits = ledger.filter(|_| self.context.options.to_queue);
        match hits.map_or(0, |ledger| ledger.hits_in_queue()) {
            hits if hits > MAX_QUEUED_HITS => Err(Error::stopped(format!(
                "{hits} hits wait in Matomo's queue, which is more than {MAX_QUEUED_HITS}: run the \
                 same command again when Matomo has processed some of them"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether a half of an earlier batch exceeds the size limit by far, because the limit has
    /// shrunk since the split.
    fn exceeds_size_limit(&self, buffer: &Buffer, batch: &Batch) -> bool {
        let max_bytes = self.semaphore.batch_limits().bytes;
        !batch.is_new
            && batch.attempts == 0
            && batch.requests.len() > 1
            && buffer.batch_bytes(&batch.requests) > max_bytes + max_bytes / 2
    }

    /// Refuses a hit if the server has accepted another batch since. Returns whether it did. See
    /// guide/guarantees.md, "Poison hits".
    fn refuse_poison_hit(&self, buffer: &mut Buffer, suspect: &Suspect) -> bool {
        let is_refused = self.front().acknowledged() != suspect.batch.acknowledged_before;
        if is_refused {
            self.refuse_suspect(buffer, suspect);
        }
        is_refused
    }

    fn refuse_suspect(&self, buffer: &mut Buffer, suspect: &Suspect) {
        let reason = match suspect.is_rejected {
            true => format!("the server rejects it: {}", suspect.reason),
            false => "the server fails on it each time, and accepts others".to_owned(),
        };
        for request in &suspect.batch.requests {
            self.acks.refuse(buffer, *request, &reason);
        }
    }

    /// Sends a batch once and handles the outcome.
    fn attempt(
        &mut self,
        buffer: &mut Buffer,
        mut batch: Batch,
        permit: Permit<'_>,
        rarity: &[HitRarity],
    ) -> Result<NextStep> {
        let context = Arc::clone(&self.context);
        let front = context.server.front(self.front);
        if let Some(read_back) = self.read_back.as_ref().filter(|_| !rarity.is_empty()) {
            let left_out = |address| read_back.may_leave_out(address);
            move_witness_to_front(buffer, rarity, &mut batch.requests, left_out);
        }
        let first = batch.requests.first();
        let of_assistants = first.is_some_and(|first| buffer.group(*first).is_assistant);
        let way = context.options.tracking_way(of_assistants);
        let pending = self.acks.begin(buffer, &batch.requests, way)?;
        let had_success = front.acknowledged() > 0;
        let body = buffer.batch_body(&batch.requests, context.token.as_ref());
        let bytes = body.len();
        let (sent_at, sent_at_date) = (Instant::now(), failpoint::now());
        let under_way = context.account.under_way.begin(batch.requests.len());
        let exchange = context.track(self.front, body, way)?;
        drop(under_way);
        let elapsed = sent_at.elapsed();
        reach("after-answer");
        context.print_response(&exchange);
        if batch.attempts == 0 && !batch.probe {
            batch.acknowledged_before = front.acknowledged();
        }
        let sites = batch.requests.iter().map(|hit| buffer.group(*hit).site);
        let history = History {
            accepted_for_site: front.has_accepted(sites),
            success: had_success,
        };
        batch.attempts += 1;
        let outcome = classify(&exchange, batch.requests.len(), &history);
        if matches!(
            outcome,
            Outcome::Acknowledged(_) | Outcome::Queued | Outcome::Unconfirmed { .. }
        ) {
            self.acks.count_resent(buffer, &batch.requests);
        }
        let is_small = batch.requests.len() == 1 && bytes < MIN_BODY_LIMIT;
        let load = RequestLoad {
            hits: batch.requests.len(),
            bytes,
            elapsed,
            signal: match outcome {
                Outcome::TooLarge { .. } if is_small => LoadSignal::Unrelated,
                // Their batches are small and sent alone.
                Outcome::Acknowledged(_) if of_assistants => LoadSignal::Unrelated,
                _ => load_signal(&outcome, batch.probe),
            },
            is_new: std::mem::take(&mut batch.is_new),
        };
        let mut stored = None;
        let next = match outcome {
            Outcome::Queued => {
                front.count_acknowledged();
                self.acks.queue(buffer, &batch.requests);
                NextStep::Done
            }
            Outcome::Acknowledged(acknowledged) => {
                if way == TrackingWay::Queue {
                    context.note_direct_answer();
                }
                match self.check_token(buffer, &batch, &acknowledged) {
                    TokenCheck::Valid => {
                        front.count_acknowledged();
                        stored = self.acks.acknowledge(buffer, &batch.requests, acknowledged);
                        if let Some(stored) = &stored {
                            self.acks.set_receipt(stored, sent_at_date);
                        }
                        NextStep::Done
                    }
                    TokenCheck::Failed(reason) => NextStep::Stop(reason),
                    TokenCheck::Interrupted => NextStep::Retry(batch, Duration::ZERO),
                }
            }
            Outcome::Unconfirmed {
                answered,
                halve,
                hopeless,
                rejected,
                retry_after,
                detail,
            } => {
                let unconfirmed = Unconfirmed {
                    unanswered_since: (!answered).then_some(sent_at),
                    sent_at: sent_at_date,
                    split: halve,
                    hopeless,
                    rejected,
                    way,
                    retry_after,
                    detail,
                };
                if rejected && way == TrackingWay::Queue {
                    // Matomo puts all of a batch into its queue or nothing.
                    let next = match self.check_token_of_rejected(buffer, &batch) {
                        TokenCheck::Valid => self.retry_unconfirmed(batch, unconfirmed),
                        TokenCheck::Failed(reason) => NextStep::Stop(reason),
                        TokenCheck::Interrupted => NextStep::Retry(batch, Duration::ZERO),
                    };
                    self.release(permit, &load);
                    self.acks.discard()?;
                    return Ok(next);
                }
                self.release(permit, &load);
                let next = self.reconcile(buffer, batch, unconfirmed);
                self.acks.close_settled(buffer)?;
                return Ok(next);
            }
            Outcome::NotSent { detail } => self.retry(batch, None, detail, RetryScope::FrontEnd),
            Outcome::NotProcessed {
                retry_after,
                detail,
            } => self.retry(batch, retry_after, detail, RetryScope::FrontEnd),
            Outcome::TooLarge { detail } if is_small => {
                match context.options.retry.allows_after(batch.attempts) {
                    true => self.retry(batch, None, detail, RetryScope::ThisBatch),
                    false => NextStep::Suspect(Suspect {
                        batch,
                        reason: detail,
                        is_rejected: false,
                    }),
                }
            }
            Outcome::TooLarge { detail } => NextStep::Split(batch, detail),
            Outcome::Stop { message } => NextStep::Stop(message),
        };
        // Only now that a backoff has started: others wait for this permit.
        self.release(permit, &load);
        match (&next, pending) {
            (NextStep::Done, pending) => {
                self.acks.close_settled(buffer)?;
                if let (Some(pending), Some(stored)) = (pending, stored) {
                    self.acks.record_stored(buffer, pending, &stored)?;
                }
            }
            _ => self.acks.discard()?,
        }
        Ok(next)
    }

    fn release(&self, permit: Permit, load: &RequestLoad) {
        if let Some(change) = permit.release(load) {
            self.context.console.debug(1, || change);
        }
    }

    /// Checks the token if Matomo refused all hits of a batch for a site that it accepted hits for
    /// before. An expired token (one from `--login` is valid for 48 hours) or a deleted site would
    /// otherwise cost the rest of the log, batch by batch.
    fn check_token(
        &self,
        buffer: &Buffer,
        batch: &Batch,
        acknowledged: &Acknowledged,
    ) -> TokenCheck {
        if acknowledged.tracked > 0 || acknowledged.lost > 0 {
            return TokenCheck::Valid;
        }
        self.check_site(buffer, batch)
    }

    /// Checks the token if Matomo does not put a batch into its queue: it rejects a bad token as it
    /// does a bad hit. Asks for a site that it has accepted hits for, because the bad hit may be of
    /// a site that does not exist.
    fn check_token_of_rejected(&self, buffer: &Buffer, batch: &Batch) -> TokenCheck {
        let is_of_good_site = |request: &&u32| {
            let site = buffer.group(**request).site;
            self.front().has_accepted(std::iter::once(site))
        };
        match batch.requests.iter().find(is_of_good_site) {
            Some(request) => self.check_site_of(buffer, batch, Some(*request)),
            None => TokenCheck::Valid,
        }
    }

    /// Asks Matomo for the site of a batch. For a single hit, an answer of the last seconds counts.
    fn check_site(&self, buffer: &Buffer, batch: &Batch) -> TokenCheck {
        self.check_site_of(buffer, batch, batch.requests.first().copied())
    }

    /// Asks Matomo for the site of a hit of a batch.
    fn check_site_of(&self, buffer: &Buffer, batch: &Batch, request: Option<u32>) -> TokenCheck {
        #[derive(Deserialize)]
        struct HitSite {
            idsite: String,
        }
        if batch.requests.len() == 1 && self.context.server.is_token_checked() {
            return TokenCheck::Valid;
        }
        let first = request.map(|request| buffer.json(request));
        let site = first.and_then(|json| serde_json::from_slice::<HitSite>(json).ok());
        let Some(HitSite { idsite }) = site else {
            return TokenCheck::Valid;
        };
        let reason = match self.context.api.site(&idsite) {
            Ok(_) => {
                self.context.server.set_token_checked();
                return TokenCheck::Valid;
            }
            Err(ApiError::Interrupted) => return TokenCheck::Interrupted,
            Err(
                ApiError::Refused(reason)
                | ApiError::Failed(reason)
                | ApiError::Broken(reason)
                | ApiError::Unavailable(reason),
            ) => reason,
        };
        TokenCheck::Failed(format!(
            "Matomo refused all {} hits of {}, and the check of the token for site {idsite} failed: {reason}",
            batch.requests.len(),
            self.acks.location(buffer, &batch.requests)
        ))
    }

    /// Looks up which hits of a batch Matomo has, and sends only the others again. See
    /// guide/guarantees.md, "Unconfirmed batches".
    fn reconcile(
        &mut self,
        buffer: &mut Buffer,
        mut batch: Batch,
        unconfirmed: Unconfirmed,
    ) -> NextStep {
        let context = Arc::clone(&self.context);
        context.console.debug(1, || unconfirmed.detail.clone());
        if unconfirmed.way == TrackingWay::Queue {
            self.acks.leave_unconfirmed(buffer, &batch.requests);
            return NextStep::Stop(format!(
                "{}; {} hits of {} may be in Matomo's queue, so they are not sent again now: run \
                 the same command again when Matomo works",
                unconfirmed.detail,
                batch.requests.len(),
                self.acks.short_location(buffer, &batch.requests),
            ));
        }
        let timeout = context.options.timeout;
        // When to ask, in time-outs after sending.
        let lookups: &[u32] = match unconfirmed.unanswered_since {
            None => &[0],
            Some(_) => &UNANSWERED_LOOKUPS,
        };
        for timeouts in lookups {
            if let Some(sent_at) = unconfirmed.unanswered_since {
                let wait = timeout
                    .saturating_mul(*timeouts)
                    .saturating_sub(sent_at.elapsed());
                if wait >= REPORTED_WAIT {
                    context.console.note(format!(
                        "{}; waiting {} s before asking Matomo which hits it has",
                        unconfirmed.detail,
                        wait.as_secs()
                    ));
                }
                if context.stop.wait(wait) {
                    self.acks.leave_unconfirmed(buffer, &batch.requests);
                    return NextStep::Done;
                }
            }
            let hits: Vec<&[u8]> = batch
                .requests
                .iter()
                .map(|request| buffer.json(*request))
                .collect();
            let has_hit_ids = |request: &u32| buffer.group(*request).has_hit_ids;
            let has_hit_ids = batch.requests.iter().all(has_hit_ids);
            let lookup = context.visits.find(&hits, has_hit_ids, unconfirmed.sent_at);
            let location = match &lookup {
                Err(LookupError::NotNow(_)) => self.acks.short_location(buffer, &batch.requests),
                _ => self.acks.location(buffer, &batch.requests),
            };
            let subject = format!(
                "{} hits of {location} are unconfirmed ({})",
                batch.requests.len(),
                unconfirmed.detail
            );
            if unconfirmed.rejected && matches!(lookup, Err(LookupError::Never(_))) {
                // A batch that Matomo rejects is rolled back.
                break;
            }
            let policy = context.options.in_doubt;
            let presences = match policy.decide(lookup, context.stop.requested(), &subject) {
                Decision::Settle(presences) => presences,
                Decision::Resend(_) if unconfirmed.hopeless => {
                    self.acks.leave_unconfirmed(buffer, &batch.requests);
                    return NextStep::Stop(unconfirmed.detail);
                }
                Decision::Resend(warning) => {
                    if let Err(error) = self.acks.list(buffer, &batch.requests, &warning) {
                        self.acks.leave_unconfirmed(buffer, &batch.requests);
                        return NextStep::Stop(error.to_string());
                    }
                    context.console.warn_incomplete(warning);
                    return self.resend(buffer, batch, unconfirmed);
                }
                Decision::Skip(warning) => {
                    if let Err(error) = self.acks.list(buffer, &batch.requests, &warning) {
                        self.acks.leave_unconfirmed(buffer, &batch.requests);
                        return NextStep::Stop(error.to_string());
                    }
                    context.console.warn_incomplete(warning);
                    self.acks
                        .settle_all(buffer, &batch.requests, HitOutcome::Unconfirmed);
                    return NextStep::Done;
                }
                Decision::Stop(reason) => {
                    self.acks.leave_unconfirmed(buffer, &batch.requests);
                    return NextStep::Stop(reason);
                }
                Decision::Leave => {
                    self.acks.leave_unconfirmed(buffer, &batch.requests);
                    return NextStep::Done;
                }
            };
            let sent = batch.requests.len();
            let mut presences = presences.into_iter();
            let mut unknown = Vec::new();
            batch.requests.retain(|request| match presences.next() {
                Some(Presence::Present) => {
                    self.acks.settle(buffer, *request, HitOutcome::Imported);
                    false
                }
                Some(Presence::Unknown) => {
                    unknown.push(*request);
                    false
                }
                Some(Presence::Missing) | None => true,
            });
            if !unknown.is_empty() {
                context.console.warn_incomplete(format!(
                    "{} hits of {} are unconfirmed: {HIDDEN_HITS}",
                    unknown.len(),
                    self.acks.location(buffer, &unknown),
                ));
                self.acks
                    .settle_all(buffer, &unknown, HitOutcome::Unconfirmed);
            }
            if batch.requests.is_empty() {
                return NextStep::Done;
            }
            // The server accepted a part of it, so the rest starts over.
            if batch.requests.len() < sent {
                batch.attempts = 0;
                batch.acknowledged_before = self.front().acknowledged();
            }
        }
        match unconfirmed.hopeless {
            true => NextStep::Stop(unconfirmed.detail),
            false => self.retry_unconfirmed(batch, unconfirmed),
        }
    }

    /// Sends a whole batch again although Matomo may have some of it.
    fn resend(&mut self, buffer: &mut Buffer, batch: Batch, unconfirmed: Unconfirmed) -> NextStep {
        let requests = batch.requests.clone();
        let next = self.retry_unconfirmed(batch, unconfirmed);
        match next {
            // No attempt is left.
            NextStep::Stop(_) => self.acks.leave_unconfirmed(buffer, &requests),
            _ => requests
                .iter()
                .for_each(|request| buffer.set_unconfirmed(*request)),
        }
        next
    }

    /// The next attempt of a batch after a server error or no response. If the server answered with
    /// an error in all attempts, the halves are tried once each, to find the hit that causes it. A
    /// single hit is refused only after it failed in all attempts itself.
    fn retry_unconfirmed(&self, batch: Batch, unconfirmed: Unconfirmed) -> NextStep {
        let Unconfirmed {
            unanswered_since,
            sent_at: _,
            split,
            hopeless: _,
            rejected,
            way: _,
            retry_after,
            detail,
        } = unconfirmed;
        let answered = unanswered_since.is_none();
        let is_exhausted = !self.context.options.retry.allows_after(batch.attempts);
        let scope = match answered {
            true => RetryScope::ThisBatch,
            false => RetryScope::FrontEnd,
        };
        match batch.requests.len() {
            1 if answered && (is_exhausted || rejected) => NextStep::Suspect(Suspect {
                batch,
                reason: detail,
                is_rejected: rejected,
            }),
            1 => self.retry(batch, retry_after, detail, scope),
            _ if answered && (batch.probe || is_exhausted || rejected) => {
                let probe = Batch {
                    probe: true,
                    acknowledged_before: match batch.probe {
                        true => batch.acknowledged_before,
                        false => self.front().acknowledged(),
                    },
                    ..batch
                };
                NextStep::Split(probe, detail)
            }
            _ if split => NextStep::Split(batch, detail),
            _ => self.retry(batch, retry_after, detail, scope),
        }
    }

    /// The next attempt of a batch, or the end of the import if none is left.
    fn retry(
        &self,
        batch: Batch,
        retry_after: Option<Duration>,
        detail: String,
        scope: RetryScope,
    ) -> NextStep {
        let policy = self.context.options.retry;
        if !policy.allows_after(batch.attempts) {
            return NextStep::Stop(detail);
        }
        let wait = policy.wait_after(batch.attempts, retry_after);
        let message = || format!("{detail}; trying again in {:.1} s", wait.as_secs_f64());
        let backoff = &self.front().backoff;
        // Reported once for all recorders of the front end.
        let is_reported =
            scope == RetryScope::FrontEnd && wait >= REPORTED_WAIT && !backoff.is_active();
        match is_reported {
            true => self.context.console.note_repeated(&detail, message()),
            false => self.context.console.debug(1, message),
        }
        match scope {
            RetryScope::ThisBatch => NextStep::Retry(batch, wait),
            RetryScope::FrontEnd => {
                backoff.start(wait);
                NextStep::Retry(batch, Duration::ZERO)
            }
        }
    }

    /// Waits between requests as `--debug-force-one-hit-every-Ns` says. Returns true on shutdown.
    fn wait_for_pace(&mut self) -> bool {
        let pace = self.context.options.pace.filter(|_| self.has_sent);
        self.has_sent = true;
        pace.is_some_and(|pace| self.context.stop.wait(pace))
    }
}

/// What an outcome says about the load of the server.
fn load_signal(outcome: &Outcome, probe: bool) -> LoadSignal {
    match outcome {
        Outcome::Acknowledged(_) | Outcome::Queued => LoadSignal::Accepted,
        Outcome::TooLarge { .. } => LoadSignal::TooLarge,
        // One of the hits is the reason.
        Outcome::Unconfirmed { rejected: true, .. } => LoadSignal::Unrelated,
        Outcome::Unconfirmed { answered: true, .. } if probe => LoadSignal::Unrelated,
        Outcome::Unconfirmed { answered: true, .. } => LoadSignal::Failed,
        Outcome::Unconfirmed { halve: true, .. } => LoadSignal::ConnectionLost,
        Outcome::Unconfirmed { .. } => LoadSignal::TimedOut,
        Outcome::NotProcessed { .. } => LoadSignal::Busy,
        Outcome::NotSent { .. } | Outcome::Stop { .. } => LoadSignal::Unrelated,
    }
}
