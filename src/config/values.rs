//! Parses the values of options. Errors name the option.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;
use chrono_tz::Tz;

use crate::error::{Error, Result};
use crate::filter::{BotEntry, BotList, BotRanges};
use crate::input::discover::is_same_file;
use crate::input::pattern::Pattern;
use crate::input::small_file;
use crate::matomo::tracking::Dimension;
use crate::network::{Network, NetworkSet};
use crate::report_file::ReportFile;

/// The error about a value. `what` says what is expected.
pub(super) fn wrong(option: &str, value: &str, what: &str) -> Error {
    Error::usage(format!("{option}={value}: {what}"))
}

/// A value that may be absent, but not empty.
pub(super) fn non_empty(option: &str, value: &Option<String>) -> Result<Option<String>> {
    if let Some(value) = value {
        reject_empty(option, value)?;
    }
    Ok(value.clone())
}

/// The id of a site, as Matomo writes it. Matomo 5.7 and later accept nothing else.
pub(super) fn site_id(option: &str, value: &Option<String>) -> Result<Option<String>> {
    let Some(id) = non_empty(option, value)? else {
        return Ok(None);
    };
    match id.trim().parse::<u64>() {
        Ok(number) if number > 0 => Ok(Some(number.to_string())),
        _ => Err(wrong(
            option,
            &id,
            "expected the number of a site in Matomo",
        )),
    }
}

/// Rejects a blank value. It usually comes from an unset shell variable, and taking it literally
/// would drop or mislabel every hit.
pub(super) fn reject_empty(option: &str, value: &str) -> Result<()> {
    match value.trim() {
        "" => Err(Error::usage(format!(
            "{option} is empty: give it a value or remove the option"
        ))),
        _ => Ok(()),
    }
}

/// `field=Name[,field=Name]`, from all occurrences of the option.
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

/// Custom dimensions: `ID=FIELD`, several separated by commas.
pub(super) fn dimensions(option: &str, lists: &[String]) -> Result<Vec<Dimension>> {
    let mut dimensions: Vec<Dimension> = Vec::new();
    for pair in lists.iter().flat_map(|list| list.split(',')) {
        let dimension = pair.split_once('=').and_then(|(id, field)| {
            let id = id
                .trim()
                .parse::<u16>()
                .ok()
                .filter(|id| (1..=999).contains(id))?;
            let field = field.trim();
            (!field.is_empty()).then(|| Dimension::new(id, field))
        });
        let dimension = dimension.ok_or_else(|| {
            Error::usage(format!(
                "{option}: '{pair}' is not of the form ID=FIELD, such as 1=userid; the ID is that \
                 of the dimension in Matomo, from 1 to 999"
            ))
        })?;
        if let Some(other) = dimensions.iter().find(|other| other.id() == dimension.id()) {
            return Err(Error::usage(format!(
                "{option}: the dimension {} has two fields, {} and {}: remove one of them",
                other.id(),
                other.field(),
                dimension.field(),
            )));
        }
        dimensions.push(dimension);
    }
    Ok(dimensions)
}

/// The names of fields in lists separated by commas, from all occurrences of the option.
pub(super) fn field_names(option: &str, lists: &[String]) -> Result<Vec<String>> {
    names_of(option, lists, "fields")
}

/// Names of `what` in lists separated by commas.
fn names_of(option: &str, lists: &[String], what: &str) -> Result<Vec<String>> {
    let names = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
    names
        .map(|name| match name {
            "" => Err(Error::usage(format!(
                "{option}: a name is empty: give {what} separated by commas"
            ))),
            name => Ok(name.to_owned()),
        })
        .collect()
}

/// The names of query parameters in lists separated by commas, from all occurrences of the option.
pub(super) fn parameters(option: &str, lists: &[String]) -> Result<Vec<String>> {
    let names = names_of(option, lists, "parameters")?;
    let is_wrong = |name: &&String| name.strip_suffix('*').unwrap_or(name).contains('*');
    match names.iter().find(is_wrong) {
        Some(name) => Err(wrong(option, name, "a '*' is allowed only at its end")),
        None => Ok(names),
    }
}

/// IP addresses and networks given as options, and those in files, one per line.
pub(super) fn networks(option: &str, given: &[String]) -> Result<NetworkSet> {
    let mut networks: Vec<Network> = Vec::new();
    for value in given {
        reject_empty(option, value)?;
        let wrong_network = match value.parse() {
            Ok(network) => {
                networks.push(network);
                continue;
            }
            Err(error) => error,
        };
        let file = Path::new(value);
        if !file.exists() {
            let why = format!("{wrong_network}, and there is no such file");
            return Err(Error::usage(format!("{option}: {why}")));
        }
        for (index, line) in read_text(option, file)?.lines().enumerate() {
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            networks.push(text.parse().map_err(|error| {
                Error::usage(format!("{option}={value}: line {}: {error}", index + 1))
            })?);
        }
    }
    Ok(networks.into_iter().collect())
}

/// Patterns for paths given as options, then those in files, one per line. Blank lines and
/// surrounding blanks are ignored. Adds a warning if some of an option or a file can never match.
pub(super) fn path_patterns(
    option: &str,
    given: &[String],
    files: &[PathBuf],
    warnings: &mut Vec<String>,
) -> Result<Vec<Pattern>> {
    let mut patterns = Vec::new();
    let mut add = |source: &str, texts: &[&str]| {
        let is_hopeless = |text: &&&str| !text.starts_with(['/', '*', '?', '[']);
        let mut hopeless = texts.iter().filter(is_hopeless);
        if let Some(first) = hopeless.next() {
            let more = match hopeless.count() {
                0 => String::new(),
                more => format!(" ({more} more like it)"),
            };
            warnings.push(format!(
                "{source}: the pattern '{first}' matches no path{more}, since paths begin with a \
                 slash: write '/{first}' or '*/{first}'"
            ));
        }
        patterns.extend(texts.iter().map(Pattern::new));
    };
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    add(option, &given);
    let option = format!("{option}-from");
    for file in files {
        let text = read_text(&option, file)?;
        let lines = text.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        add(&format!("{option}={}", file.display()), &lines);
    }
    Ok(patterns)
}

/// The list of `--bot-list`.
pub(super) fn bot_list(file: &Path) -> Result<BotList> {
    let text = read_text("--bot-list", file)?;
    BotList::parse(&text)
        .map_err(|why| Error::usage(format!("--bot-list={}: {why}", file.display())))
}

/// The files of `--bot-ranges`. Without a name before the `=`, the name is that of the file.
pub(super) fn bot_ranges(given: &[String], bots: &[BotEntry]) -> Result<BotRanges> {
    let option = "--bot-ranges";
    let read = |value: &String| {
        reject_empty(option, value)?;
        let (name, file) = bot_range_file(value);
        let name = match name {
            Some(name) => name.trim().into(),
            None => file.file_stem().unwrap_or_default().to_string_lossy(),
        };
        let networks = BotRanges::read_file(&read_text(option, file)?)
            .map_err(|why| wrong(option, value, &why))?;
        Ok((name.into_owned(), networks))
    };
    let files = given.iter().map(read).collect::<Result<Vec<_>>>()?;
    BotRanges::new(files, bots).map_err(|why| {
        Error::usage(format!(
            "{option}: {why}. Write {option}=NAME=FILE with a name or an operator in the list of bots"
        ))
    })
}

/// The name and the file in a value of `--bot-ranges`.
pub(super) fn bot_range_file(value: &str) -> (Option<&str>, &Path) {
    match value.split_once('=') {
        Some((name, file)) => (Some(name), Path::new(file)),
        None => (None, Path::new(value)),
    }
}

fn read_text(option: &str, file: &Path) -> Result<String> {
    let unreadable = |error| format!("{option}={}: cannot be read: {error}", file.display());
    small_file::read_text(file).map_err(|error| Error::usage(unreadable(error)))
}

/// `YYYY-MM-DD hh:mm:ss +/-hhmm` as seconds since 1970, UTC.
pub(super) fn date(option: &str, text: &str) -> Result<i64> {
    let date = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z");
    let expected = "expected a date with an offset, as in 'YYYY-MM-DD hh:mm:ss +hhmm'";
    date.map(|date| date.timestamp())
        .map_err(|_| wrong(option, text, expected))
}

/// The name of a time zone in the IANA database.
pub(super) fn time_zone(option: &str, name: &Option<String>) -> Result<Option<Tz>> {
    let zone = name.as_ref().map(|name| {
        let why = "unknown time zone; use a name such as Europe/Berlin";
        name.parse().map_err(|_| wrong(option, name, why))
    });
    zone.transpose()
}

pub(super) fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T> {
    let expected = "expected a whole number in a sensible range";
    text.trim()
        .parse()
        .map_err(|_| wrong(option, text, expected))
}

/// A whole number up to 100, with or without a percent sign.
pub(super) fn percent(option: &str, text: &str) -> Result<u8> {
    let number = text.trim().trim_end_matches('%').trim_end().parse().ok();
    number
        .filter(|number| *number <= 100)
        .ok_or_else(|| wrong(option, text, "expected a percentage from 0 to 100"))
}

/// Bytes, more than zero, with an optional unit: `500M`, `2G`.
pub(super) fn size(option: &str, text: &str) -> Result<u64> {
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|last: char| !last.is_ascii_digit());
    let power = match trimmed[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" => Some(0),
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        "T" => Some(40),
        _ => None,
    };
    let bytes = power.and_then(|power| digits.parse::<u64>().ok()?.checked_mul(1 << power));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        Error::usage(format!(
            "{option}={text}: expected a size, such as 500M or 2G"
        ))
    })
}

/// Seconds, with an optional fraction. Values over a year count as a year.
pub(super) fn seconds(option: &str, text: &str) -> Result<Duration> {
    const YEAR: f64 = 31_536_000.0;
    let invalid = || wrong(option, text, "expected a number of seconds");
    let seconds: f64 = text.trim().parse().map_err(|_| invalid())?;
    // Not `f64::min`, which would turn NaN into a year.
    match seconds > YEAR {
        true => Ok(Duration::from_secs_f64(YEAR)),
        false => Duration::try_from_secs_f64(seconds).map_err(|_| invalid()),
    }
}

/// Seconds, more than zero.
pub(super) fn positive_seconds(option: &str, text: &str) -> Result<Duration> {
    match seconds(option, text)? {
        Duration::ZERO => Err(wrong(option, text, "must be more than 0")),
        time => Ok(time),
    }
}

/// Rejects two options that name the same file, since one would overwrite the other.
pub(super) fn different_files(options: [(&str, Option<&Path>); 2]) -> Result<()> {
    match options {
        [(one, Some(path)), (other, Some(second))] if is_same_file(path, second) => {
            Err(same_file(one, path, other))
        }
        _ => Ok(()),
    }
}

/// The files of `--report`. They must differ from each other and from those of `others`.
pub(super) fn report_files(
    paths: &[PathBuf],
    others: &[(&str, Option<&Path>)],
) -> Result<Vec<ReportFile>> {
    let option = "--report";
    let mut files: Vec<ReportFile> = Vec::new();
    for path in paths {
        let file = ReportFile::new(path)?;
        let is_this = |other: &Path| is_same_file(path, other) || file.is_at(other);
        let mut others = others
            .iter()
            .filter_map(|(name, path)| Some((name, (*path)?)));
        if let Some((other, _)) = others.find(|(_, other)| is_this(other)) {
            return Err(same_file(option, path, other));
        }
        if files.iter().any(|other| is_this(other.path())) {
            return Err(same_file(option, path, "another --report"));
        }
        files.push(file);
    }
    Ok(files)
}

fn same_file(option: &str, path: &Path, other: &str) -> Error {
    Error::usage(format!(
        "{option}={}: {other} names the same file, and one would overwrite the other; choose \
         another file",
        path.display()
    ))
}
