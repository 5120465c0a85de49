//! Log formats: each parses a line's bytes into a [`Record`].
//!
//! [`registry`] lists the formats, [`detect`] finds out which one a log has. A text format is a
//! [`template`] in the language of Apache or nginx, built in or pasted by the user. It is compiled
//! to a [`layout`], which reads lines ([`text`]); related formats read a log together ([`family`]).
//! [`json`] formats are tables of keys, [`labelled`] formats tables of labels. The [`w3c`] family
//! takes its columns from the log.

pub(crate) mod address;
pub mod cloud;
pub mod custom;
pub mod date;
pub mod detect;
pub mod escapes;
mod family;
mod icecast;
pub mod json;
mod labelled;
mod layout;
pub mod ncsa;
mod record;
pub mod registry;
mod servers;
pub mod short;
pub(crate) mod template;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod text;
pub mod w3c;

pub use record::{Field, Fields, Record, Wanted, is_absent, whole_number};

use bumpalo::Bump;

use crate::error::Result;

/// Whether a line has a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The line was parsed into the record.
    Record,
    /// The line does not have this format. The content of the record is meaningless.
    Misfit,
}

/// A log format.
///
/// Values are as logged, with their quotes, case and `-`, unless the guide says otherwise for a
/// format. What they mean is up to [`hit`](crate::hit).
pub trait Format: Send + Sync {
    /// The name for `--log-format-name`.
    fn name(&self) -> &'static str;

    /// Parses a line without its line end.
    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit;

    /// How to parse `date`, `time` and `timezone` of a record.
    fn dates(&self) -> &date::DateFormat;

    /// The `--log-date-format` that reads the same dates. Returns `None` if no such format exists,
    /// or if the user gave it.
    fn date_pattern(&self) -> Option<&str> {
        self.dates().pattern()
    }

    /// The fields that a line of this format can have.
    fn fields(&self) -> &[Field];

    /// The number of fields, including extras. Detection prefers the richest format that fits.
    fn richness(&self) -> usize {
        self.fields().len()
    }

    /// The field that a user means by a name. Returns `None` for an extra.
    fn field(&self, name: &str) -> Option<Field> {
        Field::from_name(name)
    }

    fn has(&self, field: Field) -> bool {
        self.fields().contains(&field)
    }

    /// Whether a line of this format can have an extra of this name.
    fn may_have_extra(&self, _name: &str) -> bool {
        true
    }

    /// A regex in Python's syntax that captures the same fields, for `--dump-log-regex`. Returns
    /// `None` for a JSON format, and for the W3C family before its header.
    fn regex(&self) -> Option<String>;

    /// Whether its lines are JSON.
    fn is_json(&self) -> bool {
        false
    }

    /// Whether a line was a misfit only because a regular expression took too long, since this was
    /// last asked.
    fn gave_up(&self) -> bool {
        false
    }

    /// Whether detection should parse a line at all. Cheap.
    fn may_fit(&self, _line: &[u8]) -> bool {
        true
    }

    /// Whether detection may take a line that was parsed for this format. Stricter than
    /// [`Format::parse`].
    fn recognizes(&self, _line: &[u8], _record: &Record) -> bool {
        true
    }

    /// Whether [`Format::recognizes`] may take a line, as far as is seen without parsing it.
    fn may_recognize(&self, _line: &[u8]) -> bool {
        true
    }

    /// Reads a line that begins with `#` and does not fit. The W3C family takes its columns from
    /// it.
    ///
    /// # Errors
    ///
    /// Fails if the header cannot be used. Then no line fits until another header follows.
    fn header(&mut self, _line: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Whether header lines say how to parse the lines after them.
    fn has_header(&self) -> bool {
        false
    }

    /// Whether lines can be parsed. The W3C family needs a `#Fields:` line (or `--w3c-fields`)
    /// first.
    fn ready(&self) -> bool {
        true
    }
}
