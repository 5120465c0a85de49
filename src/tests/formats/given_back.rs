//! What `--dump-log-regex` prints, given back with `--log-format-regex` and `--log-date-format`, reads every line
//! of the fixtures as the format itself does.
//!
//! What a regex cannot say stays out: the category of CloudFront's events and the status of lines that have none
//! (no text of the line says so), and agents are read as they stand in the line, not decoded. Python's `\s`, `\d`
//! and `\w` are wider than those of bytes: they know U+001C to U+001F, and letters, digits and blanks beyond ASCII.

use super::*;
use crate::format::Field;
use crate::format::custom::Custom;
use crate::format::date::Strptime;
use crate::format::registry::FormatOptions;
use crate::format::testing::changed_lines;
use crate::format::{Wanted, json};
use crate::import::dump::described;
use crate::import::format_selector::FormatChoice;
use crate::import::format_selector::FormatSelector;

/// The fields of a line as its bytes, and its moment in seconds since 1970.
type Captured = (Vec<(Field, Vec<u8>)>, Option<i64>);

fn captured(format: &dyn Format, hit: &HitOptions, line: &[u8]) -> Option<Captured> {
    let (arena, mut record) = (Bump::new(), Record::default());
    if format.parse(line, &arena, &mut record) == Fit::Misfit {
        return None;
    }
    if let Some(raw) = record.raw_agent() {
        record.set(Field::UserAgent, raw);
    }
    let value = |field: Field| Some((field, record.get(field)?.to_vec()));
    let mut fields: Vec<_> = Field::ALL.into_iter().filter_map(value).collect();
    fields.retain(|(field, _)| *field != Field::EventCategory);
    Some((fields, hit.time(&record, format.dates())))
}

/// What is printed behind a label.
fn printed<'p>(text: &'p str, label: &str) -> Option<&'p str> {
    text.lines().find_map(|line| line.strip_prefix(label))
}

/// The user's own format, made from what is printed of a format.
fn given_back(format: &dyn Format) -> crate::error::Result<Custom> {
    let choice = FormatChoice::Named(format.name().to_owned());
    let chooser = FormatSelector::new(choice, FormatOptions::default()).unwrap();
    let text = described(format, &chooser);
    assert_eq!(printed(&text, "format: "), Some(format.name()));
    let regex = printed(&text, "regex: ").expect("a regex");
    let dates = printed(&text, "date format: ").expect("a date format");
    Custom::new(regex, Some(Strptime::new(dates)?), &Wanted::default())
}

#[test]
fn a_regex_that_is_given_back_captures_what_its_format_does() {
    for fixture in Fixture::all() {
        let mut way = fixture.way();
        if way.format.regex().is_none() && way.format.ready() {
            continue;
        }
        let mut given = way.format.ready().then(|| given_back(way.format.as_ref()));
        let mut fitting = 0;
        for (line, expected) in fixture.lines.iter().zip(&fixture.expected.lines) {
            let place = format!("{}:{} ({})", fixture.name, expected.line, expected.what);
            if expected.dropped.as_deref() == Some("Header") {
                way.format.header(line).unwrap();
                given = way.format.ready().then(|| given_back(way.format.as_ref()));
                continue;
            }
            let own = captured(way.format.as_ref(), &way.hit, line);
            match given.as_ref().expect("a header came first") {
                Ok(given) => {
                    let theirs = captured(given, &way.hit, line).map(with_status);
                    assert_eq!(theirs, own, "{place}");
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
fn it_captures_the_same_of_changed_lines() {
    for section in Section::all() {
        let format = section.way.format.as_ref();
        let Some(given) = format.regex().and_then(|_| given_back(format).ok()) else {
            continue;
        };
        let lines: &'static [Vec<u8>] = section.lines.leak();
        let outcome = runner(1000).run(&changed_lines(lines), |line| {
            // A line feed never comes: it would have ended the line.
            let left_out = |byte: &u8| !byte.is_ascii() || matches!(byte, 0x1c..0x20 | b'\n');
            if !line.iter().any(left_out) {
                let own = captured(format, &section.way.hit, &line);
                let theirs = captured(&given, &section.way.hit, &line).map(with_status);
                // The regex is that of the ordinary line; a splice may make one that was cut off, which fits all the same.
                let is_variant = format.name() == "icecast2" && theirs.is_none();
                if !is_variant {
                    proptest::prop_assert_eq!(theirs, own, "{}", section.name);
                }
            }
            Ok(())
        });
        outcome.unwrap();
    }
}

/// Where Incapsula writes an empty status, 200 is meant; the regex has it empty.
fn with_status((mut fields, time): Captured) -> Captured {
    for (field, value) in &mut fields {
        if *field == Field::Status && value.is_empty() {
            *value = b"200".to_vec();
        }
    }
    (fields, time)
}

#[test]
fn json_formats_say_that_they_have_no_regex() {
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
