//! Checksums: what tells one log from another, and a record on disk from a damaged one.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The first 64 bits of a SHA-256. Stable over versions and machines, so that it can be kept on disk; nobody who
/// writes into a log can make two beginnings that look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Checksum(u64);

impl Checksum {
    /// How many hexadecimal digits a checksum has as text.
    pub const DIGITS: usize = 16;

    pub fn of(bytes: &[u8]) -> Self {
        let whole = digest(&SHA256, bytes);
        let first = whole.as_ref().iter().take(8);
        Self(first.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Reads the text form; `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::DIGITS {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

impl TryFrom<String> for Checksum {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text.as_bytes()).ok_or("no checksum")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_beginning_of_the_sha_256() {
        // From FIPS 180-2: SHA-256("abc") = ba7816bf 8f01cfea 414140de ...
        assert_eq!(Checksum::of(b"abc").to_string(), "ba7816bf8f01cfea");
    }

    #[test]
    fn its_text_reads_back_and_nothing_else_does() {
        let sum = Checksum::of(b"a log");
        assert_eq!(Checksum::parse(sum.to_string().as_bytes()), Some(sum));
        for wrong in ["", "12", "ba7816bf8f01cfeg", "ba7816bf8f01cfea0"] {
            assert_eq!(Checksum::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
