//! The store: the files of the ledger, and the order in which they are written so that a crash loses nothing.
//!
//! - `ledger.json`: a snapshot of the state, of generation G;
//! - `journal.G`: what happened since that snapshot;
//! - `ledger.json.old`: the snapshot before, with its journals, to fall back on when `ledger.json` is damaged: it and
//!   all journals since give the same state;
//! - `ledger.json.new`: a snapshot being written.
//!
//! A journal is only ever appended to by the run that made it. Opening reads what there is (see `recover`) and folds it
//! into a new generation, so what a crash tore at the end of a journal stays where it is and is never written on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk;
use super::journal::{self, Journal};
use super::lock::Lock;
use super::recover::Recovery;
use super::snapshot::{self, CURRENT, NEW, OLD};
use super::state::State;
use crate::error::Result;
use crate::failpoint::reach;

#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    _lock: Lock,
    /// The last generation that any file had.
    generation: u64,
    /// The generations of `ledger.json` and `ledger.json.old`, where they are there and good.
    current: Option<u64>,
    old: Option<u64>,
    journal: Option<Journal>,
}

impl Store {
    /// Locks the directory (made where it is missing) and reads what is in it. The texts say what was damaged, what
    /// became of it and what that means.
    pub fn open(dir: &Path) -> Result<(Self, State, Vec<String>)> {
        disk::make_dir(dir)?;
        let lock = Lock::take(dir)?;
        let (state, found) = Recovery::of(dir)?;
        let store = Self {
            dir: dir.to_owned(),
            _lock: lock,
            generation: found.generation,
            current: found.current,
            old: found.old,
            journal: None,
        };
        Ok((store, state, found.warnings))
    }

    /// Whether there was a ledger before this run.
    pub fn is_new(&self) -> bool {
        self.generation == 0
    }

    /// Writes the state as a new generation with an empty journal. Whatever happens on the way, the files that are
    /// there give this state or, before the renames, the one that the journal so far gives, which is the same.
    pub fn fold(&mut self, state: &State) -> Result<()> {
        let generation = self.generation.saturating_add(1);
        let (current, old, new) = (
            self.dir.join(CURRENT),
            self.dir.join(OLD),
            self.dir.join(NEW),
        );
        let journal = Journal::create(&self.dir, generation, state.salt)?;
        if let Err(error) = snapshot::write(&new, generation, state) {
            // A half-written one on a full disk only takes room; the error to tell is the first.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        disk::sync_dir(&self.dir)?;
        reach("before-rename");
        if self.current.is_some() {
            fs::rename(&current, &old).map_err(|error| disk::failed("rename", &current, &error))?;
            self.old = self.current.take();
        }
        fs::rename(&new, &current).map_err(|error| disk::failed("rename", &new, &error))?;
        self.current = Some(generation);
        self.generation = generation;
        self.journal = Some(journal);
        disk::sync_dir(&self.dir)?;
        reach("after-rename");
        self.remove_journals_before_old()
    }

    /// Journals that nothing can fall back on any more. One that cannot be removed takes room and does no harm; the
    /// next fold tries again.
    fn remove_journals_before_old(&self) -> Result<()> {
        let old = self.old.unwrap_or(0);
        let generations = journal::generations(&self.dir)?;
        for generation in generations.into_iter().filter(|it| *it < old) {
            let _ = fs::remove_file(journal::path(&self.dir, generation));
        }
        Ok(())
    }

    /// Whether the journal has grown so long that the state should be folded.
    pub fn is_due(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_due)
    }

    /// Appends whole records to the journal; a disk that takes only a part of them is left as it was. Not synced.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.append(records),
            None => Ok(()),
        }
    }

    /// The journal's file, to be synced while others append, and its name for a message.
    pub fn file(&self) -> Option<(Arc<File>, PathBuf)> {
        let journal = self.journal.as_ref()?;
        Some((Arc::clone(&journal.file), journal.path.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{FileId, Ledger, Lines, Probe, Ranges, TargetKey};

    /// A ledger whose journal is another file: one that is always full, or one that cannot be synced.
    fn ledger_on(device: &str) -> Option<(tempfile::TempDir, Ledger, TargetKey, Arc<File>)> {
        let dir = tempfile::tempdir().unwrap();
        let target = TargetKey::new(&"https://matomo.example/".parse().unwrap(), None);
        let ledger = Ledger::open(dir.path(), &target).unwrap().ledger;
        let device = Arc::new(disk::private().open(device).ok()?);
        let good = put(&ledger, device);
        Some((dir, ledger, target, good))
    }

    fn put(ledger: &Ledger, file: Arc<File>) -> Arc<File> {
        let mut inner = ledger.inner();
        let journal = inner.store.as_mut().unwrap().journal.as_mut().unwrap();
        std::mem::replace(&mut journal.file, file)
    }

    #[test]
    fn a_batch_that_found_no_room_on_the_disk_leaves_nothing_behind() {
        let Some((dir, ledger, target, good)) = ledger_on("/dev/full") else {
            return;
        };
        let log = ledger.inner().state.next_log();
        let mut file = File::open(dir.path().join(CURRENT)).unwrap();
        let probe = Probe {
            path: Path::new("/log"),
            file: FileId::from(&file.metadata().unwrap()),
            packed: false,
            log: &mut file,
        };
        assert_eq!(ledger.recognise(probe).unwrap().log, log);
        let lines = |range| {
            let mut ranges = Ranges::default();
            ranges.insert(range, 1);
            Lines::from([(log, ranges)])
        };
        let full = put(&ledger, Arc::clone(&good));
        let first = ledger.intent(lines(0..10), 1).unwrap();
        put(&ledger, full);
        let error = ledger.intent(lines(10..20), 1).unwrap_err().to_string();
        for part in ["journal.1", "No space left", "free some space"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        put(&ledger, good);
        ledger.done(first).unwrap();
        drop(ledger);
        let opened = Ledger::open(dir.path(), &target).unwrap();
        assert_eq!((opened.warnings, opened.in_doubt), (vec![], vec![]));
        assert_eq!(opened.ledger.position(log), 10);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_more_is_promised() {
        let Some((_dir, ledger, _, good)) = ledger_on("/dev/null") else {
            return;
        };
        let error = ledger.intent(Lines::new(), 1).unwrap_err().to_string();
        assert!(error.contains("cannot sync"), "{error}");
        put(&ledger, good);
        assert!(ledger.intent(Lines::new(), 1).is_err());
        assert!(ledger.close().is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Store::open(&file.join("state")).unwrap_err().to_string();
        assert!(error.contains("file/state"), "{error}");
    }

    #[test]
    fn journals_that_nothing_falls_back_on_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, state, _) = Store::open(dir.path()).unwrap();
        for _ in 0..5 {
            store.fold(&state).unwrap();
        }
        assert_eq!(journal::generations(dir.path()).unwrap(), [4, 5]);
    }
}
