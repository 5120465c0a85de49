//! Options from the environment and from a file.

use std::ffi::OsString;

use clap::CommandFactory;
use tempfile::NamedTempFile;

use super::*;
use crate::cli::Cli;
use crate::cli::read::read;
use crate::recorder::InDoubt;

type Pairs<'p> = &'p [(&'p str, &'p str)];

fn parse(line: &str, environment: Pairs) -> Result<Cli, Error> {
    let args = ["import-logs"].into_iter().chain(line.split_whitespace());
    let variables = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    read(args.map(OsString::from), &variables, &[])
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    file
}

/// Parses a command line with a file.
fn with_file(text: &str, line: &str, environment: Pairs) -> Result<Cli, Error> {
    let file = file(text);
    let line = format!("--defaults={} {line}", file.path().display());
    parse(&line, environment)
}

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let text =
        "idsite = 1\nskip = 5\nencoding = 'latin1'\nquiet = true\nexclude-host = ['a', 'b']\n";
    let environment = [
        ("IMPORT_LOGS_IDSITE", "2"),
        ("IMPORT_LOGS_SKIP", "6"),
        ("IMPORT_LOGS_EXCLUDE_HOST", "c\nd\n"),
        ("IMPORT_LOGS_ENCODING", ""),
    ];
    let cli = with_file(text, "--idsite=3 a.log", &environment).unwrap();
    assert_eq!(cli.sites.idsite.as_deref(), Some("3"));
    assert_eq!(cli.filters.skip, "6");
    assert_eq!(cli.log_format.encoding, "latin1");
    assert!(cli.output.quiet);
    assert_eq!(cli.filters.exclude_host, ["c", "d"]);
    assert_eq!(cli.files, ["a.log"]);
    assert_eq!(cli.origins.of("idsite"), None);
    let skip = Origin::Variable("IMPORT_LOGS_SKIP".to_owned());
    assert_eq!(cli.origins.of("skip"), Some(&skip));
    assert!(matches!(cli.origins.of("quiet"), Some(Origin::File(_))));
    let cli = with_file(text, "--exclude-host=e a.log", &environment).unwrap();
    assert_eq!(cli.filters.exclude_host, ["e"]);
    let cli = with_file(text, "a.log", &[("IMPORT_LOGS_QUIET", "false")]).unwrap();
    assert!(!cli.output.quiet);
    assert_eq!(cli.filters.exclude_host, ["a", "b"]);
}

#[test]
fn the_environment_can_name_the_file() {
    let file = file("idsite = '7'\n");
    let path = file.path().to_str().unwrap();
    let cli = parse("a.log", &[("IMPORT_LOGS_DEFAULTS", path)]).unwrap();
    assert_eq!(cli.sites.idsite.as_deref(), Some("7"));
}

#[test]
fn each_kind_of_option_has_its_values() {
    let text = "debug = 2\nretry-delay = 0.5\nin-doubt = 'stop'\nsandbox = true\nexplain = 7\n\
                relay = '10.0.0.0/8'\nadd-to-date = -60\nverify = false\ndry-run = false\n";
    let cli = with_file(text, "a.log", &[]).unwrap();
    assert_eq!(cli.output.debug, 2);
    assert_eq!(cli.connection.retry_delay, "0.5");
    assert_eq!(cli.state.in_doubt, InDoubt::Stop);
    assert_eq!(cli.matomo.sandbox.as_deref(), Some(""));
    assert_eq!(cli.log_format.explain.as_deref(), Some("7"));
    assert_eq!(cli.radio.relay.len(), 1);
    assert_eq!(cli.requests.add_to_date, "-60");
    assert!(cli.state.verify.is_none() && !cli.matomo.dry_run);
    let environment = [
        ("IMPORT_LOGS_DEBUG", "2"),
        ("IMPORT_LOGS_DRY_RUN", "Yes"),
        ("IMPORT_LOGS_KEEP_ORDER", "0"),
        ("IMPORT_LOGS_SANDBOX", "kept.db"),
        ("IMPORT_LOGS_VERIFY", "true"),
        ("IMPORT_LOGS_EXPLAIN", "1"),
        ("IMPORT_LOGS_DEBUG_FORCE_ONE_HIT_EVERY_NS", "3"),
    ];
    let cli = parse("a.log", &environment).unwrap();
    assert_eq!(cli.output.debug, 2);
    assert!(cli.matomo.dry_run && !cli.connection.keep_order);
    assert_eq!(cli.matomo.sandbox.as_deref(), Some("kept.db"));
    assert!(cli.state.verify.is_some());
    assert_eq!(cli.log_format.explain.as_deref(), Some("1"));
    assert_eq!(cli.output.debug_force_one_hit_every.as_deref(), Some("3"));
}

/// An option given in one place replaces those after it that cannot be used with it.
#[test]
fn rivals_in_later_places_are_replaced() {
    let text = "url = 'https://m.example'\ntoken-auth-file = 'token'\nlog-format-name = 'iis'\n\
                state-dir = 'state'\n";
    let cli = with_file(text, "--sandbox a.log", &[]).unwrap();
    assert_eq!(cli.matomo.url, None);
    let cli = with_file(text, "--auth-config=a.ini a.log", &[]).unwrap();
    assert_eq!(cli.authentication.token_auth_file, None);
    let environment = [("MATOMO_TOKEN_AUTH", "x"), ("STATE_DIRECTORY", "/s")];
    let cli = with_file(text, "a.log", &environment).unwrap();
    assert_eq!(cli.authentication.token_auth_file, None);
    assert_eq!(cli.state.state_dir, None);
    let environment = [("IMPORT_LOGS_LOG_FORMAT", "common")];
    let cli = with_file(text, "a.log", &environment).unwrap();
    assert_eq!(cli.log_format.log_format_name, None);
    let cli = with_file(text, "--log-format-regex=x a.log", &environment).unwrap();
    assert_eq!(cli.log_format.log_format, None);
    let off = [("IMPORT_LOGS_SANDBOX", "false")];
    let cli = with_file(text, "a.log", &off).unwrap();
    assert_eq!(cli.matomo.url.as_deref(), Some("https://m.example"));
    let both = [
        ("IMPORT_LOGS_LOG_FORMAT_NAME", "json"),
        ("IMPORT_LOGS_JSON_MAP", "ip=a"),
    ];
    let cli = with_file(text, "a.log", &both).unwrap();
    assert_eq!(cli.log_format.json_map, ["ip=a"]);
    assert_eq!(cli.log_format.log_format_name.as_deref(), Some("json"));
}

#[test]
fn wrong_keys_and_values_are_named() {
    for (text, words) in [
        (
            "dryrun = true",
            &["dryrun: there is no such option; did you mean dry-run?"][..],
        ),
        ("id_site = 1", &["did you mean idsite?"]),
        ("token_auth = 'x'", &["there is no such option"]),
        ("colour = true", &["colour: there is no such option\n"]),
        ("help = true", &["help: this option cannot be in this file"]),
        (
            "defaults = 'x'",
            &["defaults: this option cannot be in this file"],
        ),
        (
            "token-auth = 'abcdef'",
            &["token-auth: a token has no place", "token-auth-file"],
        ),
        (
            "password = 'abcdef'",
            &["password: a password has no place", "token-auth-file"],
        ),
        ("auth-password = 'abcdef'", &["token-auth-file"]),
        ("quiet = 'yes'", &["quiet: expected true or false"]),
        ("debug = 'a'", &["debug: expected a number, true or false"]),
        (
            "idsite = [1, 2]",
            &["idsite: expected a text in quotes or a number"],
        ),
        ("idsite = true", &["idsite: expected a text"]),
        (
            "exclude-older-than = 2024-01-01",
            &["put the date into quotes"],
        ),
        ("[matomo]\nurl = 'x'", &["matomo: there is no such option"]),
        ("quiet = true\ntoken-auth = abcdef\n", &["line 2: "]),
        ("idsite 1", &["line 1: "]),
        (
            "in-doubt = 'x'",
            &["invalid value 'x' for '--in-doubt", "the option is from /"],
        ),
    ] {
        let error = with_file(text, "a.log", &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        for words in words {
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(!error.contains("abcdef"), "{error}");
    }
    let missing = parse("--defaults=/no/such.toml a.log", &[]).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("--defaults=/no/such.toml: cannot be read")
    );
    for (name, value, words) in [
        (
            "IMPORT_LOGS_QUIET",
            "maybe",
            "IMPORT_LOGS_QUIET=maybe: expected true or false",
        ),
        ("IMPORT_LOGS_DEBUG", "much", "expected a number"),
        (
            "IMPORT_LOGS_RELAY",
            "x",
            "the option is from IMPORT_LOGS_RELAY",
        ),
    ] {
        let error = parse("a.log", &[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Every option can be given in all three places, by its own name.
#[test]
fn every_option_has_a_variable_and_a_key() {
    let mut command = Cli::command();
    command.build();
    for (long, arg) in settings(&command) {
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let values = of_variable(arg, long, "1".as_ref()).unwrap();
        assert_eq!(values.len(), 1, "{long}");
        let value = match arg.get_action() {
            ArgAction::Set => toml::Value::from("1"),
            ArgAction::Append => toml::Value::from(vec!["1", "2"]),
            _ => toml::Value::from(true),
        };
        let expected = if is_list { 2 } else { 1 };
        assert_eq!(
            of_toml(arg, long, &value).unwrap().len(),
            expected,
            "{long}"
        );
    }
    let longs: Vec<&str> = settings(&command).map(|(long, _)| long).collect();
    for name in RIVALS.concat().into_iter().chain(SECRETS) {
        assert!(longs.contains(&name), "{name}");
    }
    for name in TYPED_ONLY {
        assert!(!longs.contains(&name), "{name}");
    }
}

#[test]
fn help_and_mistakes_of_the_command_line_come_first() {
    let environment = [("IMPORT_LOGS_IDSITE", "1")];
    let error = parse("--help", &environment).unwrap_err();
    assert_eq!(error.exit_code(), 0);
    let error = parse("", &environment).unwrap_err().to_string();
    assert!(error.contains("import-logs --sandbox"), "{error}");
    let error = parse("--bogus a.log", &environment)
        .unwrap_err()
        .to_string();
    assert!(error.contains("'--bogus'"), "{error}");
}

#[test]
fn unknown_variables_are_noticed() {
    let mut command = Cli::command();
    command.build();
    let names = [
        "IMPORT_LOGS_IDSITES",
        "PATH",
        "IMPORT_LOGS_URL",
        "IMPORT_LOGS_SHOW_OPTIONS",
        "IMPORT_LOGS_XYZ",
    ];
    let unknown = unknown_variables(&command, names.into_iter().map(str::to_owned));
    assert_eq!(
        unknown,
        [
            "IMPORT_LOGS_IDSITES: there is no such option; did you mean IMPORT_LOGS_IDSITE?",
            "IMPORT_LOGS_SHOW_OPTIONS: this option must be typed",
            "IMPORT_LOGS_XYZ: there is no such option",
        ]
    );
}
