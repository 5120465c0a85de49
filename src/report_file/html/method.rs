//! The counters of the run, and the foot of the page: what the figures leave out and mean.

use std::fmt::Write;

use super::markup::{HtmlTable, counted, date, decimal, hours, section, text};
use crate::radio::ListeningFigures;
use crate::report::grouped;
use crate::report_file::{RunFigures, RunReport};

/// Maximum number of logs that are listed.
const MAX_LOGS: usize = 50;

/// The measures and their definitions (guide/listening.md, "Measures").
const MEASURES: [(&str, &str); 9] = [
    (
        "Listening hours (ATH, TLH)",
        "the time that all listeners were connected, in hours; midnight divides a session",
    ),
    (
        "Sessions started (SS)",
        "connections that began in the period",
    ),
    (
        "Average session (ATSL)",
        "the length of the sessions that began in the period, divided by their number",
    ),
    (
        "Median session",
        "half of these sessions were shorter, half longer",
    ),
    (
        "Average listeners (AAS)",
        "listening hours divided by the hours of the period",
    ),
    (
        "Peak listeners",
        "the largest number of sessions at the same time, and when that was first reached",
    ),
    (
        "Unique listeners (CUME)",
        "distinct pairs of address and user agent that listened in the period",
    ),
    (
        "Hours per listener (TSL)",
        "listening hours divided by unique listeners",
    ),
    (
        "Relay",
        "a connection of another streaming server, whose listeners are in its own log",
    ),
];

/// The counters of the run.
pub fn counters(run: &RunFigures) -> String {
    if run.from_sandbox {
        let note = "<p class=\"note\">This report was made from a kept sandbox database, without a \
                    log. It has no counters.</p>\n";
        return section("", "Import", note);
    }
    let mut table = HtmlTable::new("Counters of the import", ["Lines", "Number"]);
    table.row("read", [grouped(run.read)]);
    table.row("imported", [grouped(run.imported)]);
    table.row("ignored", [grouped(run.ignored_lines())]);
    for (name, lines) in [
        ("refused by Matomo", run.refused),
        ("lost", run.lost),
        ("unconfirmed", run.unconfirmed),
        ("not sent", run.unsent),
        ("sent again", run.resent),
        ("downloads", run.downloads),
    ] {
        // Zero is good news only for these.
        if lines > 0 || matches!(name, "refused by Matomo" | "unconfirmed") {
            table.row(name, [grouped(lines)]);
        }
    }
    table.group("Run");
    table.row("sites", [grouped(run.sites)]);
    table.row("requests", [grouped(run.requests)]);
    table.row("seconds", [decimal(run.elapsed.as_secs_f64(), 1)]);
    let note = match run.dry_run {
        true => "<p class=\"note\">A dry run: nothing was sent.</p>\n",
        false => "",
    };
    section("", "Import", &format!("{table}{note}"))
}

/// How the report was made.
pub fn foot(report: &RunReport) -> String {
    let mut html = String::from("<footer class=\"page\">\n<h2>Method</h2>\n");
    if let Some(listening) = &report.listening {
        html += &left_out_sessions(listening);
    }
    html += &left_out_lines(&report.run);
    if report.listening.is_some() {
        html += "<h3>Measures</h3>\n<dl class=\"terms\">\n";
        for (measure, definition) in MEASURES {
            // Writing into a String cannot fail.
            let _ = writeln!(html, "<div><dt>{measure}</dt><dd>{definition}</dd></div>");
        }
        html += "</dl>\n";
    }
    html += &logs(&report.run);
    let made = report.zone.local(report.created);
    let _ = write!(
        html,
        "<p class=\"made\">Made by import-logs {} on {}, {} ({}).</p>\n</footer>\n",
        text(env!("CARGO_PKG_VERSION")),
        date(made.date()),
        made.format("%H:%M"),
        text(&report.zone.to_string()),
    );
    html
}

fn left_out_sessions(figures: &ListeningFigures) -> String {
    let total = figures.all().map(|all| all.total()).unwrap_or_default();
    let short = total.sessions.saturating_sub(total.long_sessions);
    let mut items = vec![format!(
        "<b>{}</b> of relays with {} hours: in no figure",
        counted(figures.relays.lines, "line", "lines"),
        hours(figures.relays.seconds)
    )];
    items.push(format!(
        "<b>{}</b> without a usable length: in no figure",
        counted(figures.no_duration, "session", "sessions")
    ));
    if let Some(country) = &figures.country {
        items.push(format!(
            "<b>{}</b> of other countries than {}: in no figure",
            counted(figures.other_countries, "session", "sessions"),
            text(country)
        ));
    }
    if figures.merged > 0 {
        items.push(format!(
            "<b>{}</b> joined to another of the same listener at the same time",
            counted(figures.merged, "session", "sessions")
        ));
    }
    items.push(format!(
        "<b>{}</b> under {}: included, and counted apart",
        counted(short, "session", "sessions"),
        counted(figures.min_session, "second", "seconds")
    ));
    format!(
        "<h3>Sessions left out or counted apart</h3>\n{}",
        list(&items)
    )
}

fn left_out_lines(run: &RunFigures) -> String {
    let ignored = run
        .ignored
        .iter()
        .map(|(_, text, lines)| (text.as_str(), *lines));
    let failed = [
        ("refused by Matomo", run.refused),
        ("lost", run.lost),
        ("not confirmed by Matomo", run.unconfirmed),
        ("not sent", run.unsent),
    ];
    let lines = ignored.chain(failed).filter(|(_, lines)| *lines > 0);
    let lines = lines.map(|(reason, lines)| {
        format!(
            "<b>{}</b>: {}",
            counted(lines, "line", "lines"),
            text(reason)
        )
    });
    let items: Vec<_> = lines.collect();
    if items.is_empty() {
        return "<h3>Lines left out</h3>\n<p>None.</p>\n".into();
    }
    format!("<h3>Lines left out</h3>\n{}", list(&items))
}

/// A list of items in HTML.
fn list(items: &[String]) -> String {
    let mut html = String::from("<ul>\n");
    for item in items {
        let _ = writeln!(html, "<li>{item}</li>");
    }
    html + "</ul>\n"
}

fn logs(run: &RunFigures) -> String {
    if run.logs.is_empty() {
        return String::new();
    }
    let titles = ["Log", "Lines read", "Imported", "Ignored"];
    let mut table = HtmlTable::new("Logs", titles);
    let listed = run.logs.len().min(MAX_LOGS);
    for log in &run.logs[..listed] {
        let cells = [log.read, log.imported, log.ignored];
        table.row(&text(&log.name), cells.map(grouped));
    }
    let more = &run.logs[listed..];
    if !more.is_empty() {
        let name = format!(
            "and {}",
            counted(more.len() as u64, "more log", "more logs")
        );
        let cells = [
            more.iter().map(|log| log.read).sum(),
            more.iter().map(|log| log.imported).sum(),
            more.iter().map(|log| log.ignored).sum(),
        ];
        table.row(&name, cells.map(grouped));
    }
    format!("<h3>Logs</h3>\n{table}")
}
