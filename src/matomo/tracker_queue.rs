//! What can be concluded of Matomo's own queue, that of its plugin QueuedTracking, from the hits
//! that Matomo shows. Seen with version 5.1 of the plugin.
//!
//! The queue is divided among workers, and the visitor of a hit decides which worker gets it. One
//! request becomes at most one set of hits for each worker. A worker takes its sets in their order
//! and stores a set as a whole. So if Matomo shows a hit, it has taken the set of the hit and all
//! earlier sets of that worker out of the queue: what is missing of these does not come any more.

use std::collections::HashSet;
use std::time::Duration;

use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Deserialize;
use serde_json::Value;

use super::visit_log::Presence;
use crate::hit::hash_of_visitor;

/// The worker of a hit follows from one hexadecimal digit of its visitor.
const DIGITS: usize = 16;
const DIGIT_POSITION: usize = 2;

/// Hits without a visitor: Matomo takes the sender's address, which is the same for all.
const NO_VISITOR: usize = DIGITS;

/// If no hit of a set is stored, so many visitors are not all left out on purpose.
const MANY_VISITORS: usize = 3;

/// Visitors that are remembered.
const MAX_VISITORS: usize = 100_000;

/// A hit as the queue sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedHit {
    /// Hits of one class are for the same worker.
    class: usize,
    /// A hash of the visitor and the user agent.
    visitor: u64,
}

impl QueuedHit {
    /// Reads a tracking request, a JSON object.
    pub fn parse(json: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        struct Visitor {
            uid: Option<Value>,
            cid: Option<Value>,
            cip: Option<Value>,
            ua: Option<Value>,
        }
        let Visitor { uid, cid, cip, ua } = serde_json::from_slice(json).unwrap_or_default();
        let text = |value: Option<Value>| match value? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let (uid, cid, cip) = (text(uid), text(cid), text(cip));
        let class = match (&uid, &cid, &cip) {
            (Some(uid), ..) => {
                third_digit(digest(&SHA1_FOR_LEGACY_USE_ONLY, uid.as_bytes()).as_ref())
            }
            (None, Some(cid), _) => {
                let digit = cid.chars().nth(DIGIT_POSITION);
                digit.and_then(|digit| digit.to_digit(16)).unwrap_or(0) as usize
            }
            (None, None, Some(cip)) => third_digit(&Md5::digest(cip.as_bytes())),
            (None, None, None) => NO_VISITOR,
        };
        let visitor = uid.or(cid).or(cip).unwrap_or_default();
        let agent = text(ua).unwrap_or_default();
        Self {
            class,
            visitor: hash_of_visitor(format!("{visitor} {agent}").as_bytes()),
        }
    }
}

/// The third hexadecimal digit of a hash.
fn third_digit(hash: &[u8]) -> usize {
    usize::from(hash[DIGIT_POSITION / 2] >> 4)
}

/// How far the workers are.
#[derive(Clone, Debug)]
pub struct QueueProgress {
    /// The number of workers. If it is not known, each digit may have one of its own.
    workers: usize,
    /// For each class, when the latest request was sent that a stored hit came with, in
    /// milliseconds.
    stored: [Option<i64>; DIGITS + 1],
    /// Visitors with a stored hit.
    visitors: HashSet<u64>,
    /// How long a request may take, in milliseconds.
    timeout: i64,
}

/// What is known of a batch in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuedBatch {
    /// Hits may still come.
    Waiting,
    /// All of it was taken out of the queue. Says what became of each hit.
    Over(Vec<QueuedOutcome>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuedOutcome {
    Stored,
    /// Matomo may have it and not show it, in a long visit.
    Hidden,
    /// On purpose: Matomo excludes its visitor.
    LeftOut,
    /// It came out of the queue, or never was there, and was lost.
    Missing,
}

impl QueueProgress {
    pub fn new(workers: Option<usize>, timeout: Duration) -> Self {
        Self {
            workers: workers.map_or(DIGITS, |workers| workers.clamp(1, DIGITS)),
            stored: [None; DIGITS + 1],
            visitors: HashSet::new(),
            timeout: timeout.as_millis() as i64,
        }
    }

    /// Notes what Matomo shows of a batch. `time` is when that was sent, in milliseconds by any
    /// clock that is the same for all batches.
    pub fn note(&mut self, hits: &[(QueuedHit, Presence)], time: i64) {
        for (hit, presence) in hits {
            if *presence == Presence::Present {
                let stored = &mut self.stored[self.worker(hit)];
                *stored = Some(stored.map_or(time, |before| before.max(time)));
            }
        }
    }

    /// Remembers the visitors of stored hits.
    pub fn note_visitors<'h>(&mut self, hits: impl Iterator<Item = &'h (QueuedHit, Presence)>) {
        let stored = hits.filter(|(_, presence)| *presence == Presence::Present);
        let free = MAX_VISITORS.saturating_sub(self.visitors.len());
        self.visitors
            .extend(stored.map(|(hit, _)| hit.visitor).take(free));
    }

    /// Whether a worker has stored a hit that was certainly sent after this time.
    pub fn is_past(&self, time: i64) -> bool {
        (0..=DIGITS).any(|worker| self.worker_is_past(worker, time))
    }

    /// Requests may have been under way at the same time, and then their order is not known.
    fn worker_is_past(&self, worker: usize, time: i64) -> bool {
        let stored = self.stored[worker];
        stored.is_some_and(|stored| stored >= time.saturating_add(self.timeout))
    }

    /// Judges a batch that was sent at this time, by what Matomo shows of it. What was noted with
    /// [`QueueProgress::note`] must have been shown before the batch was looked up.
    pub fn judge(&self, hits: &[(QueuedHit, Presence)], time: i64) -> QueuedBatch {
        let mut shown = [false; DIGITS + 1];
        let mut absent: [HashSet<u64>; DIGITS + 1] = Default::default();
        for (hit, presence) in hits {
            let worker = self.worker(hit);
            match presence {
                Presence::Present => shown[worker] = true,
                Presence::Missing | Presence::Unknown => drop(absent[worker].insert(hit.visitor)),
            }
        }
        let is_over = |worker: usize| {
            absent[worker].is_empty() || shown[worker] || self.worker_is_past(worker, time)
        };
        if hits.is_empty() || !(0..=DIGITS).all(is_over) {
            return QueuedBatch::Waiting;
        }
        let outcomes = hits.iter().map(|(hit, presence)| {
            let worker = self.worker(hit);
            match presence {
                Presence::Present => QueuedOutcome::Stored,
                Presence::Unknown => QueuedOutcome::Hidden,
                // Another hit of this visitor is not left out.
                Presence::Missing if self.visitors.contains(&hit.visitor) => QueuedOutcome::Missing,
                Presence::Missing if shown[worker] || absent[worker].len() < MANY_VISITORS => {
                    QueuedOutcome::LeftOut
                }
                Presence::Missing => QueuedOutcome::Missing,
            }
        });
        QueuedBatch::Over(outcomes.collect())
    }

    fn worker(&self, hit: &QueuedHit) -> usize {
        match hit.class {
            NO_VISITOR if self.workers == 1 => 0,
            NO_VISITOR => NO_VISITOR,
            digit => digit % self.workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(json: &str) -> usize {
        QueuedHit::parse(json.as_bytes()).class
    }

    /// Seen with 16 workers.
    #[test]
    fn the_visitor_decides_about_the_worker() {
        for (index, worker) in [15, 8, 13, 13, 6, 6, 7, 14].into_iter().enumerate() {
            let address = format!("198.51.{index}.{}", index * 3 % 250 + 1);
            let json = format!(r#"{{"cip":"{address}","ua":"x"}}"#);
            assert_eq!(class(&json), worker, "{address}");
        }
        for (index, worker) in [9, 9, 4, 1].into_iter().enumerate() {
            assert_eq!(
                class(&format!(r#"{{"cip":"2001:db8::{index:x}:1"}}"#)),
                worker
            );
        }
        for (index, worker) in [9, 0, 11, 0, 15].into_iter().enumerate() {
            let json = format!(r#"{{"cip":"198.51.100.7","uid":"user-{index}@x","cid":"00f0"}}"#);
            assert_eq!(class(&json), worker, "{json}");
        }
        let with_id = r#"{"cip":"198.51.100.7","cid":"0123456789abcdef"}"#;
        assert_eq!(class(with_id), 2);
        assert_eq!(class(r#"{"ua":"x"}"#), NO_VISITOR);
        assert_eq!(class("no JSON"), NO_VISITOR);
    }

    fn hits(classes: &[(usize, Presence)]) -> Vec<(QueuedHit, Presence)> {
        let numbered = classes.iter().enumerate();
        let hits = numbered.map(|(number, (class, presence))| {
            let hit = QueuedHit {
                class: *class,
                visitor: number as u64,
            };
            (hit, *presence)
        });
        hits.collect()
    }

    fn progress(workers: Option<usize>) -> QueueProgress {
        QueueProgress::new(workers, Duration::from_millis(10))
    }

    #[test]
    fn a_batch_waits_for_each_worker() {
        use Presence::{Missing, Present};
        use QueuedOutcome::{LeftOut, Stored};
        let batch = hits(&[(3, Present), (3, Missing), (7, Missing)]);
        let mut unknown = progress(None);
        assert_eq!(unknown.judge(&batch, 0), QueuedBatch::Waiting);
        // Both are for the same worker.
        let four = progress(Some(4));
        let over = QueuedBatch::Over(vec![Stored, LeftOut, LeftOut]);
        assert_eq!(four.judge(&batch, 0), over);
        // A later request of that worker is stored.
        let later = hits(&[(7, Present)]);
        unknown.note(&later, 9);
        assert_eq!(unknown.judge(&batch, 0), QueuedBatch::Waiting);
        unknown.note(&later, 10);
        assert_eq!(unknown.judge(&batch, 0), over);
    }

    #[test]
    fn a_visitor_is_left_out_as_a_whole() {
        use Presence::{Missing, Present};
        let mut batch = hits(&[(3, Present), (3, Missing), (3, Missing)]);
        batch[2].0.visitor = batch[0].0.visitor;
        let mut progress = progress(None);
        progress.note_visitors(batch.iter());
        let QueuedBatch::Over(outcomes) = progress.judge(&batch, 0) else {
            panic!("one of them is stored");
        };
        assert_eq!(
            outcomes[1..],
            [QueuedOutcome::LeftOut, QueuedOutcome::Missing]
        );
    }

    #[test]
    fn hidden_hits_prove_nothing() {
        use Presence::{Missing, Present, Unknown};
        let mut progress = progress(None);
        let batch = hits(&[(1, Unknown), (1, Missing)]);
        assert_eq!(progress.judge(&batch, 0), QueuedBatch::Waiting);
        assert_eq!(progress.judge(&[], 0), QueuedBatch::Waiting);
        assert!(!progress.is_past(0));
        progress.note(&hits(&[(1, Present)]), 10);
        assert!(progress.is_past(0) && !progress.is_past(1));
        let over = QueuedBatch::Over(vec![QueuedOutcome::Hidden, QueuedOutcome::LeftOut]);
        assert_eq!(progress.judge(&batch, 0), over);
    }

    #[test]
    fn a_set_of_several_visitors_without_a_stored_hit_was_dropped() {
        use Presence::{Missing, Present};
        let batch = hits(&[(1, Missing), (1, Missing), (1, Missing), (2, Missing)]);
        let mut progress = progress(None);
        progress.note(&hits(&[(1, Present), (2, Present)]), 100);
        let QueuedBatch::Over(outcomes) = progress.judge(&batch, 0) else {
            panic!("it is past");
        };
        assert_eq!(outcomes[..3], [QueuedOutcome::Missing; 3]);
        assert_eq!(outcomes[3], QueuedOutcome::LeftOut);
    }
}
