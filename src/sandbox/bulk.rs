//! What a tracking request's body is: a batch, or something Matomo makes nothing of.

use memchr::memmem;
use serde_json::{Map, Value};
use url::form_urlencoded;

/// A body as Matomo sees it.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    /// The word `"requests"` is not in it: taken for a single hit, and refused.
    NotBulk,
    /// It has the word but is no JSON with requests: taken for an empty batch, whatever was meant.
    Unreadable,
    Batch(Batch),
}

#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    pub token: Option<String>,
    pub requests: Vec<Value>,
    /// `send_image: 0`: answered with 204 and no body.
    pub silent: bool,
}

impl Body {
    pub fn read(bytes: &[u8]) -> Self {
        let has = |word: &str| memmem::find(bytes, word.as_bytes()).is_some();
        if !has("\"requests\"") && !has("'requests'") {
            return Self::NotBulk;
        }
        // Refuses invalid UTF-8 and lone surrogates as PHP's `json_decode` does.
        let Ok(Value::Object(mut body)) = serde_json::from_slice(bytes) else {
            return Self::Unreadable;
        };
        match body.remove("requests") {
            Some(Value::Array(requests)) if !requests.is_empty() => Self::Batch(Batch {
                token: body
                    .get("token_auth")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                silent: body.get("send_image").is_some_and(|v| *v == 0 || *v == "0"),
                requests,
            }),
            _ => Self::Unreadable,
        }
    }
}

/// A hit's arguments: an object as it is, a text as the query it is; `None` for anything else, which Matomo
/// passes over.
pub(super) fn arguments(request: &Value) -> Option<Map<String, Value>> {
    match request {
        Value::Object(arguments) if !arguments.is_empty() => Some(arguments.clone()),
        Value::String(address) if !address.is_empty() => {
            let query = address
                .split_once('?')
                .map_or(address.as_str(), |(_, query)| query);
            let pairs = form_urlencoded::parse(query.as_bytes());
            Some(
                pairs
                    .map(|(key, value)| (key.into_owned(), value.into()))
                    .collect(),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_batch_is_read_with_its_token() {
        let Body::Batch(batch) = Body::read(br#"{"token_auth":"t","requests":[{"a":1},"?b=2"]}"#)
        else {
            panic!("no batch");
        };
        assert_eq!(batch.token.as_deref(), Some("t"));
        assert_eq!(batch.requests.len(), 2);
        assert!(!batch.silent);
    }

    #[test]
    fn what_matomo_cannot_read_is_an_empty_batch() {
        for bytes in [
            &br#"{"requests":[{"url":"http"#[..],
            b"{\"requests\":[{\"url\":\"\xff\"}]}",
            br#"{"requests":[{"url":"\ud83d"}]}"#,
            br#"{"requests":[]}"#,
            br#"{"requests":3}"#,
            br#"["requests"]"#,
        ] {
            assert_eq!(Body::read(bytes), Body::Unreadable);
        }
    }

    #[test]
    fn a_body_without_the_word_is_no_batch() {
        for bytes in [&b""[..], b"{}", b"\x1f\x8b\x08\x00", b"idsite=1&rec=1"] {
            assert_eq!(Body::read(bytes), Body::NotBulk);
        }
    }

    #[test]
    fn a_request_may_be_a_query() {
        let read = arguments(&json!("/piwik.php?idsite=1&url=http%3A%2F%2Fa%2F"));
        assert_eq!(
            read.map(Value::Object),
            Some(json!({"idsite": "1", "url": "http://a/"}))
        );
        assert_eq!(arguments(&Value::Null), None);
    }
}
