//! A file about to be read, as recognising a log looks at it.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::file_id::FileId;
use super::identity::SAMPLE;

/// The unpacked bytes of a log, from any position: what recognising a log reads.
pub trait Unpacked {
    /// Fills the buffer with the unpacked bytes from that position on; how many there were (fewer than the buffer
    /// holds only at the end of the log). A packed file that is cut off is an error.
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file that is not packed.
impl Unpacked for std::fs::File {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, position.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A file about to be read: what [`super::Ledger::recognise`] goes by.
pub struct Probe<'a> {
    pub path: &'a Path,
    pub file: FileId,
    pub packed: bool,
    pub log: &'a mut dyn Unpacked,
}

impl Probe<'_> {
    /// The first KiB.
    pub fn beginning(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; SAMPLE];
        let count = self.log.read_at(0, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Whether there is a byte at that position.
    pub fn reaches(&mut self, position: u64) -> io::Result<bool> {
        Ok(self.log.read_at(position, &mut [0])? == 1)
    }
}
