//! Single characters, escaped or not, and classes of them.

use super::{Result, Translator, mistake};

/// `\d`, `\s`, `\w` and their opposites.
#[derive(Clone, Copy)]
pub(super) struct Set {
    alone: &'static str,
    in_class: &'static str,
    ascii: &'static str,
}

impl Set {
    /// The set of a letter after a backslash. Python's white space has four characters more than the crates',
    /// and its word characters have other numbers and no marks.
    pub(super) fn named(letter: char) -> Option<Set> {
        let (alone, in_class, ascii) = match letter {
            'd' => (r"\d", r"\d", "[0-9]"),
            'D' => (r"\D", r"\D", "[^0-9]"),
            's' => (r"[\s\x1C-\x1F]", r"\s\x1C-\x1F", r"[ \t-\r]"),
            'S' => (r"[^\s\x1C-\x1F]", r"[^\s\x1C-\x1F]", r"[^ \t-\r]"),
            'w' => (r"[\p{L}\p{N}_]", r"\p{L}\p{N}_", "[0-9A-Za-z_]"),
            'W' => (r"[^\p{L}\p{N}_]", r"[^\p{L}\p{N}_]", "[^0-9A-Za-z_]"),
            _ => return None,
        };
        Some(Set {
            alone,
            in_class,
            ascii,
        })
    }

    /// As it is written outside a class.
    pub(super) fn alone(self, ascii: bool) -> &'static str {
        if ascii { self.ascii } else { self.alone }
    }

    fn in_class(self, ascii: bool) -> &'static str {
        if ascii { self.ascii } else { self.in_class }
    }
}

/// One member of a class.
enum Member {
    Character(char),
    Set(Set),
}

impl Translator {
    /// What follows a `[`. There are no classes within classes: `[`, `&&`, `--` and `~~` stand for themselves.
    pub(super) fn class(&mut self, place: usize) -> Result<()> {
        self.begin_item();
        self.out.push('[');
        if self.eat('^') {
            self.out.push('^');
        }
        let first = self.at;
        while self.at == first || self.peek() != Some(']') {
            let member_at = self.at;
            let member = self.member(place)?;
            match self.input[self.at..] {
                ['-', end, ..] if end != ']' => {
                    self.at += 1;
                    let end = self.member(place)?;
                    self.range(&member, &end, member_at)?;
                }
                _ => self.write_member(&member),
            }
        }
        self.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn member(&mut self, class: usize) -> Result<Member> {
        match self.next() {
            None => mistake(class, "the ] for this [ is missing"),
            Some('\\') => match self.peek() {
                Some(letter) if let Some(set) = Set::named(letter) => {
                    self.at += 1;
                    Ok(Member::Set(set))
                }
                Some('b') => {
                    self.at += 1;
                    Ok(Member::Character('\x08'))
                }
                Some('0'..='7') => self.octal(3, self.at - 1).map(Member::Character),
                _ => self.character_escape(self.at - 1).map(Member::Character),
            },
            Some(character) => Ok(Member::Character(character)),
        }
    }

    fn range(&mut self, from: &Member, to: &Member, place: usize) -> Result<()> {
        match (from, to) {
            (Member::Character(low), Member::Character(high)) if low <= high => {
                self.write_member(from);
                self.out.push('-');
                self.write_member(to);
                Ok(())
            }
            (Member::Character(_), Member::Character(_)) => {
                mistake(place, "this range ends before it begins")
            }
            _ => mistake(place, "a range goes from one character to another"),
        }
    }

    fn write_member(&mut self, member: &Member) {
        match *member {
            Member::Set(set) => self.out.push_str(set.in_class(self.flags.ascii)),
            Member::Character(character) => {
                if r"\[]^-&~".contains(character) {
                    self.out.push('\\');
                }
                self.out.push(character);
            }
        }
    }

    /// The character that an escape stands for, within a class or outside; the backslash has been read.
    pub(super) fn character_escape(&mut self, place: usize) -> Result<char> {
        let Some(letter) = self.peek() else {
            return mistake(place, r"a \ at the end escapes nothing");
        };
        if letter == '0' {
            return self.octal(3, place);
        }
        self.at += 1;
        Ok(match letter {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => return self.hexadecimal(2, place),
            'u' => return self.hexadecimal(4, place),
            'U' => return self.hexadecimal(8, place),
            'N' => {
                return mistake(
                    place,
                    r"characters by name are not known here: write \uXXXX",
                );
            }
            _ if letter.is_ascii_alphanumeric() => {
                return mistake(place, format!(r"\{letter} means nothing"));
            }
            _ => letter,
        })
    }

    fn hexadecimal(&mut self, digits: usize, place: usize) -> Result<char> {
        let value = (0..digits).try_fold(0u32, |value, _| {
            let digit = self.peek()?.to_digit(16)?;
            self.at += 1;
            Some(value << 4 | digit)
        });
        match value.map(char::from_u32) {
            Some(Some(character)) => Ok(character),
            Some(None) => mistake(place, "there is no such character"),
            None => mistake(
                place,
                format!("{digits} hexadecimal digits are needed here"),
            ),
        }
    }

    /// Up to so many octal digits; at least one is there.
    pub(super) fn octal(&mut self, most: usize, place: usize) -> Result<char> {
        let mut value = 0;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|digit| digit.to_digit(8)) else {
                break;
            };
            value = value * 8 + digit;
            self.at += 1;
        }
        match u8::try_from(value) {
            Ok(byte) => Ok(char::from(byte)),
            Err(_) => mistake(place, r"an octal number is at most \377"),
        }
    }
}
