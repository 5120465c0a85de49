//! One line: from its bytes to tracking requests, or to the reason why there are none.

use crate::hit_id::HitId;
use std::collections::HashSet;
use std::hash::BuildHasher;

use bumpalo::Bump;

use super::log::Log;
use super::radio::Heard;
use super::{Flow, Importer};
use crate::error::{Error, Result};
use crate::format::w3c::is_fields_line;
use crate::format::{Fit, Format, Record};
use crate::hit::{Hit, LoggedRequest};
use crate::hit_id::HitIdGenerator;
use crate::input::lines::Line;
use crate::matomo::tracking::Writer;
use crate::recorder::{Chunk, LinePosition, RequestGroup};
use crate::replay::Arguments;
use crate::report::rejects::{self, Original};
use crate::report::{Count, Reason};

/// A hit that passed all filters.
pub(super) struct Kept<'k> {
    pub hit: Hit<'k>,
    /// The arguments of the request in the log, when replaying.
    arguments: Option<Arguments>,
}

impl Kept<'_> {
    /// Its request will carry the mark of its place.
    pub(super) fn is_marked(&self) -> bool {
        !self.arguments.as_ref().is_some_and(Arguments::has_pv_id)
    }
}

impl Importer {
    pub(super) fn line(
        &mut self,
        log: &mut Log,
        format: &mut dyn Format,
        line: &Line,
        arena: &Bump,
    ) -> Result<Flow> {
        log.at = line.start;
        let header = line.bytes.starts_with(b"#");
        if header && line.number == 1 {
            log.is_rejects = rejects::format_of(line.bytes).is_some();
        }
        // A comment of ours, which may look like a line to a regex of the user's.
        let comment = header && log.is_rejects && line.bytes.starts_with(b"# ");
        if log
            .known
            .as_ref()
            .is_some_and(|known| known.is_done(line.start))
        {
            // An earlier run dealt with it; a header holds for the lines behind it all the same.
            if header {
                self.take_header(log, format, line)?;
            }
            return Ok(Flow::On);
        }
        if self.skip > 0 {
            self.skip -= 1;
            log.account.add(Count::Read, 1);
            log.account.add(Count::Skipped, 1);
            if header {
                self.take_header(log, format, line)?;
            }
            self.pass(log, place(line));
            return Ok(Flow::On);
        }
        {
            let format = &*format;
            let mut record = Record::default();
            if !line.too_long
                && !comment
                && format.parse(line.bytes, arena, &mut record) == Fit::Record
            {
                return self.fitting_line(log, format, line, &record, arena);
            }
        }
        if header {
            log.account.add(Count::Read, 1);
            log.account.add(Count::Header, 1);
            self.take_header(log, format, line)?;
            self.pass(log, place(line));
        } else if format.ready() || line.bytes.trim_ascii().is_empty() {
            log.account.add(Count::Read, 1);
            self.drop_line(
                log,
                line,
                match line.too_long {
                    true => Reason::TooLong,
                    false => Reason::Misfit,
                },
            )?;
        } else {
            let none_came = || {
                Error::of_log(format!(
                    "{}:{}: the format {} needs a '#Fields: ...' line, and none came before this line; \
                     give it with --w3c-fields, or another --log-format-name",
                    log.name,
                    line.number,
                    format.name()
                ))
            };
            return Err(log.unusable_header.take().unwrap_or_else(none_came));
        }
        Ok(Flow::On)
    }

    fn fitting_line<'l>(
        &mut self,
        log: &mut Log,
        format: &'l dyn Format,
        line: &Line<'l>,
        record: &'l Record<'l>,
        arena: &'l Bump,
    ) -> Result<Flow> {
        log.fitting += 1;
        if self.input.limit.is_some_and(|limit| log.fitting >= limit) {
            return Ok(Flow::LogEnds);
        }
        log.account.add(Count::Read, 1);
        let mut request = self.hit.request(format, record, arena);
        // Where whose it is cannot be asked, or the sandbox not told: the import stops with this line.
        let count_unsent = |log: &Log| log.account.add(Count::Unsent, 1);
        let judged = self.judge(log, &mut request, arena);
        let judged = judged.inspect_err(|_| count_unsent(log))?;
        let kept = match judged {
            Ok(kept) => kept,
            Err(reason) => {
                self.drop_line(log, line, reason)?;
                return Ok(Flow::On);
            }
        };
        if kept.hit.request.is_listener {
            match self.listen(log, line, &kept) {
                Heard::Plain => {}
                Heard::Unmeasured(listener) => {
                    let original = self.original(log, line);
                    let (time, bytes) = (kept.hit.time, kept.hit.length);
                    return Ok(self.send_unmeasured(log, listener, original, time, bytes));
                }
                Heard::Over(over) => return Ok(self.send_over(log, over)),
            }
        }
        self.note_connection(log, &kept.hit)
            .inspect_err(|_| count_unsent(log))?;
        let mut unit = self.unit(log, place(line), &kept);
        unit.originals.extend(self.original(log, line));
        let parcel = self.outbox.parcel(unit.visitor);
        unit.requests = self.requests.write(log.mark, line.start, kept, parcel);
        Ok(self.hand_over(unit))
    }

    /// Whether a line is to be sent, and to which site; or why not.
    pub(super) fn judge<'k, 'l>(
        &mut self,
        log: &Log,
        request: &'k mut LoggedRequest<'l>,
        arena: &'l Bump,
    ) -> Result<std::result::Result<Kept<'k>, Reason>> {
        if log.listening.is_on()
            && let Err(reason) = self.tune_in(request, arena)
        {
            return Ok(Err(reason));
        }
        self.filters.classify(request);
        if request.is_download {
            log.account.add(Count::Downloads, 1);
        }
        let (time, arguments) = match self.judge_request(request) {
            Ok(judged) => judged,
            Err(reason) => return Ok(Err(reason)),
        };
        let site = match &arguments {
            Some(arguments) => self.sites.of_id(arguments.idsite().unwrap_or_default()),
            None => self.sites.of_host(request.host, &self.api, &self.console)?,
        };
        Ok(site
            .map(|site| Kept {
                hit: self.hit.hit(request, time, site),
                arguments,
            })
            .ok_or(Reason::NoSite))
    }

    /// The time of a request that passes all filters, and its arguments when replaying.
    fn judge_request(
        &mut self,
        request: &mut LoggedRequest,
    ) -> std::result::Result<(i64, Option<Arguments>), Reason> {
        self.filters.judge(request)?;
        let time = self
            .hit
            .time(request.record, request.format.dates())
            .ok_or(Reason::Date)?;
        let arguments = match &self.replay {
            Some(replay) => Some(replay.arguments(request).ok_or(Reason::NotTracking)?),
            None => None,
        };
        self.filters.judge_dated(request, time)?;
        Ok((time, arguments))
    }

    /// What a recorder must know of a line; how many requests it becomes shows when they are written.
    pub(super) fn unit(&self, log: &Log, place: LinePosition, kept: &Kept) -> RequestGroup {
        let visitor = kept
            .arguments
            .as_ref()
            .and_then(Arguments::visitor)
            .map(str::as_bytes);
        let day = kept.hit.time.div_euclid(86_400) as i32;
        RequestGroup {
            file: log.number,
            log: log.known.as_ref().map(|known| known.state.log),
            place,
            more: Vec::new(),
            site: kept.hit.site.index,
            days: (day, day),
            requests: 0,
            agent: self.hasher.hash_one(kept.hit.request.user_agent),
            visitor: self
                .hasher
                .hash_one(visitor.unwrap_or(kept.hit.userid.unwrap_or(kept.hit.request.ip))),
            marked: kept.is_marked(),
            originals: Vec::new(),
        }
    }

    /// The line as it is, where `--rejects` may want it.
    pub(super) fn original(&self, log: &Log, line: &Line) -> Option<Original> {
        self.rejects.as_ref().map(|_| Original {
            line: line.raw.to_vec(),
            cut: line.too_long,
            header: log.header.clone(),
            format: log.format,
        })
    }

    fn take_header(&mut self, log: &mut Log, format: &mut dyn Format, line: &Line) -> Result<()> {
        if self.rejects.is_some() && format.has_header() && is_fields_line(line.bytes) {
            log.header = Some(line.raw.into());
        }
        let was_ready = format.ready();
        if let Err(error) = format.header(line.bytes) {
            log.unusable_header = Some(error.at_line(&log.name, line.number));
        }
        self.forget_groups(format);
        match format.ready() && !was_ready {
            true => self.check_fields(&log.name, format),
            false => Ok(()),
        }
    }

    /// Counts a line that is dropped.
    pub(super) fn drop_place(&self, log: &mut Log, place: LinePosition, reason: Reason) {
        log.account.add(reason.count(), 1);
        self.console.debug(2, || {
            format!("{}:{}: {}", log.name, place.line, reason.text())
        });
        self.pass(log, place);
    }

    fn drop_line(&self, log: &mut Log, line: &Line, reason: Reason) -> Result<()> {
        // Before it counts as done: whatever happens then, it is somewhere.
        if reason.count() == Count::Invalid
            && let Some(rejects) = &self.rejects
            && let Some(original) = self.original(log, line)
        {
            rejects
                .add(&log.name, line.number, reason.text(), &original)
                .inspect_err(|_| log.account.add(Count::Unsent, 1))?;
        }
        self.drop_place(log, place(line), reason);
        Ok(())
    }
}

pub(super) fn place(line: &Line) -> LinePosition {
    LinePosition {
        line: line.number,
        start: line.start,
        end: line.end,
    }
}

/// Writes a line's tracking requests.
pub struct Requests {
    pub writer: Writer,
    pub marker: HitIdGenerator,
    /// Marks of requests that Matomo has already, though it lacks others of the same line.
    pub present: HashSet<HitId>,
    /// The last lines of the connections that these are of, by log and position: what follows is another
    /// connection, or the requests would not be the same.
    pub sealed: HashSet<(u64, u64)>,
}

impl Requests {
    /// Writes a hit's one request. Gives the number of requests.
    pub(super) fn write(&mut self, log: u64, start: u64, kept: Kept, parcel: &mut Chunk) -> u32 {
        let mark = self.marker.mark(log, start, 0);
        match kept.arguments {
            None => self.writer.write(&kept.hit, &mark, &mut parcel.body),
            Some(arguments) => {
                let mut own = Vec::new();
                self.writer.write(&kept.hit, &mark, &mut own);
                parcel
                    .body
                    .extend_from_slice(&arguments.merge_into(&own, kept.hit.request));
            }
        }
        parcel.end_request();
        1
    }
}
