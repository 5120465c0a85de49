//! Archives: files that hold several files, and are no logs themselves.

use std::borrow::Cow;
use std::fmt;

use super::decompress::Compression;

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    Tar,
    Zip,
    SevenZip,
    Rar,
}

/// What archives other than tar begin with. The second one of zip is an empty archive, the third
/// one a part of a split archive.
static MAGIC_NUMBERS: &[(Archive, &[u8])] = &[
    (Archive::Zip, b"PK\x03\x04"),
    (Archive::Zip, b"PK\x05\x06"),
    (Archive::Zip, b"PK\x07\x08"),
    (Archive::SevenZip, b"7z\xbc\xaf\x27\x1c"),
    (Archive::Rar, b"Rar!\x1a\x07"),
];

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Archive::Tar => "tar",
            Archive::Zip => "zip",
            Archive::SevenZip => "7z",
            Archive::Rar => "rar",
        })
    }
}

impl Archive {
    /// The archive that begins with these decompressed bytes, if it is one.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        let mut magic = MAGIC_NUMBERS.iter();
        let found = magic.find(|(_, number)| first.starts_with(number));
        found
            .map(|(archive, _)| *archive)
            .or_else(|| is_tar(first).then_some(Archive::Tar))
    }

    /// The command that imports the logs in this archive. `file` is `None` if it comes through a
    /// pipe.
    pub(super) fn command(self, compression: Option<Compression>, file: Option<&str>) -> String {
        let file = file.map_or(Cow::Borrowed("FILE"), quoted);
        let unpack = match (self, compression) {
            (Archive::Tar, None) => "tar -xOf",
            (Archive::Tar, Some(Compression::Gzip)) => "tar -xOzf",
            (Archive::Tar, Some(Compression::Bzip2)) => "tar -xOjf",
            (Archive::Tar, Some(Compression::Xz)) => "tar -xOJf",
            (Archive::Tar, Some(Compression::Zstd)) => "tar --zstd -xOf",
            (Archive::Zip, _) => "unzip -p",
            (Archive::SevenZip, _) => "7z x -so",
            (Archive::Rar, _) => "unrar p -inul",
        };
        format!("{unpack} {file} | import-logs ... -")
    }
}

/// Whether the first header of a tar archive, of any kind, has the right checksum.
fn is_tar(first: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let Some(header) = first.get(..512) else {
        return false;
    };
    let digits = header[CHECKSUM].trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = &digits[..end.unwrap_or(digits.len())];
    let stored = std::str::from_utf8(digits).map(|text| u32::from_str_radix(text, 8));
    // The checksum itself counts as blanks.
    let blanks = u32::from(b' ') * CHECKSUM.len() as u32;
    let rest = header[..CHECKSUM.start]
        .iter()
        .chain(&header[CHECKSUM.end..]);
    let sum: u32 = rest.map(|byte| u32::from(*byte)).sum();
    header[0] != 0 && stored == Ok(Ok(sum + blanks))
}

/// A file name as a shell takes it.
fn quoted(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "._-/+=:@%,".contains(c);
    match name.chars().all(is_plain) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(format!("'{}'", name.replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a tar archive with one file, with this text at the place of the magic number.
    fn tar(magic: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..10].copy_from_slice(b"access.log");
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(b"00000001000");
        header[257..257 + magic.len()].copy_from_slice(magic);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn archives_are_recognized_by_their_content() {
        for magic in [&b"ustar\x0000"[..], b"ustar  \0", b""] {
            assert_eq!(Archive::of(&tar(magic)), Some(Archive::Tar));
        }
        assert_eq!(Archive::of(b"PK\x03\x04\x14"), Some(Archive::Zip));
        assert_eq!(Archive::of(b"PK\x05\x06\0\0"), Some(Archive::Zip));
        assert_eq!(
            Archive::of(b"7z\xbc\xaf\x27\x1c\0"),
            Some(Archive::SevenZip)
        );
        assert_eq!(Archive::of(b"Rar!\x1a\x07\0"), Some(Archive::Rar));
    }

    #[test]
    fn logs_are_no_archives() {
        let line = br#"192.0.2.4 - - [14/May/2024:06:25:24 +0200] "GET /a.tar HTTP/1.1" 200 5"#;
        let lines = [line.as_slice(), b"\n"].concat().repeat(20);
        let mut damaged = tar(b"ustar\x0000");
        damaged[3] ^= 1;
        for log in [
            &lines[..],
            b"",
            b"PK",
            b"7z a",
            &[0; 1024],
            &[b' '; 1024],
            &damaged,
        ] {
            assert_eq!(Archive::of(log), None);
        }
    }

    #[test]
    fn the_command_unpacks_the_archive() {
        let tar = |compression, file| Archive::Tar.command(compression, file);
        let gzip = Some(Compression::Gzip);
        assert_eq!(
            tar(gzip, Some("logs.tar.gz")),
            "tar -xOzf logs.tar.gz | import-logs ... -"
        );
        assert_eq!(tar(gzip, None), "tar -xOzf FILE | import-logs ... -");
        assert_eq!(
            tar(None, Some("my 'logs'")),
            r"tar -xOf 'my '\''logs'\''' | import-logs ... -"
        );
        assert_eq!(
            Archive::Zip.command(None, Some("logs.zip")),
            "unzip -p logs.zip | import-logs ... -"
        );
    }
}
