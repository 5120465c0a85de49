//! The ledger's files: a snapshot of the state, and a journal of the records since.
//!
//! A line of the journal is the checksum of the rest, a space, and a record as JSON. A line that
//! was torn by a crash or damaged on disk does not match its checksum; the lines after it still do.
//!
//! A snapshot is `{"version":1,"generation":7,"checksum":"...","state":{...}}`, where the checksum
//! covers the version, the generation and the text of the state. This envelope never changes, so
//! that an older program can tell a newer snapshot from a damaged one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fingerprint::{Checksum, Fingerprint, HeadChecksum, TailChecksum};
use super::ranges::LogRanges;
use super::state::{BatchId, HitIds, LedgerState, LogId, PendingEntry, Salt};
use super::store::{io_error, private_file};
use crate::error::{Error, Result};

/// The version of the files that this program writes, and the newest it reads.
pub const VERSION: u64 = 1;

/// A journal of this length is replaced by a snapshot.
const MAX_JOURNAL_BYTES: u64 = 4 * 1024 * 1024;

const JOURNAL_PREFIX: &str = "journal.";

/// Something that happened. Each record is true by itself, whatever happened to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerRecord {
    /// The first record of every journal.
    #[serde(rename = "journal")]
    Header { version: u64, salt: Salt },
    /// A log is about to be read.
    #[serde(rename = "seen")]
    Seen {
        log: LogId,
        #[serde(rename = "identity")]
        fingerprint: Fingerprint,
    },
    /// A log was read up to the tail. Precedes all records of lines before that. The head is
    /// present if more of it is known than before.
    #[serde(rename = "read")]
    Read {
        log: LogId,
        tail: TailChecksum,
        head: Option<HeadChecksum>,
    },
    /// Lines are done that need no request.
    #[serde(rename = "passed")]
    MarkedDone { lines: LogRanges },
    /// A batch is about to be sent.
    #[serde(rename = "intent")]
    Pending {
        batch: BatchId,
        #[serde(rename = "intent")]
        entry: PendingEntry,
    },
    /// A batch was acknowledged.
    #[serde(rename = "done")]
    Acknowledged { batch: BatchId },
    /// Matomo has these hits of a batch and no others. The lines of the batch also need hits of
    /// other batches.
    #[serde(rename = "there")]
    Recorded {
        batch: BatchId,
        #[serde(rename = "marks")]
        hit_ids: HitIds,
    },
    /// A batch is closed. Matomo has the lines that were found, and no others.
    #[serde(rename = "settled")]
    Settled { batch: BatchId, found: LogRanges },
}

impl LedgerRecord {
    /// Appends the line of this record. On an error nothing is appended.
    pub fn write(&self, to: &mut Vec<u8>) -> serde_json::Result<()> {
        let json = serde_json::to_vec(self)?;
        to.extend_from_slice(Checksum::of(&json).to_string().as_bytes());
        to.push(b' ');
        to.extend_from_slice(&json);
        to.push(b'\n');
        Ok(())
    }

    /// Reads a line without its line end. Returns `None` if it was torn or damaged.
    fn read(line: &[u8]) -> Option<Self> {
        let (checksum, rest) = line.split_at_checked(Checksum::HEX_DIGITS)?;
        let json = rest.strip_prefix(b" ")?;
        if Checksum::parse(checksum)? != Checksum::of(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// What was read of a journal.
#[derive(Debug, Default)]
pub struct JournalContents {
    pub records: Vec<LedgerRecord>,
    /// How many lines are damaged. A last line without a line end does not count: a crash tore it
    /// while it was written, or a power failure left zeros there, so nothing relies on it.
    pub damaged: usize,
}

impl JournalContents {
    pub fn read(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A line that only lacks its line end matches its checksum, and counts.
            match LedgerRecord::read(line.strip_suffix(b"\n").unwrap_or(line)) {
                Some(record) => contents.records.push(record),
                None => contents.damaged += usize::from(line.ends_with(b"\n")),
            }
        }
        contents
    }
}

/// The file name of a generation's journal.
pub fn journal_name(generation: u64) -> String {
    format!("{JOURNAL_PREFIX}{generation}")
}

/// The generations of all journals in a directory, in order.
pub fn journal_generations(dir: &Path) -> Result<Vec<u64>> {
    let failed = |error| io_error("read", dir, &error);
    let mut generations = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(JOURNAL_PREFIX));
        generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    generations.sort_unstable();
    Ok(generations)
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    pub path: PathBuf,
    pub file: Arc<File>,
    /// The length of all whole records, in bytes.
    length: u64,
}

impl Journal {
    /// Creates and syncs a journal that contains only the header.
    pub fn create(dir: &Path, generation: u64, salt: Salt) -> Result<Self> {
        let path = dir.join(journal_name(generation));
        let create = || -> io::Result<(File, u64)> {
            let mut bytes = Vec::new();
            let version = VERSION;
            LedgerRecord::Header { version, salt }.write(&mut bytes)?;
            // An existing file is left of an interrupted checkpoint and contains no records.
            let mut file = private_file().create(true).truncate(true).open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok((file, bytes.len() as u64))
        };
        let (file, length) = create().map_err(|error| io_error("write", &path, &error))?;
        Ok(Self {
            path,
            file: Arc::new(file),
            length,
        })
    }

    /// Whether the journal is long enough to be replaced by a snapshot.
    pub fn is_full(&self) -> bool {
        self.length >= MAX_JOURNAL_BYTES
    }

    /// Appends whole records without syncing them. If the disk takes only a part, that part is
    /// removed again.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        match self.file.write_all_at(records, self.length) {
            Ok(()) => {
                self.length += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If this fails as well, the next records overwrite the torn part.
                let _ = self.file.set_len(self.length);
                Err(io_error("write", &self.path, &error))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SnapshotEnvelope<'a> {
    version: u64,
    generation: u64,
    checksum: Checksum,
    #[serde(borrow)]
    state: &'a RawValue,
}

fn snapshot_checksum(version: u64, generation: u64, state: &str) -> Checksum {
    Checksum::of(format!("{version} {generation} {state}").as_bytes())
}

/// What was read of a snapshot.
#[derive(Debug)]
pub enum Snapshot {
    Missing,
    /// How it is damaged.
    Damaged(String),
    Valid {
        generation: u64,
        state: Box<LedgerState>,
    },
}

impl Snapshot {
    /// Fails if the file cannot be read, or was written by a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) => return Err(io_error("read", path, &error)),
        };
        let envelope: SnapshotEnvelope = match serde_json::from_slice(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => return Ok(Self::Damaged(error.to_string())),
        };
        let SnapshotEnvelope {
            version,
            generation,
            checksum,
            state,
        } = envelope;
        if snapshot_checksum(version, generation, state.get()) != checksum {
            return Ok(Self::Damaged("its checksum does not match".to_owned()));
        }
        refuse_newer(version, path)?;
        Ok(match serde_json::from_str(state.get()) {
            Ok(state) => Self::Valid { generation, state },
            Err(error) => Self::Damaged(error.to_string()),
        })
    }

    /// Writes and syncs a snapshot of `state`.
    pub fn write(path: &Path, generation: u64, state: &LedgerState) -> Result<()> {
        let write = || {
            let state = serde_json::value::to_raw_value(state)?;
            let mut bytes = serde_json::to_vec(&SnapshotEnvelope {
                version: VERSION,
                generation,
                checksum: snapshot_checksum(VERSION, generation, state.get()),
                state: &state,
            })?;
            bytes.push(b'\n');
            let mut file = private_file().create(true).truncate(true).open(path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(|error| io_error("write", path, &error))
    }
}

/// Fails for a file of a newer version, which this program must not change.
pub fn refuse_newer(version: u64, path: &Path) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    Err(Error::stopped(format!(
        "{} was written by a newer import-logs (version {version} of the ledger, this program reads \
         up to {VERSION}): use the newer program, or another --state-dir",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ranges::Ranges;

    fn journal() -> (Vec<u8>, Vec<LedgerRecord>) {
        let salt = Salt([3; 16]);
        let mut state = LedgerState::new(salt);
        let mut ranges = Ranges::default();
        ranges.insert(5..9, 1);
        let mut records = vec![LedgerRecord::Header { version: 1, salt }];
        for _ in 0..3 {
            let batch = state.next_batch();
            let found = LogRanges::from([(state.next_log(), ranges.clone())]);
            records.push(LedgerRecord::Settled { batch, found });
            state.apply(LedgerRecord::Acknowledged { batch });
        }
        let mut bytes = Vec::new();
        for record in &records {
            record.write(&mut bytes).unwrap();
        }
        (bytes, records)
    }

    #[test]
    fn a_journal_reads_back() {
        let (bytes, records) = journal();
        let read = JournalContents::read(&bytes);
        assert_eq!((read.records, read.damaged), (records, 0));
    }

    #[test]
    fn a_journal_cut_anywhere_gives_the_whole_records_and_is_not_damaged() {
        let (bytes, records) = journal();
        for cut in 0..bytes.len() {
            let read = JournalContents::read(&bytes[..cut]);
            assert_eq!(read.damaged, 0, "cut at {cut}");
            let ends = bytes[..=cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(read.records, records[..ends], "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_byte_loses_only_the_records_it_touches() {
        let (bytes, records) = journal();
        for at in 0..bytes.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                let read = JournalContents::read(&changed);
                assert!(read.records.iter().all(|record| records.contains(record)));
                assert!(read.records.len() >= records.len() - 2, "at {at}");
                let before_the_end = at < bytes.len() - 200;
                assert!(!before_the_end || read.damaged > 0 || read.records == records);
            }
        }
    }

    #[test]
    fn whole_lines_that_cannot_be_read_are_damaged() {
        let (mut bytes, records) = journal();
        bytes.extend(b"not a record\nnor this\nnor a line without its end");
        let read = JournalContents::read(&bytes);
        assert_eq!((read.records, read.damaged), (records, 2));
    }

    #[test]
    fn zeros_at_the_end_are_ignored() {
        let (mut bytes, records) = journal();
        bytes.extend([0; 4096]);
        let read = JournalContents::read(&bytes);
        assert_eq!((read.records, read.damaged), (records, 0));
    }

    /// Ledgers of earlier versions must stay readable, whatever the names in the code.
    #[test]
    fn the_stored_form_never_changes() {
        let seen = r#"{"target":"44f79d90bcfa158f","path":"/log","file":{"device":65024,"inode":10,"size":1469,"modified":[1795943984,627],"born":[1795943984,627]},"head":{"length":1024,"checksum":"6c5e32f8995fb588"},"seen":1795943984,"end":null}"#;
        let tail = r#"{"position":1469,"length":1024,"checksum":"caa82b13acd337ed"}"#;
        let entry = r#"{"target":"44f79d90bcfa158f","sent_at":1795943984704,"hits":2,"lines":{"1":"0+291*2"},"there":"abcdef"}"#;
        let salt = "44d49a60032a686817002bec13f0a017";
        for record in [
            format!(r#"{{"journal":{{"version":1,"salt":"{salt}"}}}}"#),
            format!(r#"{{"seen":{{"log":1,"identity":{seen}}}}}"#),
            format!(r#"{{"read":{{"log":1,"tail":{tail},"head":null}}}}"#),
            r#"{"passed":{"lines":{"1":"875+8"}}}"#.to_owned(),
            format!(r#"{{"intent":{{"batch":1,"intent":{entry}}}}}"#),
            r#"{"done":{"batch":1}}"#.to_owned(),
            r#"{"there":{"batch":1,"marks":"abcdef012345"}}"#.to_owned(),
            r#"{"settled":{"batch":2,"found":{"1":"291+292*2"}}}"#.to_owned(),
        ] {
            let read: LedgerRecord = serde_json::from_str(&record).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), record);
        }
        let log = format!(r#"{{"identity":{seen},"tail":{tail},"done":"0+291*2"}}"#);
        let state = format!(
            r#"{{"salt":"{salt}","opened":1795943984,"next_log":2,"next_batch":3,"targets":{{"44f79d90bcfa158f":"matomo.example idsite=1"}},"logs":{{"1":{log}}},"pending":{{"2":{entry}}}}}"#
        );
        let read: LedgerState = serde_json::from_str(&state).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), state);
    }

    #[test]
    fn a_snapshot_is_json_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let written = LedgerState::new(Salt([200; 16]));
        Snapshot::write(&path, 7, &written).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["generation"], 7);
        match Snapshot::read(&path).unwrap() {
            Snapshot::Valid { generation, state } => {
                assert_eq!((generation, *state), (7, written));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_snapshot_of_a_newer_version_is_refused_and_one_with_a_changed_version_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let sum = snapshot_checksum(2, 9, "[\"unheard of\"]");
        let newer =
            format!(r#"{{"version":2,"generation":9,"checksum":"{sum}","state":["unheard of"]}}"#);
        fs::write(&path, &newer).unwrap();
        let error = Snapshot::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("--state-dir"),
            "{error}"
        );
        fs::write(&path, newer.replace("\"version\":2", "\"version\":3")).unwrap();
        assert!(matches!(Snapshot::read(&path), Ok(Snapshot::Damaged(_))));
    }
}
