//! How a line of text is laid out: which values it has, and the text between them.
//!
//! A layout is compiled from a [`Template`]. A blank is any run of white space, other text is
//! itself. What a value looks like follows from its variable and from the text around it: before a
//! quote it is a quoted value, before a blank a word, and before other text it ends where that
//! begins.
//!
//! Usual lines are read by [`Layout::scan`], which takes each value as short as it can be. All
//! other lines are read by the regular expression of [`Layout::regex`].

mod scanner;

use std::borrow::Cow;

use bumpalo::Bump;
use memchr::memchr;

pub(super) use self::scanner::split_request;
use super::escapes::undo_escapes;
use super::json::unescape;
use super::short::Literal;
use super::template::{Escaping, Meaning, Template, Token, Variable, Written};
use super::{Field, Record, Wanted};

/// The content of a quoted value. It ends at the first quote that no backslash escapes, or, if the
/// rest of the line does not fit then, at the first quote with which it does.
const QUOTED: &str = r#"(?:[^"\\]|\\.)*|.*?"#;

/// The same for a request: if it has a protocol, it ends there.
const REQUEST: &str = r#"\S+\s.*?\s[A-Za-z]+/[\d.]+\s*|(?:[^"\\]|\\.)*|.*?"#;

/// The layout of a line.
#[derive(Debug)]
pub struct Layout {
    parts: Vec<Part>,
    /// The parts for the scanner. `None` if only the regular expression reads lines.
    steps: Option<Vec<Step>>,
    /// The text of the layout without its blanks.
    words: Vec<Box<[u8]>>,
    begins_with_text: bool,
    fields: Vec<Field>,
    /// The fields that options know by the name of their variable.
    names: Vec<(String, Field)>,
    /// The extras that options want.
    extras: Vec<String>,
    escaping: Escaping,
    begins_with_address: bool,
    /// A field of addresses that proxies have seen precedes that of the address.
    begins_with_forwarded: bool,
}

#[derive(Debug)]
enum Part {
    /// Text that must be there. A blank matches any white space.
    Text(String),
    Value(Slot, Shape),
    /// A regular expression with a group for each field that it sets.
    Regex(&'static str),
}

/// A value and the text after it.
#[derive(Debug)]
struct Step {
    slot: Slot,
    shape: Shape,
    /// The text before it ends with a blank, which is any white space.
    is_after_blank: bool,
    after: Literal,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Skip,
    Field(Field),
    /// One of the extras, by its index.
    Extra(u16),
    /// Method, path and protocol.
    Request,
    /// The same for a format that does not report the method.
    RequestWithoutMethod,
    /// The query, perhaps with its question mark.
    Query,
}

/// What a value looks like. With this representation the scanner branches on the first byte, which
/// is faster than on a niche.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Shape {
    /// Nothing: the line begins with text.
    Nothing,
    /// `14/May/2024:06:25:24 +0200`. It has this length, so nothing is searched for.
    ClfDate {
        /// The byte after it, a blank at the end of the line.
        closing: u8,
        /// The offset ends at the first such byte, not at the last one of the word.
        is_lazy: bool,
    },
    /// Anything without blanks.
    Word,
    /// The same. May have escapes.
    EscapedWord,
    /// The same, perhaps empty.
    OptionalWord,
    /// This number of words.
    Words(u8),
    /// Several words with commas or colons between them.
    List,
    /// A host, perhaps with a port. May be empty.
    Host,
    /// Addresses. Those of a list are separated by commas, perhaps with blanks.
    Addresses,
    /// An address before the last colon of a word.
    AddressBeforePort,
    /// Anything up to a blank and a bracket: a user name may have blanks. Several words with a
    /// quote are no user, but the beginning of another line.
    User,
    Digits,
    /// A word and a user. Only for the scanner: nearly always two dashes.
    IdentityAndUser,
    /// Digits or a dash.
    Seconds,
    /// Anything up to a closing parenthesis.
    Parenthesized,
    /// Anything up to a closing quote.
    Quoted,
    /// The same, with a protocol at the end if it has one.
    Request,
    /// A request without quotes.
    BareRequest,
    /// Anything up to this byte, with which the text after the value begins.
    Until(u8),
    /// Anything up to the last of several such bytes. The second number says how many precede it.
    UntilNth(u8, u8),
    /// Anything up to the blank with which the rest of the line fits.
    UntilBlank,
    /// Anything up to this byte, or to the end of the line.
    Cell(u8),
    /// Anything up to the end of the line.
    RestOfLine,
}

impl Layout {
    /// Compiles a template. Of the variables that are no fields, only those that are wanted are
    /// kept.
    pub fn new(template: &Template, wanted: &Wanted) -> Self {
        let (mut parts, mut fields, mut extras) = (Vec::new(), Vec::new(), Vec::new());
        let tokens = &template.tokens;
        for (at, token) in tokens.iter().enumerate() {
            let variable = match token {
                Token::Text(text) => {
                    parts.push(Part::Text(text.clone()));
                    continue;
                }
                Token::Value(variable) => variable,
            };
            if let Meaning::Regex(regex) = variable.meaning {
                parts.push(Part::Regex(regex));
                fields.extend(fields_in(regex));
                continue;
            }
            let slot = Slot::of(variable, wanted, &mut extras);
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let shape = Shape::of(variable, slot, before, tokens.get(at + 1));
            fields.extend(variable.fields().into_iter().flatten());
            parts.push(Part::Value(slot, shape));
        }
        let place = |wanted| fields.iter().position(|field| *field == wanted);
        let forwarded = place(Field::ForwardedFor);
        let texts = parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        let words = texts
            .flat_map(|text| text.split(' '))
            .filter(|word| !word.is_empty());
        let words = words.map(|word| Box::from(word.as_bytes())).collect();
        let begins_with_text =
            matches!(parts.first(), Some(Part::Text(text)) if !text.starts_with(' '));
        Self {
            steps: steps(&parts),
            words,
            begins_with_text,
            begins_with_address: begins_with_address(tokens),
            begins_with_forwarded: forwarded.is_some() && forwarded < place(Field::Ip),
            parts,
            fields,
            names: template.names(),
            extras,
            escaping: template.escaping,
        }
    }

    /// The fields that a line can have.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field that a variable of this name holds.
    pub fn field(&self, name: &str) -> Option<Field> {
        let found = self.names.iter().find(|(known, _)| known == name);
        found.map(|(_, field)| *field)
    }

    /// Whether lines have an extra that an option wants by this name.
    pub fn has_extra(&self, name: &str) -> bool {
        self.extras.iter().any(|extra| extra == name)
    }

    /// Whether the line begins with an address and a word, so that a host before the address would
    /// be taken for it.
    pub fn begins_with_address(&self) -> bool {
        self.begins_with_address
    }

    /// Whether addresses that proxies have seen come first in the line.
    pub fn begins_with_forwarded(&self) -> bool {
        self.begins_with_forwarded
    }

    /// The regular expression of a line, and what becomes of its groups: whether their values may
    /// have escapes.
    pub(super) fn regex(&self) -> (String, Vec<(Slot, bool)>) {
        let (mut regex, mut groups) = ("^".to_owned(), Vec::new());
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => regex += &self.text_regex(at, text),
                Part::Value(_, Shape::ClfDate { is_lazy, .. }) => {
                    let fields = [Field::Date, Field::Timezone];
                    groups.extend(fields.map(|field| (Slot::Field(field), false)));
                    regex += &format!(r"(\S+)\s+({})", offset_regex(*is_lazy));
                }
                Part::Value(Slot::Skip, shape) => regex += &format!("(?:{})", shape.regex()),
                Part::Value(slot, shape) => {
                    groups.push((*slot, shape.has_escapes()));
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
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => regex += &self.text_regex(at, text),
                Part::Value(_, Shape::ClfDate { is_lazy, .. }) => {
                    let offset = offset_regex(*is_lazy);
                    regex += &format!(r"(?P<date>\S+)\s+(?P<timezone>{offset})");
                }
                Part::Value(Slot::Skip, Shape::Word) => regex += &Shape::Word.regex(),
                Part::Value(Slot::Skip, shape) => regex += &format!("(?:{})", shape.regex()),
                Part::Value(Slot::Field(field), shape) => {
                    regex += &format!("(?P<{}>{})", field.name(), shape.regex());
                }
                Part::Value(Slot::Query, shape) => {
                    let name = Field::QueryString.name();
                    regex += &format!(r"\??(?P<{name}>{})", shape.regex());
                }
                Part::Value(Slot::Extra(index), shape) => {
                    let name = group_name(&self.extras[usize::from(*index)]);
                    regex += &format!("(?P<{name}>{})", shape.regex());
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

    /// The regular expression of the text at a place.
    fn text_regex(&self, at: usize, text: &str) -> String {
        let is_optional = |part: &Part| matches!(part, Part::Value(_, Shape::OptionalWord));
        match (self.parts.get(at + 1), text.strip_suffix(' ')) {
            // The blanks on both sides of an empty value are two.
            (Some(part), Some(text)) if is_optional(part) => escaped(text) + r"\s",
            _ => escaped(text),
        }
    }

    /// Puts a value into a record.
    #[inline]
    pub(super) fn set<'a>(
        &'a self,
        slot: Slot,
        value: &'a [u8],
        has_escapes: bool,
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) {
        match slot {
            Slot::Field(field) if !has_escapes => record.set(field, value),
            _ => self.set_decoded(slot, value, has_escapes, arena, record),
        }
    }

    fn set_decoded<'a>(
        &'a self,
        slot: Slot,
        value: &'a [u8],
        has_escapes: bool,
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) {
        let plain = |value| {
            let plain = match self.escaping {
                Escaping::Backslash if has_escapes => undo_escapes(value, arena),
                Escaping::Json if has_escapes && memchr(b'\\', value).is_some() => {
                    unescape(value, arena)
                }
                _ => None,
            };
            plain.unwrap_or(value)
        };
        match slot {
            Slot::Skip => {}
            Slot::Field(field) => {
                if has_escapes && field == Field::UserAgent {
                    record.set_raw_agent(value);
                }
                record.set(field, plain(value));
            }
            Slot::Extra(index) => {
                record.set_extra(&self.extras[usize::from(index)], plain(value));
            }
            Slot::Query => {
                let query = value.strip_prefix(b"?").unwrap_or(value);
                record.set(Field::QueryString, plain(query));
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
}

/// Whether a line begins with an address and the user that `identd` reports.
fn begins_with_address(tokens: &[Token]) -> bool {
    let is = |token: &Token, meaning| match token {
        Token::Text(_) => false,
        Token::Value(variable) => variable.meaning == meaning,
    };
    match tokens {
        [ip, Token::Text(blank), identity, ..] => {
            blank == " " && is(ip, Meaning::Field(Field::Ip)) && is(identity, Meaning::Identity)
        }
        _ => false,
    }
}

/// The parts as the scanner takes them. Returns `None` if some are regular expressions, or if a
/// search would be needed to find the end of a value.
fn steps(parts: &[Part]) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_after_blank = false;
    for part in parts {
        let (slot, shape) = match part {
            Part::Value(_, Shape::BareRequest | Shape::UntilBlank) | Part::Regex(_) => return None,
            Part::Value(slot, shape) => (*slot, *shape),
            Part::Text(text) => {
                if steps.is_empty() {
                    steps.push(Step::of(Slot::Skip, Shape::Nothing));
                }
                steps.last_mut()?.after = Literal::new(text);
                is_after_blank = text.ends_with(' ');
                continue;
            }
        };
        match steps.last_mut() {
            Some(last) if shape == Shape::User && last.is_identity() => {
                *last = Step::of(slot, Shape::IdentityAndUser);
            }
            _ => steps.push(Step {
                is_after_blank,
                ..Step::of(slot, shape)
            }),
        }
        is_after_blank = false;
    }
    Some(steps)
}

impl Step {
    fn of(slot: Slot, shape: Shape) -> Self {
        Self {
            slot,
            shape,
            is_after_blank: false,
            after: Literal::new(""),
        }
    }

    /// Whether it is a word that is not wanted, and a blank.
    fn is_identity(&self) -> bool {
        self.slot == Slot::Skip && self.shape == Shape::Word && self.after.is(" ")
    }
}

impl Slot {
    /// Adds the name of an extra to `extras`.
    fn of(variable: &Variable, wanted: &Wanted, extras: &mut Vec<String>) -> Self {
        match variable.meaning {
            Meaning::Request => Slot::Request,
            Meaning::RequestWithoutMethod => Slot::RequestWithoutMethod,
            Meaning::Query => Slot::Query,
            // The shape says that there are two.
            Meaning::Date(Written::Clf) => Slot::Field(Field::Date),
            _ => match (variable.fields(), variable.extra(wanted)) {
                ([Some(field), _], _) => Slot::Field(field),
                (_, Some(name)) => match u16::try_from(extras.len()) {
                    Ok(index) => {
                        extras.push(name.to_owned());
                        Slot::Extra(index)
                    }
                    Err(_) => Slot::Skip,
                },
                _ => Slot::Skip,
            },
        }
    }
}

impl Shape {
    /// The shape of a value, by its variable and by what precedes and follows it.
    fn of(variable: &Variable, slot: Slot, before: Option<&Token>, after: Option<&Token>) -> Self {
        let before = match before {
            Some(Token::Text(text)) => text.as_str(),
            _ => "",
        };
        let (after, is_last) = match after {
            Some(Token::Text(text)) => (text.as_str(), false),
            Some(Token::Value(_)) => ("", false),
            None => ("", true),
        };
        // Blanks are searched for if nothing follows, and between a host and a path.
        let end = after.bytes().next().unwrap_or(b' ');
        let is_quoted = before.ends_with('"') && end == b'"';
        match &variable.meaning {
            Meaning::Date(Written::Clf) => {
                return Shape::ClfDate {
                    closing: end,
                    is_lazy: end != b' ' && !after.starts_with("] "),
                };
            }
            Meaning::Request | Meaning::RequestWithoutMethod => {
                return match end {
                    // A piece of a built-in format ends it.
                    b'"' => Shape::Request,
                    _ if before.ends_with('"') && !is_last && after.is_empty() => Shape::Request,
                    b' ' => Shape::BareRequest,
                    end => Shape::Until(end),
                };
            }
            Meaning::IpBeforePort => return Shape::AddressBeforePort,
            Meaning::Port => return Shape::Digits,
            Meaning::Field(Field::Status) if !is_quoted => return Shape::Digits,
            Meaning::Field(Field::SessionTime) if !is_quoted => return Shape::Seconds,
            Meaning::Field(Field::Userid) if after.starts_with(" [") => return Shape::User,
            _ => {}
        }
        // A date may have bytes like the one after it.
        let within = match &variable.meaning {
            Meaning::Date(Written::Strftime(format) | Written::Clock(format)) => {
                let is_end = |byte: &u8| *byte == end && byte.is_ascii();
                format.bytes().filter(is_end).count()
            }
            Meaning::Date(Written::Iso(_)) => usize::from(matches!(end, b':' | b'-')) * 2,
            _ => 0,
        };
        match (end, u8::try_from(within)) {
            (b' ', _) => {}
            (b'"', _) => return Shape::Quoted,
            (b')', _) => return Shape::Parenthesized,
            (end, Ok(count @ 1..)) => return Shape::UntilNth(end, count),
            (end, _) => return Shape::Until(end),
        }
        // Nearly every user agent has commas or semicolons.
        let is_header = matches!(
            variable.meaning,
            Meaning::Field(Field::UserAgent | Field::Referrer)
        );
        match (is_last, before.as_bytes()) {
            (true, b"," | b";") if is_header => return Shape::RestOfLine,
            (true, [delimiter @ (b'|' | b',' | b';' | b'\t')]) => return Shape::Cell(*delimiter),
            _ => {}
        }
        match (&variable.meaning, slot) {
            (Meaning::Field(Field::Ip | Field::ForwardedFor), _) => Shape::Addresses,
            (Meaning::Field(Field::Host), _) => Shape::Host,
            (Meaning::Field(Field::UserAgent | Field::Referrer), _) if is_last => Shape::RestOfLine,
            (Meaning::Field(Field::UserAgent | Field::Referrer), _) => Shape::UntilBlank,
            (Meaning::List | Meaning::ListOf(_), _) => Shape::List,
            (Meaning::Query | Meaning::QueryMark, _) => Shape::OptionalWord,
            (Meaning::Field(Field::Path), _) | (_, Slot::Extra(_)) => Shape::EscapedWord,
            (Meaning::Date(Written::Iso(words)), _) => Shape::words(*words),
            (Meaning::Date(Written::Strftime(format) | Written::Clock(format)), _) => {
                Shape::words(format.split_ascii_whitespace().count())
            }
            _ => Shape::Word,
        }
    }

    fn words(count: usize) -> Self {
        match u8::try_from(count).unwrap_or(u8::MAX) {
            0 | 1 => Shape::Word,
            count => Shape::Words(count),
        }
    }

    /// Whether its value may have escapes.
    fn has_escapes(self) -> bool {
        matches!(
            self,
            Shape::Quoted
                | Shape::Request
                | Shape::BareRequest
                | Shape::EscapedWord
                | Shape::OptionalWord
                | Shape::List
                | Shape::Until(_)
                | Shape::UntilNth(..)
                | Shape::UntilBlank
                | Shape::Cell(_)
                | Shape::RestOfLine
        )
    }

    fn regex(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            // The last one has two groups, which `Layout::regex` writes.
            Shape::Nothing | Shape::IdentityAndUser | Shape::ClfDate { .. } => "",
            Shape::Word | Shape::EscapedWord | Shape::AddressBeforePort => r"\S+",
            Shape::OptionalWord => r"\S*",
            Shape::Words(count) => {
                return Cow::Owned(format!(r"\S+(?:\s+\S+){{{}}}", count - 1));
            }
            Shape::List => r"(?:\S+,\s+|\S+\s+:\s+)*\S+",
            // `\w` matches letters beyond ASCII in Python, but only ASCII here.
            Shape::Host => r"[\w.:*\[\]\x80-\xff-]*",
            Shape::Addresses => r"(?:\S+,\s+)*\S+",
            Shape::User => r#"\S[^"]*?|\S+"#,
            Shape::Digits => r"\d+",
            Shape::Seconds => r"\d+|-",
            Shape::Parenthesized => r"[^)]*",
            Shape::Quoted => QUOTED,
            Shape::Request => REQUEST,
            Shape::BareRequest => r"\S+\s.*?\s[A-Za-z]+/[\d.]+|.*?",
            Shape::Until(_) | Shape::UntilBlank => ".*?",
            Shape::UntilNth(byte, count) => {
                let byte = escaped_byte(byte);
                return Cow::Owned(format!("(?:[^{byte}]*{byte}){{{count}}}[^{byte}]*"));
            }
            Shape::Cell(byte) => return Cow::Owned(format!("[^{}]*", escaped_byte(byte))),
            Shape::RestOfLine => ".*",
        })
    }
}

/// A byte of ASCII in a regular expression.
fn escaped_byte(byte: u8) -> String {
    regex::escape(&char::from(byte).to_string())
}

/// The offset of [`Shape::ClfDate`]. May be empty.
fn offset_regex(is_lazy: bool) -> &'static str {
    if is_lazy { r"\S*?" } else { r"\S*" }
}

/// The name of an extra as that of a group in Python's syntax.
fn group_name(extra: &str) -> String {
    let is_of_name = |character: char| character.is_ascii_alphanumeric();
    let name: String = (extra.chars())
        .map(|character| {
            if is_of_name(character) {
                character
            } else {
                '_'
            }
        })
        .collect();
    match name.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

/// Text as a regular expression. Several blanks match what one matches.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for part in text.split_inclusive(' ') {
        let word = part.strip_suffix(' ');
        escaped += &regex::escape(word.unwrap_or(part));
        if word.is_some() && (word != Some("") || !escaped.ends_with(r"\s+")) {
            escaped += r"\s+";
        }
    }
    escaped
}

/// The fields of a regular expression, in the order of its groups.
fn fields_in(regex: &str) -> impl Iterator<Item = Field> {
    let groups = regex
        .split("(?P<")
        .filter_map(|group| group.split_once('>'));
    groups.filter_map(|(name, _)| Field::from_name(name))
}
