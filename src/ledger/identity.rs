//! Identity: which log a file is, whatever its name by now.
//!
//! A log is known by its content: a checksum of its first KiB (of as many bytes as there were, when it was shorter) and
//! one of the bytes just before the furthest position read. Every byte of which anything is claimed stands before that
//! position, so a log that was cut off, or another one that begins alike, cannot be taken for it. Device, inode and
//! birth only say which of several candidates comes first, and stand in for the content of a log that was still empty.
//!
//! A copy of a log (and a packed one is no more than that) has the same content, so it is the same log.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;

/// How many bytes the two checksums of a log are made of, at most.
pub const SAMPLE: usize = 1024;

/// The unpacked bytes of a log, from any position: what recognising a log reads.
pub trait Unpacked {
    /// Fills the buffer with the unpacked bytes from that position on; how many there were (fewer than the buffer
    /// holds only at the end of the log). A packed file that is cut off is an error.
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file that is not packed.
impl Unpacked for std::fs::File {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, position.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A file as the system sees it. Two that are equal hold the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    /// Bytes on the disk (packed ones, where the file is packed).
    pub size: u64,
    /// Last change: seconds since 1970 (UTC) and nanoseconds.
    pub modified: (i64, i64),
    /// When the file was made, likewise, where the file system keeps that. It tells a file from a later one that was
    /// given the inode of one that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<(i64, i64)>,
}

impl FileId {
    pub fn is_same_file(&self, other: &FileId) -> bool {
        let born_alike = match (self.born, other.born) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        (self.device, self.inode) == (other.device, other.inode) && born_alike
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
    /// For which target (see [`super::Target`]).
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

/// A file about to be read: what [`super::Ledger::recognise`] goes by.
pub struct Probe<'a> {
    pub path: &'a Path,
    pub file: FileId,
    pub packed: bool,
    pub log: &'a mut dyn Unpacked,
}

impl Probe<'_> {
    /// The first KiB.
    pub fn beginning(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; SAMPLE];
        let count = self.log.read_at(0, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Whether there is a byte at that position.
    pub fn reaches(&mut self, position: u64) -> io::Result<bool> {
        Ok(self.log.read_at(position, &mut [0])? == 1)
    }
}

/// What became of a log since it was last read; for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Never seen.
    New,
    /// Seen under this name; there is or may be more to read.
    GoesOn,
    /// The same file under another name.
    Renamed,
    /// Packed since, under another name.
    Packed,
    /// Another file with the same content.
    Copied,
    /// The file was cut off and begins anew: another log from here on.
    CutOff,
    /// Done to its end; nothing is to be read.
    Done,
    /// This log was read in this run already, from a file of that content (a copy, or the same one renamed meanwhile):
    /// nothing is to be read. What this file has beyond it is left for the next run.
    ReadAlready,
}

impl Fate {
    /// For a file that was recognised and has more to read.
    pub fn of_known(known: &Identity, path: &Path, file: &FileId, packed: bool) -> Self {
        if known.path.0 == path {
            Self::GoesOn
        } else if known.file.is_same_file(file) {
            Self::Renamed
        } else if packed {
            Self::Packed
        } else {
            Self::Copied
        }
    }

    /// For a file that was not recognised; `known` is a log that had the same name.
    pub fn of_unknown(known: Option<&Identity>, file: &FileId) -> Self {
        match known {
            Some(known) if known.file.is_same_file(file) => Self::CutOff,
            _ => Self::New,
        }
    }
}

/// A path as text that keeps every byte: `%` and bytes that are no UTF-8 are written as `%XX`.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_not_a_later_one_with_its_inode() {
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
    fn a_head_fits_the_log_that_grew_and_no_other() {
        let head = Head::of(
            b"first line
",
        );
        assert!(
            Beginning::of(
                b"first line
second line
"
            )
            .fits(&head)
        );
        assert!(!Beginning::of(b"first li").fits(&head));
        assert!(
            !Beginning::of(
                b"First line
second line
"
            )
            .fits(&head)
        );
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

    proptest! {
        #[test]
        fn any_path_reads_back(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            let text = String::from(PathText(path.clone()));
            prop_assert_eq!(PathText::from(text).0, path);
        }

        #[test]
        fn any_text_reads_as_some_path(text in "[%0-9A-Fa-fé/]{0,20}") {
            let path = PathText::from(text);
            prop_assert_eq!(PathText::from(String::from(path.clone())), path);
        }
    }
}
