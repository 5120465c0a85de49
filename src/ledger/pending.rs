//! Batches that were about to be sent and are not known to be done.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::id::{BatchId, LogId};
use super::marks::Marks;
use super::ranges::{Lines, Ranges};
use super::state::State;

/// A batch that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// For which target.
    pub target: Checksum,
    /// Milliseconds since 1970 (UTC).
    pub sent_at: u64,
    /// How many hits were in it.
    pub hits: u64,
    pub lines: Lines,
    /// Its requests that Matomo has, where that is known though its lines are not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<Marks>,
}

/// A batch of an earlier run whose lines are not done: an intent without a done. As a rule nobody knows whether Matomo
/// has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBatch {
    pub id: BatchId,
    /// When it was about to be sent: milliseconds since 1970 (UTC), by a clock that may have been set since.
    pub sent_at: u64,
    /// How many hits were in it.
    pub hits: u64,
    /// Its lines: the log, where that was last seen, and where the lines stand in it.
    pub lines: Vec<(LogId, PathBuf, Ranges)>,
    /// It was answered, and these are its requests that Matomo has: there is no doubt about it, but its lines need
    /// other requests too.
    pub there: Option<Marks>,
}

impl State {
    /// The batches in doubt for a target.
    pub fn in_doubt(&self, target: Checksum) -> Vec<PendingBatch> {
        let ours = self
            .pending
            .iter()
            .filter(|(_, intent)| intent.target == target);
        ours.map(|(id, intent)| PendingBatch {
            id: *id,
            sent_at: intent.sent_at,
            hits: intent.hits,
            there: intent.there.clone(),
            lines: (intent.lines.iter())
                .filter_map(|(log, ranges)| {
                    let known = self.logs.get(log)?;
                    Some((*log, known.identity.path.0.clone(), ranges.clone()))
                })
                .collect(),
        })
        .collect()
    }
}
