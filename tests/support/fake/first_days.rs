//! Deadlocks of past days: the first batch of a site and past day notes that day in a table, inside
//! its transaction.
//!
//! If two batches note the same day concurrently, they deadlock and the later one fails. A batch
//! that notes a day while another batch has hits of another past day of the site may deadlock, too.
//! In that case, Matomo swallows the error: the database rolls back the earlier hits of the batch,
//! and Matomo continues with the rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The shortest work on a batch with new days. Without it, batches would hardly ever overlap.
pub(super) const MIN_WORK: Duration = Duration::from_millis(20);

/// A site and a day (days since 1970, UTC).
pub(super) type SiteDay = (i64, i32);

/// Which days are noted, and the batches in progress.
#[derive(Clone, Default)]
pub(super) struct FirstDays(Arc<Mutex<Days>>);

#[derive(Default)]
struct Days {
    noted: HashSet<SiteDay>,
    batches: BTreeMap<u64, DayBatch>,
    begun: u64,
}

/// The past days of a batch in progress.
#[derive(Default)]
struct DayBatch {
    days: HashSet<SiteDay>,
    /// The days that it notes, with the index of the first hit of each.
    notes: HashMap<SiteDay, usize>,
    /// The number of its first hits that are rolled back.
    lost: usize,
}

impl DayBatch {
    /// Overlaps with a batch that has these days. Returns whether a note of this batch fails.
    fn meet(&mut self, days: &HashSet<SiteDay>) -> bool {
        let other = |(site, day): &SiteDay| days.iter().any(|d| d.0 == *site && d.1 != *day);
        let failed = self.notes.iter().filter(|(day, _)| other(day));
        // The last note that fails rolls back everything before it.
        let lost = failed.map(|(_, place)| place + 1).max();
        self.lost = self.lost.max(lost.unwrap_or(0));
        lost.is_some()
    }
}

impl FirstDays {
    /// Begins a batch. `days` are the indices and past days of its hits. It notes the days that no
    /// batch has committed yet.
    pub fn begin(&self, days: impl IntoIterator<Item = (usize, SiteDay)>) -> Noting {
        let mut all = self.0.lock().unwrap();
        let all = &mut *all;
        let mut batch = DayBatch::default();
        for (place, day) in days {
            batch.days.insert(day);
            if !all.noted.contains(&day) {
                batch.notes.entry(day).or_insert(place);
            }
        }
        let mut deadlocks = false;
        for other in all.batches.values_mut() {
            deadlocks |= batch.notes.keys().any(|day| other.notes.contains_key(day));
            // Only one of the two is rolled back.
            if !batch.meet(&other.days) {
                other.meet(&batch.days);
            }
        }
        all.begun += 1;
        let is_first = !batch.notes.is_empty();
        all.batches.insert(all.begun, batch);
        Noting {
            all: self.clone(),
            number: all.begun,
            is_first,
            deadlocks,
        }
    }
}

/// A batch in progress.
pub(super) struct Noting {
    all: FirstDays,
    number: u64,
    /// It notes a day.
    pub is_first: bool,
    /// Another batch is noting one of its days.
    pub deadlocks: bool,
}

impl Noting {
    /// The number of its first hits that are lost so far.
    pub fn lost(&self) -> usize {
        self.all.0.lock().unwrap().batches[&self.number].lost
    }

    /// Marks the batch as stored.
    pub fn committed(&self) {
        let mut all = self.all.0.lock().unwrap();
        let all = &mut *all;
        all.noted.extend(all.batches[&self.number].notes.keys());
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.all.0.lock().unwrap().batches.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(days: &FirstDays, of_hits: &[SiteDay]) -> Noting {
        days.begin(of_hits.iter().copied().enumerate())
    }

    #[test]
    fn the_later_of_two_first_batches_deadlocks() {
        let days = FirstDays::default();
        let first = begin(&days, &[(1, 5), (1, 6)]);
        assert!(first.is_first && !first.deadlocks);
        assert!(begin(&days, &[(1, 6)]).deadlocks);
        assert!(!begin(&days, &[(2, 6), (1, 7)]).deadlocks);
    }

    #[test]
    fn committed_days_do_not_deadlock() {
        let days = FirstDays::default();
        let first = begin(&days, &[(1, 5)]);
        first.committed();
        drop(first);
        let second = begin(&days, &[(1, 5)]);
        assert!(!second.is_first);
        assert!(!begin(&days, &[(1, 5)]).deadlocks);
    }

    #[test]
    fn a_failed_batch_leaves_its_days_new() {
        let days = FirstDays::default();
        drop(begin(&days, &[(1, 5)]));
        let again = begin(&days, &[(1, 5)]);
        assert!(again.is_first && !again.deadlocks);
    }

    #[test]
    fn a_note_during_another_day_of_the_site_loses_earlier_hits() {
        let days = FirstDays::default();
        let first = begin(&days, &[(1, 5)]);
        // The hit that makes the note, and everything before it.
        assert_eq!(begin(&days, &[(1, 6), (1, 6)]).lost(), 1);
        assert_eq!(begin(&days, &[(2, 6), (2, 6), (1, 6), (1, 7)]).lost(), 4);
        // The same day and another site lose nothing.
        assert_eq!(begin(&days, &[(1, 5)]).lost(), 0);
        assert_eq!(begin(&days, &[(2, 6)]).lost(), 0);
        assert_eq!(first.lost(), 0);
    }

    #[test]
    fn only_one_of_two_concurrent_batches_loses_hits() {
        let days = FirstDays::default();
        let noted = begin(&days, &[(1, 5), (1, 6)]);
        noted.committed();
        drop(noted);
        let earlier = begin(&days, &[(1, 5)]);
        let later = begin(&days, &[(1, 6)]);
        assert_eq!((earlier.lost(), later.lost()), (0, 0));
        drop(later);
        assert_eq!(begin(&days, &[(1, 5), (1, 7)]).lost(), 2);
        assert_eq!(earlier.lost(), 0);
        // The later one makes no note.
        let earlier = begin(&days, &[(1, 8)]);
        assert_eq!((begin(&days, &[(1, 6)]).lost(), earlier.lost()), (0, 1));
    }
}
