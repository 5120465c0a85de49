//! JSON formats: one object a line.
//!
//! A line must hold one whole JSON object and nothing else; what a log may do beyond the standard, [`reader`]
//! says. Which keys are which fields stands in each format's own file.

pub mod caddy;
pub mod nginx;
mod reader;
pub mod traefik;

use bumpalo::Bump;

use self::reader::{Members, Value};
use super::{Field, Format, Record, Wanted};

#[cfg(test)]
mod tests;

/// The JSON formats, in the order of SPEC section 3.
pub fn formats(wanted: &Wanted) -> Vec<Box<dyn Format>> {
    vec![
        Box::new(nginx::NginxJson::new(wanted)),
        Box::new(traefik::TraefikJson::new(wanted)),
        Box::new(caddy::CaddyJson::new(wanted)),
    ]
}

/// Whether a line carries the keys by which detection knows this format (SPEC section 3); stricter than whether
/// it fits. False for a name that is no JSON format.
pub fn recognises(name: &str, line: &[u8]) -> bool {
    match name {
        "nginx_json" => nginx::recognises(line),
        "traefik_json" => traefik::recognises(line),
        "caddy_json" => caddy::recognises(line),
        _ => false,
    }
}

/// A line without these is invalid.
const NEEDED: [Field; 4] = [Field::Ip, Field::Path, Field::Status, Field::Date];

fn has_needed(record: &Record) -> bool {
    NEEDED.iter().all(|field| record.get(*field).is_some())
}

/// Puts a value where its key belongs. Of repeated keys the last wins, also where its value says nothing.
fn put<'a>(record: &mut Record<'a>, field: Field, value: Value<'a>) {
    match value.text() {
        Some(text) => record.set(field, text),
        None => record.forget(field),
    }
}

/// Keeps a value that a custom variable asks for. What is no text stands there as it does in the line.
fn put_extra<'a>(record: &mut Record<'a>, wanted: &'a Wanted, key: &[u8], value: Value<'a>) {
    if let Some(name) = wanted.0.iter().find(|name| name.as_bytes() == key) {
        match value {
            Value::Null => {}
            Value::Text(text) | Value::Number(text) | Value::Other(text) => {
                record.set_extra(name, text);
            }
        }
    }
}

/// Whether a line is an object, and has each of these keys.
fn has_keys(line: &[u8], keys: &[&str]) -> bool {
    let arena = Bump::new();
    let mut seen = vec![false; keys.len()];
    let Some(mut members) = Members::of(line, &arena) else {
        return false;
    };
    for (key, _) in &mut members {
        if let Some(index) = keys.iter().position(|wanted| wanted.as_bytes() == key) {
            seen[index] = true;
        }
    }
    members.ended_well() && seen.into_iter().all(|seen| seen)
}
