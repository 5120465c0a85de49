//! Snapshot: the whole state in one file, `ledger.json`.
//!
//! `{"version":1,"generation":7,"checksum":"...","state":{...}}`, the checksum over version, generation and the text of
//! the state. That outer form is for good: by it an older program tells a newer ledger from a damaged one.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::checksum::Checksum;
use super::disk;
use super::state::State;
use crate::error::{Error, Result};

/// The snapshot in use, the one before, and one being written (see `store`).
pub const CURRENT: &str = "ledger.json";
pub const OLD: &str = "ledger.json.old";
pub const NEW: &str = "ledger.json.new";

/// The version of the ledger's files that this program writes, and the newest it reads.
pub const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    version: u64,
    generation: u64,
    checksum: Checksum,
    #[serde(borrow)]
    state: &'a RawValue,
}

fn checksum(version: u64, generation: u64, state: &str) -> Checksum {
    Checksum::of(format!("{version} {generation} {state}").as_bytes())
}

/// What a file holds.
#[derive(Debug)]
pub enum Snapshot {
    Missing,
    /// Damaged, and how.
    Broken(String),
    Good {
        generation: u64,
        state: Box<State>,
    },
}

/// Reads a snapshot. One of a newer version is an error, and so is a disk that will not read.
pub fn read(path: &Path) -> Result<Snapshot> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Snapshot::Missing),
        Err(error) => return Err(disk::failed("read", path, &error)),
    };
    let envelope: Envelope = match serde_json::from_slice(&bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Snapshot::Broken(error.to_string())),
    };
    let text = envelope.state.get();
    if checksum(envelope.version, envelope.generation, text) != envelope.checksum {
        return Ok(Snapshot::Broken("its checksum does not fit".to_owned()));
    }
    refuse_newer(envelope.version, path)?;
    Ok(match serde_json::from_str(text) {
        Ok(state) => Snapshot::Good {
            generation: envelope.generation,
            state,
        },
        Err(error) => Snapshot::Broken(error.to_string()),
    })
}

/// A file of a version that only a newer program knows must not be touched.
pub fn refuse_newer(version: u64, path: &Path) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    Err(Error::stopped(format!(
        "{} was written by a newer import-logs (version {version} of the ledger; this program knows up to {VERSION}): \
         use that newer program, or give this one a --state-dir of its own",
        path.display()
    )))
}

/// Writes a snapshot and syncs it.
pub fn write(path: &Path, generation: u64, state: &State) -> Result<()> {
    let encode = || {
        let state = serde_json::value::to_raw_value(state)?;
        let mut bytes = serde_json::to_vec(&Envelope {
            version: VERSION,
            generation,
            checksum: checksum(VERSION, generation, state.get()),
            state: &state,
        })?;
        bytes.push(b'\n');
        let options = disk::private().create(true).truncate(true).to_owned();
        let mut file = options.open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    encode().map_err(|error| disk::failed("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::salt::Salt;

    #[test]
    fn is_json_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let state = State::new(Salt([200; 16]));
        write(&path, 7, &state).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["generation"], 7);
        match read(&path).unwrap() {
            Snapshot::Good {
                generation,
                state: read,
            } => {
                assert_eq!((generation, *read), (7, state));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_a_newer_version_it_is_refused_but_a_damaged_version_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let sum = checksum(2, 9, "[\"unheard of\"]");
        let newer =
            format!(r#"{{"version":2,"generation":9,"checksum":"{sum}","state":["unheard of"]}}"#);
        fs::write(&path, &newer).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("--state-dir"),
            "{error}"
        );
        fs::write(&path, newer.replace("\"version\":2", "\"version\":3")).unwrap();
        assert!(matches!(read(&path), Ok(Snapshot::Broken(_))));
    }
}
