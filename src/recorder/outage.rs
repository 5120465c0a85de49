//! One outage for all recorders: while one waits for a dead server, the others do not knock on its door either.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::shutdown::Shutdown;

/// Until when nobody sends.
#[derive(Debug, Default)]
pub struct Outage {
    until: Mutex<Option<Instant>>,
}

impl Outage {
    /// A recorder has met a server that does not answer and is to be left alone for so long.
    pub fn begin(&self, wait: Duration) {
        let end = Instant::now().checked_add(wait);
        let mut until = self.lock();
        *until = (*until).max(end);
    }

    /// Whether nobody is to send now.
    pub fn lasts(&self) -> bool {
        self.left().is_some()
    }

    /// Waits the outage out. `true`: the program is to stop.
    pub fn wait(&self, stop: &Shutdown) -> bool {
        while let Some(left) = self.left() {
            // Meanwhile it may have become longer.
            if stop.wait(left) {
                return true;
            }
        }
        stop.requested()
    }

    /// It ends with its time only. An answer that comes meanwhile is that to a request sent before it began, and
    /// says nothing of the server's state since.
    fn left(&self) -> Option<Duration> {
        let until = (*self.lock())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
