//! Reads the first lines of a file, without a thread and without waiting.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

use super::decompress::Decompressor;
use super::encoding::{Encoding, LineEnd};
use super::regular_file::open_regular;

/// Decompressed bytes that are read.
const HEAD_BYTES: usize = 64 * 1024;

/// The first lines of a file.
pub struct Head {
    bytes: Vec<u8>,
    encoding: Encoding,
    is_whole_file: bool,
}

impl Head {
    /// Reads the beginning of a regular file, or what comes after the hole at its beginning. Of a
    /// damaged file, it reads what there is.
    pub fn read(path: &Path, encoding: &Encoding) -> io::Result<Self> {
        let mut head = Self::read_from(open_regular(path)?, encoding)?;
        if !head.is_whole_file && head.bytes.iter().all(|byte| *byte == 0) {
            let file = open_regular(path)?;
            if seek(&file, SeekFrom::Data(0)).is_ok_and(|data| data > 0) {
                head = Self::read_from(file, encoding)?;
            }
        }
        Ok(head)
    }

    fn read_from(file: File, encoding: &Encoding) -> io::Result<Self> {
        let mut reader = Decompressor::new(file)?;
        let mut bytes = vec![0; HEAD_BYTES];
        let mut length = 0;
        let is_whole_file = loop {
            match reader.read(&mut bytes[length..]) {
                Ok(0) => break length < bytes.len(),
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        bytes.truncate(length);
        Ok(Self {
            encoding: encoding.of_log(&bytes),
            bytes,
            is_whole_file,
        })
    }

    /// The complete lines, decoded and without their line ends.
    pub fn lines(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut rest = self.encoding.without_bom(&self.bytes);
        let mut decoded = Vec::new();
        std::iter::from_fn(move || {
            let unit = self.encoding.unit();
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            rest = &rest[zeros - zeros % unit..];
            let last = (self.is_whole_file && !rest.is_empty()).then_some(LineEnd {
                start: rest.len(),
                length: 0,
            });
            let end = self.encoding.line_end(rest).or(last)?;
            let line = &rest[..end.start];
            rest = &rest[end.start + end.length..];
            Some(self.encoding.decode(line, &mut decoded).to_vec())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use crate::input::decompress::tests::pack_all;

    fn lines(data: &[u8]) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(data).unwrap();
        of_file(file.path())
    }

    fn of_file(path: &Path) -> Vec<String> {
        let head = Head::read(path, &Encoding::default()).unwrap();
        let lines = head.lines().map(|line| String::from_utf8(line).unwrap());
        lines.collect()
    }

    #[test]
    fn the_first_lines_are_those_of_the_log() {
        assert_eq!(
            lines(b"one\ntwo\r\nthree\rlast"),
            ["one", "two", "three", "last"]
        );
        assert_eq!(lines(b"\0\0\0one\n\0two\n"), ["one", "two"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"\xef\xbb\xbfone\n"), ["one"]);
        assert_eq!(lines(b"\xfe\xff\0a\0\r\0\n\0b"), ["a", "b"]);
        for packed in pack_all(b"one\ntwo\n") {
            assert_eq!(lines(&packed), ["one", "two"]);
        }
        let [gzip, ..] = pack_all(&b"a line\n".repeat(20_000));
        let cut = lines(&gzip[..gzip.len() - 9]);
        assert!(cut.len() > 1000 && cut.iter().all(|line| line == "a line"));
    }

    #[test]
    fn of_a_long_file_only_complete_lines_of_its_beginning_are_read() {
        let read = lines(&b"a line\n".repeat(100_000));
        assert_eq!(read.len(), HEAD_BYTES / 7);
        assert!(read.iter().all(|line| line == "a line"));
        assert_eq!(lines(&vec![b'x'; HEAD_BYTES + 1]), [""; 0]);
    }

    #[test]
    fn the_hole_at_the_beginning_is_passed_over() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.seek(io::SeekFrom::Start(1 << 30)).unwrap();
        file.write_all(b"one\n").unwrap();
        assert_eq!(of_file(file.path()), ["one"]);
    }
}
