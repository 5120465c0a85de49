//! One line: from its bytes to tracking requests, or to the reason for dropping it.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use bumpalo::Bump;
use foldhash::fast::FixedState;

use super::Flow;
use super::file::MAX_LINES_AHEAD;
use super::open_log::{OpenLog, ResumePoint};
use super::sessions::{ListenerEvent, Radio};
use super::shard::Shard;
use super::template_memo::TemplateMemo;
use crate::error::{Error, Result};
use crate::filter::{BotCounter, BotFigures, Filters};
use crate::format::w3c::is_fields_line;
use crate::format::{Field, Fields, Fit, Format, Record};
use crate::hit::replay::{Arguments, ReplayOptions};
use crate::hit::{Hit, HitOptions, LoggedRequest, Site, plain_address, visitor};
use crate::hit_id::{HitId, HitIdGenerator};
use crate::input::buffered::BufferedLine;
use crate::input::lines::Line;
use crate::matomo::api::Api;
use crate::matomo::clock::ServerClock;
use crate::matomo::tracking::Writer;
use crate::matomo::visit_log::VisitLog;
use crate::recorder::{Chunk, LinePosition, Queue, QueueClosed, RequestGroup};
use crate::report::rejects::{self, Original, Rejects};
use crate::report::{Console, Count, Reason};
use crate::report_file::WebCounter;
use crate::sandbox::HitStore;
use crate::site::{self, Sites};

/// Everything a line passes through, from its format to the queue.
pub struct LineProcessor {
    /// `--skip`: number of lines still to be skipped.
    pub skip: u64,
    /// `--shard`: the lines of others are left out.
    pub shard: Option<Shard>,
    /// `--debug-request-limit`: a log ends before its line of this number that fits the format.
    pub limit: Option<u64>,
    pub hit: HitOptions,
    /// `--ignore-groups`.
    pub ignored_groups: Vec<String>,
    /// The fields in options that a format lacks, by option, field and format: reported once.
    pub missing_fields: HashSet<(&'static str, String, &'static str)>,
    pub filters: Filters,
    /// `None` counts no bots.
    pub bot_counter: Option<BotCounter>,
    pub replay: Option<ReplayOptions>,
    /// `None`: lines of radio logs become plain hits.
    pub radio: Option<Radio>,
    /// If a report shows the hits that are not listeners.
    pub web: Option<WebCounter>,
    pub sites: Sites,
    pub api: Api,
    pub visits: VisitLog,
    pub requests: RequestWriter,
    pub templates: TemplateMemo,
    pub queue: Queue,
    pub rejects: Option<Arc<Rejects>>,
    /// The store of the sandbox, which notes sessions that are sent as plain hits.
    pub sandbox: Option<HitStore>,
    /// Hashes visitors and user agents.
    pub hasher: FixedState,
    pub present: Present,
    pub console: Console,
}

/// Judges dates. Matomo replaces those in the future, and those of more than 20 years ago, by the
/// present.
pub struct Present {
    clock: ServerClock,
    /// That of the clock when the limits were set.
    offset: i64,
    /// Seconds since 1970, UTC.
    oldest: i64,
    latest: i64,
}

impl Present {
    const MAX_AGE_SECONDS: i64 = 7_300 * 86_400;
    /// A hit that is slightly ahead is counted on the right day, or nearly so.
    const MAX_AHEAD_SECONDS: i64 = 86_400;

    pub fn new(clock: ServerClock) -> Self {
        let mut present = Self {
            clock,
            offset: 0,
            oldest: 0,
            latest: 0,
        };
        present.set_limits();
        present
    }

    fn set_limits(&mut self) {
        self.offset = self.clock.offset();
        let now = self.clock.now();
        self.oldest = now.saturating_sub(Self::MAX_AGE_SECONDS);
        self.latest = now.saturating_add(Self::MAX_AHEAD_SECONDS);
    }

    /// Returns why a date is not sent, in seconds since 1970.
    fn judge(&mut self, time: i64) -> std::result::Result<(), Reason> {
        // Time passes, and the server's clock may be known only now.
        if self.offset != self.clock.offset() || !(self.oldest..=self.latest).contains(&time) {
            self.set_limits();
        }
        match time {
            _ if time > self.latest => Err(Reason::DateAhead),
            _ if time < self.oldest => Err(Reason::DateTooOld),
            _ => Ok(()),
        }
    }
}

/// A hit that passed all filters.
pub(super) struct AcceptedHit<'k> {
    pub hit: Hit<'k>,
    /// The arguments of the request in the log, when replaying.
    arguments: Option<Arguments>,
}

impl AcceptedHit<'_> {
    /// Returns whether its request carries our hit id, not one from the log.
    pub fn has_hit_id(&self) -> bool {
        !self.arguments.as_ref().is_some_and(Arguments::has_pv_id)
    }

    fn replayed_visitor(&self) -> Option<&str> {
        self.arguments.as_ref().and_then(Arguments::visitor)
    }
}

impl LineProcessor {
    /// Takes one line to its end: a request in the queue, or a counter.
    ///
    /// # Errors
    ///
    /// Returns an error if the import cannot continue, or not with this log.
    pub(super) fn process_line(
        &mut self,
        log: &mut OpenLog,
        format: &mut dyn Format,
        line: &Line,
        arena: &Bump,
    ) -> Result<Flow> {
        log.position = line.start;
        let is_header = line.bytes.starts_with(b"#");
        if is_header && line.number == 1 {
            log.is_rejects = rejects::format_of(line.bytes).is_some();
        }
        // A comment in a file of rejects may fit a regex of the user.
        let is_comment = is_header && log.is_rejects && line.bytes.starts_with(b"# ");
        log.pass_parts(line);
        let resume = log.resume.as_ref();
        if resume.is_some_and(|resume| resume.is_done(line.start)) {
            // An earlier run is done with it, but a header describes the lines after it.
            if is_header {
                self.take_header(log, format, line);
            }
            return Ok(Flow::Continue);
        }
        if self.skip > 0 {
            self.skip -= 1;
            log.account.add(Count::Read, 1);
            log.account
                .add(self.count_without_visitor(line, Count::Skipped), 1);
            if is_header {
                self.take_header(log, format, line);
            }
            log.pass(position(line));
            return Ok(Flow::Continue);
        }
        {
            let format = &*format;
            let mut record = Record::default();
            if !line.too_long
                && !is_comment
                && format.parse(line.bytes, arena, &mut record) == Fit::Record
            {
                if let Some(until) = log.until
                    && let Some(time) = self.hit.time(&record, format.dates())
                    && time > until
                {
                    log.time = time;
                    return Ok(Flow::Ahead);
                }
                return self.process_record(log, format, line, &record, arena);
            }
        }
        if is_header {
            log.account.add(Count::Read, 1);
            log.account
                .add(self.count_without_visitor(line, Count::Header), 1);
            self.take_header(log, format, line);
            log.pass(position(line));
        } else if format.ready() || line.bytes.trim_ascii().is_empty() {
            log.account.add(Count::Read, 1);
            let gave_up = format.gave_up();
            if self.count_without_visitor(line, Count::Invalid) == Count::OtherShards {
                self.leave_to_other_shard(log, line);
                return Ok(Flow::Continue);
            }
            let reason = match line.too_long {
                true => Reason::TooLong,
                false if gave_up => {
                    log.given_up += 1;
                    Reason::GivenUp
                }
                false => Reason::Misfit,
            };
            self.drop_line(log, line, reason)?;
        } else {
            let missing_header = || {
                Error::of_log(format!(
                    "{}:{}: the format {} needs a '#Fields: ...' line, and none came before this \
                     line; give it with --w3c-fields, or choose another --log-format-name",
                    log.name,
                    line.number,
                    format.name()
                ))
            };
            return Err(log.unusable_header.take().unwrap_or_else(missing_header));
        }
        Ok(Flow::Continue)
    }

    /// Asks Matomo at once for the sites of all new hosts in lines that are about to be processed.
    pub(super) fn look_up_hosts(
        &mut self,
        format: &dyn Format,
        lines: &VecDeque<BufferedLine>,
    ) -> Result<()> {
        if !self.sites.asks_for_hosts() || self.hit.forced_host.is_some() {
            return Ok(());
        }
        let arena = Bump::new();
        for line in lines.iter().take(MAX_LINES_AHEAD).map(BufferedLine::line) {
            let mut record = Record::default();
            if line.too_long || format.parse(line.bytes, &arena, &mut record) == Fit::Misfit {
                continue;
            }
            let mut request = self.hit.request(format, &record, &arena);
            if self.is_of_other_shard(&request) {
                continue;
            }
            self.filters.classify(&mut request);
            if self.judge(&mut request).is_ok() {
                self.sites.expect_host(request.host);
            }
        }
        format.gave_up();
        self.sites.look_up_expected(&self.api)
    }

    /// Turns a record into a hit and sends it, unless a filter drops it.
    fn process_record<'l>(
        &mut self,
        log: &mut OpenLog,
        format: &'l dyn Format,
        line: &Line<'l>,
        record: &'l Record<'l>,
        arena: &'l Bump,
    ) -> Result<Flow> {
        log.fitting += 1;
        if self.limit.is_some_and(|limit| log.fitting >= limit) {
            return Ok(Flow::EndLog);
        }
        log.account.add(Count::Read, 1);
        let mut request = self.hit.request(format, record, arena);
        if self.is_of_other_shard(&request) {
            self.leave_to_other_shard(log, line);
            return Ok(Flow::Continue);
        }
        self.count_bot(&mut request);
        let count_unsent = |log: &OpenLog| log.account.add(Count::Unsent, 1);
        let mut accepted = self.accept(log, &mut request, arena);
        // Borrowed, because moving it costs a copy.
        let accepted = match &mut accepted {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(reason)) => {
                let reason = *reason;
                if matches!(reason, Reason::Relay | Reason::RelayAgent) {
                    self.count_relay(&log.sessions, &request);
                }
                self.drop_line(log, line, reason)?;
                return Ok(Flow::Continue);
            }
            Err(_) => {
                // If its site cannot be looked up, the import stops with this line.
                count_unsent(log);
                return accepted.map(|_| Flow::Continue);
            }
        };
        log.find_site();
        log.time = accepted.hit.time;
        if accepted.hit.address.is_id() && accepted.replayed_visitor().is_none() {
            log.account.add(Count::NoAddress, 1);
        }
        if accepted.hit.request.is_listener {
            match self.take_listener(log, line, accepted) {
                ListenerEvent::NotListening => {}
                ListenerEvent::NoDuration(start) => {
                    let original = self.original(log, line);
                    let (time, bytes) = (accepted.hit.time, accepted.hit.length);
                    return Ok(self.send_page_view(log, *start, original, time, bytes));
                }
                ListenerEvent::Whole(time) => {
                    return Ok(self.send_whole_session(log, line, accepted, time));
                }
                ListenerEvent::Finished(sessions) => {
                    return Ok(self.send_sessions(log, sessions));
                }
            }
        }
        let session = self
            .note_session(log, &accepted.hit)
            .inspect_err(|_| count_unsent(log))?;
        let mut group = self.request_group(log, position(line), accepted);
        group.add_extras(self.original(log, line), session);
        let chunk = self.queue.chunk();
        group.requests = self.requests.write_hit(log.id, line.start, accepted, chunk);
        let flow = self.enqueue(group);
        if accepted.hit.request.is_assistant {
            log.account
                .add(Count::Assistants, u64::from(flow == Flow::Continue));
        } else if flow == Flow::Continue && !self.is_noted(log, &accepted.hit) {
            let (hit, is_replayed) = (&accepted.hit, self.replay.is_some());
            if let Some(web) = &mut self.web {
                let request = hit.request;
                web.clock
                    .note(self.hit.offset(request.record, request.format.dates()));
                web.add(hit, is_replayed);
            }
        }
        Ok(flow)
    }

    /// Whether a request is one of a visitor whose hits another worker imports.
    #[inline]
    pub(super) fn is_of_other_shard(&self, request: &LoggedRequest) -> bool {
        self.shard
            .is_some_and(|shard| !shard.has_visitor(self.visitor_hash(request)))
    }

    #[cold]
    fn visitor_hash(&self, request: &LoggedRequest) -> u64 {
        let arguments = self.replay.as_ref();
        let arguments = arguments.and_then(|replay| replay.arguments(request));
        self.hit.visitor_hash(request, arguments.as_ref())
    }

    /// How a line without a visitor counts: it is in one shard, too.
    fn count_without_visitor(&self, line: &Line, count: Count) -> Count {
        match self.shard {
            Some(shard) if !shard.has_line(line.bytes) => Count::OtherShards,
            _ => count,
        }
    }

    /// Counts a line of another shard and records it as done.
    fn leave_to_other_shard(&self, log: &mut OpenLog, line: &Line) {
        log.account.add(Count::OtherShards, 1);
        log.pass(position(line));
    }

    /// Counts a request that is from a bot, whether or not it is imported.
    fn count_bot(&mut self, request: &mut LoggedRequest) {
        let Some(counter) = &mut self.bot_counter else {
            return;
        };
        let class = self.filters.bots.classify(request);
        request.agent_class = Some(class);
        if class.entry.is_some() || class.is_bot {
            let bytes = self.hit.length(request.record);
            let address = || self.hit.address(request);
            counter.add(class.entry, request.status, bytes, address);
        }
    }

    /// The figures of the bots; `None` if they are not counted.
    pub fn bot_figures(&mut self) -> Option<BotFigures> {
        let counter = self.bot_counter.as_ref()?;
        Some(counter.figures(self.filters.bots.entries()))
    }

    /// Passes a request through the filters and finds its site, or gives the reason to drop it.
    pub(super) fn accept<'k, 'l: 'k>(
        &mut self,
        log: &OpenLog,
        request: &'k mut LoggedRequest<'l>,
        arena: &'l Bump,
    ) -> Result<std::result::Result<AcceptedHit<'k>, Reason>> {
        if log.sessions.is_on()
            && let Err(reason) = self.prepare_listener(&log.sessions, request)
        {
            return Ok(Err(reason));
        }
        self.filters.classify(request);
        if request.is_download {
            log.account.add(Count::Downloads, 1);
        }
        let (time, mut arguments) = match self.filter(request) {
            Ok(passed) => passed,
            Err(reason) => return Ok(Err(reason)),
        };
        // A site may be created for this line, so its date is judged first. But what time it is on
        // the server is known only from its first answer, which may be that about the site.
        let knows_time = self.present.clock.is_known();
        if knows_time && let Err(reason) = self.judge_date(log, time) {
            return Ok(Err(reason));
        }
        let site = match &arguments {
            Some(arguments) => self.sites.of_id(arguments.idsite().unwrap_or_default()),
            None => self.site_of_host(log, request)?,
        };
        let Some(site) = site else {
            return Ok(Err(Reason::NoSite));
        };
        if !knows_time && let Err(reason) = self.judge_date(log, time) {
            return Ok(Err(reason));
        }
        let hit = self.hit.sent_hit(request, time, site, arena);
        if let Some(arguments) = &mut arguments {
            self.hit.mask_arguments(arguments, hit.request);
        }
        Ok(Ok(AcceptedHit { hit, arguments }))
    }

    fn site_of_host(&mut self, log: &OpenLog, request: &LoggedRequest) -> Result<Option<Rc<Site>>> {
        let format = request.format;
        if request.host.is_none() && self.sites.needs_host() && !format.has(Field::Host) {
            return Err(site::no_host(&log.name, format.name()));
        }
        self.sites.of_host(request.host, &self.api, &self.console)
    }

    fn judge_date(&mut self, log: &OpenLog, time: i64) -> std::result::Result<(), Reason> {
        match log.takes_any_date {
            true => Ok(()),
            false => self.present.judge(time),
        }
    }

    /// Runs the filters that need no date on a classified request.
    fn judge(&mut self, request: &mut LoggedRequest) -> std::result::Result<(), Reason> {
        self.filters.judge(request)?;
        self.filters.judge_address(|| self.hit.address(request))
    }

    /// Returns the time of a request that passes all filters (seconds since 1970, UTC), and its
    /// arguments when replaying.
    fn filter(
        &mut self,
        request: &mut LoggedRequest,
    ) -> std::result::Result<(i64, Option<Arguments>), Reason> {
        self.judge(request)?;
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

    /// Whether the date of a line is ahead, and the date. `None` if the line has none.
    ///
    /// # Errors
    ///
    /// Returns an error if Matomo cannot be asked for the site of the line.
    pub(super) fn is_ahead(
        &mut self,
        format: &dyn Format,
        line: &Line,
        arena: &Bump,
    ) -> Result<Option<(bool, i64)>> {
        let mut record = Record::default();
        if line.too_long || format.parse(line.bytes, arena, &mut record) == Fit::Misfit {
            format.gave_up();
            return Ok(None);
        }
        let Some(time) = self.hit.time(&record, format.dates()) else {
            return Ok(None);
        };
        // The answer about the site says what time it is on the server.
        if !self.present.clock.is_known() && self.sites.asks_for_hosts() {
            let mut request = self.hit.request(format, &record, arena);
            self.filters.classify(&mut request);
            if self.judge(&mut request).is_ok() {
                self.sites.of_host(request.host, &self.api, &self.console)?;
            }
        }
        let is_ahead = self.present.judge(time) == Err(Reason::DateAhead);
        Ok(Some((is_ahead, time)))
    }

    /// The time by which dates are judged, in seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.present.clock.now()
    }

    /// What a recorder needs to know about a line. The number of its requests is set when they
    /// are written.
    pub(super) fn request_group(
        &self,
        log: &OpenLog,
        position: LinePosition,
        accepted: &AcceptedHit,
    ) -> RequestGroup {
        let hit = &accepted.hit;
        let visitor = visitor(accepted.arguments.as_ref(), hit.userid);
        let visitor = visitor.unwrap_or(hit.address.as_bytes());
        RequestGroup {
            file: log.number,
            log: log.resume.as_ref().map(ResumePoint::log),
            position,
            site: hit.site.index,
            days: self.sites.days(hit.site.index, hit.time, hit.time),
            requests: 0,
            agent: self.hasher.hash_one(hit.request.user_agent),
            visitor: match plain_address(visitor) {
                Some(address) => self.hasher.hash_one(address.as_bytes()),
                None => self.hasher.hash_one(visitor),
            },
            has_hit_ids: accepted.has_hit_id(),
            is_assistant: hit.request.is_assistant,
            extras: None,
        }
    }

    pub(super) fn enqueue(&mut self, group: RequestGroup) -> Flow {
        match self.queue.add(group) {
            Ok(()) => Flow::Continue,
            Err(QueueClosed) => Flow::Stop,
        }
    }

    /// The line as it is in the log, but with masked addresses, if `--rejects` may need it.
    pub(super) fn original(&self, log: &OpenLog, line: &Line) -> Option<Original> {
        let rejects = self.rejects.as_ref()?;
        Some(Original {
            line: match self.hit.privacy() {
                None => line.raw.to_vec(),
                Some(privacy) => rejects.masked(line.raw, privacy.mask).into_owned(),
            },
            cut: line.too_long,
            header: log.header.clone(),
            format: log.format,
        })
    }

    fn take_header(&mut self, log: &mut OpenLog, format: &mut dyn Format, line: &Line) {
        if self.rejects.is_some() && format.has_header() && is_fields_line(line.bytes) {
            log.header = Some(line.raw.into());
        }
        log.invalid.add_header(line);
        let was_ready = format.ready();
        if let Err(error) = format.header(line.bytes) {
            log.unusable_header = Some(error.at_line(&log.name, line.number));
        }
        self.set_ignored_fields(format);
        if format.ready() && !was_ready {
            self.warn_of_missing_fields(&log.name, format);
        }
    }

    /// Refuses a log without hosts if no option gives one, unless a line of the sample is a request
    /// for a whole URL.
    ///
    /// # Errors
    ///
    /// The log has no host.
    pub(super) fn check_host(
        &self,
        name: &str,
        format: &dyn Format,
        sample: &[BufferedLine],
    ) -> Result<()> {
        let may_have_host = format.has(Field::Host)
            || self.hit.forced_host.is_some()
            || self.replay.is_some()
            || !self.sites.needs_host();
        if may_have_host || sample.is_empty() {
            return Ok(());
        }
        let arena = Bump::new();
        let has_host = |line: &Line| {
            let mut record = Record::default();
            !line.too_long
                && format.parse(line.bytes, &arena, &mut record) == Fit::Record
                && self.hit.request(format, &record, &arena).host.is_some()
        };
        let has_host = sample.iter().any(|line| has_host(&line.line()));
        format.gave_up();
        match has_host {
            true => Ok(()),
            false => Err(site::no_host(name, format.name())),
        }
    }

    /// Warns of fields in options that a format lacks, once its fields are known.
    pub(super) fn warn_of_missing_fields(&mut self, name: &str, format: &dyn Format) {
        let lacks = |field: &Option<Field>| field.is_none_or(|field| !format.has(field));
        let ignored = self.ignored_groups.iter();
        let ignored = ignored
            .filter(|group| lacks(&format.field(group)))
            .map(|group| ("--ignore-groups", group.clone()));
        let is_missing = |name: &str| match format.field(name) {
            Some(field) => lacks(&Some(field)),
            None => !format.may_have_extra(name),
        };
        let clients = self.hit.client.fields.iter();
        let clients = clients
            .filter(|name| is_missing(name))
            .map(|field| ("--client-ip", field.clone()));
        let dimensions = self.requests.writer.dimensions().iter();
        let dimensions = dimensions
            .filter(|dimension| dimension.logged_field().is_some_and(&is_missing))
            .map(|dimension| {
                (
                    "--dimension",
                    format!("{}={}", dimension.id(), dimension.field()),
                )
            });
        for (option, field) in ignored.chain(clients).chain(dimensions) {
            if self
                .missing_fields
                .insert((option, field.clone(), format.name()))
            {
                self.console.warn(format!(
                    "{name}: {option}={field}: the format {} has no such field",
                    format.name()
                ));
            }
        }
    }

    /// Applies `--ignore-groups` to the fields that the format has now. A header may add others.
    pub(super) fn set_ignored_fields(&mut self, format: &dyn Format) {
        self.hit.ignored = Fields::default();
        self.ignored_groups
            .iter()
            .filter_map(|group| format.field(group))
            .filter(|field| format.has(*field))
            .for_each(|field| self.hit.ignored.insert(field));
    }

    fn drop_line(&self, log: &mut OpenLog, line: &Line, reason: Reason) -> Result<()> {
        if reason.count() == Count::Invalid {
            log.invalid.add(line, reason);
        }
        // Written before the line counts as done, so that it cannot get lost in between.
        if reason.count() == Count::Invalid
            && let Some(rejects) = &self.rejects
            && let Some(original) = self.original(log, line)
        {
            rejects
                .add(&log.name, line.number, reason.text(), &original)
                .inspect_err(|_| log.account.add(Count::Unsent, 1))?;
        }
        self.count_dropped(log, position(line), reason);
        Ok(())
    }

    /// Counts a line without a request and records it as done.
    pub(super) fn count_dropped(&self, log: &mut OpenLog, position: LinePosition, reason: Reason) {
        log.account.add_dropped(reason);
        self.console.debug(2, || {
            format!("{}:{}: {}", log.name, position.line, reason.text())
        });
        log.pass(position);
    }
}

pub(super) fn position(line: &Line) -> LinePosition {
    LinePosition {
        line: line.number,
        start: line.start,
        end: line.end,
    }
}

/// Writes the tracking requests of lines.
pub struct RequestWriter {
    pub writer: Writer,
    pub ids: HitIdGenerator,
    /// Ids of requests that Matomo already has, while it lacks others of the same line.
    pub recorded: HashSet<HitId>,
    /// The last line of each session with such requests, by log id and position. A line after it
    /// begins a new session; otherwise the requests would change.
    pub closed_sessions: HashSet<(u64, u64)>,
}

impl RequestWriter {
    pub fn new(writer: Writer, ids: HitIdGenerator) -> Self {
        Self {
            writer,
            ids,
            recorded: HashSet::new(),
            closed_sessions: HashSet::new(),
        }
    }

    /// Writes the request of a hit. Returns the number of requests, which is 1.
    pub(super) fn write_hit(
        &mut self,
        log: u64,
        start: u64,
        accepted: &mut AcceptedHit,
        chunk: &mut Chunk,
    ) -> u32 {
        if !accepted.hit.request.is_assistant {
            return self.write_visit(log, start, accepted, chunk);
        }
        self.writer.write_assistant(&accepted.hit, &mut chunk.body);
        chunk.end_request();
        1
    }

    /// The same for a hit that is not sent to the reports of AI assistants.
    pub(super) fn write_visit(
        &mut self,
        log: u64,
        start: u64,
        accepted: &mut AcceptedHit,
        chunk: &mut Chunk,
    ) -> u32 {
        let id = self.ids.id(log, start, 0);
        match accepted.arguments.take() {
            None => self.writer.write(&accepted.hit, &id, &mut chunk.body),
            Some(arguments) => {
                let mut own = Vec::new();
                self.writer.write(&accepted.hit, &id, &mut own);
                chunk
                    .body
                    .extend_from_slice(&arguments.merge_into(&own, accepted.hit.request));
            }
        }
        chunk.end_request();
        1
    }
}
