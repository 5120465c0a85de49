//! The tables of mount points, channels, players and countries.

use std::iter::once;

use chrono::NaiveDate;

use super::listening::measure_cells;
use super::markup::{
    HtmlTable, NONE, bar, clock, counted, decimal, duration, figure, hours, month, percent,
    section, share, text,
};
use crate::radio::{GroupFigures, GroupKind, ListeningFigures, Measures, Month, Period};
use crate::report::grouped;

/// Maximum number of mount points in the tables of months.
const MAX_MONTH_ROWS: usize = 20;

/// Maximum number of groups of a kind in the other tables.
const MAX_ROWS: usize = 50;

/// Maximum months of the tables of months. A longer report has a table of years.
const MAX_MONTHS: usize = 36;

/// Maximum columns of the tables of months.
const MAX_COLUMNS: usize = 13;

/// More columns than these are printed on a page turned sideways.
const MAX_UPRIGHT_COLUMNS: usize = 6;

/// A column of the tables of months: its title and months.
type Column = (String, Vec<Month>);

/// The mount points with figures of their own, the one with the most seconds first.
pub fn named_mounts(figures: &ListeningFigures) -> Vec<&GroupFigures> {
    let mounts = figures.of(GroupKind::Mount);
    mounts.filter(|group| !group.name.is_empty()).collect()
}

/// Hours by month and mount point: one table, or one for each year.
pub fn months(
    figures: &ListeningFigures,
    all: &GroupFigures,
    first: NaiveDate,
    last: NaiveDate,
) -> String {
    let next = |month: &Month| Some(Month::of(month.next()));
    let months = std::iter::successors(Some(Month::of(first)), next);
    let months: Vec<Month> = months
        .take_while(|month| month.first_day() <= last)
        .collect();
    let by_month = |months: &[Month]| {
        months
            .iter()
            .map(|each| (month(*each), vec![*each]))
            .collect()
    };
    let years: Vec<&[Month]> = months
        .chunk_by(|one, other| one.year == other.year)
        .collect();
    let tables: Vec<(String, Vec<Column>)> = match months.len() {
        count if count <= MAX_COLUMNS => vec![("All".into(), by_month(&months))],
        count if count <= MAX_MONTHS => years
            .iter()
            .map(|months| (months[0].year.to_string(), by_month(months)))
            .collect(),
        _ => vec![("All".into(), year_columns(&years))],
    };
    let step = if months.len() > MAX_MONTHS {
        "year"
    } else {
        "month"
    };
    let title = format!("Hours by {step} and mount point");
    let columns = tables.iter().map(|(_, columns)| columns.len()).max();
    let is_wide = columns.is_some_and(|columns| columns > MAX_UPRIGHT_COLUMNS);
    let tables = tables
        .iter()
        .map(|(name, columns)| month_table(figures, all, &title, name, columns).to_string());
    section(
        if is_wide { "wide" } else { "" },
        &title,
        &(tables.collect::<String>()
            + "<p class=\"note\">Hours listened (ATH, TLH), divided at midnight.</p>\n"),
    )
}

/// The last years, and a column for all before them.
fn year_columns(years: &[&[Month]]) -> Vec<Column> {
    let skipped = match years.len() > MAX_COLUMNS {
        true => years.len() + 1 - MAX_COLUMNS,
        false => 0,
    };
    let (before, years) = years.split_at(skipped);
    let first = years.first().map(|months| months[0].year);
    let before = (!before.is_empty()).then(|| {
        let title = first.map_or(String::new(), |year| format!("before {year}"));
        (title, before.concat())
    });
    let years = years
        .iter()
        .map(|months| (months[0].year.to_string(), months.to_vec()));
    before.into_iter().chain(years).collect()
}

fn month_table(
    figures: &ListeningFigures,
    all: &GroupFigures,
    title: &str,
    sum_title: &str,
    columns: &[Column],
) -> HtmlTable {
    let caption = match sum_title {
        "All" => String::from(title),
        year => format!("{title}, {year}"),
    };
    // A single column needs no sum.
    let sum_title = (columns.len() > 1).then(|| sum_title.to_owned());
    let titles = columns.iter().map(|(title, _)| title.clone());
    let titles = sum_title.clone().into_iter().chain(titles);
    let mut table = HtmlTable::new(&caption, once("Mount point".into()).chain(titles));
    let seconds = |group: &GroupFigures| -> Vec<u64> {
        let in_month = |month: &Month| group.periods.get(&Period::Month(*month));
        let seconds = |month: &Month| in_month(month).map_or(0, |measures| measures.seconds);
        let columns = columns
            .iter()
            .map(|(_, months)| months.iter().map(seconds).sum());
        columns.collect()
    };
    let cells = |seconds: &[u64]| -> Vec<String> {
        let sum = sum_title.is_some().then(|| seconds.iter().sum());
        sum.into_iter()
            .chain(seconds.iter().copied())
            .map(hours)
            .collect()
    };
    let totals = seconds(all);
    let mut rest = totals.clone();
    let mounts = named_mounts(figures);
    let listed = mounts.len().min(MAX_MONTH_ROWS);
    for group in &mounts[..listed] {
        let seconds = seconds(group);
        for (rest, seconds) in rest.iter_mut().zip(&seconds) {
            *rest = rest.saturating_sub(*seconds);
        }
        table.row(&text(&group.name), cells(&seconds));
    }
    if figures.of(GroupKind::Mount).count() > listed {
        table.row("other mount points", cells(&rest));
    }
    table.total("All", cells(&totals));
    table
}

/// All measures of channels and mount points.
pub fn measures(figures: &ListeningFigures, all: &GroupFigures) -> String {
    let long = format!(
        "of at least {}",
        counted(figures.min_session, "second", "seconds")
    );
    let mut table = HtmlTable::new(
        "Measures of mount points and channels",
        [
            "Mount point",
            "Hours <abbr>ATH, TLH</abbr>",
            "Sessions <abbr>SS</abbr>",
            &long,
            "Average session <abbr>ATSL</abbr>",
            "Median session",
            "Average listeners <abbr>AAS</abbr>",
            "Most listeners",
            "First at",
            "Unique listeners <abbr>CUME</abbr>",
            "Hours per listener <abbr>TSL</abbr>",
        ],
    );
    table.total("All", measure_cells(figures, &all.total()));
    for (kind, title) in [
        (GroupKind::Channel, "Channels"),
        (GroupKind::Mount, "Mount points"),
    ] {
        let groups: Vec<_> = figures.of(kind).collect();
        if groups.is_empty() {
            continue;
        }
        table.group(title);
        for group in groups.iter().take(MAX_ROWS) {
            table.row(&name(group), measure_cells(figures, &group.total()));
        }
        if let Some(rest) = groups.get(MAX_ROWS..).filter(|rest| !rest.is_empty()) {
            let title = match rest.len() {
                1 => "1 more".into(),
                more => format!("{} more", grouped(more as u64)),
            };
            table.row(&title, rest_cells(kind, rest));
        }
    }
    let (title, note) = match figures.of(GroupKind::Channel).next() {
        Some(_) => (
            "Mount points and channels",
            " Channels can share mount points.",
        ),
        None => ("Mount points", ""),
    };
    let note = format!("<p class=\"note\">Lengths are hours:minutes:seconds.{note}</p>\n");
    section("wide", title, &format!("{table}{note}"))
}

/// What can be added up of the groups that are not listed. Channels share sessions.
fn rest_cells(kind: GroupKind, rest: &[&GroupFigures]) -> [String; 10] {
    let mut cells = [NONE; 10].map(String::from);
    if kind != GroupKind::Channel {
        let sum = sum(rest);
        cells[0] = hours(sum.seconds);
        cells[1] = grouped(sum.sessions);
        cells[2] = grouped(sum.long_sessions);
        cells[3] = clock(sum.average_session());
        cells[5] = decimal(sum.average_listeners(), 2);
    }
    cells
}

fn sum(groups: &[&GroupFigures]) -> Measures {
    let mut sum = Measures::default();
    for total in groups.iter().map(|group| group.total()) {
        sum.period_seconds = sum.period_seconds.max(total.period_seconds);
        sum.seconds += total.seconds;
        sum.sessions += total.sessions;
        sum.long_sessions += total.long_sessions;
        sum.session_seconds += total.session_seconds;
    }
    sum
}

/// Players or countries, with their shares of the hours. Empty if there are no such groups.
pub fn shares(figures: &ListeningFigures, all: &GroupFigures, kind: GroupKind) -> String {
    let groups: Vec<_> = figures.of(kind).collect();
    let Some(first) = groups.first() else {
        return String::new();
    };
    let (title, column, caption) = match kind {
        GroupKind::Country => (
            "Countries",
            "Country",
            "Shares of the listening hours by country",
        ),
        _ => (
            "Players",
            "Player",
            "Shares of the listening hours by player, as the user agent names it",
        ),
    };
    let mut table = HtmlTable::new(
        caption,
        [
            column,
            "",
            "Hours",
            "Share",
            "Sessions",
            "Average session",
            "Unique listeners",
        ],
    );
    let all = all.total();
    let most = first.total().seconds;
    let mut add = |name: &str, measures: &Measures, unique: String| {
        let cells = [
            bar(share(measures.seconds as f64, most as f64)),
            hours(measures.seconds),
            percent(measures.seconds, all.seconds),
            grouped(measures.sessions),
            duration(measures.average_session()),
            unique,
        ];
        table.row(name, cells);
    };
    for group in groups.iter().take(MAX_ROWS) {
        let total = group.total();
        add(&name(group), &total, grouped(total.listeners));
    }
    if let Some(rest) = groups.get(MAX_ROWS..).filter(|rest| !rest.is_empty()) {
        let title = format!("{} more", grouped(rest.len() as u64));
        add(&title, &sum(rest), NONE.into());
    }
    section("", title, &figure(&table.to_string(), "", caption))
}

/// The name of a group, as HTML.
fn name(group: &GroupFigures) -> String {
    match (group.kind, group.name.is_empty()) {
        (GroupKind::Mount, true) => "other mount points".into(),
        (_, true) => "unknown".into(),
        _ => text(&group.name),
    }
}
