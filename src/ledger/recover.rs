//! Recovering: what is still good of the ledger's files after a crash or on a damaged disk.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::disk;
use super::journal;
use super::record::{Record, Records};
use super::salt::Salt;
use super::snapshot::{self, CURRENT, OLD, Snapshot};
use super::state::State;
use crate::error::Result;

/// What was found in a directory, beside the state itself.
#[derive(Debug)]
pub struct Recovery<'a> {
    dir: &'a Path,
    /// The last generation that any file had.
    pub generation: u64,
    /// The generations of `ledger.json` and `ledger.json.old`, where they are there and good.
    pub current: Option<u64>,
    pub old: Option<u64>,
    /// What was damaged, what became of it and what that means; for the user.
    pub warnings: Vec<String>,
}

/// What a journal is good for.
enum Found {
    /// These records count; what is lost of it was told.
    Records(Vec<Record>),
    /// It is gone or another ledger's, which was told.
    Nothing,
    /// The fold that made it was cut short before it was begun.
    Unused,
}

impl<'a> Recovery<'a> {
    /// Reads what is in a directory that is locked. An error: the disk will not do, or the ledger is of a newer version.
    pub fn of(dir: &'a Path) -> Result<(State, Self)> {
        let journals = journal::generations(dir)?;
        let mut recovery = Self {
            dir,
            generation: journals.last().copied().unwrap_or(0),
            current: None,
            old: None,
            warnings: Vec::new(),
        };
        let base = recovery.read_base()?;
        let state = recovery.replay(base, &journals)?;
        Ok((state, recovery))
    }

    /// The best snapshot there is, and its generation.
    fn read_base(&mut self) -> Result<Option<(u64, State)>> {
        let current = snapshot::read(&self.dir.join(CURRENT))?;
        if let Snapshot::Good { generation, state } = current {
            self.generation = self.generation.max(generation);
            self.current = Some(generation);
            return Ok(Some((generation, *state)));
        }
        // A crash between two renames leaves the old one alone; only a broken one is worth a word.
        let old = snapshot::read(&self.dir.join(OLD))?;
        if let Snapshot::Broken(how) = current {
            self.keep_aside(CURRENT, &how)?;
        }
        match old {
            Snapshot::Missing => Ok(None),
            Snapshot::Broken(how) => {
                self.keep_aside(OLD, &how)?;
                Ok(None)
            }
            Snapshot::Good { generation, state } => {
                self.generation = self.generation.max(generation);
                self.old = Some(generation);
                if !self.warnings.is_empty() {
                    self.warnings.push(format!(
                        "going on from {} and the journals since",
                        self.dir.join(OLD).display()
                    ));
                }
                Ok(Some((generation, *state)))
            }
        }
    }

    /// The state that the journals since that snapshot make of it (or of nothing, where none is left).
    fn replay(&mut self, base: Option<(u64, State)>, journals: &[u64]) -> Result<State> {
        let (from, mut base) = match base {
            Some((generation, state)) => (generation, Some(state)),
            None => (journals.first().copied().unwrap_or(0), None),
        };
        if base.is_none() && (from > 1 || !self.warnings.is_empty() && from == 0) {
            self.warnings.push(format!(
                "no good snapshot is left in {}: only what its journals say is known, other lines may be sent again",
                self.dir.display()
            ));
        }
        // A fold writes its journal before its snapshot. One that a crash cut short may leave that journal, of a
        // generation that no snapshot has, without its beginning: nothing was ever done in it.
        let newest = self.generation;
        let first_in_use = match self.warnings.is_empty() && self.old.is_none() {
            true => self.current.unwrap_or(0),
            false => newest,
        };
        for generation in from.max(1)..=newest {
            let may_be_unused = generation == newest && generation > first_in_use;
            let salt = base.as_ref().map(|state| state.salt);
            let records = match self.read_journal(generation, salt, may_be_unused)? {
                Found::Records(records) => records,
                Found::Nothing => continue,
                Found::Unused => {
                    // The next fold takes its place.
                    self.generation -= 1;
                    break;
                }
            };
            let state = match &mut base {
                Some(state) => state,
                none => none.insert(State::new(match records.first() {
                    Some(Record::Journal { salt, .. }) => *salt,
                    _ => Salt::draw()?,
                })),
            };
            for record in records {
                state.apply(record);
            }
        }
        match base {
            Some(state) => Ok(state),
            None => Ok(State::new(Salt::draw()?)),
        }
    }

    /// Reads one journal of the ledger that has this salt, where that is known. A damaged one is copied aside.
    fn read_journal(
        &mut self,
        generation: u64,
        salt: Option<Salt>,
        may_be_unused: bool,
    ) -> Result<Found> {
        let path = journal::path(self.dir, generation);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.warnings.push(format!(
                    "{} is missing: what was done then is not known, its lines may be sent again",
                    path.display()
                ));
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(disk::failed("read", &path, &error)),
        };
        let Records { records, damaged } = Records::read(&bytes);
        if records.is_empty() && damaged == 0 && may_be_unused {
            return Ok(Found::Unused);
        }
        let begins = match records.first() {
            Some(Record::Journal { version, salt }) => Some((*version, *salt)),
            _ => None,
        };
        if let Some((version, its)) = begins {
            snapshot::refuse_newer(version, &path)?;
            if salt.is_some_and(|ours| ours != its) {
                self.keep_aside(&journal::name(generation), "it belongs to another ledger")?;
                return Ok(Found::Nothing);
            }
        }
        let lost = match damaged {
            0 if begins.is_some() => return Ok(Found::Records(records)),
            0 => "its beginning is missing".to_owned(),
            damaged => format!("{damaged} of its records cannot be read"),
        };
        let aside = self.aside(&journal::name(generation));
        fs::copy(&path, &aside).map_err(|error| disk::failed("copy", &path, &error))?;
        self.warnings.push(format!(
            "{} is damaged ({lost}) and kept as {}: the lines of what is lost of it may be sent again",
            path.display(),
            aside.display()
        ));
        Ok(Found::Records(records))
    }

    /// Renames a broken file, so that it is there for whoever wants to look into it, and says so.
    fn keep_aside(&mut self, name: &str, how: &str) -> Result<()> {
        let path = self.dir.join(name);
        let aside = self.aside(name);
        fs::rename(&path, &aside).map_err(|error| disk::failed("rename", &path, &error))?;
        self.warnings.push(format!(
            "{} is damaged ({how}) and kept as {}",
            path.display(),
            aside.display()
        ));
        Ok(())
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
}
