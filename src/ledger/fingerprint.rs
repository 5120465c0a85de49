//! Fingerprints: how a log is recognized, whatever its name (guide/guarantees.md, "Fingerprints").
//!
//! A log has two checksums: one of its first KiB (of all its bytes, if it was shorter), and one of
//! the bytes just before the furthest position read. Everything the ledger claims about a log lies
//! before that position, so a truncated log, or another log with the same beginning, is not
//! mistaken for it. Device, inode and birth time only decide which candidate is compared first.
//! They identify a log by themselves only while it is empty.
//!
//! A copy of a log has the same content, compressed or not, so it is the same log.
//!
//! Samples at growing positions, one for each power of two, recognize a file that is shorter than
//! the log: a copy of its beginning.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::lookup::ReadAt;
use super::state::LogId;

/// The most bytes a checksum of a log covers.
pub const MAX_SAMPLE_BYTES: usize = 1024;

/// What identifies a log, and where it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The checksum of the target, see [`super::TargetKey`].
    pub target: Checksum,
    /// Where the log was last seen: for messages, and to find it again after a crash.
    pub path: PathText,
    pub file: FileId,
    pub head: HeadChecksum,
    /// When the log was last seen, in seconds since 1970 (UTC).
    pub seen: u64,
    /// The length of `file` in decompressed bytes, if it is known. All its lines are done if those
    /// before this position are.
    pub end: Option<u64>,
}

/// The first 64 bits of a SHA-256.
///
/// It is the same on all machines and in all versions, so it may be stored. A cryptographic hash
/// prevents those who write to a log from making two logs look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Checksum(u64);

impl Checksum {
    pub const HEX_DIGITS: usize = 16;

    pub fn of(bytes: &[u8]) -> Self {
        let whole = digest(&SHA256, bytes);
        let first = whole.as_ref().iter().take(8);
        Self(first.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// Reads the text form, or returns `None` if the text is not a checksum.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::HEX_DIGITS {
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
        Self::parse(text.as_bytes()).ok_or("not a checksum")
    }
}

/// A path as text that keeps every byte: `%` and bytes that are not UTF-8 are written as `%XX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct PathText(pub PathBuf);

impl From<PathText> for String {
    fn from(path: PathText) -> Self {
        let mut text = String::new();
        for chunk in path.0.as_os_str().as_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('%', "%25"));
            for byte in chunk.invalid() {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    }
}

impl From<String> for PathText {
    fn from(text: String) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            let escaped = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            let (byte, left) = match escaped {
                Some(byte) if first == b'%' => (byte, &after[2..]),
                _ => (first, after),
            };
            bytes.push(byte);
            rest = left;
        }
        Self(OsString::from_vec(bytes).into())
    }
}

/// What the file system says about a file. Two equal ones have the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    /// Bytes on disk, compressed if the file is.
    pub size: u64,
    /// The last modification: seconds since 1970 (UTC), and nanoseconds.
    pub modified: (i64, i64),
    /// The birth time in the same units, if the file system records it. It tells a file from a
    /// later one with the same inode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<(i64, i64)>,
}

impl FileId {
    /// Whether both are the same file, modified in between or not.
    pub fn is_same_file(&self, other: &FileId) -> bool {
        let same_birth = match (self.born, other.born) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        (self.device, self.inode) == (other.device, other.inode) && same_birth
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            born: metadata.created().ok().map(since_1970),
        }
    }
}

/// Seconds and nanoseconds, both negative before 1970.
fn since_1970(time: SystemTime) -> (i64, i64) {
    let (since, sign) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after, 1),
        Err(before) => (before.duration(), -1),
    };
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (sign * seconds, sign * i64::from(since.subsec_nanos()))
}

/// The checksum of a log's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadChecksum {
    /// How many bytes it covers.
    pub length: usize,
    checksum: Checksum,
}

impl HeadChecksum {
    /// The checksum of at most [`MAX_SAMPLE_BYTES`] from the beginning of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(MAX_SAMPLE_BYTES)];
        Self {
            length: bytes.len(),
            checksum: Checksum::of(bytes),
        }
    }
}

/// Compares the first bytes of one file with the heads of many logs. Nearly all heads have the same
/// length, so the checksum of each length is computed once.
#[derive(Debug)]
pub struct HeadMatcher<'a> {
    bytes: &'a [u8],
    checksums: HashMap<usize, Checksum>,
}

impl<'a> HeadMatcher<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            checksums: HashMap::new(),
        }
    }

    /// Whether the file begins like the log with that head. It may have grown since.
    pub fn matches(&mut self, head: &HeadChecksum) -> bool {
        self.checksum(head.length) == Some(head.checksum)
    }

    /// The checksum of the first bytes. `None` if there are not so many.
    fn checksum(&mut self, length: usize) -> Option<Checksum> {
        let bytes = self.bytes.get(..length)?;
        let checksum = self.checksums.entry(length);
        Some(*checksum.or_insert_with(|| Checksum::of(bytes)))
    }
}

/// The furthest position read in a log, and the checksum of the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailChecksum {
    /// In decompressed bytes.
    pub position: u64,
    length: usize,
    checksum: Checksum,
}

impl TailChecksum {
    /// The checksum at `position`, where `before` ends with the bytes just before it.
    pub fn new(position: u64, before: &[u8]) -> Self {
        let most = usize::try_from(position)
            .unwrap_or(MAX_SAMPLE_BYTES)
            .min(MAX_SAMPLE_BYTES);
        let before = &before[before.len().saturating_sub(most)..];
        Self {
            position,
            length: before.len(),
            checksum: Checksum::of(before),
        }
    }

    /// Whether `log` has the same bytes before the position.
    pub fn matches(&self, log: &mut dyn ReadAt) -> io::Result<bool> {
        // Only a damaged ledger has longer ones.
        if self.length > MAX_SAMPLE_BYTES {
            return Ok(false);
        }
        let mut before = vec![0; self.length];
        let start = self.position.saturating_sub(self.length as u64);
        let count = log.read_at(start, &mut before)?;
        Ok(count == before.len() && Checksum::of(&before) == self.checksum)
    }
}

/// Checksums of the bytes before the positions 32, 64, 128 and so on, each of at most
/// [`MAX_SAMPLE_BYTES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples(Vec<Option<Checksum>>);

impl Samples {
    const FIRST: u64 = 32;

    /// Adds those of `other` that are missing here.
    pub fn extend(&mut self, other: &Self) {
        let missing = other.0.len().saturating_sub(self.0.len());
        self.0.extend(std::iter::repeat_n(None, missing));
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = mine.or(*theirs);
        }
    }

    /// Takes the samples in a block that begins at `start` and comes after the bytes of `before`.
    fn add(&mut self, start: u64, block: &[u8], before: &[u8]) {
        let end = start.saturating_add(block.len() as u64);
        for (index, position) in Self::positions() {
            if position > end {
                break;
            }
            if position <= start {
                continue;
            }
            let inside = &block[..(position - start) as usize];
            let wanted = Self::length(position);
            let outside = wanted.saturating_sub(inside.len());
            let Some(outside) = before
                .len()
                .checked_sub(outside)
                .map(|from| &before[from..])
            else {
                continue;
            };
            let inside = &inside[inside.len().saturating_sub(wanted)..];
            let checksum = Checksum::of(&[outside, inside].concat());
            if self.0.len() <= index {
                self.0.resize(index + 1, None);
            }
            self.0[index] = Some(checksum);
        }
    }

    /// Whether the last sample in the first bytes of a file, at most [`MAX_SAMPLE_BYTES`], matches.
    /// Returns `false` without a sample.
    pub fn match_beginning(&self, beginning: &mut HeadMatcher) -> bool {
        let length = beginning.bytes.len() as u64;
        let samples = Self::positions().zip(&self.0);
        let mut inside = samples.take_while(|((_, position), _)| *position <= length);
        let last = inside
            .by_ref()
            .filter_map(|((_, at), sum)| Some((at, (*sum)?)));
        last.last()
            .is_some_and(|(at, sum)| beginning.checksum(at as usize) == Some(sum))
    }

    /// The position of the last sample in a file of this length, if it matches.
    pub fn last_match(&self, file: &mut dyn ReadAt, length: u64) -> io::Result<Option<u64>> {
        let samples = Self::positions().zip(&self.0);
        let inside = samples.take_while(|((_, position), _)| *position <= length);
        let last = inside
            .filter_map(|((_, at), sum)| Some((at, (*sum)?)))
            .last();
        let Some((position, checksum)) = last else {
            return Ok(None);
        };
        let mut bytes = vec![0; Self::length(position)];
        let count = file.read_at(position - bytes.len() as u64, &mut bytes)?;
        Ok((count == bytes.len() && Checksum::of(&bytes) == checksum).then_some(position))
    }

    /// How many bytes the sample at a position covers.
    fn length(position: u64) -> usize {
        usize::try_from(position).map_or(MAX_SAMPLE_BYTES, |it| it.min(MAX_SAMPLE_BYTES))
    }

    fn positions() -> impl Iterator<Item = (usize, u64)> {
        let positions = std::iter::successors(Some(Self::FIRST), |it| it.checked_mul(2));
        positions.enumerate()
    }
}

/// The checksums of what was read of a log.
#[derive(Debug)]
pub struct ReadChecksums {
    pub tail: TailChecksum,
    /// If it grew.
    pub head: Option<HeadChecksum>,
    /// New ones.
    pub samples: Samples,
}

/// Follows the blocks read from one log, to update its head and tail checksums.
#[derive(Debug)]
pub struct ChecksumTracker {
    pub log: LogId,
    /// The beginning of the log without gaps, up to [`MAX_SAMPLE_BYTES`].
    head: Vec<u8>,
    head_grew: bool,
    /// At most [`MAX_SAMPLE_BYTES`] before `position`.
    tail: Vec<u8>,
    position: u64,
    moved: bool,
    samples: Samples,
}

impl ChecksumTracker {
    /// `beginning` holds the first bytes of the log that are known so far.
    pub fn new(log: LogId, beginning: Vec<u8>) -> Self {
        Self {
            log,
            head: beginning,
            head_grew: false,
            tail: Vec::new(),
            position: 0,
            moved: false,
            samples: Samples::default(),
        }
    }

    /// Adds a block that begins at position `start`.
    pub fn add(&mut self, start: u64, block: &[u8]) {
        if self.head.len() < MAX_SAMPLE_BYTES
            && let Some(known) = (self.head.len() as u64).checked_sub(start)
            && let Some(new) = block.get(known as usize..)
            && !new.is_empty()
        {
            let room = MAX_SAMPLE_BYTES - self.head.len();
            self.head.extend_from_slice(&new[..new.len().min(room)]);
            self.head_grew = true;
        }
        if start != self.position {
            self.tail.clear();
        }
        self.samples.add(start, block, &self.tail);
        let last = &block[block.len().saturating_sub(MAX_SAMPLE_BYTES)..];
        let kept = self.tail.len().min(MAX_SAMPLE_BYTES - last.len());
        self.tail.drain(..self.tail.len() - kept);
        self.tail.extend_from_slice(last);
        self.position = start.saturating_add(block.len() as u64);
        self.moved |= !block.is_empty();
    }

    /// What changed since the last call. Returns `None` if nothing was read.
    pub fn take_changes(&mut self) -> Option<ReadChecksums> {
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        let grew = std::mem::take(&mut self.head_grew);
        let tail = TailChecksum::new(self.position, &self.tail);
        Some(ReadChecksums {
            tail,
            head: grew.then(|| HeadChecksum::of(&self.head)),
            samples: std::mem::take(&mut self.samples),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_checksum_is_the_beginning_of_the_sha_256() {
        // From FIPS 180-2: SHA-256("abc") = ba7816bf 8f01cfea 414140de ...
        assert_eq!(Checksum::of(b"abc").to_string(), "ba7816bf8f01cfea");
    }

    #[test]
    fn only_checksums_are_parsed() {
        let sum = Checksum::of(b"a log");
        assert_eq!(Checksum::parse(sum.to_string().as_bytes()), Some(sum));
        for wrong in ["", "12", "ba7816bf8f01cfeg", "ba7816bf8f01cfea0"] {
            assert_eq!(Checksum::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_reused_inode_is_another_file() {
        let born = |born| FileId {
            device: 1,
            inode: 2,
            size: 0,
            modified: (0, 0),
            born,
        };
        let (old, new) = (born(Some((5, 0))), born(Some((5, 1))));
        assert!(old.is_same_file(&FileId { size: 9, ..old }));
        assert!(!old.is_same_file(&new));
        assert!(old.is_same_file(&born(None)) && born(None).is_same_file(&new));
    }

    #[test]
    fn a_head_matches_the_log_after_it_grew_and_no_other_log() {
        let head = HeadChecksum::of(b"first line\n");
        let matches = |bytes: &[u8]| HeadMatcher::new(bytes).matches(&head);
        assert!(matches(b"first line\nsecond line\n"));
        assert!(!matches(b"first li"));
        assert!(!matches(b"First line\nsecond line\n"));
        assert_eq!(
            HeadChecksum::of(&[b'x'; 5000]),
            HeadChecksum::of(&[b'x'; MAX_SAMPLE_BYTES])
        );
    }

    #[test]
    fn a_tail_matches_while_the_bytes_before_it_are_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let matches = |tail: &TailChecksum, content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let mut file = std::fs::File::open(&path).unwrap();
            tail.matches(&mut file).unwrap()
        };
        let long = vec![b'y'; 3000];
        let tail = TailChecksum::new(2500, &long[..2500]);
        assert!(matches(&tail, &long) && matches(&tail, &long[..2500]));
        assert!(!matches(&tail, &long[..2499]) && !matches(&tail, b""));
        let mut changed = long.clone();
        changed[2499] = b'z';
        assert!(!matches(&tail, &changed));
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_give_the_checksums_of_the_whole(
            log in prop::collection::vec(any::<u8>(), 1..5000),
            sizes in prop::collection::vec(1_usize..1500, 1..40),
            known in 0_usize..1100,
        ) {
            let known = known.min(log.len()).min(MAX_SAMPLE_BYTES);
            let mut tracker = ChecksumTracker::new(LogId(1), log[..known].to_vec());
            let mut start = 0;
            for size in sizes {
                let end = (start + size).min(log.len());
                tracker.add(start as u64, &log[start..end]);
                start = end;
            }
            let grew = start > known && known < MAX_SAMPLE_BYTES;
            let head = grew.then(|| HeadChecksum::of(&log[..start]));
            let tail = TailChecksum::new(start as u64, &log[..start]);
            let read = tracker.take_changes().unwrap();
            prop_assert_eq!((read.tail, read.head), (tail, head));
            prop_assert!(tracker.take_changes().is_none());
            let mut whole = Samples::default();
            whole.add(0, &log[..start], &[]);
            prop_assert_eq!(&read.samples, &whole);
            let length = start as u64;
            let last = (length >= 32).then(|| 1 << length.ilog2());
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &log).unwrap();
            prop_assert_eq!(whole.last_match(&mut file, length).unwrap(), last);
            let beginning = &log[..start.min(MAX_SAMPLE_BYTES)];
            prop_assert_eq!(whole.match_beginning(&mut HeadMatcher::new(beginning)), last.is_some());
        }

        #[test]
        fn any_path_reads_back(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            let text = String::from(PathText(path.clone()));
            prop_assert_eq!(PathText::from(text).0, path);
        }

        #[test]
        fn any_text_reads_as_a_path(text in "[%0-9A-Fa-f\u{e9}/]{0,20}") {
            let path = PathText::from(text);
            prop_assert_eq!(PathText::from(String::from(path.clone())), path);
        }
    }

    #[test]
    fn reading_from_the_middle_leaves_the_head_unchanged() {
        let mut tracker = ChecksumTracker::new(LogId(1), b"abc".to_vec());
        tracker.add(100, b"xyz");
        let tail = TailChecksum::new(103, b"xyz");
        let read = tracker.take_changes().unwrap();
        assert_eq!(
            (read.tail, read.head, read.samples),
            (tail, None, Samples::default())
        );
    }
}
