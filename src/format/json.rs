//! JSON formats: each says which key holds which field.
//!
//! A line is one JSON object and nothing else; [`reader`] says where logs may depart from the
//! standard. A format is a [`map`], compiled to a tree of [`keys`]. To add a format, add its row to
//! [`tables`].

mod convert;
mod keys;
mod map;
mod reader;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock, OnceLock};

use bumpalo::Bump;

pub use self::map::KeyMap;
pub(super) use self::reader::unescape;

use self::convert::{Conversion, TimeUnit};
use self::keys::{GroupTarget, Holds, Key, KeyPlan, KeyTree, UsualValue};
use self::map::{KeyPath, MapTarget, PathStep};
use self::reader::{Elements, Members, Value, leading_value, number_length};
use self::tables::{KeyTable, TABLES};
use super::date::DateFormat;
use super::escapes::percent_decoded;
use super::layout::split_request;
use super::short::first_quote;
use super::{Field, Fit, Format, Record, Wanted, is_absent};
use crate::error::{Error, Result};

/// The name of the format that `--json-map` describes.
pub const MAPPED: &str = "json";

/// The built-in JSON formats, in the order of the table.
pub fn formats(wanted: &Wanted) -> Vec<Box<dyn Format>> {
    TABLES
        .iter()
        .zip(BUILT_IN.iter())
        .map(|(table, map)| {
            let map = Arc::clone(map);
            Box::new(JsonFormat::new(table, map, wanted)) as Box<dyn Format>
        })
        .collect()
}

/// Returns the format that `--json-map` describes.
///
/// # Errors
///
/// Returns a usage error if the map lacks a required field.
pub fn mapped(map: &KeyMap, wanted: &Wanted) -> Result<Box<dyn Format>> {
    if map.0.is_empty() {
        return Err(Error::usage(
            "--log-format-name=json needs --json-map, which says which key holds which field: \
             --json-map=ip=KEY,date=KEY,path=KEY,status=KEY",
        ));
    }
    let missing = map.missing();
    if !missing.is_empty() {
        return Err(Error::usage(format!(
            "--json-map has no key for {}: the fields ip, date, path (or request) and status are \
             required",
            missing.join(", ")
        )));
    }
    static TABLE: KeyTable = KeyTable {
        name: MAPPED,
        ..KeyTable::NONE
    };
    let map = Arc::new(BuiltMap::new(&TABLE, map.clone()));
    Ok(Box::new(JsonFormat::new(&TABLE, map, wanted)))
}

/// The maps of [`TABLES`].
static BUILT_IN: LazyLock<Vec<Arc<BuiltMap>>> = LazyLock::new(|| {
    let built = |table: &'static KeyTable| Arc::new(BuiltMap::new(table, table.map()));
    TABLES.iter().map(built).collect()
});

/// What all logs of a format share.
#[derive(Debug)]
struct BuiltMap {
    map: KeyMap,
    fields: Vec<Field>,
    /// The plan without extras.
    plan: Arc<KeyPlan>,
}

impl BuiltMap {
    fn new(table: &KeyTable, map: KeyMap) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        for entry in &map.0 {
            let own: &[Field] = match entry.target {
                MapTarget::Field(field, _) => &[field],
                MapTarget::Request => &[Field::Path, Field::Method],
            };
            let new = own.iter().filter(|field| !fields.contains(field));
            let new: Vec<Field> = new.copied().collect();
            fields.extend(new);
        }
        fields.retain(|field| !table.uncounted.contains(field));
        Self {
            plan: Arc::new(KeyPlan::new(&map, &Wanted::default())),
            map,
            fields,
        }
    }
}

/// Reads the lines of one JSON format.
#[derive(Debug)]
struct JsonFormat {
    table: &'static KeyTable,
    map: Arc<BuiltMap>,
    wanted: Wanted,
    /// Compiled when the first line is read: detection has all formats for each log.
    plan: OnceLock<Arc<KeyPlan>>,
}

impl JsonFormat {
    fn new(table: &'static KeyTable, map: Arc<BuiltMap>, wanted: &Wanted) -> Self {
        let plan = match wanted.0.is_empty() {
            true => OnceLock::from(Arc::clone(&map.plan)),
            false => OnceLock::new(),
        };
        Self {
            table,
            map,
            wanted: wanted.clone(),
            plan,
        }
    }

    fn plan(&self) -> &KeyPlan {
        let compile = || Arc::new(KeyPlan::new(&self.map.map, &self.wanted));
        self.plan.get_or_init(compile)
    }

    /// Reads a line without white space other than blanks after colons and commas. Returns `None`
    /// if the line is of another kind; the record then holds a part of it.
    fn scan<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Option<Fit> {
        let plan = self.plan();
        let mut object = ObjectFields::new(plan, arena, record);
        let rest = object.scan_members(&plan.tree, after(line, b'{')?)?;
        rest.is_empty().then(|| object.finish())
    }

    /// Reads any line.
    fn read<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        let plan = self.plan();
        let mut object = ObjectFields::new(plan, arena, record);
        let Some(mut members) = Members::of(line, arena) else {
            return Fit::Misfit;
        };
        object.take_members(&plan.tree, &mut members);
        match members.ended_well() {
            true => object.finish(),
            false => Fit::Misfit,
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
        let mut keys = self.map.plan.tree.keys();
        let key = keys.find(|key| *key.name == *name);
        match key.map(|key| &key.holds) {
            Some(Holds::Field(held)) => Some(*held),
            Some(Holds::Duration(unit)) => unit.field().or(Some(field)),
            _ => Some(field),
        }
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if let Some(fit) = self.scan(line, arena, record) {
            return fit;
        }
        *record = Record::default();
        self.read(line, arena, record)
    }

    fn dates(&self) -> &DateFormat {
        &DateFormat::Json
    }

    fn fields(&self) -> &[Field] {
        &self.map.fields
    }

    /// A date may contain its time zone.
    fn has(&self, field: Field) -> bool {
        let is_implied = field == Field::Timezone || self.table.implied.contains(&field);
        is_implied || self.map.fields.contains(&field)
    }

    fn is_json(&self) -> bool {
        true
    }

    fn regex(&self) -> Option<String> {
        None
    }

    /// Looks for the names of the keys that [`Format::recognizes`] needs.
    fn may_fit(&self, line: &[u8]) -> bool {
        let has = |path: &&str| {
            let name = path.rsplit('.').next().unwrap_or(path);
            memchr::memmem::find(line, name.as_bytes()).is_some()
        };
        self.may_recognize(line) && self.table.detected_by.iter().all(has)
    }

    fn may_recognize(&self, line: &[u8]) -> bool {
        line.trim_ascii_start().starts_with(b"{")
    }

    fn recognizes(&self, line: &[u8], _record: &Record) -> bool {
        let arena = Bump::new();
        let has = |key: &&str| KeyPath::new(key).is_ok_and(|path| has_path(line, &path, &arena));
        let any = self.table.detected_by_any;
        self.table.detected_by.iter().all(has) && (any.is_empty() || any.iter().any(has))
    }
}

/// Whether a line is an object that has this key, or the objects in it have.
fn has_path<'a>(line: &'a [u8], path: &KeyPath, arena: &'a Bump) -> bool {
    let mut found = Some(Value::Other(line));
    for step in &path.0 {
        let PathStep::Key(key) = step else {
            return false;
        };
        let object = found.map_or(&b""[..], Value::nested);
        let Some(mut members) = Members::of(object, arena) else {
            return false;
        };
        let named = members.by_ref().filter(|(name, _)| *name == key.as_bytes());
        found = named.last().map(|(_, value)| value);
        if !members.ended_well() {
            return false;
        }
    }
    found.is_some()
}

/// Puts the values of an object into a record. If a key is repeated, its last value counts.
struct ObjectFields<'a, 'r> {
    plan: &'a KeyPlan,
    arena: &'a Bump,
    record: &'r mut Record<'a>,
    slots: &'a mut [Option<&'a [u8]>],
}

impl<'a, 'r> ObjectFields<'a, 'r> {
    fn new(plan: &'a KeyPlan, arena: &'a Bump, record: &'r mut Record<'a>) -> Self {
        let slots: &mut [_] = match plan.slots {
            0 => &mut [],
            count => arena.alloc_slice_fill_copy(count, None),
        };
        Self {
            plan,
            arena,
            record,
            slots,
        }
    }

    /// Reads an object whose opening brace is already read, like [`JsonFormat::scan`]. Returns
    /// what follows it. Recurses as deep as the paths of the map, whatever the line.
    fn scan_members(&mut self, tree: &'a KeyTree, mut rest: &'a [u8]) -> Option<&'a [u8]> {
        let mut next = 0;
        if let Some(end) = after(rest, b'}') {
            return Some(end);
        }
        loop {
            let text = after(rest, b'"')?;
            let (key, value) = match tree.expected(text, next) {
                Some((key, value)) => {
                    next += 1;
                    (Some(key), value)
                }
                None => {
                    let (name, colon) = string(text)?;
                    (tree.find(name, &mut next), after(colon, b':')?)
                }
            };
            let text = skip_blanks(value);
            if let Some((value, end)) = scan_value(text) {
                if let Some(key) = key {
                    self.take(key, value);
                }
                rest = end;
            } else {
                rest = self.scan_other(key, text)?;
            }
            match rest.split_first()? {
                (b',', next) => rest = skip_blanks(next),
                (b'}', end) => return Some(end),
                _ => return None,
            }
        }
    }

    /// Reads a value that is not usual. Returns what follows it.
    fn scan_other(&mut self, key: Option<&'a Key>, text: &'a [u8]) -> Option<&'a [u8]> {
        if let (Some(key), Some(inner)) = (key, after(text, b'{'))
            && let Holds::Object(tree) = &key.holds
        {
            self.forget(&key.holds);
            return self.scan_members(tree, inner);
        }
        let (value, after) = leading_value(text, self.arena)?;
        if let Some(key) = key {
            self.take(key, value);
        }
        Some(after)
    }

    fn take_members(&mut self, tree: &'a KeyTree, members: &mut Members<'a>) {
        let mut next = 0;
        for (name, value) in members {
            if let Some(key) = tree.find(name, &mut next) {
                self.take(key, value);
            }
        }
    }

    #[inline]
    fn take(&mut self, key: &'a Key, value: Value<'a>) {
        match (key.usual, value) {
            (UsualValue::Field(field), value) => self.set(field, value.text()),
            (UsualValue::Duration(field), Value::Number(number)) => {
                self.record.forget(Field::GenerationTimeMilli);
                self.record.set(field, number);
            }
            (_, value) => self.put(&key.holds, value),
        }
    }

    /// Recurses as deep as the paths of the map, whatever the line.
    fn put(&mut self, holds: &'a Holds, value: Value<'a>) {
        match holds {
            Holds::Field(field) => self.set(*field, value.text()),
            Holds::Duration(unit) => self.set_duration(*unit, value),
            Holds::Slot(at) => self.slots[*at] = value.text(),
            Holds::Extra(at) => self.slots[*at] = value.any_text(),
            Holds::Object(tree) => {
                self.forget(holds);
                if let Some(mut members) = Members::of(value.nested(), self.arena) {
                    self.take_members(tree, &mut members);
                }
            }
            Holds::Array(wanted) => {
                self.forget(holds);
                let end = wanted.iter().map(|(place, _)| place + 1).max().unwrap_or(0);
                let elements = Elements::of(value.nested(), self.arena);
                for (at, value) in elements.into_iter().flatten().take(end).enumerate() {
                    for (_, holds) in wanted.iter().filter(|(place, _)| *place == at) {
                        self.put(holds, value);
                    }
                }
            }
            Holds::Several(all) => all.iter().for_each(|holds| self.put(holds, value)),
        }
    }

    #[inline]
    fn set(&mut self, field: Field, text: Option<&'a [u8]>) {
        match text {
            Some(text) => self.record.set(field, text),
            None => self.record.forget(field),
        }
    }

    fn set_duration(&mut self, unit: TimeUnit, value: Value<'a>) {
        self.forget_duration(unit);
        let duration = |text| convert::duration(text, unit, self.arena);
        if let Some((field, text)) = value.text().and_then(duration) {
            self.record.set(field, text);
        }
    }

    fn forget_duration(&mut self, unit: TimeUnit) {
        // A text with a unit may be in milliseconds, whatever the unit of its key.
        for field in unit.fields() {
            self.record.forget(field);
        }
    }

    /// Forgets the values of an earlier object or array of the same name.
    fn forget(&mut self, holds: &Holds) {
        match holds {
            Holds::Field(field) => self.record.forget(*field),
            Holds::Duration(unit) => self.forget_duration(*unit),
            Holds::Slot(at) | Holds::Extra(at) => self.slots[*at] = None,
            Holds::Object(tree) => tree.keys().for_each(|key| self.forget(&key.holds)),
            Holds::Array(elements) => elements.iter().for_each(|(_, it)| self.forget(it)),
            Holds::Several(all) => all.iter().for_each(|it| self.forget(it)),
        }
    }

    /// Takes the values that had to wait for the end of the line.
    fn finish(mut self) -> Fit {
        for group in &self.plan.groups {
            if let GroupTarget::Fallback(field) = group.target
                && self
                    .record
                    .get(field)
                    .is_some_and(|value| !is_absent(value))
            {
                continue;
            }
            if let Some(text) = group.choose(self.slots) {
                match &group.target {
                    GroupTarget::Fallback(field) => {
                        if self.record.get(*field).is_none() || !is_absent(text) {
                            self.record.set(*field, text);
                        }
                    }
                    GroupTarget::Field(field, conversion) => {
                        self.set_converted(*field, *conversion, text);
                    }
                    GroupTarget::Request => self.set_request(text),
                    GroupTarget::Extra(name) => self.record.set_extra(name, text),
                }
            }
        }
        let path = self.record.get(Field::Path);
        if self.record.get(Field::QueryString).is_some()
            && path.is_some_and(|path| path.contains(&b'?'))
        {
            self.record.forget(Field::QueryString);
        }
        match self.record.has_required() {
            true => Fit::Record,
            false => Fit::Misfit,
        }
    }

    fn set_converted(&mut self, field: Field, conversion: Conversion, text: &'a [u8]) {
        let (field, text) = match conversion {
            Conversion::None | Conversion::Peer => (field, text),
            Conversion::Duration(unit) => match convert::duration(text, unit, self.arena) {
                Some(duration) => duration,
                None => return,
            },
            Conversion::FractionalSeconds if !text.contains(&b'.') => return,
            Conversion::FractionalSeconds => (Field::GenerationTimeSecs, text),
            Conversion::GatewayQuery => (field, convert::without_gateway_parameters(text)),
            Conversion::PercentEncoded(times) => {
                let decoded = percent_decoded(text, times, self.arena);
                if decoded.is_some() {
                    self.record.set_raw_agent(text);
                }
                (field, decoded.unwrap_or(text))
            }
        };
        self.record.set(field, text);
    }

    /// Keys that hold the method or the path alone win over a request line.
    fn set_request(&mut self, text: &'a [u8]) {
        let (method, path) = split_request(text);
        if self.record.get(Field::Path).is_none() {
            self.record.set(Field::Path, path);
        }
        if let Some(method) = method
            && self.record.get(Field::Method).is_none()
        {
            self.record.set(Field::Method, method);
        }
    }
}

/// The number, or the string without escapes, at the beginning of a text, and what follows it.
/// Returns `None` for any other value.
#[inline]
fn scan_value(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    if let Some(inner) = after(text, b'"') {
        let (inner, end) = string(inner)?;
        return Some((Value::Text(inner), end));
    }
    let (number, end) = text.split_at_checked(number_length(text)?)?;
    Some((Value::Number(number), end))
}

/// A string up to its closing quote, and what follows it. Returns `None` if it has escapes or no
/// end.
#[inline]
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (string, end) = text.split_at_checked(first_quote(text)?)?;
    Some((string, after(end, b'"')?))
}

/// The rest of a text that begins with this byte. Compiles to less than `strip_prefix`.
#[inline]
fn after(text: &[u8], first: u8) -> Option<&[u8]> {
    match text {
        [byte, rest @ ..] if *byte == first => Some(rest),
        _ => None,
    }
}

#[inline]
fn skip_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}
