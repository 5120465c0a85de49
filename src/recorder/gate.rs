//! The first batch of a site and day goes alone; the others of that site and day wait for it.
//!
//! Each of Matomo's processes that meets a site and past day for the first time notes it in one table, inside its
//! batch's transaction. When several do so at once the database deadlocks, and what was stored then is anybody's
//! guess. Once one batch is committed the others no longer write there.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::shutdown::Shutdown;

/// Index of a site, and a day counted from 1970, UTC.
pub type SiteDay = (u32, i32);

#[derive(Debug, Default)]
pub struct Gates {
    /// `false`: somebody's first batch is under way. `true`: open for good.
    open: Mutex<HashMap<SiteDay, bool>>,
    changed: Condvar,
}

/// Leave to send a batch. Whoever drops it without [`Pass::opens`] leaves the first place to the next.
#[derive(Debug)]
pub struct Pass<'g> {
    gates: &'g Gates,
    first: Vec<SiteDay>,
}

impl Gates {
    /// Waits until no other recorder has a first batch of these days under way. All days are taken at once or none,
    /// so recorders cannot wait for each other in a circle. `None`: the program is to stop.
    pub fn enter(&self, days: &[SiteDay], stop: &Shutdown) -> Option<Pass<'_>> {
        let mut open = self.lock();
        while days.iter().any(|day| open.get(day) == Some(&false)) {
            if stop.requested() {
                return None;
            }
            // A time limit, for a signal does not wake this wait.
            open = self
                .changed
                .wait_timeout(open, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let first: Vec<SiteDay> = days
            .iter()
            .copied()
            .filter(|day| !open.contains_key(day))
            .collect();
        open.extend(first.iter().map(|day| (*day, false)));
        Some(Pass { gates: self, first })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SiteDay, bool>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The batch was committed: these days are open from now on.
    pub fn opens(mut self) {
        let mut open = self.gates.lock();
        open.extend(self.first.drain(..).map(|day| (day, true)));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut open = self.gates.lock();
        for day in &self.first {
            open.remove(day);
        }
        drop(open);
        self.gates.changed.notify_all();
    }
}
