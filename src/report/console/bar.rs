//! The lines at the bottom of the terminal that are drawn again and again.

/// What is drawn, and how to remove it. The methods return what to write to the terminal.
#[derive(Debug, Default)]
pub(super) struct Bar {
    /// Lines of ASCII. `None` if there is no bar.
    text: Option<String>,
    /// The width of the terminal, in columns.
    width: usize,
    /// No bar is drawn any more.
    has_left: bool,
}

impl Bar {
    pub fn is_shown(&self) -> bool {
        self.text.is_some()
    }

    /// Draws a text in place of the one before, in a terminal of `width` columns.
    pub fn draw(&mut self, text: &str, width: usize) -> String {
        if self.has_left {
            return String::new();
        }
        self.width = width;
        if self.text.as_deref() == Some(text) {
            return String::new();
        }
        let output = self.removal() + text;
        self.text = Some(text.to_owned());
        output
    }

    /// Removes it.
    pub fn clear(&mut self) -> String {
        let output = self.removal();
        self.text = None;
        output
    }

    /// Leaves it on the screen, and draws none after it.
    pub fn leave(&mut self) -> String {
        self.has_left = true;
        match self.text.take() {
            Some(_) => "\n".to_owned(),
            None => String::new(),
        }
    }

    /// What to write before and after another text.
    pub fn around(&self) -> (String, String) {
        (self.removal(), self.text.clone().unwrap_or_default())
    }

    fn removal(&self) -> String {
        let Some(text) = &self.text else {
            return String::new();
        };
        // If the terminal has become narrower, a line takes several rows.
        let rows = |line: &str| line.len().div_ceil(self.width.max(1)).max(1);
        let rows: usize = text.split('\n').map(rows).sum();
        let up = match rows {
            0 | 1 => String::new(),
            rows => format!("\x1b[{}A", rows - 1),
        };
        format!("\r{up}\x1b[J")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_replaces_the_one_before() {
        let mut bar = Bar::default();
        assert!(!bar.is_shown());
        assert_eq!(bar.draw("1 %", 80), "1 %");
        assert_eq!(bar.draw("1 %", 80), "");
        assert_eq!(bar.draw("2 %\nstopping", 80), "\r\x1b[J2 %\nstopping");
        assert_eq!(bar.draw("3 %", 80), "\r\x1b[1A\x1b[J3 %");
        assert!(bar.is_shown());
        assert_eq!(bar.clear(), "\r\x1b[J");
        assert_eq!((bar.clear().as_str(), bar.is_shown()), ("", false));
    }

    #[test]
    fn a_line_that_wraps_in_a_narrower_terminal_is_removed_whole() {
        let mut bar = Bar::default();
        bar.draw(&"=".repeat(70), 80);
        assert_eq!(bar.draw("1 %", 40), "\r\x1b[1A\x1b[J1 %");
    }

    #[test]
    fn other_texts_come_before_it() {
        let mut bar = Bar::default();
        bar.draw("1 %", 80);
        assert_eq!(bar.around(), ("\r\x1b[J".to_owned(), "1 %".to_owned()));
    }

    #[test]
    fn a_bar_that_is_left_is_not_drawn_again() {
        let mut bar = Bar::default();
        bar.draw("1 %", 80);
        assert_eq!(bar.leave(), "\n");
        assert_eq!(bar.draw("2 %", 80) + &bar.clear() + &bar.leave(), "");
    }
}
