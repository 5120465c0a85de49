//! Finds the token: from `--token-auth`, `--token-auth-file`, `--auth-config`, the environment, a
//! login, or the Matomo installed beside the program. The first source that is given is used. See
//! guide/options.md, "The token".

mod local;
mod places;
mod runner;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use local::LocalMatomo;

use crate::error::{Error, Result};
use crate::private_file;
use crate::secret::Secret;

/// The environment variable that may contain the token.
pub const TOKEN_VARIABLE: &str = "MATOMO_TOKEN_AUTH";

/// More than any token or login needs. Keeps a wrong file (a log, a device) from being read whole.
const MAX_FILE_BYTES: u64 = 64 * 1024;

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
    /// `None` only in a dry run, which needs no token.
    pub token: Option<Secret>,
    pub warnings: Vec<String>,
}

/// Finds the token. `log_in` requests one for a user and password.
///
/// # Errors
///
/// The source that is used has no token, or there is no source.
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
            warnings.extend(private_file::exposure(&file, &source));
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
    let warnings = private_file::exposure(&file, &source).into_iter().collect();
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

#[cfg(test)]
mod tests;
