//! Why a log could not be read, or not to its end. The import goes on with the next log; the exit status tells
//! (SPEC section 10: a file that is missing, unreadable or cut off).

use std::io::{self, ErrorKind};

use thiserror::Error;

/// The text names the log as the user knows it.
#[derive(Debug, Error)]
pub enum InputError {
    /// Nothing of the log was read.
    #[error("{log}: cannot be read: {source}")]
    Open { log: String, source: io::Error },

    /// The log was read only so far; its lines before that were handed over. A line that the fault cut through
    /// was not.
    #[error("{log}: reading stopped at byte {position} (unpacked): {source}")]
    Read {
        log: String,
        /// Unpacked bytes from the log's beginning.
        position: u64,
        source: io::Error,
    },

    /// Nothing of it is a line.
    #[error(
        "{log}: this is no log: its beginning is binary, and no packing that is known (gzip, bzip2, zstd, xz)"
    )]
    Binary { log: String },
}

impl InputError {
    /// Whether it lies in the bytes, which will be no better when they are read again.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Binary { .. }) || self.is_cut_off() || self.is(ErrorKind::InvalidData)
    }

    /// Whether packed data ends too early.
    pub fn is_cut_off(&self) -> bool {
        self.is(ErrorKind::UnexpectedEof)
    }

    /// The text, with what to do about a log that is a file.
    pub fn of_file(&self) -> String {
        match self.is_cut_off() {
            true => format!("{self}; fetch the file again, or let its writer finish"),
            false => self.to_string(),
        }
    }

    fn is(&self, kind: ErrorKind) -> bool {
        matches!(self, Self::Open { source, .. } | Self::Read { source, .. } if source.kind() == kind)
    }
}
