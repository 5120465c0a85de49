//! Lists and downloads objects, with the crate object_store. It signs requests and repeats those
//! that fail, also in the middle of a download.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ClientOptions, Error as StoreError, GetOptions, GetRange, ObjectStore};
use reqwest::Client;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::message::{CreatedObject, QueueOptions};
use super::queue::ObjectQueue;
use super::reader::{BUFFERED_BYTES, Download, DownloadedBytes};
use super::{BucketOptions, BucketUrl, Object, ObjectMeta, Provider, profile};
use crate::async_thread::AsyncThread;
use crate::error::{Error, Result};
use crate::input::pattern::Pattern;

/// How long connecting may take, and how long a server may send nothing. Then the request is
/// repeated.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The services that give the credentials of a cloud machine, and how long they may take to answer.
const METADATA_HOSTS: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// What may be wrong when a bucket cannot be listed.
const ADVICE: &str = "check the name of the bucket, its region, the credentials and --endpoint-url \
    (--guide=options, \"Buckets\")";
/// How often to check whether to stop while a bucket is listed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Chunks that wait for the reader. Their bytes are limited, too.
const MAX_CHUNKS: usize = 64;

/// What both kinds of listing and reading need of a provider.
trait Store: ObjectStore + PaginatedListStore {}
impl<S: ObjectStore + PaginatedListStore> Store for S {}

/// The buckets of a run. Its thread does all input and output.
pub struct Buckets {
    options: BucketOptions,
    runtime: Option<Arc<BucketThread>>,
    open: HashMap<(Provider, String), Bucket>,
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bucket {
    store: Arc<dyn Store>,
    thread: Arc<BucketThread>,
}

/// The thread that does all input and output.
pub(super) struct BucketThread(AsyncThread);

impl BucketThread {
    fn start() -> io::Result<Self> {
        AsyncThread::start("buckets").map(Self)
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.handle.spawn(task)
    }

    /// Waits for a request.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `Interrupted` if `should_stop` says so.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        should_stop: &dyn Fn() -> bool,
        request: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let task = self.spawn(async move {
            // Fails if it is not waited for any more.
            let _ = sender.send(request.await);
        });
        loop {
            match receiver.recv_timeout(POLL_INTERVAL) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) if !should_stop() => {}
                Err(RecvTimeoutError::Timeout) => {
                    task.abort();
                    return Err(ErrorKind::Interrupted.into());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the request ended without an answer"));
                }
            }
        }
    }
}

/// HTTP over our own TLS. Redirects are not followed, since they would not be signed.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Http::new().map(HttpClient::new)
    }
}

/// Sends requests, and does not wait for the metadata services of cloud machines, which other
/// machines do not have.
#[derive(Debug)]
pub(super) struct Http(Client);

impl Http {
    pub(super) fn new() -> object_store::Result<Self> {
        let unusable = |source: Box<dyn StdError + Send + Sync>| StoreError::Generic {
            store: "TLS",
            source,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_platform_verifier())
            .map_err(|error| unusable(error.into()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(config.with_no_client_auth())
            .user_agent(concat!("import-logs/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        client.map(Self).map_err(|error| unusable(error.into()))
    }
}

impl HttpService for Http {
    // As the macro async_trait would write it.
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default();
            if !METADATA_HOSTS.contains(&host) {
                return self.0.call(request).await;
            }
            let missing = || {
                let text =
                    "no credentials were found, and this machine has no role of its provider";
                HttpError::new(HttpErrorKind::Unknown, io::Error::other(text))
            };
            match timeout(METADATA_TIMEOUT, self.0.call(request)).await {
                Ok(Ok(response)) if response.status().is_success() => Ok(response),
                Ok(_) | Err(_) => Err(missing()),
            }
        })
    }
}

impl Buckets {
    pub fn new(options: BucketOptions) -> Self {
        Self {
            options,
            runtime: None,
            open: HashMap::new(),
        }
    }

    /// The objects with keys that begin with the prefix, or match it if it is a pattern, in the
    /// order of their keys. Objects without content are left out. Returns early without an error if
    /// `should_stop` says so.
    ///
    /// # Errors
    ///
    /// Returns an error if the bucket cannot be listed.
    pub fn list(&mut self, url: &BucketUrl, should_stop: &dyn Fn() -> bool) -> Result<Vec<Object>> {
        let failed = |why: String| Error::stopped(format!("{url}: cannot be listed: {why}"));
        let bucket = self.bucket(url).map_err(failed)?;
        let pattern = KeyPattern::of(&url.prefix);
        let prefix = pattern
            .as_ref()
            .map_or(&*url.prefix, |pattern| pattern.literal);
        let listed = bucket.list(prefix, should_stop);
        let mut listed = listed.map_err(failed)?;
        // The crate leaves out a blob whose whole name is the prefix.
        if url.provider == Provider::Azure && !prefix.is_empty() && !prefix.ends_with('/') {
            let exact = bucket.head(prefix, None, should_stop);
            let exact = exact.map_err(|error| failed(error.to_string()))?;
            listed.extend(exact.map(|meta| (prefix.to_owned(), meta)));
        }
        listed.retain(|(key, meta)| {
            meta.size > 0 && pattern.as_ref().is_none_or(|pattern| pattern.matches(key))
        });
        listed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let objects = listed
            .into_iter()
            .map(|(key, meta)| Object::new(bucket.clone(), url, &key, meta));
        Ok(objects.collect())
    }

    /// Opens a queue of notifications about objects.
    ///
    /// # Errors
    ///
    /// Returns an error if the credentials cannot be read.
    pub fn queue(&mut self, options: QueueOptions) -> Result<ObjectQueue> {
        let thread = self.thread();
        let thread = thread.map_err(|error| Error::stopped(error.to_string()))?;
        ObjectQueue::open(options, thread)
    }

    /// The object that a notification of S3 is about. `None` if it is no longer there, and if
    /// `should_stop` says so.
    ///
    /// # Errors
    ///
    /// Returns an error if the bucket cannot be asked.
    pub fn created(
        &mut self,
        created: &CreatedObject,
        should_stop: &dyn Fn() -> bool,
    ) -> io::Result<Option<Object>> {
        let is_readable = Path::parse(&created.key).is_ok_and(|key| key.as_ref() == created.key);
        if !is_readable {
            return Err(io::Error::other(
                "its key has an empty part (//), a part `..`, a control character, or a slash at one \
                 end, which this program cannot read",
            ));
        }
        let url = BucketUrl::s3(&created.bucket);
        let bucket = self.bucket(&url).map_err(io::Error::other)?;
        let meta = bucket.head(&created.key, created.version.clone(), should_stop)?;
        Ok(meta.map(|meta| Object::new(bucket, &url, &created.key, meta)))
    }

    fn thread(&mut self) -> io::Result<Arc<BucketThread>> {
        Ok(match &self.runtime {
            Some(thread) => Arc::clone(thread),
            None => Arc::clone(self.runtime.insert(Arc::new(BucketThread::start()?))),
        })
    }

    fn bucket(&mut self, url: &BucketUrl) -> std::result::Result<Bucket, String> {
        let key = (url.provider, url.bucket.clone());
        if let Some(bucket) = self.open.get(&key) {
            return Ok(bucket.clone());
        }
        if url.bucket.is_empty() {
            return Err("the name of the bucket is missing: s3://BUCKET/PREFIX".to_owned());
        }
        // The crate panics if it cannot make an address of the name. Azure has a container `$logs`.
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._$".contains(&byte);
        if !url.bucket.bytes().all(is_allowed) {
            return Err(format!("no bucket can have the name {:?}", url.bucket));
        }
        let thread = self.thread().map_err(|error| error.to_string())?;
        let store = connect(url, self.options.endpoint_url.as_deref())?;
        let bucket = Bucket { store, thread };
        self.open.insert(key, bucket.clone());
        Ok(bucket)
    }
}

/// Makes the store of a bucket, with credentials where the provider's own tools look for them.
fn connect(url: &BucketUrl, endpoint: Option<&str>) -> std::result::Result<Arc<dyn Store>, String> {
    let is_plain = |endpoint: &str| endpoint.starts_with("http://");
    let failed = |error| reason(&error);
    Ok(match url.provider {
        Provider::S3 => {
            let mut builder = profile::apply(AmazonS3Builder::from_env())?
                .with_bucket_name(&url.bucket)
                .with_http_connector(Connector);
            if let Some(endpoint) = endpoint {
                builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
            }
            let endpoints = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
            let mut endpoints = endpoints
                .iter()
                .filter_map(|key| builder.get_config_value(key));
            if endpoints.next().is_some_and(|endpoint| is_plain(&endpoint)) {
                builder = builder.with_allow_http(true);
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        Provider::Google => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(&url.bucket)
                .with_http_connector(Connector);
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(endpoint);
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        Provider::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(&url.bucket)
                .with_http_connector(Connector);
            if let Some(endpoint) = endpoint {
                builder = builder
                    .with_endpoint(endpoint.to_owned())
                    .with_allow_http(is_plain(endpoint));
            }
            Arc::new(builder.build().map_err(failed)?)
        }
    })
}

impl Bucket {
    /// The keys that begin with a prefix.
    fn list(
        &self,
        prefix: &str,
        should_stop: &dyn Fn() -> bool,
    ) -> std::result::Result<Vec<(String, ObjectMeta)>, String> {
        let (store, prefix) = (Arc::clone(&self.store), prefix.to_owned());
        let listed = self.thread.wait(should_stop, async move {
            let prefix = Some(&*prefix).filter(|prefix| !prefix.is_empty());
            let mut listed = Vec::new();
            let mut token = None;
            loop {
                let options = PaginatedListOptions {
                    page_token: token,
                    ..PaginatedListOptions::default()
                };
                let page = store.list_paginated(prefix, options).await?;
                let metas = page.result.objects.into_iter();
                listed.extend(metas.map(|meta| (meta.location.to_string(), meta_of(meta))));
                token = page.page_token;
                if token.is_none() {
                    return object_store::Result::Ok(listed);
                }
            }
        });
        match listed {
            Ok(listed) => listed.map_err(|error| match error {
                StoreError::InvalidPath { .. } | StoreError::Generic { .. }
                    if is_about_key(&error) =>
                {
                    "a key has an empty part (//), a part `..` or a control character, which this \
                     program cannot read: name prefixes without such keys"
                        .to_owned()
                }
                error => format!("{}; {ADVICE}", reason(&error)),
            }),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub fn download(&self, key: &str, meta: &ObjectMeta, start: u64) -> Download {
        let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
        let room = Arc::new(Semaphore::new(BUFFERED_BYTES));
        let (store, key, etag) = (Arc::clone(&self.store), key.to_owned(), meta.if_match());
        let version = meta.version.clone();
        let range = (start > 0).then_some(GetRange::Offset(start));
        self.thread.spawn(async move {
            let failed = async {
                let key = Path::parse(&key)?;
                let options = GetOptions {
                    if_match: etag,
                    range,
                    version,
                    ..GetOptions::default()
                };
                let mut stream = store.get_opts(&key, options).await?.into_stream();
                while let Some(bytes) = stream.next().await {
                    let bytes = bytes?;
                    let permits = bytes.len().min(BUFFERED_BYTES) as u32;
                    // It is never closed.
                    let Ok(room) = Arc::clone(&room).acquire_many_owned(permits).await else {
                        break;
                    };
                    let chunk = DownloadedBytes { bytes, _room: room };
                    if sender.send(Ok(chunk)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = failed.await {
                // Fails if the reader is gone.
                let _ = sender.send(Err(io_error(&error))).await;
            }
        });
        Download(receiver)
    }

    pub fn has(
        &self,
        key: &str,
        meta: &ObjectMeta,
        should_stop: &dyn Fn() -> bool,
    ) -> io::Result<bool> {
        let now = self.head(key, meta.version.clone(), should_stop)?;
        if now.is_none() && should_stop() {
            return Err(io::Error::other("interrupted"));
        }
        Ok(now.is_some_and(|now| now.etag == meta.etag))
    }

    /// What the bucket says about an object. `None` if it has no such object, and if `should_stop`
    /// says so.
    fn head(
        &self,
        key: &str,
        version: Option<String>,
        should_stop: &dyn Fn() -> bool,
    ) -> io::Result<Option<ObjectMeta>> {
        let (store, key) = (Arc::clone(&self.store), key.to_owned());
        let options = GetOptions {
            head: true,
            version: version.clone(),
            ..GetOptions::default()
        };
        let head = self.thread.wait(should_stop, async move {
            store.get_opts(&Path::parse(&key)?, options).await
        });
        match head {
            Ok(Ok(head)) => Ok(Some(ObjectMeta {
                version,
                ..meta_of(head.meta)
            })),
            Ok(Err(StoreError::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(io_error(&error)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ObjectMeta {
    /// The ETag with which to ask for exactly this content, if it is one.
    fn if_match(&self) -> Option<String> {
        // A weak one matches nothing.
        let is_usable = !self.etag.starts_with("W/") && !self.etag.starts_with(NO_ETAG);
        is_usable.then(|| format!("\"{}\"", self.etag))
    }
}

/// Begins what takes the place of an ETag.
const NO_ETAG: &str = "modified ";

fn meta_of(meta: object_store::ObjectMeta) -> ObjectMeta {
    let modified = meta.last_modified;
    ObjectMeta {
        // Some servers leave the quotation marks out when they list objects.
        etag: match meta.e_tag {
            Some(etag) => etag.trim_matches('"').to_owned(),
            None => format!("{NO_ETAG}{}", modified.to_rfc3339()),
        },
        size: meta.size,
        modified: (modified.timestamp(), modified.timestamp_subsec_nanos()),
        version: None,
    }
}

fn io_error(error: &StoreError) -> io::Error {
    let reason = reason(error);
    // In the middle of a download, it is an error like others.
    let is_replaced = reason.starts_with("412 Precondition Failed");
    let (kind, text) = match error {
        StoreError::NotFound { .. } => (
            ErrorKind::NotFound,
            "it is no longer in the bucket".to_owned(),
        ),
        _ if is_replaced || matches!(error, StoreError::Precondition { .. }) => (
            ErrorKind::NotFound,
            "it was replaced since it was listed; the new object is read next time".to_owned(),
        ),
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => (
            ErrorKind::PermissionDenied,
            format!("{reason}; check that the credentials may read it"),
        ),
        _ => (ErrorKind::Other, reason),
    };
    io::Error::new(kind, text)
}

/// Whether a key cannot be read that a bucket has.
fn is_about_key(error: &StoreError) -> bool {
    let mut sources = iter::successors(Some(error as &dyn StdError), |error| (*error).source());
    sources.any(|error| error.is::<object_store::path::Error>())
}

/// What is wrong.
pub(super) fn reason(error: &StoreError) -> String {
    let text = match error.source() {
        Some(source) => chain(source),
        None => error.to_string(),
    };
    match &*plain_reason(&text) {
        "Account must be specified" => "set AZURE_STORAGE_ACCOUNT_NAME".to_owned(),
        reason => reason.to_owned(),
    }
}

/// An error with those that caused it.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text += ": ";
            text += &inner;
        }
        source = error.source();
    }
    text
}

/// Leaves out what the crate says about its own work, and the XML around the message of a server.
fn plain_reason(text: &str) -> String {
    let said = text.rsplit(" - ").next().unwrap_or(text);
    let said = said
        .strip_prefix("Server returned non-2xx status code: ")
        .unwrap_or(said);
    let status = said.split(": <").next().unwrap_or(said);
    let element = |name: &str| {
        let (_, rest) = said.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(text, _)| text.trim())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("{status}: {message} ({code})"),
        (Some(code), None) => format!("{status} ({code})"),
        _ => said.to_owned(),
    }
}

/// A pattern for whole keys. As in a file name, `*` stops at `/`.
struct KeyPattern<'p> {
    /// What all keys that match begin with.
    literal: &'p str,
    parts: Vec<Pattern>,
}

impl<'p> KeyPattern<'p> {
    /// Returns `None` if the prefix is not a pattern.
    fn of(prefix: &'p str) -> Option<Self> {
        let (literal, _) = prefix.split_at(prefix.find(['*', '?', '['])?);
        let parts = prefix.split('/').map(|part| Pattern::new(part.as_bytes()));
        Some(Self {
            literal,
            parts: parts.collect(),
        })
    }

    fn matches(&self, key: &str) -> bool {
        let mut parts = key.split('/');
        self.parts.iter().all(|pattern| {
            parts
                .next()
                .is_some_and(|part| pattern.matches(part.as_bytes()))
        }) && parts.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_said_is_the_reason() {
        let text = "Error performing GET http://h/none?list-type=2 in 49ms, after 10 retries, \
                    max_retries: 10, retry_timeout: 180s  - Server returned non-2xx status code: \
                    404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code>\
                    <Message>There is none</Message></Error>";
        assert_eq!(
            plain_reason(text),
            "404 Not Found: There is none (NoSuchBucket)"
        );
        let text = "Error performing GET http://h/ in 2s - HTTP error: connection refused";
        assert_eq!(plain_reason(text), "HTTP error: connection refused");
        assert_eq!(
            plain_reason("Account must be specified"),
            "Account must be specified"
        );
    }

    #[test]
    fn a_pattern_matches_whole_keys() {
        let pattern = KeyPattern::of("logs/2024-*/E?.gz").unwrap();
        assert_eq!(pattern.literal, "logs/2024-");
        assert!(pattern.matches("logs/2024-05/E1.gz"));
        for key in [
            "logs/2024-05/E1.gz.old",
            "logs/2024-05/a/E1.gz",
            "logs/2024-05",
        ] {
            assert!(!pattern.matches(key), "{key}");
        }
        assert!(KeyPattern::of("logs/2024-").is_none());
    }
}
