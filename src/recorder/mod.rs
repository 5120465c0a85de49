//! Recorders: hits to batches, and batches to Matomo; one visitor always on the same recorder.

mod batch;
mod books;
mod crowd;
mod delivery;
mod doubt;
mod gate;
mod in_doubt;
mod outage;
mod outbox;
mod parcel;
mod resolve;
mod round;
mod shared;
mod sizer;
mod tempo;
mod throttle;
mod trust;
mod window;

pub use outbox::{Queue, QueueClosed};
pub use parcel::{Chunk, LinePosition, RequestGroup};

use crate::matomo::retry::RetryPolicy;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Error, Result};
use crate::report::{Account, Console, Count};
use crate::shutdown::Shutdown;

use crowd::Most;
use delivery::Delivery;
pub use doubt::{LookupError, present};
pub use in_doubt::{Decision, InDoubt};
pub use shared::Context;
use sizer::Sizer;
use throttle::Throttle;
use window::Window;

/// How often it is looked whether the recorders have ended.
const GLANCE: Duration = Duration::from_millis(2);

/// What ends so soon needs no word about it.
const SOON: Duration = Duration::from_secs(1);

/// Hits that one recorder reads ahead, so that it can put those together which are cheap together: beyond that there
/// is little to be gained (measured: 11 % from 1,000 to 4,000).
const AHEAD: usize = 4000;

/// With a full batch at hand, a recorder waits so long for more to put in order: the input pauses, or the parser waits
/// for another recorder.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    pub recorders: usize,
    /// `--recorders=auto`: as many of them send at once as the server likes.
    pub auto: bool,
    /// Most hits in one tracking request, where the user says so.
    pub most_hits: Option<usize>,
    /// Hits go in the log's order, not in the one that costs Matomo least.
    pub keep_order: bool,
    pub retry: RetryPolicy,
    pub timeout: Duration,
    /// Each recorder waits so long between hits.
    pub pace: Option<Duration>,
    pub debug_tracker: bool,
    pub in_doubt: InDoubt,
}

/// The recorder threads.
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
    /// With `--recorders=auto`: what knows the number that was found.
    auto: Option<Arc<Throttle>>,
    console: Console,
}

impl Pool {
    /// Starts the threads. Parcels go to them through the outbox; dropping that ends them.
    pub fn start(shared: &Arc<Context>) -> Result<(Pool, Queue)> {
        let options = &shared.options;
        let room = room(options.recorders);
        let waiting = room.div_ceil(parcel::FULL);
        let most = match options.auto {
            true => Most::Auto(options.recorders),
            false => Most::Fixed(options.recorders),
        };
        let throttle = Arc::new(Throttle::new(most, Sizer::new(options.most_hits, room)));
        let (return_emptied, emptied) = unbounded();
        let mut threads = Vec::new();
        let mut inboxes = Vec::new();
        for number in 1..=options.recorders {
            let (sender, inbox) = bounded(waiting);
            inboxes.push(sender);
            let recorder = Recorder {
                inbox,
                emptied: return_emptied.clone(),
                window: Window::of(room + parcel::FULL),
                room,
                delivery: Delivery::new(Arc::clone(shared), Arc::clone(&throttle)),
            };
            let thread = std::thread::Builder::new()
                .name(format!("recorder {number}"))
                .spawn(move || recorder.live(number));
            threads.push(thread.map_err(|error| {
                Error::stopped(format!(
                    "recorder {number} cannot be started: {error}; try fewer --recorders"
                ))
            })?);
        }
        Ok((
            Pool {
                threads,
                auto: options.auto.then_some(throttle),
                console: shared.console.clone(),
            },
            Queue::new(inboxes, emptied, shared.stop.clone()),
        ))
    }

    /// For a dry run: what goes into the outbox is counted and dropped, without a thread.
    pub fn none(account: &Arc<Account>, console: &Console) -> (Pool, Queue) {
        let pool = Pool {
            threads: Vec::new(),
            auto: None,
            console: console.clone(),
        };
        (pool, Queue::dropping(Arc::clone(account)))
    }

    /// Waits for the recorders to end, which they do once the outbox is gone; after a signal at most so long.
    /// `false`: a request is still under way.
    pub fn join(self, stop: &Shutdown, grace: Duration) -> bool {
        let mut signalled: Option<Instant> = None;
        let mut told = false;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if stop.requested() {
                let since = signalled.get_or_insert_with(Instant::now).elapsed();
                if since > grace {
                    return false;
                }
                if since > SOON && stop.signal().is_some() && !std::mem::replace(&mut told, true) {
                    self.console.note(format!(
                        "requests under way are given {} s to end; a second signal ends them at once",
                        grace.as_secs()
                    ));
                }
            }
            std::thread::sleep(GLANCE);
        }
        if let Some(settled) = self.auto.and_then(|throttle| throttle.settled()) {
            self.console
                .note(format!("--recorders=auto settled on {settled}"));
        }
        true
    }
}

struct Recorder {
    inbox: Receiver<Chunk>,
    emptied: Sender<Chunk>,
    window: Window,
    /// Bytes to read ahead.
    room: usize,
    delivery: Delivery,
}

impl Recorder {
    /// A failure, be it a panic, must end the program with a message, and with it the other recorders.
    fn live(mut self, number: usize) {
        let outcome =
            std::panic::catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
                Err(Error::stopped(format!(
                    "recorder {number} failed: this is a mistake in import-logs"
                )))
            });
        if let Err(error) = outcome {
            self.delivery.stop().halt(error);
        }
        self.give_up();
    }

    fn run(&mut self) -> Result<()> {
        while self.fill() {
            self.delivery.send(&mut self.window)?;
            if self.delivery.is_to_stop() {
                // What it holds is still to be counted.
                break;
            }
            self.window.clear();
        }
        Ok(())
    }

    /// Reads ahead until the window is full, the input pauses, or there is no more. `false`: nothing is left.
    fn fill(&mut self) -> bool {
        while self.window.len() < AHEAD && self.window.size() < self.room {
            let parcel = match self.window.len() < self.delivery.full() {
                true => self.inbox.recv().ok(),
                false => self.inbox.recv_timeout(PATIENCE).ok(),
            };
            let Some(mut parcel) = parcel else { break };
            let flush = parcel.flush;
            self.window.add(&mut parcel);
            // The parser may be gone already.
            let _ = self.emptied.send(parcel);
            // Nothing to send is no reason to end: more may come.
            if flush && !self.window.is_empty() {
                break;
            }
        }
        !self.window.is_empty()
    }

    /// Counts what it holds, and whatever the parser still hands over, as not sent.
    fn give_up(&mut self) {
        let account = self.delivery.account();
        for (unit, in_doubt) in self.window.unsettled() {
            let count = match in_doubt {
                true => Count::InDoubt,
                false => Count::Unsent,
            };
            add(account, unit, count);
        }
        self.window.clear();
        while let Ok(parcel) = self.inbox.recv() {
            count_unsent(self.delivery.account(), parcel.units.iter());
        }
    }
}

/// Bytes that each of so many recorders reads ahead, and as many again wait for it while it sends: visitors are
/// pinned, so the parser can go no further than the recorder that has least room.
///
/// One alone has 2 MiB, which are 4,000 hits or more. Several have less each, for what is read ahead is nearly all of
/// the memory that the program needs; very many do not make it large.
fn room(recorders: usize) -> usize {
    const ALONE: usize = 2 << 20;
    const SEVERAL: usize = 256 << 10;
    const MOST: usize = 4 << 20;
    match recorders {
        0 | 1 => ALONE,
        more => SEVERAL
            .max(ALONE / 2 / more)
            .min(MOST / more)
            .max(2 * parcel::FULL),
    }
}

/// Lines that were read and that no recorder sent.
pub fn count_unsent<'u>(account: &Account, units: impl Iterator<Item = &'u RequestGroup>) {
    units.for_each(|unit| add(account, unit, Count::Unsent));
}

fn add(account: &Account, unit: &RequestGroup, count: Count) {
    if let Some(file) = account.file(unit.file as usize) {
        file.add(count, unit.lines());
    }
}
