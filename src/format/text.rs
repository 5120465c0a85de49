//! Formats that one regex describes: a row of data each, in `ncsa` and `cloud`.
//!
//! A row lists the parts of a line; between them stand runs of white space (SPEC section 3). The regex is made
//! from the parts and written as Python writes regexes, so that `--dump-log-regex` can print it.

use std::sync::{Mutex, OnceLock};

use bumpalo::Bump;
use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::date::DateFormat;
use super::{Field, Fit, Format, Record};

#[cfg(test)]
pub(crate) mod testing;

/// A bare field that no option can name.
pub const WORD: &str = r"\S+";
pub const IP: &str = r"(?P<ip>[\w*.:-]+)";
pub const IP_PORT: &str = r"(?P<ip>[\w*.:-]+):\d+";
/// Letters beyond ASCII are more than one byte; as Python has it, `\w` knows them, and the range does no harm.
pub const HOST: &str = r"(?P<host>[\w.\x80-\xff-]*)";
pub const HOST_PORT: &str = r"(?P<host>[\w.\x80-\xff-]*)(?::\d+)?";
pub const USERID: &str = r"(?P<userid>\S+)";
/// An empty zone is a zone all the same: UTC.
pub const DATE: &str = r"\[(?P<date>\S+)\s+(?P<timezone>\S*)\]";
/// The path may hold blanks: it ends where one last word and a quote follow.
pub const REQUEST: &str = r#""(?P<method>\S+)\s+(?P<path>.*?)\s+\S+""#;
/// [`REQUEST`] where the format has no `method`.
pub const REQUEST_NO_METHOD: &str = r#""\S+\s+(?P<path>.*?)\s+\S+""#;
pub const STATUS: &str = r"(?P<status>\d+)";
pub const LENGTH: &str = r"(?P<length>\S+)";
pub const REFERRER: &str = r#""(?P<referrer>.*?)""#;
pub const USER_AGENT: &str = r#""(?P<user_agent>.*?)""#;

/// Reads the lines of a format's usual shape without its regex: fills in the record and says `true` only where
/// the regex would fit with the same values; otherwise leaves the record alone.
pub type Scan = for<'a> fn(&'a [u8], &mut Record<'a>) -> bool;

/// A format as data.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// Regexes of the parts, in the order of the line. Every group that captures is named as a [`Field`].
    pub parts: &'static [&'static str],
    pub dates: DateFormat,
    /// Stands in front of the regex.
    pub scan: Option<Scan>,
}

/// A [`Row`] at work.
#[derive(Debug)]
pub struct TextFormat {
    row: &'static Row,
    pattern: String,
    /// The field of each group, in the order of the groups.
    fields: Vec<Field>,
    /// Made when a line first needs it: most runs use one format, and many of their lines only its scanner.
    matcher: OnceLock<Matcher>,
}

#[derive(Debug)]
struct Matcher {
    regex: Regex,
    /// Room for one match, so that a line costs no allocation. Never waited for.
    room: Mutex<CaptureLocations>,
}

impl TextFormat {
    pub fn new(row: &'static Row) -> TextFormat {
        let pattern = row.parts.join(r"\s+");
        let fields = pattern
            .split("(?P<")
            .filter_map(|group| group.split_once('>'))
            .filter_map(|(name, _)| Field::from_name(name))
            .collect();
        TextFormat {
            row,
            pattern,
            fields,
            matcher: OnceLock::new(),
        }
    }

    /// What the regex says of a line, whatever the scanner thinks of it.
    pub(super) fn search<'a>(&self, line: &'a [u8], record: &mut Record<'a>) -> Fit {
        let matcher = self.matcher.get_or_init(|| Matcher::new(&self.pattern));
        match matcher.room.try_lock() {
            Ok(mut room) => self.capture(&matcher.regex, &mut room, line, record),
            // Another thread is at it (or died there): this line brings its own room.
            Err(_) => {
                let mut room = matcher.regex.capture_locations();
                self.capture(&matcher.regex, &mut room, line, record)
            }
        }
    }

    fn capture<'a>(
        &self,
        regex: &Regex,
        room: &mut CaptureLocations,
        line: &'a [u8],
        record: &mut Record<'a>,
    ) -> Fit {
        if regex.captures_read(room, line).is_none() {
            return Fit::Misfit;
        }
        for (index, field) in self.fields.iter().enumerate() {
            if let Some((start, end)) = room.get(index + 1) {
                record.set(*field, &line[start..end]);
            }
        }
        Fit::Record
    }
}

impl Matcher {
    fn new(pattern: &str) -> Matcher {
        // A log is bytes: without Unicode, `\S` and `.` take also those that are no UTF-8. A line holds no line
        // feed, so `.` may as well take it; then the scanners need not look for one.
        let regex = RegexBuilder::new(&format!("^{pattern}"))
            .unicode(false)
            .dot_matches_new_line(true)
            .build()
            .expect("the regex of a built-in format is sound: a test compiles every one");
        let room = Mutex::new(regex.capture_locations());
        Matcher { regex, room }
    }
}

impl Format for TextFormat {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn parse<'a>(&'a self, line: &'a [u8], _arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        match self.row.scan {
            Some(scan) if scan(line, record) => Fit::Record,
            _ => self.search(line, record),
        }
    }

    fn dates(&self) -> &DateFormat {
        &self.row.dates
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
    use super::testing::values;
    use super::*;

    static ROW: Row = Row {
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
    fn the_scanner_goes_first_and_the_regex_takes_what_it_leaves() {
        let (format, arena) = (TextFormat::new(&ROW), Bump::new());
        let read = |line| {
            let mut record = Record::default();
            let fit = format.parse(line, &arena, &mut record);
            (fit == Fit::Record).then(|| values(&record))
        };
        assert_eq!(read(b"scanned"), Some(vec![("ip", "x".to_owned())]));
        assert!(format.matcher.get().is_none(), "no regex was needed so far");
        let want = vec![("ip", "::1".to_owned()), ("status", "200".to_owned())];
        assert_eq!(read(b"::1 - 200 more"), Some(want));
        assert_eq!(read(b" ::1 - 200"), None, "from the line's beginning");
        assert_eq!(format.fields(), [Field::Ip, Field::Status]);
        assert_eq!(format.richness(), 2);
    }

    #[test]
    fn the_regex_is_the_parts_with_white_space_between_as_python_writes_it() {
        let format = TextFormat::new(&ROW);
        let want = r"(?P<ip>[\w*.:-]+)\s+\S+\s+(?P<status>\d+)";
        assert_eq!(format.regex().as_deref(), Some(want));
    }

    #[test]
    fn a_line_is_read_also_while_another_thread_reads_one() {
        let (format, mut record) = (TextFormat::new(&ROW), Record::default());
        assert_eq!(
            format.search(b"::1 - 200", &mut Record::default()),
            Fit::Record
        );
        let _busy = format.matcher.get().map(|matcher| matcher.room.lock());
        assert_eq!(format.search(b"::1 - 404", &mut record), Fit::Record);
        assert_eq!(record.get(Field::Status), Some(&b"404"[..]));
    }
}
