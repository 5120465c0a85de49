//! In place of `queue`, for a program that is built without the feature `object-storage`.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use super::{Lease, QueueMessage};

/// Cannot exist.
pub struct ObjectQueue(Infallible);

impl ObjectQueue {
    pub fn lease(&self) -> &Lease {
        match self.0 {}
    }

    pub fn receive(&self, _: Duration, _: &dyn Fn() -> bool) -> io::Result<Vec<QueueMessage>> {
        match self.0 {}
    }

    pub fn delete(&self, _: &QueueMessage) -> io::Result<()> {
        match self.0 {}
    }

    pub fn give_back(&self, _: &QueueMessage, _: Duration) -> bool {
        match self.0 {}
    }

    pub fn count(&self) -> io::Result<u64> {
        match self.0 {}
    }
}
