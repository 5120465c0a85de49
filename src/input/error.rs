//! Why a log could not be read, or not to its end. The import goes on with the next log; the exit status tells
//! (SPEC section 10: a file that is missing, unreadable or cut off).

use std::io;

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
}
