//! The changes of one hour that is open, each in four bytes.

use super::HOUR;
use super::summary::{Summaries, Summary, append_one};
use crate::radio::mounts::ALL;

/// Bytes that an open hour takes beside its changes.
pub const OPEN_HOUR: usize = 80;

/// The changes of one hour.
#[derive(Debug, Default)]
pub struct Hour {
    /// Packed, so that a million connections take no more than 8 MB: 12 bits of second, 10 of mount point, 10 of
    /// change.
    changes: Vec<u32>,
    /// The clock when it was last touched.
    pub touched: u64,
}

/// The change is packed with this added, so that it sorts and never is negative.
const BIAS: i64 = 512;

fn packed(place: u32, by: i64) -> u32 {
    // From 0 to 1023: it fits.
    place << 10 | (by + BIAS) as u32
}

fn change_of(packed: u32) -> i64 {
    i64::from(packed & 1023) - BIAS
}

/// Second and mount point.
fn place_of(packed: u32) -> u32 {
    packed >> 10
}

impl Hour {
    pub fn push(&mut self, time: i64, mount: u16, by: i64, clock: u64) {
        self.touched = clock;
        if self.changes.len() == self.changes.capacity() {
            self.merge();
            // Little was won: the next time shall not come soon.
            if self.changes.len() > self.changes.capacity() / 4 * 3 {
                self.changes.reserve(self.changes.len());
            }
        }
        // Below 3600: it fits.
        let second = time.rem_euclid(HOUR) as u32;
        self.changes
            .push(packed(second << 10 | u32::from(mount), by));
    }

    pub fn bytes(&self) -> usize {
        OPEN_HOUR + self.changes.capacity() * size_of::<u32>()
    }

    /// Sorts by second and mount point, and makes one of the changes that share both.
    fn merge(&mut self) {
        self.changes.sort_unstable();
        let (mut from, mut to) = (0, 0);
        while from < self.changes.len() {
            let place = place_of(self.changes[from]);
            let mut sum = 0;
            while from < self.changes.len() && place_of(self.changes[from]) == place {
                sum += change_of(self.changes[from]);
                from += 1;
            }
            // What one entry cannot hold takes several: never more than there were.
            while sum != 0 {
                let part = sum.clamp(-BIAS, BIAS - 1);
                self.changes[to] = packed(place, part);
                to += 1;
                sum -= part;
            }
        }
        self.changes.truncate(to);
    }

    pub fn summaries(&mut self, hour: i64) -> Summaries {
        self.merge();
        let mut total = Summaries::new();
        for second in self.changes.chunk_by(|a, b| a >> 20 == b >> 20) {
            let time = hour * HOUR + i64::from(second[0] >> 20);
            let mut add = |mount, changes: &[u32]| {
                let by = changes.iter().map(|change| change_of(*change)).sum();
                append_one(&mut total, mount, Summary::change(time, by));
            };
            for changes in second.chunk_by(|a, b| place_of(*a) == place_of(*b)) {
                add((place_of(changes[0]) & 1023) as u16, changes);
            }
            add(ALL, second);
        }
        total
    }
}
