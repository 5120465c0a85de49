//! Finds the token: from `--token-auth`, `--token-auth-file`, `--auth-config`, the environment, a
//! login, or the Matomo installed beside the program. The first source that is given is used. See
//! guide/options.md, "The token".

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::diagnose::describe_body;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The environment variable that may contain the token.
pub const TOKEN_VARIABLE: &str = "MATOMO_TOKEN_AUTH";

/// More than any token or login needs. Keeps a wrong file (a log, a device) from being read whole.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The default of `--config`, relative to the program's folder.
const DEFAULT_CONFIG: &str = "../../config/config.ini.php";

/// The script that creates a token, relative to Matomo's folder.
const TOKEN_SCRIPT: &str = "misc/cron/updatetoken.php";

/// All sources of a token, as typed.
#[derive(Clone, Debug, Default)]
pub struct TokenSources {
    pub token_auth: Option<Secret>,
    /// `-` is standard input.
    pub token_auth_file: Option<PathBuf>,
    pub auth_config: Option<PathBuf>,
    /// The value of [`TOKEN_VARIABLE`].
    pub environment: Option<Secret>,
    pub login: Option<String>,
    pub password: Option<Secret>,
    pub local: LocalMatomo,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundToken {
    /// `None` if no source is given and no Matomo is installed beside the program.
    pub token: Option<Secret>,
    pub warnings: Vec<String>,
}

/// Finds the token. `log_in` requests one for a user and password. Fails if the source that is used
/// has no token.
pub fn find_token(
    sources: &TokenSources,
    log_in: &dyn Fn(&str, &Secret) -> Result<Secret>,
) -> Result<FoundToken> {
    let found = |token| FoundToken {
        token: Some(token),
        warnings: Vec::new(),
    };
    if let Some(token) = &sources.token_auth {
        return Ok(found(check_token(token.expose(), "--token-auth")?));
    }
    if let Some(path) = &sources.token_auth_file {
        return Ok(found(from_file(path)?));
    }
    if let Some(path) = &sources.auth_config {
        return from_config(path, log_in);
    }
    // Compose files set the variable to an empty text if it has no value.
    let environment = sources.environment.as_ref();
    if let Some(token) = environment.filter(|token| !token.expose().trim().is_empty()) {
        return Ok(found(check_token(token.expose(), TOKEN_VARIABLE)?));
    }
    match (&sources.login, &sources.password) {
        (Some(login), Some(password)) => return Ok(found(log_in(login, password)?)),
        (Some(_), None) => return Err(Error::usage("--login needs --password")),
        (None, Some(_)) => return Err(Error::usage("--password needs --login")),
        (None, None) => {}
    }
    Ok(FoundToken {
        token: sources.local.create_token()?,
        warnings: Vec::new(),
    })
}

/// Reads the token from the first line of a file or of standard input.
fn from_file(path: &Path) -> Result<Secret> {
    let source = format!("--token-auth-file={}", path.display());
    let text = match path == Path::new("-") {
        true => read_text(io::stdin().lock()),
        false => File::open(path).and_then(read_text),
    };
    let text = text.map_err(|e| Error::usage(format!("{source}: cannot be read: {e}")))?;
    check_token(
        text.trim_start().lines().next().unwrap_or_default(),
        &source,
    )
}

/// Reads section `[auth]` of an INI file: `token_auth` unless it is empty, else `login` and
/// `password`.
fn from_config(
    path: &Path,
    log_in: &dyn Fn(&str, &Secret) -> Result<Secret>,
) -> Result<FoundToken> {
    let source = format!("--auth-config={}", path.display());
    let wrong = |why: &str| Error::usage(format!("{source}: {why}"));
    let file = File::open(path).map_err(|e| wrong(&format!("cannot be read: {e}")))?;
    let warnings = permission_warning(&file, &source).into_iter().collect();
    let text = read_text(file).map_err(|e| wrong(&format!("cannot be read: {e}")))?;
    let value = |key| ini_value(&text, "auth", key);
    let token = value("token_auth").filter(|token| !token.trim().is_empty());
    let token = match (token, value("login"), value("password")) {
        (Some(token), ..) => check_token(token, &format!("{source}, token_auth"))?,
        (None, Some(login), Some(password)) => log_in(login, &Secret::new(password))?,
        _ => {
            return Err(wrong(
                "section [auth] needs token_auth, or login and password",
            ));
        }
    };
    Ok(FoundToken {
        token: Some(token),
        warnings,
    })
}

/// Warns if the file's group or others may read it.
fn permission_warning(file: &File, source: &str) -> Option<String> {
    let mode = file.metadata().ok()?.permissions().mode();
    (mode & 0o044 != 0)
        .then(|| format!("{source}: other users can read this file; protect it with \"chmod 600\""))
}

fn read_text(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Trims a token. Fails if nothing is left, or if it contains control characters.
fn check_token(token: &str, source: &str) -> Result<Secret> {
    match token.trim() {
        "" => Err(Error::usage(format!("{source}: the token is empty"))),
        token if token.contains(char::is_control) => Err(Error::usage(format!(
            "{source}: the token contains control characters"
        ))),
        token => Ok(Secret::new(token)),
    }
}

/// The last value of a key in a section of an INI file, as PHP and Python write them. Names are
/// case-insensitive.
///
/// Skips lines other than `[section]`, `key = value` and comments (`;`, `#`). Values may be quoted.
/// There are no escapes, and no comments after unquoted values: a password may contain any
/// character.
fn ini_value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    let mut last = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            inside = name.trim().eq_ignore_ascii_case(section);
        } else if inside
            && !line.starts_with([';', '#'])
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().eq_ignore_ascii_case(key)
        {
            last = Some(unquoted(value.trim()));
        }
    }
    last
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let Some(rest) = value.strip_prefix(quote) else {
            continue;
        };
        if let Some((inner, after)) = rest.split_once(quote) {
            let after = after.trim_start();
            if after.is_empty() || after.starts_with([';', '#']) {
                return inner;
            }
        }
        if let Some(inner) = rest.strip_suffix(quote) {
            return inner;
        }
    }
    value
}

/// The Matomo installed beside the program, whose own script creates a token. See
/// guide/options.md, "Local Matomo".
#[derive(Clone, Debug, Default)]
pub struct LocalMatomo {
    /// `--config`. `None` means the default, if that file exists.
    pub config: Option<PathBuf>,
    /// `--php-binary`. Empty means `php`.
    pub php_binary: PathBuf,
    /// `--enable-testmode`
    pub testmode: bool,
    /// The host of `--url`, without port.
    pub host: String,
}

impl LocalMatomo {
    /// Runs Matomo's script. Returns `None` if `--config` is not given and its default does not
    /// exist. Fails if the file of `--config` is missing or the script creates no token.
    fn create_token(&self) -> Result<Option<Secret>> {
        let config = match &self.config {
            Some(path) if path.is_file() => path.clone(),
            Some(path) => {
                return Err(Error::usage(format!(
                    "--config={}: there is no such file; give the config/config.ini.php of a \
                     Matomo on this machine",
                    path.display()
                )));
            }
            None => match default_config() {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let script = matomo_folder(&config).join(TOKEN_SCRIPT);
        let file = self.run_script(&script)?;
        let token = token_of_script(Path::new(&file)).map_err(|why| {
            Error::stopped(format!(
                "{}, the token file of {}, {why}; use --token-auth-file instead",
                Path::new(&file).display(),
                script.display()
            ))
        })?;
        Ok(Some(token))
    }

    /// Runs the script and returns the file name that it prints.
    fn run_script(&self, script: &Path) -> Result<OsString> {
        let php = match self.php_binary.as_os_str().is_empty() {
            true => Path::new("php"),
            false => &self.php_binary,
        };
        let failed = |why: String| {
            Error::stopped(format!(
                "{} {} gives no token: {why}; check --config and --php-binary, or use \
                 --token-auth-file",
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
            let printed = [output.stderr, output.stdout].concat();
            return Err(failed(format!(
                "{}, {}",
                output.status,
                describe_body(&printed)
            )));
        }
        // PHP may print warnings before the file name.
        let mut lines = output.stdout.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        match lines.rfind(|line| !line.is_empty()) {
            Some(name) => Ok(OsStr::from_bytes(name).to_owned()),
            None => Err(failed("it printed nothing".into())),
        }
    }
}

fn default_config() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let config = program.parent()?.join(DEFAULT_CONFIG);
    config.is_file().then_some(config)
}

/// The parent of the configuration's folder. Goes by names, because either may be a symbolic link.
fn matomo_folder(config: &Path) -> PathBuf {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let folder = config.parent().unwrap_or(&config);
    match (folder.file_name(), folder.parent()) {
        (Some(_), Some(parent)) => parent.to_owned(),
        // The folder's name is `..`, or it has none.
        _ => folder.join(".."),
    }
}

/// Reads the token from the first line of a file, `login<TAB>token`, and trims it.
fn token_of_script(path: &Path) -> std::result::Result<Secret, String> {
    let text = File::open(path)
        .and_then(read_text)
        .map_err(|e| format!("cannot be read: {e}"))?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once('\t').map(|(_, token)| token.trim()) {
        Some(token) if !token.is_empty() => Ok(Secret::new(token)),
        _ => Err("has no login, tab and token in its first line".into()),
    }
}

#[cfg(test)]
mod tests;
