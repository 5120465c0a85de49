//! Escapes in fields: `%HH`, for formats that encode blanks, and those with a backslash.

use bumpalo::Bump;

/// Replaces each `%HH` by its byte, `times` times. `+` and a `%` without two hexadecimal digits
/// stay. Returns `None` if there is no `%`.
pub fn percent_decoded<'a>(text: &[u8], times: u8, arena: &'a Bump) -> Option<&'a [u8]> {
    memchr::memchr(b'%', text)?;
    let text = arena.alloc_slice_copy(text);
    let mut len = text.len();
    for _ in 0..times {
        len = decode_percent(&mut text[..len]);
    }
    Some(&text[..len])
}

/// Undoes the percent-encoding of the signs of `%HH`: `%2520` becomes `%20`. Returns `None` if
/// nothing is encoded twice.
pub fn single_percent<'a>(text: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    memchr::memmem::find(text, b"%25")?;
    let single = arena.alloc_slice_copy(text);
    let (mut rest, mut length) = (text, 0);
    while let Some(byte) = rest.first() {
        single[length] = *byte;
        length += 1;
        rest = match rest {
            [b'%', b'2', b'5', high, low, ..] if hex_byte(*high, *low).is_some() => &rest[3..],
            _ => &rest[1..],
        };
    }
    (length < text.len()).then_some(&single[..length])
}

/// Decodes once, in place, and returns the new length.
pub fn decode_percent(text: &mut [u8]) -> usize {
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        let byte = match text[from..] {
            [b'%', high, low, ..] => hex_byte(high, low),
            _ => None,
        };
        text[to] = byte.unwrap_or(text[from]);
        from += if byte.is_some() { 3 } else { 1 };
        to += 1;
    }
    to
}

/// Undoes the escapes that Apache, nginx and Icecast write in quoted values: `\"`, `\\`, `\b`,
/// `\n`, `\r`, `\t`, `\v` and `\xHH`. Returns `None` if the text has no escape, or if a backslash
/// begins anything else: then the server does not escape, and the text is as it was sent.
///
/// Bytes that are not UTF-8 then become Latin-1.
pub fn undo_escapes<'a>(text: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    memchr::memchr(b'\\', text)?;
    let decoded = arena.alloc_slice_fill_copy(text.len(), 0);
    let (mut rest, mut length) = (text, 0);
    while !rest.is_empty() {
        let (byte, after) = match *rest {
            [b'\\', b'x', high, low, ref after @ ..] => (hex_byte(high, low)?, after),
            [b'\\', escape, ref after @ ..] => (unescaped(escape)?, after),
            [b'\\'] => return None,
            [byte, ref after @ ..] => (byte, after),
            [] => break,
        };
        decoded[length] = byte;
        length += 1;
        rest = after;
    }
    Some(latin_1_as_utf_8(&decoded[..length], arena))
}

/// The byte that a backslash and this letter mean.
fn unescaped(escape: u8) -> Option<u8> {
    Some(match escape {
        b'"' | b'\\' => escape,
        b'b' => 0x08,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}

/// Reads bytes that are not UTF-8 as Latin-1, since clients send either. Valid parts stay.
pub fn latin_1_as_utf_8<'a>(text: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    if str::from_utf8(text).is_ok() {
        return text;
    }
    let mut decoded = String::new();
    for chunk in text.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().copied().map(char::from));
    }
    arena.alloc_str(&decoded).as_bytes()
}

/// The byte that two hexadecimal digits encode.
pub fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    // Two hexadecimal digits fit a byte.
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str, times: u8) -> Option<Vec<u8>> {
        percent_decoded(text.as_bytes(), times, &Bump::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn percent_signs_are_decoded_as_often_as_asked() {
        for (text, bytes) in [
            ("VLC%2F3.0.20%20LibVLC", b"VLC/3.0.20 LibVLC".as_slice()),
            ("%25%32%30", b"%20"),
            ("%2520", b"%20"),
            ("a+b%2bc", b"a+b+c"),
            ("%%41", b"%A"),
            ("%FF%00", b"\xff\0"),
        ] {
            assert_eq!(decoded(text, 1).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(decoded("WIN%252010", 2).as_deref(), Some(&b"WIN 10"[..]));
        assert_eq!(decoded("WIN%2010", 2).as_deref(), Some(&b"WIN 10"[..]));
    }

    #[test]
    fn an_invalid_percent_sign_stays() {
        for text in ["100%", "%2", "%zz%", "%%", "%zz%4"] {
            assert_eq!(decoded(text, 2).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn encoded_percent_signs_before_two_digits_are_decoded() {
        let single = |text: &str| {
            let arena = Bump::new();
            let single = single_percent(text.as_bytes(), &arena);
            single.map(|single| String::from_utf8(single.to_vec()).unwrap())
        };
        for (text, expected) in [
            ("a=%2520b", "a=%20b"),
            ("%2525", "%25"),
            ("%252520", "%2520"),
            ("a=%20b%25c3%25A9%25", "a=%20b%c3%A9%25"),
        ] {
            assert_eq!(single(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "a=%20b",
            "100%25",
            "100%25&b=1",
            "%2",
            "%25%20",
            "%25g0",
        ] {
            assert_eq!(single(text), None, "{text}");
        }
    }

    #[test]
    fn text_without_percent_signs_is_not_copied() {
        assert_eq!(decoded("Mozilla/5.0+(X11)", 1), None);
    }

    fn unescaped(text: &str) -> Option<Vec<u8>> {
        undo_escapes(text.as_bytes(), &Bump::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn escapes_are_undone() {
        for (text, bytes) in [
            (r"caf\xC3\xa9", "café".as_bytes()),
            (r"\x22quoted\x22", b"\"quoted\""),
            (r#"a \"b\""#, b"a \"b\""),
            (r"\xff\b\n\r\t\v", "ÿ\u{8}\n\r\t\u{b}".as_bytes()),
            (r"\\x41\x42", br"\x41B"),
            (r"\\\x41", br"\A"),
            (r"\x5cx41", br"\x41"),
            (r"C:\\x", br"C:\x"),
        ] {
            assert_eq!(unescaped(text).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn text_of_a_server_that_does_not_escape_stays() {
        for text in [
            "Mozilla/5.0",
            r"C:\Program Files\",
            r"\xg1 \x22",
            r"\x4",
            r"\x",
            r"\",
            r"\n\a",
            r"\u00e9",
        ] {
            assert_eq!(unescaped(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        let arena = Bump::new();
        let read = |text| {
            str::from_utf8(latin_1_as_utf_8(text, &arena))
                .unwrap()
                .to_owned()
        };
        assert_eq!(read(b"caf\xe9"), "café");
        assert_eq!(read(b"caf\xc3\xa9 \xe9"), "café é");
        assert_eq!(read(b"\x85"), "\u{85}");
        assert_eq!(read("€".as_bytes()), "€");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(
            text in prop::collection::vec(any::<u8>(), 0..100), dense in r"[%\\x0-9a-f]{0,40}",
        ) {
            let arena = Bump::new();
            for text in [&text[..], dense.as_bytes()] {
                let decoded = percent_decoded(text, 2, &arena).unwrap_or(text);
                prop_assert!(decoded.len() <= text.len());
                let plain = undo_escapes(text, &arena).unwrap_or(text);
                // A byte of Latin-1 becomes two.
                prop_assert!(plain.len() <= 2 * text.len());
            }
        }

        #[test]
        fn decoding_undoes_encoding(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decoded(&encoded, 1), Some(bytes.clone()));
            let encoded = encoded.replace('%', r"\x");
            let want = latin_1_as_utf_8(&bytes, &Bump::new()).to_vec();
            prop_assert_eq!(unescaped(&encoded), Some(want));
        }
    }
}
