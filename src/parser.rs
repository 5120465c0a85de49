//! The parser: a log's lines through format, filters, hit and site into the recorders' parcels.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bumpalo::Bump;
use foldhash::fast::FixedState;

use crate::choice::Chooser;
use crate::config::InputOptions;
use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::format::{Field, Fit, Format, Record};
use crate::hit::HitOptions;
use crate::input::binary::looks_binary;
use crate::input::discover::Source;
use crate::input::lines::{Line, Lines, Next, Options};
use crate::mark::Marker;
use crate::matomo::api::Api;
use crate::matomo::tracking::Writer;
use crate::recorder::{Closed, Outbox, Unit, count_unsent};
use crate::replay::{Arguments, ReplayOptions};
use crate::report::{Account, Console, Count, FileAccount, Reason};
use crate::site::{self, Sites};
use crate::stop::Stop;

/// How often a wait for input looks whether the program is to stop.
pub const TICK: Duration = Duration::from_millis(100);

/// Everything that a line meets on its way.
pub struct Parser {
    pub input: InputOptions,
    pub chooser: Chooser,
    pub hit: HitOptions,
    /// `--ignore-groups`.
    pub ignored_groups: Vec<String>,
    pub filters: Filters,
    pub replay: Option<ReplayOptions>,
    pub writer: Writer,
    pub sites: Sites,
    pub api: Api,
    pub outbox: Outbox,
    pub marker: Marker,
    pub account: Arc<Account>,
    /// Bytes read of all logs so far, packed as they are, for the progress report.
    pub bytes: Arc<AtomicU64>,
    pub console: Console,
    pub stop: Stop,
    /// Lines still to be passed over.
    pub skip: u64,
    /// For agents and visitors.
    pub hasher: FixedState,
}

/// The log that is being read.
struct Log {
    name: String,
    number: u32,
    account: Arc<FileAccount>,
    format: Box<dyn Format>,
    /// Lines that fitted the format.
    fitting: u64,
    /// Tells this log from others in the marks of its hits.
    mark: u64,
}

/// Whether a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    /// This log has ended before its end (`--debug-request-limit`).
    LogEnds,
    /// The recorders take nothing more.
    Over,
}

impl Parser {
    /// Reads all logs. A log that cannot be read is named and passed over; an error stops the import.
    pub fn run(&mut self, sources: &[Source]) -> Result<()> {
        let outcome = self.import_all(sources);
        // What was read goes out, also before an error is told; what nobody takes is counted.
        if self.stop.requested() || self.outbox.flush().is_err() {
            count_unsent(&self.account, self.outbox.unsent());
        }
        outcome
    }

    /// Ends the recorders; what is left is for the summary.
    pub fn end(self) -> Sites {
        self.sites
    }

    fn import_all(&mut self, sources: &[Source]) -> Result<()> {
        for source in sources {
            if self.stop.requested() || self.import(source)? == Flow::Over {
                break;
            }
        }
        Ok(())
    }

    fn import(&mut self, source: &Source) -> Result<Flow> {
        let before = self.bytes.load(Ordering::Relaxed);
        let options = Options {
            encoding: self.input.encoding.clone(),
            ..Options::default()
        };
        let opened = Lines::open(source, options).and_then(|mut lines| {
            let binary = looks_binary(lines.peek(Duration::ZERO)?);
            Ok((lines, binary))
        });
        let mut lines = match opened {
            Ok((_, true)) => {
                self.console.warn_incomplete(format!(
                    "{source}: this is no log: its beginning is binary, and no packing that is known (gzip, bzip2, zstd, xz)"
                ));
                return Ok(Flow::On);
            }
            Ok((lines, false)) => lines,
            Err(error) => {
                self.console.warn_incomplete(error.to_string());
                return Ok(Flow::On);
            }
        };
        let flow = self.read(source, &mut lines, before)?;
        self.bytes.store(
            before + lines.total().unwrap_or_else(|| lines.bytes_read()),
            Ordering::Relaxed,
        );
        Ok(flow)
    }

    fn read(&mut self, source: &Source, lines: &mut Lines, before: u64) -> Result<Flow> {
        let name = source.to_string();
        self.console.debug(1, || format!("{name}: reading"));
        let (format, held) = match self.chooser.choose(
            &name,
            lines,
            &self.stop,
            &self.console,
            self.input.flush_interval,
        )? {
            Some(chosen) => chosen,
            None => return Ok(Flow::On),
        };
        self.check_host(&name, format.as_ref())?;
        self.forget_groups(&name, format.as_ref());
        let (number, account) = self.account.open(name.clone());
        let mut log = Log {
            name,
            number: number as u32,
            account,
            format,
            fitting: 0,
            mark: number as u64,
        };
        let mut arena = Bump::new();
        for line in &held {
            match self.line(&mut log, &line.line(), &arena)? {
                Flow::On => arena.reset(),
                flow => return Ok(flow),
            }
        }
        drop(held);
        let piped = lines.total().is_none();
        let mut unsent_since: Option<Instant> = None;
        loop {
            if self.stop.requested() {
                return Ok(Flow::Over);
            }
            let flow = match lines.next(TICK) {
                Ok(Next::Line(line)) => {
                    if piped {
                        unsent_since.get_or_insert_with(Instant::now);
                    }
                    self.line(&mut log, &line, &arena)?
                }
                Ok(Next::Pause) => Flow::On,
                Ok(Next::End) => break,
                Err(error) => {
                    self.console.warn_incomplete(error.to_string());
                    break;
                }
            };
            arena.reset();
            if flow != Flow::On {
                return Ok(flow);
            }
            if unsent_since.is_some_and(|since| since.elapsed() >= self.input.flush_interval) {
                unsent_since = None;
                if self.outbox.flush().is_err() {
                    return Ok(Flow::Over);
                }
            }
            self.bytes
                .store(before + lines.bytes_read(), Ordering::Relaxed);
        }
        if log.account.nothing_fits() {
            self.console.warn_incomplete(format!(
                "{}: no line has the format {}; is it the right --log-format-name?",
                log.name,
                log.format.name()
            ));
        }
        Ok(Flow::On)
    }

    /// A log whose format has no host needs to be told whose hits it holds.
    fn check_host(&self, name: &str, format: &dyn Format) -> Result<()> {
        let told =
            self.hit.forced_host.is_some() || self.replay.is_some() || !self.sites.needs_host();
        if told || format.has(Field::Host) {
            Ok(())
        } else {
            Err(site::no_host(name, format.name()))
        }
    }

    /// `--ignore-groups` in this log's format.
    fn forget_groups(&mut self, name: &str, format: &dyn Format) {
        self.hit.ignored.clear();
        for group in &self.ignored_groups {
            match format.field(group).filter(|field| format.has(*field)) {
                Some(field) => self.hit.ignored.push(field),
                None => self.console.warn(format!(
                    "{name}: --ignore-groups={group}: the format {} has no such field",
                    format.name()
                )),
            }
        }
    }

    fn line(&mut self, log: &mut Log, line: &Line, arena: &Bump) -> Result<Flow> {
        if self.skip > 0 {
            self.skip -= 1;
            log.account.add(Count::Read, 1);
            log.account.add(Count::Skipped, 1);
            if line.bytes.starts_with(b"#") {
                log.format.header(line.bytes)?;
            }
            return Ok(Flow::On);
        }
        if let Some(flow) = self.fitting_line(log, line, arena)? {
            return Ok(flow);
        }
        if line.bytes.starts_with(b"#") {
            log.account.add(Count::Read, 1);
            log.account.add(Count::Header, 1);
            log.format.header(line.bytes)?;
        } else if log.format.ready() || line.bytes.trim_ascii().is_empty() {
            log.account.add(Count::Read, 1);
            self.drop_line(log, line, Reason::Misfit);
        } else {
            return Err(Error::stopped(format!(
                "{}:{}: the format {} needs a '#Fields: ...' line, and none came before this line; \
                 give it with --w3c-fields, or another --log-format-name",
                log.name,
                line.number,
                log.format.name()
            )));
        }
        Ok(Flow::On)
    }

    /// `None`: the line does not fit the format.
    fn fitting_line(&mut self, log: &mut Log, line: &Line, arena: &Bump) -> Result<Option<Flow>> {
        let mut record = Record::default();
        if line.too_long || log.format.parse(line.bytes, arena, &mut record) == Fit::Misfit {
            return Ok(None);
        }
        log.fitting += 1;
        if self.input.limit.is_some_and(|limit| log.fitting >= limit) {
            return Ok(Some(Flow::LogEnds));
        }
        log.account.add(Count::Read, 1);
        let options = &self.hit;
        let mut hit = options.hit(log.format.as_ref(), &record, arena);
        hit.is_download = self.filters.is_download(&hit);
        if hit.is_download {
            log.account.add(Count::Downloads, 1);
        }
        let kept = self.filters.judge(&mut hit).and_then(|()| {
            hit.time = options
                .time(&record, log.format.dates())
                .ok_or(Reason::Date)?;
            let arguments = match &self.replay {
                Some(replay) => Some(replay.arguments(&hit).ok_or(Reason::NotTracking)?),
                None => None,
            };
            self.filters.judge_dated(&hit)?;
            Ok(arguments)
        });
        let arguments = match kept {
            Ok(arguments) => arguments,
            Err(reason) => {
                self.drop_line(log, line, reason);
                return Ok(Some(Flow::On));
            }
        };
        let site = match &arguments {
            Some(arguments) => self.sites.of_id(arguments.idsite().unwrap_or_default()),
            None => self.sites.of_host(hit.host, &self.api, &self.console)?,
        };
        let Some(site) = site else {
            self.drop_line(log, line, Reason::NoSite);
            return Ok(Some(Flow::On));
        };
        let visitor = match arguments
            .as_ref()
            .and_then(Arguments::visitor)
            .map(str::as_bytes)
        {
            Some(visitor) => visitor,
            None => hit.userid.unwrap_or(hit.ip),
        };
        let unit = Unit {
            file: log.number,
            line: line.number,
            start: line.start,
            end: line.end,
            site,
            day: hit.time.div_euclid(86_400) as i32,
            requests: 1,
            agent: self.hasher.hash_one(hit.user_agent),
            visitor: self.hasher.hash_one(visitor),
        };
        let mark = self.marker.mark(log.mark, line.start, 0);
        let parcel = self.outbox.parcel(unit.visitor);
        match arguments {
            None => self
                .writer
                .write(&hit, self.sites.get(site), &mark, &mut parcel.body),
            Some(arguments) => {
                let mut own = Vec::new();
                self.writer
                    .write(&hit, self.sites.get(site), &mark, &mut own);
                parcel.body.extend_from_slice(&arguments.over(&own, &hit));
            }
        }
        parcel.end_request();
        Ok(Some(match self.outbox.add(unit) {
            Ok(()) => Flow::On,
            Err(Closed) => Flow::Over,
        }))
    }

    fn drop_line(&self, log: &Log, line: &Line, reason: Reason) {
        log.account.add(reason.count(), 1);
        self.console.debug(2, || {
            format!("{}:{}: {}", log.name, line.number, reason.text())
        });
    }
}
