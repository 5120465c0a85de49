//! Options in the environment and in the file of `--defaults`.

use std::fs;

use crate::support::stored::{assert_each_once, fake_matomo};
use crate::support::{Folder, Program, TOKEN, logs};

#[test]
fn an_import_takes_its_options_from_the_file_and_the_environment() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(5));
    let token = server.token().expose();
    folder.write("token", token);
    let options = format!(
        "url = '{}'\ntoken-auth-file = 'token'\nidsite = 99\nstate-dir = 'state'\n\
         exclude-path = ['/page-1*']\n",
        server.url()
    );
    folder.write("options.toml", options);
    let ended = Program::new(&folder)
        .args("--defaults=options.toml --exclude-path=/none access.log")
        .env("IMPORT_LOGS_IDSITE", "1")
        .env("IMPORT_LOGS_STATE_DIR", "")
        .secret(token)
        .run()
        .exits(0);
    assert_eq!(ended.summary().get("imported"), 5);
    assert_each_once(&server, 5);
    assert!(folder.path().join("state").is_dir());
}

#[test]
fn the_sandbox_on_the_command_line_replaces_the_url_of_the_file() {
    let folder = Folder::with_log(logs::log(5));
    folder.write("options.toml", "url = 'http://192.0.2.1/'\nidsite = 1\n");
    let ended = Program::new(&folder)
        .args("--defaults=options.toml --sandbox access.log")
        .run()
        .exits(0);
    assert_eq!(ended.summary().get("imported"), 5);
}

#[test]
fn the_options_are_shown_with_their_places_and_without_secrets() {
    let folder = Folder::new();
    folder.write(
        "options.toml",
        "url = 'https://user:swordfish@matomo.example/'\nrecorders = 4\n\
         exclude-host = ['a.example', 'b.example']\n",
    );
    let ended = Program::new(&folder)
        .args("--defaults=options.toml --show-options --idsite 7 --dry-run")
        .arg(format!("--token-auth={TOKEN}"))
        .env("IMPORT_LOGS_RECORDERS", "8")
        .env("IMPORT_LOGS_PASSWORD", "hunter2-hunter2")
        .env("IMPORT_LOGS_RECORDER", "8")
        .env("STATE_DIRECTORY", "/var/lib/import-logs")
        .secret("hunter2-hunter2")
        .secret("swordfish")
        .run()
        .exits(0);
    assert_eq!(ended.err, "");
    let rows: Vec<(&str, &str)> = ended
        .out
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(option, place)| (option, place.trim()))
        .collect();
    let expected = [
        ("--url=https://user:***@matomo.example/", "options.toml"),
        ("--dry-run", "command line"),
        ("--idsite=7", "command line"),
        ("--token-auth=***", "command line"),
        ("--password=***", "IMPORT_LOGS_PASSWORD"),
        ("--recorders=8", "IMPORT_LOGS_RECORDERS"),
        ("--exclude-host=a.example", "options.toml"),
        ("--exclude-host=b.example", "options.toml"),
        ("--defaults=options.toml", "command line"),
        ("STATE_DIRECTORY=/var/lib/import-logs", "environment"),
    ];
    assert_eq!(rows, expected, "{ended}");
    let note = "IMPORT_LOGS_RECORDER: there is no such option; did you mean IMPORT_LOGS_RECORDERS?";
    ended.prints(&[note]);
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "nothing is written");
}

#[test]
fn mistakes_name_the_place() {
    let folder = Folder::with_log(logs::log(5));
    folder.write("options.toml", "url = 'http://m/'\nskip = 'many'\n");
    folder.write("wrong.toml", "url = 'http://m/'\nrecoders = 4\n");
    folder.write("secret.toml", format!("token-auth = '{TOKEN}'\n"));
    let ended = |file: &str| {
        let program = Program::new(&folder).arg(format!("--defaults={file}"));
        program.arg("access.log").run().exits(2)
    };
    ended("options.toml").says(&["--skip=many: ", "(the option is from options.toml)"]);
    ended("wrong.toml").says(&["wrong.toml: recoders: ", "did you mean recorders?"]);
    ended("secret.toml").says(&["secret.toml: token-auth: ", "token-auth-file"]);
    ended("missing.toml").says(&["missing.toml: cannot be read"]);
    let variable = Program::new(&folder)
        .args("--sandbox access.log")
        .env("IMPORT_LOGS_IN_DOUBT", "perhaps")
        .run();
    variable
        .exits(2)
        .says(&["'perhaps'", "IMPORT_LOGS_IN_DOUBT"]);
}

/// A wrong option outside the command line loses no line of a pipe either.
#[test]
fn a_pipe_is_saved_if_a_variable_or_a_key_is_wrong() {
    let server = fake_matomo();
    let folder = Folder::new();
    folder.write(
        "wrong.toml",
        "state-dir = 'state'\nrecoders = 4\nquiet = 2\n",
    );
    folder.write("right.toml", "state-dir = 'state'\n");
    let import = |defaults: &str| {
        let program = Program::new(&folder).to(&server);
        let program = program.arg(format!("--defaults={defaults}"));
        program.args("--idsite=1 --log-format-name=ncsa_extended -")
    };
    let lines = logs::log(6);
    let (first, rest) = lines.split_at(lines.match_indices('\n').nth(2).unwrap().0 + 1);
    import("wrong.toml").stdin(first).run().exits(2);
    let wrong = import("right.toml").env("IMPORT_LOGS_IN_DOUBT", "perhaps");
    wrong.stdin(rest).run().exits(2);
    import("right.toml").stdin("").run().exits(0);
    assert_each_once(&server, 6);
}
