//! The NCSA family: the common log format, its extensions, and Icecast's access log.
//!
//! Nearly every line has the same plain shape, and these formats are what most logs have; so a scanner written
//! by hand stands in front of their regexes. It takes a line only where every choice that it makes is the one
//! the regex would try first (see [`scan`]), and hands all others on.

use memchr::memchr;

use super::date::DateFormat;
use super::icecast::Icecast;
use super::text::{
    DATE, HOST_PORT, IP, LENGTH, REFERRER, REQUEST, Row, STATUS, TextFormat, USER_AGENT, USERID,
    WORD,
};
use super::{Field, Format, Record};

#[cfg(test)]
mod tests;

/// Seconds that a listener stayed.
pub(super) const SESSION_TIME: &str = r"(?P<session_time>\d+|-)";

static ROWS: [Row; 5] = [
    Row {
        name: "common",
        parts: &[IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, Shape::COMMON, record).is_some()),
    },
    Row {
        name: "common_vhost",
        parts: &[HOST_PORT, IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, Shape::COMMON.with_host(), record).is_some()),
    },
    Row {
        name: "ncsa_extended",
        parts: &[
            IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH, REFERRER, USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, Shape::EXTENDED, record).is_some()),
    },
    Row {
        name: "common_complete",
        parts: &[
            HOST_PORT, IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH, REFERRER, USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, Shape::EXTENDED.with_host(), record).is_some()),
    },
    Row {
        name: "icecast2",
        parts: &[
            IP,
            WORD,
            USERID,
            DATE,
            REQUEST,
            STATUS,
            LENGTH,
            REFERRER,
            USER_AGENT,
            SESSION_TIME,
        ],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, Shape::ICECAST, record).is_some()),
    },
];

/// The formats of this family, in the order of SPEC section 3. Cheap: a regex is compiled when a line needs it.
pub fn formats() -> Vec<Box<dyn Format>> {
    ROWS.iter()
        .map(|row| (row.name, TextFormat::new(row)))
        .map(|(name, format)| match name {
            "icecast2" => Box::new(Icecast::new(format)) as Box<dyn Format>,
            _ => Box::new(format),
        })
        .collect()
}

/// What stands around the fields of the common log format.
#[derive(Clone, Copy)]
struct Shape {
    host: bool,
    referrer_and_agent: bool,
    session_time: bool,
}

impl Shape {
    const COMMON: Shape = Shape {
        host: false,
        referrer_and_agent: false,
        session_time: false,
    };
    const EXTENDED: Shape = Shape {
        referrer_and_agent: true,
        ..Shape::COMMON
    };
    const ICECAST: Shape = Shape {
        session_time: true,
        ..Shape::EXTENDED
    };

    const fn with_host(self) -> Shape {
        Shape { host: true, ..self }
    }
}

/// Takes a line of the usual shape: single blanks between the parts, a request of three words, nothing that
/// ends a quoted field before its own quote. `None`: ask the regex.
///
/// Why it says what the regex says: bare fields are greedy and a blank follows them, so they are the whole run
/// of bytes up to it; the path and the quoted fields are lazy, so the shortest that lets the rest fit wins, and
/// this takes the shortest there is (a path of one word, a field up to the first quote) or nothing.
#[inline(always)]
fn scan<'a>(line: &'a [u8], shape: Shape, record: &mut Record<'a>) -> Option<()> {
    // With control characters out of the way, the blank is the only white space left to look for.
    if !line
        .iter()
        .fold(true, |plain, byte| plain & (*byte >= b' '))
    {
        return None;
    }
    let mut rest = Rest(line);
    let host = match shape.host {
        true => Some(rest.host()?),
        false => None,
    };
    let ip = rest.ip()?;
    rest.word()?;
    let userid = rest.word()?;
    let (date, timezone) = rest.date()?;
    rest.expect(b'"')?;
    let method = rest.word()?;
    let path = rest.long_word()?;
    let protocol = rest.word()?;
    if protocol.len() < 2 || !protocol.ends_with(b"\"") {
        return None;
    }
    let status = rest.word()?;
    if !status.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = match shape.referrer_and_agent {
        true => rest.word()?,
        false => rest.word_or_end(),
    };
    if length.is_empty() {
        return None;
    }
    if shape.referrer_and_agent {
        rest.expect(b'"')?;
        let referrer = rest.quoted()?;
        rest.expect(b' ')?;
        rest.expect(b'"')?;
        let user_agent = rest.quoted()?;
        if shape.session_time {
            rest.expect(b' ')?;
            record.set(Field::SessionTime, rest.session_time()?);
        }
        record.set(Field::Referrer, referrer);
        record.set(Field::UserAgent, user_agent);
    }
    if let Some(host) = host {
        record.set(Field::Host, host);
    }
    record.set(Field::Ip, ip);
    record.set(Field::Userid, userid);
    record.set(Field::Date, date);
    record.set(Field::Timezone, timezone);
    record.set(Field::Method, method);
    record.set(Field::Path, path);
    record.set(Field::Status, status);
    record.set(Field::Length, length);
    Some(())
}

/// What is left of a line without control characters. Each step takes its part off, and the blank behind it.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Takes `length` bytes and the blank behind them.
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b" ")?;
        Some(part)
    }

    /// A word of a few bytes, for which `memchr` would take longer to begin than to find the blank.
    fn word(&mut self) -> Option<&'a [u8]> {
        match self.0.iter().position(|byte| *byte == b' ')? {
            0 => None,
            length => self.take(length),
        }
    }

    fn long_word(&mut self) -> Option<&'a [u8]> {
        match memchr(b' ', self.0)? {
            0 => None,
            length => self.take(length),
        }
    }

    /// The last word, which may be empty.
    fn word_or_end(&mut self) -> &'a [u8] {
        let length = memchr(b' ', self.0).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(length);
        self.0 = rest.strip_prefix(b" ").unwrap_or(rest);
        word
    }

    fn ip(&mut self) -> Option<&'a [u8]> {
        match self.run(|byte| IN_IP[usize::from(byte)]) {
            0 => None,
            length => self.take(length),
        }
    }

    /// The host, which may be empty; its port is passed over.
    fn host(&mut self) -> Option<&'a [u8]> {
        let length = self.run(|byte| IN_HOST[usize::from(byte)]);
        let (host, rest) = self.0.split_at(length);
        self.0 = rest;
        let mut port = 0;
        if self.expect(b':').is_some() {
            port = self.run(|byte| byte.is_ascii_digit());
            if port == 0 {
                return None;
            }
        }
        self.take(port)?;
        Some(host)
    }

    /// `[14/May/2024:06:25:24 +0200]`: only this length, so that the brackets need no search.
    fn date(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let part = self.take(28)?;
        let (date, timezone) = (&part[1..21], &part[22..27]);
        let blank = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | (*byte == b' '));
        let usual = part[0] == b'['
            && part[21] == b' '
            && part[27] == b']'
            && !blank(date)
            && !blank(timezone);
        usual.then_some((date, timezone))
    }

    /// Up to the next quote, which is taken off too.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let length = memchr(b'"', self.0)?;
        let (part, rest) = self.0.split_at(length);
        self.0 = &rest[1..];
        Some(part)
    }

    /// Seconds, or `-`; what follows does not matter, the line's last field ends here.
    fn session_time(&mut self) -> Option<&'a [u8]> {
        match self.run(|byte| byte.is_ascii_digit()) {
            0 => self.0.starts_with(b"-").then(|| &self.0[..1]),
            length => Some(&self.0[..length]),
        }
    }

    /// How many bytes from here on are of a kind.
    fn run(&self, kind: impl Fn(u8) -> bool) -> usize {
        self.0
            .iter()
            .position(|byte| !kind(*byte))
            .unwrap_or(self.0.len())
    }
}

/// The bytes of [`IP`] and of the host in [`HOST_PORT`].
static IN_IP: [bool; 256] = word_bytes_and(b"*.:-", false);
static IN_HOST: [bool; 256] = word_bytes_and(b".-", true);

/// What a regex calls `\w`, and more.
const fn word_bytes_and(more: &[u8], beyond_ascii: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || byte as u8 == b'_'
            || (beyond_ascii && byte >= 0x80);
        byte += 1;
    }
    let mut index = 0;
    while index < more.len() {
        table[more[index] as usize] = true;
        index += 1;
    }
    table
}
