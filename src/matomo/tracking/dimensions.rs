//! Custom dimensions (`--dimension`). See guide/requests.md, "Custom dimensions".

use std::borrow::Cow;

use super::members::{first_chars, logged_value};
use super::push_member;
use crate::format::Field;
use crate::hit::LoggedRequest;
use crate::privacy::AddressMask;

/// Characters of a value that Matomo stores.
const MAX_CHARS: usize = 250;

/// A custom dimension and the field that it is sent from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    id: u16,
    /// `dimension1`
    member: String,
    field: String,
    source: DimensionSource,
}

/// Where the value of a custom dimension comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DimensionSource {
    Status,
    Method,
    Bot,
    /// The field as logged.
    Logged,
}

impl Dimension {
    /// `id` is that of the dimension in Matomo.
    pub fn new(id: u16, field: &str) -> Self {
        Self {
            id,
            member: format!("dimension{id}"),
            field: field.to_owned(),
            source: match field {
                "http_code" => DimensionSource::Status,
                "http_method" => DimensionSource::Method,
                "bot" => DimensionSource::Bot,
                _ => DimensionSource::Logged,
            },
        }
    }

    pub fn id(&self) -> u16 {
        self.id
    }

    /// The name of the field, as the user gave it.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The name of the field, if it is one of the log.
    pub fn logged_field(&self) -> Option<&str> {
        (self.source == DimensionSource::Logged).then_some(&self.field)
    }

    /// Appends the parameter. Appends nothing if the value is missing, empty or `-`.
    pub(super) fn push(
        &self,
        request: &LoggedRequest,
        mask: Option<AddressMask>,
        out: &mut Vec<u8>,
    ) {
        let value: Option<Cow<[u8]>> = match self.source {
            DimensionSource::Status => Some(Cow::Borrowed(request.status)),
            DimensionSource::Method => request.record.get(Field::Method).map(Cow::Borrowed),
            DimensionSource::Bot if request.is_bot => Some(Cow::Borrowed(b"Bot")),
            DimensionSource::Bot => Some(Cow::Borrowed(b"Not-Bot")),
            DimensionSource::Logged => logged_value(request, &self.field, mask),
        };
        if let Some(value) = value.filter(|value| !matches!(&**value, b"" | b"-")) {
            push_member(out, &self.member, first_chars(&value, MAX_CHARS));
        }
    }
}
