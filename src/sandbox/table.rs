//! Aligned tables of plain text, for texts that strangers wrote.

/// The longest a text is shown, in characters.
const WIDEST: usize = 100;

/// A table: numbers to the right, and a text of any length as the last column.
pub(super) struct Table {
    title: &'static str,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &'static str, heads: &[&str]) -> Self {
        Self {
            title,
            heads: heads.iter().map(|head| shown(head)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: its numbers as they are, its text cleaned and cut.
    pub fn row(&mut self, numbers: impl IntoIterator<Item = String>, text: &str) {
        let mut cells: Vec<String> = numbers.into_iter().collect();
        cells.push(shown(text));
        self.rows.push(cells);
    }

    /// The table with its title; nothing where it has no rows.
    pub fn render(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut out = heading(self.title);
        let last = self.heads.len().saturating_sub(1);
        let widths: Vec<usize> = (0..last).map(|column| self.width(column)).collect();
        for cells in std::iter::once(&self.heads).chain(&self.rows) {
            for (cell, width) in cells.iter().zip(&widths) {
                out.push_str(&format!("  {cell:>width$}"));
            }
            let text = cells.last().map_or("", String::as_str);
            out.push_str(&format!("  {text}\n"));
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = std::iter::once(&self.heads)
            .chain(&self.rows)
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

/// A title with a line under it.
pub(super) fn heading(title: &str) -> String {
    format!("{title}\n{}\n", "-".repeat(title.len()))
}

/// A text from a log, safe for a terminal: no control characters, no changes of direction, not too long.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(WIDEST).map(clean).collect();
    if text.chars().nth(WIDEST).is_some() {
        shown.push('…');
    }
    shown
}

fn clean(c: char) -> char {
    match c {
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// `1,234,567`
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1,234.56`, not below zero.
pub(super) fn hundredths(number: f64) -> String {
    grouped(&format!("{number:.2}"))
}

/// `1,234`, or `1,234.5` where it is no whole number.
pub(super) fn tenths(number: f64) -> String {
    let text = grouped(&format!("{number:.1}"));
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The digits before the point in groups.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    format!(
        "{}.{fraction}",
        thousands(whole.parse().unwrap_or(u64::MAX))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(hundredths(19_480.0 / 3600.0), "5.41");
        assert_eq!(hundredths(1e3), "1,000.00");
        assert_eq!(tenths(3_896.0), "3,896");
        assert_eq!(tenths(2_706.16), "2,706.2");
        assert_eq!(tenths(0.04), "0");
    }

    #[test]
    fn columns_are_aligned_and_texts_cleaned() {
        let mut table = Table::new("Most viewed", &["Views", "Url"]);
        table.row([thousands(12_345)], "http://a/\u{1b}[31m");
        table.row([thousands(1)], &"x".repeat(200));
        let lines = table.render();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "Most viewed",
                "-----------",
                "   Views  Url",
                "  12,345  http://a/\u{fffd}[31m"
            ]
        );
        assert_eq!(lines[4], format!("       1  {}…", "x".repeat(100)));
    }
}
