//! Reads lines by the steps of a layout, without a regular expression.

use bumpalo::Bump;
use memchr::{memchr, memchr_iter};

use super::{Layout, Shape, Slot, Step};
use crate::format::short::{first_blank, first_quote, first_quote_or_control};
use crate::format::{Field, Record};

impl Layout {
    /// Reads a usual line: single blanks as the only white space, and each value as short as it can
    /// be. Returns the length of what was read, or `None` for any other line; then the content of
    /// the record is meaningless.
    ///
    /// It agrees with the regular expression. Unquoted values end at the first blank there, too,
    /// and a quoted value is the first that lets the rest of the line fit.
    pub fn scan<'a>(
        &'a self,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<usize> {
        let steps = self.steps.as_deref()?;
        let mut rest = Rest(line);
        for step in steps {
            rest.take(step, self, arena, record)?;
            rest.0 = step.after.strip_from(rest.0)?;
        }
        Some(line.len() - rest.0.len())
    }

    /// Whether a line has the text of the layout in its order. Returns `false` only for lines that
    /// do not fit.
    pub fn may_fit(&self, line: &[u8]) -> bool {
        let mut words = self.words.iter();
        let mut rest = line;
        if self.begins_with_text {
            match words.next().and_then(|word| line.strip_prefix(&**word)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        words.all(|word| match after_text(rest, word) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        })
    }
}

/// The rest of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Takes the value of a step.
    #[inline]
    fn take(
        &mut self,
        step: &'a Step,
        layout: &'a Layout,
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<()> {
        let rest = self.0;
        let digits = || rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = match step.shape {
            Shape::ClfDate { closing, is_lazy } => {
                return self.clf_date(closing, is_lazy, record);
            }
            Shape::Quoted => {
                let (value, has_escapes) = self.quoted()?;
                layout.set(step.slot, value, has_escapes, arena, record);
                return Some(());
            }
            Shape::Request => return self.request(step.slot, layout, arena, record),
            Shape::Word => word_length(rest)?,
            Shape::Host => rest.iter().position(|byte| !IN_HOST[usize::from(*byte)])?,
            Shape::Addresses => {
                let mut length = first_blank(rest)?;
                if rest[..length].ends_with(b",") {
                    length = list_length(rest)?;
                }
                length
            }
            Shape::IdentityAndUser => {
                let (before, length) = identity_and_user(rest)?;
                self.advance(before)?;
                length
            }
            // No name, as usual.
            Shape::User if rest.starts_with(b"- [") => 1,
            Shape::User => user_length(rest)?,
            Shape::Digits => digits(),
            Shape::Seconds if rest.starts_with(b"-") => 1,
            Shape::Seconds => digits(),
            shape => {
                // More than a single blank.
                if step.is_after_blank && rest.first().is_some_and(is_blank) {
                    return None;
                }
                let value = self.advance(shape.other_length(rest)?)?;
                layout.set(step.slot, value, shape.has_escapes(), arena, record);
                return Some(());
            }
        };
        if length == 0 {
            return None;
        }
        let value = self.advance(length)?;
        if let Slot::Field(field) = step.slot {
            record.set(field, value);
        }
        Some(())
    }

    #[inline]
    fn advance(&mut self, length: usize) -> Option<&'a [u8]> {
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }

    #[inline]
    fn clf_date(&mut self, closing: u8, is_lazy: bool, record: &mut Record<'a>) -> Option<()> {
        let text: &[u8; 26] = self.0.first_chunk()?;
        let (date, zone) = (&text[..20], &text[21..]);
        let has_blank = |text: &[u8]| text.iter().fold(false, |any, byte| any | (*byte <= b' '));
        let is_closed = match self.0.get(26) {
            Some(byte) => *byte == closing,
            None => closing == b' ',
        };
        if text[20] != b' ' || !is_closed || has_blank(date) || has_blank(zone) {
            return None;
        }
        if is_lazy && has_byte(zone, closing) {
            return None;
        }
        record.set(Field::Date, date);
        record.set(Field::Timezone, zone);
        self.advance(26).map(drop)
    }

    /// Takes everything up to a quote that is not escaped. Returns whether anything is.
    #[inline]
    fn quoted(&mut self) -> Option<(&'a [u8], bool)> {
        self.up_to_quote(first_quote)
    }

    /// The same by a function that finds the first quote or backslash, and what the value must not
    /// have.
    #[inline(always)]
    fn up_to_quote(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> Option<(&'a [u8], bool)> {
        let end = find(self.0)?;
        match *self.0.get(end)? {
            b'"' => Some((self.advance(end)?, false)),
            b'\\' => {
                let end = end_of_escaped(self.0, end)?;
                Some((self.advance(end)?, true))
            }
            _ => None,
        }
    }

    /// Takes a request with a protocol: without one, it may end at a later quote.
    #[inline]
    fn request(
        &mut self,
        slot: Slot,
        layout: &'a Layout,
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<()> {
        // No white space but blanks.
        let (request, has_escapes) = self.up_to_quote(first_quote_or_control)?;
        if has_escapes && request.iter().any(|byte| *byte < b' ') {
            return None;
        }
        let (method, target) = request.split_at_checked(first_blank(request)?)?;
        let (path, has_protocol) = match target.split_last_chunk() {
            Some((path, protocol)) if is_usual_protocol(protocol) => (path, true),
            _ => {
                let (path, protocol) =
                    target.split_at(target.iter().rposition(|byte| *byte == b' ')?);
                (path, is_protocol(&protocol[1..]))
            }
        };
        // A blank at either end is no part of the path.
        let [b' ', path @ ..] = path else {
            return None;
        };
        let is_usual = has_protocol && !method.is_empty();
        if !is_usual || *path.first()? == b' ' || *path.last()? == b' ' {
            return None;
        }
        if slot == Slot::Request {
            record.set(Field::Method, method);
        }
        layout.set(Slot::Field(Field::Path), path, has_escapes, arena, record);
        Some(())
    }
}

impl Shape {
    /// The length of a value of a shape that only pasted formats have, or hardly any other.
    #[inline(never)]
    fn other_length(self, rest: &[u8]) -> Option<usize> {
        match self {
            Shape::Nothing => Some(0),
            Shape::Parenthesized => memchr(b')', rest),
            Shape::EscapedWord => word_length(rest).filter(|length| *length > 0),
            Shape::OptionalWord => word_length(rest),
            Shape::Words(count) => {
                let mut length = word_length(rest).filter(|length| *length > 0)?;
                for _ in 1..count {
                    let next = rest.get(length..)?.strip_prefix(b" ")?;
                    length += 1 + word_length(next).filter(|length| *length > 0)?;
                }
                Some(length)
            }
            Shape::AddressBeforePort => {
                let colon = rest[..word_length(rest)?]
                    .iter()
                    .rposition(|byte| *byte == b':');
                colon.filter(|length| *length > 0)
            }
            Shape::List => parts_length(rest),
            Shape::Until(byte) => memchr(byte, rest),
            Shape::UntilNth(byte, count) => memchr_iter(byte, rest).nth(usize::from(count)),
            Shape::Cell(byte) => Some(memchr(byte, rest).unwrap_or(rest.len())),
            Shape::RestOfLine => Some(rest.len()),
            _ => None,
        }
    }
}

/// The length of a word, which ends at a blank or at the end of the line.
#[inline]
fn word_length(text: &[u8]) -> Option<usize> {
    first_blank(text).or_else(|| last_word_length(text))
}

/// The same at the end of a line.
#[cold]
fn last_word_length(text: &[u8]) -> Option<usize> {
    text.iter().all(|byte| *byte > b' ').then_some(text.len())
}

/// What follows a text of at least one byte. Faster than a searcher for a few bytes.
fn after_text<'l>(mut line: &'l [u8], text: &[u8]) -> Option<&'l [u8]> {
    loop {
        line = &line[memchr(*text.first()?, line)?..];
        match line.strip_prefix(text) {
            None => line = &line[1..],
            after => return after,
        }
    }
}

/// The length of several words with a comma after each or a colon between them.
fn parts_length(text: &[u8]) -> Option<usize> {
    let mut begin = 0;
    loop {
        let word = word_length(&text[begin..]).filter(|length| *length > 0)?;
        let end = begin + word;
        let after = &text[end..];
        begin = match &text[begin..end] {
            [_, .., b','] if after.starts_with(b" ") => end + 1,
            _ if after.starts_with(b" : ") => end + 3,
            _ => return Some(end),
        };
    }
}

#[cold]
fn has_byte(text: &[u8], wanted: u8) -> bool {
    text.contains(&wanted)
}

/// The length of several addresses, separated by commas and single blanks.
#[cold]
fn list_length(text: &[u8]) -> Option<usize> {
    let (mut begin, mut end) = (0, first_blank(text)?);
    while let [_, .., b','] = text[begin..end] {
        begin = end + 1;
        end = begin + first_blank(&text[begin..]).filter(|length| *length > 0)?;
    }
    Some(end)
}

/// The length of an identity with the blank after it, and that of the user.
#[inline]
fn identity_and_user(text: &[u8]) -> Option<(usize, usize)> {
    if text.starts_with(b"- - [") {
        return Some((2, 1));
    }
    let before = word_length(text).filter(|length| *length > 0)? + 1;
    match text.get(before - 1..)? {
        [b' ', b'-', b' ', b'[', ..] => Some((before, 1)),
        [b' ', user @ ..] => Some((before, user_length(user)?)),
        _ => None,
    }
}

/// The length of a user, which ends before a blank and a bracket.
#[cold]
fn user_length(text: &[u8]) -> Option<usize> {
    let (mut begin, mut end) = (0, first_blank(text).filter(|end| *end > 0)?);
    while text.get(end + 1) != Some(&b'[') {
        let next = end + 1;
        let length = first_blank(text.get(next..)?)?;
        // Several words, each looked at once: a line may have a million.
        if length == 0 || text[begin..next + length].contains(&b'"') {
            return None;
        }
        (begin, end) = (next, next + length);
    }
    Some(end)
}

/// The end of a quoted value with a backslash at `end`.
#[cold]
fn end_of_escaped(text: &[u8], mut end: usize) -> Option<usize> {
    while text[end] == b'\\' {
        // The escaped byte does not end the value.
        let next = end + 2;
        end = next + first_quote(text.get(next..)?)?;
    }
    Some(end)
}

/// Whether a request ends like nearly all do: with a blank and HTTP/1 or HTTP/2.
#[inline]
fn is_usual_protocol(end: &[u8; 9]) -> bool {
    let [name @ .., minor] = end;
    // Eight bytes are compared at once if they are no pattern.
    (name == b" HTTP/1." || name == b" HTTP/2.") && minor.is_ascii_digit()
}

/// Whether a word is a protocol, as in `HTTP/1.1`.
fn is_protocol(word: &[u8]) -> bool {
    let name = word
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    match &word[name..] {
        [b'/', version @ ..] => name > 0 && !version.is_empty() && version.iter().all(is_version),
        _ => false,
    }
}

/// The bytes of a host with its port.
static IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_in_host(byte as u8);
        byte += 1;
    }
    table
};

const fn is_in_host(byte: u8) -> bool {
    matches!(byte, b'_' | b'.' | b':' | b'*' | b'[' | b']' | b'-')
        || byte.is_ascii_alphanumeric()
        || !byte.is_ascii()
}

/// Splits a request into its method and its path. The path may have blanks: the last of three
/// words is the protocol, which is not kept. A request that was cut off, and one of HTTP 0.9, has
/// none. What has no method is no request, and is kept whole as the path.
pub fn split_request(request: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(end) = request.iter().position(is_blank).filter(|end| *end > 0) else {
        return (None, request);
    };
    let (method, rest) = request.split_at(end);
    let rest = trimmed(rest);
    let path = match rest.iter().rposition(is_blank) {
        Some(blank) => trimmed(&rest[..blank]),
        None if rest.starts_with(b"HTTP/") => b"",
        None => rest,
    };
    (Some(method), path)
}

/// White space as `\s` in a regular expression.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b'\t'..=b'\r' | b' ', rest @ ..] | [rest @ .., b'\t'..=b'\r' | b' '] = text {
        text = rest;
    }
    text
}
