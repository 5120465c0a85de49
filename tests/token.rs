//! Where the token comes from, and where it never appears.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use rustix::process::geteuid;
use serde_json::json;

use crate::support::fake::{FakeMatomo, Options};
use import_logs::secret::Secret;

use crate::support::http::{Response, Server};
use crate::support::stored::{assert_each_once, fake_matomo, options, started};
use crate::support::{Ended, Folder, Program, logs};

/// Imports ten lines. `args` say where the token comes from.
fn import(server: &FakeMatomo, folder: &Folder, args: &str) -> Ended {
    program(server, folder, args).run()
}

fn program(server: &FakeMatomo, folder: &Folder, args: &str) -> Program {
    folder.write("access.log", logs::log(10));
    Program::new(folder)
        .arg(format!("--url={}", server.url()))
        .secret(server.token().expose())
        .args("--idsite=1 access.log")
        .args(args)
}

#[test]
fn the_token_is_read_from_a_file() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let path = folder.write("token", format!("{}\n", server.token().expose()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = import(&server, &folder, "--token-auth-file=token").exits(0);
    assert_eq!(ended.err, "");
    assert_each_once(&server, 10);
}

#[test]
fn the_token_is_read_from_stdin() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let token = server.token().expose().to_owned();
    program(&server, &folder, "--token-auth-file=-")
        .stdin(token)
        .run()
        .exits(0);
    assert_each_once(&server, 10);
}

#[test]
fn stdin_cannot_be_both_the_token_and_a_log() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let ended = program(&server, &folder, "--token-auth-file=- -")
        .stdin("x")
        .run();
    assert_eq!(
        ended
            .exits(2)
            .says(&["--token-auth-file=-", "MATOMO_TOKEN_AUTH"])
            .out,
        ""
    );
    assert_eq!(server.log().calls, 0);
}

#[test]
fn a_token_on_the_command_line_causes_a_hint() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let args = format!("--token_auth={}", server.token().expose());
    let on_terminal = program(&server, &folder, &args).on_terminal(80).run();
    on_terminal
        .exits(0)
        .says(&["hint: ", "process list", "MATOMO_TOKEN_AUTH"]);
    assert_each_once(&server, 10);
}

/// What a cron job prints is mailed.
#[test]
fn a_cron_job_with_the_token_on_the_command_line_prints_nothing() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let token = server.token().expose();
    let args = format!("--token-auth={token} --output=import.txt");
    let ended = import(&server, &folder, &args).exits(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    let text = folder.read("import.txt");
    assert!(text.starts_with("Logs import summary\n"), "{text}");
    assert_each_once(&server, 10);
}

#[test]
fn a_login_gets_a_token() {
    let options = Options {
        login: Some(("admin".into(), Secret::new("correct horse"))),
        ..options()
    };
    let (server, folder) = (started(options), Folder::new());
    program(&server, &folder, "--login=admin")
        .arg("--password=correct horse")
        .secret("correct horse")
        .on_terminal(80)
        .run()
        .exits(0)
        .says(&["hint: ", "--password in the process list", "--auth-config"]);
    assert_each_once(&server, 10);
}

/// A Matomo in the folder, and the options for its token. Instead of PHP, a shell script records
/// its arguments and its user, and prints the name of the token file.
fn local_matomo(server: &FakeMatomo, folder: &Folder) -> String {
    for dir in ["matomo/config", "matomo/misc/cron", "matomo/tmp"] {
        fs::create_dir_all(folder.file(dir)).unwrap();
    }
    folder.write("matomo/config/config.ini.php", "");
    folder.write("matomo/misc/cron/updatetoken.php", "");
    let token = format!("root\t{}\n", server.token().expose());
    let token = folder.write("matomo/tmp/token", token);
    let php = folder.write(
        "php",
        format!(
            "#!/bin/sh\necho \"$(id -u) $@\" >'{0}.args'\necho '{0}'\n",
            token.display()
        ),
    );
    fs::set_permissions(&php, fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "--config=matomo/config/config.ini.php --php-binary={}",
        php.display()
    )
}

#[test]
fn a_matomo_on_the_same_machine_gives_a_token() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let options = local_matomo(&server, &folder);
    // The domain must be that of `--url`, not this one.
    let api = server.url().replace("127.0.0.1", "localhost");
    program(&server, &folder, &options)
        .args(&format!("--enable-testmode --api-url={api}"))
        .run()
        .exits(0);
    assert_each_once(&server, 10);
    let called = folder.read("matomo/tmp/token.args");
    assert!(
        called.contains("misc/cron/updatetoken.php --testmode --matomo-domain=127.0.0.1"),
        "{called}"
    );
}

#[test]
fn root_gets_the_token_as_the_owner_of_matomo() {
    if !geteuid().is_root() {
        return;
    }
    let (server, folder) = (fake_matomo(), Folder::new());
    let options = local_matomo(&server, &folder);
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let names = [
        "config/config.ini.php",
        "misc/cron/updatetoken.php",
        "tmp/token",
    ];
    for name in names
        .into_iter()
        .flat_map(|name| Path::new(name).ancestors())
    {
        chown(folder.file("matomo").join(name), Some(65_534), Some(65_534)).unwrap();
    }
    import(&server, &folder, &options).exits(0);
    assert_each_once(&server, 10);
    let called = folder.read("matomo/tmp/token.args");
    assert!(called.starts_with("65534 "), "{called}");
}

#[test]
fn a_dry_run_does_not_run_php() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let options = local_matomo(&server, &folder) + " --dry-run";
    let ended = import(&server, &folder, &options).exits(0);
    let ended = ended.says(&["this dry run has no token"]);
    assert_eq!(ended.summary().get("imported"), 10);
    assert!(!folder.file("matomo/tmp/token.args").exists());
    assert_eq!(server.log().calls, 0);
}

#[test]
fn without_a_token_the_error_says_what_was_looked_for() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let ended = import(&server, &folder, "").exits(1);
    ended.says(&[
        "error: no token is given",
        "/config/config.ini.php does not exist",
        "--token-auth-file or MATOMO_TOKEN_AUTH",
        "with --config",
        "/usr/share/matomo",
    ]);
    assert_eq!(server.log().calls, 0);
}

#[test]
fn a_wrong_password_is_reported_and_hidden() {
    let options = Options {
        login: Some(("admin".into(), Secret::new("correct horse"))),
        ..options()
    };
    let (server, folder) = (started(options), Folder::new());
    let ended = program(&server, &folder, "--login=admin --password=battery-staple")
        .secret("battery-staple")
        .run();
    assert_eq!(ended.exits(1).says(&["password"]).out, "");
    assert!(server.log().tracker.is_empty());
}

#[test]
fn basic_authentication_is_sent_with_every_request_and_never_shown() {
    let options = Options {
        basic_auth: Some(("joe".into(), Secret::new("open-sesame"))),
        ..options()
    };
    let (server, folder) = (started(options), Folder::new());
    let with = |args: &str| {
        program(&server, &folder, args)
            .env("MATOMO_TOKEN_AUTH", server.token().expose())
            .secret("open-sesame")
            .run()
    };
    let ended = with("--auth-user=joe --auth-password=open-door").exits(1);
    ended.says(&["401", "--auth-user"]).hides("open-door");
    assert!(server.log().tracker.is_empty());
    with("--auth-user=joe --auth-password=open-sesame").exits(0);
    assert_each_once(&server, 10);
}

#[test]
fn the_token_is_sent_in_bodies_only() {
    let server = fake_matomo();
    Program::new(&Folder::with_log(logs::log(10)))
        .to(&server)
        .args("--idsite=1 -dd --debug-tracker access.log")
        .run()
        .exits(0)
        .says(&[
            "tracker: 200 Debug",
            r#"{"status":"success","tracked":10,"invalid":0"#,
        ]);
    let log = server.log();
    let token = server.token().expose();
    for call in &log.tracker {
        assert!(!call.query.contains(token) && !call.path.contains(token));
        assert!(call.headers.iter().all(|(_, value)| !value.contains(token)));
        assert!(String::from_utf8_lossy(&call.body).contains(token));
    }
    assert!(!log.api.is_empty());
    for call in &log.api {
        assert!(!call.query.contains(token) && !call.path.contains(token));
    }
}

#[test]
fn errors_hide_the_token() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let token = server.token().expose();
    import(
        &server,
        &folder,
        &format!("--token-auth={token} --idsite=99"),
    )
    .exits(1);
    import(
        &server,
        &folder,
        &format!("--token-auth={token} --no-such-option"),
    )
    .exits(2);
    import(
        &server,
        &folder,
        &format!("--token-aut={token} --recorders=x"),
    )
    .exits(2);
    import(&server, &folder, &format!("--tokenauth={token}")).exits(2);
}

#[test]
fn files_with_addresses_are_readable_by_their_owner_only() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let token = server.token().expose();
    let written = "--output=out --rejects=rejects --report=r.txt --report=r.csv";
    program(&server, &folder, written)
        .env("MATOMO_TOKEN_AUTH", token)
        .through("umask 000")
        .run()
        .exits(0);
    let program = Program::new(&folder).args("--sandbox=trial.db access.log");
    program.through("umask 000").run().exits(0);
    for (name, want) in [
        ("out", 0o600),
        ("rejects", 0o600),
        ("trial.db", 0o600),
        ("r.txt", 0o600),
        // It holds no address.
        ("r.csv", 0o666),
    ] {
        let mode = fs::metadata(folder.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, want, "{name}");
    }
}

#[test]
fn a_link_of_another_user_is_not_written_to() {
    if !geteuid().is_root() {
        return;
    }
    let (server, folder) = (fake_matomo(), Folder::new());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    folder.write("victim", "precious");
    symlink(folder.file("victim"), folder.file("link")).unwrap();
    lchown(folder.file("link"), Some(65_534), None).unwrap();
    let token = server.token().expose();
    for option in ["--rejects=link", "--output=link"] {
        let ended = program(&server, &folder, option)
            .env("MATOMO_TOKEN_AUTH", token)
            .run();
        ended
            .exits(2)
            .says(&[option, "another user has put it", "uid 65534"]);
    }
    let ended = Program::new(&folder)
        .args("--sandbox=link access.log")
        .run();
    ended.exits(1).says(&["another user has put it"]);
    folder.write("trial.db-journal", "");
    chown(folder.file("trial.db-journal"), Some(65_534), None).unwrap();
    let ended = Program::new(&folder)
        .args("--sandbox=trial.db access.log")
        .run();
    ended
        .exits(1)
        .says(&["trial.db-journal: another user has put it"]);
    assert_eq!(folder.read("victim"), "precious");
    assert!(server.log().tracker.is_empty());
}

#[test]
fn files_with_secrets_that_others_can_read_cause_a_warning() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let token = folder.write("token", server.token().expose());
    let key = folder.write("key.pem", "no key");
    let warnings = |mode, args: &str| {
        for path in [&token, &key] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let args = format!("--token-auth-file=token {args}");
        let ended = import(&server, &folder, &args);
        let warnings = ended.err.lines().filter(|line| line.contains("chmod 600"));
        let mut warnings: Vec<String> = warnings.map(str::to_owned).collect();
        warnings.sort_unstable();
        warnings
    };
    let warning = |option: &str, path: &str| {
        format!(
            "import-logs: warning: {option}={path}: other users can read this file; \
             protect it with `chmod 600 {path}`"
        )
    };
    assert_eq!(warnings(0o644, ""), [warning("--token-auth-file", "token")]);
    assert!(warnings(0o600, "").is_empty());
    for (args, option) in [
        ("--client-certificate=key.pem", "--client-certificate"),
        (
            "--client-certificate=x.pem --client-key=key.pem",
            "--client-key",
        ),
    ] {
        let expected = [
            warning(option, "key.pem"),
            warning("--token-auth-file", "token"),
        ];
        assert_eq!(warnings(0o640, args), expected);
        assert!(warnings(0o600, args).is_empty());
    }
}

#[test]
fn a_failed_login_is_named() {
    let options = Options {
        login: Some(("admin".into(), Secret::new("correct horse"))),
        ..options()
    };
    let (server, folder) = (started(options), Folder::new());
    let ended = program(&server, &folder, "--login=joe --password=guessed").run();
    ended.exits(1).says(&["login 'joe'"]).hides("guessed");
}

#[test]
fn a_password_from_a_file_is_hidden_if_the_server_echoes_it() {
    let server = Server::start(|request| {
        let echo = String::from_utf8_lossy(&request.body).into_owned();
        Response::json(200, json!({"result": "error", "message": echo}))
    });
    let folder = Folder::with_log(logs::log(10));
    folder.write("auth", "[auth]\nlogin = admin\npassword = correct-horse\n");
    let ended = Program::new(&folder)
        .arg(format!("--url={}", server.url()))
        .args("--idsite=1 --auth-config=auth access.log")
        .run()
        .exits(1);
    ended.says(&["admin", "***"]).hides("correct-horse");
}

#[test]
fn a_token_that_others_can_read_on_its_way_causes_a_warning() {
    let (server, folder) = (fake_matomo(), Folder::with_log(logs::log(10)));
    // The proxy takes the requests for a machine that does not exist.
    let ended = Program::new(&folder)
        .env("HTTP_PROXY", &server.url())
        .env("MATOMO_TOKEN_AUTH", server.token().expose())
        .secret(server.token().expose())
        .args("--url=http://matomo.example --idsite=1 access.log")
        .run()
        .exits(0);
    let warning = "the token is sent to http://matomo.example/piwik.php without encryption";
    assert_eq!(ended.err.matches(warning).count(), 1, "{ended}");
    assert_each_once(&server, 10);
}
