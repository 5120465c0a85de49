//! How a line of text is laid out: which values it has, and the text between them.
//!
//! A layout is written as a template:
//!
//! ```text
//! <ip> <-> <userid> [<clf_date>] "<request>" <status> <length>
//! ```
//!
//! A blank is any run of white space, other text is itself. `<name>` is a value: a [`Field`], `-`
//! for a word that is passed over, `clf_date` for date and offset, `request` for method, path and
//! protocol, or a regular expression that the format adds. What a value looks like follows from its
//! name and from the text after it: between quotes it is a quoted value, otherwise it is a word.
//!
//! Usual lines are read by [`Layout::scan`], which takes each value as short as it can be. All
//! other lines are read by the regular expression of [`Layout::regex`].

use bumpalo::Bump;
use memchr::{memchr, memchr2};

use super::escapes::undo_escapes;
use super::{Field, Record};

/// The content of a quoted value. It ends at the first quote that no backslash escapes, or, if the
/// rest of the line does not fit then, at the first quote with which it does.
const QUOTED: &str = r#"(?:[^"\\]|\\.)*|.*?"#;

/// The same for a request: if it has a protocol, it ends there.
const REQUEST: &str = r#"\S+\s.*?\s[A-Za-z]+/[\d.]+\s*|(?:[^"\\]|\\.)*|.*?"#;

/// `14/May/2024:06:25:24 +0200`. The offset may be empty.
const CLF_DATE: [(Field, &str); 2] = [(Field::Date, r"\S+"), (Field::Timezone, r"\S*")];

/// The layout of a line.
#[derive(Debug)]
pub struct Layout {
    parts: Vec<Part>,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// Text that must be there. A blank matches any white space.
    Text(&'static str),
    Value(Slot, Shape),
    /// Date and offset of the common log format.
    ClfDate,
    /// A regular expression with a group for each field that it sets.
    Regex(&'static str),
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Skip,
    Field(Field),
    /// Method, path and protocol.
    Request,
    /// The same for a format that does not report the method.
    RequestWithoutMethod,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Anything without blanks.
    Word,
    /// A host, perhaps with a port. May be empty.
    Host,
    /// Addresses. Those of a list are separated by commas, perhaps with blanks.
    Addresses,
    /// Anything up to a blank and a bracket: a user name may have blanks. Several words with a quote
    /// are no user, but the beginning of another line.
    User,
    Digits,
    /// Digits or a dash.
    Seconds,
    /// Anything up to a closing parenthesis.
    Parenthesized,
    /// Anything up to a closing quote.
    Quoted,
    /// The same, with a protocol at the end if it has one.
    Request,
}

impl Layout {
    /// Parses a template. `pieces` are the names and regular expressions that the format adds.
    pub fn new(template: &'static str, pieces: &[(&str, &'static str)]) -> Self {
        let mut parts = Vec::new();
        let mut fields = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            let Some(value) = rest.strip_prefix('<') else {
                let (text, after) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
                parts.push(Part::Text(text));
                rest = after;
                continue;
            };
            let (name, after) = value.split_once('>').unwrap_or((value, ""));
            if name == "clf_date" {
                parts.push(Part::ClfDate);
                fields.extend([Field::Date, Field::Timezone]);
            } else if let Some((_, regex)) = pieces.iter().find(|(piece, _)| *piece == name) {
                parts.push(Part::Regex(regex));
                fields.extend(fields_in(regex));
            } else {
                let is_quoted =
                    matches!(parts.last(), Some(Part::Text(text)) if text.ends_with('"'));
                let slot = Slot::named(name);
                fields.extend(slot.fields());
                parts.push(Part::Value(slot, Shape::of(slot, is_quoted, after)));
            }
            rest = after;
        }
        Self { parts, fields }
    }

    /// The fields that a line can have.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether the line begins with an address and a word, so that a host before the address would
    /// be taken for it.
    pub fn begins_with_address(&self) -> bool {
        matches!(
            self.parts[..],
            [
                Part::Value(Slot::Field(Field::Ip), _),
                Part::Text(" "),
                Part::Value(Slot::Skip, _),
                ..
            ]
        )
    }

    /// Reads a usual line: single blanks, no control characters, and each value as short as it can
    /// be. Returns the length of what was read, or `None` for any other line; then the content of
    /// the record is meaningless.
    ///
    /// It agrees with the regular expression. Unquoted values end at the first blank there, too,
    /// and a quoted value is the first that lets the rest of the line fit.
    pub fn scan<'a>(
        &self,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<usize> {
        // Without control characters, the blank is the only white space.
        let is_plain = line
            .iter()
            .fold(true, |plain, byte| plain & (*byte >= b' '));
        if !is_plain {
            return None;
        }
        let mut rest = Rest { line, at: 0 };
        for part in &self.parts {
            match *part {
                Part::Text(text) => rest.skip(text)?,
                Part::ClfDate => rest.clf_date(record)?,
                Part::Value(slot, shape) => match shape {
                    Shape::Quoted => {
                        let (value, has_escapes) = rest.quoted()?;
                        set(slot, value, has_escapes, arena, record);
                    }
                    Shape::Request => rest.request(slot, arena, record)?,
                    _ => {
                        let value = rest.word(shape)?;
                        if let Slot::Field(field) = slot {
                            record.set(field, value);
                        }
                    }
                },
                Part::Regex(_) => return None,
            }
        }
        Some(rest.at)
    }

    /// The regular expression of a line, and what becomes of its groups.
    pub(super) fn regex(&self) -> (String, Vec<(Slot, bool)>) {
        let (mut regex, mut groups) = ("^".to_owned(), Vec::new());
        for part in &self.parts {
            match part {
                Part::Text(text) => regex += &escaped(text),
                Part::Value(Slot::Skip, shape) => regex += &format!("(?:{})", shape.regex()),
                Part::Value(slot, shape) => {
                    groups.push((*slot, shape.is_quoted()));
                    regex += &format!("({})", shape.regex());
                }
                Part::ClfDate => {
                    groups.extend(CLF_DATE.map(|(field, _)| (Slot::Field(field), false)));
                    regex += &CLF_DATE.map(|(_, value)| format!("({value})")).join(r"\s+");
                }
                Part::Regex(piece) => {
                    groups.extend(fields_in(piece).map(|field| (Slot::Field(field), false)));
                    regex += piece;
                }
            }
        }
        (regex, groups)
    }

    /// A regular expression in Python's syntax that captures the fields of an ordinary line.
    pub fn python_regex(&self) -> String {
        let mut regex = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => regex += &escaped(text),
                Part::Value(Slot::Skip, Shape::Word) => regex += Shape::Word.regex(),
                Part::Value(Slot::Skip, shape) => regex += &format!("(?:{})", shape.regex()),
                Part::Value(Slot::Field(field), shape) => {
                    regex += &format!("(?P<{}>{})", field.name(), shape.regex());
                }
                Part::Value(Slot::Request, _) => {
                    regex += r"(?P<method>\S+)\s+(?P<path>.*?)\s+[A-Za-z]+/[\d.]+\s*";
                }
                Part::Value(Slot::RequestWithoutMethod, _) => {
                    regex += r"\S+\s+(?P<path>.*?)\s+[A-Za-z]+/[\d.]+\s*";
                }
                Part::ClfDate => {
                    let group =
                        |(field, value): (Field, _)| format!("(?P<{}>{value})", field.name());
                    regex += &CLF_DATE.map(group).join(r"\s+");
                }
                Part::Regex(piece) => regex += piece,
            }
        }
        regex
    }
}

impl Slot {
    fn named(name: &str) -> Self {
        match name {
            "request" => Slot::Request,
            "request_without_method" => Slot::RequestWithoutMethod,
            _ => {
                let field = Field::from_name(name);
                debug_assert!(field.is_some() || name == "-", "<{name}> is not a value");
                field.map_or(Slot::Skip, Slot::Field)
            }
        }
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        let (first, second) = match self {
            Slot::Skip => (None, None),
            Slot::Field(field) => (Some(field), None),
            Slot::Request => (Some(Field::Method), Some(Field::Path)),
            Slot::RequestWithoutMethod => (Some(Field::Path), None),
        };
        first.into_iter().chain(second)
    }
}

impl Shape {
    /// The shape of a value, by what it is and by the template after it.
    fn of(slot: Slot, is_quoted: bool, after: &str) -> Self {
        match (slot, after.bytes().next()) {
            (Slot::Request | Slot::RequestWithoutMethod, _) => Shape::Request,
            _ if is_quoted => Shape::Quoted,
            (Slot::Field(Field::Ip), _) => Shape::Addresses,
            (Slot::Field(Field::Host), _) => Shape::Host,
            (Slot::Field(Field::Status), _) => Shape::Digits,
            (Slot::Field(Field::SessionTime), _) => Shape::Seconds,
            (Slot::Field(Field::Userid), _) if after.starts_with(" [") => Shape::User,
            (_, Some(b')')) => Shape::Parenthesized,
            _ => Shape::Word,
        }
    }

    fn is_quoted(self) -> bool {
        matches!(self, Shape::Quoted | Shape::Request)
    }

    fn regex(self) -> &'static str {
        match self {
            Shape::Word => r"\S+",
            // `\w` matches letters beyond ASCII in Python, but only ASCII here.
            Shape::Host => r"[\w.:*\[\]\x80-\xff-]*",
            Shape::Addresses => r"(?:\S+,\s+)*\S+",
            Shape::User => r#"\S[^"]*?|\S+"#,
            Shape::Digits => r"\d+",
            Shape::Seconds => r"\d+|-",
            Shape::Parenthesized => r"[^)]*",
            Shape::Quoted => QUOTED,
            Shape::Request => REQUEST,
        }
    }
}

/// The rest of a line without control characters.
struct Rest<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    #[inline]
    fn skip(&mut self, text: &str) -> Option<()> {
        // Too short for a call of `memcmp`.
        for byte in text.bytes() {
            if *self.line.get(self.at)? != byte {
                return None;
            }
            self.at += 1;
        }
        Some(())
    }

    /// Takes `14/May/2024:06:25:24 +0200`. It must have this length, so nothing is searched for.
    #[inline]
    fn clf_date(&mut self, record: &mut Record<'a>) -> Option<()> {
        let text: &[u8; 27] = self.line.get(self.at..)?.first_chunk()?;
        let (date, zone) = (&text[..20], &text[21..26]);
        let has_blank = |text: &[u8]| text.iter().fold(false, |any, byte| any | (*byte == b' '));
        if text[20] != b' ' || text[26] != b']' || has_blank(date) || has_blank(zone) {
            return None;
        }
        record.set(Field::Date, date);
        record.set(Field::Timezone, zone);
        self.at += 26;
        Some(())
    }

    #[inline]
    fn take(&mut self, end: usize) -> &'a [u8] {
        let value = &self.line[self.at..end];
        self.at = end;
        value
    }

    /// The end of the word that begins at `from`, which may be empty.
    #[inline]
    fn end_of_word(&self, from: usize) -> Option<usize> {
        Some(from + first_blank(self.line.get(from..)?)?)
    }

    #[inline]
    fn word(&mut self, shape: Shape) -> Option<&'a [u8]> {
        let at = self.at;
        let rest = &self.line[at..];
        let digits = || at + rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let end = match shape {
            Shape::Word => self.end_of_word(at).unwrap_or(self.line.len()),
            Shape::Host => at + rest.iter().position(|byte| !IN_HOST[usize::from(*byte)])?,
            Shape::Addresses => {
                let (mut begin, mut end) = (at, self.end_of_word(at)?);
                while let [_, .., b','] = self.line[begin..end] {
                    begin = end + 1;
                    end = self.end_of_word(begin).filter(|end| *end > begin)?;
                }
                end
            }
            Shape::User => {
                let mut end = self.end_of_word(at).filter(|end| *end > at)?;
                while self.line.get(end + 1) != Some(&b'[') {
                    let next = self.end_of_word(end + 1)?;
                    if next == end + 1 || self.line[at..next].contains(&b'"') {
                        return None;
                    }
                    end = next;
                }
                end
            }
            Shape::Digits => digits(),
            Shape::Seconds if rest.starts_with(b"-") => at + 1,
            Shape::Seconds => digits(),
            Shape::Parenthesized => at + memchr(b')', rest)?,
            Shape::Quoted | Shape::Request => return None,
        };
        let may_be_empty = matches!(shape, Shape::Parenthesized);
        (end > at || may_be_empty).then(|| self.take(end))
    }

    /// Takes everything up to a quote that is not escaped. Returns whether anything is.
    #[inline]
    fn quoted(&mut self) -> Option<(&'a [u8], bool)> {
        let mut end = self.at + memchr2(b'"', b'\\', &self.line[self.at..])?;
        let has_escapes = self.line[end] == b'\\';
        while self.line[end] == b'\\' {
            // The escaped byte does not end the value.
            let next = end + 2;
            end = next + memchr2(b'"', b'\\', self.line.get(next..)?)?;
        }
        Some((self.take(end), has_escapes))
    }

    /// Takes a request with a protocol: without one, it may end at a later quote.
    #[inline]
    fn request(&mut self, slot: Slot, arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let (request, has_escapes) = self.quoted()?;
        let method = first_blank(request)?;
        let (path, has_protocol) = match request.last_chunk::<9>() {
            Some(b" HTTP/1.1" | b" HTTP/1.0" | b" HTTP/2.0") => (request.len() - 9, true),
            _ => {
                let path = request.iter().rposition(|byte| *byte == b' ')?;
                (path, is_protocol(&request[path + 1..]))
            }
        };
        let is_usual = has_protocol && 0 < method && method < path;
        let path = request.get(method + 1..path).filter(|_| is_usual)?;
        // A blank at either end is no part of the path.
        if *path.first()? == b' ' || *path.last()? == b' ' {
            return None;
        }
        if slot == Slot::Request {
            record.set(Field::Method, &request[..method]);
        }
        set(Slot::Field(Field::Path), path, has_escapes, arena, record);
        Some(())
    }
}

/// The place of the first blank. Words are short: `memchr` would take longer to start than to find
/// it, and one byte after the other takes longer than eight at once.
#[inline]
fn first_blank(text: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const BLANKS: u64 = u64::from_ne_bytes([b' '; 8]);
    let (mut rest, mut at) = (text, 0);
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        // A blank becomes a zero, and only the lowest zero is certain to have its high bit set.
        let bytes = u64::from_le_bytes(*chunk) ^ BLANKS;
        let zeros = bytes.wrapping_sub(LOW) & !bytes & HIGH;
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        (rest, at) = (after, at + 8);
    }
    Some(at + rest.iter().position(|byte| *byte == b' ')?)
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

/// Text as a regular expression.
fn escaped(text: &str) -> String {
    regex::escape(text).replace(' ', r"\s+")
}

/// The fields of a regular expression, in the order of its groups.
fn fields_in(regex: &str) -> impl Iterator<Item = Field> {
    let groups = regex
        .split("(?P<")
        .filter_map(|group| group.split_once('>'));
    groups.filter_map(|(name, _)| Field::from_name(name))
}

/// Puts a value into a record. A quoted one may have escapes.
#[inline]
pub(super) fn set<'a>(
    slot: Slot,
    value: &'a [u8],
    has_escapes: bool,
    arena: &'a Bump,
    record: &mut Record<'a>,
) {
    let plain = |value| match has_escapes {
        true => undo_escapes(value, arena).unwrap_or(value),
        false => value,
    };
    match slot {
        Slot::Skip => {}
        Slot::Field(field) => {
            if has_escapes && field == Field::UserAgent {
                record.set_raw_agent(value);
            }
            record.set(field, plain(value));
        }
        Slot::Request | Slot::RequestWithoutMethod => {
            // Split first: an escaped tab or line feed is not a blank between words.
            let (method, path) = split_request(value);
            record.set(Field::Path, plain(path));
            if let (Slot::Request, Some(method)) = (slot, method) {
                record.set(Field::Method, method);
            }
        }
    }
}

/// Splits a request into its method and its path. The path may have blanks: the last of three
/// words is the protocol, which is not kept. A request that was cut off, and one of HTTP 0.9, has
/// none. What has no method is no request, and is kept whole as the path.
pub(super) fn split_request(request: &[u8]) -> (Option<&[u8]>, &[u8]) {
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
