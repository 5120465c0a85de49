//! Listening sessions: how radio logs appear in requests, in the summary and in the sandbox.

mod batches; // sessions whose requests are sent in several batches
mod figures; // the figures of the summary match a simple calculation
mod interrupted; // interrupted runs lose no session and send none twice
mod report; // the options of the report, and the listener log
mod sandbox; // the summary and the sandbox agree
mod sums; // the seconds sent equal the seconds of the log

use serde_json::Value;

use crate::support::fake::FakeMatomo;

pub const PLAYER: &str = "VLC/3.0.20 LibVLC/3.0.20";

/// 2024-05-14 00:00:00 UTC in seconds since 1970, the day of most lines.
pub const DAY: i64 = 1_715_644_800;

/// A line of an Icecast log. The session ends `end` seconds after [`DAY`].
pub fn icecast(address: &str, end: i64, mount: &str, seconds: impl std::fmt::Display) -> String {
    let end = date(DAY + end, "%d/%b/%Y:%H:%M:%S +0000");
    format!(
        "{address} - - [{end}] \"GET {mount} HTTP/1.1\" 200 16000 \"-\" \"{PLAYER}\" {seconds}\n"
    )
}

pub const SHOUTCAST_HEADER: &str = "#Software: SHOUTcast\n#Version: 2.6.1.777\n\
    #Fields: c-ip c-dns date time cs-uri-stem c-status cs(User-Agent) sc-bytes x-duration avgbandwidth\n";

/// A line of a SHOUTcast log. The title ends `end` seconds after [`DAY`].
pub fn shoutcast(address: &str, end: i64, mount: &str, seconds: impl std::fmt::Display) -> String {
    let end = date(DAY + end, "%Y-%m-%d %H:%M:%S");
    format!("{address} {address} {end} {mount} 200 WinampMPEG%2F5.9 16000 {seconds} 128000\n")
}

pub fn date(time: i64, format: &str) -> String {
    let date = chrono::DateTime::from_timestamp(time, 0).unwrap();
    date.format(format).to_string()
}

/// The sum of the event values, in seconds.
pub fn seconds_sent(hits: &[Value]) -> u64 {
    hits.iter().filter_map(|hit| hit["e_v"].as_u64()).sum()
}

pub fn stored(server: &FakeMatomo) -> Vec<Value> {
    server.store().hits().unwrap()
}

/// A row of the listening summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub mount: String,
    pub connections: u64,
    pub seconds: u64,
    /// With two decimals.
    pub hours: String,
    /// One decimal, or none for a whole number.
    pub average: String,
    pub median: String,
    pub most: u64,
    /// `-` if there were no listeners at any time.
    pub first: String,
    pub listeners: u64,
}

/// The rows of the listening summary. The last row is for all mount points. Empty if there is no
/// listening summary.
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
        panic!("not a row: {line}");
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

/// The stored hits without their IDs, sorted.
pub fn sorted_hits(server: &FakeMatomo) -> Vec<String> {
    let mut hits: Vec<String> = stored(server)
        .into_iter()
        .map(|mut hit| {
            hit["pv_id"] = Value::Null;
            hit.to_string()
        })
        .collect();
    hits.sort_unstable();
    hits
}
