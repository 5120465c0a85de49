//! Listening sessions: how radio logs appear in requests, in the summary and in the sandbox.

mod batches; // sessions whose requests are sent in several batches
mod figures; // the figures of the summary match a simple calculation
mod interrupted; // interrupted runs lose no session and send none twice
mod periods; // every measure of every period equals a count in SQL
mod report; // the options of the report, and the listener log
mod sandbox; // the summary and the sandbox agree
mod sums; // the seconds sent equal the seconds of the log

use serde_json::Value;

use crate::support::Folder;
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

/// The figures of a mount point, or of all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Empty for all.
    pub mount: String,
    pub sessions: u64,
    pub seconds: u64,
    pub median: f64,
    pub peak: u64,
    pub peak_at: Option<String>,
    pub listeners: u64,
}

/// The listening part of the folder's `report.json`; null if there is none.
pub fn report(folder: &Folder) -> Value {
    let report: Value = serde_json::from_str(&folder.read("report.json")).unwrap();
    report["listening"].clone()
}

/// The totals in the folder's `report.json`: of all mount points first, then of each. Empty
/// without listeners.
pub fn rows(folder: &Folder) -> Vec<Row> {
    let report = report(folder);
    let groups = report["groups"].as_array().into_iter().flatten();
    let groups = groups.filter(|group| group["kind"] == "all" || group["kind"] == "mount");
    groups.map(row).collect()
}

fn row(group: &Value) -> Row {
    let total = &group["total"];
    Row {
        mount: group["name"].as_str().unwrap().to_owned(),
        sessions: total["sessions"].as_u64().unwrap(),
        seconds: total["seconds"].as_u64().unwrap(),
        median: total["median_session_seconds"].as_f64().unwrap(),
        peak: total["peak_listeners"].as_u64().unwrap(),
        peak_at: total["peak_at"].as_str().map(str::to_owned),
        listeners: total["unique_listeners"].as_u64().unwrap(),
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
