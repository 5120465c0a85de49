//! Logs with numbered lines, from many addresses and several past days.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::support::fake::FakeMatomo;
use chrono::{DateTime, TimeDelta};

use crate::support::logs::AGENT;

/// The first second of the first day.
pub const BEGIN: i64 = 1_714_521_600;
/// The number of addresses.
const VISITORS: usize = 97;

/// The line with this number, in format ncsa_extended. Each day has `a_day` lines.
pub fn line(number: usize, a_day: usize) -> String {
    line_since(BEGIN, number, a_day)
}

/// The same, with another first second.
pub fn line_since(begin: i64, number: usize, a_day: usize) -> String {
    let (day, within) = (number / a_day, number % a_day);
    let second = 86_400 * day + 86_399 * within / a_day;
    let time = DateTime::from_timestamp(begin, 0).unwrap() + TimeDelta::seconds(second as i64);
    // Adjacent lines have different addresses.
    let visitor = number * 31 % VISITORS;
    format!(
        "10.{}.{}.{} - - [{}] \"GET /n/{number} HTTP/1.1\" 200 {} \"-\" \"{AGENT}\"\n",
        visitor % 7,
        visitor % 11,
        visitor + 1,
        time.format("%d/%b/%Y:%H:%M:%S +0000"),
        number + 1,
    )
}

/// A log with these numbers.
pub fn log(numbers: Range<usize>, a_day: usize) -> String {
    numbers.map(|number| line(number, a_day)).collect()
}

/// The number in a text that contains a path such as `/n/17`.
pub fn number_in(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("/n/")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// How often each number is stored.
pub fn stored(server: &FakeMatomo) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for hit in server.store().hits().unwrap() {
        let url = hit["url"].as_str().unwrap_or_default();
        let number = number_in(url).unwrap_or_else(|| panic!("no number in {url:?}"));
        *times.entry(number).or_default() += 1;
    }
    times
}

/// Describes which of the expected numbers are missing, and which are stored too often. Empty if
/// each is stored exactly once.
pub fn faults(server: &FakeMatomo, expected: impl IntoIterator<Item = usize>) -> String {
    let mut stored = stored(server);
    let mut missing = Vec::new();
    for number in expected {
        match stored.get_mut(&number) {
            None => missing.push(number),
            Some(times) => *times -= 1,
        }
    }
    stored.retain(|_, times| *times > 0);
    match (missing.is_empty(), stored.is_empty()) {
        (true, true) => String::new(),
        _ => format!("missing: {missing:?}; too many: {stored:?}"),
    }
}

/// Asserts that each of these numbers is stored exactly once, and no other.
#[track_caller]
pub fn assert_each_once(server: &FakeMatomo, expected: impl IntoIterator<Item = usize>) {
    let faults = faults(server, expected);
    assert!(faults.is_empty(), "{faults}");
}
