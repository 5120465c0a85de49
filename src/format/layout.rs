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
use memchr::memchr;

use super::escapes::undo_escapes;
use super::short::{Literal, first_blank, first_quote, has_controls};
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
    /// The parts for the scanner. `None` if only the regular expression reads lines.
    steps: Option<Vec<Step>>,
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

/// A value and the text after it.
#[derive(Debug)]
struct Step {
    slot: Slot,
    shape: Shape,
    after: Literal,
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
    /// `14/May/2024:06:25:24 +0200`. It has this length, so nothing is searched for.
    ClfDate,
    /// Anything without blanks.
    Word,
    /// A host, perhaps with a port. May be empty.
    Host,
    /// Addresses. Those of a list are separated by commas, perhaps with blanks.
    Addresses,
    /// Anything up to a blank and a bracket: a user name may have blanks. Several words with a
    /// quote are no user, but the beginning of another line.
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
        Self {
            steps: steps(&parts),
            parts,
            fields,
        }
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

    /// Reads a usual line: single blanks as the only white space, and each value as short as it can
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
        let steps = self.steps.as_deref()?;
        let mut rest = Rest(line);
        for step in steps {
            rest.take(step, arena, record)?;
            rest.0 = step.after.strip_from(rest.0)?;
        }
        Some(line.len() - rest.0.len())
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

/// The parts as the scanner takes them. Returns `None` if some are regular expressions, or if the
/// first one is no value.
fn steps(parts: &[Part]) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for part in parts {
        let (slot, shape) = match part {
            Part::Value(slot, shape) => (*slot, *shape),
            Part::ClfDate => (Slot::Skip, Shape::ClfDate),
            Part::Regex(_) => return None,
            Part::Text(text) => {
                steps.last_mut()?.after = Literal::new(text);
                continue;
            }
        };
        steps.push(Step {
            slot,
            shape,
            after: Literal::EMPTY,
        });
    }
    Some(steps)
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
            // It has two groups, which `Layout::regex` writes.
            Shape::ClfDate => "",
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

/// The rest of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Takes the value of a step.
    #[inline]
    fn take(&mut self, step: &Step, arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let rest = self.0;
        let digits = || rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = match step.shape {
            Shape::ClfDate => return self.clf_date(record),
            Shape::Quoted => {
                let (value, has_escapes) = self.quoted()?;
                set(step.slot, value, has_escapes, arena, record);
                return Some(());
            }
            Shape::Request => return self.request(step.slot, arena, record),
            Shape::Word => match first_blank(rest) {
                Some(length) => length,
                None if rest.iter().all(|byte| *byte > b' ') => rest.len(),
                None => return None,
            },
            Shape::Host => rest.iter().position(|byte| !IN_HOST[usize::from(*byte)])?,
            Shape::Addresses => {
                let mut length = first_blank(rest)?;
                if rest[..length].ends_with(b",") {
                    length = list_length(rest)?;
                }
                length
            }
            // No name, as usual.
            Shape::User if rest.starts_with(b"- [") => 1,
            Shape::User => user_length(rest)?,
            Shape::Digits => digits(),
            Shape::Seconds if rest.starts_with(b"-") => 1,
            Shape::Seconds => digits(),
            Shape::Parenthesized => {
                let value = self.advance(memchr(b')', rest)?)?;
                set(step.slot, value, false, arena, record);
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
    fn clf_date(&mut self, record: &mut Record<'a>) -> Option<()> {
        let text: &[u8; 26] = self.0.first_chunk()?;
        let (date, zone) = (&text[..20], &text[21..]);
        let has_blank = |text: &[u8]| text.iter().fold(false, |any, byte| any | (*byte <= b' '));
        if text[20] != b' ' || self.0.get(26) != Some(&b']') || has_blank(date) || has_blank(zone) {
            return None;
        }
        record.set(Field::Date, date);
        record.set(Field::Timezone, zone);
        self.advance(26).map(drop)
    }

    /// Takes everything up to a quote that is not escaped. Returns whether anything is.
    #[inline]
    fn quoted(&mut self) -> Option<(&'a [u8], bool)> {
        let mut end = first_quote(self.0)?;
        let has_escapes = self.0[end] == b'\\';
        if has_escapes {
            end = end_of_escaped(self.0, end)?;
        }
        Some((self.advance(end)?, has_escapes))
    }

    /// Takes a request with a protocol: without one, it may end at a later quote.
    #[inline]
    fn request(&mut self, slot: Slot, arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let (request, has_escapes) = self.quoted()?;
        // No white space but blanks.
        let is_plain = !has_controls(request);
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
        let is_usual = is_plain && has_protocol && !method.is_empty();
        if !is_usual || *path.first()? == b' ' || *path.last()? == b' ' {
            return None;
        }
        if slot == Slot::Request {
            record.set(Field::Method, method);
        }
        set(Slot::Field(Field::Path), path, has_escapes, arena, record);
        Some(())
    }
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

/// The length of a user, which ends before a blank and a bracket.
#[cold]
fn user_length(text: &[u8]) -> Option<usize> {
    let mut end = first_blank(text).filter(|end| *end > 0)?;
    while text.get(end + 1) != Some(&b'[') {
        let next = end + 1;
        end = next + first_blank(text.get(next..)?)?;
        if end == next || text[..end].contains(&b'"') {
            return None;
        }
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
    matches!(end, [name @ .., b'0'..=b'9'] if matches!(name, b" HTTP/1." | b" HTTP/2."))
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
    match slot {
        Slot::Field(field) if !has_escapes => record.set(field, value),
        _ => set_decoded(slot, value, has_escapes, arena, record),
    }
}

fn set_decoded<'a>(
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
