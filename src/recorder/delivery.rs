//! Delivery: a window's batches to Matomo, each until its outcome is known.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::Uncut;
use super::doubt;
use super::gate::{Gates, SiteDay};
use super::outage::Outage;
use super::tempo::{Era, Took};
use super::throttle::{Sent, Throttle, Turn};
use super::window::{Fate, Window};
use crate::config::{DeliveryOptions, InDoubt};
use crate::error::{Error, Result};
use crate::ledger::failpoint::reach;
use crate::ledger::{BatchId, Ledger, Lines, LogId};
use crate::matomo::api::Api;
use crate::matomo::client::Client;
use crate::matomo::json;
use crate::matomo::outcome::{Committed, History, Outcome, Refused, judge};
use crate::rejects::Rejects;
use crate::report::{Account, Console, Count};
use crate::secret::Secret;
use crate::stop::Stop;

/// What all recorders share.
pub struct Shared {
    pub client: Client,
    pub api: Api,
    pub token: Option<Secret>,
    pub account: Arc<Account>,
    pub console: Console,
    pub stop: Stop,
    pub options: DeliveryOptions,
    /// `None`: nothing is kept of what was done.
    pub ledger: Option<Arc<Ledger>>,
    pub rejects: Option<Arc<Rejects>>,
    pub learnt: Learnt,
}

/// What the recorders of a run have learnt so far.
#[derive(Debug, Default)]
pub struct Learnt {
    gates: Gates,
    outage: Outage,
    /// Requests that were committed.
    successes: AtomicU64,
    /// Sites that this run has had a hit accepted for.
    accepted: Mutex<HashSet<u32>>,
    /// Text before an answer's JSON is shown once.
    noise_shown: OnceLock<()>,
}

/// One recorder's sending.
pub struct Delivery {
    shared: Arc<Shared>,
    throttle: Arc<Throttle>,
    sent_before: bool,
    /// Intents in the ledger whose requests have not all been settled, with those requests.
    open: Vec<(BatchId, Vec<u32>)>,
}

/// Requests to be sent as one, and how it went so far.
#[derive(Clone, Debug)]
struct Batch {
    /// Indexes into the window.
    requests: Vec<u32>,
    /// Attempts so far.
    attempts: u32,
    /// A part of a batch that failed in all attempts: it is tried once, to find the hit that does it.
    probe: bool,
    /// Requests that this run had committed when the batch was first given up, or the one that it is a half of.
    successes_before: u64,
    /// When its size was chosen; `None` once it was sent.
    cut: Option<Era>,
}

/// How a batch goes on.
enum Next {
    Done,
    /// Once more, with what is left of it, after so long, and not while there is an outage.
    Again(Batch, Duration),
    /// In halves; a single request cannot be halved.
    Halves(Batch),
    /// A single hit that failed in all attempts: it is refused if the server takes others meanwhile.
    Suspect(Batch, String),
    Stop(String),
}

/// Who waits before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The server is away, or asks to be left alone.
    Everyone,
    /// This batch only: the server answered, and may take the others.
    Me,
}

impl Delivery {
    pub fn new(shared: Arc<Shared>, throttle: Arc<Throttle>) -> Self {
        Self {
            shared,
            throttle,
            sent_before: false,
            open: Vec::new(),
        }
    }

    pub fn is_to_stop(&self) -> bool {
        self.shared.stop.requested()
    }

    pub fn stop(&self) -> &Stop {
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
                Next::Halves(batch) => waiting.extend(self.halves(window, batch)),
                // Two in a row without a success between them: it is not the hits, the server is down.
                Next::Suspect(_, why) if suspect.is_some() => return Err(Error::stopped(why)),
                Next::Suspect(batch, why) => suspect = Some((batch, why)),
                Next::Stop(why) => return Err(Error::stopped(why)),
            }
            suspect = suspect
                .take()
                .and_then(|(batch, why)| self.convict(window, batch, why));
            self.close_intents(window)?;
        }
        self.open.clear();
        suspect.map_or(Ok(()), |(_, why)| Err(Error::stopped(why)))
    }

    fn cut(&self, window: &Window, uncut: &mut Uncut) -> Option<Batch> {
        let (size, era) = self.throttle.size();
        let requests = uncut.next(window, size);
        (!requests.is_empty()).then_some(Batch {
            requests,
            attempts: 0,
            probe: false,
            successes_before: 0,
            cut: Some(era),
        })
    }

    /// Refuses a hit that failed in all attempts, once the server has taken others since. Gives it back otherwise.
    fn convict(&self, window: &mut Window, batch: Batch, why: String) -> Option<(Batch, String)> {
        if self.successes() == batch.successes_before {
            return Some((batch, why));
        }
        for request in batch.requests {
            self.name_refused(
                window,
                request,
                "the server fails on it each time, and takes others",
            );
            self.settle(window, request, Fate::Refused);
        }
        None
    }

    fn successes(&self) -> u64 {
        self.shared.learnt.successes.load(Ordering::Relaxed)
    }

    /// One request, and what is to be done after it.
    fn attempt(&mut self, window: &mut Window, mut batch: Batch) -> Result<Next> {
        let shared = Arc::clone(&self.shared);
        let days = site_days(window, &batch.requests);
        let throttle = Arc::clone(&self.throttle);
        let Some(pass) = shared.learnt.gates.enter(&days, &shared.stop) else {
            return Ok(Next::Again(batch, Duration::ZERO));
        };
        let turn = throttle.enter(&shared.stop);
        // Who waited may have been let in by an outage.
        let Some(turn) = turn.filter(|_| !shared.learnt.outage.lasts()) else {
            return Ok(Next::Again(batch, Duration::ZERO));
        };
        let intent = self.intend(window, &batch)?;
        let successes = self.successes();
        let body = body(window, &batch.requests, shared.token.as_ref());
        let bytes = body.len();
        let begun = Instant::now();
        let exchange = shared.client.track(body);
        let elapsed = begun.elapsed();
        reach("after-answer");
        if batch.attempts == 0 && !batch.probe {
            batch.successes_before = self.successes();
        }
        let history = History {
            accepted_for_site: self.accepted(&days),
            success: successes > 0,
        };
        batch.attempts += 1;
        let outcome = judge(&exchange, batch.requests.len(), &history);
        let sent = Sent {
            hits: batch.requests.len(),
            bytes,
            cut: batch.cut.take(),
            elapsed,
            took: took(&outcome, batch.probe),
        };
        let next = match outcome {
            Outcome::Committed(committed) => {
                shared.learnt.successes.fetch_add(1, Ordering::Relaxed);
                pass.opens();
                self.commit(window, &batch.requests, committed);
                Next::Done
            }
            Outcome::InDoubt {
                answered,
                halve,
                detail,
                ..
            } => {
                drop(pass);
                self.learn(turn, &sent);
                let since = (!answered).then_some(begun);
                let next = self.resolve(window, batch, since, halve, detail)?;
                self.close_intents(window)?;
                return Ok(next);
            }
            Outcome::NotSent { detail } => self.again(batch, None, detail, Who::Everyone),
            Outcome::NotProcessed {
                retry_after,
                detail,
            } => self.again(batch, retry_after, detail, Who::Everyone),
            Outcome::TooLarge { .. } => Next::Halves(batch),
            Outcome::Stop { message } => Next::Stop(message),
        };
        // Not before an outage has begun: others wait for this turn.
        self.learn(turn, &sent);
        match (&next, &shared.ledger, intent) {
            (Next::Done, ..) => self.close_intents(window)?,
            // Matomo has nothing of it.
            (_, Some(ledger), Some(intent)) => {
                self.open.retain(|(open, _)| *open != intent);
                ledger.forget(intent)?;
            }
            _ => {}
        }
        Ok(next)
    }

    fn learn(&self, turn: Turn, sent: &Sent) {
        if let Some(change) = turn.end(sent) {
            self.shared.console.debug(1, || change);
        }
    }

    /// Notes in the ledger that these lines are about to be sent. The note is on the disk when this returns.
    fn intend(&mut self, window: &Window, batch: &Batch) -> Result<Option<BatchId>> {
        let Some(ledger) = &self.shared.ledger else {
            return Ok(None);
        };
        let mut places: Vec<(LogId, u64, u64)> = batch
            .requests
            .iter()
            .map(|request| window.unit(*request))
            .filter_map(|unit| Some((unit.log?, unit)))
            .flat_map(|(log, unit)| {
                unit.places()
                    .map(move |place| (log, place.start, place.end))
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return Ok(None);
        }
        let mut lines = Lines::new();
        for (log, start, end) in places {
            lines.entry(log).or_default().insert(start..end, 1);
        }
        let intent = ledger.intent(lines, batch.requests.len() as u64)?;
        self.open.push((intent, batch.requests.clone()));
        Ok(Some(intent))
    }

    /// Notes in the ledger that batches are done, once each of their lines has its outcome: a line of which only a
    /// part was sent stays in doubt, so that the next run asks before it sends any of it.
    fn close_intents(&mut self, window: &Window) -> Result<()> {
        let Some(ledger) = &self.shared.ledger else {
            return Ok(());
        };
        let mut closed = Vec::new();
        self.open.retain(|(intent, requests)| {
            let done = requests.iter().all(|request| window.is_settled(*request));
            if done {
                closed.push(*intent);
            }
            !done
        });
        closed
            .into_iter()
            .try_for_each(|intent| ledger.done(intent))
    }

    /// Matomo has taken the batch, all but what it refused or lost.
    fn commit(
        &self,
        window: &mut Window,
        requests: &[u32],
        Committed {
            refused,
            lost,
            noise,
            odd,
            ..
        }: Committed,
    ) {
        self.show_noise(noise);
        odd.into_iter()
            .for_each(|odd| self.shared.console.warn(odd));
        let nameless = match refused {
            Refused::Indices(_) => 0,
            Refused::Count(number) => number,
        };
        let mut accepted = self
            .shared
            .learnt
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut lost_left = lost;
        let mut refused_left = nameless;
        for (place, request) in requests.iter().enumerate() {
            let is_refused = matches!(&refused, Refused::Indices(indices) if indices.binary_search(&place).is_ok());
            // Where Matomo does not say which, it is some of them: the count is right, the names are not told.
            let fate = if is_refused || refused_left > 0 {
                refused_left = refused_left.saturating_sub(usize::from(!is_refused));
                Fate::Refused
            } else if lost_left > 0 {
                lost_left -= 1;
                Fate::Lost
            } else {
                accepted.insert(window.unit(*request).site);
                Fate::Imported
            };
            if is_refused {
                self.name_refused(window, *request, "refused by Matomo");
            }
            self.settle(window, *request, fate);
        }
        drop(accepted);
        if nameless > 0 {
            let place = self.place(window, requests);
            self.shared.console.warn_incomplete(format!(
                "{nameless} of the {} hits of {place} were refused; which ones, Matomo tells only super users",
                requests.len()
            ));
        }
        if lost > 0 {
            let place = self.place(window, requests);
            self.shared.console.warn_incomplete(format!(
                "Matomo stored {lost} hits less than the {} it was sent ({place}), and does not say which",
                requests.len()
            ));
        }
    }

    /// Nobody knows what Matomo has of a batch: it is asked, hit by hit, and only what it lacks is sent again.
    fn resolve(
        &mut self,
        window: &mut Window,
        mut batch: Batch,
        unanswered_since: Option<Instant>,
        halve: bool,
        detail: String,
    ) -> Result<Next> {
        let shared = Arc::clone(&self.shared);
        shared.console.debug(1, || detail.clone());
        let answered = unanswered_since.is_none();
        let timeout = shared.options.timeout;
        // Without an answer the server may still be at it; one that we gave up waiting for is given as long again.
        let looks = match (answered, halve) {
            (true, _) => &[0][..],
            (false, true) => &[1],
            (false, false) => &[1, 2],
        };
        for times in looks {
            let since = unanswered_since.map_or(Duration::ZERO, |sent| sent.elapsed());
            let left = timeout.saturating_mul(*times).saturating_sub(since);
            if shared.stop.wait(left) && !answered {
                self.leave_in_doubt(window, &batch.requests);
                return Ok(Next::Done);
            }
            let jsons: Vec<&[u8]> = batch
                .requests
                .iter()
                .map(|request| window.json(*request))
                .collect();
            let present = match doubt::present(&shared.api, &jsons) {
                Ok(present) => present,
                Err(why) => {
                    return self.follow_policy(window, batch, answered, halve, detail, &why);
                }
            };
            let sent = batch.requests.len();
            let mut present = present.into_iter();
            batch.requests.retain(|request| {
                let there = present.next() == Some(true);
                if there {
                    self.settle(window, *request, Fate::Imported);
                }
                !there
            });
            if batch.requests.is_empty() {
                return Ok(Next::Done);
            }
            // A part of it was taken: what is left has failed no more often than anything else.
            if batch.requests.len() < sent {
                batch.attempts = 0;
                batch.successes_before = self.successes();
            }
        }
        Ok(self.once_more(batch, answered, halve, detail))
    }

    /// Matomo cannot be asked: `--in-doubt` says what is done.
    fn follow_policy(
        &mut self,
        window: &mut Window,
        batch: Batch,
        answered: bool,
        halve: bool,
        detail: String,
        why: &str,
    ) -> Result<Next> {
        let place = self.place(window, &batch.requests);
        let what = format!(
            "{} hits of {place} are in doubt ({detail}), and Matomo cannot be asked for them ({why})",
            batch.requests.len()
        );
        match self.shared.options.in_doubt {
            InDoubt::Stop => {
                self.leave_in_doubt(window, &batch.requests);
                Ok(Next::Stop(format!("{what}; --in-doubt=stop")))
            }
            InDoubt::Skip => {
                self.shared
                    .console
                    .warn_incomplete(format!("{what}: not sent again (--in-doubt=skip)"));
                self.settle_all(window, &batch.requests, Fate::InDoubt);
                Ok(Next::Done)
            }
            InDoubt::Resend => {
                self.shared
                    .console
                    .warn_incomplete(format!("{what}: sent again, some may be there twice"));
                for request in &batch.requests {
                    self.count(window.unit(*request).file, Count::Resent, 1);
                }
                Ok(self.once_more(batch, answered, halve, detail))
            }
        }
    }

    /// Another attempt for a batch that the server answered with an error or not at all. When it has answered so in
    /// all attempts, the hit that does it is looked for: in halves, each tried once, but for a single hit, which is
    /// not refused before it failed in all attempts by itself.
    fn once_more(&self, batch: Batch, answered: bool, halve: bool, detail: String) -> Next {
        let exhausted = !self.shared.options.retry.allows_after(batch.attempts);
        let who = if answered { Who::Me } else { Who::Everyone };
        match batch.requests.len() {
            1 if answered && exhausted => Next::Suspect(batch, detail),
            1 => self.again(batch, None, detail, who),
            _ if answered && (batch.probe || exhausted) => Next::Halves(Batch {
                probe: true,
                successes_before: self.successes(),
                ..batch
            }),
            _ if halve => Next::Halves(batch),
            _ => self.again(batch, None, detail, who),
        }
    }

    /// Another attempt, if there is one left.
    fn again(&self, batch: Batch, retry_after: Option<Duration>, detail: String, who: Who) -> Next {
        if !self.shared.options.retry.allows_after(batch.attempts) {
            return Next::Stop(detail);
        }
        let wait = self
            .shared
            .options
            .retry
            .wait_after(batch.attempts, retry_after);
        self.shared.console.debug(1, || {
            format!("{detail}; again in {:.1} s", wait.as_secs_f64())
        });
        match who {
            Who::Me => Next::Again(batch, wait),
            Who::Everyone => {
                self.shared.learnt.outage.begin(wait);
                Next::Again(batch, Duration::ZERO)
            }
        }
    }

    /// Two halves, the first on top. A single request is refused: the server does not take it in any way.
    fn halves(&self, window: &mut Window, mut batch: Batch) -> Vec<Batch> {
        if let [request] = batch.requests[..] {
            self.name_refused(
                window,
                request,
                "the server does not take it, not even alone",
            );
            self.settle(window, request, Fate::Refused);
            return Vec::new();
        }
        let second = batch.requests.split_off(batch.requests.len().div_ceil(2));
        let second = Batch {
            requests: second,
            attempts: 0,
            ..batch
        };
        vec![
            second,
            Batch {
                attempts: 0,
                ..batch
            },
        ]
    }

    fn settle(&self, window: &mut Window, request: u32, fate: Fate) {
        let Some((unit, fate)) = window.settle(request, fate) else {
            return;
        };
        let count = match fate {
            Fate::Imported => Count::Imported,
            Fate::InDoubt => Count::InDoubt,
            Fate::Lost => Count::Lost,
            Fate::Refused => Count::Refused,
        };
        self.count(unit.file, count, unit.lines());
        // A line that is given up is done, whatever became of the batch that it was in.
        if let (Fate::Refused, Some(ledger), Some(log)) = (fate, &self.shared.ledger, unit.log) {
            unit.places()
                .for_each(|place| ledger.passed(log, place.start..place.end, 1));
        }
    }

    /// The run ends without knowing: the ledger keeps these as they are, and the next run asks.
    fn leave_in_doubt(&mut self, window: &mut Window, requests: &[u32]) {
        self.open
            .retain(|(_, open)| !open.iter().any(|request| requests.contains(request)));
        self.settle_all(window, requests, Fate::InDoubt);
    }

    fn settle_all(&self, window: &mut Window, requests: &[u32], fate: Fate) {
        requests
            .iter()
            .for_each(|request| self.settle(window, *request, fate));
    }

    fn count(&self, file: u32, count: Count, lines: u64) {
        if let Some(file) = self.shared.account.file(file as usize) {
            file.add(count, lines);
        }
    }

    /// `file:line` of a hit that was refused; once for a line, however many of its requests are.
    fn name_refused(&self, window: &Window, request: u32, why: &str) {
        if window.is_refused(request) {
            return;
        }
        let place = self.place(window, &[request]);
        self.shared
            .console
            .warn_incomplete(format!("{place}: {why}"));
        let Some(rejects) = &self.shared.rejects else {
            return;
        };
        let unit = window.unit(request);
        let file = self.file_name(unit.file);
        let added = unit
            .places()
            .zip(&unit.originals)
            .try_for_each(|(place, original)| rejects.add(&file, place.line, why, original));
        if let Err(error) = added {
            self.shared.stop.halt(error);
        }
    }

    /// `file:line`, or from the first line to the last.
    fn place(&self, window: &Window, requests: &[u32]) -> String {
        let lines = || {
            requests
                .iter()
                .map(|request| window.unit(*request))
                .map(|unit| (unit.file, unit.place.line))
        };
        let (Some(first), Some(last)) = (lines().min(), lines().max()) else {
            return String::new();
        };
        let name = |file: u32| self.file_name(file);
        match (first, last) {
            (first, last) if first == last => format!("{}:{}", name(first.0), first.1),
            ((file, from), (same, to)) if file == same => format!("{}:{from}-{to}", name(file)),
            ((file, from), (other, to)) => format!("{}:{from} to {}:{to}", name(file), name(other)),
        }
    }

    fn file_name(&self, file: u32) -> String {
        self.shared
            .account
            .file(file as usize)
            .map_or_else(String::new, |file| file.name().to_owned())
    }

    fn accepted(&self, days: &[SiteDay]) -> bool {
        let accepted = self
            .shared
            .learnt
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        days.iter().any(|(site, _)| accepted.contains(site))
    }

    /// What stood before an answer's JSON: debug text that was asked for, or a warning of PHP's, once.
    fn show_noise(&self, noise: Option<String>) {
        let Some(noise) = noise else { return };
        if self.shared.options.debug_tracker {
            self.shared.console.note(format!("tracker: {noise}"));
        } else {
            self.shared.learnt.noise_shown.get_or_init(|| {
                self.shared.console.warn(format!(
                    "Matomo's answer begins with text that does not belong there: {noise}"
                ))
            });
        }
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
        Outcome::Committed(_) => Took::Well,
        Outcome::TooLarge { .. } => Took::TooLarge,
        // It is about one of the hits.
        Outcome::InDoubt { answered: true, .. } if probe => Took::Unsaid,
        Outcome::InDoubt { answered: true, .. } => Took::Failed,
        Outcome::InDoubt {
            answered: false, ..
        } => Took::NoAnswer,
        Outcome::NotProcessed { .. } => Took::Busy,
        Outcome::NotSent { .. } | Outcome::Stop { .. } => Took::Unsaid,
    }
}

/// The sites and days that a batch writes to.
fn site_days(window: &Window, requests: &[u32]) -> Vec<SiteDay> {
    let mut days: Vec<SiteDay> = requests
        .iter()
        .map(|request| window.unit(*request))
        .flat_map(|unit| (unit.days.0..=unit.days.1).map(|day| (unit.site, day)))
        .collect();
    days.sort_unstable();
    days.dedup();
    days
}

/// The body of one bulk tracking request (SPEC section 6).
fn body(window: &Window, requests: &[u32], token: Option<&Secret>) -> Bytes {
    let size: usize = requests
        .iter()
        .map(|request| window.json(*request).len() + 1)
        .sum();
    let mut body = Vec::with_capacity(size + 128);
    body.push(b'{');
    if let Some(token) = token {
        body.extend_from_slice(b"\"token_auth\":\"");
        json::push_text(&mut body, token.expose().as_bytes());
        body.extend_from_slice(b"\",");
    }
    body.extend_from_slice(b"\"requests\":[");
    for (place, request) in requests.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(window.json(*request));
    }
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}
