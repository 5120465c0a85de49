//! The logs that the benchmarks read, in memory.

use std::fs;
use std::path::Path;

use criterion::Throughput;
use import_logs::format::{Fit, Format, Record, registry};

/// Lines of each log.
const LINES: usize = 3000;

/// Lines of one format.
pub struct Log {
    pub format: Box<dyn Format>,
    pub lines: Vec<Vec<u8>>,
}

impl Log {
    /// Repeats the log in `fixtures/logs`, or the first line in `fixtures/odd` that fits.
    pub fn of(name: &str) -> Self {
        let mut format = registry::by_name(name, &Default::default()).unwrap();
        let (log, odd) = (read("logs", name), read("odd", name).unwrap());
        let mut fitting = Vec::new();
        for line in log.as_ref().unwrap_or(&odd).split(|byte| *byte == b'\n') {
            if line.starts_with(b"#") {
                format.header(line).unwrap();
            } else if fits(format.as_ref(), line) {
                fitting.push(line.to_vec());
                if log.is_none() {
                    break;
                }
            }
        }
        assert!(!fitting.is_empty(), "{name}: no line fits");
        let lines = fitting.into_iter().cycle().take(LINES).collect();
        Self { format, lines }
    }

    /// The log of a built-in format, read as a pasted one.
    pub fn pasted(name: &str, template: &str) -> Self {
        let format = Box::new(registry::pasted(template, &Default::default()).unwrap());
        let lines = Self::of(name).lines;
        Self { format, lines }
    }

    /// The log as it would be in a file.
    pub fn text(&self) -> Vec<u8> {
        let mut text = self.lines.join(&b'\n');
        text.push(b'\n');
        text
    }

    pub fn throughput(&self) -> Throughput {
        Throughput::ElementsAndBytes {
            elements: self.lines.len() as u64,
            bytes: self.text().len() as u64,
        }
    }
}

fn fits(format: &dyn Format, line: &[u8]) -> bool {
    let arena = Default::default();
    let mut record = Record::default();
    format.parse(line, &arena, &mut record) == Fit::Record
}

fn read(folder: &str, name: &str) -> Option<Vec<u8>> {
    let path = format!("fixtures/{folder}/{name}.log");
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}
