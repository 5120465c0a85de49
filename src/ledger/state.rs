//! What the ledger knows, in memory: the sum of all records.
//!
//! A running import and the recovery after a crash apply records with the same function, so what is
//! read back equals what was there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::fingerprint::{Checksum, Fingerprint, TailChecksum};
use super::journal::LedgerRecord;
use super::ranges::{LogRanges, Ranges};
use crate::error::{Error, Result};
use crate::hit_id::HitId;

const DAY: u64 = 24 * 3600;

/// Logs not seen for so many seconds are forgotten (guide/guarantees.md, "Ledger").
const MAX_LOG_AGE: u64 = 400 * DAY;
/// From so many logs on, the others are forgotten after [`MAX_LOG_AGE_IF_MANY`]. Younger ones are
/// kept: all lines of a log that is still in use would be sent again.
const MANY_LOGS: usize = 10_000;
const MAX_LOG_AGE_IF_MANY: u64 = 30 * DAY;

/// The number of a log in this ledger. It is never reused, so a hit identifier may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub(super) u64);

impl LogId {
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The number of a batch in this ledger. It is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub(super) u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hit identifiers (`pv_id`), stored one after the other as one text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HitIds(String);

impl HitIds {
    pub fn iter(&self) -> impl Iterator<Item = HitId> {
        let (ids, _) = self.0.as_bytes().as_chunks();
        ids.iter().copied()
    }
}

impl<'i> FromIterator<&'i HitId> for HitIds {
    fn from_iter<I: IntoIterator<Item = &'i HitId>>(ids: I) -> Self {
        let letters = ids.into_iter().flatten();
        Self(letters.map(|letter| char::from(*letter)).collect())
    }
}

/// Random bytes that make the hit identifiers of this ledger unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// Fails if the system provides no random numbers.
    pub fn random() -> Result<Self> {
        let mut salt = [0; 16];
        match SystemRandom::new().fill(&mut salt) {
            Ok(()) => Ok(Self(salt)),
            Err(_) => Err(Error::stopped(
                "the system provides no random numbers: check /dev/urandom",
            )),
        }
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        format!("{:032x}", u128::from_be_bytes(salt.0))
    }
}

impl TryFrom<String> for Salt {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        match u128::from_str_radix(&text, 16) {
            Ok(number) if text.len() == 32 => Ok(Self(number.to_be_bytes())),
            _ => Err("not a salt"),
        }
    }
}

/// A log and its lines that are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownLog {
    #[serde(rename = "identity")]
    pub fingerprint: Fingerprint,
    /// `None` if nothing was read yet.
    pub tail: Option<TailChecksum>,
    pub done: Ranges,
}

impl KnownLog {
    /// How far the log was read, in decompressed bytes.
    pub fn read_position(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.position)
    }
}

/// A pending batch as the ledger stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEntry {
    /// The checksum of the target.
    pub target: Checksum,
    /// Milliseconds since 1970 (UTC).
    pub sent_at: u64,
    /// The number of hits.
    pub hits: u64,
    pub lines: LogRanges,
    /// Hits that Matomo is known to have although the lines are not done.
    #[serde(rename = "there", default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<HitIds>,
}

/// A batch of an earlier run that was not acknowledged. Unless `recorded` is set, it is not known
/// whether Matomo has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBatch {
    pub id: BatchId,
    /// Just before it was sent: milliseconds since 1970 (UTC), by a clock that may have been set
    /// since.
    pub sent_at: u64,
    /// The number of hits.
    pub hits: u64,
    /// For each log: its number, where it was last seen, and its lines in the batch.
    pub lines: Vec<(LogId, PathBuf, Ranges)>,
    /// Set if the batch was answered: Matomo has these of its hits and no others. Its lines are not
    /// done because they need hits of other batches as well.
    pub recorded: Option<HitIds>,
}

/// What the ledger knows. Its serialized form is the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerState {
    pub salt: Salt,
    /// When the ledger was last opened, in seconds since 1970 (UTC).
    pub opened: u64,
    next_log: u64,
    next_batch: u64,
    /// The text of each target, for people who read the file and for messages.
    pub targets: BTreeMap<Checksum, String>,
    pub logs: BTreeMap<LogId, KnownLog>,
    pub pending: BTreeMap<BatchId, PendingEntry>,
}

impl LedgerState {
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            opened: 0,
            next_log: 1,
            next_batch: 1,
            targets: BTreeMap::new(),
            logs: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    pub fn next_log(&self) -> LogId {
        LogId(self.next_log)
    }

    pub fn next_batch(&self) -> BatchId {
        BatchId(self.next_batch)
    }

    /// The pending batches of a target, oldest first.
    pub fn pending_for(&self, target: Checksum) -> Vec<PendingBatch> {
        let entries = self.pending.iter();
        let ours = entries.filter(|(_, entry)| entry.target == target);
        ours.map(|(id, entry)| PendingBatch {
            id: *id,
            sent_at: entry.sent_at,
            hits: entry.hits,
            recorded: entry.recorded.clone(),
            lines: (entry.lines.iter())
                .filter_map(|(log, ranges)| {
                    let known = self.logs.get(log)?;
                    Some((*log, known.fingerprint.path.0.clone(), ranges.clone()))
                })
                .collect(),
        })
        .collect()
    }

    /// Applies one record. A record about an unknown log or batch (because another record was
    /// damaged) marks nothing as done, but its numbers count as used.
    pub fn apply(&mut self, record: LedgerRecord) {
        match record {
            LedgerRecord::Header { .. } => {}
            LedgerRecord::Seen { log, fingerprint } => {
                self.use_log_id(log);
                match self.logs.get_mut(&log) {
                    Some(known) => known.fingerprint = fingerprint,
                    None => {
                        let new = KnownLog {
                            fingerprint,
                            tail: None,
                            done: Ranges::default(),
                        };
                        self.logs.insert(log, new);
                    }
                }
            }
            LedgerRecord::Read { log, tail, head } => {
                self.use_log_id(log);
                if let Some(known) = self.logs.get_mut(&log) {
                    if known.tail.is_none_or(|old| old.position < tail.position) {
                        known.tail = Some(tail);
                    }
                    let old_head = &mut known.fingerprint.head;
                    if let Some(head) = head.filter(|head| head.length > old_head.length) {
                        *old_head = head;
                    }
                }
            }
            LedgerRecord::MarkedDone { lines } => self.mark_done(&lines),
            LedgerRecord::Pending { batch, mut entry } => {
                self.use_batch_id(batch);
                entry.lines.keys().for_each(|log| self.use_log_id(*log));
                entry.lines.retain(|log, _| self.logs.contains_key(log));
                if !entry.lines.is_empty() {
                    self.pending.insert(batch, entry);
                }
            }
            LedgerRecord::Acknowledged { batch } => {
                self.use_batch_id(batch);
                if let Some(entry) = self.pending.remove(&batch) {
                    self.mark_done(&entry.lines);
                }
            }
            LedgerRecord::Recorded { batch, hit_ids } => {
                self.use_batch_id(batch);
                if let Some(entry) = self.pending.get_mut(&batch) {
                    entry.recorded = Some(hit_ids);
                }
            }
            LedgerRecord::Settled { batch, found } => {
                self.use_batch_id(batch);
                self.pending.remove(&batch);
                self.mark_done(&found);
            }
        }
    }

    fn mark_done(&mut self, lines: &LogRanges) {
        for (log, ranges) in lines {
            self.use_log_id(*log);
            if let Some(known) = self.logs.get_mut(log) {
                known.done.extend(ranges);
            }
        }
    }

    fn use_log_id(&mut self, log: LogId) {
        self.next_log = self.next_log.max(log.0.saturating_add(1));
    }

    fn use_batch_id(&mut self, batch: BatchId) {
        self.next_batch = self.next_batch.max(batch.0.saturating_add(1));
    }

    /// Notes that the ledger is opened at `now` (seconds since 1970, UTC), and forgets what is no
    /// longer needed.
    ///
    /// One run with a wrong clock must not forget logs that are in use, so a log also has to be too
    /// old by the time of the run before.
    pub fn open(&mut self, now: u64) {
        let credible = now.min(self.opened);
        self.opened = now;
        // The recorded hits of a batch are needed until all its lines are done.
        let logs = &self.logs;
        let is_done = |(log, lines): (&LogId, &Ranges)| {
            logs.get(log)
                .is_some_and(|known| known.done.contains_all(lines))
        };
        self.pending
            .retain(|_, entry| entry.recorded.is_none() || !entry.lines.iter().all(is_done));
        let is_pending = |state: &Self, log: &LogId| {
            let mut entries = state.pending.values();
            entries.any(|entry| entry.lines.contains_key(log))
        };
        let mut by_age: Vec<_> = (self.logs.iter())
            .map(|(id, log)| (log.fingerprint.seen, *id))
            .collect();
        by_age.sort_unstable();
        let too_many = by_age.len().saturating_sub(MANY_LOGS);
        for (index, (seen, log)) in by_age.into_iter().enumerate() {
            let max_age = match index < too_many {
                true => MAX_LOG_AGE_IF_MANY,
                false => MAX_LOG_AGE,
            };
            let is_old = credible.saturating_sub(seen) > max_age;
            if is_old && !is_pending(self, &log) {
                self.logs.remove(&log);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ledger::fingerprint::{FileId, HeadChecksum, PathText};

    const NOW: u64 = 20_000 * DAY;

    fn seen(log: u64, seen: u64) -> LedgerRecord {
        let fingerprint = Fingerprint {
            target: Checksum::of(b"target"),
            path: PathText(Path::new("/log").into()),
            file: FileId {
                device: 1,
                inode: log,
                size: 0,
                modified: (0, 0),
                born: None,
            },
            head: HeadChecksum::of(b"beginning"),
            seen,
            end: None,
        };
        let log = LogId(log);
        LedgerRecord::Seen { log, fingerprint }
    }

    /// A state with logs of these numbers and times of last being seen.
    fn state(logs: &[(u64, u64)]) -> LedgerState {
        let mut state = LedgerState::new(Salt([7; 16]));
        state.opened = NOW;
        for &(log, last) in logs {
            state.apply(seen(log, last));
        }
        state
    }

    fn known(state: &LedgerState) -> Vec<u64> {
        state.logs.keys().map(|log| log.0).collect()
    }

    fn lines(log: u64) -> LogRanges {
        let mut ranges = Ranges::default();
        ranges.insert(0..10, 1);
        LogRanges::from([(LogId(log), ranges)])
    }

    fn pending(batch: u64, log: u64) -> LedgerRecord {
        LedgerRecord::Pending {
            batch: BatchId(batch),
            entry: PendingEntry {
                target: Checksum::of(b"target"),
                sent_at: NOW * 1000,
                hits: 1,
                lines: lines(log),
                recorded: None,
            },
        }
    }

    fn acknowledged(batch: u64) -> LedgerRecord {
        LedgerRecord::Acknowledged {
            batch: BatchId(batch),
        }
    }

    #[test]
    fn hit_ids_read_back() {
        let ids = [b"abcdef", b"012XYZ"];
        let stored: HitIds = ids.into_iter().collect();
        let json = serde_json::to_string(&stored).unwrap();
        assert_eq!(json, "\"abcdef012XYZ\"");
        let read: HitIds = serde_json::from_str(&json).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), ids.map(|id| *id));
    }

    #[test]
    fn logs_not_seen_for_four_hundred_days_are_forgotten() {
        let mut state = state(&[(1, NOW - 401 * DAY), (2, NOW - 399 * DAY)]);
        state.open(NOW);
        assert_eq!(known(&state), [2]);
    }

    #[test]
    fn one_run_with_a_wrong_clock_forgets_nothing() {
        for wrong in [0, NOW + 10_000 * DAY] {
            let mut state = state(&[(1, NOW - DAY)]);
            state.open(wrong);
            state.open(NOW + DAY);
            assert_eq!(known(&state), [1], "clock at {wrong}");
        }
    }

    #[test]
    fn a_log_with_a_pending_batch_is_never_forgotten() {
        let mut state = state(&[(1, 0)]);
        state.apply(pending(1, 1));
        state.open(NOW);
        assert_eq!(known(&state), [1]);
    }

    #[test]
    fn of_too_many_logs_the_oldest_are_forgotten_unless_in_use() {
        let many = MANY_LOGS as u64 + 2;
        let logs = |age: u64| (1..=many).map(move |log| (log, NOW - age + log % 7));
        let mut unused = state(&logs(31 * DAY).collect::<Vec<_>>());
        unused.open(NOW);
        assert_eq!(unused.logs.len(), MANY_LOGS);
        assert!(!unused.logs.contains_key(&LogId(7)) && !unused.logs.contains_key(&LogId(14)));
        let mut in_use = state(&logs(DAY).collect::<Vec<_>>());
        in_use.open(NOW);
        assert_eq!(in_use.logs.len(), MANY_LOGS + 2);
    }

    #[test]
    fn acknowledging_marks_all_lines_as_done_and_settling_only_those_found() {
        let mut state = state(&[(1, NOW), (2, NOW)]);
        state.apply(pending(1, 1));
        state.apply(pending(2, 2));
        assert_eq!(state.pending_for(Checksum::of(b"target")).len(), 2);
        assert_eq!(state.pending_for(Checksum::of(b"another")).len(), 0);
        state.apply(acknowledged(1));
        state.apply(LedgerRecord::Settled {
            batch: BatchId(2),
            found: LogRanges::new(),
        });
        assert_eq!(state.logs[&LogId(1)].done.first_gap(), 10);
        assert!(state.logs[&LogId(2)].done.is_empty() && state.pending.is_empty());
    }

    #[test]
    fn recorded_hits_are_kept_until_their_lines_are_done() {
        let mut state = state(&[(1, NOW)]);
        state.apply(pending(1, 1));
        state.apply(pending(2, 1));
        let hit_ids: HitIds = [b"abcdef"].into_iter().collect();
        state.apply(LedgerRecord::Recorded {
            batch: BatchId(1),
            hit_ids: hit_ids.clone(),
        });
        state.open(NOW);
        let recorded: Vec<_> = state
            .pending_for(Checksum::of(b"target"))
            .into_iter()
            .map(|batch| batch.recorded)
            .collect();
        assert_eq!(recorded, [Some(hit_ids), None]);
        state.apply(acknowledged(2));
        state.open(NOW);
        assert!(state.pending.is_empty());
    }

    #[test]
    fn records_about_unknown_logs_and_batches_only_use_up_their_numbers() {
        let mut state = LedgerState::new(Salt([7; 16]));
        state.apply(pending(8, 5));
        state.apply(acknowledged(9));
        state.apply(LedgerRecord::MarkedDone { lines: lines(6) });
        assert!(state.logs.is_empty() && state.pending.is_empty());
        assert_eq!((state.next_log, state.next_batch), (7, 10));
    }
}
