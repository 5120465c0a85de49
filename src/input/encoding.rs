//! `--encoding`: Python's names for encodings, and conversion of lines to UTF-8.
//!
//! Bytes that are invalid in the encoding stay, so that they can be percent-encoded in URLs and
//! become U+FFFD elsewhere.
//!
//! A byte order mark of UTF-16 wins over the name. Lines end at `\n`, `\r\n` and `\r`, as in
//! Python's text mode.

use std::borrow::Cow;
use std::sync::Arc;

use encoding_rs::{self as tables, DecoderResult};

use crate::error::{Error, Result};

/// Character encoding of a log. The default is UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding(CodeTable);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum CodeTable {
    /// UTF-8 and ASCII, which need no decoding.
    #[default]
    Utf8,
    /// `None` until the byte order mark is seen.
    Utf16(Option<Endian>),
    /// The characters of the bytes 0x80 to 0xff. Lower bytes are ASCII.
    SingleByte(Arc<[Option<char>]>),
    MultiByte(&'static tables::Encoding),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endian {
    Little,
    Big,
}

/// Where a line ends in a slice, and the bytes of its line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineEnd {
    pub(super) start: usize,
    pub(super) length: usize,
}

/// Whether a log that begins with these bytes may have a byte order mark of UTF-16: it has one, or
/// its only byte begins one.
pub fn may_have_utf16_bom(first: &[u8]) -> bool {
    matches!(first, [0xff | 0xfe] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

impl Encoding {
    /// Finds an encoding, ignoring case and punctuation. Fails for an unknown name.
    pub fn by_name(name: &str) -> Result<Self> {
        let wanted = without_punctuation(name);
        NAMES
            .iter()
            .find(|(own, _, others)| {
                without_punctuation(own) == wanted || others.contains(&wanted.as_str())
            })
            .map(|(_, entry, _)| Self(entry.table()))
            .ok_or_else(|| {
                let known: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
                Error::usage(format!(
                    "--encoding={name}: unknown encoding; use one of {}",
                    known.join(", ")
                ))
            })
    }

    /// Bytes of a code unit. A line break is one unit, at a multiple of this from the start of the
    /// log.
    pub fn unit(&self) -> usize {
        match self.0 {
            CodeTable::Utf16(_) => 2,
            _ => 1,
        }
    }

    /// Whether lines need no decoding.
    pub(super) fn is_utf8(&self) -> bool {
        self.0 == CodeTable::Utf8
    }

    /// The byte order mark that a new log in this encoding needs, if any.
    pub fn bom(&self) -> &'static [u8] {
        if self.needs_beginning() {
            b"\xff\xfe"
        } else {
            b""
        }
    }

    /// Encodes a text for a file in the encoding of the log. Unchanged if the encoding extends
    /// ASCII.
    pub fn encode<'a>(&self, text: &'a str) -> Cow<'a, [u8]> {
        let big = match self.0 {
            CodeTable::Utf16(endian) => endian == Some(Endian::Big),
            _ => return Cow::Borrowed(text.as_bytes()),
        };
        let units = text.encode_utf16();
        let bytes = units.flat_map(|unit| match big {
            true => unit.to_be_bytes(),
            false => unit.to_le_bytes(),
        });
        Cow::Owned(bytes.collect())
    }

    /// Whether the byte order depends on the first bytes of the log.
    pub(super) fn needs_beginning(&self) -> bool {
        self.0 == CodeTable::Utf16(None)
    }

    /// The encoding of a log that begins with these bytes. A byte order mark of UTF-16 decides
    /// against every other encoding, since text in no other begins with it. `utf-16` without a mark
    /// is little-endian.
    pub(super) fn of_log(&self, first: &[u8]) -> Self {
        let marked = match first {
            [0xfe, 0xff, ..] => Some(Endian::Big),
            [0xff, 0xfe, ..] => Some(Endian::Little),
            _ => None,
        };
        match (&self.0, marked) {
            (CodeTable::Utf16(Some(_)), _) => self.clone(),
            (_, Some(_)) => Self(CodeTable::Utf16(marked)),
            (CodeTable::Utf16(None), None) => Self(CodeTable::Utf16(Some(Endian::Little))),
            (_, None) => self.clone(),
        }
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.0 == CodeTable::Utf16(Some(Endian::Big))
    }

    /// The first line end: `\n`, `\r\n` or `\r`. A `\r` at the end of the slice does not count,
    /// because `\n` may follow. The slice begins with a whole unit.
    #[inline]
    pub(super) fn line_end(&self, bytes: &[u8]) -> Option<LineEnd> {
        match self.0 {
            CodeTable::Utf16(_) => self.line_end_utf16(bytes),
            _ => line_end_in_ascii(bytes),
        }
    }

    /// `\n` in this encoding.
    pub(super) fn line_feed(&self) -> &'static [u8] {
        match self.0 {
            CodeTable::Utf16(Some(Endian::Big)) => b"\0\n",
            CodeTable::Utf16(_) => b"\n\0",
            _ => b"\n",
        }
    }

    /// `\r` in this encoding.
    pub(super) fn carriage_return(&self) -> &'static [u8] {
        match self.0 {
            CodeTable::Utf16(Some(Endian::Big)) => b"\0\r",
            CodeTable::Utf16(_) => b"\r\0",
            _ => b"\r",
        }
    }

    /// The text before a `\r` at the end.
    pub(super) fn strip_cr<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let is_whole = bytes.len().is_multiple_of(self.unit());
        is_whole.then(|| bytes.strip_suffix(self.carriage_return()))?
    }

    fn line_end_utf16(&self, bytes: &[u8]) -> Option<LineEnd> {
        let offset = usize::from(self.is_big_endian());
        let mut found = memchr::memchr2_iter(b'\n', b'\r', bytes)
            .filter_map(|at| at.checked_sub(offset).filter(|start| start % 2 == 0));
        found.find_map(|start| {
            let (unit, after) = bytes[start..].split_at_checked(2)?;
            if unit == self.line_feed() {
                return Some(LineEnd { start, length: 2 });
            }
            let length = match after.starts_with(self.line_feed()) {
                true => 4,
                false => 2,
            };
            let is_end = unit == self.carriage_return() && !after.is_empty();
            is_end.then_some(LineEnd { start, length })
        })
    }

    /// The first line of a log without the byte order mark.
    pub(super) fn without_bom<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let bom: &[u8] = match self.0 {
            CodeTable::Utf16(Some(Endian::Big)) => b"\xfe\xff",
            CodeTable::Utf16(_) => b"\xff\xfe",
            // Editors write this mark in UTF-8. No log in another encoding begins with it.
            _ => b"\xef\xbb\xbf",
        };
        line.strip_prefix(bom).unwrap_or(line)
    }

    /// Converts a line to UTF-8, in `buffer` if any byte has to change. Invalid bytes stay.
    #[inline]
    pub(super) fn decode<'a>(&self, line: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.0 {
            CodeTable::Utf8 => return line,
            CodeTable::SingleByte(_) if line.is_ascii() => return line,
            // All but ISO-2022-JP extend ASCII.
            CodeTable::MultiByte(table) if table.is_ascii_compatible() && line.is_ascii() => {
                return line;
            }
            CodeTable::Utf16(endian) => decode_utf16(line, *endian == Some(Endian::Big), buffer),
            CodeTable::SingleByte(upper) => decode_single(line, upper, buffer),
            CodeTable::MultiByte(table) => decode_multi(line, table, buffer),
        }
        buffer
    }
}

impl NamedEncoding {
    fn table(self) -> CodeTable {
        match self {
            NamedEncoding::Utf8 => CodeTable::Utf8,
            NamedEncoding::Utf16(endian) => CodeTable::Utf16(endian),
            NamedEncoding::Iso(table) => single_byte(table, |byte, decoded| match byte {
                ..0xa0 => Some(char::from(byte)),
                _ => decoded,
            }),
            NamedEncoding::CodePage(table) => single_byte(table, |_, decoded| {
                decoded.filter(|character| !character.is_control())
            }),
            NamedEncoding::MultiByte(table) => CodeTable::MultiByte(table),
        }
    }
}

fn single_byte(
    table: &'static tables::Encoding,
    rule: impl Fn(u8, Option<char>) -> Option<char>,
) -> CodeTable {
    let decode = |byte: u8| {
        let text = table
            .decode_without_bom_handling_and_without_replacement(&[byte])
            .map(|text| text.chars().next());
        rule(byte, text.flatten())
    };
    CodeTable::SingleByte((0x80..=0xff).map(decode).collect())
}

fn without_punctuation(name: &str) -> String {
    let kept = name.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|character| character.to_ascii_lowercase())
        .collect()
}

#[inline]
fn line_end_in_ascii(bytes: &[u8]) -> Option<LineEnd> {
    let start = memchr::memchr2(b'\n', b'\r', bytes)?;
    let length = match &bytes[start..] {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return None,
        _ => 1,
    };
    Some(LineEnd { start, length })
}

fn decode_single(line: &[u8], upper: &[Option<char>], buffer: &mut Vec<u8>) {
    buffer.clear();
    for &byte in line {
        match upper.get(usize::from(byte).wrapping_sub(0x80)) {
            Some(Some(character)) => push(buffer, *character),
            _ => buffer.push(byte),
        }
    }
}

fn decode_multi(line: &[u8], table: &'static tables::Encoding, buffer: &mut Vec<u8>) {
    let mut decoder = table.new_decoder_without_bom_handling();
    let most = decoder.max_utf8_buffer_length_without_replacement(line.len());
    // Plus the invalid bytes.
    buffer.resize(most.unwrap_or(line.len()).saturating_add(line.len()), 0);
    let (mut read, mut written) = (0, 0);
    loop {
        let (result, more_read, more_written) =
            decoder.decode_to_utf8_without_replacement(&line[read..], &mut buffer[written..], true);
        read += more_read;
        written += more_written;
        match result {
            DecoderResult::InputEmpty => break,
            DecoderResult::OutputFull => buffer.resize(buffer.len() + line.len() + 16, 0),
            DecoderResult::Malformed(bad, after) => {
                let end = read.saturating_sub(usize::from(after));
                let raw = &line[end.saturating_sub(usize::from(bad))..end];
                if buffer.len() - written < raw.len() {
                    buffer.resize(written + raw.len() + line.len(), 0);
                }
                buffer[written..written + raw.len()].copy_from_slice(raw);
                written += raw.len();
            }
        }
    }
    buffer.truncate(written);
}

/// Unpaired surrogates become three bytes each, as in WTF-8. Their own bytes could look like quotes
/// and blanks.
fn decode_utf16(line: &[u8], big: bool, buffer: &mut Vec<u8>) {
    buffer.clear();
    let pairs = line.chunks_exact(2);
    let cut_off = pairs.remainder();
    let units = pairs.map(|pair| {
        let bytes = [pair[0], pair[1]];
        if big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    });
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) => push(buffer, character),
            Err(alone) => {
                let half = alone.unpaired_surrogate();
                let low = |bits: u16| 0x80 | (bits & 0x3f) as u8;
                buffer.extend([0xe0 | (half >> 12) as u8, low(half >> 6), low(half)]);
            }
        }
    }
    buffer.extend(cut_off);
}

fn push(buffer: &mut Vec<u8>, character: char) {
    buffer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// How an encoding in [`NAMES`] is decoded.
#[derive(Clone, Copy)]
enum NamedEncoding {
    Utf8,
    Utf16(Option<Endian>),
    /// A single-byte table in which 0x80 to 0x9f are control characters.
    Iso(&'static encoding_rs::Encoding),
    /// A single-byte table in which control characters are undefined.
    CodePage(&'static encoding_rs::Encoding),
    MultiByte(&'static encoding_rs::Encoding),
}

/// Python's name, the table, and Python's aliases without punctuation. encoding_rs has no tables
/// for ISO 8859-1, -9 and -11, which differ from the Windows code pages only in 0x80 to 0x9f.
#[rustfmt::skip]
static NAMES: &[(&str, NamedEncoding, &[&str])] = &[
    ("utf-8", NamedEncoding::Utf8, &["u8", "utf", "utf8ucs2", "utf8ucs4", "cp65001", "utf8sig"]),
    ("ascii", NamedEncoding::Utf8, &["646", "ansix341968", "ansix341986", "cp367", "csascii", "ibm367", "iso646us", "iso646irv1991", "isoir6", "us", "usascii"]),
    ("utf-16", NamedEncoding::Utf16(None), &["u16"]),
    ("utf-16-le", NamedEncoding::Utf16(Some(Endian::Little)), &["unicodelittleunmarked"]),
    ("utf-16-be", NamedEncoding::Utf16(Some(Endian::Big)), &["unicodebigunmarked"]),
    ("latin-1", NamedEncoding::Iso(encoding_rs::WINDOWS_1252), &["8859", "cp819", "csisolatin1", "ibm819", "iso8859", "iso88591", "iso885911987", "isoir100", "l1", "latin"]),
    ("iso8859-2", NamedEncoding::Iso(encoding_rs::ISO_8859_2), &["csisolatin2", "iso885921987", "isoir101", "l2", "latin2"]),
    ("iso8859-3", NamedEncoding::Iso(encoding_rs::ISO_8859_3), &["csisolatin3", "iso885931988", "isoir109", "l3", "latin3"]),
    ("iso8859-4", NamedEncoding::Iso(encoding_rs::ISO_8859_4), &["csisolatin4", "iso885941988", "isoir110", "l4", "latin4"]),
    ("iso8859-5", NamedEncoding::Iso(encoding_rs::ISO_8859_5), &["csisolatincyrillic", "cyrillic", "iso885951988", "isoir144"]),
    ("iso8859-6", NamedEncoding::Iso(encoding_rs::ISO_8859_6), &["arabic", "asmo708", "csisolatinarabic", "ecma114", "iso885961987", "isoir127"]),
    ("iso8859-7", NamedEncoding::Iso(encoding_rs::ISO_8859_7), &["csisolatingreek", "ecma118", "elot928", "greek", "greek8", "iso885971987", "isoir126"]),
    ("iso8859-8", NamedEncoding::Iso(encoding_rs::ISO_8859_8), &["csisolatinhebrew", "hebrew", "iso885981988", "iso88598e", "iso88598i", "isoir138"]),
    ("iso8859-9", NamedEncoding::Iso(encoding_rs::WINDOWS_1254), &["csisolatin5", "iso885991989", "isoir148", "l5", "latin5"]),
    ("iso8859-10", NamedEncoding::Iso(encoding_rs::ISO_8859_10), &["csisolatin6", "iso8859101992", "isoir157", "l6", "latin6"]),
    ("iso8859-11", NamedEncoding::Iso(encoding_rs::WINDOWS_874), &["iso8859112001", "thai"]),
    ("iso8859-13", NamedEncoding::Iso(encoding_rs::ISO_8859_13), &["l7", "latin7"]),
    ("iso8859-14", NamedEncoding::Iso(encoding_rs::ISO_8859_14), &["iso8859141998", "isoceltic", "isoir199", "l8", "latin8"]),
    ("iso8859-15", NamedEncoding::Iso(encoding_rs::ISO_8859_15), &["l9", "latin9"]),
    ("iso8859-16", NamedEncoding::Iso(encoding_rs::ISO_8859_16), &["iso8859162001", "isoir226", "l10", "latin10"]),
    ("tis-620", NamedEncoding::Iso(encoding_rs::WINDOWS_874), &["isoir166", "tis6200", "tis62025290", "tis62025291"]),
    ("cp866", NamedEncoding::CodePage(encoding_rs::IBM866), &["866", "csibm866", "ibm866"]),
    ("cp874", NamedEncoding::CodePage(encoding_rs::WINDOWS_874), &["874", "windows874"]),
    ("cp1250", NamedEncoding::CodePage(encoding_rs::WINDOWS_1250), &["1250", "windows1250"]),
    ("cp1251", NamedEncoding::CodePage(encoding_rs::WINDOWS_1251), &["1251", "windows1251"]),
    ("cp1252", NamedEncoding::CodePage(encoding_rs::WINDOWS_1252), &["1252", "windows1252"]),
    ("cp1253", NamedEncoding::CodePage(encoding_rs::WINDOWS_1253), &["1253", "windows1253"]),
    ("cp1254", NamedEncoding::CodePage(encoding_rs::WINDOWS_1254), &["1254", "windows1254"]),
    ("cp1255", NamedEncoding::CodePage(encoding_rs::WINDOWS_1255), &["1255", "windows1255"]),
    ("cp1256", NamedEncoding::CodePage(encoding_rs::WINDOWS_1256), &["1256", "windows1256"]),
    ("cp1257", NamedEncoding::CodePage(encoding_rs::WINDOWS_1257), &["1257", "windows1257"]),
    ("cp1258", NamedEncoding::CodePage(encoding_rs::WINDOWS_1258), &["1258", "windows1258"]),
    ("koi8-r", NamedEncoding::CodePage(encoding_rs::KOI8_R), &["cskoi8r"]),
    ("koi8-u", NamedEncoding::CodePage(encoding_rs::KOI8_U), &[]),
    ("mac-roman", NamedEncoding::CodePage(encoding_rs::MACINTOSH), &["macintosh"]),
    ("mac-cyrillic", NamedEncoding::CodePage(encoding_rs::X_MAC_CYRILLIC), &[]),
    ("big5", NamedEncoding::MultiByte(encoding_rs::BIG5), &["big5tw", "csbig5", "big5hkscs", "hkscs", "cp950", "950", "ms950"]),
    ("gbk", NamedEncoding::MultiByte(encoding_rs::GBK), &["936", "cp936", "ms936"]),
    ("gb2312", NamedEncoding::MultiByte(encoding_rs::GBK), &["chinese", "csiso58gb231280", "euccn", "eucgb2312cn", "gb23121980", "gb231280", "isoir58"]),
    ("gb18030", NamedEncoding::MultiByte(encoding_rs::GB18030), &["gb180302000"]),
    ("shift-jis", NamedEncoding::MultiByte(encoding_rs::SHIFT_JIS), &["csshiftjis", "sjis"]),
    ("cp932", NamedEncoding::MultiByte(encoding_rs::SHIFT_JIS), &["932", "ms932", "mskanji", "windows31j"]),
    ("euc-jp", NamedEncoding::MultiByte(encoding_rs::EUC_JP), &["ujis"]),
    ("iso2022-jp", NamedEncoding::MultiByte(encoding_rs::ISO_2022_JP), &["csiso2022jp"]),
    ("euc-kr", NamedEncoding::MultiByte(encoding_rs::EUC_KR), &["korean", "ksc5601", "ksc56011987", "ksx1001"]),
    ("cp949", NamedEncoding::MultiByte(encoding_rs::EUC_KR), &["949", "ms949", "uhc"]),
];

#[cfg(test)]
mod tests;
