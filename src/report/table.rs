//! Aligned plain-text tables for the summary and the sandbox's report.

use std::fmt;

/// How the cells of a column are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table with a title for each column, indented like the lines of the summary.
///
/// Cells are printed as they are: clean text from logs first, with [`super::clean()`].
pub struct Table {
    aligns: Vec<Align>,
    /// The titles are the first row.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (Align, S)>) -> Self {
        let (aligns, titles) = columns
            .into_iter()
            .map(|(align, title)| (align, title.into()))
            .unzip();
        Self {
            aligns,
            rows: vec![titles],
        }
    }

    /// Adds a row with one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there are no rows below the titles.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The number of characters in the widest cell of a column.
    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.aligns.len().saturating_sub(1);
        let widths: Vec<usize> = (0..self.aligns.len()).map(|n| self.width(n)).collect();
        for row in &self.rows {
            f.write_str("  ")?;
            for (n, ((cell, align), width)) in row.iter().zip(&self.aligns).zip(&widths).enumerate()
            {
                match align {
                    // No blanks at the end of a line.
                    Align::Left if n == last => write!(f, "  {cell}")?,
                    Align::Left => write!(f, "  {cell:<width$}")?,
                    Align::Right => write!(f, "  {cell:>width$}")?,
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([
            (Align::Left, "name"),
            (Align::Right, "views"),
            (Align::Left, "url"),
        ]);
        assert!(table.is_empty());
        table.row(["a", "12345", "/"].map(String::from));
        table.row(["größer", "1", "/long"].map(String::from));
        assert!(!table.is_empty());
        assert_eq!(
            table.to_string(),
            "    name    views  url\n    a       12345  /\n    größer      1  /long\n"
        );
    }
}
