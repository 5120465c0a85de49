//! Reading: the ends of a log that its identity is made of, held while it is read.

use super::id::LogId;
use super::identity::{Head, SAMPLE, Tail};
use super::record::Record;

/// The log being read: its first KiB where that was not complete when it was recognised, and its last one so far.
#[derive(Debug)]
pub struct Reading {
    pub log: LogId,
    /// The beginning, where there was less than a sample of it and it is known without a gap.
    head: Vec<u8>,
    head_grew: bool,
    /// The bytes before `position`, a sample at most.
    tail: Vec<u8>,
    position: u64,
    moved: bool,
}

impl Reading {
    pub fn new(log: LogId, beginning: Vec<u8>) -> Self {
        Self {
            log,
            head: beginning,
            head_grew: false,
            tail: Vec::new(),
            position: 0,
            moved: false,
        }
    }

    /// Takes in a block that begins at that position.
    pub fn push(&mut self, start: u64, block: &[u8]) {
        if self.head.len() < SAMPLE
            && let Some(known) = (self.head.len() as u64).checked_sub(start)
            && let Some(new) = block.get(known as usize..)
            && !new.is_empty()
        {
            let room = SAMPLE - self.head.len();
            self.head.extend_from_slice(&new[..new.len().min(room)]);
            self.head_grew = true;
        }
        if start != self.position {
            self.tail.clear();
        }
        let last = &block[block.len().saturating_sub(SAMPLE)..];
        let kept = self.tail.len().min(SAMPLE - last.len());
        self.tail.drain(..self.tail.len() - kept);
        self.tail.extend_from_slice(last);
        self.position = start.saturating_add(block.len() as u64);
        self.moved |= !block.is_empty();
    }

    /// What is to be noted since the last time.
    pub fn record(&mut self) -> Option<Record> {
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        let grew = std::mem::take(&mut self.head_grew);
        Some(Record::Read {
            log: self.log,
            tail: Tail::at(self.position, &self.tail),
            head: grew.then(|| Head::of(&self.head)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::salt::Salt;
    use crate::ledger::state::State;

    proptest! {
        #[test]
        fn in_blocks_of_any_size_the_ends_are_those_of_the_whole(
            log in prop::collection::vec(any::<u8>(), 1..5000),
            sizes in prop::collection::vec(1_usize..1500, 1..40),
            at_first in 0_usize..1100,
        ) {
            let id = State::new(Salt([0; 16])).next_log();
            let at_first = at_first.min(log.len()).min(SAMPLE);
            let mut reading = Reading::new(id, log[..at_first].to_vec());
            let mut start = 0;
            for size in sizes {
                let end = (start + size).min(log.len());
                reading.push(start as u64, &log[start..end]);
                start = end;
            }
            let head = (start > at_first && at_first < SAMPLE).then(|| Head::of(&log[..start]));
            let tail = Tail::at(start as u64, &log[..start]);
            prop_assert_eq!(reading.record(), Some(Record::Read { log: id, tail, head }));
            prop_assert_eq!(reading.record(), None);
        }
    }

    #[test]
    fn going_on_in_the_midst_leaves_the_head_alone() {
        let id = State::new(Salt([0; 16])).next_log();
        let mut reading = Reading::new(id, b"abc".to_vec());
        reading.push(100, b"xyz");
        let tail = Tail::at(103, b"xyz");
        let head = None;
        assert_eq!(
            reading.record(),
            Some(Record::Read {
                log: id,
                tail,
                head
            })
        );
    }
}
