//! JSON formats: each is a table that says which key holds which field.
//!
//! A line is one JSON object and nothing else; [`reader`] says where logs may depart from the
//! standard. To add a format, add its table and its name to [`TABLES`].

mod reader;
#[cfg(test)]
mod tests;

use bumpalo::Bump;

pub(super) use self::reader::unescape;
use self::reader::{Members, Value, first_element, number_length};
use super::date::DateFormat;
use super::short::{Literal, first_quote};
use super::{Field, Fit, Format, Record, Wanted, is_absent};

/// A JSON format as data.
#[derive(Debug)]
struct KeyTable {
    name: &'static str,
    dates: DateFormat,
    /// In the order in which servers usually write them: then no key needs a search.
    keys: &'static [Key],
    /// Fields that a line may have but that do not count as fields of the format.
    uncounted: &'static [Field],
    /// Detection takes only lines with all of these keys,
    detected_by: &'static [&'static str],
    /// and with one of these, if there are any.
    detected_by_any: &'static [&'static str],
}

#[derive(Debug)]
struct Key {
    name: &'static str,
    /// For the scanner.
    literal: Literal,
    holds: Holds,
}

/// What the value of a key is.
#[derive(Clone, Copy, Debug)]
enum Holds {
    Field(Field),
    /// The field, unless another key holds it and its value is neither empty nor `-`.
    Fallback(Field),
    /// The field in milliseconds, written in nanoseconds.
    Nanoseconds(Field),
    /// An array whose first element is the field.
    ArrayOf(Field),
    Object(&'static [Key]),
}

const fn key(name: &'static str, field: Field) -> Key {
    holding(name, Holds::Field(field))
}

const fn holding(name: &'static str, holds: Holds) -> Key {
    Key {
        name,
        literal: Literal::new(name),
        holds,
    }
}

/// The JSON formats, in the order of guide/formats.md, "Built-in formats".
static TABLES: [KeyTable; 3] = [
    // nginx has no JSON format of its own. Users write one whose keys are named as our fields.
    KeyTable {
        name: "nginx_json",
        dates: DateFormat::Json,
        keys: &[
            key("ip", Field::Ip),
            key("host", Field::Host),
            key("path", Field::Path),
            key("status", Field::Status),
            key("referrer", Field::Referrer),
            key("user_agent", Field::UserAgent),
            key("length", Field::Length),
            // nginx's `$request_time` is in seconds.
            key("generation_time_milli", Field::GenerationTimeSecs),
            key("date", Field::Date),
            key("timezone", Field::Timezone),
            key("userid", Field::Userid),
            key("method", Field::Method),
            key("generation_time_secs", Field::GenerationTimeSecs),
            key("generation_time_micro", Field::GenerationTimeMicro),
            key("event_category", Field::EventCategory),
            key("event_action", Field::EventAction),
            key("event_name", Field::EventName),
            key("session_time", Field::SessionTime),
            key("query_string", Field::QueryString),
            key("time", Field::Time),
        ],
        uncounted: &[Field::QueryString, Field::Time],
        detected_by: &["referrer", "date"],
        detected_by_any: &[],
    },
    KeyTable {
        name: "traefik_json",
        dates: DateFormat::Json,
        keys: &[
            key("ClientHost", Field::Ip),
            key("ClientUsername", Field::Userid),
            key("DownstreamContentSize", Field::Length),
            key("DownstreamStatus", Field::Status),
            holding("Duration", Holds::Nanoseconds(Field::GenerationTimeMilli)),
            key("RequestHost", Field::Host),
            key("RequestMethod", Field::Method),
            key("RequestPath", Field::Path),
            key("request_Referer", Field::Referrer),
            key("request_User-Agent", Field::UserAgent),
            key("time", Field::Date),
        ],
        uncounted: &[],
        detected_by: &["msg", "level", "time"],
        // Half of the programs written in Go log `msg`, `level` and `time`. Only Traefik has these.
        detected_by_any: &[
            "ClientHost",
            "RequestPath",
            "RequestMethod",
            "DownstreamStatus",
            "entryPointName",
            "RouterName",
        ],
    },
    KeyTable {
        name: "caddy_json",
        dates: DateFormat::Json,
        keys: &[
            key("ts", Field::Date),
            holding(
                "request",
                Holds::Object(&[
                    // Caddy before 2.7 has no `client_ip`, before 2.5 only `remote_addr`.
                    holding("remote_addr", Holds::Fallback(Field::Ip)),
                    holding("remote_ip", Holds::Fallback(Field::Ip)),
                    key("client_ip", Field::Ip),
                    key("method", Field::Method),
                    key("host", Field::Host),
                    key("uri", Field::Path),
                    holding(
                        "headers",
                        Holds::Object(&[
                            holding("User-Agent", Holds::ArrayOf(Field::UserAgent)),
                            holding("Referer", Holds::ArrayOf(Field::Referrer)),
                        ]),
                    ),
                ]),
            ),
            key("user_id", Field::Userid),
            key("duration", Field::GenerationTimeSecs),
            key("size", Field::Length),
            key("status", Field::Status),
        ],
        uncounted: &[],
        detected_by: &["request", "ts", "status", "duration"],
        detected_by_any: &[],
    },
];

/// A line without these does not fit.
const REQUIRED: [Field; 4] = [Field::Ip, Field::Path, Field::Status, Field::Date];

/// The JSON formats, in the order of the table.
pub fn formats(wanted: &Wanted) -> Vec<Box<dyn Format>> {
    TABLES
        .iter()
        .map(|table| Box::new(JsonFormat::new(table, wanted)) as Box<dyn Format>)
        .collect()
}

/// Reads the lines of one [`KeyTable`].
#[derive(Debug)]
struct JsonFormat {
    table: &'static KeyTable,
    fields: Vec<Field>,
    /// No key holds an object, so the scanner can read most lines.
    is_flat: bool,
    wanted: Wanted,
}

impl JsonFormat {
    fn new(table: &'static KeyTable, wanted: &Wanted) -> Self {
        let mut fields = Vec::new();
        add_fields(table.keys, &mut fields);
        fields.retain(|field| !table.uncounted.contains(field));
        let is_object = |key: &Key| matches!(key.holds, Holds::Object(_));
        Self {
            table,
            fields,
            is_flat: !table.keys.iter().any(is_object),
            wanted: wanted.clone(),
        }
    }

    /// Reads a line of the usual kind: a flat object of numbers, and of strings without escapes.
    /// Returns `None` if the line is of another kind; the record then holds a part of it.
    fn scan<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let mut object = ObjectFields::new(arena, record);
        let mut next = 0;
        let mut rest = line.strip_prefix(b"{")?;
        loop {
            let text = rest.strip_prefix(b"\"")?;
            let (key, name, after) = match self.expected_key(text, next) {
                Some((key, after)) => {
                    next += 1;
                    (Some(key), key.name.as_bytes(), after)
                }
                None => {
                    let (name, after) = string(text)?;
                    (find_key(self.table.keys, name, &mut next), name, after)
                }
            };
            rest = skip_blanks(after.strip_prefix(b":")?);
            let value = match rest.strip_prefix(b"\"") {
                Some(text) => {
                    let (text, after) = string(text)?;
                    rest = after;
                    Value::Text(text)
                }
                None => {
                    let (number, after) = rest.split_at(number_length(rest)?);
                    rest = after;
                    Value::Number(number)
                }
            };
            self.take(key, name, value, &mut object);
            match rest.split_first()? {
                (b',', after) => rest = skip_blanks(after),
                (b'}', []) => return object.finish(),
                _ => return None,
            }
        }
    }

    /// Takes the key at `next` off a text, if the text begins with it and a quote.
    #[inline]
    fn expected_key<'a>(&self, text: &'a [u8], next: usize) -> Option<(&'static Key, &'a [u8])> {
        let key = self.table.keys.get(next)?;
        let after = key.literal.strip_from(text)?;
        Some((key, after.strip_prefix(b"\"")?))
    }

    /// Reads any line. Returns `None` if it does not fit.
    fn read<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Option<()> {
        let mut object = ObjectFields::new(arena, record);
        let mut next = 0;
        let mut members = Members::of(line, arena)?;
        for (name, value) in &mut members {
            let key = find_key(self.table.keys, name, &mut next);
            self.take(key, name, value, &mut object);
        }
        members.ended_well().then(|| object.finish())?
    }

    /// Takes a member of the line's object.
    #[inline]
    fn take<'a>(
        &'a self,
        key: Option<&Key>,
        name: &[u8],
        value: Value<'a>,
        object: &mut ObjectFields<'a, '_>,
    ) {
        match key.map(|key| key.holds) {
            Some(Holds::Field(field)) => object.set(field, value.text()),
            Some(holds) => object.put(holds, value),
            None => {}
        }
        // A custom variable may also ask for a key that holds a field.
        if let Some(name) = self
            .wanted
            .0
            .iter()
            .find(|wanted| wanted.as_bytes() == name)
            && let Some(text) = value.any_text()
        {
            object.record.set_extra(name, text);
        }
    }
}

impl Format for JsonFormat {
    fn name(&self) -> &'static str {
        self.table.name
    }

    /// A key that is named as a field but holds another one gives what it holds.
    fn field(&self, name: &str) -> Option<Field> {
        let field = Field::from_name(name)?;
        let key = self.table.keys.iter().find(|key| key.name == name);
        match key.map(|key| key.holds) {
            Some(Holds::Field(held)) => Some(held),
            _ => Some(field),
        }
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if self.is_flat {
            if self.scan(line, arena, record).is_some() {
                return Fit::Record;
            }
            *record = Record::default();
        }
        match self.read(line, arena, record) {
            Some(()) => Fit::Record,
            None => Fit::Misfit,
        }
    }

    fn dates(&self) -> &DateFormat {
        &self.table.dates
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// A date may contain its time zone.
    fn has(&self, field: Field) -> bool {
        self.fields.contains(&field) || field == Field::Timezone
    }

    fn is_json(&self) -> bool {
        true
    }

    fn regex(&self) -> Option<String> {
        None
    }

    fn recognizes(&self, line: &[u8], _record: &Record) -> bool {
        let arena = Bump::new();
        let Some(mut members) = Members::of(line, &arena) else {
            return false;
        };
        let names: Vec<&[u8]> = members.by_ref().map(|(name, _)| name).collect();
        let has = |key: &&str| names.contains(&key.as_bytes());
        let any = self.table.detected_by_any;
        members.ended_well()
            && self.table.detected_by.iter().all(has)
            && (any.is_empty() || any.iter().any(has))
    }
}

/// Puts the values of an object into a record. If a key is repeated, its last value counts.
struct ObjectFields<'a, 'r> {
    arena: &'a Bump,
    record: &'r mut Record<'a>,
    fallback: Option<(Field, &'a [u8])>,
}

impl<'a, 'r> ObjectFields<'a, 'r> {
    fn new(arena: &'a Bump, record: &'r mut Record<'a>) -> Self {
        Self {
            arena,
            record,
            fallback: None,
        }
    }

    fn put(&mut self, holds: Holds, value: Value<'a>) {
        match holds {
            Holds::Field(field) => self.set(field, value.text()),
            Holds::Fallback(field) => self.fallback = value.text().map(|text| (field, text)),
            Holds::Nanoseconds(field) => self.set(field, milliseconds(value, self.arena)),
            Holds::ArrayOf(field) => {
                let first = first_element(value.nested(), self.arena);
                self.set(field, first.and_then(Value::text));
            }
            Holds::Object(keys) => {
                self.clear(keys);
                let mut next = 0;
                let members = Members::of(value.nested(), self.arena);
                for (name, value) in members.into_iter().flatten() {
                    if let Some(key) = find_key(keys, name, &mut next) {
                        self.put(key.holds, value);
                    }
                }
            }
        }
    }

    #[inline]
    fn set(&mut self, field: Field, text: Option<&'a [u8]>) {
        match text {
            Some(text) => self.record.set(field, text),
            None => self.record.forget(field),
        }
    }

    /// Forgets the values of an earlier object of the same name.
    fn clear(&mut self, keys: &[Key]) {
        for key in keys {
            match key.holds {
                Holds::Field(field) | Holds::Nanoseconds(field) | Holds::ArrayOf(field) => {
                    self.record.forget(field);
                }
                Holds::Fallback(_) => self.fallback = None,
                Holds::Object(keys) => self.clear(keys),
            }
        }
    }

    /// Returns `None` if a required field is missing.
    fn finish(self) -> Option<()> {
        if let Some((field, text)) = self.fallback
            && self.record.get(field).is_none_or(is_absent)
        {
            self.record.set(field, text);
        }
        let has = |field: &Field| self.record.get(*field).is_some();
        REQUIRED.iter().all(has).then_some(())
    }
}

/// Looks up a key by its name, first at `next`: servers write the keys of all lines in one order.
#[inline]
fn find_key(keys: &'static [Key], name: &[u8], next: &mut usize) -> Option<&'static Key> {
    let at = match keys.get(*next) {
        Some(key) if key.name.as_bytes() == name => *next,
        _ => keys.iter().position(|key| key.name.as_bytes() == name)?,
    };
    *next = at + 1;
    Some(&keys[at])
}

fn add_fields(keys: &[Key], fields: &mut Vec<Field>) {
    for key in keys {
        match key.holds {
            Holds::Object(keys) => add_fields(keys, fields),
            Holds::Field(field)
            | Holds::Fallback(field)
            | Holds::Nanoseconds(field)
            | Holds::ArrayOf(field) => {
                if !fields.contains(&field) {
                    fields.push(field);
                }
            }
        }
    }
}

fn milliseconds<'a>(nanoseconds: Value<'a>, arena: &'a Bump) -> Option<&'a [u8]> {
    let nanoseconds: f64 = str::from_utf8(nanoseconds.text()?).ok()?.parse().ok()?;
    let milliseconds = nanoseconds.is_finite().then_some(nanoseconds / 1e6)?;
    Some(arena.alloc_str(&milliseconds.to_string()).as_bytes())
}

/// A string up to its closing quote, and what follows it. Returns `None` if it has escapes or no
/// end.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = first_quote(text)?;
    let (string, after) = text.split_at(end);
    Some((string, after.strip_prefix(b"\"")?))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| **byte == b' ').count();
    &text[blanks..]
}
