//! The output of `--dump-log-regex`, passed to `--log-format-regex` and `--log-date-format`, parses
//! every line of the fixtures as the format does.
//!
//! A regex cannot express everything, so these are not compared: requests without a protocol, lines
//! with a host before the address, addresses beside forwarded ones, the category of CloudFront
//! events, the status of lines without one, dates that a pattern does not read, and decoded user
//! agents; escapes and doubled percent signs are undone in what the regex captures. Python's `\s`,
//! `\d` and `\w` also match U+001C to U+001F and non-ASCII letters, digits and blanks.

use std::cell::Cell;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::*;
use crate::format::Field;
use crate::format::custom::Custom;
use crate::format::date::{DateFormat, Strptime};
use crate::format::escapes::{single_percent, undo_escapes};
use crate::format::registry::FormatOptions;
use crate::format::testing::mutated_lines;
use crate::format::{Wanted, is_absent, json};
use crate::import::dump::described;
use crate::import::format_selector::FormatChoice;
use crate::import::format_selector::FormatSelector;

/// The fields of a line, and its time in seconds since 1970.
type ParsedLine = (Vec<(Field, Vec<u8>)>, Option<i64>);

fn captured(format: &dyn Format, hit: &HitOptions, line: &[u8]) -> Option<ParsedLine> {
    let (arena, mut record) = (Bump::new(), Record::default());
    if format.parse(line, &arena, &mut record) == Fit::Misfit {
        return None;
    }
    if let Some(raw) = record.raw_agent() {
        record.set(Field::UserAgent, raw);
    }
    if record
        .get(Field::ForwardedFor)
        .is_some_and(|it| !is_absent(it))
    {
        record.forget(Field::Ip);
    }
    let value = |field: Field| Some((field, record.get(field)?.to_vec()));
    let mut fields: Vec<_> = Field::all().filter_map(value).collect();
    fields.retain(|(field, _)| *field != Field::EventCategory);
    Some((fields, hit.time(&record, format.dates())))
}

/// Undoes the escapes of quoted values.
fn without_escapes((mut fields, time): ParsedLine) -> ParsedLine {
    let arena = Bump::new();
    for (field, value) in &mut fields {
        let is_quoted = matches!(
            field,
            Field::Path
                | Field::Referrer
                | Field::UserAgent
                | Field::Host
                | Field::Ip
                | Field::ForwardedFor
        );
        if let Some(plain) = undo_escapes(value, &arena).filter(|_| is_quoted) {
            *value = plain.to_vec();
        }
    }
    (fields, time)
}

/// Undoes percent signs that are encoded again, as CloudFront writes them, however often.
fn with_plain_percents((mut fields, time): ParsedLine) -> ParsedLine {
    let arena = Bump::new();
    for (field, value) in &mut fields {
        if matches!(field, Field::QueryString | Field::Referrer) {
            while let Some(single) = single_percent(value, &arena) {
                *value = single.to_vec();
            }
        }
    }
    (fields, time)
}

/// Whether a line has a path, a protocol, and a method if the format has one. Always, if these are
/// values of their own.
fn has_whole_request(format: &dyn Format, line: &[u8], own: &ParsedLine) -> bool {
    const REQUESTS: [&str; 2] = [r"(?P<path>.*?)\s+[A-Za-z]+/", r"(?P<path>/.*?)\s+\S+"];
    let regex = format.regex().unwrap_or_default();
    if !REQUESTS.iter().any(|request| regex.contains(request)) {
        return true;
    }
    static PROTOCOL: LazyLock<Regex> = LazyLock::new(|| {
        let protocol = r#"(?-u)\s+[A-Za-z]+/[\d.]+\s*"(?:\s+(?:[^\s"]|"\S)|$)"#;
        Regex::new(protocol).unwrap()
    });
    let value = |wanted| own.0.iter().find(|(field, _)| *field == wanted);
    let path = value(Field::Path).map_or_else(Vec::new, |(_, path)| path.clone());
    let method = value(Field::Method).map(|(_, method)| method);
    let mut ends = PROTOCOL.find_iter(line).map(|found| &line[..found.start()]);
    // The request is the first quoted value. A splice may have made one line of two.
    let quotes = 1 + usize::from(line.starts_with(b"\""));
    let is_first = |before: &[u8]| memchr::memchr_iter(b'"', before).count() == quotes;
    !path.is_empty()
        && ends.any(|end| match (end.strip_suffix(path.as_slice()), method) {
            (Some(before), Some(method)) => {
                is_first(before) && before.ends_with(&[b"\"", &method[..], b" "].concat())
            }
            (Some(before), None) => is_first(before) && !format.has(Field::Method),
            (None, _) => false,
        })
}

/// The text after a label in the output.
fn printed<'p>(text: &'p str, label: &str) -> Option<&'p str> {
    text.lines().find_map(|line| line.strip_prefix(label))
}

/// The format made from the dumped regex of another format.
fn from_dump(format: &dyn Format) -> crate::error::Result<Custom> {
    let choice = FormatChoice::Named(format.name().to_owned());
    let chooser = FormatSelector::new(choice, FormatOptions::default()).unwrap();
    let text = described(format, &chooser);
    assert_eq!(printed(&text, "format: "), Some(format.name()));
    let regex = printed(&text, "regex: ").expect("a regex");
    let dates = printed(&text, "date format: ").expect("a date format");
    Custom::new(regex, Some(Strptime::new(dates)?), &Wanted::default())
}

#[test]
fn a_dumped_regex_captures_what_its_format_does() {
    for fixture in Fixture::all() {
        let mut pipeline = fixture.pipeline();
        if pipeline.format.regex().is_none() && pipeline.format.ready() {
            continue;
        }
        let mut given = pipeline
            .format
            .ready()
            .then(|| from_dump(pipeline.format.as_ref()));
        let mut fitting = 0;
        for (line, expected) in fixture.lines.iter().zip(&fixture.expected.lines) {
            let place = format!("{}:{} ({})", fixture.name, expected.line, expected.what);
            if expected.dropped.as_deref() == Some("Header") {
                pipeline.format.header(line).unwrap();
                given = pipeline
                    .format
                    .ready()
                    .then(|| from_dump(pipeline.format.as_ref()));
                continue;
            }
            let own = captured(pipeline.format.as_ref(), &pipeline.hit, line);
            match given.as_ref().expect("a header came first") {
                Ok(given) => {
                    let theirs = captured(given, &pipeline.hit, line).map(with_status);
                    let is_text = is_text(pipeline.format.as_ref());
                    if is_text
                        && !own.as_ref().is_some_and(|own| {
                            has_whole_request(pipeline.format.as_ref(), line, own)
                        })
                    {
                        continue;
                    }
                    let plain = |it| if is_text { without_escapes(it) } else { it };
                    assert_eq!(theirs.map(plain), own.clone().map(plain), "{place}");
                    fitting += usize::from(own.is_some());
                }
                Err(error) => assert!(
                    fixture.name == "amazon_cloudfront"
                        && error.to_string().contains("lacks (?P<status>"),
                    "{place}: {error}"
                ),
            }
        }
        assert!(fitting >= 10, "{}: {fitting}", fixture.name);
    }
}

#[test]
fn a_dumped_regex_captures_the_same_in_mutated_lines() {
    for section in Section::all() {
        let format = section.pipeline.format.as_ref();
        let Some(given) = format.regex().and_then(|_| from_dump(format).ok()) else {
            continue;
        };
        let lines: &'static [Vec<u8>] = section.lines.leak();
        let compared = Cell::new(0);
        let outcome = runner(1000).run(&mutated_lines(lines), |line| {
            // No line contains a line feed.
            let is_excluded = |byte: &u8| !byte.is_ascii() || matches!(byte, 0x1c..0x20 | b'\n');
            if !line.iter().any(is_excluded) {
                let own = captured(format, &section.pipeline.hit, &line);
                let theirs = captured(&given, &section.pipeline.hit, &line).map(with_status);
                let is_text = is_text(format);
                let is_whole = own
                    .as_ref()
                    .is_some_and(|own| has_whole_request(format, &line, own));
                if !is_text {
                    // No regex reads a line with empty columns.
                    let columns = format
                        .regex()
                        .map_or(0, |it| it.matches(r"\s+").count() + 1);
                    let words = line.split(|byte| byte.is_ascii_whitespace() || *byte == 0x0b);
                    let words = words.filter(|word| !word.is_empty()).count();
                    let has_empty_column = theirs.is_none() && words < columns;
                    if !has_empty_column {
                        let plain = |it: Option<ParsedLine>| it.map(with_plain_percents);
                        let (theirs, own) = (plain(theirs), plain(own));
                        proptest::prop_assert_eq!(theirs, own, "{}", section.name);
                    }
                } else if is_whole {
                    let mut theirs = theirs.map(without_escapes);
                    let mut own = own.map(without_escapes);
                    // Neither reads all that the other does.
                    let reads_others = match format.dates() {
                        DateFormat::Json => true,
                        DateFormat::Strptime(dates) => *dates == Strptime::IIS,
                        _ => false,
                    };
                    if let (Some((_, theirs)), Some((_, own)), true) =
                        (&mut theirs, &mut own, reads_others)
                        && theirs.is_none() != own.is_none()
                    {
                        (*theirs, *own) = (None, None);
                    }
                    proptest::prop_assert_eq!(theirs, own, "{}", section.name);
                    compared.set(compared.get() + 1);
                }
            }
            Ok(())
        });
        outcome.unwrap();
        assert!(!is_text(format) || compared.get() > 300, "{}", section.name);
    }
}

/// Whether a format is a text format, not one of the W3C family.
fn is_text(format: &dyn Format) -> bool {
    !format.has_header() && format.regex().is_some()
}

/// Replaces an empty status of Incapsula, which means 200.
fn with_status((mut fields, time): ParsedLine) -> ParsedLine {
    for (field, value) in &mut fields {
        if *field == Field::Status && value.is_empty() {
            *value = b"200".to_vec();
        }
    }
    (fields, time)
}

#[test]
fn json_formats_have_no_regex_to_dump() {
    for format in json::formats(&Wanted::default()) {
        let choice = FormatChoice::Named(format.name().to_owned());
        let chooser = FormatSelector::new(choice, FormatOptions::default()).unwrap();
        let text = described(format.as_ref(), &chooser);
        assert_eq!(
            printed(&text, "regex: "),
            Some("none, its lines are JSON"),
            "{text}"
        );
    }
}
