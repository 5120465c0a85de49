//! `--sqs-queue`: imports the objects that a queue announces, as one of any number of workers
//! (guide/guarantees.md, "Queues of objects").
//!
//! The queue gives each message to one worker, and gives it to another one if it is not deleted in
//! time. So nothing is kept on disk: a message is deleted when all hits of its objects are
//! confirmed. A worker that gets a message that was given to a worker before asks Matomo which of
//! the hits it has. It knows them by the ids that the other worker made, since these depend on the
//! object and the position of the line only.

use std::collections::{HashSet, VecDeque};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recovery::SentObject;
use super::{Flow, Importer};
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::input::bucket::{
    Buckets, CreatedObject, ObjectQueue, QueueMessage, QueueOptions, created_objects,
};
use crate::input::discover::Source;
use crate::ledger::{Ledger, LogId};
use crate::report::Row;

/// Objects that are read side by side.
const MAX_OBJECTS: usize = 64;
/// Messages that wait for their hits to be confirmed.
const MAX_HELD: usize = 128;
/// How long to wait for messages if there is nothing else to do. The time in which a worker may
/// send hits begins when it asks for messages, so it must not wait for a large part of that.
const LONG_WAIT: Duration = Duration::from_secs(20);
/// The same while hits wait to be confirmed, and before the queue counts as empty.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// A message whose objects cannot be imported comes again after this time. Where the queue has a
/// dead-letter queue, it goes there after some attempts.
const FAILED_WAIT: Duration = Duration::from_secs(30);
/// How long a message waits for its hits to be confirmed while others are received.
const MAX_UNSETTLED: Duration = Duration::from_secs(60);
/// How long everything has to be confirmed until the ledger certainly says so.
const IDLE_TIME: Duration = Duration::from_secs(1);
/// How often to check whether everything is confirmed.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait before a queue is asked again that did not answer.
const RETRY_WAIT: Duration = Duration::from_secs(5);
/// Objects that are remembered when they are done: S3 may announce one twice.
const MAX_REMEMBERED: usize = 100_000;
/// Logs with counters of their own.
const MAX_ROWS: usize = 1000;

/// How a queue is worked on.
#[derive(Clone, Debug)]
pub struct WorkOptions {
    pub queue: QueueOptions,
    /// `--drain`: end when the queue is empty.
    pub drain: bool,
}

/// A message whose objects are read, or are being read.
struct HeldMessage {
    message: QueueMessage,
    /// The logs of its objects.
    logs: Vec<LogId>,
    /// Some object cannot be imported.
    has_failed: bool,
    since: Instant,
}

/// What a worker knows of the messages that it got.
#[derive(Default)]
struct Worker {
    held: Vec<HeldMessage>,
    /// The ids of messages that were given back, since their objects cannot be imported.
    failed: HashSet<String>,
    /// Objects of this round that another worker may have read in part.
    sent_before: HashSet<LogId>,
    done: HashSet<LogId>,
    /// The same, the oldest first.
    done_in_order: VecDeque<LogId>,
    rows: usize,
    shared_row: Option<Row>,
    /// Whether it is reported that the queue does not answer.
    is_unanswered: bool,
    /// Since when everything is confirmed.
    idle_since: Option<Instant>,
    /// How many logs the ledger has of objects that could not be imported.
    unfinished: usize,
}

impl Worker {
    fn remember(&mut self, log: LogId) {
        if self.done.insert(log) {
            self.done_in_order.push_back(log);
        }
        if self.done_in_order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.done_in_order.pop_front()
        {
            self.done.remove(&oldest);
        }
    }

    /// Whether no more messages are to be received before some are settled.
    fn must_settle(&self) -> bool {
        let is_old = |held: &HeldMessage| held.since.elapsed() > MAX_UNSETTLED;
        self.held.len() >= MAX_HELD || self.held.iter().any(is_old)
    }

    fn holds(&self, log: LogId) -> bool {
        self.held.iter().any(|held| held.logs.contains(&log))
    }
}

impl Importer {
    /// Imports the objects that a queue announces, until a signal, or until the queue is empty if
    /// it is to be drained.
    ///
    /// # Errors
    ///
    /// Returns the error that stopped the import.
    pub fn work(&mut self, queue: &ObjectQueue, buckets: &mut Buckets, drain: bool) -> Result<()> {
        let Some(ledger) = self
            .ledger
            .as_ref()
            .map(|handle| Arc::clone(&handle.ledger))
        else {
            return Ok(());
        };
        let mut worker = Worker::default();
        let outcome = self.work_until_stopped(&mut worker, queue, buckets, &ledger, drain);
        self.end_reading();
        outcome
    }

    fn work_until_stopped(
        &mut self,
        worker: &mut Worker,
        queue: &ObjectQueue,
        buckets: &mut Buckets,
        ledger: &Ledger,
        drain: bool,
    ) -> Result<()> {
        while !self.shutdown.requested() {
            let is_idle = worker.held.is_empty();
            if worker.must_settle() {
                self.shutdown.wait(SETTLE_INTERVAL);
                self.settle_messages(worker, queue, ledger);
                continue;
            }
            let wait = match is_idle && !drain {
                true => LONG_WAIT
                    .min(queue.lease().visibility() / 8)
                    .max(SHORT_WAIT),
                false => SHORT_WAIT,
            };
            let messages = self.receive(worker, queue, wait)?;
            let has_messages = !messages.is_empty();
            let objects = self.take_objects(worker, queue, buckets, messages);
            let (objects, rows) = self.without_sent(worker, ledger, objects)?;
            if self.import_objects(&objects, rows)? == Flow::Stop
                || self.processor.queue.flush().is_err()
            {
                return Ok(());
            }
            self.settle_messages(worker, queue, ledger);
            reach("between-messages");
            if drain && is_idle && !has_messages && self.is_drained(worker, queue)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Receives messages until there are enough, or no more come at once.
    fn receive(
        &mut self,
        worker: &mut Worker,
        queue: &ObjectQueue,
        wait: Duration,
    ) -> Result<Vec<QueueMessage>> {
        let shutdown = self.shutdown.clone();
        let mut messages = Vec::new();
        let mut wait = wait;
        while messages.len() < MAX_OBJECTS && !self.shutdown.requested() {
            match queue.receive(wait, &|| shutdown.requested()) {
                Ok(more) => {
                    worker.is_unanswered = false;
                    let is_last = more.is_empty();
                    messages.extend(more);
                    if is_last {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    if !std::mem::replace(&mut worker.is_unanswered, true) {
                        self.console.warn(format!(
                            "the queue does not answer: {error}; trying again every {} s",
                            RETRY_WAIT.as_secs()
                        ));
                    }
                    if messages.is_empty() {
                        self.shutdown.wait(RETRY_WAIT);
                    }
                    break;
                }
                Err(error) => return Err(unusable(&error)),
            }
            wait = Duration::ZERO;
        }
        Ok(messages)
    }

    /// The objects of messages that are to be read. The messages are held from here on.
    fn take_objects(
        &mut self,
        worker: &mut Worker,
        queue: &ObjectQueue,
        buckets: &mut Buckets,
        messages: Vec<QueueMessage>,
    ) -> Vec<Source> {
        let mut objects = Vec::new();
        for message in messages {
            if self.shutdown.requested() {
                // Nothing was done about it. It comes back by itself if this fails.
                match queue.give_back(&message, Duration::ZERO) {
                    true => continue,
                    false => break,
                }
            }
            let mut held = HeldMessage {
                logs: Vec::new(),
                has_failed: false,
                since: Instant::now(),
                message,
            };
            match created_objects(&held.message.body) {
                Ok(created) => {
                    for created in created {
                        self.take_object(worker, buckets, &created, &mut held, &mut objects);
                    }
                }
                Err(why) => {
                    held.has_failed = true;
                    self.console.warn_incomplete(format!(
                        "the message {} of the queue announces no object: {why}; it stays in the \
                         queue",
                        held.message.id
                    ));
                }
            }
            worker.held.push(held);
        }
        objects
    }

    fn take_object(
        &mut self,
        worker: &mut Worker,
        buckets: &mut Buckets,
        created: &CreatedObject,
        held: &mut HeldMessage,
        objects: &mut Vec<Source>,
    ) {
        let shutdown = self.shutdown.clone();
        let object = match buckets.created(created, &|| shutdown.requested()) {
            Ok(Some(object)) => object,
            Ok(None) => {
                held.has_failed = true;
                if !self.shutdown.requested() {
                    self.console.warn_incomplete(format!(
                        "{created}: it is no longer in the bucket; its message stays in the queue"
                    ));
                }
                return;
            }
            Err(error) => {
                held.has_failed = true;
                self.console.warn_incomplete(format!("{created}: {error}"));
                return;
            }
        };
        let is_replaced = created.version.is_none()
            && created
                .etag
                .as_ref()
                .is_some_and(|etag| *etag != object.meta().etag);
        if is_replaced {
            self.console.note(format!(
                "{created}: replaced since it was announced; the new object has a message of its own"
            ));
            return;
        }
        if object.meta().size == 0 {
            return;
        }
        let log = Ledger::log_of_content(&object);
        if worker.done.contains(&log) {
            self.console.note(format!(
                "{created}: announced again; it is imported already"
            ));
            return;
        }
        let is_new = !worker.holds(log) && !held.logs.contains(&log);
        held.logs.push(log);
        if held.message.is_again() {
            worker.sent_before.insert(log);
        }
        if is_new {
            objects.push(Source::Object(object));
        }
    }

    /// Looks up what other workers have sent of the objects. Returns those that can be imported
    /// now, and their counters.
    fn without_sent(
        &mut self,
        worker: &mut Worker,
        ledger: &Ledger,
        objects: Vec<Source>,
    ) -> Result<(Vec<Source>, Vec<Row>)> {
        let sent_before = std::mem::take(&mut worker.sent_before);
        let (mut left, mut sent) = (Vec::new(), Vec::new());
        for source in objects {
            let row = self.row_of(worker, &source);
            let Source::Object(object) = &source else {
                continue;
            };
            let log = Ledger::log_of_content(object);
            if sent_before.contains(&log) {
                // Adds it to the ledger.
                self.look_up_object(object)?;
                sent.push(SentObject {
                    log,
                    source: source.clone(),
                    account: Arc::clone(&row.1),
                });
            }
            left.push((log, source, row));
        }
        if !sent.is_empty() {
            let found = self.find_sent(&sent)?;
            sent.iter().for_each(|object| ledger.release(object.log));
            left.retain(|(log, ..)| !sent_before.contains(log) || found.contains(log));
        }
        let left = left.into_iter().map(|(_, source, row)| (source, row));
        Ok(left.unzip())
    }

    /// Deletes the messages whose objects are imported, and gives those back that failed.
    fn settle_messages(&mut self, worker: &mut Worker, queue: &ObjectQueue, ledger: &Ledger) {
        // What was read of an object that cannot be read to its end is known to be confirmed only
        // when everything is.
        let is_idle = self.account.lines_under_way() == 0;
        let is_unconfirmed = self.processor.queue.confirm();
        worker.idle_since =
            (is_idle && !is_unconfirmed).then(|| worker.idle_since.unwrap_or_else(Instant::now));
        let idle_since = worker.idle_since;
        let is_all_confirmed = idle_since.is_some_and(|since| since.elapsed() > IDLE_TIME);
        let is_done = |log: &LogId| {
            let end = ledger.end_of(*log);
            end.is_some_and(|end| end <= ledger.position(*log))
        };
        let (settled, held): (Vec<_>, Vec<_>) = std::mem::take(&mut worker.held)
            .into_iter()
            .partition(|held| is_all_confirmed || held.logs.iter().all(is_done));
        worker.held = held;
        let in_use = worker.held.iter().flat_map(|held| &held.logs);
        let in_use: HashSet<LogId> = in_use.copied().collect();
        let mut is_unreachable = false;
        for HeldMessage {
            message,
            logs,
            has_failed,
            ..
        } in settled
        {
            let mut is_imported = !has_failed;
            for log in &logs {
                if is_done(log) {
                    worker.remember(*log);
                }
                is_imported &= worker.done.contains(log);
            }
            for log in logs.iter().filter(|log| !in_use.contains(log)) {
                match worker.done.contains(log) || worker.unfinished >= MAX_REMEMBERED {
                    true => {
                        ledger.forget_log(*log);
                        let sessions = &mut self.processor.requests.closed_sessions;
                        sessions.retain(|(of_log, _)| *of_log != log.number());
                    }
                    // What is done of it is not sent again.
                    false => {
                        worker.unfinished += 1;
                        ledger.release(*log);
                    }
                }
            }
            if is_unreachable {
                // It comes again when its time is over.
                continue;
            }
            if !is_imported {
                worker.failed.insert(message.id.clone());
                is_unreachable = !queue.give_back(&message, FAILED_WAIT);
                continue;
            }
            worker.failed.remove(&message.id);
            if let Err(error) = queue.delete(&message) {
                is_unreachable = true;
                // It comes again, and nothing of it is imported then.
                self.console.warn(format!(
                    "cannot delete the message {} of the queue: {error}",
                    message.id
                ));
            }
        }
    }

    /// Whether there are no messages but those whose objects cannot be imported.
    ///
    /// # Errors
    ///
    /// If the queue can never be asked.
    fn is_drained(&self, worker: &Worker, queue: &ObjectQueue) -> Result<bool> {
        match queue.count() {
            Ok(count) => Ok(count <= worker.failed.len() as u64),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(unusable(&error)),
        }
    }

    /// The counters of an object. The first objects have some of their own.
    fn row_of(&self, worker: &mut Worker, object: &Source) -> Row {
        if worker.rows < MAX_ROWS {
            worker.rows += 1;
            return self.account.open(object.to_string());
        }
        let open = || self.account.open("other logs");
        let (number, row) = worker.shared_row.get_or_insert_with(open);
        (*number, Arc::clone(row))
    }
}

fn unusable(error: &std::io::Error) -> Error {
    Error::stopped(format!(
        "--sqs-queue: {error}; check the URL of the queue and the credentials (--guide=options, \
         \"Buckets\")"
    ))
}
