//! Where the values of options come from, for `--show-options` and for messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};

use super::defaults::{SECRETS, SHARED_VARIABLES, Variables};
use crate::report::clean::clean;
use crate::report::redact;

/// Where an option is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this variable of the environment.
    Variable(String),
    /// In this file of `--defaults`.
    File(PathBuf),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => f.write_str(&clean(path.display().to_string().as_bytes())),
        }
    }
}

/// The origin of each option that is not on the command line, and a table of all.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    by_option: BTreeMap<String, Origin>,
    /// What `--show-options` prints.
    pub table: String,
}

impl Origins {
    pub(super) fn insert(&mut self, long: &str, origin: Origin) {
        self.by_option.insert(long.to_owned(), origin);
    }

    /// The origin of an option that is not on the command line.
    pub fn of(&self, long: &str) -> Option<&Origin> {
        self.by_option.get(long)
    }

    /// A message about an option, such as `--skip=x: ...`, with the origin of the option, if it is
    /// not on the command line.
    pub fn annotated(&self, message: String) -> String {
        let name = message.strip_prefix("--").unwrap_or_default();
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        match self.of(&name[..end.unwrap_or(name.len())]) {
            Some(origin) => format!("{message} (the option is from {origin})"),
            None => message,
        }
    }

    /// Fills the table: each option that is set, its value without secrets, and its origin.
    pub(super) fn describe(
        &mut self,
        command: &Command,
        matches: &ArgMatches,
        variables: Variables,
        notes: &[String],
    ) {
        let mut rows: Vec<(String, String)> = Vec::new();
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| *long != "show-options") else {
                continue;
            };
            let id = arg.get_id().as_str();
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let origin = self.of(long).map(ToString::to_string);
            let origin = origin.unwrap_or_else(|| "command line".to_owned());
            let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            let values = matches.get_raw(id).into_iter().flatten();
            for value in values.filter(|_| takes_value) {
                let value = match value.to_string_lossy() {
                    value if value.is_empty() && arg.is_require_equals_set() => String::new(),
                    value => format!("={}", shown(long, &value)),
                };
                rows.push((format!("--{long}{value}"), origin.clone()));
            }
            if !takes_value {
                let times = match arg.get_action() {
                    ArgAction::Count => matches.get_count(id),
                    _ => 1,
                };
                rows.extend((0..times).map(|_| (format!("--{long}"), origin.clone())));
            }
        }
        for (name, long) in SHARED_VARIABLES {
            if let Some(value) = variables(name).filter(|value| !value.is_empty()) {
                let value = shown(long, &value.to_string_lossy());
                rows.push((format!("{name}={value}"), "environment".to_owned()));
            }
        }
        let width = rows.iter().map(|(option, _)| option.chars().count());
        let width = width.max().unwrap_or_default().min(60);
        let rows = rows
            .iter()
            .map(|(option, origin)| format!("{option:width$}  {origin}\n"));
        self.table = rows.collect();
        if self.table.is_empty() {
            self.table = "no option is set\n".to_owned();
        }
        for note in notes {
            self.table += &format!("{note}\n");
        }
    }
}

/// A value without secrets and control characters.
fn shown(long: &str, value: &str) -> String {
    // A suffix of requests may hold a key of a proxy.
    if SECRETS.contains(&long) || long == "request-suffix" {
        return "***".to_owned();
    }
    let value = match long {
        "url" | "api-url" | "tracker-url" => redact::typed_url(value),
        _ => value.to_owned(),
    };
    clean(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_origin_of_their_option() {
        let mut origins = Origins::default();
        let variable = Origin::Variable("IMPORT_LOGS_SKIP".to_owned());
        origins.insert("skip", variable.clone());
        for message in ["--skip=x: expected", "--skip: expected", "--skip"] {
            let annotated = origins.annotated(message.to_owned());
            assert_eq!(
                annotated,
                format!("{message} (the option is from IMPORT_LOGS_SKIP)")
            );
        }
        for message in ["--skipped=x", "--idsite=1: expected", "skip", ""] {
            assert_eq!(origins.annotated(message.to_owned()), message);
        }
        assert_eq!(origins.of("skip"), Some(&variable));
    }

    #[test]
    fn secrets_are_not_shown() {
        for (option, value, expected) in [
            ("token-auth", "abc", "***"),
            ("password", "abc", "***"),
            ("auth-password", "abc", "***"),
            ("request-suffix", "key=abc", "***"),
            ("url", "http://u:abc@h/", "http://u:***@h/"),
            ("idsite", "1\x1b", "1\\x1b"),
        ] {
            assert_eq!(shown(option, value), expected, "{option}");
        }
    }
}
