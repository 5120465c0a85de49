//! The dialects: which columns each knows, and by which of them a header is told.

use super::agent::AgentCoding;
use super::column::{Column, Quotes, Shape};
use super::layout::header_names;
use super::options::W3cOptions;
use super::{W3c, field_names};
use crate::error::Result;
use crate::format::{Field, Record};

/// One of the family.
#[derive(Debug)]
pub struct Dialect {
    /// The name for `--log-format-name`.
    pub name: &'static str,
    /// Columns beyond those that all know; they come first where both know a name.
    own: &'static [Known],
    /// The columns that only this dialect has.
    marks: &'static [&'static str],
    pub(super) agent: AgentCoding,
    /// `time-taken` is in milliseconds.
    millisecs: bool,
    /// Every column is quoted.
    quoted: bool,
    /// No status, or an empty one, is 200.
    status_may_lack: bool,
    /// The category of its events.
    events: Option<&'static [u8]>,
}

/// A column by its standard name.
#[derive(Debug)]
struct Known {
    name: &'static str,
    column: Column,
}

const TIME_TAKEN: &str = "time-taken";
const STEM: &str = "cs-uri-stem";

/// The columns that all dialects know (SPEC section 3, `w3c_extended`).
const COMMON: &[Known] = &[
    known("date", Shape::Date, Quotes::Around, Field::Date),
    known("time", Shape::Time, Quotes::Around, Field::Time),
    known(STEM, Shape::Path, Quotes::Never, Field::Path),
    known(
        "cs-uri-query",
        Shape::Text,
        Quotes::Never,
        Field::QueryString,
    ),
    known("c-ip", Shape::Ip, Quotes::Around, Field::Ip),
    known(
        "cs(User-Agent)",
        Shape::Text,
        Quotes::Kept,
        Field::UserAgent,
    ),
    known("cs(Referer)", Shape::Text, Quotes::Kept, Field::Referrer),
    known("sc-status", Shape::Digits, Quotes::Never, Field::Status),
    known("sc-bytes", Shape::Text, Quotes::Never, Field::Length),
    known("cs-host", Shape::Text, Quotes::Never, Field::Host),
    known("cs-method", Shape::Text, Quotes::Never, Field::Method),
    known("cs-username", Shape::Text, Quotes::Never, Field::Userid),
    known(
        TIME_TAKEN,
        Shape::Number,
        Quotes::Never,
        Field::GenerationTimeSecs,
    ),
];

/// In the order of the table of formats, which is also that from the plainest to the most particular.
static DIALECTS: [Dialect; 5] = [
    Dialect {
        name: "w3c_extended",
        own: &[],
        marks: &[],
        agent: AgentCoding::Plus,
        millisecs: false,
        quoted: false,
        status_may_lack: false,
        events: None,
    },
    Dialect {
        name: "iis",
        own: &[],
        marks: &["sc-win32-status"],
        agent: AgentCoding::Plus,
        millisecs: true,
        quoted: false,
        status_may_lack: false,
        events: None,
    },
    Dialect {
        name: "shoutcast",
        own: &[
            known("c-status", Shape::Digits, Quotes::Never, Field::Status),
            two(
                "x-duration",
                Shape::Duration,
                [Field::SessionTime, Field::GenerationTimeSecs],
            ),
        ],
        marks: &["c-status", "x-duration"],
        agent: AgentCoding::Percent(1),
        millisecs: false,
        quoted: false,
        status_may_lack: false,
        events: None,
    },
    Dialect {
        name: "amazon_cloudfront",
        own: &[
            known(STEM, Shape::StreamPath, Quotes::Never, Field::Path),
            known("x-event", Shape::Text, Quotes::Never, Field::EventAction),
            known("x-sname", Shape::Text, Quotes::Never, Field::EventName),
            known("c-user-agent", Shape::Text, Quotes::Kept, Field::UserAgent),
            known("x-host-header", Shape::Text, Quotes::Never, Field::Host),
        ],
        marks: &[
            "x-event",
            "x-edge-location",
            "x-edge-result-type",
            "x-edge-request-id",
        ],
        agent: AgentCoding::Percent(2),
        millisecs: false,
        quoted: false,
        status_may_lack: true,
        events: Some(b"cloudfront_rtmp"),
    },
    Dialect {
        name: "incapsula_w3c",
        own: &[
            two("cs-uri", Shape::Uri, [Field::Host, Field::Path]),
            known("cs-bytes", Shape::Text, Quotes::Never, Field::Length),
        ],
        marks: &["cs-uri"],
        agent: AgentCoding::Plain,
        millisecs: false,
        quoted: true,
        status_may_lack: true,
        events: None,
    },
];

/// The dialects, in the order of the table of formats.
pub fn dialects() -> &'static [Dialect] {
    &DIALECTS
}

impl Dialect {
    /// The format, with the user's options. An error (usage): `--w3c-fields` is not enough for a hit.
    pub fn open(&'static self, options: &W3cOptions) -> Result<W3c> {
        W3c::new(self, options)
    }

    /// Whether a log with these header lines (those with a `#`, before the first data line) is of this dialect:
    /// at most one says yes. It goes by the last `#Fields:` line, or by `--w3c-fields` where there is none. That
    /// the columns suffice and the data fits is for [`Dialect::open`] and the lines themselves to say.
    pub fn recognises(&self, header: &[&[u8]], options: &W3cOptions) -> bool {
        let in_log = header.iter().rev().find_map(|line| field_names(line));
        let Some(names) = in_log.or_else(|| options.field_names()) else {
            return false;
        };
        let names: Vec<&[u8]> = header_names(names)
            .filter_map(|name| options.standard_name(name))
            .collect();
        let meant = DIALECTS.iter().rfind(|dialect| dialect.is_marked(&names));
        meant.is_some_and(|dialect| dialect.name == self.name)
    }

    fn is_marked(&self, names: &[&[u8]]) -> bool {
        let has = |mark: &str| names.contains(&mark.as_bytes());
        // A header with a path that others can read is never Incapsula's.
        let others = self.quoted && has(STEM);
        (self.marks.is_empty() || self.marks.iter().any(|mark| has(mark))) && !others
    }

    /// What is known of the column with this standard name.
    pub(super) fn column(&self, standard: &[u8], options: &W3cOptions) -> Option<Column> {
        let named = |known: &&Known| known.name.as_bytes() == standard;
        let mut column = self.columns().find(named)?.column;
        if standard == TIME_TAKEN.as_bytes() && self.in_millisecs(options) {
            column.gives = [Some(Field::GenerationTimeMilli), None];
        }
        if self.quoted && column.quotes != Quotes::Around {
            column.quotes = Quotes::Always;
        }
        Some(column)
    }

    fn in_millisecs(&self, options: &W3cOptions) -> bool {
        match self.millisecs {
            true => !options.iis_time_taken_secs,
            false => options.time_taken_millisecs,
        }
    }

    /// The standard name of the column that gives `field`; the field's own name if there is none.
    pub(super) fn column_for(&self, field: Field) -> &'static str {
        let gives = |known: &&Known| known.column.gives.contains(&Some(field));
        self.columns()
            .find(gives)
            .map_or(field.name(), |known| known.name)
    }

    fn columns(&self) -> impl Iterator<Item = &'static Known> {
        self.own.iter().chain(COMMON)
    }

    /// Adds what the columns need not say.
    pub(super) fn complete(&self, record: &mut Record) {
        if self.status_may_lack && record.get(Field::Status).is_none_or(<[u8]>::is_empty) {
            record.set(Field::Status, b"200");
        }
        if let Some(category) = self.events
            && record.get(Field::EventAction).is_some()
        {
            record.set(Field::EventCategory, category);
        }
    }

    /// The fields that [`Dialect::complete`] adds.
    pub(super) fn complete_fields(&self, fields: &mut Vec<Field>) {
        let events = self.events.is_some() && fields.contains(&Field::EventAction);
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

/// Whether a dialect knows a column of this name.
pub(super) fn is_standard_name(name: &[u8]) -> bool {
    let mut columns = DIALECTS.iter().flat_map(Dialect::columns);
    columns.any(|known| known.name.as_bytes() == name)
}

const fn known(name: &'static str, shape: Shape, quotes: Quotes, field: Field) -> Known {
    Known {
        name,
        column: Column {
            shape,
            quotes,
            gives: [Some(field), None],
        },
    }
}

/// A bare column that gives two fields.
const fn two(name: &'static str, shape: Shape, [first, second]: [Field; 2]) -> Known {
    Known {
        name,
        column: Column {
            shape,
            quotes: Quotes::Never,
            gives: [Some(first), Some(second)],
        },
    }
}
