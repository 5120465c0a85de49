//! Groups, look-around, flags, and references to groups.

use super::{Flags, Last, Result, Translator, mistake};

/// A group whose `)` has not come yet.
pub(super) struct Open {
    pub(super) place: usize,
    /// Where it begins in what is written.
    start: usize,
    /// The flags outside.
    flags: Flags,
    /// Something before it, in the group around it, takes text.
    text_before: bool,
    /// It looks at text and takes none.
    looks: bool,
    /// Its number, if it captures.
    number: Option<usize>,
    /// A condition has two branches at most; `None`: it is no condition.
    branches: Option<usize>,
}

impl Translator {
    /// What follows a `(`.
    pub(super) fn open_group(&mut self, place: usize) -> Result<()> {
        if !self.eat('?') {
            return self.capture(place);
        }
        match self.next() {
            Some(':') => self.begin(place, "(?:"),
            Some('=') => self.begin_look_around(place, "(?="),
            Some('!') => self.begin_look_around(place, "(?!"),
            Some('>') => self.begin_backtracking(place, "(?>"),
            Some('<') => match self.peek() {
                Some('=') => {
                    self.at += 1;
                    self.begin_look_around(place, "(?<=");
                }
                Some('!') => {
                    self.at += 1;
                    self.begin_look_around(place, "(?<!");
                }
                _ => return self.named_capture(place),
            },
            Some('P') => match self.next() {
                Some('<') => return self.named_capture(place),
                Some('=') => return self.named_back_reference(place),
                _ => return mistake(place, "after (?P comes <name>...) or =name)"),
            },
            Some('#') => loop {
                match self.next() {
                    Some(')') => break,
                    Some('\\') => self.at += 1,
                    Some(_) => {}
                    None => return mistake(place, "the ) for this comment is missing"),
                }
            },
            Some('(') => return self.condition(place),
            Some('-' | 'a'..='z' | 'A'..='Z') => {
                self.at -= 1;
                return self.flags(place);
            }
            _ => return mistake(place, "what follows this (? means nothing"),
        }
        Ok(())
    }

    fn begin(&mut self, place: usize, written: &str) {
        self.open.push(Open {
            place,
            start: self.out.len(),
            flags: self.flags,
            text_before: self.takes_text,
            looks: false,
            number: None,
            branches: None,
        });
        self.out.push_str(written);
        self.last = Last::Nothing;
        self.takes_text = false;
    }

    fn begin_look_around(&mut self, place: usize, written: &str) {
        self.begin_backtracking(place, written);
        if let Some(open) = self.open.last_mut() {
            open.looks = true;
        }
    }

    fn begin_backtracking(&mut self, place: usize, written: &str) {
        self.begin(place, written);
        self.backtracking = true;
    }

    fn capture(&mut self, place: usize) -> Result<()> {
        self.begin(place, "(");
        self.groups += 1;
        if let Some(open) = self.open.last_mut() {
            open.number = Some(self.groups);
        }
        Ok(())
    }

    fn named_capture(&mut self, place: usize) -> Result<()> {
        let name = self.name('>', place)?;
        if self.number_of(&name).is_some() {
            return mistake(place, format!("there is another group named '{name}'"));
        }
        self.names.push((name, self.groups + 1));
        self.capture(place)
    }

    /// A name, and what ends it.
    fn name(&mut self, end: char, place: usize) -> Result<String> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some(character) if character == end => break,
                Some(character) => name.push(character),
                None => return mistake(place, format!("the {end} after this name is missing")),
            }
        }
        let is_letter = |character: char| character == '_' || character.is_alphabetic();
        let is_name = name.starts_with(is_letter)
            && name
                .chars()
                .all(|character| is_letter(character) || character.is_numeric());
        if is_name {
            Ok(name)
        } else {
            mistake(
                place,
                format!("'{name}' is no name: it takes letters, digits and _"),
            )
        }
    }

    fn number_of(&self, wanted: &str) -> Option<usize> {
        self.names
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|&(_, number)| number)
    }

    fn is_open(&self, number: usize) -> bool {
        self.open.iter().any(|open| open.number == Some(number))
    }

    fn named_back_reference(&mut self, place: usize) -> Result<()> {
        let name = self.name(')', place)?;
        match self.number_of(&name) {
            Some(number) => self.back_reference(number, place),
            None => mistake(place, format!("there is no group named '{name}' before")),
        }
    }

    pub(super) fn back_reference(&mut self, number: usize, place: usize) -> Result<()> {
        if number > self.groups {
            return mistake(place, format!("there is no group {number} before"));
        }
        if self.is_open(number) {
            return mistake(place, "a group cannot refer to itself");
        }
        self.backtracking = true;
        // Brackets keep the number apart from digits that follow.
        self.item(&format!(r"(?:\{number})"));
        Ok(())
    }

    /// `(?(1)yes|no)`, `(?(name)yes|no)`
    fn condition(&mut self, place: usize) -> Result<()> {
        let digits = self.digits();
        let number = if digits.is_empty() {
            let name = self.name(')', place)?;
            match self.number_of(&name) {
                Some(number) => number,
                None => return mistake(place, format!("there is no group named '{name}' before")),
            }
        } else {
            self.numbered = true;
            match digits.parse() {
                Ok(number @ 1..) if self.eat(')') => number,
                _ => return mistake(place, "a condition is the number or the name of a group"),
            }
        };
        if self.is_open(number) {
            return mistake(place, "a group cannot be its own condition");
        }
        self.conditions.push((number, place));
        self.begin_backtracking(place, &format!("(?({number})"));
        if let Some(open) = self.open.last_mut() {
            open.branches = Some(1);
        }
        Ok(())
    }

    pub(super) fn alternative(&mut self, place: usize) -> Result<()> {
        if let Some(branches) = self.open.last_mut().and_then(|open| open.branches.as_mut()) {
            *branches += 1;
            if *branches > 2 {
                return mistake(place, "a condition has two branches at most");
            }
        }
        self.assertion("|");
        Ok(())
    }

    pub(super) fn close_group(&mut self, place: usize) -> Result<()> {
        let Some(open) = self.open.pop() else {
            return mistake(place, "there is no ( for this )");
        };
        self.out.push(')');
        self.flags = open.flags;
        let takes_text = self.takes_text && !open.looks;
        self.last = match takes_text {
            true => Last::Item(open.start),
            false => Last::Place(open.start),
        };
        self.takes_text = open.text_before || takes_text;
        Ok(())
    }

    /// `(?i)` for the whole regex, at its beginning; `(?i-s:...)` for a part of it.
    fn flags(&mut self, place: usize) -> Result<()> {
        let on = self.letters();
        let off = self.eat('-').then(|| self.letters());
        refuse_flags(&on, off.as_deref(), place)?;
        let off = off.unwrap_or_default();
        let flags = Flags {
            ascii: (self.flags.ascii || on.contains('a')) && !on.contains('u'),
            verbose: (self.flags.verbose || on.contains('x')) && !off.contains('x'),
        };
        let mut written = format!("(?{}", those_of_the_crates(&on));
        if !those_of_the_crates(&off).is_empty() {
            written += &format!("-{}", those_of_the_crates(&off));
        }
        match self.next() {
            Some(':') => {
                written.push(':');
                self.begin(place, &written);
            }
            Some(')') if off.is_empty() && self.open.is_empty() && self.out.len() == self.head => {
                if written != "(?" {
                    self.out.push_str(&written);
                    self.out.push(')');
                }
                self.head = self.out.len();
            }
            Some(')') if off.is_empty() => {
                return mistake(
                    place,
                    "flags for the whole regex stand at its beginning; (?i:...) is for a part",
                );
            }
            _ => return mistake(place, "after flags comes : or )"),
        }
        self.flags = flags;
        Ok(())
    }

    fn letters(&mut self) -> String {
        let mut letters = String::new();
        while let Some(letter) = self.peek().filter(char::is_ascii_alphabetic) {
            letters.push(letter);
            self.at += 1;
        }
        letters
    }
}

fn those_of_the_crates(flags: &str) -> String {
    let known = |flag: &char| flags.contains(*flag);
    "ims".chars().filter(known).collect()
}

fn refuse_flags(on: &str, off: Option<&str>, place: usize) -> Result<()> {
    let mut all = on.chars().chain(off.into_iter().flat_map(str::chars));
    if let Some(flag) = all.find(|&flag| !"aimsux".contains(flag)) {
        let why = format!("there is no flag '{flag}' for text: a, i, m, s, u and x");
        return mistake(place, why);
    }
    let off_is_wrong = off.is_some_and(|off| {
        off.is_empty() || off.contains(|flag| "au".contains(flag) || on.contains(flag))
    });
    if off_is_wrong || (on.contains('a') && on.contains('u')) {
        return mistake(place, "these flags do not go together");
    }
    Ok(())
}
