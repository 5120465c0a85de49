//! How a line of text is laid out: which values it has, and the text between them.
//!
//! A layout is written as a template:
//!
//! ```text
//! <ip> <-> <userid> [<date> <timezone>] "<request>" <status> <length>
//! ```
//!
//! A blank is any run of white space, other text is itself. `<name>` is a value: a [`Field`], `-`
//! for a word that is passed over, `request` for method, path and protocol together, or a regular
//! expression that the format adds. What a value looks like follows from its name and from the text
//! after it: between quotes it is a quoted value, otherwise it is a word.
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
    /// Anything up to a blank and a bracket: a user name may have blanks.
    User,
    Digits,
    /// Digits or a dash.
    Seconds,
    /// Anything without blanks up to this byte. May be empty.
    Until(u8),
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
            if let Some((_, regex)) = pieces.iter().find(|(piece, _)| *piece == name) {
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
        let mut rest = line;
        for part in &self.parts {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,
                Part::Value(slot, shape) => {
                    let length = shape.length(rest)?;
                    let (value, after) = rest.split_at(length);
                    rest = after;
                    set(*slot, value, shape.is_quoted(), arena, record);
                }
                Part::Regex(_) => return None,
            }
        }
        Some(line.len() - rest.len())
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
            _ => Field::from_name(name).map_or(Slot::Skip, Slot::Field),
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
            (_, None | Some(b' ')) => Shape::Word,
            (_, Some(b')')) => Shape::Parenthesized,
            (_, Some(byte)) => Shape::Until(byte),
        }
    }

    /// The length of such a value at the beginning of a text without control characters.
    fn length(self, text: &[u8]) -> Option<usize> {
        // Words are short: `memchr` would take longer to start than to find the blank.
        let word = |text: &[u8]| text.iter().position(|byte| *byte == b' ');
        let digits = || text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match self {
            Shape::Word => not_empty(word(text).unwrap_or(text.len())),
            Shape::Host => not_empty(text.iter().position(|byte| !is_in_host(*byte))?),
            Shape::Addresses => {
                let mut length = not_empty(word(text)?)?;
                while text[..length].ends_with(b",") {
                    let more = not_empty(word(&text[length + 1..])?)?;
                    length += 1 + more;
                }
                Some(length)
            }
            Shape::User => {
                let mut length = not_empty(word(text)?)?;
                while !text[length..].starts_with(b" [") {
                    length += 1 + not_empty(word(&text[length + 1..])?)?;
                }
                Some(length)
            }
            Shape::Digits => not_empty(digits()),
            Shape::Seconds => match digits() {
                0 => text.starts_with(b"-").then_some(1),
                digits => Some(digits),
            },
            Shape::Until(byte) => {
                let end = text.iter().position(|it| *it == byte || *it == b' ')?;
                (text[end] == byte).then_some(end)
            }
            Shape::Parenthesized => memchr(b')', text),
            Shape::Request => {
                let length = Shape::Quoted.length(text)?;
                // Without a protocol, the request may end at a later quote.
                ends_with_protocol(&text[..length]).then_some(length)
            }
            Shape::Quoted => {
                let mut length = memchr2(b'"', b'\\', text)?;
                while text[length] == b'\\' {
                    // The escaped byte does not end the value.
                    length += 2 + memchr2(b'"', b'\\', text.get(length + 2..)?)?;
                }
                Some(length)
            }
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
            Shape::User => r"\S.*?",
            Shape::Digits => r"\d+",
            Shape::Seconds => r"\d+|-",
            // As long as it can be: the text after it follows.
            Shape::Until(_) => r"\S*",
            Shape::Parenthesized => r"[^)]*",
            Shape::Quoted => QUOTED,
            Shape::Request => REQUEST,
        }
    }
}

/// Whether the last word of a request is a protocol, as in `HTTP/1.1`, and two words precede it.
fn ends_with_protocol(request: &[u8]) -> bool {
    let (Some(first), Some(last)) = (
        request.iter().position(|byte| *byte == b' '),
        request.iter().rposition(|byte| *byte == b' '),
    ) else {
        return false;
    };
    let protocol = &request[last + 1..];
    let Some(slash) = protocol.iter().position(|byte| *byte == b'/') else {
        return false;
    };
    let (name, version) = (&protocol[..slash], &protocol[slash + 1..]);
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    0 < first
        && first < last
        && !name.is_empty()
        && name.iter().all(u8::is_ascii_alphabetic)
        && !version.is_empty()
        && version.iter().all(is_version)
}

fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_.:*[]-".contains(&byte)
}

fn not_empty(length: usize) -> Option<usize> {
    (length > 0).then_some(length)
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

/// Puts a value into a record.
pub(super) fn set<'a>(
    slot: Slot,
    value: &'a [u8],
    is_quoted: bool,
    arena: &'a Bump,
    record: &mut Record<'a>,
) {
    let plain = |value| match is_quoted {
        true => undo_escapes(value, arena).unwrap_or(value),
        false => value,
    };
    match slot {
        Slot::Skip => {}
        Slot::Field(field) => {
            let plain = plain(value);
            if field == Field::UserAgent && plain != value {
                record.set_raw_agent(value);
            }
            record.set(field, plain);
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
