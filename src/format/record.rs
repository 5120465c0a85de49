//! A record: the fields of one log line, all of them borrowed.

/// The fields that all formats share; see guide/formats.md, "Fields". Any other name is an extra.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    Ip,
    Date,
    Time,
    Timezone,
    Path,
    QueryString,
    Status,
    Length,
    Host,
    Userid,
    Referrer,
    UserAgent,
    Method,
    GenerationTimeMilli,
    GenerationTimeMicro,
    GenerationTimeSecs,
    EventCategory,
    EventAction,
    EventName,
    SessionTime,
    Scheme,
    ForwardedFor,
}

/// All fields, in the order of their declaration, with their names in regexes and options.
const FIELDS: [(Field, &str); Field::ForwardedFor as usize + 1] = [
    (Field::Ip, "ip"),
    (Field::Date, "date"),
    (Field::Time, "time"),
    (Field::Timezone, "timezone"),
    (Field::Path, "path"),
    (Field::QueryString, "query_string"),
    (Field::Status, "status"),
    (Field::Length, "length"),
    (Field::Host, "host"),
    (Field::Userid, "userid"),
    (Field::Referrer, "referrer"),
    (Field::UserAgent, "user_agent"),
    (Field::Method, "method"),
    (Field::GenerationTimeMilli, "generation_time_milli"),
    (Field::GenerationTimeMicro, "generation_time_micro"),
    (Field::GenerationTimeSecs, "generation_time_secs"),
    (Field::EventCategory, "event_category"),
    (Field::EventAction, "event_action"),
    (Field::EventName, "event_name"),
    (Field::SessionTime, "session_time"),
    (Field::Scheme, "scheme"),
    (Field::ForwardedFor, "x_forwarded_for"),
];

impl Field {
    /// Every hit needs these. A line of the W3C family may have its time in a column of its own.
    pub const REQUIRED: [Field; 4] = [Field::Ip, Field::Date, Field::Path, Field::Status];

    /// All fields, in the order of their declaration.
    pub fn all() -> impl Iterator<Item = Field> {
        FIELDS.into_iter().map(|(field, _)| field)
    }

    /// The name in regexes and options.
    pub fn name(self) -> &'static str {
        FIELDS[self as usize].1
    }

    pub fn from_name(name: &str) -> Option<Field> {
        Field::all().find(|field| field.name() == name)
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u32);

impl Fields {
    pub fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u32;
    }

    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }
}

/// The fields of one line. Values borrow from the line, or from an arena if they had to be decoded.
/// A missing field is `None`; an empty one is `Some(b"")`.
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    values: [Option<&'a [u8]>; FIELDS.len()],
    raw_agent: Option<&'a [u8]>,
    rest: &'a [u8],
    extras: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Record<'a> {
    pub fn get(&self, field: Field) -> Option<&'a [u8]> {
        self.values[field as usize]
    }

    pub fn set(&mut self, field: Field, value: &'a [u8]) {
        self.values[field as usize] = Some(value);
    }

    pub fn forget(&mut self, field: Field) {
        self.values[field as usize] = None;
    }

    /// The user agent as logged, if decoding changed it; see guide/formats.md, "User agents in W3C
    /// logs". It is not a [`Field`] because users may give an extra any name.
    pub fn raw_agent(&self) -> Option<&'a [u8]> {
        self.raw_agent
    }

    pub fn set_raw_agent(&mut self, raw: &'a [u8]) {
        self.raw_agent = Some(raw);
    }

    /// What follows the last field in the line.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn set_rest(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// Whether it has all fields that every hit needs.
    pub fn has_required(&self) -> bool {
        Field::REQUIRED
            .iter()
            .all(|field| self.get(*field).is_some())
    }

    /// Whether nothing follows the last field in the line.
    pub fn is_whole(&self) -> bool {
        self.rest.trim_ascii().is_empty()
    }

    /// Sets an extra. Call it only for names in [`Wanted`].
    pub fn set_extra(&mut self, name: &'a str, value: &'a [u8]) {
        self.extras.push((name, value));
    }

    /// All extras, in the order of the line.
    pub fn extras(&self) -> &[(&'a str, &'a [u8])] {
        &self.extras
    }

    /// A field or an extra by its name.
    pub fn by_name(&self, name: &str) -> Option<&'a [u8]> {
        match Field::from_name(name) {
            Some(field) => self.get(field),
            None => self.extra(name),
        }
    }

    /// An extra by its name.
    pub fn extra(&self, name: &str) -> Option<&'a [u8]> {
        self.extras
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| *v)
    }
}

/// Whether a value is empty or a dash, with or without quotes.
pub fn is_absent(value: &[u8]) -> bool {
    matches!(value, b"" | b"-" | b"\"-\"")
}

/// The number in a field. Returns `None` if it has anything but ASCII digits or exceeds `u64`.
pub fn whole_number(text: &[u8]) -> Option<u64> {
    // So many digits always fit.
    const SHORT: usize = 19;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let (short, rest) = text.split_at(text.len().min(SHORT));
    let mut number = 0;
    for byte in short {
        number = number * 10 + digit(byte)?;
    }
    let number = rest.iter().try_fold(number, |number, byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    });
    number.filter(|_| !text.is_empty())
}

/// The extras that custom variables need. Formats keep no others.
#[derive(Clone, Debug, Default)]
pub struct Wanted(pub Vec<String>);

impl Wanted {
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|wanted| wanted == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_digits_only_and_fits() {
        for (text, number) in [
            ("0", Some(0)),
            ("5120", Some(5120)),
            ("9999999999999999999", Some(9_999_999_999_999_999_999)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("00000000000000000000001", Some(1)),
            ("", None),
            ("-", None),
            ("1a", None),
            ("0000000000000000000x", None),
        ] {
            assert_eq!(whole_number(text.as_bytes()), number, "{text}");
        }
    }
}
