//! Dates in logs: from text to a [`Moment`].
//!
//! Each built-in format has a reader for the shape that servers write. Other shapes, and
//! `--log-date-format`, are read by [`Strptime`].
//!
//! guide/formats.md, "Dates".

mod last;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use chrono::format::{Fixed, Item, Numeric, Pad, Parsed, parse_and_remainder};
use chrono::{Datelike, NaiveDate};

pub use self::last::LastDate;
use super::{Field, Record};
use crate::error::{Error, Result};

/// The date of a line: the time on the server's clock, and how far that clock is from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01 00:00:00 on the server's clock; fractions are dropped.
    pub local: i64,
    /// Seconds east of UTC, less than a day. `None` if the line has no time zone.
    pub offset: Option<i32>,
}

/// How a format writes its dates. Years are 1 to 9999; there are no leap seconds.
#[derive(Clone, Debug)]
pub enum DateFormat {
    /// `14/May/2024:06:25:24` in `date`, `+0200` in `timezone`.
    Clf,
    /// `2024-05-14` in `date` and `06:25:24` in `time`, both possibly quoted, the time possibly
    /// with a fraction. Mostly UTC, but some servers write local time.
    W3c,
    /// `2024-05-14T23:39:43` in `date`, in UTC.
    IsoSeconds,
    /// Whatever loggers write into a JSON log, in `date`, or in `date` and `time`; see
    /// [`json_date`].
    Json,
    /// `--log-date-format`, for `date`, or for `date`, a blank and `time` if the line has both. An
    /// offset in the date wins over `timezone`.
    Strptime(Strptime),
}

const SECONDS_A_DAY: i64 = 86_400;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

impl DateFormat {
    /// Reads `date`, `time` and `timezone` of a record. Returns `None` if they are not a date; the
    /// line is then invalid.
    pub fn read(&self, record: &Record) -> Option<Moment> {
        self.read_after(&LastDate::default(), record)
    }

    /// The same, and faster if the date is of the same day as the last one.
    pub fn read_after(&self, last: &LastDate, record: &Record) -> Option<Moment> {
        let date = record.get(Field::Date)?;
        match self {
            DateFormat::Clf => {
                let unusual = || Some(Strptime::CLF.read(date)?.local);
                let local = usual_clf(date, last).or_else(unusual)?;
                let offset = timezone(record, last)?;
                Some(Moment { local, offset })
            }
            DateFormat::W3c => {
                let time = without_fraction(unquoted(record.get(Field::Time)?))?;
                let local = iso_day(unquoted(date))? + iso_second_of_day(time)?;
                let offset = None;
                Some(Moment { local, offset })
            }
            DateFormat::IsoSeconds => iso_seconds(date).map(in_utc),
            DateFormat::Json => {
                let joined = || date_and_time(date, record.get(Field::Time)?);
                let Moment { local, offset } = json_date(date, last).or_else(joined)?;
                let offset = offset.or(timezone(record, last)?);
                Some(Moment { local, offset })
            }
            DateFormat::Strptime(format) => {
                let Moment { local, offset } = match record.get(Field::Time) {
                    Some(time) => format.read(&[date, b" ", time].concat()),
                    None => format.read(date),
                }?;
                let offset = offset.or(timezone(record, last)?);
                Some(Moment { local, offset })
            }
        }
    }

    /// The `--log-date-format` that reads the same dates. Returns `None` if no such format exists,
    /// or if the user gave it.
    pub fn pattern(&self) -> Option<&'static str> {
        match self {
            DateFormat::Clf => Some("%d/%b/%Y:%H:%M:%S"),
            DateFormat::W3c => Some("%Y-%m-%d %H:%M:%S"),
            DateFormat::IsoSeconds => Some("%Y-%m-%dT%H:%M:%S"),
            DateFormat::Json | DateFormat::Strptime(_) => None,
        }
    }
}

fn in_utc(local: i64) -> Moment {
    let offset = Some(0);
    Moment { local, offset }
}

/// `14/May/2024:06:25:24`, the usual shape. Returns `None` for all others, dates or not.
fn usual_clf(date: &[u8], last: &LastDate) -> Option<i64> {
    let (day, time) = date.split_first_chunk()?;
    Some(last.clf_day.meaning(day, clf_day)? + usual_second_of_day(time.try_into().ok()?)?)
}

/// `14/May/2024:`
fn clf_day(day: &[u8; 12]) -> Option<i64> {
    let &[d1, d2, b'/', ref name @ .., b'/', y1, y2, y3, y4, b':'] = day else {
        return None;
    };
    let month = MONTHS.iter().position(|month| *month == name)? as u32 + 1;
    let year = digits([y1, y2, y3, y4])?.cast_signed();
    day_of(year, month, digits([d1, d2])?)
}

/// `06:25:24`, the usual shape. Returns `None` for all others, times or not.
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

/// The date of a JSON log:
///
/// - a time since 1970 in UTC: seconds, milliseconds, microseconds or nanoseconds
/// - `2024-05-14T06:25:24.123+02:00`, with a blank or `T`, any fraction and any offset
/// - `2024/05/14 06:25:24.123`, as Go's and Caddy's loggers write it
/// - `14/May/2024:06:25:24 +0200`, with any fraction, perhaps in brackets
fn json_date(text: &[u8], last: &LastDate) -> Option<Moment> {
    if let Some(moment) = usual_iso_8601(text, last) {
        return Some(moment);
    }
    let text = text.trim_ascii();
    if let Some(seconds) = epoch_seconds(text) {
        return Some(in_utc(seconds));
    }
    // Apache's `%t` has brackets.
    let inner = text.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
    let text = inner.unwrap_or(text);
    if text.get(2) == Some(&b'/') {
        let (date, rest) = text.split_at_checked("14/May/2024:06:25:24".len())?;
        let end = match rest {
            [b'.', fraction @ ..] => {
                1 + fraction
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count()
            }
            _ => 0,
        };
        return Some(Moment {
            local: usual_clf(date, last)?,
            offset: written_zone(&rest[end..])?,
        });
    }
    let time = text
        .iter()
        .position(|byte| matches!(byte, b'T' | b't' | b' '))?;
    date_and_time(&text[..time], &text[time + 1..])
}

/// A day, and a time with any fraction and any offset.
fn date_and_time(day: &[u8], time: &[u8]) -> Option<Moment> {
    let time = time.trim_ascii();
    let is_clock = |byte: &u8| byte.is_ascii_digit() || b":.,".contains(byte);
    let end = time.iter().position(|byte| !is_clock(byte));
    let (clock, zone) = time.split_at(end.unwrap_or(time.len()));
    let offset = written_zone(zone)?;
    let local = json_day(day.trim_ascii())? + iso_second_of_day(without_fraction(clock)?)?;
    Some(Moment { local, offset })
}

/// `2024-05-14T06:25:24+02:00`, the usual shape. Returns `None` for all others, dates or not.
fn usual_iso_8601(text: &[u8], last: &LastDate) -> Option<Moment> {
    let (day, rest) = text.split_first_chunk()?;
    let [b'T', rest @ ..] = rest else {
        return None;
    };
    let (time, zone) = rest.split_first_chunk()?;
    let local = last.iso_day.meaning(day, |day| iso_day(day))? + usual_second_of_day(time)?;
    let offset = match zone.try_into() {
        Ok(zone) => last.iso_zone.meaning(zone, |zone| written_zone(zone))?,
        Err(_) => written_zone(zone)?,
    };
    Some(Moment { local, offset })
}

/// `2024-05-14` or `2024/05/14`
fn json_day(day: &[u8]) -> Option<i64> {
    match *day {
        [y1, y2, y3, y4, b'/', m1, m2, b'/', d1, d2] => {
            iso_day(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2])
        }
        _ => iso_day(day),
    }
}

/// The offset behind a date, perhaps after a blank: `Some(None)` if the date has no offset, `None`
/// if it cannot be read.
fn written_zone(zone: &[u8]) -> Option<Option<i32>> {
    Some(match zone.trim_ascii_start() {
        b"" => None,
        b"Z" | b"z" | b"UTC" | b"GMT" => Some(0),
        zone => Some(numeric_zone(zone)?),
    })
}

/// `1715668174.8155608`, `1715668174815` and so on, rounded down to whole seconds. The unit follows
/// from the size: seconds reach until the year 5138, milliseconds begin in 1973.
fn epoch_seconds(text: &[u8]) -> Option<i64> {
    const UNITS: [(f64, i64); 4] = [
        (1e11, 1),
        (1e14, 1_000),
        (1e17, 1_000_000),
        (f64::INFINITY, 1_000_000_000),
    ];
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if !text.iter().all(is_of_number) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let number: f64 = text.parse().ok()?;
    let (_, unit) = UNITS.into_iter().find(|(limit, _)| number.abs() < *limit)?;
    // A double does not hold all nanoseconds.
    let seconds = match text.parse::<i64>() {
        Ok(whole) => whole.div_euclid(unit) as f64,
        Err(_) => (number / unit as f64).floor(),
    };
    let first = days_from_civil(1, 1, 1) * SECONDS_A_DAY;
    let end = days_from_civil(10_000, 1, 1) * SECONDS_A_DAY;
    // Both bounds are far below 2^53, so doubles hold all seconds between them exactly.
    (first as f64..end as f64)
        .contains(&seconds)
        .then_some(seconds as i64)
}

/// The time zone of a record, in seconds east of UTC: `Some(None)` if it has none, `None` if it
/// cannot be read.
fn timezone(record: &Record, last: &LastDate) -> Option<Option<i32>> {
    let Some(zone) = record.get(Field::Timezone) else {
        return Some(None);
    };
    let read = |zone: &[u8]| match zone.trim_ascii() {
        b"" => Some(None),
        zone => numeric_zone(zone).map(Some),
    };
    match zone.try_into() {
        Ok(zone) => last.clf_zone.meaning(zone, |zone| read(zone)),
        Err(_) => read(zone),
    }
}

/// `+0200`, `0200`, `+02:00` or `+2`, in seconds east of UTC. Returns `None` if it is not a number
/// or not less than a day.
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

/// The text before the decimal point or comma, or all of it. Returns `None` if anything but digits
/// follows it.
pub fn without_fraction(text: &[u8]) -> Option<&[u8]> {
    let Some(point) = text.iter().position(|byte| matches!(byte, b'.' | b',')) else {
        return Some(text);
    };
    let is_fraction = text[point + 1..].iter().all(u8::is_ascii_digit);
    is_fraction.then_some(&text[..point])
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    text.strip_suffix(b"\"").unwrap_or(text)
}

/// The number that a few ASCII digits form.
fn digits<const N: usize>(text: [u8; N]) -> Option<u32> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// Seconds from 1970-01-01 to the start of a day. Returns `None` if there is no such day.
fn day_of(year: i32, month: u32, day: u32) -> Option<i64> {
    let exists =
        year >= 1 && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    exists.then(|| days_from_civil(year, month, day) * SECONDS_A_DAY)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, extended to the years before it.
///
/// `month` is 1 to 12. Twice as fast as `chrono`, and every line needs it.
fn days_from_civil(year: i32, month: u32, day: u32) -> i64 {
    // In a year that starts in March, five months have 153 days and the leap day comes last.
    let (year, months) = match month {
        0..=2 => (i64::from(year) - 1, month + 9),
        _ => (i64::from(year), month - 3),
    };
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = i64::from((153 * months + 2) / 5) + i64::from(day) - 1;
    // From 0000-03-01 to 1970-01-01.
    const DAYS_TO_1970: i64 = 719_468;
    before_year + day_of_year - DAYS_TO_1970
}

/// `month` is 1 to 12.
fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A date format as for Python's `strptime`, with English names in any case.
///
/// `chrono` reads the parts; this type checks what Python checks around them. White space in the
/// format matches any white space. What the format does not mention is 1900-01-01 00:00:00.
///
/// Differences from Python:
///
/// - No part gives back digits that a later part needs: `%Y%m%d` does not read `2024131`.
/// - A weekday may also be abbreviated for `%A`, and a month for `%B`.
/// - `%d` takes any number of blanks before the number.
/// - `%p` must agree with `%H`, `%j` must be a day of the year, and `%y` is ignored beside `%Y`.
/// - `%s` is a time since 1970 in UTC, and the whole date.
/// - `%z` has no seconds and may be `z`. There are no weeks (`%U`, `%W`, `%V`, `%G`).
/// - Case is ignored for ASCII letters only; `\x1c` to `\x1f` are not white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strptime {
    parts: Cow<'static, [DatePart]>,
}

/// What a part of a date format matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DatePart {
    /// This character, in any case.
    Literal(char),
    /// White space, at least one character.
    Space,
    /// A number with at least so many digits.
    Number(Item<'static>, usize),
    /// A month, a weekday, AM or PM, or an offset.
    Name(Item<'static>),
    /// A year with four digits or with two.
    AnyYear,
    /// 1 to 6 digits, which are dropped.
    Fraction,
    /// `UTC` or `GMT`.
    Utc,
    /// A number: the time since 1970 in UTC.
    Epoch,
}

const DIRECTIVES: &str = "%a %A %w %u %d %b %B %m %y %Y %H %I %p %M %S %f %z %Z %j %s %c %x %X %%";

const fn number(numeric: Numeric, least: usize) -> DatePart {
    DatePart::Number(Item::Numeric(numeric, Pad::None), least)
}

const fn name(fixed: Fixed) -> DatePart {
    DatePart::Name(Item::Fixed(fixed))
}

const YEAR: DatePart = number(Numeric::Year, 4);
const SHORT_YEAR: DatePart = number(Numeric::YearMod100, 2);
const MONTH: DatePart = number(Numeric::Month, 1);
const MONTH_NAME: DatePart = name(Fixed::ShortMonthName);
/// `date` and syslog write a blank before a single digit.
const DAY: DatePart = number(Numeric::Day, 0);
const HOUR: DatePart = number(Numeric::Hour, 1);
const MINUTE: DatePart = number(Numeric::Minute, 1);
const SECOND: DatePart = number(Numeric::Second, 1);
const COLON: DatePart = DatePart::Literal(':');
const SLASH: DatePart = DatePart::Literal('/');
const COMMA: DatePart = DatePart::Literal(',');
const HYPHEN: DatePart = DatePart::Literal('-');

impl Strptime {
    /// `%d/%b/%Y:%H:%M:%S`
    pub(super) const CLF: Strptime = Strptime {
        parts: Cow::Borrowed(&[
            DAY, SLASH, MONTH_NAME, SLASH, YEAR, COLON, HOUR, COLON, MINUTE, COLON, SECOND,
        ]),
    };
    /// `%m/%d/%Y, %H:%M:%S`, or with `%y`: the regional settings of Windows decide.
    pub(crate) const IIS: Strptime = Strptime {
        parts: Cow::Borrowed(&[
            MONTH,
            SLASH,
            DAY,
            SLASH,
            DatePart::AnyYear,
            COMMA,
            DatePart::Space,
            HOUR,
            COLON,
            MINUTE,
            COLON,
            SECOND,
        ]),
    };
    /// `%Y-%m-%d`
    const ISO_DATE: Strptime = Strptime {
        parts: Cow::Borrowed(&[YEAR, HYPHEN, MONTH, HYPHEN, DAY]),
    };
    /// `%H:%M:%S`
    const ISO_TIME: Strptime = Strptime {
        parts: Cow::Borrowed(&[HOUR, COLON, MINUTE, COLON, SECOND]),
    };

    /// Compiles `--log-date-format`.
    ///
    /// # Errors
    ///
    /// Returns a usage error if a directive is unknown or given twice; the message names the place.
    pub fn new(format: &str) -> Result<Strptime> {
        Self::of_server(format).map_err(|(place, why)| {
            Error::usage(match place {
                Some(place) => format!(
                    "--log-date-format is invalid at character {place} of '{format}': {why}"
                ),
                None => format!("--log-date-format={format}: {why}"),
            })
        })
    }

    /// Compiles a format from the configuration of a server.
    ///
    /// # Errors
    ///
    /// Returns why the format is invalid, and at which character, from 1, if it is only one.
    pub(super) fn of_server(
        format: &str,
    ) -> std::result::Result<Strptime, (Option<usize>, String)> {
        let mut parts: Vec<DatePart> = Vec::new();
        let mut characters = format.chars().zip(1..);
        while let Some((character, place)) = characters.next() {
            if character != '%' {
                parts.push(plain(character));
                continue;
            }
            let letter = characters.next().map(|(letter, _)| letter);
            let directive = format!("%{}", letter.map_or(String::new(), String::from));
            let Some(read) = letter.and_then(expand) else {
                let why = format!("{directive} is not a directive; use {DIRECTIVES}");
                return Err((Some(place), why));
            };
            let is_plain = |part: &DatePart| matches!(part, DatePart::Literal(_) | DatePart::Space);
            if read
                .iter()
                .any(|part| !is_plain(part) && parts.contains(part))
            {
                let why = format!("{directive} gives a part of the date twice");
                return Err((Some(place), why));
            }
            parts.extend(read);
        }
        if parts.contains(&DatePart::Epoch) && parts.len() > 1 {
            let why = "%s is a whole date; nothing goes with it".to_owned();
            return Err((None, why));
        }
        parts.dedup_by(|next, last| *next == DatePart::Space && *last == DatePart::Space);
        Ok(Strptime {
            parts: Cow::Owned(parts),
        })
    }

    /// Whether the format contains an offset from UTC.
    pub fn has_zone(&self) -> bool {
        let offset = name(Fixed::TimezoneOffsetZ);
        let parts = &self.parts;
        [&offset, &DatePart::Utc, &DatePart::Epoch]
            .iter()
            .any(|part| parts.contains(part))
    }

    /// Reads a whole text. Returns `None` if it does not match or is not a day of the years 1 to
    /// 9999.
    pub fn read(&self, text: &[u8]) -> Option<Moment> {
        if let [DatePart::Epoch] = *self.parts {
            return epoch_seconds(text).map(in_utc);
        }
        let mut rest = std::str::from_utf8(text).ok()?;
        let mut parsed = Parsed::new();
        for part in self.parts.iter() {
            rest = part.read(rest, &mut parsed)?;
        }
        let offset = parsed
            .offset()
            .or_else(|| self.parts.contains(&DatePart::Utc).then_some(0));
        let is_zone = offset.is_none_or(|offset| i64::from(offset).abs() < SECONDS_A_DAY);
        let second = parsed.second().unwrap_or(0);
        if !rest.is_empty() || !is_zone || second > 59 {
            return None;
        }
        let hour = parsed.hour_div_12().unwrap_or(0) * 12 + parsed.hour_mod_12().unwrap_or(0);
        let clock = hour * 3600 + parsed.minute().unwrap_or(0) * 60 + second;
        Some(Moment {
            local: start_of_day(&parsed)? + i64::from(clock),
            offset,
        })
    }
}

fn plain(character: char) -> DatePart {
    match character.is_whitespace() {
        true => DatePart::Space,
        false => DatePart::Literal(character),
    }
}

/// The parts of a directive. `%c`, `%x` and `%X` have several.
fn expand(letter: char) -> Option<Vec<DatePart>> {
    let letters = match letter {
        'c' => "a b d H:M:S Y",
        'x' => "m/d/y",
        'X' => "H:M:S",
        _ => return Some(vec![directive(letter)?]),
    };
    let part = |letter| directive(letter).unwrap_or_else(|| plain(letter));
    Some(letters.chars().map(part).collect())
}

fn directive(letter: char) -> Option<DatePart> {
    Some(match letter {
        'a' => name(Fixed::ShortWeekdayName),
        'A' => name(Fixed::LongWeekdayName),
        'w' => number(Numeric::NumDaysFromSun, 1),
        'u' => number(Numeric::WeekdayFromMon, 1),
        'd' => DAY,
        'b' => MONTH_NAME,
        'B' => name(Fixed::LongMonthName),
        'm' => MONTH,
        'y' => SHORT_YEAR,
        'Y' => YEAR,
        'H' => HOUR,
        'I' => number(Numeric::Hour12, 1),
        'p' => name(Fixed::UpperAmPm),
        'M' => MINUTE,
        'S' => SECOND,
        'f' => DatePart::Fraction,
        'z' => name(Fixed::TimezoneOffsetZ),
        'Z' => DatePart::Utc,
        's' => DatePart::Epoch,
        'j' => number(Numeric::Ordinal, 1),
        '%' => DatePart::Literal('%'),
        _ => return None,
    })
}

impl DatePart {
    /// Takes this part from the start of a text and returns the rest.
    fn read<'t>(&self, text: &'t str, parsed: &mut Parsed) -> Option<&'t str> {
        let digits = |most| {
            let digits = text.bytes().take_while(u8::is_ascii_digit);
            digits.take(most).count()
        };
        match self {
            DatePart::Literal(wanted) => {
                let mut characters = text.chars();
                let found = characters.next()?.eq_ignore_ascii_case(wanted);
                found.then_some(characters.as_str())
            }
            DatePart::Space => {
                let rest = text.trim_start();
                (rest.len() < text.len()).then_some(rest)
            }
            // `chrono` would also take signs, blanks and fewer digits.
            DatePart::Number(_, least) if digits(*least) < *least => None,
            DatePart::Number(item, _) | DatePart::Name(item) => {
                parse_and_remainder(parsed, text, [item].into_iter()).ok()
            }
            DatePart::AnyYear if digits(4) == 4 => YEAR.read(text, parsed),
            DatePart::AnyYear => SHORT_YEAR.read(text, parsed),
            // The only part of its format, which does not read it by parts.
            DatePart::Epoch => None,
            DatePart::Fraction => Some(&text[digits(6)..]).filter(|rest| rest.len() < text.len()),
            DatePart::Utc => {
                let (zone, rest) = text.split_at_checked(3)?;
                let is_utc = |name: &&str| zone.eq_ignore_ascii_case(name);
                ["utc", "gmt"].iter().any(is_utc).then_some(rest)
            }
        }
    }
}

/// Seconds from 1970-01-01 to the start of the day. A day of the year wins over month and day, and
/// weekdays are ignored.
fn start_of_day(parsed: &Parsed) -> Option<i64> {
    let year = parsed.year().or_else(|| match parsed.year_mod_100()? {
        year @ ..69 => Some(2000 + year),
        year => Some(1900 + year),
    });
    let year = year.unwrap_or(1900);
    match parsed.ordinal() {
        Some(ordinal) => {
            let date = NaiveDate::from_yo_opt(year, ordinal)?;
            day_of(year, date.month(), date.day())
        }
        None => day_of(year, parsed.month().unwrap_or(1), parsed.day().unwrap_or(1)),
    }
}
