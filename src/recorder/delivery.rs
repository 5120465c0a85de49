//! Delivery: a window's batches to Matomo, each until its outcome is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Uncut};
use super::books::Acks;
use super::resolve::Doubt;
use super::shared::Context;
use super::tempo::Took;
use super::throttle::{Sent, Throttle, Turn};
use super::trust::Trust;
use super::window::Window;
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::matomo::outcome::{History, Outcome, classify};
use crate::report::Account;
use crate::shutdown::Shutdown;

/// A wait of which something is said.
pub(super) const LONG: Duration = Duration::from_secs(2);

/// One recorder's sending.
pub struct Delivery {
    pub(super) shared: Arc<Context>,
    throttle: Arc<Throttle>,
    sent_before: bool,
    pub(super) books: Acks,
}

/// How a batch goes on.
pub(super) enum Next {
    Done,
    /// Once more, with what is left of it, after so long, and not while there is an outage.
    Again(Batch, Duration),
    /// In halves; a single request cannot be halved.
    Halves(Batch, String),
    /// A single hit that failed in all attempts: it is refused if the server takes others meanwhile.
    Suspect(Batch, String),
    Stop(String),
}

/// Who waits before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The server is away, or asks to be left alone.
    Everyone,
    /// This batch only: the server answered, and may take the others.
    Me,
}

impl Delivery {
    pub fn new(shared: Arc<Context>, throttle: Arc<Throttle>) -> Self {
        Self {
            books: Acks::new(Arc::clone(&shared)),
            shared,
            throttle,
            sent_before: false,
        }
    }

    pub fn is_to_stop(&self) -> bool {
        self.shared.stop.requested()
    }

    pub fn stop(&self) -> &Shutdown {
        &self.shared.stop
    }

    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// Hits of a full batch.
    pub fn full(&self) -> usize {
        self.throttle.size().0.hits
    }

    /// Sends a window. On return each of its lines has its outcome, or the program is to stop. An error: the import
    /// cannot go on.
    pub fn send(&mut self, window: &mut Window) -> Result<()> {
        let mut uncut = Uncut::new(match self.shared.options.keep_order {
            true => window.order_of_log(),
            false => window.order_by_agent(),
        });
        // What is to be sent again, the next at the end.
        let mut waiting: Vec<Batch> = Vec::new();
        let mut suspect: Option<(Batch, String)> = None;
        while let Some(batch) = waiting.pop().or_else(|| self.cut(window, &mut uncut)) {
            if self.shared.learnt.outage.wait(&self.shared.stop) || self.keep_pace() {
                return Ok(());
            }
            match self.attempt(window, batch)? {
                Next::Done => {}
                Next::Again(batch, wait) => {
                    waiting.push(batch);
                    if self.shared.stop.wait(wait) {
                        return Ok(());
                    }
                }
                Next::Halves(batch, why) => waiting.extend(self.halves(window, batch, &why)),
                // Two in a row without a success between them: it is not the hits, the server is down.
                Next::Suspect(_, why) if suspect.is_some() => return Err(Error::stopped(why)),
                Next::Suspect(batch, why) => suspect = Some((batch, why)),
                Next::Stop(why) => return Err(Error::stopped(why)),
            }
            suspect = suspect
                .take()
                .and_then(|(batch, why)| self.convict(window, batch, why));
            self.books.close_intents(window)?;
        }
        self.books.clear();
        suspect.map_or(Ok(()), |(_, why)| Err(Error::stopped(why)))
    }

    fn cut(&self, window: &Window, uncut: &mut Uncut) -> Option<Batch> {
        let (size, era) = self.throttle.size();
        let requests = uncut.next(window, size);
        (!requests.is_empty()).then(|| Batch::new(requests, era))
    }

    /// Refuses a hit that failed in all attempts, once the server has taken others since. Gives it back otherwise.
    fn convict(&self, window: &mut Window, batch: Batch, why: String) -> Option<(Batch, String)> {
        if self.shared.learnt.successes() == batch.successes_before {
            return Some((batch, why));
        }
        for request in batch.requests {
            self.books.refuse(
                window,
                request,
                "the server fails on it each time, and takes others",
            );
        }
        None
    }

    /// One request, and what is to be done after it.
    fn attempt(&mut self, window: &mut Window, mut batch: Batch) -> Result<Next> {
        let shared = Arc::clone(&self.shared);
        let days = window.site_days(&batch.requests);
        let throttle = Arc::clone(&self.throttle);
        let Some(pass) = shared.learnt.gates.enter(&days, &shared.stop) else {
            return Ok(Next::Again(batch, Duration::ZERO));
        };
        let turn = throttle.enter(&shared.stop);
        // Who waited may have been let in by an outage.
        let Some(turn) = turn.filter(|_| !shared.learnt.outage.lasts()) else {
            return Ok(Next::Again(batch, Duration::ZERO));
        };
        let intent = self.books.intend(window, &batch.requests)?;
        let successes = self.shared.learnt.successes();
        let body = window.body(&batch.requests, shared.token.as_ref());
        let bytes = body.len();
        let begun = Instant::now();
        let exchange = shared.client.track(body);
        let elapsed = begun.elapsed();
        reach("after-answer");
        shared.show_answer(&exchange);
        if batch.attempts == 0 && !batch.probe {
            batch.successes_before = self.shared.learnt.successes();
        }
        let history = History {
            accepted_for_site: shared.learnt.accepted(&days),
            success: successes > 0,
        };
        batch.attempts += 1;
        let outcome = classify(&exchange, batch.requests.len(), &history);
        if matches!(
            outcome,
            Outcome::Acknowledged(_) | Outcome::Unconfirmed { .. }
        ) {
            self.books.count_resent(window, &batch.requests);
        }
        let sent = Sent {
            hits: batch.requests.len(),
            bytes,
            cut: batch.cut.take(),
            elapsed,
            took: took(&outcome, batch.probe),
        };
        let mut there = None;
        let next = match outcome {
            Outcome::Acknowledged(committed) => match self.trust(window, &batch, &committed) {
                Trust::Kept => {
                    shared.learnt.succeed();
                    pass.opens();
                    there = self.books.commit(window, &batch.requests, committed);
                    Next::Done
                }
                Trust::Gone(why) => Next::Stop(why),
                Trust::Unsaid => Next::Again(batch, Duration::ZERO),
            },
            Outcome::Unconfirmed {
                answered,
                halve,
                retry_after,
                detail,
            } => {
                drop(pass);
                self.learn(turn, &sent);
                let doubt = Doubt {
                    unanswered_since: (!answered).then_some(begun),
                    halve,
                    retry_after,
                    detail,
                };
                let next = self.resolve(window, batch, doubt)?;
                self.books.close_intents(window)?;
                return Ok(next);
            }
            Outcome::NotSent { detail } => self.again(batch, None, detail, Who::Everyone),
            Outcome::NotProcessed {
                retry_after,
                detail,
            } => self.again(batch, retry_after, detail, Who::Everyone),
            Outcome::TooLarge { detail } => Next::Halves(batch, detail),
            Outcome::Stop { message } => Next::Stop(message),
        };
        // Not before an outage has begun: others wait for this turn.
        self.learn(turn, &sent);
        match (&next, intent) {
            (Next::Done, intent) => {
                self.books.close_intents(window)?;
                if let (Some(intent), Some(there)) = (intent, there) {
                    self.books.note_there(window, intent, &there)?;
                }
            }
            (_, Some(intent)) => self.books.forget(intent)?,
            _ => {}
        }
        Ok(next)
    }

    fn learn(&self, turn: Turn, sent: &Sent) {
        if let Some(change) = turn.end(sent) {
            self.shared.console.debug(1, || change);
        }
    }

    /// Another attempt, if there is one left.
    pub(super) fn again(
        &self,
        batch: Batch,
        retry_after: Option<Duration>,
        detail: String,
        who: Who,
    ) -> Next {
        if !self.shared.options.retry.allows_after(batch.attempts) {
            return Next::Stop(detail);
        }
        let wait = self
            .shared
            .options
            .retry
            .wait_after(batch.attempts, retry_after);
        let told = || format!("{detail}; again in {:.1} s", wait.as_secs_f64());
        let outage = &self.shared.learnt.outage;
        // A wait that somebody may notice, once for all recorders.
        match who == Who::Everyone && wait >= LONG && !outage.lasts() {
            true => self.shared.console.note(told()),
            false => self.shared.console.debug(1, told),
        }
        match who {
            Who::Me => Next::Again(batch, wait),
            Who::Everyone => {
                outage.begin(wait);
                Next::Again(batch, Duration::ZERO)
            }
        }
    }

    /// Two halves, the first on top. A single request is refused: the server does not take it in any way.
    fn halves(&self, window: &mut Window, batch: Batch, why: &str) -> Vec<Batch> {
        if let [request] = batch.requests[..] {
            self.books.refuse(
                window,
                request,
                &format!("the server does not take it, not even alone: {why}"),
            );
            return Vec::new();
        }
        batch.halves().into()
    }

    /// `true`: the program is to stop.
    fn keep_pace(&mut self) -> bool {
        let wait = self.shared.options.pace.filter(|_| self.sent_before);
        self.sent_before = true;
        wait.is_some_and(|wait| self.shared.stop.wait(wait))
    }
}

/// What an outcome says about the load that the server has.
fn took(outcome: &Outcome, probe: bool) -> Took {
    match outcome {
        Outcome::Acknowledged(_) => Took::Well,
        Outcome::TooLarge { .. } => Took::TooLarge,
        // It is about one of the hits.
        Outcome::Unconfirmed { answered: true, .. } if probe => Took::Unsaid,
        Outcome::Unconfirmed { answered: true, .. } => Took::Failed,
        Outcome::Unconfirmed { halve: true, .. } => Took::HungUp,
        Outcome::Unconfirmed { .. } => Took::NoAnswer,
        Outcome::NotProcessed { .. } => Took::Busy,
        Outcome::NotSent { .. } | Outcome::Stop { .. } => Took::Unsaid,
    }
}
