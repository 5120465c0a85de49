//! Formats whose values have labels and may come in any order: LTSV and Heroku's router; see
//! guide/formats.md, "Formats with labels".
//!
//! No [`template`](super::template) describes them, because a template has one order.

use bumpalo::Bump;
use memchr::memchr;

use super::date::DateFormat;
use super::escapes::undo_escapes;
use super::layout::split_request;
use super::{Field, Fit, Format, Record, Wanted, is_absent};

/// A format of this kind as data.
#[derive(Debug)]
struct LabelTable {
    name: &'static str,
    syntax: Syntax,
    labels: &'static [(&'static str, Labelled)],
}

/// How labels and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// `label:value`, with tabs between them.
    Ltsv,
    /// A header, and `label=value` with blanks between them. A value may be quoted.
    Heroku,
}

/// What the value of a label is.
#[derive(Clone, Copy, Debug)]
enum Labelled {
    Value(Field),
    /// The field, unless another label has it.
    Otherwise(Field),
    /// Method, path and protocol.
    RequestLine,
    /// A date in brackets.
    BracketedDate,
    /// A number with the unit `ms`.
    Milliseconds,
    /// The address, and those of proxies.
    ForwardedAddress,
}

static TABLES: [LabelTable; 2] = [
    LabelTable {
        name: "ltsv",
        syntax: Syntax::Ltsv,
        labels: &[
            ("time", Labelled::BracketedDate),
            ("host", Labelled::Value(Field::Ip)),
            ("forwardedfor", Labelled::Value(Field::ForwardedFor)),
            ("user", Labelled::Value(Field::Userid)),
            ("req", Labelled::RequestLine),
            ("method", Labelled::Value(Field::Method)),
            ("uri", Labelled::Value(Field::Path)),
            ("scheme", Labelled::Value(Field::Scheme)),
            ("status", Labelled::Value(Field::Status)),
            ("size", Labelled::Value(Field::Length)),
            ("referer", Labelled::Value(Field::Referrer)),
            ("ua", Labelled::Value(Field::UserAgent)),
            ("vhost", Labelled::Value(Field::Host)),
            (
                "reqtime_microsec",
                Labelled::Value(Field::GenerationTimeMicro),
            ),
            ("reqtime", Labelled::Value(Field::GenerationTimeSecs)),
            ("apptime", Labelled::Otherwise(Field::GenerationTimeSecs)),
        ],
    },
    LabelTable {
        name: "heroku",
        syntax: Syntax::Heroku,
        labels: &[
            ("method", Labelled::Value(Field::Method)),
            ("path", Labelled::Value(Field::Path)),
            ("host", Labelled::Value(Field::Host)),
            ("fwd", Labelled::ForwardedAddress),
            ("service", Labelled::Milliseconds),
            ("status", Labelled::Value(Field::Status)),
            ("bytes", Labelled::Value(Field::Length)),
            ("protocol", Labelled::Value(Field::Scheme)),
        ],
    },
];

/// Reads the lines of one table.
#[derive(Debug)]
struct LabelFormat {
    table: &'static LabelTable,
    fields: Vec<Field>,
    wanted: Wanted,
}

/// The formats of this kind.
pub fn formats(wanted: &Wanted) -> impl Iterator<Item = Box<dyn Format>> {
    TABLES.iter().map(|table| {
        let format = LabelFormat {
            table,
            fields: table.fields(),
            wanted: wanted.clone(),
        };
        Box::new(format) as Box<dyn Format>
    })
}

impl LabelTable {
    fn fields(&self) -> Vec<Field> {
        let mut fields = vec![Field::Date];
        for (_, labelled) in self.labels {
            match labelled {
                Labelled::Value(field) | Labelled::Otherwise(field) => fields.push(*field),
                Labelled::RequestLine => fields.extend([Field::Method, Field::Path]),
                Labelled::BracketedDate => {}
                Labelled::Milliseconds => fields.push(Field::GenerationTimeMilli),
                Labelled::ForwardedAddress => fields.extend([Field::Ip, Field::ForwardedFor]),
            }
        }
        fields.sort_unstable();
        fields.dedup();
        fields
    }
}

impl Syntax {
    /// What precedes the labels, if it is a line of this kind, and the rest of the line.
    fn begin(self, line: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
        match self {
            Syntax::Ltsv => {
                let colon = line.iter().position(|byte| !is_of_label(*byte))?;
                let is_label = colon > 0 && line[colon] == b':';
                (is_label && memchr(b'\t', line).is_some()).then_some((None, line))
            }
            Syntax::Heroku => {
                let (date, labels) = heroku_header(line)?;
                Some((Some(date), labels))
            }
        }
    }

    /// Takes a label with its value from the rest of a line. Text without a label is passed over.
    fn next<'a>(self, rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (between, sign) = match self {
            Syntax::Ltsv => (b'\t', b':'),
            Syntax::Heroku => (b' ', b'='),
        };
        while !rest.is_empty() {
            let label = rest.iter().take_while(|byte| is_of_label(**byte)).count();
            let (label, after) = rest.split_at(label);
            let value = after.strip_prefix(&[sign]).filter(|_| !label.is_empty());
            let quoted = value.and_then(|value| value.strip_prefix(b"\""));
            if let (Syntax::Heroku, Some(quoted)) = (self, quoted)
                && let Some(end) = end_of_quoted(quoted)
            {
                *rest = &quoted[end + 1..];
                return Some((label, &quoted[..end]));
            }
            let text = value.unwrap_or(after);
            let end = memchr(between, text);
            *rest = end.map_or(&[], |end| &text[end + 1..]);
            if let Some(value) = value {
                return Some((label, &value[..end.unwrap_or(value.len())]));
            }
        }
        None
    }
}

/// The date and the labels of a line of Heroku's router, as the command line shows it or as a drain
/// sends it: with the header of RFC 5424, but without structured data, and perhaps with the length
/// in front.
///
/// <https://devcenter.heroku.com/articles/log-drains#https-drains>
fn heroku_header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (date, rest) = split_word(line)?;
    if let Some(labels) = rest.strip_prefix(b"heroku[router]: ") {
        return Some((date, labels));
    }
    let has_length = date.iter().all(u8::is_ascii_digit);
    let (priority, rest) = split_word(if has_length { rest } else { line })?;
    let priority = priority.strip_prefix(b"<")?.strip_suffix(b">1")?;
    if priority.is_empty() || !priority.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (date, rest) = split_word(rest)?;
    let (_host, rest) = split_word(rest)?;
    Some((date, rest.strip_prefix(b"heroku router - ")?))
}

/// A word and what follows the blank after it.
fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', text).filter(|end| *end > 0)?;
    Some((&text[..end], &text[end + 1..]))
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)
}

/// The place of the first quote that no backslash escapes.
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    })
}

impl LabelFormat {
    fn put<'a>(&'a self, label: &[u8], value: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) {
        let plain = |value| undo_escapes(value, arena).unwrap_or(value);
        let labels = self.table.labels.iter();
        let labelled = labels.clone().find(|(name, _)| name.as_bytes() == label);
        let Some((_, labelled)) = labelled else {
            let mut names = self.wanted.0.iter();
            if let Some(name) = names.find(|name| name.as_bytes() == label) {
                record.set_extra(name, plain(value));
            }
            return;
        };
        match *labelled {
            Labelled::Value(Field::UserAgent) => {
                record.set_raw_agent(value);
                record.set(Field::UserAgent, plain(value));
            }
            Labelled::Value(field) => record.set(field, plain(value)),
            Labelled::Otherwise(field) => {
                if record.get(field).is_none_or(is_absent) {
                    record.set(field, value);
                }
            }
            Labelled::RequestLine => {
                let (method, path) = split_request(value);
                record.set(Field::Path, plain(path));
                if let Some(method) = method {
                    record.set(Field::Method, method);
                }
            }
            Labelled::BracketedDate => {
                let date = value.strip_prefix(b"[").unwrap_or(value);
                record.set(Field::Date, date.strip_suffix(b"]").unwrap_or(date));
            }
            Labelled::Milliseconds => {
                let number = value.strip_suffix(b"ms").unwrap_or(value);
                record.set(Field::GenerationTimeMilli, number);
            }
            Labelled::ForwardedAddress => {
                record.set(Field::Ip, value);
                record.set(Field::ForwardedFor, value);
            }
        }
    }
}

impl Format for LabelFormat {
    fn name(&self) -> &'static str {
        self.table.name
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        let Some((date, mut rest)) = self.table.syntax.begin(line) else {
            return Fit::Misfit;
        };
        if let Some(date) = date {
            record.set(Field::Date, date);
        }
        while let Some((label, value)) = self.table.syntax.next(&mut rest) {
            self.put(label, value, arena, record);
        }
        match record.has_required() {
            true => Fit::Record,
            false => Fit::Misfit,
        }
    }

    fn dates(&self) -> &DateFormat {
        &DateFormat::Json
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The zone is part of the date.
    fn has(&self, field: Field) -> bool {
        field == Field::Timezone || self.fields.contains(&field)
    }

    fn regex(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::values;

    fn read(name: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
        let wanted = Wanted(vec!["x".to_owned()]);
        let format = formats(&wanted)
            .find(|format| format.name() == name)
            .unwrap();
        let (arena, mut record) = (Bump::new(), Record::default());
        let fit = format.parse(line.as_bytes(), &arena, &mut record);
        let x = record
            .extra("x")
            .map(|it| String::from_utf8_lossy(it).into_owned());
        let x = x.map(|x| ("x", x));
        (fit == Fit::Record).then(|| values(&record).into_iter().chain(x).collect())
    }

    fn owned(values: &[(&'static str, &str)]) -> Option<Vec<(&'static str, String)>> {
        let values = values
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Some(values.collect())
    }

    #[test]
    fn labels_may_come_in_any_order() {
        let want = owned(&[
            ("ip", "::1"),
            ("date", "14/May/2024:06:25:24 +0200"),
            ("path", "/a:b"),
            ("status", "200"),
            ("user_agent", "M \"1\""),
            ("method", "GET"),
            ("generation_time_secs", "0.2"),
            ("x", ""),
        ]);
        let pairs = [
            "time:[14/May/2024:06:25:24 +0200]",
            "host:::1",
            "req:GET /a:b HTTP/1.1",
            "status:200",
            "ua:M \\\"1\\\"",
            "reqtime:0.2",
            "x:",
            "other:9",
        ];
        for first in 0..pairs.len() {
            let mut pairs = pairs;
            pairs.rotate_left(first);
            assert_eq!(read("ltsv", &pairs.join("\t")), want, "{first}");
        }
    }

    #[test]
    fn the_time_of_the_request_wins_over_that_of_the_application() {
        let line = "time:2024-05-14T06:25:24Z\thost:::1\turi:/\tstatus:200";
        for (times, want) in [
            ("reqtime:0.2\tapptime:0.1", "0.2"),
            ("apptime:0.1\treqtime:0.2", "0.2"),
            ("reqtime:-\tapptime:0.1", "0.1"),
            ("apptime:0.1", "0.1"),
        ] {
            let found = read("ltsv", &format!("{line}\t{times}")).unwrap();
            assert!(
                found.contains(&("generation_time_secs", want.to_owned())),
                "{times}"
            );
        }
    }

    #[test]
    fn values_of_heroku_may_be_quoted() {
        let line = r#"2024-05-14T06:25:24.1+00:00 heroku[router]: at=error code=H12 desc="a \" b=c" method=GET path="/a?b=c d" host=h.example fwd="203.0.113.9, 10.0.0.1" junk service=21ms status=503 bytes= x="1" protocol=https"#;
        let want = owned(&[
            ("ip", "203.0.113.9, 10.0.0.1"),
            ("date", "2024-05-14T06:25:24.1+00:00"),
            ("path", "/a?b=c d"),
            ("status", "503"),
            ("length", ""),
            ("host", "h.example"),
            ("method", "GET"),
            ("generation_time_milli", "21"),
            ("scheme", "https"),
            ("x_forwarded_for", "203.0.113.9, 10.0.0.1"),
            ("x", "1"),
        ]);
        assert_eq!(read("heroku", line), want);
    }

    #[test]
    fn drains_of_heroku_have_a_header_of_syslog() {
        let labels = "at=info method=GET path=/a host=h fwd=::1 status=200";
        let date = "2024-05-14T06:25:24.1+00:00";
        let read = |header: &str| read("heroku", &format!("{header}{labels}"));
        let want = read(&format!("{date} heroku[router]: "));
        assert!(want.is_some());
        let drain = format!("{date} host heroku router - ");
        for header in ["<158>1 ", "282 <158>1 ", "9 <0>1 "] {
            assert_eq!(read(&format!("{header}{drain}")), want, "{header}");
        }
        for header in [
            "",
            "<158>",
            "<158>2 ",
            "<>1 ",
            "<a>1 ",
            "a <158>1 ",
            "282  <158>1 ",
        ] {
            assert_eq!(read(&format!("{header}{drain}")), None, "{header}");
        }
        for drain in [
            "host app web.1 - ",
            "host heroku web.1 - ",
            "",
            " heroku router - ",
        ] {
            assert_eq!(read(&format!("<158>1 {date} {drain}")), None, "{drain}");
        }
    }

    #[test]
    fn other_lines_do_not_fit() {
        for line in [
            "",
            "\t",
            "time:[14/May/2024:06:25:24 +0200]",
            "time:1 host:::1 uri:/ status:200",
            ":a\ttime:1\thost:::1\turi:/\tstatus:200",
            "2024-05-14\t06:25:24\t203.0.113.9\t/a\t200",
            "2024-05-14T06:25:24Z heroku[web.1]: method=GET path=/ fwd=::1 status=200",
            "2024-05-14T06:25:24Z heroku[router]: method=GET path=/ fwd=::1",
            "2024-05-14T06:25:24Z heroku[router]: \"",
        ] {
            assert_eq!(read("ltsv", line), None, "{line}");
            assert_eq!(read("heroku", line), None, "{line}");
        }
    }
}
