//! Radio logs: a line is a connection, or one title of it; a connection is a page view and events.

use crate::hit_id::HitId;
use std::hash::BuildHasher;

use bumpalo::Bump;

use super::line::{Kept, Requests, place};
use super::log::Log;
use super::{Flow, Importer};
use crate::error::Result;
use crate::format::{Field, Format};
use crate::hit::Hit;
use crate::input::lines::Line;
use crate::matomo::tracking::SessionTemplate;
use crate::radio::variants::{ClientAddress, hex_decoded};
use crate::radio::{
    Audience, ClientRole, Continuation, ListenerLine, ListeningStats, MemoryUse, SessionRequest,
    SessionRequestKind, Stitched, Stitcher,
};
use crate::recorder::{Chunk, LinePosition, QueueClosed, RequestGroup};
use crate::report::rejects::Original;
use crate::report::{Count, Reason};

/// How radio logs are read.
#[derive(Clone, Debug)]
pub struct RadioOptions {
    /// An Icecast log may be taken for one although nobody said so.
    pub also_detected: bool,
    pub audience: Audience,
}

/// How radio logs are read, and what they said so far.
pub struct Radio {
    /// An Icecast log counts as one although nobody said so.
    pub also_detected: bool,
    pub audience: Audience,
    pub tally: ListeningStats,
}

/// How a log's listeners are read.
pub(super) enum Listening {
    /// Not at all: the log is no radio server's, or plain hits are wanted.
    Off,
    /// Plain hits are wanted of what may be Icecast's log; the sandbox is told of the connections.
    Noted,
    /// A line for each connection (Icecast).
    Connections,
    /// A line for each title (SHOUTcast).
    Titles(Box<Stitcher<u64, Listener, Title>>),
}

impl Listening {
    /// Whether a connection becomes a page view and events.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::Connections | Self::Titles(_))
    }
}

/// What is kept of a connection's first line.
pub(super) struct Listener {
    prepared: SessionTemplate,
    unit: RequestGroup,
    mount: Vec<u8>,
    /// Tells listeners apart: address and agent.
    listener: u64,
}

/// What is kept of each of its lines.
pub(super) struct Title {
    place: LinePosition,
    /// Sent to the listener.
    bytes: u64,
    /// With `--rejects`.
    original: Option<Original>,
}

impl MemoryUse for Listener {
    /// With its share of what holds it, which is as much again.
    fn weight(&self) -> usize {
        2 * size_of::<Over>() + self.prepared.size() + self.mount.capacity()
    }
}

impl MemoryUse for Title {
    /// With the room that its connection has for more of them, which is as much again.
    fn weight(&self) -> usize {
        let original = self.original.as_ref();
        2 * size_of::<Self>() + original.map_or(0, |original| original.line.capacity())
    }
}

impl Title {
    pub fn place(&self) -> LinePosition {
        self.place
    }
}

/// A connection that is over.
pub(super) type Over = Stitched<Listener, Title>;

impl Importer {
    /// How the listeners of a log of this format are read.
    pub(super) fn listening(&self, format: &dyn Format) -> Listening {
        let named = self.chooser.is_named();
        match (&self.radio, format.name()) {
            (Some(_), "shoutcast") => Listening::Titles(Box::default()),
            (Some(radio), "icecast2") if named || radio.also_detected => Listening::Connections,
            (_, "icecast2") if self.sandbox.is_some() => Listening::Noted,
            _ => Listening::Off,
        }
    }

    /// Says how the time listened is had, where nobody said that the log is Icecast's.
    pub(super) fn hint_at_listening(&self, log: &str, format: &dyn Format, listening: &Listening) {
        if self.radio.is_some() && format.name() == "icecast2" && !listening.is_on() {
            self.console.hint(format!(
                "{log}: this looks like an Icecast log, or like a web log with a number behind the agent; with \
                 --log-format-name=icecast2 the time listened is counted"
            ));
        }
    }

    /// Before the filters: undoes what radio servers do to fields, and says whether the line may be a listener's.
    pub(super) fn tune_in<'l>(
        &self,
        hit: &mut Hit<'l>,
        arena: &'l Bump,
    ) -> std::result::Result<(), Reason> {
        let Some(radio) = &self.radio else {
            return Ok(());
        };
        hit.referrer = hex_decoded(hit.referrer, arena).unwrap_or(hit.referrer);
        if let Some(agent) = hex_decoded(hit.user_agent, arena) {
            hit.raw_agent.get_or_insert(hit.user_agent);
            hit.user_agent = agent;
        }
        if let ClientAddress::Hidden(cid) = ClientAddress::read(hit.ip) {
            hit.cid = Some(cid);
        }
        let method = hit.record.get(Field::Method);
        match radio.audience.judge(method, hit.path, hit.ip)? {
            ClientRole::Listener => {
                hit.is_listener = ListenerLine::read(hit.time, None, method, hit.status)
                    != ListenerLine::NotListening;
            }
            ClientRole::Admin => {}
        }
        Ok(())
    }

    /// A listener's line that passed the filters: the connections that are over with it.
    pub(super) fn listen(&mut self, log: &mut Log, line: &Line, kept: &Kept) -> Heard {
        let hit = kept.hit;
        let method = hit.record.get(Field::Method);
        let connection = match ListenerLine::read(hit.time, hit.session_time, method, hit.status) {
            ListenerLine::NotListening => return Heard::Plain,
            ListenerLine::NoDuration => return Heard::Unmeasured(self.listener(log, line, kept)),
            ListenerLine::Session(connection) => connection,
        };
        let place = place(line);
        let title = Title {
            place,
            bytes: hit.length,
            original: self.original(log, line),
        };
        // Taken out, as what is kept of the line is made from the log too.
        let mut listening = std::mem::replace(&mut log.listening, Listening::Off);
        let over = match &mut listening {
            Listening::Titles(holder) => {
                let key = self.hasher.hash_one((hit.ip, hit.user_agent, hit.path));
                let goes_on = match self.requests.sealed.contains(&(log.mark, place.start)) {
                    true => Continuation::No,
                    false => Continuation::Perhaps,
                };
                holder.offer(key, connection, title, goes_on, || {
                    let mut listener = self.listener(log, line, kept);
                    listener.prepared.shrink();
                    listener
                })
            }
            _ => vec![Stitched::new(
                connection,
                self.listener(log, line, kept),
                title,
            )],
        };
        log.listening = listening;
        Heard::Over(over)
    }

    /// Tells the sandbox of a connection that is sent as a plain hit.
    pub(super) fn note_connection(&self, log: &Log, hit: &Hit) -> Result<()> {
        let (Listening::Noted, Some(store)) = (&log.listening, &self.sandbox) else {
            return Ok(());
        };
        let everybody = Audience::default();
        let audience = self
            .radio
            .as_ref()
            .map_or(&everybody, |radio| &radio.audience);
        let method = hit.record.get(Field::Method);
        if audience.judge(method, hit.path, hit.ip) != Ok(ClientRole::Listener) {
            return Ok(());
        }
        match ListenerLine::read(hit.time, hit.session_time, method, hit.status) {
            ListenerLine::Session(connection)
                if audience.judge_length(connection.seconds()).is_ok() =>
            {
                store.add_connection(
                    &String::from_utf8_lossy(hit.path),
                    connection,
                    self.hasher.hash_one((hit.ip, hit.user_agent)),
                )
            }
            _ => Ok(()),
        }
    }

    fn listener(&mut self, log: &Log, line: &Line, kept: &Kept) -> Listener {
        let hit = kept.hit;
        Listener {
            prepared: self.requests.writer.prepare(hit, self.sites.get(kept.site)),
            unit: self.unit(log, place(line), kept),
            mount: hit.path.to_vec(),
            listener: self.hasher.hash_one((hit.ip, hit.user_agent)),
        }
    }

    /// Sends a listener's page view alone: how long the connection was is not known.
    pub(super) fn send_unmeasured(
        &mut self,
        log: &Log,
        listener: Listener,
        original: Option<Original>,
        time: i64,
        bytes: u64,
    ) -> Flow {
        if let Some(radio) = &mut self.radio {
            radio.tally.no_duration();
        }
        let mut unit = listener.unit;
        unit.originals.extend(original);
        let mark = self.requests.marker.mark(log.mark, unit.position.start, 0);
        let parcel = self.outbox.chunk(unit.visitor);
        let beat = SessionRequest {
            time,
            kind: SessionRequestKind::PageView,
        };
        self.requests
            .writer
            .write_beat(&listener.prepared, beat, bytes, &mark, &mut parcel.body);
        parcel.end_request();
        unit.requests = 1;
        self.hand_over(unit)
    }

    /// Sends connections that are over; those that are too short are filtered, line by line.
    pub(super) fn send_over(&mut self, log: &mut Log, over: Vec<Over>) -> Flow {
        let mut over = over.into_iter();
        while let Some(whole) = over.next() {
            if let Some(radio) = &mut self.radio {
                if let Err(reason) = radio.audience.judge_length(whole.connection.seconds()) {
                    for title in &whole.lines {
                        self.drop_place(log, title.place, reason);
                    }
                    continue;
                }
                radio
                    .tally
                    .add(&whole.first.mount, whole.connection, whole.first.listener);
            }
            let visitor = whole.first.unit.visitor;
            let requests =
                self.requests
                    .write_connection(log.mark, &whole, self.outbox.chunk(visitor));
            let unit = unit_of(whole, requests);
            if requests == 0 {
                // Matomo has them all since an interrupted run.
                log.account.add(Count::Imported, unit.lines());
                unit.positions().for_each(|place| self.pass(log, place));
                continue;
            }
            if self.hand_over(unit) == Flow::Over {
                // Nobody takes the others any more.
                let lines = over.map(|whole| whole.lines.len() as u64).sum();
                log.account.add(Count::Unsent, lines);
                return Flow::Over;
            }
        }
        Flow::On
    }

    /// The log is at its end: what was held back for a next title goes out.
    pub(super) fn end_titles(&mut self, log: &mut Log) -> Flow {
        let over: Vec<Over> = match &mut log.listening {
            Listening::Titles(holder) => holder.drain().collect(),
            _ => Vec::new(),
        };
        self.send_over(log, over)
    }

    /// The import stops: lines that were held back are not sent.
    pub(super) fn count_held(&self, log: &Log) {
        if let Listening::Titles(holder) = &log.listening {
            log.account.add(Count::Unsent, holder.lines() as u64);
        }
    }

    pub(super) fn hand_over(&mut self, unit: RequestGroup) -> Flow {
        match self.outbox.add(unit) {
            Ok(()) => Flow::On,
            Err(QueueClosed) => Flow::Over,
        }
    }
}

/// What came of a listener's line.
pub(super) enum Heard {
    /// It is no listener's: a plain hit.
    Plain,
    Unmeasured(Listener),
    Over(Vec<Over>),
}

fn unit_of(whole: Over, requests: u32) -> RequestGroup {
    let day = |time: i64| time.div_euclid(86_400) as i32;
    let connection = whole.connection;
    let more = whole.lines.iter().skip(1).map(|title| title.place);
    RequestGroup {
        requests,
        more: more.collect(),
        days: (day(connection.start()), day(connection.end())),
        originals: whole
            .lines
            .into_iter()
            .filter_map(|title| title.original)
            .collect(),
        ..whole.first.unit
    }
}

impl Requests {
    /// Writes a connection's requests, but for those that Matomo has already. Gives their number.
    pub(super) fn write_connection(&mut self, log: u64, whole: &Over, parcel: &mut Chunk) -> u32 {
        let bytes = whole
            .lines
            .iter()
            .fold(0u64, |sum, title| sum.saturating_add(title.bytes));
        let mut written = 0;
        for (beat, pv_id) in whole.connection.beats().zip(self.marks_of(log, whole)) {
            if self.present.contains(&pv_id) {
                continue;
            }
            let prepared = &whole.first.prepared;
            self.writer
                .write_beat(prepared, beat, bytes, &pv_id, &mut parcel.body);
            parcel.end_request();
            written += 1;
        }
        written
    }

    /// The marks of a connection's requests.
    pub(super) fn marks_of(&self, log: u64, whole: &Over) -> impl Iterator<Item = HitId> + use<> {
        let marker = self.marker;
        let start = whole.first.unit.position.start;
        let parts = whole.connection.beats().len() as u32;
        (0..parts).map(move |part| marker.mark(log, start, part))
    }
}
