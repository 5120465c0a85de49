//! Measures all groups of listeners in all periods, in three passes over the sessions of a run:
//! in order of time, of length and of listener. Memory depends on the number of groups and
//! periods, not on that of sessions.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use chrono::NaiveDate;
use foldhash::fast::RandomState;

use super::calendar::{ClockHour, HOUR, Period, ReportZone};
use super::channel::Channel;
use super::country::CountryCode;
use super::figures::{GroupFigures, GroupKind, LENGTHS, Measures};
use super::player::Player;
use super::session_store::{MountId, SessionStore, StoredSession};

/// Maximum number of days of all groups together that have figures: those of ten mount points over
/// 80 years. Of more, the first days have none.
const MAX_DAY_CELLS: usize = 300_000;

/// Maximum number of hours whose periods are remembered: 22 years.
const MAX_CACHED_HOURS: usize = 200_000;

/// The measures of all groups.
pub struct Measured {
    pub groups: Vec<GroupFigures>,
    /// See [`ListeningFigures::range`](super::figures::ListeningFigures::range).
    pub range: Range<i64>,
    pub lengths: [u64; LENGTHS.len()],
}

/// Measures all groups.
///
/// `min_session` is `--minimum-session`, in seconds.
///
/// # Errors
///
/// The temporary files of the sessions cannot be read or written.
pub fn measure(
    sessions: &mut SessionStore,
    groups: Groups,
    zone: ReportZone,
    min_session: u64,
) -> io::Result<Measured> {
    let range = sessions.range().map_or(0..0, |range| {
        let day = |time| zone.local(time).date();
        let last = day((range.end - 1).max(range.start));
        zone.start_of(day(range.start))..zone.end_of(last)
    });
    let mut measurement = Measurement {
        cells: Cells::default(),
        periods: PeriodTable::new(zone, &range, groups.with_days()),
        groups,
        lengths: Default::default(),
        members: Vec::new(),
    };
    measurement.listening(sessions, min_session)?;
    measurement.lengths(sessions)?;
    measurement.listeners(sessions)?;
    Ok(measurement.finish(range))
}

/// Index of a group.
type GroupId = u32;

/// The groups of listeners, and which sessions belong to them.
pub struct Groups {
    groups: Vec<(GroupKind, String)>,
    /// All listeners, the mount point and its channels, by mount point.
    of_mount: Vec<Vec<GroupId>>,
    /// `None` without `--geoip-database`.
    of_country: Option<HashMap<Option<CountryCode>, GroupId, RandomState>>,
    of_player: HashMap<Player, GroupId, RandomState>,
}

impl Groups {
    /// `mounts` are the numbers and names of all mount points.
    pub fn new<'m>(
        mounts: impl Iterator<Item = (MountId, &'m [u8])>,
        channels: &[Channel],
        has_countries: bool,
    ) -> Self {
        let mut groups = vec![(GroupKind::All, String::new())];
        let names = channels.iter().map(|channel| channel.name.clone());
        groups.extend(names.map(|name| (GroupKind::Channel, name)));
        let mut of_mount: Vec<Vec<GroupId>> = Vec::new();
        for (mount, name) in mounts {
            let mut of_this = vec![0, groups.len() as GroupId];
            // The channels follow the group of all.
            let channels = (1..).zip(channels);
            of_this.extend(channels.filter_map(|(id, it)| it.contains(name).then_some(id)));
            let index = usize::from(mount);
            if of_mount.len() <= index {
                of_mount.resize(index + 1, Vec::new());
            }
            of_mount[index] = of_this;
            let name = String::from_utf8_lossy(name).into_owned();
            groups.push((GroupKind::Mount, name));
        }
        Self {
            groups,
            of_mount,
            of_country: has_countries.then(HashMap::default),
            of_player: HashMap::default(),
        }
    }

    /// Sets `members` to the groups of a session.
    fn collect(&mut self, session: StoredSession, members: &mut Vec<GroupId>) {
        members.clear();
        match self.of_mount.get(usize::from(session.mount())) {
            Some(of_mount) => members.extend_from_slice(of_mount),
            None => members.push(0),
        }
        let groups = &mut self.groups;
        let mut add = |kind, name: &dyn Fn() -> String| {
            groups.push((kind, name()));
            groups.len() as GroupId - 1
        };
        if let Some(of_country) = &mut self.of_country {
            let country = session.country();
            let name = || country.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            let id = *of_country
                .entry(country)
                .or_insert_with(|| add(GroupKind::Country, &name));
            members.push(id);
        }
        let player = session.player();
        let id = *self
            .of_player
            .entry(player)
            .or_insert_with(|| add(GroupKind::Player, &|| player.name().to_owned()));
        members.push(id);
    }

    /// Whether the days and hours of a group are measured, not only its total and its months.
    fn has_days(&self, group: GroupId) -> bool {
        has_days(self.groups[group as usize].0)
    }

    /// The number of groups with days.
    fn with_days(&self) -> usize {
        let kinds = self.groups.iter().map(|(kind, _)| *kind);
        kinds.filter(|kind| has_days(*kind)).count()
    }
}

fn has_days(kind: GroupKind) -> bool {
    matches!(kind, GroupKind::All | GroupKind::Channel | GroupKind::Mount)
}

/// Number of a period.
type PeriodId = u32;

/// Total and month, which all groups have.
const COARSE_PERIODS: usize = 2;

/// A day without figures.
const NO_PERIOD: PeriodId = PeriodId::MAX;

/// Numbers the periods.
struct PeriodTable {
    zone: ReportZone,
    first_day: NaiveDate,
    periods: Vec<Period>,
    ids: HashMap<Period, PeriodId, RandomState>,
    /// By [`ReportZone::hour_key`].
    hours: HashMap<i64, HourPeriods, RandomState>,
}

#[derive(Clone, Copy)]
struct HourPeriods {
    end: i64,
    ids: [PeriodId; 5],
}

impl PeriodTable {
    fn new(zone: ReportZone, range: &Range<i64>, groups: usize) -> Self {
        let days = (MAX_DAY_CELLS / groups.max(1)) as i64;
        let first = range.end.saturating_sub(days * 24 * HOUR);
        Self {
            zone,
            first_day: zone.local(first.max(range.start)).date(),
            periods: Vec::new(),
            ids: HashMap::default(),
            hours: HashMap::default(),
        }
    }

    fn of_hour(&mut self, hour: ClockHour) -> HourPeriods {
        let ids = hour.periods().map(|period| match period {
            Period::Day(day) if day < self.first_day => NO_PERIOD,
            period => *self.ids.entry(period).or_insert_with(|| {
                self.periods.push(period);
                self.periods.len() as PeriodId - 1
            }),
        });
        HourPeriods { end: hour.end, ids }
    }

    /// The periods of a time in seconds since 1970, UTC.
    fn at(&mut self, time: i64) -> HourPeriods {
        let key = self.zone.hour_key(time);
        if let Some(hour) = self.hours.get(&key) {
            return *hour;
        }
        if self.hours.len() == MAX_CACHED_HOURS {
            self.hours.clear();
        }
        let hour = self.of_hour(self.zone.clock_hour(time));
        self.hours.insert(key, hour);
        hour
    }
}

/// The figures of a group in a period.
#[derive(Clone, Copy, Default)]
struct Cell {
    measures: Measures,
    /// Sessions so far in order of length, and the two in the middle.
    seen: u64,
    middle: (u64, u64),
    /// Number of the last listener, from 1.
    last_listener: u64,
}

/// The cells that are not empty.
#[derive(Default)]
struct Cells {
    cells: Vec<Cell>,
    /// Index of the cell by group and period.
    index: Vec<Vec<u32>>,
}

const NO_CELL: u32 = u32::MAX;

impl Cells {
    fn find(&mut self, group: GroupId, period: PeriodId) -> Option<&mut Cell> {
        let index = *self.index.get(group as usize)?.get(period as usize)?;
        self.cells.get_mut(index as usize)
    }

    fn find_or_add(&mut self, group: GroupId, period: PeriodId) -> &mut Cell {
        let (group, period) = (group as usize, period as usize);
        if self.index.len() <= group {
            self.index.resize(group + 1, Vec::new());
        }
        let of_group = &mut self.index[group];
        if of_group.len() <= period {
            of_group.resize(period + 1, NO_CELL);
        }
        if of_group[period] == NO_CELL {
            of_group[period] = self.cells.len() as u32;
            self.cells.push(Cell::default());
        }
        &mut self.cells[of_group[period] as usize]
    }
}

struct Measurement {
    cells: Cells,
    periods: PeriodTable,
    groups: Groups,
    lengths: [u64; LENGTHS.len()],
    /// The groups of the session at hand.
    members: Vec<GroupId>,
}

impl Measurement {
    /// First pass: seconds, sessions and peaks.
    fn listening(&mut self, sessions: &mut SessionStore, min_session: u64) -> io::Result<()> {
        let mut starts = sessions.sorted_by_key(StoredSession::start)?.peekable();
        // Sessions of 0 seconds begin, but nothing is heard of them.
        let mut ends = sessions
            .sorted_by_key(StoredSession::end)?
            .filter(|session| !matches!(session, Ok(session) if session.seconds() == 0))
            .peekable();
        let mut sweep = Sweep::default();
        loop {
            // An error comes first.
            let next_start = starts
                .peek()
                .map(|it| it.as_ref().map_or(i64::MIN, |it| it.start()));
            let next_end = ends
                .peek()
                .map(|it| it.as_ref().map_or(i64::MIN, |it| it.end()));
            // Who leaves in a second is not there with those who come in it.
            let is_end = match (next_start, next_end) {
                (Some(start), Some(end)) => end <= start,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            let Some(session) = (if is_end { ends.next() } else { starts.next() }) else {
                break;
            };
            let session = session?;
            let time = if is_end {
                session.end()
            } else {
                session.start()
            };
            // A session that ends with an hour has no part in the next one.
            self.advance(&mut sweep, if is_end { time - 1 } else { time });
            self.groups.collect(session, &mut self.members);
            for group in &self.members {
                let load = sweep.load(*group);
                if is_end {
                    load.change(time, -1);
                    continue;
                }
                let measures = &mut load.measures;
                measures.sessions += 1;
                measures.long_sessions += u64::from(session.seconds() >= min_session);
                measures.session_seconds += session.seconds();
                if session.seconds() > 0 {
                    load.change(time, 1);
                }
            }
        }
        self.close_hour(&mut sweep);
        Ok(())
    }

    /// Closes the hours that end before a time or at it.
    fn advance(&mut self, sweep: &mut Sweep, time: i64) {
        while let Some(hour) = sweep.hour
            && hour.end <= time
        {
            self.close_hour(sweep);
            if sweep.active.is_empty() {
                break;
            }
            sweep.hour = Some(self.periods.zone.clock_hour(hour.end));
        }
        if sweep.hour.is_none() {
            sweep.hour = Some(self.periods.zone.clock_hour(time));
        }
    }

    /// Adds what happened in an hour to the cells of its periods.
    fn close_hour(&mut self, sweep: &mut Sweep) {
        let Some(hour) = sweep.hour.take() else {
            return;
        };
        let periods = self.periods.of_hour(hour).ids;
        let (cells, groups) = (&mut self.cells, &self.groups);
        let loads = &mut sweep.loads;
        sweep.active.retain(|group| {
            let load = &mut loads[*group as usize];
            load.change(hour.end, 0);
            let count = match groups.has_days(*group) {
                true => periods.len(),
                false => COARSE_PERIODS,
            };
            for period in periods[..count].iter().filter(|id| **id != NO_PERIOD) {
                cells
                    .find_or_add(*group, *period)
                    .measures
                    .add(&load.measures);
            }
            load.start_hour(hour.end)
        });
    }

    /// Second pass: the medians, and the classes of lengths.
    fn lengths(&mut self, sessions: &mut SessionStore) -> io::Result<()> {
        for session in sessions.sorted_by_key(StoredSession::seconds)? {
            let session = session?;
            let seconds = session.seconds();
            let class = LENGTHS.partition_point(|(shortest, _)| *shortest <= seconds);
            self.lengths[class.saturating_sub(1)] += 1;
            let periods = self.periods.at(session.start()).ids;
            self.groups.collect(session, &mut self.members);
            for group in &self.members {
                for period in periods {
                    if let Some(cell) = self.cells.find(*group, period) {
                        let last = cell.measures.sessions.saturating_sub(1);
                        if cell.seen == last / 2 {
                            cell.middle.0 = seconds;
                        }
                        if cell.seen == last.div_ceil(2) {
                            cell.middle.1 = seconds;
                        }
                        cell.seen += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Third pass: distinct listeners.
    fn listeners(&mut self, sessions: &mut SessionStore) -> io::Result<()> {
        let mut number = 0;
        let mut listener = None;
        for session in sessions.sorted_by_key(StoredSession::listener)? {
            let session = session?;
            if listener != Some(session.listener()) {
                listener = Some(session.listener());
                number += 1;
            }
            self.groups.collect(session, &mut self.members);
            let mut counted = [NO_PERIOD; 5];
            let mut time = session.start();
            loop {
                let hour = self.periods.at(time);
                for (period, counted) in hour.ids.iter().zip(&mut counted) {
                    if *counted == *period {
                        continue;
                    }
                    *counted = *period;
                    for group in &self.members {
                        if let Some(cell) = self.cells.find(*group, *period)
                            && cell.last_listener != number
                        {
                            cell.last_listener = number;
                            cell.measures.listeners += 1;
                        }
                    }
                }
                time = hour.end;
                if time >= session.end() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn finish(self, range: Range<i64>) -> Measured {
        let lengths = PeriodLengths::new(self.periods.zone, &range);
        let index = self.cells.index.iter();
        let cells = &self.cells.cells;
        let mut groups: Vec<_> = index
            .zip(&self.groups.groups)
            .map(|(index, (kind, name))| {
                let periods = self.periods.periods.iter().zip(index);
                let periods = periods.filter_map(|(period, cell)| {
                    let cell = cells.get(*cell as usize)?;
                    let measures = Measures {
                        period_seconds: lengths.of(*period),
                        median: f64::midpoint(cell.middle.0 as f64, cell.middle.1 as f64),
                        ..cell.measures
                    };
                    Some((*period, measures))
                });
                GroupFigures {
                    kind: *kind,
                    name: name.clone(),
                    periods: periods.collect(),
                }
            })
            .filter(|group| !group.periods.is_empty())
            .collect();
        groups.sort_by_cached_key(|group| {
            let total = group.total();
            // The mount points without figures of their own come last.
            let is_rest = group.kind == GroupKind::Mount && group.name.is_empty();
            let size = std::cmp::Reverse((total.seconds, total.sessions));
            (group.kind, is_rest, size, group.name.clone())
        });
        Measured {
            groups,
            range,
            lengths: self.lengths,
        }
    }
}

impl Measures {
    /// Adds what happened in a later part of the period.
    fn add(&mut self, part: &Measures) {
        self.seconds += part.seconds;
        self.sessions += part.sessions;
        self.long_sessions += part.long_sessions;
        self.session_seconds += part.session_seconds;
        if part.peak > self.peak {
            (self.peak, self.peak_at) = (part.peak, part.peak_at);
        }
    }
}

/// The state of the first pass.
#[derive(Default)]
struct Sweep {
    /// The hour at hand.
    hour: Option<ClockHour>,
    /// By group.
    loads: Vec<Load>,
    /// The groups with listeners or sessions in this hour.
    active: Vec<GroupId>,
}

/// The listeners of a group at a moment, and its measures in the hour so far.
#[derive(Clone, Default)]
struct Load {
    listeners: u64,
    /// The time of the last change.
    since: i64,
    measures: Measures,
    is_active: bool,
}

impl Sweep {
    fn load(&mut self, group: GroupId) -> &mut Load {
        let index = group as usize;
        if self.loads.len() <= index {
            self.loads.resize(index + 1, Load::default());
        }
        let load = &mut self.loads[index];
        if !load.is_active {
            load.is_active = true;
            self.active.push(group);
        }
        load
    }
}

impl Load {
    fn change(&mut self, time: i64, by: i64) {
        self.measures.seconds += self.listeners * time.abs_diff(self.since);
        self.since = time;
        self.listeners = self.listeners.saturating_add_signed(by);
        if self.listeners > self.measures.peak {
            self.measures.peak = self.listeners;
            self.measures.peak_at = Some(time);
        }
    }

    /// Returns whether there are listeners.
    fn start_hour(&mut self, time: i64) -> bool {
        self.measures = Measures {
            peak: self.listeners,
            peak_at: (self.listeners > 0).then_some(time),
            ..Measures::default()
        };
        self.is_active = self.listeners > 0;
        self.is_active
    }
}

/// The length of each period within the report, in seconds.
struct PeriodLengths {
    zone: ReportZone,
    range: Range<i64>,
    /// By weekday and hour.
    week_hours: [[u64; 24]; 7],
}

impl PeriodLengths {
    fn new(zone: ReportZone, range: &Range<i64>) -> Self {
        let mut week_hours = [[0; 24]; 7];
        let mut time = range.start;
        while time < range.end {
            let hour = zone.clock_hour(time);
            week_hours[usize::from(hour.weekday())][usize::from(hour.hour())] += hour.seconds();
            time = hour.end;
        }
        Self {
            zone,
            range: range.clone(),
            week_hours,
        }
    }

    fn of(&self, period: Period) -> u64 {
        let of_days = |first: NaiveDate, next: i64| {
            let start = self.zone.start_of(first).max(self.range.start);
            next.min(self.range.end)
                .saturating_sub(start)
                .max(0)
                .unsigned_abs()
        };
        match period {
            Period::Total => self.range.end.abs_diff(self.range.start),
            Period::Month(month) => of_days(month.first_day(), self.zone.start_of(month.next())),
            Period::Day(day) => of_days(day, self.zone.end_of(day)),
            Period::Hour(hour) => self
                .week_hours
                .iter()
                .map(|day| day[usize::from(hour)])
                .sum(),
            Period::WeekHour(day, hour) => self.week_hours[usize::from(day)][usize::from(hour)],
        }
    }
}
