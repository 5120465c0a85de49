//! Text formats: each is a [`TextSpec`], a list of the parts of a line; see guide/formats.md, "Text
//! formats".
//!
//! White space separates the parts. They make up one regex, in Python's syntax so that
//! `--dump-log-regex` can print it.

use std::sync::{Mutex, OnceLock};

use bumpalo::Bump;
use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::date::DateFormat;
use super::{Field, Fit, Format, Record};

/// An unquoted field without a name.
pub const WORD: &str = r"\S+";
pub const IP: &str = r"(?P<ip>[\w*.:-]+)";
pub const IP_PORT: &str = r"(?P<ip>[\w*.:-]+):\d+";
/// `\w` matches non-ASCII letters in Python. Here the regex matches bytes, so it needs the range.
pub const HOST: &str = r"(?P<host>[\w.\x80-\xff-]*)";
pub const HOST_PORT: &str = r"(?P<host>[\w.\x80-\xff-]*)(?::\d+)?";
pub const USERID: &str = r"(?P<userid>\S+)";
/// The time zone may be empty.
pub const DATE: &str = r"\[(?P<date>\S+)\s+(?P<timezone>\S*)\]";
/// The path may contain blanks: it ends where one word and a quote follow.
pub const REQUEST: &str = r#""(?P<method>\S+)\s+(?P<path>.*?)\s+\S+""#;
/// [`REQUEST`] for a format without `method`.
pub const NO_METHOD: &str = r#""\S+\s+(?P<path>.*?)\s+\S+""#;
pub const STATUS: &str = r"(?P<status>\d+)";
pub const LENGTH: &str = r"(?P<length>\S+)";
pub const REFERRER: &str = r#""(?P<referrer>.*?)""#;
pub const USER_AGENT: &str = r#""(?P<user_agent>.*?)""#;

/// A hand-written scanner for the usual lines of a format. Returns `true` only if the regex would
/// match with the same values; otherwise it leaves the record alone.
pub type Scan = for<'a> fn(&'a [u8], &mut Record<'a>) -> bool;

/// A text format as data.
#[derive(Debug)]
pub struct TextSpec {
    pub name: &'static str,
    /// A regex for each part, in the order of the line. Every capture group is named after a
    /// [`Field`].
    pub parts: &'static [&'static str],
    pub dates: DateFormat,
    /// Tried before the regex.
    pub scan: Option<Scan>,
}

/// Reads the lines of one [`TextSpec`].
#[derive(Debug)]
pub struct TextFormat {
    spec: &'static TextSpec,
    pattern: String,
    /// The field of each group, in the order of the groups.
    fields: Vec<Field>,
    /// Compiled when a line first needs it. Most runs use one format, and most lines only its
    /// scanner.
    matcher: OnceLock<CompiledRegex>,
}

#[derive(Debug)]
struct CompiledRegex {
    regex: Regex,
    /// Reused, so that a line costs no allocation. No thread waits for the lock.
    locations: Mutex<CaptureLocations>,
}

impl TextFormat {
    pub fn new(spec: &'static TextSpec) -> TextFormat {
        let pattern = spec.parts.join(r"\s+");
        let fields = pattern
            .split("(?P<")
            .filter_map(|group| group.split_once('>'))
            .filter_map(|(name, _)| Field::from_name(name))
            .collect();
        TextFormat {
            spec,
            pattern,
            fields,
            matcher: OnceLock::new(),
        }
    }

    /// Parses a line with the regex alone.
    pub(super) fn search<'a>(&self, line: &'a [u8], record: &mut Record<'a>) -> Fit {
        let matcher = self
            .matcher
            .get_or_init(|| CompiledRegex::new(&self.pattern));
        match matcher.locations.try_lock() {
            Ok(mut locations) => self.capture(&matcher.regex, &mut locations, line, record),
            // Another thread uses them, or panicked while it did.
            Err(_) => {
                let mut locations = matcher.regex.capture_locations();
                self.capture(&matcher.regex, &mut locations, line, record)
            }
        }
    }

    fn capture<'a>(
        &self,
        regex: &Regex,
        locations: &mut CaptureLocations,
        line: &'a [u8],
        record: &mut Record<'a>,
    ) -> Fit {
        if regex.captures_read(locations, line).is_none() {
            return Fit::Misfit;
        }
        for (index, field) in self.fields.iter().enumerate() {
            if let Some((start, end)) = locations.get(index + 1) {
                record.set(*field, &line[start..end]);
            }
        }
        Fit::Record
    }
}

impl CompiledRegex {
    fn new(pattern: &str) -> CompiledRegex {
        // Without Unicode, `\S` and `.` also match bytes that are not UTF-8. No line contains a
        // line feed; letting `.` match it anyway spares the scanners a check.
        let regex = RegexBuilder::new(&format!("^{pattern}"))
            .unicode(false)
            .dot_matches_new_line(true)
            .build()
            .expect("the regexes of built-in formats are valid: a test compiles every one");
        let locations = Mutex::new(regex.capture_locations());
        CompiledRegex { regex, locations }
    }
}

impl Format for TextFormat {
    fn name(&self) -> &'static str {
        self.spec.name
    }

    fn parse<'a>(&'a self, line: &'a [u8], _arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        match self.spec.scan {
            Some(scan) if scan(line, record) => Fit::Record,
            _ => self.search(line, record),
        }
    }

    fn dates(&self) -> &DateFormat {
        &self.spec.dates
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn regex(&self) -> Option<String> {
        Some(self.pattern.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::values;

    static TEST_SPEC: TextSpec = TextSpec {
        name: "test",
        parts: &[IP, WORD, STATUS],
        dates: DateFormat::Clf,
        scan: Some(|line, record| {
            if line == b"scanned" {
                record.set(Field::Ip, b"x");
            }
            line == b"scanned"
        }),
    };

    #[test]
    fn the_regex_reads_what_the_scanner_does_not() {
        let (format, arena) = (TextFormat::new(&TEST_SPEC), Bump::new());
        let read = |line| {
            let mut record = Record::default();
            let fit = format.parse(line, &arena, &mut record);
            (fit == Fit::Record).then(|| values(&record))
        };
        assert_eq!(read(b"scanned"), Some(vec![("ip", "x".to_owned())]));
        assert!(
            format.matcher.get().is_none(),
            "no line has needed the regex"
        );
        let want = vec![("ip", "::1".to_owned()), ("status", "200".to_owned())];
        assert_eq!(read(b"::1 - 200 more"), Some(want));
        assert_eq!(
            read(b" ::1 - 200"),
            None,
            "a line matches from its beginning"
        );
        assert_eq!(format.fields(), [Field::Ip, Field::Status]);
        assert_eq!(format.richness(), 2);
    }

    #[test]
    fn the_regex_joins_the_parts_in_python_syntax() {
        let format = TextFormat::new(&TEST_SPEC);
        let want = r"(?P<ip>[\w*.:-]+)\s+\S+\s+(?P<status>\d+)";
        assert_eq!(format.regex().as_deref(), Some(want));
    }

    #[test]
    fn a_line_is_read_while_another_thread_reads_one() {
        let (format, mut record) = (TextFormat::new(&TEST_SPEC), Record::default());
        assert_eq!(
            format.search(b"::1 - 200", &mut Record::default()),
            Fit::Record
        );
        let _busy = format.matcher.get().map(|matcher| matcher.locations.lock());
        assert_eq!(format.search(b"::1 - 404", &mut record), Fit::Record);
        assert_eq!(record.get(Field::Status), Some(&b"404"[..]));
    }
}
