//! What Matomo writes into response bodies: JSON of the tracker and of the API.
//!
//! PHP warnings and `debug=1` surround the tracker's JSON with text. PHP writes a list whose keys
//! have gaps as an object, and numbers as text.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::report::redact;

/// How many braces, counted from the end of a body, are tried as the start of a JSON object.
/// Matomo writes at most two; each try may read to the end of the body, so a hostile server must
/// not choose the number.
const MAX_TRIES: usize = 1000;

/// A response of the tracker to a batch.
pub(super) enum BulkResponse {
    /// `"status":"success"` with both numbers.
    Success(BulkCounts),
    /// An error of Matomo's own: of the tracker, or of the API.
    MatomoError,
    /// Not written by Matomo.
    Foreign,
}

/// The tracker's numbers as received, not yet compared with what was sent.
pub(super) struct BulkCounts {
    pub tracked: usize,
    pub invalid: usize,
    /// `invalid_indices`. `None` if absent: only super users receive it.
    pub indices: Option<Vec<Value>>,
    /// Text before and after the JSON.
    pub noise: Option<String>,
}

/// Parses a tracker's response. The last JSON object counts; text around it is noise.
pub(super) fn parse_bulk(body: &[u8]) -> BulkResponse {
    #[derive(Deserialize)]
    struct TrackerJson {
        status: TrackerStatus,
        tracked: u64,
        invalid: Option<u64>,
        invalid_indices: Option<Value>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum TrackerStatus {
        Success,
        Error,
    }
    let Some((object, place)) = last_object(body) else {
        return BulkResponse::Foreign;
    };
    match TrackerJson::deserialize(&object) {
        Ok(TrackerJson {
            status: TrackerStatus::Success,
            tracked,
            invalid: Some(invalid),
            invalid_indices,
        }) => BulkResponse::Success(BulkCounts {
            tracked: usize::try_from(tracked).unwrap_or(usize::MAX),
            invalid: usize::try_from(invalid).unwrap_or(usize::MAX),
            indices: invalid_indices.map(|indices| match indices {
                Value::Array(list) => list,
                Value::Object(map) => map.into_iter().map(|(_, index)| index).collect(),
                other => vec![other],
            }),
            noise: noise(body, place),
        }),
        Ok(TrackerJson {
            status: TrackerStatus::Error,
            ..
        }) => BulkResponse::MatomoError,
        _ if object["result"] == "error" => BulkResponse::MatomoError,
        _ => BulkResponse::Foreign,
    }
}

/// The last JSON object that is not inside another one, and its place in the body.
fn last_object(body: &[u8]) -> Option<(Value, Range<usize>)> {
    let braces: Vec<usize> = memchr::memrchr_iter(b'{', body).take(MAX_TRIES).collect();
    let mut last: Option<(Value, Range<usize>)> = None;
    for start in braces.into_iter().rev() {
        if last.as_ref().is_some_and(|(_, place)| start < place.end) {
            continue;
        }
        let mut reader =
            serde_json::Deserializer::from_slice(&body[start..]).into_iter::<Map<String, Value>>();
        if let Some(Ok(object)) = reader.next() {
            last = Some((Value::Object(object), start..start + reader.byte_offset()));
        }
    }
    last
}

/// The text before and after the JSON object. White space and a byte order mark do not count.
fn noise(body: &[u8], object: Range<usize>) -> Option<String> {
    let before = body[..object.start].trim_ascii();
    let before = before.strip_prefix(b"\xef\xbb\xbf").unwrap_or(before);
    let after = body[object.end..].trim_ascii();
    let parts: Vec<String> = [before, after]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(redact::text)
        .collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// The message of an API error, `{"result":"error","message":"..."}`, shortened and redacted.
pub(super) fn api_error(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorJson {
        result: String,
        #[serde(default)]
        message: String,
    }
    let json: ErrorJson = serde_json::from_slice(body).ok()?;
    (json.result == "error").then(|| redact::quote(json.message.as_bytes()))
}

/// Deserializes an id: a number or a text, bare or as `{"value": ...}`.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    optional_text(deserializer)?.ok_or_else(|| de::Error::custom("expected a number or a text"))
}

/// Deserializes a number or a text; anything else is `None`.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextJson {
        Number(u64),
        Text(String),
        Wrapped { value: Box<TextJson> },
        Other(de::IgnoredAny),
    }
    let mut json = TextJson::deserialize(deserializer)?;
    loop {
        match json {
            TextJson::Number(number) => return Ok(Some(number.to_string())),
            TextJson::Text(text) => return Ok(Some(text)),
            TextJson::Wrapped { value } => json = *value,
            TextJson::Other(_) => return Ok(None),
        }
    }
}

/// Deserializes a whole number, bare or as text; anything else is `None`.
pub(super) fn optional_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    let text = optional_text(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Deserializes a list, or the values of an object.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    // Not an untagged enum: that would hold the whole response in memory twice.
    struct ListVisitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                items.push(item);
            }
            Ok(items)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some((_, item)) = map.next_entry::<de::IgnoredAny, T>()? {
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn success(body: &str) -> (usize, usize, Option<String>) {
        match parse_bulk(body.as_bytes()) {
            BulkResponse::Success(counts) => (counts.tracked, counts.invalid, counts.noise),
            _ => panic!("no success: {body}"),
        }
    }

    #[test]
    fn the_last_object_counts_and_text_around_it_is_noise() {
        let json = r#"{"status":"success","tracked":3,"invalid":0,"invalid_indices":[]}"#;
        assert_eq!(success(json), (3, 0, None));
        assert_eq!(success(&format!("\u{feff}\n{json}\n")), (3, 0, None));
        let debug = r#"Debug: {"cvar": {"1":["a","b"]}} {broken {"status":"success","tracked":9,"invalid":9} "#;
        let (tracked, invalid, noise) = success(&format!("{debug}{json}"));
        assert_eq!((tracked, invalid), (3, 0));
        assert_eq!(noise.as_deref(), Some(debug.trim()));
        let (.., noise) = success(&format!("a {json} b"));
        assert_eq!(noise.as_deref(), Some("a\nb"));
    }

    #[test]
    fn an_object_inside_another_is_not_the_response() {
        let inside = r#"{"proxy":"down","upstream":{"status":"success","tracked":1,"invalid":0}}"#;
        assert!(matches!(
            parse_bulk(inside.as_bytes()),
            BulkResponse::Foreign
        ));
    }

    #[test]
    fn what_matomo_does_not_write_is_foreign() {
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
            let response = parse_bulk(body.as_bytes());
            assert!(matches!(response, BulkResponse::Foreign), "{body}");
        }
    }

    #[test]
    fn errors_of_tracker_and_api_are_recognized() {
        for body in [
            r#"{"status":"error","tracked":2,"invalid":0,"message":"why"}"#,
            r#"{"result":"error","message":"why"}"#,
        ] {
            let response = parse_bulk(body.as_bytes());
            assert!(matches!(response, BulkResponse::MatomoError), "{body}");
        }
    }

    #[test]
    fn a_body_full_of_braces_is_read_in_bounded_time() {
        let mut body = "{\"a\":[".repeat(150_000);
        assert!(matches!(parse_bulk(body.as_bytes()), BulkResponse::Foreign));
        body.push_str(r#" {"status":"success","tracked":1,"invalid":0}"#);
        assert!(matches!(
            parse_bulk(body.as_bytes()),
            BulkResponse::Success(_)
        ));
    }

    #[test]
    fn ids_are_numbers_or_texts_bare_or_wrapped() {
        let parse = |json: &str| text(&mut serde_json::Deserializer::from_str(json)).ok();
        for json in [
            "7",
            r#""7""#,
            r#"{"value":7}"#,
            r#"{"value":{"value":"7"}}"#,
        ] {
            assert_eq!(parse(json).as_deref(), Some("7"), "{json}");
        }
        for json in ["null", "[7]", "-7", r#"{"value":null}"#, r#"{"id":7}"#] {
            assert_eq!(parse(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_body_can_be_parsed(body in "[ {}\\[\\]\":,a0é-]{0,200}") {
            parse_bulk(body.as_bytes());
        }

        #[test]
        fn the_response_is_found_after_any_text(before in "[ {}a\":]{0,60}") {
            let body = format!(r#"{before}|{{"status":"success","tracked":1,"invalid":0}}"#);
            // Text that opens a string or an object may swallow the JSON, but must not change it.
            if let BulkResponse::Success(counts) = parse_bulk(body.as_bytes()) {
                prop_assert_eq!((counts.tracked, counts.invalid), (1, 0));
            }
        }
    }
}
