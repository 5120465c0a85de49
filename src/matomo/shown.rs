//! What comes from a server, made fit to be shown: no control characters, no credentials, no token.
//!
//! An answer is written by strangers and may echo the request; a message ends on a terminal or in a log file.

use std::borrow::Cow;

use url::Url;

/// Most characters of an answer that a message quotes.
const EXCERPT: usize = 200;

/// Tokens are 32 hexadecimal digits. A run of as many is hidden wherever it stands.
const TOKEN: usize = 32;

/// An address without what may be secret: user name, password, query and fragment.
pub fn place(url: &Url) -> String {
    let mut url = url.clone();
    // Refused only by addresses that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The whole text of an answer: line ends and tabs stay, other control characters become U+FFFD.
pub fn text(bytes: &[u8]) -> String {
    let readable: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() && c != '\r' => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .filter(|c| *c != '\r')
        .collect();
    hide_tokens(&readable).into_owned()
}

/// The beginning of an answer on one line, for a message.
pub fn excerpt(bytes: &[u8]) -> String {
    // Four bytes a character at most; blanks that are squeezed out may cost a little of the quote.
    let start = match bytes.get(..EXCERPT * 8) {
        // A token that is cut in two is not known as one.
        Some(cut) => {
            let whole = cut.iter().rposition(|b| !b.is_ascii_hexdigit());
            &cut[..whole.map_or(0, |last| last + 1)]
        }
        None => bytes,
    };
    let line = text(start).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// An answer's body in a few words: a page by its title, anything else by its first words.
pub fn body(bytes: &[u8]) -> String {
    if bytes.trim_ascii().is_empty() {
        return "an empty body".into();
    }
    let start = bytes.trim_ascii_start();
    match title(start) {
        Some(title) => format!("an HTML page titled \"{}\"", excerpt(title.as_bytes())),
        None if start.starts_with(b"<") => format!("HTML ({})", excerpt(start)),
        None => format!("\"{}\"", excerpt(start)),
    }
}

/// The text of the first `<title>`, looked for in the first 16 KiB.
fn title(html: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(&html[..html.len().min(16 * 1024)]);
    let lower = page.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let title = page[start..end].trim();
    (!title.is_empty()).then(|| title.to_owned())
}

fn hide_tokens(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut kept = 0;
    let mut start = 0;
    let bytes = text.as_bytes();
    while start < bytes.len() {
        let run = bytes[start..]
            .iter()
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
        if run >= TOKEN {
            shown.push_str(&text[kept..start]);
            shown.push_str("***");
            kept = start + run;
        }
        start += run.max(1);
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[kept..]);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_shown_without_credentials_and_query() {
        let url =
            Url::parse("https://joe:secret@stats.example.com:8443/m/piwik.php?key=1#x").unwrap();
        assert_eq!(place(&url), "https://stats.example.com:8443/m/piwik.php");
    }

    #[test]
    fn a_token_is_hidden_wherever_it_stands() {
        let token = "0123456789abcdef0123456789ABCDEF";
        for told in [
            token.to_owned(),
            format!("token_auth={token}&x=1"),
            format!("%22{token}%22"),
            format!("é{token}é"),
        ] {
            let shown = text(told.as_bytes());
            assert!(!shown.contains("0123456789"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
        assert_eq!(text(b"deadbeef stays"), "deadbeef stays");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(text(b"a\x1b[31mb\r\nc\td"), "a\u{fffd}[31mb\nc\td");
        assert_eq!(excerpt(b"  a\n\n b\x07 "), "a b\u{fffd}");
    }

    #[test]
    fn a_long_answer_is_cut_for_a_message() {
        let cut = excerpt("é ".repeat(1000).as_bytes());
        assert_eq!(cut.chars().count(), EXCERPT + 3);
        assert!(cut.ends_with("..."));
    }

    #[test]
    fn a_token_at_the_cut_is_not_shown_in_part() {
        let answer = [
            " ".repeat(EXCERPT * 8 - 20),
            "0123456789abcdef0123456789abcdef".into(),
        ]
        .concat();
        assert_eq!(excerpt(answer.as_bytes()), "");
    }

    #[test]
    fn a_page_is_known_by_its_title() {
        let page = b"<!DOCTYPE html>\n<html><head><TITLE lang=en> Sign\n in </TITLE>";
        assert_eq!(body(page), "an HTML page titled \"Sign in\"");
        assert_eq!(body(b"<p>no"), "HTML (<p>no)");
        assert_eq!(body(b" \n"), "an empty body");
        assert_eq!(body(b"down"), "\"down\"");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_shown(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let shown = text(&bytes);
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert!(excerpt(&bytes).chars().count() <= EXCERPT + 3);
            body(&bytes);
        }
    }
}
