//! The turnstile before the server: recorders send in turn, no more of them at once than the server likes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::crowd::Most;
use super::sizer::{Size, Sizer};
use super::tempo::{Era, Seen, Tempo, Took};
use crate::shutdown::Shutdown;

/// How soon a waiting recorder learns of a signal, which does not wake it.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Throttle {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    tempo: Tempo,
    /// Recorders that have come, by number in that order, and how many of them have left: those between are under way
    /// or wait. Who comes first goes first, so that no recorder is left behind with the hits of its visitors.
    came: u64,
    left: u64,
}

/// Leave to send one request; it ends when dropped.
#[derive(Debug)]
pub struct Turn<'t> {
    throttle: &'t Throttle,
    sent: Era,
    crowded: bool,
}

/// A request that was sent in a turn.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub hits: usize,
    /// Of its body.
    pub bytes: usize,
    /// The size's era when it was made up; `None`: it was sent before, in whole or in part.
    pub cut: Option<Era>,
    pub elapsed: Duration,
    pub took: Took,
}

impl Throttle {
    pub fn new(most: Most, sizer: Sizer) -> Self {
        Self {
            inner: Mutex::new(Inner {
                tempo: Tempo::new(most, sizer),
                came: 0,
                left: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// The size of a request to be made up now.
    pub fn size(&self) -> (Size, Era) {
        self.lock().tempo.size()
    }

    /// The number of requests at once that the server was found to like; `None`: nothing was sent.
    pub fn settled(&self) -> Option<usize> {
        let inner = self.lock();
        (inner.left > 0).then(|| inner.tempo.settled())
    }

    /// Waits for a turn. `None`: the program is to stop.
    pub fn enter(&self, stop: &Shutdown) -> Option<Turn<'_>> {
        let mut inner = self.lock();
        let number = inner.came;
        inner.came += 1;
        loop {
            let before = number.saturating_sub(inner.left);
            let limit = inner.tempo.limit() as u64;
            if before < limit {
                return Some(Turn {
                    throttle: self,
                    sent: inner.tempo.era(),
                    crowded: before + 1 >= limit,
                });
            }
            if stop.requested() {
                inner.left += 1;
                return None;
            }
            inner = self
                .changed
                .wait_timeout(inner, TICK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The server has dealt with the request. Gives what that changes for those to come, in words.
    pub fn end(self, sent: &Sent) -> Option<String> {
        let mut inner = self.throttle.lock();
        let changed = inner.tempo.note(&Seen {
            hits: sent.hits,
            bytes: sent.bytes,
            elapsed: sent.elapsed,
            took: sent.took,
            cut: sent.cut,
            sent: self.sent,
            crowded: self.crowded,
        });
        changed.then(|| {
            let (hits, limit) = (inner.tempo.size().0.hits, inner.tempo.limit());
            format!("from now on at most {hits} hits a request, {limit} requests at once")
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.throttle.lock().left += 1;
        self.throttle.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    fn throttle(most: Most) -> Throttle {
        Throttle::new(most, Sizer::new(Some(5), 1 << 20))
    }

    fn sent(took: Took) -> Sent {
        Sent {
            hits: 5,
            bytes: 2000,
            cut: None,
            elapsed: Duration::from_millis(1),
            took,
        }
    }

    #[test]
    fn no_more_are_under_way_than_may_be_and_all_get_their_turn() {
        let throttle = throttle(Most::Auto(8));
        let stop = Shutdown::new();
        let (busy, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..20 {
                        let turn = throttle.enter(&stop).unwrap();
                        let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                        peak.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        busy.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert!((1..=2).contains(&peak.into_inner()));
        let inner = throttle.lock();
        assert_eq!((inner.came, inner.left), (160, 160));
    }

    #[test]
    fn after_trouble_fewer_may_enter() {
        let throttle = throttle(Most::Fixed(4));
        let stop = Shutdown::new();
        assert_eq!(throttle.settled(), None);
        let mut turns: Vec<Turn> = (0..4).map(|_| throttle.enter(&stop).unwrap()).collect();
        let said = turns.pop().unwrap().end(&sent(Took::Failed)).unwrap();
        assert!(said.contains("2 requests at once"), "{said}");
        stop.halt(Error::stopped("x"));
        assert!(throttle.enter(&stop).is_none(), "three are under way");
        turns.truncate(1);
        assert!(throttle.enter(&stop).is_some());
        assert_eq!(throttle.settled(), Some(2));
    }

    #[test]
    fn who_waits_learns_of_a_stop() {
        let throttle = throttle(Most::Fixed(1));
        let stop = Shutdown::new();
        let _turn = throttle.enter(&stop);
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| throttle.enter(&stop).is_none());
            stop.halt(Error::stopped("x"));
            assert!(waiting.join().unwrap());
        });
    }
}
