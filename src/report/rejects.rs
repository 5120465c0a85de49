//! `--rejects=FILE`: each invalid or refused line as it was, with its reason, to be mended and imported again.
//!
//! Above a line stands a comment, `# file:line: reason`, and above that, wherever it changed, the W3C header in
//! force: so the file is a log of the same format and encoding, and imported unmended it gives the same rejects. Its
//! first line names that format, since lines that do not have it cannot tell it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
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
    /// Nothing waits in memory: a line that is written is safe from whatever ends the program, and only then does the
    /// ledger hear that it is done with.
    file: File,
    /// Its first line stands.
    begun: bool,
    /// The header that was written last.
    header: Option<Arc<[u8]>>,
}

impl Rejects {
    /// The file, in the encoding of the logs. `going_on`: what earlier runs wrote stays, since they are done with those
    /// lines and nobody reads them again; otherwise it is begun anew. An error: it is one of these logs, it holds
    /// something else, or it cannot be written.
    pub fn open(path: &Path, encoding: &Encoding, logs: &[Source], going_on: bool) -> Result<Self> {
        refuse_log("--rejects", path, logs)?;
        let wrong = |why: String| Error::usage(format!("--rejects={}: {why}", path.display()));
        let cannot = |error: io::Error| wrong(format!("cannot be written: {error}"));
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(cannot)?;
        let mut begun = false;
        if file
            .metadata()
            .is_ok_and(|data| data.is_file() && data.len() > 0)
        {
            begun = match head(path, encoding).map_err(cannot)? {
                Head::Other => {
                    return Err(wrong(
                        "it holds something else, which would be lost; name another file, or remove this one".to_owned(),
                    ));
                }
                Head::Whole if going_on => true,
                Head::Whole | Head::Part => {
                    file.set_len(0).map_err(cannot)?;
                    false
                }
            };
        }
        Ok(Self {
            path: path.to_owned(),
            encoding: encoding.clone(),
            open: Mutex::new(Open {
                file,
                begun,
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
        let mut text = Vec::new();
        if !*begun {
            text.extend_from_slice(encoding.bom());
            text.extend_from_slice(&encoding.encode(&format!("{MARK}{}\n", original.format)));
        }
        if let Some(now) = original
            .header
            .as_deref()
            .filter(|_| *header != original.header)
        {
            text.extend_from_slice(now);
            text.extend_from_slice(&encoding.encode("\n"));
        }
        let cut = match original.cut {
            true => format!("; only its first {} bytes are kept", original.line.len()),
            false => String::new(),
        };
        let log = clean(log.as_bytes());
        text.extend_from_slice(&encoding.encode(&format!("# {log}:{number}: {reason}{cut}\n")));
        // Half a unit, at the end of a log that was cut off, would put all that follows in the wrong place.
        let half = original.line.len() % encoding.unit();
        text.extend_from_slice(&original.line[..original.line.len() - half]);
        let more = [(half > 0, "\u{FFFD}"), (original.cut, CUT), (true, "\n")];
        let more = more.into_iter().filter(|(is_there, _)| *is_there);
        more.for_each(|(_, more)| text.extend_from_slice(&encoding.encode(more)));
        append(file, &text).map_err(|error| {
            Error::stopped(format!(
                "--rejects={}: cannot be written: {error}",
                self.path.display()
            ))
        })?;
        *begun = true;
        if original.header.is_some() {
            header.clone_from(&original.header);
        }
        Ok(())
    }
}

/// How a file begins.
enum Head {
    /// As one of ours.
    Whole,
    /// So far as one of ours: the disk was full, or the power went.
    Part,
    Other,
}

fn head(path: &Path, encoding: &Encoding) -> io::Result<Head> {
    let marks = [
        [encoding.bom(), &encoding.encode(MARK)].concat(),
        MARK.as_bytes().to_vec(),
    ];
    let longest = marks.iter().map(Vec::len).max().unwrap_or_default();
    let mut begin = Vec::new();
    File::open(path)?
        .take(longest as u64)
        .read_to_end(&mut begin)?;
    let is = |fits: &dyn Fn(&Vec<u8>) -> bool| marks.iter().any(fits);
    Ok(if is(&|mark| begin.starts_with(mark)) {
        Head::Whole
    } else if is(&|mark| mark.starts_with(&begin)) {
        Head::Part
    } else {
        Head::Other
    })
}

/// All of it, or nothing: half a line would spoil the next one.
fn append(file: &mut File, text: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.write_all(text).inspect_err(|_| {
        // Only a plain file has a length to go back to.
        let _ = file.set_len(length);
    })
}
