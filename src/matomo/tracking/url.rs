//! The address of a page: scheme and host, path and query (SPEC sections 6 and 7).

use crate::hit::{LoggedRequest, Site};
use crate::matomo::json::{self, InvalidBytes};

/// The host of hits whose log has an empty one (SPEC section 7).
pub const NO_HOST: &str = "no-hostname-found-in-log";

/// Characters of path and query, and of the referrer, that are sent; the rest is cut off.
const LONGEST: usize = 1024;

/// What stands before the path: scheme and host, or the main url where the hit has no host. Empty for a path that
/// does not begin with `/`.
pub fn origin(request: &LoggedRequest, site: &Site) -> Vec<u8> {
    if !is_rooted(request) {
        return Vec::new();
    }
    match (request.host, &site.main_url) {
        (Some(host), _) if memchr::memmem::find(host, b"://").is_some() => host.to_vec(),
        (Some(b"") | None, Some(main_url)) => main_url.as_bytes().to_vec(),
        (host, _) => {
            let host = host.filter(|host| !host.is_empty());
            let host = host.unwrap_or(NO_HOST.as_bytes());
            [site.scheme().as_bytes(), b"://", host].concat()
        }
    }
}

pub fn is_rooted(request: &LoggedRequest) -> bool {
    request.path.first() == Some(&b'/')
}

/// What follows the host: the path, and the query behind its delimiter.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    path: &'a [u8],
    delimiter: &'a [u8],
    query: &'a [u8],
}

impl<'a> Page<'a> {
    /// `delimiter`: `None` where queries are not sent.
    pub fn of(request: &LoggedRequest<'a>, delimiter: Option<&'a [u8]>) -> Self {
        let (delimiter, query) = match delimiter {
            Some(delimiter) if !request.query.is_empty() => (delimiter, request.query),
            _ => (&b""[..], &b""[..]),
        };
        Self {
            path: request.path,
            delimiter,
            query,
        }
    }

    /// Appends it, cut if it is too long, as the inside of a JSON string.
    pub fn push(self, out: &mut Vec<u8>) {
        if self.path.len() + self.delimiter.len() + self.query.len() > LONGEST {
            json::push_url(out, cut(&self.whole()));
            return;
        }
        json::push_url(out, self.path);
        if !self.query.is_empty() {
            json::push_url(out, self.delimiter);
            json::push_url(out, self.query);
        }
    }

    /// Appends it, cut if it is too long, with everything but letters, digits and `_.-~` percent-encoded.
    pub fn push_encoded(self, out: &mut Vec<u8>) {
        push_encoded(out, cut(&self.whole()));
    }

    fn whole(self) -> Vec<u8> {
        [self.path, self.delimiter, self.query].concat()
    }
}

/// The beginning of `text`, [`LONGEST`] characters at most; a byte that is no UTF-8 counts as one.
pub fn cut(text: &[u8]) -> &[u8] {
    if text.len() <= LONGEST {
        return text;
    }
    let mut left = LONGEST;
    let mut end = 0;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        match valid.char_indices().nth(left) {
            Some((place, _)) => return &text[..end + place],
            None => left -= valid.chars().count(),
        }
        end += valid.len();
        let broken = chunk.invalid().len().min(left);
        left -= broken;
        end += broken;
        if left == 0 {
            break;
        }
    }
    &text[..end]
}

/// Percent-encodes everything but letters, digits and `_.-~`; the result needs no escaping in JSON.
pub fn push_encoded(out: &mut Vec<u8>, url: &[u8]) {
    let mut valid = Vec::new();
    json::push_valid(&mut valid, url, InvalidBytes::PercentEncoded);
    for byte in valid {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte),
            _ => json::push_percent(out, byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_is_cut_at_1024_characters() {
        assert_eq!(cut(&[b'x'; 1025]).len(), 1024);
        assert_eq!(cut("é".repeat(1030).as_bytes()).len(), 2048);
        assert_eq!(cut(&[0xE9; 2000]).len(), 1024);
    }

    proptest! {
        #[test]
        fn what_is_cut_is_a_beginning_of_at_most_1024_characters(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let cut = cut(&bytes);
            prop_assert!(bytes.starts_with(cut));
            let characters: usize = cut.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len()).sum();
            prop_assert!(characters <= 1024);
            prop_assert!(cut.len() == bytes.len() || characters == 1024);
        }

        /// Short ones are written part by part, long ones as a whole.
        #[test]
        fn a_page_is_written_as_if_it_were_one_text(
            path in prop::collection::vec(any::<u8>(), 0..800),
            query in prop::collection::vec(any::<u8>(), 0..800),
        ) {
            let page = Page { path: &path, delimiter: if query.is_empty() { b"" } else { "é?".as_bytes() }, query: &query };
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            page.push(&mut found);
            json::push_url(&mut expected, cut(&page.whole()));
            prop_assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(expected).unwrap());
        }
    }
}
