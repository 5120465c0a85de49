//! The calendar of the listening figures: the time zone of the report, and its periods.

use std::fmt;

use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use chrono::{Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;

/// Seconds.
pub const HOUR: i64 = 3600;

/// The time zone of the report, in which days and months begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportZone {
    /// `--report-timezone`.
    Named(Tz),
    /// The offset of all lines, in seconds east of UTC.
    OfLog(FixedOffset),
    /// The lines have several offsets, or none.
    Utc,
}

impl ReportZone {
    /// Seconds east of UTC at a time in seconds since 1970.
    fn offset(self, time: i64) -> i64 {
        let seconds = match self {
            Self::Named(zone) => {
                let utc = DateTime::from_timestamp(time, 0).unwrap_or_default();
                let offset = zone.offset_from_utc_datetime(&utc.naive_utc());
                offset.fix().local_minus_utc()
            }
            Self::OfLog(offset) => offset.local_minus_utc(),
            Self::Utc => 0,
        };
        i64::from(seconds)
    }

    /// The date and time on the clocks of this zone. `time` is in seconds since 1970, UTC.
    pub fn local(self, time: i64) -> NaiveDateTime {
        let shifted = time.saturating_add(self.offset(time));
        DateTime::from_timestamp(shifted, 0)
            .unwrap_or_default()
            .naive_utc()
    }

    /// The hour of the clock that a time is in. Shorter than an hour if the clock is changed within
    /// it.
    pub fn clock_hour(self, time: i64) -> ClockHour {
        let offset = self.offset(time);
        let start = time - (time + offset).rem_euclid(HOUR);
        let end = start + HOUR;
        let differs = |time: &i64| self.offset(*time) != offset;
        ClockHour {
            start: match differs(&start) {
                true => first_in(start, time, |time| !differs(&time)),
                false => start,
            },
            end: match differs(&(end - 1)) {
                true => first_in(time, end, |time| differs(&time)),
                false => end,
            },
            local: self.local(time),
        }
    }

    /// A number that is the same for all times of an hour of the clock. An hour may have several.
    pub fn hour_key(self, time: i64) -> i64 {
        match self {
            // Since 1995 the clocks of all zones differ from UTC by a multiple of this.
            Self::Named(_) => time.div_euclid(HOUR / 4),
            Self::OfLog(_) | Self::Utc => (time + self.offset(time)).div_euclid(HOUR),
        }
    }

    /// The first second of a day, in seconds since 1970, UTC.
    pub fn start_of(self, day: NaiveDate) -> i64 {
        let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp();
        // No zone is further than a day from UTC.
        let (first, last) = (midnight - 24 * HOUR, midnight + 24 * HOUR);
        // Midnight may not exist, or come twice.
        first_in(first, last, |time| self.local(time).date() >= day)
    }

    /// The first second of the day after this one, in seconds since 1970, UTC.
    pub fn end_of(self, day: NaiveDate) -> i64 {
        let next = day.checked_add_days(Days::new(1));
        next.map_or(i64::MAX, |next| self.start_of(next))
    }
}

impl fmt::Display for ReportZone {
    /// `Europe/Berlin`, `UTC+02:00` or `UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::OfLog(offset) if offset.local_minus_utc() == 0 => f.write_str("UTC"),
            Self::OfLog(offset) => write!(f, "UTC{offset}"),
            Self::Utc => f.write_str("UTC"),
        }
    }
}

/// What the lines of a run say about the clock that wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogClock {
    #[default]
    NoLines,
    /// All lines have this offset, in seconds east of UTC.
    Offset(i32),
    /// The lines have several offsets, or some have none.
    Mixed,
}

impl LogClock {
    /// Notes the offset of a line, in seconds east of UTC. `None` if it has none.
    pub fn note(&mut self, offset: Option<i32>) {
        let offset = offset.map_or(Self::Mixed, Self::Offset);
        *self = match *self {
            Self::NoLines => offset,
            clock if clock == offset => clock,
            _ => Self::Mixed,
        };
    }

    /// The time zone of the lines. `log_zone` is that of dates without an offset.
    pub fn zone(self, log_zone: Option<Tz>) -> ReportZone {
        let zone = match self {
            Self::Offset(offset) => FixedOffset::east_opt(offset).map(ReportZone::OfLog),
            Self::Mixed => log_zone.map(ReportZone::Named),
            Self::NoLines => None,
        };
        zone.unwrap_or(ReportZone::Utc)
    }
}

/// The first time in `from..to` that `is_reached`, which stays true from then on; else `to`.
fn first_in(from: i64, to: i64, is_reached: impl Fn(i64) -> bool) -> i64 {
    let (mut from, mut to) = (from, to);
    while from < to {
        let middle = from + (to - from) / 2;
        match is_reached(middle) {
            true => to = middle,
            false => from = middle + 1,
        }
    }
    to
}

/// An hour of the clock: `[start, end)` in seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockHour {
    pub start: i64,
    pub end: i64,
    /// A local time within it.
    local: NaiveDateTime,
}

impl ClockHour {
    pub fn seconds(self) -> u64 {
        self.end.abs_diff(self.start)
    }

    pub fn day(self) -> NaiveDate {
        self.local.date()
    }

    pub fn month(self) -> Month {
        Month::of(self.local.date())
    }

    /// 0 to 23.
    pub fn hour(self) -> u8 {
        // Below 24.
        self.local.hour() as u8
    }

    /// Days since Monday.
    pub fn weekday(self) -> u8 {
        // Below 7.
        self.local.weekday().num_days_from_monday() as u8
    }

    /// All periods that it is a part of.
    pub fn periods(self) -> [Period; 5] {
        [
            Period::Total,
            Period::Month(self.month()),
            Period::Day(self.day()),
            Period::Hour(self.hour()),
            Period::WeekHour(self.weekday(), self.hour()),
        ]
    }
}

/// A month of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
}

impl Month {
    pub fn of(day: NaiveDate) -> Self {
        Self {
            year: day.year(),
            month: day.month(),
        }
    }

    /// Its first day.
    pub fn first_day(self) -> NaiveDate {
        NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or_default()
    }

    /// The first day of the next month.
    pub fn next(self) -> NaiveDate {
        let next = self.first_day() + TimeDelta::days(31);
        next.with_day(1).unwrap_or(next)
    }
}

impl fmt::Display for Month {
    /// `2026-09`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// A period that has figures of its own, in the time zone of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// All days of the report.
    Total,
    Month(Month),
    Day(NaiveDate),
    /// An hour of the day, 0 to 23, over all days.
    Hour(u8),
    /// Days since Monday, and an hour of the day, over all weeks.
    WeekHour(u8, u8),
}
