//! Formats: from a line's bytes to a [`Record`] (SPEC section 3).

pub mod cloud;
pub mod custom;
pub mod date;
pub mod detect;
mod icecast;
pub mod json;
pub mod ncsa;
pub mod percent;
mod record;
pub mod registry;
pub(crate) mod text;
pub mod w3c;

pub use record::{Field, Fields, Record, Wanted, whole_number};

use bumpalo::Bump;

use crate::error::Result;

/// What a line is to a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The record is filled in.
    Record,
    /// The line does not have this format. What the record holds then means nothing.
    Misfit,
}

/// One log format. Values are what stands in the line: quotes, case and `-` untouched, unless a format's
/// own rule (SPEC section 3) says otherwise; the meaning of fields is `hit`'s affair.
pub trait Format: Send + Sync {
    /// The name for `--log-format-name`.
    fn name(&self) -> &'static str;

    /// Takes a line (without its line end) apart. Never panics, whatever the bytes.
    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit;

    /// How `date`, `time` and `timezone` of a record are to be read.
    fn dates(&self) -> &date::DateFormat;

    /// Which fields this format can give. The richest format wins in detection.
    fn fields(&self) -> &[Field];

    /// How many fields count in detection, extras included (named groups of the regex).
    fn richness(&self) -> usize {
        self.fields().len()
    }

    /// Where this format keeps the field that a user names. `None`: an extra.
    fn field(&self, name: &str) -> Option<Field> {
        Field::from_name(name)
    }

    fn has(&self, field: Field) -> bool {
        self.fields().contains(&field)
    }

    /// For `--dump-log-regex`: a regex in Python's syntax that captures the same fields. `None`: a JSON format.
    fn regex(&self) -> Option<String>;

    /// Offers a line that begins with `#` and did not fit. The W3C family takes its fields from it.
    /// An error: the header cannot be used, and no line can be read before another comes.
    fn header(&mut self, _line: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Whether lines can only be read in the light of the header lines before them.
    fn has_header(&self) -> bool {
        false
    }

    /// The W3C family cannot read a line before it saw a `#Fields:` line (or `--w3c-fields`).
    fn ready(&self) -> bool {
        true
    }
}
