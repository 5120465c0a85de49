//! Files that an option names and that are read as a whole: patterns, defaults, certificates.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No such file is larger, but a device or a log named by mistake may be.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a file as bytes.
///
/// # Errors
///
/// The file cannot be read, or has more than 16 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, MAX_BYTES)
}

/// Reads a text file, without the byte order mark that Windows editors write.
///
/// # Errors
///
/// The file cannot be read, has more than 16 MiB, or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::from_utf8(read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

fn read_up_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    match read as u64 > max {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {} MiB", max >> 20),
        )),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 16 MiB");
    }

    #[test]
    fn a_file_may_be_as_large_as_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "\u{feff}abc").unwrap();
        assert_eq!(read_up_to(&path, 6).unwrap().len(), 6);
        assert!(read_up_to(&path, 5).is_err());
        assert_eq!(read_text(&path).unwrap(), "abc");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path).unwrap_err().to_string(), "it is not UTF-8");
    }
}
