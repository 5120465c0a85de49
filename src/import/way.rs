//! The way to a log: recognised, opened, and what becomes of it when it was read.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::known::Look;
use super::pipe;
use super::spooled::{End, Spooled};
use super::{Flow, Importer, Kept};
use crate::error::Result;
use crate::input::discover::Source;
use crate::input::lines::{LineOptions, Lines, Tee};
use crate::ledger::LogState;
use crate::report::Row;

/// How a log is to be read.
pub(super) struct Way<'s> {
    pub source: &'s Source,
    /// Its place in the account.
    pub row: Row,
    pub options: LineOptions,
    /// Every byte of a pipe is kept there before it is looked at.
    pub tee: Option<Tee>,
    pub spool: Option<Spooled<'s>>,
    pub state: Option<LogState>,
}

impl Way<'_> {
    /// Whether it is what an earlier run left of a pipe. That is not what this run was given, which it must not keep from
    /// being imported.
    pub fn is_left_over(&self) -> bool {
        matches!((self.source, self.spool), (Source::File(path), Some(spool)) if path == spool.path)
    }
}

impl Importer {
    pub(super) fn import(&mut self, source: &Source, row: Row) -> Result<Flow> {
        match (source, self.kept()) {
            (source, Some(kept)) if source.is_pipe() => self.import_pipe(source, row, &kept),
            (Source::File(path), kept) if self.books.is_some() && !path.is_dir() => {
                self.import_file(source, row, path, kept.is_some())
            }
            _ => self.import_unknown(source, row),
        }
    }

    fn import_file(&mut self, source: &Source, row: Row, path: &Path, kept: bool) -> Result<Flow> {
        match self.recognise(path) {
            Ok(Look::Read(state, packed)) => {
                let way = Way {
                    source,
                    row,
                    options: LineOptions {
                        // A log that grows: a line without its end is not whole yet.
                        incomplete_last: !kept || packed,
                        ..self.options()
                    },
                    tee: None,
                    spool: None,
                    state: Some(state),
                };
                self.import_log(way)
            }
            // Without a state directory that is what the user asked for. And what cannot be read: reading it says what
            // is wrong with it.
            Ok(Look::Twice) => self.import_unknown(source, row),
            Err(_) if !kept => self.import_unknown(source, row),
            Ok(Look::Over) => {
                row.1.begin();
                Ok(Flow::On)
            }
            Err(error) => {
                self.console.warn_incomplete(error.to_string());
                Ok(Flow::On)
            }
        }
    }

    /// A log of which the ledger knows nothing.
    fn import_unknown(&mut self, source: &Source, row: Row) -> Result<Flow> {
        let way = Way {
            source,
            row,
            options: self.options(),
            tee: None,
            spool: None,
            state: None,
        };
        self.import_log(way)
    }

    pub(super) fn kept(&self) -> Option<Kept> {
        self.books.as_ref()?.kept.clone()
    }

    pub(super) fn options(&self) -> LineOptions {
        LineOptions {
            encoding: self.input.encoding.clone(),
            ..LineOptions::default()
        }
    }

    pub(super) fn import_log(&mut self, mut way: Way) -> Result<Flow> {
        let before = self.bytes.load(Ordering::Relaxed);
        let tee = way.tee.take();
        let is_piped = tee.is_some();
        // A pipe before all else: whatever fails from here on, what it holds is kept.
        let opened = match tee {
            Some(tee) => Lines::open_pipe(way.source, tee, way.options.clone()),
            None => Lines::open(way.source, way.options.clone()),
        };
        let mut lines = match opened {
            Ok(lines) => lines,
            Err(error) => {
                self.console.warn_incomplete(error.of_file());
                return Ok(Flow::On);
            }
        };
        let total = lines.total();
        let log = way.state.as_ref().map(|state| state.log);
        let (name, spool) = (way.source.to_string(), way.spool);
        let outcome = self.read(way, &mut lines, before);
        if let (true, Some(spool)) = (is_piped, spool) {
            let (stop, console) = (&self.stop, &self.console);
            match &outcome {
                Err(_) | Ok((Flow::Over, _)) => {
                    pipe::keep_rest(&name, &mut lines, spool.path, stop, console);
                }
                Ok((_, End::Unreadable(_, error))) if spool.is_hopeless(error) => {
                    pipe::keep_unread(&name, &mut lines, stop, console);
                }
                Ok(_) => {}
            }
        }
        let (flow, end) = outcome?;
        match (spool, log, &mut self.books, end) {
            (Some(spool), Some(log), Some(books), end) => {
                books.spools.extend(spool.read(log, end, &self.console));
            }
            (.., End::Unreadable(_, error)) => self.console.warn_incomplete(error.of_file()),
            _ => {}
        }
        if let Some(total) = total {
            self.bytes.store(before + total, Ordering::Relaxed);
        }
        // A batch holds lines of one log: what is left of this one goes before the next.
        if flow != Flow::Over && self.books.is_some() && self.outbox.flush().is_err() {
            return Ok(Flow::Over);
        }
        Ok(flow)
    }
}
