//! The journal: a file to which records are appended, one for each generation of the ledger.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk;
use super::record::Record;
use super::salt::Salt;
use super::snapshot;
use crate::error::Result;

const PREFIX: &str = "journal.";

/// From so many bytes on a journal is folded into a new snapshot.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The name of a generation's journal.
pub fn name(generation: u64) -> String {
    format!("{PREFIX}{generation}")
}

pub fn path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(name(generation))
}

/// The generations of the journals that are there, in order.
pub fn generations(dir: &Path) -> Result<Vec<u64>> {
    let failed = |error| disk::failed("read", dir, &error);
    let mut generations = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    generations.sort_unstable();
    Ok(generations)
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    pub path: PathBuf,
    pub file: Arc<File>,
    /// How much of it is whole records, in bytes.
    length: u64,
}

impl Journal {
    /// Makes one that says no more than whose it is, and syncs it.
    pub fn create(dir: &Path, generation: u64, salt: Salt) -> Result<Self> {
        let path = path(dir, generation);
        let create = || {
            let mut bytes = Vec::new();
            let version = snapshot::VERSION;
            Record::Journal { version, salt }.write(&mut bytes)?;
            // One of this name can only be left from a fold that did not come to its rename: nothing is in it.
            let options = disk::private().create(true).truncate(true).to_owned();
            let mut file = options.open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok((file, bytes.len() as u64))
        };
        let created: io::Result<(File, u64)> = create();
        let (file, length) = created.map_err(|error| disk::failed("write", &path, &error))?;
        Ok(Self {
            path,
            file: Arc::new(file),
            length,
        })
    }

    /// Whether it has grown so long that the state should be folded.
    pub fn is_due(&self) -> bool {
        self.length >= LIMIT
    }

    /// Appends whole records; a disk that takes only a part of them is left as it was. Not synced.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        match self.file.write_all_at(records, self.length) {
            Ok(()) => {
                self.length += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Where even that fails, the next record is written over what was torn.
                let _ = self.file.set_len(self.length);
                Err(disk::failed("write", &self.path, &error))
            }
        }
    }
}
