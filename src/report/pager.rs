//! Shows long texts in the user's pager.

use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

use super::Console;

/// Shows a text in the pager that `PAGER` names, else in `less`, if stdout is a terminal. Prints
/// it otherwise, and if there is no pager.
pub fn page(text: &str, console: &Console) {
    if !io::stdout().is_terminal() || !show(text) {
        console.print(text);
    }
}

/// Whether the pager was started.
fn show(text: &str) -> bool {
    let named = std::env::var_os("PAGER").filter(|pager| !pager.is_empty());
    let mut pager = match &named {
        Some(pager) => {
            // It may have options, as in `less -R`.
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(pager);
            shell
        }
        None => {
            let mut less = Command::new("less");
            less.arg("-FRX");
            less
        }
    };
    let Ok(mut running) = pager.stdin(Stdio::piped()).spawn() else {
        return false;
    };
    if let Some(mut stdin) = running.stdin.take() {
        // Fails if the user closes the pager early.
        let _ = stdin.write_all(text.as_bytes());
    }
    // A shell that does not find the pager ends with this status.
    const NOT_FOUND: i32 = 127;
    let status = running.wait();
    status.is_ok_and(|status| status.code() != Some(NOT_FOUND))
}
