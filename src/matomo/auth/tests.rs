//! Which source counts, what is read from it, and what is wrong use.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::error::Kind;

fn never(_: &str, _: &Secret) -> Result<Secret> {
    panic!("no log-in is wanted")
}

fn file(text: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

fn given(token: &str) -> Found {
    Found {
        token: Some(Secret::new(token)),
        warnings: vec![],
    }
}

#[test]
fn the_first_source_that_is_given_counts() {
    let (_kept, token_file) = file(b"\n from-file \nmore\n", 0o600);
    let (_kept, config) = file(b"[auth]\ntoken_auth = from-config\n", 0o600);
    let mut sources = TokenSources {
        token_auth: Some(Secret::new(" typed\n")),
        token_auth_file: Some(token_file),
        auth_config: Some(config),
        environment: Some(Secret::new("from-environment")),
        login: Some("admin".into()),
        password: Some(Secret::new("secret")),
        local: LocalMatomo::default(),
    };
    let asked = RefCell::new(Vec::new());
    let log_in = |login: &str, password: &Secret| {
        asked
            .borrow_mut()
            .push(format!("{login}:{}", password.expose()));
        Ok(Secret::new("from-login"))
    };
    assert_eq!(token(&sources, &never).unwrap(), given("typed"));
    sources.token_auth = None;
    assert_eq!(token(&sources, &never).unwrap(), given("from-file"));
    sources.token_auth_file = None;
    assert_eq!(token(&sources, &never).unwrap(), given("from-config"));
    sources.auth_config = None;
    assert_eq!(token(&sources, &never).unwrap(), given("from-environment"));
    sources.environment = None;
    assert_eq!(token(&sources, &log_in).unwrap(), given("from-login"));
    assert_eq!(*asked.borrow(), ["admin:secret"]);
    (sources.login, sources.password) = (None, None);
    assert_eq!(token(&sources, &never).unwrap(), Found::default());
}

#[test]
fn an_auth_config_may_hold_a_login() {
    let (_kept, path) = file(
        b"\xef\xbb\xbf[auth]\nlogin = \"admin\"\npassword = 'a b;c'\n",
        0o600,
    );
    let sources = TokenSources {
        auth_config: Some(path),
        ..TokenSources::default()
    };
    let log_in = |login: &str, password: &Secret| {
        assert_eq!((login, password.expose()), ("admin", "a b;c"));
        Ok(Secret::new("made"))
    };
    assert_eq!(token(&sources, &log_in).unwrap(), given("made"));
}

#[test]
fn an_empty_token_leaves_it_to_what_comes_next() {
    let log_in = |login: &str, password: &Secret| {
        assert_eq!((login, password.expose()), ("admin", "secret"));
        Ok(Secret::new("made"))
    };
    let text = b"[auth]\ntoken_auth = \"\"\nlogin = admin\npassword = secret\n";
    let (_kept, path) = file(text, 0o600);
    let in_config = TokenSources {
        auth_config: Some(path),
        ..TokenSources::default()
    };
    assert_eq!(token(&in_config, &log_in).unwrap(), given("made"));
    let in_environment = TokenSources {
        environment: Some(Secret::new(" ")),
        login: Some("admin".into()),
        password: Some(Secret::new("secret")),
        ..TokenSources::default()
    };
    assert_eq!(token(&in_environment, &log_in).unwrap(), given("made"));
}

#[test]
fn an_auth_config_that_others_may_read_is_warned_of() {
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
        let (_kept, path) = file(b"[auth]\ntoken_auth = x\n", mode);
        let sources = TokenSources {
            auth_config: Some(path.clone()),
            ..TokenSources::default()
        };
        let found = token(&sources, &never).unwrap();
        assert_eq!(!found.warnings.is_empty(), warned, "{mode:o}");
        assert!(
            found
                .warnings
                .iter()
                .all(|w| w.contains(&path.display().to_string()))
        );
    }
}

#[test]
fn what_holds_no_token_is_wrong_use() {
    let (_kept, blank) = file(b" \n\n", 0o600);
    let (_kept, binary) = file(b"\xff\xfe\x00", 0o600);
    let (_kept, no_section) = file(b"token_auth = x\n", 0o600);
    let (_kept, no_password) = file(b"[auth]\nlogin = admin\n", 0o600);
    let (_kept, empty) = file(b"[auth]\ntoken_auth =\n", 0o600);
    let none = TokenSources::default;
    for (sources, says) in [
        (
            TokenSources {
                token_auth: Some(Secret::new(" ")),
                ..none()
            },
            "--token-auth: ",
        ),
        (
            TokenSources {
                token_auth_file: Some(blank),
                ..none()
            },
            "the token is empty",
        ),
        (
            TokenSources {
                token_auth_file: Some(binary),
                ..none()
            },
            "cannot be read",
        ),
        (
            TokenSources {
                token_auth_file: Some("/no/such".into()),
                ..none()
            },
            "--token-auth-file=/no/such",
        ),
        (
            TokenSources {
                auth_config: Some("/no/such".into()),
                ..none()
            },
            "--auth-config=/no/such",
        ),
        (
            TokenSources {
                auth_config: Some(no_section),
                ..none()
            },
            "section [auth]",
        ),
        (
            TokenSources {
                auth_config: Some(no_password),
                ..none()
            },
            "login and password",
        ),
        (
            TokenSources {
                auth_config: Some(empty),
                ..none()
            },
            "needs token_auth, or login and password",
        ),
        (
            TokenSources {
                login: Some("admin".into()),
                ..none()
            },
            "--login needs --password",
        ),
        (
            TokenSources {
                password: Some(Secret::new("x")),
                ..none()
            },
            "--password needs --login",
        ),
    ] {
        let error = token(&sources, &never).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let sources = TokenSources {
        token_auth_file: Some("/dev/zero".into()),
        ..TokenSources::default()
    };
    let error = token(&sources, &never).unwrap_err().to_string();
    assert!(error.contains("control characters"), "{error}");
}

#[test]
fn nothing_that_can_be_printed_holds_a_secret() {
    let (_kept, path) = file(b"[auth]\ntoken_auth = geheim\n", 0o644);
    let sources = TokenSources {
        token_auth: Some(Secret::new("geheim")),
        environment: Some(Secret::new("geheim")),
        password: Some(Secret::new("geheim")),
        ..TokenSources::default()
    };
    let config = TokenSources {
        auth_config: Some(path),
        ..TokenSources::default()
    };
    let found = token(&config, &never).unwrap();
    let shown = format!("{sources:?} {found:?}");
    assert!(!shown.contains("geheim"), "{shown}");
}
