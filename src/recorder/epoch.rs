//! Epochs: hits that may be in flight together. An epoch begins when all hits of the earlier ones
//! are answered.

use std::collections::VecDeque;
use std::time::Duration;

use crate::shutdown::Shutdown;
use crate::sync::{Condvar, Mutex};

/// How often a thread that waits checks for a shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Counts the groups of each epoch that are on their way.
///
/// The queue hands over all chunks of an epoch before the first one of the next. So a recorder
/// that waits here waits only for hits that other recorders already have, and those never wait for
/// hits of a later epoch: recorders cannot wait for each other in a circle.
#[derive(Debug, Default)]
pub struct Epochs {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// Epochs with groups on their way, in order, and the number of these groups.
    under_way: VecDeque<(u64, usize)>,
}

impl Progress {
    fn has_begun(&self, epoch: u64) -> bool {
        self.under_way
            .front()
            .is_none_or(|(first, _)| *first >= epoch)
    }
}

impl Epochs {
    /// Adds groups to an epoch, before they are handed over. It is the last one or a new one.
    pub fn add(&self, epoch: u64, groups: usize) {
        if groups == 0 {
            return;
        }
        let under_way = &mut self.progress.lock().under_way;
        match under_way.back_mut() {
            Some((last, count)) if *last == epoch => *count += groups,
            _ => under_way.push_back((epoch, groups)),
        }
    }

    /// Waits until all groups of earlier epochs are finished. Then the recorder may send, until it
    /// calls [`Epochs::finish`]. Returns false on shutdown.
    pub fn begin(&self, epoch: u64, stop: &Shutdown) -> bool {
        let mut progress = self.progress.lock();
        while !stop.requested() {
            if progress.has_begun(epoch) {
                return true;
            }
            // A signal does not wake this wait.
            progress = self.changed.wait_timeout(progress, POLL_INTERVAL);
        }
        false
    }

    /// Records that a recorder has settled groups of an epoch.
    pub fn finish(&self, epoch: u64, groups: usize) {
        let mut progress = self.progress.lock();
        let under_way = &mut progress.under_way;
        if let Some((_, count)) = under_way.iter_mut().find(|(number, _)| *number == epoch) {
            *count = count.saturating_sub(groups);
        }
        while under_way.front().is_some_and(|(_, count)| *count == 0) {
            under_way.pop_front();
        }
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub fn has_begun(&self, epoch: u64) -> bool {
        self.progress.lock().has_begun(epoch)
    }
}
