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
    progress: Mutex<EpochProgress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct EpochProgress {
    /// Epochs with groups on their way, in order, and the number of these groups.
    under_way: VecDeque<(u64, usize)>,
    /// Recorders that are sending.
    sending: usize,
    /// A request that must be the only one in flight is, or waits for the recorders.
    is_alone: bool,
}

impl EpochProgress {
    fn has_begun(&self, epoch: u64) -> bool {
        self.under_way
            .front()
            .is_none_or(|(first, _)| *first >= epoch)
    }
}

/// No recorder sends anything while this exists.
#[derive(Debug)]
pub struct Alone<'e>(&'e Epochs);

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
            if progress.has_begun(epoch) && !progress.is_alone {
                progress.sending += 1;
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
        progress.sending = progress.sending.saturating_sub(1);
        let under_way = &mut progress.under_way;
        if let Some((_, count)) = under_way.iter_mut().find(|(number, _)| *number == epoch) {
            *count = count.saturating_sub(groups);
        }
        while under_way.front().is_some_and(|(_, count)| *count == 0) {
            under_way.pop_front();
        }
        self.changed.notify_all();
    }

    /// Waits until no recorder is sending, and keeps them from it. Called by one thread only.
    /// Returns `None` on shutdown.
    pub fn acquire_alone(&self, stop: &Shutdown) -> Option<Alone<'_>> {
        let mut progress = self.progress.lock();
        progress.is_alone = true;
        let alone = Alone(self);
        while progress.sending > 0 {
            if stop.requested() {
                drop(progress);
                return None;
            }
            progress = self.changed.wait_timeout(progress, POLL_INTERVAL);
        }
        drop(progress);
        Some(alone)
    }

    #[cfg(test)]
    pub fn has_begun(&self, epoch: u64) -> bool {
        self.progress.lock().has_begun(epoch)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.progress.lock().is_alone = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn nothing_is_sent_beside_a_request_that_is_alone() {
        let (epochs, sending) = (Epochs::default(), AtomicUsize::new(0));
        let stop = Shutdown::default();
        epochs.add(1, 300);
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    for _ in 0..100 {
                        assert!(epochs.begin(1, &stop));
                        sending.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        sending.fetch_sub(1, Ordering::SeqCst);
                        epochs.finish(1, 1);
                    }
                });
            }
            threads.spawn(|| {
                for _ in 0..50 {
                    let alone = epochs.acquire_alone(&stop);
                    assert_eq!(sending.load(Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    assert_eq!(sending.load(Ordering::SeqCst), 0);
                    drop(alone);
                }
            });
        });
        assert!(epochs.has_begun(2));
    }

    #[test]
    fn waits_end_on_shutdown() {
        let (epochs, stop) = (Arc::new(Epochs::default()), Shutdown::default());
        epochs.add(1, 1);
        assert!(epochs.begin(1, &stop));
        stop.halt(crate::error::Error::stopped("test"));
        assert!(!epochs.begin(2, &stop));
        assert!(epochs.acquire_alone(&stop).is_none());
    }
}
