//! The listening figures of a run. Every summary and every report file shows these
//! (guide/listening.md, "Measures").

use std::collections::BTreeMap;
use std::ops::Range;

use super::calendar::{Period, ReportZone};

/// The figures of all groups of listeners, and what they leave out.
#[derive(Clone, Debug, PartialEq)]
pub struct ListeningFigures {
    pub zone: ReportZone,
    /// From the midnight before the first session to the midnight after the last one, in seconds
    /// since 1970, UTC. Empty if there are no sessions.
    pub range: Range<i64>,
    /// `--minimum-session`, in seconds.
    pub min_session: u64,
    /// All listeners first, then the groups of each kind, the one with the most seconds first.
    pub groups: Vec<GroupFigures>,
    /// Sessions by length, in the order of [`LENGTHS`].
    pub lengths: [u64; LENGTHS.len()],
    /// Sessions of unknown length. No other figure includes them.
    pub no_duration: u64,
    /// No other figure includes them.
    pub relays: RelayFigures,
    /// Sessions of other countries, with `--report-country`. No other figure includes them.
    pub other_countries: u64,
    /// Sessions that were joined to others, with `--merge-sessions`.
    pub merged: u64,
    /// `--report-country`
    pub country: Option<String>,
}

/// The classes of session lengths: the shortest that belongs to each, in seconds, and its name.
pub const LENGTHS: [(u64, &str); 9] = [
    (0, "under 1 min"),
    (60, "1 to 5 min"),
    (300, "5 to 15 min"),
    (900, "15 to 30 min"),
    (1800, "30 to 60 min"),
    (3600, "1 to 2 h"),
    (7200, "2 to 4 h"),
    (14_400, "4 to 8 h"),
    (28_800, "8 h or more"),
];

/// The lines of relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayFigures {
    /// Lines of connections to a stream.
    pub lines: u64,
    pub seconds: u64,
}

/// What the listeners of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// Nothing: all listeners.
    All,
    /// `--channel`, which may share mount points.
    Channel,
    /// One mount point each.
    Mount,
    /// By `--geoip-database`. These groups have no days, hours and weekdays.
    Country,
    /// By the user agent. These groups have no days, hours and weekdays.
    Player,
}

/// The figures of a group of listeners in each period.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupFigures {
    pub kind: GroupKind,
    /// As in the log, not cleaned. Empty for all listeners, and for the mount points without
    /// figures of their own, if there are too many.
    pub name: String,
    /// Periods without listeners are missing, except the total.
    pub periods: BTreeMap<Period, Measures>,
}

/// The figures of a group in one period (guide/listening.md, "Measures").
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// The length of the period in seconds. For an hour of the day or the week, all its
    /// occurrences within the report together.
    pub period_seconds: u64,
    /// Seconds listened in the period.
    pub seconds: u64,
    /// Sessions that began in the period.
    pub sessions: u64,
    /// Those of them that took at least `--minimum-session`.
    pub long_sessions: u64,
    /// The seconds of the sessions that began in the period, including those after its end.
    pub session_seconds: u64,
    /// The median of the lengths of these sessions, in seconds.
    pub median: f64,
    /// Distinct listeners who listened in the period.
    pub listeners: u64,
    /// The largest number of listeners at the same time in the period.
    pub peak: u64,
    /// When the peak was first reached, in seconds since 1970, UTC. `None` if it is 0.
    pub peak_at: Option<i64>,
}

impl ListeningFigures {
    /// The figures of all listeners together.
    pub fn all(&self) -> Option<&GroupFigures> {
        self.of(GroupKind::All).next()
    }

    /// Whether the log has no listeners.
    pub fn is_empty(&self) -> bool {
        let total = self.all().map(GroupFigures::total).unwrap_or_default();
        let left_out = self.no_duration + self.relays.lines + self.other_countries;
        total.sessions == 0 && total.seconds == 0 && left_out == 0
    }

    /// The groups of a kind.
    pub fn of(&self, kind: GroupKind) -> impl Iterator<Item = &GroupFigures> {
        self.groups.iter().filter(move |group| group.kind == kind)
    }
}

impl GroupFigures {
    pub fn total(&self) -> Measures {
        let total = self.periods.get(&Period::Total);
        total.copied().unwrap_or_default()
    }
}

impl Measures {
    /// Aggregate tuning hours (ATH), also total listening hours (TLH).
    pub fn hours(&self) -> f64 {
        self.seconds as f64 / 3600.0
    }

    /// Average length of the sessions that began in the period, in seconds; 0 without any.
    pub fn average_session(&self) -> f64 {
        ratio(self.session_seconds as f64, self.sessions)
    }

    /// Average number of listeners at a time (AAS): hours listened per hour of the period.
    pub fn average_listeners(&self) -> f64 {
        ratio(self.seconds as f64, self.period_seconds)
    }

    /// Time spent listening (TSL): hours per unique listener; 0 without any.
    pub fn hours_per_listener(&self) -> f64 {
        ratio(self.hours(), self.listeners)
    }
}

fn ratio(number: f64, by: u64) -> f64 {
    match by {
        0 => 0.0,
        by => number / by as f64,
    }
}
