//! Tests of the whole ledger, with a small importer and a folder of logs.

mod conversion;
mod crashes;
mod damage;
mod logs;
mod model;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A folder in memory if possible, where syncing costs nothing.
fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    match tempfile::tempdir_in(shm) {
        Ok(dir) => dir,
        Err(_) => tempfile::tempdir().unwrap(),
    }
}

fn target(idsite: &str) -> TargetKey {
    TargetKey::new(&"https://matomo.example/".parse().unwrap(), Some(idsite))
}

fn open(dir: &Path) -> OpenedLedger {
    Ledger::open(dir, &target("1")).unwrap()
}

/// Decompressed bytes in memory.
struct InMemory(Vec<u8>);

impl ReadAt for InMemory {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(position as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn decompress(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut decompressed = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut decompressed)
        .unwrap();
    decompressed
}

/// Compresses a log as logrotate does: under a new name, and the old file is removed.
fn compress(from: &Path, to: &Path) {
    let mut encoder = flate2::write::GzEncoder::new(File::create(to).unwrap(), Default::default());
    io::copy(&mut File::open(from).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(from).unwrap();
}

fn lookup(ledger: &Ledger, path: &Path) -> LogState {
    lookup_as(ledger, path, FileId::from(&fs::metadata(path).unwrap()))
}

fn lookup_as(ledger: &Ledger, path: &Path, file: FileId) -> LogState {
    let mut content = InMemory(decompress(path));
    let probe = FileProbe {
        path,
        file,
        is_compressed: path.extension().is_some_and(|extension| extension == "gz"),
        may_be_copy: true,
        content: &mut content,
    };
    ledger.lookup(probe).unwrap()
}

/// The whole lines of a log, from where it resumes, that are not done.
fn lines_left(content: &[u8], state: &LogState) -> Vec<Range<u64>> {
    let mut start = 0;
    let mut left = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len() as u64;
        if start >= state.resume_at() && line.ends_with(b"\n") && !state.done.contains(start) {
            left.push(start..end);
        }
        start = end;
    }
    left
}

fn lines(log: LogId, ranges: &[Range<u64>]) -> LogRanges {
    let mut lines = LogRanges::new();
    for range in ranges {
        let ranges = lines.entry(log).or_default();
        ranges.insert(range.clone(), 1);
    }
    lines
}

fn line(log: LogId, range: Range<u64>) -> LogRanges {
    lines(log, &[range])
}

/// Sends all lines of a log that are not done in one batch. Returns their number.
fn import(ledger: &Ledger, path: &Path) -> usize {
    let state = lookup(ledger, path);
    if matches!(
        state.change,
        FileChange::Done | FileChange::ReadAlready | FileChange::Beginning
    ) {
        return 0;
    }
    let content = decompress(path);
    let left = lines_left(&content, &state);
    let at = state.resume_at();
    ledger
        .note_read(state.log, at, &content[at as usize..])
        .unwrap();
    if !left.is_empty() {
        let batch = ledger
            .begin_batch(lines(state.log, &left), left.len() as u64)
            .unwrap();
        ledger.confirm(batch).unwrap();
    }
    left.len()
}

fn append(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Numbered lines, each some 30 bytes long.
fn numbered(numbers: Range<usize>) -> String {
    numbers
        .map(|number| format!("line {number:06} of a log, with words\n"))
        .collect()
}
