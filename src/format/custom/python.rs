//! Regexes in Python's syntax, written anew in that of the regex crates.
//!
//! Both look alike and differ in the small print: what `$` and `\Z` mean, which characters are white space,
//! letters or may be escaped, what `[` and `&&` are within a class, how flags and comments are written. Groups
//! keep their numbers; their names do not go over.
//!
//! What stays different: outside of ASCII, `\b` and `\B` take combining marks for parts of a word, but `½` not,
//! and `(?a)` touches neither them nor `(?i)`; look-behind may be of any length; a repeated group whose last round
//! matched nothing keeps what it had before.

mod character;
mod group;
#[cfg(test)]
mod tests;

use character::Set;
use group::Open;

/// A regex as the crates read it.
#[derive(Debug)]
pub struct Translated {
    pub pattern: String,
    /// The named groups and their numbers, in the order of the pattern.
    pub names: Vec<(String, usize)>,
    /// It has look-around, back-references or the like, which the `regex` crate does not know.
    pub backtracking: bool,
    /// It refers to a group by its number.
    pub numbered: bool,
}

/// Why a regex cannot be read, and where.
#[derive(Debug)]
pub struct Mistake {
    /// In characters, from 1.
    pub place: usize,
    pub why: String,
}

type Result<T> = std::result::Result<T, Mistake>;

/// Translates a regex; what Python refuses is refused here, too, with its place.
pub fn translate(regex: &str) -> Result<Translated> {
    Translator::new(regex).translate()
}

/// Walks once through the regex and writes as it goes. Places are indices into `input`.
struct Translator {
    input: Vec<char>,
    at: usize,
    out: String,
    flags: Flags,
    last: Last,
    /// Something in the group that is open takes text.
    takes_text: bool,
    open: Vec<Open>,
    groups: usize,
    names: Vec<(String, usize)>,
    /// Group numbers in conditions, and their places: a condition may stand before its group.
    conditions: Vec<(usize, usize)>,
    /// How much of `out` is flags for the whole regex.
    head: usize,
    backtracking: bool,
    numbered: bool,
}

/// The flags that the crates do not know, or know otherwise.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `a`: `\d`, `\s` and `\w` are ASCII.
    ascii: bool,
    /// `x`: blanks and comments are passed over, but in classes.
    verbose: bool,
}

/// What a quantifier would repeat.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    /// What was written from there on.
    Item(usize),
    /// A group that was written from there on and takes no text.
    Place(usize),
    Repeated,
}

impl Translator {
    fn new(regex: &str) -> Self {
        Self {
            input: regex.chars().collect(),
            at: 0,
            out: String::new(),
            flags: Flags::default(),
            last: Last::Nothing,
            takes_text: false,
            open: Vec::new(),
            groups: 0,
            names: Vec::new(),
            conditions: Vec::new(),
            head: 0,
            backtracking: false,
            numbered: false,
        }
    }

    fn translate(mut self) -> Result<Translated> {
        while let Some(character) = self.next() {
            self.piece(character, self.at - 1)?;
        }
        if let Some(open) = self.open.last() {
            return mistake(open.place, "the ) for this ( is missing");
        }
        if let Some(&(number, place)) = self
            .conditions
            .iter()
            .find(|(number, _)| *number > self.groups)
        {
            return mistake(place, format!("there is no group {number}"));
        }
        Ok(Translated {
            pattern: self.out,
            names: self.names,
            backtracking: self.backtracking,
            numbered: self.numbered,
        })
    }

    fn piece(&mut self, character: char, place: usize) -> Result<()> {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if self.flags.verbose => {}
            '#' if self.flags.verbose => {
                while self.next().is_some_and(|skipped| skipped != '\n') {}
            }
            '\\' => self.escape(place)?,
            '[' => self.class(place)?,
            '(' => self.open_group(place)?,
            ')' => self.close_group(place)?,
            '|' => self.alternative(place)?,
            '*' | '+' | '?' => self.repeat(&character.to_string(), place)?,
            '{' => self.counted_repeat(place)?,
            '.' => self.item("."),
            '^' => self.assertion("^"),
            // At the end, and before a newline there: a line holds no other newline.
            '$' => self.assertion("(?m:$)"),
            _ => self.literal(character),
        }
        Ok(())
    }

    /// What follows a backslash outside a class.
    fn escape(&mut self, place: usize) -> Result<()> {
        match self.peek() {
            Some('A') => self.assertion(r"\A"),
            Some('Z' | 'z') => self.assertion(r"\z"),
            Some('b') => self.assertion(r"\b"),
            Some('B') => self.assertion(r"\B"),
            Some('1'..='9') => return self.numbered(place),
            Some(letter) if let Some(set) = Set::named(letter) => {
                self.item(set.alone(self.flags.ascii))
            }
            _ => {
                let character = self.character_escape(place)?;
                self.literal(character);
                return Ok(());
            }
        }
        self.at += 1;
        Ok(())
    }

    /// `\1` to `\99` is what a group matched; three octal digits are a character.
    fn numbered(&mut self, place: usize) -> Result<()> {
        let digits = self.input[self.at..].iter();
        let digits: String = digits
            .take(3)
            .take_while(|digit| digit.is_ascii_digit())
            .collect();
        if digits.len() == 3 && digits.chars().all(|digit| digit.is_digit(8)) {
            let character = self.octal(3, place)?;
            self.literal(character);
            return Ok(());
        }
        let digits = &digits[..digits.len().min(2)];
        self.at += digits.len();
        self.numbered = true;
        self.back_reference(digits.parse().unwrap_or(usize::MAX), place)
    }

    fn repeat(&mut self, quantifier: &str, place: usize) -> Result<()> {
        let start = match self.last {
            Last::Item(start) => start,
            Last::Place(start) => {
                // An engine may refuse to repeat look-around, but not one of two ways, the other of which nothing takes.
                self.out.insert_str(start, "(?:");
                self.out.push_str(r"|[^\s\S])");
                start
            }
            Last::Nothing => return mistake(place, "there is nothing to repeat"),
            Last::Repeated => {
                return mistake(place, "what is repeated already cannot be repeated again");
            }
        };
        self.out.push_str(quantifier);
        if self.eat('?') {
            self.out.push('?');
        } else if self.eat('+') {
            self.out.insert_str(start, "(?>");
            self.out.push(')');
            self.backtracking = true;
        }
        self.last = Last::Repeated;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{,3}`, `{2,3}`; anything else in braces stands for itself.
    fn counted_repeat(&mut self, place: usize) -> Result<()> {
        let from = self.digits();
        let to = if self.eat(',') {
            self.digits()
        } else {
            from.clone()
        };
        if self.input[place + 1..].starts_with(&['}']) || !self.eat('}') {
            self.at = place + 1;
            self.literal('{');
            return Ok(());
        }
        let count = |digits: &str, missing: u32| match digits {
            "" => Ok(missing),
            _ => digits
                .parse()
                .or_else(|_| mistake(place, "this is repeated too often")),
        };
        let (least, most) = (count(&from, 0)?, count(&to, u32::MAX)?);
        if least > most {
            return mistake(place, "the least number of times is above the most");
        }
        match (least, to.as_str()) {
            (_, "") => self.repeat(&format!("{{{least},}}"), place),
            _ => self.repeat(&format!("{{{least},{most}}}"), place),
        }
    }

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit @ '0'..='9') = self.peek() {
            digits.push(digit);
            self.at += 1;
        }
        digits
    }

    fn literal(&mut self, character: char) {
        self.begin_item();
        if r"\.+*?()|[]{}^$".contains(character) {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    fn item(&mut self, written: &str) {
        self.begin_item();
        self.out.push_str(written);
    }

    /// What takes text and can be repeated is written next.
    fn begin_item(&mut self) {
        self.last = Last::Item(self.out.len());
        self.takes_text = true;
    }

    /// What matches a place, not text, cannot be repeated.
    fn assertion(&mut self, written: &str) {
        self.last = Last::Nothing;
        self.out.push_str(written);
    }

    fn peek(&self) -> Option<char> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }
}

/// `place` is an index, from 0.
fn mistake<T>(place: usize, why: impl Into<String>) -> Result<T> {
    Err(Mistake {
        place: place + 1,
        why: why.into(),
    })
}
