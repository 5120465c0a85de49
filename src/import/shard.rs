//! `--shard=I/N`: of the workers that read the same logs, each imports the hits of its own visitors
//! (guide/big.md, "Shards").

use std::fmt;
use std::str::FromStr;

use crate::hit_id::finalize;
use crate::radio::stable_hash;

/// One of several parts of the logs. Every line is in one of them, by its visitor.
///
/// Which one must be the same on every machine and in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `of`.
    number: u32,
    of: u32,
}

impl Shard {
    /// The largest number of shards.
    pub const MAX: u32 = 1024;

    /// Whether there are others.
    pub fn is_one_of_several(self) -> bool {
        self.of > 1
    }

    /// Whether a visitor with this [`hash`](crate::hit::HitOptions::visitor_hash) is in it.
    pub fn has_visitor(self, hash: u64) -> bool {
        finalize(hash) % u64::from(self.of) == u64::from(self.number - 1)
    }

    /// Whether a line without a visitor is in it, such as a header or an invalid line.
    pub fn has_line(self, line: &[u8]) -> bool {
        self.has_visitor(stable_hash(line.iter().copied()))
    }
}

/// Reads `I/N`.
impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| text.parse::<u32>().ok())?
        };
        let parts = text.trim().split_once('/');
        let parts = parts.and_then(|(shard, of)| Some((number(shard)?, number(of)?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) && of <= Self::MAX => {
                Ok(Self { number, of })
            }
            _ => Err(format!(
                "expected I/N, the number of this worker and that of all workers, such as 1/4: I \
                 is from 1 to N, and N at most {}",
                Self::MAX
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hit::hash_of_visitor;

    #[test]
    fn a_shard_is_a_number_of_a_number() {
        for text in ["1/1", "1/2", "2/2", "16/16", "1024/1024"] {
            assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
        }
        assert_eq!(" 01/2 ".parse::<Shard>().unwrap().to_string(), "1/2");
        for text in [
            "",
            "/",
            "1",
            "1/",
            "/2",
            "0/2",
            "3/2",
            "1/0",
            "0/0",
            "a/b",
            "1/2/3",
            "-1/2",
            "+1/2",
            "1 / 2",
            "1.0/2",
            "1/1025",
            "1/4294967296",
            "18446744073709551617/18446744073709551618",
        ] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    /// The number of the one shard that this is true for, of this many.
    #[track_caller]
    fn only(of: u32, has: impl Fn(Shard) -> bool) -> u32 {
        let shards = (1..=of).map(|number| Shard { number, of });
        let shards: Vec<u32> = shards
            .filter(|shard| has(*shard))
            .map(|it| it.number)
            .collect();
        assert_eq!(shards.len(), 1, "{shards:?} of {of}");
        shards[0]
    }

    /// Workers of different versions and machines must agree, so these never change.
    #[test]
    fn the_shard_of_a_visitor_never_changes() {
        let shards = |visitor: &str| {
            let hash = hash_of_visitor(visitor.as_bytes());
            [2, 3, 4, 16, 1024].map(|of| only(of, |shard| shard.has_visitor(hash)))
        };
        for (visitor, expected) in [
            ("203.0.113.7", [2, 1, 4, 16, 384]),
            ("203.0.113.8", [1, 1, 3, 15, 639]),
            ("2001:db8::7", [1, 2, 1, 1, 673]),
            ("ann", [1, 2, 1, 1, 385]),
            ("0123456789abcdef", [1, 3, 3, 3, 867]),
            ("", [2, 1, 4, 12, 156]),
        ] {
            assert_eq!(shards(visitor), expected, "{visitor}");
        }
        for (spelling, address) in [
            ("2001:DB8:0:0:0:0:0:7", "2001:db8::7"),
            ("2001:0db8::0007", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
        ] {
            assert_eq!(shards(spelling), shards(address), "{spelling}");
        }
        let line = |line: &[u8]| only(16, |shard| shard.has_line(line));
        assert_eq!([line(b""), line(b"#Version: 1.0")], [12, 2]);
    }

    #[test]
    fn shards_have_about_as_many_visitors() {
        for of in 2..=16 {
            let mut visitors = vec![0; of as usize];
            for number in 0..16_000_u32 {
                let address = format!("10.{}.{}.1", number / 256, number % 256);
                let hash = hash_of_visitor(address.as_bytes());
                visitors[only(of, |shard| shard.has_visitor(hash)) as usize - 1] += 1;
            }
            let even = 16_000 / of;
            let is_even = |visitors: &u32| visitors.abs_diff(even) < even / 5;
            assert!(visitors.iter().all(is_even), "{visitors:?}");
        }
    }

    proptest! {
        #[test]
        fn each_line_is_in_one_shard(
            of in 1_u32..=16, line in prop::collection::vec(any::<u8>(), 0..80), hash: u64,
        ) {
            only(of, |shard| shard.has_line(&line));
            only(of, |shard| shard.has_visitor(hash));
            only(of, |shard| shard.has_visitor(hash_of_visitor(&line)));
        }

        #[test]
        fn anything_is_a_shard_or_an_error(text in "[0-9/ +-]{0,8}", other: String) {
            for text in [text, other] {
                if let Ok(shard) = text.parse::<Shard>() {
                    prop_assert!((1..=shard.of).contains(&shard.number) && shard.of <= Shard::MAX);
                }
            }
        }
    }
}
