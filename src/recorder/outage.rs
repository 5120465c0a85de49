//! One outage for all recorders: while one waits for a dead server, the others do not knock on its door either.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stop::Stop;

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

    /// The server has answered again.
    pub fn end(&self) {
        *self.lock() = None;
    }

    /// Waits the outage out. `true`: the program is to stop.
    pub fn wait(&self, stop: &Stop) -> bool {
        loop {
            let until = *self.lock();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match left.filter(|left| !left.is_zero()) {
                None => return stop.requested(),
                // In slices, for another recorder may see the outage's end first.
                Some(left) if stop.wait(left.min(Duration::from_millis(200))) => return true,
                Some(_) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
