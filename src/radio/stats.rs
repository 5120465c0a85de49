//! Collects the sessions of a run, and computes its listening figures at the end.
//!
//! The parser numbers the mount points and counts what is left out. The sessions come from the
//! threads that learn that they were imported.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use chrono_tz::Tz;
use foldhash::fast::RandomState;

use super::calendar::{LogClock, ReportZone};
use super::country::CountryCode;
use super::figures::{ListeningFigures, RelayFigures};
use super::measure::{Groups, Measured, measure};
use super::options::ReportOptions;
use super::player::Player;
use super::session::Session;
use super::session_store::{
    MAX_MOUNTS, MountId, OTHERS, SessionStore, SessionTraits, StoredSession,
};
use crate::error::{Error, Result};
use crate::sync::Mutex;

/// Maximum bytes of a name to keep. A mount point with a longer one gets no figures of its own.
const MAX_NAME_BYTES: usize = 1024;

/// What the parser collects for the listening figures.
#[derive(Debug, Default)]
pub struct ListeningStats {
    mounts: Mounts,
    players: Players,
    /// The clock of the lines of listeners.
    pub clock: LogClock,
    no_duration: u64,
    relays: RelayFigures,
    /// The sessions that were imported.
    pub sessions: Arc<SessionLog>,
}

/// The sessions that were imported, shared by all threads.
#[derive(Debug, Default)]
pub struct SessionLog {
    state: Mutex<SessionLogState>,
    /// Takes the texts of each session, for a listener log.
    sink: Option<Arc<dyn SessionSink>>,
    /// There are no figures at the end, so sessions are not kept.
    is_off: bool,
}

/// Takes each session that was imported.
pub trait SessionSink: Debug + Send + Sync {
    fn add(&self, session: &LoggedSession);
}

/// A session that was imported. All texts are as in the log.
#[derive(Clone, Copy, Debug)]
pub struct LoggedSession<'a> {
    pub address: &'a [u8],
    /// Seconds since 1970, UTC.
    pub start: i64,
    pub mount: &'a [u8],
    pub seconds: u64,
    pub status: &'a [u8],
    pub agent: &'a [u8],
}

#[derive(Debug, Default)]
struct SessionLogState {
    store: SessionStore,
    /// Why a session could not be stored.
    error: Option<io::Error>,
}

impl SessionLog {
    /// Adds a session that was imported.
    pub fn add(&self, ReportedSession { session, texts }: &ReportedSession) {
        if self.is_off {
            return;
        }
        if let (Some(sink), Some(texts)) = (&self.sink, texts) {
            sink.add(&LoggedSession {
                address: &texts.address,
                start: session.start(),
                mount: &texts.mount,
                seconds: session.seconds(),
                status: &texts.status,
                agent: &texts.agent,
            });
        }
        let mut state = self.state.lock();
        if state.error.is_none()
            && let Err(error) = state.store.push(*session)
        {
            // The memory is needed for the import, which goes first.
            *state = SessionLogState {
                store: SessionStore::default(),
                error: Some(error),
            };
        }
    }
}

/// What the figures depend on, besides the time of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    hash: u64,
    traits: SessionTraits,
    texts: Option<Box<SessionTexts>>,
}

/// The texts of a session, as in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SessionTexts {
    address: Vec<u8>,
    mount: Vec<u8>,
    status: Vec<u8>,
    agent: Vec<u8>,
}

/// What is known of a listener from a line.
#[derive(Clone, Copy, Debug)]
pub struct ListenerRequest<'a> {
    /// Identifies the listener.
    pub hash: u64,
    /// The path in the log without its query.
    pub mount: &'a [u8],
    /// As it is written to reports.
    pub address: &'a [u8],
    /// The address that has the country. It is not kept.
    pub located: &'a [u8],
    pub status: &'a [u8],
    pub agent: &'a [u8],
}

impl Listener {
    /// The memory that it takes outside of itself, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = self.texts.as_ref();
        texts.map_or(0, |texts| {
            let all = [&texts.address, &texts.mount, &texts.status, &texts.agent];
            size_of::<SessionTexts>() + all.map(Vec::capacity).iter().sum::<usize>()
        })
    }

    /// A session of this listener, to count when it is imported.
    pub fn reported(self, session: Session) -> ReportedSession {
        ReportedSession {
            session: StoredSession::new(session, self.hash, self.traits),
            texts: self.texts,
        }
    }
}

/// A session on its way to the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedSession {
    session: StoredSession,
    /// `None` without a listener log.
    texts: Option<Box<SessionTexts>>,
}

impl ListeningStats {
    /// `sink` is `None` without a listener log.
    pub fn new(sink: Option<Arc<dyn SessionSink>>) -> Self {
        let state = Mutex::default();
        Self {
            sessions: Arc::new(SessionLog {
                state,
                sink,
                is_off: false,
            }),
            ..Self::default()
        }
    }

    /// For a run without an end, which has no figures.
    pub fn off() -> Self {
        Self {
            sessions: Arc::new(SessionLog {
                is_off: true,
                ..SessionLog::default()
            }),
            ..Self::default()
        }
    }

    /// What the groups of a session depend on, except the country.
    pub fn traits(&mut self, mount: &[u8], agent: &[u8]) -> SessionTraits {
        SessionTraits::new(self.mounts.id(mount), self.players.of(agent))
    }

    /// The listener of a line.
    pub fn listener(&mut self, options: &ReportOptions, request: &ListenerRequest) -> Listener {
        let traits = self.traits(request.mount, request.agent);
        self.listener_with(traits, options, request)
    }

    /// The listener of a line. `traits` are those of its mount point and user agent.
    pub fn listener_with(
        &self,
        traits: SessionTraits,
        options: &ReportOptions,
        request: &ListenerRequest,
    ) -> Listener {
        let countries = options.countries.as_ref();
        let texts = || SessionTexts {
            address: request.address.to_vec(),
            mount: request.mount.to_vec(),
            status: request.status.to_vec(),
            agent: request.agent.to_vec(),
        };
        let country = countries.and_then(|countries| countries.country(request.located));
        Listener {
            hash: request.hash,
            traits: traits.in_country(country),
            texts: self.sessions.sink.as_ref().map(|_| Box::new(texts())),
        }
    }

    /// Counts a session of unknown length.
    pub fn count_no_duration(&mut self) {
        self.no_duration = self.no_duration.saturating_add(1);
    }

    /// Counts a line of a relay, which is in no other figure. 0 seconds if its length is unknown.
    pub fn count_relay(&mut self, seconds: u64) {
        self.relays.lines = self.relays.lines.saturating_add(1);
        self.relays.seconds = self.relays.seconds.saturating_add(seconds);
    }

    /// The figures of all sessions that were imported so far. `log_zone` is the time zone of dates
    /// without an offset.
    ///
    /// # Errors
    ///
    /// A temporary file cannot be read or written.
    pub fn figures(
        &self,
        options: &ReportOptions,
        log_zone: Option<Tz>,
    ) -> Result<ListeningFigures> {
        let failed = |error: &io::Error| {
            Error::stopped(format!(
                "there are no listening figures, because a temporary file in {} failed: {error}; \
                 set TMPDIR to a directory with more space",
                std::env::temp_dir().display()
            ))
        };
        let mut state = self.sessions.state.lock();
        if let Some(error) = &state.error {
            return Err(failed(error));
        }
        let zone = options.zone.map(ReportZone::Named);
        let zone = zone.unwrap_or_else(|| self.clock.zone(log_zone));
        self.compute(&mut state.store, options, zone)
            .map_err(|error| failed(&error))
    }

    fn compute(
        &self,
        store: &mut SessionStore,
        options: &ReportOptions,
        zone: ReportZone,
    ) -> io::Result<ListeningFigures> {
        let mut selected = select(store, options)?;
        let sessions = selected.as_mut().map_or(store, |it| &mut it.sessions);
        let mounts = self.mounts.names().chain([(OTHERS, &[][..])]);
        let groups = Groups::new(mounts, options);
        let Measured {
            groups,
            range,
            lengths,
        } = measure(sessions, groups, zone, options.min_session)?;
        Ok(ListeningFigures {
            zone,
            range,
            min_session: options.min_session,
            groups,
            lengths,
            no_duration: self.no_duration,
            relays: self.relays,
            other_countries: selected.as_ref().map_or(0, |it| it.other_countries),
            merged: selected.as_ref().map_or(0, |it| it.merged),
            country: options.country.map(|country| country.to_string()),
        })
    }
}

/// The sessions that the report is about.
#[derive(Default)]
struct Selected {
    sessions: SessionStore,
    other_countries: u64,
    merged: u64,
}

/// Applies `--report-country` and `--merge-sessions`. Returns `None` without these options.
fn select(store: &mut SessionStore, options: &ReportOptions) -> io::Result<Option<Selected>> {
    if options.country.is_none() && !options.merge {
        return Ok(None);
    }
    let mut selected = Selected::default();
    let mut last: Option<StoredSession> = None;
    let country = options
        .country
        .map(|country| CountryCode::number(Some(country)));
    store.finish()?;
    // The sessions of a listener and mount point come one after the other.
    let mut sessions = store.by_listener()?;
    while let Some(session) = sessions.take_next()? {
        if country.is_some_and(|country| session.traits().country() != country) {
            selected.other_countries += 1;
            continue;
        }
        let merged = last
            .filter(|_| options.merge)
            .and_then(|last| last.merged(session));
        if merged.is_some() {
            selected.merged += 1;
        } else if let Some(last) = last {
            selected.sessions.push(last)?;
        }
        last = merged.or(Some(session));
    }
    last.map_or(Ok(()), |last| selected.sessions.push(last))?;
    Ok(Some(selected))
}

/// The players of the last user agents: finding one in its text takes longer than all the rest.
#[derive(Debug, Default)]
struct Players {
    of_agent: HashMap<Box<[u8]>, Player, RandomState>,
}

/// Maximum number of user agents to remember, of at most [`MAX_NAME_BYTES`] each.
const MAX_AGENTS: usize = 2000;

impl Players {
    fn of(&mut self, agent: &[u8]) -> Player {
        if let Some(player) = self.of_agent.get(agent) {
            return *player;
        }
        let player = Player::of(agent);
        if agent.len() <= MAX_NAME_BYTES {
            if self.of_agent.len() == MAX_AGENTS {
                self.of_agent.clear();
            }
            self.of_agent.insert(agent.into(), player);
        }
        player
    }
}

/// Numbers the mount points.
#[derive(Debug, Default)]
struct Mounts {
    ids: HashMap<Box<[u8]>, MountId, RandomState>,
}

impl Mounts {
    /// The number of a mount point, or [`OTHERS`].
    fn id(&mut self, name: &[u8]) -> MountId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        if self.ids.len() == MAX_MOUNTS || name.len() > MAX_NAME_BYTES {
            return OTHERS;
        }
        let id = self.ids.len() as MountId;
        self.ids.insert(name.into(), id);
        id
    }

    /// Number and name of each mount point, in no particular order.
    fn names(&self) -> impl Iterator<Item = (MountId, &[u8])> {
        self.ids.iter().map(|(name, id)| (*id, &**name))
    }
}

#[cfg(test)]
pub(super) mod tests;
