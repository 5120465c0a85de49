//! Writes JSON directly into a request body, without building a tree of values.

use crate::format::short::is_plain;

/// How to write bytes that are not valid UTF-8. A single one in a body makes Matomo drop the whole
/// batch, with status 200. See guide/formats.md, "Bytes that are not text".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidBytes {
    /// As U+FFFD, in text.
    Replaced,
    /// As `%XX`, in URLs, and control characters too.
    PercentEncoded,
}

/// Appends `text` as the content of a JSON string, without the quotes.
pub fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push(out, text, InvalidBytes::Replaced);
}

/// Appends `url` as the content of a JSON string, without the quotes.
pub fn push_url(out: &mut Vec<u8>, url: &[u8]) {
    push(out, url, InvalidBytes::PercentEncoded);
}

/// Appends `text` as valid UTF-8, without escaping.
pub fn push_valid(out: &mut Vec<u8>, text: &[u8], invalid: InvalidBytes) {
    push_chunks(out, text, invalid, |out, valid| {
        out.extend_from_slice(valid)
    });
}

#[inline]
fn push(out: &mut Vec<u8>, text: &[u8], invalid: InvalidBytes) {
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        push_chunks(out, text, invalid, push_escaped);
    }
}

#[cold]
fn push_chunks(
    out: &mut Vec<u8>,
    text: &[u8],
    invalid: InvalidBytes,
    valid: impl Fn(&mut Vec<u8>, &[u8]),
) {
    for chunk in text.utf8_chunks() {
        match invalid {
            InvalidBytes::PercentEncoded => push_without_controls(out, chunk.valid(), &valid),
            InvalidBytes::Replaced => valid(out, chunk.valid().as_bytes()),
        }
        match invalid {
            InvalidBytes::PercentEncoded => chunk
                .invalid()
                .iter()
                .for_each(|byte| push_percent(out, *byte)),
            InvalidBytes::Replaced if !chunk.invalid().is_empty() => {
                out.extend_from_slice("\u{FFFD}".as_bytes())
            }
            InvalidBytes::Replaced => {}
        }
    }
}

/// Appends a part of a URL, with control characters as `%XX`.
fn push_without_controls(out: &mut Vec<u8>, text: &str, valid: impl Fn(&mut Vec<u8>, &[u8])) {
    let mut rest = text;
    while let Some((at, control)) = rest.char_indices().find(|(_, char)| char.is_control()) {
        let (plain, after) = rest.split_at(at);
        let (control, after) = after.split_at(control.len_utf8());
        valid(out, plain.as_bytes());
        control.bytes().for_each(|byte| push_percent(out, byte));
        rest = after;
    }
    valid(out, rest.as_bytes());
}

/// Appends `text`, which is valid UTF-8, and escapes what JSON requires.
fn push_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    let is_odd = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    while let Some(place) = text.iter().position(is_odd) {
        out.extend_from_slice(&text[..place]);
        match text[place] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            control => {
                out.extend_from_slice(b"\\u00");
                push_hex(out, control);
            }
        }
        text = &text[place + 1..];
    }
    out.extend_from_slice(text);
}

/// Appends a byte as `%XX`, in upper case like browsers do.
pub fn push_percent(out: &mut Vec<u8>, byte: u8) {
    out.push(b'%');
    push_hex(out, byte);
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

pub fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = vec![b'"'];
        push_text(&mut out, bytes);
        out.push(b'"');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn control_characters_quotes_and_backslashes_are_escaped() {
        assert_eq!(text(b"a\"b\\c\nd\x00e\x1f\x7f"), "a\"b\\c\nd\x00e\x1f\x7f");
    }

    #[test]
    fn invalid_utf8_is_replaced_or_percent_encoded() {
        assert_eq!(text(b"caf\xe9"), "caf\u{FFFD}");
        let mut out = Vec::new();
        push_url(&mut out, b"/caf\xe9?\xc3\xa9");
        assert_eq!(out, "/caf%E9?é".as_bytes());
    }

    #[test]
    fn control_characters_in_urls_are_percent_encoded() {
        let mut out = Vec::new();
        push_url(&mut out, b"/a\x01\t\"\x7f\xc2\x85\xe9");
        assert_eq!(out, b"/a%01%09\\\"%7F%C2%85%E9");
    }

    #[test]
    fn lone_surrogates_are_replaced() {
        assert_eq!(text(b"\xed\xa0\xbd"), "\u{FFFD}\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn an_empty_text_is_plain() {
        assert!(is_plain(b""));
        assert_eq!(text(b""), "");
    }

    proptest! {
        #[test]
        fn any_text_survives_a_round_trip(s in any::<String>()) {
            prop_assert_eq!(text(s.as_bytes()), s);
        }

        #[test]
        fn any_bytes_give_valid_json(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(text(&bytes), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
