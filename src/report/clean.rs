//! Makes untrusted text safe to print. Anyone who sends a request writes text into a log, and a
//! terminal obeys escape sequences.
//!
//! Characters that a terminal acts upon or that are invisible become escapes (`\x1b`, `\u{202e}`).
//! Letters of all languages stay. Backslashes are not doubled: the text is for people, not for
//! parsers.

use std::borrow::Cow;
use std::fmt::Write;

/// Maximum characters of a text from a log.
pub const MAX_CHARS: usize = 1000;

/// Cleans text from a log, a server or a file name, on one line of at most [`MAX_CHARS`]
/// characters.
pub fn clean(text: &[u8]) -> Cow<'_, str> {
    clean_to(text, MAX_CHARS)
}

/// Cleans text and shortens it to `longest` characters and a `…`. Escapes count with all their
/// characters.
pub fn clean_to(text: &[u8], longest: usize) -> Cow<'_, str> {
    escape(text, longest, |_| false)
}

/// Cleans text of several lines. Keeps line breaks and tabs and does not shorten.
pub fn clean_block(text: &str) -> Cow<'_, str> {
    escape(text.as_bytes(), usize::MAX, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &[u8], longest: usize, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(text)
        && text.len() <= longest
        && !text.chars().any(|c| is_hidden(c) && !stays(c))
    {
        return Cow::Borrowed(text);
    }
    let mut shown = LimitedText::new(longest);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let fits = match c {
                _ if !is_hidden(c) || stays(c) => shown.push(format_args!("{c}"), 1),
                '\n' | '\r' | '\t' => shown.push(format_args!("{}", c.escape_default()), 2),
                '\0'..='\x7f' => shown.push(format_args!("\\x{:02x}", c as u32), 4),
                _ => shown.push(
                    format_args!("{}", c.escape_unicode()),
                    c.escape_unicode().len(),
                ),
            };
            if !fits {
                return Cow::Owned(shown.text);
            }
        }
        for byte in chunk.invalid() {
            if !shown.push(format_args!("\\x{byte:02x}"), 4) {
                return Cow::Owned(shown.text);
            }
        }
    }
    Cow::Owned(shown.text)
}

/// A text being built, with the number of characters left.
struct LimitedText {
    text: String,
    room: usize,
}

impl LimitedText {
    fn new(room: usize) -> Self {
        Self {
            text: String::new(),
            room,
        }
    }

    /// Adds a piece, or a final `…` if the piece does not fit. Returns whether it fits.
    fn push(&mut self, piece: std::fmt::Arguments<'_>, characters: usize) -> bool {
        let left = self.room.checked_sub(characters);
        // Writing into a String cannot fail.
        let _ = match left {
            Some(_) => self.text.write_fmt(piece),
            None => self.text.write_char('…'),
        };
        self.room = left.unwrap_or(0);
        left.is_some()
    }
}

/// Whether a character is a control (C0, DEL, C1), changes the text direction, or is invisible. Not
/// the joiners U+200C and U+200D, which Persian and emoji need.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_become_escapes() {
        let cases: [(&[u8], &str); 8] = [
            (b"GET / HTTP/1.1", "GET / HTTP/1.1"),
            (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            (b"one\r\ntwo\tthree\0", "one\\r\\ntwo\\tthree\\x00"),
            (b"\x7f\xc2\x9b31m", "\\x7f\\u{9b}31m"),
            ("a\u{202e}gpj.exe".as_bytes(), "a\\u{202e}gpj.exe"),
            (
                "zero\u{200b}width\u{feff}".as_bytes(),
                "zero\\u{200b}width\\u{feff}",
            ),
            (b"caf\xe9 \xff\xfe", "caf\\xe9 \\xff\\xfe"),
            (b"already \\x1b", "already \\x1b"),
        ];
        for (text, shown) in cases {
            assert_eq!(clean(text), shown);
        }
    }

    #[test]
    fn letters_of_all_languages_stay() {
        for text in [
            "Überraschung",
            "радио",
            "電台",
            "می\u{200c}خواهم",
            "👩\u{200d}🚀",
            "e\u{301}",
        ] {
            assert!(matches!(clean(text.as_bytes()), Cow::Borrowed(shown) if shown == text));
        }
    }

    #[test]
    fn a_long_text_is_cut_with_an_ellipsis() {
        assert_eq!(clean_to(b"abcdef", 6), "abcdef");
        assert_eq!(clean_to(b"abcdef", 5), "abcde…");
        assert_eq!(clean_to("ÄÖÜäöü".as_bytes(), 6), "ÄÖÜäöü");
        assert_eq!(
            clean_to(b"abc\x1b", 5),
            "abc…",
            "an escape is never cut in half"
        );
        assert_eq!(clean(&[b'x'; MAX_CHARS + 1]).chars().count(), MAX_CHARS + 1);
    }

    #[test]
    fn a_block_keeps_its_lines() {
        assert_eq!(clean_block("one\n\ttwo\n"), "one\n\ttwo\n");
        assert_eq!(clean_block("one\n\x1b[2J\r\n"), "one\n\\x1b[2J\\r\n");
    }

    proptest! {
        #[test]
        fn no_hidden_character_is_printed(text in proptest::collection::vec(any::<u8>(), 0..200), longest in 0usize..250) {
            let shown = clean_to(&text, longest);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(shown.chars().count() <= longest + 1);
        }

        #[test]
        fn a_block_has_no_hidden_character_but_line_breaks_and_tabs(text in any::<String>()) {
            prop_assert!(!clean_block(&text).chars().any(|c| is_hidden(c) && c != '\n' && c != '\t'));
        }

        #[test]
        fn text_without_hidden_characters_stays(text in "[^\\p{C}\\p{Z}]{0,100}") {
            prop_assert_eq!(clean(text.as_bytes()), text.as_str());
        }
    }
}
