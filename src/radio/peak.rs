//! The largest number of listeners at the same time, and when: exact in bounded memory, whatever
//! the order of the sessions.
//!
//! A session adds a listener at its start and removes one at its end. These changes are kept hour
//! by hour. When they take too much memory, the hours that were changed least recently are closed:
//! only the sum of the changes and the maximum within the hour remain, for each mount point, which
//! is all that the peak depends on. A session that spans a closed hour does not affect it. One that
//! starts or ends *within* a closed hour shifts its summary, nearly always exactly. If not, the
//! summary has an upper bound above its maximum, and the peak is marked as an estimate.

use std::collections::BTreeMap;

use super::session::Session;
use super::stats::{ALL, MountId};

/// Maximum bytes of all open hours: enough for the changes of 1.5 million sessions at any times,
/// and of many more in the same seconds.
const MAX_OPEN_BYTES: usize = 24 << 20;

/// Maximum number of summaries of closed hours, of about 64 bytes each.
const MAX_SUMMARIES: usize = 150_000;

/// Seconds.
const HOUR: i64 = 3600;

/// The largest number of listeners at the same time (guide/listening.md, "Measures").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    pub listeners: u64,
    /// When the peak was first reached, in seconds since 1970, UTC. `None` if there were no
    /// listeners.
    pub at: Option<i64>,
    /// If not exact, the peak may have been higher.
    pub exact: bool,
}

impl Default for Peak {
    fn default() -> Self {
        Self {
            listeners: 0,
            at: None,
            exact: true,
        }
    }
}

#[derive(Debug)]
pub struct PeakTracker {
    /// By first hour, counted from 1970.
    spans: BTreeMap<i64, HourSpan>,
    /// Bytes of the open hours.
    open_bytes: usize,
    /// Number of summaries of the closed hours.
    summaries: usize,
    /// Number of changes so far, to order the open hours by their last change.
    clock: u64,
    max_open_bytes: usize,
    max_summaries: usize,
}

#[derive(Debug)]
enum HourSpan {
    Open(OpenHour),
    /// One or more hours: the last one, and the summaries of all.
    Closed(i64, LoadSummaries),
}

impl Default for PeakTracker {
    fn default() -> Self {
        Self::new(MAX_OPEN_BYTES, MAX_SUMMARIES)
    }
}

impl PeakTracker {
    fn new(max_open_bytes: usize, max_summaries: usize) -> Self {
        Self {
            spans: BTreeMap::new(),
            open_bytes: 0,
            summaries: 0,
            clock: 0,
            max_open_bytes,
            max_summaries,
        }
    }

    pub fn add(&mut self, mount: MountId, session: Session) {
        if session.seconds() > 0 {
            self.change(mount, session.start(), 1);
            self.change(mount, session.end(), -1);
        }
    }

    /// The peak of each mount point that had listeners, and of [`ALL`].
    pub fn peaks(&mut self) -> BTreeMap<MountId, Peak> {
        let total = self.total().into_iter();
        total
            .map(|(mount, summary)| (mount, summary.peak()))
            .collect()
    }

    fn total(&mut self) -> LoadSummaries {
        let mut total = LoadSummaries::new();
        for (first, span) in &mut self.spans {
            match span {
                HourSpan::Open(hour) => append_all(&mut total, &hour.summaries(*first)),
                HourSpan::Closed(_, summaries) => append_all(&mut total, summaries),
            }
        }
        total
    }

    fn change(&mut self, mount: MountId, time: i64, by: i64) {
        self.clock += 1;
        let hour = time.div_euclid(HOUR);
        match self.spans.range_mut(..=hour).next_back() {
            Some((_, HourSpan::Closed(last_hour, summaries))) if *last_hour >= hour => {
                self.summaries -= summaries.len();
                for mount in [mount, ALL] {
                    summaries
                        .entry(mount)
                        .and_modify(|summary| summary.shift(time, by))
                        .or_insert(LoadSummary::of_change(time, by));
                }
                self.summaries += summaries.len();
            }
            Some((first, HourSpan::Open(open))) if *first == hour => {
                self.open_bytes -= open.bytes();
                open.push(time, mount, by, self.clock);
                self.open_bytes += open.bytes();
            }
            _ => {
                let mut open = OpenHour::default();
                open.push(time, mount, by, self.clock);
                self.open_bytes += open.bytes();
                self.spans.insert(hour, HourSpan::Open(open));
            }
        }
        if self.open_bytes > self.max_open_bytes {
            self.close_hours(self.max_open_bytes / 2);
        }
        if self.summaries > self.max_summaries {
            self.merge_closed();
        }
    }

    /// Closes the least recently changed hours until the open ones take at most `max_bytes`.
    fn close_hours(&mut self, max_bytes: usize) {
        let mut open: Vec<(u64, i64)> = self
            .spans
            .iter()
            .filter_map(|(first, span)| match span {
                HourSpan::Open(hour) => Some((hour.last_change, *first)),
                HourSpan::Closed(..) => None,
            })
            .collect();
        open.sort_unstable();
        for (_, first) in open {
            if self.open_bytes <= max_bytes {
                break;
            }
            if let Some(HourSpan::Open(mut hour)) = self.spans.remove(&first) {
                self.open_bytes -= hour.bytes();
                let summaries = hour.summaries(first);
                // Empty if all changes cancel each other out.
                if !summaries.is_empty() {
                    self.summaries += summaries.len();
                    self.spans.insert(first, HourSpan::Closed(first, summaries));
                }
            }
        }
    }

    /// Merges pairs of adjacent closed spans until half of the allowed summaries are free.
    fn merge_closed(&mut self) {
        while self.summaries > self.max_summaries / 2 && self.spans.len() > 1 {
            let before = self.spans.len();
            let mut merged = BTreeMap::new();
            let mut rest = std::mem::take(&mut self.spans).into_iter().peekable();
            while let Some((first, mut span)) = rest.next() {
                let is_closed = |(_, span): &(_, HourSpan)| matches!(span, HourSpan::Closed(..));
                if let HourSpan::Closed(last_hour, summaries) = &mut span
                    && let Some((_, HourSpan::Closed(next_last, next))) = rest.next_if(is_closed)
                {
                    self.summaries -= summaries.len() + next.len();
                    append_all(summaries, &next);
                    self.summaries += summaries.len();
                    *last_hour = next_last;
                }
                merged.insert(first, span);
            }
            self.spans = merged;
            if self.spans.len() == before {
                // There are open hours between all of them.
                self.close_hours(0);
            }
        }
    }
}

/// Bytes of an open hour without its changes.
const OPEN_HOUR_BYTES: usize = 80;

/// Added to a packed change, so that it is not negative and sorts.
const CHANGE_BIAS: i64 = 512;

/// The changes of one hour.
#[derive(Debug, Default)]
struct OpenHour {
    /// Packed into 12 bits of second, 10 of mount point and 10 of change, so that a million
    /// sessions take at most 8 MB.
    changes: Vec<u32>,
    /// The clock at the last change.
    last_change: u64,
}

/// `slot` is second and mount point. `by` is from -512 to 511, so it fits into 10 bits.
fn pack_change(slot: u32, by: i64) -> u32 {
    slot << 10 | (by + CHANGE_BIAS) as u32
}

fn change_of(packed: u32) -> i64 {
    i64::from(packed & 1023) - CHANGE_BIAS
}

fn slot_of(packed: u32) -> u32 {
    packed >> 10
}

fn second_of(packed: u32) -> u32 {
    packed >> 20
}

impl OpenHour {
    fn push(&mut self, time: i64, mount: MountId, by: i64, clock: u64) {
        self.last_change = clock;
        if self.changes.len() == self.changes.capacity() {
            self.merge();
            // Grow if that freed little, or the next merge would come soon.
            if self.changes.len() > self.changes.capacity() / 4 * 3 {
                self.changes.reserve(self.changes.len());
            }
        }
        let second = time.rem_euclid(HOUR) as u32;
        self.changes
            .push(pack_change(second << 10 | u32::from(mount), by));
    }

    fn bytes(&self) -> usize {
        OPEN_HOUR_BYTES + self.changes.capacity() * size_of::<u32>()
    }

    /// Sorts the changes and adds up those of the same second and mount point.
    fn merge(&mut self) {
        self.changes.sort_unstable();
        let (mut from, mut to) = (0, 0);
        while from < self.changes.len() {
            let slot = slot_of(self.changes[from]);
            let mut sum = 0;
            while from < self.changes.len() && slot_of(self.changes[from]) == slot {
                sum += change_of(self.changes[from]);
                from += 1;
            }
            // A sum that does not fit into one entry takes several, but never more than before.
            while sum != 0 {
                let part = sum.clamp(-CHANGE_BIAS, CHANGE_BIAS - 1);
                self.changes[to] = pack_change(slot, part);
                to += 1;
                sum -= part;
            }
        }
        self.changes.truncate(to);
    }

    fn summaries(&mut self, hour: i64) -> LoadSummaries {
        self.merge();
        let mut total = LoadSummaries::new();
        for second in self.changes.chunk_by(|a, b| second_of(*a) == second_of(*b)) {
            let time = hour * HOUR + i64::from(second_of(second[0]));
            let mut add = |mount, changes: &[u32]| {
                let by = changes.iter().map(|change| change_of(*change)).sum();
                append(&mut total, mount, LoadSummary::of_change(time, by));
            };
            for changes in second.chunk_by(|a, b| slot_of(*a) == slot_of(*b)) {
                add((slot_of(changes[0]) & 1023) as MountId, changes);
            }
            add(ALL, second);
        }
        total
    }
}

/// By mount point, with an entry for [`ALL`].
type LoadSummaries = BTreeMap<MountId, LoadSummary>;

/// How the number of listeners changed over a span, counted from the number before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LoadSummary {
    /// The change over the whole span.
    net: i64,
    /// The maximum after any change.
    max: i64,
    /// When the maximum was reached, in seconds since 1970, UTC. The first time if `upper_bound` is
    /// not above `max`.
    at: i64,
    /// The real maximum is between `max` and this.
    upper_bound: i64,
}

impl LoadSummary {
    fn of_change(time: i64, by: i64) -> Self {
        Self {
            net: by,
            max: by,
            at: time,
            upper_bound: by,
        }
    }

    /// Joins a span and the one after it.
    fn then(self, next: Self) -> Self {
        let next_max = self.net + next.max;
        let (max, at) = match next_max > self.max {
            true => (next_max, next.at),
            false => (self.max, self.at),
        };
        Self {
            net: self.net + next.net,
            max,
            at,
            upper_bound: self.upper_bound.max(self.net + next.upper_bound),
        }
    }

    /// Adds a change at a moment within the span, which shifts all numbers from then on.
    ///
    /// A change before the maximum shifts the maximum as well. A listener who comes later, or
    /// before the first change, may or may not make a new maximum.
    fn shift(&mut self, time: i64, by: i64) {
        self.net += by;
        if time <= self.at {
            self.max += by;
        }
        if by > 0 {
            self.upper_bound = self.upper_bound.max(0) + by;
        }
    }

    fn peak(self) -> Peak {
        Peak {
            listeners: self.max.max(0).unsigned_abs(),
            at: (self.max > 0).then_some(self.at),
            exact: self.upper_bound <= self.max,
        }
    }
}

fn append_all(total: &mut LoadSummaries, next: &LoadSummaries) {
    for (mount, next) in next {
        append(total, *mount, *next);
    }
}

fn append(total: &mut LoadSummaries, mount: MountId, next: LoadSummary) {
    total
        .entry(mount)
        .and_modify(|summary| *summary = summary.then(next))
        .or_insert(next);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-05-14 00:00:00, UTC.
    const START: i64 = 1_715_644_800;

    /// Mount point, start counted from [`START`], and seconds of a session.
    type Listened = (MountId, i64, u64);

    fn total(tracker: &mut PeakTracker, all: &[Listened]) -> LoadSummaries {
        for (mount, start, seconds) in all {
            tracker.add(*mount, Session::new(START + start, *seconds).unwrap());
        }
        let open: usize = tracker
            .spans
            .values()
            .map(|span| match span {
                HourSpan::Open(hour) => hour.bytes(),
                HourSpan::Closed { .. } => 0,
            })
            .sum();
        assert_eq!(tracker.open_bytes, open);
        tracker.total()
    }

    /// Maximum and when it was first reached: counts the listeners at each start.
    fn plain_max(all: &[Listened], mount: Option<MountId>) -> Option<(i64, i64)> {
        let of_mount = || {
            all.iter()
                .filter(|one| mount.is_none_or(|mount| one.0 == mount) && one.2 > 0)
        };
        let at = |time: i64| {
            of_mount()
                .filter(|(_, start, seconds)| (*start..start + *seconds as i64).contains(&time))
                .count()
        };
        of_mount()
            .map(|(_, start, _)| (at(*start) as i64, START + start))
            .max_by_key(|(max, at)| (*max, -at))
    }

    fn found(summary: &LoadSummary) -> (i64, i64) {
        (summary.max, summary.at)
    }

    #[test]
    fn sessions_are_half_open() {
        let summaries = total(&mut PeakTracker::default(), &[(0, 0, 100), (0, 100, 100)]);
        assert_eq!(found(&summaries[&0]), (1, START));
        let summaries = total(&mut PeakTracker::default(), &[(0, 0, 101), (0, 100, 100)]);
        assert_eq!(found(&summaries[&0]), (2, START + 100));
    }

    #[test]
    fn sessions_of_zero_seconds_do_not_count() {
        assert!(total(&mut PeakTracker::default(), &[(0, 0, 0)]).is_empty());
    }

    #[test]
    fn the_peak_of_all_mount_points_counts_them_together() {
        let summaries = total(
            &mut PeakTracker::default(),
            &[(0, 0, 5000), (1, 4000, 5000), (1, 4000, 1), (2, 9000, 1)],
        );
        assert_eq!(found(&summaries[&ALL]), (3, START + 4000));
        assert_eq!([0, 1, 2].map(|mount| summaries[&mount].max), [1, 2, 1]);
    }

    #[test]
    fn thousands_of_changes_in_one_second_are_counted() {
        let all: Vec<Listened> = (0..5000)
            .map(|_| (7, 30, 7200))
            .chain([(7, 31, 1)])
            .collect();
        let summaries = total(&mut PeakTracker::default(), &all);
        assert_eq!(found(&summaries[&7]), (5001, START + 31));
    }

    #[test]
    fn the_memory_of_an_hour_is_bounded_by_its_seconds() {
        let mut tracker = PeakTracker::default();
        for number in 0..200_000 {
            tracker.add(0, Session::new(START + number % 1800, 900).unwrap());
        }
        let bytes = tracker.open_bytes;
        assert!(bytes < 3600 * 4 * 2 + OPEN_HOUR_BYTES, "{bytes}");
    }

    #[test]
    fn a_log_in_order_is_exact_with_few_open_hours() {
        // A listener every 20 seconds for ten days, for 10 to 40 minutes each, ordered by end.
        let mut all: Vec<Listened> = (0..43_200)
            .map(|n| ((n % 3) as MountId, n * 20, 600 + (n as u64 * 7919) % 1800))
            .collect();
        all.sort_by_key(|(_, start, seconds)| start + *seconds as i64);
        let exact = total(&mut PeakTracker::default(), &all);
        let bounded = total(&mut PeakTracker::new(8000, 60), &all);
        assert_eq!(bounded, exact);
        assert!(
            exact
                .values()
                .all(|summary| summary.upper_bound == summary.max)
        );
    }

    #[test]
    fn logs_are_exact_if_the_newest_comes_first() {
        // One file for each day. More than two files, but not all seven, fit into the open hours.
        let mut all: Vec<Listened> = (0..30_240)
            .map(|n| (0, n * 20, 600 + (n as u64 * 7919) % 9000))
            .collect();
        all.sort_by_key(|(_, start, seconds)| {
            let end = start + *seconds as i64;
            (-end.div_euclid(86_400), end)
        });
        let mut bounded = PeakTracker::new(250_000, 1000);
        let exact = total(&mut PeakTracker::default(), &all);
        assert_eq!(total(&mut bounded, &all), exact);
        assert!(bounded.summaries > 0, "no hour was closed");
    }

    #[test]
    fn memory_is_bounded() {
        let mut tracker = PeakTracker::new(10_000, 100);
        for number in 0..20_000i64 {
            let start = START + (number * 7_919_777).rem_euclid(1_000_000_000);
            let mount = (number % 50) as MountId;
            tracker.add(mount, Session::new(start, 5000).unwrap());
            assert!(tracker.open_bytes <= 10_000 && tracker.summaries <= 100);
            assert!(tracker.spans.len() <= 10_000 / OPEN_HOUR_BYTES + 100);
        }
    }

    fn sessions() -> impl Strategy<Value = Vec<Listened>> {
        prop::collection::vec((0..3 as MountId, 0..30_000i64, 0..8000u64), 1..60)
    }

    proptest! {
        #[test]
        fn peaks_equal_a_plain_calculation(all in sessions()) {
            let summaries = total(&mut PeakTracker::default(), &all);
            for mount in 0..3 {
                prop_assert_eq!(summaries.get(&mount).map(found), plain_max(&all, Some(mount)));
            }
            prop_assert_eq!(summaries.get(&ALL).map(found), plain_max(&all, None));
            prop_assert!(summaries.values().all(|summary| summary.upper_bound == summary.max));
        }

        #[test]
        fn estimates_are_marked_and_bounded(
            all in sessions(),
            max_bytes in 0..1500usize,
            max_summaries in 1..40usize,
        ) {
            let summaries = total(&mut PeakTracker::new(max_bytes, max_summaries), &all);
            for mount in [0, 1, 2, ALL] {
                let plain = plain_max(&all, (mount != ALL).then_some(mount));
                let Some((plain, _)) = plain else {
                    prop_assert!(!summaries.contains_key(&mount));
                    continue;
                };
                let summary = summaries[&mount];
                let bounds = summary.max..=summary.upper_bound;
                prop_assert!(bounds.contains(&plain), "{summary:?} for {plain}");
            }
        }

        #[test]
        fn peaks_that_are_not_marked_are_exact(
            mut all in sessions(),
            max_bytes in 300..1500usize,
        ) {
            for (.., seconds) in &mut all {
                *seconds %= 600;
            }
            all.sort_by_key(|(_, start, seconds)| start + *seconds as i64);
            let summaries = total(&mut PeakTracker::new(max_bytes, 20), &all);
            for (mount, summary) in summaries {
                if summary.upper_bound == summary.max {
                    let plain = plain_max(&all, (mount != ALL).then_some(mount));
                    prop_assert_eq!(summary.max, plain.unwrap().0);
                }
            }
        }
    }
}
