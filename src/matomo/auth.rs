//! Where the token comes from: `--token-auth`, `--token-auth-file`, `--auth-config`, the environment, a login, or
//! the Matomo installed beside the program; the first that is given counts (SPEC section 2).

mod ini;
mod local;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::secret::Secret;

pub use local::LocalMatomo;

/// The environment variable that holds a token.
pub const VARIABLE: &str = "MATOMO_TOKEN_AUTH";

/// More than any token or login needs; a wrong file (a log, a device) is not read to its end.
const LONGEST_FILE: u64 = 64 * 1024;

/// Every place a token may come from, as typed.
#[derive(Clone, Debug, Default)]
pub struct TokenSources {
    pub token_auth: Option<Secret>,
    /// `-` is stdin.
    pub token_auth_file: Option<PathBuf>,
    pub auth_config: Option<PathBuf>,
    /// What [`VARIABLE`] holds.
    pub environment: Option<Secret>,
    pub login: Option<String>,
    pub password: Option<Secret>,
    pub local: LocalMatomo,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `None`: no source is given, and no Matomo is installed beside the program.
    pub token: Option<Secret>,
    pub warnings: Vec<String>,
}

/// Finds the token. `log_in` makes one from a login and its password.
/// An error: the source that counts has no token to give.
pub fn token(
    sources: &TokenSources,
    log_in: &dyn Fn(&str, &Secret) -> Result<Secret>,
) -> Result<Found> {
    let found = |token| Found {
        token: Some(token),
        warnings: Vec::new(),
    };
    if let Some(token) = &sources.token_auth {
        return Ok(found(trimmed(token.expose(), "--token-auth")?));
    }
    if let Some(path) = &sources.token_auth_file {
        return Ok(found(from_file(path)?));
    }
    if let Some(path) = &sources.auth_config {
        return from_config(path, log_in);
    }
    // Whoever has no token leaves the variable empty: it is how compose files name one that is not set.
    let environment = sources.environment.as_ref();
    if let Some(token) = environment.filter(|token| !token.expose().trim().is_empty()) {
        return Ok(found(trimmed(token.expose(), VARIABLE)?));
    }
    match (&sources.login, &sources.password) {
        (Some(login), Some(password)) => return Ok(found(log_in(login, password)?)),
        (Some(_), None) => return Err(Error::usage("--login needs --password beside it")),
        (None, Some(_)) => return Err(Error::usage("--password needs --login beside it")),
        (None, None) => {}
    }
    Ok(Found {
        token: sources.local.token()?,
        warnings: Vec::new(),
    })
}

/// The first line of a file or of stdin.
fn from_file(path: &Path) -> Result<Secret> {
    let stdin = path == Path::new("-");
    let origin = format!("--token-auth-file={}", path.display());
    let text = match stdin {
        true => read(io::stdin().lock()),
        false => File::open(path).and_then(read),
    };
    let text = text.map_err(|e| Error::usage(format!("{origin}: cannot be read: {e}")))?;
    trimmed(
        text.trim_start().lines().next().unwrap_or_default(),
        &origin,
    )
}

/// Section `[auth]` of an INI file: `token_auth` (an empty one is none), else `login` and `password`.
fn from_config(path: &Path, log_in: &dyn Fn(&str, &Secret) -> Result<Secret>) -> Result<Found> {
    let origin = format!("--auth-config={}", path.display());
    let wrong = |why: &str| Error::usage(format!("{origin}: {why}"));
    let file = File::open(path).map_err(|e| wrong(&format!("cannot be read: {e}")))?;
    let warnings = warning(&file, &origin).into_iter().collect();
    let text = read(file).map_err(|e| wrong(&format!("cannot be read: {e}")))?;
    let value = |key| ini::value(&text, "auth", key);
    let token = value("token_auth").filter(|token| !token.trim().is_empty());
    let token = match (token, value("login"), value("password")) {
        (Some(token), ..) => trimmed(token, &format!("{origin}, token_auth"))?,
        (None, Some(login), Some(password)) => log_in(login, &Secret::new(password))?,
        _ => {
            return Err(wrong(
                "section [auth] needs token_auth, or login and password",
            ));
        }
    };
    Ok(Found {
        token: Some(token),
        warnings,
    })
}

/// Others than the owner may read the file.
fn warning(file: &File, origin: &str) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().ok()?.permissions().mode();
    (mode & 0o044 != 0).then(|| {
        format!("{origin}: others than the owner may read this file; \"chmod 600\" keeps what it holds to yourself")
    })
}

fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST_FILE).read_to_string(&mut text)?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// A token without its outer blanks. An error: nothing is left, or it is no text.
fn trimmed(token: &str, origin: &str) -> Result<Secret> {
    match token.trim() {
        "" => Err(Error::usage(format!("{origin}: the token is empty"))),
        token if token.contains(char::is_control) => Err(Error::usage(format!(
            "{origin}: control characters are in what should be the token"
        ))),
        token => Ok(Secret::new(token)),
    }
}

#[cfg(test)]
mod tests;
