//! The listening figures of a run, collected session by session.
//!
//! All figures are exact up to a million sessions, in 40 MB. Above that, memory stays bounded:
//! medians and distinct listeners are estimated within 1 %. Sessions, seconds and days stay exact,
//! and so do peaks if the sessions come in about the order of the log; a peak that may be too low
//! is marked.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::distribution::Distribution;
use super::peak::PeakTracker;
use super::report::{DayReport, ListeningReport, MountReport, RelayReport};
use super::session::Session;

/// Number of a mount point: below [`MAX_MOUNTS`], [`OTHERS`] or [`ALL`]. Takes 10 bits.
pub type MountId = u16;

/// Maximum number of mount points with figures of their own. Clients can make a log name any
/// number.
const MAX_MOUNTS: usize = 1000;

/// Maximum bytes of a mount point's name. A longer one gets no figures of its own.
const MAX_NAME_BYTES: usize = 1024;

/// All mount points without figures of their own.
pub const OTHERS: MountId = MAX_MOUNTS as MountId;

/// All mount points together.
pub const ALL: MountId = OTHERS + 1;

/// Maximum number of days that are kept: the last ones with listeners.
const MAX_DAYS: usize = 366;

/// Seconds.
pub const DAY: i64 = 86_400;

#[derive(Debug, Default)]
pub struct ListeningStats {
    mounts: Mounts,
    /// By mount point.
    totals: Vec<MountTotal>,
    distribution: Distribution,
    peaks: PeakTracker,
    days: DailySeconds,
    no_duration: u64,
    relays: RelayReport,
}

#[derive(Clone, Copy, Debug, Default)]
struct MountTotal {
    sessions: u64,
    seconds: u64,
}

impl ListeningStats {
    /// Adds a session. `mount` is the path in the log, without its query. `listener` is a hash that
    /// identifies the listener, for example of address and agent.
    pub fn add(&mut self, mount: &[u8], session: Session, listener: u64) {
        let mount = self.mounts.id(mount);
        let index = usize::from(mount);
        if index >= self.totals.len() {
            self.totals.resize(index + 1, MountTotal::default());
        }
        self.totals[index].add(session.seconds());
        self.distribution.add(mount, session.seconds(), listener);
        self.peaks.add(mount, session);
        self.days.add(mount, session);
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

    /// All figures so far. Takes half a second for a million sessions.
    pub fn report(&mut self) -> ListeningReport {
        let distribution = self.distribution.figures();
        let peaks = self.peaks.peaks();
        let report = |mount: MountId, total: MountTotal| {
            let distribution = distribution.get(&mount);
            MountReport {
                sessions: total.sessions,
                seconds: total.seconds,
                median: distribution.map_or(0.0, |figures| figures.median),
                listeners: distribution.map_or(0, |figures| figures.listeners),
                peak: peaks.get(&mount).copied().unwrap_or_default(),
            }
        };
        let mut mounts: Vec<_> = self
            .mounts
            .names()
            .map(|(mount, name)| (mount, name.to_vec(), report(mount, self.total(mount))))
            .collect();
        mounts.sort_unstable_by(|(_, a_name, a), (_, b_name, b)| {
            (b.seconds, b.sessions, a_name).cmp(&(a.seconds, a.sessions, b_name))
        });
        let days = self
            .days
            .iter()
            .map(|(day, seconds)| DayReport {
                day,
                seconds: seconds.values().sum(),
                mounts: mounts
                    .iter()
                    .map(|(mount, ..)| seconds.get(mount).copied().unwrap_or_default())
                    .collect(),
            })
            .collect();
        let others = self.total(OTHERS);
        let mut all = MountTotal::default();
        for total in &self.totals {
            all.sessions += total.sessions;
            all.seconds = all.seconds.saturating_add(total.seconds);
        }
        ListeningReport {
            all: report(ALL, all),
            others: (others.sessions > 0).then(|| report(OTHERS, others)),
            mounts: mounts
                .into_iter()
                .map(|(_, name, report)| (name, report))
                .collect(),
            days,
            estimated: self.distribution.is_estimated(),
            no_duration: self.no_duration,
            relays: self.relays,
        }
    }

    fn total(&self, mount: MountId) -> MountTotal {
        self.totals
            .get(usize::from(mount))
            .copied()
            .unwrap_or_default()
    }
}

impl MountTotal {
    fn add(&mut self, seconds: u64) {
        self.sessions += 1;
        self.seconds = self.seconds.saturating_add(seconds);
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

/// Seconds listened by mount point, by day UTC, counted from 1970.
#[derive(Debug, Default)]
struct DailySeconds {
    days: BTreeMap<i64, BTreeMap<MountId, u64>>,
}

impl DailySeconds {
    /// Divides the session at midnight.
    fn add(&mut self, mount: MountId, session: Session) {
        let (mut from, end) = (session.start(), session.end());
        while from < end {
            let day = from.div_euclid(DAY);
            let until = end.min((day + 1) * DAY);
            self.add_seconds(day, mount, (until - from).unsigned_abs());
            from = until;
        }
    }

    /// The days in order, and the seconds of each by mount point.
    fn iter(&self) -> impl Iterator<Item = (i64, &BTreeMap<MountId, u64>)> {
        self.days.iter().map(|(day, seconds)| (*day, seconds))
    }

    fn add_seconds(&mut self, day: i64, mount: MountId, seconds: u64) {
        if self.days.len() == MAX_DAYS
            && !self.days.contains_key(&day)
            && let Some(first) = self.days.first_entry()
        {
            // Never add a removed day again: its seconds would be incomplete.
            if day < *first.key() {
                return;
            }
            first.remove();
        }
        let sum = self.days.entry(day).or_default().entry(mount).or_default();
        *sum = sum.saturating_add(seconds);
    }
}

#[cfg(test)]
mod tests;
