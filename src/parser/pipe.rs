//! Pipes: what comes on stdin, or from a named pipe, cannot be read again, so with a state directory it goes through a
//! spool there.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::log::{Way, unreadable};
use super::{Flow, Kept, Parser};
use crate::error::Result;
use crate::input::discover::Source;
use crate::input::lines::Tee;
use crate::input::reader::Keeper;
use crate::ledger::spool::{self, Left, Origin, Spool};
use crate::ledger::{Fate, LogFile, LogState};
use crate::report::Row;

impl Parser {
    /// What earlier runs left of their pipes comes before anything new; where one had not ended, and this run reads the
    /// same source, it comes with that.
    pub(super) fn import_spools(&mut self, sources: &[Source]) -> Result<Flow> {
        let Some(Kept { dir, target }) = self.kept() else {
            return Ok(Flow::On);
        };
        let left = spool::left_over(&dir, &target)?;
        for Left { path, origin, .. } in &left {
            let source = sources
                .iter()
                .find(|source| origin_of(source) == Some(*origin));
            if source.is_some() && open_one(&left, *origin).is_some_and(|open| open.path == *path) {
                continue;
            }
            let name = match (source, origin) {
                (Some(source), _) => source.to_string(),
                (None, Origin::Stdin) => Source::Stdin.to_string(),
                (None, Origin::Pipe(_)) => "a named pipe".to_owned(),
            };
            self.console.note(format!(
                "finishing what an earlier run read from {name} ({})",
                path.display()
            ));
            let state = match self.identify(path, LogFile::growing) {
                Ok(Some((state, _))) => state,
                Ok(None) => continue,
                Err(error) => {
                    self.console.warn_incomplete(error.to_string());
                    continue;
                }
            };
            if state.fate == Fate::Done {
                // Nothing of it is needed any more.
                spool::remove(path)?;
                continue;
            }
            let way = Way {
                source: &Source::File(path.clone()),
                row: self.account.open(path.display().to_string()),
                options: self.options(),
                tee: None,
                state: Some(state),
            };
            if self.import_log(way, Some(path))? == Flow::Over {
                return Ok(Flow::Over);
            }
        }
        Ok(Flow::On)
    }

    /// What cannot be read again goes through a spool.
    pub(super) fn import_pipe(&mut self, source: &Source, row: Row, kept: &Kept) -> Result<Flow> {
        let (mut spool, state) = self.spool(source, kept)?;
        let path = spool.path().to_owned();
        let before = File::open(&path).map_err(|error| unreadable(&path, error))?;
        let keeper: Keeper = Box::new(move |bytes| spool.append(bytes).map_err(io::Error::other));
        let way = Way {
            source,
            row,
            options: self.options(),
            tee: Some(Tee { before, keeper }),
            state: Some(state),
        };
        self.import_log(way, Some(&path))
    }

    /// A new spool, or the one that an earlier run left when the same source had not ended.
    fn spool(&mut self, source: &Source, Kept { dir, target }: &Kept) -> Result<(Spool, LogState)> {
        let origin = origin_of(source).unwrap_or(Origin::Stdin);
        let left = spool::left_over(dir, target)?;
        if let Some(Left { path, .. }) = open_one(&left, origin)
            && let Some((state, packed)) = self.identify(path, LogFile::growing)?
        {
            // Packed data is of no use without its beginning.
            if packed || state.fate != Fate::Done {
                let spool = Spool::go_on(path, source.to_string())?;
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

/// Where a source's spool says that it comes from. `None`: it needs none.
fn origin_of(source: &Source) -> Option<Origin> {
    match source {
        Source::Stdin => Some(Origin::Stdin),
        Source::File(path) => is_pipe(path).then(|| Origin::of_pipe(path)),
    }
}

/// The spool that what this source gives now is to follow: the last that is open.
fn open_one(left: &[Left], origin: Origin) -> Option<&Left> {
    let mut of_source = left.iter().rev().filter(|left| left.origin == origin);
    of_source.find(|left| left.is_open)
}

/// Whether it is a named pipe, a socket or a device: there is no second reading of it.
pub(super) fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}
