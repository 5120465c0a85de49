//! The parts of a date that a pattern finds, and the moment they make.

use crate::format::date::{Moment, SECONDS_A_DAY, days_from_civil, days_in_month};

/// Which part of a date an item gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Year,
    YearOfCentury,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Weekday,
    WeekdayFromSunday,
    IsoWeekday,
    WeekFromSunday,
    WeekFromMonday,
    IsoYear,
    IsoWeek,
    Hour,
    HourOfHalfDay,
    HalfDay,
    Minute,
    Second,
    Fraction,
    Utc,
}

/// What the items found, and what holds where they found nothing.
#[derive(Debug, Default)]
pub(super) struct Parts {
    year: Option<i32>,
    /// From 1.
    month: Option<u32>,
    /// From 1.
    day: Option<u32>,
    /// From 1.
    day_of_year: Option<i32>,
    /// From 0, Monday.
    weekday: Option<i32>,
    week: Option<Week>,
    iso_year: Option<i32>,
    iso_week: Option<i32>,
    hour: i32,
    /// The hour is one of a clock face: 12 comes before 1.
    half_days: bool,
    afternoon: bool,
    minute: i32,
    second: i32,
    /// Seconds east of UTC.
    pub(super) offset: Option<i32>,
}

/// The number of a week in its year. Week 0 is the one that holds the new year, week 1 the first whole one; where
/// the year begins with a week, both are the same.
#[derive(Clone, Copy, Debug)]
enum Week {
    FromSunday(i32),
    FromMonday(i32),
}

impl Week {
    /// The day of this week, in days since 1970-01-01; `weekday` counts from Monday, 0.
    fn day(self, new_year: i64, weekday: i32) -> i64 {
        let (number, weekday, days_before_monday) = match self {
            Week::FromMonday(number) => (number, weekday, 0),
            Week::FromSunday(number) => (number, (weekday + 1) % 7, 1),
        };
        let in_first_week = if number == 0 { new_year } else { new_year + 6 };
        let first_day = monday_of(in_first_week + days_before_monday) - days_before_monday;
        first_day + i64::from((number - 1).max(0) * 7 + weekday)
    }
}

impl Parts {
    /// A later item wins over an earlier one that says the same.
    pub(super) fn set(&mut self, part: Part, value: i32) {
        match part {
            Part::Year => self.year = Some(value),
            Part::YearOfCentury if value < 69 => self.year = Some(2000 + value),
            Part::YearOfCentury => self.year = Some(1900 + value),
            Part::Month => self.month = Some(value.unsigned_abs()),
            Part::MonthName => self.month = Some(value.unsigned_abs() + 1),
            Part::Day => self.day = Some(value.unsigned_abs()),
            Part::DayOfYear => self.day_of_year = Some(value),
            Part::Weekday => self.weekday = Some(value),
            Part::WeekdayFromSunday => self.weekday = Some((value + 6) % 7),
            Part::IsoWeekday => self.weekday = Some(value - 1),
            Part::WeekFromSunday => self.week = Some(Week::FromSunday(value)),
            Part::WeekFromMonday => self.week = Some(Week::FromMonday(value)),
            Part::IsoYear => self.iso_year = Some(value),
            Part::IsoWeek => self.iso_week = Some(value),
            Part::Hour => (self.hour, self.half_days) = (value, false),
            Part::HourOfHalfDay => (self.hour, self.half_days) = (value, true),
            Part::HalfDay => self.afternoon = value == 1,
            Part::Minute => self.minute = value,
            Part::Second => self.second = value,
            Part::Fraction => {}
            Part::Utc => self.offset = self.offset.or(Some(0)),
        }
    }

    /// `None`: there is no such day, time or zone.
    pub(super) fn moment(&self) -> Option<Moment> {
        let days = self.days()?;
        let calendar = days_from_civil(1, 1, 1)..=days_from_civil(9999, 12, 31);
        let zone_is_sane = self
            .offset
            .is_none_or(|offset| i64::from(offset).abs() < SECONDS_A_DAY);
        if !calendar.contains(&days) || self.second > 59 || !zone_is_sane {
            return None;
        }
        let hour = match (self.half_days, self.afternoon) {
            (false, _) => self.hour,
            (true, false) => self.hour % 12,
            (true, true) => self.hour % 12 + 12,
        };
        let of_day = hour * 3600 + self.minute * 60 + self.second;
        Some(Moment {
            local: days * SECONDS_A_DAY + i64::from(of_day),
            offset: self.offset,
        })
    }

    /// Days since 1970-01-01; `None`: no such day. The number of a day in its year goes before a week with its weekday, and both
    /// before month and day.
    fn days(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1900);
        if year < 1 {
            return None;
        }
        let new_year = days_from_civil(year, 1, 1);
        if let Some(day) = self.day_of_year {
            return Some(new_year + i64::from(day) - 1);
        }
        match (self.week, self.weekday, self.iso_year, self.iso_week) {
            (Some(week), Some(weekday), ..) => Some(week.day(new_year, weekday)),
            (None, Some(weekday), Some(year), Some(week)) if year > 0 => {
                // The first ISO week is the one that holds the fourth of January.
                let monday = monday_of(days_from_civil(year, 1, 4));
                Some(monday + i64::from((week - 1) * 7 + weekday))
            }
            (None, _, Some(_), _) => None,
            _ => {
                let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
                (day <= days_in_month(year, month)).then(|| days_from_civil(year, month, day))
            }
        }
    }
}

/// The Monday on or before a day, both in days since 1970-01-01, which was a Thursday.
fn monday_of(days: i64) -> i64 {
    days - (days + 3).rem_euclid(7)
}
