//! In place of `store`, for a program that is built without the feature `object-storage`.

use std::convert::Infallible;
use std::io;

use super::reader::Download;
use super::{
    BucketOptions, BucketUrl, CreatedObject, Object, ObjectMeta, ObjectQueue, QueueOptions,
};
use crate::error::{Error, Result};

/// Has no bucket.
#[derive(Default)]
pub struct Buckets;

impl Buckets {
    pub fn new(_: BucketOptions) -> Self {
        Self
    }

    /// # Errors
    ///
    /// Always returns an error.
    pub fn list(&mut self, url: &BucketUrl, _: &dyn Fn() -> bool) -> Result<Vec<Object>> {
        Err(missing(&url.to_string()))
    }

    /// # Errors
    ///
    /// Always returns an error.
    pub fn queue(&mut self, options: QueueOptions) -> Result<ObjectQueue> {
        Err(missing(&format!("--sqs-queue={}", options.url)))
    }

    /// Never returns an object.
    pub fn created(
        &mut self,
        _: &CreatedObject,
        _: &dyn Fn() -> bool,
    ) -> io::Result<Option<Object>> {
        Ok(None)
    }
}

fn missing(what: &str) -> Error {
    Error::stopped(format!(
        "{what}: this import-logs was built without object storage; build it with the feature \
         object-storage"
    ))
}

pub(super) struct Bucket(Infallible);

impl Bucket {
    pub fn download(&self, _: &str, _: &ObjectMeta, _: u64) -> Download {
        match self.0 {}
    }

    pub fn has(&self, _: &str, _: &ObjectMeta, _: &dyn Fn() -> bool) -> io::Result<bool> {
        match self.0 {}
    }
}
