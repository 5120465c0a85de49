//! Traefik's access log as JSON.

use bumpalo::Bump;

use super::reader::{Members, Value};
use super::{has_keys, has_needed, put, put_extra};
use crate::format::date::DateFormat;
use crate::format::{Field, Fit, Format, Record, Wanted};

/// Keys that only Traefik writes. Those that detection asked for at first, `msg`, `level` and `time`, are in
/// the logs of half the programs written in Go.
const OWN_KEYS: [&str; 6] = [
    "ClientHost",
    "RequestPath",
    "RequestMethod",
    "DownstreamStatus",
    "entryPointName",
    "RouterName",
];

/// Detection takes no line without `msg`, `level`, `time` and a key of Traefik's own.
pub fn recognises(line: &[u8]) -> bool {
    has_keys(line, &["msg", "level", "time"]) && OWN_KEYS.iter().any(|key| has_keys(line, &[key]))
}

fn field_of_key(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"time" => Field::Date,
        b"ClientHost" => Field::Ip,
        b"ClientUsername" => Field::Userid,
        b"RequestHost" => Field::Host,
        b"RequestMethod" => Field::Method,
        b"RequestPath" => Field::Path,
        b"request_Referer" => Field::Referrer,
        b"request_User-Agent" => Field::UserAgent,
        b"DownstreamStatus" => Field::Status,
        b"DownstreamContentSize" => Field::Length,
        b"Duration" => Field::GenerationTimeMilli,
        _ => return None,
    })
}

#[derive(Debug)]
pub struct TraefikJson {
    wanted: Wanted,
}

impl TraefikJson {
    /// The name for `--log-format-name`.
    pub const NAME: &str = "traefik_json";

    pub fn new(wanted: &Wanted) -> TraefikJson {
        TraefikJson {
            wanted: wanted.clone(),
        }
    }

    fn read<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let mut members = Members::of(line, arena)?;
        for (key, value) in &mut members {
            match field_of_key(key) {
                Some(Field::GenerationTimeMilli) => {
                    put(
                        record,
                        Field::GenerationTimeMilli,
                        milliseconds(value, arena),
                    );
                }
                Some(field) => put(record, field, value),
                None => {}
            }
            // Also Traefik's own name for what is a field.
            put_extra(record, &self.wanted, key, value);
        }
        (members.ended_well() && has_needed(record)).then_some(())
    }
}

/// `Duration` is in nanoseconds.
fn milliseconds<'a>(duration: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let nanoseconds = duration
        .text()
        .and_then(|text| str::from_utf8(text).ok())
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|nanoseconds| nanoseconds.is_finite());
    match nanoseconds {
        Some(nanoseconds) => {
            let text = (nanoseconds / 1e6).to_string();
            Value::Number(arena.alloc_str(&text).as_bytes())
        }
        None => Value::Null,
    }
}

impl Format for TraefikJson {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        match self.read(line, arena, record) {
            Some(()) => Fit::Record,
            None => Fit::Misfit,
        }
    }

    /// ISO 8601 with its offset.
    fn dates(&self) -> &DateFormat {
        &DateFormat::Iso8601
    }

    fn fields(&self) -> &[Field] {
        &[
            Field::Date,
            Field::Ip,
            Field::Userid,
            Field::Host,
            Field::Method,
            Field::Path,
            Field::Referrer,
            Field::UserAgent,
            Field::Status,
            Field::Length,
            Field::GenerationTimeMilli,
        ]
    }

    /// The zone stands in the date.
    fn has(&self, field: Field) -> bool {
        field == Field::Timezone || self.fields().contains(&field)
    }

    fn regex(&self) -> Option<String> {
        None
    }
}
