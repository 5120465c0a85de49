//! Report: what came of it. The only module that prints.
//!
//! [`account`] counts every line once, as one of [`count`]; [`progress`] tells the counts on the way and
//! [`summary`] at the end. [`console`] carries every text to where it is read, [`mod@clean`] makes strangers' text
//! safe to show there, and [`exit`] is what remains of it all for the calling script.

pub mod account;
pub mod clean;
pub mod console;
pub mod count;
pub mod exit;
mod held;
pub mod progress;
pub mod rejects;
pub mod shell;
mod sink;
pub mod summary;
pub mod table;

pub use account::{Account, Counter, FileAccount, Row};
pub use clean::clean;
pub use console::Console;
pub use count::{Count, Reason};
pub use exit::Exit;
pub use shell::shell_word;
pub use table::{Align, Table};
