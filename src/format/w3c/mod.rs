//! The W3C family: logs that say in a `#Fields:` line which columns they have (SPEC section 3).
//!
//! A [`Dialect`] knows the names of columns; a [`Layout`](layout::Layout) is one `#Fields:` line made ready;
//! [`W3c`] is the format that reads lines by it.

mod agent;
mod column;
mod dialect;
mod hint;
mod layout;
mod options;
#[cfg(test)]
mod tests;

pub use dialect::{Dialect, dialects};
pub use hint::iis_hint;
pub use options::{W3cOptions, parse_field_regex, parse_map_field};

use bumpalo::Bump;

use super::date::DateFormat;
use super::{Field, Fit, Format, Record};
use crate::error::{Error, Result};
use layout::Layout;

static DATES: DateFormat = DateFormat::W3c;

/// The columns that no dialect can do without; a date without a time is no moment.
const NEEDED: [Field; 5] = [
    Field::Ip,
    Field::Date,
    Field::Time,
    Field::Path,
    Field::Status,
];

/// A format of the family. It reads nothing before it knows its columns.
#[derive(Debug)]
pub struct W3c {
    dialect: &'static Dialect,
    options: W3cOptions,
    layout: Option<Layout>,
}

impl W3c {
    /// The format of `dialect`, with the columns of `--w3c-fields` if given. An error (usage): these columns
    /// are not enough for a hit.
    pub fn new(dialect: &'static Dialect, options: &W3cOptions) -> Result<Self> {
        let mut format = Self {
            dialect,
            options: options.clone(),
            layout: None,
        };
        if let Some(names) = options.field_names() {
            format
                .arrange(names)
                .map_err(|what| Error::usage(format!("--w3c-fields: {what}")))?;
        }
        Ok(format)
    }

    /// Takes the columns in `names` from here on. IIS repeats its header at every start: the same columns
    /// again cost nothing.
    fn arrange(&mut self, names: &[u8]) -> std::result::Result<(), String> {
        if self.layout.as_ref().is_some_and(|old| old.names() == names) {
            return Ok(());
        }
        // The old columns do not hold behind a header, whether or not it can be used.
        self.layout = None;
        let layout = Layout::new(self.dialect, &self.options, names)?;
        let missing: Vec<String> = NEEDED
            .into_iter()
            .filter(|field| !layout.fields().contains(field))
            .map(|field| format!("{} ({})", self.dialect.column_for(field), field.name()))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "no column for {} as {} knows it; --w3c-map-field=custom=standard says which column it is",
                missing.join(", "),
                self.dialect.name
            ));
        }
        self.layout = Some(layout);
        Ok(())
    }
}

impl Format for W3c {
    fn name(&self) -> &'static str {
        self.dialect.name
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        let Some(layout) = &self.layout else {
            return Fit::Misfit;
        };
        if !layout.read(line, arena, record) {
            return Fit::Misfit;
        }
        self.dialect.complete(record);
        if let Some(raw) = record.get(Field::UserAgent)
            && let Some(decoded) = self.dialect.agent.decode(raw, arena)
        {
            record.set(Field::UserAgent, decoded);
            record.set_raw_agent(raw);
        }
        Fit::Record
    }

    fn dates(&self) -> &DateFormat {
        &DATES
    }

    fn fields(&self) -> &[Field] {
        self.layout.as_ref().map_or(&[], Layout::fields)
    }

    fn richness(&self) -> usize {
        self.layout.as_ref().map_or(0, Layout::richness)
    }

    /// `None` also before the columns are known.
    fn regex(&self) -> Option<String> {
        self.layout
            .as_ref()
            .map(|layout| layout.python().to_owned())
    }

    fn header(&mut self, line: &[u8]) -> Result<()> {
        match field_names(line) {
            Some(names) => self
                .arrange(names)
                .map_err(|what| Error::stopped(format!("the log's #Fields: line: {what}"))),
            None => Ok(()),
        }
    }

    fn has_header(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        self.layout.is_some()
    }
}

/// Whether a line says which columns the lines behind it have.
pub fn is_fields_line(line: &[u8]) -> bool {
    field_names(line).is_some()
}

/// What stands behind `#Fields:`, in whatever case; `None` for any other line.
fn field_names(line: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b"#Fields:";
    let (mark, names) = line.split_at_checked(MARK.len())?;
    mark.eq_ignore_ascii_case(MARK)
        .then_some(names.trim_ascii())
}

/// White space as regexes know it (`\s`), ASCII only: logs are bytes.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}
