//! The part of the page about listeners: the six numbers and the charts.

use std::fmt::Write;
use std::iter::once;

use chrono::{Datelike, NaiveDate};

use super::charts::{ChartColumn, ColumnChart, MARK_KEY, MAX_PARTS, PART_KEYS, labelled, legend};
use super::groups;
use super::markup::{
    HtmlTable, NONE, bar, capitalized, clock, counted, decimal, details, duration, figure, hours,
    listeners, moment, percent, section, share, text,
};
use super::timeline::{StepLength, Timeline};
use crate::radio::{GroupFigures, GroupKind, LENGTHS, ListeningFigures, Measures, Period};
use crate::report::grouped;

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Shades of the heat map, apart from that of no listeners.
const SHADES: usize = 6;

/// The first and the last day of the report. `None` if it has no sessions.
pub fn days(figures: &ListeningFigures) -> Option<(NaiveDate, NaiveDate)> {
    let range = &figures.range;
    let day = |time| figures.zone.local(time).date();
    (range.start < range.end).then(|| (day(range.start), day(range.end - 1)))
}

/// All sections about listeners.
pub fn sections(figures: &ListeningFigures) -> String {
    let Some(all) = figures.all() else {
        return no_sessions();
    };
    let Some((first, last)) = days(figures) else {
        return numbers(figures, all.total()) + &no_sessions();
    };
    [
        numbers(figures, all.total()),
        hours_of_day(figures, all),
        hours_per_day(figures, all, &Timeline::new(first, last)),
        week(figures, all),
        lengths(figures),
        groups::months(figures, all, first, last),
        groups::measures(figures, all),
        groups::shares(figures, all, GroupKind::Player),
        groups::shares(figures, all, GroupKind::Country),
    ]
    .concat()
}

fn no_sessions() -> String {
    "<p class=\"note\">These logs have no listening sessions of known length.</p>\n".into()
}

/// The six numbers, and a line of smaller ones.
fn numbers(figures: &ListeningFigures, total: Measures) -> String {
    let peak_at = match total.peak_at {
        Some(time) => format!("<small>first at {}</small>", moment(figures.zone, time)),
        None => String::new(),
    };
    let short = |name: &str| format!("<abbr>{name}</abbr>");
    let mut html = String::from("<section class=\"glance\">\n<h2>At a glance</h2>\n<dl>\n");
    for (name, more, value) in [
        ("Listening hours", short("ATH, TLH"), hours(total.seconds)),
        ("Sessions started", short("SS"), grouped(total.sessions)),
        (
            "Average session",
            short("ATSL"),
            duration(total.average_session()),
        ),
        (
            "Average listeners",
            short("AAS"),
            decimal(total.average_listeners(), 2),
        ),
        ("Peak listeners", peak_at, grouped(total.peak)),
        ("Unique listeners", short("CUME"), grouped(total.listeners)),
    ] {
        // Writing into a String cannot fail.
        let _ = writeln!(html, "<div><dt>{name} {more}</dt><dd>{value}</dd></div>");
    }
    let _ = write!(
        html,
        "</dl>\n<ul class=\"smaller\">\n\
         <li><b>{}</b> of at least {}</li>\n\
         <li><b>{}</b> median session</li>\n\
         <li><b>{}</b> hours per listener <abbr>TSL</abbr></li>\n\
         </ul>\n</section>\n",
        counted(total.long_sessions, "session", "sessions"),
        counted(figures.min_session, "second", "seconds"),
        duration(total.median),
        decimal(total.hours_per_listener(), 2),
    );
    html
}

fn hours_of_day(figures: &ListeningFigures, all: &GroupFigures) -> String {
    let mut table = HtmlTable::new(
        "Listeners by hour of the day",
        [
            "Hour",
            "Average listeners",
            "Most listeners",
            "First at",
            "Hours",
            "Sessions started",
        ],
    );
    let mut chart = ColumnChart {
        title: "Average and most listeners in each hour of the day".into(),
        columns: Vec::new(),
    };
    for hour in 0..24 {
        let measures = in_period(all, Period::Hour(hour));
        let name = format!("{hour:02}:00");
        let average = listeners(measures.average_listeners());
        let peak = grouped(measures.peak);
        chart.columns.push(ChartColumn {
            label: if hour % 3 == 0 {
                name.clone()
            } else {
                String::new()
            },
            title: format!("{name}: {average} on average, {peak} at most"),
            parts: vec![measures.average_listeners()],
            mark: Some(measures.peak as f64),
        });
        let cells = [
            average,
            peak,
            peak_time(figures, &measures),
            hours(measures.seconds),
            grouped(measures.sessions),
        ];
        table.row(&name, cells);
    }
    let keys = legend([
        (PART_KEYS[0], "average listeners".into()),
        (MARK_KEY, "most listeners at the same time".into()),
    ]);
    let caption = "Listeners in each hour of the day, over all days of the period";
    section(
        "",
        "Listeners by hour of the day",
        &(figure(&chart.svg(|value| decimal(value, 0)), &keys, caption)
            + &details("Listeners by hour as a table", &table)),
    )
}

fn hours_per_day(figures: &ListeningFigures, all: &GroupFigures, timeline: &Timeline) -> String {
    let sums = |group: &GroupFigures| timeline.sums(group_days(group));
    let totals = sums(all);
    let mounts = groups::named_mounts(figures);
    // A single mount point would repeat the sum.
    let is_single = figures.of(GroupKind::Mount).count() <= 1;
    let shown = if is_single {
        0
    } else {
        mounts.len().min(MAX_PARTS - 1)
    };
    let mut parts: Vec<(String, Vec<u64>)> = mounts[..shown]
        .iter()
        .map(|group| (text(&group.name), sums(group)))
        .collect();
    let listed = |index: usize| parts.iter().map(|(_, sums)| sums[index]).sum::<u64>();
    let rest: Vec<u64> = (0..totals.len())
        .map(|index| totals[index].saturating_sub(listed(index)))
        .collect();
    let has_rest = is_single || figures.of(GroupKind::Mount).count() > shown;
    if has_rest {
        let name = if is_single {
            "all"
        } else {
            "other mount points"
        };
        parts.push((name.into(), rest));
    }

    let step = timeline.step.name();
    let title = format!("Listening hours per {step}");
    let by_mount = if is_single { "" } else { " by mount point" };
    let has_label = labelled(totals.len(), 8);
    let mut chart = ColumnChart {
        title: format!("{title}{by_mount}"),
        columns: Vec::new(),
    };
    let columns: Vec<&str> = match is_single {
        true => vec!["All"],
        false => once("All")
            .chain(parts.iter().map(|(name, _)| &**name))
            .collect(),
    };
    let titles = once(capitalized(step)).chain(columns.iter().map(|name| String::from(*name)));
    let mut table = HtmlTable::new(&chart.title, titles);
    for (index, start) in timeline.starts.iter().enumerate() {
        let values = || parts.iter().map(|(_, sums)| sums[index]);
        let label = if has_label(index) {
            timeline.label(*start)
        } else {
            String::new()
        };
        chart.columns.push(ChartColumn {
            label,
            title: format!(
                "{}: {} hours",
                timeline.full_name(*start),
                hours(totals[index])
            ),
            parts: values().map(|seconds| seconds as f64 / 3600.0).collect(),
            mark: None,
        });
        let cells = once(totals[index]).chain(values()).take(columns.len());
        table.row(&timeline.name(*start), cells.map(hours));
    }
    let all_sums = parts.iter().map(|(_, sums)| sums.iter().sum::<u64>());
    let sum: u64 = totals.iter().sum();
    let cells = once(sum).chain(all_sums.clone()).take(columns.len());
    table.total("All", cells.map(hours));

    let keys = match is_single {
        true => String::new(),
        false => legend(parts.iter().zip(all_sums).zip(PART_KEYS).map(
            |(((name, _), seconds), look)| {
                let text = format!("{name} <b>{}</b> {}", hours(seconds), percent(seconds, sum));
                (look, text)
            },
        )),
    };
    let partial = match timeline.step {
        StepLength::Day => String::new(),
        _ => format!("; the first and the last {step} may be incomplete"),
    };
    let caption = format!("Hours listened{by_mount} per {step}, divided at midnight{partial}");
    section(
        "",
        &title,
        &(figure(&chart.svg(|value| decimal(value, 0)), &keys, &caption)
            + &details(&format!("{title} as a table"), &table)),
    )
}

fn week(figures: &ListeningFigures, all: &GroupFigures) -> String {
    let covered = weekdays_covered(figures);
    let value = |day: u8, hour: u8| {
        let measures = in_period(all, Period::WeekHour(day, hour));
        covered[usize::from(day)].then(|| measures.average_listeners())
    };
    let cells = || (0..7).flat_map(|day| (0..24).filter_map(move |hour| value(day, hour)));
    let least = cells().fold(f64::INFINITY, f64::min);
    let most = cells().fold(0.0, f64::max);
    let decimals = usize::from(most < 100.0);
    let mut html = String::from(
        "<div class=\"week\"><table class=\"heat\">\n\
         <caption>Average listeners by weekday and hour</caption>\n<thead><tr><td></td>",
    );
    for hour in 0..24 {
        let _ = write!(html, "<th scope=\"col\">{hour:02}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (day, name) in (0..).zip(WEEKDAYS) {
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><abbr title=\"{name}\">{}</abbr></th>",
            &name[..3]
        );
        for hour in 0..24 {
            let _ = match value(day, hour) {
                Some(value) => write!(
                    html,
                    "<td class=\"h{}\">{}</td>",
                    shade(value, least, most),
                    compact(value, decimals)
                ),
                None => write!(html, "<td>{NONE}</td>"),
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n<ul class=\"legend shades\">\n");
    let width = (most - least) / SHADES as f64;
    for number in 0..SHADES {
        let from = least + width * number as f64;
        let _ = writeln!(
            html,
            "<li><span class=\"h{}\">{} to {}</span></li>",
            number + 1,
            decimal(from, decimals),
            decimal(from + width, decimals)
        );
        if width <= 0.0 {
            break;
        }
    }
    html.push_str("</ul>\n");
    let caption = "Average listeners in each hour of the week; the stronger the shade, the more";
    section(
        "",
        "Listeners by weekday and hour",
        &figure(&html, "", caption),
    )
}

fn lengths(figures: &ListeningFigures) -> String {
    let sum: u64 = figures.lengths.iter().sum();
    let most = figures.lengths.iter().copied().max().unwrap_or(0);
    let mut table = HtmlTable::new("Sessions by length", ["Length", "", "Sessions", "Share"]);
    for ((_, name), sessions) in LENGTHS.iter().zip(figures.lengths) {
        let part = share(sessions as f64, most as f64);
        table.row(name, [bar(part), grouped(sessions), percent(sessions, sum)]);
    }
    table.total("All", [String::new(), grouped(sum), percent(sum, sum)]);
    let caption = format!("Lengths of {}", counted(sum, "session", "sessions"));
    section(
        "",
        "Session lengths",
        &figure(&table.to_string(), "", &caption),
    )
}

/// When a peak was first reached.
fn peak_time(figures: &ListeningFigures, measures: &Measures) -> String {
    let time = measures.peak_at;
    time.map_or(NONE.into(), |time| moment(figures.zone, time))
}

/// All measures of a group in a row of a table.
pub fn measure_cells(figures: &ListeningFigures, measures: &Measures) -> [String; 10] {
    [
        hours(measures.seconds),
        grouped(measures.sessions),
        grouped(measures.long_sessions),
        clock(measures.average_session()),
        clock(measures.median),
        decimal(measures.average_listeners(), 2),
        grouped(measures.peak),
        peak_time(figures, measures),
        grouped(measures.listeners),
        decimal(measures.hours_per_listener(), 2),
    ]
}

fn in_period(group: &GroupFigures, period: Period) -> Measures {
    group.periods.get(&period).copied().unwrap_or_default()
}

fn group_days(group: &GroupFigures) -> impl Iterator<Item = (NaiveDate, u64)> {
    group
        .periods
        .iter()
        .filter_map(|(period, measures)| match period {
            Period::Day(day) => Some((*day, measures.seconds)),
            _ => None,
        })
}

/// Whether the report has each weekday, from Monday.
fn weekdays_covered(figures: &ListeningFigures) -> [bool; 7] {
    let mut covered = [false; 7];
    if let Some((first, last)) = days(figures) {
        for day in first.iter_days().take(7).take_while(|day| *day <= last) {
            covered[day.weekday().num_days_from_monday() as usize] = true;
        }
    }
    covered
}

/// The shade of a value: 0 without listeners, else 1 to [`SHADES`].
fn shade(value: f64, least: f64, most: f64) -> usize {
    if value <= 0.0 {
        return 0;
    }
    let place = share(value - least, most - least) * SHADES as f64;
    // Between 0 and SHADES.
    (place.floor() as usize).min(SHADES - 1) + 1
}

/// A number for a narrow cell.
fn compact(value: f64, decimals: usize) -> String {
    match value {
        10_000.0.. => format!("{}k", decimal(value / 1000.0, 1)),
        _ => decimal(value, decimals),
    }
}
