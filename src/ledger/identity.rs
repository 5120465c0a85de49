//! Identity: which log a file is, whatever its name by now.
//!
//! A log is known by its content: a checksum of its first KiB (of as many bytes as there were, when it was shorter) and
//! one of the bytes just before the furthest position read. Every byte of which anything is claimed stands before that
//! position, so a log that was cut off, or another one that begins alike, cannot be taken for it. Device, inode and
//! birth only say which of several candidates comes first, and stand in for the content of a log that was still empty.
//!
//! A copy of a log (and a packed one is no more than that) has the same content, so it is the same log.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::file_id::FileId;
use super::path_text::PathText;
use super::probe::Unpacked;

/// How many bytes the two checksums of a log are made of, at most.
pub const SAMPLE: usize = 1024;

/// The checksum of a log's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Of how many bytes.
    pub length: usize,
    checksum: Checksum,
}

impl Head {
    /// Of the beginning of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(SAMPLE)];
        Self {
            length: bytes.len(),
            checksum: Checksum::of(bytes),
        }
    }
}

/// The first bytes of a file, to be held against many heads; nearly all of them have one length.
#[derive(Debug)]
pub struct Beginning<'a> {
    bytes: &'a [u8],
    checksums: HashMap<usize, Checksum>,
}

impl<'a> Beginning<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        let checksums = HashMap::new();
        Self { bytes, checksums }
    }

    /// Whether the log with that head can be this file. One that grew since has more bytes than its head.
    pub fn fits(&mut self, head: &Head) -> bool {
        let Some(bytes) = self.bytes.get(..head.length) else {
            return false;
        };
        let checksum = self.checksums.entry(head.length);
        *checksum.or_insert_with(|| Checksum::of(bytes)) == head.checksum
    }
}

/// How far a log was read, and the checksum of the bytes just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// In unpacked bytes.
    pub position: u64,
    length: usize,
    checksum: Checksum,
}

impl Tail {
    /// At that position, with (at least some of) the bytes just before it.
    pub fn at(position: u64, before: &[u8]) -> Self {
        let most = usize::try_from(position).unwrap_or(SAMPLE).min(SAMPLE);
        let before = &before[before.len().saturating_sub(most)..];
        Self {
            position,
            length: before.len(),
            checksum: Checksum::of(before),
        }
    }

    pub fn fits(&self, log: &mut dyn Unpacked) -> io::Result<bool> {
        // What is on disk may be damaged; nothing that long was ever written.
        if self.length > SAMPLE {
            return Ok(false);
        }
        let mut before = vec![0; self.length];
        let start = self.position.saturating_sub(self.length as u64);
        let count = log.read_at(start, &mut before)?;
        Ok(count == before.len() && Checksum::of(&before) == self.checksum)
    }
}

/// What is remembered of a log, but for what is done of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// For which target (see [`super::TargetKey`]).
    pub target: Checksum,
    /// Where it was last seen; for messages, and to find it again after a crash.
    pub path: PathText,
    pub file: FileId,
    pub head: Head,
    /// When it was last seen: seconds since 1970 (UTC).
    pub seen: u64,
    /// Where `file`, as it is described here, ends (in unpacked bytes), once it was found done to its end.
    pub end: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_fits_the_log_that_grew_and_no_other() {
        let head = Head::of(b"first line\n");
        assert!(Beginning::of(b"first line\nsecond line\n").fits(&head));
        assert!(!Beginning::of(b"first li").fits(&head));
        assert!(!Beginning::of(b"First line\nsecond line\n").fits(&head));
        assert_eq!(Head::of(&[b'x'; 5000]), Head::of(&[b'x'; SAMPLE]));
    }

    #[test]
    fn a_tail_fits_while_the_bytes_before_it_are_there_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let fits = |tail: &Tail, content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let mut file = std::fs::File::open(&path).unwrap();
            tail.fits(&mut file).unwrap()
        };
        let long = vec![b'y'; 3000];
        let tail = Tail::at(2500, &long[..2500]);
        assert!(fits(&tail, &long) && fits(&tail, &long[..2500]));
        assert!(!fits(&tail, &long[..2499]) && !fits(&tail, b""));
        let mut changed = long.clone();
        changed[2499] = b'z';
        assert!(!fits(&tail, &changed));
    }
}
