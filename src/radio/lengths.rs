//! The median of very many durations, estimated: a histogram whose buckets are as wide as the durations in them are
//! long.

use super::connection::LONGEST;

/// Buckets for each doubling: a duration is off by half of 1/128 at most.
const PRECISION: u32 = 7;

/// Connections by their seconds. Takes 8 KiB.
#[derive(Clone, Debug)]
pub struct Lengths {
    buckets: Vec<u32>,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            buckets: vec![0; bucket(LONGEST) + 1],
        }
    }
}

impl Lengths {
    /// `seconds`: [`LONGEST`] at most.
    pub fn add(&mut self, seconds: u64) {
        let bucket = &mut self.buckets[bucket(seconds.min(LONGEST))];
        *bucket = bucket.saturating_add(1);
    }

    /// Seconds, within 1 %; exact below 256. The mean of the two in the middle where their number is even; 0 where
    /// there are none.
    pub fn median(&self) -> f64 {
        let total: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return 0.0;
        }
        f64::midpoint(self.at((total - 1) / 2), self.at(total / 2))
    }

    /// About the duration at that place in the order of durations.
    fn at(&self, place: u64) -> f64 {
        let mut passed = 0;
        let found = self.buckets.iter().position(|count| {
            passed += u64::from(*count);
            passed > place
        });
        let number = found.unwrap_or_default();
        f64::midpoint(first_of(number) as f64, (first_of(number + 1) - 1) as f64)
    }
}

/// The bucket of a duration: one for each second up to 255, then 128 for each doubling.
fn bucket(seconds: u64) -> usize {
    let shift = seconds
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(PRECISION);
    ((shift as usize) << PRECISION) + (seconds >> shift) as usize
}

/// The shortest duration in a bucket.
fn first_of(bucket: usize) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    ((bucket - (shift << PRECISION)) as u64) << shift
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn median(durations: &[u64]) -> f64 {
        let mut lengths = Lengths::default();
        for seconds in durations {
            lengths.add(*seconds);
        }
        lengths.median()
    }

    #[test]
    fn short_durations_are_exact() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[255]), 255.0);
        assert_eq!(median(&[0, 17]), 8.5);
        assert_eq!(median(&[200, 0, 100]), 100.0);
    }

    #[test]
    fn buckets_join_without_a_gap() {
        let mut next = 0;
        for number in 0..=bucket(LONGEST) {
            assert_eq!(first_of(number), next);
            next = first_of(number + 1);
            assert_eq!(bucket(first_of(number)), number);
            assert_eq!(bucket(next - 1), number);
        }
        assert!(next > LONGEST);
    }

    proptest! {
        #[test]
        fn a_median_is_within_one_percent(mut durations in prop::collection::vec(0..=LONGEST, 1..100)) {
            let found = median(&durations);
            durations.sort_unstable();
            let last = durations.len() - 1;
            let exact = f64::midpoint(durations[last / 2] as f64, durations[last.div_ceil(2)] as f64);
            prop_assert!((found - exact).abs() <= exact * 0.01, "{found} for {exact}");
        }
    }
}
