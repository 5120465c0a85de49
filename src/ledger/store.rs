//! The store: the files of the ledger, and what is still good of them after a crash or on a damaged disk.
//!
//! - `ledger.json`: a snapshot of the state, of generation G;
//! - `journal.G`: what happened since that snapshot;
//! - `ledger.json.old`: the snapshot before, with its journals, to fall back on when `ledger.json` is damaged: it and
//!   all journals since give the same state;
//! - `ledger.json.new`: a snapshot being written.
//!
//! A journal is only ever appended to by the run that made it. Opening reads what there is and folds it into a new
//! generation, so what a crash tore at the end of a journal stays where it is and is never written on.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;

use super::disk;
use super::failpoint::reach;
use super::lock::Lock;
use super::record::{Record, Records};
use super::salt::Salt;
use super::snapshot::{self, Snapshot};
use super::state::State;
use crate::error::Result;

const CURRENT: &str = "ledger.json";
const OLD: &str = "ledger.json.old";
const NEW: &str = "ledger.json.new";
const JOURNAL: &str = "journal.";

/// From so many bytes on a journal is folded into a new snapshot.
const JOURNAL_LIMIT: u64 = 4 * 1024 * 1024;

/// A journal being written.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: Arc<File>,
    /// How much of it is whole records, in bytes.
    length: u64,
}

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
        let mut store = Self {
            dir: dir.to_owned(),
            _lock: Lock::take(dir)?,
            generation: 0,
            current: None,
            old: None,
            journal: None,
        };
        let mut warnings = Vec::new();
        let journals = store.journals()?;
        store.generation = journals.last().copied().unwrap_or(0);
        let base = store.read_base(&mut warnings)?;
        let state = store.replay(base, &journals, &mut warnings)?;
        Ok((store, state, warnings))
    }

    /// Whether there was a ledger before this run.
    pub fn is_new(&self) -> bool {
        self.generation == 0
    }

    /// The best snapshot there is, and its generation.
    fn read_base(&mut self, warnings: &mut Vec<String>) -> Result<Option<(u64, State)>> {
        let current = snapshot::read(&self.dir.join(CURRENT))?;
        if let Snapshot::Good { generation, state } = current {
            self.generation = self.generation.max(generation);
            self.current = Some(generation);
            return Ok(Some((generation, *state)));
        }
        // A crash between two renames leaves the old one alone; only a broken one is worth a word.
        let old = snapshot::read(&self.dir.join(OLD))?;
        if let Snapshot::Broken(how) = current {
            warnings.push(self.keep_aside(CURRENT, &how)?);
        }
        match old {
            Snapshot::Missing => Ok(None),
            Snapshot::Broken(how) => {
                warnings.push(self.keep_aside(OLD, &how)?);
                Ok(None)
            }
            Snapshot::Good { generation, state } => {
                self.generation = self.generation.max(generation);
                self.old = Some(generation);
                if !warnings.is_empty() {
                    warnings.push(format!(
                        "going on from {} and the journals since",
                        self.dir.join(OLD).display()
                    ));
                }
                Ok(Some((generation, *state)))
            }
        }
    }

    /// Renames a broken file, so that it is there for whoever wants to look into it; what to say of it.
    fn keep_aside(&self, name: &str, how: &str) -> Result<String> {
        let path = self.dir.join(name);
        let aside = self.aside(name);
        fs::rename(&path, &aside).map_err(|error| disk::failed("rename", &path, &error))?;
        Ok(format!(
            "{} is damaged ({how}) and kept as {}",
            path.display(),
            aside.display()
        ))
    }

    /// A free name for a broken file.
    fn aside(&self, name: &str) -> PathBuf {
        let time = Utc::now().format("%Y%m%dT%H%M%SZ");
        let first = self.dir.join(format!("{name}.broken-{time}"));
        let more = (2_u32..).map(|n| self.dir.join(format!("{name}.broken-{time}-{n}")));
        let mut free = more.filter(|path| !path.exists());
        match first.exists() {
            true => free.next().unwrap_or(first),
            false => first,
        }
    }

    /// The generations of the journals that are there, in order.
    fn journals(&self) -> Result<Vec<u64>> {
        let failed = |error| disk::failed("read", &self.dir, &error);
        let mut generations = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(JOURNAL));
            generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        generations.sort_unstable();
        Ok(generations)
    }

    fn journal_path(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("{JOURNAL}{generation}"))
    }

    /// The state that the journals since that snapshot make of it (or of nothing, where none is left).
    fn replay(
        &mut self,
        base: Option<(u64, State)>,
        journals: &[u64],
        warnings: &mut Vec<String>,
    ) -> Result<State> {
        let (from, mut base) = match base {
            Some((generation, state)) => (generation, Some(state)),
            None => (journals.first().copied().unwrap_or(0), None),
        };
        if base.is_none() && (from > 1 || !warnings.is_empty() && from == 0) {
            warnings.push(format!(
                "no good snapshot is left in {}: only what its journals say is known, other lines may be sent again",
                self.dir.display()
            ));
        }
        // A fold writes its journal before its snapshot. One that a crash cut short may leave that journal, of a
        // generation that no snapshot has, without its beginning: nothing was ever done in it.
        let newest = self.generation;
        let first_in_use = match warnings.is_empty() && self.old.is_none() {
            true => self.current.unwrap_or(0),
            false => newest,
        };
        for generation in from.max(1)..=newest {
            let path = self.journal_path(generation);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    warnings.push(format!(
                        "{} is missing: what was done then is not known, its lines may be sent again",
                        path.display()
                    ));
                    continue;
                }
                Err(error) => return Err(disk::failed("read", &path, &error)),
            };
            let read = Records::read(&bytes);
            let begun = matches!(read.records.first(), Some(Record::Journal { .. }));
            let empty = read.records.is_empty() && read.damaged == 0;
            if empty && generation == newest && generation > first_in_use {
                // The next fold takes its place.
                self.generation -= 1;
                break;
            }
            if let Some(Record::Journal { version, salt }) = read.records.first() {
                snapshot::refuse_newer(*version, &path)?;
                if base.as_ref().is_some_and(|state| state.salt != *salt) {
                    warnings.push(self.keep_aside(
                        &format!("{JOURNAL}{generation}"),
                        "it belongs to another ledger",
                    )?);
                    continue;
                }
                base.get_or_insert_with(|| State::new(*salt));
            }
            if read.damaged > 0 || !begun {
                let what = match read.damaged {
                    0 => "its beginning is missing".to_owned(),
                    damaged => format!("{damaged} of its records cannot be read"),
                };
                let aside = self.aside(&format!("{JOURNAL}{generation}"));
                fs::copy(&path, &aside).map_err(|error| disk::failed("copy", &path, &error))?;
                warnings.push(format!(
                    "{} is damaged ({what}) and kept as {}: the lines of what is lost of it may be sent again",
                    path.display(),
                    aside.display()
                ));
            }
            let state = match &mut base {
                Some(state) => state,
                none => none.insert(State::new(Salt::draw()?)),
            };
            for record in read.records {
                state.apply(record);
            }
        }
        match base {
            Some(state) => Ok(state),
            None => Ok(State::new(Salt::draw()?)),
        }
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
        let journal = self.new_journal(generation, state.salt)?;
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

    fn new_journal(&self, generation: u64, salt: Salt) -> Result<Journal> {
        let path = self.journal_path(generation);
        let create = || {
            let mut bytes = Vec::new();
            let version = snapshot::VERSION;
            Record::Journal { version, salt }.write(&mut bytes)?;
            // One of this name can only be left from a fold that did not come to its rename: nothing is in it.
            let options = disk::private().create(true).truncate(true).to_owned();
            let mut file = options.open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok((file, bytes.len() as u64))
        };
        let created: io::Result<(File, u64)> = create();
        let (file, length) = created.map_err(|error| disk::failed("write", &path, &error))?;
        Ok(Journal {
            path,
            file: Arc::new(file),
            length,
        })
    }

    /// Journals that nothing can fall back on any more. One that cannot be removed takes room and does no harm; the
    /// next fold tries again.
    fn remove_journals_before_old(&self) -> Result<()> {
        let old = self.old.unwrap_or(0);
        for generation in self.journals()?.into_iter().filter(|it| *it < old) {
            let _ = fs::remove_file(self.journal_path(generation));
        }
        Ok(())
    }

    /// Whether the journal has grown so long that the state should be folded.
    pub fn is_due(&self) -> bool {
        (self.journal.as_ref()).is_none_or(|journal| journal.length >= JOURNAL_LIMIT)
    }

    /// Appends whole records to the journal; a disk that takes only a part of them is left as it was. Not synced.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        match journal.file.write_all_at(records, journal.length) {
            Ok(()) => {
                journal.length += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Where even that fails, the next record is written over what was torn.
                let _ = journal.file.set_len(journal.length);
                Err(disk::failed("write", &journal.path, &error))
            }
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
    use crate::ledger::{FileId, Ledger, Lines, Probe, Ranges, Target};

    /// A ledger whose journal is another file: one that is always full, or one that cannot be synced.
    fn ledger_on(device: &str) -> Option<(tempfile::TempDir, Ledger, Target, Arc<File>)> {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::new(&"https://matomo.example/".parse().unwrap(), None);
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
        assert_eq!(store.journals().unwrap(), [4, 5]);
    }
}
