//! The token of the Matomo on this machine, which its own script creates. See guide/options.md,
//! "Local Matomo".

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rustix::fs::OFlags;

use super::places::{self, Places};
use super::runner::{Runner, TOKEN_SCRIPT};
use super::{FoundToken, MAX_FILE_BYTES, read_text};
use crate::error::{Error, Result};
use crate::matomo::diagnose::describe_body;
use crate::report::redact;
use crate::secret::Secret;

/// How often to check whether Matomo's script has ended.
const CHILD_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The Matomo that `--config` names, or that is installed beside the program.
#[derive(Clone, Debug, Default)]
pub struct LocalMatomo {
    /// `--config`. `None` means the one beside the program, if there is one.
    pub config: Option<PathBuf>,
    /// `--php-binary`. Empty means `php`.
    pub php_binary: PathBuf,
    /// `--enable-testmode`
    pub testmode: bool,
    /// Nothing is run.
    pub dry_run: bool,
    /// The host of `--url`, without port.
    pub host: String,
    /// `--request-timeout`: how long the script may take.
    pub timeout: Duration,
}

impl LocalMatomo {
    /// Runs Matomo's script.
    ///
    /// # Errors
    ///
    /// There is no Matomo, or its script cannot be trusted or creates no token. The message names
    /// the Matomos in the usual places.
    pub(super) fn create_token(&self) -> Result<FoundToken> {
        self.create_token_or_search(&Places::usual(&self.host))
    }

    fn create_token_or_search(&self, places: &Places) -> Result<FoundToken> {
        let config = match &self.config {
            Some(path) => match fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => path,
                found => {
                    let why = match found {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => error.to_string(),
                        _ => "there is no such file".to_owned(),
                    };
                    return Err(Error::usage(format!(
                        "--config={}: {why}; give the config/config.ini.php of a Matomo on this \
                         machine{}",
                        path.display(),
                        places.advice()
                    )));
                }
            },
            None if self.dry_run => return Ok(FoundToken::default()),
            None => match places.beside.as_ref().filter(|path| path.is_file()) {
                Some(path) => path,
                None => return Err(places.no_token()),
            },
        };
        if self.dry_run {
            return Ok(FoundToken::default());
        }
        let script = places::matomo_folder(config).join(TOKEN_SCRIPT);
        let runner = Runner::of(config, &script).map_err(|why| {
            Error::stopped(format!(
                "{} is not run: {why}; or use --token-auth-file",
                script.display()
            ))
        })?;
        let file = self.run_script(&script, runner)?;
        let token = token_of_script(Path::new(&file), runner).map_err(|why| {
            Error::stopped(format!(
                "{}, the token file of {}, {why}; use --token-auth-file instead",
                redact::quote(file.as_bytes()),
                script.display()
            ))
        })?;
        Ok(FoundToken::without_warnings(token))
    }

    /// Runs the script and returns the file name that it prints.
    fn run_script(&self, script: &Path, runner: Runner) -> Result<OsString> {
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
        let mut command = runner.command(php);
        command
            .arg(script)
            .args(self.testmode.then_some("--testmode"))
            .arg(format!("--matomo-domain={}", self.host));
        let output = output(&mut command, self.timeout)
            .map_err(|why| failed(format!("{}{why}", runner.label())))?;
        if !output.status.success() {
            let printed = [output.stderr, output.stdout].concat();
            return Err(failed(format!(
                "{}{}, {}",
                runner.label(),
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

/// Reads the token from the first line of a file, `login<TAB>token`, and trims it.
///
/// Another user's script may name any file, so only one of that user is read.
fn token_of_script(path: &Path, runner: Runner) -> std::result::Result<Secret, String> {
    let check = |metadata: Metadata| match runner {
        _ if !metadata.is_file() => Err("is not a plain file".to_owned()),
        Runner::Owner { uid, .. } if metadata.uid() != uid => Err(format!(
            "does not belong to the user of that script (uid {uid})"
        )),
        _ => Ok(()),
    };
    let failed = |error: io::Error| format!("cannot be read: {error}");
    // Opening a device can have effects, as that of a watchdog.
    check(fs::metadata(path).map_err(failed)?)?;
    let mut options = OpenOptions::new();
    // Does not wait for the other end of a pipe.
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.read(true).open(path).map_err(failed)?;
    // It may be another file by now.
    check(file.metadata().map_err(failed)?)?;
    let text = read_text(file).map_err(failed)?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once('\t').map(|(_, token)| token.trim()) {
        Some(token) if !token.is_empty() => Ok(Secret::new(token)),
        _ => Err("has no login, tab and token in its first line".into()),
    }
}

#[cfg(test)]
mod tests;
