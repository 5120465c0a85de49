//! The dialects of the W3C family: their columns, and how they encode user agents. See
//! guide/formats.md, "W3C family".

use bumpalo::Bump;

use super::columns::ColumnType::{self, *};
use super::columns::Quotes::{self, *};
use super::columns::{Column, header_names};
use super::{W3c, W3cOptions, field_names};
use crate::error::Result;
use crate::format::escapes::percent_decoded;
use crate::format::{Field, Record};

/// A format of the family as data.
#[derive(Debug)]
pub struct Dialect {
    /// The name for `--log-format-name`.
    pub name: &'static str,
    /// Columns that not all dialects know. They override the common ones of the same name.
    own: &'static [KnownColumn],
    /// Columns that only this dialect has.
    marks: &'static [&'static str],
    pub(super) agent: AgentEncoding,
    /// The percent signs of queries and referrers are percent-encoded once more.
    pub(super) doubles_percent: bool,
    /// `time-taken` is in milliseconds.
    millisecs: bool,
    /// Every column is quoted.
    quoted: bool,
    /// A missing or empty status is 200.
    status_may_lack: bool,
    /// The category of events. `None` if the dialect has no events.
    event_category: Option<&'static [u8]>,
}

/// A column with its standard name.
#[derive(Debug)]
struct KnownColumn {
    name: &'static str,
    column: Column,
}

const TIME_TAKEN: &str = "time-taken";
const STEM: &str = "cs-uri-stem";

/// The columns that all dialects know.
const COMMON: &[KnownColumn] = &[
    known("date", Date, Stripped, Field::Date),
    known("time", Time, Stripped, Field::Time),
    known(STEM, Path, Never, Field::Path),
    known("cs-uri-query", Text, Never, Field::QueryString),
    known("c-ip", Ip, Stripped, Field::Ip),
    known("cs(User-Agent)", Text, Kept, Field::UserAgent),
    known("cs(Referer)", Text, Kept, Field::Referrer),
    known("sc-status", Digits, Never, Field::Status),
    known("sc-bytes", Text, Never, Field::Length),
    known("cs-host", Text, Never, Field::Host),
    known("cs-method", Text, Never, Field::Method),
    known("cs-username", Text, Never, Field::Userid),
    known(TIME_TAKEN, Number, Never, Field::GenerationTimeSecs),
];

/// What the dialects have in common.
const PLAIN: Dialect = Dialect {
    name: "",
    own: &[],
    marks: &[],
    agent: AgentEncoding::None,
    doubles_percent: false,
    millisecs: false,
    quoted: false,
    status_may_lack: false,
    event_category: None,
};

/// In the order of guide/formats.md, "Built-in formats". If a header matches several, the last one
/// is meant.
static DIALECTS: [Dialect; 5] = [
    Dialect {
        name: "w3c_extended",
        agent: AgentEncoding::Plus,
        ..PLAIN
    },
    Dialect {
        name: "iis",
        marks: &["sc-win32-status"],
        agent: AgentEncoding::Plus,
        millisecs: true,
        ..PLAIN
    },
    Dialect {
        name: "shoutcast",
        own: &[
            known("c-status", Digits, Never, Field::Status),
            two(
                "x-duration",
                Duration,
                [Field::SessionTime, Field::GenerationTimeSecs],
            ),
        ],
        marks: &["c-status", "x-duration"],
        agent: AgentEncoding::Percent(1),
        ..PLAIN
    },
    Dialect {
        name: "amazon_cloudfront",
        own: &[
            known(STEM, StreamPath, Never, Field::Path),
            known("x-event", Text, Never, Field::EventAction),
            known("x-sname", Text, Never, Field::EventName),
            known("c-user-agent", Text, Kept, Field::UserAgent),
            known("x-host-header", Text, Never, Field::Host),
        ],
        marks: &[
            "x-event",
            "x-edge-location",
            "x-edge-result-type",
            "x-edge-request-id",
        ],
        agent: AgentEncoding::Percent(2),
        doubles_percent: true,
        status_may_lack: true,
        event_category: Some(b"cloudfront_rtmp"),
        ..PLAIN
    },
    Dialect {
        name: "incapsula_w3c",
        own: &[
            two("cs-uri", Uri, [Field::Host, Field::Path]),
            known("cs-bytes", Text, Never, Field::Length),
        ],
        marks: &["cs-uri"],
        quoted: true,
        status_may_lack: true,
        ..PLAIN
    },
];

/// The dialects, in the order of the table.
pub fn dialects() -> &'static [Dialect] {
    &DIALECTS
}

impl Dialect {
    /// Creates the format.
    ///
    /// # Errors
    ///
    /// Returns a usage error if `--w3c-fields` lacks a required column.
    pub fn open(&'static self, options: &W3cOptions) -> Result<W3c> {
        W3c::new(self, options)
    }

    /// Whether the header lines before the first line of data are of this dialect. The last
    /// `#Fields:` line decides; without one, `--w3c-fields`. At most one dialect recognizes a
    /// header.
    pub fn recognizes(&self, header: &[&[u8]], options: &W3cOptions) -> bool {
        let in_log = header.iter().rev().find_map(|line| field_names(line));
        let Some(names) = in_log.or_else(|| options.field_names()) else {
            return false;
        };
        let names: Vec<&[u8]> = header_names(names)
            .filter_map(|name| options.standard_name(name))
            .collect();
        let matched = DIALECTS.iter().rfind(|dialect| dialect.is_marked(&names));
        matched.is_some_and(|dialect| dialect.name == self.name)
    }

    fn is_marked(&self, names: &[&[u8]]) -> bool {
        let has = |mark: &str| names.contains(&mark.as_bytes());
        // A header with a path column that other dialects can read is not Incapsula's.
        let is_other = self.quoted && has(STEM);
        (self.marks.is_empty() || self.marks.iter().any(|mark| has(mark))) && !is_other
    }

    /// The column of a standard name.
    pub(super) fn column(&self, standard: &[u8], options: &W3cOptions) -> Option<Column> {
        let named = |known: &&KnownColumn| known.name.as_bytes() == standard;
        let mut column = self.columns().find(named)?.column;
        if standard == TIME_TAKEN.as_bytes() && self.in_millisecs(options) {
            column.fields = [Some(Field::GenerationTimeMilli), None];
        }
        if self.quoted && column.quotes != Quotes::Stripped {
            column.quotes = Quotes::Required;
        }
        Some(column)
    }

    fn in_millisecs(&self, options: &W3cOptions) -> bool {
        match self.millisecs {
            true => !options.iis_time_taken_secs,
            false => options.time_taken_millisecs,
        }
    }

    /// The standard name of the column for a field, or the field's own name if no column has it.
    pub(super) fn column_for(&self, field: Field) -> &'static str {
        let has_field = |known: &&KnownColumn| known.column.fields.contains(&Some(field));
        self.columns()
            .find(has_field)
            .map_or(field.name(), |known| known.name)
    }

    fn columns(&self) -> impl Iterator<Item = &'static KnownColumn> {
        self.own.iter().chain(COMMON)
    }

    /// Adds the fields that columns may lack.
    pub(super) fn complete(&self, record: &mut Record) {
        if self.status_may_lack && record.get(Field::Status).is_none_or(<[u8]>::is_empty) {
            record.set(Field::Status, b"200");
        }
        if let Some(category) = self.event_category
            && record.get(Field::EventAction).is_some()
        {
            record.set(Field::EventCategory, category);
        }
    }

    /// The fields that [`Dialect::complete`] adds.
    pub(super) fn complete_fields(&self, fields: &mut Vec<Field>) {
        let events = self.event_category.is_some() && fields.contains(&Field::EventAction);
        for (adds, field) in [
            (self.status_may_lack, Field::Status),
            (events, Field::EventCategory),
        ] {
            if adds && !fields.contains(&field) {
                fields.push(field);
            }
        }
    }
}

/// Whether any dialect knows a column of this name.
pub(super) fn is_standard_name(name: &[u8]) -> bool {
    let mut columns = DIALECTS.iter().flat_map(Dialect::columns);
    columns.any(|known| known.name.as_bytes() == name)
}

const fn known(name: &'static str, kind: ColumnType, quotes: Quotes, field: Field) -> KnownColumn {
    let fields = [Some(field), None];
    let column = Column {
        kind,
        quotes,
        fields,
        is_fallback: false,
    };
    KnownColumn { name, column }
}

/// An unquoted column with two fields.
const fn two(name: &'static str, kind: ColumnType, [first, second]: [Field; 2]) -> KnownColumn {
    KnownColumn {
        column: Column {
            fields: [Some(first), Some(second)],
            ..known(name, kind, Never, first).column
        },
        name,
    }
}

/// How a dialect encodes blanks in user agents; see guide/formats.md, "User agents in W3C logs".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentEncoding {
    None,
    /// `+` is a blank if the user agent has no blank; `++` is a blank and a plus.
    Plus,
    /// Percent-encoded this many times.
    Percent(u8),
}

impl AgentEncoding {
    /// Decodes a user agent. Returns `None` if there is nothing to decode.
    pub fn decode<'a>(self, raw: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
        match self {
            AgentEncoding::None => None,
            AgentEncoding::Plus => (raw.contains(&b'+') && !raw.contains(&b' ')).then(|| {
                let text = arena.alloc_slice_copy(raw);
                blanks_from_plus(text);
                &*text
            }),
            AgentEncoding::Percent(times) => percent_decoded(raw, times, arena),
        }
    }
}

/// Turns each plus into a blank, except the second of a pair.
fn blanks_from_plus(text: &mut [u8]) {
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'+' {
            text[at] = b' ';
            at += usize::from(text.get(at + 1) == Some(&b'+'));
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: AgentEncoding, raw: &str) -> String {
        let arena = Bump::new();
        let agent = encoding
            .decode(raw.as_bytes(), &arena)
            .unwrap_or(raw.as_bytes());
        String::from_utf8_lossy(agent).into_owned()
    }

    #[test]
    fn plus_is_a_blank_only_if_the_user_agent_has_none() {
        let plus = |raw| decoded(AgentEncoding::Plus, raw);
        assert_eq!(plus("Mozilla/5.0+(X11;+Linux)"), "Mozilla/5.0 (X11; Linux)");
        assert_eq!(plus("\"A B+C\""), "\"A B+C\"");
        assert_eq!(plus("Bot/2;++http://x/"), "Bot/2; +http://x/");
        assert_eq!(plus("+++"), " + ");
        assert_eq!(plus("-"), "-");
    }

    #[test]
    fn percent_encoding_is_decoded_as_often_as_the_dialect_encodes() {
        let twice = |raw| decoded(AgentEncoding::Percent(2), raw);
        assert_eq!(twice("WIN%252010"), "WIN 10");
        assert_eq!(twice("WIN%2010"), "WIN 10");
        assert_eq!(decoded(AgentEncoding::Percent(1), "A%2F5%2520"), "A/5%20");
    }

    #[test]
    fn a_user_agent_that_needs_no_decoding_is_not_copied() {
        let arena = Bump::new();
        assert_eq!(AgentEncoding::Plus.decode(b"A/1", &arena), None);
        assert_eq!(AgentEncoding::Percent(2).decode(b"A/1", &arena), None);
        assert_eq!(AgentEncoding::None.decode(b"A+%20", &arena), None);
    }
}
