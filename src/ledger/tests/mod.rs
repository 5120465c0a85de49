//! Tests of the ledger as a whole: a small importer, a tracker in memory, and a folder of logs for them.

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

/// A folder in memory where there is one: syncing is tested there like anywhere, and costs nothing.
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

fn open(dir: &Path) -> Opened {
    Ledger::open(dir, &target("1")).unwrap()
}

/// Unpacked bytes in memory.
struct Whole(Vec<u8>);

impl Unpacked for Whole {
    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(position as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn unpack(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    unpacked
}

/// Packs a log as logrotate does: under a new name, the old one goes.
fn pack(from: &Path, to: &Path) {
    let mut packer = flate2::write::GzEncoder::new(File::create(to).unwrap(), Default::default());
    io::copy(&mut File::open(from).unwrap(), &mut packer).unwrap();
    packer.finish().unwrap();
    fs::remove_file(from).unwrap();
}

fn recognise(ledger: &Ledger, path: &Path) -> LogState {
    recognise_as(ledger, path, FileId::from(&fs::metadata(path).unwrap()))
}

fn recognise_as(ledger: &Ledger, path: &Path, file: FileId) -> LogState {
    let mut log = Whole(unpack(path));
    let probe = Probe {
        path,
        file,
        packed: path.extension().is_some_and(|extension| extension == "gz"),
        log: &mut log,
    };
    ledger.recognise(probe).unwrap()
}

/// The lines (with their ends) of a log from a position on that are not done yet.
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

fn lines(log: LogId, ranges: &[Range<u64>]) -> Lines {
    let mut lines = Lines::new();
    for range in ranges {
        let ranges = lines.entry(log).or_default();
        ranges.insert(range.clone(), 1);
    }
    lines
}

fn line(log: LogId, range: Range<u64>) -> Lines {
    lines(log, &[range])
}

/// Reads all that is left of a log and sends it in one batch; how many lines that were.
fn import(ledger: &Ledger, path: &Path) -> usize {
    let state = recognise(ledger, path);
    if matches!(state.fate, FileChange::Done | FileChange::ReadAlready) {
        return 0;
    }
    let content = unpack(path);
    let left = lines_left(&content, &state);
    let at = state.resume_at();
    ledger
        .read_to(state.log, at, &content[at as usize..])
        .unwrap();
    if !left.is_empty() {
        let batch = ledger
            .intent(lines(state.log, &left), left.len() as u64)
            .unwrap();
        ledger.done(batch).unwrap();
    }
    left.len()
}

fn append(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// So many numbered lines, each some 30 bytes long.
fn numbered(numbers: Range<usize>) -> String {
    numbers
        .map(|number| format!("line {number:06} of a log, with words\n"))
        .collect()
}
