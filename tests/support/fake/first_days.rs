//! The deadlock of first days: the first batch of a site and past day notes it in a table, inside
//! its transaction, and two batches that do so at once deadlock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The shortest work on a batch with new days. Otherwise batches would hardly ever overlap.
pub(super) const MIN_WORK: Duration = Duration::from_millis(20);

/// A site and a day (days since 1970, UTC).
pub(super) type SiteDay = (i64, i32);

/// Which days are noted, and which are being noted.
#[derive(Clone, Default)]
pub(super) struct FirstDays(Arc<Mutex<Days>>);

#[derive(Default)]
struct Days {
    noted: HashSet<SiteDay>,
    /// With the number of batches that note them.
    noting: HashMap<SiteDay, usize>,
}

impl FirstDays {
    /// A batch with these past days begins. It notes those that no batch has committed yet.
    pub fn begin(&self, days: impl IntoIterator<Item = SiteDay>) -> Noting {
        let mut all = self.0.lock().unwrap();
        let mut days: Vec<SiteDay> = days
            .into_iter()
            .filter(|day| !all.noted.contains(day))
            .collect();
        days.sort_unstable();
        days.dedup();
        let deadlocks = days.iter().any(|day| all.noting.contains_key(day));
        for day in &days {
            *all.noting.entry(*day).or_default() += 1;
        }
        Noting {
            all: self.clone(),
            days,
            deadlocks,
        }
    }
}

/// A batch in progress, and the days that it notes.
pub(super) struct Noting {
    all: FirstDays,
    days: Vec<SiteDay>,
    /// Another batch is noting one of them.
    pub deadlocks: bool,
}

impl Noting {
    pub fn is_first(&self) -> bool {
        !self.days.is_empty()
    }

    /// The batch was stored.
    pub fn committed(&self) {
        let mut all = self.all.0.lock().unwrap();
        all.noted.extend(self.days.iter().copied());
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap();
        for day in &self.days {
            if let Some(count) = all.noting.get_mut(day) {
                *count -= 1;
                if *count == 0 {
                    all.noting.remove(day);
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
        let days = FirstDays::default();
        let first = days.begin([(1, 5), (1, 6)]);
        assert!(first.is_first() && !first.deadlocks);
        assert!(days.begin([(1, 6)]).deadlocks);
        assert!(!days.begin([(2, 6), (1, 7)]).deadlocks);
    }

    #[test]
    fn committed_days_do_not_deadlock() {
        let days = FirstDays::default();
        let first = days.begin([(1, 5)]);
        first.committed();
        drop(first);
        let second = days.begin([(1, 5)]);
        assert!(!second.is_first());
        assert!(!days.begin([(1, 5)]).deadlocks);
    }

    #[test]
    fn a_failed_batch_leaves_its_days_new() {
        let days = FirstDays::default();
        drop(days.begin([(1, 5)]));
        let again = days.begin([(1, 5)]);
        assert!(again.is_first() && !again.deadlocks);
    }
}
