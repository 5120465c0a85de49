//! A queue of Amazon SQS with notifications about objects, over SQS's JSON protocol.

use std::error::Error as StdError;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpService};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use url::Url;

use super::lease::{Lease, since_boot};
use super::message::{QueueMessage, QueueOptions};
use super::profile;
use super::store::{BucketThread, Connector, Http, chain, reason};
use crate::error::{Error, Result};

/// Messages in one request: the limit of SQS.
const MAX_MESSAGES: usize = 10;
/// How long SQS waits for messages: its limit.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The limit of SQS for hiding a message.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 3600);
/// The limit for a request that does not wait for messages.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Ten messages of 1 MiB each, escaped.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A queue. Its thread extends the messages that are held, until it is dropped.
pub struct ObjectQueue {
    sqs: Arc<Sqs>,
    thread: Arc<BucketThread>,
    lease: Lease,
}

/// Sends requests to a queue.
struct Sqs {
    url: Url,
    /// With a `/` as its path.
    server: Url,
    region: String,
    credentials: AwsCredentialProvider,
    skip_signature: bool,
    had_credentials: AtomicBool,
    http: Http,
}

/// Why a request to a queue failed.
enum SqsError {
    /// It may succeed later.
    Temporary(String),
    /// It cannot succeed: wrong credentials, or no such queue.
    Lasting(String),
}

impl ObjectQueue {
    /// # Errors
    ///
    /// Returns an error if the credentials cannot be read.
    pub(super) fn open(options: QueueOptions, thread: Arc<BucketThread>) -> Result<Self> {
        let url = options.url;
        let option = format!("--sqs-queue={url}");
        let failed = |why: String| Error::stopped(format!("{option}: {why}"));
        let mut builder = profile::apply(AmazonS3Builder::from_env()).map_err(failed)?;
        let region = region_of(&url)
            .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Region))
            .unwrap_or_else(|| "us-east-1".to_owned());
        let skip_signature = builder
            .get_config_value(&AmazonS3ConfigKey::SkipSignature)
            .is_some_and(|value| value == "true");
        // Only for its credentials, which are the same for all services.
        builder = builder
            .with_bucket_name("none")
            .with_allow_http(true)
            .with_http_connector(Connector);
        let store = builder.build().map_err(|error| failed(error.to_string()))?;
        let mut server = url.clone();
        server.set_path("/");
        let sqs = Arc::new(Sqs {
            url,
            server,
            region,
            credentials: Arc::clone(store.credentials()),
            skip_signature,
            had_credentials: AtomicBool::new(false),
            http: Http::new().map_err(|error| failed(error.to_string()))?,
        });
        let lease = Lease::new(options.visibility.min(MAX_VISIBILITY));
        thread.spawn(keep(Arc::clone(&sqs), lease.clone()));
        Ok(Self { sqs, thread, lease })
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Receives at most ten messages. Waits until there is one, but not longer than `wait`, and not
    /// if `should_stop` says so. Messages that arrive after that are received again later.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `TimedOut` if the queue cannot be asked now, and another one if it
    /// never can.
    pub fn receive(
        &self,
        wait: Duration,
        should_stop: &dyn Fn() -> bool,
    ) -> io::Result<Vec<QueueMessage>> {
        #[derive(Deserialize)]
        struct Received {
            #[serde(rename = "Messages", default)]
            messages: Vec<QueueMessage>,
        }
        let wait = wait.min(MAX_WAIT);
        let asked = since_boot();
        let request = json!({
            "MaxNumberOfMessages": MAX_MESSAGES,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": self.lease.visibility().as_secs(),
            // The second name is of newer versions.
            "AttributeNames": ["ApproximateReceiveCount"],
            "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
        });
        let received: Option<Received> =
            self.ask("ReceiveMessage", request, wait + TIMEOUT, should_stop)?;
        let messages = received.map_or_else(Vec::new, |received| received.messages);
        let receipts = messages.iter().map(|message| message.receipt.clone());
        self.lease.extend(receipts, asked);
        Ok(messages)
    }

    /// Removes a message from the queue.
    ///
    /// # Errors
    ///
    /// If the queue cannot be asked. Then the message comes again.
    pub fn delete(&self, message: &QueueMessage) -> io::Result<()> {
        self.lease.remove(&message.receipt);
        let request = json!({ "ReceiptHandle": message.receipt });
        let _: Option<Value> = self.ask("DeleteMessage", request, TIMEOUT, &|| false)?;
        Ok(())
    }

    /// Gives a message back: some worker receives it again after this time. Returns false if that
    /// fails. Then it comes back when its visibility time-out is over.
    pub fn give_back(&self, message: &QueueMessage, after: Duration) -> bool {
        self.lease.remove(&message.receipt);
        let request = json!({
            "ReceiptHandle": message.receipt,
            "VisibilityTimeout": after.min(self.lease.visibility()).as_secs(),
        });
        let answer: io::Result<Option<Value>> =
            self.ask("ChangeMessageVisibility", request, TIMEOUT, &|| false);
        answer.is_ok()
    }

    /// How many messages are in the queue: those that wait, that are delayed, and that workers
    /// hold. Approximate.
    ///
    /// # Errors
    ///
    /// If the queue cannot be asked.
    pub fn count(&self) -> io::Result<u64> {
        #[derive(Deserialize)]
        struct Counted {
            #[serde(rename = "Attributes", default)]
            attributes: serde_json::Map<String, Value>,
        }
        let request = json!({ "AttributeNames": [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        ]});
        let counted: Option<Counted> =
            self.ask("GetQueueAttributes", request, TIMEOUT, &|| false)?;
        let values = counted
            .map(|counted| counted.attributes)
            .unwrap_or_default();
        let counts = values
            .values()
            .filter_map(|value| value.as_str()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Sends a request and waits for its answer. Returns `None` if it is given up.
    fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        action: &'static str,
        request: Value,
        limit: Duration,
        should_stop: &dyn Fn() -> bool,
    ) -> io::Result<Option<T>> {
        let sqs = Arc::clone(&self.sqs);
        let answer = self.thread.wait(
            should_stop,
            async move { sqs.ask(action, request, limit).await },
        );
        match answer {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(SqsError::Temporary(why))) => Err(io::Error::new(ErrorKind::TimedOut, why)),
            Ok(Err(SqsError::Lasting(why))) => Err(io::Error::other(why)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Extends the messages that are held, several times in each visibility time-out.
async fn keep(sqs: Arc<Sqs>, lease: Lease) {
    let interval = lease.visibility() / 8;
    loop {
        sleep(interval / 2).await;
        for receipts in lease.older_than(interval).chunks(MAX_MESSAGES) {
            let asked = since_boot();
            #[derive(Deserialize)]
            struct Extended {
                #[serde(rename = "Successful", default)]
                successful: Vec<Entry>,
            }
            #[derive(Deserialize)]
            struct Entry {
                #[serde(rename = "Id")]
                id: String,
            }
            let entries = receipts.iter().enumerate().map(|(id, receipt)| {
                json!({
                    "Id": id.to_string(),
                    "ReceiptHandle": receipt,
                    "VisibilityTimeout": lease.visibility().as_secs(),
                })
            });
            let request = json!({ "Entries": entries.collect::<Vec<_>>() });
            // What fails is tried again the next time.
            let extended = sqs.ask::<Extended>("ChangeMessageVisibilityBatch", request, interval);
            let extended = match extended.await {
                Ok(extended) => extended,
                Err(SqsError::Temporary(why) | SqsError::Lasting(why)) => {
                    lease.set_problem(Some(why));
                    continue;
                }
            };
            lease.set_problem(None);
            let ids = extended.successful.iter();
            let receipts = ids.filter_map(|entry| receipts.get(entry.id.parse::<usize>().ok()?));
            lease.renew(receipts, asked);
        }
    }
}

impl Sqs {
    async fn ask<T: DeserializeOwned>(
        &self,
        action: &str,
        mut request: Value,
        limit: Duration,
    ) -> std::result::Result<T, SqsError> {
        if let Value::Object(members) = &mut request {
            members.insert("QueueUrl".to_owned(), Value::from(self.url.as_str()));
        }
        match timeout(limit, self.send(action, &request)).await {
            Ok(answer) => answer,
            Err(_) => Err(SqsError::Temporary(format!(
                "no answer within {} s",
                limit.as_secs()
            ))),
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        action: &str,
        request: &Value,
    ) -> std::result::Result<T, SqsError> {
        let temporary = |error: &dyn StdError| SqsError::Temporary(chain(error));
        let body = Bytes::from(request.to_string());
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self
            .server
            .as_str()
            .parse()
            .map_err(|error: http::uri::InvalidUri| SqsError::Lasting(error.to_string()))?;
        let headers = request.headers_mut();
        let content_type = http::HeaderValue::from_static("application/x-amz-json-1.0");
        headers.insert(http::header::CONTENT_TYPE, content_type);
        let target = http::HeaderValue::from_str(&format!("AmazonSQS.{action}"));
        let target = target.map_err(|error| SqsError::Lasting(error.to_string()))?;
        headers.insert("x-amz-target", target);
        if !self.skip_signature {
            let credential = self.credentials.get_credential().await;
            let credential = credential.map_err(|error| {
                let why = reason(&error);
                match self.had_credentials.load(Ordering::Relaxed) {
                    true => SqsError::Temporary(why),
                    false => SqsError::Lasting(why),
                }
            })?;
            self.had_credentials.store(true, Ordering::Relaxed);
            AwsAuthorizer::new(&credential, "sqs", &self.region)
                .try_authorize(&mut request, None)
                .map_err(|error| SqsError::Lasting(error.to_string()))?;
        }
        let response = self.http.call(request).await;
        let response = response.map_err(|error| temporary(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| SqsError::Temporary(error.to_string()))?;
        let body = body.to_bytes();
        if parts.status.is_success() {
            let answer = match body.is_empty() {
                true => serde_json::from_str("{}"),
                false => serde_json::from_slice(&body),
            };
            return answer.map_err(|error| {
                SqsError::Temporary(format!("its answer cannot be read: {error}"))
            });
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |keys: &[&str]| {
            let mut texts = keys.iter().filter_map(|key| said.get(key)?.as_str());
            texts.next().unwrap_or_default().to_owned()
        };
        let kind = text(&["__type", "code"]);
        let kind = kind.rsplit(['#', '.']).next().unwrap_or_default();
        let mut why = parts.status.to_string();
        let message = text(&["message", "Message"]);
        if !message.is_empty() {
            let _ = write!(why, ": {message}");
        }
        if !kind.is_empty() {
            let _ = write!(why, " ({kind})");
        }
        let is_temporary = parts.status.is_server_error()
            || parts.status.as_u16() == 429
            || [
                "Throttl",
                "RequestLimit",
                "OverLimit",
                "Overload",
                "Expired",
            ]
            .iter()
            .any(|sign| kind.contains(sign));
        Err(match is_temporary {
            true => SqsError::Temporary(why),
            false => SqsError::Lasting(why),
        })
    }
}

/// `https://sqs.REGION.amazonaws.com/...`
fn region_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let mut labels = host.split('.');
    let is_sqs = labels.next()? == "sqs";
    let region = labels.next()?;
    (is_sqs && host.contains("amazonaws.com")).then(|| region.to_owned())
}
