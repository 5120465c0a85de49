//! Fake servers and their stored hits.

use crate::support::fake::{FakeMatomo, Live, Options};
use serde_json::Value;

/// Options for a server that has only site 1 and keeps a log of all calls.
pub fn options() -> Options {
    Options::fixed(&[(1, "http://www.example.com")], &[("www.example.com", 1)])
}

/// Starts a server with these [`options`] and no faults.
pub fn fake_matomo() -> FakeMatomo {
    started(options())
}

pub fn started(options: Options) -> FakeMatomo {
    FakeMatomo::start(options)
}

/// These [`options`] with this access to the visitor log.
pub fn seen_through(live: Live) -> Options {
    Options { live, ..options() }
}

pub fn count(server: &FakeMatomo) -> u64 {
    server.store().count().unwrap()
}

/// A text field of a hit. Empty if it is missing.
pub fn text<'h>(hit: &'h Value, key: &str) -> &'h str {
    hit[key].as_str().unwrap_or_default()
}

/// The number of the line that a hit is from.
pub fn number(hit: &Value) -> usize {
    let url = text(hit, "url");
    let number = url
        .rsplit('-')
        .next()
        .and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {url:?}"))
}

/// The numbers of all stored hits, sorted.
pub fn numbers(server: &FakeMatomo) -> Vec<usize> {
    let mut numbers: Vec<usize> = server.store().hits().unwrap().iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Checks that each of the lines `0..lines` is stored exactly once.
#[track_caller]
pub fn assert_each_once(server: &FakeMatomo, lines: usize) {
    assert_eq!(numbers(server), (0..lines).collect::<Vec<_>>());
}
