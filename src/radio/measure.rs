//! Measures all groups of listeners in all periods, in three passes over the sessions of a run:
//! in order of time, of length and of listener. The last one runs in a thread of its own. Memory
//! depends on the number of groups and periods, not on that of sessions.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::panic::resume_unwind;

use chrono::NaiveDate;
use foldhash::fast::RandomState;

use super::calendar::{ClockHour, HOUR, Period, ReportZone};
use super::country::CountryCode;
use super::figures::{GroupFigures, GroupKind, LENGTHS, Measures};
use super::options::ReportOptions;
use super::player::Player;
use super::session_store::{MountId, SessionStore, SessionTraits, StoredSession};

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
    sessions.finish()?;
    let sessions = &*sessions;
    let range = sessions.range().map_or(0..0, |range| {
        let day = |time| zone.local(time).date();
        let last = day((range.end - 1).max(range.start));
        zone.start_of(day(range.start))..zone.end_of(last)
    });
    let periods = || PeriodTable::new(zone, &range, groups.with_days());
    let listeners = || ListenerCount::new(sessions, &groups, periods());
    std::thread::scope(|scope| {
        // Counting the listeners takes as long as all the rest.
        let thread = std::thread::Builder::new().spawn_scoped(scope, listeners);
        let mut measurement = Measurement {
            cells: Cells::new(&groups),
            periods: periods(),
            groups: &groups,
            lengths: Default::default(),
        };
        measurement.listening(sessions, min_session)?;
        let middles = measurement.lengths(sessions)?;
        let listeners = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => listeners(),
        };
        Ok(measurement.finish(range.clone(), &middles, &listeners?))
    })
}

/// Index of a group.
type GroupId = u32;

/// The groups of listeners, and which sessions belong to them.
pub struct Groups {
    groups: Vec<(GroupKind, String)>,
    /// The mount point and its channels, by mount point.
    of_mount: Vec<Vec<GroupId>>,
    /// The group of the country with the number 0. `None` without `--geoip-database`.
    first_country: Option<GroupId>,
    /// The group of the player with the number 0.
    first_player: GroupId,
    depths: Depths,
}

/// The number of [`ClockHour::periods`].
const PERIODS: usize = 5;

/// How many of [`ClockHour::periods`] are measured.
struct Depths {
    all: usize,
    /// Of mount points and channels.
    mounts: usize,
    /// Of countries and players.
    others: usize,
}

impl Groups {
    /// `mounts` are the numbers and names of all mount points. See
    /// [`ReportOptions::summary_only`].
    pub fn new<'m>(
        mounts: impl Iterator<Item = (MountId, &'m [u8])>,
        options: &ReportOptions,
    ) -> Self {
        let channels = &options.channels;
        let has_countries = options.countries.is_some();
        let mut groups = vec![(GroupKind::All, String::new())];
        let names = channels.iter().map(|channel| channel.name.clone());
        groups.extend(names.map(|name| (GroupKind::Channel, name)));
        let mut of_mount: Vec<Vec<GroupId>> = Vec::new();
        for (mount, name) in mounts {
            let mut of_this = vec![groups.len() as GroupId];
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
        let first_player = groups.len() as GroupId;
        let players = Player::all().map(|player| player.name().to_owned());
        groups.extend(players.map(|name| (GroupKind::Player, name)));
        let first_country = has_countries.then_some(groups.len() as GroupId);
        if has_countries {
            let countries = (0..CountryCode::COUNT).map(CountryCode::from_number);
            let name = |code: CountryCode| code.to_string();
            let names = countries.map(|code| code.map_or_else(|| "unknown".to_owned(), name));
            groups.extend(names.map(|name| (GroupKind::Country, name)));
        }
        Self {
            groups,
            of_mount,
            first_country,
            first_player,
            depths: match options.summary_only {
                // Total, months and days of all listeners, and the totals of mount points.
                true => Depths {
                    all: 3,
                    mounts: 1,
                    others: 0,
                },
                // Countries and players have no days and hours.
                false => Depths {
                    all: PERIODS,
                    mounts: PERIODS,
                    others: 2,
                },
            },
        }
    }

    /// Visits the groups of a session that are measured, each with its depth.
    #[inline(always)]
    fn visit(&self, session: SessionTraits, mut visit: impl FnMut(GroupId, usize)) {
        let depths = &self.depths;
        visit(0, depths.all);
        let of_mount = self.of_mount.get(usize::from(session.mount()));
        for group in of_mount.into_iter().flatten() {
            visit(*group, depths.mounts);
        }
        if depths.others > 0 {
            visit(
                self.first_player + GroupId::from(session.player()),
                depths.others,
            );
            if let Some(first) = self.first_country {
                visit(first + GroupId::from(session.country()), depths.others);
            }
        }
    }

    fn depth(&self, group: GroupId) -> usize {
        match self.groups[group as usize].0 {
            GroupKind::All => self.depths.all,
            kind if has_days(kind) => self.depths.mounts,
            _ => self.depths.others,
        }
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

/// A day without figures.
const NO_PERIOD: PeriodId = PeriodId::MAX;

/// Numbers the periods.
struct PeriodTable {
    zone: ReportZone,
    first_day: NaiveDate,
    periods: Vec<Period>,
    ids: HashMap<Period, PeriodId, RandomState>,
    hours: Vec<KeyedHour>,
    /// Index in `hours` by the low bits of [`ReportZone::hour_key`].
    slots: Vec<u32>,
}

/// The periods of an hour.
#[derive(Clone, Copy)]
struct HourPeriods {
    end: i64,
    ids: [PeriodId; PERIODS],
}

struct KeyedHour {
    /// [`ReportZone::hour_key`]
    key: i64,
    periods: HourPeriods,
}

impl PeriodTable {
    fn new(zone: ReportZone, range: &Range<i64>, groups: usize) -> Self {
        let days = (MAX_DAY_CELLS / groups.max(1)) as i64;
        let first = range.end.saturating_sub(days * 24 * HOUR);
        let keys = zone
            .hour_key(range.end)
            .abs_diff(zone.hour_key(range.start)) as usize
            + 1;
        Self {
            zone,
            first_day: zone.local(first.max(range.start)).date(),
            periods: Vec::new(),
            ids: HashMap::default(),
            hours: Vec::new(),
            slots: vec![0; keys.min(MAX_CACHED_HOURS).next_power_of_two()],
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
    #[inline]
    fn at(&mut self, time: i64) -> HourPeriods {
        let key = self.zone.hour_key(time);
        let slot = key as usize & (self.slots.len() - 1);
        match self.hours.get(self.slots[slot] as usize) {
            Some(hour) if hour.key == key => hour.periods,
            _ => self.add_hour(slot, key, time),
        }
    }

    #[cold]
    fn add_hour(&mut self, slot: usize, key: i64, time: i64) -> HourPeriods {
        if self.hours.len() == MAX_CACHED_HOURS {
            self.hours.clear();
        }
        let periods = self.of_hour(self.zone.clock_hour(time));
        self.slots[slot] = self.hours.len() as u32;
        self.hours.push(KeyedHour { key, periods });
        periods
    }
}

/// What is counted for a group in a period. Only cells that are not empty take memory.
struct Cells<T> {
    cells: Vec<T>,
    /// Index of the cell by group and period.
    index: Vec<Vec<u32>>,
}

const NO_CELL: u32 = u32::MAX;

impl<T: Default> Cells<T> {
    fn new(groups: &Groups) -> Self {
        Self {
            cells: Vec::new(),
            index: vec![Vec::new(); groups.groups.len()],
        }
    }

    #[inline]
    fn find_or_add(&mut self, group: GroupId, period: PeriodId) -> &mut T {
        let of_group = &mut self.index[group as usize];
        let mut index = of_group.get(period as usize).copied().unwrap_or(NO_CELL);
        if index == NO_CELL {
            index = self.cells.len() as u32;
            if of_group.len() <= period as usize {
                of_group.resize(period as usize + 1, NO_CELL);
            }
            of_group[period as usize] = index;
            self.cells.push(T::default());
        }
        &mut self.cells[index as usize]
    }
}

/// First and second pass.
struct Measurement<'g> {
    cells: Cells<Measures>,
    periods: PeriodTable,
    groups: &'g Groups,
    lengths: [u64; LENGTHS.len()],
}

impl Measurement<'_> {
    /// First pass: seconds, sessions and peaks.
    fn listening(&mut self, sessions: &SessionStore, min_session: u64) -> io::Result<()> {
        let groups = self.groups;
        let (mut starts, mut ends) = (sessions.by_start()?, sessions.by_end()?);
        let mut sweep = Sweep::new(groups);
        loop {
            // Who leaves in a second is not there with those who come in it.
            let is_end = match (starts.peek(), ends.peek()) {
                (Some(start), Some(end)) => end.time_and_seconds().0 <= start.time_and_seconds().0,
                (_, end) => end.is_some(),
            };
            let session = if is_end {
                ends.take_next()?
            } else {
                starts.take_next()?
            };
            let Some(session) = session else { break };
            let (time, seconds) = session.time_and_seconds();
            // Sessions of 0 seconds begin, but nothing is heard of them.
            if is_end && seconds == 0 {
                continue;
            }
            // A session that ends with an hour has no part in the next one.
            self.advance(&mut sweep, if is_end { time - 1 } else { time });
            groups.visit(session.traits, |group, _| {
                let load = sweep.load(group);
                if is_end {
                    load.change(time, -1);
                    return;
                }
                let measures = &mut load.measures;
                measures.sessions += 1;
                measures.long_sessions += u64::from(seconds >= min_session);
                measures.session_seconds += seconds;
                if seconds > 0 {
                    load.change(time, 1);
                }
            });
        }
        self.close_hour(&mut sweep);
        Ok(())
    }

    /// Closes the hours that end before a time or at it.
    #[inline]
    fn advance(&mut self, sweep: &mut Sweep, time: i64) {
        if sweep.hour.is_none_or(|hour| hour.end <= time) {
            self.close_hours(sweep, time);
        }
    }

    #[cold]
    fn close_hours(&mut self, sweep: &mut Sweep, time: i64) {
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
        let (cells, groups) = (&mut self.cells, self.groups);
        let loads = &mut sweep.loads;
        sweep.active.retain(|group| {
            let load = &mut loads[*group as usize];
            load.change(hour.end, 0);
            let periods = &periods[..groups.depth(*group)];
            for period in periods.iter().filter(|id| **id != NO_PERIOD) {
                cells.find_or_add(*group, *period).add(&load.measures);
            }
            load.start_hour(hour.end)
        });
    }

    /// Second pass: the classes of lengths, and the medians by cell.
    fn lengths(&mut self, sessions: &SessionStore) -> io::Result<Vec<Middle>> {
        let cells = self.cells.cells.iter();
        let mut middles: Vec<_> = cells.map(|it| Middle::new(it.sessions)).collect();
        let mut class = 0;
        let mut by_seconds = sessions.by_seconds()?;
        while let Some(session) = by_seconds.take_next()? {
            let (seconds, start) = session.seconds_and_start();
            while LENGTHS
                .get(class + 1)
                .is_some_and(|(shortest, _)| *shortest <= seconds)
            {
                class += 1;
            }
            self.lengths[class] += 1;
            let periods = self.periods.at(start).ids;
            self.groups.visit(session.traits, |group, depth| {
                let of_group = &self.cells.index[group as usize];
                for period in &periods[..depth] {
                    if let Some(cell) = of_group.get(*period as usize)
                        && let Some(middle) = middles.get_mut(*cell as usize)
                    {
                        middle.pass(seconds);
                    }
                }
            });
        }
        Ok(middles)
    }

    fn finish(self, range: Range<i64>, middles: &[Middle], listeners: &ListenerCount) -> Measured {
        let has_hours = self.groups.depths.all == PERIODS;
        let lengths = PeriodLengths::new(self.periods.zone, &range, has_hours);
        let index = self.cells.index.iter();
        let cells = &self.cells.cells;
        let mut groups: Vec<_> = (0..)
            .zip(index)
            .zip(&self.groups.groups)
            .map(|((id, index), (kind, name))| {
                let periods = self.periods.periods.iter().zip(index);
                let periods = periods.filter_map(|(period, cell)| {
                    let measures = Measures {
                        period_seconds: lengths.of(*period),
                        median: middles.get(*cell as usize)?.median(),
                        listeners: listeners.of(id, *period),
                        ..*cells.get(*cell as usize)?
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

/// The two lengths in the middle of a cell's sessions, the shortest session first.
struct Middle {
    /// Sessions until the next of the two.
    left: u64,
    /// Whether the number of sessions is even, so that the two are of different sessions.
    is_even: bool,
    seconds: Option<(u64, u64)>,
}

impl Middle {
    fn new(sessions: u64) -> Self {
        Self {
            left: sessions.div_ceil(2),
            is_even: sessions.is_multiple_of(2),
            seconds: None,
        }
    }

    /// Passes a session.
    #[inline]
    fn pass(&mut self, seconds: u64) {
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            self.take(seconds);
        }
    }

    #[cold]
    fn take(&mut self, seconds: u64) {
        if self.seconds.is_none() && self.is_even {
            // The next session is the other one.
            self.left = 1;
        }
        let (first, _) = self.seconds.unwrap_or((seconds, seconds));
        self.seconds = Some((first, seconds));
    }

    fn median(&self) -> f64 {
        let (one, next) = self.seconds.unwrap_or_default();
        f64::midpoint(one as f64, next as f64)
    }
}

/// Third pass: distinct listeners.
struct ListenerCount {
    cells: Cells<Heard>,
    periods: PeriodTable,
}

#[derive(Default)]
struct Heard {
    /// Number of the last listener, from 1.
    last: u64,
    listeners: u64,
}

impl ListenerCount {
    fn new(sessions: &SessionStore, groups: &Groups, periods: PeriodTable) -> io::Result<Self> {
        let cells = Cells::new(groups);
        let mut count = Self { cells, periods };
        let mut number = 0;
        let mut listener = None;
        let mut by_listener = sessions.by_listener()?;
        while let Some(session) = by_listener.take_next()? {
            if listener != Some(session.listener()) {
                listener = Some(session.listener());
                number += 1;
            }
            count.add(number, &session, groups);
        }
        Ok(count)
    }

    fn add(&mut self, listener: u64, session: &StoredSession, groups: &Groups) {
        let mut counted = [NO_PERIOD; PERIODS];
        let mut time = session.start();
        loop {
            let hour = self.periods.at(time);
            let mut new = hour.ids;
            for (period, counted) in new.iter_mut().zip(counted) {
                if *period == counted {
                    *period = NO_PERIOD;
                }
            }
            counted = hour.ids;
            groups.visit(session.traits(), |group, depth| {
                for period in new[..depth].iter().filter(|id| **id != NO_PERIOD) {
                    self.cells.find_or_add(group, *period).add(listener);
                }
            });
            time = hour.end;
            if time >= session.end() {
                return;
            }
        }
    }

    fn of(&self, group: GroupId, period: Period) -> u64 {
        let id = self.periods.ids.get(&period);
        let index = &self.cells.index[group as usize];
        let cell = id.and_then(|id| index.get(*id as usize));
        let heard = cell.and_then(|cell| self.cells.cells.get(*cell as usize));
        heard.map_or(0, |heard| heard.listeners)
    }
}

impl Heard {
    #[inline]
    fn add(&mut self, listener: u64) {
        if self.last != listener {
            self.last = listener;
            self.listeners += 1;
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
    fn new(groups: &Groups) -> Self {
        Self {
            hour: None,
            loads: vec![Load::default(); groups.groups.len()],
            active: Vec::new(),
        }
    }

    #[inline]
    fn load(&mut self, group: GroupId) -> &mut Load {
        let load = &mut self.loads[group as usize];
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
    fn new(zone: ReportZone, range: &Range<i64>, has_hours: bool) -> Self {
        let mut week_hours = [[0; 24]; 7];
        let mut time = range.start;
        while has_hours && time < range.end {
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
