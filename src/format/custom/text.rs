//! A line as text for a regex, whatever its bytes.

use std::ops::Range;

use bumpalo::Bump;

/// A line with its final newline. Where the line is no UTF-8, each byte that is none stands in the text as one
/// character of its own, U+10FF80 to U+10FFFF: no letter, no digit and no blank, so that `.`, `\S` and `[^"]` take
/// it, as they do in Python. Nothing is lost: a place in the text leads back to a place in the bytes.
pub(in crate::format) struct Text<'a> {
    bytes: &'a [u8],
    text: &'a str,
    /// Bytes were written as characters.
    has_stand_ins: bool,
}

/// The stand-in for byte 0; only those for 0x80 to 0xFF are used.
const FIRST_STAND_IN: u32 = 0x10_FF00;

impl<'a> Text<'a> {
    pub(in crate::format) fn new(line: &[u8], arena: &'a Bump) -> Self {
        let bytes = arena.alloc_slice_fill_copy(line.len() + 1, b'\n');
        bytes[..line.len()].copy_from_slice(line);
        match std::str::from_utf8(bytes) {
            Ok(text) => Text {
                bytes,
                text,
                has_stand_ins: false,
            },
            Err(_) => Text {
                bytes,
                text: arena.alloc_str(&with_stand_ins(bytes)),
                has_stand_ins: true,
            },
        }
    }

    pub(in crate::format) fn as_str(&self) -> &'a str {
        self.text
    }

    /// The line's own bytes for a range of the text.
    pub(in crate::format) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        if self.has_stand_ins {
            &self.bytes[self.place(range.start)..self.place(range.end)]
        } else {
            &self.bytes[range]
        }
    }

    /// A place in the text as a place in the bytes: each stand-in is four bytes for one.
    fn place(&self, in_text: usize) -> usize {
        let before = self.text[..in_text].chars();
        in_text - 3 * before.filter(|&character| is_stand_in(character)).count()
    }
}

fn is_stand_in(character: char) -> bool {
    u32::from(character) >= FIRST_STAND_IN + 0x80
}

fn with_stand_ins(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 64);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_stand_in(character) {
                let mut encoded = [0; 4];
                let encoded = character.encode_utf8(&mut encoded);
                text.extend(encoded.bytes().map(stand_in));
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

fn stand_in(byte: u8) -> char {
    // Always a character: the sum is at most U+10FFFF.
    char::from_u32(FIRST_STAND_IN + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}
