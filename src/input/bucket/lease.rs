//! How long a worker may still send hits of the objects that a queue has given to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::sync::Mutex;

/// Messages that no other worker gets for now. Cheap to clone; clones share the messages.
///
/// A message is given to another worker when its visibility time-out is over. This worker sends no
/// hit in the second half of it, so that the server is done with all requests by then.
#[derive(Clone, Debug)]
pub struct Lease {
    held: Arc<Mutex<HashMap<String, Duration>>>,
    /// Why messages could not be extended when that was last tried.
    problem: Arc<Mutex<Option<String>>>,
    visibility: Duration,
}

impl Lease {
    pub(super) fn new(visibility: Duration) -> Self {
        Self {
            held: Arc::default(),
            problem: Arc::default(),
            visibility,
        }
    }

    /// The visibility time-out of a message that is held.
    pub fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Adds messages by their receipts, or extends them. `asked` is when the queue was asked for
    /// that, in time since boot.
    pub(super) fn extend(&self, receipts: impl IntoIterator<Item = String>, asked: Duration) {
        let receipts = receipts.into_iter().map(|receipt| (receipt, asked));
        self.held.lock().extend(receipts);
    }

    /// Extends messages, except those that are no longer held, and those that another worker may
    /// have received in the meantime.
    pub(super) fn renew<'r>(&self, receipts: impl Iterator<Item = &'r String>, asked: Duration) {
        let mut held = self.held.lock();
        for receipt in receipts {
            if let Some(extended) = held.get_mut(receipt)
                && asked.saturating_sub(*extended) < self.visibility / 2
            {
                *extended = asked;
            }
        }
    }

    pub(super) fn remove(&self, receipt: &str) {
        self.held.lock().remove(receipt);
    }

    /// The messages that were extended longer ago than that, the oldest first.
    pub(super) fn older_than(&self, age: Duration) -> Vec<String> {
        let now = since_boot();
        let held = self.held.lock();
        let mut old: Vec<_> = held
            .iter()
            .filter(|(_, asked)| now.saturating_sub(**asked) >= age)
            .collect();
        old.sort_by_key(|(_, asked)| **asked);
        old.into_iter()
            .map(|(receipt, _)| receipt.clone())
            .collect()
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// Why hits may not be sent any more.
    pub fn problem(&self) -> String {
        let problem = self.problem.lock().clone();
        problem.unwrap_or_else(|| "this process was stopped for a time".to_owned())
    }

    /// Whether hits may be sent: all messages were extended not long ago.
    pub fn is_valid(&self) -> bool {
        let now = since_boot();
        let held = self.held.lock();
        held.values()
            .all(|asked| now.saturating_sub(*asked) < self.visibility / 2)
    }
}

/// The time since the system was started. Unlike other clocks, it is never set, and includes the
/// time that the system was suspended.
pub(super) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_may_be_sent_in_the_first_half_of_the_time_of_all_messages() {
        let lease = Lease::new(Duration::from_secs(100));
        assert!(lease.is_valid());
        let ago = |seconds| since_boot().saturating_sub(Duration::from_secs(seconds));
        lease.extend(["a".to_owned()], ago(40));
        lease.extend(["b".to_owned()], ago(0));
        assert!(lease.is_valid());
        lease.extend(["c".to_owned()], ago(51));
        assert!(!lease.is_valid());
        assert_eq!(lease.older_than(Duration::from_secs(30)), ["c", "a"]);
        lease.renew([&"c".to_owned()].into_iter(), ago(0));
        assert!(!lease.is_valid());
        lease.remove("c");
        assert!(lease.is_valid());
        lease.renew([&"a".to_owned(), &"c".to_owned()].into_iter(), ago(10));
        assert_eq!(lease.older_than(Duration::from_secs(5)), ["a"]);
    }
}
