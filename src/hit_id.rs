//! The mark of each hit (`pv_id`): by it Matomo can be asked, after an answer was lost, whether it has the hit.

/// Matomo keeps six characters.
pub const LENGTH: usize = 6;

/// A `pv_id`.
pub type HitId = [u8; LENGTH];

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes marks that are the same whenever the same line is read again under the same salt.
#[derive(Clone, Copy, Debug)]
pub struct HitIdGenerator {
    salt: u64,
}

impl HitIdGenerator {
    /// `salt`: random, and kept wherever a later run must find the same marks.
    pub fn new(salt: [u8; 16]) -> Self {
        let salt = u128::from_be_bytes(salt);
        Self {
            salt: mixed(salt as u64) ^ (salt >> 64) as u64,
        }
    }

    /// The mark of a line's request: of the log, of the line's place in it (unpacked bytes), and of which request
    /// of the line it is.
    pub fn mark(&self, log: u64, position: u64, part: u32) -> HitId {
        let mut bits = [log, position, u64::from(part)]
            .into_iter()
            .fold(self.salt, |state, next| mixed(state ^ mixed(next)));
        std::array::from_fn(|_| {
            let letter = LETTERS[(bits % 62) as usize];
            bits /= 62;
            letter
        })
    }
}

/// The finisher of splitmix64: each bit of the number sways all bits of the result. It never changes, as marks must
/// not change between two versions of this program.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn marks_differ_by_log_place_part_and_salt() {
        let marker = HitIdGenerator::new([7; 16]);
        let one = marker.mark(1, 100, 0);
        assert_eq!(one, marker.mark(1, 100, 0));
        for other in [
            marker.mark(2, 100, 0),
            marker.mark(1, 101, 0),
            marker.mark(1, 100, 1),
            HitIdGenerator::new([8; 16]).mark(1, 100, 0),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn marks_of_a_batch_do_not_collide() {
        let marker = HitIdGenerator::new([42; 16]);
        let marks: HashSet<_> = (0..10_000)
            .map(|place| marker.mark(3, place * 180, 0))
            .collect();
        assert_eq!(marks.len(), 10_000);
    }
}
