//! nginx's `log_format`: `$remote_addr - $remote_user [$time_local] "$request" $status`.
//!
//! Built-in formats may also name regular expressions, and any field but a date by its name.
//!
//! <https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format>

use super::{
    Escaping, Fault, Meaning, Token, Typed, TypedChar, Variable, Written, push_char,
    skip_to_directive, typed_chars,
};
use crate::format::Field;

pub(super) fn parse(
    typed: &str,
    pieces: &[(&str, &'static str)],
) -> Result<(Vec<Token>, Escaping), Fault> {
    let (content, escaping) = content(typed)?;
    let mut rest = content.as_slice();
    let mut tokens = Vec::new();
    while let [(place, character), after @ ..] = rest {
        rest = after;
        if *character != '$' {
            push_char(&mut tokens, *character);
            continue;
        }
        let is_of_name = |(_, it): &TypedChar| it.is_ascii_alphanumeric() || *it == '_';
        let (begin, in_braces) = match after {
            [(_, '{'), ..] => (1, true),
            _ => (0, false),
        };
        let length = after[begin..]
            .iter()
            .take_while(|it| is_of_name(it))
            .count();
        let name: String = (after[begin..begin + length].iter().map(|(_, it)| *it)).collect();
        rest = &after[begin + length..];
        if in_braces {
            let [(_, '}'), after @ ..] = rest else {
                return Err(Fault::new(*place, "this brace is not closed"));
            };
            rest = after;
        }
        if name.is_empty() {
            return Err(Fault::new(
                *place,
                "a name is missing after the dollar sign",
            ));
        }
        let (meaning, rank) = match pieces.iter().find(|(piece, _)| *piece == name) {
            Some((_, regex)) => (Meaning::Regex(regex), 0),
            None => meaning(&name),
        };
        tokens.push(Token::Value(Variable {
            typed: format!("${name}"),
            name,
            meaning,
            rank,
            place: *place,
        }));
    }
    Ok((tokens, escaping))
}

/// The format in a pasted text, and how its values are escaped.
fn content(typed: &str) -> Result<(Vec<TypedChar>, Escaping), Fault> {
    let all = typed_chars(typed);
    let text = skip_to_directive(&all, &["log_format"]);
    let mut escaping = None;
    let mut rest = text;
    let mut is_directive = false;
    // `log_format NAME escape=json`
    for position in 0..3 {
        let word: String = (rest.iter().map(|(_, it)| *it))
            .take_while(|it| !it.is_whitespace() && !matches!(it, '\'' | '"'))
            .collect();
        let after = trimmed(&rest[word.chars().count()..]);
        let is_before_text = matches!(after, [(_, '\''), ..]) && !word.is_empty();
        if let Some(name) = word.strip_prefix("escape=") {
            escaping = Some(match name {
                "json" => Escaping::Json,
                "none" => Escaping::Off,
                "default" => Escaping::Backslash,
                _ => {
                    let why = "nginx has escape=default, escape=json and escape=none";
                    return Err(Fault::new(rest[0].0, why));
                }
            });
            is_directive = true;
        } else if word == "log_format" && position == 0 {
            is_directive = true;
        } else if !((is_directive && position == 1) || is_before_text && position == 0)
            || word.contains('$')
        {
            break;
        }
        rest = after;
    }
    let content = match rest {
        [(_, '\''), ..] => strings(rest)?,
        [(_, '"'), ..] if is_directive => strings(rest)?,
        // One string, whose own quotes are escaped.
        [(_, '"'), inner @ .., (_, '"')] if has_escaped_quote(inner) => strings(rest)?,
        _ => unescaped(rest),
    };
    let escaping = escaping.unwrap_or(match content.iter().find(|(_, it)| !it.is_whitespace()) {
        Some((_, '{')) => Escaping::Json,
        _ => Escaping::Backslash,
    });
    Ok((content, escaping))
}

fn trimmed(text: &Typed) -> &Typed {
    let blanks = text.iter().take_while(|(_, it)| it.is_whitespace()).count();
    &text[blanks..]
}

fn has_escaped_quote(text: &Typed) -> bool {
    text.windows(2)
        .any(|pair| matches!(pair, [(_, '\\'), (_, '"')]))
}

/// The strings of a directive, one after the other, up to the semicolon.
fn strings(mut text: &Typed) -> Result<Vec<TypedChar>, Fault> {
    let mut content = Vec::new();
    loop {
        text = trimmed(text);
        match text {
            [] | [(_, ';'), ..] => return Ok(content),
            [(_, '#'), ..] => {
                let end = text.iter().position(|(_, it)| *it == '\n');
                text = &text[end.unwrap_or(text.len())..];
            }
            [(place, quote @ ('\'' | '"')), rest @ ..] => {
                let Some(end) = end_of_string(rest, *quote) else {
                    return Err(Fault::new(*place, "this quote is not closed"));
                };
                content.extend(unescaped(&rest[..end]));
                text = &rest[end + 1..];
            }
            _ => {
                let is_end = |(_, it): &TypedChar| it.is_whitespace() || *it == ';';
                let end = text.iter().position(is_end).unwrap_or(text.len());
                content.extend(unescaped(&text[..end]));
                text = &text[end..];
            }
        }
    }
}

fn end_of_string(text: &Typed, quote: char) -> Option<usize> {
    let mut at = 0;
    while let Some((_, character)) = text.get(at) {
        match character {
            '\\' => at += 2,
            character if *character == quote => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescaped(text: &Typed) -> Vec<TypedChar> {
    let (mut plain, mut rest) = (Vec::new(), text);
    while let [(place, character), after @ ..] = rest {
        let escape = match (character, after.first()) {
            ('\\', Some((_, 't'))) => Some('\t'),
            ('\\', Some((_, 'r'))) => Some('\r'),
            ('\\', Some((_, 'n'))) => Some('\n'),
            ('\\', Some((_, escaped @ ('"' | '\'' | '\\')))) => Some(*escaped),
            _ => None,
        };
        plain.push((*place, escape.unwrap_or(*character)));
        rest = if escape.is_some() { &after[1..] } else { after };
    }
    plain
}

/// What a variable holds, and its rank among others that hold the same.
fn meaning(name: &str) -> (Meaning, u8) {
    let field = |field, rank| (Meaning::Field(field), rank);
    match name {
        "remote_addr" => field(Field::Ip, 2),
        // The last is that of older versions of ingress-nginx.
        "proxy_protocol_addr" | "the_real_ip" => field(Field::Ip, 1),
        // Count if nothing else is an address.
        "http_x_real_ip" | "http_cf_connecting_ip" | "http_true_client_ip" => field(Field::Ip, 0),
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => field(Field::ForwardedFor, 0),
        "identity" => (Meaning::Identity, 0),
        "remote_user" => field(Field::Userid, 0),
        "time_local" => (Meaning::Date(Written::Clf), 0),
        "time_iso8601" | "msec" => (Meaning::Date(Written::Iso(1)), 0),
        "request" => (Meaning::Request, 9),
        "request_without_method" => (Meaning::RequestWithoutMethod, 9),
        "request_uri" => field(Field::Path, 2),
        "uri" | "document_uri" => field(Field::Path, 0),
        "args" | "query_string" => (Meaning::Query, 0),
        "is_args" => (Meaning::QueryMark, 0),
        "request_method" => field(Field::Method, 0),
        "body_bytes_sent" | "bytes_sent" => field(Field::Length, 0),
        "http_referer" => field(Field::Referrer, 0),
        "http_user_agent" => field(Field::UserAgent, 0),
        "request_time" => field(Field::GenerationTimeSecs, 1),
        "upstream_response_time" => (Meaning::ListOf(Field::GenerationTimeSecs), 0),
        "host" => field(Field::Host, 2),
        "http_host" => field(Field::Host, 1),
        "server_name" => field(Field::Host, 0),
        "scheme" => field(Field::Scheme, 1),
        "http_x_forwarded_proto" => field(Field::Scheme, 0),
        "server_port" | "remote_port" => (Meaning::Port, 0),
        name if name.starts_with("upstream_") => (Meaning::List, 0),
        // Copies without what must not be logged, such as those of GitLab.
        name if name.ends_with("_request_uri") => field(Field::Path, 1),
        name if name.ends_with("_http_referer") => field(Field::Referrer, 0),
        // A date needs more than a name.
        "date" | "time" | "timezone" => (Meaning::Unknown, 0),
        name => match Field::from_name(name) {
            Some(named) => field(named, 3),
            None => (Meaning::Unknown, 0),
        },
    }
}
