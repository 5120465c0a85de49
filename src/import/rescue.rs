//! Saves pipes if a run fails before its ledger is open: wrong options, a missing file, a URL that
//! cannot be used. What was in a pipe cannot be read again.

use std::ffi::OsString;
use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};

use super::InputOptions;
use super::ledger_handle::StateDir;
use super::spool;
use crate::error::Result;
use crate::input::discover::{Source, discover};
use crate::ledger::{Ledger, TargetKey};
use crate::report::Console;
use crate::shutdown::Shutdown;

/// What is needed to save the pipes of a run, known before anything can fail.
pub struct PipeRescue {
    /// The names of the logs, as typed.
    pub files: Vec<OsString>,
    /// `None` without `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `None` if the URL of Matomo cannot be used.
    pub target: Option<TargetKey>,
    pub input: InputOptions,
}

impl PipeRescue {
    /// Saves what the pipes hold in the state directory, or warns that it is lost.
    pub fn save(&self, console: &Console, shutdown: &Shutdown) {
        let pipes = self.pipes();
        if pipes.is_empty() {
            return;
        }
        match self.open(console) {
            Ok(Some((_ledger, dir))) => {
                spool::save_pipes(&pipes, &dir, &self.input, shutdown, console);
            }
            Ok(None) => self.warn_of_loss(console),
            Err(error) => {
                console.warn(error.to_string());
                self.warn_of_loss(console);
            }
        }
    }

    /// Warns that what the pipes hold is lost.
    pub fn warn_of_loss(&self, console: &Console) {
        let pipes = self.pipes().into_iter().filter(|pipe| !is_file(pipe));
        let names: Vec<String> = pipes.map(|pipe| pipe.to_string()).collect();
        if names.is_empty() {
            return;
        }
        let why = match self.state_dir {
            Some(_) => "running again does not bring it back",
            None => "--state-dir would have saved it",
        };
        console.warn(format!("what is in {} is lost: {why}", names.join(", ")));
    }

    /// Opens the ledger for its lock. `None` if there is no directory or no target.
    fn open(&self, console: &Console) -> Result<Option<(Ledger, StateDir)>> {
        let (Some(path), Some(target)) = (&self.state_dir, &self.target) else {
            return Ok(None);
        };
        let opened = Ledger::open(path, target)?;
        for warning in opened.warnings {
            console.warn_incomplete(warning);
        }
        let dir = StateDir {
            path: path.clone(),
            target: target.clone(),
        };
        Ok(Some((opened.ledger, dir)))
    }

    /// The sources that cannot be read again.
    fn pipes(&self) -> Vec<Source> {
        let mut pipes = discover(&self.files, &mut |_| {});
        pipes.retain(|source| match source {
            Source::Stdin => !stdin().is_terminal(),
            Source::File(_) | Source::Object(_) => source.is_pipe(),
        });
        pipes
    }
}

/// Whether standard input is a file, or nothing at all.
fn is_file(source: &Source) -> bool {
    use std::os::unix::fs::FileTypeExt;
    *source == Source::Stdin
        && fs::metadata(Path::new("/dev/stdin"))
            .is_ok_and(|stdin| stdin.is_file() || stdin.file_type().is_char_device())
}
