//! Reads JSON as logs contain it.
//!
//! Some servers depart from the standard, and their lines must not be lost: strings may contain
//! bytes that are not UTF-8, raw control characters, and nginx's `\xHH` (that byte, in Latin-1 if
//! such bytes are not UTF-8); a lone surrogate becomes U+FFFD; `NaN` and `Infinity` are numbers, as
//! in Python. The rest of the grammar is enforced. Nothing recurses, so deep nesting needs no
//! stack.

use bumpalo::Bump;
use memchr::memchr;

use crate::format::escapes::latin_1_as_utf_8;
use crate::format::short::first_quote;

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string, unescaped.
    Text(&'a [u8]),
    /// A number as logged.
    Number(&'a [u8]),
    /// `true`, `false`, an object or an array, as logged.
    Other(&'a [u8]),
    Null,
}

impl<'a> Value<'a> {
    /// The text of a field. Only strings and numbers can be one.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Other(_) | Value::Null => None,
        }
    }

    /// The text of an object or array; empty for other values.
    pub fn nested(self) -> &'a [u8] {
        match self {
            Value::Other(text) => text,
            _ => b"",
        }
    }

    /// The text of any value. Returns `None` for `null`.
    pub fn any_text(self) -> Option<&'a [u8]> {
        match self {
            Value::Text(text) | Value::Number(text) | Value::Other(text) => Some(text),
            Value::Null => None,
        }
    }
}

/// Iterates over the keys and values of an object. Stops after the last one, or where the text
/// breaks the grammar.
pub struct Members<'a> {
    cursor: Cursor<'a>,
    state: MembersState,
}

#[derive(PartialEq, Eq)]
enum MembersState {
    First,
    Later,
    Ended,
    Broken,
}

impl<'a> Members<'a> {
    /// Returns `None` if the text does not begin with `{`.
    pub fn of(text: &'a [u8], arena: &'a Bump) -> Option<Members<'a>> {
        let mut cursor = Cursor::new(text, arena);
        cursor.skip_space();
        cursor.expect(b'{')?;
        Some(Members {
            cursor,
            state: MembersState::First,
        })
    }

    /// Whether the object was complete and only white space follows it.
    pub fn ended_well(&self) -> bool {
        self.state == MembersState::Ended && self.cursor.at == self.cursor.text.len()
    }

    fn member(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        if matches!(self.state, MembersState::Ended | MembersState::Broken) {
            return None;
        }
        let cursor = &mut self.cursor;
        cursor.skip_space();
        if cursor.expect(b'}').is_some() {
            cursor.skip_space();
            self.state = MembersState::Ended;
            return None;
        }
        if self.state == MembersState::Later {
            cursor.expect(b',')?;
            cursor.skip_space();
        }
        let key = cursor.string()?;
        cursor.skip_space();
        cursor.expect(b':')?;
        cursor.skip_space();
        let value = cursor.value()?;
        self.state = MembersState::Later;
        Some((key, value))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.member();
        if member.is_none() && self.state != MembersState::Ended {
            self.state = MembersState::Broken;
        }
        member
    }
}

/// Iterates over the elements of an array. Stops after the last one, or where the text breaks the
/// grammar.
pub struct Elements<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

impl<'a> Elements<'a> {
    /// Returns `None` if the text does not begin with `[`.
    pub fn of(text: &'a [u8], arena: &'a Bump) -> Option<Elements<'a>> {
        let mut cursor = Cursor::new(text, arena);
        cursor.expect(b'[')?;
        Some(Elements {
            cursor,
            is_first: true,
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.skip_space();
        if !std::mem::replace(&mut self.is_first, false) {
            self.cursor.expect(b',')?;
            self.cursor.skip_space();
        }
        self.cursor.value()
    }
}

/// The value at the beginning of a text, and what follows it.
pub fn leading_value<'a>(text: &'a [u8], arena: &'a Bump) -> Option<(Value<'a>, &'a [u8])> {
    let mut cursor = Cursor::new(text, arena);
    let value = cursor.value()?;
    Some((value, cursor.rest()))
}

/// The length of the number at the beginning of a text.
pub fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(start)? {
        b'0' => start + 1,
        b'1'..=b'9' => digits(start),
        _ => return length_of_name(text),
    };
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == end + 1 {
            return None;
        }
        end = fraction;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let from = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(from.min(text.len()));
        if exponent <= from {
            return None;
        }
        end = exponent;
    }
    Some(end)
}

/// The length of a number that is a name, as Python writes it.
#[cold]
fn length_of_name(text: &[u8]) -> Option<usize> {
    let names = [b"NaN".as_slice(), b"Infinity", b"-Infinity"];
    let name = names.into_iter().find(|name| text.starts_with(name))?;
    Some(name.len())
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    arena: &'a Bump,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a [u8], arena: &'a Bump) -> Cursor<'a> {
        Cursor { text, at: 0, arena }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (*self.text.get(self.at)? == byte).then(|| self.at += 1)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        match *self.text.get(start)? {
            b'"' => self.string().map(Value::Text),
            b'{' | b'[' => {
                self.skip_nested()?;
                Some(Value::Other(&self.text[start..self.at]))
            }
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Option<Value<'a>> {
        let rest = self.rest();
        let words = [b"null".as_slice(), b"true", b"false"];
        if let Some(word) = words.into_iter().find(|word| rest.starts_with(word)) {
            self.at += word.len();
            return Some(match word {
                b"null" => Value::Null,
                _ => Value::Other(word),
            });
        }
        let number = &rest[..number_length(rest)?];
        self.at += number.len();
        Some(Value::Number(number))
    }

    /// Skips an object or array and checks its grammar. One bit for each open level says whether it
    /// is an object. Returns `None` also for more than 128 levels.
    fn skip_nested(&mut self) -> Option<()> {
        let (mut objects, mut depth) = (0_u128, 0_u32);
        loop {
            // At the start of a value.
            let opener = *self.text.get(self.at)?;
            if matches!(opener, b'{' | b'[') {
                if depth == u128::BITS {
                    return None;
                }
                self.at += 1;
                depth += 1;
                objects = objects << 1 | u128::from(opener == b'{');
                self.skip_space();
                let closer = if opener == b'{' { b'}' } else { b']' };
                if self.text.get(self.at) != Some(&closer) {
                    if opener == b'{' {
                        self.skip_key()?;
                    }
                    continue;
                }
            } else {
                match opener {
                    b'"' => self.skip_string().map(drop)?,
                    _ => self.plain().map(drop)?,
                }
                self.skip_space();
            }
            // At the end of a value, and perhaps of those around it.
            loop {
                let in_object = objects & 1 == 1;
                match (*self.text.get(self.at)?, in_object) {
                    (b',', _) => {
                        self.at += 1;
                        self.skip_space();
                        if in_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                        if depth == 0 {
                            return Some(());
                        }
                        self.skip_space();
                    }
                    _ => return None,
                }
            }
        }
    }

    fn skip_key(&mut self) -> Option<()> {
        self.skip_string()?;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Some(())
    }

    /// A string without its quotes. Copied only if it has escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let escaped = self.skip_string()?;
        let raw = &self.text[start..self.at - 1];
        match escaped {
            false => Some(raw),
            true => unescape(raw, self.arena),
        }
    }

    /// Skips a string. Returns whether it has escapes.
    fn skip_string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.at += first_quote(self.rest())?;
            if self.expect(b'"').is_some() {
                return Some(escaped);
            }
            escaped = true;
            self.escape()?;
        }
    }

    /// Takes one escape, beginning with its backslash.
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

    /// Takes what follows `\u`. Two surrogates in a row are one character.
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

/// The meaning of an escape.
enum Escape {
    Byte(u8),
    Char(char),
}

/// Undoes the escapes of a string. Returns `None` if one is invalid.
pub fn unescape<'a>(raw: &'a [u8], arena: &'a Bump) -> Option<&'a [u8]> {
    // An escape is never shorter than its meaning.
    let buffer = arena.alloc_slice_fill_copy(raw.len(), 0_u8);
    let mut length = 0;
    let mut write = |bytes: &[u8]| {
        buffer[length..length + bytes.len()].copy_from_slice(bytes);
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
    Some(latin_1_as_utf_8(&buffer[..length], arena))
}
