//! Caddy's access log as JSON.

use bumpalo::Bump;

use super::reader::{Members, Value, first_element};
use super::{has_keys, has_needed, put, put_extra};
use crate::format::date::DateFormat;
use crate::format::{Field, Fit, Format, Record, Wanted};

/// Detection takes no line without these.
pub fn recognises(line: &[u8]) -> bool {
    has_keys(line, &["request", "user_id", "resp_headers"])
}

#[derive(Debug)]
pub struct CaddyJson {
    wanted: Wanted,
}

impl CaddyJson {
    /// The name for `--log-format-name`.
    pub const NAME: &str = "caddy_json";

    pub fn new(wanted: &Wanted) -> CaddyJson {
        CaddyJson {
            wanted: wanted.clone(),
        }
    }

    fn read<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let mut request = Value::Null;
        let mut members = Members::of(line, arena)?;
        for (key, value) in &mut members {
            match key {
                b"ts" => put(record, Field::Date, value),
                b"size" => put(record, Field::Length, value),
                b"status" => put(record, Field::Status, value),
                b"duration" => put(record, Field::GenerationTimeSecs, value),
                b"user_id" => put(record, Field::Userid, value),
                b"request" => request = value,
                _ => {}
            }
            put_extra(record, &self.wanted, key, value);
        }
        if !members.ended_well() {
            return None;
        }
        read_request(request, arena, record)?;
        has_needed(record).then_some(())
    }
}

fn read_request<'a>(request: Value<'a>, arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
    let (mut client, mut remote, mut headers) = (Value::Null, Value::Null, Value::Null);
    for (key, value) in Members::of(request.nested(), arena)? {
        match key {
            b"client_ip" => client = value,
            b"remote_ip" => remote = value,
            b"host" => put(record, Field::Host, value),
            b"method" => put(record, Field::Method, value),
            b"uri" => put(record, Field::Path, value),
            b"headers" => headers = value,
            _ => {}
        }
    }
    // Caddy before 2.7 has no `client_ip`.
    let ip = if client.text().is_some() {
        client
    } else {
        remote
    };
    put(record, Field::Ip, ip);
    for (key, value) in Members::of(headers.nested(), arena).into_iter().flatten() {
        let first = || first_element(value.nested(), arena).unwrap_or(Value::Null);
        match key {
            b"Referer" => put(record, Field::Referrer, first()),
            b"User-Agent" => put(record, Field::UserAgent, first()),
            _ => {}
        }
    }
    Some(())
}

impl Format for CaddyJson {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        match self.read(line, arena, record) {
            Some(()) => Fit::Record,
            None => Fit::Misfit,
        }
    }

    /// Seconds since 1970, with a fraction.
    fn dates(&self) -> &DateFormat {
        &DateFormat::EpochSeconds
    }

    fn fields(&self) -> &[Field] {
        &[
            Field::Date,
            Field::Length,
            Field::Status,
            Field::GenerationTimeSecs,
            Field::Userid,
            Field::Ip,
            Field::Host,
            Field::Method,
            Field::Path,
            Field::Referrer,
            Field::UserAgent,
        ]
    }

    fn regex(&self) -> Option<String> {
        None
    }
}
