//! What the files of the state directory share: who may read them, that they last, and what is said when the disk
//! will not do.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Options to write a file that nobody else may read: logs hold addresses.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Makes the directory where it is missing, for this user only.
pub fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed("make", dir, &error))
}

/// Makes names that were added, changed or removed in a directory last through a power cut.
pub fn sync_dir(dir: &Path) -> Result<()> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        // Some network file systems know no such thing; their names last without.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        result => result.map_err(|error| failed("sync", dir, &error)),
    }
}

/// The error for a file that could not be read or written, with what to do.
pub fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let what_to_do = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let this user read and write there, or choose another --state-dir"
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "a file stands where a folder should: choose another --state-dir"
        }
        _ => "see to that disk, or choose another --state-dir",
    };
    Error::stopped(format!(
        "cannot {doing} {}: {error}; {what_to_do}, then run the same command again, it goes on from here",
        path.display()
    ))
}
