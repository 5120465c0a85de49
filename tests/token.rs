//! Where the token comes from, and where it never appears.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::fake::{FakeMatomo, Options};
use import_logs::secret::Secret;

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

#[test]
fn a_matomo_on_the_same_machine_gives_a_token() {
    let (server, folder) = (fake_matomo(), Folder::new());
    for dir in ["matomo/config", "matomo/misc/cron"] {
        fs::create_dir_all(folder.file(dir)).unwrap();
    }
    folder.write("matomo/config/config.ini.php", "");
    folder.write("matomo/misc/cron/updatetoken.php", "");
    folder.write("token", format!("root\t{}\n", server.token().expose()));
    let token = folder.file("token");
    // Replaces PHP: records its arguments and prints the name of the token file.
    let php = folder.write(
        "php",
        format!(
            "#!/bin/sh\necho \"$@\" >'{0}.args'\necho '{0}'\n",
            token.display()
        ),
    );
    fs::set_permissions(&php, fs::Permissions::from_mode(0o700)).unwrap();
    program(
        &server,
        &folder,
        "--config=matomo/config/config.ini.php --enable-testmode",
    )
    .arg(format!("--php-binary={}", php.display()))
    // The domain must be that of `--url`, not this one.
    .arg(format!(
        "--api-url={}",
        server.url().replace("127.0.0.1", "localhost")
    ))
    .run()
    .exits(0);
    assert_each_once(&server, 10);
    let called = folder.read("token.args");
    assert!(
        called.contains("misc/cron/updatetoken.php --testmode --matomo-domain=127.0.0.1"),
        "{called}"
    );
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
    let written = "--output=out --rejects=rejects";
    program(&server, &folder, written)
        .env("MATOMO_TOKEN_AUTH", token)
        .through("umask 000")
        .run()
        .exits(0);
    let program = Program::new(&folder).args("--sandbox=trial.db access.log");
    program.through("umask 000").run().exits(0);
    for name in ["out", "rejects", "trial.db"] {
        let mode = fs::metadata(folder.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
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
