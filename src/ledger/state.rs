//! What the ledger knows, in memory: the sum of all records. Running and reading the journal after a crash change it
//! by the same function, so what is read back is what was there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::id::{BatchId, LogId};
use super::identity::{Head, Identity, Tail};
use super::pending::Intent;
use super::ranges::{Lines, Ranges};
use super::record::Record;
use super::salt::Salt;

/// A log that nobody saw for so long (seconds) is forgotten.
const UNSEEN: u64 = 400 * 24 * 3600;
/// Of more logs than these, those that nobody saw for a month are forgotten; never one that is still in use, for all of
/// it would be sent again.
const MANY_LOGS: usize = 10_000;
const UNSEEN_OF_MANY: u64 = 30 * 24 * 3600;

/// One log and what is done of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    pub identity: Identity,
    pub tail: Option<Tail>,
    pub done: Ranges,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub salt: Salt,
    /// When the ledger was last opened: seconds since 1970 (UTC).
    pub opened: u64,
    next_log: u64,
    next_batch: u64,
    /// What the targets' checksums stand for; for people who look into the file.
    pub targets: BTreeMap<Checksum, String>,
    pub logs: BTreeMap<LogId, Log>,
    pub pending: BTreeMap<BatchId, Intent>,
}

impl State {
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            opened: 0,
            next_log: 1,
            next_batch: 1,
            targets: BTreeMap::new(),
            logs: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    pub fn next_log(&self) -> LogId {
        LogId(self.next_log)
    }

    pub fn next_batch(&self) -> BatchId {
        BatchId(self.next_batch)
    }

    /// Takes a record in. Each is true by itself: one that refers to what is not known (its record was damaged) claims
    /// nothing, and no number that was ever used is given again.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Journal { .. } => {}
            Record::Seen { log, identity } => {
                self.used_log(log);
                match self.logs.get_mut(&log) {
                    Some(known) => known.identity = identity,
                    None => {
                        let new = Log {
                            identity,
                            tail: None,
                            done: Ranges::default(),
                        };
                        self.logs.insert(log, new);
                    }
                }
            }
            Record::Read { log, tail, head } => {
                self.used_log(log);
                if let Some(known) = self.logs.get_mut(&log) {
                    if known.tail.is_none_or(|old| old.position < tail.position) {
                        known.tail = Some(tail);
                    }
                    let longer = |head: &Head| head.length > known.identity.head.length;
                    if let Some(head) = head.filter(longer) {
                        known.identity.head = head;
                    }
                }
            }
            Record::Passed { lines } => self.claim(&lines),
            Record::Intent { batch, mut intent } => {
                self.used_batch(batch);
                intent.lines.keys().for_each(|log| self.used_log(*log));
                intent.lines.retain(|log, _| self.logs.contains_key(log));
                if !intent.lines.is_empty() {
                    self.pending.insert(batch, intent);
                }
            }
            Record::Done { batch } => {
                self.used_batch(batch);
                if let Some(intent) = self.pending.remove(&batch) {
                    self.claim(&intent.lines);
                }
            }
            Record::There { batch, marks } => {
                self.used_batch(batch);
                if let Some(intent) = self.pending.get_mut(&batch) {
                    intent.there = Some(marks);
                }
            }
            Record::Settled { batch, found } => {
                self.used_batch(batch);
                self.pending.remove(&batch);
                self.claim(&found);
            }
        }
    }

    fn claim(&mut self, lines: &Lines) {
        for (log, ranges) in lines {
            self.used_log(*log);
            if let Some(known) = self.logs.get_mut(log) {
                known.done.extend(ranges);
            }
        }
    }

    fn used_log(&mut self, log: LogId) {
        self.next_log = self.next_log.max(log.0.saturating_add(1));
    }

    fn used_batch(&mut self, batch: BatchId) {
        self.next_batch = self.next_batch.max(batch.0.saturating_add(1));
    }

    /// Notes that the ledger is opened now, and forgets the logs that were not seen for a long time. One run with a
    /// wrong clock must not make it forget what is still in use: the run before must have found a log that old, too.
    pub fn open(&mut self, now: u64) {
        let credible = now.min(self.opened);
        self.opened = now;
        // What was left to be told of a line is told by now.
        let logs = &self.logs;
        let is_done = |(log, lines): (&LogId, &Ranges)| {
            logs.get(log).is_some_and(|known| known.done.holds(lines))
        };
        self.pending
            .retain(|_, intent| intent.there.is_none() || !intent.lines.iter().all(is_done));
        let needed = |state: &Self, log: &LogId| {
            let mut intents = state.pending.values();
            intents.any(|intent| intent.lines.contains_key(log))
        };
        let mut by_age: Vec<_> = (self.logs.iter())
            .map(|(id, log)| (log.identity.seen, *id))
            .collect();
        by_age.sort_unstable();
        let too_many = by_age.len().saturating_sub(MANY_LOGS);
        for (index, (seen, log)) in by_age.into_iter().enumerate() {
            let longest = match index < too_many {
                true => UNSEEN_OF_MANY,
                false => UNSEEN,
            };
            let old = credible.saturating_sub(seen) > longest;
            if old && !needed(self, &log) {
                self.logs.remove(&log);
            }
        }
    }
}

#[cfg(test)]
mod tests;
