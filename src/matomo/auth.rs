//! Finds the token: from `--token-auth`, `--token-auth-file`, `--auth-config`, the environment, a
//! login, or the Matomo installed beside the program. The first source that is given is used. See
//! guide/options.md, "The token".

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rustix::process::{getegid, geteuid};

use super::diagnose::describe_body;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The environment variable that may contain the token.
pub const TOKEN_VARIABLE: &str = "MATOMO_TOKEN_AUTH";

/// More than any token or login needs. Keeps a wrong file (a log, a device) from being read whole.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// How often to check whether Matomo's script has ended.
const CHILD_POLL_INTERVAL: Duration = Duration::from_millis(10);

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
    let found = FoundToken::without_warnings;
    if let Some(token) = &sources.token_auth {
        return Ok(found(check_token(token.expose(), "--token-auth")?));
    }
    if let Some(path) = &sources.token_auth_file {
        return from_file(path);
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
    sources.local.create_token()
}

impl FoundToken {
    fn without_warnings(token: Secret) -> Self {
        Self {
            token: Some(token),
            warnings: Vec::new(),
        }
    }
}

/// Reads the token from the first line of a file or of standard input.
fn from_file(path: &Path) -> Result<FoundToken> {
    let source = format!("--token-auth-file={}", path.display());
    let mut warnings = Vec::new();
    let text = match path == Path::new("-") {
        true => read_text(io::stdin().lock()),
        false => File::open(path).and_then(|file| {
            warnings.extend(permission_warning(&file, &source));
            read_text(file)
        }),
    };
    let text = text.map_err(|e| Error::usage(format!("{source}: cannot be read: {e}")))?;
    let first = text.trim_start().lines().next().unwrap_or_default();
    Ok(FoundToken {
        token: Some(check_token(first, &source)?),
        warnings,
    })
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

/// Warns if the file's group or others may read it. The pipe of `<(...)` is no file.
fn permission_warning(file: &File, source: &str) -> Option<String> {
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.mode() & 0o044 != 0)
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
    /// `--request-timeout`: how long the script may take.
    pub timeout: Duration,
}

impl LocalMatomo {
    /// Runs Matomo's script. There is no token if `--config` is not given and its default does not
    /// exist or cannot be trusted. Fails if the file of `--config` is missing or cannot be trusted,
    /// or if the script creates no token.
    fn create_token(&self) -> Result<FoundToken> {
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
                None => return Ok(FoundToken::default()),
            },
        };
        let script = matomo_folder(&config).join(TOKEN_SCRIPT);
        if let Some(why) = distrust(&[&config, &script]) {
            let text = format!(
                "{} is not run: {why}; use --token-auth-file instead",
                script.display()
            );
            return match self.config {
                Some(_) => Err(Error::stopped(text)),
                None => Ok(FoundToken {
                    token: None,
                    warnings: vec![text],
                }),
            };
        }
        let file = self.run_script(&script)?;
        let token = token_of_script(Path::new(&file)).map_err(|why| {
            Error::stopped(format!(
                "{}, the token file of {}, {why}; use --token-auth-file instead",
                Path::new(&file).display(),
                script.display()
            ))
        })?;
        Ok(FoundToken::without_warnings(token))
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
        let mut command = Command::new(php);
        command
            .arg(script)
            .args(self.testmode.then_some("--testmode"))
            .arg(format!("--matomo-domain={}", self.host));
        let output = output(&mut command, self.timeout).map_err(failed)?;
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

/// Why a file must not be executed or believed: another user owns it, or may change it, or may
/// replace it in its folder. `None` if there is no reason.
fn distrust(files: &[&Path]) -> Option<String> {
    let folders = files.iter().filter_map(|file| file.parent());
    let all = folders.chain(files.iter().copied());
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    all.filter_map(|path| Some((path, path.metadata().ok()?)))
        .find_map(|(path, metadata)| {
            let name = path.display();
            let is_shared = metadata.mode() & 0o020 != 0 && metadata.gid() != group;
            match metadata.uid() {
                owner if owner != user && owner != 0 => Some(format!(
                    "{name} belongs to another user (uid {owner}); run this program as that user"
                )),
                _ if is_shared || metadata.mode() & 0o002 != 0 => {
                    Some(format!("other users can change {name}"))
                }
                _ => None,
            }
        })
}

/// Runs a program without input. Fails if it takes longer than `limit` or prints too much.
fn output(command: &mut Command, limit: Duration) -> std::result::Result<Output, String> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (sender, receiver) = bounded(2);
    let read = |is_stdout: bool, stream: Option<Box<dyn Read + Send>>| {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut text = Vec::new();
            let stream = stream.map(|stream| stream.take(MAX_FILE_BYTES + 1));
            // What was read before an error is enough.
            let _ = stream.map(|mut stream| stream.read_to_end(&mut text));
            let _ = sender.send((is_stdout, text));
        });
    };
    read(true, child.stdout.take().map(|out| Box::new(out) as _));
    read(false, child.stderr.take().map(|err| Box::new(err) as _));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let deadline = Instant::now().checked_add(limit);
    let late = || format!("it did not end within {} s", limit.as_secs_f64());
    let mut wait = || {
        for _ in 0..2 {
            let left = deadline.map_or(limit, |end| end.saturating_duration_since(Instant::now()));
            let (is_stdout, text) = receiver.recv_timeout(left).map_err(|_| late())?;
            if text.len() as u64 > MAX_FILE_BYTES {
                return Err(format!("it prints more than {MAX_FILE_BYTES} bytes"));
            }
            match is_stdout {
                true => stdout = text,
                false => stderr = text,
            }
        }
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => return Ok(status),
                None if deadline.is_some_and(|end| Instant::now() >= end) => return Err(late()),
                None => thread::sleep(CHILD_POLL_INTERVAL),
            }
        }
    };
    let status = wait().inspect_err(|_| {
        // Both fail if it has just ended.
        let _ = child.kill();
        let _ = child.wait();
    })?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
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
