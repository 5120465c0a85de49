//! Recorders: hits to batches, and batches to Matomo; one visitor always on the same recorder.

mod delivery;
mod doubt;
mod gate;
mod outage;
mod outbox;
mod parcel;
mod window;

pub use outbox::{Closed, Outbox};
pub use parcel::{Parcel, Place, Unit};

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Error, Result};
use crate::report::{Account, Count};
use crate::stop::Stop;

use delivery::Delivery;
pub use delivery::Shared;
pub use doubt::present;
use window::Window;

/// Parcels that wait for a recorder. More would only be memory: the parser is much faster than any server.
const WAITING: usize = 2;

/// How often it is looked whether the recorders have ended.
const GLANCE: Duration = Duration::from_millis(2);

/// Bytes of read-ahead of one recorder.
const WINDOW: usize = 1 << 20;

/// The recorder threads.
#[derive(Debug)]
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads. Parcels go to them through the outbox; dropping that ends them.
    pub fn start(shared: &Arc<Shared>) -> Result<(Pool, Outbox)> {
        let (return_emptied, emptied) = unbounded();
        let mut threads = Vec::new();
        let mut inboxes = Vec::new();
        for number in 1..=shared.options.recorders {
            let (sender, inbox) = bounded(WAITING);
            inboxes.push(sender);
            let recorder = Recorder {
                inbox,
                emptied: return_emptied.clone(),
                window: Window::default(),
                delivery: Delivery::new(Arc::clone(shared)),
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
            Pool { threads },
            Outbox::new(inboxes, emptied, shared.stop.clone()),
        ))
    }

    /// Waits for the recorders to end, which they do once the outbox is gone; after a signal at most so long.
    /// `false`: a request is still under way.
    pub fn join(self, stop: &Stop, grace: Duration) -> bool {
        let mut signalled: Option<Instant> = None;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if stop.requested() && signalled.get_or_insert_with(Instant::now).elapsed() > grace {
                return false;
            }
            std::thread::sleep(GLANCE);
        }
        true
    }
}

struct Recorder {
    inbox: Receiver<Parcel>,
    emptied: Sender<Parcel>,
    window: Window,
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
        while self.window.len() < self.delivery.wants() && self.window.size() < WINDOW {
            let Ok(mut parcel) = self.inbox.recv() else {
                break;
            };
            let flush = parcel.flush;
            self.window.add(&parcel);
            parcel.clear();
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
        count_unsent(self.delivery.account(), self.window.unsettled());
        self.window.clear();
        while let Ok(parcel) = self.inbox.recv() {
            count_unsent(self.delivery.account(), parcel.units.iter());
        }
    }
}

/// Lines that were read and that no recorder sent.
pub fn count_unsent<'u>(account: &Account, units: impl Iterator<Item = &'u Unit>) {
    for unit in units {
        if let Some(file) = account.file(unit.file as usize) {
            file.add(Count::Unsent, unit.lines());
        }
    }
}
