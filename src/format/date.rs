//! Dates in logs: from text to a moment (SPEC section 4).
//!
//! Each way has a reader without allocation for the shape that servers write; whatever else it is goes to
//! [`Strptime`], which decides.

#[cfg(test)]
mod tests;

use super::strptime::Strptime;
use super::{Field, Record};

/// What a line's date says: the clock on the wall, and how far east of UTC that wall is, where the line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01 00:00:00 on the log's own clock; fractions are cut off.
    pub local: i64,
    /// Seconds east of UTC, less than a day; `None` where the line names no zone.
    pub offset: Option<i32>,
}

/// How a format writes its dates. All of them are of the years 1 to 9999; a 60th second is no date.
#[derive(Clone, Debug)]
pub enum DateFormat {
    /// `14/May/2024:06:25:24` in `date`, `+0200` in `timezone`.
    Clf,
    /// `2024-05-14` in `date` and `06:25:24` in `time`, perhaps quoted, perhaps with a fraction; UTC as a rule, but some
    /// servers write their own time.
    W3c,
    /// `2024-05-14T23:39:43` in `date`; UTC.
    IsoSeconds,
    /// `2024-05-14T06:25:24.123+02:00` in `date`; fraction and zone may be missing, `Z` is UTC.
    Iso8601,
    /// `1715668174.8155608` in `date`: seconds since 1970 in UTC.
    EpochSeconds,
    /// The user's own pattern, for `date`, or `date`, a blank and `time` where the line has both. The zone is
    /// the pattern's, else that of `timezone`.
    Strptime(Strptime),
}

pub(super) const SECONDS_A_DAY: i64 = 86_400;

impl DateFormat {
    /// Reads `date` (and `time`, `timezone`) of a record. `None`: it is no date, the line is invalid.
    pub fn read(&self, record: &Record) -> Option<Moment> {
        let date = record.get(Field::Date)?;
        match self {
            DateFormat::Clf => {
                let local = usual_clf(date).or_else(|| Some(Strptime::CLF.read(date)?.local))?;
                let offset = timezone(record)?;
                Some(Moment { local, offset })
            }
            DateFormat::W3c => {
                let time = without_fraction(unquoted(record.get(Field::Time)?))?;
                let local = iso_day(unquoted(date))? + iso_second_of_day(time)?;
                Some(Moment {
                    local,
                    offset: None,
                })
            }
            DateFormat::IsoSeconds => iso_seconds(date).map(in_utc),
            DateFormat::Iso8601 => iso_8601(date),
            DateFormat::EpochSeconds => epoch_seconds(date).map(in_utc),
            DateFormat::Strptime(pattern) => {
                let moment = match record.get(Field::Time) {
                    Some(time) => pattern.read(&[date, b" ", time].concat()),
                    None => pattern.read(date),
                }?;
                let offset = timezone(record)?;
                Some(Moment {
                    offset: moment.offset.or(offset),
                    ..moment
                })
            }
        }
    }
}

impl DateFormat {
    /// The pattern that reads the same dates with `--log-date-format`. `None`: there is none, or the user gave it.
    pub fn pattern(&self) -> Option<&'static str> {
        match self {
            DateFormat::Clf => Some("%d/%b/%Y:%H:%M:%S"),
            DateFormat::W3c => Some("%Y-%m-%d %H:%M:%S"),
            DateFormat::IsoSeconds => Some("%Y-%m-%dT%H:%M:%S"),
            DateFormat::Iso8601 | DateFormat::EpochSeconds | DateFormat::Strptime(_) => None,
        }
    }
}

fn in_utc(local: i64) -> Moment {
    Moment {
        local,
        offset: Some(0),
    }
}

/// `14/May/2024:06:25:24`, as all servers write it; `None` for anything else, be it a date or not.
fn usual_clf(date: &[u8]) -> Option<i64> {
    let date: &[u8; 20] = date.try_into().ok()?;
    let &[
        d1,
        d2,
        b'/',
        m1,
        m2,
        m3,
        b'/',
        y1,
        y2,
        y3,
        y4,
        b':',
        ref time @ ..,
    ] = date
    else {
        return None;
    };
    let month = match &[m1, m2, m3] {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    let year = digits([y1, y2, y3, y4])?.cast_signed();
    Some(day_of(year, month, digits([d1, d2])?)? + usual_second_of_day(time)?)
}

/// `06:25:24`; `None` for anything else, be it a time or not.
fn usual_second_of_day(time: &[u8; 8]) -> Option<i64> {
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = time else {
        return None;
    };
    let (hour, minute, second) = (digits([h1, h2])?, digits([m1, m2])?, digits([s1, s2])?);
    (hour < 24 && minute < 60 && second < 60).then(|| i64::from(hour * 3600 + minute * 60 + second))
}

/// `2024-05-14`, in seconds since 1970-01-01.
fn iso_day(date: &[u8]) -> Option<i64> {
    match *date {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] => {
            let year = digits([y1, y2, y3, y4])?.cast_signed();
            day_of(year, digits([m1, m2])?, digits([d1, d2])?)
        }
        _ => Some(Strptime::ISO_DATE.read(date)?.local),
    }
}

/// `06:25:24`
fn iso_second_of_day(time: &[u8]) -> Option<i64> {
    match time.try_into() {
        Ok(usual) => usual_second_of_day(usual),
        Err(_) => Some(
            Strptime::ISO_TIME
                .read(time)?
                .local
                .rem_euclid(SECONDS_A_DAY),
        ),
    }
}

/// `2024-05-14T23:39:43`
fn iso_seconds(text: &[u8]) -> Option<i64> {
    let middle = text.iter().position(|byte| matches!(byte, b'T' | b't'))?;
    Some(iso_day(&text[..middle])? + iso_second_of_day(&text[middle + 1..])?)
}

/// `2024-05-14T06:25:24.123+02:00`
fn iso_8601(text: &[u8]) -> Option<Moment> {
    let time = text.iter().position(|byte| matches!(byte, b'T' | b't'))?;
    let is_zone = |byte: &u8| matches!(byte, b'+' | b'-' | b'Z' | b'z');
    let end = text[time..]
        .iter()
        .position(is_zone)
        .map_or(text.len(), |length| time + length);
    let (clock, zone) = text.split_at(end);
    let offset = match zone {
        b"" => None,
        b"Z" | b"z" => Some(0),
        _ => Some(numeric_zone(zone)?),
    };
    Some(Moment {
        local: iso_seconds(without_fraction(clock)?)?,
        offset,
    })
}

/// `1715668174.8155608`, as JSON writes numbers; the whole seconds of it.
fn epoch_seconds(text: &[u8]) -> Option<i64> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let first = days_from_civil(1, 1, 1) * SECONDS_A_DAY;
    let end = days_from_civil(10_000, 1, 1) * SECONDS_A_DAY;
    // Both bounds are far below 2^53: doubles hold them, and all seconds between them, exactly.
    (first as f64..end as f64)
        .contains(&seconds)
        .then(|| seconds.floor() as i64)
}

/// The zone of a record, in seconds east of UTC. `Some(None)`: it has none. `None`: what it has is no zone.
fn timezone(record: &Record) -> Option<Option<i32>> {
    match record.get(Field::Timezone).map(<[u8]>::trim_ascii) {
        None | Some(b"") => Some(None),
        Some(zone) => numeric_zone(zone).map(Some),
    }
}

/// `+0200`, `0200`, `+02:00`, `+2`: hours, or hours and minutes, east of UTC; in seconds. `None`: no number, or
/// a day and more, which is no zone.
fn numeric_zone(zone: &[u8]) -> Option<i32> {
    let (sign, number) = match zone {
        [b'-', number @ ..] => (-1, number),
        [b'+', number @ ..] | number => (1, number),
    };
    let [h1, h2, m1, m2] = match *number {
        [h1, h2, b':', m1, m2] => [h1, h2, m1, m2],
        [h1, b':', m1, m2] | [h1, m1, m2] => [b'0', h1, m1, m2],
        [h1, h2, m1, m2] => [h1, h2, m1, m2],
        [h1, h2] => [h1, h2, b'0', b'0'],
        [h1] => [b'0', h1, b'0', b'0'],
        _ => return None,
    };
    let minutes = digits([h1, h2])? * 60 + digits([m1, m2])?;
    let offset = sign * minutes.cast_signed() * 60;
    (i64::from(offset).abs() < SECONDS_A_DAY).then_some(offset)
}

/// What stands before the point; `None` where something else than digits comes after it.
fn without_fraction(text: &[u8]) -> Option<&[u8]> {
    match text.iter().position(|&byte| byte == b'.') {
        None => Some(text),
        Some(point) => {
            let (whole, fraction) = text.split_at(point);
            fraction[1..]
                .iter()
                .all(u8::is_ascii_digit)
                .then_some(whole)
        }
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    text.strip_suffix(b"\"").unwrap_or(text)
}

/// The number that a few ASCII digits make.
fn digits<const N: usize>(text: [u8; N]) -> Option<u32> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// Seconds from 1970-01-01 to a day's beginning; `None` where the calendar has no such day.
fn day_of(year: i32, month: u32, day: u32) -> Option<i64> {
    let exists =
        year >= 1 && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    exists.then(|| days_from_civil(year, month, day) * SECONDS_A_DAY)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, also of the time before it was made.
/// `month` is 1 to 12, `day` is counted on beyond the month's end.
pub(super) fn days_from_civil(year: i32, month: u32, day: u32) -> i64 {
    // Counted from March on, the leap day is a year's last day, and months have 153 days in every five.
    let (year, months) = match month {
        0..=2 => (i64::from(year) - 1, month + 9),
        _ => (i64::from(year), month - 3),
    };
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = i64::from((153 * months + 2) / 5) + i64::from(day) - 1;
    // From the first of March of year 0 to 1970-01-01.
    const DAYS_TO_1970: i64 = 719_468;
    before_year + day_of_year - DAYS_TO_1970
}

/// `month` is 1 to 12.
pub(super) fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}
