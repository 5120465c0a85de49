//! Figures that need all sessions at once: median durations and numbers of distinct listeners.
//!
//! They are exact up to [`MAX_EXACT`] sessions and estimated within 1 % above, so that memory stays
//! bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::session::MAX_SESSION_SECONDS;
use super::stats::{ALL, MountId};
use crate::hit_id::finalize;

/// Maximum number of sessions that are kept one by one, in 12 bytes each.
const MAX_EXACT: usize = 1_000_000;

#[derive(Debug)]
pub struct Distribution {
    collected: Collected,
    max_exact: usize,
}

#[derive(Debug)]
enum Collected {
    Exact(Vec<PackedSession>),
    /// By mount point, with an entry for [`ALL`].
    Estimated(BTreeMap<MountId, MountEstimate>),
}

/// Both halves of the listener, then 22 bits of seconds and 10 of mount point.
#[derive(Clone, Copy, Debug)]
struct PackedSession([u32; 3]);

#[derive(Debug)]
struct MountEstimate {
    durations: DurationHistogram,
    listeners: DistinctCount,
}

/// The figures of a mount point, or of [`ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MountDistribution {
    /// Seconds. The mean of the two middle values if the number of sessions is even.
    pub median: f64,
    pub listeners: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new(MAX_EXACT)
    }
}

impl Distribution {
    pub fn new(max_exact: usize) -> Self {
        Self {
            collected: Collected::Exact(Vec::new()),
            max_exact,
        }
    }

    /// Adds a session of at most [`MAX_SESSION_SECONDS`]. `listener` is a hash that identifies the
    /// listener.
    pub fn add(&mut self, mount: MountId, seconds: u64, listener: u64) {
        let session = PackedSession::new(mount, seconds, listener);
        match &mut self.collected {
            Collected::Exact(sessions) if sessions.len() < self.max_exact => sessions.push(session),
            Collected::Exact(sessions) => {
                let mut estimates = BTreeMap::new();
                for session in std::mem::take(sessions).into_iter().chain([session]) {
                    estimate(&mut estimates, session);
                }
                self.collected = Collected::Estimated(estimates);
            }
            Collected::Estimated(estimates) => estimate(estimates, session),
        }
    }

    pub fn is_estimated(&self) -> bool {
        matches!(self.collected, Collected::Estimated(_))
    }

    /// The figures of each mount point that has sessions, and of [`ALL`]. Sorts what was collected
    /// in place, because a copy would double the memory.
    pub fn figures(&mut self) -> BTreeMap<MountId, MountDistribution> {
        match &mut self.collected {
            Collected::Estimated(estimates) => estimates
                .iter()
                .map(|(mount, estimate)| (*mount, estimate.figures()))
                .collect(),
            Collected::Exact(sessions) => {
                sessions.sort_unstable_by_key(|session| session.mount());
                let mut figures: BTreeMap<_, _> = sessions
                    .chunk_by_mut(|a, b| a.mount() == b.mount())
                    .map(|sessions| (sessions[0].mount(), exact_figures(sessions)))
                    .collect();
                figures.insert(ALL, exact_figures(sessions));
                figures
            }
        }
    }
}

fn estimate(estimates: &mut BTreeMap<MountId, MountEstimate>, session: PackedSession) {
    for (mount, precision) in [
        (session.mount(), MOUNT_PRECISION),
        (ALL, ALL_MOUNTS_PRECISION),
    ] {
        let estimate = estimates.entry(mount).or_insert_with(|| MountEstimate {
            durations: DurationHistogram::default(),
            listeners: DistinctCount::new(precision),
        });
        estimate.durations.add(session.seconds());
        estimate.listeners.add(session.listener());
    }
}

fn exact_figures(sessions: &mut [PackedSession]) -> MountDistribution {
    sessions.sort_unstable_by_key(|session| session.seconds());
    let seconds = |index: usize| {
        sessions
            .get(index)
            .map_or(0.0, |session| session.seconds() as f64)
    };
    let last = sessions.len().saturating_sub(1);
    let median = f64::midpoint(seconds(last / 2), seconds(last.div_ceil(2)));
    sessions.sort_unstable_by_key(|session| session.listener());
    let listeners = sessions.chunk_by(|a, b| a.listener() == b.listener());
    MountDistribution {
        median,
        listeners: listeners.count() as u64,
    }
}

impl MountEstimate {
    fn figures(&self) -> MountDistribution {
        MountDistribution {
            median: self.durations.median(),
            listeners: self.listeners.count(),
        }
    }
}

impl PackedSession {
    fn new(mount: MountId, seconds: u64, listener: u64) -> Self {
        // `seconds` fits into 22 bits and `mount` into 10.
        Self([
            (listener >> 32) as u32,
            listener as u32,
            (seconds as u32) << 10 | u32::from(mount),
        ])
    }

    fn mount(self) -> MountId {
        (self.0[2] & 1023) as MountId
    }

    fn seconds(self) -> u64 {
        u64::from(self.0[2] >> 10)
    }

    fn listener(self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }
}

/// Buckets for each doubling of the duration, as a power of two: 128. A duration is off by at most
/// half of 1/128.
const HISTOGRAM_PRECISION: u32 = 7;

/// Sessions counted by duration, to estimate the median. Takes 8 KiB.
#[derive(Clone, Debug)]
struct DurationHistogram {
    buckets: Vec<u32>,
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; bucket(MAX_SESSION_SECONDS) + 1],
        }
    }
}

impl DurationHistogram {
    /// Adds a duration of at most [`MAX_SESSION_SECONDS`].
    fn add(&mut self, seconds: u64) {
        let count = &mut self.buckets[bucket(seconds.min(MAX_SESSION_SECONDS))];
        *count = count.saturating_add(1);
    }

    /// The median in seconds, within 1 % and exact below 256. The mean of the two middle values if
    /// their number is even; 0 without any value.
    fn median(&self) -> f64 {
        let total: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return 0.0;
        }
        f64::midpoint(self.at((total - 1) / 2), self.at(total / 2))
    }

    /// The approximate duration at this index of the sorted durations.
    fn at(&self, index: u64) -> f64 {
        let mut passed = 0;
        let bucket = self.buckets.iter().position(|count| {
            passed += u64::from(*count);
            passed > index
        });
        let bucket = bucket.unwrap_or_default();
        f64::midpoint(
            shortest_in(bucket) as f64,
            (shortest_in(bucket + 1) - 1) as f64,
        )
    }
}

/// The bucket of a duration: one for each second up to 255, then 128 for each doubling.
fn bucket(seconds: u64) -> usize {
    let shift = seconds
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(HISTOGRAM_PRECISION);
    ((shift as usize) << HISTOGRAM_PRECISION) + (seconds >> shift) as usize
}

/// The shortest duration in a bucket, in seconds.
fn shortest_in(bucket: usize) -> u64 {
    let shift = (bucket >> HISTOGRAM_PRECISION).saturating_sub(1);
    ((bucket - (shift << HISTOGRAM_PRECISION)) as u64) << shift
}

/// Maximum number of listeners that are counted exactly.
const MAX_EXACT_LISTENERS: usize = 4096;

/// 2^16 registers, 64 KiB: a standard error of 0.33 %.
const MOUNT_PRECISION: u32 = 16;

/// 2^18 registers, 256 KiB: a standard error of 0.16 %.
const ALL_MOUNTS_PRECISION: u32 = 18;

/// Counts distinct listeners: exactly while they are few, then as an estimate within 1 %.
///
/// The estimate is a HyperLogLog with the "historic inverse probability" (HIP) estimator. A
/// register changes with a known probability; each change adds the inverse of that probability to
/// the estimate. The standard error is 0.83 / sqrt(registers), less than that of the plain
/// estimator, and small counts need no correction.
#[derive(Clone, Debug)]
struct DistinctCount {
    precision: u32,
    /// Sorted, so that the estimate is the same in every run.
    exact: BTreeSet<u64>,
    /// Empty while `exact` is in use.
    registers: Vec<u8>,
    estimate: f64,
    /// The probability that a new listener changes a register.
    change_probability: f64,
}

impl DistinctCount {
    /// `precision` is the logarithm of the number of registers.
    fn new(precision: u32) -> Self {
        Self {
            precision,
            exact: BTreeSet::new(),
            registers: Vec::new(),
            estimate: 0.0,
            change_probability: 1.0,
        }
    }

    fn add(&mut self, listener: u64) {
        if !self.registers.is_empty() {
            self.update_register(listener);
            return;
        }
        self.exact.insert(listener);
        if self.exact.len() > MAX_EXACT_LISTENERS {
            self.registers = vec![0; 1 << self.precision];
            for listener in std::mem::take(&mut self.exact) {
                self.update_register(listener);
            }
        }
    }

    fn count(&self) -> u64 {
        if self.registers.is_empty() {
            self.exact.len() as u64
        } else {
            self.estimate.round() as u64
        }
    }

    fn update_register(&mut self, listener: u64) {
        // Callers may pass any numbers.
        let bits = finalize(listener);
        let register = &mut self.registers[(bits >> (64 - self.precision)) as usize];
        // The position of the first one in the other bits, from 1 to 64.
        let rank = ((bits << self.precision)
            .leading_zeros()
            .min(63 - self.precision)
            + 1) as u8;
        if rank > *register {
            self.estimate += 1.0 / self.change_probability;
            let registers = f64::from(1u32 << self.precision);
            self.change_probability -=
                (0.5f64.powi(i32::from(*register)) - 0.5f64.powi(i32::from(rank))) / registers;
            *register = rank;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stats::OTHERS;
    use super::*;

    const SESSIONS: [(MountId, u64, u64); 5] = [
        (0, 60, 7),
        (0, MAX_SESSION_SECONDS, u64::MAX),
        (0, 17, 7),
        (OTHERS, 0, u64::MAX),
        (OTHERS, 5, 1 << 32),
    ];

    #[test]
    fn a_packed_session_holds_the_largest_values() {
        let session = PackedSession::new(OTHERS, MAX_SESSION_SECONDS, u64::MAX - 1);
        assert_eq!(
            (session.mount(), session.seconds(), session.listener()),
            (OTHERS, MAX_SESSION_SECONDS, u64::MAX - 1)
        );
    }

    #[test]
    fn figures_are_by_mount_point_and_for_all() {
        for max_exact in [5, 4] {
            let mut distribution = Distribution::new(max_exact);
            for (mount, seconds, listener) in SESSIONS {
                distribution.add(mount, seconds, listener);
            }
            assert_eq!(distribution.is_estimated(), max_exact < SESSIONS.len());
            let figures = |median, listeners| MountDistribution { median, listeners };
            let expected = BTreeMap::from([
                (0, figures(60.0, 2)),
                (OTHERS, figures(2.5, 2)),
                (ALL, figures(17.0, 3)),
            ]);
            assert_eq!(distribution.figures(), expected);
            assert_eq!(distribution.figures(), expected, "the second time");
        }
    }

    fn median(durations: &[u64]) -> f64 {
        let mut histogram = DurationHistogram::default();
        for seconds in durations {
            histogram.add(*seconds);
        }
        histogram.median()
    }

    #[test]
    fn medians_of_short_durations_are_exact() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[255]), 255.0);
        assert_eq!(median(&[0, 17]), 8.5);
        assert_eq!(median(&[200, 0, 100]), 100.0);
    }

    #[test]
    fn buckets_have_no_gaps() {
        let mut next = 0;
        for number in 0..=bucket(MAX_SESSION_SECONDS) {
            assert_eq!(shortest_in(number), next);
            next = shortest_in(number + 1);
            assert_eq!(bucket(shortest_in(number)), number);
            assert_eq!(bucket(next - 1), number);
        }
        assert!(next > MAX_SESSION_SECONDS);
    }

    proptest! {
        #[test]
        fn medians_are_within_one_percent(
            mut durations in prop::collection::vec(0..=MAX_SESSION_SECONDS, 1..100),
        ) {
            let found = median(&durations);
            durations.sort_unstable();
            let middle = |index: usize| durations[index] as f64;
            let last = durations.len() - 1;
            let exact = f64::midpoint(middle(last / 2), middle(last.div_ceil(2)));
            prop_assert!((found - exact).abs() <= exact * 0.01, "{found} for {exact}");
        }
    }

    fn count(precision: u32, listeners: impl Iterator<Item = u64>) -> u64 {
        let mut distinct = DistinctCount::new(precision);
        listeners.for_each(|listener| distinct.add(listener));
        distinct.count()
    }

    #[test]
    fn few_listeners_are_counted_exactly() {
        assert_eq!(count(MOUNT_PRECISION, [].into_iter()), 0);
        let many_times = (0..10_000).map(|number| number % 4096);
        assert_eq!(count(MOUNT_PRECISION, many_times), 4096);
    }

    #[test]
    fn many_listeners_are_counted_within_one_percent() {
        for precision in [MOUNT_PRECISION, ALL_MOUNTS_PRECISION] {
            for exact in [4_097u64, 20_000, 300_000] {
                for salt in 0..3 {
                    let twice = (0..2 * exact).map(|number| number % exact);
                    let found = count(precision, twice.map(|number| number ^ (salt << 40)));
                    let error = (found as f64 / exact as f64 - 1.0).abs();
                    assert!(error < 0.01, "{found} for {exact} at {precision}");
                }
            }
        }
    }
}
