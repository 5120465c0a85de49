//! The mount points' names, and a number for each.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Mount points that get figures of their own; a log that a stranger fills with invented ones has more.
pub const MOST: usize = 1000;

/// Bytes of the longest name that gets figures of its own.
const LONGEST_NAME: usize = 1024;

/// The number that the mount points beyond [`MOST`] share.
pub const OTHERS: u16 = MOST as u16;

/// Stands for all mount points together where figures go by number. Numbers up to it take 10 bits.
pub const ALL: u16 = OTHERS + 1;

#[derive(Debug, Default)]
pub struct Mounts {
    numbers: HashMap<Box<[u8]>, u16, RandomState>,
}

impl Mounts {
    /// The number of a mount point: below [`MOST`], or [`OTHERS`].
    pub fn number(&mut self, name: &[u8]) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.numbers.len() == MOST || name.len() > LONGEST_NAME {
            return OTHERS;
        }
        // Below `MOST`: it fits.
        let number = self.numbers.len() as u16;
        self.numbers.insert(name.into(), number);
        number
    }

    /// Number and name of each, in no order.
    pub fn names(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.numbers.iter().map(|(name, number)| (*number, &**name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_number() {
        let mut mounts = Mounts::default();
        assert_eq!(mounts.number(b"/live"), 0);
        assert_eq!(mounts.number(b"/jazz"), 1);
        assert_eq!(mounts.number(b"/live"), 0);
        assert_eq!(mounts.number(b""), 2);
    }

    #[test]
    fn too_many_names_and_too_long_ones_share_a_number() {
        let mut mounts = Mounts::default();
        assert_eq!(mounts.number(&[b'x'; LONGEST_NAME + 1]), OTHERS);
        for number in 0..MOST {
            assert_eq!(usize::from(mounts.number(&number.to_be_bytes())), number);
        }
        assert_eq!(mounts.number(b"/one more"), OTHERS);
        assert_eq!(
            mounts.number(&7usize.to_be_bytes()),
            7,
            "those that have one keep it"
        );
        assert_eq!(mounts.names().count(), MOST);
    }
}
