//! What a stopped import leaves: a ledger written down, and the command line that goes on from there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::input::discover::Source;
use crate::ledger::Ledger;
use crate::report::{Account, Console, Count};

/// Folders tried at one place before another is taken.
const MOST_TRIES: u32 = 100;

/// Options that do not go with a ledger: what they did is in it.
const DROPPED: [&str; 2] = ["--skip", "--debug-request-limit"];

/// Writes the ledger down, beside the first log or in the folder for temporary files, and says how to go on.
pub fn leave_ledger(
    ledger: &Ledger,
    sources: &[Source],
    account: &Account,
    args: &[OsString],
    console: &Console,
) {
    if account.total(Count::Read) == 0 {
        return;
    }
    let logs: Vec<&Path> = sources
        .iter()
        .filter_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Stdin => None,
        })
        .collect();
    if logs.len() < sources.len() && account.total(Count::Unsent) > 0 {
        console.warn("what was read from standard input and not sent cannot be read again; with --state-dir nothing of it is lost");
    }
    let Some(first) = logs.first() else {
        return;
    };
    let beside = first
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let places = [beside.to_owned(), std::env::temp_dir()];
    let mut why = String::new();
    for place in places {
        let free = (1..=MOST_TRIES)
            .map(|number| folder(&place, number))
            .find(|dir| !dir.exists());
        let Some(dir) = free else { continue };
        match ledger.keep_in(&dir) {
            Ok(()) => {
                let dir = std::path::absolute(&dir).unwrap_or(dir);
                console.note(format!(
                    "what is done is kept in {}; this goes on from there, without loss and without sending anything twice:\n{}",
                    dir.display(),
                    command(args, &dir)
                ));
                return;
            }
            Err(error) => why = error.to_string(),
        }
    }
    console.warn(format!(
        "what is done could not be written down ({why}): running again would send it again"
    ));
}

fn folder(place: &Path, number: u32) -> PathBuf {
    match number {
        1 => place.join("import-logs-state"),
        _ => place.join(format!("import-logs-state-{number}")),
    }
}

/// The command line again, with the ledger and without what it makes needless.
fn command(args: &[OsString], dir: &Path) -> String {
    let mut words = Vec::new();
    let mut value_follows = false;
    for arg in args {
        let text = arg.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        if std::mem::take(&mut value_follows) {
            continue;
        }
        if DROPPED.contains(&name) {
            value_follows = !text.contains('=');
            continue;
        }
        words.push(quoted(&text));
        if words.len() == 1 {
            words.push(quoted(&format!("--state-dir={}", dir.display())));
        }
    }
    words.join(" ")
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_given_again_with_the_ledger() {
        let args = [
            "import-logs",
            "--skip=3",
            "--skip",
            "3",
            "--url=http://m/",
            "it's a.log",
        ]
        .map(OsString::from);
        assert_eq!(
            command(&args, Path::new("/var/log/s")),
            r"import-logs --state-dir=/var/log/s --url=http://m/ 'it'\''s a.log'"
        );
    }
}
