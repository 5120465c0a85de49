//! What happened, counted and printed. No other module prints.
//!
//! [`counters`] has one outcome for each line. [`progress`] shows the counters during the run, and
//! [`summary`] at its end. [`console`] prints all text, [`mod@clean`] makes untrusted text safe for
//! a terminal, [`redact`] removes secrets, and [`rejects`] collects lines to correct.

pub mod clean;
pub mod console;
pub mod counters;
pub mod pager;
pub mod progress;
pub mod redact;
pub mod rejects;
pub mod summary;
pub mod table;

pub use clean::{clean, clean_to};
pub use console::Console;
pub use counters::{Account, Count, Counter, Extent, FileAccount, Reason, Row};
pub use summary::shell_word;
pub use table::{Align, Table};

/// A number with a comma after each group of three digits.
pub fn grouped(number: u64) -> String {
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

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (12_352, "12,352"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
