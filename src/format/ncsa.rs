//! The NCSA family: the common log format and its extensions; see guide/formats.md, "Web server
//! formats".
//!
//! Most logs have these formats, and nearly all of their lines are plain. A hand-written scanner
//! reads those; see [`scan`]. All other lines go to the regex.

use memchr::memchr;

use super::date::DateFormat;
use super::text::{
    DATE, HOST_PORT, IP, LENGTH, REFERRER, REQUEST, STATUS, TextSpec, USER_AGENT, USERID, WORD,
};
use super::{Field, Record};

/// The formats of this family.
pub static SPECS: [TextSpec; 4] = [
    TextSpec {
        name: "common",
        parts: &[IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, NcsaParts::COMMON, record).is_some()),
    },
    TextSpec {
        name: "common_vhost",
        parts: &[HOST_PORT, IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, NcsaParts::COMMON.with_host(), record).is_some()),
    },
    TextSpec {
        name: "ncsa_extended",
        parts: &[
            IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH, REFERRER, USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, NcsaParts::EXTENDED, record).is_some()),
    },
    TextSpec {
        name: "common_complete",
        parts: &[
            HOST_PORT, IP, WORD, USERID, DATE, REQUEST, STATUS, LENGTH, REFERRER, USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: Some(|line, record| scan(line, NcsaParts::EXTENDED.with_host(), record).is_some()),
    },
];

/// Which parts a format adds to the common log format.
#[derive(Clone, Copy)]
pub(super) struct NcsaParts {
    host: bool,
    referrer_and_agent: bool,
    session_time: bool,
}

impl NcsaParts {
    const COMMON: NcsaParts = NcsaParts {
        host: false,
        referrer_and_agent: false,
        session_time: false,
    };
    const EXTENDED: NcsaParts = NcsaParts {
        referrer_and_agent: true,
        ..NcsaParts::COMMON
    };
    pub(super) const ICECAST: NcsaParts = NcsaParts {
        session_time: true,
        ..NcsaParts::EXTENDED
    };

    const fn with_host(self) -> NcsaParts {
        NcsaParts { host: true, ..self }
    }
}

/// Scans a usual line: single blanks between the parts, a request of three words, no quote inside a
/// quoted field. Returns `None` for any other line, and leaves the record alone.
///
/// It agrees with the regex. Unquoted fields are greedy and a blank follows them, so they end at
/// the first blank. The path and quoted fields are lazy, so the shortest value that lets the rest
/// match wins. The scanner takes the shortest possible value (one word, or up to the first quote)
/// or gives up.
#[inline(always)]
pub(super) fn scan<'a>(line: &'a [u8], parts: NcsaParts, record: &mut Record<'a>) -> Option<()> {
    // Without control characters, the blank is the only white space.
    if !line
        .iter()
        .fold(true, |plain, byte| plain & (*byte >= b' '))
    {
        return None;
    }
    let mut rest = Rest(line);
    let host = match parts.host {
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
    let length = match parts.referrer_and_agent {
        true => rest.word()?,
        false => rest.word_or_end(),
    };
    if length.is_empty() {
        return None;
    }
    if parts.referrer_and_agent {
        rest.expect(b'"')?;
        let referrer = rest.quoted()?;
        rest.expect(b' ')?;
        rest.expect(b'"')?;
        let user_agent = rest.quoted()?;
        if parts.session_time {
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

/// The rest of a line without control characters. Each method takes a part and the blank after it.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Takes `length` bytes and a blank.
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b" ")?;
        Some(part)
    }

    /// Takes a short word: `memchr` would take longer to start than to find the blank.
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

    /// Takes a word, or the rest of the line. Either may be empty.
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

    /// Takes a host, which may be empty, and skips its port.
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

    /// Takes `[14/May/2024:06:25:24 +0200]`. It must have this length, so the brackets need no
    /// search.
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

    /// Takes everything up to the next quote, and the quote.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let length = memchr(b'"', self.0)?;
        let (part, rest) = self.0.split_at(length);
        self.0 = &rest[1..];
        Some(part)
    }

    /// Takes seconds or `-`. The last field needs no blank after it.
    fn session_time(&mut self) -> Option<&'a [u8]> {
        match self.run(|byte| byte.is_ascii_digit()) {
            0 => self.0.starts_with(b"-").then(|| &self.0[..1]),
            length => Some(&self.0[..length]),
        }
    }

    /// Counts the leading bytes of a kind.
    fn run(&self, kind: impl Fn(u8) -> bool) -> usize {
        self.0
            .iter()
            .position(|byte| !kind(*byte))
            .unwrap_or(self.0.len())
    }
}

/// The bytes that [`IP`] and the host in [`HOST_PORT`] match.
static IN_IP: [bool; 256] = word_bytes_and(b"*.:-", false);
static IN_HOST: [bool; 256] = word_bytes_and(b".-", true);

/// The bytes that `\w` matches, and more.
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bumpalo::Bump;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::format::testing::{mutated_lines, values};
    use crate::format::text::TextFormat;
    use crate::format::{Fit, Format, icecast};

    const LINES: [&str; 10] = [
        r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /index.html HTTP/1.1" 200 5120"#,
        r#"www.example.com:80 203.0.113.9 - al [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 304 -"#,
        r#"2001:db8::8a2e - - [14/May/2024:06:25:24 +0200] "GET /a?b=c HTTP/1.1" 200 77 "-" "Mozilla/5.0 (X11)""#,
        r#"203.0.113.9 - al [4/May/2024:6:5:4 +0200] "GET /a b HTTP/1.1" 404 1 "http://r/?q="x"" "A "B" C""#,
        r#"www.example.com 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "http://r/a b" "M 5.0""#,
        r#"_:8 ::1 - - [14/May/2024:06:25:24 -0130] "HEAD * HTTP/2.0" 500 5 "" """#,
        r#"198.51.100.7 - - [14/May/2024:07:00:03 +0200] "GET /live.mp3 HTTP/1.1" 200 28912384 "-" "VLC/3.0.20" 1807"#,
        r#"198.51.100.7 - dj [14/May/2024:07:00:03 +0200] "SOURCE /jazz ICE/1.0" 200 19 "-" "libshout \" x" -"#,
        r#"2001:db8::42 - admin [14/May/2024:07:04:12 +0000] "GET /a HTTP/1.1" 401 - "http://r/" "Winamp 5.9" 0"#,
        r#"198.51.100.8 - - [14/May/2024:07:00:09 +0200] "GET /live.ogg?sid=7 HTTP/1.0" 200 40960 "-" "Lavf/60" 2"#,
    ];

    /// The formats that use the scanner.
    fn specs() -> impl Iterator<Item = &'static TextSpec> {
        SPECS.iter().chain([&icecast::ORDINARY])
    }

    fn format(name: &str) -> TextFormat {
        let spec = specs().find(|spec| spec.name == name);
        TextFormat::new(spec.expect("a format with a scanner"))
    }

    /// The fields of a line. Asserts that the regex alone finds the same.
    fn read(name: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
        let (format, arena) = (format(name), Bump::new());
        let (mut by_regex, mut by_all) = (Record::default(), Record::default());
        let fit = format.search(line.as_bytes(), &mut by_regex);
        assert_eq!(
            fit,
            format.parse(line.as_bytes(), &arena, &mut by_all),
            "{line}"
        );
        if fit == Fit::Misfit {
            return None;
        }
        assert_eq!(values(&by_regex), values(&by_all), "{line}");
        Some(values(&by_all))
    }

    fn field(name: &str, line: &str, wanted: &str) -> Option<String> {
        let found = read(name, line)?.into_iter().find(|(n, _)| *n == wanted)?;
        Some(found.1)
    }

    #[test]
    fn icecast_lines_give_every_field() {
        let want = [
            ("ip", "198.51.100.7"),
            ("date", "14/May/2024:07:00:03"),
            ("timezone", "+0200"),
            ("path", "/live.mp3"),
            ("status", "200"),
            ("length", "28912384"),
            ("userid", "-"),
            ("referrer", "-"),
            ("user_agent", "VLC/3.0.20"),
            ("method", "GET"),
            ("session_time", "1807"),
        ];
        let got = read("icecast2", LINES[6]).unwrap();
        assert_eq!(got, want.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(format("icecast2").fields().len(), want.len());
    }

    #[test]
    fn the_host_may_be_empty_or_have_a_port() {
        let host = |line: &str| field("common_vhost", line, "host");
        let tail = r#" 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#;
        for (written, want) in [
            ("www.example.com:80", Some("www.example.com")),
            ("a_b-c.d", Some("a_b-c.d")),
            ("büro.example:80", Some("büro.example")),
            (":443", Some("")),
            ("", Some("")),
            ("www.example.com:", None),
            ("www.example.com:http", None),
            ("www example.com", None),
            ("[::1]:80", None),
        ] {
            assert_eq!(
                host(&format!("{written}{tail}")).as_deref(),
                want,
                "{written}"
            );
        }
    }

    #[test]
    fn a_quoted_field_ends_at_the_first_quote_that_lets_the_rest_fit() {
        let agent = |line: &str| field("ncsa_extended", line, "user_agent");
        let with = |quoted: &str| {
            format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 {quoted}"#)
        };
        assert_eq!(agent(&with(r#""-" "A "B" C""#)).as_deref(), Some("A "));
        assert_eq!(agent(&with(r#""a" b" "c""#)).as_deref(), Some("c"));
        assert_eq!(agent(&with(r#""" """#)).as_deref(), Some(""));
        assert_eq!(agent(&with(r#""-" "no end"#)), None);
        let icecast = with(r#""-" "A "B" C" 7"#);
        assert_eq!(
            field("icecast2", &icecast, "user_agent").as_deref(),
            Some("A \"B\" C")
        );
    }

    #[test]
    fn a_path_may_contain_blanks_and_quotes() {
        let path = |request: &str| {
            let line = format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "{request}" 200 5"#);
            field("common", &line, "path")
        };
        assert_eq!(path("GET /a b  c HTTP/1.1").as_deref(), Some("/a b  c"));
        assert_eq!(path(r#"GET /a"b HTTP/1.1"#).as_deref(), Some("/a\"b"));
        assert_eq!(path("GET   /a\t HTTP/1.1").as_deref(), Some("/a"));
        assert_eq!(path("GET  HTTP/1.1").as_deref(), Some(""));
        assert_eq!(path("GET /a"), None);
        assert_eq!(path("-"), None);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let line = b"::1 - \xe9 [14/May/2024:06:25:24 +0200] \"GET /caf\xe9 b HTTP/1.1\" 200 5 \"\xff\" \"A \xe9\"";
        let (format, arena, mut record) = (format("ncsa_extended"), Bump::new(), Record::default());
        assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
        assert_eq!(record.get(Field::Path), Some(&b"/caf\xe9 b"[..]));
        assert_eq!(record.get(Field::Userid), Some(&b"\xe9"[..]));
        assert_eq!(record.get(Field::Referrer), Some(&b"\xff"[..]));
        assert_eq!(record.get(Field::UserAgent), Some(&b"A \xe9"[..]));
    }

    #[test]
    fn any_white_space_separates_and_the_rest_of_the_line_is_ignored() {
        let line = "::1\t-   - \x0b[14/May/2024:06:25:24  -0130]  \"GET / HTTP/1.1\"  200   5\r";
        assert_eq!(field("common", line, "timezone").as_deref(), Some("-0130"));
        assert_eq!(field("common", line, "length").as_deref(), Some("5"));
        let longer = format!("{}  anything", LINES[2]);
        assert_eq!(
            read("ncsa_extended", &longer),
            read("ncsa_extended", LINES[2])
        );
    }

    #[test]
    fn garbage_does_not_fit() {
        for line in [
            "",
            " ",
            "\0\0\0\0\0\0",
            "this is not a log line",
            "# a comment",
        ] {
            for spec in specs() {
                assert_eq!(read(spec.name, line), None, "{} {line}", spec.name);
            }
        }
    }

    #[test]
    fn any_number_after_the_user_agent_is_listening_time() {
        let line = format!("{} 0.005", LINES[2]);
        assert_eq!(
            field("icecast2", &line, "session_time").as_deref(),
            Some("0")
        );
        assert_eq!(
            field("icecast2", LINES[7], "session_time").as_deref(),
            Some("-")
        );
        assert_eq!(read("icecast2", LINES[2]), None);
    }

    /// Also checks that enough lines fit, and that the scanner reads enough of them.
    #[test]
    fn the_scanner_agrees_with_the_regex_on_any_line() {
        for spec in specs() {
            let (format, arena) = (TextFormat::new(spec), Bump::new());
            let (lines, fitting, scanned) = (Cell::new(0), Cell::new(0), Cell::new(0));
            let own: &'static [&'static str] = match spec.name {
                "common" => &[LINES[0], LINES[2], LINES[3], LINES[6], LINES[8]],
                "common_vhost" => &[LINES[1], LINES[4], LINES[5]],
                "ncsa_extended" => &[LINES[2], LINES[3], LINES[6], LINES[7], LINES[8]],
                "common_complete" => &LINES[4..6],
                _ => &LINES[6..],
            };
            let mut runner = TestRunner::new(Config {
                cases: 4000,
                failure_persistence: None,
                ..Config::default()
            });
            let outcome = runner.run(&mutated_lines(own), |line| {
                let (mut by_regex, mut by_scan, mut by_all) =
                    (Record::default(), Record::default(), Record::default());
                let fit = format.search(&line, &mut by_regex);
                let is_scanned = spec.scan.is_some_and(|scan| scan(&line, &mut by_scan));
                assert_eq!(format.parse(&line, &arena, &mut by_all), fit);
                if is_scanned {
                    assert_eq!(fit, Fit::Record);
                    assert_eq!(values(&by_scan), values(&by_regex));
                } else {
                    assert_eq!(values(&by_scan), [], "the record is left alone");
                }
                lines.set(lines.get() + 1);
                fitting.set(fitting.get() + u32::from(fit == Fit::Record));
                scanned.set(scanned.get() + u32::from(is_scanned));
                Ok(())
            });
            outcome.unwrap();
            let shares = [fitting.get(), scanned.get()].map(|n| n * 100 / lines.get());
            assert!(shares[0] >= 34, "{}: only {}% fit", spec.name, shares[0]);
            assert!(
                shares[1] >= 30,
                "{}: only {}% scanned",
                spec.name,
                shares[1]
            );
        }
    }
}
