//! A text held against a pattern's items.

use super::parts::{Part, Parts};
use super::{Item, is_blank};

/// How many ways of reading a text are tried before it counts as no date; a date takes about ten.
const MOST_STEPS: u32 = 10_000;

/// Whether the items take the whole text; what they found is then in `parts`.
pub(super) fn fits(items: &[Item], text: &[u8], parts: &mut Parts) -> bool {
    take(items, text, parts, &mut { MOST_STEPS })
}

/// Takes the items from the text one by one, trying again with fewer digits where the rest does not fit. Every
/// item writes its own part, so what an abandoned try left behind is always written over.
fn take(items: &[Item], mut text: &[u8], parts: &mut Parts, steps: &mut u32) -> bool {
    let mut items = items.iter();
    while let Some(item) = items.next() {
        let rest = items.as_slice();
        match *item {
            Item::Literal(wanted) => match first_character(text) {
                Some((found, length)) if same_letter(found, wanted) => text = &text[length..],
                _ => return false,
            },
            Item::Blank => {
                let unblank = trim_blanks(text);
                if unblank.len() == text.len() {
                    return false;
                }
                text = unblank;
            }
            Item::Name { part, names } => {
                let found = names
                    .iter()
                    .zip(0..)
                    .find(|(name, _)| starts_with_name(text, name));
                let Some((name, value)) = found else {
                    return false;
                };
                parts.set(part, value);
                text = &text[name.len()..];
            }
            Item::Number {
                part,
                least,
                most,
                bounds: (from, to),
            } => {
                // strptime lets a blank stand for the first digit of a day, as `date` and syslog write it.
                if let (Part::Day, [b' ', digit @ b'1'..=b'9', ..]) = (part, text) {
                    parts.set(part, i32::from(digit - b'0'));
                    text = &text[2..];
                    continue;
                }
                let within = |value: &i32| (from..=to).contains(value);
                return (least..=most).rev().any(|length| {
                    let Some((digits, after)) = text.split_at_checked(length) else {
                        return false;
                    };
                    let Some(value) = whole_number(digits).filter(within) else {
                        return false;
                    };
                    parts.set(part, value);
                    spend(steps) && take(rest, after, parts, steps)
                });
            }
            Item::Zone => {
                return zones(text).any(|(length, offset)| {
                    parts.offset = Some(offset);
                    spend(steps) && take(rest, &text[length..], parts, steps)
                });
            }
        }
    }
    text.is_empty()
}

/// False once all steps are used up.
fn spend(steps: &mut u32) -> bool {
    match steps.checked_sub(1) {
        Some(left) => {
            *steps = left;
            true
        }
        None => false,
    }
}

/// The ways to read a zone at the beginning of a text, the longest first: length in bytes, seconds east of UTC.
fn zones(text: &[u8]) -> impl Iterator<Item = (usize, i32)> {
    let utc = text.starts_with(b"Z").then_some((1, 0));
    let to_minutes = zone_to_minutes(text);
    let to_seconds = to_minutes.and_then(|short| zone_to_seconds(text, short));
    let fractions = to_seconds.into_iter().flat_map(|(length, offset)| {
        let digits = match text[length..].split_first() {
            Some((b'.', after)) => after
                .iter()
                .take(6)
                .take_while(|byte| byte.is_ascii_digit())
                .count(),
            _ => 0,
        };
        (1..=digits)
            .rev()
            .map(move |digits| (length + 1 + digits, offset))
    });
    fractions.chain(to_seconds).chain(to_minutes).chain(utc)
}

/// `+0200`, `+02:00`
fn zone_to_minutes(text: &[u8]) -> Option<(usize, i32)> {
    let (sign, hours, minutes, length) = match *text {
        [sign, h1, h2, b':', m1, m2, ..] => (sign, [h1, h2], [m1, m2], 6),
        [sign, h1, h2, m1, m2, ..] => (sign, [h1, h2], [m1, m2], 5),
        _ => return None,
    };
    let (hours, minutes @ 0..=59) = (whole_number(&hours)?, whole_number(&minutes)?) else {
        return None;
    };
    let offset = hours * 3600 + minutes * 60;
    match sign {
        b'+' => Some((length, offset)),
        b'-' => Some((length, -offset)),
        _ => None,
    }
}

/// The same with seconds: all parts of it have colons between them, or none.
fn zone_to_seconds(text: &[u8], (length, offset): (usize, i32)) -> Option<(usize, i32)> {
    let (seconds, length) = match (text[3], &text[length..]) {
        (b':', &[b':', s1, s2, ..]) => ([s1, s2], length + 3),
        (b':', _) => return None,
        (_, &[s1, s2, ..]) => ([s1, s2], length + 2),
        _ => return None,
    };
    let seconds @ 0..=59 = whole_number(&seconds)? else {
        return None;
    };
    let sign = if text[0] == b'-' { -1 } else { 1 };
    Some((length, offset + sign * seconds))
}

/// The value of a few ASCII digits; `None` where anything else is among them.
fn whole_number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0i32, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i32::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn starts_with_name(text: &[u8], name: &str) -> bool {
    text.get(..name.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
}

fn same_letter(one: char, other: char) -> bool {
    one == other || one.to_lowercase().eq(other.to_lowercase())
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let Some((character, length)) = first_character(text)
        && is_blank(character)
    {
        text = &text[length..];
    }
    text
}

/// The first character of a text and its length in bytes; `None` at the end, or where it is no UTF-8.
fn first_character(text: &[u8]) -> Option<(char, usize)> {
    let character = match text {
        [] => return None,
        [ascii, ..] if ascii.is_ascii() => char::from(*ascii),
        _ => {
            let head = &text[..text.len().min(4)];
            head.utf8_chunks().next()?.valid().chars().next()?
        }
    };
    Some((character, character.len_utf8()))
}
