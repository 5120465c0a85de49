//! What is run, as whom, and what its output means.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

fn given(token: &str) -> FoundToken {
    FoundToken::without_warnings(Secret::new(token))
}

/// A Matomo whose script is a shell script, run by `sh` instead of PHP.
fn matomo(script: &str) -> (TempDir, LocalMatomo) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("misc/cron")).unwrap();
    fs::create_dir_all(at("config")).unwrap();
    fs::write(at("config/config.ini.php"), "").unwrap();
    let script = script.replace("FOLDER", &folder.path().display().to_string());
    fs::write(at(TOKEN_SCRIPT), script).unwrap();
    let local = LocalMatomo {
        config: Some(at("config/config.ini.php")),
        php_binary: "sh".into(),
        testmode: false,
        dry_run: false,
        host: "stats.example.com".into(),
        timeout: Duration::from_secs(60),
    };
    (folder, local)
}

#[test]
fn the_token_is_in_the_file_that_the_script_prints() {
    let (folder, mut local) = matomo(
        "echo \"$@\" > FOLDER/args\nprintf ' joe \\t tok en \\nmore\\n' > FOLDER/token\necho Warning\necho FOLDER/token\n",
    );
    assert_eq!(local.create_token().unwrap(), given("tok en"));
    let args = |folder: &TempDir| fs::read_to_string(folder.path().join("args")).unwrap();
    assert_eq!(args(&folder), "--matomo-domain=stats.example.com\n");
    local.testmode = true;
    local.create_token().unwrap();
    assert_eq!(
        args(&folder),
        "--testmode --matomo-domain=stats.example.com\n"
    );
}

#[test]
fn a_script_without_a_token_stops_the_import_and_says_why() {
    for (script, says) in [
        ("echo no database >&2; exit 3", "no database"),
        ("exit 0", "it printed nothing"),
        ("echo FOLDER/none", "cannot be read"),
        (
            "echo token > FOLDER/t; echo FOLDER/t",
            "has no login, tab and token",
        ),
        (
            "printf 'joe\\t \\n' > FOLDER/t; echo FOLDER/t",
            "has no login, tab and token",
        ),
    ] {
        let (_folder, local) = matomo(script);
        let error = local.create_token().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stopped);
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("--token-auth-file"), "{error}");
    }
}

#[test]
fn an_error_of_the_script_instead_of_a_file_name_is_cut_and_hides_tokens() {
    let token = "0123456789abcdef0123456789abcdef";
    let (_folder, local) = matomo(&format!(
        "printf 'Fatal error: {token} '; head -c 60000 /dev/zero | tr '\\0' x"
    ));
    let error = local.create_token().unwrap_err().to_string();
    assert!(error.starts_with("Fatal error: *** xxx"), "{error}");
    assert!(error.len() < 600, "{error}");
}

#[test]
fn a_missing_php_is_named() {
    let (_folder, mut local) = matomo("");
    local.php_binary = "/no/such/php".into();
    let error = local.create_token().unwrap_err().to_string();
    assert!(
        error.contains("/no/such/php") && error.contains("--php-binary"),
        "{error}"
    );
}

#[test]
fn a_missing_config_is_an_error_that_names_what_is_found() {
    let (folder, local) = matomo("touch FOLDER/run");
    let places = Places {
        beside: Some("/no/such/config.ini.php".into()),
        folders: vec![folder.path().to_owned()],
        ..Places::default()
    };
    let option = format!(
        "found a Matomo: --config={}",
        local.config.as_ref().unwrap().display()
    );
    for (config, says) in [
        (
            Some("/no/such/config.ini.php"),
            "--config=/no/such/config.ini.php: there is no such file",
        ),
        (Some("/"), "--config=/: there is no such file"),
        (Some("/dev/null/x"), "Not a directory"),
        (
            None,
            "no token is given, and this program is not in a Matomo's folder (/no/such/config.ini.php",
        ),
    ] {
        let local = LocalMatomo {
            config: config.map(PathBuf::from),
            ..local.clone()
        };
        let error = local.create_token_or_search(&places).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains(&option), "{error}");
    }
    assert!(
        !folder.path().join("run").exists(),
        "what is found is not run"
    );
}

#[test]
fn the_matomo_beside_the_program_gives_a_token() {
    let (_folder, mut local) = matomo("printf 'joe\\tabc\\n' > FOLDER/t; echo FOLDER/t");
    let places = Places {
        beside: local.config.take(),
        ..Places::default()
    };
    assert_eq!(local.create_token_or_search(&places).unwrap(), given("abc"));
}

#[test]
fn a_dry_run_runs_nothing_and_needs_no_token() {
    let (folder, mut local) = matomo("touch FOLDER/run");
    local.dry_run = true;
    assert_eq!(local.create_token().unwrap(), FoundToken::default());
    let places = Places {
        beside: local.config.take(),
        ..Places::default()
    };
    let found = local.create_token_or_search(&places).unwrap();
    assert_eq!(found, FoundToken::default());
    assert!(!folder.path().join("run").exists());
    local.config = Some("/no/such/config.ini.php".into());
    assert!(local.create_token().is_err(), "a wrong name is found early");
}

/// Gives a Matomo to a user. Returns false unless this is root, which alone may do so.
fn give_to(folder: &Path, uid: u32, gid: u32) -> bool {
    if !geteuid().is_root() {
        return false;
    }
    let names = [
        "",
        "config",
        "config/config.ini.php",
        "misc",
        "misc/cron",
        TOKEN_SCRIPT,
    ];
    for name in names {
        chown(folder.join(name), Some(uid), Some(gid)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    true
}

/// The user and group `nobody` or `nogroup`.
const NOBODY: u32 = 65_534;

#[test]
fn root_runs_the_script_as_the_owner_of_the_configuration() {
    let (folder, local) = matomo(
        "(id -u; id -g; id -G; pwd; echo \"$CARGO_MANIFEST_DIR\") > FOLDER/id\n\
         printf 'joe\\tabc\\n' > FOLDER/t; echo FOLDER/t",
    );
    if !give_to(folder.path(), NOBODY, NOBODY) {
        return;
    }
    assert_eq!(local.create_token().unwrap(), given("abc"));
    let id = fs::read_to_string(folder.path().join("id")).unwrap();
    assert_eq!(id, "65534\n65534\n65534\n/\n\n");
}

#[test]
fn root_reads_no_file_that_the_owner_could_not() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "root\tsecret\n").unwrap();
    let script = format!("echo {}", secret.path().display());
    let (folder, local) = matomo(&script);
    if !give_to(folder.path(), NOBODY, NOBODY) {
        return;
    }
    let error = local.create_token().unwrap_err().to_string();
    assert!(error.contains("does not belong to the user"), "{error}");
    assert!(!error.contains("secret\n"), "{error}");
}

#[test]
fn a_token_file_that_is_a_pipe_or_a_device_is_not_opened() {
    // The writer waits until the other end is opened.
    let (folder, local) = matomo(
        "mkfifo FOLDER/p; (exec 3> FOLDER/p; touch FOLDER/opened) > FOLDER/out 2>&1 &\n\
         sleep 0.2; echo FOLDER/p",
    );
    let error = local.create_token().unwrap_err().to_string();
    assert!(error.contains("is not a plain file"), "{error}");
    std::thread::sleep(Duration::from_millis(200));
    let opened = folder.path().join("opened");
    assert!(!opened.exists());
    // Ends the writer.
    fs::File::open(folder.path().join("p")).unwrap();
    while !opened.exists() {
        std::thread::sleep(CHILD_POLL_INTERVAL);
    }
}

#[test]
fn root_does_not_guess_the_group_of_an_unknown_user() {
    let (folder, local) = matomo("touch FOLDER/run");
    if !give_to(folder.path(), 3_999_999, NOBODY) {
        return;
    }
    let error = local.create_token().unwrap_err().to_string();
    assert!(error.contains("does not list (uid 3999999)"), "{error}");
    assert!(!folder.path().join("run").exists());
}

#[test]
fn root_runs_no_script_in_a_folder_of_another_user() {
    for name in ["", "misc", "core", "plugins/Own", "tmp/cache/tracker"] {
        let (folder, local) = matomo("touch FOLDER/run");
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        if !geteuid().is_root() {
            return;
        }
        chown(&path, Some(NOBODY), None).unwrap();
        let error = local.create_token().unwrap_err().to_string();
        assert!(
            error.contains("belongs to another user (uid 65534)"),
            "{name}: {error}"
        );
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn root_runs_no_script_behind_a_link_of_another_user() {
    // The link in `own` leads to that of another user, which leads to root's files.
    for name in ["", "core"] {
        let (folder, local) = matomo("touch FOLDER/run");
        let elsewhere = tempfile::tempdir().unwrap();
        let [foreign, own] = ["foreign", "own"].map(|name| elsewhere.path().join(name));
        for path in [&foreign, &own] {
            fs::create_dir(path).unwrap();
        }
        if chown(&foreign, Some(NOBODY), None).is_err() {
            return;
        }
        symlink(folder.path(), foreign.join("link")).unwrap();
        symlink(foreign.join("link"), own.join("link")).unwrap();
        let mut local = local;
        if name.is_empty() {
            local.config = Some(own.join("link/config/config.ini.php"));
        } else {
            symlink(own.join("link/misc"), folder.path().join(name)).unwrap();
        }
        let error = local.create_token().unwrap_err().to_string();
        let want = format!("{} belongs to another user", foreign.display());
        assert!(error.contains(&want), "{error}");
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn a_script_that_others_can_change_is_not_run() {
    for (changed, mode) in [
        (TOKEN_SCRIPT, 0o646),
        ("config/config.ini.php", 0o602),
        ("misc/cron", 0o777),
        ("config", 0o707),
    ] {
        let (folder, local) = matomo("touch FOLDER/run");
        let path = folder.path().join(changed);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = local.create_token().unwrap_err().to_string();
        assert!(error.contains("other users can change"), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(!folder.path().join("run").exists());
    }
}

/// Only root can give a file to another user.
#[test]
fn a_script_of_another_user_is_not_run() {
    let (folder, local) = matomo("touch FOLDER/run");
    let path = folder.path().join(TOKEN_SCRIPT);
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
        return;
    }
    let error = local.create_token().unwrap_err().to_string();
    assert!(
        error.contains("belongs to another user (uid 65534)"),
        "{error}"
    );
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_script_that_hangs_or_prints_without_end_is_killed() {
    for (script, timeout, says) in [
        (
            "sleep 1000",
            Duration::from_millis(50),
            "did not end within",
        ),
        // Its child keeps the output open.
        (
            "sleep 1000 & exit 0",
            Duration::from_millis(50),
            "did not end within",
        ),
        (
            "exec >&-; exec 2>&-; sleep 1000",
            Duration::from_millis(50),
            "did not end within",
        ),
        (
            "exec yes",
            Duration::from_secs(60),
            "prints more than 65536 bytes",
        ),
        (
            "exec yes >&2",
            Duration::from_secs(60),
            "prints more than 65536 bytes",
        ),
    ] {
        let (_folder, local) = matomo(script);
        let local = LocalMatomo { timeout, ..local };
        let error = local.create_token().unwrap_err().to_string();
        assert!(error.contains(says), "{script}: {error}");
    }
}
