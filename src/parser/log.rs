//! One log: recognised, opened, its format found, its lines taken one by one; what is done already is passed over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bumpalo::Bump;

use super::known::{Known, Look};
use super::pipe::{self, is_pipe};
use super::radio::Listening;
use super::{Flow, Kept, Parser, TICK};
use crate::choice::Held;
use crate::error::{Error, Result};
use crate::format::{Field, Fields, Format};
use crate::input::discover::Source;
use crate::input::error::InputError;
use crate::input::lines::{Lines, Next, Options, Tee};
use crate::ledger::LogState;
use crate::rejects;
use crate::report::{Counter, Row};
use crate::site;

/// The log that is being read.
pub(super) struct Log {
    pub name: String,
    /// Its place in the account.
    pub number: u32,
    pub account: Counter,
    /// What is known of it in the ledger.
    pub known: Option<Known>,
    /// Lines that fitted the format.
    pub fitting: u64,
    /// Tells this log from others in the marks of its hits.
    pub mark: u64,
    pub listening: Listening,
    /// Why the last `#Fields:` line cannot be used: told if a line comes before another of them.
    pub unusable_header: Option<Error>,
    /// The last `#Fields:` line, for `--rejects`.
    pub header: Option<Arc<[u8]>>,
    /// The format's name, for the same.
    pub format: &'static str,
    /// These are an earlier run's rejects.
    pub is_rejects: bool,
}

/// How a log is to be read.
pub(super) struct Way<'s> {
    pub source: &'s Source,
    /// Its place in the account.
    pub row: Row,
    pub options: Options,
    /// Every byte of a pipe is kept there before it is looked at.
    pub tee: Option<Tee>,
    pub state: Option<LogState>,
}

impl Parser {
    pub(super) fn import(&mut self, source: &Source, row: Row) -> Result<Flow> {
        match (source, self.kept()) {
            (Source::Stdin, Some(kept)) => self.import_pipe(source, row, &kept),
            (Source::File(path), Some(kept)) if is_pipe(path) => {
                self.import_pipe(source, row, &kept)
            }
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
                    options: Options {
                        // A log that grows: a line without its end is not whole yet.
                        incomplete_last: !kept || packed,
                        ..self.options()
                    },
                    tee: None,
                    state: Some(state),
                };
                self.import_log(way, None)
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
            state: None,
        };
        self.import_log(way, None)
    }

    pub(super) fn kept(&self) -> Option<Kept> {
        self.books.as_ref()?.kept.clone()
    }

    pub(super) fn options(&self) -> Options {
        Options {
            encoding: self.input.encoding.clone(),
            ..Options::default()
        }
    }

    pub(super) fn import_log(&mut self, mut way: Way, spool: Option<&Path>) -> Result<Flow> {
        let path = match way.source {
            Source::File(path) => spool.or(Some(path)),
            Source::Stdin => spool,
        };
        if let (Some(state), Some(path)) = (&mut way.state, path) {
            state
                .done
                .extend(&self.settle_pending(state.log, path, &way.options, &way.row.1)?);
        }
        let before = self.bytes.load(Ordering::Relaxed);
        let is_kept = way.tee.is_some();
        let opened = match way.tee.take() {
            Some(tee) => Lines::open_pipe(way.source, tee, way.options.clone()),
            None => Lines::open(way.source, way.options.clone()),
        };
        let opened = opened.and_then(|mut lines| {
            self.watch(&mut lines, way.state.as_ref());
            let binary = self.is_binary(&mut lines)?;
            Ok((lines, binary))
        });
        let mut lines = match opened {
            Ok((_, true)) => {
                self.console.warn_incomplete(format!(
                    "{}: this is no log: its beginning is binary, and no packing that is known (gzip, bzip2, zstd, xz)",
                    way.source
                ));
                return Ok(Flow::On);
            }
            Ok((lines, false)) => lines,
            Err(error) => {
                self.console.warn_incomplete(error.to_string());
                return Ok(Flow::On);
            }
        };
        let total = lines.total();
        let log = way.state.as_ref().map(|state| state.log);
        let name = way.source.to_string();
        let outcome = self.read(way, &mut lines, before);
        if let (true, Some(path), Err(_) | Ok((Flow::Over, _))) = (is_kept, spool, &outcome) {
            pipe::keep_rest(&name, &mut lines, path, &self.stop, &self.console);
        }
        let (flow, end) = outcome?;
        if let (Some(path), Some(log), Some(end), Some(books)) = (spool, log, end, &mut self.books)
        {
            books.spools.push((path.to_owned(), log, end));
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

    /// Waits for the first bytes: whoever writes to a pipe may take his time.
    fn is_binary(&self, lines: &mut Lines) -> std::result::Result<bool, InputError> {
        loop {
            match lines.is_binary(TICK)? {
                Some(binary) => return Ok(binary),
                None if self.stop.requested() => return Ok(false),
                None => {}
            }
        }
    }

    /// Gives the position at which the log ended, if its end was reached.
    fn read(&mut self, way: Way, lines: &mut Lines, before: u64) -> Result<(Flow, Option<u64>)> {
        let name = way.source.to_string();
        self.console.debug(1, || format!("{name}: reading"));
        let chosen = self.chooser.choose(
            &name,
            lines,
            &self.stop,
            &self.console,
            self.input.flush_interval,
        )?;
        let (number, account) = way.row;
        let Some((mut format, mut held)) = chosen else {
            if self.stop.requested() {
                return Ok((Flow::Over, None));
            }
            if let Err(error) = lines.next(Duration::ZERO) {
                self.console.warn_incomplete(error.to_string());
                return Ok((Flow::On, None));
            }
            account.begin();
            // Nothing but headers and blank lines, which need no sending.
            if let (Some(state), Some(books)) = (&way.state, &self.books) {
                let read = 0..lines.position();
                books.ledger.passed(state.log, read, lines.number() - 1);
            }
            return Ok((Flow::On, Some(lines.position())));
        };
        account.begin();
        if format.ready() {
            self.check_fields(&name, format.as_ref())?;
        }
        self.forget_groups(format.as_ref());
        let mut is_rejects = false;
        if let Some(state) = way.state.as_ref().filter(|state| {
            state.resume_at() > 0 && lines.total().is_some() && !format.has_header()
        }) {
            // What the first line says holds behind it too.
            is_rejects = match held.first() {
                Some(held) => rejects::format_of(held.line().bytes).is_some(),
                None => {
                    matches!(lines.next(TICK), Ok(Next::Line(line)) if rejects::format_of(line.bytes).is_some())
                }
            };
            if let Err(error) = self.reopen(way.source, &way.options, state, lines) {
                self.console.warn_incomplete(error.to_string());
                return Ok((Flow::On, None));
            }
            held.clear();
        }
        let mark = way
            .state
            .as_ref()
            .map_or(u64::MAX - number as u64, |state| state.log.number());
        let known = way.state.map(Known::new);
        let number = number as u32;
        let listening = self.listening(format.as_ref());
        self.hint_at_listening(&name, format.as_ref(), &listening);
        let mut log = Log {
            name,
            number,
            account: Counter::new(account),
            known,
            fitting: 0,
            mark,
            listening,
            unusable_header: None,
            header: None,
            format: format.name(),
            is_rejects,
        };
        let outcome = self.read_lines(&mut log, format.as_mut(), held, lines, before);
        // The log's end is no end of its last connections where the import stops.
        let outcome = match outcome {
            Ok((Flow::On | Flow::LogEnds, ended)) => Ok((self.end_titles(&mut log), ended)),
            other => {
                self.count_held(&log);
                other
            }
        };
        self.tell_passed(&mut log);
        if log.account.file().nothing_fits() {
            self.console.warn_incomplete(format!(
                "{}: no line has the format {}; is it the right --log-format-name?",
                log.name,
                format.name()
            ));
        }
        outcome.map(|(flow, ended)| (flow, ended.then(|| lines.position())))
    }

    fn read_lines(
        &mut self,
        log: &mut Log,
        format: &mut dyn Format,
        held: Vec<Held>,
        lines: &mut Lines,
        before: u64,
    ) -> Result<(Flow, bool)> {
        let mut arena = Bump::new();
        let begun = held.first().map(|line| line.since);
        for line in &held {
            match self.line(log, format, &line.line(), &arena)? {
                Flow::On => arena.reset(),
                flow => return Ok((flow, false)),
            }
        }
        drop(held);
        let piped = lines.total().is_none();
        let mut unsent_since = piped.then(|| begun.unwrap_or_else(Instant::now));
        loop {
            if self.stop.requested() {
                return Ok((Flow::Over, false));
            }
            let flow = match lines.next(TICK) {
                Ok(Next::Line(line)) => {
                    if piped {
                        unsent_since.get_or_insert_with(Instant::now);
                    }
                    self.line(log, format, &line, &arena)?
                }
                Ok(Next::Pause) => {
                    log.account.put_in();
                    Flow::On
                }
                Ok(Next::End) => return Ok((Flow::On, true)),
                Err(error) => {
                    self.console.warn_incomplete(error.to_string());
                    return Ok((Flow::On, false));
                }
            };
            arena.reset();
            if flow != Flow::On {
                return Ok((flow, false));
            }
            if unsent_since.is_some_and(|since| since.elapsed() >= self.input.flush_interval) {
                unsent_since = None;
                self.tell_passed(log);
                if self.outbox.flush().is_err() {
                    return Ok((Flow::Over, false));
                }
            }
            self.bytes
                .store(before + lines.bytes_read(), Ordering::Relaxed);
        }
    }

    /// What is asked of a format, once it knows its fields: a host, where nobody has told whose hits the log holds,
    /// and those of `--ignore-groups`, of which the user is told once where a format lacks them.
    pub(super) fn check_fields(&mut self, name: &str, format: &dyn Format) -> Result<()> {
        for (place, group) in self.ignored_groups.iter().enumerate() {
            if format.field(group).is_none_or(|field| !format.has(field))
                && self.lacking_groups.insert((place, format.name()))
            {
                self.console.warn(format!(
                    "{name}: --ignore-groups={group}: the format {} has no such field",
                    format.name()
                ));
            }
        }
        let told =
            self.hit.forced_host.is_some() || self.replay.is_some() || !self.sites.needs_host();
        if told || format.has(Field::Host) {
            Ok(())
        } else {
            Err(site::no_host(name, format.name()))
        }
    }

    /// `--ignore-groups`, as far as this log's format has such fields now; a header may bring others.
    pub(super) fn forget_groups(&mut self, format: &dyn Format) {
        self.hit.ignored = Fields::default();
        self.ignored_groups
            .iter()
            .filter_map(|group| format.field(group))
            .filter(|field| format.has(*field))
            .for_each(|field| self.hit.ignored.insert(field));
    }
}
