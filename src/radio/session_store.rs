//! All sessions of a run, to be read in several orders, in bounded memory.
//!
//! Up to [`RUN_SESSIONS`] sessions are kept in memory. More are sorted in each order and moved to
//! temporary files, run by run; reading them merges the runs. So every figure is exact, whatever
//! the number and the order of the sessions.

use std::io;
use std::num::NonZeroU64;
use std::ops::Range;

use super::country::CountryCode;
use super::player::Player;
use super::session::Session;
use super::sorted_runs::{Merge, RunFile, RunItem, sort};

/// Number of a mount point: below [`MAX_MOUNTS`], or [`OTHERS`].
pub type MountId = u16;

/// Maximum number of mount points with figures of their own. Clients can make a log name any
/// number.
pub const MAX_MOUNTS: usize = 1000;

/// All mount points without figures of their own.
pub const OTHERS: MountId = MAX_MOUNTS as MountId;

/// Sessions of a run in memory: 0.8 MB, which a processor's cache has room for.
const RUN_SESSIONS: usize = 32_768;

/// Bits of the seconds of a session, at most 30 days.
const SECONDS_BITS: u32 = 22;

/// Bits of a start or an end, before the year 10000.
const TIME_BITS: u32 = 38;

/// A session, the listener, and what the groups of the figures depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSession {
    listener: u64,
    /// Start, which is after 1970, then [`SECONDS_BITS`] of seconds.
    time: NonZeroU64,
    traits: SessionTraits,
}

/// What the groups of a session depend on: mount point, country and player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTraits {
    mount: MountId,
    /// Number of the country, above the [`PLAYER_BITS`] of the player.
    country_and_player: u16,
}

const PLAYER_BITS: u32 = 6;

impl SessionTraits {
    pub fn new(mount: MountId, player: Player) -> Self {
        Self {
            mount,
            country_and_player: u16::from(player.number()),
        }
    }

    pub fn in_country(self, country: Option<CountryCode>) -> Self {
        let country = CountryCode::number(country) << PLAYER_BITS;
        Self {
            country_and_player: country | u16::from(self.player()),
            ..self
        }
    }

    pub fn mount(self) -> MountId {
        self.mount
    }

    /// See [`CountryCode::number`].
    pub fn country(self) -> u16 {
        self.country_and_player >> PLAYER_BITS
    }

    /// See [`Player::number`].
    pub fn player(self) -> u8 {
        // Below 64.
        (self.country_and_player & ((1 << PLAYER_BITS) - 1)) as u8
    }

    fn to_bytes(self) -> [u8; 4] {
        let [m0, m1] = self.mount.to_le_bytes();
        let [c0, c1] = self.country_and_player.to_le_bytes();
        [m0, m1, c0, c1]
    }

    fn from_bytes([m0, m1, c0, c1]: [u8; 4]) -> Self {
        Self {
            mount: MountId::from_le_bytes([m0, m1]),
            country_and_player: u16::from_le_bytes([c0, c1]),
        }
    }
}

impl StoredSession {
    /// `listener` is a hash that identifies the listener.
    pub fn new(session: Session, listener: u64, traits: SessionTraits) -> Self {
        let time = session.start().unsigned_abs() << SECONDS_BITS | session.seconds();
        Self {
            listener,
            time: NonZeroU64::new(time).unwrap_or(NonZeroU64::MIN),
            traits,
        }
    }

    /// Seconds since 1970, UTC.
    pub fn start(self) -> i64 {
        (self.time.get() >> SECONDS_BITS).cast_signed()
    }

    /// Seconds since 1970, UTC. The listener has left by then.
    pub fn end(self) -> i64 {
        self.start().saturating_add_unsigned(self.seconds())
    }

    pub fn seconds(self) -> u64 {
        self.time.get() & ((1 << SECONDS_BITS) - 1)
    }

    pub fn listener(self) -> u64 {
        self.listener
    }

    pub fn traits(self) -> SessionTraits {
        self.traits
    }

    /// This session and one that overlaps it, as one. `None` if they do not overlap, are of
    /// different listeners or mount points, or are too long together.
    pub fn merged(self, next: Self) -> Option<Self> {
        let is_same = (self.listener, self.traits.mount) == (next.listener, next.traits.mount);
        if !is_same || next.start() >= self.end() || self.start() >= next.end() {
            return None;
        }
        let start = self.start().min(next.start());
        let session = Session::new(start, self.end().max(next.end()).abs_diff(start))?;
        Some(Self::new(session, self.listener, self.traits))
    }
}

/// By listener, then by mount point, then by time.
impl RunItem for StoredSession {
    type Key = (u64, MountId, u64);
    type Bytes = [u8; 20];

    fn key(self) -> Self::Key {
        (self.listener, self.traits.mount, self.time.get())
    }

    fn prefix(self) -> u64 {
        self.listener
    }

    fn to_bytes(self) -> Self::Bytes {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.listener.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.get().to_le_bytes());
        bytes[16..].copy_from_slice(&self.traits.to_bytes());
        bytes
    }

    fn read_all(bytes: &[u8], sessions: &mut Vec<Self>) {
        let (all, _) = bytes.as_chunks::<20>();
        sessions.extend(all.iter().map(|bytes| {
            let (numbers, traits) = bytes.split_at(16);
            let (numbers, _) = numbers.as_chunks();
            let (traits, _) = traits.as_chunks();
            let time = u64::from_le_bytes(numbers[1]);
            Self {
                listener: u64::from_le_bytes(numbers[0]),
                time: NonZeroU64::new(time).unwrap_or(NonZeroU64::MIN),
                traits: SessionTraits::from_bytes(traits[0]),
            }
        }));
    }
}

/// A session without its listener. The number above the [`SECONDS_BITS`] or [`TIME_BITS`] decides
/// the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedSession<const LOW_BITS: u32> {
    numbers: u64,
    pub traits: SessionTraits,
}

/// By start or end.
pub type TimedSession = KeyedSession<SECONDS_BITS>;

/// By seconds.
pub type MeasuredSession = KeyedSession<TIME_BITS>;

impl TimedSession {
    /// Start, then seconds.
    fn by_start(session: &StoredSession) -> Self {
        Self {
            numbers: session.time.get(),
            traits: session.traits,
        }
    }

    /// End, then seconds.
    fn by_end(session: &StoredSession) -> Self {
        Self {
            numbers: session.end().unsigned_abs() << SECONDS_BITS | session.seconds(),
            traits: session.traits,
        }
    }

    /// Start or end, and seconds.
    pub fn time_and_seconds(self) -> (i64, u64) {
        (self.high().cast_signed(), self.low())
    }
}

impl MeasuredSession {
    /// Seconds, then start.
    fn by_seconds(session: &StoredSession) -> Self {
        Self {
            numbers: session.seconds() << TIME_BITS | session.start().unsigned_abs(),
            traits: session.traits,
        }
    }

    pub fn seconds_and_start(self) -> (u64, i64) {
        (self.high(), self.low().cast_signed())
    }
}

impl<const LOW_BITS: u32> KeyedSession<LOW_BITS> {
    fn high(self) -> u64 {
        self.numbers >> LOW_BITS
    }

    fn low(self) -> u64 {
        self.numbers & ((1 << LOW_BITS) - 1)
    }
}

impl<const LOW_BITS: u32> RunItem for KeyedSession<LOW_BITS> {
    type Key = u64;
    type Bytes = [u8; 12];

    fn key(self) -> u64 {
        self.high()
    }

    fn prefix(self) -> u64 {
        self.high()
    }

    fn to_bytes(self) -> Self::Bytes {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.numbers.to_le_bytes());
        bytes[8..].copy_from_slice(&self.traits.to_bytes());
        bytes
    }

    fn read_all(bytes: &[u8], sessions: &mut Vec<Self>) {
        let (all, _) = bytes.as_chunks::<12>();
        sessions.extend(all.iter().map(|bytes| {
            let (numbers, traits) = bytes.split_at(8);
            let ((numbers, _), (traits, _)) = (numbers.as_chunks(), traits.as_chunks());
            Self {
                numbers: u64::from_le_bytes(numbers[0]),
                traits: SessionTraits::from_bytes(traits[0]),
            }
        }));
    }
}

/// All sessions, to be read in several orders.
#[derive(Debug)]
pub struct SessionStore {
    /// The last run, in the order in which they were added.
    recent: Vec<StoredSession>,
    /// The runs before it.
    spilled: Spilled,
    run_sessions: usize,
    range: Option<Range<i64>>,
}

/// Sorted runs, a file for each order.
#[derive(Debug, Default)]
struct Spilled {
    by_start: RunFile,
    by_end: RunFile,
    by_seconds: RunFile,
    by_listener: RunFile,
}

impl Default for SessionStore {
    fn default() -> Self {
        Self::new(RUN_SESSIONS)
    }
}

impl SessionStore {
    fn new(run_sessions: usize) -> Self {
        Self {
            recent: Vec::new(),
            spilled: Spilled::default(),
            run_sessions,
            range: None,
        }
    }

    /// From the first start to the last end, in seconds since 1970, UTC.
    pub fn range(&self) -> Option<Range<i64>> {
        self.range.clone()
    }

    /// Adds a session.
    ///
    /// # Errors
    ///
    /// A temporary file cannot be written.
    pub fn push(&mut self, session: StoredSession) -> io::Result<()> {
        if self.recent.len() == self.run_sessions {
            self.spill()?;
        }
        self.recent.push(session);
        let (start, end) = (session.start(), session.end());
        let range = self.range.get_or_insert(start..end);
        *range = range.start.min(start)..range.end.max(end);
        Ok(())
    }

    /// Prepares for reading after the last [`Self::push`].
    ///
    /// # Errors
    ///
    /// A temporary file cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.spilled.by_start.is_empty() && !self.recent.is_empty() {
            self.spill()?;
            self.recent = Vec::new();
        }
        Ok(())
    }

    /// Moves the last run to the files.
    fn spill(&mut self) -> io::Result<()> {
        let Self {
            recent, spilled, ..
        } = self;
        append_sorted(&mut spilled.by_start, recent, TimedSession::by_start)?;
        append_sorted(&mut spilled.by_end, recent, TimedSession::by_end)?;
        append_sorted(&mut spilled.by_seconds, recent, MeasuredSession::by_seconds)?;
        sort(recent, &mut Vec::new());
        spilled.by_listener.append(recent)?;
        recent.clear();
        Ok(())
    }

    fn merged<const LOW_BITS: u32>(
        &self,
        file: impl FnOnce(&Spilled) -> &RunFile,
        keyed: fn(&StoredSession) -> KeyedSession<LOW_BITS>,
    ) -> io::Result<Merge<'_, KeyedSession<LOW_BITS>>> {
        let file = file(&self.spilled);
        if !file.is_empty() {
            return file.merged();
        }
        let mut sessions: Vec<_> = self.recent.iter().map(keyed).collect();
        sort(&mut sessions, &mut Vec::new());
        Ok(Merge::of_one(sessions))
    }

    /// All sessions with their starts, the earliest first. Call [`Self::finish`] before.
    ///
    /// # Errors
    ///
    /// A temporary file cannot be read.
    pub fn by_start(&self) -> io::Result<Merge<'_, TimedSession>> {
        self.merged(|spilled| &spilled.by_start, TimedSession::by_start)
    }

    /// All sessions with their ends, the earliest first. See [`Self::by_start`].
    pub fn by_end(&self) -> io::Result<Merge<'_, TimedSession>> {
        self.merged(|spilled| &spilled.by_end, TimedSession::by_end)
    }

    /// All sessions, the shortest first. See [`Self::by_start`].
    pub fn by_seconds(&self) -> io::Result<Merge<'_, MeasuredSession>> {
        self.merged(|spilled| &spilled.by_seconds, MeasuredSession::by_seconds)
    }

    /// All sessions, those of a listener one after the other, by mount point and start. See
    /// [`Self::by_start`].
    pub fn by_listener(&self) -> io::Result<Merge<'_, StoredSession>> {
        if !self.spilled.by_listener.is_empty() {
            return self.spilled.by_listener.merged();
        }
        let mut sessions = self.recent.clone();
        sort(&mut sessions, &mut Vec::new());
        Ok(Merge::of_one(sessions))
    }
}

/// Appends a run of all sessions in an order.
fn append_sorted<const LOW_BITS: u32>(
    file: &mut RunFile,
    sessions: &[StoredSession],
    keyed: fn(&StoredSession) -> KeyedSession<LOW_BITS>,
) -> io::Result<()> {
    let mut sessions: Vec<_> = sessions.iter().map(keyed).collect();
    sort(&mut sessions, &mut Vec::new());
    file.append(&sessions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-05-14 00:00:00, UTC.
    const START: i64 = 1_715_644_800;

    fn stored(start: i64, seconds: u64, listener: u64, mount: MountId) -> StoredSession {
        let session = Session::new(START + start, seconds).unwrap();
        let country = CountryCode::read(&[b'A' + (listener % 26) as u8, b'T']);
        let traits = SessionTraits::new(mount, Player::of(b"VLC/3.0")).in_country(country);
        StoredSession::new(session, listener, traits)
    }

    fn sessions() -> impl Strategy<Value = Vec<StoredSession>> {
        let listener = prop_oneof![0..50u64, any::<u64>()];
        let session = (0..100_000i64, 0..=2_592_000u64, listener, 0..=OTHERS);
        let session = session
            .prop_map(|(start, seconds, listener, mount)| stored(start, seconds, listener, mount));
        prop::collection::vec(session, 0..200)
    }

    fn all<T: RunItem>(mut merge: Merge<T>) -> Vec<T> {
        let mut items = Vec::new();
        loop {
            let next = merge.peek().map(|item| item.key());
            let Some(item) = merge.take_next().unwrap() else {
                assert!(next.is_none());
                return items;
            };
            assert!(next == Some(item.key()));
            items.push(item);
        }
    }

    /// All that sessions hold, in any order.
    fn numbers<const LOW_BITS: u32>(
        sessions: impl IntoIterator<Item = KeyedSession<LOW_BITS>>,
    ) -> Vec<(u64, [u8; 4])> {
        let sessions = sessions.into_iter();
        let mut all: Vec<_> = sessions
            .map(|it| (it.numbers, it.traits.to_bytes()))
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_session_takes_24_bytes() {
        assert_eq!(size_of::<StoredSession>(), 24);
        assert_eq!(size_of::<TimedSession>(), 16);
    }

    #[test]
    fn the_longest_and_last_session_fits_its_keys() {
        let last = Session::new(253_402_300_799 - 2_592_000, 2_592_000).unwrap();
        let traits = SessionTraits::new(OTHERS, Player::Unknown);
        let traits = traits.in_country(CountryCode::read(b"ZZ"));
        let last = StoredSession::new(last, u64::MAX, traits);
        let (start, end) = (last.start(), last.end());
        let by_start = TimedSession::by_start(&last).time_and_seconds();
        assert_eq!(by_start, (start, 2_592_000));
        assert_eq!(
            TimedSession::by_end(&last).time_and_seconds(),
            (end, 2_592_000)
        );
        let by_seconds = MeasuredSession::by_seconds(&last).seconds_and_start();
        assert_eq!(by_seconds, (2_592_000, start));
        assert_eq!(traits.mount(), OTHERS);
        assert_eq!(
            traits.country(),
            CountryCode::number(CountryCode::read(b"ZZ"))
        );
        assert_eq!(traits.player(), Player::Unknown.number());
    }

    proptest! {
        #[test]
        fn bytes_hold_a_whole_session(sessions in sessions()) {
            for session in sessions {
                let mut read = Vec::new();
                StoredSession::read_all(&session.to_bytes(), &mut read);
                prop_assert_eq!(&read, &[session]);
                let (mut read, keyed) = (Vec::new(), MeasuredSession::by_seconds(&session));
                MeasuredSession::read_all(&keyed.to_bytes(), &mut read);
                prop_assert_eq!(&read, &[keyed]);
            }
        }

        #[test]
        fn any_number_of_runs_is_read_in_every_order(
            mut sessions in sessions(), run_sessions in 1..100usize,
        ) {
            let mut store = SessionStore::new(run_sessions);
            for session in &sessions {
                store.push(*session).unwrap();
            }
            store.finish().unwrap();
            let starts = all(store.by_start().unwrap());
            let ends = all(store.by_end().unwrap());
            let lengths = all(store.by_seconds().unwrap());
            prop_assert!(starts.is_sorted_by_key(|it| it.key()));
            prop_assert!(ends.is_sorted_by_key(|it| it.key()));
            prop_assert!(lengths.is_sorted_by_key(|it| it.key()));
            prop_assert_eq!(numbers(starts), numbers(sessions.iter().map(TimedSession::by_start)));
            prop_assert_eq!(numbers(ends), numbers(sessions.iter().map(TimedSession::by_end)));
            prop_assert_eq!(
                numbers(lengths), numbers(sessions.iter().map(MeasuredSession::by_seconds))
            );
            sessions.sort_unstable_by_key(|session| session.key());
            prop_assert_eq!(all(store.by_listener().unwrap()), sessions);
        }
    }
}
