//! The counters: where each line ended, for each log file.
//!
//! No figure is calculated from the others, so [`Account::balance`] can prove that no line is unaccounted for:
//! every line that was read stands in exactly one of the ends.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::count::{COUNTS, Count};

/// Additions that a [`Counter`] makes before it puts them into its row.
const COUNTED_APART: u32 = 1024;

/// The counters of one log file. Adding is one relaxed atomic addition: cheap enough for every line.
#[derive(Debug)]
pub struct FileAccount {
    name: String,
    counts: [AtomicU64; COUNTS],
    begun: AtomicBool,
}

impl FileAccount {
    fn new(name: String) -> Self {
        Self {
            name,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            begun: AtomicBool::new(false),
        }
    }

    /// As the user named the file; not cleaned.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file can be read, be it empty.
    pub fn begin(&self) {
        self.begun.store(true, Relaxed);
    }

    pub fn is_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    pub fn add(&self, count: Count, lines: u64) {
        self.counts[count as usize].fetch_add(lines, Relaxed);
    }

    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Relaxed)
    }

    /// Lines of the nine ends that the summary calls "ignored".
    pub fn ignored(&self) -> u64 {
        sum(Count::IGNORED.map(|(count, _)| self.get(count)))
    }

    /// A log of more than ten lines of which none is well-formed: most likely not the log it was taken for
    /// (SPEC section 10: exit status 3). Header lines alone are no fault.
    pub fn nothing_fits(&self) -> bool {
        let [read, header, skipped, invalid] =
            [Count::Read, Count::Header, Count::Skipped, Count::Invalid]
                .map(|count| self.get(count));
        read > 10 && invalid > 0 && sum([header, skipped, invalid]) == read
    }

    fn balance(&self) -> Result<(), String> {
        let ends = Count::ALL.into_iter().filter(|count| count.is_end());
        let ended = sum(ends.clone().map(|count| self.get(count)));
        let read = self.get(Count::Read);
        if ended == read {
            return Ok(());
        }
        let mut message = format!(
            "{}: {read} lines read, but {ended} accounted for:",
            self.name
        );
        for (i, count) in ends.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            // Writing into a String cannot fail.
            let _ = write!(message, "{comma} {} {}", self.get(count), count.name());
        }
        Err(message)
    }
}

/// A file's row for a thread that counts line by line: it adds up by itself and puts it into the row many lines at a
/// time, so that threads do not fight over the row's place in memory. Dropping it puts in the rest.
#[derive(Debug)]
pub struct Counter {
    file: Arc<FileAccount>,
    counts: [Cell<u64>; COUNTS],
    waiting: Cell<u32>,
}

impl Counter {
    pub fn new(file: Arc<FileAccount>) -> Self {
        Self {
            file,
            counts: std::array::from_fn(|_| Cell::new(0)),
            waiting: Cell::new(0),
        }
    }

    pub fn add(&self, count: Count, lines: u64) {
        let own = &self.counts[count as usize];
        own.set(own.get() + lines);
        self.waiting.set(self.waiting.get() + 1);
        if self.waiting.get() == COUNTED_APART {
            self.put_in();
        }
    }

    /// The row, with all that was added so far.
    pub fn file(&self) -> &FileAccount {
        self.put_in();
        &self.file
    }

    /// Puts in what was added so far: while a pipe pauses, progress is told of what is there.
    pub fn put_in(&self) {
        for (count, own) in Count::ALL.into_iter().zip(&self.counts) {
            if own.get() > 0 {
                self.file.add(count, own.take());
            }
        }
        self.waiting.set(0);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.put_in();
    }
}

/// A log's number, which is its row's index, and its row.
pub type Row = (usize, Arc<FileAccount>);

/// The counters of the run: one row for each log file, shared by the parser and the recorders.
#[derive(Debug, Default)]
pub struct Account {
    files: RwLock<Vec<Arc<FileAccount>>>,
}

impl Account {
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a file's row; the number is its index.
    pub fn open(&self, name: impl Into<String>) -> Row {
        let file = Arc::new(FileAccount::new(name.into()));
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::clone(&file));
        (files.len() - 1, file)
    }

    /// The row that [`Account::open`] gave this index. Takes a lock: once a batch, not once a line.
    pub fn file(&self, index: usize) -> Option<Arc<FileAccount>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(index).cloned()
    }

    /// All rows, in the order in which they were opened.
    pub fn files(&self) -> Vec<Arc<FileAccount>> {
        self.files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Over all files.
    pub fn total(&self, count: Count) -> u64 {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        sum(files.iter().map(|file| file.get(count)))
    }

    /// Whether the exit status must say that not everything is as it should be (SPEC section 10).
    pub fn is_incomplete(&self) -> bool {
        [Count::Refused, Count::Lost, Count::InDoubt, Count::Resent]
            .into_iter()
            .any(|count| self.total(count) > 0)
    }

    /// Lines that were read and have no end yet.
    pub fn under_way(&self) -> u64 {
        let ends = Count::ALL.into_iter().filter(|count| count.is_end());
        let ended = sum(ends.map(|count| self.total(count)));
        self.total(Count::Read).saturating_sub(ended)
    }

    /// Proves, once all threads have ended, that every line read has one end, file by file. The error names the
    /// file and each figure.
    pub fn balance(&self) -> Result<(), String> {
        self.files().iter().try_for_each(|file| file.balance())
    }
}

/// Adds up without wrapping around, whatever was counted.
fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
