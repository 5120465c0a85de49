//! `--rejects=FILE`: each invalid or refused line as it was, with its reason, to be mended and imported again.
//!
//! Above a line stands a comment, `# file:line: reason`, and above that, wherever it changed, the W3C header in
//! force: so the file is a log of the same format and encoding, and imported unmended it gives the same rejects. Its
//! first line names that format, since lines that do not have it cannot tell it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::input::discover::{Source, refuse_log};
use crate::input::encoding::Encoding;
use crate::report::clean;

/// What the first line of such a file begins with; the name of the format follows.
const MARK: &str = "# rejected by import-logs, format: ";

/// Stands behind a line that was cut: with it the line is too long again for whoever reads it.
const CUT: &str = " [cut]";

/// The name of the format that the lines of a log should have, if it is a file of rejects.
pub fn format_of(first_line: &[u8]) -> Option<&str> {
    let name = first_line.strip_prefix(MARK.as_bytes())?;
    std::str::from_utf8(name).ok()
}

/// A line as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Without line end.
    pub line: Vec<u8>,
    /// It is only the line's beginning.
    pub cut: bool,
    /// The `#Fields:` line in force, where the format has one.
    pub header: Option<Arc<[u8]>>,
    /// The format's name.
    pub format: &'static str,
}

/// The file; threads share it.
#[derive(Debug)]
pub struct Rejects {
    path: PathBuf,
    encoding: Encoding,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    /// Whether something has been written.
    begun: bool,
    /// The header that was written last.
    header: Option<Arc<[u8]>>,
}

impl Rejects {
    /// Begins the file anew: what stands in it is of this run, in the encoding of the logs. An error: it is one of
    /// these logs, or cannot be written.
    pub fn create(path: &Path, encoding: &Encoding, logs: &[Source]) -> Result<Self> {
        refuse_log("--rejects", path, logs)?;
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
            encoding: encoding.clone(),
            open: Mutex::new(Open {
                file: BufWriter::new(file),
                begun: false,
                header: None,
            }),
        })
    }

    /// Adds a line. An error: the disk will not take it; the import stops, for the line would be nowhere.
    pub fn add(&self, log: &str, number: u64, reason: &str, original: &Original) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open {
            file,
            begun,
            header,
        } = &mut *open;
        let encoding = &self.encoding;
        let mut write = || {
            if !*begun {
                file.write_all(encoding.bom())?;
                file.write_all(&encoding.encode(&format!("{MARK}{}\n", original.format)))?;
                *begun = true;
            }
            if original.header.is_some() && *header != original.header {
                header.clone_from(&original.header);
                file.write_all(header.as_deref().unwrap_or_default())?;
                file.write_all(&encoding.encode("\n"))?;
            }
            let cut = match original.cut {
                true => format!("; only its first {} bytes are kept", original.line.len()),
                false => String::new(),
            };
            let log = clean(log.as_bytes());
            file.write_all(&encoding.encode(&format!("# {log}:{number}: {reason}{cut}\n")))?;
            // Half a unit, at the end of a log that was cut off, would put all that follows in the wrong place.
            let half = original.line.len() % encoding.unit();
            file.write_all(&original.line[..original.line.len() - half])?;
            let more = [(half > 0, "\u{FFFD}"), (original.cut, CUT), (true, "\n")];
            let more = more.into_iter().filter(|(is_there, _)| *is_there);
            more.into_iter()
                .try_for_each(|(_, more)| file.write_all(&encoding.encode(more)))
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
