//! Icecast's access log, and Icecast-KH's variant `CLF-ESC`, which percent-encodes its fields
//! instead of quoting them. See guide/formats.md, "Icecast".

use bumpalo::Bump;

use super::date::DateFormat;
use super::escapes::percent_decoded;
use super::layout::split_request;
use super::text::{TextFormat, TextSpec};
use super::{Field, Fit, Format, Record};

pub(super) static ORDINARY: TextSpec = TextSpec::new(
    "icecast2",
    concat!(
        r#"$remote_addr $identity $remote_user [$time_local] "$request" $status "#,
        r#"$bytes_sent "$http_referer" "$http_user_agent" $session_time"#
    ),
);

/// The format `icecast2`. Lines that do not fit the ordinary format are tried as `CLF-ESC`.
#[derive(Debug)]
pub struct Icecast {
    ordinary: TextFormat,
}

impl Icecast {
    pub fn new() -> Self {
        Self {
            ordinary: TextFormat::new(&ORDINARY),
        }
    }
}

impl Format for Icecast {
    fn name(&self) -> &'static str {
        self.ordinary.name()
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if self.ordinary.parse(line, arena, record) == Fit::Record {
            return Fit::Record;
        }
        match parse_clf_esc(line, arena) {
            Some(parsed) => {
                *record = parsed;
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

    fn may_have_extra(&self, name: &str) -> bool {
        self.ordinary.may_have_extra(name)
    }

    /// Many servers write a number there, but not as the last word.
    fn recognizes(&self, _line: &[u8], record: &Record) -> bool {
        record.is_whole()
    }

    /// The regex of the ordinary format.
    fn regex(&self) -> Option<String> {
        self.ordinary.regex()
    }
}

/// Parses a line of `CLF-ESC`: `ip ident user date request status length referrer agent seconds`,
/// each percent-encoded. The blank in the date may be unencoded.
fn parse_clf_esc<'a>(line: &'a [u8], arena: &'a Bump) -> Option<Record<'a>> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| percent_decoded(word, 1, arena).unwrap_or(word));
    let ip = words.next().filter(|ip| ip.iter().all(is_of_ip))?;
    let _ident = words.next()?;
    let userid = words.next()?;
    let date = words.next()?;
    let (date, timezone) = match split_at_blank(date) {
        Some(split) => split,
        None => (date, words.next()?),
    };
    let (Some(method), path) = split_request(words.next()?) else {
        return None;
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
    // Any line with so many words comes this far. A valid date shows that it is one of these.
    DateFormat::Clf.read(&record).map(|_| record)
}

/// Whether an address or a host name may have the byte.
fn is_of_ip(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_*.:-".contains(byte)
}

/// Splits at the first blank.
fn split_at_blank(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..blank], &text[blank + 1..]))
}

/// The digits or the dash at the beginning of a word.
fn seconds(word: &[u8]) -> Option<&[u8]> {
    match word.iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => word.starts_with(b"-").then_some(&word[..1]),
        digits => Some(&word[..digits]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::registry::{FormatOptions, by_name};
    use crate::format::testing::{mutated_lines, values};

    fn format() -> Box<dyn Format> {
        by_name("icecast2", &FormatOptions::default()).unwrap()
    }

    fn read(line: &str) -> Option<Vec<(&'static str, String)>> {
        let (format, arena, mut record) = (format(), Bump::new(), Record::default());
        let fit = format.parse(line.as_bytes(), &arena, &mut record);
        (fit == Fit::Record).then(|| values(&record))
    }

    fn field(line: &str, name: &str) -> Option<String> {
        let found = read(line)?.into_iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }

    /// A line of Icecast-KH, which cuts the request off at 235 bytes.
    fn kh(request: &str) -> String {
        let request = &request[..request.len().min(235)];
        format!(
            r#"198.51.100.7 - - [14/May/2024:07:00:03 +0200] "{request}" 200 28912384 "-" "VLC/3.0.20" 1807"#
        )
    }

    #[test]
    fn a_request_that_is_cut_off_lacks_its_protocol() {
        let whole = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length));
        for (length, kept) in [
            // Complete; cut within the protocol; cut after the blank before it; cut before that
            // blank.
            (221, 222),
            (228, 229),
            (230, 231),
            (231, 231),
            (232, 231),
            (1000, 231),
        ] {
            let line = kh(&whole(length));
            let path = field(&line, "path").unwrap();
            assert_eq!(path.len(), kept.min(length + 1), "{length}");
            assert_eq!(field(&line, "session_time").as_deref(), Some("1807"));
            assert_eq!(field(&line, "method").as_deref(), Some("GET"));
            assert_eq!(field(&line, "user_agent").as_deref(), Some("VLC/3.0.20"));
        }
    }

    #[test]
    fn a_cut_request_may_contain_quotes_and_a_query() {
        let query = format!("/live?q=\"{}\"&n=", "é".repeat(100));
        let line = kh(&format!("SOURCE {query}{} ICE/1.0", "1".repeat(200)));
        let path = field(&line, "path").unwrap();
        assert_eq!(path, query + &"1".repeat(15));
        assert_eq!(field(&line, "status").as_deref(), Some("200"));
        assert_eq!(field(&line, "length").as_deref(), Some("28912384"));
    }

    #[test]
    fn a_request_may_lack_its_protocol() {
        let path = |request: &str| field(&kh(request), "path");
        assert_eq!(path("GET /live.mp3").as_deref(), Some("/live.mp3"));
        assert_eq!(path("GET /live.mp3 ").as_deref(), Some("/live.mp3"));
        for odd in ["GET", "-", ""] {
            assert_eq!(path(odd).as_deref(), Some(odd));
            assert_eq!(field(&kh(odd), "method"), None);
        }
    }

    #[test]
    fn quotes_need_not_be_escaped() {
        let line = r#"- - - [14/May/2024:07:00:03 +0200] "GET /live?a="b" HTTP/1.1" 200 5 "http://r/?q="x"" "My "best" player" 17"#;
        for (name, value) in [
            ("ip", "-"),
            ("path", "/live?a=\"b\""),
            ("referrer", "http://r/?q=\"x\""),
            ("user_agent", "My \"best\" player"),
            ("session_time", "17"),
        ] {
            assert_eq!(field(line, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn clf_esc_fields_have_no_quotes_and_brackets() {
        let want = [
            ("ip", "2001:db8::42"),
            ("date", "14/May/2024:00:00:05"),
            ("timezone", "+0200"),
            ("path", "/live%20one.mp3?sid=7"),
            ("status", "200"),
            ("length", "4096"),
            ("userid", "my dj"),
            ("referrer", "http://r/a b"),
            ("user_agent", "VLC/3.0.20 \"LibVLC\""),
            ("method", "GET"),
            ("session_time", "1807"),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let behind = "GET%20/live%2520one.mp3%3Fsid=7%20HTTP/1.1 200 4096 http%3A//r/a%20b VLC/3.0.20%20%22LibVLC%22 1807";
        for date in [
            "14/May/2024:00:00:05%20+0200",
            "14/May/2024:00:00:05 +0200",
            "14%2fMay%2f2024%3A00%3a00%3A05%20%2B0200",
        ] {
            let line = format!("2001:db8::42 - my%20dj {date} {behind}");
            assert_eq!(read(&line).as_deref(), Some(&want[..]), "{date}");
            let encoded = line.replace("::", "%3A%3A").replace(' ', "\t ");
            assert_eq!(read(&encoded).as_deref(), Some(&want[..]), "{date}");
        }
    }

    #[test]
    fn a_clf_esc_request_may_be_cut_off_too() {
        let path = |request: &str| {
            field(
                &format!("- - - 14/May/2024:00:00:05%20+0200 {request} 200 1 - - -"),
                "path",
            )
        };
        assert_eq!(path("GET%20/live").as_deref(), Some("/live"));
        assert_eq!(path("GET%20/live%20").as_deref(), Some("/live"));
        assert_eq!(path("GET%20/a%20b%20HT").as_deref(), Some("/a b"));
        assert_eq!(path("GET%20/a%2").as_deref(), Some("/a%2"));
        assert_eq!(path("GET"), None);
        assert_eq!(path("-"), None);
    }

    #[test]
    fn words_without_a_date_and_seconds_in_their_places_do_not_fit() {
        let good = "192.0.2.1 - - 14/May/2024:00:00:05%20+0200 GET%20/live%20HTTP/1.1 200 5 - A 17";
        assert!(read(good).is_some());
        assert_eq!(
            field(&good.replace("17", "-"), "session_time").as_deref(),
            Some("-")
        );
        assert_eq!(
            field(&good.replace("17", "-17"), "session_time").as_deref(),
            Some("-")
        );
        for (part, other) in [
            ("14/May/2024", "14/Mai/2024"),
            ("14/May/2024", "2024-05-14"),
            ("+0200", "CEST"),
            ("%20+0200", ""),
            ("GET%20/live%20HTTP/1.1", "GET"),
            (" 200 5", " OK 5"),
            ("17", "seconds"),
            (" 17", ""),
            ("192.0.2.1", "[::1]"),
        ] {
            assert_eq!(read(&good.replace(part, other)), None, "{other}");
        }
    }

    #[test]
    fn the_regex_and_the_fields_are_those_of_the_ordinary_format() {
        assert_eq!(format().regex(), TextFormat::new(&ORDINARY).regex());
        assert_eq!(format().richness(), 11);
    }

    const LINES: [&str; 4] = [
        r#"198.51.100.7 - - [14/May/2024:07:00:03 +0200] "GET /live.mp3 HTTP/1.1" 200 28912384 "-" "VLC/3.0.20" 1807"#,
        "192.0.2.1 - - 14/May/2024:00:00:05%20+0200 GET%20/live%20HTTP/1.1 200 5 - VLC%2F3 17",
        "2001:db8::1 - dj%20x 14/May/2024:00:00:05 +0200 SOURCE%20/live%20ICE/1.0 200 5 http:%2f%2fr/ %5C%22 -",
        r#"- - - [14/May/2024:07:00:03 +0200] "GET /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" 200 5 "-" "A "B" C" 7"#,
    ];

    proptest! {
        #[test]
        fn the_variant_does_not_change_how_ordinary_lines_are_read(line in mutated_lines(&LINES)) {
            let (format, ordinary, arena) = (format(), TextFormat::new(&ORDINARY), Bump::new());
            let (mut by_all, mut by_ordinary) = (Record::default(), Record::default());
            let fit = format.parse(&line, &arena, &mut by_all);
            if ordinary.parse(&line, &arena, &mut by_ordinary) == Fit::Record {
                prop_assert_eq!(fit, Fit::Record);
                prop_assert_eq!(values(&by_all), values(&by_ordinary));
            }
        }
    }
}
