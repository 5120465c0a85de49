//! Objects in buckets: Amazon S3 and what speaks its protocol, Google Cloud Storage, and Azure Blob
//! Storage (guide/options.md, "Buckets").
//!
//! [`Buckets::list`] turns a name such as `s3://BUCKET/PREFIX` into [`Object`]s. An
//! [`ObjectReader`] reads one as a stream, which a thread of this module downloads ahead of it. An
//! [`ObjectQueue`] has messages about new objects, and a [`Lease`] says how long a worker may rely
//! on those that it holds.

// Without it, there are no objects.
#![cfg_attr(not(feature = "object-storage"), allow(dead_code))]

mod lease;
mod message;
#[cfg(feature = "object-storage")]
mod profile;
#[cfg_attr(not(feature = "object-storage"), path = "without_queue.rs")]
mod queue;
mod reader;
#[cfg_attr(not(feature = "object-storage"), path = "without_store.rs")]
mod store;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::lease::Lease;
pub use self::message::{CreatedObject, QueueMessage, QueueOptions, created_objects};
pub use self::queue::ObjectQueue;
pub use self::reader::{ObjectReader, ShouldStop};
pub use self::store::Buckets;

use self::reader::Download;
use self::store::Bucket;
use crate::sync::Mutex;

/// A blob that was not changed for so many seconds is complete.
const MAX_GROWTH: i64 = 24 * 3600;

/// How buckets are reached.
#[derive(Clone, Debug, Default)]
pub struct BucketOptions {
    /// `--endpoint-url`: the server of the buckets, where it is not that of the provider.
    pub endpoint_url: Option<String>,
}

/// Which protocol a bucket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    S3,
    Google,
    Azure,
}

impl Provider {
    const ALL: [(&'static str, Self); 3] = [
        ("s3://", Self::S3),
        ("gs://", Self::Google),
        ("az://", Self::Azure),
    ];
}

/// The name of objects on the command line: `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    pub provider: Provider,
    /// `s3://BUCKET/`
    base: String,
    pub bucket: String,
    /// What the keys begin with, or a pattern for whole keys.
    pub prefix: String,
}

impl BucketUrl {
    /// Returns `None` if the name is not one of objects.
    pub fn parse(name: &str) -> Option<Self> {
        let (scheme, provider) = Provider::ALL
            .into_iter()
            .find(|(scheme, _)| name.starts_with(scheme))?;
        let rest = &name[scheme.len()..];
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self {
            provider,
            base: format!("{scheme}{bucket}/"),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl BucketUrl {
    /// All objects of a bucket of S3.
    #[cfg(feature = "object-storage")]
    fn s3(bucket: &str) -> Self {
        Self {
            provider: Provider::S3,
            base: format!("s3://{bucket}/"),
            bucket: bucket.to_owned(),
            prefix: String::new(),
        }
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base, self.prefix)
    }
}

/// An object as it was listed. Cheap to clone.
#[derive(Clone)]
pub struct Object(Arc<ListedObject>);

struct ListedObject {
    bucket: Bucket,
    provider: Provider,
    /// `s3://BUCKET/KEY`
    name: String,
    /// Where the key begins in the name.
    key: usize,
    meta: ObjectMeta,
    /// Its download from the beginning, if that was begun ahead of reading.
    prefetched: Mutex<Option<Download>>,
}

/// What the bucket says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Differs whenever the content does. Without quotation marks. A provider without one gets the
    /// time of the last modification in its place.
    pub etag: String,
    /// Bytes, compressed as they are.
    pub size: u64,
    /// The last modification: seconds since 1970 (UTC), and nanoseconds.
    pub modified: (i64, u32),
    /// In a bucket that keeps versions, if the object is not the newest.
    pub version: Option<String>,
}

impl Object {
    fn new(bucket: Bucket, url: &BucketUrl, key: &str, meta: ObjectMeta) -> Self {
        Self(Arc::new(ListedObject {
            bucket,
            provider: url.provider,
            name: format!("{}{key}", url.base),
            key: url.base.len(),
            meta,
            prefetched: Mutex::new(None),
        }))
    }

    /// `s3://BUCKET/KEY`
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn meta(&self) -> &ObjectMeta {
        &self.0.meta
    }

    /// Whether it may get more lines: Azure can append to a blob, and log services do so for an
    /// hour or a day.
    pub fn may_grow(&self) -> bool {
        let (modified, _) = self.0.meta.modified;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs() as i64);
        self.0.provider == Provider::Azure && now.saturating_sub(modified) < MAX_GROWTH
    }

    fn key(&self) -> &str {
        &self.0.name[self.0.key..]
    }

    /// Begins to download the object, for the reader that comes next.
    pub fn prefetch(&self) {
        let mut prefetched = self.0.prefetched.lock();
        if prefetched.is_none() {
            *prefetched = Some(self.download(0));
        }
    }

    /// Begins to download from a position, in compressed bytes.
    fn download(&self, start: u64) -> Download {
        self.0.bucket.download(self.key(), &self.0.meta, start)
    }

    /// The download from the beginning.
    fn take_download(&self) -> Download {
        let prefetched = self.0.prefetched.lock().take();
        prefetched.unwrap_or_else(|| self.download(0))
    }

    /// Whether the bucket still has this object, with this content.
    ///
    /// # Errors
    ///
    /// Returns an error if the bucket does not answer, and if `should_stop` says so.
    pub fn is_unchanged(&self, should_stop: &dyn Fn() -> bool) -> io::Result<bool> {
        self.0.bucket.has(self.key(), &self.0.meta, should_stop)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name && self.0.meta == other.0.meta
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("name", &self.0.name)
            .field("meta", &self.0.meta)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_have_the_scheme_of_a_provider() {
        let url = BucketUrl::parse("s3://logs/cdn/2024-").unwrap();
        assert_eq!(
            (url.provider, &*url.bucket, &*url.prefix),
            (Provider::S3, "logs", "cdn/2024-")
        );
        assert_eq!(url.to_string(), "s3://logs/cdn/2024-");
        let url = BucketUrl::parse("gs://logs").unwrap();
        assert_eq!((url.provider, &*url.prefix), (Provider::Google, ""));
        let url = BucketUrl::parse("az://logs/").unwrap();
        assert_eq!((url.provider, &*url.prefix), (Provider::Azure, ""));
        for name in ["/s3://logs", "s3:/logs", "S3://logs", "http://logs/a", "-"] {
            assert_eq!(BucketUrl::parse(name), None);
        }
    }
}
