//! The W3C family: formats whose `#Fields:` line says which columns they have; see
//! guide/formats.md, "W3C family".
//!
//! A [`Dialect`] knows the names of columns, [`LogColumns`] is one `#Fields:` line, and [`W3c`] is
//! the format that reads lines by it.

mod columns;
mod dialect;
#[cfg(test)]
mod tests;

pub use dialect::{Dialect, dialects};

use std::collections::HashMap;
use std::sync::Arc;

use bumpalo::Bump;

use super::custom::{PythonRegex, RegexError};
use super::date::DateFormat;
use super::{Field, Fit, Format, Record, Wanted, escapes};
use crate::error::{Error, Result};
use crate::sync::Mutex;
use columns::LogColumns;
use dialect::is_standard_name;

static DATES: DateFormat = DateFormat::W3c;

const REQUIRED: [Field; 5] = [
    Field::Ip,
    Field::Date,
    Field::Time,
    Field::Path,
    Field::Status,
];

/// A format of the family. No line fits before the columns are known.
#[derive(Debug)]
pub struct W3c {
    dialect: &'static Dialect,
    options: W3cOptions,
    columns: Option<Arc<LogColumns>>,
}

impl W3c {
    /// Creates the format of `dialect`, with the columns of `--w3c-fields` if given.
    ///
    /// # Errors
    ///
    /// Returns a usage error if `--w3c-fields` lacks a required column.
    pub fn new(dialect: &'static Dialect, options: &W3cOptions) -> Result<Self> {
        let mut format = Self {
            dialect,
            options: options.clone(),
            columns: None,
        };
        if let Some(names) = options.field_names() {
            let set = format.set_columns(names);
            set.map_err(|what| Error::usage(format!("--w3c-fields: {what}")))?;
        }
        Ok(format)
    }

    /// Sets the columns for the following lines. The error is a text for the user.
    fn set_columns(&mut self, names: &[u8]) -> std::result::Result<(), String> {
        // IIS repeats its header whenever it starts.
        let is_same = |columns: &Arc<LogColumns>| columns.names() == names;
        if self.columns.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        // After any header, even an invalid one, the old columns no longer apply.
        self.columns = None;
        let columns = self
            .options
            .columns
            .get(self.dialect, &self.options, names)?;
        let missing: Vec<String> = REQUIRED
            .into_iter()
            .filter(|field| !columns.fields().contains(field))
            .map(|field| format!("{} ({})", self.dialect.column_for(field), field.name()))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "no column for {}, which {} needs; map your columns with --w3c-map-field=custom=standard",
                missing.join(", "),
                self.dialect.name
            ));
        }
        self.columns = Some(columns);
        Ok(())
    }
}

impl Format for W3c {
    fn name(&self) -> &'static str {
        self.dialect.name
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        let Some(columns) = &self.columns else {
            return Fit::Misfit;
        };
        if !columns.read(line, arena, record) {
            return Fit::Misfit;
        }
        self.dialect.complete(record);
        if let Some(raw) = record.get(Field::UserAgent)
            && let Some(decoded) = self.dialect.agent.decode(raw, arena)
        {
            record.set(Field::UserAgent, decoded);
            record.set_raw_agent(raw);
        }
        if self.dialect.doubles_percent {
            for field in [Field::QueryString, Field::Referrer] {
                let logged = record.get(field);
                if let Some(single) = logged.and_then(|text| escapes::single_percent(text, arena)) {
                    record.set(field, single);
                }
            }
        }
        Fit::Record
    }

    fn dates(&self) -> &DateFormat {
        &DATES
    }

    fn fields(&self) -> &[Field] {
        self.columns
            .as_ref()
            .map_or(&[], |columns| columns.fields())
    }

    fn richness(&self) -> usize {
        self.columns
            .as_ref()
            .map_or(0, |columns| columns.richness())
    }

    fn regex(&self) -> Option<String> {
        let columns = self.columns.as_ref()?;
        Some(columns.python().to_owned())
    }

    fn header(&mut self, line: &[u8]) -> Result<()> {
        match field_names(line) {
            Some(names) => self
                .set_columns(names)
                .map_err(|what| Error::stopped(format!("the log's #Fields: line: {what}"))),
            None => Ok(()),
        }
    }

    fn has_header(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        self.columns.is_some()
    }
}

/// Whether a line is a `#Fields:` line.
pub fn is_fields_line(line: &[u8]) -> bool {
    field_names(line).is_some()
}

/// The names in a `#Fields:` line, in any case. Returns `None` for any other line.
fn field_names(line: &[u8]) -> Option<&[u8]> {
    const MARKER: &[u8] = b"#Fields:";
    let (marker, names) = line.split_at_checked(MARKER.len())?;
    marker
        .eq_ignore_ascii_case(MARKER)
        .then_some(names.trim_ascii())
}

/// Whether `\s` matches the byte.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// The options for W3C logs; see guide/options.md, "Log format".
#[derive(Clone, Debug, Default)]
pub struct W3cOptions {
    /// `--w3c-fields`, with or without `#Fields:`.
    pub fields: Option<String>,
    /// `--w3c-map-field`: the name of a column in the log, and its standard name.
    pub map: Vec<(String, String)>,
    /// `--w3c-field-regex`: the name of a column in the log, and its regex.
    pub regexes: Vec<(String, String)>,
    /// `time-taken` is in milliseconds.
    pub time_taken_millisecs: bool,
    /// `time-taken` of the format `iis` is in seconds.
    pub iis_time_taken_secs: bool,
    /// The groups of `regexes` that custom variables need.
    pub wanted: Wanted,
    pub columns: ColumnsCache,
}

/// The columns of the headers so far: many logs have the same. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ColumnsCache(Arc<Mutex<HashMap<HeaderKey, Arc<LogColumns>>>>);

/// The name of a dialect, and the names in a header.
type HeaderKey = (&'static str, Vec<u8>);

impl ColumnsCache {
    /// So many headers are kept.
    const MAX_HEADERS: usize = 32;

    fn get(
        &self,
        dialect: &'static Dialect,
        options: &W3cOptions,
        names: &[u8],
    ) -> std::result::Result<Arc<LogColumns>, String> {
        let key = (dialect.name, names.to_vec());
        let mut headers = self.0.lock();
        if let Some(columns) = headers.get(&key) {
            return Ok(Arc::clone(columns));
        }
        let columns = Arc::new(LogColumns::new(dialect, options, names)?);
        if headers.len() >= Self::MAX_HEADERS {
            headers.clear();
        }
        headers.insert(key, Arc::clone(&columns));
        Ok(columns)
    }
}

impl W3cOptions {
    /// The columns of `--w3c-fields`.
    fn field_names(&self) -> Option<&[u8]> {
        let typed = self.fields.as_ref()?.trim().as_bytes();
        Some(field_names(typed).unwrap_or(typed))
    }

    /// The standard name of a column. Returns `None` if `name` is a standard name that the user
    /// mapped another column to.
    fn standard_name<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        let mut map = self.map.iter().rev();
        if let Some((_, standard)) = map.find(|(custom, _)| custom.as_bytes() == name) {
            return Some(standard.as_bytes());
        }
        let replaced = self.map.iter().any(|(_, std)| std.as_bytes() == name);
        (!replaced).then_some(name)
    }

    fn regex_for(&self, name: &[u8]) -> Option<&str> {
        let mut regexes = self.regexes.iter().rev();
        let (_, regex) = regexes.find(|(field, _)| field.as_bytes() == name)?;
        Some(regex)
    }
}

/// Parses `custom=standard[,...]`.
///
/// # Errors
///
/// Returns a usage error for an entry without `=` or with an unknown standard name.
pub fn parse_map_field(typed: &str) -> Result<Vec<(String, String)>> {
    let entry = |(number, entry): (usize, &str)| {
        let wrong = |what: String| {
            let number = number + 1;
            Error::usage(format!(
                "--w3c-map-field, entry {number} ({entry:?}): {what}"
            ))
        };
        match entry.split_once('=').map(|(c, s)| (c.trim(), s.trim())) {
            None | Some(("", _)) => Err(wrong("write it as custom=standard".into())),
            Some((_, standard)) if !is_standard_name(standard.as_bytes()) => Err(wrong(format!(
                "{standard:?} is not a standard name; those are date, time, cs-uri-stem, c-ip, sc-status and so on"
            ))),
            Some((custom, standard)) => Ok((custom.to_owned(), standard.to_owned())),
        }
    };
    typed.split(',').enumerate().map(entry).collect()
}

/// Parses `field=regex[,...]`. A comma separates entries if another `field=` follows.
///
/// # Errors
///
/// Returns a usage error for an entry without `=`, and for a regex that is invalid or has no named
/// group.
pub fn parse_field_regex(typed: &str) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    let mut rest = Some(typed);
    while let Some(text) = rest {
        let number = entries.len() + 1;
        let Some((field, regex)) = text.split_once('=').filter(|(field, _)| is_name(field)) else {
            return Err(Error::usage(format!(
                "--w3c-field-regex, entry {number} ({text:?}): write it as field=regex"
            )));
        };
        let (regex, next) = match next_entry(regex) {
            Some(comma) => (&regex[..comma], Some(&regex[comma + 1..])),
            None => (regex, None),
        };
        let wrong = |what: String| {
            Error::usage(format!(
                "--w3c-field-regex, entry {number} (field {field}): {what}"
            ))
        };
        let compiled = FieldRegex::new(regex)
            .map_err(|error| wrong(format!("the regex {regex:?} is invalid: {error}")))?;
        if compiled.names.is_empty() {
            return Err(wrong(format!(
                "the regex {regex:?} needs a named group, as in (?P<name>\\S+)"
            )));
        }
        entries.push((field.to_owned(), regex.to_owned()));
        rest = next;
    }
    Ok(entries)
}

/// Finds the comma before the next `field=`. A comma after which the text before it is not a valid
/// regex belongs to the regex.
fn next_entry(text: &str) -> Option<usize> {
    text.match_indices(',').map(|(at, _)| at).find(|&at| {
        let field = text[at + 1..].split_once('=').map(|(field, _)| field);
        field.is_some_and(is_name) && FieldRegex::new(&text[..at]).is_ok()
    })
}

/// Whether a text can be the name of a column: `x-forwarded-for`, `cs(Cookie)`.
fn is_name(text: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || "-_.()".contains(c);
    !text.is_empty() && text.chars().all(part_of_name)
}

/// A regex of `--w3c-field-regex`.
struct FieldRegex {
    /// The names of its groups.
    names: Vec<String>,
    /// The regex as part of the regex of a line. It matches text, although built-in columns match
    /// bytes.
    in_line: String,
}

impl FieldRegex {
    /// The error is a text for the user.
    fn new(typed: &str) -> std::result::Result<Self, String> {
        // Compiled alone first: an error names the place in what was typed.
        let alone = PythonRegex::new(typed).map_err(|error| error.to_string())?;
        if alone.refers_by_number {
            return Err(
                "it refers to a group by number, but other columns have groups, too; use the name: (?P=name)"
                    .into(),
            );
        }
        let in_line = format!("(?u:{typed})");
        let in_context = python_over_bytes(&in_line).map_err(|error| error.why)?;
        Ok(Self {
            names: in_context.names.into_iter().map(|(name, _)| name).collect(),
            in_line,
        })
    }
}

/// Compiles a regex in Python's syntax in which `\S` and the like match bytes, except in what the
/// user typed.
fn python_over_bytes(pattern: &str) -> std::result::Result<PythonRegex, RegexError> {
    PythonRegex::new(&format!("(?a:{pattern})"))
}

/// A hint for the user if the dialect `name` seems to read `time-taken` in the wrong unit,
/// according to the header and the first lines. IIS always writes whole milliseconds.
pub fn iis_hint(
    name: &str,
    options: &W3cOptions,
    header: &[&[u8]],
    lines: &[&[u8]],
) -> Option<String> {
    let dialect = dialects().iter().find(|dialect| dialect.name == name)?;
    let mut format = dialect.open(options).ok()?;
    for line in header {
        // An invalid header leaves the format without columns.
        let _ = format.header(line);
    }
    match name {
        "w3c_extended"
            if format.has(Field::GenerationTimeSecs) && header.iter().any(|line| is_iis(line)) =>
        {
            Some(
                "the header is that of IIS, which writes time-taken in milliseconds, but it is read as seconds: \
                 give --w3c-time-taken-millisecs (or --log-format-name=iis) if the times come out too long"
                    .to_owned(),
            )
        }
        "iis" if !options.time_taken_millisecs && has_fractions(&format, lines) => Some(
            "time-taken has fractions, as if it were in seconds, but the iis format reads it as milliseconds: \
             give --iis-time-taken-secs if it is in seconds, or --w3c-time-taken-millisecs to say that it is not"
                .to_owned(),
        ),
        _ => None,
    }
}

fn is_iis(line: &[u8]) -> bool {
    const SOFTWARE: &[u8] = b"#Software: Microsoft Internet Information";
    line.get(..SOFTWARE.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SOFTWARE))
}

fn has_fractions(format: &dyn Format, lines: &[&[u8]]) -> bool {
    let arena = Bump::new();
    lines.iter().any(|line| {
        let mut record = Record::default();
        // A line that does not fit may leave values in the record.
        let fit = format.parse(line, &arena, &mut record) == Fit::Record;
        let time = record.get(Field::GenerationTimeMilli);
        fit && time.is_some_and(|time| time.contains(&b'.'))
    })
}
