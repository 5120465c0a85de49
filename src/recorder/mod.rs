//! Recorders: threads that cut hits into batches and send them to Matomo.
//!
//! The parser hands chunks of hits over through the [`Queue`]. They wait in one [`window`], ordered
//! so that they cost Matomo least. A recorder that is free takes hits for a [`batch`] into its
//! [`buffer`]. Its [`sender`] sends them until their outcome is known, and [`acks`] records that
//! in the ledger. [`adaptive`] limits batch size and concurrency, and [`context`] is what the
//! recorders share.
//!
//! With several front ends of Matomo, each recorder sends to one of them and gets the hits of its
//! visitors. A request that failed is retried at the same front end, so that later hits of its
//! visitors do not overtake it. What is known of one front end holds for it only.
//!
//! No two requests in flight share a visitor, or Matomo would open several visits for one: the
//! window sees to it. Nor do they hold different past days of a site: the queue keeps [`days`]
//! apart in epochs, and the window sends one epoch after the other.

mod acks;
mod adaptive;
mod batch;
mod buffer;
mod context;
mod days;
mod in_doubt;
mod queue;
mod read_back;
mod sender;
mod window;
mod witness;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::matomo::client::TrackingWay;
use crate::matomo::retry::RetryPolicy;
use crate::radio::SessionLog;
use crate::report::summary::ReadBackSummary;
use crate::report::{Account, Console, Count};
use crate::shutdown::Shutdown;
use crate::systemd::ServiceManager;

use adaptive::{BatchSize, Concurrency, Controller, Semaphore};
use buffer::Buffer;
pub use context::{Context, ServerState};
pub use in_doubt::{Decision, HIDDEN_HITS, InDoubt, UNANSWERED_LOOKUPS};
pub use queue::{Chunk, GroupExtras, LinePosition, Queue, QueueClosed, RequestGroup};
use read_back::ReadBack;
pub use read_back::ReadBackMode;
use sender::Sender;
use window::Window;

/// How often the end of the recorders is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A shutdown that takes longer is announced.
const QUIET_SHUTDOWN: Duration = Duration::from_secs(1);

/// How hits are sent.
#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    /// Number of recorders, at least one for each front end; with `auto`, the maximum.
    pub recorders: usize,
    /// `--recorders=auto`: find out how many requests at once suit the server.
    pub auto: bool,
    /// Other workers send to the same Matomo, with `--shard`.
    pub has_other_workers: bool,
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
    /// Ask Matomo whether it has what it acknowledged. `None`: if requests are sent concurrently.
    pub read_back: Option<bool>,
    /// `--queued-tracking`: send hits to Matomo's own queue.
    pub to_queue: bool,
    /// `--wait-for-queue`: how long the end of the run waits for hits in that queue.
    pub queue_wait: Duration,
    /// `--queue-is-empty`: what Matomo does not show of earlier hits in that queue is sent again.
    pub queue_is_empty: bool,
}

impl DeliveryOptions {
    /// Whether Matomo may get several requests at once.
    pub fn is_concurrent(&self) -> bool {
        self.recorders > 1 || self.has_other_workers
    }

    /// How hits are sent. Those of AI assistants are not put into Matomo's queue, because they
    /// could not be looked up.
    fn tracking_way(&self, of_assistants: bool) -> TrackingWay {
        match self.to_queue && !of_assistants {
            true => TrackingWay::Queue,
            false => TrackingWay::Direct,
        }
    }
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
    /// Starts the threads. They end when the queue is dropped. `service` hears that the parser is
    /// alive while it waits for them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(context: &Arc<Context>, service: &ServiceManager) -> Result<(Pool, Queue)> {
        let options = &context.options;
        let concurrency = match options.auto {
            true => Concurrency::Auto(options.recorders),
            false => Concurrency::Fixed(options.recorders),
        };
        let batch_size = BatchSize::new(options.max_batch_hits);
        let semaphore = Arc::new(Semaphore::new(Controller::new(concurrency, batch_size)));
        let (window, window_sender) = Window::new(options.keep_order, context.client.fronts());
        let window = Arc::new(window);
        let read_back = match options.read_back == Some(true) && context.ledger.is_some() {
            true => Some(ReadBack::start(context, &window).map_err(|error| {
                Error::stopped(format!(
                    "the thread that reads hits back cannot be started: {error}"
                ))
            })?),
            false => None,
        };
        let (read_back, reader) = read_back.unzip();
        let mut threads = Vec::from_iter(reader);
        for number in 1..=options.recorders {
            let front = (number - 1) % context.client.fronts();
            let recorder = Recorder {
                front,
                window: Arc::clone(&window),
                buffer: Buffer::default(),
                sender: Sender::new(
                    Arc::clone(context),
                    front,
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
                window,
                window_sender,
                shared,
                options,
                service.clone(),
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
    /// The number of its front end.
    front: usize,
    window: Arc<Window>,
    /// What is taken from the window.
    buffer: Buffer,
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
        let stop = self.context.stop.clone();
        loop {
            self.sender.wait_for_room();
            let limits = || self.semaphore.limits();
            if !self.window.wait(self.front, limits, &stop) {
                return Ok(());
            }
            // Only with a permit, so that hits wait where they are ordered.
            let Some(permit) = self.semaphore.acquire(&stop) else {
                return Ok(());
            };
            let limits = self.semaphore.limits();
            let Some(epoch) = self.window.take(self.front, limits, &mut self.buffer) else {
                continue;
            };
            self.sender.send(&mut self.buffer, epoch, permit)?;
            if stop.requested() {
                // `count_unsent` has to see the rest of the buffer.
                return Ok(());
            }
            self.window.finish(&self.buffer);
            self.buffer.clear();
        }
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
        self.window
            .drain(|group| count_group(account, group, Count::Unsent));
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
