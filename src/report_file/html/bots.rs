//! The part of the page about bots.

use super::markup::{HtmlTable, NONE, capitalized, counted, figure, section, text};
use crate::filter::{BotFigures, BotRow};
use crate::report::grouped;

/// Maximum rows of a category.
const MAX_ROWS: usize = 50;

/// The section about bots. Empty without bots.
pub fn section_of(bots: &BotFigures) -> String {
    if bots.rows.is_empty() {
        return String::new();
    }
    let mut titles = vec!["Bot", "Operator", "Hits", "Bytes", "4xx"];
    if bots.is_checked() {
        titles.extend(["Verified", "Forged"]);
    }
    let mut table = HtmlTable::new("Bots", titles);
    for rows in bots.by_category() {
        let category = rows.first().map_or("", |row| row.category.name());
        table.group(&capitalized(category));
        for row in rows.iter().take(MAX_ROWS) {
            table.row(&text(&row.name), cells(row, bots.is_checked()));
        }
        if let Some(others) = BotRow::sum(rows.get(MAX_ROWS..).unwrap_or_default()) {
            table.row(&text(&others.name), cells(&others, bots.is_checked()));
        }
    }
    let hits = bots.rows.iter().map(|row| row.counts.hits);
    let hits = hits.fold(0, u64::saturating_add);
    let note = format!("{} in all, imported or not", counted(hits, "hit", "hits"));
    section("", "Bots", &figure(&table.to_string(), "", &note))
}

fn cells(row: &BotRow, is_checked: bool) -> Vec<String> {
    let counts = row.counts;
    let mut cells = vec![text(&row.operator)];
    cells.extend([counts.hits, counts.bytes, counts.client_errors].map(grouped));
    if is_checked {
        let (verified, forged) = row.checked().unzip();
        cells.extend([verified, forged].map(|number| number.map_or(NONE.into(), grouped)));
    }
    cells
}
