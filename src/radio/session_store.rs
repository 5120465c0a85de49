//! All sessions of a run, to be read in any order, in bounded memory.
//!
//! Up to [`RUN_SESSIONS`] sessions are kept in memory. More are moved to a temporary file, run by
//! run; reading them sorts each run and merges the runs. So every figure is exact, whatever the
//! number and the order of the sessions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::country::CountryCode;
use super::player::Player;
use super::session::Session;

/// Number of a mount point: below [`MAX_MOUNTS`], or [`OTHERS`].
pub type MountId = u16;

/// Maximum number of mount points with figures of their own. Clients can make a log name any
/// number.
pub const MAX_MOUNTS: usize = 1000;

/// All mount points without figures of their own.
pub const OTHERS: MountId = MAX_MOUNTS as MountId;

/// Sessions of a run in memory: 6 MB.
const RUN_SESSIONS: usize = 250_000;

/// Sessions that are written at once: 96 KB.
const WRITE_SESSIONS: usize = 4096;

/// Sessions that are buffered for reading all runs of a file: 2.4 MB.
const MERGE_SESSIONS: usize = 100_000;

/// Bits of the seconds of a session, at most 30 days.
const SECONDS_BITS: u32 = 22;

const SESSION_BYTES: usize = 24;

/// A session, the listener, and what the groups of the figures depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSession {
    listener: u64,
    /// Start, which is after 1970, then [`SECONDS_BITS`] of seconds.
    time: NonZeroU64,
    mount: MountId,
    country: Option<CountryCode>,
    player: Player,
}

impl StoredSession {
    /// `listener` is a hash that identifies the listener.
    pub fn new(session: Session, listener: u64, mount: MountId, player: Player) -> Self {
        let time = session.start().unsigned_abs() << SECONDS_BITS | session.seconds();
        Self {
            listener,
            time: NonZeroU64::new(time).unwrap_or(NonZeroU64::MIN),
            mount,
            country: None,
            player,
        }
    }

    pub fn in_country(self, country: Option<CountryCode>) -> Self {
        Self { country, ..self }
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

    pub fn mount(self) -> MountId {
        self.mount
    }

    pub fn country(self) -> Option<CountryCode> {
        self.country
    }

    pub fn player(self) -> Player {
        self.player
    }

    /// This session and one that overlaps it, as one. `None` if they do not overlap, are of
    /// different listeners or mount points, or are too long together.
    pub fn merged(self, next: Self) -> Option<Self> {
        let is_same = (self.listener, self.mount) == (next.listener, next.mount);
        if !is_same || next.start() >= self.end() || self.start() >= next.end() {
            return None;
        }
        let start = self.start().min(next.start());
        let session = Session::new(start, self.end().max(next.end()).abs_diff(start))?;
        let merged = Self::new(session, self.listener, self.mount, self.player);
        Some(merged.in_country(self.country))
    }

    fn to_bytes(self) -> [u8; SESSION_BYTES] {
        let mut bytes = [0; SESSION_BYTES];
        bytes[..8].copy_from_slice(&self.listener.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.get().to_le_bytes());
        bytes[16..18].copy_from_slice(&self.mount.to_le_bytes());
        bytes[18..20].copy_from_slice(&self.country.map_or([0; 2], CountryCode::letters));
        bytes[20] = self.player.number();
        bytes
    }

    fn from_bytes(bytes: &[u8; SESSION_BYTES]) -> Self {
        let [
            l0,
            l1,
            l2,
            l3,
            l4,
            l5,
            l6,
            l7,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            rest @ ..,
        ] = *bytes;
        let [m0, m1, c0, c1, player, ..] = rest;
        let time = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        Self {
            listener: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            time: NonZeroU64::new(time).unwrap_or(NonZeroU64::MIN),
            mount: MountId::from_le_bytes([m0, m1]),
            country: CountryCode::read(&[c0, c1]),
            player: Player::from_number(player),
        }
    }
}

/// Sessions in the order in which they were added.
#[derive(Debug)]
pub struct SessionStore {
    /// Full runs.
    spilled: RunFile,
    /// The last run.
    recent: Vec<StoredSession>,
    run_sessions: usize,
    range: Option<Range<i64>>,
}

impl Default for SessionStore {
    fn default() -> Self {
        Self::new(RUN_SESSIONS)
    }
}

impl SessionStore {
    fn new(run_sessions: usize) -> Self {
        Self {
            spilled: RunFile::default(),
            recent: Vec::new(),
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
    /// The temporary file cannot be written.
    pub fn push(&mut self, session: StoredSession) -> io::Result<()> {
        if self.recent.len() == self.run_sessions {
            self.spilled.append(&self.recent)?;
            self.recent.clear();
        }
        self.recent.push(session);
        let (start, end) = (session.start(), session.end());
        let range = self.range.get_or_insert(start..end);
        *range = range.start.min(start)..range.end.max(end);
        Ok(())
    }

    /// All sessions in ascending order of a key.
    ///
    /// # Errors
    ///
    /// The temporary files cannot be read or written.
    pub fn sorted_by_key<K, F>(&mut self, key: F) -> io::Result<SortedSessions<K, F>>
    where
        K: Ord + Copy,
        F: Fn(StoredSession) -> K,
    {
        if !self.spilled.runs.is_empty() && !self.recent.is_empty() {
            self.spilled.append(&self.recent)?;
            self.recent = Vec::new();
        }
        let mut last = self.recent.clone();
        last.sort_unstable_by_key(|session| key(*session));
        let mut file = RunFile::default();
        for run in 0..self.spilled.runs.len() {
            let mut sessions = self.spilled.read(run)?;
            sessions.sort_unstable_by_key(|session| key(*session));
            file.append(&sessions)?;
        }
        let mut sorted = SortedSessions {
            buffer_sessions: (MERGE_SESSIONS / file.runs.len().max(1)).max(1),
            readers: Vec::new(),
            next: BinaryHeap::new(),
            file,
            key,
        };
        sorted.start(last)?;
        Ok(sorted)
    }
}

/// Runs of sessions, one after the other in a temporary file without a name.
#[derive(Debug, Default)]
struct RunFile {
    file: Option<File>,
    /// The sessions of each run.
    runs: Vec<usize>,
    bytes: u64,
}

impl RunFile {
    fn append(&mut self, sessions: &[StoredSession]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let file = self.file.insert(file);
        for sessions in sessions.chunks(WRITE_SESSIONS) {
            let bytes = sessions.iter().flat_map(|session| session.to_bytes());
            let bytes: Vec<u8> = bytes.collect();
            file.write_all_at(&bytes, self.bytes)?;
            self.bytes += bytes.len() as u64;
        }
        self.runs.push(sessions.len());
        Ok(())
    }

    fn read(&self, run: usize) -> io::Result<Vec<StoredSession>> {
        let first: usize = self.runs[..run].iter().sum();
        let mut sessions = Vec::with_capacity(self.runs[run]);
        while sessions.len() < self.runs[run] {
            let left = self.runs[run] - sessions.len();
            let some = self.read_range(first + sessions.len(), left.min(WRITE_SESSIONS))?;
            sessions.extend(some);
        }
        Ok(sessions)
    }

    fn read_range(&self, first: usize, sessions: usize) -> io::Result<Vec<StoredSession>> {
        let mut bytes = vec![0; sessions * SESSION_BYTES];
        if let Some(file) = &self.file {
            file.read_exact_at(&mut bytes, (first * SESSION_BYTES) as u64)?;
        }
        let (sessions, _) = bytes.as_chunks();
        Ok(sessions.iter().map(StoredSession::from_bytes).collect())
    }
}

/// Sessions in ascending order of a key.
pub struct SortedSessions<K, F> {
    file: RunFile,
    readers: Vec<RunReader>,
    /// The next session of each reader, by key and reader.
    next: BinaryHeap<Reverse<(K, usize)>>,
    buffer_sessions: usize,
    key: F,
}

/// The rest of a sorted run.
struct RunReader {
    buffered: std::vec::IntoIter<StoredSession>,
    /// The session at the top.
    current: Option<StoredSession>,
    /// Sessions of the file that are not buffered yet.
    first: usize,
    left: usize,
}

impl<K: Ord + Copy, F: Fn(StoredSession) -> K> SortedSessions<K, F> {
    fn start(&mut self, in_memory: Vec<StoredSession>) -> io::Result<()> {
        let mut first = 0;
        for sessions in self.file.runs.clone() {
            self.readers.push(RunReader {
                buffered: Vec::new().into_iter(),
                current: None,
                first,
                left: sessions,
            });
            first += sessions;
        }
        self.readers.push(RunReader {
            buffered: in_memory.into_iter(),
            current: None,
            first: 0,
            left: 0,
        });
        (0..self.readers.len()).try_for_each(|reader| self.advance(reader))
    }

    fn advance(&mut self, number: usize) -> io::Result<()> {
        let reader = &mut self.readers[number];
        if reader.buffered.len() == 0 && reader.left > 0 {
            let sessions = reader.left.min(self.buffer_sessions);
            reader.buffered = self.file.read_range(reader.first, sessions)?.into_iter();
            reader.first += sessions;
            reader.left -= sessions;
        }
        reader.current = reader.buffered.next();
        if let Some(session) = reader.current {
            self.next.push(Reverse(((self.key)(session), number)));
        }
        Ok(())
    }

    fn take_next(&mut self) -> io::Result<Option<StoredSession>> {
        // The usual case, without a heap.
        if let [only] = &mut self.readers[..] {
            let current = only.current.take();
            only.current = only.buffered.next();
            return Ok(current);
        }
        let Some(Reverse((_, reader))) = self.next.pop() else {
            return Ok(None);
        };
        let session = self.readers[reader].current;
        self.advance(reader)?;
        Ok(session)
    }
}

impl<K: Ord + Copy, F: Fn(StoredSession) -> K> Iterator for SortedSessions<K, F> {
    type Item = io::Result<StoredSession>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take_next().transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-05-14 00:00:00, UTC.
    const START: i64 = 1_715_644_800;

    fn stored(start: i64, seconds: u64, listener: u64, mount: MountId) -> StoredSession {
        let session = Session::new(START + start, seconds).unwrap();
        StoredSession::new(session, listener, mount, Player::of(b"VLC/3.0"))
    }

    fn sessions() -> impl Strategy<Value = Vec<StoredSession>> {
        let session = (0..100_000i64, 0..=2_592_000u64, 0..50u64, 0..=OTHERS);
        let session = session.prop_map(|(start, seconds, listener, mount)| {
            let country = CountryCode::read(&[b'A' + (listener % 26) as u8, b'T']);
            stored(start, seconds, listener, mount).in_country(country)
        });
        prop::collection::vec(session, 0..200)
    }

    #[test]
    fn a_session_takes_24_bytes() {
        assert_eq!(size_of::<StoredSession>(), SESSION_BYTES);
    }

    proptest! {
        #[test]
        fn bytes_hold_a_whole_session(all in sessions()) {
            for session in all {
                prop_assert_eq!(StoredSession::from_bytes(&session.to_bytes()), session);
            }
        }

        #[test]
        fn any_number_of_runs_is_sorted(all in sessions(), run_sessions in 1..100usize) {
            let mut store = SessionStore::new(run_sessions);
            for session in &all {
                store.push(*session).unwrap();
            }
            let key = |session: StoredSession| (session.mount(), session.seconds(), session.time);
            let sorted: Vec<_> = store.sorted_by_key(key).unwrap().map(Result::unwrap).collect();
            prop_assert!(sorted.is_sorted_by_key(|session| key(*session)));
            let (mut sorted, mut all) = (sorted, all);
            let whole = |session: &StoredSession| session.to_bytes();
            sorted.sort_unstable_by_key(whole);
            all.sort_unstable_by_key(whole);
            prop_assert_eq!(sorted, all);
        }
    }

    #[test]
    fn overlapping_sessions_of_a_listener_are_merged() {
        let one = stored(0, 100, 1, 0);
        assert_eq!(one.merged(stored(99, 10, 1, 0)), Some(stored(0, 109, 1, 0)));
        assert_eq!(one.merged(stored(10, 10, 1, 0)), Some(one));
        assert_eq!(stored(10, 10, 1, 0).merged(one), Some(one));
        for apart in [
            stored(100, 10, 1, 0),
            stored(50, 10, 2, 0),
            stored(50, 10, 1, 1),
        ] {
            assert_eq!(one.merged(apart), None);
        }
        let long = stored(0, 2_592_000, 1, 0);
        assert_eq!(long.merged(stored(100, 2_592_000, 1, 0)), None);
    }
}
