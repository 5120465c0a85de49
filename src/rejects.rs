//! `--rejects=FILE`: each invalid or refused line as it was, with its reason, to be mended and imported again.
//!
//! Above a line stands a comment, `# file:line: reason`, and above that, wherever it changed, the W3C header in
//! force: so the file is a log of the same format, and imported unmended it gives the same rejects.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::report::clean;

/// A line as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Without line end.
    pub line: Vec<u8>,
    /// The `#Fields:` line in force, where the format has one.
    pub header: Option<Arc<[u8]>>,
}

/// The file; threads share it.
#[derive(Debug)]
pub struct Rejects {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    /// The header that was written last.
    header: Option<Arc<[u8]>>,
}

impl Rejects {
    /// Begins the file anew: what stands in it is of this run. An error: it cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|error| {
                Error::usage(format!(
                    "--rejects={}: cannot be written: {error}",
                    path.display()
                ))
            })?;
        Ok(Self {
            path: path.to_owned(),
            open: Mutex::new(Open {
                file: BufWriter::new(file),
                header: None,
            }),
        })
    }

    /// Adds a line. An error: the disk will not take it; the import stops, for the line would be nowhere.
    pub fn add(&self, log: &str, number: u64, reason: &str, original: &Original) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || {
            if let Some(header) = original
                .header
                .as_ref()
                .filter(|header| open.header.as_ref() != Some(header))
            {
                open.file.write_all(header)?;
                open.file.write_all(b"\n")?;
                open.header = Some(Arc::clone(header));
            }
            writeln!(open.file, "# {}:{number}: {reason}", clean(log.as_bytes()))?;
            open.file.write_all(&original.line)?;
            open.file.write_all(b"\n")
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Writes what is still in memory.
    pub fn close(&self) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.file.flush().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::stopped(format!(
            "--rejects={}: cannot be written: {error}",
            self.path.display()
        ))
    }
}
