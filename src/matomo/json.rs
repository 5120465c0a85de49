//! JSON written straight into a request body: no tree of values stands between a log's bytes and the wire.

/// What becomes of bytes that are no UTF-8 (SPEC section 4). They must never reach Matomo as they are: one of
/// them anywhere in a body, and the server drops the whole batch under a 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// U+FFFD, for plain texts.
    Replaced,
    /// `%XX`, for urls.
    PercentEncoded,
}

/// Appends `text` as the inside of a JSON string (the quotes are the caller's).
pub fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push(out, text, Broken::Replaced);
}

/// The same for a url.
pub fn push_url(out: &mut Vec<u8>, url: &[u8]) {
    push(out, url, Broken::PercentEncoded);
}

/// Appends `text` as valid UTF-8, without escaping.
pub fn push_valid(out: &mut Vec<u8>, text: &[u8], broken: Broken) {
    push_chunks(out, text, broken, |out, valid| out.extend_from_slice(valid));
}

#[inline]
fn push(out: &mut Vec<u8>, text: &[u8], broken: Broken) {
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        push_chunks(out, text, broken, push_escaped);
    }
}

#[cold]
fn push_chunks(
    out: &mut Vec<u8>,
    text: &[u8],
    broken: Broken,
    valid: impl Fn(&mut Vec<u8>, &[u8]),
) {
    for chunk in text.utf8_chunks() {
        valid(out, chunk.valid().as_bytes());
        match broken {
            Broken::PercentEncoded => chunk
                .invalid()
                .iter()
                .for_each(|byte| push_percent(out, *byte)),
            Broken::Replaced if !chunk.invalid().is_empty() => {
                out.extend_from_slice("\u{FFFD}".as_bytes())
            }
            Broken::Replaced => {}
        }
    }
}

/// Whether a text is ASCII that JSON takes as it is, as nearly every text of a log is. Eight bytes at a time, without
/// a way out before the end: that is what a compiler can make still wider.
pub fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let odd = words.iter().fold(0, |odd, word| odd | odd_bits(*word));
    match text.last_chunk::<8>() {
        // Some of it for the second time, which is cheaper than byte by byte.
        Some(last) => odd | odd_bits(*last) == 0,
        None => rest.iter().all(|byte| is_plain_byte(*byte)),
    }
}

/// Not zero if one of the bytes is a control character, `"`, `\` or beyond ASCII.
fn odd_bits(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(word);
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & HIGH;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    word & HIGH | below(word, 0x20) | is(b'"') | is(b'\\')
}

fn is_plain_byte(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// `text` is valid UTF-8.
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

/// `%XX`, upper case as browsers write it.
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
    fn bytes_that_are_no_utf8_are_replaced_or_percent_encoded() {
        assert_eq!(text(b"caf\xe9"), "caf\u{FFFD}");
        let mut out = Vec::new();
        push_url(&mut out, b"/caf\xe9?\xc3\xa9");
        assert_eq!(out, "/caf%E9?é".as_bytes());
    }

    #[test]
    fn lone_surrogates_never_come_through() {
        assert_eq!(text(b"\xed\xa0\xbd"), "\u{FFFD}\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn an_empty_text_is_plain() {
        assert!(is_plain(b""));
        assert_eq!(text(b""), "");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was(s in any::<String>()) {
            prop_assert_eq!(text(s.as_bytes()), s);
        }

        #[test]
        fn any_bytes_give_valid_json(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(text(&bytes), String::from_utf8_lossy(&bytes).into_owned());
        }

        #[test]
        fn what_is_plain_is_what_a_plain_loop_finds(place in any::<prop::sample::Index>(), odd in any::<u8>(), ascii in "[ -~]{1,40}") {
            let mut text = ascii.into_bytes();
            let place = place.index(text.len());
            text[place] = odd;
            prop_assert_eq!(is_plain(&text), text.iter().all(|byte| is_plain_byte(*byte)));
        }
    }
}
