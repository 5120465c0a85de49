//! Removes secrets from URLs and from text of a server before they are shown.
//!
//! A URL may contain credentials. A server may echo the request, token included.

use std::borrow::Cow;

use url::Url;

use super::clean::{clean_block, clean_to};

/// The longest quotation of a server's text in a message, in characters.
const MAX_QUOTE: usize = 200;

/// Matomo's tokens are 32 hexadecimal digits. Runs at least this long are hidden.
const MIN_TOKEN_DIGITS: usize = 32;

const HIDDEN: &str = "***";

/// Ends a text that was cut.
const ELLIPSIS: char = '…';

/// A URL without user name, password, query and fragment.
pub fn url(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// A URL as the user typed it, without password, query and fragment: `http://user:***@host/`.
///
/// If the text is not a valid HTTP URL, everything before the last `@` is hidden.
pub fn typed_url(typed: &str) -> String {
    let (scheme, rest) = match typed.find("://") {
        Some(end) => typed.split_at(end + "://".len()),
        None => ("", typed),
    };
    let default_scheme = if scheme.is_empty() { "http://" } else { "" };
    let is_valid = Url::parse(&format!("{default_scheme}{typed}"))
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let authority_end = match is_valid {
        true => rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()),
        false => rest.len(),
    };
    let (credentials, rest) = match rest[..authority_end].rfind('@') {
        Some(at) => rest.split_at(at),
        None => ("", rest),
    };
    let credentials = match credentials.split_once(':') {
        _ if credentials.is_empty() => Cow::Borrowed(""),
        Some((user, _)) if is_valid => Cow::Owned(format!("{user}:{HIDDEN}")),
        _ => Cow::Borrowed(HIDDEN),
    };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(start) => (&rest[..=start], HIDDEN),
        None => (rest, ""),
    };
    format!("{scheme}{credentials}{rest}{query}")
}

/// All text of a response, with tokens hidden. Line ends and tabs stay, other control characters
/// are escaped.
pub fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    clean_block(&tokens(&text)).into_owned()
}

/// The beginning of a server's text on one line, for a message: at most 200 characters and a `…`.
pub fn quote(bytes: &[u8]) -> String {
    // Characters have at most four bytes; the rest is room for white space, which is squeezed.
    let start = match bytes.get(..MAX_QUOTE * 8) {
        // A token cut in two would no longer be recognized.
        Some(cut) => {
            let whole = cut.iter().rposition(|byte| !byte.is_ascii_hexdigit());
            &cut[..whole.map_or(0, |last| last + 1)]
        }
        None => bytes,
    };
    let text = String::from_utf8_lossy(start);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    clean_to(tokens(&line).as_bytes(), MAX_QUOTE).into_owned()
}

/// A text without these secrets, the longest first. The beginning of one before a `…`, where a
/// text was cut, is hidden, too, if it has at least `min_bytes`.
pub(super) fn secrets(text: &str, secrets: &[String], min_bytes: usize) -> String {
    let hide = |text: String, secret: &String| text.replace(secret.as_str(), HIDDEN);
    let text = secrets.iter().fold(text.to_owned(), hide);
    let mut parts = text.split(ELLIPSIS);
    let last = parts.next_back().unwrap_or_default();
    let mut hidden = String::new();
    for part in parts {
        let cut = secrets.iter().filter_map(|secret| {
            let ends = (min_bytes..secret.len()).rev();
            let mut begins = ends.filter_map(|end| secret.get(..end));
            begins.find(|begin| part.ends_with(begin))
        });
        match cut.map(str::len).max() {
            Some(bytes) => {
                hidden.push_str(&part[..part.len() - bytes]);
                hidden.push_str(HIDDEN);
            }
            None => hidden.push_str(part),
        }
        hidden.push(ELLIPSIS);
    }
    hidden + last
}

/// Hides runs of hexadecimal digits that are long enough for a token.
fn tokens(text: &str) -> Cow<'_, str> {
    let mut hidden = String::new();
    let mut copied = 0;
    let mut start = 0;
    let bytes = text.as_bytes();
    while start < bytes.len() {
        let run = bytes[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if run >= MIN_TOKEN_DIGITS {
            hidden.push_str(&text[copied..start]);
            hidden.push_str(HIDDEN);
            copied = start + run;
        }
        start += run.max(1);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    hidden.push_str(&text[copied..]);
    Cow::Owned(hidden)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_shown_without_credentials_and_query() {
        let secret =
            Url::parse("https://joe:secret@stats.example.com:8443/m/piwik.php?key=1#x").unwrap();
        assert_eq!(url(&secret), "https://stats.example.com:8443/m/piwik.php");
    }

    #[test]
    fn a_typed_url_is_shown_without_its_password() {
        for (typed, shown) in [
            ("http://m/matomo", "http://m/matomo"),
            ("http://bob:hunter2@m/a@b", "http://bob:***@m/a@b"),
            ("bob:hunter2@m", "bob:***@m"),
            ("bob@m", "***@m"),
            ("http://:hunter2@m", "http://:***@m"),
            ("http://m/?token=hunter2", "http://m/?***"),
            ("http://m#hunter2", "http://m#***"),
            // Not valid: the password may contain any delimiter.
            ("http://bob:hun/ter2@m", "http://***@m"),
            ("http://bob:hun?ter2@m:99999/", "http://***@m:99999/"),
            ("bob:hun#ter2@m", "***@m"),
            ("ftp://bob:hunter2@m", "ftp://***@m"),
            ("", ""),
        ] {
            assert_eq!(typed_url(typed), shown, "{typed}");
        }
    }

    #[test]
    fn a_token_is_hidden_anywhere_in_a_text() {
        let token = "0123456789abcdef0123456789ABCDEF";
        for response in [
            token.to_owned(),
            format!("token_auth={token}&x=1"),
            format!("%22{token}%22"),
            format!("é{token}é"),
        ] {
            let shown = text(response.as_bytes());
            assert!(!shown.contains("0123456789"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
        assert_eq!(text(b"deadbeef stays"), "deadbeef stays");
    }

    #[test]
    fn a_secret_is_hidden_where_a_text_was_cut() {
        let known = ["open sesame é".to_owned(), "open sesame".to_owned()];
        for (text, shown) in [
            ("say open sesame!", "say ***!"),
            ("say open ses…", "say ***…"),
            ("say open sesame …, open sesame é", "say *** …, ***"),
            (
                "say open s… and open … and open ses",
                "say ***… and open … and open ses",
            ),
            ("…", "…"),
            ("", ""),
        ] {
            assert_eq!(secrets(text, &known, 6), shown, "{text}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(text(b"a\x1b[31mb\r\nc\td"), "a\\x1b[31mb\nc\td");
        assert_eq!(quote(b"  a\n\n b\x07 "), "a b\\x07");
    }

    #[test]
    fn a_long_response_is_cut() {
        let cut = quote("é ".repeat(1000).as_bytes());
        assert_eq!(cut.chars().count(), MAX_QUOTE + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn a_token_at_the_cut_is_dropped_whole() {
        let response = [
            " ".repeat(MAX_QUOTE * 8 - 20),
            "0123456789abcdef0123456789abcdef".into(),
        ]
        .concat();
        assert_eq!(quote(response.as_bytes()), "");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_shown(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let shown = text(&bytes);
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert!(quote(&bytes).chars().count() <= MAX_QUOTE + 1);
        }

        #[test]
        fn no_typed_password_is_shown(
            scheme in "(http://|ftp://|x://|)",
            before in "[a-z/?#@:\\\\ ]{0,5}",
            after in "[a-z/?#:\\\\ .0-9]{0,8}",
        ) {
            let typed = format!("{scheme}joe:{before}SECRET@{after}");
            let default_scheme = if typed.contains("://") { "" } else { "http://" };
            let is_part_of_path = Url::parse(&format!("{default_scheme}{typed}"))
                .is_ok_and(|url| url.path().contains("SECRET"));
            if !is_part_of_path {
                prop_assert!(!typed_url(&typed).contains("SECRET"), "{}", typed_url(&typed));
            }
        }
    }
}
