//! One value of an INI file, as PHP and Python write them; no more of the format is needed here.

/// The last value of a key in a section; names in any case. Lines that are none of `[section]`, `key = value` and
/// comments (`;`, `#`) are passed over. A value may stand in quotes; there are no escapes, and without quotes
/// nothing is a comment, for a password may hold any sign.
pub(super) fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            inside = name.trim().eq_ignore_ascii_case(section);
        } else if inside
            && !line.starts_with([';', '#'])
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(unquoted(value.trim()));
        }
    }
    found
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let Some(rest) = value.strip_prefix(quote) else {
            continue;
        };
        if let Some((inner, after)) = rest.split_once(quote) {
            let after = after.trim_start();
            if after.is_empty() || after.starts_with([';', '#']) {
                return inner;
            }
        }
        if let Some(inner) = rest.strip_suffix(quote) {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_is_found_in_its_section() {
        let text = "; <?php exit; ?>\nlogin = outside\n[Other]\nlogin=other\n\n [ auth ] ; here\n# login = no\n\
                    Login = admin\npassword: a=b;c#d\n[after]\nlogin = late\n";
        assert_eq!(value(text, "auth", "login"), Some("admin"));
        assert_eq!(value(text, "auth", "password"), Some("a=b;c#d"));
        assert_eq!(value(text, "auth", "token_auth"), None);
        assert_eq!(value(text, "none", "login"), None);
    }

    #[test]
    fn quotes_around_a_value_are_taken_off() {
        for (written, want) in [
            (r#""a b""#, "a b"),
            ("'a b'", "a b"),
            (r#""abc" ; a note"#, "abc"),
            (r#""a;b" # "note""#, "a;b"),
            (r#""pa"ss""#, r#"pa"ss"#),
            (r#"pa"ss"#, r#"pa"ss"#),
            (r#"""#, r#"""#),
            (r#""""#, ""),
            ("", ""),
            ("\"abc", "\"abc"),
        ] {
            let text = format!("[auth]\r\nkey = {written}\r\n");
            assert_eq!(value(&text, "auth", "key"), Some(want), "{written}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[\\[\\]=:;#\"'a \n]{0,60}") {
            value(&text, "a", "a");
        }
    }
}
