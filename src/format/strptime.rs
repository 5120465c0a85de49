//! Dates by a pattern of the user's own (`--log-date-format`), read as Python's `strptime` reads them.
//!
//! English names whatever the locale, any case, single digits; white space in the pattern stands for any run of
//! it; the whole text must be used up. What the pattern does not say is 1900-01-01 00:00:00.

mod compile;
mod fit;
mod parts;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::date::Moment;
use crate::error::Result;
use parts::{Part, Parts};

/// A pattern, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strptime {
    items: Cow<'static, [Item]>,
}

/// What a place of the pattern takes from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// This character, in any case.
    Literal(char),
    /// White space, as much as there is, but some.
    Blank,
    /// ASCII digits: as many as make a number within the bounds (both included), `least` to `most` of them.
    Number {
        part: Part,
        least: usize,
        most: usize,
        bounds: (i32, i32),
    },
    /// One of these names, in any case; the part's value is the name's place in the list.
    Name {
        part: Part,
        names: &'static [&'static str],
    },
    /// `Z`, `+0200`, `+02:00`, perhaps with seconds and a fraction of them.
    Zone,
}

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const SHORT_MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const SHORT_WEEKDAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const YEAR: Item = number(Part::Year, 4, 4, (0, 9999));
const MONTH: Item = number(Part::Month, 1, 2, (1, 12));
const DAY: Item = number(Part::Day, 1, 2, (1, 31));
const HOUR: Item = number(Part::Hour, 1, 2, (0, 23));
const MINUTE: Item = number(Part::Minute, 1, 2, (0, 59));
/// Leap seconds are read, and then refused: no clock shows them.
const SECOND: Item = number(Part::Second, 1, 2, (0, 61));
const MONTH_NAME: Item = name(Part::MonthName, SHORT_MONTHS);

const fn number(part: Part, least: usize, most: usize, bounds: (i32, i32)) -> Item {
    Item::Number {
        part,
        least,
        most,
        bounds,
    }
}

const fn name(part: Part, names: &'static [&'static str]) -> Item {
    Item::Name { part, names }
}

impl Strptime {
    /// `%d/%b/%Y:%H:%M:%S`
    pub(super) const CLF: Strptime = Strptime {
        items: Cow::Borrowed(&[
            DAY,
            Item::Literal('/'),
            MONTH_NAME,
            Item::Literal('/'),
            YEAR,
            Item::Literal(':'),
            HOUR,
            Item::Literal(':'),
            MINUTE,
            Item::Literal(':'),
            SECOND,
        ]),
    };
    /// `%Y-%m-%d`
    pub(super) const ISO_DATE: Strptime = Strptime {
        items: Cow::Borrowed(&[YEAR, Item::Literal('-'), MONTH, Item::Literal('-'), DAY]),
    };
    /// `%H:%M:%S`
    pub(super) const ISO_TIME: Strptime = Strptime {
        items: Cow::Borrowed(&[HOUR, Item::Literal(':'), MINUTE, Item::Literal(':'), SECOND]),
    };

    /// Compiles a pattern. An error (wrong use): it has an unknown directive, one twice, or a combination that
    /// can never give a date; the text names the place.
    pub fn new(format: &str) -> Result<Strptime> {
        compile::Compiler::new(format).compile()
    }

    /// Whether a text of this shape says how far from UTC it is.
    pub fn has_zone(&self) -> bool {
        let is_zone = |item: &Item| match item {
            Item::Zone => true,
            Item::Name { part, .. } => *part == Part::Utc,
            _ => false,
        };
        self.items.iter().any(is_zone)
    }

    /// Reads a text. `None`: it does not have this shape, or is no day of the years 1 to 9999.
    pub fn read(&self, text: &[u8]) -> Option<Moment> {
        let mut parts = Parts::default();
        if fit::fits(&self.items, text, &mut parts) {
            parts.moment()
        } else {
            None
        }
    }
}

/// White space as Python's regexes know it: the separators of ASCII are among it.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}
