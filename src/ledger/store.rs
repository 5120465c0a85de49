//! The state directory: its lock, and the order in which the ledger's files are written so that a
//! crash loses nothing.
//!
//! - `ledger.json`: a snapshot of the state, of generation G;
//! - `journal.G`: the records since that snapshot;
//! - `ledger.json.old`: the snapshot before, with its journals, in case `ledger.json` is damaged:
//!   it and all journals since give the same state;
//! - `ledger.json.new`: a snapshot being written;
//! - `lock`: the lock file, with the process id of the run that has the lock.
//!
//! Only the run that created a journal appends to it. Opening the store reads all files (see
//! `recovery`) and then writes a new generation, so the torn end of a journal is never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::journal::{Journal, LedgerRecord, Snapshot, journal_generations, journal_name};
use super::recovery::Recovery;
use super::state::LedgerState;
use crate::error::{Error, Result};
use crate::failpoint::reach;

/// The snapshot in use, the one before, and the one being written.
pub const CURRENT: &str = "ledger.json";
pub const OLD: &str = "ledger.json.old";
const NEW: &str = "ledger.json.new";

const LOCK_NAME: &str = "lock";

/// A run that is ending, or a process it has just started, may hold the lock a little longer.
const LOCK_GRACE_PERIOD: Duration = Duration::from_millis(200);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// When so many bytes are queued, they are written without waiting for an appended record.
const MAX_QUEUE_BYTES: usize = 64 * 1024;

/// Keeps the records of a ledger on disk.
#[derive(Debug)]
pub struct LedgerStore {
    dir: PathBuf,
    _lock: DirLock,
    /// The last generation of any file.
    generation: u64,
    /// The generations of `ledger.json` and `ledger.json.old`, if they exist and are valid.
    current: Option<u64>,
    old: Option<u64>,
    journal: Option<Journal>,
    /// Encoded records that are not in the journal yet.
    queue: Vec<u8>,
}

impl LedgerStore {
    /// Locks the directory, creating it if necessary, and reads the ledger in it. Also returns
    /// warnings about damaged files.
    pub fn open(dir: &Path) -> Result<(Self, LedgerState, Vec<String>)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| io_error("create", dir, &error))?;
        let lock = DirLock::take(dir)?;
        let (state, recovery) = Recovery::run(dir)?;
        let store = Self {
            dir: dir.to_owned(),
            _lock: lock,
            generation: recovery.generation,
            current: recovery.current,
            old: recovery.old,
            journal: None,
            queue: Vec::new(),
        };
        Ok((store, state, recovery.warnings))
    }

    /// Whether the directory contained no ledger.
    pub fn is_new(&self) -> bool {
        self.generation == 0
    }

    /// Whether [`LedgerStore::checkpoint`] should be called before the next record is appended.
    pub fn needs_checkpoint(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_full)
    }

    /// Queues a record that may be lost in a crash. It is written with the next appended one.
    pub fn enqueue(&mut self, record: &LedgerRecord) -> Result<()> {
        record
            .write(&mut self.queue)
            .map_err(|error| Error::stopped(format!("cannot encode a ledger record: {error}")))
    }

    /// Writes the queued records if there are many.
    pub fn write_long_queue(&mut self) -> Result<()> {
        match self.queue.len() >= MAX_QUEUE_BYTES {
            true => self.write_queue(),
            false => Ok(()),
        }
    }

    /// Writes the queued records and this one to the journal, without syncing it. On an error the
    /// record is not in the journal.
    pub fn append(&mut self, record: &LedgerRecord) -> Result<()> {
        let before = self.queue.len();
        self.enqueue(record)?;
        self.write_queue()
            .inspect_err(|_| self.queue.truncate(before))
    }

    fn write_queue(&mut self) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.append(&self.queue)?;
        }
        self.queue.clear();
        Ok(())
    }

    /// The journal to sync, and its path for messages. It may be synced while records are appended.
    pub fn journal_file(&self) -> Option<(Arc<File>, PathBuf)> {
        let journal = self.journal.as_ref()?;
        Some((Arc::clone(&journal.file), journal.path.clone()))
    }

    /// Writes and syncs `state`, in which all queued records are applied, as a new generation with
    /// an empty journal.
    ///
    /// A crash at any point leaves files that give this state: before the renames, the old snapshot
    /// and the journal so far do.
    pub fn checkpoint(&mut self, state: &LedgerState) -> Result<()> {
        let generation = self.generation.saturating_add(1);
        let (current, old, new) = (
            self.dir.join(CURRENT),
            self.dir.join(OLD),
            self.dir.join(NEW),
        );
        let journal = Journal::create(&self.dir, generation, state.salt)?;
        if let Err(error) = Snapshot::write(&new, generation, state) {
            // On a full disk an incomplete file only takes up space. The first error is reported.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        sync_dir(&self.dir)?;
        reach("before-rename");
        if self.current.is_some() {
            fs::rename(&current, &old).map_err(|error| io_error("rename", &current, &error))?;
            self.old = self.current.take();
        }
        fs::rename(&new, &current).map_err(|error| io_error("rename", &new, &error))?;
        self.current = Some(generation);
        self.generation = generation;
        self.journal = Some(journal);
        sync_dir(&self.dir)?;
        reach("after-rename");
        self.remove_unused_journals()?;
        self.queue.clear();
        Ok(())
    }

    /// Removes the journals older than the old snapshot. A journal that cannot be removed only
    /// takes up space; the next checkpoint tries again.
    fn remove_unused_journals(&self) -> Result<()> {
        let old = self.old.unwrap_or(0);
        let generations = journal_generations(&self.dir)?;
        for generation in generations.into_iter().filter(|it| *it < old) {
            let _ = fs::remove_file(self.dir.join(journal_name(generation)));
        }
        Ok(())
    }
}

/// The lock on the state directory, which admits one run at a time.
///
/// The system releases it when the process ends, however it ends, so a crash never locks out the
/// next run.
#[derive(Debug)]
struct DirLock {
    _file: File,
}

impl DirLock {
    /// Fails if another process has the lock, and names it.
    fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK_NAME);
        let mut options = private_file();
        let mut file = (options.read(true).create(true).open(&path))
            .map_err(|error| io_error("open", &path, &error))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_GRACE_PERIOD => {
                    thread::sleep(LOCK_POLL_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Err(locked(dir, &mut file)),
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, &error)),
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| io_error("write", &path, &error))?;
        Ok(Self { _file: file })
    }
}

fn locked(dir: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let pid = match file.take(20).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Error::stopped(format!(
        "another import{process} is using the state directory {}: wait for it to end, or use another \
         --state-dir",
        dir.display()
    ))
}

/// Options to open a file for writing. If it is created, only its owner may read it, because logs
/// contain addresses.
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Makes new, renamed and removed names in a directory survive a power failure.
pub fn sync_dir(dir: &Path) -> Result<()> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        // Some network file systems cannot sync a directory, and do not need to.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        result => result.map_err(|error| io_error("sync", dir, &error)),
    }
}

/// The error for a file in the state directory that could not be read or written.
pub fn io_error(action: &str, path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let this user read and write there, or use another --state-dir"
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "it is a file and not a folder: use another --state-dir"
        }
        _ => "check that disk, or use another --state-dir",
    };
    Error::stopped(format!(
        "cannot {action} {}: {error}; {remedy}",
        path.display()
    ))
}

/// A free name for a file that is quarantined: `NAME.LABEL-TIME`, with a number if that name is
/// taken (guide/guarantees.md, "Quarantine").
pub fn quarantine_path(path: &Path, label: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().display();
    let time = Utc::now().format("%Y%m%dT%H%M%SZ");
    let first = path.with_file_name(format!("{name}.{label}-{time}"));
    let numbered = (2_u32..).map(|n| path.with_file_name(format!("{name}.{label}-{time}-{n}")));
    let mut free = std::iter::once(first.clone())
        .chain(numbered)
        .filter(|path| !path.exists());
    free.next().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{FileId, FileProbe, Ledger, LogRanges, Ranges, TargetKey};

    #[test]
    fn a_second_run_names_the_process_that_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let error = DirLock::take(dir.path()).unwrap_err().to_string();
        let pid = format!("(process {})", std::process::id());
        assert!(error.contains(&pid), "{error}");
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_crash_does_not_lock_out_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_NAME), "1234567890123\n").unwrap();
        DirLock::take(dir.path()).unwrap();
        let pid = fs::read_to_string(dir.path().join(LOCK_NAME)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
    }

    #[test]
    fn quarantined_files_of_one_second_have_different_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let mut taken = Vec::new();
        for _ in 0..3 {
            let free = quarantine_path(&path, "broken");
            assert!(!taken.contains(&free));
            let name = free.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("ledger.json.broken-2"), "{name}");
            fs::write(&free, "").unwrap();
            taken.push(free);
        }
    }

    /// A ledger whose journal is replaced by a device: one that is always full, or one that cannot
    /// be synced.
    fn ledger_on(device: &str) -> Option<(tempfile::TempDir, Ledger, TargetKey, Arc<File>)> {
        let dir = tempfile::tempdir().unwrap();
        let target = TargetKey::new(&"https://matomo.example/".parse().unwrap(), None);
        let ledger = Ledger::open(dir.path(), &target).unwrap().ledger;
        let device = Arc::new(private_file().open(device).ok()?);
        let good = replace_journal(&ledger, device);
        Some((dir, ledger, target, good))
    }

    fn replace_journal(ledger: &Ledger, file: Arc<File>) -> Arc<File> {
        let mut inner = ledger.lock();
        let journal = inner.store.as_mut().unwrap().journal.as_mut().unwrap();
        std::mem::replace(&mut journal.file, file)
    }

    #[test]
    fn a_batch_that_does_not_fit_on_the_disk_leaves_nothing_behind() {
        let Some((dir, ledger, target, good)) = ledger_on("/dev/full") else {
            return;
        };
        let log = ledger.lock().state.next_log();
        let mut file = File::open(dir.path().join(CURRENT)).unwrap();
        let probe = FileProbe {
            path: Path::new("/log"),
            file: FileId::from(&file.metadata().unwrap()),
            is_compressed: false,
            content: &mut file,
        };
        assert_eq!(ledger.lookup(probe).unwrap().log, log);
        let lines = |range| {
            let mut ranges = Ranges::default();
            ranges.insert(range, 1);
            LogRanges::from([(log, ranges)])
        };
        let full = replace_journal(&ledger, Arc::clone(&good));
        let first = ledger.begin_batch(lines(0..10), 1).unwrap();
        replace_journal(&ledger, full);
        let error = ledger.begin_batch(lines(10..20), 1).unwrap_err();
        let error = error.to_string();
        for part in ["journal.1", "No space left", "free some space"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        replace_journal(&ledger, good);
        ledger.acknowledge(first).unwrap();
        drop(ledger);
        let opened = Ledger::open(dir.path(), &target).unwrap();
        assert_eq!((opened.warnings, opened.pending), (vec![], vec![]));
        assert_eq!(opened.ledger.position(log), 10);
    }

    #[test]
    fn after_a_failed_sync_everything_fails() {
        let Some((_dir, ledger, _, good)) = ledger_on("/dev/null") else {
            return;
        };
        let error = ledger.begin_batch(LogRanges::new(), 1).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("cannot sync"), "{error}");
        replace_journal(&ledger, good);
        assert!(ledger.begin_batch(LogRanges::new(), 1).is_err());
        assert!(ledger.close().is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = LedgerStore::open(&file.join("state")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("file/state"), "{error}");
    }

    #[test]
    fn unused_journals_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, state, _) = LedgerStore::open(dir.path()).unwrap();
        for _ in 0..5 {
            store.checkpoint(&state).unwrap();
        }
        assert_eq!(journal_generations(dir.path()).unwrap(), [4, 5]);
    }
}
