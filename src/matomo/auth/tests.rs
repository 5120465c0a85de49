//! Which source is used, what is read from it, and what is an error.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

fn never(_: &str, _: &Secret) -> Result<Secret> {
    panic!("unexpected log-in")
}

fn file(text: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

fn given(token: &str) -> FoundToken {
    FoundToken {
        token: Some(Secret::new(token)),
        warnings: vec![],
    }
}

#[test]
fn the_first_source_that_is_given_is_used() {
    let (_folder, token_file) = file(b"\n from-file \nmore\n", 0o600);
    let (_folder, config) = file(b"[auth]\ntoken_auth = from-config\n", 0o600);
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
    assert_eq!(find_token(&sources, &never).unwrap(), given("typed"));
    sources.token_auth = None;
    assert_eq!(find_token(&sources, &never).unwrap(), given("from-file"));
    sources.token_auth_file = None;
    assert_eq!(find_token(&sources, &never).unwrap(), given("from-config"));
    sources.auth_config = None;
    assert_eq!(
        find_token(&sources, &never).unwrap(),
        given("from-environment")
    );
    sources.environment = None;
    assert_eq!(find_token(&sources, &log_in).unwrap(), given("from-login"));
    assert_eq!(*asked.borrow(), ["admin:secret"]);
    (sources.login, sources.password) = (None, None);
    let error = find_token(&sources, &never).unwrap_err();
    assert!(
        error.to_string().starts_with("no token is given"),
        "{error}"
    );
    sources.local.dry_run = true;
    assert_eq!(find_token(&sources, &never).unwrap(), FoundToken::default());
}

#[test]
fn an_auth_config_may_contain_a_login() {
    let (_folder, path) = file(
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
    assert_eq!(find_token(&sources, &log_in).unwrap(), given("made"));
}

#[test]
fn an_empty_token_does_not_count() {
    let log_in = |login: &str, password: &Secret| {
        assert_eq!((login, password.expose()), ("admin", "secret"));
        Ok(Secret::new("made"))
    };
    let text = b"[auth]\ntoken_auth = \"\"\nlogin = admin\npassword = secret\n";
    let (_folder, path) = file(text, 0o600);
    let in_config = TokenSources {
        auth_config: Some(path),
        ..TokenSources::default()
    };
    assert_eq!(find_token(&in_config, &log_in).unwrap(), given("made"));
    let in_environment = TokenSources {
        environment: Some(Secret::new(" ")),
        login: Some("admin".into()),
        password: Some(Secret::new("secret")),
        ..TokenSources::default()
    };
    assert_eq!(find_token(&in_environment, &log_in).unwrap(), given("made"));
}

#[test]
fn a_token_file_that_others_can_read_causes_a_warning() {
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        let (_folder, path) = file(b"token\n", mode);
        let sources = TokenSources {
            token_auth_file: Some(path),
            ..TokenSources::default()
        };
        let found = find_token(&sources, &never).unwrap();
        assert_eq!(found.warnings.len(), usize::from(warned), "{mode:o}");
    }
}

#[test]
fn an_auth_config_that_others_can_read_causes_a_warning() {
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
        let (_folder, path) = file(b"[auth]\ntoken_auth = x\n", mode);
        let sources = TokenSources {
            auth_config: Some(path.clone()),
            ..TokenSources::default()
        };
        let found = find_token(&sources, &never).unwrap();
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
fn a_source_without_a_token_is_a_usage_error() {
    let (_folder, blank) = file(b" \n\n", 0o600);
    let (_folder, binary) = file(b"\xff\xfe\x00", 0o600);
    let (_folder, no_section) = file(b"token_auth = x\n", 0o600);
    let (_folder, no_password) = file(b"[auth]\nlogin = admin\n", 0o600);
    let (_folder, empty) = file(b"[auth]\ntoken_auth =\n", 0o600);
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
        let error = find_token(&sources, &never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn an_endless_file_is_read_in_part() {
    let sources = TokenSources {
        token_auth_file: Some("/dev/zero".into()),
        ..TokenSources::default()
    };
    let error = find_token(&sources, &never).unwrap_err().to_string();
    assert!(error.contains("control characters"), "{error}");
}

#[test]
fn debug_output_hides_secrets() {
    let (_folder, path) = file(b"[auth]\ntoken_auth = geheim\n", 0o644);
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
    let found = find_token(&config, &never).unwrap();
    let shown = format!("{sources:?} {found:?}");
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn an_ini_value_is_found_in_its_section() {
    let text = "; <?php exit; ?>\nlogin = outside\n[Other]\nlogin=other\n\n [ auth ] ; here\n# login = no\n\
                Login = admin\npassword: a=b;c#d\n[after]\nlogin = late\n";
    assert_eq!(ini_value(text, "auth", "login"), Some("admin"));
    assert_eq!(ini_value(text, "auth", "password"), Some("a=b;c#d"));
    assert_eq!(ini_value(text, "auth", "token_auth"), None);
    assert_eq!(ini_value(text, "none", "login"), None);
}

#[test]
fn quotes_around_an_ini_value_are_removed() {
    for (written, want) in [
        (r#""a b""#, "a b"),
        ("'a b'", "a b"),
        (r#""abc" ; a note"#, "abc"),
        (r#""a;b" # "note""#, "a;b"),
        (r#""pa"ss""#, r#"pa"ss"#),
        (r#"pa"ss"#, r#"pa"ss"#),
        (r#"""#, r#"""#),
        (r#""""#, ""),
        ("", ""),
        ("\"abc", "\"abc"),
    ] {
        let text = format!("[auth]\r\nkey = {written}\r\n");
        assert_eq!(ini_value(&text, "auth", "key"), Some(want), "{written}");
    }
}

proptest! {
    #[test]
    fn any_ini_file_can_be_read(text in "[\\[\\]=:;#\"'a \n]{0,60}") {
        ini_value(&text, "a", "a");
    }
}
