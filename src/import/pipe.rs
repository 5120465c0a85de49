//! Pipes: what comes on stdin, or from a named pipe, cannot be read again, so with a state directory it goes through a
//! spool there.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use super::known::unreadable;
use super::spooled::{Spooled, give_up};
use super::way::Way;
use super::{Flow, Importer, Kept, TICK};
use crate::error::{Error, Kind, Result};
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::{LineOptions, Lines, Tee};
use crate::input::reader::Keeper;
use crate::ledger::spool::{self, Spool, SpoolContents, SpoolOrigin};
use crate::ledger::{FileChange, LogFile, LogState};
use crate::report::{Console, Row};
use crate::shutdown::Shutdown;

impl Importer {
    /// What earlier runs left of their pipes comes before anything new; where one had not ended, and this run reads the
    /// same source, it comes with that.
    pub(super) fn import_spools(&mut self, sources: &[Source]) -> Result<Flow> {
        let Some(Kept { dir, target }) = self.kept() else {
            return Ok(Flow::On);
        };
        let left = spool::left_over(&dir, &target)?;
        for SpoolContents {
            path,
            origin,
            is_open,
        } in &left
        {
            let source = sources
                .iter()
                .find(|source| origin_of(source) == Some(*origin));
            if source.is_some()
                && open_one(&left, *origin, &self.options(), &self.stop)
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
                    let trouble = error.to_string();
                    match is_hopeless(path, &self.options(), &self.stop) {
                        true => give_up(path, &trouble, &self.console)?,
                        false => self.console.warn_incomplete(trouble),
                    }
                    continue;
                }
            };
            if state.change == FileChange::Done {
                // Nothing of it is needed any more.
                spool::remove(path)?;
                continue;
            }
            let way = Way {
                source: &Source::File(path.clone()),
                row: self.account.open(path.display().to_string()),
                options: self.options(),
                tee: None,
                spool: Some(Spooled {
                    path,
                    is_open: *is_open,
                }),
                state: Some(state),
            };
            match self.import_log(way) {
                Ok(Flow::Over) => return Ok(Flow::Over),
                Ok(_) => {}
                Err(error) if error.kind() == Kind::Log => {
                    self.console.warn_incomplete(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Flow::On)
    }

    /// What cannot be read again goes through a spool.
    pub(super) fn import_pipe(&mut self, source: &Source, row: Row, kept: &Kept) -> Result<Flow> {
        let (spool, state) = self.spool(source, kept)?;
        let path = spool.path().to_owned();
        let way = Way {
            source,
            row,
            options: self.options(),
            tee: Some(tee(spool)?),
            spool: Some(Spooled {
                path: &path,
                is_open: false,
            }),
            state: Some(state),
        };
        self.import_log(way)
    }

    /// A new spool, or the one that an earlier run left when the same source had not ended.
    fn spool(&mut self, source: &Source, Kept { dir, target }: &Kept) -> Result<(Spool, LogState)> {
        let origin = origin_of(source).unwrap_or(SpoolOrigin::Stdin);
        let left = spool::left_over(dir, target)?;
        let open = open_one(&left, origin, &self.options(), &self.stop);
        let known = open.map(|SpoolContents { path, .. }| {
            let known = self.identify(path, LogFile::growing);
            // What comes now is to be kept in any case.
            known.inspect_err(|error| self.console.warn_incomplete(error.to_string()))
        });
        if let (Some(SpoolContents { path, .. }), Some(Ok(Some((state, packed))))) = (open, known) {
            // Packed data is of no use without its beginning.
            if packed || state.change != FileChange::Done {
                let spool = Spool::resume(path, source.to_string())?;
                self.console.note(format!(
                    "going on with what an earlier run read from {source} ({}): what comes now follows its {} bytes",
                    path.display(),
                    spool.length()
                ));
                return Ok((spool, state));
            }
            spool::remove(path)?;
        }
        let spool = Spool::create(dir, target, origin, source.to_string())?;
        let state = self.identify(spool.path(), |file| file)?;
        let (state, _) =
            state.ok_or_else(|| unreadable(spool.path(), ErrorKind::InvalidInput.into()))?;
        Ok((spool, state))
    }
}

/// Keeps what pipes still hold, where the import ends before it has come to them: they cannot be read again.
pub fn keep(
    sources: &[Source],
    kept: &Kept,
    options: &LineOptions,
    stop: &Shutdown,
    console: &Console,
) {
    for source in sources {
        let Some(origin) = origin_of(source) else {
            continue;
        };
        let spool = open_spool(source, origin, kept, options, stop);
        let outcome = spool.and_then(|spool| {
            let path = spool.path().to_owned();
            let lines = Lines::open_pipe(source, tee(spool)?, options.clone());
            Ok((
                path,
                lines.map_err(|error| Error::stopped(error.to_string()))?,
            ))
        });
        match outcome {
            Ok((path, mut lines)) => {
                keep_rest(&source.to_string(), &mut lines, &path, stop, console)
            }
            Err(error) => console.warn_incomplete(format!("{source} is not kept: {error}")),
        }
    }
}

fn open_spool(
    source: &Source,
    origin: SpoolOrigin,
    Kept { dir, target }: &Kept,
    options: &LineOptions,
    stop: &Shutdown,
) -> Result<Spool> {
    match open_one(&spool::left_over(dir, target)?, origin, options, stop) {
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

/// Reads the rest of a pipe into its spool, for whoever writes to it will not do so again; not one that never ends.
/// After a signal only what is there already is kept.
pub(super) fn keep_rest(
    name: &str,
    lines: &mut Lines,
    path: &Path,
    stop: &Shutdown,
    console: &Console,
) {
    let outcome = drain(lines, stop);
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    match outcome {
        Ok(_) if bytes == 0 => {
            // Nothing came: nothing needs to be finished.
            let _ = fs::remove_file(path);
        }
        Ok(true) => console.note(format!(
            "{name} is kept whole in {}: the next run with this --state-dir finishes it",
            path.display()
        )),
        Ok(false) => console.warn(format!(
            "{bytes} bytes of {name} are safe in {}, and the next run with this --state-dir finishes them; what follows \
             them is to be piped into it again (tail -c +{} of the same input)",
            path.display(),
            bytes.saturating_add(1)
        )),
        Err(error) => console.warn_incomplete(error.to_string()),
    }
}

/// The same of a pipe that cannot be read on: what was kept of it will be told of.
pub(super) fn keep_unread(name: &str, lines: &mut Lines, stop: &Shutdown, console: &Console) {
    match drain(lines, stop) {
        Ok(true) => {}
        Ok(false) => console.warn(format!("{name} had not ended, and was not kept whole")),
        Err(error) => console.warn_incomplete(error.to_string()),
    }
}

fn drain(lines: &mut Lines, stop: &Shutdown) -> std::result::Result<bool, InputError> {
    const PAUSE: Duration = Duration::from_secs(5);
    const MOST: Duration = Duration::from_secs(60);
    lines.drain(PAUSE, MOST, || stop.signal().is_some())
}

/// Where a source's spool says that it comes from. `None`: it needs none.
fn origin_of(source: &Source) -> Option<SpoolOrigin> {
    source.is_pipe().then(|| match source {
        Source::Stdin => SpoolOrigin::Stdin,
        Source::File(path) => SpoolOrigin::of_pipe(path),
    })
}

/// The spool that what this source gives now is to follow: the last that is open, and that can be read on.
fn open_one<'l>(
    left: &'l [SpoolContents],
    origin: SpoolOrigin,
    options: &LineOptions,
    stop: &Shutdown,
) -> Option<&'l SpoolContents> {
    let mut of_source = left.iter().rev().filter(|left| left.origin == origin);
    of_source.find(|left| left.is_open && !is_hopeless(&left.path, options, stop))
}

/// Whether a spool's first bytes show that no line will come of it: what followed them would be lost.
fn is_hopeless(path: &Path, options: &LineOptions, stop: &Shutdown) -> bool {
    let looked =
        Lines::open(&Source::File(path.to_owned()), options.clone()).and_then(|mut lines| {
            while !lines.inspect(TICK)? && !stop.requested() {}
            Ok(())
        });
    let spool = Spooled {
        path,
        is_open: true,
    };
    looked.is_err_and(|error| spool.is_hopeless(&error))
}
