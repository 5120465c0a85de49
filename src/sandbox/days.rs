//! The deadlock of first days: each server process that meets a site and past day for the first time notes it in
//! one table, inside its batch's transaction, and two that do so at once deadlock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::locked;

/// A site and a day (days since 1970, UTC).
pub(super) type SiteDay = (i64, i64);

/// Which days have been noted, and which are being noted.
#[derive(Clone, Default)]
pub(super) struct Days(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    noted: HashSet<SiteDay>,
    /// With the number of batches that are at it.
    noting: HashMap<SiteDay, usize>,
}

impl Days {
    /// A batch with these past days begins. Those of them that no batch has committed yet it notes itself.
    pub fn begin(&self, days: impl IntoIterator<Item = SiteDay>) -> Noting {
        let mut inner = locked(&self.0);
        let mut days: Vec<SiteDay> = days
            .into_iter()
            .filter(|day| !inner.noted.contains(day))
            .collect();
        days.sort_unstable();
        days.dedup();
        let deadlocks = days.iter().any(|day| inner.noting.contains_key(day));
        for day in &days {
            *inner.noting.entry(*day).or_default() += 1;
        }
        Noting {
            all: self.clone(),
            days,
            deadlocks,
        }
    }
}

/// A batch in progress and the days it is the first of.
pub(super) struct Noting {
    all: Days,
    days: Vec<SiteDay>,
    /// Another batch was at one of them already.
    pub deadlocks: bool,
}

impl Noting {
    pub fn is_first(&self) -> bool {
        !self.days.is_empty()
    }

    /// The batch was stored: its days are known from now on.
    pub fn committed(&self) {
        locked(&self.all.0).noted.extend(self.days.iter().copied());
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let mut inner = locked(&self.all.0);
        for day in &self.days {
            if let Some(count) = inner.noting.get_mut(day) {
                *count -= 1;
                if *count == 0 {
                    inner.noting.remove(day);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_first_batches_deadlocks() {
        let days = Days::default();
        let first = days.begin([(1, 5), (1, 6)]);
        assert!(first.is_first() && !first.deadlocks);
        assert!(days.begin([(1, 6)]).deadlocks);
        assert!(!days.begin([(2, 6), (1, 7)]).deadlocks);
    }

    #[test]
    fn once_a_batch_is_committed_others_run_at_will() {
        let days = Days::default();
        let first = days.begin([(1, 5)]);
        first.committed();
        drop(first);
        let second = days.begin([(1, 5)]);
        assert!(!second.is_first());
        assert!(!days.begin([(1, 5)]).deadlocks);
    }

    #[test]
    fn a_batch_that_failed_leaves_its_days_unknown() {
        let days = Days::default();
        drop(days.begin([(1, 5)]));
        let again = days.begin([(1, 5)]);
        assert!(again.is_first() && !again.deadlocks);
    }
}
