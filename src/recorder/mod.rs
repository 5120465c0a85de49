//! Recorders: threads that cut hits into batches and send them to Matomo.
//!
//! The parser fills a [`Chunk`] for each recorder through the [`Queue`]. A recorder reads chunks
//! into its [`buffer`], orders the hits so that they cost Matomo least, and cuts them into batches
//! ([`batch`]). Its [`sender`] sends each batch until its outcome is known, and [`acks`] records
//! that in the ledger. [`adaptive`] limits batch size and concurrency, and [`context`] is what the
//! recorders share.
//!
//! All hits of a visitor go to the same recorder, so no two requests in flight share a visitor:
//! Matomo would open several visits for one. Nor do they hold different past days of a site: the
//! queue keeps [`days`] apart in epochs, and a recorder waits for the [`epoch`] of its chunks.

mod acks;
mod adaptive;
mod batch;
mod buffer;
mod context;
mod days;
mod epoch;
mod in_doubt;
mod queue;
mod read_back;
mod sender;
mod witness;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel as channel;

use crate::error::{Error, Result};
use crate::matomo::retry::RetryPolicy;
use crate::radio::SessionLog;
use crate::report::summary::ReadBackSummary;
use crate::report::{Account, Console, Count};
use crate::shutdown::Shutdown;

use adaptive::{BatchSize, Concurrency, Controller, Semaphore};
use buffer::Buffer;
pub use context::Context;
use epoch::Epochs;
pub use in_doubt::{Decision, HIDDEN_HITS, InDoubt, UNANSWERED_LOOKUPS};
use queue::CHUNK_BYTES;
pub use queue::{Chunk, LinePosition, Queue, QueueClosed, RequestGroup};
use read_back::ReadBack;
pub use read_back::ReadBackMode;
use sender::Sender;

/// How often the end of the recorders is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A shutdown that takes longer is announced.
const QUIET_SHUTDOWN: Duration = Duration::from_secs(1);

/// Hits that a recorder reads ahead to put those together that are cheap together. Reading further
/// gains little (measured: 11 % from 1,000 to 4,000).
const READ_AHEAD_HITS: usize = 4000;

/// How long a recorder with a full batch waits for more hits to order: the input may pause, or the
/// parser may wait for another recorder.
const READ_AHEAD_WAIT: Duration = Duration::from_millis(50);

/// How hits are sent.
#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    /// Number of recorders; with `auto`, the maximum.
    pub recorders: usize,
    /// `--recorders=auto`: find out how many requests at once suit the server.
    pub auto: bool,
    /// The user's maximum of hits in one batch.
    pub max_batch_hits: Option<usize>,
    /// Send hits in the order of the log, not in the order that costs Matomo least.
    pub keep_order: bool,
    pub retry: RetryPolicy,
    /// Time-out of a request.
    pub timeout: Duration,
    /// Pause of each recorder between two requests.
    pub pace: Option<Duration>,
    pub debug_tracker: bool,
    pub in_doubt: InDoubt,
    /// Ask Matomo whether it has what it acknowledged. `None`: if several recorders send.
    pub read_back: Option<bool>,
}

/// The recorder threads.
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
    /// With `--recorders=auto`: knows the number that was found.
    auto: Option<Arc<Semaphore>>,
    read_back: Option<Arc<read_back::ReadBackState>>,
    console: Console,
}

impl Pool {
    /// Starts the threads. They end when the queue is dropped.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(context: &Arc<Context>) -> Result<(Pool, Queue)> {
        let options = &context.options;
        let read_ahead = read_ahead_bytes(options.recorders);
        // The last chunk may begin just below the limit.
        let buffer_bytes = read_ahead + CHUNK_BYTES;
        let concurrency = match options.auto {
            true => Concurrency::Auto(options.recorders),
            false => Concurrency::Fixed(options.recorders),
        };
        let batch_size = BatchSize::new(options.max_batch_hits, buffer_bytes);
        let semaphore = Arc::new(Semaphore::new(Controller::new(concurrency, batch_size)));
        let epochs = Arc::<Epochs>::default();
        let read_back = match options.read_back == Some(true) && context.ledger.is_some() {
            true => Some(ReadBack::start(context, &epochs).map_err(|error| {
                Error::stopped(format!(
                    "the thread that reads hits back cannot be started: {error}"
                ))
            })?),
            false => None,
        };
        let (read_back, reader) = read_back.unzip();
        let (return_emptied, emptied) = channel::unbounded();
        let mut threads = Vec::from_iter(reader);
        let mut inboxes = Vec::new();
        for number in 1..=options.recorders {
            let (sender, inbox) = channel::bounded(read_ahead.div_ceil(CHUNK_BYTES));
            inboxes.push(sender);
            let recorder = Recorder {
                inbox,
                emptied: return_emptied.clone(),
                next: None,
                buffer: Buffer::with_capacity(buffer_bytes),
                epoch: 0,
                epochs: Arc::clone(&epochs),
                read_ahead,
                sender: Sender::new(
                    Arc::clone(context),
                    Arc::clone(&semaphore),
                    read_back.clone(),
                ),
                semaphore: Arc::clone(&semaphore),
                context: Arc::clone(context),
            };
            let thread = std::thread::Builder::new()
                .name(format!("recorder {number}"))
                .spawn(move || recorder.run(number));
            threads.push(thread.map_err(|error| {
                Error::stopped(format!(
                    "recorder {number} cannot be started: {error}; try fewer --recorders"
                ))
            })?);
        }
        let shared = read_back.map(|read_back| Arc::clone(read_back.shared()));
        Ok((
            Pool {
                threads,
                auto: options.auto.then_some(semaphore),
                read_back: shared.clone(),
                console: context.console.clone(),
            },
            Queue::new(
                inboxes,
                emptied,
                epochs,
                shared,
                options.max_batch_hits.unwrap_or(usize::MAX),
                context.stop.clone(),
            ),
        ))
    }

    /// Makes a pool without threads. What its queue receives is counted as imported and dropped.
    pub fn for_dry_run(
        account: &Arc<Account>,
        sessions: &Arc<SessionLog>,
        console: &Console,
    ) -> (Pool, Queue) {
        let pool = Pool {
            threads: Vec::new(),
            auto: None,
            read_back: None,
            console: console.clone(),
        };
        let queue = Queue::for_dry_run(Arc::clone(account), Arc::clone(sessions));
        (pool, queue)
    }

    /// The part of the summary about hits that were read back.
    pub fn read_back(&self) -> impl FnOnce() -> Option<ReadBackSummary> + use<> {
        let shared = self.read_back.clone();
        move || shared?.summary()
    }

    /// Waits for the recorders to end, once the queue is dropped. During a shutdown it waits no
    /// longer than `grace`, and returns false if a request is still in flight then.
    pub fn join(self, stop: &Shutdown, grace: Duration) -> bool {
        let mut stopping_since: Option<Instant> = None;
        let mut is_announced = false;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if stop.requested() {
                let elapsed = stopping_since.get_or_insert_with(Instant::now).elapsed();
                if elapsed > grace {
                    return false;
                }
                if elapsed > QUIET_SHUTDOWN && stop.signal().is_some() && !is_announced {
                    is_announced = true;
                    // The bar says it, too.
                    if !self.console.has_bar() {
                        self.console.note(format!(
                            "waiting up to {} s for requests in flight; a second signal ends them \
                             at once",
                            grace.as_secs()
                        ));
                    }
                }
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        if let Some(settled) = self.auto.and_then(|semaphore| semaphore.settled()) {
            self.console
                .note(format!("--recorders=auto settled on {settled}"));
        }
        true
    }
}

struct Recorder {
    inbox: channel::Receiver<Chunk>,
    emptied: channel::Sender<Chunk>,
    /// The first chunk of the next epoch, taken out of the inbox too early.
    next: Option<Chunk>,
    buffer: Buffer,
    /// The epoch of what is in the buffer.
    epoch: u64,
    epochs: Arc<Epochs>,
    /// Bytes to read ahead.
    read_ahead: usize,
    sender: Sender,
    semaphore: Arc<Semaphore>,
    context: Arc<Context>,
}

impl Recorder {
    /// Runs until the queue is dropped or the program stops. An error or a panic ends the program
    /// with a message.
    fn run(mut self, number: usize) {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| self.send_all()));
        let result = result.unwrap_or_else(|_| {
            Err(Error::stopped(format!(
                "recorder {number} panicked: this is a bug in import-logs"
            )))
        });
        if let Err(error) = result {
            self.context.stop.halt(error);
        }
        self.count_unsent();
    }

    fn send_all(&mut self) -> Result<()> {
        while self.fill_buffer() {
            self.sender.wait_for_room();
            if self.epochs.begin(self.epoch, &self.context.stop) {
                self.sender.send(&mut self.buffer, self.epoch)?;
            }
            if self.context.stop.requested() {
                // `count_unsent` has to see the rest of the buffer.
                break;
            }
            self.epochs.finish(self.epoch, self.buffer.groups());
            self.buffer.clear();
        }
        Ok(())
    }

    /// Reads ahead until the buffer is full, the epoch or the queue ends, or the input pauses.
    /// Returns false if there is nothing to send.
    fn fill_buffer(&mut self) -> bool {
        while self.buffer.len() < READ_AHEAD_HITS && self.buffer.bytes() < self.read_ahead {
            let is_full_batch = self.buffer.len() >= self.semaphore.batch_limits().hits;
            let chunk = self.next.take().or_else(|| match is_full_batch {
                true => self.inbox.recv_timeout(READ_AHEAD_WAIT).ok(),
                false => self.inbox.recv().ok(),
            });
            let Some(mut chunk) = chunk else { break };
            if self.buffer.is_empty() {
                self.epoch = chunk.epoch;
            } else if chunk.epoch != self.epoch {
                self.next = Some(chunk);
                break;
            }
            let flush = chunk.flush;
            self.buffer.add(&mut chunk);
            // The parser may have ended already.
            let _ = self.emptied.send(chunk);
            // An empty buffer is not the end: more may come.
            if flush && !self.buffer.is_empty() {
                break;
            }
        }
        !self.buffer.is_empty()
    }

    /// Counts what is left in the buffer, and all that still arrives, as not sent.
    fn count_unsent(&mut self) {
        let account = &self.context.account;
        for (group, is_unconfirmed) in self.buffer.unsettled() {
            let count = match is_unconfirmed {
                true => Count::InDoubt,
                false => Count::Unsent,
            };
            count_group(account, group, count);
        }
        self.buffer.clear();
        while let Some(chunk) = self.next.take().or_else(|| self.inbox.recv().ok()) {
            count_unsent(account, chunk.groups.iter());
        }
    }
}

/// How many bytes each recorder reads ahead; as many again may wait in its queue. The parser stops
/// when the queue of a single recorder is full, because visitors are bound to recorders.
///
/// A single recorder gets 2 MiB, which is 4,000 hits or more. Several get less each, because this
/// is nearly all the memory that the program needs.
fn read_ahead_bytes(recorders: usize) -> usize {
    const SINGLE: usize = 2 << 20;
    const MIN_OF_SEVERAL: usize = 256 << 10;
    const MAX_TOTAL: usize = 4 << 20;
    match recorders {
        0 | 1 => SINGLE,
        _ => (SINGLE / 2 / recorders)
            .max(MIN_OF_SEVERAL)
            .min(MAX_TOTAL / recorders)
            .max(2 * CHUNK_BYTES),
    }
}

/// Counts lines that were read but not sent.
pub fn count_unsent<'g>(account: &Account, groups: impl Iterator<Item = &'g RequestGroup>) {
    groups.for_each(|group| count_group(account, group, Count::Unsent));
}

fn count_group(account: &Account, group: &RequestGroup, count: Count) {
    if let Some(file) = account.file(group.file as usize) {
        file.add(count, group.lines());
    }
}
