//! The ledger: which lines are done, kept on disk, so that no line is lost and none is sent twice
//! (guide/guarantees.md, "Ledger").
//!
//! For each log, recognized by its content (see `fingerprint`), the ledger keeps the lines that are
//! done: all lines before a position, and ranges after it, in decompressed bytes. Recorders may
//! therefore send batches in any order. A batch is *pending* from before it is sent until it is
//! acknowledged or settled. A batch that is still pending when the ledger is opened was left by an
//! interrupted run: it is unconfirmed, and the importer asks Matomo about it.
//!
//! The steps for a log:
//!
//! 1. [`Ledger::lookup`] finds out which log a file is and where to resume.
//! 2. [`Ledger::note_read`] takes each block before its lines are processed.
//! 3. [`Ledger::mark_done`] takes lines that need no request.
//! 4. [`Ledger::begin_batch`] takes a batch before it is sent; [`Ledger::acknowledge`],
//!    [`Ledger::settle`] or [`Ledger::forget`] close it. [`Ledger::note_recorded`] comes in between
//!    if its lines need other batches as well.
//!
//! Each change is a `LedgerRecord`, appended to the `LedgerStore` and applied to the `LedgerState`.
//! Only `store`, `journal` and `recovery` know how records are stored.

mod fingerprint;
mod journal;
mod lookup;
mod ranges;
mod recovery;
pub mod spool;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use url::Url;

pub use self::fingerprint::FileId;
pub use self::lookup::{FileChange, FileProbe, LogFile, LogState, ReadAt};
pub use self::ranges::{LogRanges, Ranges};
pub use self::state::{BatchId, HitIds, LogId, PendingBatch};

use self::fingerprint::{Checksum, ChecksumTracker};
use self::journal::LedgerRecord;
use self::state::{LedgerState, PendingEntry, Salt};
use self::store::LedgerStore;
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::sync::{Condvar, Mutex};

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

/// The result of [`Ledger::open`].
#[derive(Debug)]
pub struct OpenedLedger {
    pub ledger: Ledger,
    /// For the user: files that were damaged, and spools of other targets.
    pub warnings: Vec<String>,
    /// The batches of this target that earlier runs left pending, oldest first.
    pub pending: Vec<PendingBatch>,
}

/// The ledger of one target. Its methods may be called from several threads.
#[derive(Debug)]
pub struct Ledger {
    target: Checksum,
    inner: Mutex<JournaledState>,
    /// Notified when a sync has ended.
    sync_ended: Condvar,
}

impl Ledger {
    /// Opens the ledger in a directory, which is created if necessary, and locked until the ledger
    /// is dropped.
    ///
    /// A crash never makes this fail. Damaged files are quarantined and named in the warnings; what
    /// they recorded counts as not done.
    ///
    /// # Errors
    ///
    /// If another run uses the directory, a file cannot be read or written, or the ledger was
    /// written by a newer version.
    pub fn open(dir: &Path, target: &TargetKey) -> Result<OpenedLedger> {
        let (store, mut state, mut warnings) = LedgerStore::open(dir)?;
        for (path, key) in spool::of_others(dir, target)? {
            let other = state.targets.get(&key).map_or("another", String::as_str);
            warnings.push(format!(
                "{}: data from a pipe for {other} is still to be imported: run again with that --url \
                 and --idsite and this --state-dir, or remove the file",
                path.display()
            ));
        }
        state.open(now());
        let ledger = Self::new(target, state, Some(store));
        let pending = {
            let mut inner = ledger.lock();
            inner.checkpoint()?;
            inner.state.pending_for(target.key())
        };
        Ok(OpenedLedger {
            ledger,
            warnings,
            pending,
        })
    }

    /// A ledger for a run without a state directory. It is only kept if [`Ledger::save_to`] is
    /// called.
    pub fn in_memory(target: &TargetKey) -> Result<Self> {
        let mut state = LedgerState::new(Salt::random()?);
        state.open(now());
        Ok(Self::new(target, state, None))
    }

    fn new(target: &TargetKey, mut state: LedgerState, store: Option<LedgerStore>) -> Self {
        state.targets.insert(target.key(), target.text.clone());
        Self {
            target: target.key(),
            inner: Mutex::new(JournaledState::new(state, store)),
            sync_ended: Condvar::new(),
        }
    }

    /// Writes a ledger that was only in memory to a directory, so that the next run can resume.
    ///
    /// # Errors
    ///
    /// If the directory contains a ledger already, or cannot be written.
    pub fn save_to(&self, dir: &Path) -> Result<()> {
        let (store, ..) = LedgerStore::open(dir)?;
        if !store.is_new() {
            return Err(Error::stopped(format!(
                "{} holds a ledger already: use another directory for this one",
                dir.display()
            )));
        }
        let mut inner = self.lock();
        inner.store = Some(store);
        inner.checkpoint()
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
        self.lock().note_read(log, start, block)
    }

    /// Marks adjacent lines as done: headers, filtered and invalid lines, and others that need no
    /// further request. Written with the next batch; after a crash before that, the next run reads
    /// the lines again.
    pub fn mark_done(&self, log: LogId, range: Range<u64>, lines: u64) {
        self.lock().mark_done(log, range, lines);
    }

    /// The position in a log before which all lines are done, in decompressed bytes.
    pub fn position(&self, log: LogId) -> u64 {
        let inner = self.lock();
        let known = inner.state.logs.get(&log);
        known.map_or(0, |known| known.done.first_gap())
    }

    /// Whether some of the lines read are not done yet.
    pub fn has_unfinished_lines(&self, log: LogId) -> bool {
        let inner = self.lock();
        let known = inner.state.logs.get(&log);
        known.is_some_and(|known| known.done.first_gap() < known.read_position())
    }

    /// Must be called before a batch is sent, with its lines and its number of hits. When it
    /// returns, the pending batch is on disk.
    pub fn begin_batch(&self, lines: LogRanges, hits: u64) -> Result<BatchId> {
        let mut inner = self.lock();
        let batch = inner.state.next_batch();
        let entry = PendingEntry {
            target: self.target,
            sent_at: now_ms(),
            hits,
            lines,
            recorded: None,
        };
        inner.append(LedgerRecord::Pending { batch, entry })?;
        self.sync(inner)?;
        reach("after-intent");
        Ok(batch)
    }

    /// Marks the lines of a batch as done: it was acknowledged, or given up and reported.
    pub fn acknowledge(&self, batch: BatchId) -> Result<()> {
        let mut inner = self.lock();
        inner.append(LedgerRecord::Acknowledged { batch })?;
        self.sync(inner)?;
        reach("after-done");
        Ok(())
    }

    /// Notes that Matomo has these hits of a batch, while the lines of the batch also need hits of
    /// other batches. The batch stays pending until its lines are done.
    pub fn note_recorded(&self, batch: BatchId, hit_ids: HitIds) -> Result<()> {
        let mut inner = self.lock();
        inner.append(LedgerRecord::Recorded { batch, hit_ids })?;
        self.sync(inner)
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
        inner.append(LedgerRecord::Settled { batch, found })?;
        self.sync(inner)
    }

    /// Closes a batch that was not sent, or that Matomo certainly did not process.
    pub fn forget(&self, batch: BatchId) -> Result<()> {
        self.settle(batch, LogRanges::new())
    }

    /// Writes everything as one snapshot. Without it, only the lines of [`Ledger::mark_done`] since
    /// the last batch are lost.
    pub fn close(&self) -> Result<()> {
        self.lock().close()
    }

    fn lock(&self) -> MutexGuard<'_, JournaledState> {
        self.inner.lock()
    }

    /// Waits until everything appended so far is synced to disk. Threads that arrive during a sync
    /// wait for its end and share the next one.
    fn sync<'a>(&'a self, mut inner: MutexGuard<'a, JournaledState>) -> Result<()> {
        let wanted = inner.appended;
        loop {
            inner.check_sync()?;
            let Some((file, path)) = inner.journal_file() else {
                return Ok(());
            };
            if inner.synced >= wanted {
                return Ok(());
            }
            if inner.is_syncing {
                inner = self.sync_ended.wait(inner);
                continue;
            }
            inner.is_syncing = true;
            let appended = inner.appended;
            drop(inner);
            let result = file.sync_data();
            inner = self.lock();
            inner.is_syncing = false;
            match result {
                Ok(()) => inner.synced = inner.synced.max(appended),
                Err(error) => {
                    let error = store::io_error("sync", &path, &error);
                    inner.sync_error = Some(error.to_string());
                }
            }
            self.sync_ended.notify_all();
        }
    }
}

/// The state of a ledger, and which of its changes are not on disk yet.
#[derive(Debug)]
struct JournaledState {
    state: LedgerState,
    /// `None` for a run without a state directory.
    store: Option<LedgerStore>,
    /// Lines that are done in `state` but not yet in a record.
    marked_done: LogRanges,
    /// The log being read.
    tracker: Option<ChecksumTracker>,
    /// The logs that were read in this run, at least in part.
    read_logs: HashSet<LogId>,
    /// Whether something changed since the last checkpoint.
    is_changed: bool,
    /// How many records were appended, and how many of them are synced.
    appended: u64,
    synced: u64,
    is_syncing: bool,
    /// The message of a failed sync. What is on disk is unknown from then on, so everything fails.
    sync_error: Option<String>,
}

impl JournaledState {
    fn new(state: LedgerState, store: Option<LedgerStore>) -> Self {
        Self {
            state,
            store,
            marked_done: LogRanges::new(),
            tracker: None,
            read_logs: HashSet::new(),
            is_changed: true,
            appended: 0,
            synced: 0,
            is_syncing: false,
            sync_error: None,
        }
    }

    /// Fails if a sync has failed.
    fn check_sync(&self) -> Result<()> {
        match &self.sync_error {
            Some(message) => Err(Error::stopped(message.clone())),
            None => Ok(()),
        }
    }

    fn journal_file(&self) -> Option<(Arc<File>, PathBuf)> {
        self.store.as_ref()?.journal_file()
    }

    fn note_read(&mut self, log: LogId, start: u64, block: &[u8]) -> Result<()> {
        // Blocks may be read twice, for example to detect the format. The tail never moves back.
        let tail = self.state.logs.get(&log).and_then(|known| known.tail);
        if tail.is_some_and(|tail| start.saturating_add(block.len() as u64) <= tail.position) {
            self.read_logs.insert(log);
            return Ok(());
        }
        if self.tracker.as_ref().is_none_or(|it| it.log != log) {
            self.record_checksums()?;
            self.tracker = Some(ChecksumTracker::new(log, Vec::new()));
        }
        self.read_logs.insert(log);
        if let Some(tracker) = &mut self.tracker {
            tracker.add(start, block);
        }
        Ok(())
    }

    fn mark_done(&mut self, log: LogId, range: Range<u64>, lines: u64) {
        if let Some(known) = self.state.logs.get_mut(&log) {
            self.is_changed = true;
            known.done.insert(range.clone(), lines);
            self.marked_done
                .entry(log)
                .or_default()
                .insert(range, lines);
        }
    }

    /// Applies a record that is written with the next appended one.
    fn enqueue(&mut self, record: LedgerRecord) -> Result<()> {
        self.is_changed = true;
        if let Some(store) = &mut self.store {
            store.enqueue(&record)?;
        }
        self.state.apply(record);
        match &mut self.store {
            Some(store) => store.write_long_queue(),
            None => Ok(()),
        }
    }

    /// Records the checksums of the log being read, if they have changed.
    fn record_checksums(&mut self) -> Result<()> {
        let Some(tracker) = &mut self.tracker else {
            return Ok(());
        };
        let log = tracker.log;
        match tracker.take_changes() {
            Some((tail, head)) => self.enqueue(LedgerRecord::Read { log, tail, head }),
            None => Ok(()),
        }
    }

    /// Writes all changes so far and this record, and applies it. On an error, the record is
    /// neither written nor applied.
    fn append(&mut self, record: LedgerRecord) -> Result<()> {
        self.check_sync()?;
        let store = self.store.as_ref();
        if store.is_some_and(LedgerStore::needs_checkpoint) {
            self.checkpoint()?;
        }
        self.record_checksums()?;
        self.is_changed = true;
        let lines = std::mem::take(&mut self.marked_done);
        if let Some(store) = &mut self.store {
            if !lines.is_empty() {
                store.enqueue(&LedgerRecord::MarkedDone { lines })?;
            }
            store.append(&record)?;
            self.appended += 1;
        }
        self.state.apply(record);
        Ok(())
    }

    /// Writes the state as a new snapshot, with all changes so far.
    fn checkpoint(&mut self) -> Result<()> {
        self.record_checksums()?;
        if let Some(store) = &mut self.store {
            store.checkpoint(&self.state)?;
        }
        self.marked_done.clear();
        self.synced = self.appended;
        self.is_changed = false;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.check_sync()?;
        self.record_checksums()?;
        match self.is_changed {
            true => self.checkpoint(),
            false => Ok(()),
        }
    }
}

/// Seconds since 1970 (UTC).
fn now() -> u64 {
    now_ms() / 1000
}

/// Milliseconds since 1970 (UTC).
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
