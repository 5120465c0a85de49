//! Apache's `LogFormat`: `%h %l %u %t "%r" %>s %b`.
//!
//! <https://httpd.apache.org/docs/current/mod/mod_log_config.html#formats>

use super::{
    Fault, Meaning, Token, Typed, TypedChar, Variable, Written, follows, push_char,
    skip_to_directive, typed_chars,
};
use crate::format::Field;

pub(super) fn parse(typed: &str) -> Result<Vec<Token>, Fault> {
    let content = content(typed)?;
    let mut rest = content.as_slice();
    let mut tokens = Vec::new();
    while let [(place, character), after @ ..] = rest {
        rest = after;
        match (character, after.first()) {
            ('\\', Some((_, escaped))) => {
                rest = &after[1..];
                match escaped {
                    'n' => push_char(&mut tokens, '\n'),
                    't' => push_char(&mut tokens, '\t'),
                    escaped => push_char(&mut tokens, *escaped),
                }
            }
            ('%', Some((_, '%'))) => {
                rest = &after[1..];
                push_char(&mut tokens, '%');
            }
            ('%', _) => {
                let (directive, after) = Directive::read(*place, after)?;
                rest = after;
                directive.push_to(&mut tokens)?;
            }
            (character, _) => push_char(&mut tokens, *character),
        }
    }
    Ok(tokens)
}

/// Directives with a format. The last one is lighttpd's.
const DIRECTIVES: [&str; 4] = ["LogFormat", "CustomLog", "GlobalLog", "accesslog.format"];

/// The format in a pasted text: of a whole directive, the argument with a percent sign.
fn content(typed: &str) -> Result<Vec<TypedChar>, Fault> {
    let all = joined_lines(&typed_chars(typed));
    let text = skip_to_directive(&all, &DIRECTIVES);
    if DIRECTIVES.iter().any(|name| follows(name, text)) {
        let is_of_name = |(_, it): &&TypedChar| !it.is_whitespace() && *it != '=';
        let word: String = (text.iter().take_while(is_of_name))
            .map(|(_, it)| *it)
            .collect();
        let rest = &text[word.chars().count()..];
        let sign = rest.iter().position(|(_, it)| !it.is_whitespace());
        let rest = match sign.map(|sign| &rest[sign..]) {
            Some([(_, '='), after @ ..]) => after,
            _ => rest,
        };
        let arguments = arguments(rest)?;
        let has_percent = |argument: &Vec<TypedChar>| argument.iter().any(|(_, it)| *it == '%');
        return arguments.into_iter().find(has_percent).ok_or_else(|| {
            Fault::new(
                text[0].0,
                format!("no argument of {word} has a percent sign"),
            )
        });
    }
    // A text in quotes, whose own quotes are escaped.
    if let [(_, quote @ ('"' | '\'')), inner @ .., (_, last)] = text
        && quote == last
        && let Some((content, [])) = quoted(inner, *quote, text.last())
        && (*quote == '\'' || content.len() < inner.len())
    {
        return Ok(content);
    }
    Ok(text.to_vec())
}

/// Removes the backslash and the line break from lines that continue on the next line.
fn joined_lines(text: &Typed) -> Vec<TypedChar> {
    let (mut joined, mut rest) = (Vec::new(), text);
    while let [character, after @ ..] = rest {
        rest = match rest {
            [(_, '\\'), (_, '\n'), after @ ..] | [(_, '\\'), (_, '\r'), (_, '\n'), after @ ..] => {
                after
            }
            _ => {
                joined.push(*character);
                after
            }
        };
    }
    joined
}

/// The content of a text in quotes, with its escaped quotes as quotes, and what follows the quote
/// that ends it. `end` is that quote if the text has none.
fn quoted<'t>(
    text: &'t Typed,
    quote: char,
    end: Option<&TypedChar>,
) -> Option<(Vec<TypedChar>, &'t Typed)> {
    let (mut content, mut rest) = (Vec::new(), text);
    loop {
        match rest {
            [(_, '\\'), escaped @ (_, it), after @ ..] if *it == quote || *it == '\\' => {
                content.push(*escaped);
                rest = after;
            }
            [(_, it), after @ ..] if *it == quote => return Some((content, after)),
            [character, after @ ..] => {
                content.push(*character);
                rest = after;
            }
            [] => return end.map(|_| (content, rest)),
        }
    }
}

/// The arguments of a directive, without their quotes.
fn arguments(mut text: &Typed) -> Result<Vec<Vec<TypedChar>>, Fault> {
    let mut arguments = Vec::new();
    while let [first @ (place, character), after @ ..] = text {
        text = after;
        match character {
            '"' | '\'' => {
                let Some((content, after)) = quoted(text, *character, None) else {
                    return Err(Fault::new(*place, "this quote is not closed"));
                };
                text = after;
                arguments.push(content);
            }
            blank if blank.is_whitespace() => {}
            _ => {
                let end = text.iter().position(|(_, it)| it.is_whitespace());
                let (word, after) = text.split_at(end.unwrap_or(text.len()));
                text = after;
                arguments.push([&[*first], word].concat());
            }
        }
    }
    Ok(arguments)
}

/// `%` and what follows it.
struct Directive {
    typed: String,
    place: usize,
    /// `%<s` is that of the original request, `%>s` that of the last one.
    is_original: bool,
    is_final: bool,
    argument: Option<String>,
    letter: String,
}

impl Directive {
    /// `text` follows the percent sign.
    fn read(place: usize, text: &Typed) -> Result<(Self, &Typed), Fault> {
        let mut directive = Self {
            typed: "%".to_owned(),
            place,
            is_original: false,
            is_final: false,
            argument: None,
            letter: String::new(),
        };
        let mut rest = text;
        while let [(at, character), after @ ..] = rest {
            rest = after;
            directive.typed.push(*character);
            match character {
                // Statuses for which there is a value. For others it is a dash.
                '!' | ',' | '0'..='9' => {}
                '<' => directive.is_original = true,
                '>' => directive.is_final = true,
                '{' => {
                    let Some(end) = rest.iter().position(|(_, it)| *it == '}') else {
                        return Err(Fault::new(*at, "this bracket is not closed"));
                    };
                    let argument: String = rest[..end].iter().map(|(_, it)| *it).collect();
                    directive.typed.push_str(&argument);
                    directive.typed.push('}');
                    directive.argument = Some(argument);
                    rest = &rest[end + 1..];
                }
                '^' => {
                    let name = rest.iter().take(2).map(|(_, it)| *it);
                    directive.letter = name.collect();
                    directive.typed.push_str(&directive.letter);
                    return Ok((directive, &rest[rest.len().min(2)..]));
                }
                letter => {
                    directive.letter = letter.to_string();
                    return Ok((directive, rest));
                }
            }
        }
        Err(Fault::new(
            place,
            format!("'{}' is no variable: a letter is missing", directive.typed),
        ))
    }

    fn push_to(self, tokens: &mut Vec<Token>) -> Result<(), Fault> {
        if self.letter == "t" && self.argument.is_none() {
            push_char(tokens, '[');
            tokens.push(self.variable(Meaning::Date(Written::Clf), 0));
            push_char(tokens, ']');
            return Ok(());
        }
        let (meaning, rank) = self.meaning()?;
        tokens.push(self.variable(meaning, rank));
        Ok(())
    }

    fn variable(&self, meaning: Meaning, rank: u8) -> Token {
        let name = self.argument.as_ref().unwrap_or(&self.letter);
        Token::Value(Variable {
            typed: self.typed.clone(),
            name: name.clone(),
            meaning,
            rank,
            place: self.place,
        })
    }

    /// What it holds, and its rank among others that hold the same.
    fn meaning(&self) -> Result<(Meaning, u8), Fault> {
        let argument = self.argument.as_deref().unwrap_or_default();
        let field = |field, rank| Ok((Meaning::Field(field), rank));
        match self.letter.as_str() {
            // The address of the connection, not of the client.
            "a" if argument == "c" => field(Field::Ip, 1),
            "a" | "h" => field(Field::Ip, 2),
            "l" => Ok((Meaning::Identity, 0)),
            "u" => field(Field::Userid, 0),
            "r" => Ok((Meaning::Request, 9)),
            "s" => field(
                Field::Status,
                u8::from(self.is_final) * 2 + u8::from(!self.is_original),
            ),
            "b" | "B" | "O" => field(Field::Length, 0),
            "D" => field(Field::GenerationTimeMicro, 0),
            "T" => match argument {
                "" | "s" => field(Field::GenerationTimeSecs, 0),
                "ms" => field(Field::GenerationTimeMilli, 0),
                "us" => field(Field::GenerationTimeMicro, 0),
                unit => Err(Fault::new(
                    self.place,
                    format!(
                        "'{unit}' is no unit of {}; Apache has s, ms and us",
                        self.typed
                    ),
                )),
            },
            "U" => field(Field::Path, 0),
            "q" => Ok((Meaning::Query, 0)),
            "m" => field(Field::Method, 0),
            "v" | "V" => field(Field::Host, 2),
            "p" => Ok((Meaning::Port, 0)),
            "t" => Ok((Meaning::Date(self.date(argument)?), 0)),
            "i" => Ok(header(argument)),
            "A" | "C" | "H" | "I" | "L" | "P" | "R" | "S" | "X" | "c" | "e" | "f" | "k" | "n"
            | "o" | "x" | "FB" | "FU" | "ti" | "to" => Ok((Meaning::Unknown, 0)),
            letter => Err(Fault::new(
                self.place,
                format!(
                    "Apache has no variable {}{letter}; see the documentation of mod_log_config",
                    if letter.len() == 2 { "%^" } else { "%" }
                ),
            )),
        }
    }

    /// The date that `%{...}t` writes.
    fn date(&self, argument: &str) -> Result<Written, Fault> {
        let format = argument
            .strip_prefix("begin:")
            .or_else(|| argument.strip_prefix("end:"))
            .unwrap_or(argument);
        Ok(Written::Strftime(match format {
            "" => return Ok(Written::Clf),
            "sec" | "msec" | "usec" => "%s".to_owned(),
            "msec_frac" | "usec_frac" => "%f".to_owned(),
            format => spelled_out(format),
        }))
    }
}

/// A format of `strftime` without its abbreviations.
fn spelled_out(format: &str) -> String {
    let mut spelled = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            spelled.push(character);
            continue;
        }
        // GNU's flags are not part of the letter.
        let letter = characters.find(|it| !"-_0^#".contains(*it));
        match letter {
            Some('T') => spelled.push_str("%H:%M:%S"),
            Some('F') => spelled.push_str("%Y-%m-%d"),
            Some('D') => spelled.push_str("%m/%d/%y"),
            Some('R') => spelled.push_str("%H:%M"),
            Some('r') => spelled.push_str("%I:%M:%S %p"),
            Some('e') => spelled.push_str("%d"),
            Some('h') => spelled.push_str("%b"),
            Some('n' | 't') => spelled.push(' '),
            Some(letter) => spelled.extend(['%', letter]),
            None => spelled.push('%'),
        }
    }
    spelled
}

/// What a header of the request holds.
fn header(name: &str) -> (Meaning, u8) {
    match name.to_ascii_lowercase().as_str() {
        "referer" => (Meaning::Field(Field::Referrer), 0),
        "user-agent" => (Meaning::Field(Field::UserAgent), 0),
        "host" => (Meaning::Field(Field::Host), 1),
        "x-forwarded-for" => (Meaning::Field(Field::ForwardedFor), 0),
        "x-forwarded-proto" => (Meaning::Field(Field::Scheme), 0),
        // Counts if nothing else is an address.
        "x-real-ip" | "cf-connecting-ip" | "true-client-ip" | "x-client-ip" => {
            (Meaning::Field(Field::Ip), 0)
        }
        _ => (Meaning::Unknown, 0),
    }
}
