//! Pipes cannot be read twice. With a state directory, everything that comes from standard input
//! or a named pipe goes through a spool file there (guide/guarantees.md, "Pipes").
//!
//! A spool is removed when all its lines are done, and kept for the next run if some are not. If
//! the rest of it can never be read, it is quarantined: reported once, and renamed so that no run
//! reads it again (guide/guarantees.md, "Quarantine").

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{Job, ReadEnd, unreadable};
use super::ledger_handle::StateDir;
use super::{Flow, Importer, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::{LineOptions, Lines, Tee};
use crate::input::reader::Keeper;
use crate::ledger::spool::{self, Spool, SpoolContents, SpoolOrigin};
use crate::ledger::{FileChange, Ledger, LogFile, LogId, LogState};
use crate::report::{Console, Row};
use crate::shutdown::Shutdown;

/// When an import stops, the rest of a pipe is saved until it pauses for this long.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The longest time spent saving the rest of a pipe.
const MAX_SAVE_TIME: Duration = Duration::from_secs(60);

/// The spool of a pipe, or one that an earlier run left.
#[derive(Clone, Copy)]
pub(super) struct SpoolFile<'s> {
    pub path: &'s Path,
    pub is_leftover: bool,
    /// The pipe had not ended, so more may be appended.
    pub is_open: bool,
}

/// A spool that was read to its end, or as far as it ever can be.
#[derive(Debug)]
pub struct FinishedSpool {
    path: PathBuf,
    log: LogId,
    /// All lines before this position must be done before the spool may be removed.
    end: u64,
    /// Why what follows cannot be read.
    problem: Option<String>,
}

// Reading pipes and spools.
impl Importer {
    /// Imports the spools that earlier runs left, before anything new. A spool whose pipe had not
    /// ended is left for that pipe, if this run reads it.
    pub(super) fn import_spools(&mut self, sources: &[Source]) -> Result<Flow> {
        let Some(StateDir { path: dir, target }) = self.state_dir() else {
            return Ok(Flow::Continue);
        };
        let left = spool::left_over(dir, target)?;
        let options = self.input.line_options();
        for contents in &left {
            let SpoolContents { path, origin, .. } = contents;
            let source = sources
                .iter()
                .find(|source| origin_of(source) == Some(*origin));
            if source.is_some()
                && find_open(&left, *origin, &options, &self.shutdown)
                    .is_some_and(|open| open.path == *path)
            {
                continue;
            }
            let name = match (source, origin) {
                (Some(source), _) => source.to_string(),
                (None, SpoolOrigin::Stdin) => Source::Stdin.to_string(),
                (None, SpoolOrigin::Pipe(_)) => "a named pipe".to_owned(),
            };
            self.console.note(format!(
                "finishing what an earlier run read from {name} ({})",
                path.display()
            ));
            let state = match self.identify(path, LogFile::growing) {
                Ok(Some((state, _))) => state,
                Ok(None) => continue,
                Err(error) => {
                    let problem = error.to_string();
                    match is_hopeless(path, &options, &self.shutdown) {
                        true => quarantine(path, &problem, &self.console)?,
                        false => self.console.warn_incomplete(problem),
                    }
                    continue;
                }
            };
            if state.change == FileChange::Done {
                spool::remove(path)?;
                continue;
            }
            let job = Job {
                source: &Source::File(path.clone()),
                row: self.account.open(path.display().to_string()),
                options: options.clone(),
                tee: None,
                spool: Some(SpoolFile {
                    path,
                    is_leftover: true,
                    is_open: contents.is_open,
                }),
                state: Some(state),
                only: None,
            };
            match self.import_job(job) {
                Ok(Flow::Stop) => return Ok(Flow::Stop),
                Ok(_) => {}
                Err(error) if error.is_about_log() => {
                    self.console.warn_incomplete(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Flow::Continue)
    }

    /// Imports a pipe through a spool.
    pub(super) fn import_pipe(
        &mut self,
        source: &Source,
        row: Row,
        dir: &StateDir,
    ) -> Result<Flow> {
        let (spool, state) = self.open_recorded_spool(source, dir)?;
        let path = spool.path().to_owned();
        self.import_job(Job {
            source,
            row,
            options: self.input.line_options(),
            tee: Some(tee(spool)?),
            spool: Some(SpoolFile {
                path: &path,
                is_leftover: false,
                is_open: false,
            }),
            state: Some(state),
            only: None,
        })
    }

    /// Opens a spool for a pipe, and looks it up in the ledger: the one that an earlier run left
    /// open, or a new one.
    fn open_recorded_spool(
        &mut self,
        source: &Source,
        StateDir { path: dir, target }: &StateDir,
    ) -> Result<(Spool, LogState)> {
        let origin = origin_of(source).unwrap_or(SpoolOrigin::Stdin);
        let left = spool::left_over(dir, target)?;
        let options = self.input.line_options();
        if let Some(open) = find_open(&left, origin, &options, &self.shutdown) {
            let path = &open.path;
            match self.identify(path, LogFile::growing) {
                // Compressed data cannot be continued without its beginning, even if all its
                // lines are done.
                Ok(Some((state, is_packed))) if is_packed || state.change != FileChange::Done => {
                    let spool = Spool::resume(path, source.to_string())?;
                    self.console.note(format!(
                        "resuming what an earlier run read from {source} ({}): new data is \
                         appended to its {} bytes",
                        path.display(),
                        spool.length()
                    ));
                    return Ok((spool, state));
                }
                Ok(Some(_)) => spool::remove(path)?,
                Ok(None) => {}
                // The pipe is saved in a new spool.
                Err(error) => self.console.warn_incomplete(error.to_string()),
            }
        }
        let spool = Spool::create(dir, target, origin, source.to_string())?;
        let state = self.identify(spool.path(), |file| file)?;
        let (state, _) =
            state.ok_or_else(|| unreadable(spool.path(), ErrorKind::InvalidInput.into()))?;
        Ok((spool, state))
    }
}

// What becomes of a spool that was read.
impl SpoolFile<'_> {
    /// Decides what to do with the spool when its lines are done. Returns `None` if it stays for
    /// the next run, and prints why.
    pub fn finish(self, log: LogId, end: ReadEnd, console: &Console) -> Option<FinishedSpool> {
        let (end, problem) = match end {
            ReadEnd::Stopped => return None,
            ReadEnd::Complete(end) => (end, None),
            ReadEnd::Unreadable(end, error) if self.is_hopeless(&error) => {
                (end, Some(error.to_string()))
            }
            ReadEnd::Unusable(end, error) if !self.is_open => (end, Some(error.to_string())),
            ReadEnd::Unreadable(_, error) => {
                self.wait_for_more(&error.to_string(), console);
                return None;
            }
            ReadEnd::Unusable(_, error) => {
                self.wait_for_more(&error.to_string(), console);
                return None;
            }
        };
        Some(FinishedSpool {
            path: self.path.to_owned(),
            log,
            end,
            problem,
        })
    }

    fn wait_for_more(self, problem: &str, console: &Console) {
        let path = self.path.display();
        console.warn_incomplete(match self.is_open {
            true => format!("{problem}; if the pipe sends nothing more, remove {path}"),
            false => problem.to_owned(),
        });
    }

    /// Returns whether the spool can never be read further.
    pub fn is_hopeless(self, error: &InputError) -> bool {
        // Truncated compressed data may be continued.
        error.is_lasting() && !(self.is_open && error.is_truncated())
    }
}

impl FinishedSpool {
    /// Removes, keeps or quarantines the spool. Called after the recorders have ended.
    pub fn close(self, ledger: &Ledger, console: &Console) -> Result<()> {
        let is_done = ledger.position(self.log) >= self.end;
        match self.problem {
            None if is_done => spool::remove(&self.path),
            None => Ok(()),
            Some(problem) if is_done => quarantine(&self.path, &problem, console),
            Some(problem) => {
                // Read-only, so that no run appends to it: that would be quarantined with it.
                let sealed = fs::metadata(&self.path).and_then(|metadata| {
                    let mut permissions = metadata.permissions();
                    permissions.set_readonly(true);
                    fs::set_permissions(&self.path, permissions)
                });
                sealed.map_err(|error| failed("write", &self.path, &error))?;
                console.warn_incomplete(format!(
                    "{problem}; the next run with this --state-dir imports the readable part of {}",
                    self.path.display()
                ));
                Ok(())
            }
        }
    }
}

/// Renames a spool that can never be imported, and reports it.
fn quarantine(path: &Path, problem: &str, console: &Console) -> Result<()> {
    let name = spool::quarantine(path)?;
    console.warn_incomplete(format!(
        "{problem}; the readable part is imported, and the spool is quarantined as {}: repair it \
         and import it by that name, or remove it",
        name.display()
    ));
    Ok(())
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    Error::stopped(format!(
        "cannot {doing} {path}: {error}; check the disk, or remove the file"
    ))
}

/// Saves what pipes hold if the import ends before it reads them.
pub(super) fn save_pipes(
    sources: &[Source],
    dir: &StateDir,
    options: &LineOptions,
    shutdown: &Shutdown,
    console: &Console,
) {
    for source in sources {
        let Some(origin) = origin_of(source) else {
            continue;
        };
        let opened = open_spool(source, origin, dir, options, shutdown).and_then(|spool| {
            let path = spool.path().to_owned();
            let lines = Lines::open_pipe(source, tee(spool)?, options.clone())
                .map_err(|error| Error::stopped(error.to_string()))?;
            Ok((path, lines))
        });
        match opened {
            Ok((path, mut lines)) => {
                save_rest(&source.to_string(), &mut lines, &path, shutdown, console);
            }
            Err(error) => console.warn_incomplete(format!("{source} is not saved: {error}")),
        }
    }
}

fn open_spool(
    source: &Source,
    origin: SpoolOrigin,
    StateDir { path: dir, target }: &StateDir,
    options: &LineOptions,
    shutdown: &Shutdown,
) -> Result<Spool> {
    match find_open(&spool::left_over(dir, target)?, origin, options, shutdown) {
        Some(left) => Spool::resume(&left.path, source.to_string()),
        None => Spool::create(dir, target, origin, source.to_string()),
    }
}

fn tee(mut spool: Spool) -> Result<Tee> {
    let path = spool.path();
    let before = File::open(path).map_err(|error| unreadable(path, error))?;
    let keeper: Keeper = Box::new(move |bytes| spool.append(bytes).map_err(io::Error::other));
    Ok(Tee { before, keeper })
}

/// Reads the rest of a pipe into its spool, until the pipe ends or pauses. After a signal, only
/// what is there already.
pub(super) fn save_rest(
    name: &str,
    lines: &mut Lines,
    path: &Path,
    shutdown: &Shutdown,
    console: &Console,
) {
    let outcome = drain(lines, shutdown);
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    match outcome {
        Ok(_) if bytes == 0 => {
            let _ = fs::remove_file(path);
        }
        Ok(true) => console.note(format!(
            "all of {name} is saved in {}: the next run with this --state-dir finishes it",
            path.display()
        )),
        Ok(false) => console.warn(format!(
            "{bytes} bytes of {name} are saved in {}, and the next run with this --state-dir \
             finishes them; pipe the rest into it (tail -c +{} of the same input)",
            path.display(),
            bytes.saturating_add(1)
        )),
        Err(error) => console.warn_incomplete(error.to_string()),
    }
}

/// Saves the rest of a pipe that cannot be read further. The error itself is reported with the
/// spool.
pub(super) fn save_unreadable(
    name: &str,
    lines: &mut Lines,
    shutdown: &Shutdown,
    console: &Console,
) {
    match drain(lines, shutdown) {
        Ok(true) => {}
        Ok(false) => console.warn(format!("{name} had not ended; its rest is not saved")),
        Err(error) => console.warn_incomplete(error.to_string()),
    }
}

/// Returns whether the pipe was read to its end.
fn drain(lines: &mut Lines, shutdown: &Shutdown) -> std::result::Result<bool, InputError> {
    lines.drain(MAX_PAUSE, MAX_SAVE_TIME, || shutdown.signal().is_some())
}

/// The origin that the spool of a source names. `None` if the source can be read again.
fn origin_of(source: &Source) -> Option<SpoolOrigin> {
    source.is_pipe().then(|| match source {
        Source::Stdin => SpoolOrigin::Stdin,
        Source::File(path) => SpoolOrigin::of_pipe(path),
    })
}

/// Finds the spool to which new data of this origin is appended: the last one that is open and
/// can be read.
fn find_open<'l>(
    left: &'l [SpoolContents],
    origin: SpoolOrigin,
    options: &LineOptions,
    shutdown: &Shutdown,
) -> Option<&'l SpoolContents> {
    let mut of_origin = left.iter().rev().filter(|left| left.origin == origin);
    of_origin.find(|left| left.is_open && !is_hopeless(&left.path, options, shutdown))
}

/// Returns whether the first bytes of an open spool show that it can never be read.
fn is_hopeless(path: &Path, options: &LineOptions, shutdown: &Shutdown) -> bool {
    let looked =
        Lines::open(&Source::File(path.to_owned()), options.clone()).and_then(|mut lines| {
            while !lines.inspect(POLL_INTERVAL)? && !shutdown.requested() {}
            Ok(())
        });
    let spool = SpoolFile {
        path,
        is_leftover: true,
        is_open: true,
    };
    looked.is_err_and(|error| spool.is_hopeless(&error))
}
