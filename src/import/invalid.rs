//! The invalid lines of logs: if they are many, a warning names the first of them, and the format
//! that they fit (guide/options.md, "Invalid lines").

use super::Importer;
use super::open_log::OpenLog;
use crate::input::lines::Line;
use crate::report::{Count, Reason, grouped};

/// So many invalid lines are a few odd ones in any log.
const MIN_LINES: u64 = 10;
/// Lines that are kept to find the format that they fit.
const MAX_SAMPLE_LINES: usize = 20;
/// A longer line is not kept.
const MAX_SAMPLE_LINE_BYTES: usize = 16 << 10;

/// The invalid lines of one log.
#[derive(Default)]
pub(super) struct InvalidLines {
    lines: u64,
    /// Blank lines, and lines that `--replay-tracking` passes over: they count as invalid, but
    /// nothing is wrong with them.
    passed_over: u64,
    first: Option<(u64, Reason)>,
    /// The first headers, then the first invalid lines.
    headers: Vec<Vec<u8>>,
    sample: Vec<Vec<u8>>,
}

impl InvalidLines {
    /// Notes a line that is dropped for a reason that counts as invalid.
    pub fn add(&mut self, line: &Line, reason: Reason) {
        if reason == Reason::NotTracking || line.bytes.trim_ascii().is_empty() {
            self.passed_over += 1;
            return;
        }
        self.lines += 1;
        self.first.get_or_insert((line.number, reason));
        if !line.too_long {
            keep(&mut self.sample, line.bytes);
        }
    }

    /// Notes a header, which may describe the invalid lines that follow.
    pub fn add_header(&mut self, line: &Line) {
        keep(&mut self.headers, line.bytes);
    }
}

fn keep(sample: &mut Vec<Vec<u8>>, line: &[u8]) {
    if sample.len() < MAX_SAMPLE_LINES && line.len() <= MAX_SAMPLE_LINE_BYTES {
        sample.push(line.to_vec());
    }
}

/// The invalid lines of all logs that have too few of them for a warning of their own.
#[derive(Default)]
pub struct InvalidInSmallLogs {
    invalid: u64,
    lines: u64,
    /// Where the first is, and its reason.
    first: Option<String>,
}

impl Importer {
    /// Warns if many lines of a log are invalid. `format` is the one with which it was read.
    pub(super) fn judge_invalid(&mut self, log: &OpenLog, format: &str) {
        let account = log.account.file();
        let [read, header, skipped, others] = [
            Count::Read,
            Count::Header,
            Count::Skipped,
            Count::OtherShards,
        ]
        .map(|count| account.get(count));
        let invalid = &log.invalid;
        let lines = read.saturating_sub(header + skipped + others + invalid.passed_over);
        let Some((number, reason)) = invalid.first else {
            self.invalid_in_small_logs.lines += lines;
            return;
        };
        let text = reason.text();
        let reason = text.strip_prefix("invalid: ").unwrap_or(text);
        if invalid.lines < MIN_LINES {
            let small = &mut self.invalid_in_small_logs;
            small.invalid += invalid.lines;
            small.lines += lines;
            let first = || format!("{}:{number} ({reason})", log.name);
            small.first.get_or_insert_with(first);
            return;
        }
        if !self.is_too_much(invalid.lines, lines) {
            return;
        }
        let fitting = self
            .selector
            .fitting_format(&invalid.headers, &invalid.sample)
            .filter(|fitting| *fitting != format);
        let fits = fitting.map_or_else(String::new, |fitting| {
            format!("; these lines have the format {fitting}")
        });
        self.console.warn_incomplete(format!(
            "{}: {} of {} lines are invalid in the format {format}, the first is line {number} \
             ({reason}){fits}; {}",
            log.name,
            grouped(invalid.lines),
            grouped(lines),
            self.selector.advice()
        ));
    }

    /// Warns if many lines are invalid in logs that have only a few lines each.
    pub(super) fn judge_small_logs(&self) {
        let InvalidInSmallLogs {
            invalid,
            lines,
            ref first,
        } = self.invalid_in_small_logs;
        if let Some(first) = first
            && invalid >= MIN_LINES
            && self.is_too_much(invalid, lines)
        {
            self.console.warn_incomplete(format!(
                "{} of {} lines of short logs are invalid, the first is {first}; {}",
                grouped(invalid),
                grouped(lines),
                self.selector.advice()
            ));
        }
    }

    /// Whether so many lines are invalid that something is wrong with all of them
    /// (`--max-invalid`).
    fn is_too_much(&self, invalid: u64, lines: u64) -> bool {
        let percent = self.input.max_invalid;
        percent < 100 && u128::from(invalid) * 100 >= u128::from(lines) * u128::from(percent)
    }
}
