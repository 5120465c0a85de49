//! The lines at the bottom of the terminal that are drawn again and again.
//!
//! `indicatif` draws into a text, which the console writes, so that nothing else comes in between.

use std::io;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::sync::Mutex;

/// What is drawn, and how to remove it. The methods return what to write to the terminal.
#[derive(Debug, Default)]
pub(super) struct Bar {
    /// `None` if there is no bar.
    bar: Option<ProgressBar>,
    canvas: Canvas,
    /// No bar is drawn any more.
    has_left: bool,
}

impl Bar {
    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// Draws lines of ASCII in place of those before, in a terminal of `width` columns.
    pub fn draw(&mut self, text: &str, width: usize) -> String {
        if self.has_left {
            return String::new();
        }
        self.canvas.set_width(width);
        let canvas = &self.canvas;
        let bar = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::term_like(Box::new(canvas.clone()));
            let bar = ProgressBar::with_draw_target(None, target);
            match ProgressStyle::with_template("{msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        if bar.message() != text {
            bar.set_message(text.to_owned());
        }
        self.canvas.take()
    }

    /// Removes it.
    pub fn clear(&mut self) -> String {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.canvas.take()
    }

    /// Leaves it on the screen, and draws none after it.
    pub fn leave(&mut self) -> String {
        self.has_left = true;
        match self.bar.take() {
            Some(bar) => {
                bar.abandon();
                self.canvas.take() + "\n"
            }
            None => String::new(),
        }
    }

    /// What to write before and after another text.
    pub fn around(&self) -> (String, String) {
        match &self.bar {
            Some(bar) => {
                let removal = bar.suspend(|| self.canvas.take());
                (removal, self.canvas.take())
            }
            None => Default::default(),
        }
    }
}

/// A terminal that keeps what is written to it.
#[derive(Clone, Debug, Default)]
struct Canvas(Arc<Mutex<CanvasState>>);

#[derive(Debug, Default)]
struct CanvasState {
    written: String,
    width: u16,
    /// Blanks up to the right edge were left out.
    is_row_full: bool,
}

impl Canvas {
    fn set_width(&self, columns: usize) {
        self.0.lock().width = u16::try_from(columns).unwrap_or(u16::MAX).max(1);
    }

    fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().written)
    }

    fn push(&self, text: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.is_row_full = false;
        state.written += text;
        Ok(())
    }

    fn move_cursor(&self, by: usize, direction: char) -> io::Result<()> {
        match by {
            0 => Ok(()),
            by => self.push(&format!("\x1b[{by}{direction}")),
        }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        self.0.lock().width
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(&format!("{text}\n"))
    }

    /// Leaves out the blanks up to the right edge, after which the next text is on a new line.
    /// Behind them, the `^C` that a terminal echoes would begin a line and leave the old bar above
    /// it.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        if text.trim_start_matches(' ').is_empty() {
            state.is_row_full |= !text.is_empty();
            return Ok(());
        }
        if std::mem::take(&mut state.is_row_full) {
            state.written.push('\n');
        }
        state.written += text;
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOVAL: &str = "\r\x1b[2K";

    #[test]
    fn each_text_replaces_the_one_before() {
        let mut bar = Bar::default();
        assert!(!bar.is_shown());
        assert_eq!(bar.draw("1 %", 80), "1 %");
        assert_eq!(bar.draw("1 %", 80), "");
        assert_eq!(
            bar.draw("2 %\nstopping", 80),
            format!("{REMOVAL}2 %\nstopping")
        );
        // Up, and both lines are removed.
        assert_eq!(
            bar.draw("3 %", 80),
            format!("\x1b[1A{REMOVAL}\x1b[1B{REMOVAL}\x1b[1A3 %")
        );
        assert!(bar.is_shown());
        assert_eq!(bar.clear(), REMOVAL);
        assert_eq!((bar.clear().as_str(), bar.is_shown()), ("", false));
    }

    #[test]
    fn other_texts_come_before_it() {
        let mut bar = Bar::default();
        bar.draw("1 %", 80);
        assert_eq!(bar.around(), (REMOVAL.to_owned(), "1 %".to_owned()));
    }

    #[test]
    fn a_bar_that_is_left_is_not_drawn_again() {
        let mut bar = Bar::default();
        bar.draw("1 %", 80);
        assert_eq!(bar.leave(), format!("{REMOVAL}1 %\n"));
        assert_eq!(bar.draw("2 %", 80) + &bar.clear() + &bar.leave(), "");
    }
}
