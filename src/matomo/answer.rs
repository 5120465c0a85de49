//! What Matomo's tracker says in a body: the last JSON object of it, and the text around.

use std::ops::Range;

use serde_json::{Map, Value};

/// How many braces at most are tried as the beginning of an object, counted from the end of the body. Matomo's
/// answer has at most two; each try may read on to the end, so that they are not for a stranger to choose.
const TRIES: usize = 1000;

type Object = Map<String, Value>;

/// A body of the tracker, taken apart.
pub(super) enum Reply {
    /// `"status":"success"` with its two numbers.
    Success(Tally),
    /// JSON of Matomo's own that is no success: the tracker's, or the API's.
    Error,
    /// Nothing that Matomo says.
    Foreign,
}

/// The tracker's numbers as it told them, not checked against what was sent.
pub(super) struct Tally {
    pub tracked: usize,
    pub invalid: usize,
    /// What `invalid_indices` holds; `None` where it is missing (only super users get it).
    pub indices: Option<Vec<Value>>,
    /// The text around the JSON.
    pub noise: Option<String>,
}

/// Reads a body. The last JSON object counts (SPEC section 8); any text around it is noise.
pub(super) fn read(body: &[u8]) -> Reply {
    let Some((object, place)) = last_object(body) else {
        return Reply::Foreign;
    };
    let text = |key| object.get(key).and_then(Value::as_str);
    match (
        text("status"),
        number(&object, "tracked"),
        number(&object, "invalid"),
    ) {
        (Some("success"), Some(tracked), Some(invalid)) => Reply::Success(Tally {
            tracked,
            invalid,
            indices: indices(&object),
            noise: noise(body, place),
        }),
        (Some("error"), Some(_), _) => Reply::Error,
        _ if text("result") == Some("error") => Reply::Error,
        _ => Reply::Foreign,
    }
}

/// A count. Beyond what the machine can count it is as large as can be.
fn number(object: &Object, key: &str) -> Option<usize> {
    let number = object.get(key)?.as_u64()?;
    Some(usize::try_from(number).unwrap_or(usize::MAX))
}

/// PHP writes a list whose keys have gaps as an object.
fn indices(object: &Object) -> Option<Vec<Value>> {
    match object.get("invalid_indices")? {
        Value::Null => None,
        Value::Array(list) => Some(list.clone()),
        Value::Object(map) => Some(map.values().cloned().collect()),
        other => Some(vec![other.clone()]),
    }
}

/// The last object that is not inside another one, and where it stands.
fn last_object(body: &[u8]) -> Option<(Object, Range<usize>)> {
    let braces: Vec<usize> = memchr::memrchr_iter(b'{', body).take(TRIES).collect();
    let mut found: Option<(Object, Range<usize>)> = None;
    for start in braces.into_iter().rev() {
        if found.as_ref().is_some_and(|(_, place)| start < place.end) {
            continue;
        }
        let mut reader = serde_json::Deserializer::from_slice(&body[start..]).into_iter::<Object>();
        if let Some(Ok(object)) = reader.next() {
            found = Some((object, start..start + reader.byte_offset()));
        }
    }
    found
}

/// What stands before and after the object, as far as it is more than blanks or a byte order mark.
fn noise(body: &[u8], object: Range<usize>) -> Option<String> {
    let before = body[..object.start].trim_ascii();
    let before = before.strip_prefix(b"\xef\xbb\xbf").unwrap_or(before);
    let after = body[object.end..].trim_ascii();
    let parts: Vec<String> = [before, after]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(super::shown::text)
        .collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn success(body: &str) -> (usize, usize, Option<String>) {
        match read(body.as_bytes()) {
            Reply::Success(tally) => (tally.tracked, tally.invalid, tally.noise),
            _ => panic!("no success: {body}"),
        }
    }

    #[test]
    fn the_last_object_counts_and_the_text_around_it_is_kept() {
        let answer = r#"{"status":"success","tracked":3,"invalid":0,"invalid_indices":[]}"#;
        assert_eq!(success(answer), (3, 0, None));
        assert_eq!(success(&format!("\u{feff}\n{answer}\n")), (3, 0, None));
        let debug = r#"Debug: {"cvar": {"1":["a","b"]}} {broken {"status":"success","tracked":9,"invalid":9} "#;
        let (tracked, invalid, noise) = success(&format!("{debug}{answer}"));
        assert_eq!((tracked, invalid), (3, 0));
        assert_eq!(noise.as_deref(), Some(debug.trim()));
        let (.., noise) = success(&format!("a {answer} b"));
        assert_eq!(noise.as_deref(), Some("a\nb"));
    }

    #[test]
    fn an_object_inside_another_is_not_the_answer() {
        let inside = r#"{"proxy":"down","upstream":{"status":"success","tracked":1,"invalid":0}}"#;
        assert!(matches!(read(inside.as_bytes()), Reply::Foreign));
    }

    #[test]
    fn what_matomo_does_not_say_is_foreign() {
        for body in [
            "",
            "<html>{}</html>",
            "[1]",
            r#"{"status":"success","tracked":3"#,
            r#"{"status":"success","tracked":3}"#,
            r#"{"status":"success","tracked":-3,"invalid":0}"#,
            r#"{"status":"success","tracked":"3","invalid":0}"#,
            r#"{"status":"error","message":"gateway"}"#,
            r#"{"status":503,"tracked":1,"invalid":0}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Reply::Foreign), "{body}");
        }
    }

    #[test]
    fn errors_of_tracker_and_api_are_known() {
        for body in [
            r#"{"status":"error","tracked":2,"invalid":0,"message":"why"}"#,
            r#"{"result":"error","message":"why"}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Reply::Error), "{body}");
        }
    }

    #[test]
    fn a_body_of_braces_ends_the_reading_soon() {
        let mut body = "{\"a\":[".repeat(150_000);
        assert!(matches!(read(body.as_bytes()), Reply::Foreign));
        body.push_str(r#" {"status":"success","tracked":1,"invalid":0}"#);
        assert!(matches!(read(body.as_bytes()), Reply::Success(_)));
    }

    proptest! {
        #[test]
        fn any_body_is_read(body in "[ {}\\[\\]\":,a0é-]{0,200}") {
            read(body.as_bytes());
        }

        #[test]
        fn an_answer_is_found_after_any_text(before in "[ {}a\":]{0,60}") {
            let body = format!(r#"{before}|{{"status":"success","tracked":1,"invalid":0}}"#);
            // Text that opens a string or an object may swallow the answer; that is doubt, never another count.
            if let Reply::Success(tally) = read(body.as_bytes()) {
                prop_assert_eq!((tally.tracked, tally.invalid), (1, 0));
            }
        }
    }
}
