//! The listening part of the summary (guide/listening.md, "Listening summary").

use std::fmt::Write;

use super::calendar::{HOUR, Period};
use super::figures::{GroupFigures, GroupKind, ListeningFigures, Measures};
use crate::report::clean::clean_to;
use crate::report::summary::heading;
use crate::report::{Align, Table};

/// Maximum lines of the whole part.
const MAX_LINES: usize = 40;

/// Maximum characters of a line.
const MAX_COLUMNS: usize = 79;

/// Fewest rows of groups to list, however many days there are.
const MIN_GROUPS: usize = 4;

/// A log of more days has no table of days.
const MAX_DAYS: usize = 35;

/// The whole part, to append to the text of the run. `unsent` is the number of lines that were not
/// sent when the import stopped.
pub fn text(figures: &ListeningFigures, unsent: u64) -> String {
    let mut text = heading("Listening summary");
    write_totals(&mut text, figures);
    write_notes(&mut text, figures, unsent);
    let all = figures.all();
    let periods = |is_wanted: fn(&Period) -> bool| -> Vec<(Period, Measures)> {
        let all = all.iter().flat_map(|all| &all.periods);
        let wanted = all.filter(|(period, _)| is_wanted(period));
        wanted
            .map(|(period, measures)| (*period, *measures))
            .collect()
    };
    let months = periods(|it| matches!(it, Period::Month(_)));
    let days = periods(|it| matches!(it, Period::Day(_)));
    let months = match months.len() {
        0 | 1 => Vec::new(),
        _ => months,
    };
    let days = match is_short(figures) {
        true => days,
        false => Vec::new(),
    };
    let groups: Vec<&GroupFigures> = figures
        .of(GroupKind::Channel)
        .chain(figures.of(GroupKind::Mount))
        .collect();
    let left = MAX_LINES.saturating_sub(text.lines().count());
    // Title and the empty line before it.
    let lines = |rows: usize| rows + 2 * usize::from(rows > 0);
    let of_periods = lines(months.len()) + lines(days.len().div_ceil(2));
    let rows = left.saturating_sub(of_periods + 2).max(MIN_GROUPS);
    write_groups(&mut text, &groups, rows);
    for (title, periods) in [("month", months), ("day", days)] {
        let left = MAX_LINES.saturating_sub(text.lines().count() + 2);
        write_periods(&mut text, title, &periods, left);
    }
    text
}

/// Whether the report has so few days that the summary lists them.
fn is_short(figures: &ListeningFigures) -> bool {
    let hours = (figures.range.end - figures.range.start) / HOUR;
    // A day may have 25 hours.
    hours <= MAX_DAYS as i64 * 24 + 1
}

fn write_totals(text: &mut String, figures: &ListeningFigures) {
    let zone = figures.zone;
    let total = figures.all().map(GroupFigures::total).unwrap_or_default();
    if total.sessions == 0 && total.seconds == 0 {
        text.push_str("    0 sessions\n");
        return;
    }
    let day = |time| zone.local(time).date();
    let (first, last) = (day(figures.range.start), day(figures.range.end - 1));
    // Writing to a String cannot fail, here and below.
    let _ = match first == last {
        true => write!(text, "    {first}"),
        false => write!(text, "    {first} to {last}"),
    };
    let _ = write!(text, ", time zone {zone}");
    if let Some(country) = &figures.country {
        let _ = write!(text, ", listeners in {country}");
    }
    text.push_str("\n\n");
    let peak = total.peak_at.map_or_else(String::new, |at| {
        format!(", first at {}", zone.local(at).format("%Y-%m-%d %H:%M:%S"))
    });
    let rows = [
        ("listening hours (ATH)", hours(&total), String::new()),
        (
            "sessions started (SS)",
            total.sessions.to_string(),
            format!(
                ", {} of at least {} s",
                total.long_sessions, figures.min_session
            ),
        ),
        (
            "average session (ATSL)",
            clock(total.average_session()),
            format!(", median {}", clock(total.median)),
        ),
        (
            "average listeners (AAS)",
            average_listeners(&total),
            String::new(),
        ),
        ("peak listeners", total.peak.to_string(), peak),
        (
            "unique listeners (CUME)",
            total.listeners.to_string(),
            format!(", {:.2} hours each (TSL)", total.hours_per_listener()),
        ),
    ];
    let width = rows.iter().map(|(_, number, _)| number.len()).max();
    let width = width.unwrap_or_default();
    for (name, number, more) in rows {
        let _ = writeln!(text, "    {name:<23}  {number:>width$}{more}");
    }
}

fn write_notes(text: &mut String, figures: &ListeningFigures, unsent: u64) {
    let relays = figures.relays;
    let relay_hours = hours(&Measures {
        seconds: relays.seconds,
        ..Measures::default()
    });
    let notes = [
        (
            figures.no_duration,
            "sessions without usable duration are sent as page views alone".to_owned(),
        ),
        (
            relays.lines,
            format!("lines of relays, {relay_hours} hours (see --enable-relays)"),
        ),
        (
            figures.other_countries,
            "sessions in other countries".to_owned(),
        ),
        (
            unsent,
            "lines not sent yet (the run that sends them reports them)".to_owned(),
        ),
    ];
    let mut notes = notes.iter().filter(|(number, _)| *number > 0).peekable();
    if notes.peek().is_some() {
        text.push_str("\n    Not in these figures:\n");
    }
    for (number, note) in notes {
        let _ = writeln!(text, "        {number} {note}");
    }
    if figures.merged > 0 {
        let _ = writeln!(
            text,
            "\n    {} sessions overlapped others of their listener, and were merged",
            figures.merged
        );
    }
}

/// The table of channels and mount points, with at most so many rows.
fn write_groups(text: &mut String, groups: &[&GroupFigures], rows: usize) {
    let (listed, rest) = match groups.len() <= rows {
        true => (groups, &[][..]),
        // The last row is for the rest.
        false => groups.split_at(rows - 1),
    };
    let mut lines: Vec<[String; 7]> = listed.iter().map(|group| group_row(group)).collect();
    if !rest.is_empty() {
        let mut row = <[String; 7]>::default();
        row[0] = format!("({} more)", rest.len());
        lines.push(row);
    }
    let titles = [
        "mount point",
        "hours",
        "sessions",
        "average",
        "listeners",
        "peak",
        "unique",
    ];
    let width = |column: usize| {
        let cells = lines.iter().map(|row| row[column].chars().count());
        cells
            .chain([titles[column].len()])
            .max()
            .unwrap_or_default()
    };
    let others: usize = (1..titles.len()).map(|column| width(column) + 2).sum();
    // One character is for the `…` of a name that is cut.
    let max_name = MAX_COLUMNS
        .saturating_sub(4 + others + 1)
        .max(titles[0].len());
    let mut table = table(&titles);
    for mut row in lines {
        row[0] = clean_to(row[0].as_bytes(), max_name).into_owned();
        table.row(row);
    }
    push_table(text, &table);
}

fn group_row(group: &GroupFigures) -> [String; 7] {
    let name = match (group.kind, group.name.as_str()) {
        (GroupKind::Mount, "") => "(others)".to_owned(),
        (GroupKind::Channel, name) => format!("{name} (channel)"),
        (_, name) => name.to_owned(),
    };
    let total = group.total();
    [
        name,
        hours(&total),
        total.sessions.to_string(),
        clock(total.average_session()),
        average_listeners(&total),
        total.peak.to_string(),
        total.listeners.to_string(),
    ]
}

/// The table of months or days in at most so many lines, if need be in two columns.
fn write_periods(text: &mut String, title: &str, periods: &[(Period, Measures)], lines: usize) {
    let name = |period: &Period| match period {
        Period::Month(month) => month.to_string(),
        Period::Day(day) => day.to_string(),
        _ => String::new(),
    };
    if periods.len() <= lines {
        let titles = [title, "hours", "sessions", "listeners", "peak", "unique"];
        let mut table = table(&titles);
        for (period, measures) in periods {
            table.row([
                name(period),
                hours(measures),
                measures.sessions.to_string(),
                average_listeners(measures),
                measures.peak.to_string(),
                measures.listeners.to_string(),
            ]);
        }
        push_table(text, &table);
        return;
    }
    // The last ones, if there are too many even for this.
    let left_out = periods.len().saturating_sub(2 * lines.max(1));
    let periods = &periods[left_out..];
    let titles = [title, "hours", "peak", "unique"];
    let mut table = table(&titles.repeat(2));
    let cells = |(period, measures): &(Period, Measures)| {
        [
            name(period),
            hours(measures),
            measures.peak.to_string(),
            measures.listeners.to_string(),
        ]
    };
    let (first, second) = periods.split_at(periods.len().div_ceil(2));
    for (row, period) in first.iter().enumerate() {
        let second = second.get(row).map(cells).unwrap_or_default();
        table.row(cells(period).into_iter().chain(second));
    }
    push_table(text, &table);
}

/// A table whose columns are aligned right, except those with the title of the first one.
fn table(titles: &[&str]) -> Table {
    let align = |title: &str| match title == titles[0] {
        true => Align::Left,
        false => Align::Right,
    };
    Table::new(titles.iter().map(|title| (align(title), *title)))
}

fn push_table(text: &mut String, table: &Table) {
    if table.is_empty() {
        return;
    }
    text.push('\n');
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn hours(measures: &Measures) -> String {
    format!("{:.2}", measures.hours())
}

fn average_listeners(measures: &Measures) -> String {
    format!("{:.2}", measures.average_listeners())
}

/// `1:04:56`
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (minutes, second) = (seconds / 60, seconds % 60);
    format!("{}:{:02}:{second:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radio::figures::RelayFigures;
    use crate::radio::options::ReportOptions;
    use crate::radio::stats::tests::{
        START, TestSession, figures, five_connections, in_zone, session,
    };

    fn summary(all: &[TestSession]) -> String {
        text(&figures(all, &ReportOptions::default()), 0)
    }

    #[test]
    fn totals_mount_points_and_days_are_listed() {
        let mut figures = figures(&five_connections(), &in_zone("Europe/Berlin"));
        figures.no_duration = 2;
        figures.relays = RelayFigures {
            lines: 3,
            seconds: 9000,
        };
        assert_eq!(
            text(&figures, 7),
            "
Listening summary
-----------------

    2024-05-14 to 2024-05-15, time zone Europe/Berlin

    listening hours (ATH)       5.41
    sessions started (SS)          5, 4 of at least 60 s
    average session (ATSL)   1:04:56, median 0:30:07
    average listeners (AAS)     0.11
    peak listeners                 3, first at 2024-05-14 02:01:40
    unique listeners (CUME)        2, 2.71 hours each (TSL)

    Not in these figures:
        2 sessions without usable duration are sent as page views alone
        3 lines of relays, 2.50 hours (see --enable-relays)
        7 lines not sent yet (the run that sends them reports them)

    mount point  hours  sessions  average  listeners  peak  unique
    /live.mp3     5.34         3  1:46:42       0.11     2       2
    /jazz         0.08         2  0:02:17       0.00     2       1

    day         hours  sessions  listeners  peak  unique
    2024-05-14   0.58         3       0.02     3       2
    2024-05-15   4.83         2       0.20     2       2
"
        );
    }

    #[test]
    fn sessions_of_unknown_length_are_counted() {
        let mut figures = figures(&[], &ReportOptions::default());
        figures.no_duration = 1;
        let text = text(&figures, 0);
        assert!(text.contains("\n    0 sessions\n"), "{text}");
        assert!(
            text.contains("\n        1 sessions without usable duration"),
            "{text}"
        );
    }

    #[test]
    fn a_peak_of_zero_has_no_date() {
        let text = summary(&[session("/live", START, 0, 1)]);
        assert!(
            text.contains("\n    peak listeners                 0\n"),
            "{text}"
        );
    }

    #[test]
    fn a_month_is_listed_in_two_columns_and_a_year_by_month() {
        let days = |count: i64| -> Vec<_> {
            let mounts = ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i", "/j"];
            let first = START - 13 * 86_400;
            (0..count)
                .map(|day| session(mounts[day as usize % 10], first + day * 86_400, 3600, 1))
                .collect()
        };
        let month = summary(&days(31));
        let rows: Vec<_> = month.lines().rev().take(17).collect();
        let title = "    day         hours  peak  unique  day         hours  peak  unique";
        assert_eq!(rows[16], title);
        assert!(
            rows[0]
                .trim_end()
                .ends_with("2024-05-16   1.00     1       1"),
            "{month}"
        );
        assert!(month.contains("    (3 more)\n"), "{month}");
        let year = summary(&days(366));
        assert!(
            !year.contains("    day") && year.contains("\n    2024-07  31.00 "),
            "{year}"
        );
        for text in [month, year] {
            assert!(text.lines().count() <= MAX_LINES, "{text}");
        }
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let long = "/\u{1b}[2J\n".to_owned() + &"x".repeat(200);
        let mounts = [long.leak() as &'static str, "/live"];
        let many = (0..400).map(|n| {
            session(
                mounts[n % 2],
                START + n as i64 * 100_000,
                2_592_000,
                n as u64,
            )
        });
        let text = summary(&many.collect::<Vec<_>>());
        let is_short = |line: &str| line.chars().count() <= MAX_COLUMNS;
        assert!(text.lines().all(is_short), "{text}");
        assert!(
            text.contains("    /\\x1b[2J\\nx") && text.lines().count() <= MAX_LINES,
            "{text}"
        );
    }
}
