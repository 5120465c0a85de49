//! `--log-format-regex`: a format given as a regex in Python's syntax.
//!
//! As with Python's `re.match`, the regex must match from the start of the line, need not reach its
//! end, and sees the final newline. `fancy_regex` runs most regexes in time linear in the line.
//! Look-around and references need backtracking, which is bounded: a line that exceeds the bounds
//! is given up.
//!
//! guide/formats.md, "Custom regexes".

mod python;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bumpalo::Bump;
use fancy_regex::{Captures, ParseError};

use super::date::{DateFormat, Strptime};
use super::{Field, Fit, Format, Record, Wanted};
use crate::error::{Error, Result};

/// A format given as a regex. Clones share the compiled regex.
#[derive(Clone, Debug)]
pub struct Custom {
    typed: String,
    regex: Arc<PythonRegex>,
    /// The groups to keep, by number.
    groups: Vec<(usize, RecordKey)>,
    fields: Vec<Field>,
    dates: DateFormat,
}

/// Where a record keeps the value of a group.
#[derive(Clone, Debug)]
enum RecordKey {
    Field(Field),
    Extra(String),
}

impl Custom {
    /// Compiles a regex. `date_format` reads its `date` group, or `date` and `time`; the default is
    /// `%d/%b/%Y:%H:%M:%S`. Fails (wrong use) if the regex is invalid or lacks a required group.
    pub fn new(typed: &str, date_format: Option<Strptime>, wanted: &Wanted) -> Result<Custom> {
        let regex = PythonRegex::new(typed).map_err(|error| {
            let why = error.why;
            Error::usage(match error.place {
                Some(place) => format!(
                    "--log-format-regex is invalid at character {place} of '{typed}': {why}"
                ),
                None => format!("--log-format-regex '{typed}' cannot be used: {why}"),
            })
        })?;
        let (mut fields, mut groups) = (Vec::new(), Vec::new());
        for (name, number) in &regex.names {
            match Field::from_name(name) {
                Some(field) => {
                    fields.push(field);
                    groups.push((*number, RecordKey::Field(field)));
                }
                None if wanted.contains(name) => {
                    groups.push((*number, RecordKey::Extra(name.clone())));
                }
                None => {}
            }
        }
        refuse_without_required(&fields)?;
        let date_format = date_format.unwrap_or(Strptime::CLF);
        let dates = match date_format == Strptime::CLF && !fields.contains(&Field::Time) {
            // Reads the same dates faster.
            true => DateFormat::Clf,
            false => DateFormat::Strptime(date_format),
        };
        Ok(Custom {
            typed: typed.to_string(),
            regex: Arc::new(regex),
            groups,
            fields,
            dates,
        })
    }
}

fn refuse_without_required(fields: &[Field]) -> Result<()> {
    let missing: Vec<String> = Field::REQUIRED
        .into_iter()
        .filter(|field| !fields.contains(field))
        .map(|field| format!("(?P<{}>...)", field.name()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--log-format-regex lacks {}: the groups ip, date, path and status are required",
        missing.join(", ")
    )))
}

impl Format for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        let text = LineText::new(line, arena);
        let Some(captures) = self.regex.captures(text.as_str()) else {
            return Fit::Misfit;
        };
        for (number, key) in &self.groups {
            if let Some(group) = captures.get(*number) {
                let value = text.bytes(group.range());
                match key {
                    RecordKey::Field(field) => record.set(*field, value),
                    RecordKey::Extra(name) => record.set_extra(name, value),
                }
            }
        }
        // A required group may be in a branch that did not match.
        match record.has_required() {
            true => Fit::Record,
            false => Fit::Misfit,
        }
    }

    fn dates(&self) -> &DateFormat {
        &self.dates
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The zone may be part of the date.
    fn has(&self, field: Field) -> bool {
        let in_date = match &self.dates {
            DateFormat::Strptime(format) => format.has_zone(),
            _ => false,
        };
        (in_date && field == Field::Timezone) || self.fields.contains(&field)
    }

    fn may_have_extra(&self, name: &str) -> bool {
        self.regex.names.iter().any(|(group, _)| group == name)
    }

    fn richness(&self) -> usize {
        self.regex.names.len()
    }

    fn regex(&self) -> Option<String> {
        Some(self.typed.clone())
    }

    fn gave_up(&self) -> bool {
        self.regex.gave_up.swap(false, Ordering::Relaxed)
    }
}

/// A regex in Python's syntax, matched from the start of a line.
#[derive(Debug)]
pub(super) struct PythonRegex {
    regex: fancy_regex::Regex,
    /// Named groups and their numbers, in the order of the regex.
    pub names: Vec<(String, usize)>,
    /// A back-reference or condition gives its group by number.
    pub refers_by_number: bool,
    pub backtracks: bool,
    /// It took too long on a line.
    pub gave_up: AtomicBool,
}

impl PythonRegex {
    /// Bytes of a compiled regex; `\w{1,200}` needs some.
    const MAX_COMPILED_BYTES: usize = 64 << 20;
    /// Backtracking steps for one line. Lines that match take a few thousand at most.
    const MAX_STEPS: usize = 200_000;
    /// A step may read the rest of the line, so backtracking needs a limit on lines, too.
    const MAX_BACKTRACKED_LINE_BYTES: usize = 32 << 10;
    const START: &str = r"\A(?:";

    pub fn new(typed: &str) -> std::result::Result<PythonRegex, RegexError> {
        let rewritten = python::rewrite(typed)?;
        let pinned = format!("{}{})", Self::START, rewritten.pattern);
        let regex = fancy_regex::RegexBuilder::new(&pinned)
            .backtrack_limit(Self::MAX_STEPS)
            .delegate_size_limit(Self::MAX_COMPILED_BYTES)
            .max_prog_size(Self::MAX_COMPILED_BYTES / 64)
            .build()
            .map_err(|error| match error {
                fancy_regex::Error::ParseError(at, why) => RegexError {
                    place: Some(rewritten.place(at.saturating_sub(Self::START.len()))),
                    why: match why {
                        ParseError::TargetNotRepeatable => "this cannot be repeated".to_string(),
                        why => why.to_string().to_lowercase(),
                    },
                },
                error => RegexError {
                    place: None,
                    why: error.to_string(),
                },
            })?;
        Ok(PythonRegex {
            regex,
            names: rewritten.names,
            refers_by_number: rewritten.refers_by_number,
            backtracks: rewritten.backtracks,
            gave_up: AtomicBool::new(false),
        })
    }

    /// Matches a line. Returns `None` as well if matching takes too long.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t, str>> {
        let is_too_long = self.backtracks && text.len() > Self::MAX_BACKTRACKED_LINE_BYTES;
        let found = (!is_too_long).then(|| self.regex.captures(text).ok());
        found.flatten().unwrap_or_else(|| {
            self.gave_up.store(true, Ordering::Relaxed);
            None
        })
    }
}

/// Why a regex is refused.
#[derive(Debug)]
pub(super) struct RegexError {
    /// Characters, from 1.
    pub place: Option<usize>,
    pub why: String,
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "at character {place}: ")?;
        }
        f.write_str(&self.why)
    }
}

/// A line and its final newline as text for a regex.
///
/// As in Python, each byte that is not UTF-8 is a character of its own: U+10FF80 to U+10FFFF. These
/// are neither letters, digits nor white space, so `.`, `\S` and `[^"]` match them.
pub(super) struct LineText<'a> {
    bytes: &'a [u8],
    text: &'a str,
    has_placeholders: bool,
}

/// The placeholder of byte 0; only those of 0x80 to 0xFF are used.
const FIRST_PLACEHOLDER: u32 = 0x10_FF00;

impl<'a> LineText<'a> {
    pub fn new(line: &[u8], arena: &'a Bump) -> Self {
        let bytes = arena.alloc_slice_fill_copy(line.len() + 1, b'\n');
        bytes[..line.len()].copy_from_slice(line);
        match std::str::from_utf8(bytes) {
            Ok(text) => LineText {
                bytes,
                text,
                has_placeholders: false,
            },
            Err(_) => LineText {
                bytes,
                text: arena.alloc_str(&with_placeholders(bytes)),
                has_placeholders: true,
            },
        }
    }

    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The line's own bytes for a range of the text.
    pub fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        if self.has_placeholders {
            &self.bytes[self.byte(range.start)..self.byte(range.end)]
        } else {
            &self.bytes[range]
        }
    }

    /// The byte of the line for a byte of the text: a placeholder is four bytes for one.
    fn byte(&self, in_text: usize) -> usize {
        let before = self.text[..in_text].chars();
        in_text
            - 3 * before
                .filter(|&character| is_placeholder(character))
                .count()
    }
}

fn is_placeholder(character: char) -> bool {
    u32::from(character) >= FIRST_PLACEHOLDER + 0x80
}

fn with_placeholders(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 64);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_placeholder(character) {
                let mut encoded = [0; 4];
                let encoded = character.encode_utf8(&mut encoded);
                text.extend(encoded.bytes().map(placeholder));
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(placeholder));
    }
    text
}

fn placeholder(byte: u8) -> char {
    // Always a character: the sum is at most U+10FFFF.
    char::from_u32(FIRST_PLACEHOLDER + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}
