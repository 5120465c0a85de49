//! Rewrites regexes from Python's syntax to that of `fancy_regex`.
//!
//! The two differ in details: `$` and `\Z`, escapes, `[`, `&&` and `--` in classes, flags,
//! comments, counts and conditions. This file rewrites those, and refuses what `fancy_regex` would
//! read differently. The rest is copied; [`Rewritten::place`] leads from an error of `fancy_regex`
//! back to the regex that the user typed.
//!
//! Differences from Python that remain:
//!
//! - Letters (`\w`, `\b`) include combining marks but not numbers such as `½`. White space (`\s`)
//!   does not include `\x1c` to `\x1f`. `(?a)` changes neither `\b` nor `(?i)`.
//! - Look-behind may have any length. Look-around and empty groups cannot be repeated. A repeated
//!   group that matches nothing in its last round keeps what it matched before.
//! - A condition needs its group before it and may have more than two branches.
//! - Some regexes that Python refuses are accepted, such as `(\1)`, `^*`, `a{2}{3}` and
//!   `(?P<a-b>c)`.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::RegexError;

type Result<T> = std::result::Result<T, String>;

type Compiled = LazyLock<std::result::Result<Regex, regex::Error>>;

/// The next part of a regex in Python's syntax.
static PART: Compiled = LazyLock::new(|| {
    Regex::new(
        r"(?xs) ^ (?:
    \[ (?<negation> \^? ) (?<members> (?: \\. | [^\\] ) (?: \\. | [^\\\]] )* ) \]
    | \\ (?<escape> [0-7]{3} | 0[0-7]? | [1-9][0-9]? | . )
    | (?: (?<symbol> [*+?] ) | \{ (?<counts> [0-9]* ,? [0-9]* ) \} ) (?<possessive> \+? )
    | \( (?<head> \? (?: [:=!>] | <[=!] ) )
    | \( \? P? < (?<name> [^>]* ) >
    | \( \? P = (?<reference> [^)]* ) \)
    | \( \? \( (?<condition> [^)]* ) \)
    | \( \? (?<comment> \# ) [^)]* \)
    | \( \? (?<on> [a-zA-Z]* ) (?: - (?<off> [a-zA-Z]* ) )? (?<end> [:)] )
    | (?<unknown> \( \? )
    | (?<plain> . )
)",
    )
});

/// The next member of a class.
static MEMBER: Compiled = LazyLock::new(|| Regex::new(r"(?xs) \\ (?<escape> [0-7]{1,3} | . ) | ."));

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
pub(super) fn rewrite(regex: &str) -> std::result::Result<Rewritten, RegexError> {
    let error = |place, why| RegexError { place, why };
    let next_part = PART.as_ref().map_err(|why| error(None, why.to_string()))?;
    let mut rewriter = Rewriter::default();
    let mut rest = regex;
    while let Some(part) = next_part.captures(rest) {
        rewriter.place += 1;
        let start = (rewriter.out.pattern.len(), rewriter.place);
        rewriter.out.parts.push(start);
        let length = if rewriter.flags.verbose && rest.starts_with('#') {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            let done = rewriter.part(&part);
            done.map_err(|why| error(Some(rewriter.place), why))?;
            part[0].len()
        };
        rewriter.place += rest[..length].chars().count() - 1;
        rest = &rest[length..];
    }
    match rewriter.open.last() {
        Some(&(place, _)) => Err(error(Some(place), "this ( has no matching )".to_string())),
        None => Ok(rewriter.out),
    }
}

#[derive(Default)]
struct Rewriter {
    /// The place of the part that is being read (characters, from 1).
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

impl Rewriter {
    fn part(&mut self, part: &Captures) -> Result<()> {
        let group = |name| part.name(name).map(|group| group.as_str());
        if let Some(members) = group("members") {
            self.class(group("negation").unwrap_or_default(), members)
        } else if let Some(escape) = group("escape") {
            self.backslash(escape)
        } else if let Some(possessive) = group("possessive") {
            match (group("symbol"), group("counts")) {
                (Some(symbol), _) => self.push(symbol),
                (_, Some(counts)) => self.push(&quantifier(counts)?),
                _ => {}
            }
            self.push(possessive);
            self.out.backtracks |= !possessive.is_empty();
            Ok(())
        } else if let Some(head) = group("head") {
            self.out.backtracks |= head != "?:";
            self.open(head);
            Ok(())
        } else if let Some(name) = group("name") {
            if self.out.names.iter().any(|(other, _)| other == name) {
                return Err(format!("two groups are named '{name}'"));
            }
            self.groups += 1;
            self.out.names.push((name.to_string(), self.groups));
            self.open(&format!("?P<{name}>"));
            Ok(())
        } else if group("reference").is_some() {
            self.out.backtracks = true;
            self.push(&part[0]);
            Ok(())
        } else if let Some(condition) = group("condition") {
            self.out.backtracks = true;
            if condition.starts_with(|first: char| first.is_ascii_digit()) {
                self.require_group(condition)?;
                self.open(&format!("?({condition})"));
            } else {
                self.open(&format!("?(<{condition}>)"));
            }
            Ok(())
        } else if let (Some(on), Some(end)) = (group("on"), group("end")) {
            self.flag_group(on, group("off").unwrap_or_default(), end)
        } else if group("unknown").is_some() {
            Err("this (? has no meaning".to_string())
        } else {
            group("plain").map_or(Ok(()), |plain| self.plain(plain))
        }
    }

    fn plain(&mut self, plain: &str) -> Result<()> {
        match plain {
            " " | "\t" | "\n" | "\r" | "\x0b" | "\x0c" if self.flags.verbose => {}
            "(" => {
                self.groups += 1;
                self.open("");
            }
            ")" => {
                (_, self.flags) = self.open.pop().ok_or("this ) has no matching (")?;
                self.push(")");
            }
            "[" => return Err("this [ has no matching ]".to_string()),
            "\\" => return Err(r"a \ at the end escapes nothing".to_string()),
            // The end, or before a final newline: a line holds no other newline.
            "$" => self.push("(?m:$)"),
            "." | "^" | "|" => self.push(plain),
            _ => self.literal(plain),
        }
        Ok(())
    }

    /// What follows a backslash outside a class.
    fn backslash(&mut self, escape: &str) -> Result<()> {
        match escape {
            "Z" | "z" => self.push(r"\z"),
            "A" | "b" | "B" => self.push(&format!("\\{escape}")),
            _ if escape.len() < 3 && escape.starts_with(|first| ('1'..='9').contains(&first)) => {
                self.require_group(escape)?;
                // The group keeps the number apart from digits that follow.
                self.push(&format!(r"(?:\{escape})"));
            }
            _ => drop(self.escape(escape)?),
        }
        Ok(())
    }

    fn require_group(&mut self, number: &str) -> Result<()> {
        self.out.refers_by_number = true;
        self.out.backtracks = true;
        match number.parse() {
            Ok(number @ 1..) if number <= self.groups => Ok(()),
            _ => Err(format!("there is no group {number} before this")),
        }
    }

    /// What follows a backslash, in a class or outside. Returns `false` for a set of characters.
    fn escape(&mut self, escape: &str) -> Result<bool> {
        match escape {
            "d" | "s" | "w" | "D" | "S" | "W" if !self.flags.ascii => {
                self.push(&format!("\\{escape}"));
            }
            "d" => self.push("[[:digit:]]"),
            "s" => self.push("[[:space:]]"),
            "w" => self.push("[[:word:]]"),
            "D" => self.push("[[:^digit:]]"),
            "S" => self.push("[[:^space:]]"),
            "W" => self.push("[[:^word:]]"),
            // The digits that follow are copied.
            "x" | "u" | "U" | "a" | "f" | "n" | "r" | "t" | "v" => {
                self.push(&format!("\\{escape}"));
                return Ok(true);
            }
            _ if escape.starts_with(|digit: char| digit.is_digit(8)) => {
                let byte = u8::from_str_radix(escape, 8);
                let character = char::from(byte.map_err(|_| r"octal escapes end at \377")?);
                self.literal(&character.to_string());
                return Ok(true);
            }
            _ if escape.starts_with(|letter: char| letter.is_ascii_alphanumeric()) => {
                return Err(format!(r"\{escape} has no meaning"));
            }
            _ => {
                self.literal(escape);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A class. Python knows no classes within classes and no operators on them.
    fn class(&mut self, negation: &str, members: &str) -> Result<()> {
        let begin = self.out.pattern.len();
        self.push("[");
        self.push(negation);
        let member = MEMBER.as_ref().map_err(|error| error.to_string())?;
        let members: Vec<Captures> = member.captures_iter(members).collect();
        let mut rest = members.as_slice();
        while let [low, after @ ..] = rest {
            let is_character = self.member(low)?;
            rest = after;
            if let [hyphen, high, after @ ..] = rest
                && &hyphen[0] == "-"
            {
                self.push("-");
                if !(self.member(high)? && is_character) {
                    return Err("a range in this class begins or ends with a set".to_string());
                }
                rest = after;
            }
        }
        self.push("]");
        // The place of an error is known only here.
        match Regex::new(&self.out.pattern[begin..]) {
            Ok(_) => Ok(()),
            Err(error) => Err(last_line(&error)),
        }
    }

    /// Returns `false` for a set of characters.
    fn member(&mut self, member: &Captures) -> Result<bool> {
        match member.name("escape").map(|escape| escape.as_str()) {
            Some("b") => self.literal("\x08"),
            Some(escape) => return self.escape(escape),
            None => self.literal(&member[0]),
        }
        Ok(true)
    }

    /// `(?i)` for the whole regex, at its start; `(?i-s:...)` for a part of it.
    fn flag_group(&mut self, on: &str, off: &str, end: &str) -> Result<()> {
        let flags = Flags {
            ascii: (self.flags.ascii || on.contains('a')) && !on.contains('u'),
            verbose: (self.flags.verbose || on.contains('x')) && !off.contains('x'),
        };
        let mut head = format!("?{}", on.replace(['a', 'u', 'x'], ""));
        if off.contains(|flag| flag != 'x') {
            head = format!("{head}-{}", off.replace('x', ""));
        }
        if end == ":" {
            self.open(&(head + ":"));
        } else if !self.open.is_empty() || self.out.pattern.len() > self.head {
            let why = "flags for the whole regex belong at its start; (?i:...) is for a part";
            return Err(why.to_string());
        } else if head != "?" {
            self.push(&format!("({head})"));
            self.head = self.out.pattern.len();
        }
        self.flags = flags;
        Ok(())
    }

    fn open(&mut self, head: &str) {
        self.open.push((self.place, self.flags));
        self.push("(");
        self.push(head);
    }

    /// Writes text that matches itself, in a class or outside.
    fn literal(&mut self, text: &str) {
        self.push(&regex::escape(text));
    }

    fn push(&mut self, written: &str) {
        self.out.pattern.push_str(written);
    }
}

/// `{2}`, `{2,}`, `{,3}` or `{2,3}`, given what is in the braces. `{}` matches itself.
fn quantifier(counts: &str) -> Result<String> {
    if counts.is_empty() {
        return Ok(regex::escape("{}"));
    }
    let (least, most) = counts.split_once(',').unwrap_or((counts, counts));
    let count = |digits: &str, default| match digits {
        "" => Ok(default),
        _ => digits.parse::<u32>().map_err(|_| "this count is too high"),
    };
    match (count(least, 0)?, count(most, u32::MAX)?) {
        (from, to) if from <= to => Ok(format!("{{{from},{most}}}")),
        _ => Err("the first count is above the second".to_string()),
    }
}

/// What the `regex` crate says below its drawing of the pattern.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}
