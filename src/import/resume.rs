//! What a stopped import leaves: a ledger written down, and the command line that goes on from there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::{Cli, Word};
use crate::input::discover::Source;
use crate::ledger::Ledger;
use crate::report::{Account, Console, Count, redact, shell_word};

/// Folders tried at one place before another is taken.
const MOST_TRIES: u32 = 100;

/// LineOptions that do not go with a ledger: what they did is in it.
const DROPPED: [&str; 2] = ["--skip", LIMIT];
const LIMIT: &str = "--debug-request-limit";

/// LineOptions that hold secrets, and options whose address may.
const SECRETS: [&str; 4] = [
    "--token-auth",
    "--token_auth",
    "--password",
    "--auth-password",
];
const ADDRESSES: [&str; 3] = ["--url", "-u", "--api-url"];
const HIDDEN: &str = "***";

/// Writes the ledger down, beside the first log or in the folder for temporary files, and says how to go on.
pub fn leave_ledger(
    ledger: &Ledger,
    sources: &[Source],
    account: &Account,
    args: &[OsString],
    console: &Console,
) {
    tell_of_pipes(sources, console);
    if account.total(Count::Read) == 0 {
        return;
    }
    let (pipes, logs): (Vec<&Source>, Vec<&Source>) =
        sources.iter().partition(|source| source.is_pipe());
    let mut logs = logs.iter().filter_map(|log| match log {
        Source::File(path) => Some(path),
        Source::Stdin => None,
    });
    let Some(first) = logs.next() else {
        return;
    };
    if nothing_was_sent(account) {
        console.note("nothing was sent yet: the same command begins again");
        return;
    }
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
        match ledger.save_to(&dir) {
            Ok(()) => {
                let dir = std::path::absolute(&dir).unwrap_or(dir);
                let command = command(args, &dir);
                let hidden = match command.contains(HIDDEN) {
                    true => "\n(with the secret in the place of ***)",
                    false => "",
                };
                let (of_what, with_what) = match pipes.is_empty() {
                    true => ("", "from there"),
                    false => (" of the other logs", "with those"),
                };
                let without_limit = match has_limit(args) {
                    true => {
                        " (and to the end of each log: --debug-request-limit does not go with that)"
                    }
                    false => "",
                };
                console.note(format!(
                    "what is done{of_what} is kept in {}; this goes on {with_what}, without loss and without sending \
                     anything twice{without_limit}:\n{command}{hidden}",
                    dir.display(),
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

/// Without a state directory nothing is kept of pipes, whether or not they were begun.
pub fn tell_of_pipes(sources: &[Source], console: &Console) {
    let pipes = sources.iter().filter(|source| source.is_pipe());
    let pipes: Vec<String> = pipes.map(ToString::to_string).collect();
    if !pipes.is_empty() {
        console.warn(format!(
            "nothing is kept of {}, which cannot be read again: what of it was not sent is lost; with --state-dir nothing \
             of it is",
            pipes.join(", ")
        ));
    }
}

/// No hit has left, as long as lines are passed over (`--skip`) for one; what needed no sending needs no ledger.
fn nothing_was_sent(account: &Account) -> bool {
    let sent = [
        Count::Imported,
        Count::Refused,
        Count::Lost,
        Count::InDoubt,
        Count::Resent,
    ];
    account.under_way() == 0 && sent.into_iter().all(|count| account.total(count) == 0)
}

fn has_limit(args: &[OsString]) -> bool {
    let words = Cli::written_out(args.iter().cloned());
    words.iter().any(|word| match word {
        Word::Option(text) => text.to_string_lossy().starts_with(LIMIT),
        Word::Log(_) | Word::Value(_) => false,
    })
}

fn folder(place: &Path, number: u32) -> PathBuf {
    match number {
        1 => place.join("import-logs-state"),
        _ => place.join(format!("import-logs-state-{number}")),
    }
}

/// The command line again, with the ledger and without what it makes needless or does not hold. Secrets are `***`.
fn command(args: &[OsString], dir: &Path) -> String {
    let mut words = Vec::new();
    let mut value_follows = None;
    for word in Cli::written_out(args.iter().cloned()) {
        if matches!(&word, Word::Log(log) if Source::named(log).is_pipe()) {
            continue;
        }
        let is_option = matches!(word, Word::Option(_));
        let text = OsString::from(word);
        let text = text.to_string_lossy();
        if !is_option {
            let value = match value_follows.take() {
                Some(meaning) => shown(&text, meaning),
                None => Some(text.into_owned()),
            };
            words.extend(value.map(|value| shell_word(&value)));
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value)),
            _ => (&*text, None),
        };
        let meaning = [
            (&DROPPED[..], Meaning::Dropped),
            (&SECRETS, Meaning::Secret),
            (&ADDRESSES, Meaning::Address),
        ]
        .into_iter()
        .find_map(|(names, meaning)| names.contains(&name).then_some(meaning));
        match (meaning, value) {
            (None, _) => words.push(shell_word(&text)),
            (Some(meaning), Some(value)) => {
                let value = shown(value, meaning);
                words.extend(value.map(|value| shell_word(&format!("{name}={value}"))));
            }
            (Some(meaning), None) => {
                value_follows = Some(meaning);
                words.extend(shown(name, meaning).map(|_| shell_word(name)));
            }
        }
        if words.len() == 1 {
            words.push(shell_word(&format!("--state-dir={}", dir.display())));
        }
    }
    words.join(" ")
}

/// What an option's value is.
#[derive(Clone, Copy)]
enum Meaning {
    Dropped,
    Secret,
    Address,
}

/// A value as it may be shown; `None`: not at all.
fn shown(value: &str, meaning: Meaning) -> Option<String> {
    match meaning {
        Meaning::Dropped => None,
        Meaning::Secret => Some(HIDDEN.to_owned()),
        Meaning::Address => Some(redact::typed_url(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_again(args: &[&str]) -> String {
        let args: Vec<OsString> = ["import-logs"]
            .iter()
            .chain(args)
            .map(OsString::from)
            .collect();
        command(&args, Path::new("/var/log/s"))
    }

    #[test]
    fn the_command_line_is_given_again_with_the_ledger() {
        let args = [
            "--skip=3",
            "--skip",
            "3",
            "--ski",
            "3",
            "--url=http://m/",
            "it's a.log",
        ];
        assert_eq!(
            given_again(&args),
            r"import-logs --state-dir=/var/log/s --url=http://m/ 'it'\''s a.log'"
        );
    }

    #[test]
    fn neither_secrets_nor_pipes_are_given_again() {
        let args = [
            "--url=http://bob:hunter2@m/a@b",
            "-u",
            "bob:hunter2@m",
            "--token-auth=it's a token",
            "--token_auth",
            "a token",
            "--passw=secret",
            "x=y.log",
            "-",
            "/dev/null",
        ];
        assert_eq!(
            given_again(&args),
            "import-logs --state-dir=/var/log/s '--url=http://bob:***@m/a@b' -u 'bob:***@m' \
             '--token-auth=***' --token_auth '***' '--password=***' x=y.log"
        );
    }
}
