//! Each log reads the same in each envelope.

use std::io::Write;
use std::time::Duration;

use super::Fixture;
use crate::format::date::Strptime;
use crate::format::registry::FormatOptions;
use crate::import::format_selector::{FormatChoice, FormatSelector};
use crate::input::buffered::BufferedLine;
use crate::input::discover::Source;
use crate::input::envelope::LogEnvelope;
use crate::input::envelope::tests::{WRAPPERS, Wrapper};
use crate::input::lines::{LineEvent, LineOptions, Lines};
use crate::report::Console;
use crate::shutdown::Shutdown;

/// Longer than reading a fixture takes.
const LONG: Duration = Duration::from_secs(60);

/// A log as it is read.
#[derive(Debug, PartialEq, Eq)]
struct ReadLog {
    envelope: Option<LogEnvelope>,
    format: &'static str,
    lines: Vec<Vec<u8>>,
}

fn read(selector: &FormatSelector, log: &[Vec<u8>]) -> ReadLog {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in log {
        file.write_all(&[line, &b"\n"[..]].concat()).unwrap();
    }
    let source = Source::File(file.path().to_owned());
    let mut lines = Lines::open(&source, LineOptions::default()).unwrap();
    let (shutdown, console) = (Shutdown::new(), Console::default());
    let selected = selector.choose("log", &mut lines, &shutdown, &console, LONG);
    let (format, buffered) = selected.unwrap().expect("a format");
    let buffered = buffered.iter().flat_map(BufferedLine::lines);
    let mut read: Vec<Vec<u8>> = buffered.map(|line| line.bytes.to_vec()).collect();
    while let LineEvent::Line(line) = lines.next(LONG).unwrap() {
        read.push(line.bytes.to_vec());
    }
    ReadLog {
        envelope: lines.envelope(),
        format: format.name(),
        lines: read,
    }
}

fn selector(choice: FormatChoice) -> FormatSelector {
    FormatSelector::new(choice, FormatOptions::default()).unwrap()
}

/// What each line becomes: a request, or the reason why it is dropped.
fn results(fixture: &Fixture, lines: &[Vec<u8>]) -> Vec<Result<Vec<u8>, String>> {
    let mut pipeline = fixture.pipeline();
    let results = lines.iter().map(|line| {
        let result = pipeline.process(line);
        result.map(|()| pipeline.request.clone())
    });
    results.collect()
}

/// The lines without the blanks before them.
fn without_blanks(lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let lines = lines.iter().map(|line| {
        let blanks = line.iter().take_while(|byte| **byte == b' ').count();
        line[blanks..].to_vec()
    });
    lines.collect()
}

#[test]
fn each_log_is_read_in_each_envelope() {
    for fixture in Fixture::all() {
        let named = FormatChoice::Named(fixture.name.to_owned());
        let expected = results(&fixture, &fixture.lines);
        for selector in [selector(FormatChoice::Detect), selector(named)] {
            let plain = read(&selector, &fixture.lines);
            // The lines of HAProxy come through syslog.
            let envelope = (fixture.name == "haproxy").then_some(LogEnvelope::Syslog);
            assert_eq!(plain.envelope, envelope, "{}", fixture.name);
            assert!(
                results(&fixture, &plain.lines) == expected,
                "{}",
                fixture.name
            );
            for Wrapper {
                name,
                envelope,
                takes_blanks,
                wrap,
            } in WRAPPERS
            {
                let what = format!("{} in the envelope of {name}", fixture.name);
                let lines = match takes_blanks {
                    true => without_blanks(&fixture.lines),
                    false => fixture.lines.clone(),
                };
                let log: Vec<Vec<u8>> = fixture.lines.iter().map(|line| wrap(line)).collect();
                let found = read(&selector, &log);
                assert_eq!(found.format, plain.format, "{what}");
                assert_eq!(found.envelope, Some(*envelope), "{what}");
                assert!(found.lines == lines, "{what}");
            }
        }
    }
}

#[test]
fn a_regex_gets_the_lines_that_it_fits_as_they_are() {
    let fields = r"(?P<ip>[\d.]+) (?P<path>\S+) (?P<status>\d+) (?P<date>[\w/:]+)";
    for Wrapper { name, wrap, .. } in WRAPPERS {
        let log = vec![wrap(b"192.0.2.1 /a 200 14/May/2024:06:25:24"); 3];
        for (regex, is_removed) in [(fields.to_owned(), true), (format!(".*?{fields}"), false)] {
            let selector = selector(FormatChoice::Regex {
                regex,
                dates: Strptime::new("%d/%b/%Y:%H:%M:%S").unwrap(),
                date_format: String::new(),
            });
            let found = read(&selector, &log);
            assert_eq!(found.envelope.is_some(), is_removed, "{name}");
        }
    }
}

#[test]
fn other_lines_before_the_first_that_fits_decide_nothing() {
    let header = "2024-05-14T06:25:24Z app[web.1]: ";
    let line = |text: &str| format!("{header}{text}").into_bytes();
    let fields = r"(?P<ip>[\d.]+) (?P<path>\S+) (?P<status>\d+)";
    let text = "192.0.2.1 /a 200 2024-05-14T06:25:24";
    for others in [0, 31, 32, 500] {
        let mut log = vec![line("State changed from starting to up"); others];
        log.push(line(text));
        for (regex, is_removed) in [
            (format!(r"(?P<date>\S+)Z \S+ {fields}"), false),
            (format!(r"{fields} (?P<date>\S+)"), true),
        ] {
            let selector = selector(FormatChoice::Regex {
                regex,
                dates: Strptime::new("%Y-%m-%dT%H:%M:%S").unwrap(),
                date_format: String::new(),
            });
            let found = read(&selector, &log);
            assert_eq!(found.envelope.is_some(), is_removed, "{others}");
            assert_eq!(found.lines.len(), log.len());
        }
    }
}

#[test]
fn no_line_of_a_log_is_taken_for_an_envelope() {
    // HAProxy's log is one of syslog.
    for fixture in Fixture::all().filter(|fixture| fixture.name != "haproxy") {
        for line in &fixture.lines {
            let text = String::from_utf8_lossy(line);
            assert_eq!(LogEnvelope::of(line), None, "{}: {text}", fixture.name);
        }
    }
}
