//! From a pattern's text to its items, and what is refused on the way.

use std::borrow::Cow;

use super::{
    DAY, HOUR, Item, MINUTE, MONTH, MONTH_NAME, MONTHS, Part, SECOND, SHORT_WEEKDAYS, Strptime,
    WEEKDAYS, YEAR, is_blank, name, number,
};
use crate::error::{Error, Result};

/// For messages.
const DIRECTIVES: &str =
    "%a %A %w %u %d %b %B %m %y %Y %H %I %p %M %S %f %z %Z %j %U %W %V %G %c %x %X %%";

/// Reads a pattern from left to right.
pub(super) struct Compiler<'a> {
    format: &'a str,
    items: Vec<Item>,
    /// The directives so far, with the place (characters, from 1) of each.
    seen: Vec<(char, usize)>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(format: &'a str) -> Self {
        Self {
            format,
            items: Vec::new(),
            seen: Vec::new(),
        }
    }

    pub(super) fn compile(mut self) -> Result<Strptime> {
        let mut characters = self.format.chars().zip(1..);
        while let Some((character, place)) = characters.next() {
            match character {
                '%' => match characters.next() {
                    Some((letter, _)) => self.directive(letter, place)?,
                    None => {
                        return Err(
                            self.mistake("the last % has no letter (a % itself is %%)", place)
                        );
                    }
                },
                _ => self.literal(character),
            }
        }
        self.refuse_what_gives_no_date()?;
        Ok(Strptime {
            items: Cow::Owned(self.items),
        })
    }

    fn literal(&mut self, character: char) {
        let item = if is_blank(character) {
            Item::Blank
        } else {
            Item::Literal(character)
        };
        if item != Item::Blank || self.items.last() != Some(&Item::Blank) {
            self.items.push(item);
        }
    }

    fn directive(&mut self, letter: char, place: usize) -> Result<()> {
        let composed = match letter {
            'c' => "%a %b %d %H:%M:%S %Y",
            'x' => "%m/%d/%y",
            'X' => "%H:%M:%S",
            '%' => {
                self.items.push(Item::Literal('%'));
                return Ok(());
            }
            _ => return self.single(letter, place),
        };
        let mut characters = composed.chars();
        while let Some(character) = characters.next() {
            match (character, characters.as_str().chars().next()) {
                ('%', Some(inner)) => {
                    self.single(inner, place)?;
                    characters.next();
                }
                _ => self.literal(character),
            }
        }
        Ok(())
    }

    fn single(&mut self, letter: char, place: usize) -> Result<()> {
        let item = match letter {
            'a' => name(Part::Weekday, SHORT_WEEKDAYS),
            'A' => name(Part::Weekday, WEEKDAYS),
            'w' => number(Part::WeekdayFromSunday, 1, 1, (0, 6)),
            'u' => number(Part::IsoWeekday, 1, 1, (1, 7)),
            'd' => DAY,
            'b' => MONTH_NAME,
            'B' => name(Part::MonthName, MONTHS),
            'm' => MONTH,
            'y' => number(Part::YearOfCentury, 2, 2, (0, 99)),
            'Y' => YEAR,
            'H' => HOUR,
            'I' => number(Part::HourOfHalfDay, 1, 2, (1, 12)),
            'p' => name(Part::HalfDay, &["am", "pm"]),
            'M' => MINUTE,
            'S' => SECOND,
            'f' => number(Part::Fraction, 1, 6, (0, 999_999)),
            'z' => Item::Zone,
            'Z' => name(Part::Utc, &["utc", "gmt"]),
            'j' => number(Part::DayOfYear, 1, 3, (1, 366)),
            'U' => number(Part::WeekFromSunday, 1, 2, (0, 53)),
            'W' => number(Part::WeekFromMonday, 1, 2, (0, 53)),
            'V' => number(Part::IsoWeek, 1, 2, (1, 53)),
            'G' => number(Part::IsoYear, 4, 4, (0, 9999)),
            _ => {
                let why = format!("%{letter} is no directive; there are {DIRECTIVES}");
                return Err(self.mistake(&why, place));
            }
        };
        if self.place_of(&[letter]).is_some() {
            return Err(self.mistake(&format!("%{letter} may stand there only once"), place));
        }
        self.seen.push((letter, place));
        self.items.push(item);
        Ok(())
    }

    /// ISO weeks are a calendar of their own; halves of it, or a mixture of two, fit no date at all.
    fn refuse_what_gives_no_date(&self) -> Result<()> {
        match (self.place_of(&['G']), self.place_of(&['V'])) {
            (None, None) => Ok(()),
            (None, Some(place)) => Err(self.mistake("%V needs %G, the year of ISO weeks", place)),
            (Some(place), None) => Err(self.mistake("%G needs %V, the ISO week", place)),
            (Some(place), Some(_)) => {
                if self.place_of(&['a', 'A', 'w', 'u']).is_none() {
                    return Err(self.mistake("%G and %V need a weekday: %u, %w, %a or %A", place));
                }
                match self.place_of(&['Y', 'y', 'j']) {
                    Some(place) => {
                        Err(self.mistake("%Y, %y and %j do not go with %G and %V", place))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn place_of(&self, letters: &[char]) -> Option<usize> {
        self.seen
            .iter()
            .find(|(letter, _)| letters.contains(letter))
            .map(|&(_, place)| place)
    }

    fn mistake(&self, why: &str, place: usize) -> Error {
        let format = self.format;
        Error::usage(format!(
            "--log-date-format cannot be read at character {place} of '{format}': {why}"
        ))
    }
}
