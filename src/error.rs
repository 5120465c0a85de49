//! The error type of the crate: a message for the user, and the kind that decides the exit status.

use std::process::ExitCode;

use signal_hook::consts::{SIGHUP, SIGINT};
use thiserror::Error;

/// Why a run or a log failed. The message says what failed, where, and what to do. It never holds
/// a secret.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Decides the [`Exit`] status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// An invalid option or value. Exit status 2.
    Usage,
    /// The import cannot continue: a server, disk or input error. Exit status 1.
    Stopped,
    /// A log does not fit the options. Exit status 1, as it stops the import; but 3 if the log is
    /// a spool that an earlier run left, as that must not stop this run.
    Log,
    /// A shutdown was requested during a wait. The exit status is that of the signal.
    Interrupted,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    /// Creates an error of [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Creates an error of [`ErrorKind::Stopped`].
    pub fn stopped(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Stopped, message)
    }

    /// Creates an error of [`ErrorKind::Log`].
    pub fn of_log(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Log, message)
    }

    /// Creates an error of [`ErrorKind::Interrupted`].
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Interrupted, message)
    }

    /// Adds the log and the number of the line to an error about its content.
    pub fn at_line(self, log: &str, number: u64) -> Self {
        Self::of_log(format!("{log}:{number}: {self}"))
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the error is of [`ErrorKind::Log`].
    pub fn is_about_log(&self) -> bool {
        self.kind == ErrorKind::Log
    }
}

/// Exit status of the program (guide/options.md, "Exit status").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success, even if lines were invalid, filtered or matched no site.
    Ok = 0,
    /// The import stopped.
    Stopped = 1,
    /// Invalid usage.
    Usage = 2,
    /// Finished, but hits are missing, refused, lost, unconfirmed or perhaps sent twice, or a
    /// report could not be written.
    Incomplete = 3,
    /// Stopped by SIGHUP.
    Sighup = 129,
    /// Stopped by SIGINT.
    Sigint = 130,
    /// Stopped by SIGTERM.
    Sigterm = 143,
}

impl Exit {
    /// The status of a run. An error takes precedence over a signal, since it needs attention, and
    /// both over `incomplete`, since the run did not finish.
    pub fn of_run(error: Option<&Error>, signal: Option<i32>, incomplete: bool) -> Self {
        match (error.map(Error::kind), signal) {
            (Some(ErrorKind::Usage), _) => Self::Usage,
            (Some(ErrorKind::Stopped | ErrorKind::Log), _)
            | (Some(ErrorKind::Interrupted), None) => Self::Stopped,
            (Some(ErrorKind::Interrupted) | None, Some(SIGINT)) => Self::Sigint,
            (Some(ErrorKind::Interrupted) | None, Some(SIGHUP)) => Self::Sighup,
            (Some(ErrorKind::Interrupted) | None, Some(_)) => Self::Sigterm,
            (None, None) if incomplete => Self::Incomplete,
            (None, None) => Self::Ok,
        }
    }

    /// The status of a run that follows logs, and that a signal has ended: that is how it ends when
    /// all is well.
    pub fn of_following(error: Option<&Error>, incomplete: bool) -> Self {
        let error = error.filter(|error| error.kind() != ErrorKind::Interrupted);
        Self::of_run(error, None, incomplete)
    }

    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::SIGTERM;

    use super::*;

    #[test]
    fn each_outcome_has_its_documented_status() {
        let stopped = Error::stopped("the server is gone");
        let usage = Error::usage("no such option");
        let cases = [
            (None, None, false, 0),
            (Some(&stopped), None, true, 1),
            (Some(&usage), None, false, 2),
            (None, None, true, 3),
            (None, Some(SIGINT), true, 130),
            (None, Some(SIGTERM), false, 143),
            (None, Some(SIGHUP), false, 129),
            (Some(&stopped), Some(SIGINT), false, 1),
        ];
        for (error, signal, incomplete, code) in cases {
            assert_eq!(
                Exit::of_run(error, signal, incomplete).code(),
                code,
                "{error:?} {signal:?} {incomplete}"
            );
        }
    }
}
