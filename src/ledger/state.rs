//! What the ledger knows, in memory. The database holds the same, and is read only when the ledger
//! is opened: looking up a log and marking a line as done must not wait for it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::clock::SentAt;
use super::fingerprint::{Checksum, Fingerprint, ReadChecksums, Samples, TailChecksum};
use super::ranges::{LogRanges, Ranges};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::hit_id::HitId;

const DAY: u64 = 24 * 3600;

/// Logs not seen for so many seconds are forgotten (guide/guarantees.md, "Ledger").
const MAX_LOG_AGE: u64 = 400 * DAY;
/// From so many logs on, the others are forgotten after [`MAX_LOG_AGE_IF_MANY`]. Younger ones are
/// kept: all lines of a log that is still in use would be sent again.
const MANY_LOGS: usize = 10_000;
const MAX_LOG_AGE_IF_MANY: u64 = 30 * DAY;
/// A clock can be wrong for some runs, so a log is forgotten only if the ledger was opened on so
/// many days since the log was seen.
const MIN_DAYS_IN_USE: u64 = 30;

/// The number of a log in this ledger. It is never reused, so a hit identifier may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub(super) u64);

impl LogId {
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The number of a batch in this ledger.
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
pub struct HitIds(pub(super) String);

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
#[serde(transparent)]
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

/// A log and its lines that are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownLog {
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
    /// `None` if nothing was read yet.
    pub tail: Option<TailChecksum>,
    pub samples: Samples,
    /// On which of the days of [`LedgerState::days`] it was last seen.
    pub day: u64,
    /// Stored apart, as it changes more often.
    #[serde(skip)]
    pub done: Ranges,
}

impl KnownLog {
    pub fn new(fingerprint: Fingerprint, day: u64) -> Self {
        Self {
            fingerprint,
            tail: None,
            samples: Samples::default(),
            day,
            done: Ranges::default(),
        }
    }

    /// A copy for [`super::database::Change::Log`].
    pub fn without_lines(&self) -> Self {
        Self {
            tail: self.tail,
            samples: self.samples.clone(),
            ..Self::new(self.fingerprint.clone(), self.day)
        }
    }

    /// How far the log was read, in decompressed bytes.
    pub fn read_position(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.position)
    }

    /// Takes the checksums of what was read. The tail and the head only grow.
    pub fn note_read(&mut self, read: ReadChecksums) {
        let ReadChecksums {
            tail,
            head,
            samples,
        } = read;
        if self.tail.is_none_or(|old| old.position < tail.position) {
            self.tail = Some(tail);
        }
        let old_head = &mut self.fingerprint.head;
        if let Some(head) = head.filter(|head| head.length > old_head.length) {
            *old_head = head;
        }
        self.samples.extend(&samples);
    }
}

/// The lines of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchLines {
    /// Their positions.
    pub bytes: LogRanges,
    /// Their numbers, for people. May be incomplete.
    pub numbers: LogRanges,
}

impl BatchLines {
    /// Adds a line with this number.
    pub fn insert(&mut self, log: LogId, bytes: std::ops::Range<u64>, number: u64) {
        self.bytes.entry(log).or_default().insert(bytes, 1);
        let numbers = self.numbers.entry(log).or_default();
        numbers.insert(number..number.saturating_add(1), 1);
    }
}

impl From<LogRanges> for BatchLines {
    fn from(bytes: LogRanges) -> Self {
        Self {
            bytes,
            numbers: LogRanges::new(),
        }
    }
}

/// What is known of an open batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchState {
    /// Sent, or about to be.
    #[default]
    Pending,
    /// Matomo has answered that it has the batch.
    Acknowledged,
    /// Given up: it could not be settled, which was reported.
    Unconfirmed,
    /// Sent to Matomo's own queue, or about to be.
    Queuing,
    /// Matomo has answered that it is in its queue.
    Queued,
}

impl BatchState {
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Acknowledged,
        Self::Unconfirmed,
        Self::Queuing,
        Self::Queued,
    ];

    fn may_be_in_queue(self) -> bool {
        matches!(self, Self::Queuing | Self::Queued)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Unconfirmed => "unconfirmed",
            Self::Queuing => "queuing",
            Self::Queued => "queued",
        }
    }
}

/// An open batch as the ledger stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEntry {
    /// The checksum of the target.
    pub target: Checksum,
    /// Just before it was sent.
    pub sent: SentAt,
    /// The number of hits.
    pub hits: u64,
    /// The numbers of the lines, for people. May be incomplete.
    pub numbers: LogRanges,
    // Stored apart, as they change or become those of the log.
    #[serde(skip)]
    pub lines: LogRanges,
    #[serde(skip)]
    pub state: BatchState,
    /// How many runs have ended without settling it, after the one that sent it.
    #[serde(skip)]
    pub runs: u32,
    /// Hits that Matomo is known to have although the lines are not done.
    #[serde(skip)]
    pub recorded: Option<HitIds>,
}

impl BatchEntry {
    /// Whether its hits may be in Matomo's queue, and come out of that at any time.
    pub fn may_be_in_queue(&self) -> bool {
        self.recorded.is_none() && self.state.may_be_in_queue()
    }
}

/// A batch that an earlier run left open. Unless `recorded` is set, it is not known whether Matomo
/// has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBatch {
    pub id: BatchId,
    pub state: BatchState,
    /// How many runs have ended without settling it, after the one that sent it.
    pub runs: u32,
    sent: SentAt,
    /// When this run learnt of it.
    known_since: Instant,
    /// The number of hits.
    pub hits: u64,
    /// The numbers of its lines, for people. May be incomplete.
    pub numbers: LogRanges,
    /// For each log: its number, where it was last seen, and its lines in the batch.
    pub lines: Vec<(LogId, PathBuf, Ranges)>,
    /// Set if the batch was answered: Matomo has these of its hits and no others. Its lines are not
    /// done because they need hits of other batches as well.
    pub recorded: Option<HitIds>,
}

impl PendingBatch {
    /// When it was sent, by the clock of that time.
    pub fn sent_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.sent.wall)
    }

    /// How long ago it was sent, at least.
    pub fn elapsed(&self) -> Duration {
        self.sent.elapsed(self.known_since)
    }

    /// How long ago it was sent by the clock, which may be wrong: for people. Unlike
    /// [`Self::elapsed`], it continues when the system is started again.
    pub fn age(&self) -> Duration {
        let by_clock = failpoint::now().duration_since(self.sent_at());
        by_clock.unwrap_or_default().max(self.elapsed())
    }

    /// Whether its hits may be in Matomo's queue, and come out of that at any time.
    pub fn may_be_in_queue(&self) -> bool {
        self.recorded.is_none() && self.state.may_be_in_queue()
    }

    /// Its lines of a log.
    pub fn lines_of(&self, log: LogId) -> &Ranges {
        static NONE: Ranges = Ranges::EMPTY;
        let mut lines = self.lines.iter();
        let of_log = lines.find(|(id, ..)| *id == log);
        of_log.map_or(&NONE, |(_, _, lines)| lines)
    }

    pub fn has_lines_of(&self, log: LogId) -> bool {
        self.lines.iter().any(|(id, ..)| *id == log)
    }

    /// Where its lines are: `access.log: lines 3-5, 9`, for each log.
    pub fn location(&self) -> String {
        let of_log = |(log, path, _): &(LogId, PathBuf, Ranges)| {
            let numbers = self.numbers.get(log).map(Ranges::as_some_numbers);
            let numbers = numbers.map_or_else(String::new, |text| format!(": lines {text}"));
            format!("{}{numbers}", path.display())
        };
        let logs: Vec<String> = self.lines.iter().map(of_log).collect();
        logs.join("; ")
    }
}

/// Lines that Matomo may or may not have, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnconfirmedLines {
    pub log: String,
    /// Their numbers: `3-5, 9`.
    pub lines: String,
    /// The number of hits.
    pub hits: u64,
    /// What was reported: why they are unconfirmed, and whether they were sent again.
    pub outcome: String,
}

/// Unconfirmed lines as the ledger lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLines {
    pub target: Checksum,
    pub lines: UnconfirmedLines,
    /// Seconds since 1970 (UTC).
    pub time: u64,
    /// Whether a run that ended has reported them.
    pub is_reported: bool,
}

/// What is no longer needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub logs: Vec<LogId>,
    pub batches: Vec<BatchId>,
    /// Numbers of unconfirmed lines in their list.
    pub unlisted: Vec<u64>,
}

/// What the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerState {
    pub salt: Salt,
    /// When the ledger was last opened, in days since 1970 (UTC).
    pub day: u64,
    /// On how many days it was opened.
    pub days: u64,
    pub next_log: u64,
    pub next_batch: u64,
    /// The text of each target, for people and for messages.
    pub targets: BTreeMap<Checksum, String>,
    pub logs: BTreeMap<LogId, KnownLog>,
    pub batches: BTreeMap<BatchId, BatchEntry>,
    pub unconfirmed: BTreeMap<u64, ListedLines>,
}

impl LedgerState {
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            day: 0,
            days: 0,
            next_log: 1,
            next_batch: 1,
            targets: BTreeMap::new(),
            logs: BTreeMap::new(),
            batches: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
        }
    }

    pub fn add_log(&mut self, fingerprint: Fingerprint) -> LogId {
        let log = LogId(self.next_log);
        self.next_log += 1;
        self.logs.insert(log, KnownLog::new(fingerprint, self.days));
        log
    }

    /// Lists unconfirmed lines. Returns their number in the list.
    pub fn list(&mut self, lines: ListedLines) -> u64 {
        let last = self.unconfirmed.last_key_value();
        let id = last.map_or(1, |(id, _)| id.saturating_add(1));
        self.unconfirmed.insert(id, lines);
        id
    }

    pub fn add_batch(&mut self, entry: BatchEntry) -> BatchId {
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        self.batches.insert(batch, entry);
        batch
    }

    /// The open batches of a target, oldest first.
    pub fn pending_for(&self, target: Checksum) -> Vec<PendingBatch> {
        let entries = self.batches.iter();
        let ours = entries.filter(|(_, entry)| entry.target == target);
        ours.map(|(id, entry)| PendingBatch {
            id: *id,
            state: entry.state,
            runs: entry.runs,
            sent: entry.sent.clone(),
            known_since: Instant::now(),
            hits: entry.hits,
            numbers: entry.numbers.clone(),
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

    pub fn mark_done(&mut self, lines: &LogRanges) {
        for (log, ranges) in lines {
            if let Some(known) = self.logs.get_mut(log) {
                known.done.extend(ranges);
            }
        }
    }

    /// Takes the lines of a log and their hits out of a batch. Returns the rest, or closes the
    /// batch if nothing is left.
    pub fn take_log(&mut self, batch: BatchId, log: LogId, hits: u64) -> Option<BatchEntry> {
        let entry = self.batches.get_mut(&batch)?;
        entry.lines.remove(&log);
        entry.numbers.remove(&log);
        entry.hits = entry.hits.saturating_sub(hits);
        match entry.lines.is_empty() {
            true => {
                self.batches.remove(&batch);
                None
            }
            false => Some(entry.clone()),
        }
    }

    /// Closes a batch whose lines are done, and returns them.
    pub fn confirm(&mut self, batch: BatchId) -> Option<LogRanges> {
        let lines = self.batches.remove(&batch)?.lines;
        self.mark_done(&lines);
        Some(lines)
    }

    /// Whether no run has to send these lines.
    fn are_done(&self, lines: &LogRanges) -> bool {
        lines.iter().all(|(log, lines)| {
            let known = self.logs.get(log);
            known.is_none_or(|known| known.done.contains_all(lines))
        })
    }

    /// Notes that the ledger is opened at `now` (seconds since 1970, UTC), and forgets what is no
    /// longer needed.
    pub fn open(&mut self, now: u64) -> Forgotten {
        if self.day != now / DAY {
            self.day = now / DAY;
            self.days += 1;
        }
        let days = self.days;
        let is_pending = |state: &Self, log: &LogId| {
            let mut entries = state.batches.values();
            let is_given_up = |entry: &BatchEntry| entry.state == BatchState::Unconfirmed;
            entries.any(|entry| entry.lines.contains_key(log) && !is_given_up(entry))
        };
        let mut by_age: Vec<_> = (self.logs.iter())
            .map(|(id, log)| (log.fingerprint.seen, log.day, *id))
            .collect();
        by_age.sort_unstable();
        let too_many = by_age.len().saturating_sub(MANY_LOGS);
        let mut forgotten = Vec::new();
        for (index, (seen, day, log)) in by_age.into_iter().enumerate() {
            let max_age = match index < too_many {
                true => MAX_LOG_AGE_IF_MANY,
                false => MAX_LOG_AGE,
            };
            let is_old =
                now.saturating_sub(seen) > max_age && days.saturating_sub(day) >= MIN_DAYS_IN_USE;
            if is_old && !is_pending(self, &log) {
                self.logs.remove(&log);
                forgotten.push(log);
            }
        }
        // Another batch has made the lines done, or their log is forgotten.
        let entries = self.batches.iter();
        let closed: Vec<BatchId> = entries
            .filter(|(_, entry)| self.are_done(&entry.lines))
            .map(|(id, _)| *id)
            .collect();
        self.batches.retain(|id, _| !closed.contains(id));
        let is_old = |listed: &ListedLines| {
            listed.is_reported && now.saturating_sub(listed.time) > MAX_LOG_AGE
        };
        let listed = self.unconfirmed.iter();
        let unlisted: Vec<u64> = listed
            .filter(|(_, listed)| is_old(listed))
            .map(|(id, _)| *id)
            .collect();
        self.unconfirmed.retain(|id, _| !unlisted.contains(id));
        Forgotten {
            logs: forgotten,
            batches: closed,
            unlisted,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ledger::fingerprint::{FileId, HeadChecksum, PathText};

    const NOW: u64 = 20_000 * DAY;

    fn seen(log: u64, seen: u64) -> KnownLog {
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
        KnownLog::new(fingerprint, 0)
    }

    /// A state with logs of these numbers and times of last being seen.
    fn state(logs: &[(u64, u64)]) -> LedgerState {
        let mut state = LedgerState::new(Salt([7; 16]));
        state.days = 100;
        for &(log, last) in logs {
            state.logs.insert(LogId(log), seen(log, last));
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

    fn batch(log: u64) -> BatchEntry {
        BatchEntry {
            target: Checksum::of(b"target"),
            sent: SentAt::default(),
            hits: 1,
            numbers: LogRanges::new(),
            lines: lines(log),
            state: BatchState::Pending,
            runs: 0,
            recorded: None,
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
    fn runs_with_a_wrong_clock_forget_nothing() {
        // Some runs are in the future, or the log was seen by a clock that was behind.
        for (log_seen, wrong) in [(NOW, NOW + 10_000 * DAY), (NOW - 500 * DAY, NOW)] {
            let mut state = LedgerState::new(Salt([7; 16]));
            state.open(log_seen);
            let log = state.add_log(seen(1, log_seen).fingerprint);
            for run in 0..20 {
                state.open(wrong + run * DAY);
            }
            assert!(state.logs.contains_key(&log), "{log_seen}");
            for run in 0..500 {
                state.open(wrong + run * DAY);
            }
            assert!(state.logs.is_empty());
        }
    }

    #[test]
    fn runs_of_one_day_count_once() {
        let mut state = LedgerState::new(Salt([7; 16]));
        for second in 0..100 {
            state.open(NOW + second);
        }
        assert_eq!((state.days, state.day), (1, 20_000));
    }

    #[test]
    fn a_log_with_a_pending_batch_is_never_forgotten() {
        let mut state = state(&[(1, 0)]);
        state.add_batch(batch(1));
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
    fn unconfirmed_lines_are_listed_until_they_are_reported_and_old() {
        let mut state = state(&[]);
        let listed = |time: u64, is_reported: bool| ListedLines {
            target: Checksum::of(b"target"),
            lines: UnconfirmedLines {
                log: "access.log".to_owned(),
                lines: "1".to_owned(),
                hits: 1,
                outcome: String::new(),
            },
            time,
            is_reported,
        };
        let old = NOW - 401 * DAY;
        state.list(listed(old, false));
        let second = state.list(listed(old, true));
        state.list(listed(NOW - DAY, true));
        assert_eq!(state.open(NOW).unlisted, [second]);
        assert_eq!(state.unconfirmed.len(), 2);
    }

    #[test]
    fn confirming_a_batch_marks_its_lines_as_done() {
        let mut state = state(&[(1, NOW), (2, NOW)]);
        let confirmed = state.add_batch(batch(1));
        state.add_batch(batch(2));
        assert_eq!(state.pending_for(Checksum::of(b"target")).len(), 2);
        assert_eq!(state.pending_for(Checksum::of(b"another")).len(), 0);
        assert_eq!(state.confirm(confirmed), Some(lines(1)));
        assert_eq!(state.confirm(confirmed), None);
        assert_eq!(state.logs[&LogId(1)].done.first_gap(), 10);
        assert!(state.logs[&LogId(2)].done.is_empty() && state.batches.len() == 1);
    }

    #[test]
    fn a_batch_of_several_logs_is_open_until_each_is_settled() {
        let mut state = state(&[(1, NOW), (2, NOW)]);
        let mut both = batch(1);
        both.hits = 5;
        both.lines.extend(lines(2));
        let id = state.add_batch(both);
        let rest = state.take_log(id, LogId(1), 3).unwrap();
        assert_eq!((rest.lines, rest.hits), (lines(2), 2));
        assert_eq!(state.batches[&id].lines, lines(2));
        assert_eq!(state.take_log(id, LogId(2), 2), None);
        assert_eq!(state.take_log(id, LogId(2), 2), None);
        assert!(state.batches.is_empty());
    }

    #[test]
    fn a_batch_is_kept_until_its_lines_are_done() {
        let mut state = state(&[(1, NOW)]);
        let recorded = state.add_batch(BatchEntry {
            recorded: Some([b"abcdef"].into_iter().collect()),
            ..batch(1)
        });
        let other = state.add_batch(batch(1));
        assert_eq!(state.open(NOW), Forgotten::default());
        state.confirm(other);
        assert_eq!(state.open(NOW).batches, [recorded]);
        assert!(state.batches.is_empty());
    }
}
