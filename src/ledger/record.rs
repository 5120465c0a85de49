//! Records: what the journal is made of, one to a line.
//!
//! A line is the checksum of the rest, a blank, and the record as JSON. A line that was torn by a crash or damaged on
//! the disk does not fit its checksum; those after it still do.

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::id::{BatchId, LogId};
use super::identity::{Head, Identity, Tail};
use super::marks::Marks;
use super::pending::Intent;
use super::ranges::Lines;
use super::salt::Salt;

/// Something that happened. Each is true by itself, whichever others were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// The first of every journal: of which ledger, and of which version.
    Journal { version: u64, salt: Salt },
    /// A log was recognised, or is new.
    Seen { log: LogId, identity: Identity },
    /// A log was read so far. Comes before any line of it that stands there. The head comes along when there was more
    /// of it to see than before.
    Read {
        log: LogId,
        tail: Tail,
        head: Option<Head>,
    },
    /// Lines that nothing is to be sent of.
    Passed { lines: Lines },
    /// A batch is about to be sent.
    Intent { batch: BatchId, intent: Intent },
    /// A batch was acknowledged.
    Done { batch: BatchId },
    /// Of a batch whose lines need other batches too, Matomo has the requests with these marks, and nothing else.
    There { batch: BatchId, marks: Marks },
    /// A batch is closed: these of its lines Matomo has, the others it has not.
    Settled { batch: BatchId, found: Lines },
}

impl Record {
    /// Appends the record's line.
    pub fn write(&self, to: &mut Vec<u8>) -> serde_json::Result<()> {
        let json = serde_json::to_vec(self)?;
        to.extend_from_slice(Checksum::of(&json).to_string().as_bytes());
        to.push(b' ');
        to.extend_from_slice(&json);
        to.push(b'\n');
        Ok(())
    }

    /// Reads a line (without its end); `None` where it was torn or damaged.
    fn read(line: &[u8]) -> Option<Self> {
        let (checksum, rest) = line.split_at_checked(Checksum::DIGITS)?;
        let json = rest.strip_prefix(b" ")?;
        if Checksum::parse(checksum)? != Checksum::of(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Records {
    pub records: Vec<Record>,
    /// How many lines could not be read. One at the end that has no line end was torn by a crash while it was being
    /// written (a power cut may leave zeros there), so nothing was done upon it, and it is not counted.
    pub damaged: usize,
}

impl Records {
    pub fn read(bytes: &[u8]) -> Self {
        let mut all = Self::default();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A line without its end may be whole by its checksum; it then was written whole.
            match Record::read(line.strip_suffix(b"\n").unwrap_or(line)) {
                Some(record) => all.records.push(record),
                None => all.damaged += usize::from(line.ends_with(b"\n")),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ranges::Ranges;

    fn journal() -> (Vec<u8>, Vec<Record>) {
        let salt = Salt([3; 16]);
        let mut state = crate::ledger::state::State::new(salt);
        let mut ranges = Ranges::default();
        ranges.insert(5..9, 1);
        let mut records = vec![Record::Journal { version: 1, salt }];
        for _ in 0..3 {
            let batch = state.next_batch();
            let found = Lines::from([(state.next_log(), ranges.clone())]);
            records.push(Record::Settled { batch, found });
            state.apply(Record::Done { batch });
        }
        let mut bytes = Vec::new();
        for record in &records {
            record.write(&mut bytes).unwrap();
        }
        (bytes, records)
    }

    #[test]
    fn a_journal_reads_back() {
        let (bytes, records) = journal();
        let read = Records::read(&bytes);
        assert_eq!((read.records, read.damaged), (records, 0));
    }

    #[test]
    fn cut_anywhere_it_gives_the_whole_records_before_and_calls_nothing_damaged() {
        let (bytes, records) = journal();
        for cut in 0..bytes.len() {
            let read = Records::read(&bytes[..cut]);
            assert_eq!(read.damaged, 0, "cut at {cut}");
            let ends = bytes[..=cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(read.records, records[..ends], "cut at {cut}");
        }
    }

    #[test]
    fn a_byte_changed_anywhere_loses_no_more_than_the_records_it_touches() {
        let (bytes, records) = journal();
        for at in 0..bytes.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                let read = Records::read(&changed);
                assert!(read.records.iter().all(|record| records.contains(record)));
                assert!(read.records.len() >= records.len() - 2, "at {at}");
                let in_the_midst = at < bytes.len() - 200;
                assert!(!in_the_midst || read.damaged > 0 || read.records == records);
            }
        }
    }

    #[test]
    fn whole_lines_that_cannot_be_read_are_damaged_at_the_end_too() {
        let (mut bytes, records) = journal();
        bytes.extend(b"no record\nnor this\nnor what has no end");
        let read = Records::read(&bytes);
        assert_eq!((read.records, read.damaged), (records, 2));
    }

    #[test]
    fn zeros_that_a_power_cut_left_at_the_end_are_ignored() {
        let (mut bytes, records) = journal();
        bytes.extend([0; 4096]);
        let read = Records::read(&bytes);
        assert_eq!((read.records, read.damaged), (records, 0));
    }
}
