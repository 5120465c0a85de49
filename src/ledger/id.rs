//! The numbers that logs and batches have in a ledger.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A log in this ledger. The number is never given to another one, so it may go into a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub(super) u64);

impl LogId {
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A batch in this ledger, never given twice either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub(super) u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
