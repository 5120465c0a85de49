//! Compares and searches short text eight bytes at a time, which is faster than to call `memcmp` or
//! `memchr`.

/// A text that others begin with.
#[derive(Clone, Debug)]
pub struct Literal {
    text: Box<[u8]>,
    /// Its first eight bytes, and a mask of those that it has.
    first: u64,
    mask: u64,
}

impl Literal {
    pub fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let (mut first, mut mask) = ([0; 8], [0; 8]);
        for (at, byte) in text.iter().take(8).enumerate() {
            (first[at], mask[at]) = (*byte, 0xff);
        }
        Self {
            text: text.into(),
            first: u64::from_le_bytes(first),
            mask: u64::from_le_bytes(mask),
        }
    }

    /// The rest of a text that begins with it. Returns `None` for any other text.
    #[inline]
    pub fn strip_from<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        match text.first_chunk() {
            Some(chunk) if u64::from_le_bytes(*chunk) & self.mask != self.first => None,
            Some(_) if self.text.len() <= 8 => text.get(self.text.len()..),
            _ => self.strip_slowly(text),
        }
    }

    fn strip_slowly<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (begin, rest) = text.split_at_checked(self.text.len())?;
        let mut pairs = self.text.iter().zip(begin);
        pairs.all(|(ours, its)| ours == its).then_some(rest)
    }
}

const LOW_BITS: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Sets the high bit of each byte below `limit`, which is at most 0x80, and perhaps of bytes after
/// the first one.
#[inline]
fn bytes_below(bytes: u64, limit: u8) -> u64 {
    bytes.wrapping_sub(LOW_BITS * u64::from(limit)) & !bytes & HIGH_BITS
}

/// The same for bytes that are equal to `wanted`.
#[inline]
fn bytes_equal(bytes: u64, wanted: u8) -> u64 {
    bytes_below(bytes ^ (LOW_BITS * u64::from(wanted)), 1)
}

/// Whether a text has control characters, or fewer than eight bytes.
#[inline]
pub fn has_controls(text: &[u8]) -> bool {
    let controls = |bytes: &[u8; 8]| bytes_below(u64::from_le_bytes(*bytes), b' ');
    let (chunks, _) = text.as_chunks();
    // The last chunk has some bytes twice.
    let last = text.last_chunk().map_or(1, controls);
    (chunks.iter()).fold(last, |any, chunk| any | controls(chunk)) != 0
}

/// The place of the first blank. Returns `None` if a control character, which may be white space,
/// precedes it.
#[inline]
pub fn first_blank(text: &[u8]) -> Option<usize> {
    let (mut rest, mut at) = (text, 0);
    let place = loop {
        let Some((chunk, after)) = rest.split_first_chunk() else {
            break at + rest.iter().position(|byte| *byte <= b' ')?;
        };
        let blanks = bytes_below(u64::from_le_bytes(*chunk), b' ' + 1);
        if blanks != 0 {
            break at + blanks.trailing_zeros() as usize / 8;
        }
        (rest, at) = (after, at + 8);
    };
    (text[place] == b' ').then_some(place)
}

/// The place of the first quote or backslash.
#[inline]
pub fn first_quote(text: &[u8]) -> Option<usize> {
    first(text, |byte| (byte == b'"') | (byte == b'\\'))
}

/// The place of the first quote, backslash or control character.
#[inline]
pub fn first_quote_or_control(text: &[u8]) -> Option<usize> {
    first(text, |byte| (byte == b'"') | (byte == b'\\') | (byte < b' '))
}

/// The place of the first such byte. The compiler makes one instruction of `is_wanted` for sixteen
/// bytes, which saves the call of `memchr`.
#[inline(always)]
fn first(text: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = 0;
    let mut rest = text;
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        if chunk.iter().fold(false, |any, byte| any | is_wanted(*byte)) {
            break;
        }
        (rest, at) = (after, at + 16);
    }
    Some(at + rest.iter().position(|byte| is_wanted(*byte))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_place_is_found(
            text in prop::collection::vec(prop_oneof![0_u8..0x30, 0x5a_u8..0x60, any::<u8>()], 0..40),
        ) {
            let place = |wanted: &[u8]| text.iter().position(|byte| wanted.contains(byte));
            prop_assert_eq!(first_quote(&text), place(b"\"\\"));
            let blank = text.iter().position(|byte| *byte <= b' ');
            prop_assert_eq!(first_blank(&text), blank.filter(|at| text[*at] == b' '));
            let has_any = text.iter().any(|byte| *byte < b' ');
            prop_assert_eq!(has_controls(&text), has_any || text.len() < 8);
        }
    }

    #[test]
    fn a_literal_is_stripped_if_the_text_begins_with_it() {
        for literal in ["", " ", "\" \"", "12345678", "generation_time_milli"] {
            let strip = |text: &str| {
                let rest = Literal::new(literal).strip_from(text.as_bytes());
                rest.map(|rest| String::from_utf8(rest.to_vec()).unwrap())
            };
            for after in ["", "x", "more text after it"] {
                let text = format!("{literal}{after}");
                assert_eq!(strip(&text).as_deref(), Some(after));
                for at in 0..literal.len() {
                    let mut other = text.clone();
                    other.replace_range(at..=at, "?");
                    assert_eq!(strip(&other), None, "{literal} {other}");
                    assert_eq!(strip(&text[..at]), None, "{literal} {at}");
                }
            }
        }
    }
}
