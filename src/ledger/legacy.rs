//! Reads the ledger of earlier versions, to convert it: `ledger.json`, a snapshot, and `journal.N`,
//! the records since the snapshot of generation N.
//!
//! A line of the journal is the checksum of the rest, a space, and a record as JSON. A crash may
//! have torn the last line. `ledger.json.old` is the snapshot before: with the journals since, it
//! gives the same state.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::clock::SentAt;
use super::directory::{io_error, sync_dir};
use super::fingerprint::{
    Checksum, Fingerprint, HeadChecksum, ReadChecksums, Samples, TailChecksum,
};
use super::ranges::{LogRanges, Ranges};
use super::state::{BatchEntry, BatchId, BatchState, HitIds, KnownLog, LedgerState, LogId, Salt};
use crate::error::{Error, Result};

const SNAPSHOT: &str = "ledger.json";
const OLD_SNAPSHOT: &str = "ledger.json.old";
const JOURNAL_PREFIX: &str = "journal.";

#[derive(Deserialize)]
enum LegacyRecord {
    #[serde(rename = "journal")]
    Header { salt: String },
    #[serde(rename = "seen")]
    Seen {
        log: LogId,
        #[serde(rename = "identity")]
        fingerprint: Fingerprint,
    },
    #[serde(rename = "read")]
    Read {
        log: LogId,
        tail: TailChecksum,
        head: Option<HeadChecksum>,
    },
    #[serde(rename = "passed")]
    MarkedDone { lines: LogRanges },
    #[serde(rename = "intent")]
    Pending {
        batch: BatchId,
        #[serde(rename = "intent")]
        entry: Entry,
    },
    #[serde(rename = "done")]
    Confirmed { batch: BatchId },
    #[serde(rename = "there")]
    Recorded {
        batch: BatchId,
        #[serde(rename = "marks")]
        hit_ids: HitIds,
    },
    #[serde(rename = "settled")]
    Settled { batch: BatchId, found: LogRanges },
}

#[derive(Deserialize)]
struct Entry {
    target: Checksum,
    sent_at: u64,
    hits: u64,
    lines: LogRanges,
    #[serde(rename = "there")]
    recorded: Option<HitIds>,
}

#[derive(Deserialize)]
struct Log {
    #[serde(rename = "identity")]
    fingerprint: Fingerprint,
    tail: Option<TailChecksum>,
    done: Ranges,
}

#[derive(Deserialize)]
struct State {
    salt: String,
    next_log: u64,
    next_batch: u64,
    targets: BTreeMap<Checksum, String>,
    logs: BTreeMap<LogId, Log>,
    pending: BTreeMap<BatchId, Entry>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    version: u64,
    generation: u64,
    checksum: Checksum,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// Whether the directory has a ledger of an earlier version.
pub fn exists(dir: &Path) -> bool {
    [SNAPSHOT, OLD_SNAPSHOT]
        .iter()
        .any(|name| dir.join(name).exists())
}

/// Reads the ledger in this directory, if there is one of an earlier version. Changes nothing.
///
/// # Errors
///
/// If a file cannot be read or is damaged.
pub fn read(dir: &Path) -> Result<Option<LedgerState>> {
    let journals = journals(dir)?;
    let (mut from, mut state) = match read_snapshot(&dir.join(SNAPSHOT))? {
        Some((generation, state)) => (generation, Some(state)),
        None => match read_snapshot(&dir.join(OLD_SNAPSHOT))? {
            Some((generation, state)) => (generation, Some(state)),
            // The first run did not get as far as its first batch.
            None if journals.is_empty() || journals == [1] => return Ok(None),
            None => return Err(damaged(&dir.join(SNAPSHOT), "missing")),
        },
    };
    if !journals.contains(&from) {
        return Err(damaged(
            &dir.join(format!("{JOURNAL_PREFIX}{from}")),
            "missing",
        ));
    }
    for generation in journals {
        if generation < from {
            continue;
        }
        let path = dir.join(format!("{JOURNAL_PREFIX}{generation}"));
        // The journal after the newest snapshot but one continues the one before.
        if generation > from + 1 {
            return Err(damaged(&path, "not the next one"));
        }
        from = generation;
        let bytes = fs::read(&path).map_err(|error| io_error("read", &path, &error))?;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match (parse_record(line), line.ends_with(b"\n")) {
                (Some(record), _) => {
                    if let Some(state) = &mut state {
                        apply(state, record, &path)?;
                    }
                }
                // Torn by a crash, so nothing relies on it.
                (None, false) => {}
                (None, true) => return Err(damaged(&path, "a record cannot be read")),
            }
        }
    }
    Ok(state)
}

/// Removes the files of an earlier version, once they are converted.
pub fn remove(dir: &Path) -> Result<()> {
    let journals = journals(dir)?.into_iter();
    let journals = journals.map(|generation| format!("{JOURNAL_PREFIX}{generation}"));
    let snapshots = [SNAPSHOT, OLD_SNAPSHOT, "ledger.json.new"].map(str::to_owned);
    let mut is_changed = false;
    for name in snapshots.into_iter().chain(journals) {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Ok(()) => is_changed = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("remove", &path, &error)),
        }
    }
    match is_changed {
        true => sync_dir(dir),
        false => Ok(()),
    }
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::stopped(format!(
        "{} of an earlier version is damaged ({how}), so it is not known which lines are done: put a \
         copy from a backup in its place, or remove ledger.json and the journals to import all lines \
         of your logs again",
        path.display()
    ))
}

/// The generations of all journals, in order.
fn journals(dir: &Path) -> Result<Vec<u64>> {
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

/// Returns the generation of a snapshot and its state.
fn read_snapshot(path: &Path) -> Result<Option<(u64, LedgerState)>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path, &error)),
    };
    let broken = |error: serde_json::Error| damaged(path, &error.to_string());
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(broken)?;
    let Envelope {
        version,
        generation,
        checksum,
        state,
    } = envelope;
    let text = format!("{version} {generation} {}", state.get());
    if Checksum::of(text.as_bytes()) != checksum {
        return Err(damaged(path, "its checksum does not match"));
    }
    let state: State = serde_json::from_str(state.get()).map_err(broken)?;
    let salt = parse_salt(&state.salt).ok_or_else(|| damaged(path, "not a salt"))?;
    let logs = state.logs.into_iter().map(|(id, log)| {
        let known = KnownLog {
            tail: log.tail,
            done: log.done,
            ..KnownLog::new(log.fingerprint, 0)
        };
        (id, known)
    });
    let batches = state.pending.into_iter();
    let state = LedgerState {
        next_log: state.next_log,
        next_batch: state.next_batch,
        targets: state.targets,
        logs: logs.collect(),
        batches: batches.map(|(id, entry)| (id, convert(entry))).collect(),
        ..LedgerState::new(salt)
    };
    Ok(Some((generation, state)))
}

fn parse_salt(text: &str) -> Option<Salt> {
    let number = u128::from_str_radix(text, 16).ok()?;
    Some(Salt(number.to_be_bytes()))
}

/// Reads a line of a journal. Returns `None` if it was torn or damaged.
fn parse_record(line: &[u8]) -> Option<LegacyRecord> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (checksum, rest) = line.split_at_checked(Checksum::HEX_DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    if Checksum::parse(checksum)? != Checksum::of(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn convert(entry: Entry) -> BatchEntry {
    BatchEntry {
        target: entry.target,
        sent: SentAt::of_wall_clock(entry.sent_at),
        hits: entry.hits,
        numbers: LogRanges::new(),
        lines: entry.lines,
        state: BatchState::Pending,
        runs: 0,
        recorded: entry.recorded,
    }
}

fn apply(state: &mut LedgerState, record: LegacyRecord, path: &Path) -> Result<()> {
    match record {
        LegacyRecord::Header { salt } if parse_salt(&salt) == Some(state.salt) => {}
        LegacyRecord::Header { .. } => return Err(damaged(path, "it belongs to another ledger")),
        LegacyRecord::Seen { log, fingerprint } => {
            state.next_log = state.next_log.max(log.0.saturating_add(1));
            match state.logs.get_mut(&log) {
                Some(known) => known.fingerprint = fingerprint,
                None => drop(state.logs.insert(log, KnownLog::new(fingerprint, 0))),
            }
        }
        LegacyRecord::Read { log, tail, head } => {
            if let Some(known) = state.logs.get_mut(&log) {
                known.note_read(ReadChecksums {
                    tail,
                    head,
                    samples: Samples::default(),
                });
            }
        }
        LegacyRecord::MarkedDone { lines } => state.mark_done(&lines),
        LegacyRecord::Pending { batch, entry } => {
            state.next_batch = state.next_batch.max(batch.0.saturating_add(1));
            state.batches.insert(batch, convert(entry));
        }
        LegacyRecord::Confirmed { batch } => drop(state.confirm(batch)),
        LegacyRecord::Recorded { batch, hit_ids } => {
            if let Some(entry) = state.batches.get_mut(&batch) {
                entry.recorded = Some(hit_ids);
            }
        }
        LegacyRecord::Settled { batch, found } => {
            state.batches.remove(&batch);
            state.mark_done(&found);
        }
    }
    Ok(())
}
