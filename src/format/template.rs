//! A line as a template: text and variables, as a server's configuration has them.
//!
//! A template is written in one of two languages: Apache's `LogFormat` ([`apache`]) or nginx's
//! `log_format` ([`nginx`]). Built-in text formats are templates, and users paste theirs; see
//! guide/formats.md, "Your server's log format".

mod apache;
mod nginx;
#[cfg(test)]
mod tests;

use super::date::{DateFormat, Strptime};
use super::{Field, Wanted};
use crate::error::{Error, Result};

/// A template whose variables are resolved: no two hold the same field.
#[derive(Debug)]
pub(super) struct Template {
    pub tokens: Vec<Token>,
    pub escaping: Escaping,
    /// How its date is written. `None` if a regular expression captures it.
    pub dates: Option<DateFormat>,
    /// The same for `strptime`, if the server does it in that way.
    pub date_pattern: Option<String>,
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Token {
    Text(String),
    Value(Variable),
}

#[derive(Clone, Debug)]
pub(super) struct Variable {
    /// As in the template: `%{Referer}i` or `$status`.
    pub typed: String,
    /// The name in options: `Referer` or `status`.
    pub name: String,
    pub meaning: Meaning,
    /// Of several variables that hold a field, that with the highest rank counts.
    rank: u8,
    /// The character of the template at which it begins, from 0.
    place: usize,
}

/// What a variable holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing that a record has.
    Unknown,
    /// The same, for one value or several with commas and colons between them.
    List,
    /// The user that `identd` reports: nearly always `-`.
    Identity,
    Port,
    Field(Field),
    /// A field that may be a list, as for [`Meaning::List`].
    ListOf(Field),
    /// An address before a colon and a port.
    IpBeforePort,
    /// Method, path and protocol.
    Request,
    RequestWithoutMethod,
    /// The query, perhaps with its question mark. May be empty.
    Query,
    /// A question mark if there is a query.
    QueryMark,
    Date(Written),
    /// An offset from UTC.
    Zone,
    /// A regular expression with a group for each field that it sets.
    Regex(&'static str),
}

/// How a date is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// `14/May/2024:06:25:24 +0200`
    Clf,
    /// A date of ISO 8601, or a time since 1970. `usize` is the number of words.
    Iso(usize),
    /// As `strftime` writes it.
    Strftime(String),
    /// The time of a day whose date is another variable.
    Clock(String),
}

/// How a server escapes quotes and control characters in values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Escaping {
    /// Not at all.
    Off,
    /// `\"`, `\xHH` and so on.
    #[default]
    Backslash,
    /// As in JSON.
    Json,
}

/// A character of a template and its place, from 0.
type TypedChar = (usize, char);
type Typed = [TypedChar];

/// Why a template cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The character at which it is wrong, from 0.
    place: usize,
    why: String,
}

impl Fault {
    fn new(place: usize, why: impl Into<String>) -> Self {
        Self {
            place,
            why: why.into(),
        }
    }
}

/// The language of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Apache,
    Nginx,
}

impl Language {
    /// Returns `None` if a text has no variables: then it is a name.
    pub fn of(text: &str) -> Option<Self> {
        let apache = text.matches('%').count();
        let nginx = text.matches('$').count();
        match (apache, nginx) {
            (0, 0) => None,
            (apache, nginx) if apache > nginx => Some(Self::Apache),
            _ => Some(Self::Nginx),
        }
    }

    /// What else may help if a field is missing.
    fn hint(self) -> &'static str {
        match self {
            Language::Apache => "",
            Language::Nginx => {
                "; if a variable of your own holds it, write the name of the field in its place: \
                 $path, $status or $ip"
            }
        }
    }

    /// The usual variables of the fields that every line needs.
    fn required(self) -> [(Field, &'static str, &'static str); 4] {
        let [date, status, path, ip] = match self {
            Language::Apache => ["%t", "%>s", "%r", "%h"],
            Language::Nginx => ["$time_local", "$status", "$request", "$remote_addr"],
        };
        [
            (Field::Date, "date", date),
            (Field::Status, "status", status),
            (Field::Path, "path", path),
            (Field::Ip, "address", ip),
        ]
    }
}

impl Template {
    /// Parses the template of a built-in format. `pieces` are variables that are regular
    /// expressions.
    pub fn built_in(text: &str, pieces: &[(&str, &'static str)]) -> Self {
        let parsed = parse(text, pieces);
        parsed
            .and_then(|(tokens, escaping)| Self::resolve(tokens, escaping))
            .expect("the templates of built-in formats are valid: a test parses every one")
    }

    /// Parses `--log-format`.
    ///
    /// # Errors
    ///
    /// Returns a usage error that names the place of what cannot be read, or what is missing.
    pub fn pasted(typed: &str) -> Result<Self> {
        let invalid = |fault: Fault| {
            let Fault { place, why } = fault;
            Error::usage(format!(
                "--log-format is invalid at character {} of '{}': {why}",
                place + 1,
                shown(typed)
            ))
        };
        let (tokens, escaping) = parse(typed, &[]).map_err(invalid)?;
        let template = Self::resolve(tokens, escaping).map_err(invalid)?;
        let language = Language::of(typed).unwrap_or(Language::Nginx);
        let lacks = |field: &Field| match field {
            Field::Date => template.dates.is_none(),
            field => !template.has(*field),
        };
        let missing = language.required().into_iter();
        let missing: Vec<String> = missing
            .filter(|(field, _, _)| lacks(field))
            .map(|(_, what, variable)| format!("no {what} (such as {variable})"))
            .collect();
        match missing.is_empty() {
            true => Ok(template),
            false => Err(Error::usage(format!(
                "--log-format='{}' has {}: add it to the configuration of the server, because \
                 every hit needs it{}",
                shown(typed),
                missing.join(", "),
                language.hint()
            ))),
        }
    }

    fn has(&self, field: Field) -> bool {
        self.variables()
            .any(|variable| variable.fields().contains(&Some(field)))
    }

    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Text(_) => None,
            Token::Value(variable) => Some(variable),
        })
    }

    /// Leaves one variable for each field.
    fn resolve(mut tokens: Vec<Token>, escaping: Escaping) -> std::result::Result<Self, Fault> {
        join(&mut tokens);
        let (dates, date_pattern) = resolve_dates(&mut tokens)?.unzip();
        resolve_fields(&mut tokens);
        Ok(Self {
            tokens: separated(tokens)?,
            escaping,
            dates,
            date_pattern: date_pattern.flatten(),
        })
    }

    /// The variables that options know by their names. A field of the same name counts first.
    pub fn names(&self) -> Vec<(String, Field)> {
        let field = |variable: &Variable| match variable.meaning {
            Meaning::Field(field) | Meaning::ListOf(field) => Some((variable.name.clone(), field)),
            _ => None,
        };
        self.variables().filter_map(field).collect()
    }
}

impl Variable {
    /// The fields that it sets, at most two.
    pub fn fields(&self) -> [Option<Field>; 2] {
        match self.meaning {
            Meaning::Field(field) | Meaning::ListOf(field) => [Some(field), None],
            Meaning::IpBeforePort => [Some(Field::Ip), None],
            Meaning::Request => [Some(Field::Path), Some(Field::Method)],
            Meaning::RequestWithoutMethod => [Some(Field::Path), None],
            Meaning::Query => [Some(Field::QueryString), None],
            Meaning::Date(Written::Clf) => [Some(Field::Date), Some(Field::Timezone)],
            Meaning::Date(Written::Clock(_)) => [Some(Field::Time), None],
            Meaning::Date(_) => [Some(Field::Date), None],
            Meaning::Zone => [Some(Field::Timezone), None],
            Meaning::Unknown
            | Meaning::List
            | Meaning::Identity
            | Meaning::Port
            | Meaning::QueryMark
            | Meaning::Regex(_) => [None, None],
        }
    }

    /// The extra that holds its value, if an option wants it: the name as in that option.
    pub fn extra<'w>(&self, wanted: &'w Wanted) -> Option<&'w str> {
        let is_free = matches!(self.meaning, Meaning::Unknown | Meaning::List);
        let mut names = wanted.0.iter();
        names
            .find(|name| is_free && name.eq_ignore_ascii_case(&self.name))
            .map(String::as_str)
    }

    /// Keeps nothing of its value.
    fn drop_meaning(&mut self) {
        self.meaning = match self.meaning {
            Meaning::ListOf(_) | Meaning::List => Meaning::List,
            _ => Meaning::Unknown,
        };
    }
}

/// A text in a message: one line of a limited length, with each character in its place.
fn shown(typed: &str) -> String {
    const MAX_CHARS: usize = 300;
    let plain = |it: char| if it.is_control() { ' ' } else { it };
    let mut shown: String = typed.chars().take(MAX_CHARS).map(plain).collect();
    if shown.len() < typed.len() {
        shown += "...";
    }
    shown
}

fn parse(
    text: &str,
    pieces: &[(&str, &'static str)],
) -> std::result::Result<(Vec<Token>, Escaping), Fault> {
    match Language::of(text) {
        Some(Language::Apache) => apache::parse(text).map(|tokens| (tokens, Escaping::Backslash)),
        _ => nginx::parse(text, pieces),
    }
}

/// The characters of a pasted text, without the blanks around them.
fn typed_chars(typed: &str) -> Vec<TypedChar> {
    let chars = typed.chars().enumerate();
    let mut chars: Vec<TypedChar> = chars.skip_while(|(_, it)| it.is_whitespace()).collect();
    let end = chars.iter().rposition(|(_, it)| !it.is_whitespace());
    chars.truncate(end.map_or(0, |end| end + 1));
    chars
}

/// Finds a directive in a pasted configuration, which may have other directives, blocks and
/// comments before it. Without a directive, only comments are passed over.
fn skip_to_directive<'t>(text: &'t Typed, names: &[&str]) -> &'t Typed {
    let mut begin = None;
    let mut is_start = true;
    let mut at = 0;
    while let Some((_, character)) = text.get(at) {
        match character {
            '#' if is_start => {
                let end = text[at..].iter().position(|(_, it)| *it == '\n');
                at += end.unwrap_or(text.len() - at);
                continue;
            }
            '\n' | '{' | ';' => is_start = true,
            it if it.is_whitespace() => {}
            _ if is_start => {
                if names.iter().any(|name| follows(name, &text[at..])) {
                    return &text[at..];
                }
                is_start = false;
            }
            _ => {}
        }
        if begin.is_none() && !character.is_whitespace() {
            begin = Some(at);
        }
        at += 1;
    }
    &text[begin.unwrap_or(0)..]
}

/// Whether a text begins with the name of a directive.
fn follows(name: &str, text: &Typed) -> bool {
    let mut characters = text.iter().map(|(_, it)| *it);
    name.chars().all(|wanted| {
        let found = characters.next();
        found.is_some_and(|found| found.eq_ignore_ascii_case(&wanted))
    }) && characters
        .next()
        .is_some_and(|it| it.is_whitespace() || it == '=')
}

/// Adds a character to the text at the end of a template.
fn push_char(tokens: &mut Vec<Token>, character: char) {
    match tokens.last_mut() {
        Some(Token::Text(text)) => text.push(character),
        _ => tokens.push(Token::Text(character.into())),
    }
}

/// Joins variables that are one value: `%U%q`, `%v:%p`, `%{%d/%b/%Y}t %{%H:%M:%S}t`.
fn join(tokens: &mut Vec<Token>) {
    let mut joined: Vec<Token> = Vec::new();
    for token in tokens.drain(..) {
        joined.push(token);
        while join_last(&mut joined) {}
    }
    *tokens = joined;
}

/// Joins the last tokens, if they are one value.
fn join_last(tokens: &mut Vec<Token>) -> bool {
    use Meaning::{Date, Field as Of, Port, Query, QueryMark};
    let (meaning, taken, rank) = match tokens.as_slice() {
        [.., Token::Value(path), Token::Value(query)]
            if path.meaning == Of(Field::Path) && matches!(query.meaning, Query | QueryMark) =>
        {
            // A variable with the query is better than one without.
            (path.meaning.clone(), 1, path.rank | 1)
        }
        [
            ..,
            Token::Value(host),
            Token::Text(colon),
            Token::Value(port),
        ] if colon == ":" && port.meaning == Port && host.meaning == Of(Field::Host) => {
            (host.meaning.clone(), 2, host.rank)
        }
        [.., Token::Value(ip), Token::Text(colon), Token::Value(port)]
            if colon == ":" && port.meaning == Port && ip.meaning == Of(Field::Ip) =>
        {
            let rank = ip.rank;
            if let [.., Token::Value(ip), _, _] = tokens.as_mut_slice() {
                (ip.meaning, ip.rank) = (Meaning::IpBeforePort, rank);
            }
            return false;
        }
        [
            ..,
            Token::Value(first),
            Token::Text(between),
            Token::Value(then),
        ] => match (&first.meaning, &then.meaning) {
            (Date(Written::Strftime(first)), Date(Written::Strftime(then)))
                if between.chars().all(|it| " .,:-/T".contains(it)) =>
            {
                match joined_dates(first, between, then) {
                    Some(both) => (Date(Written::Strftime(both)), 2, 0),
                    None => return false,
                }
            }
            _ => return false,
        },
        [.., Token::Value(first), Token::Value(then)] => match (&first.meaning, &then.meaning) {
            (Date(Written::Strftime(first)), Date(Written::Strftime(then))) => {
                match joined_dates(first, "", then) {
                    Some(both) => (Date(Written::Strftime(both)), 1, 0),
                    None => return false,
                }
            }
            _ => return false,
        },
        _ => return false,
    };
    tokens.truncate(tokens.len() - taken);
    if let Some(Token::Value(variable)) = tokens.last_mut() {
        (variable.meaning, variable.rank) = (meaning, rank);
    }
    true
}

/// Two parts of one date. Returns `None` if they have a part in common: then they are two dates.
fn joined_dates(first: &str, between: &str, then: &str) -> Option<String> {
    let parts = |format: &str| -> Vec<char> {
        let letters = format.split('%').skip(1);
        letters.filter_map(|part| part.chars().next()).collect()
    };
    let (before, after) = (parts(first), parts(then));
    let is_epoch = |parts: &[char]| parts.contains(&'s');
    let fits = match (is_epoch(&before), is_epoch(&after)) {
        (false, false) => after.iter().all(|letter| !before.contains(letter)),
        // Its fraction.
        (true, false) => after == ['f'] && (between == "." || between == ","),
        _ => false,
    };
    fits.then(|| format!("{first}{between}{then}"))
}

/// What a date of `strftime` is, if it has a reader of its own.
fn reader_of(format: &str) -> Written {
    let plain = format.replace("%T", "%H:%M:%S");
    match plain.as_str() {
        "%d/%b/%Y:%H:%M:%S %z" => return Written::Clf,
        "%s" | "%s.%f" | "%s,%f" => return Written::Iso(1),
        _ => {}
    }
    let day = ["%Y-%m-%d", "%Y/%m/%d"];
    let rest = day.iter().find_map(|day| plain.strip_prefix(day));
    let rest = rest.and_then(|rest| rest.strip_prefix(['T', ' ']));
    let rest = rest.and_then(|rest| rest.strip_prefix("%H:%M:%S"));
    let rest = rest.map(|rest| {
        let rest = rest.strip_prefix([',', '.']).unwrap_or(rest);
        rest.strip_prefix("%f").unwrap_or(rest)
    });
    match rest {
        Some("" | "Z" | "%z" | " %z" | " UTC") => Written::Iso(plain.matches(' ').count() + 1),
        _ => Written::Strftime(plain),
    }
}

/// Leaves one date, perhaps with a clock or an offset of its own, and returns how to read it.
fn resolve_dates(
    tokens: &mut [Token],
) -> std::result::Result<Option<(DateFormat, Option<String>)>, Fault> {
    let mut dates: Vec<&mut Variable> = Vec::new();
    let mut patterns: Vec<Option<String>> = Vec::new();
    for token in tokens {
        let Token::Value(variable) = token else {
            continue;
        };
        let Meaning::Date(written) = &variable.meaning else {
            continue;
        };
        patterns.push(match (written, variable.name.as_str()) {
            (Written::Strftime(format), _) if format.starts_with("%s") => Some("%s".to_owned()),
            (Written::Strftime(format), _) => Some(format.clone()),
            (_, "msec") => Some("%s".to_owned()),
            (_, "time_iso8601") => Some("%Y-%m-%dT%H:%M:%S%z".to_owned()),
            _ => None,
        });
        if let Written::Strftime(format) = written {
            variable.meaning = Meaning::Date(reader_of(format));
        }
        dates.push(variable);
    }
    let strftime = |variable: &Variable| match &variable.meaning {
        Meaning::Date(Written::Strftime(format)) => Some(format.clone()),
        _ => None,
    };
    let has_any = |format: &str, parts: &[&str]| parts.iter().any(|part| format.contains(part));
    let has_day = |format: &str| has_any(format, &["%d", "%j", "%c", "%x", "%s"]);
    let has_clock = |format: &str| has_any(format, &["%H", "%I", "%c", "%X", "%s"]);
    let is_day = |variable: &&mut Variable| strftime(variable).is_none_or(|it| has_day(&it));
    let Some(day) = dates.iter().position(is_day) else {
        dates.into_iter().for_each(Variable::drop_meaning);
        return Ok(None);
    };
    let place = dates[day].place;
    let format = strftime(dates[day]);
    let mut pattern = format.clone();
    if let Some(format) = &format {
        let lacks_zone = !has_any(format, &["%z", "%Z"]);
        for (at, other) in dates.iter_mut().enumerate().filter(|(at, _)| *at != day) {
            let Some(part) = strftime(other) else {
                continue;
            };
            if part == "%z" && lacks_zone {
                other.meaning = Meaning::Zone;
            } else if at > day && has_clock(&part) && !has_clock(pattern.as_ref().unwrap_or(format))
            {
                pattern = Some(format!("{format} {part}"));
                other.meaning = Meaning::Date(Written::Clock(part));
            }
        }
    }
    for (at, other) in dates.iter_mut().enumerate() {
        let is_kept = at == day
            || matches!(
                other.meaning,
                Meaning::Zone | Meaning::Date(Written::Clock(_))
            );
        if !is_kept {
            other.drop_meaning();
        }
    }
    let dates = match (&dates[day].meaning, &pattern) {
        (Meaning::Date(Written::Iso(_)), _) => {
            return Ok(Some((DateFormat::Json, patterns.swap_remove(day))));
        }
        (_, None) => DateFormat::Clf,
        (_, Some(pattern)) if pattern == "%d/%b/%Y:%H:%M:%S" => DateFormat::Clf,
        (_, Some(pattern)) => {
            let dates = Strptime::of_server(pattern);
            DateFormat::Strptime(dates.map_err(|(_, why)| Fault::new(place, why))?)
        }
    };
    Ok(Some((dates, pattern)))
}

/// Leaves one variable for each field: the best, and of several the first.
fn resolve_fields(tokens: &mut [Token]) {
    let mut variables: Vec<&mut Variable> = tokens
        .iter_mut()
        .filter_map(|token| match token {
            Token::Text(_) => None,
            Token::Value(variable) => Some(variable),
        })
        .collect();
    let holds = |variable: &Variable, field| variable.fields().contains(&Some(field));
    let has_ip = variables.iter().any(|it| holds(it, Field::Ip))
        || (variables.iter()).any(|it| matches!(it.meaning, Meaning::Regex(_)));
    if !has_ip {
        let is_forwarded = |it: &&mut &mut Variable| holds(it, Field::ForwardedFor);
        if let Some(forwarded) = variables.iter_mut().find(is_forwarded) {
            forwarded.meaning = Meaning::Field(Field::Ip);
        }
    }
    for field in Field::all() {
        let mut holders: Vec<usize> = (0..variables.len())
            .filter(|at| holds(variables[*at], field))
            .collect();
        holders.sort_by_key(|at| std::cmp::Reverse(variables[*at].rank));
        // A request has the method, too, and a path with its query needs no other query.
        for at in holders.into_iter().skip(1) {
            variables[at].drop_meaning();
        }
    }
    let has_whole_path = variables
        .iter()
        .any(|variable| holds(variable, Field::Path) && variable.rank > 0);
    let queries = variables.iter_mut();
    for query in queries.filter(|it| has_whole_path && it.meaning == Meaning::Query) {
        query.drop_meaning();
    }
}

/// Refuses variables with nothing between them, unless the end of the first is clear.
fn separated(tokens: Vec<Token>) -> std::result::Result<Vec<Token>, Fault> {
    let mut separated: Vec<Token> = Vec::new();
    for token in tokens {
        let Token::Value(next) = &token else {
            separated.push(token);
            continue;
        };
        let Some(Token::Value(last)) = separated.last() else {
            separated.push(token);
            continue;
        };
        let is_unread = |variable: &Variable| {
            variable.fields() == [None, None] && !matches!(variable.meaning, Meaning::Regex(_))
        };
        if is_unread(last) && is_unread(next) {
            // Nothing is read of either.
            continue;
        }
        let is_clear = match (&last.meaning, &next.meaning) {
            (Meaning::Regex(_), _) | (_, Meaning::Regex(_)) => true,
            // A path begins with a slash.
            (Meaning::Field(Field::Host), Meaning::Field(Field::Path)) => true,
            _ => false,
        };
        if !is_clear {
            return Err(Fault::new(
                next.place,
                format!(
                    "nothing separates {} from {}; put a blank between them in the configuration \
                     of the server, or describe the lines with --log-format-regex",
                    last.typed, next.typed
                ),
            ));
        }
        separated.push(token);
    }
    Ok(separated)
}
