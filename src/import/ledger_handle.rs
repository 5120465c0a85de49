//! The ledger of a run: opened before it, closed or left behind at its end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::InputOptions;
use super::queued::QueuedHits;
use super::recovery::{WaitingLog, renamed_file};
use super::spool::{self, FinishedSpool};
use crate::error::{Error, Result};
use crate::input::discover::Source;
use crate::ledger::{BatchState, Ledger, LogId, PendingBatch, ShardKey, TargetKey};
use crate::recorder::{DeliveryOptions, InDoubt};
use crate::report::{Account, Console, Count, grouped, shell_word};
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// A batch that so many runs could not settle is given up.
pub(super) const MAX_RUNS: u32 = 3;

/// Hits that are in Matomo's queue for longer than this are reported.
const LATE_QUEUE: Duration = Duration::from_secs(24 * 3600);

/// Files that are open at once while a ledger is written.
const RESERVED_FILES: usize = 8;

/// The ledger and what an earlier run left for this one.
pub struct LedgerHandle {
    pub ledger: Arc<Ledger>,
    /// `None` without `--state-dir`: the ledger is in memory, and written only if the run is
    /// interrupted.
    pub state_dir: Option<StateDir>,
    /// Batches of an earlier run that Matomo may or may not have.
    pub pending: Vec<PendingBatch>,
    pub in_doubt: InDoubt,
    /// `--request-timeout`: how long the server may still process a request without an answer.
    pub timeout: Duration,
    /// Hits in Matomo's own queue.
    pub(super) queued: QueuedHits,
    /// Spools that were read to their end, or as far as they can be.
    pub spools: Vec<FinishedSpool>,
    /// Logs whose pending batches have to wait.
    pub(super) waiting: Vec<WaitingLog>,
    /// `None` with a state directory, and for a worker on a queue.
    pub(super) unsaved: Option<Arc<UnsavedLedger>>,
}

/// A ledger in memory, which is written once, if the run is interrupted.
pub(super) struct UnsavedLedger {
    ledger: Arc<Ledger>,
    /// Open files to close before the ledger is written. `None` from then on.
    reserve: Mutex<Option<Vec<OwnedFd>>>,
}

/// The folder of `--state-dir`, and the target whose spools in it belong to this run.
#[derive(Clone, Debug)]
pub struct StateDir {
    pub path: PathBuf,
    pub target: TargetKey,
}

impl LedgerHandle {
    /// Opens the ledger in the state directory, or one in memory.
    ///
    /// # Errors
    ///
    /// Returns an error if another run uses the directory, if earlier runs imported another shard,
    /// if the disk fails, or if a newer version wrote the ledger.
    pub fn open(
        url: &Url,
        state_dir: Option<PathBuf>,
        idsite: Option<&str>,
        shard: Option<&ShardKey>,
        delivery: &DeliveryOptions,
        console: &Console,
    ) -> Result<Self> {
        let target = TargetKey::new(url, idsite);
        let (ledger, pending, state_dir) = match state_dir {
            Some(path) => {
                let opened = Ledger::open(&path, &target)?;
                opened.ledger.claim_shard(shard).map_err(|error| {
                    Error::stopped(format!(
                        "--state-dir={}: {error}, so lines would be lost or sent twice; give each \
                         worker a state directory of its own, and begin with new ones and new logs \
                         to change the number of workers (--guide=big)",
                        path.display()
                    ))
                })?;
                for warning in opened.warnings {
                    console.warn_incomplete(warning);
                }
                for lines in &opened.unreported {
                    console.warn_incomplete(format!(
                        "in an earlier run, which ended before it could say so: {} ({}: lines {})",
                        lines.outcome, lines.log, lines.lines
                    ));
                }
                let state_dir = StateDir { path, target };
                (opened.ledger, opened.pending, Some(state_dir))
            }
            None => {
                let ledger = Ledger::in_memory(&target)?;
                ledger.claim_shard(shard)?;
                (ledger, Vec::new(), None)
            }
        };
        let ledger = Arc::new(ledger);
        let unsaved = match state_dir {
            Some(_) => None,
            None => Some(Arc::new(UnsavedLedger {
                ledger: Arc::clone(&ledger),
                reserve: Mutex::new(Some(reserve_files()?)),
            })),
        };
        Ok(Self {
            ledger,
            state_dir,
            pending,
            in_doubt: delivery.in_doubt,
            timeout: delivery.timeout,
            queued: QueuedHits::new(delivery),
            spools: Vec::new(),
            waiting: Vec::new(),
            unsaved,
        })
    }

    /// Makes a ledger for a worker on a queue of objects. Nothing of it is kept.
    pub fn of_queue(url: &Url, idsite: Option<&str>, delivery: &DeliveryOptions) -> Self {
        let target = TargetKey::new(url, idsite);
        Self {
            ledger: Arc::new(Ledger::of_queue(&target)),
            state_dir: None,
            pending: Vec::new(),
            in_doubt: delivery.in_doubt,
            timeout: delivery.timeout,
            queued: QueuedHits::new(delivery),
            spools: Vec::new(),
            waiting: Vec::new(),
            unsaved: None,
        }
    }

    /// Saves what these pipes hold in the state directory, if there is one. Called for sources
    /// that the run does not import.
    pub fn save_pipes(
        &self,
        sources: &[Source],
        input: &InputOptions,
        shutdown: &Shutdown,
        console: &Console,
    ) {
        if let Some(state_dir) = &self.state_dir {
            spool::save_pipes(sources, state_dir, input, shutdown, console);
        }
    }

    /// Warns that the lines of pipes are lost if the run stops without a state directory.
    pub fn warn_of_lost_pipes(&self, sources: &[Source], console: &Console) {
        if let Some(pipes) = pipe_names(sources).filter(|_| self.state_dir.is_none()) {
            console.warn(format!(
                "{pipes} cannot be read again: lines that were not sent are lost; --state-dir \
                 would have saved them"
            ));
        }
    }

    /// Closes the ledger at the end of the run, after the recorders have ended.
    ///
    /// `requests` is how many were sent to the tracker.
    ///
    /// An interrupted run without a state directory leaves its ledger in a folder and prints how
    /// to resume from it (guide/guarantees.md, "Interrupted runs").
    pub fn close(
        mut self,
        interrupted: bool,
        sources: &[Source],
        input: &InputOptions,
        account: &Account,
        requests: u64,
        console: &Console,
    ) -> Result<()> {
        if let Some(unsaved) = &self.unsaved {
            if interrupted {
                self.warn_of_lost_pipes(sources, console);
                unsaved.leave(sources, input, account, requests, console);
            }
            return Ok(());
        }
        // A spool is removed only when the ledger on disk says that it is done.
        self.ledger.flush()?;
        for spool in std::mem::take(&mut self.spools) {
            spool.close(&self.ledger, console)?;
        }
        self.end_batches(interrupted, console)?;
        self.ledger.mark_reported();
        self.ledger.close()
    }

    /// Reports the batches of earlier runs that are still open, and gives those up that no run can
    /// settle any more.
    fn end_batches(&self, interrupted: bool, console: &Console) -> Result<()> {
        let is_open = |batch: &&PendingBatch| {
            batch.recorded.is_none() && batch.state != BatchState::Unconfirmed
        };
        let mut late: Vec<&PendingBatch> = Vec::new();
        for batch in self.pending.iter().filter(is_open) {
            if batch.may_be_in_queue() {
                late.extend((batch.age() >= LATE_QUEUE).then_some(batch));
                continue;
            }
            let is_gone = batch
                .lines
                .iter()
                .all(|(log, path, _)| self.is_gone(*log, path));
            if !interrupted {
                self.ledger.count_run(batch.id)?;
            }
            let runs = batch.runs + u32::from(!interrupted);
            let subject = format!("{} hits of {}", batch.hits, batch.location());
            if !is_gone && runs < MAX_RUNS {
                console.warn_incomplete(format!(
                    "{subject} are still unconfirmed since an interrupted run: import that log \
                     again with this --state-dir"
                ));
                continue;
            }
            self.ledger.give_up(batch.id)?;
            let why = match is_gone {
                true => "their log is gone".to_owned(),
                false => format!("{runs} runs could not settle them"),
            };
            console.warn_incomplete(format!(
                "{subject} stay unconfirmed, because {why}: Matomo may or may not have them; \
                 --status lists them from now on"
            ));
        }
        if !late.is_empty() {
            console.warn_incomplete(late_in_queue(&late));
        }
        let in_queue = self.ledger.hits_in_queue();
        if in_queue > 0 && !self.queued.wait.is_zero() && !interrupted {
            console.warn_incomplete(format!(
                "{in_queue} hits are in Matomo's queue after {} s (--wait-for-queue): check that \
                 ./console queuedtracking:process runs there; the next import of their logs asks \
                 about them",
                self.queued.wait.as_secs()
            ));
        }
        Ok(())
    }

    /// Whether the file of a log was removed.
    fn is_gone(&self, log: LogId, path: &Path) -> bool {
        let is_missing = |error: io::Error| error.kind() == ErrorKind::NotFound;
        if !fs::symlink_metadata(path).is_err_and(is_missing) {
            return false;
        }
        let Some(file) = self.ledger.file_of(log) else {
            return true;
        };
        // Only the bucket knows.
        if file.is_object() {
            return false;
        }
        renamed_file(path, &file, |_| true).is_none()
    }
}

impl UnsavedLedger {
    /// Saves the ledger at the end of an interrupted run, if it has something to remember.
    fn leave(
        &self,
        sources: &[Source],
        input: &InputOptions,
        account: &Account,
        requests: u64,
        console: &Console,
    ) {
        if place_beside(sources).is_none() || account.total(Count::Read) == 0 {
            return;
        }
        match nothing_to_remember(account) {
            true => console.note(format!("{}: run the same command again", sent(requests))),
            false => self.save(sources, input, console, || {}),
        }
    }

    /// Writes the ledger beside the first log, or else to the folder for temporary files, and
    /// prints how to resume. `written` is called in between. If another thread has begun to save
    /// it, waits until that one has printed.
    pub(super) fn save(
        &self,
        sources: &[Source],
        input: &InputOptions,
        console: &Console,
        written: impl FnOnce(),
    ) {
        let Some(beside) = place_beside(sources) else {
            return;
        };
        let mut reserve = self.reserve.lock();
        if reserve.take().is_none() {
            return;
        }
        let mut saved = self.ledger.save_in(&beside);
        if saved.is_err() {
            saved = self.ledger.save_in(&std::env::temp_dir());
        }
        written();
        match saved {
            Ok(dir) => {
                let dir = std::path::absolute(&dir).unwrap_or(dir);
                console.note(how_to_resume(&dir, sources, input));
            }
            Err(why) => console.warn(format!(
                "cannot write down which lines are done ({why}): running again would send them \
                 again"
            )),
        }
    }
}

/// The warning about hits that do not come out of Matomo's queue.
fn late_in_queue(late: &[&PendingBatch]) -> String {
    let hits: u64 = late.iter().map(|batch| batch.hits).sum();
    let oldest = late.iter().map(|batch| batch.age()).max();
    format!(
        "{hits} hits went into Matomo's queue up to {} hours ago, and it does not show all of them \
         (--status lists their lines): check that ./console queuedtracking:process runs there. If \
         its queue is empty, Matomo has dropped or excluded them: import the same logs once with \
         --queue-is-empty and without --queued-tracking",
        oldest.unwrap_or_default().as_secs() / 3600
    )
}

/// What was sent, if Matomo has stored nothing.
fn sent(requests: u64) -> String {
    match requests {
        0 => "nothing was sent yet".to_owned(),
        1 => "1 request was sent, and Matomo stored nothing of it".to_owned(),
        requests => format!(
            "{} requests were sent, and Matomo stored nothing of them",
            grouped(requests)
        ),
    }
}

/// The folder of the first log that is not a pipe, or the current one for an object.
fn place_beside(sources: &[Source]) -> Option<PathBuf> {
    let mut logs = sources.iter().filter(|source| !source.is_pipe());
    let first = match logs.next()? {
        Source::File(first) => first,
        Source::Object(_) => Path::new(""),
        Source::Stdin => return None,
    };
    let parent = first
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Some(parent.unwrap_or(Path::new(".")).to_owned())
}

/// Returns whether a new run has nothing to remember: no hit was sent, and lines without a hit
/// (skipped, filtered, invalid) can be read again.
pub(super) fn nothing_to_remember(account: &Account) -> bool {
    let sent = [
        Count::Imported,
        Count::Refused,
        Count::Lost,
        Count::InDoubt,
        Count::Resent,
    ];
    account.lines_under_way() == 0 && sent.into_iter().all(|count| account.total(count) == 0)
}

/// Opens as many files as writing a ledger takes, so that it can be written when the process has
/// no file left to open.
fn reserve_files() -> Result<Vec<OwnedFd>> {
    let files = (0..RESERVED_FILES).map(|_| io::stderr().as_fd().try_clone_to_owned());
    files.collect::<io::Result<_>>().map_err(|error| {
        Error::stopped(format!(
            "this process may open too few files ({error}): raise the limit (ulimit -n) to at \
             least 64"
        ))
    })
}

/// The message that ends an interrupted run: which option to add, and what to leave out.
fn how_to_resume(dir: &Path, sources: &[Source], input: &InputOptions) -> String {
    let option = shell_word(&format!("--state-dir={}", dir.display()));
    let mut text =
        format!("run again with {option} to resume: nothing is lost and nothing is sent twice");
    if input.skip > 0 {
        text += "\nleave out --skip: the lines it skipped are recorded as done";
    }
    if input.limit.is_some() {
        text += "\nleave out --debug-request-limit: each log is then imported to its end";
    }
    if let Some(pipes) = pipe_names(sources) {
        text += &format!("\nleave out {pipes}: what was sent of it is not recorded");
    }
    text
}

/// The names of the sources that cannot be read twice.
fn pipe_names(sources: &[Source]) -> Option<String> {
    let pipes = sources.iter().filter(|source| source.is_pipe());
    let names: Vec<String> = pipes.map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::encoding::Encoding;

    fn input(skip: u64, limit: Option<u64>) -> InputOptions {
        InputOptions {
            encoding: Encoding::default(),
            skip,
            limit,
            max_invalid: 10,
            flush_interval: Duration::ZERO,
            pipe_wait: Duration::ZERO,
            spool_max: 0,
        }
    }

    #[test]
    fn the_message_names_the_folder_as_the_shell_takes_it() {
        let text = |dir: &str| how_to_resume(Path::new(dir), &[], &input(0, None));
        let plain = "run again with --state-dir=/var/log/import-logs-state to resume: \
                     nothing is lost and nothing is sent twice";
        assert_eq!(text("/var/log/import-logs-state"), plain);
        assert!(text("/a b").contains(" '--state-dir=/a b' "));
    }

    #[test]
    fn the_message_names_what_does_not_go_with_a_ledger() {
        let sources = [Source::Stdin, Source::File("/no/such.log".into())];
        let text = how_to_resume(Path::new("/s"), &sources, &input(3, Some(9)));
        for part in ["out --skip:", "out --debug-request-limit:", "out stdin:"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = how_to_resume(Path::new("/s"), &sources[1..], &input(0, None));
        assert!(!text.contains("leave out"), "{text}");
    }
}
