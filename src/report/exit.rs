//! The exit status (guide/options.md, "Exit status").

use std::process::ExitCode;

use signal_hook::consts::{SIGHUP, SIGINT};

use crate::error::{Error, ErrorKind};

/// Exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success, even if lines were invalid, filtered or matched no site.
    Ok = 0,
    /// The import stopped.
    Stopped = 1,
    /// Invalid usage.
    Usage = 2,
    /// Finished, but hits are missing, refused, lost, unconfirmed or perhaps sent twice.
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
