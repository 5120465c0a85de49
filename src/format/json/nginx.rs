//! nginx's access log as JSON, its keys named as our fields.
//!
//! The log format is the user's own (nginx has none in JSON), so any field may stand in it. Nearly all lines
//! are flat and hold nothing to unescape: a scanner takes those, the general reader all others.

use bumpalo::Bump;
use memchr::memchr2;

use super::reader::{Members, Value, number_length};
use super::{has_keys, has_needed, put, put_extra};
use crate::format::date::DateFormat;
use crate::format::{Field, Fit, Format, Record, Wanted};

/// Detection takes no line without these.
pub fn recognises(line: &[u8]) -> bool {
    has_keys(line, &["referrer", "date"])
}

/// Where this format keeps what stands under a name: `generation_time_milli` holds nginx's `$request_time`,
/// which is in seconds (SPEC section 3), so it is kept as [`Field::GenerationTimeSecs`]. Ask this for a field
/// by the name that a user gave (custom variables, `--ignore-groups`).
pub fn field_of(name: &str) -> Option<Field> {
    match Field::from_name(name) {
        Some(Field::GenerationTimeMilli) => Some(Field::GenerationTimeSecs),
        field => field,
    }
}

/// [`field_of`], for the keys of the usual line without a search.
fn field_of_key(key: &[u8]) -> Option<Field> {
    match key {
        b"ip" => Some(Field::Ip),
        b"host" => Some(Field::Host),
        b"path" => Some(Field::Path),
        b"status" => Some(Field::Status),
        b"referrer" => Some(Field::Referrer),
        b"user_agent" => Some(Field::UserAgent),
        b"length" => Some(Field::Length),
        b"generation_time_milli" => Some(Field::GenerationTimeSecs),
        b"date" => Some(Field::Date),
        _ => str::from_utf8(key).ok().and_then(field_of),
    }
}

#[derive(Debug)]
pub struct NginxJson {
    wanted: Wanted,
}

impl NginxJson {
    /// The name for `--log-format-name`.
    pub const NAME: &str = "nginx_json";

    pub fn new(wanted: &Wanted) -> NginxJson {
        NginxJson {
            wanted: wanted.clone(),
        }
    }

    /// Reads a line of the usual shape: an object of strings without escapes and of numbers.
    /// `None`: ask [`NginxJson::read`]; the record then holds a part of the line.
    pub(super) fn scan<'a>(&'a self, line: &'a [u8], record: &mut Record<'a>) -> Option<()> {
        let mut rest = line.strip_prefix(b"{")?;
        loop {
            let (key, behind) = key(rest.strip_prefix(b"\"")?)?;
            rest = without_blanks(behind.strip_prefix(b":")?);
            let value = match rest.strip_prefix(b"\"") {
                Some(text) => {
                    let (text, behind) = string(text)?;
                    rest = behind;
                    Value::Text(text)
                }
                None => {
                    let (number, behind) = rest.split_at(number_length(rest)?);
                    rest = behind;
                    Value::Number(number)
                }
            };
            self.take(key, value, record);
            match rest.split_first()? {
                (b',', behind) => rest = without_blanks(behind),
                (b'}', []) => return has_needed(record).then_some(()),
                _ => return None,
            }
        }
    }

    /// Reads any line.
    pub(super) fn read<'a>(
        &'a self,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<()> {
        let mut members = Members::of(line, arena)?;
        for (key, value) in &mut members {
            self.take(key, value, record);
        }
        (members.ended_well() && has_needed(record)).then_some(())
    }

    fn take<'a>(&'a self, key: &[u8], value: Value<'a>, record: &mut Record<'a>) {
        match field_of_key(key) {
            Some(field) => put(record, field, value),
            None => put_extra(record, &self.wanted, key, value),
        }
    }
}

/// [`string`] for a few bytes, for which `memchr2` would take longer to begin than to find the end.
fn key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (key, behind) = text.split_at(end);
    Some((key, behind.strip_prefix(b"\"")?))
}

/// A string up to its quote, and what stands behind it. `None`: it holds something to unescape, or has no end.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'"', b'\\', text)?;
    let (string, behind) = text.split_at(end);
    Some((string, behind.strip_prefix(b"\"")?))
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| **byte == b' ').count();
    &text[blanks..]
}

impl Format for NginxJson {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn field(&self, name: &str) -> Option<Field> {
        field_of(name)
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if self.scan(line, record).is_some() {
            return Fit::Record;
        }
        *record = Record::default();
        match self.read(line, arena, record) {
            Some(()) => Fit::Record,
            None => Fit::Misfit,
        }
    }

    /// ISO 8601 with its offset.
    fn dates(&self) -> &DateFormat {
        &DateFormat::Iso8601
    }

    /// What a line may name. A `query_string` or `time` of a line is kept like any key, but path and date are
    /// whole without them.
    fn fields(&self) -> &[Field] {
        &[
            Field::Ip,
            Field::Host,
            Field::Path,
            Field::Status,
            Field::Referrer,
            Field::UserAgent,
            Field::Length,
            Field::GenerationTimeSecs,
            Field::Date,
            Field::Timezone,
            Field::Userid,
            Field::Method,
            Field::GenerationTimeMicro,
            Field::EventCategory,
            Field::EventAction,
            Field::EventName,
            Field::SessionTime,
        ]
    }

    fn regex(&self) -> Option<String> {
        None
    }
}
