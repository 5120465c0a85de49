//! What was listened, as the report tells it: in all, by mount point and by day.

use super::report::MOST;
use super::table::{Table, heading, hundredths, tenths, thousands};
use crate::radio::ListeningReport;
use crate::radio::figures::{MountReport, date};

/// The part of the report on it; empty where nobody listened.
pub(super) fn listened(found: &ListeningReport) -> String {
    if found.all.connections == 0 {
        return String::new();
    }
    let mut text = heading("Listening");
    let all = numbers(&found.all, found.estimated);
    let [
        connections,
        seconds,
        hours,
        average,
        median,
        most,
        first,
        listeners,
    ] = &all;
    text.push_str(&format!(
        "  {connections} connections: {seconds} s, {hours} hours, average {average} s, median {median} s,\n  \
         most at once {most} (first at {first} UTC), unique listeners {listeners}\n"
    ));
    for part in [by_mount(found), by_day(found)] {
        text.push('\n');
        text.push_str(&part);
    }
    text
}

/// Connections, seconds, hours, average, median, most at once, when, listeners.
fn numbers(figures: &MountReport, estimated: bool) -> [String; 8] {
    let about = |is_estimate: bool| if is_estimate { "~" } else { "" };
    let peak = figures.peak;
    [
        thousands(figures.connections),
        thousands(figures.seconds),
        hundredths(figures.hours()),
        tenths(figures.average()),
        about(estimated).to_owned() + &tenths(figures.median),
        about(!peak.exact).to_owned() + &thousands(peak.listeners),
        peak.at
            .map_or_else(|| "-".to_owned(), |at| date(at, "%Y-%m-%d %H:%M:%S")),
        about(estimated).to_owned() + &thousands(figures.listeners),
    ]
}

fn by_mount(found: &ListeningReport) -> String {
    let mut table = Table::new(
        "Listening by mount point",
        &[
            "Connections",
            "Seconds",
            "Hours",
            "Average s",
            "Median s",
            "Most at once",
            "First at (UTC)",
            "Unique listeners",
            "Mount point",
        ],
    );
    for (name, figures) in found.mounts.iter().take(MOST) {
        table.row(
            numbers(figures, found.estimated),
            &String::from_utf8_lossy(name),
        );
    }
    let left = found.mounts.len().saturating_sub(MOST);
    if left > 0 || found.others.is_some() {
        let hidden = found.mounts.iter().skip(MOST).map(|(_, figures)| figures);
        let (connections, seconds) = hidden.chain(&found.others).fold((0, 0), |sum, figures| {
            (sum.0 + figures.connections, sum.1 + figures.seconds)
        });
        let numbers = [
            thousands(connections),
            thousands(seconds),
            hundredths(seconds as f64 / 3600.0),
        ];
        let none = std::iter::repeat_n(String::new(), 5);
        table.row(numbers.into_iter().chain(none), "other mount points");
    }
    table.render()
}

fn by_day(found: &ListeningReport) -> String {
    let days = found.days();
    let names = days
        .mounts
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    let heads: Vec<String> = std::iter::once("All".to_owned())
        .chain(names)
        .chain(["Day".to_owned()])
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut table = Table::new("Listening hours per day (UTC)", &heads);
    for (day, seconds) in &days.rows {
        let hours = seconds
            .iter()
            .map(|seconds| hundredths(*seconds as f64 / 3600.0));
        table.row(hours, day);
    }
    table.render()
}
