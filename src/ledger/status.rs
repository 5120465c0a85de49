//! `--status`, `--forget` and `--forget-unconfirmed`: shows people what a state directory knows,
//! and removes parts of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use chrono::DateTime;

use super::database::{Change, Database, NAME};
use super::directory::StateLock;
use super::fingerprint::Checksum;
use super::lookup::absolute;
use super::ranges::Ranges;
use super::state::{BatchState, KnownLog, LedgerState};
use super::{legacy, spool};
use crate::error::{Error, Result};
use crate::input::bucket::BucketUrl;
use crate::report::clean;

/// What to do with a state directory instead of an import.
#[derive(Clone, Debug, Default)]
pub struct StateCommand {
    pub dir: PathBuf,
    /// `--status`
    pub show: bool,
    /// `--forget`
    pub forget: Vec<PathBuf>,
    /// `--forget-unconfirmed`
    pub forget_unconfirmed: bool,
}

impl StateCommand {
    /// Returns the text to print.
    ///
    /// # Errors
    ///
    /// If there is no ledger in the directory, a run uses it, it cannot be read or written, or a
    /// log to forget is not known.
    pub fn run(&self) -> Result<String> {
        let dir = &self.dir;
        if !dir.join(NAME).exists() && !legacy::exists(dir) {
            return Err(Error::stopped(format!(
                "there is no ledger in {}: check --state-dir",
                dir.display()
            )));
        }
        let _lock = StateLock::take(dir)?;
        let (mut database, mut state, _) = Database::open(dir)?;
        let (changes, mut text) = self.forget(&mut state)?;
        if !changes.is_empty() {
            let written = database.commit(changes.iter());
            written.map_err(|error| database.write_error(&error))?;
        }
        if self.show {
            text += &status(dir, &state)?;
        }
        Ok(text)
    }

    fn forget(&self, state: &mut LedgerState) -> Result<(Vec<Change>, String)> {
        let (mut changes, mut text) = (Vec::new(), String::new());
        for path in &self.forget {
            let is_object = path.to_str().and_then(BucketUrl::parse).is_some();
            let path = match is_object {
                true => path.clone(),
                false => absolute(path),
            };
            let logs = state.logs.iter();
            let of_path = logs.filter(|(_, known)| known.fingerprint.path.0 == path);
            let forgotten: Vec<_> = of_path.map(|(log, _)| *log).collect();
            if forgotten.is_empty() {
                return Err(Error::stopped(format!(
                    "{} is not in the ledger: --status lists the logs that are",
                    path.display()
                )));
            }
            for log in forgotten {
                state.logs.remove(&log);
                changes.push(Change::ForgotLog(log));
            }
            let _ = writeln!(text, "{}: forgotten", name(&path));
        }
        let logs = &state.logs;
        let is_lost = |log| !logs.contains_key(log);
        let batches = state.batches.iter();
        let lost = batches.filter(|(_, entry)| entry.lines.keys().all(is_lost));
        let lost: Vec<_> = lost.map(|(batch, _)| *batch).collect();
        for batch in lost {
            state.batches.remove(&batch);
            changes.push(Change::Closed(batch));
        }
        if self.forget_unconfirmed {
            let listed = std::mem::take(&mut state.unconfirmed);
            changes.extend(listed.into_keys().map(Change::Unlisted));
            let batches = state.batches.iter();
            let given_up = batches.filter(|(_, entry)| entry.state == BatchState::Unconfirmed);
            let given_up: Vec<_> = given_up.map(|(batch, _)| *batch).collect();
            for batch in given_up {
                state.confirm(batch);
                changes.push(Change::Confirmed(batch));
            }
            text += "unconfirmed lines: forgotten\n";
        }
        Ok((changes, text))
    }
}

fn status(dir: &Path, state: &LedgerState) -> Result<String> {
    let mut text = String::new();
    for (target, target_name) in &state.targets {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", clean(target_name.as_bytes()));
        of_target(&mut text, *target, state);
    }
    let spools = spool::all_paths(dir)?;
    if !spools.is_empty() {
        text += "\nSaved from pipes, to be imported:\n";
    }
    for path in spools {
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let _ = writeln!(text, "  {}: {bytes} bytes", name(&path));
    }
    Ok(text)
}

fn of_target(text: &mut String, target: Checksum, state: &LedgerState) {
    let mut logs: Vec<_> = (state.logs.values())
        .filter(|log| log.fingerprint.target == target)
        .collect();
    logs.sort_by(|one, other| one.fingerprint.path.0.cmp(&other.fingerprint.path.0));
    for log in logs {
        let path = name(&log.fingerprint.path.0);
        let seen = time(log.fingerprint.seen);
        let _ = writeln!(text, "  {path}: {}; last seen {seen}", progress(log));
    }
    let batches = state.batches.values();
    let batches = batches.filter(|it| it.target == target && it.recorded.is_none());
    let (given_up, open): (Vec<_>, Vec<_>) =
        batches.partition(|entry| entry.state == BatchState::Unconfirmed);
    let listed = state.unconfirmed.values();
    let listed: Vec<_> = listed.filter(|listed| listed.target == target).collect();
    let mut title = "Pending, settled by the next import of the log:";
    for entries in [&open, &given_up] {
        if !entries.is_empty() || (title == UNCONFIRMED && !listed.is_empty()) {
            let _ = writeln!(text, "  {title}");
        }
        for entry in entries {
            for (place, log) in entry.lines.keys().enumerate() {
                let path = state
                    .logs
                    .get(log)
                    .map(|known| name(&known.fingerprint.path.0));
                let numbers = entry.numbers.get(log).map(Ranges::as_numbers);
                let path = path.unwrap_or_default();
                let numbers = numbers.unwrap_or_else(|| "without numbers".to_owned());
                if place > 0 {
                    let _ = writeln!(text, "    {path}: lines {numbers}, in the same request");
                    continue;
                }
                let _ = writeln!(
                    text,
                    "    {path}: {} hits of lines {numbers}; {}, sent {}",
                    entry.hits,
                    entry.state.name(),
                    time(entry.sent.wall / 1000),
                );
            }
        }
        title = UNCONFIRMED;
    }
    for listed in listed {
        let lines = &listed.lines;
        let _ = writeln!(
            text,
            "    {}: {} hits of lines {}; {}: {}",
            name(Path::new(&lines.log)),
            lines.hits,
            lines.lines,
            time(listed.time),
            clean(lines.outcome.as_bytes()),
        );
    }
}

const UNCONFIRMED: &str = "Unconfirmed, Matomo may or may not have them:";

fn progress(log: &KnownLog) -> String {
    let lines = log.done.lines();
    let (gap, read) = (log.done.first_gap(), log.read_position());
    let later = log.done.len().saturating_sub(usize::from(gap > 0));
    match log.fingerprint.end {
        Some(_) => format!("{lines} lines done, to its end"),
        None if later == 0 && gap >= read => format!("{lines} lines done, up to byte {gap}"),
        None => format!("{lines} lines done, all up to byte {gap} and some up to byte {read}"),
    }
}

/// A path as it may be printed.
fn name(path: &Path) -> String {
    clean(path.display().to_string().as_bytes()).into_owned()
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(String::new, |time| {
        time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
    })
}
