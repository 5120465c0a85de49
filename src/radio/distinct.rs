//! How many distinct listeners: exact while they are few, then estimated within 1 %.
//!
//! The estimate is a HyperLogLog with the "historic inverse probability" count: a register that changes does so
//! with a known probability, and stands for so many listeners as that chance is small. Its standard error is
//! 0.83 / sqrt(registers), less than that of the registers alone, and it needs no correction for small numbers.

use std::collections::BTreeSet;

/// Listeners that are kept one by one.
const FEW: usize = 4096;

/// 2^16 registers, 64 KiB: a standard error of 0.33 %.
pub const FINE: u32 = 16;

/// 2^18 registers, 256 KiB: a standard error of 0.16 %.
pub const FINEST: u32 = 18;

#[derive(Clone, Debug)]
pub struct Distinct {
    precision: u32,
    /// In an order that is the same in every run, and so is the estimate.
    few: BTreeSet<u64>,
    /// Empty while `few` holds them all.
    registers: Vec<u8>,
    estimate: f64,
    /// The probability that a new listener changes a register.
    chance: f64,
}

impl Distinct {
    /// `precision`: [`FINE`] or [`FINEST`].
    pub fn new(precision: u32) -> Self {
        Self {
            precision,
            few: BTreeSet::new(),
            registers: Vec::new(),
            estimate: 0.0,
            chance: 1.0,
        }
    }

    /// `listener`: anything that tells listeners apart.
    pub fn add(&mut self, listener: u64) {
        if !self.registers.is_empty() {
            self.register(listener);
            return;
        }
        self.few.insert(listener);
        if self.few.len() > FEW {
            self.registers = vec![0; 1 << self.precision];
            for listener in std::mem::take(&mut self.few) {
                self.register(listener);
            }
        }
    }

    pub fn count(&self) -> u64 {
        if self.registers.is_empty() {
            self.few.len() as u64
        } else {
            self.estimate.round() as u64
        }
    }

    fn register(&mut self, listener: u64) {
        let bits = mixed(listener);
        let register = &mut self.registers[(bits >> (64 - self.precision)) as usize];
        // The place of the first one in the bits that are left, from 1; at most 64.
        let place = ((bits << self.precision)
            .leading_zeros()
            .min(63 - self.precision)
            + 1) as u8;
        if place > *register {
            self.estimate += 1.0 / self.chance;
            let registers = f64::from(1u32 << self.precision);
            self.chance -=
                (0.5f64.powi(i32::from(*register)) - 0.5f64.powi(i32::from(place))) / registers;
            *register = place;
        }
    }
}

/// Spreads every bit over all others (the end of SplitMix64), whatever the caller's numbers are like.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(precision: u32, listeners: impl Iterator<Item = u64>) -> u64 {
        let mut distinct = Distinct::new(precision);
        listeners.for_each(|listener| distinct.add(listener));
        distinct.count()
    }

    #[test]
    fn few_are_exact() {
        assert_eq!(count(FINE, [].into_iter()), 0);
        assert_eq!(count(FINE, (0..10_000).map(|number| number % 4096)), 4096);
    }

    #[test]
    fn many_are_within_one_percent() {
        for precision in [FINE, FINEST] {
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
