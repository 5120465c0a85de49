//! What the ledger knows, in memory: the sum of all records. Running and reading the journal after a crash change it
//! by the same function, so what is read back is what was there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::identity::{Head, Identity, Tail};
use super::marks::Marks;
use super::ranges::Ranges;
use super::record::Record;
use crate::error::{Error, Result};

/// A log that nobody saw for so long (seconds) is forgotten.
const UNSEEN: u64 = 400 * 24 * 3600;
/// Of more logs than these, those that nobody saw for a month are forgotten; never one that is still in use, for all of
/// it would be sent again.
const MANY_LOGS: usize = 10_000;
const UNSEEN_OF_MANY: u64 = 30 * 24 * 3600;

/// A log in this ledger. The number is never given to another one, so it may go into a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(u64);

impl LogId {
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A batch in this ledger, never given twice either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lines: of which logs, and where in each.
pub type Lines = BTreeMap<LogId, Ranges>;

/// Random bytes that make this ledger's `pv_id`s its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Salt(pub [u8; 16]);

impl Salt {
    pub fn draw() -> Result<Self> {
        let mut salt = [0; 16];
        match SystemRandom::new().fill(&mut salt) {
            Ok(()) => Ok(Self(salt)),
            Err(_) => Err(Error::stopped(
                "the system gives no random numbers: see to /dev/urandom",
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
            _ => Err("no salt"),
        }
    }
}

/// One log and what is done of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    pub identity: Identity,
    pub tail: Option<Tail>,
    pub done: Ranges,
}

/// A batch that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// For which target.
    pub target: Checksum,
    /// Milliseconds since 1970 (UTC).
    pub sent_at: u64,
    /// How many hits were in it.
    pub hits: u64,
    pub lines: Lines,
    /// Its requests that Matomo has, where that is known though its lines are not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<Marks>,
}

/// A batch of an earlier run whose lines are not done: an intent without a done. As a rule nobody knows whether Matomo
/// has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBatch {
    pub id: BatchId,
    /// When it was about to be sent: milliseconds since 1970 (UTC), by a clock that may have been set since.
    pub sent_at: u64,
    /// How many hits were in it.
    pub hits: u64,
    /// Its lines: the log, where that was last seen, and where the lines stand in it.
    pub lines: Vec<(LogId, PathBuf, Ranges)>,
    /// It was answered, and these are its requests that Matomo has: there is no doubt about it, but its lines need
    /// other requests too.
    pub there: Option<Marks>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub salt: Salt,
    /// When the ledger was last opened: seconds since 1970 (UTC).
    pub opened: u64,
    next_log: u64,
    next_batch: u64,
    /// What the targets' checksums stand for; for people who look into the file.
    pub targets: BTreeMap<Checksum, String>,
    pub logs: BTreeMap<LogId, Log>,
    pub pending: BTreeMap<BatchId, Intent>,
}

impl State {
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

    /// Takes a record in. Each is true by itself: one that refers to what is not known (its record was damaged) claims
    /// nothing, and no number that was ever used is given again.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Journal { .. } => {}
            Record::Seen { log, identity } => {
                self.used_log(log);
                match self.logs.get_mut(&log) {
                    Some(known) => known.identity = identity,
                    None => {
                        let new = Log {
                            identity,
                            tail: None,
                            done: Ranges::default(),
                        };
                        self.logs.insert(log, new);
                    }
                }
            }
            Record::Read { log, tail, head } => {
                self.used_log(log);
                if let Some(known) = self.logs.get_mut(&log) {
                    if known.tail.is_none_or(|old| old.position < tail.position) {
                        known.tail = Some(tail);
                    }
                    let longer = |head: &Head| head.length > known.identity.head.length;
                    if let Some(head) = head.filter(longer) {
                        known.identity.head = head;
                    }
                }
            }
            Record::Passed { lines } => self.claim(&lines),
            Record::Intent { batch, mut intent } => {
                self.used_batch(batch);
                intent.lines.keys().for_each(|log| self.used_log(*log));
                intent.lines.retain(|log, _| self.logs.contains_key(log));
                if !intent.lines.is_empty() {
                    self.pending.insert(batch, intent);
                }
            }
            Record::Done { batch } => {
                self.used_batch(batch);
                if let Some(intent) = self.pending.remove(&batch) {
                    self.claim(&intent.lines);
                }
            }
            Record::There { batch, marks } => {
                self.used_batch(batch);
                if let Some(intent) = self.pending.get_mut(&batch) {
                    intent.there = Some(marks);
                }
            }
            Record::Settled { batch, found } => {
                self.used_batch(batch);
                self.pending.remove(&batch);
                self.claim(&found);
            }
        }
    }

    fn claim(&mut self, lines: &Lines) {
        for (log, ranges) in lines {
            self.used_log(*log);
            if let Some(known) = self.logs.get_mut(log) {
                known.done.extend(ranges);
            }
        }
    }

    fn used_log(&mut self, log: LogId) {
        self.next_log = self.next_log.max(log.0.saturating_add(1));
    }

    fn used_batch(&mut self, batch: BatchId) {
        self.next_batch = self.next_batch.max(batch.0.saturating_add(1));
    }

    /// The batches in doubt for a target.
    pub fn in_doubt(&self, target: Checksum) -> Vec<PendingBatch> {
        let ours = self
            .pending
            .iter()
            .filter(|(_, intent)| intent.target == target);
        ours.map(|(id, intent)| PendingBatch {
            id: *id,
            sent_at: intent.sent_at,
            hits: intent.hits,
            there: intent.there.clone(),
            lines: (intent.lines.iter())
                .filter_map(|(log, ranges)| {
                    let known = self.logs.get(log)?;
                    Some((*log, known.identity.path.0.clone(), ranges.clone()))
                })
                .collect(),
        })
        .collect()
    }

    /// Notes that the ledger is opened now, and forgets the logs that were not seen for a long time. One run with a
    /// wrong clock must not make it forget what is still in use: the run before must have found a log that old, too.
    pub fn open(&mut self, now: u64) {
        let credible = now.min(self.opened);
        self.opened = now;
        // What was left to be told of a line is told by now.
        let logs = &self.logs;
        let is_done = |(log, lines): (&LogId, &Ranges)| {
            logs.get(log).is_some_and(|known| known.done.holds(lines))
        };
        self.pending
            .retain(|_, intent| intent.there.is_none() || !intent.lines.iter().all(is_done));
        let needed = |state: &Self, log: &LogId| {
            let mut intents = state.pending.values();
            intents.any(|intent| intent.lines.contains_key(log))
        };
        let mut by_age: Vec<_> = (self.logs.iter())
            .map(|(id, log)| (log.identity.seen, *id))
            .collect();
        by_age.sort_unstable();
        let too_many = by_age.len().saturating_sub(MANY_LOGS);
        for (index, (seen, log)) in by_age.into_iter().enumerate() {
            let longest = match index < too_many {
                true => UNSEEN_OF_MANY,
                false => UNSEEN,
            };
            let old = credible.saturating_sub(seen) > longest;
            if old && !needed(self, &log) {
                self.logs.remove(&log);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ledger::file_id::FileId;
    use crate::ledger::path_text::PathText;

    const DAY: u64 = 24 * 3600;
    const NOW: u64 = 20_000 * DAY;

    fn seen(log: u64, seen: u64) -> Record {
        let identity = Identity {
            target: Checksum::of(b"target"),
            path: PathText(Path::new("/log").into()),
            file: FileId {
                device: 1,
                inode: log,
                size: 0,
                modified: (0, 0),
                born: None,
            },
            head: Head::of(b"beginning"),
            seen,
            end: None,
        };
        let log = LogId(log);
        Record::Seen { log, identity }
    }

    fn state(logs: &[(u64, u64)]) -> State {
        let mut state = State::new(Salt([7; 16]));
        state.opened = NOW;
        for &(log, last) in logs {
            state.apply(seen(log, last));
        }
        state
    }

    fn left(state: &State) -> Vec<u64> {
        state.logs.keys().map(|log| log.0).collect()
    }

    fn lines(log: u64) -> Lines {
        let mut ranges = Ranges::default();
        ranges.insert(0..10, 1);
        Lines::from([(LogId(log), ranges)])
    }

    fn intent(batch: u64, log: u64) -> Record {
        Record::Intent {
            batch: BatchId(batch),
            intent: Intent {
                target: Checksum::of(b"target"),
                sent_at: NOW * 1000,
                hits: 1,
                lines: lines(log),
                there: None,
            },
        }
    }

    #[test]
    fn logs_unseen_for_four_hundred_days_are_forgotten() {
        let mut state = state(&[(1, NOW - 401 * DAY), (2, NOW - 399 * DAY)]);
        state.open(NOW);
        assert_eq!(left(&state), [2]);
    }

    #[test]
    fn one_run_with_a_clock_far_ahead_or_behind_forgets_nothing() {
        for wrong in [0, NOW + 10_000 * DAY] {
            let mut state = state(&[(1, NOW - DAY)]);
            state.open(wrong);
            state.open(NOW + DAY);
            assert_eq!(left(&state), [1], "clock at {wrong}");
        }
    }

    #[test]
    fn a_log_with_a_batch_in_doubt_is_never_forgotten() {
        let mut state = state(&[(1, 0)]);
        state.apply(intent(1, 1));
        state.open(NOW);
        assert_eq!(left(&state), [1]);
    }

    #[test]
    fn of_too_many_logs_those_seen_last_stay_and_all_that_are_in_use() {
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
    fn a_done_claims_the_lines_of_its_intent_and_a_settlement_only_what_was_found() {
        let mut state = state(&[(1, NOW), (2, NOW)]);
        state.apply(intent(1, 1));
        state.apply(intent(2, 2));
        assert_eq!(state.in_doubt(Checksum::of(b"target")).len(), 2);
        assert_eq!(state.in_doubt(Checksum::of(b"another")).len(), 0);
        state.apply(Record::Done { batch: BatchId(1) });
        state.apply(Record::Settled {
            batch: BatchId(2),
            found: Lines::new(),
        });
        assert_eq!(state.logs[&LogId(1)].done.first_gap(), 10);
        assert!(state.logs[&LogId(2)].done.is_empty() && state.pending.is_empty());
    }

    #[test]
    fn a_batch_that_was_answered_is_known_until_its_lines_are_done() {
        let mut state = state(&[(1, NOW)]);
        state.apply(intent(1, 1));
        state.apply(intent(2, 1));
        let marks: Marks = [b"abcdef"].into_iter().collect();
        state.apply(Record::There {
            batch: BatchId(1),
            marks: marks.clone(),
        });
        state.open(NOW);
        let there: Vec<_> = state
            .in_doubt(Checksum::of(b"target"))
            .into_iter()
            .map(|batch| batch.there)
            .collect();
        assert_eq!(there, [Some(marks), None]);
        state.apply(Record::Done { batch: BatchId(2) });
        state.open(NOW);
        assert!(state.pending.is_empty());
    }

    #[test]
    fn records_that_refer_to_what_is_not_known_claim_nothing_but_use_up_their_numbers() {
        let mut state = State::new(Salt([7; 16]));
        state.apply(intent(8, 5));
        state.apply(Record::Done { batch: BatchId(9) });
        state.apply(Record::Passed { lines: lines(6) });
        assert!(state.logs.is_empty() && state.pending.is_empty());
        assert_eq!((state.next_log, state.next_batch), (7, 10));
    }
}
