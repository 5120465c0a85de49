//! Reads JSON as logs hold it.
//!
//! Where logs leave the standard, a line must not be lost for it: strings may hold bytes that are no UTF-8,
//! raw control characters, and nginx's `\xHH` (the byte itself); a lone surrogate is U+FFFD; `NaN` and
//! `Infinity` are numbers, as Python has them. Everything else is held to the grammar. Nothing recurses, so
//! depth costs no stack.

mod string;

use bumpalo::Bump;

/// What a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string, unescaped.
    Text(&'a [u8]),
    /// A number as it stands in the line.
    Number(&'a [u8]),
    /// `true`, `false`, an object or an array as it stands in the line.
    Other(&'a [u8]),
    Null,
}

impl<'a> Value<'a> {
    /// What can be a field: a string, or a number's digits.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Other(_) | Value::Null => None,
        }
    }

    /// The value as it stands in the line, for a look inside an object or array.
    pub fn nested(self) -> &'a [u8] {
        match self {
            Value::Other(text) => text,
            _ => b"",
        }
    }
}

/// The members of one object, one after the other.
pub struct Members<'a> {
    cursor: Cursor<'a>,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    First,
    Later,
    Ended,
    Broken,
}

impl<'a> Members<'a> {
    /// `None`: the text does not begin as an object does.
    pub fn of(text: &'a [u8], arena: &'a Bump) -> Option<Members<'a>> {
        let mut cursor = Cursor::new(text, arena);
        cursor.space();
        cursor.expect(b'{')?;
        Some(Members {
            cursor,
            state: State::First,
        })
    }

    /// Whether the object was whole, with nothing but white space behind it.
    pub fn ended_well(&self) -> bool {
        self.state == State::Ended && self.cursor.at == self.cursor.text.len()
    }

    fn member(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        if matches!(self.state, State::Ended | State::Broken) {
            return None;
        }
        let cursor = &mut self.cursor;
        cursor.space();
        if cursor.expect(b'}').is_some() {
            cursor.space();
            self.state = State::Ended;
            return None;
        }
        if self.state == State::Later {
            cursor.expect(b',')?;
            cursor.space();
        }
        let key = cursor.string()?;
        cursor.space();
        cursor.expect(b':')?;
        cursor.space();
        let value = cursor.value()?;
        self.state = State::Later;
        Some((key, value))
    }
}

/// Each key and its value; ends after the last one, and where the text breaks the grammar.
impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.member();
        if member.is_none() && self.state != State::Ended {
            self.state = State::Broken;
        }
        member
    }
}

/// The first element of an array, where it has one.
pub fn first_element<'a>(array: &'a [u8], arena: &'a Bump) -> Option<Value<'a>> {
    let mut cursor = Cursor::new(array, arena);
    cursor.expect(b'[')?;
    cursor.space();
    cursor.value()
}

/// The length of the number that a text begins with.
pub fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let run = text[from..].iter().position(|byte| !byte.is_ascii_digit());
        run.map_or(text.len(), |length| from + length)
    };
    let names = [b"NaN".as_slice(), b"Infinity", b"-Infinity"];
    if let Some(name) = names.into_iter().find(|name| text.starts_with(name)) {
        return Some(name.len());
    }
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(start)? {
        b'0' => start + 1,
        b'1'..=b'9' => digits(start),
        _ => return None,
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

    fn space(&mut self) {
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
                self.pass_nested()?;
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

    /// Passes over an object or array and holds it to the grammar. One bit for each level that is open tells
    /// which of the two it is; what is deeper than 128 levels is no log line.
    fn pass_nested(&mut self) -> Option<()> {
        let (mut objects, mut depth) = (0_u128, 0_u32);
        loop {
            // Here a value begins.
            let opener = *self.text.get(self.at)?;
            if matches!(opener, b'{' | b'[') {
                if depth == u128::BITS {
                    return None;
                }
                self.at += 1;
                depth += 1;
                objects = objects << 1 | u128::from(opener == b'{');
                self.space();
                let closer = if opener == b'{' { b'}' } else { b']' };
                if self.text.get(self.at) != Some(&closer) {
                    if opener == b'{' {
                        self.pass_key()?;
                    }
                    continue;
                }
            } else {
                match opener {
                    b'"' => self.pass_string().map(drop)?,
                    _ => self.plain().map(drop)?,
                }
                self.space();
            }
            // Here a value ended, and perhaps those around it.
            loop {
                let in_object = objects & 1 == 1;
                match (*self.text.get(self.at)?, in_object) {
                    (b',', _) => {
                        self.at += 1;
                        self.space();
                        if in_object {
                            self.pass_key()?;
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
                        self.space();
                    }
                    _ => return None,
                }
            }
        }
    }

    fn pass_key(&mut self) -> Option<()> {
        self.pass_string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Some(())
    }
}
