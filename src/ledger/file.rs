//! A log file, opened to be recognised.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::file_id::FileId;
use super::probe::{Probe, Unpacked};
use crate::input::unpack::Unpack;

/// Gives a file's unpacked bytes from any position.
pub struct LogFile {
    path: PathBuf,
    id: FileId,
    bytes: Bytes,
}

enum Bytes {
    Plain(File),
    Packed(Packed),
}

/// A packed file has no positions: to go back is to begin again.
struct Packed {
    path: PathBuf,
    log: Unpack<File>,
    position: u64,
    /// Where it is cut off it ends, for now.
    may_grow: bool,
}

impl LogFile {
    /// `None`: it is no plain file (a pipe, a device), which cannot be read twice.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let log = Unpack::new(File::open(path)?)?;
        let bytes = if log.is_packed() {
            Bytes::Packed(Packed {
                path: path.to_owned(),
                log,
                position: 0,
                may_grow: false,
            })
        } else {
            Bytes::Plain(File::open(path)?)
        };
        Ok(Some(Self {
            path: path.to_owned(),
            id: FileId::from(&metadata),
            bytes,
        }))
    }

    /// Packed data that is cut off is no fault in it: the rest will follow.
    pub fn growing(mut self) -> Self {
        if let Bytes::Packed(packed) = &mut self.bytes {
            packed.may_grow = true;
        }
        self
    }

    pub fn is_packed(&self) -> bool {
        matches!(self.bytes, Bytes::Packed(_))
    }

    /// What the ledger goes by.
    pub fn probe(&mut self) -> Probe<'_> {
        let packed = self.is_packed();
        let log: &mut dyn Unpacked = match &mut self.bytes {
            Bytes::Plain(file) => file,
            Bytes::Packed(packed) => packed,
        };
        Probe {
            path: &self.path,
            file: self.id,
            packed,
            log,
        }
    }
}

impl Unpacked for Packed {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if position < self.position {
            self.log = Unpack::new(File::open(&self.path)?)?;
            self.position = 0;
        }
        let mut skipped = vec![0; 64 * 1024];
        while self.position < position {
            let room = skipped
                .len()
                .min(usize::try_from(position - self.position).unwrap_or(usize::MAX));
            match self.read(&mut skipped[..room])? {
                0 => return Ok(0),
                read => self.position += read as u64,
            }
        }
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                read => {
                    filled += read;
                    self.position += read as u64;
                }
            }
        }
        Ok(filled)
    }
}

impl Packed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.log.read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.may_grow => {
                    return Ok(0);
                }
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_packed_file_is_read_from_any_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.gz");
        let text: Vec<u8> = (0..200_000u32)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let mut gz = flate2::write::GzEncoder::new(
            File::create(&path).unwrap(),
            flate2::Compression::fast(),
        );
        gz.write_all(&text).unwrap();
        gz.finish().unwrap();
        let mut file = LogFile::open(&path).unwrap().unwrap();
        assert!(file.is_packed());
        let end = text.len();
        for position in [0, 900_000, 5, end - 3, end, end + 10, 70_000] {
            let mut buffer = [0; 10];
            let read = file
                .probe()
                .log
                .read_at(position as u64, &mut buffer)
                .unwrap();
            let expected = text
                .get(position..(position + 10).min(end))
                .unwrap_or_default();
            assert_eq!(&buffer[..read], expected, "at {position}");
        }
    }
}
