//! The error type of the crate: a message for the user, and the kind that decides the exit status.

use thiserror::Error;

/// Why a run or a log failed. The message says what failed, where, and what to do. It never holds
/// a secret.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Decides the exit status (guide/options.md, "Exit status").
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
