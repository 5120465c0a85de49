//! The inside of the ledger, behind its lock: the state, and what of it is not in the files yet.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::id::LogId;
use super::ranges::Lines;
use super::reading::Reading;
use super::record::Record;
use super::state::State;
use super::store::Store;
use crate::error::{Error, Result};

/// From so many bytes on, records that wait for one that must be synced are written without it.
const QUEUE: usize = 64 * 1024;

#[derive(Debug)]
pub struct Inner {
    pub state: State,
    /// Where it is kept; nowhere for a run without a state directory.
    pub store: Option<Store>,
    /// Records, as the journal's lines, that are in the state and wait to be written.
    queue: Vec<u8>,
    /// Passed lines that are in the state and not yet in a record.
    passed: Lines,
    /// The log being read.
    pub reading: Option<Reading>,
    /// The logs read in this run.
    pub read: HashSet<LogId>,
    /// Something changed since the last snapshot.
    changed: bool,
    /// How many times was written, and how many of these are certainly on the disk.
    pub written: u64,
    pub certain: u64,
    /// Somebody is syncing.
    pub syncing: bool,
    /// Why a sync failed. What is on the disk is not known from then on, so nothing more is promised.
    pub failed: Option<String>,
}

impl Inner {
    pub fn new(state: State, store: Option<Store>) -> Self {
        Self {
            state,
            store,
            queue: Vec::new(),
            passed: Lines::new(),
            reading: None,
            read: HashSet::new(),
            changed: true,
            written: 0,
            certain: 0,
            syncing: false,
            failed: None,
        }
    }

    /// An error once a sync has failed.
    pub fn check(&self) -> Result<()> {
        match &self.failed {
            Some(why) => Err(Error::stopped(why.clone())),
            None => Ok(()),
        }
    }

    pub fn file(&self) -> Option<(Arc<File>, PathBuf)> {
        self.store.as_ref()?.file()
    }

    pub fn read_to(&mut self, log: LogId, start: u64, block: &[u8]) -> Result<()> {
        // What is read once more, to find a log's format say, says nothing new; what is known never goes back.
        let tail = self.state.logs.get(&log).and_then(|known| known.tail);
        if tail.is_some_and(|tail| start.saturating_add(block.len() as u64) <= tail.position) {
            self.read.insert(log);
            return Ok(());
        }
        if self
            .reading
            .as_ref()
            .is_none_or(|reading| reading.log != log)
        {
            self.note_reading()?;
            self.reading = Some(Reading::new(log, Vec::new()));
        }
        self.read.insert(log);
        if let Some(reading) = &mut self.reading {
            reading.push(start, block);
        }
        Ok(())
    }

    pub fn passed(&mut self, log: LogId, place: Range<u64>, lines: u64) {
        if let Some(known) = self.state.logs.get_mut(&log) {
            known.done.insert(place.clone(), lines);
            self.passed.entry(log).or_default().insert(place, lines);
        }
    }

    /// Takes a record into the state; it will be written with the next one that is appended.
    pub fn queue(&mut self, record: Record) -> Result<()> {
        self.encode(&record)?;
        self.state.apply(record);
        if self.queue.len() >= QUEUE {
            self.write()?;
        }
        Ok(())
    }

    /// Notes how far the log being read was read.
    pub fn note_reading(&mut self) -> Result<()> {
        match self.reading.as_mut().and_then(Reading::record) {
            Some(record) => self.queue(record),
            None => Ok(()),
        }
    }

    /// Writes a record after all that waits. On an error it neither stands in the journal nor in the state.
    pub fn append(&mut self, record: Record) -> Result<()> {
        self.check()?;
        if self.store.as_ref().is_some_and(Store::is_due) {
            self.fold()?;
        }
        self.note_reading()?;
        self.note_passed()?;
        let before = self.queue.len();
        self.encode(&record)?;
        if let Err(error) = self.write() {
            self.queue.truncate(before);
            return Err(error);
        }
        self.state.apply(record);
        Ok(())
    }

    fn note_passed(&mut self) -> Result<()> {
        if self.passed.is_empty() {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.passed);
        self.encode(&Record::Passed { lines })
    }

    fn encode(&mut self, record: &Record) -> Result<()> {
        self.changed = true;
        if self.store.is_none() {
            return Ok(());
        }
        let before = self.queue.len();
        record.write(&mut self.queue).map_err(|error| {
            self.queue.truncate(before);
            Error::stopped(format!("a record of the ledger cannot be written: {error}"))
        })
    }

    fn write(&mut self) -> Result<()> {
        if let Some(store) = &mut self.store {
            store.append(&self.queue)?;
            self.written += 1;
        }
        self.queue.clear();
        Ok(())
    }

    /// Writes the state as a new snapshot; all that waited is in it.
    pub fn fold(&mut self) -> Result<()> {
        self.note_reading()?;
        if let Some(store) = &mut self.store {
            store.fold(&self.state)?;
        }
        self.queue.clear();
        self.passed.clear();
        self.certain = self.written;
        self.changed = false;
        Ok(())
    }

    pub fn close(&mut self) -> Result<()> {
        self.check()?;
        self.note_reading()?;
        if self.changed { self.fold() } else { Ok(()) }
    }
}
