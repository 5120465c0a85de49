//! Lines of radio logs: a line is a listening session or, with SHOUTcast, one title of it. A
//! session becomes a page view and events (guide/listening.md, "Requests sent").

use std::hash::BuildHasher;

use bumpalo::Bump;
use chrono_tz::Tz;

use super::Flow;
use super::line::{AcceptedHit, LineProcessor, RequestWriter, position};
use super::open_log::OpenLog;
use super::template_memo::{SessionKind, TemplateMemo};
use crate::error::Result;
use crate::format::{Field, Fit, Format, Record};
use crate::hit::{ClientAddress, Hit, HitDays, LoggedRequest};
use crate::hit_id::{HitId, LineIds};
use crate::input::buffered::BufferedLine;
use crate::input::lines::Line;
use crate::matomo::tracking::SessionTemplate;
use crate::radio::{
    Audience, ClientRequest, ClientRole, Continuation, Listener, ListenerLine, ListenerRequest,
    ListeningStats, MemoryUse, ReportOptions, ReportedSession, SampleLine, Session, SessionRequest,
    SessionRequestKind, SessionTraits, Stitched, Stitcher, StreamSample, StreamServer, mount_point,
};
use crate::recorder::{Chunk, GroupExtras, LinePosition, RequestGroup};
use crate::report::rejects::Original;
use crate::report::{Count, Reason};
use crate::sandbox::SandboxSession;

#[derive(Clone, Debug)]
pub struct RadioOptions {
    /// Also treat a log as a radio log if its format was detected as Icecast, not named.
    pub also_detected: bool,
    pub audience: Audience,
    pub report: ReportOptions,
}

/// How to read radio logs, and their statistics so far.
pub struct Radio {
    pub options: RadioOptions,
    /// `--log-timezone`
    pub log_zone: Option<Tz>,
    pub stats: ListeningStats,
    /// The zone in the last line of a listener, as in the log; empty without one. Nearly all lines
    /// have the same, so it is read once.
    pub last_zone: Vec<u8>,
}

/// How the listeners of a log are read.
pub(super) enum SessionMode {
    /// As plain hits.
    Off,
    /// As plain hits, because the log was only detected as Icecast's. The sandbox stores the
    /// sessions, so that the summary can show them.
    Noted,
    /// A line is a session (Icecast).
    Whole,
    /// A line is a title; the titles of a listener are joined to a session (SHOUTcast).
    Titles(Box<Stitcher<u64, SessionStart, SessionLine>>),
}

impl SessionMode {
    /// Returns whether a listener's line becomes a page view and events.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::Whole | Self::Titles(_))
    }

    fn server(&self) -> StreamServer {
        match self {
            Self::Titles(_) => StreamServer::Shoutcast,
            Self::Off | Self::Noted | Self::Whole => StreamServer::Icecast,
        }
    }
}

/// What is kept of the first line of a session.
pub(super) struct SessionStart {
    pub template: SessionTemplate,
    group: RequestGroup,
    /// For the listening figures.
    listener: Option<Listener>,
}

/// What is kept of each line of a session.
pub(super) struct SessionLine {
    pub position: LinePosition,
    /// Bytes sent to the listener.
    bytes: u64,
    /// With `--rejects`.
    original: Option<Original>,
}

/// A session that has ended.
pub(super) type FinishedSession = Stitched<SessionStart, SessionLine>;

impl MemoryUse for SessionStart {
    /// Twice its size, to cover the structures that hold it.
    fn bytes(&self) -> usize {
        let listener = self.listener.as_ref().map_or(0, Listener::bytes);
        2 * size_of::<FinishedSession>() + self.template.size() + listener
    }
}

impl MemoryUse for SessionLine {
    /// Twice its size, to cover the spare capacity of the vector that holds it.
    fn bytes(&self) -> usize {
        let original = self.original.as_ref();
        2 * size_of::<Self>() + original.map_or(0, |original| original.line.capacity())
    }
}

/// What a listener's line leads to.
pub(super) enum ListenerEvent {
    /// It is not a session: a plain hit.
    NotListening,
    /// A session of unknown length.
    NoDuration(Box<SessionStart>),
    /// The line is a whole session.
    Whole(Session),
    /// The sessions that end with this line.
    Finished(Vec<FinishedSession>),
}

impl LineProcessor {
    /// Returns how to read the listeners of a log. `is_named` is whether the user named its
    /// format; otherwise the first lines of the log are in `sample`.
    pub(super) fn session_mode(
        &self,
        format: &dyn Format,
        is_named: bool,
        sample: &[BufferedLine],
    ) -> SessionMode {
        match (StreamServer::of(format.name()), &self.radio) {
            (Some(StreamServer::Shoutcast), Some(_)) => SessionMode::Titles(Box::default()),
            (Some(StreamServer::Icecast), radio)
                if is_named || self.shows_streaming(format, sample) =>
            {
                match radio {
                    Some(radio) if is_named || radio.options.also_detected => SessionMode::Whole,
                    _ => SessionMode::Noted,
                }
            }
            _ => SessionMode::Off,
        }
    }

    /// Whether a log that was detected as Icecast's shows streaming clients. Otherwise it may be
    /// that of a web server, whose lines end in some other number.
    fn shows_streaming(&self, format: &dyn Format, lines: &[BufferedLine]) -> bool {
        let mut arena = Bump::new();
        let mut sample = StreamSample::default();
        for line in lines.iter().flat_map(BufferedLine::lines) {
            arena.reset();
            let mut record = Record::default();
            if line.too_long || format.parse(line.bytes, &arena, &mut record) == Fit::Misfit {
                continue;
            }
            let request = self.hit.request(format, &record, &arena);
            sample.add(&SampleLine {
                method: record.get(Field::Method),
                path: request.path,
                status: request.status,
                user_agent: request.user_agent,
                length: record.get(Field::Length).unwrap_or_default(),
                session_time: record.get(Field::SessionTime),
            });
        }
        sample.shows_streaming()
    }

    /// Hints at `--log-format-name=icecast2` when a log was only detected as Icecast's.
    pub(super) fn hint_at_listening(&self, log: &str, format: &dyn Format, mode: &SessionMode) {
        let Some(radio) = &self.radio else {
            return;
        };
        if StreamServer::of(format.name()) != Some(StreamServer::Icecast) {
            return;
        }
        let hint = match mode {
            SessionMode::Noted if self.sandbox.is_some() => {
                "this looks like an Icecast log. The summary shows its listening time; to import \
                 it too, add --log-format-name=icecast2 (some web logs look the same)"
            }
            SessionMode::Noted => {
                "this looks like an Icecast log. To import its listening time, add \
                 --log-format-name=icecast2 (some web logs look the same)"
            }
            SessionMode::Off if radio.options.also_detected => {
                "no listening time is sent, because the first lines show no streaming client and \
                 may be those of a web server; if Icecast wrote them, add \
                 --log-format-name=icecast2"
            }
            _ => return,
        };
        self.console.hint(format!("{log}: {hint}"));
    }

    /// Prepares a line of a radio log for the filters: sets whether it is a listener's. The path of
    /// a listener becomes the name of its mount point.
    pub(super) fn prepare_listener(
        &self,
        mode: &SessionMode,
        request: &mut LoggedRequest,
    ) -> std::result::Result<(), Reason> {
        let Some(radio) = &self.radio else {
            return Ok(());
        };
        // Only relays are known by their address.
        let has_relays = !radio.options.audience.relays.is_empty();
        let address = has_relays.then(|| self.hit.address(request));
        let ip = address.as_ref().map_or(&b""[..], ClientAddress::as_bytes);
        let client = client_request(mode, request, ip);
        let role = radio.options.audience.judge(&client)?;
        request.is_listener = role == ClientRole::Listener
            && ListenerLine::read(0, None, client.method, request.status)
                != ListenerLine::NotListening;
        if request.is_listener {
            request.path = mount_point(request.path);
        }
        Ok(())
    }

    /// Counts a line of a relay, which is left out of the listening figures, if it is that of a
    /// connection to a stream.
    pub(super) fn count_relay(&mut self, mode: &SessionMode, request: &LoggedRequest) {
        let address = self.hit.address(request);
        let client = client_request(mode, request, address.as_bytes());
        let time = self.hit.time(request.record, request.format.dates());
        let (Some(radio), Some(time), true) = (&mut self.radio, time, client.is_connection())
        else {
            return;
        };
        let session_time = self.hit.session_time(request.record);
        match ListenerLine::read(time, session_time, client.method, request.status) {
            ListenerLine::Session(session) => radio.stats.count_relay(session.seconds()),
            ListenerLine::NoDuration => radio.stats.count_relay(0),
            ListenerLine::NotListening => {}
        }
    }

    /// Reads a listener's line that passed the filters as a session or a title of one.
    pub(super) fn take_listener(
        &mut self,
        log: &mut OpenLog,
        line: &Line,
        accepted: &AcceptedHit,
    ) -> ListenerEvent {
        let hit = &accepted.hit;
        let session = match listener_line(hit) {
            ListenerLine::NotListening => return ListenerEvent::NotListening,
            ListenerLine::NoDuration => {
                let start = self.session_start(log, line, accepted);
                return ListenerEvent::NoDuration(Box::new(start));
            }
            ListenerLine::Session(session) => session,
        };
        if !matches!(log.sessions, SessionMode::Titles(_)) {
            return ListenerEvent::Whole(session);
        }
        let session_line = self.session_line(log, line, hit);
        // Taken out of the log, because `session_start` reads the log.
        let mut mode = std::mem::replace(&mut log.sessions, SessionMode::Off);
        let mut finished = Vec::new();
        if let SessionMode::Titles(stitcher) = &mut mode {
            // Those who share a masked address stay apart.
            let address = self.logged_address(hit);
            let request = hit.request;
            let listener = (
                address.as_bytes(),
                request.user_agent,
                request.path,
                hit.userid,
            );
            let key = self.hasher.hash_one(listener);
            let last = (log.id, line.start);
            let continuation = match self.requests.closed_sessions.contains(&last) {
                true => Continuation::No,
                false => Continuation::Perhaps,
            };
            finished = stitcher.add(key, session, session_line, continuation, || {
                let mut start = self.session_start(log, line, accepted);
                start.template.shrink();
                start
            });
        }
        log.sessions = mode;
        ListenerEvent::Finished(finished)
    }

    /// A line that is a whole session, in the form of those that have several lines.
    pub(super) fn whole_session(
        &mut self,
        log: &OpenLog,
        line: &Line,
        accepted: &AcceptedHit,
        time: Session,
    ) -> FinishedSession {
        let start = self.session_start(log, line, accepted);
        Stitched::new(time, start, self.session_line(log, line, &accepted.hit))
    }

    fn session_line(&self, log: &OpenLog, line: &Line, hit: &Hit) -> SessionLine {
        SessionLine {
            position: position(line),
            bytes: hit.length,
            original: self.original(log, line),
        }
    }

    /// Counts a session that is sent as a plain hit, and stores it in the sandbox.
    pub(super) fn note_session(
        &mut self,
        log: &OpenLog,
        hit: &Hit,
    ) -> Result<Option<ReportedSession>> {
        let (SessionMode::Noted, Some(store)) = (&log.sessions, self.sandbox.clone()) else {
            return Ok(None);
        };
        let request = hit.request;
        let everyone = Audience::default();
        let audience = self
            .radio
            .as_ref()
            .map_or(&everyone, |radio| &radio.options.audience);
        let logged = self.logged_address(hit);
        match audience.judge(&client_request(&log.sessions, request, logged.as_bytes())) {
            Ok(ClientRole::Listener) => {}
            Err(Reason::Relay | Reason::RelayAgent) => {
                self.count_relay(&log.sessions, request);
                return Ok(None);
            }
            _ => return Ok(None),
        }
        let session = match listener_line(hit) {
            ListenerLine::Session(session) => session,
            ListenerLine::NoDuration => {
                if let Some(radio) = &mut self.radio {
                    radio.stats.count_no_duration();
                }
                return Ok(None);
            }
            ListenerLine::NotListening => return Ok(None),
        };
        if audience.judge_length(session.seconds()).is_err() {
            return Ok(None);
        }
        let path = mount_point(request.path);
        store.add_connection(&SandboxSession {
            mount: path,
            time: session,
            address: hit.address.as_bytes(),
            agent: request.user_agent,
            status: if request.status == b"206" { 206 } else { 200 },
        })?;
        let listener = self.listener(hit, path, None);
        Ok(listener.map(|listener| listener.reported(session)))
    }

    /// The listener of a line, for the listening figures. `traits` are those of its mount point
    /// and user agent, if known.
    fn listener(
        &mut self,
        hit: &Hit,
        path: &[u8],
        traits: Option<SessionTraits>,
    ) -> Option<Listener> {
        let logged = self.logged_address(hit);
        let Radio {
            options,
            stats,
            last_zone,
            ..
        } = self.radio.as_mut()?;
        let request = hit.request;
        let zone = request.record.get(Field::Timezone).unwrap_or_default();
        if zone.is_empty() || *zone != **last_zone {
            last_zone.clear();
            last_zone.extend_from_slice(zone);
            let offset = self.hit.offset(request.record, request.format.dates());
            stats.clock.note(offset);
        }
        let (address, agent) = (hit.address.as_bytes(), request.user_agent);
        let listener = ListenerRequest {
            hash: self.hasher.hash_one((address, agent)),
            mount: path,
            address: hit.address.shown(),
            located: logged.as_bytes(),
            status: request.status,
            agent,
        };
        let traits = traits.unwrap_or_else(|| stats.traits(path, agent));
        Some(stats.listener_with(traits, &options.report, &listener))
    }

    /// The address of a hit before it is masked. It stays in memory.
    fn logged_address<'h>(&self, hit: &Hit<'h>) -> ClientAddress<'h> {
        match self.hit.privacy() {
            None => hit.address,
            Some(_) => self.hit.address(hit.request),
        }
    }

    /// Whether a hit is the session of a listener that [`Self::note_session`] counts.
    pub(super) fn is_noted(&self, log: &OpenLog, hit: &Hit) -> bool {
        matches!(log.sessions, SessionMode::Noted)
            && self.sandbox.is_some()
            && listener_line(hit) != ListenerLine::NotListening
    }

    fn session_start(
        &mut self,
        log: &OpenLog,
        line: &Line,
        accepted: &AcceptedHit,
    ) -> SessionStart {
        let request = accepted.hit.request;
        SessionStart {
            template: self.requests.writer.session_template(&accepted.hit),
            group: self.request_group(log, position(line), accepted),
            listener: self.listener(&accepted.hit, request.path, None),
        }
    }

    /// Sends the page view of a session of unknown length, without events.
    pub(super) fn send_page_view(
        &mut self,
        log: &OpenLog,
        start: SessionStart,
        original: Option<Original>,
        time: i64,
        bytes: u64,
    ) -> Flow {
        if let Some(radio) = &mut self.radio {
            radio.stats.count_no_duration();
        }
        let mut group = start.group;
        group.add_extras(original, None);
        let chunk = self.queue.chunk();
        let line = (log.id, group.position.start);
        self.requests
            .write_page_view(line, &start.template, time, bytes, chunk);
        group.requests = 1;
        self.enqueue(group)
    }

    /// Sends the session that a line is. If it is too short, the line is filtered.
    pub(super) fn send_whole_session(
        &mut self,
        log: &mut OpenLog,
        line: &Line,
        accepted: &AcceptedHit,
        time: Session,
    ) -> Flow {
        let (hit, position) = (&accepted.hit, position(line));
        let mut group = self.request_group(log, position, accepted);
        let slot = TemplateMemo::slot(hit, group.agent);
        let is_usual = self.requests.writer.is_usual_template(hit);
        let remembered = match is_usual {
            true => self.templates.take(slot, hit),
            false => None,
        };
        let kind = match remembered {
            Some(mut kind) => {
                kind.template.set_address(&hit.address);
                kind
            }
            None => Box::new(self.session_kind(hit, is_usual)),
        };
        let listener = self.listener(hit, hit.request.path, kind.traits);
        if let Err(reason) = self.judge_length(time) {
            self.templates.put(slot, kind);
            self.count_dropped(log, position, reason);
            return Flow::Continue;
        }
        group.days = self.sites.days(group.site, time.start(), time.end());
        let session = listener.map(|listener| listener.reported(time));
        group.add_extras(self.original(log, line), session);
        let requests = &mut self.requests;
        let ids = requests.ids.of_line(log.id, position.start);
        let chunk = self.queue.chunk();
        group.requests = requests.write_requests(time, &kind.template, hit.length, ids, chunk);
        self.templates.put(slot, kind);
        self.send_session(log, group)
    }

    fn session_kind(&mut self, hit: &Hit, is_usual: bool) -> SessionKind {
        let template = self.requests.writer.session_template(hit);
        let radio = self.radio.as_mut();
        let (path, agent) = (hit.request.path, hit.request.user_agent);
        let traits = radio.map(|radio| radio.stats.traits(path, agent));
        SessionKind::new(hit, is_usual, template, traits)
    }

    fn judge_length(&self, time: Session) -> std::result::Result<(), Reason> {
        let radio = self.radio.as_ref();
        radio.map_or(Ok(()), |radio| {
            radio.options.audience.judge_length(time.seconds())
        })
    }

    /// Enqueues a session whose requests are written.
    fn send_session(&mut self, log: &mut OpenLog, group: RequestGroup) -> Flow {
        if group.requests > 0 {
            return self.enqueue(group);
        }
        // Matomo has all its requests since an interrupted run.
        if let (Some(session), Some(radio)) = (group.session(), &self.radio) {
            radio.stats.sessions.add(session);
        }
        log.account.add(Count::Imported, group.lines());
        group.positions().for_each(|position| log.pass(position));
        Flow::Continue
    }

    /// Sends sessions that have ended. The lines of those that are too short are filtered.
    pub(super) fn send_sessions(
        &mut self,
        log: &mut OpenLog,
        sessions: Vec<FinishedSession>,
    ) -> Flow {
        let mut sessions = sessions.into_iter();
        while let Some(session) = sessions.next() {
            let (group, time) = (&session.first.group, session.time);
            if let Err(reason) = self.judge_length(time) {
                for line in &session.lines {
                    self.count_dropped(log, line.position, reason);
                }
                continue;
            }
            let days = self.sites.days(group.site, time.start(), time.end());
            let chunk = self.queue.chunk();
            let requests = self.requests.write_session(log.id, &session, chunk);
            let group = session_group(session, requests, days);
            if self.send_session(log, group) == Flow::Stop {
                let lines = sessions.map(|session| session.lines.len() as u64).sum();
                log.account.add(Count::Unsent, lines);
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    /// Sends the sessions that are still open at the end of a log.
    pub(super) fn end_sessions(&mut self, log: &mut OpenLog) -> Flow {
        let sessions: Vec<FinishedSession> = match &mut log.sessions {
            SessionMode::Titles(stitcher) => stitcher.drain().collect(),
            _ => Vec::new(),
        };
        self.send_sessions(log, sessions)
    }

    /// Counts the lines of open sessions as not sent, because the import stops.
    pub(super) fn count_open_sessions(&self, log: &OpenLog) {
        if let SessionMode::Titles(stitcher) = &log.sessions {
            log.account.add(Count::Unsent, stitcher.lines() as u64);
        }
    }
}

fn client_request<'a>(
    mode: &SessionMode,
    request: &LoggedRequest<'a>,
    ip: &'a [u8],
) -> ClientRequest<'a> {
    ClientRequest {
        server: mode.server(),
        method: request.record.get(Field::Method),
        path: request.path,
        ip,
        user_agent: request.user_agent,
    }
}

fn listener_line(hit: &Hit) -> ListenerLine {
    let request = hit.request;
    let method = request.record.get(Field::Method);
    ListenerLine::read(hit.time, hit.session_time, method, request.status)
}

fn session_group(session: FinishedSession, requests: u32, days: HitDays) -> RequestGroup {
    let listener = session.first.listener;
    let more = session.lines.iter().skip(1).map(|line| line.position);
    let extras = GroupExtras {
        more: more.collect(),
        originals: session
            .lines
            .into_iter()
            .filter_map(|line| line.original)
            .collect(),
        session: listener.map(|listener| listener.reported(session.time)),
    };
    RequestGroup {
        requests,
        days,
        extras: (extras != GroupExtras::default()).then(|| Box::new(extras)),
        ..session.first.group
    }
}

impl RequestWriter {
    /// Writes the requests of a session, except those that Matomo already has. Returns their
    /// number.
    pub(super) fn write_session(
        &mut self,
        log: u64,
        session: &FinishedSession,
        chunk: &mut Chunk,
    ) -> u32 {
        let bytes = session.lines.iter().map(|line| line.bytes);
        let bytes = bytes.fold(0, u64::saturating_add);
        let ids = self.ids.of_line(log, session.first.group.position.start);
        self.write_requests(session.time, &session.first.template, bytes, ids, chunk)
    }

    fn write_requests(
        &mut self,
        time: Session,
        template: &SessionTemplate,
        bytes: u64,
        ids: LineIds,
        chunk: &mut Chunk,
    ) -> u32 {
        let before = chunk.ends.len();
        let mut last_event = None;
        for (request, part) in time.requests().zip(0..) {
            let id = ids.id(part);
            if self.recorded.contains(&id) {
                continue;
            }
            let (writer, body) = (&mut self.writer, &mut chunk.body);
            let start = body.len();
            match (request.kind, last_event.take()) {
                (SessionRequestKind::Connected, Some(event)) => {
                    writer.repeat_session_request(event, request.time, &id, body);
                }
                _ => writer.write_session_request(template, request, bytes, &id, body),
            }
            if request.kind == SessionRequestKind::Connected {
                last_event = Some(start..body.len());
            }
            chunk.end_request();
        }
        (chunk.ends.len() - before) as u32
    }

    /// Writes the page view of a session of unknown length. `line` is its log and its position.
    pub(super) fn write_page_view(
        &mut self,
        (log, start): (u64, u64),
        template: &SessionTemplate,
        time: i64,
        bytes: u64,
        chunk: &mut Chunk,
    ) {
        let id = self.ids.id(log, start, 0);
        let request = SessionRequest {
            time,
            kind: SessionRequestKind::PageView,
        };
        self.writer
            .write_session_request(template, request, bytes, &id, &mut chunk.body);
        chunk.end_request();
    }

    /// The ids of all requests of a session, in their order.
    pub(super) fn session_ids(
        &self,
        log: u64,
        session: &FinishedSession,
    ) -> impl Iterator<Item = HitId> + use<> {
        let ids = self.ids.of_line(log, session.first.group.position.start);
        let parts = session.time.requests().len() as u32;
        (0..parts).map(move |part| ids.id(part))
    }
}
