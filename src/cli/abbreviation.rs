//! Abbreviated options. The Python script accepts `--enable-http-err`, so cron jobs use such names.

use std::ffi::OsString;

use clap::Command;

/// The options of the script. Only these can be shortened, and only these make an abbreviation
/// ambiguous, so a new option never breaks an old command line (guide/options.md,
/// "Abbreviations").
const SCRIPT_OPTIONS: [&str; 71] = [
    "accept-invalid-ssl-certificate",
    "add-download-extensions",
    "add-sites-new-hosts",
    "add-to-date",
    "api-url",
    "auth-password",
    "auth-user",
    "config",
    "debug",
    "debug-force-one-hit-every-Ns",
    "debug-request-limit",
    "debug-tracker",
    "disable-bulk-tracking",
    "download-extensions",
    "dry-run",
    "dump-log-regex",
    "enable-bots",
    "enable-http-errors",
    "enable-http-redirects",
    "enable-reverse-dns",
    "enable-static",
    "enable-testmode",
    "encoding",
    "exclude-host",
    "exclude-newer-than",
    "exclude-older-than",
    "exclude-path",
    "exclude-path-from",
    "force-lowercase-path",
    "help",
    "hostname",
    "idsite",
    "idsite-fallback",
    "ignore-groups",
    "iis-time-taken-secs",
    "include-host",
    "include-path",
    "include-path-from",
    "log-date-format",
    "log-format-name",
    "log-format-regex",
    "log-hostname",
    "login",
    "output",
    "password",
    "php-binary",
    "query-string-delimiter",
    "recorder-max-payload-size",
    "recorders",
    "regex-group-to-page-cvar",
    "regex-group-to-visit-cvar",
    "replay-tracking",
    "replay-tracking-expected-tracker-file",
    "request-suffix",
    "request-timeout",
    "retry-delay",
    "retry-max-attempts",
    "show-progress",
    "show-progress-delay",
    "skip",
    "strip-query-string",
    "title-category-delimiter",
    "token-auth",
    "track-http-method",
    "tracker-endpoint-path",
    "url",
    "useragent-exclude",
    "w3c-field-regex",
    "w3c-fields",
    "w3c-map-field",
    "w3c-time-taken-millisecs",
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

fn full_name(command: &Command, name: &str) -> Option<&'static str> {
    let mut longs = command.get_arguments().filter_map(|arg| arg.get_long());
    if longs.any(|long| long == name) {
        return None;
    }
    let mut meant = SCRIPT_OPTIONS.iter().filter(|long| long.starts_with(name));
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
    fn every_option_of_the_script_is_declared() {
        let mut command = Cli::command();
        command.build();
        for name in SCRIPT_OPTIONS {
            let mut longs = command.get_arguments().filter_map(|arg| arg.get_long());
            assert!(longs.any(|long| long == name), "{name}");
        }
    }

    #[test]
    fn new_options_are_written_in_full_and_make_nothing_ambiguous() {
        for (typed, expected) in [
            ("--add-sites", "--add-sites-new-hosts"),
            ("--for", "--force-lowercase-path"),
            ("--st", "--strip-query-string"),
            ("--max=20", "--max=20"),
            ("--verif", "--verif"),
            ("--show-o", "--show-o"),
        ] {
            assert_eq!(expanded(&[typed]), [expected]);
        }
    }
}
