//! Properties: a line read by hand gives what the regex for `--dump-log-regex` gives, and no bytes do harm.

use proptest::prelude::*;
use regex::bytes::{Regex, RegexBuilder};

use super::super::options::translated;
use super::*;
use crate::format::custom::LineText;

/// Names of columns: those that some dialect knows, and strangers.
fn column_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        [W3C, IIS, SHOUTCAST, CLOUDFRONT, RTMP, INCAPSULA]
            .iter()
            .flat_map(|header| header.split_whitespace().skip(1))
            .collect::<Vec<_>>(),
    )
}

/// A value that fits a column of that name in most dialects.
fn fitting(name: &str) -> &'static [&'static str] {
    match name {
        "date" => &["2024-05-14", "\"2024-05-14\""],
        "time" => &["06:00:01", "06:00:01.25", "\"06:00:01\"", "\"6:0:1.\""],
        "c-ip" => &["203.0.113.9", "2001:db8::1", "\"203.0.113.9\""],
        "cs-uri-stem" => &["/a", "/", "rtmp://h/a", "rtmp:/a"],
        "cs-uri" => &["\"h/a b\"", "\"/\"", "\"h.example/\"x\" y\""],
        "sc-status" | "c-status" => &["200", "404", "\"200\"", "\"\""],
        "time-taken" | "x-duration" => &["1", "0.25", "-", "\"1.5\""],
        _ => &[
            "x",
            "-",
            "\"x\"",
            "\"x y\"",
            "\"x\" y\"",
            "\"\"",
            "\"",
            "\"x \"y\" z\"",
        ],
    }
}

fn value(name: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        40 => prop::sample::select(fitting(name)).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\"", "\" \"", "a\"b", "200x", "/\"", "-1", "\u{e9}\""]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
    ]
}

fn header_and_line() -> impl Strategy<Value = (Vec<&'static str>, String)> {
    prop::collection::vec(column_name(), 1..9).prop_flat_map(|names| {
        let values: Vec<_> = names.iter().map(|name| value(name)).collect();
        let blanks = prop::collection::vec(
            prop::sample::select(vec![" ", " ", " ", "\t", "  ", "\x0b"]),
            names.len(),
        );
        let tail = prop::sample::select(vec!["", "", " ", "x", " \"x\" /y 200", "\""]);
        (Just(names), values, blanks, tail).prop_map(|(names, values, blanks, tail)| {
            let columns = values.iter().zip(&blanks).enumerate();
            let line: String = columns
                .flat_map(|(at, (value, blank))| {
                    [if at == 0 { "" } else { *blank }, value.as_str()]
                })
                .collect();
            (names, line + tail)
        })
    })
}

/// The fields that the regex of `--dump-log-regex` captures.
fn by_regex<'a>(regex: &Regex, line: &'a [u8]) -> Option<Vec<(Field, &'a [u8])>> {
    let captures = regex.captures(line)?;
    let value = |field: Field| Some((field, captures.name(field.name())?.as_bytes()));
    Some(Field::ALL.into_iter().filter_map(value).collect())
}

fn by_layout<'a>(
    layout: &'a Layout,
    line: &'a [u8],
    arena: &'a Bump,
) -> Option<Vec<(Field, &'a [u8])>> {
    let mut record = Record::default();
    let fits = layout.read(line, arena, &mut record);
    let value = |field: Field| Some((field, record.get(field)?));
    fits.then(|| Field::ALL.into_iter().filter_map(value).collect())
}

fn layout_and_regex(dialect: &'static Dialect, names: &str) -> (Layout, Regex) {
    let layout = Layout::new(dialect, &W3cOptions::default(), names.as_bytes()).unwrap();
    let regex = RegexBuilder::new(&format!("^{}", layout.python()))
        .unicode(false)
        .dot_matches_new_line(true)
        .build()
        .unwrap();
    (layout, regex)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reading_by_hand_is_reading_by_regex((names, line) in header_and_line()) {
        let arena = Bump::new();
        for dialect in dialects() {
            let (layout, regex) = layout_and_regex(dialect, &names.join(" "));
            prop_assert_eq!(
                by_layout(&layout, line.as_bytes(), &arena),
                by_regex(&regex, line.as_bytes()),
                "{}: {:?} of {:?}", dialect.name, line, names
            );
        }
    }
}

proptest! {
    #[test]
    fn beside_a_regex_that_looks_around_columns_are_what_they_were((names, line) in header_and_line()) {
        let arena = Bump::new();
        for dialect in dialects() {
            let (layout, regex) = layout_and_regex(dialect, &names.join(" "));
            let python = format!("{}(?=.?)", layout.python());
            let around = translated(&python).unwrap();
            prop_assert!(around.backtracks);
            let text = LineText::new(line.as_bytes(), &arena);
            let found = around.captures(text.as_str());
            let value = |field: Field| {
                let (_, number) = around.names.iter().find(|(name, _)| name == field.name())?;
                Some((field, text.bytes(found.as_ref()?.get(*number)?.range())))
            };
            prop_assert_eq!(
                found.is_some().then(|| Field::ALL.into_iter().filter_map(value).collect()),
                by_regex(&regex, line.as_bytes()),
                "{}: {:?} of {:?}", dialect.name, line, names
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(
        header in prop::collection::vec(any::<u8>(), 0..60),
        line in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut header_line = b"#Fields: date time c-ip cs(User-Agent) cs-uri-stem sc-status ".to_vec();
        header_line.extend(header);
        let arena = Bump::new();
        for dialect in dialects() {
            let mut format = dialect.open(&W3cOptions::default()).unwrap();
            // Whether the header will do is not the point.
            let _ = format.header(&header_line);
            let _ = format.parse(&line, &arena, &mut Record::default());
        }
    }
}

#[test]
fn a_good_part_of_the_generated_lines_fits() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let fits = (0..300).filter(|_| {
        let (names, line) = header_and_line().new_tree(&mut runner).unwrap().current();
        dialects().iter().any(|dialect| {
            layout_and_regex(dialect, &names.join(" "))
                .1
                .is_match(line.as_bytes())
        })
    });
    assert!(fits.count() > 100);
}
