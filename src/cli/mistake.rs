//! Makes clap's errors more useful: what was probably meant by an unknown option.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use super::abbreviation;
use super::examples::first_steps;
use super::origin::Origin;
use crate::suggestion::closest;

/// Names that other programs have for an option.
const ELSEWHERE: [(&str, &str); 16] = [
    ("--verbose", "-d"),
    ("-v", "-d"),
    ("--silent", "--quiet"),
    ("-s", "--quiet"),
    ("-o", "--output"),
    ("--format", "--log-format-name"),
    ("--jobs", "--recorders"),
    ("--threads", "--recorders"),
    ("--workers", "--recorders"),
    ("-j", "--recorders"),
    ("--insecure", "--accept-invalid-ssl-certificate"),
    ("-k", "--accept-invalid-ssl-certificate"),
    ("--site", "--idsite"),
    ("--site-id", "--idsite"),
    ("--timeout", "--request-timeout"),
    ("--user", "--login"),
];

/// Completes the error about a command line. `count` is the number of arguments that were typed.
/// `origin` is that of the option that is wrong, if it is not on the command line.
pub fn explain(
    mut error: Error,
    command: &Command,
    count: usize,
    origin: Option<&Origin>,
) -> Error {
    if let Some(origin) = origin {
        let note = StyledStr::from(format!("the option is from {origin}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![note]));
        return error;
    }
    match error.kind() {
        ErrorKind::MissingRequiredArgument if count == 0 => {
            Error::raw(ErrorKind::MissingRequiredArgument, first_steps())
        }
        ErrorKind::UnknownArgument => {
            suggest(&mut error, command);
            error
        }
        _ => error,
    }
}

/// Replaces clap's suggestions, which also come from hidden and unrelated options.
fn suggest(error: &mut Error, command: &Command) {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let typed = typed.clone();
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::Suggested);
    let usage = command.clone().render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    match meant(&typed, command).as_slice() {
        [] => {}
        [one] => {
            let one = ContextValue::String(one.clone());
            error.insert(ContextKind::SuggestedArg, one);
        }
        several => {
            let several = ContextValue::Strings(several.to_vec());
            error.insert(ContextKind::SuggestedArg, several);
        }
    }
}

/// The options that were perhaps meant by an unknown one, with their dashes.
fn meant(typed: &str, command: &Command) -> Vec<String> {
    let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == typed);
    if let Some((_, name)) = elsewhere {
        return vec![(*name).to_owned()];
    }
    let Some(name) = typed.strip_prefix("--").filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    let longs: Vec<&str> = abbreviation::visible(command).collect();
    let begun: Vec<&&str> = longs.iter().filter(|long| long.starts_with(name)).collect();
    if !begun.is_empty() && begun.len() <= 5 {
        return begun.iter().map(|long| format!("--{long}")).collect();
    }
    let closest = closest(name, longs.iter().copied());
    closest
        .map(|long| format!("--{long}"))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use crate::cli::Cli;

    /// The message about a command line.
    fn message(line: &str) -> String {
        let words = ["import-logs"].into_iter().chain(line.split_whitespace());
        let error = Cli::read(words.map(OsString::from)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn real_options_are_suggested() {
        for (typed, suggested) in [
            ("--verbose", "'-d'"),
            ("-v", "'-d'"),
            ("--dryrun", "'--dry-run'"),
            ("--dry_run", "'--dry-run'"),
            ("--idsites=1", "'--idsite'"),
            ("--id-site=1", "'--idsite'"),
            ("--sand", "'--sandbox'"),
            ("--token-auht=x", "'--token-auth'"),
            (
                "--enable-http",
                "'--enable-http-errors', '--enable-http-redirects'",
            ),
        ] {
            let message = message(&format!("{typed} access.log"));
            assert!(message.contains("tip: "), "{message}");
            assert!(message.contains(suggested), "{message}");
        }
    }

    #[test]
    fn aliases_hidden_and_unrelated_options_are_not_suggested() {
        for (typed, not) in [
            ("--token_auht=x", "'--token_auth'"),
            ("--iis-time-taken-sec-s", "iis-time-taken-secs'"),
            ("--verbose", "--version"),
        ] {
            let message = message(&format!("{typed} access.log"));
            assert!(!message.contains(not), "{message}");
        }
        for typed in ["--colour", "-x", "--c"] {
            let message = message(&format!("{typed} access.log"));
            assert!(!message.contains("tip: a similar"), "{message}");
        }
    }

    #[test]
    fn without_arguments_examples_are_shown() {
        let message = message("");
        assert!(message.contains("import-logs --sandbox"), "{message}");
        assert_eq!(message.trim_end().lines().count(), 4, "{message}");
    }
}
