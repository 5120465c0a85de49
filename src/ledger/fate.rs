//! What became of a log since it was last read.

use std::path::Path;

use super::file_id::FileId;
use super::identity::Identity;

/// What became of a log since it was last read; for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
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

impl FileChange {
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
