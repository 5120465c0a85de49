//! The ledger: which lines are done, kept on disk, so that no line is lost and none is sent twice
//! (guide/guarantees.md, "Ledger").
//!
//! For each log, recognized by its content (see `fingerprint`), the ledger keeps the lines that are
//! done: all lines before a position, and ranges after it, in decompressed bytes. Recorders may
//! therefore send batches in any order. A batch is *pending* from before it is sent until Matomo
//! has answered, then *acknowledged*, and *confirmed* when its lines are done. A batch that is open
//! when the ledger is opened was left by an interrupted run: the importer asks Matomo about it.
//!
//! The steps for a log:
//!
//! 1. [`Ledger::lookup`] finds out which log a file is and where to resume.
//! 2. [`Ledger::note_read`] takes each block before its lines are processed.
//! 3. [`Ledger::mark_done`] takes lines that need no request.
//! 4. [`Ledger::begin_batch`] takes a batch before it is sent; [`Ledger::confirm`],
//!    [`Ledger::settle`] or [`Ledger::forget`] close it. [`Ledger::acknowledge`] comes in between
//!    if the answer is not proof enough, and [`Ledger::note_recorded`] if its lines need other
//!    batches as well.
//!
//! Each change is applied to the `LedgerState` in memory and sent to the `LedgerWriter`, whose
//! thread writes it to the `Database`. Only the beginning of a batch waits for the disk: what a
//! crash loses of the rest, the next run asks Matomo about.

mod clock;
mod database;
mod directory;
mod fingerprint;
mod legacy;
mod lookup;
mod object;
mod ranges;
pub mod spool;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::UNIX_EPOCH;

use url::Url;

pub use self::fingerprint::FileId;
pub use self::lookup::{FileChange, FileProbe, LogFile, LogState, ReadAt};
pub use self::ranges::{LogRanges, Ranges};
pub use self::state::{
    BatchId, BatchLines, BatchState, HitIds, LogId, PendingBatch, UnconfirmedLines,
};

pub use self::status::StateCommand;

use self::clock::SentAt;
use self::database::{Change, Database};
use self::directory::{StateLock, check_place, remove_dir};
use self::fingerprint::{Checksum, ChecksumTracker};
use self::object::ObjectIndex;
use self::state::{BatchEntry, Forgotten, LedgerState, ListedLines, Salt};
use self::writer::LedgerWriter;
use crate::error::{Error, Result};
use crate::failpoint::{self, reach};
use crate::sync::Mutex;

/// Number of folder names to try in one place for the ledger of an interrupted run.
const MAX_FOLDERS: u32 = 100;

/// Logs whose checksums are continued when more is read of them. A log that is not among them gets
/// checksums of fewer bytes.
const MAX_TRACKERS: usize = 128;

/// How many logs of one name may have more to read: the last one, and those before it that were
/// still read when the run ended.
const MAX_LOGS_OF_A_NAME: usize = 3;

/// After so many ranges, the lines that are done are written anew, all in one list.
const MAX_UNMERGED_RANGES: usize = 200_000;

/// Where hits go. Lines that are done for one target are not done for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetKey {
    /// Also used in messages.
    text: String,
}

impl TargetKey {
    /// From Matomo's address and the value of `--idsite`. The scheme with its default port,
    /// credentials and the name of the script make no difference.
    pub fn new(url: &Url, idsite: Option<&str>) -> Self {
        const SCRIPTS: [&str; 3] = ["/index.php", "/matomo.php", "/piwik.php"];
        let host = url.host_str().unwrap_or_default();
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        let path = url.path().trim_end_matches('/');
        let path = SCRIPTS
            .iter()
            .find_map(|script| path.strip_suffix(script))
            .unwrap_or(path);
        let idsite = idsite.map_or_else(String::new, |idsite| match idsite.parse::<u64>() {
            Ok(number) => format!(" idsite={number}"),
            Err(_) => format!(" idsite={idsite}"),
        });
        Self {
            text: format!("{host}{port}{path}{idsite}"),
        }
    }

    fn key(&self) -> Checksum {
        Checksum::of(self.text.as_bytes())
    }
}

/// Which part of the logs a worker imports, with `--shard`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardKey {
    /// Its number and that of all shards: `1/4`.
    pub shard: String,
    /// The options that decide which shard a line is in.
    pub options: String,
}

impl ShardKey {
    /// As it follows the name of a target.
    fn suffix(&self) -> String {
        let options = Checksum::of(self.options.as_bytes());
        format!(" shard={} options={options}", self.shard)
    }
}

/// The result of [`Ledger::open`].
#[derive(Debug)]
pub struct OpenedLedger {
    pub ledger: Ledger,
    /// For the user: spools of other targets.
    pub warnings: Vec<String>,
    /// The batches of this target that earlier runs left open, oldest first.
    pub pending: Vec<PendingBatch>,
    /// Unconfirmed lines that an earlier run listed, but did not get to report.
    pub unreported: Vec<UnconfirmedLines>,
}

/// The ledger of one target. Its methods may be called from several threads.
#[derive(Debug)]
pub struct Ledger {
    target: Checksum,
    /// The text of the target.
    target_text: String,
    /// The first batch of this run.
    first_batch: BatchId,
    inner: Mutex<TrackedState>,
    /// `None` for a run without a state directory.
    writer: Option<LedgerWriter>,
    /// Whether the number of a log follows from its content.
    is_of_queue: bool,
}

impl Ledger {
    /// Opens the ledger in a directory, which is created if necessary, and locked until the ledger
    /// is dropped.
    ///
    /// A crash never makes this fail.
    ///
    /// # Errors
    ///
    /// If another run uses the directory, others can write to it, a file cannot be read or written,
    /// or the ledger is damaged or was written by a newer version.
    pub fn open(dir: &Path, target: &TargetKey) -> Result<OpenedLedger> {
        let lock = StateLock::take(dir)?;
        let (database, state, unmerged) = Database::open(dir)?;
        let mut warnings = Vec::new();
        for (path, key) in spool::of_others(dir, target)? {
            let other = state.targets.get(&key).map_or("another", String::as_str);
            warnings.push(format!(
                "{}: data from a pipe for {other} is still to be imported: run again with that --url \
                 and --idsite and this --state-dir, or remove the file",
                path.display()
            ));
        }
        let ledger = Self::new(target, state, Some(LedgerWriter::start(database, lock)?));
        ledger.lock().unmerged = unmerged;
        let (pending, unreported) = {
            let state = &ledger.lock().state;
            let listed = state.unconfirmed.values();
            let unreported = listed.filter(|it| it.target == target.key() && !it.is_reported);
            let unreported = unreported.map(|it| it.lines.clone()).collect();
            (state.pending_for(target.key()), unreported)
        };
        Ok(OpenedLedger {
            ledger,
            warnings,
            pending,
            unreported,
        })
    }

    /// A ledger for a run without a state directory. It is only kept if [`Ledger::save_in`] is
    /// called.
    pub fn in_memory(target: &TargetKey) -> Result<Self> {
        Ok(Self::new(target, LedgerState::new(Salt::random()?), None))
    }

    /// A ledger for a worker on a queue of objects. It is not kept. All workers make the same hit
    /// identifiers, since these depend on the content of an object instead of a random salt.
    pub fn of_queue(target: &TargetKey) -> Self {
        let state = LedgerState::new(Salt(*b"objects in queue"));
        Self {
            is_of_queue: true,
            ..Self::new(target, state, None)
        }
    }

    fn new(target: &TargetKey, mut state: LedgerState, writer: Option<LedgerWriter>) -> Self {
        let (key, name) = (target.key(), target.text.clone());
        let forgotten = state.open(now());
        let mut changes = vec![Change::Opened((&state).into())];
        if let Entry::Vacant(target) = state.targets.entry(key) {
            target.insert(name.clone());
            changes.push(Change::Target(key, name.clone()));
        }
        let ledger = Self {
            target: key,
            target_text: name,
            first_batch: BatchId(state.next_batch),
            inner: Mutex::new(TrackedState::new(state)),
            writer,
            is_of_queue: false,
        };
        changes
            .into_iter()
            .for_each(|change| ledger.write_later(change));
        ledger.write_forgotten(forgotten);
        ledger
    }

    /// Notes which part of the logs this run imports, `None` for all. To the next run, the lines of
    /// other shards are done.
    ///
    /// # Errors
    ///
    /// If an earlier run imported another part for this target. The error names both.
    pub fn claim_shard(&self, shard: Option<&ShardKey>) -> Result<()> {
        let suffix = shard.map_or_else(String::new, ShardKey::suffix);
        let name = format!("{}{suffix}", self.target_text);
        let mut inner = self.lock();
        let state = &mut inner.state;
        let known = state.targets.get(&self.target).cloned().unwrap_or_default();
        if known == name {
            return Ok(());
        }
        let mut logs = state.logs.values();
        let mut batches = state.batches.values();
        let is_used = logs.any(|log| log.fingerprint.target == self.target)
            || batches.any(|batch| batch.target == self.target);
        if !is_used {
            state.targets.insert(self.target, name.clone());
            self.write_later(Change::Target(self.target, name));
            return Ok(());
        }
        let known = known.strip_prefix(&self.target_text).unwrap_or_default();
        let known = known
            .strip_prefix(" shard=")
            .map(|known| match known.split_once(' ') {
                Some((known, _)) => known,
                None => known,
            });
        let name = |shard: Option<&str>| {
            shard.map_or_else(
                || "no --shard".to_owned(),
                |shard| format!("--shard={shard}"),
            )
        };
        let now = shard.map(|shard| &*shard.shard);
        Err(Error::stopped(match known == now {
            true => format!(
                "{} was imported with other options that decide which shard a line is in \
                 (--client-ip, --trusted-proxy, --anonymize-ip, --privacy, --replay-tracking, \
                 --ignore-groups, and those that describe the log format)",
                name(now)
            ),
            false => format!(
                "earlier runs had {} and this one has {}",
                name(known),
                name(now)
            ),
        }))
    }

    fn write_forgotten(&self, forgotten: Forgotten) {
        let Forgotten {
            logs,
            batches,
            unlisted,
        } = forgotten;
        let logs = logs.into_iter().map(Change::ForgotLog);
        let batches = batches.into_iter().map(Change::Closed);
        let unlisted = unlisted.into_iter().map(Change::Unlisted);
        (logs.chain(batches).chain(unlisted)).for_each(|change| self.write_later(change));
    }

    /// Writes a ledger that was only in memory to a new folder `import-logs-state` in this one, so
    /// that the next run can resume. If the name is taken, it gets a number. Returns its path.
    ///
    /// # Errors
    ///
    /// If other users can replace that folder, or it cannot be written. Then it is removed.
    pub fn save_in(&self, place: &Path) -> Result<PathBuf> {
        check_place(place)?;
        for number in 1..=MAX_FOLDERS {
            let dir = place.join(match number {
                1 => "import-logs-state".to_owned(),
                _ => format!("import-logs-state-{number}"),
            });
            let Some(lock) = StateLock::create(&dir).inspect_err(|_| remove_dir(&dir))? else {
                continue;
            };
            let mut inner = self.lock();
            self.write_tracked(&mut inner);
            let saved = Database::create(&dir, &inner.state);
            drop(lock);
            saved.inspect_err(|_| remove_dir(&dir))?;
            return Ok(dir);
        }
        Err(Error::stopped(format!(
            "{MAX_FOLDERS} folders import-logs-state are in {} already",
            place.display()
        )))
    }

    /// Whether this ledger is kept in a state directory.
    pub fn is_on_disk(&self) -> bool {
        self.writer.is_some()
    }

    /// Random bytes that never change in this ledger. A hit identifier is computed from them and
    /// from the log and position of its line, so a later run computes the same one.
    pub fn salt(&self) -> [u8; 16] {
        self.lock().state.salt.0
    }

    /// Takes a block of decompressed bytes that was read at position `start`. It must be called
    /// before any line that ends in the block is processed, because its last bytes identify the log
    /// in the next run. Writes nothing at once.
    pub fn note_read(&self, log: LogId, start: u64, block: &[u8]) -> Result<()> {
        let mut inner = self.lock();
        inner.read_logs.insert(log);
        // Blocks may be read twice, for example to detect the format. The tail never moves back.
        let tail = inner.state.logs.get(&log).and_then(|known| known.tail);
        if tail.is_some_and(|tail| start.saturating_add(block.len() as u64) <= tail.position) {
            return Ok(());
        }
        if !inner.trackers.contains_key(&log) {
            self.write_checksums(&mut inner);
            inner.track(ChecksumTracker::new(log, Vec::new()));
        }
        if let Some(tracker) = inner.trackers.get_mut(&log) {
            tracker.add(start, block);
        }
        Ok(())
    }

    /// Lets this run read a log again as if an earlier run had read it. Call it when nothing of the
    /// log is under way.
    pub fn release(&self, log: LogId) {
        let mut inner = self.lock();
        self.write_checksums(&mut inner);
        inner.trackers.remove(&log);
        inner.read_logs.remove(&log);
    }

    /// The last logs that were read and had this name when they were looked up, the oldest first.
    pub fn last_logs_at(&self, path: &Path) -> Vec<LogId> {
        let path = lookup::absolute(path);
        let inner = self.lock();
        let logs = inner.state.logs.iter().rev().filter(|(_, log)| {
            log.fingerprint.target == self.target
                && log.tail.is_some()
                && log.fingerprint.path.0.as_os_str() == path.as_os_str()
        });
        let mut last: Vec<LogId> = logs.map(|(id, _)| *id).take(MAX_LOGS_OF_A_NAME).collect();
        last.reverse();
        last
    }

    /// Forgets what is no longer needed, as opening the ledger does. For a run that takes days;
    /// `open` are the logs that it reads.
    pub fn forget_old(&self, open: &[LogId]) {
        let mut inner = self.lock();
        let (now, days) = (now(), inner.state.days);
        for log in open {
            if let Some(known) = inner.state.logs.get_mut(log) {
                known.fingerprint.seen = now.max(known.fingerprint.seen);
                known.day = days;
                let known = known.without_lines();
                self.write_later(Change::Log(*log, known));
            }
        }
        let forgotten = inner.state.open(now);
        self.write_later(Change::Opened((&inner.state).into()));
        self.write_forgotten(forgotten);
    }

    /// Marks adjacent lines as done: headers, filtered and invalid lines, and others that need no
    /// further request. Written with the next batch; after a crash before that, the next run reads
    /// the lines again.
    pub fn mark_done(&self, log: LogId, range: Range<u64>, lines: u64) {
        let mut inner = self.lock();
        if let Some(known) = inner.state.logs.get_mut(&log) {
            known.done.insert(range.clone(), lines);
            let marked = inner.marked_done.entry(log).or_default();
            marked.insert(range, lines);
        }
    }

    /// Whether no log is known.
    pub fn is_empty(&self) -> bool {
        self.lock().state.logs.is_empty()
    }

    /// The position in a log before which all lines are done, in decompressed bytes.
    pub fn position(&self, log: LogId) -> u64 {
        let inner = self.lock();
        let known = inner.state.logs.get(&log);
        known.map_or(0, |known| known.done.first_gap())
    }

    /// Whether some of the lines read are not done yet.
    pub fn has_unfinished_lines(&self, log: LogId) -> bool {
        let mut inner = self.lock();
        // How far the log was read.
        self.write_checksums(&mut inner);
        let known = inner.state.logs.get(&log);
        known.is_some_and(|known| known.done.first_gap() < known.read_position())
    }

    /// The batches that are in Matomo's queue, or may be there since an earlier run.
    pub fn batches_in_queue(&self) -> Vec<PendingBatch> {
        let mut batches = self.lock().state.pending_for(self.target);
        batches.retain(|batch| {
            let may_be_under_way =
                batch.state == BatchState::Queuing && batch.id >= self.first_batch;
            batch.may_be_in_queue() && !may_be_under_way
        });
        batches
    }

    /// The number of hits that may be in Matomo's queue.
    pub fn hits_in_queue(&self) -> u64 {
        let inner = self.lock();
        let batches = inner.state.batches.values();
        let queued = batches.filter(|entry| entry.target == self.target && entry.may_be_in_queue());
        queued.map(|entry| entry.hits).sum()
    }

    /// Whether lines of a log may be in Matomo's queue.
    pub fn has_queued_lines(&self, log: LogId) -> bool {
        let inner = self.lock();
        let mut batches = inner.state.batches.values();
        batches.any(|entry| entry.may_be_in_queue() && entry.lines.contains_key(&log))
    }

    /// Must be called before a batch is sent, with its lines and its number of hits. When it
    /// returns, the pending batch is on disk.
    ///
    /// # Errors
    ///
    /// If it cannot be written. Then there is no such batch.
    pub fn begin_batch(&self, lines: impl Into<BatchLines>, hits: u64) -> Result<BatchId> {
        self.begin(lines.into(), hits, BatchState::Pending)
    }

    /// The same for a batch that is sent to Matomo's queue.
    ///
    /// # Errors
    ///
    /// If it cannot be written. Then there is no such batch.
    pub fn begin_queued_batch(&self, lines: impl Into<BatchLines>, hits: u64) -> Result<BatchId> {
        self.begin(lines.into(), hits, BatchState::Queuing)
    }

    fn begin(&self, lines: BatchLines, hits: u64, state: BatchState) -> Result<BatchId> {
        let mut inner = self.lock();
        self.write_tracked(&mut inner);
        let BatchLines { bytes, numbers } = lines;
        let entry = BatchEntry {
            target: self.target,
            sent: SentAt::now(),
            hits,
            numbers,
            lines: bytes,
            state,
            runs: 0,
            recorded: None,
        };
        let batch = inner.state.add_batch(entry.clone());
        drop(inner);
        if let Some(writer) = &self.writer {
            let written = writer.write_and_wait(Change::Began(batch, entry));
            written.inspect_err(|_| drop(self.lock().state.batches.remove(&batch)))?;
        }
        reach("after-intent");
        Ok(batch)
    }

    /// Notes that Matomo has answered that it has a batch. Its lines are not done yet.
    pub fn acknowledge(&self, batch: BatchId) -> Result<()> {
        self.set_state(batch, BatchState::Acknowledged)
    }

    /// Notes that Matomo has put a batch into its queue. Its lines are not done yet.
    pub fn note_queued(&self, batch: BatchId) -> Result<()> {
        self.set_state(batch, BatchState::Queued)
    }

    fn set_state(&self, batch: BatchId, state: BatchState) -> Result<()> {
        let mut inner = self.lock();
        if let Some(entry) = inner.state.batches.get_mut(&batch) {
            entry.state = state;
        }
        self.write(inner, Change::BatchState(batch, state))
    }

    /// Marks the lines of a batch as done: Matomo has it, or it was given up and reported.
    pub fn confirm(&self, batch: BatchId) -> Result<()> {
        let mut inner = self.lock();
        if let Some(lines) = inner.state.confirm(batch) {
            inner.unmerged.add(&lines);
        }
        self.write(inner, Change::Confirmed(batch))
    }

    /// Notes that a run has ended without settling a batch of an earlier one.
    pub fn count_run(&self, batch: BatchId) -> Result<()> {
        let mut inner = self.lock();
        if let Some(entry) = inner.state.batches.get_mut(&batch) {
            entry.runs = entry.runs.saturating_add(1);
        }
        self.write(inner, Change::CountedRun(batch))
    }

    /// Gives up a batch of an earlier run: it was reported with its lines, and no run has to settle
    /// it. If its log is read again, it is settled even so.
    pub fn give_up(&self, batch: BatchId) -> Result<()> {
        self.set_state(batch, BatchState::Unconfirmed)
    }

    /// Lists lines that Matomo may or may not have, before that is reported.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn list_unconfirmed(&self, lines: UnconfirmedLines) -> Result<()> {
        let listed = ListedLines {
            target: self.target,
            lines,
            time: now(),
            is_reported: false,
        };
        let id = self.lock().state.list(listed.clone());
        match &self.writer {
            Some(writer) => writer.write_and_wait(Change::Listed(id, listed)),
            None => Ok(()),
        }
    }

    /// Notes that all unconfirmed lines of this target are reported.
    pub fn mark_reported(&self) {
        let mut inner = self.lock();
        let listed = inner.state.unconfirmed.values_mut();
        let mut is_changed = false;
        for listed in listed.filter(|it| it.target == self.target && !it.is_reported) {
            listed.is_reported = true;
            is_changed = true;
        }
        if is_changed {
            self.write_later(Change::Reported(self.target));
        }
    }

    /// Whether earlier runs left batches that are neither settled nor given up.
    pub fn has_earlier_batches(&self) -> bool {
        let inner = self.lock();
        let mut earlier = inner.state.batches.range(..self.first_batch);
        earlier.any(|(_, entry)| {
            entry.target == self.target
                && entry.recorded.is_none()
                && entry.state != BatchState::Unconfirmed
        })
    }

    /// The file in which a log was last seen.
    pub fn file_of(&self, log: LogId) -> Option<FileId> {
        let inner = self.lock();
        inner.state.logs.get(&log).map(|log| log.fingerprint.file)
    }

    /// The lines of a log that are done.
    pub fn done(&self, log: LogId) -> Ranges {
        let inner = self.lock();
        let known = inner.state.logs.get(&log);
        known.map_or_else(Ranges::default, |known| known.done.clone())
    }

    /// Begins another batch with the lines of one that was acknowledged, to send some of its hits
    /// again.
    pub fn begin_again(&self, batch: BatchId, hits: u64) -> Result<BatchId> {
        let lines = self
            .lock()
            .state
            .batches
            .get(&batch)
            .map(|entry| BatchLines {
                bytes: entry.lines.clone(),
                numbers: entry.numbers.clone(),
            });
        self.begin_batch(lines.unwrap_or_default(), hits)
    }

    /// Notes that Matomo has these hits of a batch, while the lines of the batch also need hits of
    /// other batches. The batch stays open until its lines are done.
    pub fn note_recorded(&self, batch: BatchId, hit_ids: HitIds) -> Result<()> {
        let mut inner = self.lock();
        if let Some(entry) = inner.state.batches.get_mut(&batch) {
            entry.recorded = Some(hit_ids.clone());
        }
        self.write(inner, Change::Recorded(batch, hit_ids))
    }

    /// Like [`Ledger::note_recorded`], for lines of an earlier run's batch if Matomo has only some
    /// of their hits.
    pub fn note_recorded_lines(&self, lines: LogRanges, hit_ids: HitIds) -> Result<()> {
        let hits = hit_ids.iter().count() as u64;
        let batch = self.begin_batch(lines, hits)?;
        self.note_recorded(batch, hit_ids)
    }

    /// Closes a batch whose outcome is known. Matomo has the lines that were found, so they are
    /// done. It does not have the others, so they may be sent again in another batch.
    pub fn settle(&self, batch: BatchId, found: LogRanges) -> Result<()> {
        let mut inner = self.lock();
        inner.state.batches.remove(&batch);
        inner.state.mark_done(&found);
        for (log, ranges) in &found {
            inner.marked_done.entry(*log).or_default().extend(ranges);
        }
        self.write(inner, Change::Closed(batch))
    }

    /// Like [`Ledger::settle`], for the lines of one log and their hits. A batch with lines of
    /// other logs stays open with those.
    pub fn settle_log(&self, batch: BatchId, log: LogId, found: Ranges, hits: u64) -> Result<()> {
        let mut inner = self.lock();
        inner
            .state
            .mark_done(&LogRanges::from([(log, found.clone())]));
        inner.marked_done.entry(log).or_default().extend(&found);
        let change = match inner.state.take_log(batch, log, hits) {
            Some(rest) => Change::Reduced(batch, rest),
            None => Change::Closed(batch),
        };
        self.write(inner, change)
    }

    /// Closes a batch that was not sent, or that Matomo certainly did not process.
    pub fn forget(&self, batch: BatchId) -> Result<()> {
        self.settle(batch, LogRanges::new())
    }

    /// Waits until everything so far is on disk.
    pub fn flush(&self) -> Result<()> {
        self.write_tracked(&mut self.lock());
        match &self.writer {
            Some(writer) => writer.flush(),
            None => Ok(()),
        }
    }

    /// Writes everything. Without it, only the lines of [`Ledger::mark_done`] since the last batch
    /// are lost.
    pub fn close(&self) -> Result<()> {
        {
            let mut inner = self.lock();
            self.write_tracked(&mut inner);
            self.merge(&mut inner);
        }
        self.flush()
    }

    fn lock(&self) -> MutexGuard<'_, TrackedState> {
        self.inner.lock()
    }

    /// Writes what was done so far and then this change, within 20 ms. `inner` is the state after
    /// it.
    fn write(&self, mut inner: MutexGuard<'_, TrackedState>, change: Change) -> Result<()> {
        self.write_tracked(&mut inner);
        if let Some(writer) = &self.writer {
            writer.write(change);
        }
        if inner.unmerged.ranges > MAX_UNMERGED_RANGES {
            self.merge(&mut inner);
        }
        Ok(())
    }

    fn write_later(&self, change: Change) {
        if let Some(writer) = &self.writer {
            writer.write_later(change);
        }
    }

    /// Writes the checksums of the logs being read, and the lines that are done without a batch.
    fn write_tracked(&self, inner: &mut TrackedState) {
        self.write_checksums(inner);
        let lines = std::mem::take(&mut inner.marked_done);
        if !lines.is_empty() {
            inner.unmerged.add(&lines);
            self.write_later(Change::Done(lines));
        }
    }

    /// Writes the checksums of the logs being read, if they have changed.
    fn write_checksums(&self, inner: &mut TrackedState) {
        for tracker in inner.trackers.values_mut() {
            if let Some(read) = tracker.take_changes()
                && let Some(known) = inner.state.logs.get_mut(&tracker.log)
            {
                known.note_read(read);
                self.write_later(Change::Log(tracker.log, known.without_lines()));
            }
        }
    }

    /// Writes all lines that are done in one list for each log, instead of one for each batch.
    fn merge(&self, inner: &mut TrackedState) {
        let Unmerged { logs, ranges } = std::mem::take(&mut inner.unmerged);
        if ranges == 0 {
            return;
        }
        for log in logs {
            if let Some(known) = inner.state.logs.get(&log) {
                self.write_later(Change::AllDone(log, known.done.clone()));
            }
        }
        self.write_later(Change::Merged);
    }
}

/// The state of a ledger, and what of it was not sent to the writer yet.
#[derive(Debug)]
struct TrackedState {
    state: LedgerState,
    /// Lines that are done in `state`, but not sent to the writer.
    marked_done: LogRanges,
    /// The logs being read: one, or those that the run follows.
    trackers: BTreeMap<LogId, ChecksumTracker>,
    /// The logs that were read in this run, at least in part.
    read_logs: HashSet<LogId>,
    objects: ObjectIndex,
    unmerged: Unmerged,
}

impl TrackedState {
    fn new(state: LedgerState) -> Self {
        Self {
            objects: ObjectIndex::new(&state),
            state,
            marked_done: LogRanges::new(),
            trackers: BTreeMap::new(),
            read_logs: HashSet::new(),
            unmerged: Unmerged::default(),
        }
    }

    /// Call it after the checksums were written.
    fn track(&mut self, tracker: ChecksumTracker) {
        if self.trackers.len() >= MAX_TRACKERS {
            self.trackers.clear();
        }
        self.trackers.insert(tracker.log, tracker);
    }
}

/// What was written of lines that are done since they were last merged.
#[derive(Debug, Default)]
struct Unmerged {
    logs: BTreeSet<LogId>,
    ranges: usize,
}

impl Unmerged {
    fn add(&mut self, lines: &LogRanges) {
        for (log, ranges) in lines {
            self.logs.insert(*log);
            self.ranges += ranges.len();
        }
    }
}

/// Seconds since 1970 (UTC).
fn now() -> u64 {
    now_ms() / 1000
}

/// Milliseconds since 1970 (UTC).
fn now_ms() -> u64 {
    let since = failpoint::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
