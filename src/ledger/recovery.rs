//! Recovery: what is still valid of the ledger's files after a crash or on a damaged disk
//! (guide/guarantees.md, "Crash safety").

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::journal::{
    JournalContents, LedgerRecord, Snapshot, journal_generations, journal_name, refuse_newer,
};
use super::state::{LedgerState, Salt};
use super::store::{CURRENT, OLD, io_error, quarantine_path};
use crate::error::Result;

/// The label in the names of damaged files.
const QUARANTINE_LABEL: &str = "broken";

/// What was found in a state directory, besides the state itself.
#[derive(Debug)]
pub struct Recovery<'a> {
    dir: &'a Path,
    /// The last generation of any file.
    pub generation: u64,
    /// The generations of `ledger.json` and `ledger.json.old`, if they exist and are valid.
    pub current: Option<u64>,
    pub old: Option<u64>,
    /// What was damaged, and what that means for the user.
    pub warnings: Vec<String>,
}

/// What a journal contributes to the state.
enum JournalUse {
    /// The records that can be read. Damage is reported.
    Records(Vec<LedgerRecord>),
    /// Nothing: it is missing, or of another ledger. This is reported.
    Lost,
    /// Nothing: the checkpoint that created it was interrupted, so it was never used.
    Unused,
}

impl<'a> Recovery<'a> {
    /// Reads a directory that is locked. Damaged files are quarantined.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or renamed, or was written by a newer version.
    pub fn run(dir: &'a Path) -> Result<(LedgerState, Self)> {
        let journals = journal_generations(dir)?;
        let mut recovery = Self {
            dir,
            generation: journals.last().copied().unwrap_or(0),
            current: None,
            old: None,
            warnings: Vec::new(),
        };
        let base = recovery.read_snapshots()?;
        let state = recovery.replay(base, &journals)?;
        Ok((state, recovery))
    }

    /// Returns the newest valid snapshot and its generation.
    fn read_snapshots(&mut self) -> Result<Option<(u64, LedgerState)>> {
        let current = Snapshot::read(&self.dir.join(CURRENT))?;
        if let Snapshot::Valid { generation, state } = current {
            self.generation = self.generation.max(generation);
            self.current = Some(generation);
            return Ok(Some((generation, *state)));
        }
        // A crash between the two renames leaves only the old one. That needs no warning.
        let old = Snapshot::read(&self.dir.join(OLD))?;
        if let Snapshot::Damaged(how) = current {
            self.quarantine(CURRENT, &how)?;
        }
        match old {
            Snapshot::Missing => Ok(None),
            Snapshot::Damaged(how) => {
                self.quarantine(OLD, &how)?;
                Ok(None)
            }
            Snapshot::Valid { generation, state } => {
                self.generation = self.generation.max(generation);
                self.old = Some(generation);
                if !self.warnings.is_empty() {
                    self.warnings.push(format!(
                        "the ledger is recovered from {} and the journals since",
                        self.dir.join(OLD).display()
                    ));
                }
                Ok(Some((generation, *state)))
            }
        }
    }

    /// Applies the journals since the snapshot to it, or all journals if there is no snapshot.
    fn replay(
        &mut self,
        base: Option<(u64, LedgerState)>,
        journals: &[u64],
    ) -> Result<LedgerState> {
        let (from, mut base) = match base {
            Some((generation, state)) => (generation, Some(state)),
            None => (journals.first().copied().unwrap_or(0), None),
        };
        if base.is_none() && (from > 1 || !self.warnings.is_empty() && from == 0) {
            self.warnings.push(format!(
                "{} has no valid snapshot: only lines in its journals count as done, others may be \
                 sent again",
                self.dir.display()
            ));
        }
        // A checkpoint writes its journal before its snapshot. If it was interrupted, the journal
        // of a generation without a snapshot may lack its beginning, but it was never used.
        let newest = self.generation;
        let last_in_use = match self.warnings.is_empty() && self.old.is_none() {
            true => self.current.unwrap_or(0),
            false => newest,
        };
        for generation in from.max(1)..=newest {
            let may_be_unused = generation == newest && generation > last_in_use;
            let salt = base.as_ref().map(|state| state.salt);
            let records = match self.read_journal(generation, salt, may_be_unused)? {
                JournalUse::Records(records) => records,
                JournalUse::Lost => continue,
                JournalUse::Unused => {
                    // The next checkpoint overwrites it.
                    self.generation -= 1;
                    break;
                }
            };
            let state = match &mut base {
                Some(state) => state,
                none => none.insert(LedgerState::new(match records.first() {
                    Some(LedgerRecord::Header { salt, .. }) => *salt,
                    _ => Salt::random()?,
                })),
            };
            for record in records {
                state.apply(record);
            }
        }
        match base {
            Some(state) => Ok(state),
            None => Ok(LedgerState::new(Salt::random()?)),
        }
    }

    /// Reads one journal of the ledger with this salt, if the salt is known. A damaged journal is
    /// copied to quarantine, and its other records count.
    fn read_journal(
        &mut self,
        generation: u64,
        salt: Option<Salt>,
        may_be_unused: bool,
    ) -> Result<JournalUse> {
        let path = self.dir.join(journal_name(generation));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.warnings.push(format!(
                    "{} is missing: lines that it recorded as done may be sent again",
                    path.display()
                ));
                return Ok(JournalUse::Lost);
            }
            Err(error) => return Err(io_error("read", &path, &error)),
        };
        let JournalContents { records, damaged } = JournalContents::read(&bytes);
        if records.is_empty() && damaged == 0 && may_be_unused {
            return Ok(JournalUse::Unused);
        }
        let header = match records.first() {
            Some(LedgerRecord::Header { version, salt }) => Some((*version, *salt)),
            _ => None,
        };
        if let Some((version, its_salt)) = header {
            refuse_newer(version, &path)?;
            if salt.is_some_and(|ours| ours != its_salt) {
                self.quarantine(&journal_name(generation), "it belongs to another ledger")?;
                return Ok(JournalUse::Lost);
            }
        }
        let damage = match damaged {
            0 if header.is_some() => return Ok(JournalUse::Records(records)),
            0 => "its beginning is missing".to_owned(),
            damaged => format!("{damaged} of its records cannot be read"),
        };
        let copy = quarantine_path(&path, QUARANTINE_LABEL);
        fs::copy(&path, &copy).map_err(|error| io_error("copy", &path, &error))?;
        self.warnings.push(format!(
            "{} is damaged ({damage}) and kept as {}: lines that it recorded as done may be sent \
             again",
            path.display(),
            copy.display()
        ));
        Ok(JournalUse::Records(records))
    }

    /// Renames a damaged file, so that it can be inspected, and adds a warning.
    fn quarantine(&mut self, name: &str, how: &str) -> Result<()> {
        let path = self.dir.join(name);
        let renamed = quarantine_path(&path, QUARANTINE_LABEL);
        fs::rename(&path, &renamed).map_err(|error| io_error("rename", &path, &error))?;
        self.warnings.push(format!(
            "{} is damaged ({how}) and kept as {}",
            path.display(),
            renamed.display()
        ));
        Ok(())
    }
}
