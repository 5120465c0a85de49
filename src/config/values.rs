//! Values of options: numbers, dates, lists, patterns; an error names the option.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;

use crate::error::{Error, Result};
use crate::format::{Field, Wanted};
use crate::input::discover::is_same_file;
use crate::input::pattern::Pattern;

/// What says whose hits they are.
pub(super) fn named(option: &str, value: &Option<String>) -> Result<Option<String>> {
    value
        .iter()
        .try_for_each(|value| refuse_empty(option, value))?;
    Ok(value.clone())
}

/// For values without which everything would be another's, dropped or without a name. They are empty where a script's
/// variable is not set, and nobody means that.
pub(super) fn refuse_empty(option: &str, value: &str) -> Result<()> {
    match value.trim() {
        "" => Err(Error::usage(format!(
            "{option} is empty: give it a value, or leave it out"
        ))),
        _ => Ok(()),
    }
}

/// A number of recorders.
pub(super) fn recorders(text: &str) -> Result<usize> {
    let number: i64 = text.trim().parse().map_err(|_| {
        Error::usage(format!(
            "--recorders={text}: neither a whole number nor 'auto'"
        ))
    })?;
    Ok(number.clamp(1, 1024) as usize)
}

/// The names that custom variables need beyond the fields that every format knows.
pub(super) fn wanted<'v>(variables: impl Iterator<Item = &'v (String, String)>) -> Wanted {
    Wanted(
        variables
            .map(|(field, _)| field.clone())
            .filter(|field| Field::from_name(field).is_none())
            .collect(),
    )
}

/// `field=Name[,field=Name]`, added up over the times an option was given.
pub(super) fn variables(option: &str, lists: &[String]) -> Result<Vec<(String, String)>> {
    lists
        .iter()
        .flat_map(|list| list.split(','))
        .map(|pair| match pair.split_once('=') {
            Some((field, name)) if !field.is_empty() => Ok((field.to_owned(), name.to_owned())),
            _ => Err(Error::usage(format!(
                "{option}: '{pair}' is not of the form field=Name"
            ))),
        })
        .collect()
}

/// Patterns given as options, then those of files: one a line, blank lines and outer blanks dropped.
pub(super) fn patterns(option: &str, given: &[String], files: &[PathBuf]) -> Result<Vec<Pattern>> {
    let mut patterns: Vec<Pattern> = given.iter().map(Pattern::new).collect();
    for file in files {
        let text = read_text(option, file)?;
        patterns.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(Pattern::new),
        );
    }
    Ok(patterns)
}

/// Editors on Windows begin a file with it.
const BOM: char = '\u{feff}';

fn read_text(option: &str, file: &Path) -> Result<String> {
    let mut text = std::fs::read_to_string(file).map_err(|error| {
        Error::usage(format!(
            "{option}={}: cannot be read: {error}",
            file.display()
        ))
    })?;
    if text.starts_with(BOM) {
        text.drain(..BOM.len_utf8());
    }
    Ok(text)
}

/// `YYYY-MM-DD hh:mm:ss +/-hhmm` in seconds since 1970, UTC.
pub(super) fn moment(option: &str, text: &str) -> Result<i64> {
    DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z").map(|date| date.timestamp()).map_err(|_| {
        Error::usage(format!("{option}={text}: not a date of the form 'YYYY-MM-DD hh:mm:ss +hhmm', offset included"))
    })
}

pub(super) fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| {
        Error::usage(format!(
            "{option}={text}: not a whole number that makes sense here"
        ))
    })
}

/// Seconds, perhaps with a fraction; a year at most, for nobody waits longer.
pub(super) fn seconds(option: &str, text: &str) -> Result<Duration> {
    const YEAR: f64 = 31_536_000.0;
    let wrong = || Error::usage(format!("{option}={text}: not a number of seconds"));
    let seconds: f64 = text.trim().parse().map_err(|_| wrong())?;
    // The lesser of a year and what is no number would be a year.
    match seconds > YEAR {
        true => Ok(Duration::from_secs_f64(YEAR)),
        false => Duration::try_from_secs_f64(seconds).map_err(|_| wrong()),
    }
}

/// Seconds, but not none at all.
pub(super) fn some_seconds(option: &str, text: &str) -> Result<Duration> {
    Some(seconds(option, text)?)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| Error::usage(format!("{option}={text}: nothing can be done in no time")))
}

/// Two files that are written must be two.
pub(super) fn apart(options: [(&str, Option<&Path>); 2]) -> Result<()> {
    match options {
        [(one, Some(path)), (other, Some(second))] if is_same_file(path, second) => {
            Err(Error::usage(format!(
                "{one}={}: this is the file of {other} too, and one would overwrite the other; name another file",
                path.display()
            )))
        }
        _ => Ok(()),
    }
}
