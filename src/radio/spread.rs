//! The figures that need all connections at once: the median of their durations, and how many listeners are
//! distinct. Exact to a million connections, estimated within 1 % above.

use std::collections::BTreeMap;

use super::distinct::{Distinct, FINE, FINEST};
use super::lengths::Lengths;
use super::mounts::ALL;

/// Connections that are kept one by one, in 12 bytes each.
const EXACT: usize = 1_000_000;

#[derive(Debug)]
pub struct Spread {
    kept: Kept,
    most: usize,
}

#[derive(Debug)]
enum Kept {
    Rows(Vec<Row>),
    /// By mount point, and of [`ALL`] together.
    Estimates(BTreeMap<u16, Estimate>),
}

/// A connection: the listener's two halves, then 22 bits of seconds and 10 of mount point.
#[derive(Clone, Copy, Debug)]
struct Row([u32; 3]);

#[derive(Debug)]
struct Estimate {
    lengths: Lengths,
    listeners: Distinct,
}

/// What comes of it, for a mount point or for [`ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spreading {
    /// Seconds; the mean of the two in the middle where their number is even.
    pub median: f64,
    pub listeners: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self::new(EXACT)
    }
}

impl Spread {
    pub fn new(most: usize) -> Self {
        Self {
            kept: Kept::Rows(Vec::new()),
            most,
        }
    }

    /// `seconds`: those of a connection, which take 22 bits at most.
    pub fn add(&mut self, mount: u16, seconds: u64, listener: u64) {
        let row = Row::new(mount, seconds, listener);
        match &mut self.kept {
            Kept::Rows(rows) if rows.len() < self.most => rows.push(row),
            Kept::Rows(rows) => {
                let mut estimates = BTreeMap::new();
                for row in std::mem::take(rows).into_iter().chain([row]) {
                    estimate(&mut estimates, row);
                }
                self.kept = Kept::Estimates(estimates);
            }
            Kept::Estimates(estimates) => estimate(estimates, row),
        }
    }

    pub fn is_estimated(&self) -> bool {
        matches!(self.kept, Kept::Estimates(_))
    }

    /// Of each mount point that has connections, and of [`ALL`].
    pub fn results(&mut self) -> BTreeMap<u16, Spreading> {
        match &mut self.kept {
            Kept::Estimates(estimates) => estimates
                .iter()
                .map(|(mount, estimate)| (*mount, estimate.result()))
                .collect(),
            Kept::Rows(rows) => {
                rows.sort_unstable_by_key(|row| row.mount());
                let mut results: BTreeMap<_, _> = rows
                    .chunk_by_mut(|a, b| a.mount() == b.mount())
                    .map(|rows| (rows[0].mount(), exact(rows)))
                    .collect();
                results.insert(ALL, exact(rows));
                results
            }
        }
    }
}

fn estimate(estimates: &mut BTreeMap<u16, Estimate>, row: Row) {
    for (mount, precision) in [(row.mount(), FINE), (ALL, FINEST)] {
        let estimate = estimates.entry(mount).or_insert_with(|| Estimate {
            lengths: Lengths::default(),
            listeners: Distinct::new(precision),
        });
        estimate.lengths.add(row.seconds());
        estimate.listeners.add(row.listener());
    }
}

/// Sorts in place: a copy would take as much again.
fn exact(rows: &mut [Row]) -> Spreading {
    rows.sort_unstable_by_key(|row| row.seconds());
    let at = |place: usize| rows.get(place).map_or(0.0, |row| row.seconds() as f64);
    let last = rows.len().saturating_sub(1);
    let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
    rows.sort_unstable_by_key(|row| row.listener());
    let listeners = rows.chunk_by(|a, b| a.listener() == b.listener()).count() as u64;
    Spreading { median, listeners }
}

impl Estimate {
    fn result(&self) -> Spreading {
        Spreading {
            median: self.lengths.median(),
            listeners: self.listeners.count(),
        }
    }
}

impl Row {
    fn new(mount: u16, seconds: u64, listener: u64) -> Self {
        // Halves, and what is known to be small.
        Self([
            (listener >> 32) as u32,
            listener as u32,
            (seconds as u32) << 10 | u32::from(mount),
        ])
    }

    fn mount(self) -> u16 {
        (self.0[2] & 1023) as u16
    }

    fn seconds(self) -> u64 {
        u64::from(self.0[2] >> 10)
    }

    fn listener(self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::LONGEST;
    use super::super::mounts::OTHERS;
    use super::*;

    const ROWS: [(u16, u64, u64); 5] = [
        (0, 60, 7),
        (0, LONGEST, u64::MAX),
        (0, 17, 7),
        (OTHERS, 0, u64::MAX),
        (OTHERS, 5, 1 << 32),
    ];

    #[test]
    fn a_row_holds_the_largest_numbers() {
        let row = Row::new(OTHERS, LONGEST, u64::MAX - 1);
        assert_eq!(
            (row.mount(), row.seconds(), row.listener()),
            (OTHERS, LONGEST, u64::MAX - 1)
        );
    }

    #[test]
    fn medians_and_listeners_are_found_by_mount_point_and_in_all() {
        for most in [5, 4] {
            let mut spread = Spread::new(most);
            for (mount, seconds, listener) in ROWS {
                spread.add(mount, seconds, listener);
            }
            assert_eq!(spread.is_estimated(), most < ROWS.len());
            let found = |median, listeners| Spreading { median, listeners };
            let expected = BTreeMap::from([
                (0, found(60.0, 2)),
                (OTHERS, found(2.5, 2)),
                (ALL, found(17.0, 3)),
            ]);
            assert_eq!(spread.results(), expected);
            assert_eq!(spread.results(), expected, "asking changes nothing");
        }
    }
}
