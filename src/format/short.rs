//! Compares and searches short text sixteen bytes at a time, which is faster than to call `memcmp`
//! or `memchr`.
//!
//! Each value of a line is searched for its end. An index of all quotes, blanks and line ends of a
//! block, made in one pass, was measured: it takes as long, since most bytes are in quoted values,
//! which are searched only once anyway.

use wide::u8x16;

/// The bytes that are searched at a time.
const CHUNK_BYTES: usize = 16;

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

    pub fn is(&self, text: &str) -> bool {
        *self.text == *text.as_bytes()
    }

    /// The rest of a text that begins with it. Returns `None` for any other text.
    #[inline]
    pub fn strip_from<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        match text.first_chunk() {
            Some(chunk) if u64::from_le_bytes(*chunk) & self.mask != self.first => None,
            Some(_) if self.text.len() <= 8 => text.get(self.text.len()..),
            _ => self.strip_long(text),
        }
    }

    #[inline]
    fn strip_long<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (begin, rest) = text.split_at_checked(self.text.len())?;
        match (begin.last_chunk::<8>(), self.text.last_chunk()) {
            (Some(last), Some(own)) => {
                let (chunks, own_chunks) = (begin.as_chunks::<8>().0, self.text.as_chunks().0);
                let is_same = last == own && chunks.iter().zip(own_chunks).all(|(a, b)| a == b);
                is_same.then_some(rest)
            }
            // A comparison of slices is a call, which takes longer than a few bytes do.
            _ => begin
                .iter()
                .zip(&self.text)
                .all(|(a, b)| a == b)
                .then_some(rest),
        }
    }
}

/// The place of the first blank. Returns `None` if a control character, which may be white space,
/// precedes it.
#[inline]
pub fn first_blank(text: &[u8]) -> Option<usize> {
    let place = first(text, |bytes| at_most(bytes, b' '))?;
    (text[place] == b' ').then_some(place)
}

/// The place of the first quote or backslash.
#[inline]
pub fn first_quote(text: &[u8]) -> Option<usize> {
    // Values are very short, or long.
    match text.split_first_chunk() {
        Some((chunk, after)) => first_of(quotes(u8x16::new(*chunk)))
            .or_else(|| Some(CHUNK_BYTES + first_far(after, quotes)?)),
        None => first(text, quotes),
    }
}

/// The place of the first quote, backslash or control character.
#[inline]
pub fn first_quote_or_control(text: &[u8]) -> Option<usize> {
    first_far(text, |bytes| quotes(bytes) | at_most(bytes, b' ' - 1))
}

/// The place of the first delimiter of a query, and that of the last dot before it.
#[inline]
pub fn query_and_last_dot(path: &[u8], delimiter: u8) -> (Option<usize>, Option<usize>) {
    let mut last_dot = None;
    let mut find_in = |at: usize, bytes: u8x16| {
        let query = first_of(equal(bytes, delimiter));
        let before = (1 << query.unwrap_or(CHUNK_BYTES)) - 1;
        if let Some(dot) = (equal(bytes, b'.').to_bitmask() & before).checked_ilog2() {
            last_dot = Some(at + dot as usize);
        }
        query.map(|query| at + query)
    };
    let (chunks, _) = path.as_chunks();
    let mut begins = (0..).step_by(CHUNK_BYTES).zip(chunks);
    let query = begins.find_map(|(at, chunk)| find_in(at, u8x16::new(*chunk)));
    let query = query.or_else(|| match path.last_chunk() {
        Some(last) => find_in(path.len() - CHUNK_BYTES, u8x16::new(*last)),
        None => find_in(0, padded(path)),
    });
    (query, last_dot)
}

/// Whether a text is ASCII without control characters (DEL is one), quotes and backslashes.
#[inline]
pub fn is_plain(text: &[u8]) -> bool {
    let odd = |bytes: u8x16| {
        let high = bytes.max(u8x16::splat(0x7f)).simd_eq(bytes);
        quotes(bytes) | at_most(bytes, b' ' - 1) | high
    };
    let (chunks, _) = text.as_chunks();
    let any = match text.last_chunk() {
        Some(last) => (chunks.iter())
            .fold(odd(u8x16::new(*last)), |any, chunk| {
                any | odd(u8x16::new(*chunk))
            })
            .to_bitmask(),
        None => odd(padded(text)).to_bitmask() & ((1 << text.len()) - 1),
    };
    any == 0
}

/// The place of the first wanted byte, which is probably near.
#[inline(always)]
fn first(text: &[u8], wanted: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    let mut rest = text;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        if let Some(place) = first_of(wanted(u8x16::new(*chunk))) {
            return Some(text.len() - rest.len() + place);
        }
        rest = after;
    }
    if rest.is_empty() {
        return None;
    }
    match text.last_chunk() {
        // Some of its bytes were looked at before.
        Some(last) => Some(text.len() - CHUNK_BYTES + first_of(wanted(u8x16::new(*last)))?),
        None => first_of(wanted(padded(text))).filter(|place| *place < text.len()),
    }
}

/// The same for a byte that is probably far. Searches four chunks at a time, so that the processor
/// mispredicts fewer branches.
#[inline(always)]
fn first_far(text: &[u8], wanted: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    const BYTES: usize = 4 * CHUNK_BYTES;
    let places = |chunk: &[u8; BYTES]| {
        let (parts, _) = chunk.as_chunks();
        let masks = parts
            .iter()
            .map(|part| wanted(u8x16::new(*part)).to_bitmask());
        let places = masks
            .rev()
            .fold(0, |places, mask| places << CHUNK_BYTES | u64::from(mask));
        (places != 0).then(|| places.trailing_zeros() as usize)
    };
    let mut rest = text;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        if let Some(place) = places(chunk) {
            return Some(text.len() - rest.len() + place);
        }
        rest = after;
    }
    match text.last_chunk() {
        Some(last) => Some(text.len() - BYTES + places(last)?),
        None => first(text, wanted),
    }
}

/// The bytes of a text that is shorter than a chunk, and zeros.
#[inline(always)]
fn padded(text: &[u8]) -> u8x16 {
    let number = |bytes: &[u8; 8]| u128::from(u64::from_le_bytes(*bytes));
    let bytes = match (text.first_chunk(), text.last_chunk()) {
        // Bytes that are in both are the same.
        (Some(first), Some(last)) => number(first) | number(last) << (8 * (text.len() - 8)),
        _ => {
            let bytes = text.iter().rev();
            bytes
                .fold(0_u64, |bytes, byte| bytes << 8 | u64::from(*byte))
                .into()
        }
    };
    u8x16::new(bytes.to_le_bytes())
}

#[inline(always)]
fn first_of(places: u8x16) -> Option<usize> {
    let places = places.to_bitmask();
    (places != 0).then(|| places.trailing_zeros() as usize)
}

#[inline(always)]
fn quotes(bytes: u8x16) -> u8x16 {
    equal(bytes, b'"') | equal(bytes, b'\\')
}

#[inline(always)]
fn at_most(bytes: u8x16, limit: u8) -> u8x16 {
    bytes.min(u8x16::splat(limit)).simd_eq(bytes)
}

#[inline(always)]
fn equal(bytes: u8x16, wanted: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_plain_byte(byte: &u8) -> bool {
        matches!(byte, b' '..=b'~') && !b"\"\\".contains(byte)
    }

    proptest! {
        #[test]
        fn the_first_place_is_found(
            plain in "[a-z]{0,150}",
            odd in prop::collection::vec(prop_oneof![0_u8..0x30, 0x5a_u8..0x60, any::<u8>()], 0..20),
            more in "[a-z]{0,70}",
        ) {
            let text = [plain.as_bytes(), &odd, more.as_bytes()].concat();
            let place = |wanted: &[u8]| text.iter().position(|byte| wanted.contains(byte));
            prop_assert_eq!(first_quote(&text), place(b"\"\\"));
            let blank = text.iter().position(|byte| *byte <= b' ');
            prop_assert_eq!(first_blank(&text), blank.filter(|at| text[*at] == b' '));
            let control = text.iter().position(|byte| *byte < b' ');
            let quote = place(b"\"\\");
            let either = quote.into_iter().chain(control).min();
            prop_assert_eq!(first_quote_or_control(&text), either);
        }

        #[test]
        fn a_path_is_split_at_its_first_delimiter(path in "[a./?;é]{0,60}", delimiter in "[?;/]") {
            let (path, delimiter) = (path.as_bytes(), delimiter.as_bytes()[0]);
            let query = path.iter().position(|byte| *byte == delimiter);
            let before = &path[..query.unwrap_or(path.len())];
            let dot = before.iter().rposition(|byte| *byte == b'.');
            prop_assert_eq!(query_and_last_dot(path, delimiter), (query, dot));
        }

        #[test]
        fn a_plain_text_has_no_odd_byte(
            place in any::<prop::sample::Index>(), odd in any::<u8>(), ascii in "[ -~]{1,70}",
        ) {
            let mut text = ascii.into_bytes();
            let place = place.index(text.len());
            text[place] = odd;
            prop_assert_eq!(is_plain(&text), text.iter().all(is_plain_byte));
        }
    }

    #[test]
    fn a_literal_is_stripped_if_the_text_begins_with_it() {
        for literal in [
            "",
            " ",
            "\" \"",
            "12345678",
            "123456789",
            "generation_time_milli",
        ] {
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
