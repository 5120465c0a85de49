//! The thread that owns the database. It commits everything that has arrived since its last commit
//! in one transaction, so recorders that begin batches at the same time share a sync.
//!
//! Changes are committed in the order in which they arrive, all those of one transaction or none.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::database::{Change, Database, is_fatal};
use super::directory::StateLock;
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::sync::{Condvar, Mutex};

/// So many changes are written even if none of them is urgent.
const MAX_LAZY_CHANGES: usize = 1000;

/// How long the end of a batch waits for the beginning of the next one, which saves a sync.
const MAX_DELAY: Duration = Duration::from_millis(20);

/// The place of a change in the order of all changes.
type Ticket = u64;

#[derive(Debug)]
pub struct LedgerWriter {
    shared: Arc<Shared>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<ChangeQueue>,
    /// Notified when a change is to be written.
    arrived: Condvar,
    /// Notified when a commit has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct ChangeQueue {
    /// The changes that are not committed yet, with the tickets of those that are waited for.
    changes: VecDeque<(Change, Option<Ticket>)>,
    /// How many changes have arrived.
    arrived: Ticket,
    /// How many of them were committed, or have failed.
    ended: Ticket,
    /// Whether some change is to be written at once.
    is_urgent: bool,
    /// When some change is to be written at the latest.
    due: Option<Instant>,
    is_closing: bool,
    /// Changes that were not written, until the one who waits knows.
    failed: HashSet<Ticket>,
    /// The message of the last failure.
    error: String,
    /// What is on disk is unknown after that failure, so everything fails.
    is_broken: bool,
}

impl LedgerWriter {
    /// Starts the thread. It holds the lock of the directory until it ends.
    pub fn start(mut database: Database, lock: StateLock) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(move || {
            of_thread.run(&mut database);
            // In this order: the database is closed before the lock is released.
            drop(database);
            drop(lock);
        });
        let thread =
            thread.map_err(|error| Error::stopped(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Writes a change with the next one that is written at once. A crash may lose it.
    pub fn write_later(&self, change: Change) {
        let mut queue = self.shared.queue.lock();
        queue.push(change, false);
        if queue.changes.len() >= MAX_LAZY_CHANGES {
            self.shared.wake(queue);
        }
    }

    /// Writes a change within 20 ms, but does not wait for it. If the disk is full, it is tried
    /// again with the next change.
    pub fn write(&self, change: Change) {
        let mut queue = self.shared.queue.lock();
        queue.push(change, false);
        if queue.due.is_none() {
            queue.due = Some(Instant::now() + MAX_DELAY);
            drop(queue);
            self.shared.arrived.notify_all();
        }
    }

    /// Writes a change that must be on disk before the caller continues.
    ///
    /// # Errors
    ///
    /// If it cannot be written. Then it is dropped.
    pub fn write_and_wait(&self, change: Change) -> Result<()> {
        let mut queue = self.shared.queue.lock();
        let ticket = queue.push(change, true);
        self.shared.wake(queue);
        let mut queue = self.shared.queue.lock();
        while queue.ended < ticket && !queue.is_broken {
            queue = self.shared.ended.wait(queue);
        }
        match queue.failed.remove(&ticket) || queue.is_broken {
            true => Err(Error::stopped(queue.error.clone())),
            false => Ok(()),
        }
    }

    /// Writes everything that has arrived.
    pub fn flush(&self) -> Result<()> {
        self.write_and_wait(Change::Nothing)
    }
}

impl ChangeQueue {
    fn push(&mut self, change: Change, is_awaited: bool) -> Ticket {
        self.arrived += 1;
        let ticket = is_awaited.then_some(self.arrived);
        self.changes.push_back((change, ticket));
        self.arrived
    }
}

impl Drop for LedgerWriter {
    /// Writes what is left, and closes the database.
    fn drop(&mut self) {
        self.shared.queue.lock().is_closing = true;
        self.shared.arrived.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn wake(&self, mut queue: MutexGuard<'_, ChangeQueue>) {
        queue.is_urgent = true;
        drop(queue);
        self.arrived.notify_all();
    }

    fn run(&self, database: &mut Database) {
        loop {
            let mut queue = self.queue.lock();
            while !queue.is_urgent && !queue.is_closing {
                let left = queue
                    .due
                    .map(|due| due.saturating_duration_since(Instant::now()));
                queue = match left {
                    None => self.arrived.wait(queue),
                    Some(Duration::ZERO) => break,
                    Some(left) => self.arrived.wait_timeout(queue, left),
                };
            }
            queue.is_urgent = false;
            queue.due = None;
            let is_last = queue.is_closing;
            let arrived = queue.arrived;
            let changes = std::mem::take(&mut queue.changes);
            let is_broken = queue.is_broken;
            drop(queue);
            let result = match is_broken {
                true => Ok(()),
                false => database.commit(changes.iter().map(|(change, _)| change)),
            };
            if result.is_ok() {
                let confirms = |(change, _): &&(Change, _)| matches!(change, Change::Confirmed(_));
                let confirmed = changes.iter().filter(confirms);
                confirmed.for_each(|_| reach("after-done"));
            }
            let mut queue = self.queue.lock();
            queue.ended = arrived;
            if let Err(error) = result {
                queue.error = database.write_error(&error).to_string();
                queue.is_broken = is_fatal(&error);
                for (change, ticket) in changes.into_iter().rev() {
                    match ticket {
                        Some(ticket) => drop(queue.failed.insert(ticket)),
                        None => queue.changes.push_front((change, None)),
                    }
                }
            }
            drop(queue);
            self.ended.notify_all();
            if is_last {
                return;
            }
        }
    }
}
