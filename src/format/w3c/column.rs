//! One column of a line: what may stand in it, read by hand or by its part of the regex.

use memchr::memchr_iter;

use super::is_blank;
use crate::format::{Field, Record};

/// What the value of a column looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Text,
    /// Begins with `/`.
    Path,
    /// A path, perhaps behind `rtmp:/`, which is not part of it.
    StreamPath,
    /// A host, and a path from the first `/` on.
    Uri,
    Digits,
    /// Digits and dots.
    Number,
    /// A number, or `-` for none (as in Icecast's logs); a negative number is none, too.
    Duration,
    /// Letters, digits and `_*.:-`.
    Ip,
    /// Digits and `-`.
    Date,
    /// Digits and `:`; a fraction of a second behind it is dropped.
    Time,
}

/// Whether the value stands in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    Never,
    /// Perhaps, and they are not part of the value.
    Around,
    /// Perhaps, and they stay part of the value (what the line says is what custom variables send).
    Kept,
    /// Always, and they are not part of the value.
    Always,
}

/// A column and the fields it gives: two for a [`Shape::Uri`] (host, path) and a [`Shape::Duration`], else one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub shape: Shape,
    pub quotes: Quotes,
    pub gives: [Option<Field>; 2],
}

/// Where a column ended.
pub struct Taken {
    /// Bytes it took.
    pub len: usize,
    /// It ended at a quote; a later one might have done as well.
    pub at_quote: bool,
}

impl Column {
    /// A column that is passed over, quoted or bare.
    pub const SKIP: Column = Column {
        shape: Shape::Text,
        quotes: Quotes::Kept,
        gives: [None, None],
    };

    /// Takes the column off the front of `rest`: at the first end that is possible, so what [`Column::regex`]
    /// prefers. A column that is not the last needs a blank behind it. `None`: it does not fit.
    pub fn take<'a>(&self, rest: &'a [u8], last: bool, record: &mut Record<'a>) -> Option<Taken> {
        let close = match self.quotes {
            Quotes::Never | Quotes::Around => None,
            Quotes::Kept => closing_quote(rest, last),
            Quotes::Always => Some(closing_quote(rest, last)?),
        };
        let (text, len) = match close {
            Some(close) if self.quotes == Quotes::Kept => (&rest[..=close], close + 1),
            Some(close) => (&rest[1..close], close + 1),
            None => {
                let len = rest.iter().position(|&b| is_blank(b)).unwrap_or(rest.len());
                (&rest[..len], len)
            }
        };
        let at_quote = close.is_some();
        self.give(text, at_quote, last && !at_quote, record)?;
        Some(Taken { len, at_quote })
    }

    /// Sets the fields from `text`, all of which must fit, or only its beginning (`prefix`).
    fn give<'a>(
        &self,
        text: &'a [u8],
        quoted: bool,
        prefix: bool,
        record: &mut Record<'a>,
    ) -> Option<()> {
        let value = match self.shape {
            Shape::Text => (quoted || !text.is_empty()).then_some(text)?,
            Shape::Path => text.starts_with(b"/").then_some(text)?,
            Shape::StreamPath => {
                let path = text.strip_prefix(b"rtmp:/").unwrap_or(text);
                path.starts_with(b"/").then_some(path)?
            }
            Shape::Uri => {
                let (host, path) = text.split_at(text.iter().position(|&b| b == b'/')?);
                if host.contains(&b'"') {
                    return None;
                }
                for (field, value) in self.gives.into_iter().zip([host, path]) {
                    if let Some(field) = field {
                        record.set(field, value);
                    }
                }
                return Some(());
            }
            Shape::Duration if text.starts_with(b"-") => {
                let number = text[1..].iter().all(|byte| self.shape.has(*byte));
                return (number || prefix).then_some(());
            }
            Shape::Digits | Shape::Number | Shape::Duration if quoted && text.is_empty() => text,
            _ => self.run(text, prefix)?,
        };
        for field in self.gives.into_iter().flatten() {
            record.set(field, value);
        }
        Some(())
    }

    /// The run of the shape's bytes in `text`, without quotes around it.
    fn run<'a>(&self, text: &'a [u8], prefix: bool) -> Option<&'a [u8]> {
        let around = self.quotes == Quotes::Around;
        let text = match text {
            [b'"', inside @ ..] if around => inside,
            _ => text,
        };
        let len = text
            .iter()
            .position(|&b| !self.shape.has(b))
            .unwrap_or(text.len());
        let (value, mut behind) = text.split_at(len);
        if self.shape == Shape::Time && behind.starts_with(b".") {
            let digits = behind[1..].iter().take_while(|b| b.is_ascii_digit());
            behind = &behind[1 + digits.count()..];
        }
        if around && behind.starts_with(b"\"") {
            behind = &behind[1..];
        }
        (len > 0 && (prefix || behind.is_empty())).then_some(value)
    }

    /// The column as a regex that Python, too, can read.
    pub fn regex(&self) -> String {
        let [first, second] = self.gives;
        let always = self.quotes == Quotes::Always;
        // A value in quotes may be empty, and hold blanks; it ends at the first quote that will do.
        let (some, text) = if always { ("*", ".*?") } else { ("+", r"\S+") };
        let path = if always { "/.*?" } else { r"/\S*" };
        let inside = match self.shape {
            Shape::Text if self.quotes == Quotes::Kept => group(first, r#"".*?"|\S+"#),
            Shape::Text => group(first, text),
            Shape::Path => group(first, path),
            Shape::StreamPath => format!("(?:rtmp:/)?{}", group(first, path)),
            Shape::Uri if always => group(first, r#"[^"/]*"#) + &group(second, path),
            Shape::Uri => group(first, r#"[^"/\s]*"#) + &group(second, path),
            Shape::Digits => group(first, &format!("[0-9]{some}")),
            Shape::Number => group(first, &format!("[0-9.]{some}")),
            Shape::Duration => {
                let number = group(first, &group(second, &format!("[0-9.]{some}")));
                format!("(?:-[0-9.]*|{number})")
            }
            Shape::Ip => group(first, "[A-Za-z0-9_*.:-]+"),
            Shape::Date => group(first, "[0-9-]+"),
            Shape::Time => group(first, "[0-9:]+") + r"(?:\.[0-9]*)?",
        };
        match self.quotes {
            Quotes::Never | Quotes::Kept => inside,
            Quotes::Around => format!("\"?{inside}\"?"),
            Quotes::Always => format!("\"{inside}\""),
        }
    }
}

impl Shape {
    /// Whether a run of this shape may hold `byte`; shapes that are no runs have none.
    fn has(self, byte: u8) -> bool {
        match self {
            Shape::Digits => byte.is_ascii_digit(),
            Shape::Number | Shape::Duration => byte.is_ascii_digit() || byte == b'.',
            Shape::Ip => byte.is_ascii_alphanumeric() || b"_*.:-".contains(&byte),
            Shape::Date => byte.is_ascii_digit() || byte == b'-',
            Shape::Time => byte.is_ascii_digit() || byte == b':',
            Shape::Text | Shape::Path | Shape::StreamPath | Shape::Uri => false,
        }
    }
}

fn group(field: Option<Field>, inside: &str) -> String {
    match field {
        Some(field) => format!("(?P<{}>{inside})", field.name()),
        None => format!("(?:{inside})"),
    }
}

/// Where a value that begins with a quote can end first.
fn closing_quote(rest: &[u8], last: bool) -> Option<usize> {
    let inside = rest.strip_prefix(b"\"")?;
    memchr_iter(b'"', inside)
        .map(|at| at + 1)
        .find(|at| last || rest.get(at + 1).is_some_and(|&b| is_blank(b)))
}
