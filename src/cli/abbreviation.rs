//! Abbreviated options. The Python script accepts `--enable-http-err`, so cron jobs use such names.

use std::ffi::OsString;

use clap::Command;

/// Options that the script does not have. They do not make an abbreviation ambiguous, so a new
/// option never breaks an old command line (guide/options.md, "Abbreviations").
const NEW_OPTIONS: [&str; 36] = [
    "auth-config",
    "ca-certificate",
    "channel",
    "client-certificate",
    "client-ip",
    "client-key",
    "defaults",
    "enable-icecast-admin",
    "enable-relays",
    "exclude-ip",
    "explain",
    "flush-interval",
    "generate",
    "geoip-database",
    "guide",
    "in-doubt",
    "keep-order",
    "listening-category",
    "listening-time",
    "log-format",
    "log-timezone",
    "merge-sessions",
    "minimum-listening",
    "minimum-session",
    "quiet",
    "read-back",
    "rejects",
    "relay",
    "report-country",
    "report-timezone",
    "sandbox",
    "show-options",
    "state-dir",
    "token-auth-file",
    "trusted-proxy",
    "version",
];

/// Replaces abbreviated long options by their full names. Values stay as they are, even if they
/// begin with a dash.
pub fn expand(command: &Command, args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut expanded = Vec::new();
    let mut value_follows = false;
    let mut options_ended = false;
    for (index, arg) in args.enumerate() {
        if index == 0 || value_follows || options_ended {
            expanded.push(arg);
            value_follows = false;
            continue;
        }
        let arg = match arg.into_string() {
            Ok(text) => text,
            Err(not_utf8) => {
                expanded.push(not_utf8);
                continue;
            }
        };
        options_ended = arg == "--";
        let Some(long) = arg.strip_prefix("--").filter(|name| !name.is_empty()) else {
            value_follows = short_takes_value(command, &arg);
            expanded.push(arg.into());
            continue;
        };
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let full = full_name(command, name).unwrap_or(name);
        value_follows = value.is_none() && takes_value(command, full);
        expanded.push(match value {
            Some(value) => format!("--{full}={value}").into(),
            None => format!("--{full}").into(),
        });
    }
    expanded
}

fn full_name<'c>(command: &'c Command, name: &str) -> Option<&'c str> {
    let longs = || command.get_arguments().filter_map(|arg| arg.get_long());
    if longs().any(|long| long == name) {
        return None;
    }
    let mut meant = longs().filter(|long| long.starts_with(name) && !NEW_OPTIONS.contains(long));
    match (meant.next(), meant.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The long options that `--help` shows.
pub fn visible(command: &Command) -> impl Iterator<Item = &str> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown.filter_map(|arg| arg.get_long())
}

fn takes_value(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        (arg.get_long() == Some(long) || aliases.contains(&long))
            && arg.get_action().takes_values()
            && !arg.is_require_equals_set()
    })
}

/// Whether a short option such as `-u` takes the next argument as its value.
fn short_takes_value(command: &Command, arg: &str) -> bool {
    let mut letters = arg.strip_prefix('-').unwrap_or_default().chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => command
            .get_arguments()
            .any(|a| a.get_short() == Some(letter) && a.get_action().takes_values()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn expanded(args: &[&str]) -> Vec<String> {
        let args = ["import-logs"].iter().chain(args).map(OsString::from);
        expand(&Cli::command(), args)
            .into_iter()
            .skip(1)
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn unambiguous_names_are_expanded() {
        assert_eq!(
            expanded(&["--enable-http-err", "--recorder-m=5"]),
            ["--enable-http-errors", "--recorder-max-payload-size=5"]
        );
        assert_eq!(expanded(&["--token-a", "x"]), ["--token-auth", "x"]);
        assert_eq!(expanded(&["--q=;"]), ["--query-string-delimiter=;"]);
    }

    #[test]
    fn ambiguous_and_exact_names_stay() {
        assert_eq!(
            expanded(&["--enable-http", "--idsite=1"]),
            ["--enable-http", "--idsite=1"]
        );
        assert_eq!(expanded(&["--sand"]), ["--sand"]);
    }

    #[test]
    fn values_are_not_options() {
        assert_eq!(
            expanded(&["--add-to-date", "--enable-http-err"]),
            ["--add-to-date", "--enable-http-err"]
        );
        assert_eq!(
            expanded(&["-u", "--enable-http-err"]),
            ["-u", "--enable-http-err"]
        );
        assert_eq!(
            expanded(&["--", "--enable-http-err"]),
            ["--", "--enable-http-err"]
        );
        assert_eq!(
            expanded(&["--sandbox", "--enable-http-err"]),
            ["--sandbox", "--enable-http-errors"]
        );
    }

    #[test]
    fn every_new_option_is_declared() {
        let command = Cli::command();
        for name in NEW_OPTIONS.iter().filter(|name| **name != "version") {
            assert!(
                command
                    .get_arguments()
                    .any(|arg| arg.get_long() == Some(name)),
                "{name}"
            );
        }
    }
}
