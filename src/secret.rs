//! Text that must never be printed: a token, a password.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

/// What most programs encode in a part of a URL: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the `url` crate encodes in a user name or password.
const USERINFO: &AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'=')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'|');

/// Holds the text. `Debug` prints `***`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a request's body or header. Never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text as it is, as part of a URL or a form, and as a JSON string, also as PHP writes it.
    /// For hiding it in output.
    pub fn spellings(&self) -> Vec<String> {
        let text = self.0.as_str();
        let form = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let encoded = [NON_ALPHANUMERIC, RESERVED, USERINFO];
        let encoded = encoded.map(|set| utf8_percent_encode(text, set).to_string());
        let mut spellings = vec![form];
        spellings.extend(encoded);
        let lower: Vec<String> = spellings.iter().map(|it| lowercase_escapes(it)).collect();
        spellings.extend(lower);
        let json = serde_json::Value::from(text).to_string();
        let json = json[1..json.len() - 1].to_owned();
        let ascii = escape_non_ascii(&json);
        spellings.extend([
            ascii.replace('/', r"\/"),
            json.replace('/', r"\/"),
            ascii,
            json,
        ]);
        spellings.push(text.to_owned());
        spellings.sort_unstable();
        spellings.dedup();
        spellings
    }
}

/// `%c3` for `%C3`.
fn lowercase_escapes(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |done, part| {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        done + "%" + &digits.to_ascii_lowercase() + rest
    })
}

/// `\u00e9` for `é`, in UTF-16.
fn escape_non_ascii(text: &str) -> String {
    let escape = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units).iter();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        }
    };
    text.chars().map(escape).collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_stars() {
        assert_eq!(format!("{:?}", Secret::new("geheim")), "***");
    }

    #[test]
    fn a_secret_is_known_in_every_spelling() {
        let spellings = Secret::new("aé/\"b c~=%").spellings();
        for spelling in [
            "aé/\"b c~=%",
            "a%C3%A9%2F%22b+c%7E%3D%25",
            "a%c3%a9%2f%22b+c%7e%3d%25",
            "a%C3%A9%2F%22b%20c~%3D%25",
            "a%C3%A9%2F%22b%20c~%3D%",
            "aé/\\\"b c~=%",
            "aé\\/\\\"b c~=%",
            "a\\u00e9/\\\"b c~=%",
            "a\\u00e9\\/\\\"b c~=%",
        ] {
            assert!(
                spellings.iter().any(|it| it == spelling),
                "{spelling}: {spellings:?}"
            );
        }
        assert_eq!(Secret::new("0123abc").spellings(), ["0123abc"]);
    }
}
