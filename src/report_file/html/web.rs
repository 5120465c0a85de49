//! The part of the page about hits that are not listeners. It is short: Matomo has the rest.

use super::charts::{ChartColumn, ColumnChart, labelled};
use super::markup::{
    HtmlTable, bar, capitalized, counted, decimal, details, figure, percent, section, share, text,
};
use super::timeline::Timeline;
use crate::report::grouped;
use crate::report_file::WebFigures;

/// Maximum rows of the lists of a web log.
const MAX_ROWS: usize = 50;

/// The sections about hits that are not listeners.
pub fn sections(web: &WebFigures) -> String {
    let mut html = String::new();
    let all_hits = format!("{} in all", counted(web.hits, "hit", "hits"));
    if let (Some((first, _)), Some((last, _))) = (web.days.first(), web.days.last()) {
        let timeline = Timeline::new(*first, *last);
        let sums = timeline.sums(web.days.iter().copied());
        let title = format!("Hits per {}", timeline.step.name());
        let mut table = HtmlTable::new(&title, [capitalized(timeline.step.name()), "Hits".into()]);
        for (start, hits) in timeline.starts.iter().zip(&sums) {
            table.row(&timeline.name(*start), [grouped(*hits)]);
        }
        table.total("All", [grouped(sums.iter().sum())]);
        let chart = figure(&day_chart(&title, &timeline, &sums, "hits"), "", &all_hits);
        html += &section("", &title, &(chart + &details("Hits as a table", &table)));
    }
    for (title, column, unit, list) in [
        ("Most viewed pages", "Page", "Views", &web.pages),
        ("Status codes", "Status", "Hits", &web.status),
        ("Referring hosts", "Host", "Hits", &web.referrers),
    ] {
        if list.is_empty() {
            continue;
        }
        let most = list.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let mut table = HtmlTable::new(title, [column, "", unit, "Share of all hits"]);
        for (name, number) in list.iter().take(MAX_ROWS) {
            let part = share(*number as f64, most as f64);
            table.row(
                &text(name),
                [bar(part), grouped(*number), percent(*number, web.hits)],
            );
        }
        html += &section("", title, &figure(&table.to_string(), "", &all_hits));
    }
    html
}

/// A chart of sums by day, week, month or year.
fn day_chart(title: &str, timeline: &Timeline, sums: &[u64], unit: &str) -> String {
    let has_label = labelled(sums.len(), 8);
    let columns = timeline.starts.iter().zip(sums).enumerate();
    let columns = columns.map(|(index, (start, sum))| ChartColumn {
        label: if has_label(index) {
            timeline.label(*start)
        } else {
            String::new()
        },
        title: format!("{}: {} {unit}", timeline.full_name(*start), grouped(*sum)),
        parts: vec![*sum as f64],
        mark: None,
    });
    let chart = ColumnChart {
        title: title.into(),
        columns: columns.collect(),
    };
    chart.svg(|value| decimal(value, 0))
}
