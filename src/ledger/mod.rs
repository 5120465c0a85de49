//! The ledger: what is done, kept on disk, so that no line is lost and none is sent twice.
//!
//! Of each log (known by its content, see `identity`) it keeps which bytes are done: *every line before a position,
//! and a set of ranges after it*, in unpacked bytes. Recorders and batches therefore need no order. An *intent* is on
//! the disk before a batch is sent, a *done* after it was acknowledged; an intent without a done is a batch in doubt,
//! which [`Ledger::open`] hands to whoever can ask Matomo.
//!
//! The way of a log: [`Ledger::recognise`] it; [`Ledger::read_to`] before any line of a block is handed on;
//! [`Ledger::passed`] for a line that needs no sending; [`Ledger::intent`] and then one of [`Ledger::done`],
//! [`Ledger::settled`] and [`Ledger::forget`] for each batch; [`Ledger::there`] in between, where a line is in several
//! batches.
//!
//! Everything that changes is a `Record`: appended to the journal, applied to the `State`. The `store`
//! holds the files; `recover` says what is left of them after a crash.

mod checksum;
mod disk;
mod fate;
mod file;
mod file_id;
mod id;
mod identity;
mod inner;
mod journal;
mod lock;
mod marks;
mod path_text;
mod pending;
mod probe;
mod ranges;
mod reading;
mod recognise;
mod record;
mod recover;
mod salt;
mod snapshot;
pub mod spool;
mod state;
mod store;
mod target;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::fate::FileChange;
pub use self::file::LogFile;
pub use self::file_id::FileId;
pub use self::id::{BatchId, LogId};
pub use self::marks::Marks;
pub use self::pending::PendingBatch;
pub use self::probe::{Probe, Unpacked};
pub use self::ranges::{Lines, Ranges};
pub use self::recognise::LogState;
pub use self::target::TargetKey;

use self::checksum::Checksum;
use self::inner::Inner;
use self::pending::Intent;
use self::record::Record;
use self::salt::Salt;
use self::state::State;
use self::store::Store;
use crate::error::{Error, Result};
use crate::failpoint::reach;

/// A ledger that was opened.
#[derive(Debug)]
pub struct Opened {
    pub ledger: Ledger,
    /// What was damaged and kept aside, and what waits for runs to other targets; for the user.
    pub warnings: Vec<String>,
    /// The batches in doubt for this target, the oldest first.
    pub in_doubt: Vec<PendingBatch>,
}

/// What is done, for one target. Recorders use it at the same time.
#[derive(Debug)]
pub struct Ledger {
    target: Checksum,
    inner: Mutex<Inner>,
    /// Told when a sync has ended.
    synced: Condvar,
}

impl Ledger {
    /// Opens the ledger in a directory, which is made where it is missing and locked as long as the ledger lives.
    ///
    /// A crash never makes this fail. Damaged files are kept aside and named in the warnings; what they held counts as
    /// not done. Errors: another run has the directory, the disk will not do, the ledger is of a newer version.
    pub fn open(dir: &Path, target: &TargetKey) -> Result<Opened> {
        let (store, mut state, mut warnings) = Store::open(dir)?;
        for (path, key) in spool::of_others(dir, target)? {
            let other = state.targets.get(&key).map_or("another", String::as_str);
            warnings.push(format!(
                "{}: what came through a pipe for {other} is still to be imported: run again with that --url and \
                 --idsite and this --state-dir, or remove the file",
                path.display()
            ));
        }
        state.open(now());
        let ledger = Self::new(target, state, Some(store));
        let in_doubt = {
            let mut inner = ledger.inner();
            inner.fold()?;
            inner.state.in_doubt(target.key())
        };
        Ok(Opened {
            ledger,
            warnings,
            in_doubt,
        })
    }

    /// A ledger for a run without a state directory: nothing is kept unless [`Ledger::keep_in`] says so.
    pub fn in_memory(target: &TargetKey) -> Result<Self> {
        let mut state = State::new(Salt::draw()?);
        state.open(now());
        Ok(Self::new(target, state, None))
    }

    fn new(target: &TargetKey, mut state: State, store: Option<Store>) -> Self {
        state.targets.insert(target.key(), target.text.clone());
        Self {
            target: target.key(),
            inner: Mutex::new(Inner::new(state, store)),
            synced: Condvar::new(),
        }
    }

    /// From now on keeps in that directory what was only in memory, so that the next run can go on from there.
    /// Error: there is a ledger in it already.
    pub fn keep_in(&self, dir: &Path) -> Result<()> {
        let (store, ..) = Store::open(dir)?;
        if !store.is_new() {
            return Err(Error::stopped(format!(
                "{} holds a ledger already: name a directory of its own for this one",
                dir.display()
            )));
        }
        let mut inner = self.inner();
        inner.store = Some(store);
        inner.fold()
    }

    /// Random bytes that stay the same as long as the ledger does: with them and a line's log and position a `pv_id`
    /// can be told again in a later run.
    pub fn salt(&self) -> [u8; 16] {
        self.inner().state.salt.0
    }

    /// Notes that a block of unpacked bytes was read, which begins at that position. To be called before any line that
    /// ends in it is handed on: by its last bytes the log will be known again. Cheap; nothing is written at once.
    pub fn read_to(&self, log: LogId, start: u64, block: &[u8]) -> Result<()> {
        self.inner().read_to(log, start, block)
    }

    /// Notes that lines, one behind the other, need no sending: headers, filtered, invalid. Cheap; it is written with
    /// the next batch, and a crash before that only makes the next run look at them again.
    pub fn passed(&self, log: LogId, place: Range<u64>, lines: u64) {
        self.inner().passed(log, place, lines);
    }

    /// How far a log is done: the position before which every line is.
    pub fn position(&self, log: LogId) -> u64 {
        let inner = self.inner();
        let known = inner.state.logs.get(&log);
        known.map_or(0, |known| known.done.first_gap())
    }

    /// Whether lines that were read of a log are not done yet.
    pub fn is_under_way(&self, log: LogId) -> bool {
        let inner = self.inner();
        let known = inner.state.logs.get(&log);
        known.is_some_and(|known| known.done.first_gap() < known.read())
    }

    /// To be called before a batch is sent: its lines and how many hits are made of them. When this comes back the
    /// intent is on the disk.
    pub fn intent(&self, lines: Lines, hits: u64) -> Result<BatchId> {
        let mut inner = self.inner();
        let batch = inner.state.next_batch();
        let intent = Intent {
            target: self.target,
            sent_at: now_ms(),
            hits,
            lines,
            there: None,
        };
        inner.append(Record::Intent { batch, intent })?;
        self.sync(inner)?;
        reach("after-intent");
        Ok(batch)
    }

    /// The batch was acknowledged (or is given up for good, as told to the user): its lines are done.
    pub fn done(&self, batch: BatchId) -> Result<()> {
        let mut inner = self.inner();
        inner.append(Record::Done { batch })?;
        self.sync(inner)?;
        reach("after-done");
        Ok(())
    }

    /// The batch was answered, and these of its requests Matomo has; but its lines need others too. It stays in the
    /// ledger until they are done.
    pub fn there(&self, batch: BatchId, marks: Marks) -> Result<()> {
        let mut inner = self.inner();
        inner.append(Record::There { batch, marks })?;
        self.sync(inner)
    }

    /// The same of an earlier run's batch that is closed now, all but these lines.
    pub fn there_in_part(&self, lines: Lines, marks: Marks) -> Result<()> {
        let hits = marks.iter().count() as u64;
        let batch = self.intent(lines, hits)?;
        self.there(batch, marks)
    }

    /// The batch is closed, whatever was sent of it: these of its lines Matomo has, so they are done; the others it has
    /// not, so they may be sent again, in a batch of their own.
    pub fn settled(&self, batch: BatchId, found: Lines) -> Result<()> {
        let mut inner = self.inner();
        inner.append(Record::Settled { batch, found })?;
        self.sync(inner)
    }

    /// Matomo has nothing of the batch: it was not sent, or is known not to have been processed.
    pub fn forget(&self, batch: BatchId) -> Result<()> {
        self.settled(batch, Lines::new())
    }

    /// Writes what is still to be written and makes one tidy snapshot of all. Without it nothing is lost but the
    /// lines passed since the last batch.
    pub fn close(&self) -> Result<()> {
        self.inner().close()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything written so far is certainly on the disk. Recorders that come while one syncs wait for it
    /// and then share the next sync.
    fn sync<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> Result<()> {
        let wanted = inner.written;
        loop {
            inner.check()?;
            let Some((file, path)) = inner.file() else {
                return Ok(());
            };
            if inner.certain >= wanted {
                return Ok(());
            }
            if inner.syncing {
                inner = (self.synced.wait(inner)).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner.syncing = true;
            let written = inner.written;
            drop(inner);
            let result = file.sync_data();
            inner = self.inner();
            inner.syncing = false;
            match result {
                Ok(()) => inner.certain = inner.certain.max(written),
                Err(error) => inner.failed = Some(disk::failed("sync", &path, &error).to_string()),
            }
            self.synced.notify_all();
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
