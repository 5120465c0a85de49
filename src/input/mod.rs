//! Input: from names on the command line to lines.
//!
//! [`discover`] turns names into sources. A thread in [`reader`] reads a source in blocks, through
//! [`decompress`]. [`lines`] splits the blocks into lines, each with its number and its position in
//! decompressed bytes, and [`encoding`] converts a line to UTF-8. [`envelope`] recognizes what
//! Docker or syslog put around each line, and [`unwrap`] removes it. [`archive`] recognizes
//! archives, which are refused. [`head`] reads only the first lines of a file, and [`small_file`]
//! files that are no logs. [`regular_file`] opens files that must not block. [`watch`] notices when
//! logs change. [`bucket`] lists and reads objects in buckets.

pub mod archive;
pub mod bucket;
pub mod buffered;
pub mod decompress;
pub mod discover;
pub mod encoding;
pub mod envelope;
pub mod head;
pub mod line_ends;
pub mod lines;
pub mod pattern;
pub mod reader;
pub mod regular_file;
pub mod small_file;
pub mod unwrap;
pub mod watch;

use std::io::{self, ErrorKind};
use std::time::Duration;

use thiserror::Error;

use archive::Archive;

/// Why a log could not be read, or not to its end. The import continues with the next log and exits
/// with status 3.
#[derive(Debug, Error)]
pub enum InputError {
    /// The log could not be opened.
    #[error("{log}: cannot be read: {source}")]
    Open { log: String, source: io::Error },

    /// Reading failed after `position`. All complete lines before it were returned.
    #[error("{log}: reading stopped at byte {position} (decompressed): {source}")]
    Read {
        log: String,
        /// In decompressed bytes.
        position: u64,
        source: io::Error,
    },

    /// The copy of a pipe could not be written. The source has the whole message.
    #[error("{log}: reading stopped: {source}")]
    NotCopied { log: String, source: io::Error },

    /// A named pipe has no writer.
    #[error(
        "{log}: no program opened this pipe for writing within {} s; --pipe-wait sets how long to \
         wait for one",
        waited.as_secs_f64()
    )]
    NoWriter { log: String, waited: Duration },

    /// The file does not contain lines.
    #[error("{log}: not a log: it begins with binary data that is not gzip, bzip2, zstd or xz")]
    Binary { log: String },

    /// The file is an archive of files.
    #[error("{log}: a {archive} archive, not a log; import the logs in it with: {command}")]
    Archive {
        log: String,
        archive: Archive,
        command: String,
    },
}

impl InputError {
    /// Whether reading the same bytes again will fail in the same way.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Binary { .. } | Self::Archive { .. })
            || self.is_truncated()
            || self.is(ErrorKind::InvalidData)
    }

    /// Whether compressed data is truncated.
    pub fn is_truncated(&self) -> bool {
        self.is(ErrorKind::UnexpectedEof)
    }

    /// Whether the file was truncated while it was read, so that it is another log.
    pub fn is_replaced(&self) -> bool {
        matches!(self, Self::Read { source, .. } if reader::is_replaced(source))
    }

    /// The message, with advice that applies to files but not to pipes.
    pub fn of_file(&self) -> String {
        match self.is_truncated() {
            true => format!("{self}; fetch the file again or wait until it is complete"),
            false => self.to_string(),
        }
    }

    fn is(&self, kind: ErrorKind) -> bool {
        matches!(self, Self::Open { source, .. } | Self::Read { source, .. } if source.kind() == kind)
    }
}
