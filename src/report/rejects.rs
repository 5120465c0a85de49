//! `--rejects=FILE`: invalid and refused lines with their reasons, to be corrected and imported
//! again.
//!
//! The file is a log of the same format and encoding. Each line follows a comment, `# file:line:
//! reason`, and the W3C header in force, whenever that changes. The first line names the format,
//! which invalid lines could not show.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean;
use crate::error::{Error, Result};
use crate::input::discover::{Source, refuse_log};
use crate::input::encoding::Encoding;
use crate::privacy::AddressMask;
use crate::private_file;
use crate::sync::Mutex;

/// Beginning of the first line. The name of the format follows.
const FIRST_LINE: &str = "# rejected by import-logs, format: ";

/// Follows a truncated line and makes it too long again for the next import.
const TRUNCATED: &str = " [cut]";

/// The format named by the first line of a file of rejects.
pub fn format_of(first_line: &[u8]) -> Option<&str> {
    let name = first_line.strip_prefix(FIRST_LINE.as_bytes())?;
    std::str::from_utf8(name).ok()
}

/// A line as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Without its line break.
    pub line: Vec<u8>,
    /// Only the beginning of the line is kept.
    pub cut: bool,
    /// The `#Fields:` line in force, if any.
    pub header: Option<Arc<[u8]>>,
    /// The format's name.
    pub format: &'static str,
}

/// The file of rejects, shared by all threads.
#[derive(Debug)]
pub struct Rejects {
    path: PathBuf,
    encoding: Encoding,
    writer: Mutex<RejectsWriter>,
}

#[derive(Debug)]
struct RejectsWriter {
    /// Not buffered: a line must be in the file before the ledger records it as done.
    file: File,
    /// The first line is written.
    begun: bool,
    /// The last header written.
    header: Option<Arc<[u8]>>,
}

impl Rejects {
    /// Opens the file for writing in the encoding of the logs. If it is created, only its owner may
    /// read it, as lines hold addresses. `appending` keeps what earlier runs wrote. Fails if the
    /// file is one of the logs, holds something else, or cannot be written.
    pub fn open(
        path: &Path,
        encoding: &Encoding,
        logs: &[Source],
        appending: bool,
    ) -> Result<Self> {
        refuse_log("--rejects", path, logs)?;
        let wrong = |why: String| Error::usage(format!("--rejects={}: {why}", path.display()));
        let cannot = |error: io::Error| wrong(format!("cannot be written: {error}"));
        let file = private_file::append(path).map_err(cannot)?;
        let mut begun = false;
        if file
            .metadata()
            .is_ok_and(|data| data.is_file() && data.len() > 0)
        {
            begun = match identify(path, encoding).map_err(cannot)? {
                RejectsFile::Other => {
                    return Err(wrong(
                        "it holds something else, which would be lost; choose another file or remove this one".to_owned(),
                    ));
                }
                RejectsFile::Rejects if appending => true,
                RejectsFile::Rejects | RejectsFile::Incomplete => {
                    file.set_len(0).map_err(cannot)?;
                    false
                }
            };
        }
        Ok(Self {
            path: path.to_owned(),
            encoding: encoding.clone(),
            writer: Mutex::new(RejectsWriter {
                file,
                begun,
                header: None,
            }),
        })
    }

    /// Masks the addresses in a line, which is in the encoding of the file.
    pub fn masked<'l>(&self, line: &'l [u8], mask: AddressMask) -> Cow<'l, [u8]> {
        match self.encoding.unit() {
            1 => mask.mask_text(line),
            _ => mask.mask_utf16(line, |text| self.encoding.encode(text).into_owned()),
        }
    }

    /// Appends a line. Fails if it cannot be written; the import must stop then, or the line is
    /// lost.
    pub fn add(&self, log: &str, number: u64, reason: &str, original: &Original) -> Result<()> {
        let mut writer = self.writer.lock();
        let RejectsWriter {
            file,
            begun,
            header,
        } = &mut *writer;
        let encoding = &self.encoding;
        let mut text = Vec::new();
        if !*begun {
            text.extend_from_slice(encoding.bom());
            text.extend_from_slice(&encoding.encode(&format!("{FIRST_LINE}{}\n", original.format)));
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
        // Half a UTF-16 unit, at the end of a truncated log, would shift all that follows.
        let half = original.line.len() % encoding.unit();
        text.extend_from_slice(&original.line[..original.line.len() - half]);
        let more = [
            (half > 0, "\u{FFFD}"),
            (original.cut, TRUNCATED),
            (true, "\n"),
        ];
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

/// What an existing file contains.
enum RejectsFile {
    Rejects,
    /// An incomplete first line, after a full disk or a power failure.
    Incomplete,
    Other,
}

fn identify(path: &Path, encoding: &Encoding) -> io::Result<RejectsFile> {
    let marks = [
        [encoding.bom(), &encoding.encode(FIRST_LINE)].concat(),
        FIRST_LINE.as_bytes().to_vec(),
    ];
    let longest = marks.iter().map(Vec::len).max().unwrap_or_default();
    let mut begin = Vec::new();
    File::open(path)?
        .take(longest as u64)
        .read_to_end(&mut begin)?;
    let is = |fits: &dyn Fn(&Vec<u8>) -> bool| marks.iter().any(fits);
    Ok(if is(&|mark| begin.starts_with(mark)) {
        RejectsFile::Rejects
    } else if is(&|mark| mark.starts_with(&begin)) {
        RejectsFile::Incomplete
    } else {
        RejectsFile::Other
    })
}

/// Writes all of the text or nothing: half a line would spoil the next one.
fn append(file: &mut File, text: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.write_all(text).inspect_err(|_| {
        // Fails for anything but a regular file, which has no length to restore.
        let _ = file.set_len(length);
    })
}
