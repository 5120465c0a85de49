//! Radio logs: the time that listeners stayed, from the log to the server, the summary and the sandbox's report.

mod divided; // connections that take several requests
mod figures; // every figure of the summary equals a plain calculation
mod interrupted; // nothing lost and nothing twice, where a line is many requests
mod report; // what the sandbox tells of listeners
mod sums; // what is sent adds up to what the summary says

use serde_json::Value;

use crate::support::fake::FakeMatomo;

pub const PLAYER: &str = "VLC/3.0.20 LibVLC/3.0.20";

/// A day of the year 2024 that all logs here are about: 2024-05-14 00:00:00 UTC, in seconds since 1970.
pub const DAY: i64 = 1_715_644_800;

/// A line of Icecast's log: a listener who left so many seconds after the beginning of [`DAY`].
pub fn icecast(address: &str, end: i64, mount: &str, seconds: impl std::fmt::Display) -> String {
    let end = date(DAY + end, "%d/%b/%Y:%H:%M:%S +0000");
    format!(
        "{address} - - [{end}] \"GET {mount} HTTP/1.1\" 200 16000 \"-\" \"{PLAYER}\" {seconds}\n"
    )
}

pub const SHOUTCAST_HEADER: &str = "#Software: SHOUTcast\n#Version: 2.6.1.777\n\
    #Fields: c-ip c-dns date time cs-uri-stem c-status cs(User-Agent) sc-bytes x-duration avgbandwidth\n";

/// A line of SHOUTcast's log: a title that ended then for this listener.
pub fn shoutcast(address: &str, end: i64, mount: &str, seconds: impl std::fmt::Display) -> String {
    let end = date(DAY + end, "%Y-%m-%d %H:%M:%S");
    format!("{address} {address} {end} {mount} 200 WinampMPEG%2F5.9 16000 {seconds} 128000\n")
}

pub fn date(time: i64, format: &str) -> String {
    let date = chrono::DateTime::from_timestamp(time, 0).unwrap();
    date.format(format).to_string()
}

/// The values of all events with one, added up.
pub fn seconds_sent(hits: &[Value]) -> u64 {
    hits.iter().filter_map(|hit| hit["e_v"].as_u64()).sum()
}

pub fn stored(sandbox: &FakeMatomo) -> Vec<Value> {
    sandbox.store().hits().unwrap()
}

/// One line of the summary's table of listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub mount: String,
    pub connections: u64,
    pub seconds: u64,
    /// As they are printed: two decimals, and one where it is no whole number.
    pub hours: String,
    pub average: String,
    pub median: String,
    pub most: u64,
    /// `-` where there never was one.
    pub first: String,
    pub listeners: u64,
}

/// The table of listeners in a summary, all together last. Empty where it has none.
pub fn rows(summary: &str) -> Vec<Row> {
    let Some((_, table)) = summary.split_once("first at (UTC)  unique listeners\n") else {
        return Vec::new();
    };
    let lines = table.lines().take_while(|line| !line.is_empty());
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.split_whitespace().collect();
    let [
        mount,
        connections,
        seconds,
        hours,
        average,
        median,
        most,
        first @ ..,
        listeners,
    ] = &cells[..]
    else {
        panic!("no row: {line}");
    };
    Row {
        mount: (*mount).to_owned(),
        connections: connections.parse().unwrap(),
        seconds: seconds.parse().unwrap(),
        hours: (*hours).to_owned(),
        average: (*average).to_owned(),
        median: (*median).to_owned(),
        most: most.parse().unwrap(),
        first: first.join(" "),
        listeners: listeners.parse().unwrap(),
    }
}

/// What is stored, but for the marks, in an order of its own.
pub fn told(sandbox: &FakeMatomo) -> Vec<String> {
    let mut hits: Vec<String> = stored(sandbox)
        .into_iter()
        .map(|mut hit| {
            hit["pv_id"] = Value::Null;
            hit.to_string()
        })
        .collect();
    hits.sort_unstable();
    hits
}
