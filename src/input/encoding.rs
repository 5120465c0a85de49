//! The encoding of a log (SPEC section 2, `--encoding`): names as Python knows them, and a line made UTF-8.
//!
//! Bytes that are no text in the encoding stay as they are, so that they can be percent-encoded in urls and
//! become U+FFFD elsewhere (SPEC section 4).

use std::borrow::Cow;
use std::sync::Arc;

use encoding_rs::{self as tables, DecoderResult};

use self::names::{Entry, NAMES};
use crate::error::{Error, Result};

mod names;

/// What the bytes of a log mean. The default is UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding(Kind);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// UTF-8, ASCII: no decoding at all.
    #[default]
    Utf8,
    /// None: the BOM tells.
    Utf16(Option<Endian>),
    /// The characters of the bytes 0x80 to 0xff; below, bytes are ASCII.
    SingleByte(Arc<[Option<char>]>),
    MultiByte(&'static tables::Encoding),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endian {
    Little,
    Big,
}

impl Encoding {
    /// Case and punctuation do not count. An unknown name is a usage error that names the known ones.
    pub fn by_name(name: &str) -> Result<Self> {
        let wanted = without_punctuation(name);
        NAMES
            .iter()
            .find(|(own, _, others)| {
                without_punctuation(own) == wanted || others.contains(&wanted.as_str())
            })
            .map(|(_, entry, _)| Self(entry.kind()))
            .ok_or_else(|| {
                let known: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
                Error::usage(format!(
                    "--encoding={name}: no such encoding; the known ones are {}",
                    known.join(", ")
                ))
            })
    }

    /// Bytes of the smallest unit: a line end is one unit, at a whole number of units from the log's beginning.
    pub fn unit(&self) -> usize {
        match self.0 {
            Kind::Utf16(_) => 2,
            _ => 1,
        }
    }

    /// What a new log in this encoding begins with: only where the name alone does not say what its bytes mean.
    pub fn bom(&self) -> &'static [u8] {
        if self.needs_beginning() {
            b"\xff\xfe"
        } else {
            b""
        }
    }

    /// A text to stand among a log's lines as they are. Where ASCII is itself, it stays as it is.
    pub fn encode<'a>(&self, text: &'a str) -> Cow<'a, [u8]> {
        let big = match self.0 {
            Kind::Utf16(endian) => endian == Some(Endian::Big),
            _ => return Cow::Borrowed(text.as_bytes()),
        };
        let units = text.encode_utf16();
        let bytes = units.flat_map(|unit| match big {
            true => unit.to_be_bytes(),
            false => unit.to_le_bytes(),
        });
        Cow::Owned(bytes.collect())
    }

    /// Whether only the log's first bytes say what its bytes mean.
    pub(super) fn needs_beginning(&self) -> bool {
        self.0 == Kind::Utf16(None)
    }

    /// The encoding once the log's first bytes have been seen. UTF-16 without a BOM is little-endian. `true`: these
    /// bytes say that it is big-endian.
    pub(super) fn settle(&mut self, first: &[u8]) -> bool {
        let big = self.needs_beginning() && first.starts_with(b"\xfe\xff");
        if self.needs_beginning() {
            self.0 = Kind::Utf16(Some(if big { Endian::Big } else { Endian::Little }));
        }
        big
    }

    /// Where the first line end stands, in bytes. The slice begins at a whole unit.
    #[inline]
    pub(super) fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.0 {
            Kind::Utf16(endian) => line_end_utf16(bytes, endian == Some(Endian::Big)),
            _ => memchr::memchr(b'\n', bytes),
        }
    }

    /// The bytes of a log's first line without the BOM.
    pub(super) fn without_bom<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let bom: &[u8] = match self.0 {
            Kind::Utf16(Some(Endian::Big)) => b"\xfe\xff",
            Kind::Utf16(_) => b"\xff\xfe",
            // Editors put UTF-8's before any text; in no other encoding does a log begin so.
            _ => b"\xef\xbb\xbf",
        };
        line.strip_prefix(bom).unwrap_or(line)
    }

    /// The line as UTF-8, bytes that are no text as they are. `room` is used where bytes have to change.
    #[inline]
    pub(super) fn decode<'a>(&self, line: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.0 {
            Kind::Utf8 => line,
            Kind::Utf16(endian) => {
                decode_utf16(line, *endian == Some(Endian::Big), room);
                room
            }
            Kind::SingleByte(_) if line.is_ascii() => line,
            Kind::SingleByte(upper) => {
                decode_single(line, upper, room);
                room
            }
            // ISO-2022-JP is made of ASCII's bytes; in the others ASCII is itself.
            Kind::MultiByte(table) if table.is_ascii_compatible() && line.is_ascii() => line,
            Kind::MultiByte(table) => {
                decode_multi(line, table, room);
                room
            }
        }
    }
}

impl Entry {
    fn kind(self) -> Kind {
        match self {
            Entry::Utf8 => Kind::Utf8,
            Entry::Utf16(endian) => Kind::Utf16(endian),
            Entry::Iso(table) => Kind::SingleByte(upper_half(table, |byte, decoded| {
                if byte < 0xa0 {
                    Some(char::from(byte))
                } else {
                    decoded
                }
            })),
            Entry::CodePage(table) => Kind::SingleByte(upper_half(table, |_, decoded| {
                decoded.filter(|character| !character.is_control())
            })),
            Entry::MultiByte(table) => Kind::MultiByte(table),
        }
    }
}

fn upper_half(
    table: &'static tables::Encoding,
    rule: impl Fn(u8, Option<char>) -> Option<char>,
) -> Arc<[Option<char>]> {
    let decode = |byte: u8| {
        let text = table
            .decode_without_bom_handling_and_without_replacement(&[byte])
            .map(|text| text.chars().next());
        rule(byte, text.flatten())
    };
    (0x80..=0xff).map(decode).collect()
}

fn without_punctuation(name: &str) -> String {
    let kept = name.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|character| character.to_ascii_lowercase())
        .collect()
}

fn line_end_utf16(bytes: &[u8], big: bool) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| {
        let start = if big { at.checked_sub(1)? } else { at };
        let zero = if big { start } else { at + 1 };
        (start % 2 == 0 && bytes.get(zero) == Some(&0)).then_some(start)
    })
}

fn decode_single(line: &[u8], upper: &[Option<char>], room: &mut Vec<u8>) {
    room.clear();
    for &byte in line {
        match upper.get(usize::from(byte).wrapping_sub(0x80)) {
            Some(Some(character)) => push(room, *character),
            _ => room.push(byte),
        }
    }
}

fn decode_multi(line: &[u8], table: &'static tables::Encoding, room: &mut Vec<u8>) {
    let mut decoder = table.new_decoder_without_bom_handling();
    let most = decoder.max_utf8_buffer_length_without_replacement(line.len());
    // And the bytes that are no text, which come in as they are.
    room.resize(most.unwrap_or(line.len()).saturating_add(line.len()), 0);
    let (mut read, mut written) = (0, 0);
    loop {
        let (result, more_read, more_written) =
            decoder.decode_to_utf8_without_replacement(&line[read..], &mut room[written..], true);
        read += more_read;
        written += more_written;
        match result {
            DecoderResult::InputEmpty => break,
            DecoderResult::OutputFull => room.resize(room.len() + line.len() + 16, 0),
            DecoderResult::Malformed(bad, after) => {
                let end = read.saturating_sub(usize::from(after));
                let raw = &line[end.saturating_sub(usize::from(bad))..end];
                if room.len() - written < raw.len() {
                    room.resize(written + raw.len() + line.len(), 0);
                }
                room[written..written + raw.len()].copy_from_slice(raw);
                written += raw.len();
            }
        }
    }
    room.truncate(written);
}

/// Halves of a pair that stand alone become three bytes each, as UTF-8 would write them if it could: their own
/// bytes could read as quotes and blanks.
fn decode_utf16(line: &[u8], big: bool, room: &mut Vec<u8>) {
    room.clear();
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
            Ok(character) => push(room, character),
            Err(alone) => {
                let half = alone.unpaired_surrogate();
                let low = |bits: u16| 0x80 | (bits & 0x3f) as u8;
                room.extend([0xe0 | (half >> 12) as u8, low(half >> 6), low(half)]);
            }
        }
    }
    room.extend(cut_off);
}

fn push(room: &mut Vec<u8>, character: char) {
    room.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests;
