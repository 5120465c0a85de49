//! A file as the system sees it: where it stands on the disk, how long it is, when it was changed and made.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
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
}
