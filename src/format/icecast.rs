//! Icecast's access log as it is found in the wild: Icecast-KH cuts long requests off, and its variant `CLF-ESC`
//! has percent-encoded fields in the place of quotes and brackets.

use bumpalo::Bump;

use super::date::DateFormat;
use super::ncsa::SESSION_TIME;
use super::percent::percent_decoded;
use super::text::{DATE, IP, LENGTH, REFERRER, Row, STATUS, TextFormat, USER_AGENT, USERID, WORD};
use super::{Field, Fit, Format, Record};

/// A request that was cut off: its protocol is missing, perhaps the blank before it too. Icecast-KH leaves 235
/// bytes, and a method takes a few of them; a shorter request without a protocol is none.
const CUT_REQUEST: &str = r#""(?P<method>\S+)\s+(?P<path>.{225,}?)\s*""#;

static CUT: Row = Row {
    name: "icecast2",
    parts: &[
        IP,
        WORD,
        USERID,
        DATE,
        CUT_REQUEST,
        STATUS,
        LENGTH,
        REFERRER,
        USER_AGENT,
        SESSION_TIME,
    ],
    dates: DateFormat::Clf,
    scan: None,
};

/// The format `icecast2`: the ordinary one, and for lines that do not fit it the variants.
#[derive(Debug)]
pub struct Icecast {
    ordinary: TextFormat,
    cut: TextFormat,
}

impl Icecast {
    pub fn new(ordinary: TextFormat) -> Self {
        Self {
            ordinary,
            cut: TextFormat::new(&CUT),
        }
    }
}

impl Format for Icecast {
    fn name(&self) -> &'static str {
        self.ordinary.name()
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if self.ordinary.parse(line, arena, record) == Fit::Record
            || self.cut.parse(line, arena, record) == Fit::Record
        {
            return Fit::Record;
        }
        match escaped(line, arena) {
            Some(escaped) => {
                *record = escaped;
                Fit::Record
            }
            None => Fit::Misfit,
        }
    }

    fn dates(&self) -> &DateFormat {
        self.ordinary.dates()
    }

    fn fields(&self) -> &[Field] {
        self.ordinary.fields()
    }

    /// Of the ordinary format.
    fn regex(&self) -> Option<String> {
        self.ordinary.regex()
    }
}

/// A line of `CLF-ESC`: `ip ident user date request status length referrer agent seconds`, each percent-encoded.
/// The date's blank may have stayed one.
fn escaped<'a>(line: &'a [u8], arena: &'a Bump) -> Option<Record<'a>> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| percent_decoded(word, 1, arena).unwrap_or(word));
    let ip = words.next().filter(|ip| ip.iter().all(is_of_ip))?;
    let _ident = words.next()?;
    let userid = words.next()?;
    let date = words.next()?;
    let (date, timezone) = match halves(date) {
        Some(halves) => halves,
        None => (date, words.next()?),
    };
    let (method, rest) = halves(words.next()?)?;
    // Behind the path stands the protocol, where the request was not cut off.
    let path = match rest.iter().rposition(|byte| *byte == b' ') {
        Some(blank) => rest[..blank].trim_ascii_end(),
        None => rest,
    };
    let status = words
        .next()
        .filter(|status| status.iter().all(u8::is_ascii_digit))?;
    let length = words.next()?;
    let referrer = words.next()?;
    let user_agent = words.next()?;
    let session_time = seconds(words.next()?)?;
    let mut record = Record::default();
    for (field, value) in [
        (Field::Ip, ip),
        (Field::Userid, userid),
        (Field::Date, date),
        (Field::Timezone, timezone),
        (Field::Method, method),
        (Field::Path, path),
        (Field::Status, status),
        (Field::Length, length),
        (Field::Referrer, referrer),
        (Field::UserAgent, user_agent),
        (Field::SessionTime, session_time),
    ] {
        record.set(field, value);
    }
    // Without brackets and quotes, only the date tells such a line from any other that has so many words.
    DateFormat::Clf.read(&record).map(|_| record)
}

/// What [`IP`] takes.
fn is_of_ip(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_*.:-".contains(byte)
}

/// What stands before and behind the first blank.
fn halves(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..blank], &text[blank + 1..]))
}

/// What [`SESSION_TIME`] takes.
fn seconds(word: &[u8]) -> Option<&[u8]> {
    match word.iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => word.starts_with(b"-").then_some(&word[..1]),
        digits => Some(&word[..digits]),
    }
}

#[cfg(test)]
mod tests;
