//! The logs of the model test, which are written, rotated, truncated, compressed and deleted. They
//! know which lines must be imported.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::numbered::line_since;
use crate::support::folder::gzip;

/// Lines in a day.
const A_DAY: usize = 12;

/// What a file contains.
#[derive(Debug, Default)]
struct Log {
    /// The numbers of its complete lines.
    numbers: Vec<usize>,
    packed: bool,
}

/// `access.log` and the rotated ones: `access.log.1`, `access.log.2.gz` and so on.
pub struct Logs {
    folder: PathBuf,
    current: Log,
    /// The number and the rest of an incomplete line.
    rest: Option<(usize, String)>,
    rotated: Vec<Log>,
    next: usize,
    /// The time of the first line.
    since: i64,
    /// The text at the start of each log.
    heading: String,
    /// Lines that were deleted, perhaps before they were read.
    gone: BTreeSet<usize>,
}

impl Logs {
    pub fn new(folder: &Path, since: i64, heading: String) -> Self {
        Self {
            since,
            heading,
            folder: folder.to_owned(),
            current: Log::default(),
            rest: None,
            rotated: Vec::new(),
            next: 0,
            gone: BTreeSet::new(),
        }
    }

    /// The numbers of all lines begun so far.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.next
    }

    /// Whether this line must be stored after all logs have been imported.
    pub fn is_needed(&self, number: usize) -> bool {
        let unfinished = self.rest.as_ref().is_some_and(|(rest, _)| *rest == number);
        !unfinished && !self.gone.contains(&number)
    }

    /// Whether lines were deleted, so that a pending batch may be impossible to settle.
    pub fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Writes complete lines.
    pub fn append(&mut self, count: u64) {
        self.finish_line();
        for _ in 0..count {
            self.write(&line_since(self.since, self.next, A_DAY));
            self.current.numbers.push(self.next);
            self.next += 1;
        }
    }

    /// Writes a part of a line.
    pub fn append_part(&mut self, percent: u64) {
        self.finish_line();
        let whole = line_since(self.since, self.next, A_DAY);
        let cut = 1 + (whole.len() - 2) * percent as usize / 100;
        self.write(&whole[..cut]);
        self.rest = Some((self.next, whole[cut..].to_owned()));
        self.next += 1;
    }

    fn finish_line(&mut self) {
        if let Some((number, rest)) = self.rest.take() {
            self.write(&rest);
            self.current.numbers.push(number);
        }
    }

    /// The incomplete line will never be completed.
    fn lose_rest(&mut self) {
        self.gone.extend(self.rest.take().map(|(number, _)| number));
    }

    /// Renames the log. The next line goes to a new one.
    pub fn rotate(&mut self) {
        self.lose_rest();
        if !self.path(0).exists() {
            return;
        }
        self.shift();
        fs::rename(self.path(0), self.path_of(1, false)).unwrap();
        self.rotated.insert(0, std::mem::take(&mut self.current));
    }

    /// Copies the log and truncates it.
    pub fn copy_and_truncate(&mut self) {
        self.finish_line();
        if !self.path(0).exists() {
            return;
        }
        self.shift();
        fs::copy(self.path(0), self.path_of(1, false)).unwrap();
        self.rotated.insert(0, std::mem::take(&mut self.current));
        self.open().set_len(0).unwrap();
    }

    /// Truncates the log, which deletes its lines.
    pub fn truncate(&mut self) {
        self.lose_rest();
        if self.path(0).exists() {
            self.open().set_len(0).unwrap();
        }
        self.gone
            .append(&mut self.current.numbers.drain(..).collect());
    }

    /// Compresses one of the rotated logs.
    pub fn pack(&mut self, which: u64) {
        let plain: Vec<usize> = (0..self.rotated.len())
            // The format of an incomplete line alone cannot be detected.
            .filter(|index| {
                !self.rotated[*index].packed && !self.rotated[*index].numbers.is_empty()
            })
            .collect();
        let Some(index) = plain.get(which as usize % plain.len().max(1)) else {
            return;
        };
        let (plain, packed) = (
            self.path_of(index + 1, false),
            self.path_of(index + 1, true),
        );
        fs::write(packed, gzip(fs::read(&plain).unwrap())).unwrap();
        fs::remove_file(plain).unwrap();
        self.rotated[*index].packed = true;
    }

    /// Deletes the oldest log.
    pub fn delete(&mut self) {
        if let Some(oldest) = self.rotated.pop() {
            let path = self.path_of(self.rotated.len() + 1, oldest.packed);
            fs::remove_file(path).unwrap();
            self.gone.extend(oldest.numbers);
        }
    }

    /// Renames all rotated logs to make room for a new `access.log.1`.
    fn shift(&self) {
        for (index, log) in self.rotated.iter().enumerate().rev() {
            let (from, to) = (
                self.path_of(index + 1, log.packed),
                self.path_of(index + 2, log.packed),
            );
            fs::rename(from, to).unwrap();
        }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.path_of(number, false)
    }

    fn path_of(&self, number: usize, packed: bool) -> PathBuf {
        let number = match number {
            0 => String::new(),
            number => format!(".{number}"),
        };
        let packed = if packed { ".gz" } else { "" };
        self.folder.join(format!("access.log{number}{packed}"))
    }

    fn open(&self) -> fs::File {
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .open(self.path(0))
            .unwrap()
    }

    fn write(&self, text: &str) {
        let mut log = self.open();
        if log.metadata().unwrap().len() == 0 {
            log.write_all(self.heading.as_bytes()).unwrap();
        }
        log.write_all(text.as_bytes()).unwrap();
    }
}
