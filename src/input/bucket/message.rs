//! The messages of a queue: the notifications that S3 sends when objects are created, also through
//! SNS and EventBridge.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// How a queue is reached.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// `--sqs-queue`
    pub url: Url,
    /// For how long a message that is received is hidden from other workers.
    pub visibility: Duration,
}

/// A message that this worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueMessage {
    #[serde(rename = "MessageId")]
    pub id: String,
    #[serde(rename = "ReceiptHandle")]
    pub(super) receipt: String,
    pub body: String,
    #[serde(default)]
    attributes: MessageAttributes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MessageAttributes {
    approximate_receive_count: Option<String>,
}

impl QueueMessage {
    /// Whether a worker may have received it before.
    pub fn is_again(&self) -> bool {
        let count = self.attributes.approximate_receive_count.as_deref();
        count != Some("1")
    }
}

/// An object that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedObject {
    pub bucket: String,
    pub key: String,
    /// Without quotation marks.
    pub etag: Option<String>,
    /// In a bucket that keeps versions.
    pub version: Option<String>,
}

impl fmt::Display for CreatedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The objects that a message announces. A test message announces nothing, nor does one about
/// objects that were removed.
///
/// # Errors
///
/// Returns what is wrong with a message that is no notification.
pub fn created_objects(body: &str) -> Result<Vec<CreatedObject>, String> {
    let event: Value =
        serde_json::from_str(body).map_err(|error| format!("it is not JSON ({error})"))?;
    if let Some(inner) = event.get("Message").and_then(Value::as_str) {
        // From SNS.
        return match serde_json::from_str::<Value>(inner) {
            Ok(Value::Object(_)) => created_objects(inner),
            _ => Err("it is not a notification of S3".to_owned()),
        };
    }
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    if let Some(detail) = event.get("detail") {
        // From EventBridge, which does not encode keys.
        return match event.get("detail-type").and_then(Value::as_str) {
            Some("Object Created") => Ok(vec![created(detail, "etag", str::to_owned)?]),
            Some(_) if event.get("source").and_then(Value::as_str) == Some("aws.s3") => {
                Ok(Vec::new())
            }
            _ => Err("it is an event of something other than S3".to_owned()),
        };
    }
    let Some(records) = event.get("Records").and_then(Value::as_array) else {
        return Err("it is not a notification of S3".to_owned());
    };
    let mut objects = Vec::new();
    for record in records {
        let name = record.get("eventName").and_then(Value::as_str);
        let Some(name) = name else {
            return Err("a record in it has no eventName".to_owned());
        };
        // Some servers write `s3:ObjectCreated:Put`.
        if name.contains("ObjectCreated") {
            let s3 = record.get("s3").unwrap_or(&Value::Null);
            objects.push(created(s3, "eTag", decode_key)?);
        }
    }
    Ok(objects)
}

fn created(
    s3: &Value,
    etag: &str,
    decode: impl FnOnce(&str) -> String,
) -> Result<CreatedObject, String> {
    let text = |path: &str| s3.pointer(path).and_then(Value::as_str);
    let object = |key: &str| text(&format!("/object/{key}")).filter(|text| !text.is_empty());
    let (Some(bucket), Some(key)) = (text("/bucket/name"), object("key")) else {
        return Err("a record in it names no bucket or no key".to_owned());
    };
    let version = object("versionId").or_else(|| object("version-id"));
    Ok(CreatedObject {
        bucket: bucket.to_owned(),
        key: decode(key),
        etag: object(etag).map(|etag| etag.trim_matches('"').to_owned()),
        version: version
            .filter(|version| *version != "null")
            .map(str::to_owned),
    })
}

/// Keys are encoded as in a form: a blank is `+`.
fn decode_key(key: &str) -> String {
    let blanks = key.replace('+', " ");
    percent_decode_str(&blanks).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{
        "bucket":{"name":"logs"},"object":{"key":"cdn/a+b%2Bc%C3%A9.gz","size":9,"eTag":"d41d8"}}}"#;

    fn parsed(body: &str) -> Vec<CreatedObject> {
        created_objects(body).unwrap()
    }

    #[test]
    fn notifications_name_the_objects_that_were_created() {
        let body = format!(
            r#"{{"Records":[{RECORD},{}]}}"#,
            RECORD.replace("ObjectCreated:Put", "ObjectRemoved:Delete")
        );
        let expected = [CreatedObject {
            bucket: "logs".to_owned(),
            key: "cdn/a b+cé.gz".to_owned(),
            etag: Some("d41d8".to_owned()),
            version: None,
        }];
        assert_eq!(parsed(&body), expected);
        let through_sns = serde_json::json!({"Type": "Notification", "Message": body}).to_string();
        assert_eq!(parsed(&through_sns), expected);
        let from_bridge = r#"{"source":"aws.s3","detail-type":"Object Created","detail":{
            "bucket":{"name":"logs"},"object":{"key":"a+b","etag":"d41d8","version-id":"v1"}}}"#;
        let object = &parsed(from_bridge)[0];
        assert_eq!(
            (&*object.key, object.version.as_deref()),
            ("a+b", Some("v1"))
        );
    }

    #[test]
    fn some_messages_announce_nothing() {
        for body in [
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"logs"}"#,
            r#"{"Records":[]}"#,
            r#"{"source":"aws.s3","detail-type":"Object Deleted","detail":{}}"#,
        ] {
            assert_eq!(parsed(body), []);
        }
    }

    #[test]
    fn what_is_no_notification_is_an_error() {
        for body in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"Message":"hello"}"#,
            r#"{"Message":"{\"Message\":\"x\"}"}"#,
            r#"{"Records":[{}]}"#,
            r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#,
            r#"{"detail-type":"Object Created","source":"x","detail":{}}"#,
            r#"{"detail-type":"Other","source":"x","detail":{}}"#,
        ] {
            assert!(created_objects(body).is_err(), "{body}");
        }
    }
}
