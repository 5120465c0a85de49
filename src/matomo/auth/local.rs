//! The Matomo installed beside the program: its own script hands out a token (SPEC section 2, `--config`).

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::matomo::shown;
use crate::secret::Secret;

/// Where Matomo's configuration is looked for, from the program's own folder.
const DEFAULT_CONFIG: &str = "../../config/config.ini.php";

/// The script, from Matomo's folder.
const SCRIPT: &str = "misc/cron/updatetoken.php";

/// `--config`, `--php-binary`, `--enable-testmode`, and the host of `--url`.
#[derive(Clone, Debug, Default)]
pub struct LocalMatomo {
    /// `None`: the default, where it exists.
    pub config: Option<PathBuf>,
    /// Empty means `php`.
    pub php_binary: PathBuf,
    pub testmode: bool,
    /// The host of `--url`, without port.
    pub host: String,
}

impl LocalMatomo {
    /// `None`: no `--config` is given, and there is none at the default place.
    /// An error: the file of `--config` is missing, or the script gives no token.
    pub(super) fn token(&self) -> Result<Option<Secret>> {
        let config = match &self.config {
            Some(path) if path.is_file() => path.clone(),
            Some(path) => {
                return Err(Error::usage(format!(
                    "--config={}: there is no such file; it is config/config.ini.php of a Matomo on this machine",
                    path.display()
                )));
            }
            None => match default_config() {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let script = matomo_of(&config).join(SCRIPT);
        let named = self.run(&script)?;
        read_token(Path::new(&named)).map(Some).map_err(|why| {
            Error::stopped(format!(
                "{}, named by {}, {why}; give --token-auth-file instead",
                Path::new(&named).display(),
                script.display()
            ))
        })
    }

    /// Runs the script and gives the file name it prints.
    fn run(&self, script: &Path) -> Result<OsString> {
        let php = match self.php_binary.as_os_str().is_empty() {
            true => Path::new("php"),
            false => &self.php_binary,
        };
        let failed = |why: String| {
            Error::stopped(format!(
                "{} {} gives no token: {why}; check --config and --php-binary, or give --token-auth-file",
                php.display(),
                script.display()
            ))
        };
        let output = Command::new(php)
            .arg(script)
            .args(self.testmode.then_some("--testmode"))
            .arg(format!("--matomo-domain={}", self.host))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| failed(e.to_string()))?;
        if !output.status.success() {
            let said = [output.stderr, output.stdout].concat();
            return Err(failed(format!("{}, {}", output.status, shown::body(&said))));
        }
        // PHP's warnings may stand before it.
        let mut lines = output.stdout.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        match lines.rfind(|line| !line.is_empty()) {
            Some(name) => Ok(file_name(name)),
            None => Err(failed("it printed nothing".into())),
        }
    }
}

fn default_config() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let config = program.parent()?.join(DEFAULT_CONFIG);
    config.is_file().then_some(config)
}

/// The folder that holds the folder of the configuration, going by names: either may be a symbolic link.
fn matomo_of(config: &Path) -> PathBuf {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let folder = config.parent().unwrap_or(&config);
    match (folder.file_name(), folder.parent()) {
        (Some(_), Some(above)) => above.to_owned(),
        // The name is `..` (or there is none).
        _ => folder.join(".."),
    }
}

fn file_name(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).to_owned()
}

/// The first line is `login<TAB>token`; outer blanks of both are dropped.
fn read_token(path: &Path) -> std::result::Result<Secret, String> {
    let text = File::open(path)
        .and_then(super::read)
        .map_err(|e| format!("cannot be read: {e}"))?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once('\t').map(|(_, token)| token.trim()) {
        Some(token) if !token.is_empty() => Ok(Secret::new(token)),
        _ => Err("has no login, tab and token in its first line".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::fs;
    use tempfile::TempDir;

    /// A Matomo whose script is a shell script, run by `sh` in PHP's place.
    fn matomo(script: &str) -> (TempDir, LocalMatomo) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("misc/cron")).unwrap();
        fs::create_dir_all(at("config")).unwrap();
        fs::write(at("config/config.ini.php"), "").unwrap();
        let script = script.replace("FOLDER", &folder.path().display().to_string());
        fs::write(at(SCRIPT), script).unwrap();
        let local = LocalMatomo {
            config: Some(at("config/config.ini.php")),
            php_binary: "sh".into(),
            testmode: false,
            host: "stats.example.com".into(),
        };
        (folder, local)
    }

    #[test]
    fn the_script_names_a_file_with_the_token() {
        let (folder, mut local) = matomo(
            "echo \"$@\" > FOLDER/args\nprintf ' joe \\t tok en \\nmore\\n' > FOLDER/token\necho Warning\necho FOLDER/token\n",
        );
        assert_eq!(local.token().unwrap(), Some(Secret::new("tok en")));
        let args = |folder: &TempDir| fs::read_to_string(folder.path().join("args")).unwrap();
        assert_eq!(args(&folder), "--matomo-domain=stats.example.com\n");
        local.testmode = true;
        local.token().unwrap();
        assert_eq!(
            args(&folder),
            "--testmode --matomo-domain=stats.example.com\n"
        );
    }

    #[test]
    fn a_script_that_gives_no_token_stops_the_import_and_says_why() {
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
            let error = local.token().unwrap_err();
            assert_eq!(error.kind(), Kind::Stopped);
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("--token-auth-file"), "{error}");
        }
    }

    #[test]
    fn a_php_that_is_not_there_is_named() {
        let (_folder, mut local) = matomo("");
        local.php_binary = "/no/such/php".into();
        let error = local.token().unwrap_err().to_string();
        assert!(
            error.contains("/no/such/php") && error.contains("--php-binary"),
            "{error}"
        );
    }

    #[test]
    fn a_config_that_is_named_must_be_there_the_default_need_not() {
        let named = LocalMatomo {
            config: Some("/no/such/config.ini.php".into()),
            ..LocalMatomo::default()
        };
        assert_eq!(named.token().unwrap_err().kind(), Kind::Usage);
        assert_eq!(LocalMatomo::default().token().unwrap(), None);
    }

    #[test]
    fn matomo_is_where_its_config_folder_is() {
        for (config, want) in [
            ("/srv/matomo/config/config.ini.php", "/srv/matomo"),
            (
                "/srv/matomo/a/b/../../config/config.ini.php",
                "/srv/matomo/a/b/../..",
            ),
            (
                "/srv/matomo/config/x/../config.ini.php",
                "/srv/matomo/config/x/../..",
            ),
        ] {
            assert_eq!(matomo_of(Path::new(config)), Path::new(want));
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(matomo_of(Path::new("config/c")), here);
        assert_eq!(matomo_of(Path::new("c")), here.parent().unwrap());
    }
}
