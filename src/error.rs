//! The one error type: what went wrong, in words for the user, and which exit status it means.

use thiserror::Error;

/// Why an import could not go on. The text says what, where and what to do; it never holds the token.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

/// Decides the exit status (SPEC section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wrong use: an option that is none, a value that cannot be read. Exit status 2.
    Usage,
    /// The import stopped: the server, the disk or a log would not do. Exit status 1.
    Stopped,
    /// This log does not suit the options; the others may. Exit status 1, unless the others are imported all the same.
    Log,
    /// The program was told to stop while it waited for something. Whoever told it knows: the exit status is that of
    /// the signal.
    Interrupted,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Of [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            message: message.into(),
        }
    }

    /// Of [`Kind::Stopped`].
    pub fn stopped(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Stopped,
            message: message.into(),
        }
    }

    /// Of [`Kind::Log`].
    pub fn of_log(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Log,
            message: message.into(),
        }
    }

    /// What is wrong in that line of a log.
    pub fn at_line(self, log: &str, number: u64) -> Self {
        Self::of_log(format!("{log}:{number}: {self}"))
    }

    /// Of [`Kind::Interrupted`].
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Interrupted,
            message: message.into(),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }
}
