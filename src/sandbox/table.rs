//! Aligned tables of plain text, for texts that strangers wrote.

/// The longest a text is shown, in characters.
const WIDEST: usize = 100;

/// A table: numbers to the right, and a text of any length as the last column.
pub(super) struct Table {
    title: &'static str,
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &'static str, heads: &'static [&'static str]) -> Self {
        Self {
            title,
            heads,
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
        let mut out = format!("{}\n{}\n", self.title, "-".repeat(self.title.len()));
        let last = self.heads.len().saturating_sub(1);
        let widths: Vec<usize> = (0..last).map(|column| self.width(column)).collect();
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        for cells in std::iter::once(&heads).chain(&self.rows) {
            for (cell, width) in cells.iter().zip(&widths) {
                out.push_str(&format!("  {cell:>width$}"));
            }
            let text = cells.last().map_or("", String::as_str);
            out.push_str(&format!("  {text}\n"));
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let longest = cells.map(String::len).max().unwrap_or(0);
        longest.max(self.heads[column].len())
    }
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

/// Seconds as hours with two decimals: `1,234.56`
pub(super) fn hours(seconds: u64) -> String {
    let hundredths = seconds.saturating_add(18) / 36;
    format!("{}.{:02}", thousands(hundredths / 100), hundredths % 100)
}

/// Seconds as `h:mm:ss`
pub(super) fn clock(seconds: u64) -> String {
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!(
        "{}:{:02}:{seconds:02}",
        thousands(minutes / 60),
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(hours(19_480), "5.41");
        assert_eq!(hours(3_600_000), "1,000.00");
        assert_eq!(clock(3_896), "1:04:56");
        assert_eq!(clock(u64::MAX).len(), "5,124,095,576,030,431:00:15".len());
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
