//! One log that is open: its format found, its lines taken one by one; what is done already is passed over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bumpalo::Bump;

use super::known::Known;
use super::radio::Listening;
use super::spooled::End;
use super::way::Way;
use super::{Flow, Importer, TICK};
use crate::error::{Error, Kind, Result};
use crate::format::{Field, Fields, Format};
use crate::import::format_selector::BufferedLine;
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::{LineEvent, Lines};
use crate::report::Counter;
use crate::site;

/// The log that is being read.
pub(super) struct Log {
    pub name: String,
    /// Its place in the account.
    pub number: u32,
    pub account: Counter,
    /// Where the line begins that is being read.
    pub at: u64,
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

impl Importer {
    /// Settles what is in doubt of a log, and reads it where it can be read.
    pub(super) fn read(
        &mut self,
        mut way: Way,
        lines: &mut Lines,
        before: u64,
    ) -> Result<(Flow, End)> {
        let path = match (way.spool, way.source) {
            (Some(spool), _) => Some(spool.path),
            (None, Source::File(path)) => Some(path.as_path()),
            (None, Source::Stdin) => None,
        };
        if let (Some(state), Some(path)) = (&mut way.state, path) {
            match self.settle_pending(state.log, path, &way.options, &way.row.1)? {
                Some(settled) => state.done.extend(&settled),
                None => {
                    self.console.warn_incomplete(format!(
                        "{}: while this run settled what an earlier one left in doubt, another log took its name, or it \
                         was cut off; the next run goes on with both",
                        way.source
                    ));
                    return Ok((Flow::On, End::Before));
                }
            }
        }
        self.watch(lines, way.state.as_ref());
        if let Err(error) = self.look(lines) {
            return Ok((Flow::On, End::Unreadable(lines.position(), error)));
        }
        let is_left_over = way.is_left_over();
        match self.read_format(way, lines, before) {
            Err(error) if is_left_over && error.kind() == Kind::Log => {
                Ok((Flow::On, End::Unsuited(0, error)))
            }
            outcome => outcome,
        }
    }

    /// Waits for the first bytes: whoever writes to a pipe may take his time.
    fn look(&self, lines: &mut Lines) -> std::result::Result<(), InputError> {
        while !lines.inspect(TICK)? && !self.stop.requested() {}
        Ok(())
    }

    fn read_format(&mut self, way: Way, lines: &mut Lines, before: u64) -> Result<(Flow, End)> {
        let name = way.source.to_string();
        self.console.debug(1, || format!("{name}: reading"));
        let chosen = self.chooser.choose(
            &name,
            lines,
            &self.stop,
            &self.console,
            self.input.flush_interval,
        )?;
        let is_left_over = way.is_left_over();
        let (number, account) = (way.row.0, Arc::clone(&way.row.1));
        let Some((mut format, mut held)) = chosen else {
            if self.stop.requested() {
                return Ok((Flow::Over, End::Before));
            }
            let failed = lines.next(Duration::ZERO).err();
            if let Some(error) = failed {
                return Ok((Flow::On, End::Unreadable(lines.position(), error)));
            }
            account.begin();
            // Nothing but headers and blank lines, which need no sending.
            if let (Some(state), Some(books)) = (&way.state, &self.books) {
                let read = 0..lines.position();
                books.ledger.mark_done(state.log, read, lines.number() - 1);
            }
            return Ok((Flow::On, End::At(lines.position())));
        };
        account.begin();
        if format.ready() {
            self.check_fields(&name, format.as_ref())?;
        }
        self.forget_groups(format.as_ref());
        let is_rejects = match self.go_on(&way, format.as_ref(), lines, &mut held) {
            Ok(is_rejects) => is_rejects,
            Err(error) => return Ok((Flow::On, End::Unreadable(lines.position(), error))),
        };
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
            at: 0,
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
        let outcome = match outcome {
            Err(error) if is_left_over && error.kind() == Kind::Log => {
                Ok((Flow::On, End::Unsuited(log.at, error)))
            }
            outcome => outcome,
        };
        // The log's end is no end of its last connections where the import stops.
        let outcome = match outcome {
            Ok((Flow::On | Flow::LogEnds, end)) => Ok((self.end_titles(&mut log), end)),
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
        outcome
    }

    fn read_lines(
        &mut self,
        log: &mut Log,
        format: &mut dyn Format,
        held: Vec<BufferedLine>,
        lines: &mut Lines,
        before: u64,
    ) -> Result<(Flow, End)> {
        let mut arena = Bump::new();
        let begun = held.first().map(|line| line.since);
        for line in held.iter().flat_map(BufferedLine::lines) {
            match self.line(log, format, &line, &arena)? {
                Flow::On => arena.reset(),
                flow => return Ok((flow, End::Before)),
            }
        }
        drop(held);
        let piped = lines.total().is_none();
        let mut unsent_since = piped.then(|| begun.unwrap_or_else(Instant::now));
        loop {
            if self.stop.requested() {
                return Ok((Flow::Over, End::Before));
            }
            let flow = match lines.next(TICK) {
                Ok(LineEvent::Line(line)) => {
                    if piped {
                        unsent_since.get_or_insert_with(Instant::now);
                    }
                    self.line(log, format, &line, &arena)?
                }
                Ok(LineEvent::Pause) => {
                    log.account.flush();
                    Flow::On
                }
                Ok(LineEvent::End) => return Ok((Flow::On, End::At(lines.position()))),
                Err(error) => {
                    return Ok((Flow::On, End::Unreadable(lines.position(), error)));
                }
            };
            arena.reset();
            if flow != Flow::On {
                return Ok((flow, End::Before));
            }
            if unsent_since.is_some_and(|since| since.elapsed() >= self.input.flush_interval) {
                unsent_since = None;
                self.tell_passed(log);
                if self.outbox.flush().is_err() {
                    return Ok((Flow::Over, End::Before));
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
