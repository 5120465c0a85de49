//! The id of each hit (`pv_id`). If an answer is lost, Matomo is asked by it whether it has the hit
//! (guide/guarantees.md, "Hit identifiers").

/// Characters of an id: Matomo keeps six.
pub const LENGTH: usize = 6;

/// A `pv_id`.
pub type HitId = [u8; LENGTH];

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes ids. A line that is read again gets the same id, if the salt is the same.
#[derive(Clone, Copy, Debug)]
pub struct HitIdGenerator {
    salt: u64,
}

impl HitIdGenerator {
    /// `salt` is random, and kept as long as later runs need the same ids.
    pub fn new(salt: [u8; 16]) -> Self {
        let salt = u128::from_be_bytes(salt);
        Self {
            salt: mix(salt as u64) ^ (salt >> 64) as u64,
        }
    }

    /// Returns the id of a request: `position` is where its line starts in the log (bytes after
    /// decompression), and `part` numbers the requests of one line from 0.
    pub fn id(&self, log: u64, position: u64, part: u32) -> HitId {
        self.of_line(log, position).id(part)
    }

    /// Makes the ids of one line; see [`Self::id`].
    pub fn of_line(&self, log: u64, position: u64) -> LineIds {
        let fold = |state, next| mix(state ^ mix(next));
        LineIds {
            state: fold(fold(self.salt, log), position),
        }
    }
}

/// Makes the ids of the requests of one line.
#[derive(Clone, Copy, Debug)]
pub struct LineIds {
    state: u64,
}

impl LineIds {
    /// The id of the request with this number, from 0.
    pub fn id(self, part: u32) -> HitId {
        let bits = mix(self.state ^ mix(u64::from(part)));
        // The letters are digits, the lowest first. Small numbers are divided faster.
        const HALF: u64 = 62 * 62 * 62;
        let [mut low, mut high] = [bits % HALF, bits / HALF % HALF].map(|half| half as u32);
        std::array::from_fn(|index| {
            let half = if index < LENGTH / 2 {
                &mut low
            } else {
                &mut high
            };
            let letter = LETTERS[(*half % 62) as usize];
            *half /= 62;
            letter
        })
    }
}

/// Splitmix64. Never change it: a new version must make the ids of the old one.
fn mix(number: u64) -> u64 {
    finalize(number.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// The finalizer of splitmix64: makes every bit depend on all others.
pub fn finalize(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_depend_on_log_position_part_and_salt() {
        let ids = HitIdGenerator::new([7; 16]);
        let one = ids.id(1, 100, 0);
        assert_eq!(one, ids.id(1, 100, 0));
        for other in [
            ids.id(2, 100, 0),
            ids.id(1, 101, 0),
            ids.id(1, 100, 1),
            HitIdGenerator::new([8; 16]).id(1, 100, 0),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn ids_never_change() {
        let generator = HitIdGenerator::new(std::array::from_fn(|index| index as u8));
        assert_eq!(&generator.id(3, 180, 1), b"TZiQtb");
    }

    #[test]
    fn ids_of_a_batch_differ() {
        let generator = HitIdGenerator::new([42; 16]);
        let ids: HashSet<_> = (0..10_000)
            .map(|line| generator.id(3, line * 180, 0))
            .collect();
        assert_eq!(ids.len(), 10_000);
    }
}
