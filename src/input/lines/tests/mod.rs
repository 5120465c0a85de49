//! Lines over real files and pipes, and over any bytes in any pieces.

mod binary;
mod envelopes;
mod files;
mod kept;
mod pieces;
mod pipes;

use super::*;
use crate::input::decompress::tests::pack_all;
use crate::input::encoding::Encoding;
use crate::input::reader::BLOCK_BYTES;
use std::io::Write;
use std::path::Path;

/// Longer than any test takes: a wait that ends because something came.
const LONG: Duration = Duration::from_secs(60);
/// A wait that is to end without anything having come.
const SHORT: Duration = Duration::from_millis(20);

/// A line that does not borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    text: String,
    number: u64,
    start: u64,
    end: u64,
    terminated: bool,
    too_long: bool,
}

impl From<Line<'_>> for Owned {
    fn from(line: Line<'_>) -> Self {
        Self {
            text: String::from_utf8_lossy(line.bytes).into_owned(),
            number: line.number,
            start: line.start,
            end: line.end,
            terminated: line.terminated,
            too_long: line.too_long,
        }
    }
}

/// All lines, and the error that ends them.
fn all(mut lines: Lines) -> (Vec<Owned>, Option<InputError>) {
    let mut found = Vec::new();
    loop {
        match lines.next(LONG) {
            Ok(LineEvent::Line(line)) => found.push(line.into()),
            Ok(LineEvent::Pause) => panic!("a pause"),
            Ok(LineEvent::End) => {
                assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
                return (found, None);
            }
            Err(error) => {
                assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
                return (found, Some(error));
            }
        }
    }
}

fn file(data: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(data).unwrap();
    file
}

fn open(path: &Path, options: LineOptions) -> Lines {
    Lines::open(&Source::File(path.to_owned()), options).unwrap()
}

fn encoding(name: &str) -> LineOptions {
    LineOptions {
        encoding: Encoding::by_name(name).unwrap(),
        ..LineOptions::default()
    }
}

/// A source without a tee.
fn opened(log: impl Read + Send + 'static) -> OpenedSource {
    OpenedSource {
        log: Box::new(log),
        position: 0,
        rest: None,
        block_bytes: BLOCK_BYTES,
    }
}

fn next_text(lines: &mut Lines, wait: Duration) -> Option<String> {
    match lines.next(wait).unwrap() {
        LineEvent::Line(line) => Some(Owned::from(line).text),
        LineEvent::Pause => None,
        LineEvent::End => panic!("the end"),
    }
}
