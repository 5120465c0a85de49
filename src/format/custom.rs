//! The user's own regex (`--log-format-regex`), in Python's syntax (SPEC section 3).
//!
//! It must fit from the line's beginning, need not reach its end, and sees the final newline. Most regexes go to
//! the `regex` crate, whose time grows with the line and no faster; look-around and back-references need
//! `fancy-regex`, which tries one way after the other: there, a line that takes too many tries is a misfit.

pub mod python;
#[cfg(test)]
mod tests;
pub(super) mod text;

use std::ops::Range;

use bumpalo::Bump;

use self::python::Translated;
use self::text::Text;
use super::date::DateFormat;
use super::strptime::Strptime;
use super::{Field, Fit, Format, Record, Wanted};
use crate::error::{Error, Result};

/// A format that the user made.
pub struct Custom {
    regex: String,
    engine: Engine,
    /// The groups that are kept, by number.
    groups: Vec<(usize, Group)>,
    fields: Vec<Field>,
    richness: usize,
    dates: DateFormat,
}

/// What a named group gives.
enum Group {
    Field(Field),
    Extra(String),
}

const REQUIRED: [Field; 4] = [Field::Ip, Field::Date, Field::Path, Field::Status];

impl Custom {
    /// Compiles a regex. `date_format` reads its `date` group (and `time`, where it has one), without one it is
    /// `%d/%b/%Y:%H:%M:%S`. An error (wrong use): the regex cannot be read, or lacks a group that is needed.
    pub fn new(regex: &str, date_format: Option<Strptime>, wanted: &Wanted) -> Result<Custom> {
        let translated = python::translate(regex).map_err(|mistake| {
            Error::usage(format!(
                "--log-format-regex cannot be read at character {} of '{regex}': {}",
                mistake.place, mistake.why
            ))
        })?;
        let engine = Engine::new(&translated).map_err(|why| {
            Error::usage(format!(
                "--log-format-regex '{regex}' cannot be used: {why}"
            ))
        })?;
        let fields: Vec<Field> = translated
            .names
            .iter()
            .filter_map(|(name, _)| Field::from_name(name))
            .collect();
        refuse_without_required(&fields)?;
        let dates = match date_format {
            Some(pattern) => DateFormat::Strptime(pattern),
            None if fields.contains(&Field::Time) => DateFormat::Strptime(Strptime::CLF),
            None => DateFormat::Clf,
        };
        Ok(Custom {
            regex: regex.to_string(),
            engine,
            richness: translated.names.len(),
            groups: kept(translated.names, wanted),
            fields,
            dates,
        })
    }
}

fn refuse_without_required(fields: &[Field]) -> Result<()> {
    let missing: Vec<String> = REQUIRED
        .into_iter()
        .filter(|field| !fields.contains(field))
        .map(|field| format!("(?P<{}>...)", field.name()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--log-format-regex lacks {}: the groups ip, date, path and status are needed",
        missing.join(", ")
    )))
}

fn kept(names: Vec<(String, usize)>, wanted: &Wanted) -> Vec<(usize, Group)> {
    names
        .into_iter()
        .filter_map(|(name, number)| match Field::from_name(&name) {
            Some(field) => Some((number, Group::Field(field))),
            None if wanted.contains(&name) => Some((number, Group::Extra(name))),
            None => None,
        })
        .collect()
}

impl Format for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        let text = Text::new(line, arena);
        let Some(found) = self.engine.find(text.as_str()) else {
            return Fit::Misfit;
        };
        for (number, group) in &self.groups {
            if let Some(range) = found.group(*number) {
                let value = text.bytes(range);
                match group {
                    Group::Field(field) => record.set(*field, value),
                    Group::Extra(name) => record.set_extra(name, value),
                }
            }
        }
        // A group may have taken no part in the match.
        match REQUIRED.iter().all(|field| record.get(*field).is_some()) {
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

    /// The zone may stand in the date.
    fn has(&self, field: Field) -> bool {
        let in_date = match &self.dates {
            DateFormat::Strptime(pattern) => pattern.has_zone(),
            _ => false,
        };
        (in_date && field == Field::Timezone) || self.fields.contains(&field)
    }

    fn richness(&self) -> usize {
        self.richness
    }

    fn regex(&self) -> Option<String> {
        Some(self.regex.clone())
    }
}

/// What runs a regex.
#[derive(Debug)]
pub(super) enum Engine {
    Linear(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

/// Where the groups of a match are.
pub(super) enum Found<'t> {
    Linear(regex::Captures<'t>),
    Backtracking(fancy_regex::Captures<'t, str>),
}

impl Engine {
    /// Memory for a compiled regex, in bytes: `\w{1,200}` needs some.
    const MOST_MEMORY: usize = 64 << 20;
    /// Tries for one line. A line that fits takes a few thousand at most; those that fit nothing can go on for ever.
    const MOST_TRIES: usize = 200_000;
    /// Each try may read the rest of the line, so lines end here, too; in bytes.
    const LONGEST_LINE: usize = 32 << 10;

    /// The error is the engine's own words.
    pub(super) fn new(translated: &Translated) -> std::result::Result<Engine, String> {
        let pattern = format!(r"\A(?:{})", translated.pattern);
        if translated.backtracking {
            fancy_regex::RegexBuilder::new(&pattern)
                .backtrack_limit(Self::MOST_TRIES)
                .delegate_size_limit(Self::MOST_MEMORY)
                .max_prog_size(Self::MOST_MEMORY / 64)
                .build()
                .map(Engine::Backtracking)
                .map_err(|error| error.to_string())
        } else {
            regex::RegexBuilder::new(&pattern)
                .size_limit(Self::MOST_MEMORY)
                .build()
                .map(Engine::Linear)
                .map_err(|error| error.to_string())
        }
    }

    pub(super) fn find<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        match self {
            Engine::Linear(regex) => regex.captures(text).map(Found::Linear),
            Engine::Backtracking(regex) if text.len() <= Self::LONGEST_LINE => {
                regex.captures(text).ok()?.map(Found::Backtracking)
            }
            Engine::Backtracking(_) => None,
        }
    }
}

impl Found<'_> {
    /// `None`: the group took no part.
    pub(super) fn group(&self, number: usize) -> Option<Range<usize>> {
        match self {
            Found::Linear(captures) => captures.get(number).map(|group| group.range()),
            Found::Backtracking(captures) => captures.get(number).map(|group| group.range()),
        }
    }
}
