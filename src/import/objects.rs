//! Reads objects of buckets side by side, since those of one hour have the lines of many servers:
//! read one after the other, they would break visits apart (guide/guarantees.md, "Objects").

use std::sync::Arc;

use super::file::{Job, OpenedLog, ReadEnd};
use super::{Flow, Importer};
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::input::InputError;
use crate::input::bucket::{Object, ShouldStop};
use crate::input::discover::Source;
use crate::input::lines::{LineOptions, Lines};
use crate::ledger::{FileChange, LogId, LogState};
use crate::report::{FileAccount, Row, grouped};

/// Objects that are open at once.
const MAX_OPEN_OBJECTS: usize = 64;
/// Objects that are downloaded before they are opened.
pub(super) const READ_AHEAD: usize = 16;
/// How far the hits of an object may be ahead of those of the others, in seconds. Matomo puts a hit
/// into a visit if it is less than 30 minutes late.
const MAX_AHEAD: i64 = 60;

/// An object that is read on when it is its turn.
struct OpenObject<'s> {
    source: &'s Source,
    account: Arc<FileAccount>,
    log: Option<LogId>,
    opened: Box<OpenedLog>,
    lines: Lines,
}

impl OpenObject<'_> {
    fn time(&self) -> i64 {
        self.opened.log.time
    }
}

impl Importer {
    /// Leaves out the objects that earlier runs have imported to their end.
    pub(super) fn without_done_objects(&self, sources: &[Source]) -> Vec<Source> {
        let Some(handle) = &self.ledger else {
            return sources.to_vec();
        };
        let is_done = |source: &&Source| match source {
            Source::Object(object) => handle.ledger.is_object_done(object),
            _ => false,
        };
        let (done, rest): (Vec<&Source>, Vec<&Source>) = sources.iter().partition(is_done);
        if let (Some(first), Some(last)) = (done.first(), done.last()) {
            self.console.note(match done.len() {
                1 => format!("{first}: already imported to its end"),
                count => format!(
                    "{} objects from {first} to {last} are already imported to their end",
                    grouped(count as u64)
                ),
            });
        }
        rest.into_iter().cloned().collect()
    }

    /// Imports objects, in the order of their lines as far as they can be open at once.
    pub(super) fn import_objects(&mut self, objects: &[Source], rows: Vec<Row>) -> Result<Flow> {
        let mut open = Vec::new();
        let outcome = self.merge_objects(objects, rows, &mut open);
        // They are left if the import stops.
        for object in open {
            self.close_object(object, Flow::Stop, ReadEnd::Stopped)?;
        }
        outcome
    }

    fn merge_objects<'s>(
        &mut self,
        objects: &'s [Source],
        rows: Vec<Row>,
        open: &mut Vec<OpenObject<'s>>,
    ) -> Result<Flow> {
        let mut waiting = objects.iter().enumerate().zip(rows);
        loop {
            while open.len() < MAX_OPEN_OBJECTS
                && let Some(((index, source), row)) = waiting.next()
            {
                if self.shutdown.requested() {
                    return Ok(Flow::Stop);
                }
                for next in objects.iter().skip(index).take(READ_AHEAD) {
                    if let Source::Object(object) = next {
                        object.prefetch();
                    }
                }
                let account = Arc::clone(&row.1);
                // To its first line with a time, to see when that was.
                match self.import_source_until(source, row, Some(i64::MIN)) {
                    Ok(Flow::Stop) => return Ok(Flow::Stop),
                    Ok(_) => {}
                    // One object that is no log does not keep the others from being imported.
                    Err(error) if error.is_about_log() => {
                        self.console.warn_incomplete(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
                if let Some((opened, lines)) = self.paused.take() {
                    open.push(OpenObject {
                        source,
                        account,
                        log: opened.log.resume.as_ref().map(|resume| resume.log()),
                        opened,
                        lines,
                    });
                }
                reach("between-files");
            }
            let Some(index) = (0..open.len()).min_by_key(|index| open[*index].time()) else {
                return Ok(Flow::Continue);
            };
            let mut object = open.swap_remove(index);
            let others = open.iter().map(OpenObject::time).min();
            let until = others.map(|time| time.saturating_add(MAX_AHEAD));
            match self.read_on(&mut object.opened, until, &mut object.lines) {
                Ok((Flow::Continue, ReadEnd::Ahead)) => open.push(object),
                Ok((flow, end)) => {
                    if self.close_object(object, flow, end)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                Err(error) => match self.end_log(*object.opened, Err(error)) {
                    Err(error) if error.is_about_log() => {
                        self.console.warn_incomplete(error.to_string());
                    }
                    ended => return ended.map(|(flow, _)| flow),
                },
            }
        }
    }

    fn close_object(&mut self, object: OpenObject, flow: Flow, end: ReadEnd) -> Result<Flow> {
        let OpenObject {
            source,
            account,
            log,
            opened,
            lines,
        } = object;
        let (flow, end) = self.end_log(*opened, Ok((flow, end)))?;
        self.end_object(source, log, &end, lines.has_held_back());
        if let (Some(total), true) = (lines.total(), flow != Flow::Stop) {
            account.set_passed(total);
        }
        Ok(flow)
    }

    /// Notes the end of an object, or reports why it was not reached. `has_more` is whether the
    /// rest of its last line is to come.
    pub(super) fn end_object(
        &mut self,
        source: &Source,
        log: Option<LogId>,
        end: &ReadEnd,
        has_more: bool,
    ) {
        match (end, log, &self.ledger) {
            (
                ReadEnd::Unreadable(
                    _,
                    InputError::Read {
                        position: 0,
                        source: why,
                        ..
                    },
                ),
                ..,
            ) => self
                .console
                .warn_incomplete(format!("{source}: cannot be read: {why}")),
            (ReadEnd::Unreadable(_, error), ..) => self.console.warn_incomplete(error.of_file()),
            (ReadEnd::Complete(end), Some(log), Some(handle)) if !has_more => {
                handle.ledger.note_end(log, *end);
            }
            _ => {}
        }
    }

    /// Imports an object, as far as its lines are not later than `until`.
    pub(super) fn import_object(
        &mut self,
        source: &Source,
        row: Row,
        object: &Object,
        until: Option<i64>,
    ) -> Result<Flow> {
        let state = match self.look_up_object(object) {
            Ok(state) => state,
            Err(_) if self.shutdown.requested() => return Ok(Flow::Stop),
            Err(error) => {
                self.console.warn_incomplete(error.to_string());
                return Ok(Flow::Continue);
            }
        };
        if let Some(state) = &state {
            let lines = grouped(state.done.lines());
            match state.change {
                FileChange::Done | FileChange::ReadAlready => {
                    self.console
                        .note(format!("{object}: already imported to its end"));
                    row.1.begin();
                    row.1.set_passed(object.meta().size);
                    return Ok(Flow::Continue);
                }
                FileChange::Truncated => self.console.note(format!(
                    "{object}: replaced since the last run; reading all of it"
                )),
                _ if !state.done.is_empty() => self.console.debug(1, || {
                    format!("{object}: {lines} lines are done; continuing with the rest")
                }),
                _ => {}
            }
        }
        self.import_job(Job {
            state,
            until,
            ..Job::new(
                source,
                row,
                LineOptions {
                    incomplete_last: !(self.state_dir().is_some() && object.may_grow()),
                    ..self.input.line_options()
                },
            )
        })
    }

    /// What the ledger says about an object. `None` without a ledger.
    pub(super) fn look_up_object(&self, object: &Object) -> Result<Option<LogState>> {
        let Some(handle) = &self.ledger else {
            return Ok(None);
        };
        let shutdown = self.shutdown.clone();
        let should_stop: ShouldStop = Arc::new(move || shutdown.requested());
        match handle.ledger.lookup_object(object, &should_stop) {
            Err(_) if should_stop() => Err(Error::interrupted("interrupted while comparing logs")),
            looked_up => looked_up.map(Some),
        }
    }
}
