//! Strings, and what their escapes stand for.

use bumpalo::Bump;
use memchr::{memchr, memchr2};

use super::Cursor;

impl<'a> Cursor<'a> {
    /// A string without its quotes; a copy only where there is something to unescape.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let escaped = self.pass_string()?;
        let raw = &self.text[start..self.at - 1];
        match escaped {
            false => Some(raw),
            true => unescape(raw, self.arena),
        }
    }

    /// Passes over a string; says whether it holds escapes.
    pub(super) fn pass_string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.at += memchr2(b'"', b'\\', self.rest())?;
            if self.expect(b'"').is_some() {
                return Some(escaped);
            }
            escaped = true;
            self.escape()?;
        }
    }

    /// One escape, from its backslash on.
    fn escape(&mut self) -> Option<Escape> {
        let kind = *self.text.get(self.at + 1)?;
        self.at += 2;
        Some(match kind {
            b'"' | b'\\' | b'/' => Escape::Byte(kind),
            b'b' => Escape::Byte(8),
            b'f' => Escape::Byte(12),
            b'n' => Escape::Byte(b'\n'),
            b'r' => Escape::Byte(b'\r'),
            b't' => Escape::Byte(b'\t'),
            b'x' => Escape::Byte(u8::try_from(self.hex(2)?).ok()?),
            b'u' => Escape::Char(self.char()?),
            _ => return None,
        })
    }

    /// What stands behind `\u`: a character, or two halves of one.
    fn char(&mut self) -> Option<char> {
        let high = self.hex(4)?;
        if (0xD800..0xDC00).contains(&high) && self.rest().starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex(4)?;
            if (0xDC00..0xE000).contains(&low) {
                return char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
            self.at = back;
        }
        Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.rest().get(..digits)?;
        self.at += digits;
        text.iter().try_fold(0, |number, digit| {
            Some(number * 16 + char::from(*digit).to_digit(16)?)
        })
    }
}

/// What an escape stands for.
enum Escape {
    Byte(u8),
    Char(char),
}

fn unescape<'a>(raw: &'a [u8], arena: &'a Bump) -> Option<&'a [u8]> {
    // No escape is shorter than what it stands for.
    let room = arena.alloc_slice_fill_copy(raw.len(), 0_u8);
    let mut length = 0;
    let mut write = |bytes: &[u8]| {
        room[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    let mut cursor = Cursor::new(raw, arena);
    while let Some(plain) = memchr(b'\\', cursor.rest()) {
        write(&cursor.rest()[..plain]);
        cursor.at += plain;
        match cursor.escape()? {
            Escape::Byte(byte) => write(&[byte]),
            Escape::Char(char) => write(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    write(cursor.rest());
    Some(&room[..length])
}
