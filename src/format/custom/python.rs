//! Rewrites regexes from Python's syntax to that of `fancy_regex`.
//!
//! The two differ in details: `$` and `\Z`, escapes, `[`, `&&` and `--` in classes, flags, comments,
//! counts and conditions. This file rewrites those, and refuses what `fancy_regex` would read
//! differently. The rest is copied; [`Rewritten::place`] leads from an error of `fancy_regex` back
//! to the regex that the user typed.
//!
//! Differences from Python that remain:
//!
//! - Letters (`\w`, `\b`) include combining marks but not numbers such as `½`. White space (`\s`)
//!   does not include `\x1c` to `\x1f`. `(?a)` changes neither `\b` nor `(?i)`.
//! - Look-behind may have any length. Look-around and empty groups cannot be repeated. A repeated
//!   group that matches nothing in its last round keeps what it matched before.
//! - A condition needs its group before it and may have more than two branches.
//! - Some regexes that Python refuses are accepted, such as `(\1)`, `^*`, `a{2}{3}` and `(?P<a-b>c)`.

use super::RegexError;

type Result<T> = std::result::Result<T, RegexError>;

/// A regex in the syntax of `fancy_regex`.
#[derive(Default)]
pub(super) struct Rewritten {
    pub pattern: String,
    /// Named groups and their numbers, in the order of the pattern.
    pub names: Vec<(String, usize)>,
    /// Look-around, references and possessive quantifiers need backtracking.
    pub backtracks: bool,
    /// A reference gives its group by number.
    pub refers_by_number: bool,
    /// Where each part begins in `pattern` (bytes), and its place in the user's regex.
    parts: Vec<(usize, usize)>,
}

impl Rewritten {
    /// The place in the user's regex (characters, from 1) of a byte of `pattern`.
    pub fn place(&self, byte: usize) -> usize {
        let after = self.parts.partition_point(|(start, _)| *start <= byte);
        self.parts[..after].last().map_or(1, |(_, place)| *place)
    }
}

/// Rewrites a regex. Fails where `fancy_regex` would read it differently than Python.
pub(super) fn rewrite(regex: &str) -> Result<Rewritten> {
    let mut rewriter = Rewriter {
        rest: regex,
        ..Rewriter::default()
    };
    while let Some(character) = rewriter.next() {
        rewriter.place = rewriter.taken;
        let part = (rewriter.out.pattern.len(), rewriter.place);
        rewriter.out.parts.push(part);
        rewriter.part(character)?;
    }
    match rewriter.open.last() {
        Some(&(place, _)) => error(place, "this ( has no matching )"),
        None => Ok(rewriter.out),
    }
}

/// Reads the regex once, from left to right.
#[derive(Default)]
struct Rewriter<'r> {
    rest: &'r str,
    /// Characters before `rest`.
    taken: usize,
    /// The place (characters, from 1) of the part that is being read.
    place: usize,
    out: Rewritten,
    flags: Flags,
    /// Open groups: their place, and the flags outside.
    open: Vec<(usize, Flags)>,
    groups: usize,
    /// Bytes of the output that hold flags for the whole regex.
    head: usize,
}

/// Flags that `fancy_regex` lacks or reads differently.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `a`: `\d`, `\s` and `\w` match ASCII only.
    ascii: bool,
    /// `x`: white space and comments outside classes are skipped.
    verbose: bool,
}

impl<'r> Rewriter<'r> {
    fn part(&mut self, character: char) -> Result<()> {
        match character {
            ' ' | '\t'..='\r' if self.flags.verbose => {}
            '#' if self.flags.verbose => drop(self.take_while(|skipped| skipped != '\n')),
            '\\' => self.backslash()?,
            '[' => self.class()?,
            '(' => self.group()?,
            ')' => match self.open.pop() {
                Some((_, outside)) => {
                    self.flags = outside;
                    self.push(")");
                }
                None => return self.error("this ) has no matching ("),
            },
            '*' | '+' | '?' => self.quantifier(&character.to_string()),
            '{' => self.brace()?,
            // The end, or before a final newline: a line holds no other newline.
            '$' => self.push("(?m:$)"),
            '}' | ']' => self.literal(character),
            _ => self.out.pattern.push(character),
        }
        Ok(())
    }

    /// What follows a backslash outside a class.
    fn backslash(&mut self) -> Result<()> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let is_octal = |byte: u8| (b'0'..b'8').contains(&byte);
        if self.eat("Z") {
            self.push(r"\z");
        } else if self.rest.starts_with(['A', 'b', 'B', 'z']) {
            let letter = self.take(1);
            self.push(&format!("\\{letter}"));
        } else if digits > 0
            && !self.rest.starts_with('0')
            && !(digits > 2 && self.rest.bytes().take(3).all(is_octal))
        {
            // `\1` to `\99`; three octal digits are a character. The brackets keep the number
            // apart from digits that follow.
            let number = self.take(digits.min(2));
            self.require_group(number)?;
            self.push(&format!(r"(?:\{number})"));
        } else {
            self.escape()?;
        }
        Ok(())
    }

    fn require_group(&mut self, number: &str) -> Result<()> {
        self.out.refers_by_number = true;
        self.out.backtracks = true;
        match number.parse() {
            Ok(number @ 1..) if number <= self.groups => Ok(()),
            _ => self.error(format!("there is no group {number} before this")),
        }
    }

    /// What follows a backslash, in a class or outside. `false`: it is a set of characters.
    fn escape(&mut self) -> Result<bool> {
        let Some(letter) = self.next() else {
            return self.error(r"a \ at the end escapes nothing");
        };
        match letter {
            'd' | 's' | 'w' | 'D' | 'S' | 'W' => {
                let set = match letter.to_ascii_lowercase() {
                    _ if !self.flags.ascii => format!("\\{letter}"),
                    'd' => "[[:digit:]]".to_string(),
                    's' => "[[:space:]]".to_string(),
                    _ => "[[:word:]]".to_string(),
                };
                let negated = self.flags.ascii && letter.is_ascii_uppercase();
                self.push(&if negated {
                    set.replace("[:", "[:^")
                } else {
                    set
                });
                return Ok(false);
            }
            // One to three octal digits.
            '0'..='7' => {
                let more = self
                    .rest
                    .bytes()
                    .take(2)
                    .take_while(|byte| (b'0'..b'8').contains(byte));
                let digits = format!("{letter}{}", self.take(more.count()));
                match u8::from_str_radix(&digits, 8) {
                    Ok(byte) => self.literal(char::from(byte)),
                    Err(_) => return self.error(r"octal escapes end at \377"),
                }
            }
            // The digits follow and are copied.
            'x' | 'u' | 'U' | 'a' | 'f' | 'n' | 'r' | 't' | 'v' => {
                self.push(&format!("\\{letter}"))
            }
            _ if letter.is_ascii_alphanumeric() => {
                return self.error(format!(r"\{letter} has no meaning"));
            }
            _ => self.literal(letter),
        }
        Ok(true)
    }

    /// A class. Python knows no classes within classes and no operators on them.
    fn class(&mut self) -> Result<()> {
        let begin = self.out.pattern.len();
        self.push("[");
        if self.eat("^") {
            self.push("^");
        }
        loop {
            let is_character = self.member()?;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take(1);
                self.push("-");
                if !(self.member()? && is_character) {
                    return self.error("a range in this class begins or ends with a set");
                }
            }
            if self.eat("]") {
                break;
            }
        }
        self.push("]");
        // The place of an error is known only here.
        match regex::Regex::new(&self.out.pattern[begin..]) {
            Ok(_) => Ok(()),
            Err(error) => self.error(last_line(&error)),
        }
    }

    /// A member of a class. `false`: it is a set of characters.
    fn member(&mut self) -> Result<bool> {
        match self.next() {
            None => return self.error("this [ has no matching ]"),
            Some('\\') if self.eat("b") => self.literal('\x08'),
            Some('\\') => {
                let class = std::mem::replace(&mut self.place, self.taken);
                let escaped = self.escape();
                self.place = class;
                return escaped;
            }
            Some(character) => self.literal(character),
        }
        Ok(true)
    }

    fn quantifier(&mut self, written: &str) {
        self.push(written);
        if self.eat("+") {
            self.push("+");
            self.out.backtracks = true;
        }
    }

    /// `{2}`, `{2,}`, `{,3}` and `{2,3}` are quantifiers; any other brace matches itself.
    fn brace(&mut self) -> Result<()> {
        let inner = self.rest.split_once('}').map_or("", |(inner, _)| inner);
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if inner.is_empty() || !is_number(least) || !is_number(most) {
            self.literal('{');
            return Ok(());
        }
        let count = |text: &str, default| match text {
            "" => Some(default),
            _ => text.parse::<u32>().ok(),
        };
        let (Some(from), Some(to)) = (count(least, 0), count(most, u32::MAX)) else {
            return self.error("this count is too high");
        };
        if from > to {
            return self.error("the first count is above the second");
        }
        self.take(inner.len() + 1);
        self.quantifier(&format!("{{{from},{most}}}"));
        Ok(())
    }

    /// What follows `(`.
    fn group(&mut self) -> Result<()> {
        const PLAIN: [&str; 6] = ["?:", "?=", "?!", "?>", "?<=", "?<!"];
        if let Some(head) = PLAIN.into_iter().find(|head| self.eat(head)) {
            self.out.backtracks |= head != "?:";
            self.open(head);
        } else if self.eat("?P<") || self.eat("?<") {
            let name = self.until('>')?;
            if self.out.names.iter().any(|(other, _)| other == name) {
                return self.error(format!("two groups are named '{name}'"));
            }
            self.groups += 1;
            self.out.names.push((name.to_string(), self.groups));
            self.open(&format!("?P<{name}>"));
        } else if self.eat("?P=") {
            let name = self.until(')')?;
            self.out.backtracks = true;
            self.push(&format!("(?P={name})"));
        } else if self.eat("?(") {
            let condition = self.until(')')?;
            self.out.backtracks = true;
            if condition.starts_with(|first: char| first.is_ascii_digit()) {
                self.require_group(condition)?;
                self.open(&format!("?({condition})"));
            } else {
                self.open(&format!("?(<{condition}>)"));
            }
        } else if self.eat("?#") {
            self.until(')')?;
        } else if self.eat("?") {
            self.flag_group()?;
        } else {
            self.groups += 1;
            self.open("");
        }
        Ok(())
    }

    fn open(&mut self, head: &str) {
        self.open.push((self.place, self.flags));
        self.push("(");
        self.push(head);
    }

    /// `(?i)` for the whole regex, at its start; `(?i-s:...)` for a part of it.
    fn flag_group(&mut self) -> Result<()> {
        let typed = self.take_while(|letter| letter.is_ascii_alphabetic() || letter == '-');
        let (on, off) = typed.split_once('-').unwrap_or((typed, ""));
        let flags = Flags {
            ascii: (self.flags.ascii || on.contains('a')) && !on.contains('u'),
            verbose: (self.flags.verbose || on.contains('x')) && !off.contains('x'),
        };
        let mut head = format!("?{}", on.replace(['a', 'u', 'x'], ""));
        if off.contains(|flag| flag != 'x') {
            head = format!("{head}-{}", off.replace('x', ""));
        }
        if self.eat(":") {
            self.open(&(head + ":"));
        } else if !self.eat(")") || typed.is_empty() {
            return self.error("this (? has no meaning");
        } else if !self.open.is_empty() || self.out.pattern.len() > self.head {
            let why = "flags for the whole regex belong at its start; (?i:...) is for a part";
            return self.error(why);
        } else if head != "?" {
            self.push(&format!("({head})"));
            self.head = self.out.pattern.len();
        }
        self.flags = flags;
        Ok(())
    }

    /// Takes all before `end`, and `end`.
    fn until(&mut self, end: char) -> Result<&'r str> {
        let inner = self.take_while(|character| character != end);
        match self.next() {
            Some(_) => Ok(inner),
            None => self.error(format!("this (? has no {end}")),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'r str {
        let length = self.rest.find(|character| !wanted(character));
        self.take(length.unwrap_or(self.rest.len()))
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.take(character.len_utf8());
        Some(character)
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let found = self.rest.starts_with(wanted);
        if found {
            self.take(wanted.len());
        }
        found
    }

    /// Takes so many bytes.
    fn take(&mut self, length: usize) -> &'r str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.taken += taken.chars().count();
        taken
    }

    /// Writes a character that matches itself, in a class or outside.
    fn literal(&mut self, character: char) {
        if r"\.+*?()|[]{}^$-&~".contains(character) {
            self.push("\\");
        }
        self.out.pattern.push(character);
    }

    fn push(&mut self, written: &str) {
        self.out.pattern.push_str(written);
    }

    /// An error in the part that is being read.
    fn error<T>(&self, why: impl Into<String>) -> Result<T> {
        error(self.place, why)
    }
}

fn error<T>(place: usize, why: impl Into<String>) -> Result<T> {
    Err(RegexError {
        place: Some(place),
        why: why.into(),
    })
}

/// What the `regex` crate says below its drawing of the pattern.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}
