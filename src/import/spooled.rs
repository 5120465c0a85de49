//! What becomes of a spool that was read: it is removed when it is done, left for the next run while some of it is not,
//! and set aside where the rest of it can never be read, so that nothing comes back to it and nothing of it is lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::input::InputError;
use crate::ledger::{Ledger, LogId, spool};
use crate::report::Console;

/// How far a log was read.
pub(super) enum End {
    /// Not to its end, which is no fault of it.
    Before,
    /// To its end, which is there.
    At(u64),
    /// To that position: what follows cannot be read.
    Unreadable(u64, InputError),
    /// To that position: what follows does not suit the options.
    Unsuited(u64, Error),
}

/// The file that a pipe goes through, or that an earlier run left of one.
#[derive(Clone, Copy)]
pub(super) struct Spooled<'s> {
    pub path: &'s Path,
    /// More may come of its source.
    pub is_open: bool,
}

/// A spool of which there is no more to be read.
#[derive(Debug)]
pub struct ReadSpool {
    path: PathBuf,
    log: LogId,
    /// The position before which every line is to be done.
    end: u64,
    /// Why what follows cannot be read.
    trouble: Option<String>,
}

impl Spooled<'_> {
    /// What is to be done about it once its lines are. `None`: the next run takes it up; the user has been told why.
    pub(super) fn read(self, log: LogId, end: End, console: &Console) -> Option<ReadSpool> {
        let (end, trouble) = match end {
            End::Before => return None,
            End::At(end) => (end, None),
            End::Unreadable(end, error) if self.is_hopeless(&error) => {
                (end, Some(error.to_string()))
            }
            End::Unsuited(end, error) if !self.is_open => (end, Some(error.to_string())),
            End::Unreadable(_, error) => {
                self.wait_for_more(&error.to_string(), console);
                return None;
            }
            End::Unsuited(_, error) => {
                self.wait_for_more(&error.to_string(), console);
                return None;
            }
        };
        Some(ReadSpool {
            path: self.path.to_owned(),
            log,
            end,
            trouble,
        })
    }

    fn wait_for_more(self, trouble: &str, console: &Console) {
        let path = self.path.display();
        console.warn_incomplete(match self.is_open {
            true => format!("{trouble}; if nothing more comes of that pipe, remove {path}"),
            false => trouble.to_owned(),
        });
    }

    /// Whether it will never be read further.
    pub(super) fn is_hopeless(self, error: &InputError) -> bool {
        // Packed data that is cut off may go on.
        error.is_lasting() && !(self.is_open && error.is_truncated())
    }
}

impl ReadSpool {
    /// To be called when the recorders have ended.
    pub fn close(self, ledger: &Ledger, console: &Console) -> Result<()> {
        let is_done = ledger.position(self.log) >= self.end;
        match self.trouble {
            None if is_done => spool::remove(&self.path),
            None => Ok(()),
            Some(trouble) if is_done => give_up(&self.path, &trouble, console),
            Some(trouble) => {
                // Nothing is added to it, or that would be set aside with it.
                let sealed = fs::metadata(&self.path).and_then(|metadata| {
                    let mut permissions = metadata.permissions();
                    permissions.set_readonly(true);
                    fs::set_permissions(&self.path, permissions)
                });
                sealed.map_err(|error| failed("write", &self.path, &error))?;
                console.warn_incomplete(format!(
                    "{trouble}; the next run with this --state-dir sends what can be read of {}",
                    self.path.display()
                ));
                Ok(())
            }
        }
    }
}

/// Nothing more comes of a spool: it is set aside, and the user is told.
pub(super) fn give_up(path: &Path, trouble: &str, console: &Console) -> Result<()> {
    let aside = spool::quarantine(path)?;
    console.warn_incomplete(format!(
        "{trouble}; what could be read of it is imported, and it is kept aside as {}, which no run takes up again: \
         import it by that name once that is mended, or remove it",
        aside.display()
    ));
    Ok(())
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    Error::stopped(format!(
        "cannot {doing} {path}: {error}; see to that disk, or remove the file"
    ))
}
