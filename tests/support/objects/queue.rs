//! Queues of SQS, in the same process as the buckets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Bucket, ObjectServer, client};

/// moto checks no signatures.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 \
    Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=none";

/// A queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    server: ObjectServer,
    url: Arc<str>,
}

impl ObjectServer {
    /// Creates a queue. Its name must be new.
    pub fn queue(&self, name: &str) -> Queue {
        let answer = self.ask_sqs("CreateQueue", json!({ "QueueName": name }));
        Queue {
            server: self.clone(),
            url: answer["QueueUrl"].as_str().unwrap().into(),
        }
    }

    fn ask_sqs(&self, action: &str, request: Value) -> Value {
        let headers = [
            ("authorization", SIGNATURE),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", &format!("AmazonSQS.{action}")),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = request.to_string();
        let answer =
            client::exchange(&self.address, "POST", "/", &headers, body.as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 300, "{action}: {} {text}", answer.status);
        serde_json::from_str(&text).unwrap_or_default()
    }
}

impl Queue {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn send(&self, body: &str) {
        self.ask("SendMessage", json!({ "MessageBody": body }));
    }

    /// Moves a message to another queue when it has been received so often.
    pub fn fail_after(&self, times: u32, dead: &Queue) {
        let policy = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": times });
        let attributes = json!({ "RedrivePolicy": policy.to_string() });
        self.ask("SetQueueAttributes", json!({ "Attributes": attributes }));
    }

    /// The number of messages, whether they can be received now or not.
    pub fn count(&self) -> u64 {
        let attributes = self.attributes();
        let count = |name: &str| attributes[name].as_str().unwrap().parse::<u64>().unwrap();
        count("ApproximateNumberOfMessages") + count("ApproximateNumberOfMessagesNotVisible")
    }

    /// The messages that can be received now, at most ten.
    pub fn bodies(&self) -> Vec<String> {
        let request = json!({ "MaxNumberOfMessages": 10, "VisibilityTimeout": 0 });
        let answer = self.ask("ReceiveMessage", request);
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        let bodies = messages.iter().map(|message| message["Body"].as_str());
        bodies.map(|body| body.unwrap().to_owned()).collect()
    }

    fn arn(&self) -> String {
        self.attributes()["QueueArn"].as_str().unwrap().to_owned()
    }

    fn attributes(&self) -> Value {
        let answer = self.ask("GetQueueAttributes", json!({ "AttributeNames": ["All"] }));
        answer["Attributes"].clone()
    }

    fn ask(&self, action: &str, mut request: Value) -> Value {
        request["QueueUrl"] = Value::from(&*self.url);
        self.server.ask_sqs(action, request)
    }
}

impl Bucket {
    /// From now on, each object that is created is announced in a queue. So is that, at once, in a
    /// test message.
    pub fn announce_in(&self, queue: &Queue) {
        let settings = format!(
            "<NotificationConfiguration><QueueConfiguration><Id>new</Id><Queue>{}</Queue>\
             <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>",
            queue.arn()
        );
        let target = format!("/{}?notification", self.name);
        self.server.ask("PUT", target, &[], settings.as_bytes());
    }
}
