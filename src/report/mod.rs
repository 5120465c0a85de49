//! What happened, counted and printed. No other module prints.
//!
//! [`counters`] has one outcome for each line. [`progress`] shows the counters during the run, and
//! [`summary`] at its end. [`console`] prints all text, [`mod@clean`] makes untrusted text safe for
//! a terminal, [`redact`] removes secrets, and [`rejects`] collects lines to correct.

pub mod clean;
pub mod console;
pub mod counters;
pub mod progress;
pub mod redact;
pub mod rejects;
pub mod summary;
pub mod table;

pub use clean::{clean, clean_to};
pub use console::Console;
pub use counters::{Account, Count, Counter, FileAccount, Reason, Row};
pub use summary::shell_word;
pub use table::{Align, Table};
