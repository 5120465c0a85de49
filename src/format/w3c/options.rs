//! The options of the W3C family: what was typed, checked (SPEC section 2, `--w3c-...`).

use super::dialect::is_standard_name;
use super::field_names;
use crate::error::{Error, Result};
use crate::format::Wanted;
use crate::format::custom::{PythonRegex, RegexError};

/// What the user said about W3C logs.
#[derive(Clone, Debug, Default)]
pub struct W3cOptions {
    /// `--w3c-fields`: the columns, with or without `#Fields:` before them.
    pub fields: Option<String>,
    /// `--w3c-map-field`: a column's name in the log, and the standard name that it stands for.
    pub map: Vec<(String, String)>,
    /// `--w3c-field-regex`: a column's name in the log, and the regex for it.
    pub regexes: Vec<(String, String)>,
    /// `--w3c-time-taken-millisecs`: `time-taken` is in milliseconds.
    pub time_taken_millisecs: bool,
    /// `--iis-time-taken-secs`: in the `iis` format it is in seconds.
    pub iis_time_taken_secs: bool,
    /// The groups of `regexes` that custom variables ask for.
    pub wanted: Wanted,
}

impl W3cOptions {
    /// The columns of `--w3c-fields`.
    pub(super) fn field_names(&self) -> Option<&[u8]> {
        let typed = self.fields.as_ref()?.trim().as_bytes();
        Some(field_names(typed).unwrap_or(typed))
    }

    /// The standard name of a column; `None` where the mapping gave this name's meaning to another column.
    pub(super) fn standard_name<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        let mut map = self.map.iter().rev();
        if let Some((_, standard)) = map.find(|(custom, _)| custom.as_bytes() == name) {
            return Some(standard.as_bytes());
        }
        let replaced = self.map.iter().any(|(_, std)| std.as_bytes() == name);
        (!replaced).then_some(name)
    }

    pub(super) fn regex_for(&self, name: &[u8]) -> Option<&str> {
        let mut regexes = self.regexes.iter().rev();
        let (_, regex) = regexes.find(|(field, _)| field.as_bytes() == name)?;
        Some(regex)
    }
}

/// Reads `custom=standard[,...]`. An error (usage): an entry of another form, or an unknown standard name.
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
                "{standard:?} is no standard field; those are date, time, cs-uri-stem, c-ip, sc-status and so on"
            ))),
            Some((custom, standard)) => Ok((custom.to_owned(), standard.to_owned())),
        }
    };
    typed.split(',').enumerate().map(entry).collect()
}

/// Reads `field=regex[,...]`, split at the first `=` and at commas that begin another `field=`. An error (usage):
/// no `=`, a regex that cannot be read, or one without a named group.
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
        let users = UsersRegex::new(regex)
            .map_err(|error| wrong(format!("the regex {regex:?} cannot be read: {error}")))?;
        if users.names.is_empty() {
            return Err(wrong(format!(
                "the regex {regex:?} needs a named group, as in (?P<name>\\S+)"
            )));
        }
        entries.push((field.to_owned(), regex.to_owned()));
        rest = next;
    }
    Ok(entries)
}

/// The comma before another `field=`. Where what stands before it is no whole regex, it is part of the regex.
fn next_entry(text: &str) -> Option<usize> {
    text.match_indices(',').map(|(at, _)| at).find(|&at| {
        let field = text[at + 1..].split_once('=').map(|(field, _)| field);
        field.is_some_and(is_name) && UsersRegex::new(&text[..at]).is_ok()
    })
}

/// A column's name: `x-forwarded-for`, `cs(Cookie)`.
fn is_name(text: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || "-_.()".contains(c);
    !text.is_empty() && text.chars().all(part_of_name)
}

/// A regex of the user's own, in Python's syntax.
pub(super) struct UsersRegex {
    /// Of its groups.
    pub names: Vec<String>,
    /// As it stands in the regex of a whole line. It reads text as Python does, although our own columns take bytes.
    pub in_line: String,
}

impl UsersRegex {
    /// The error is a text for the user.
    pub fn new(typed: &str) -> std::result::Result<Self, String> {
        // Compiled alone first: an error names the place in what was typed.
        let alone = PythonRegex::new(typed).map_err(|error| error.to_string())?;
        if alone.refers_by_number {
            return Err(
                "it refers to a group by its number, but other columns have groups too: use its name, (?P=name)"
                    .into(),
            );
        }
        let in_line = format!("(?u:{typed})");
        let translated = translated(&in_line).map_err(|error| error.why)?;
        Ok(Self {
            names: translated.names.into_iter().map(|(name, _)| name).collect(),
            in_line,
        })
    }
}

/// Compiles a regex in Python's syntax in which `\S` and the like match bytes, except in what the
/// user typed.
pub(super) fn translated(pattern: &str) -> std::result::Result<PythonRegex, RegexError> {
    PythonRegex::new(&format!("(?a:{pattern})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        entries.iter().map(owned).collect()
    }

    #[test]
    fn mapped_names_are_read() {
        assert_eq!(
            parse_map_field("my-date=date,my-time=time").unwrap(),
            pairs(&[("my-date", "date"), ("my-time", "time")])
        );
    }

    #[test]
    fn a_bad_mapping_is_refused_with_its_place() {
        for (typed, part) in [
            ("a=date,b=nosuch", "entry 2"),
            ("a", "entry 1"),
            ("", "entry 1"),
            ("=date", "entry 1"),
            ("a=date,", "entry 2"),
        ] {
            let error = parse_map_field(typed).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Usage);
            let text = error.to_string();
            assert!(
                text.contains("--w3c-map-field") && text.contains(part),
                "{text}"
            );
        }
    }

    #[test]
    fn field_regexes_are_split_where_another_field_begins() {
        for (typed, entries) in [
            (r"a=(?P<x>\S+)", vec![("a", r"(?P<x>\S+)")]),
            (
                r"a=(?P<x>\d{1,3}=),b=(?P<y>.)",
                vec![("a", r"(?P<x>\d{1,3}=)"), ("b", "(?P<y>.)")],
            ),
            (r"a=(?P<x>k,v=\d)", vec![("a", r"(?P<x>k,v=\d)")]),
            (
                r"cs(Cookie)=(?P<c>\S+),x-y=(?P<y>a|b)",
                vec![("cs(Cookie)", r"(?P<c>\S+)"), ("x-y", "(?P<y>a|b)")],
            ),
            (
                r"a=(?P<x>\S+?)(?=,|;)\S+,b=(?P<y>.)(?P=y)",
                vec![("a", r"(?P<x>\S+?)(?=,|;)\S+"), ("b", "(?P<y>.)(?P=y)")],
            ),
        ] {
            assert_eq!(
                parse_field_regex(typed).unwrap(),
                pairs(&entries),
                "{typed}"
            );
        }
    }

    #[test]
    fn a_bad_field_regex_is_refused_with_its_place() {
        for (typed, part) in [
            (r"sc-win32-status=\S+", "field sc-win32-status"),
            (r"a=\S+,b=(?P<x>\S+)", "entry 1"),
            (r"a=(?P<x>.),b=(?P<", "entry 2"),
            (r"a=(?P<x>.)\1", "(?P=name)"),
            (r"a=(?P<x>a\pN)", "character 8"),
            (r"a=(?i)(?P<x>a)", "(?i:...)"),
            (r"a=(?P<x>.)(?=b", "entry 1"),
            (r"a=(?=b)", "a named group"),
            ("a", "entry 1"),
            ("", "entry 1"),
        ] {
            let error = parse_field_regex(typed).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Usage);
            let text = error.to_string();
            assert!(
                text.contains("--w3c-field-regex") && text.contains(part),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mapped_standard_name_loses_its_meaning() {
        let options = W3cOptions {
            map: pairs(&[("d", "date")]),
            ..W3cOptions::default()
        };
        assert_eq!(options.standard_name(b"d"), Some(&b"date"[..]));
        assert_eq!(options.standard_name(b"date"), None);
        assert_eq!(options.standard_name(b"time"), Some(&b"time"[..]));
    }
}
