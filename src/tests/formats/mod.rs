//! For each format, `fixtures/odd/<format>.log` has ordinary and odd lines, and
//! `fixtures/odd/<format>.json` what each becomes: a tracking request, or the reason why it is
//! dropped.

mod dumped_regex;
mod enveloped;
mod expected;
mod mutated;

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bumpalo::Bump;
use proptest::test_runner::{self, TestRunner};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::Cli;
use crate::config::Config;
use crate::filter::Filters;
use crate::format::{Fit, Format, Record, registry};
use crate::hit::{HitOptions, Site};
use crate::input::discover::Source;
use crate::input::lines::{LineEvent, LineOptions, Lines};
use crate::matomo::tracking::Writer;

/// The main URL of the site. The URLs of hits without a host begin with it.
const MAIN_URL: &str = "https://main.example/sub";
const MARK: &str = "abcdef";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/odd")
}

/// The expected results for a log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// The format that detection finds.
    detected: String,
    /// Options besides `--idsite=1` and `--log-format-name`.
    #[serde(default)]
    options: Vec<String>,
    /// One entry for each line of the log.
    lines: Vec<ExpectedLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedLine {
    line: usize,
    /// What the line tests.
    what: String,
    /// The tracking request without the members that all requests have. Values are text, custom
    /// variables objects.
    request: Option<Map<String, Value>>,
    /// Why the line is dropped: `Header`, or the name of a [`Reason`](crate::report::Reason).
    dropped: Option<String>,
}

impl ExpectedLine {
    fn fits(&self) -> bool {
        !matches!(self.dropped.as_deref(), Some("Header" | "Misfit"))
    }
}

/// The log of a format and its expected results.
struct Fixture {
    name: &'static str,
    expected: Expected,
    lines: Vec<Vec<u8>>,
}

impl Fixture {
    fn all() -> impl Iterator<Item = Fixture> {
        registry::names().into_iter().map(Fixture::of)
    }

    fn of(name: &'static str) -> Fixture {
        let (log, expected) = (
            folder().join(format!("{name}.log")),
            folder().join(format!("{name}.json")),
        );
        let text = fs::read_to_string(&expected)
            .unwrap_or_else(|error| panic!("{name} needs {}: {error}", expected.display()));
        Fixture {
            name,
            expected: serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", expected.display())),
            lines: lines(&log),
        }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.name, &self.expected.options)
    }
}

/// The lines of a log that fit its format. A log whose columns change has a section for each
/// `#Fields:` line.
struct Section {
    name: &'static str,
    pipeline: Pipeline,
    lines: Vec<Vec<u8>>,
}

impl Section {
    fn all() -> Vec<Section> {
        Fixture::all().flat_map(Section::of).collect()
    }

    fn of(fixture: Fixture) -> Vec<Section> {
        let begin = || Section {
            name: fixture.name,
            pipeline: fixture.pipeline(),
            lines: Vec::new(),
        };
        let mut sections = vec![begin()];
        for (line, expected) in fixture.lines.iter().zip(&fixture.expected.lines) {
            if line.starts_with(b"#Fields:") && sections.iter().any(|s| !s.lines.is_empty()) {
                sections.push(begin());
            }
            let section = sections.last_mut().expect("the first section");
            if line.starts_with(b"#") {
                section.pipeline.format.header(line).unwrap();
            } else if expected.fits() {
                section.lines.push(line.clone());
            }
        }
        sections
    }
}

/// Runs a property test with this number of cases.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(test_runner::Config {
        cases,
        failure_persistence: None,
        ..test_runner::Config::default()
    })
}

/// A log's lines as the importer reads them.
fn lines(log: &Path) -> Vec<Vec<u8>> {
    let mut lines = Lines::open(&Source::File(log.to_owned()), LineOptions::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let mut all = Vec::new();
    loop {
        match lines.next(Duration::from_secs(60)).unwrap() {
            LineEvent::Line(line) => all.push(line.bytes.to_vec()),
            LineEvent::Pause => panic!("{} pauses", log.display()),
            LineEvent::End => return all,
        }
    }
}

/// Turns a line into a request in the same order as the importer, without a server and without
/// listening time.
struct Pipeline {
    format: Box<dyn Format>,
    hit: HitOptions,
    filters: Filters,
    writer: Writer,
    site: Rc<Site>,
    arena: Bump,
    /// The request of the last line.
    request: Vec<u8>,
}

impl Pipeline {
    fn new(format: &str, options: &[String]) -> Pipeline {
        let name = format!("--log-format-name={format}");
        let given = ["import-logs", "--url=http://x", "--idsite=1", &name, "log"];
        let args = given.into_iter().chain(options.iter().map(String::as_str));
        let config = Config::new(Cli::read(args.map(Into::into)).unwrap()).unwrap();
        Pipeline {
            format: registry::by_name(format, &config.format).unwrap(),
            hit: config.hit,
            filters: config.filters,
            writer: Writer::new(config.tracking),
            site: Rc::new(Site::new(0, "1", Some(MAIN_URL))),
            arena: Bump::new(),
            request: Vec::new(),
        }
    }

    /// Writes the request of a line to `request`. The error is the reason why the line is dropped,
    /// as in [`ExpectedLine::dropped`].
    fn process(&mut self, line: &[u8]) -> Result<(), String> {
        self.request.clear();
        self.arena.reset();
        let mut record = Record::default();
        if self.format.parse(line, &self.arena, &mut record) == Fit::Misfit {
            return match line.first() {
                Some(b'#') => {
                    let _ = self.format.header(line);
                    Err("Header".to_owned())
                }
                _ => Err("Misfit".to_owned()),
            };
        }
        let format = self.format.as_ref();
        let mut request = self.hit.request(format, &record, &self.arena);
        self.filters.classify(&mut request);
        let judged = self.filters.judge(&mut request);
        judged.map_err(|reason| format!("{reason:?}"))?;
        let time = self.hit.time(&record, format.dates()).ok_or("Date")?;
        let judged = self.filters.judge_dated(&request, time);
        judged.map_err(|reason| format!("{reason:?}"))?;
        let hit = self.hit.hit(&request, time, Rc::clone(&self.site));
        self.writer.write(
            &hit,
            MARK.as_bytes().first_chunk().unwrap(),
            &mut self.request,
        );
        Ok(())
    }
}
