//! `--follow`: reads logs to their end, and then what is added to them, until a signal
//! (guide/guarantees.md, "Following logs").
//!
//! A round looks at the names of the command line again, reads what was added to the logs that are
//! open, and then opens what is new. A log stays open between rounds as a [`Tail`], so that it is
//! read to its end when it is renamed or deleted. Everything else is known to the ledger: which log
//! a file is, and which of its lines are done.

mod scan;
mod tail;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

pub(super) use self::scan::FollowState;
use self::scan::{ClosedFile, Follow};
pub(super) use self::tail::ReadSoFar;
use self::tail::{Tail, TailEnd};
use super::file::Job;
use super::recovery::Patience;
use super::{Flow, Importer};
use crate::error::Result;
use crate::failpoint::reach;
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::LineOptions;
use crate::input::regular_file::open_regular;
use crate::ledger::{FileChange, FileId, LogFile, LogId, LogState};
use crate::report::{Count, grouped};

/// Rounds are at least so far apart, however often a log changes.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// How often to look for a signal and for lines that have to be sent.
const WAIT_INTERVAL: Duration = Duration::from_millis(50);
/// A log that cannot be read is tried again after this time.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// A compressed file is read when it has not changed for this time, since it may still be written.
const PACKED_QUIET: Duration = Duration::from_secs(2);
/// How often Matomo is asked to confirm what it acknowledged.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);
/// How often hosts without a site are looked up again: the site may have been created since.
const SITES_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the ledger forgets what is no longer needed.
const FORGET_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How many files of similar names are compared with a log that has lost its name.
const MAX_SIBLINGS: usize = 50;

/// How logs are followed.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// `--poll-interval`: how often to look at the logs, whether changes are reported or not.
    pub poll_interval: Duration,
}

/// What the ledger says about a file that is followed.
enum FollowedLookup {
    Read(LogState),
    /// It has nothing that is not read.
    Skip,
    /// Another file with the same content is read first.
    Later,
}

/// When something is due that is not done in each round.
struct Timer(Duration, Instant);

impl Timer {
    fn new(interval: Duration) -> Self {
        Self(interval, Instant::now())
    }

    fn is_due(&mut self) -> bool {
        let is_due = self.1.elapsed() >= self.0;
        if is_due {
            self.1 = Instant::now();
        }
        is_due
    }
}

struct Timers {
    confirm: Timer,
    sites: Timer,
    forget: Timer,
}

impl Importer {
    /// Follows the logs with these names, until a signal or an error.
    ///
    /// # Errors
    ///
    /// Returns the error that stopped the import.
    pub fn follow(&mut self, names: &[OsString], options: FollowOptions) -> Result<()> {
        let mut follow = Follow::new(names, options, &self.console);
        let outcome = self.follow_until_stopped(&mut follow);
        self.service.stopping();
        for tail in follow.tails.drain(..) {
            self.close_tail(tail, Flow::Stop)?;
        }
        self.end_reading();
        outcome
    }

    fn follow_until_stopped(&mut self, follow: &mut Follow) -> Result<()> {
        // What earlier runs left may take long.
        self.service.ready();
        if self.import_spools(&[])? == Flow::Stop {
            return Ok(());
        }
        let mut timers = Timers {
            confirm: Timer::new(CONFIRM_INTERVAL),
            sites: Timer::new(SITES_INTERVAL),
            forget: Timer::new(FORGET_INTERVAL),
        };
        loop {
            self.show_status(follow);
            if self.follow_round(follow)? == Flow::Stop
                || self.wait_for_change(follow, &mut timers) == Flow::Stop
            {
                return Ok(());
            }
            reach("between-rounds");
        }
    }

    /// Reads everything that is new.
    fn follow_round(&mut self, follow: &mut Follow) -> Result<Flow> {
        let mut found = follow.scan(&self.console);
        if let Some(follower) = &mut self.follower {
            follower.reported.retain(|path| follow.is_known(path));
        }
        // What was renamed comes before what has its name now.
        follow.tails.sort_by_key(|tail| tail.is_named);
        // Each one once: those that have to be looked at again come behind them.
        let (mut index, mut left) = (0, follow.tails.len());
        while let (1.., Some(tail)) = (left, follow.tails.get_mut(index)) {
            left -= 1;
            if self.shutdown.requested() {
                return Ok(Flow::Stop);
            }
            self.service.beat();
            let end = self.read_tail(tail)?;
            match end {
                TailEnd::Kept => index += 1,
                TailEnd::Stopped => return Ok(Flow::Stop),
                TailEnd::Unread => {
                    let tail = follow.tails.remove(index);
                    if self.examine(follow, tail.path, tail.file)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                TailEnd::Failed => {
                    let tail = follow.tails.remove(index);
                    self.give_up_tail(follow, &tail, ClosedFile::failed(tail.seen));
                    self.close_tail(tail, Flow::Continue)?;
                }
                TailEnd::Over | TailEnd::Truncated => {
                    let tail = follow.tails.remove(index);
                    let (path, log) = (tail.path.clone(), tail.log);
                    let is_named = tail.is_named;
                    if self.close_tail(tail, Flow::Continue)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                    if end == TailEnd::Truncated {
                        // The copy may appear only now.
                        if let Some(log) = log {
                            follow.try_later(&path, log);
                        }
                        if self.finish_sibling(follow, &path, log)? == Flow::Stop {
                            return Ok(Flow::Stop);
                        }
                        if is_named {
                            found.push(path);
                        }
                    }
                }
            }
        }
        // Of files of the same time, that with the longer name was rotated earlier.
        found.reverse();
        self.sort_oldest_first(&mut found);
        for path in found {
            if self.shutdown.requested() {
                return Ok(Flow::Stop);
            }
            self.service.beat();
            let file = match open_regular(&path) {
                Ok(file) => file,
                Err(error) => {
                    let log = path.display().to_string();
                    let error = InputError::Open { log, source: error };
                    // A file that is gone is found again when it is back.
                    if let Ok(metadata) = std::fs::metadata(&path) {
                        self.report_once(&path, || error.of_file());
                        let seen = ClosedFile::failed(FileId::from(&metadata));
                        follow.seen.insert(path, seen);
                    }
                    continue;
                }
            };
            if follow.is_new_log(&path, &file) {
                let before = self.ledger.as_ref();
                let before = before.map(|handle| handle.ledger.last_logs_at(&path));
                for log in before.unwrap_or_default() {
                    if !self.is_still(&path, log)
                        && self.finish_sibling(follow, &path, Some(log))? == Flow::Stop
                    {
                        return Ok(Flow::Stop);
                    }
                }
            }
            if self.examine(follow, path, file)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        for (path, log) in follow.unfinished() {
            if self.finish_sibling(follow, &path, Some(log))? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        self.import_waiting(Patience::OnlyReady)
    }

    /// Remembers a log that is closed before it was read to its end.
    fn give_up_tail(&self, follow: &mut Follow, tail: &Tail, seen: ClosedFile) {
        match (tail.is_named, tail.log) {
            (true, _) => {
                follow.seen.insert(tail.path.clone(), seen);
            }
            // Its name leads to another file.
            (false, Some(log)) => follow.try_later(&tail.path, log),
            (false, None) => {}
        }
    }

    /// Waits until a log changes, but not longer than `--poll-interval`. Meanwhile, sends what was
    /// read when that is due.
    fn wait_for_change(&mut self, follow: &mut Follow, timers: &mut Timers) -> Flow {
        let begun = Instant::now();
        let mut has_changed = false;
        loop {
            if self.shutdown.requested() {
                return Flow::Stop;
            }
            self.show_status(follow);
            if self.is_flush_due() && self.flush_paced() == Flow::Stop {
                return Flow::Stop;
            }
            if timers.confirm.is_due() {
                self.processor.queue.confirm();
            }
            if timers.sites.is_due() {
                self.processor.sites.forget_unmatched();
            }
            if timers.forget.is_due()
                && let Some(handle) = &self.ledger
            {
                let open: Vec<LogId> = follow.tails.iter().filter_map(|tail| tail.log).collect();
                handle.ledger.forget_old(&open);
            }
            let elapsed = begun.elapsed();
            let at_least = match has_changed {
                true => MIN_PAUSE,
                false => follow.options.poll_interval,
            };
            if elapsed >= at_least {
                return Flow::Continue;
            }
            let flush = self.flush_at();
            let flush = flush.map(|at| at.saturating_duration_since(Instant::now()));
            let wait = WAIT_INTERVAL
                .min(at_least - elapsed)
                .min(flush.unwrap_or(WAIT_INTERVAL));
            match has_changed {
                true => std::thread::sleep(wait),
                false => has_changed = follow.watch.wait(wait),
            }
        }
    }

    /// Tells systemd that the parser is alive, and what it does.
    fn show_status(&self, follow: &Follow) {
        self.service.beat();
        self.service.status(|| {
            format!(
                "{} logs open; {} lines read, {} imported",
                follow.tails.len(),
                grouped(self.account.total(Count::Read)),
                grouped(self.account.total(Count::Imported)),
            )
        });
    }

    /// Reads a file from where the ledger resumes. A file that is not compressed stays open.
    fn examine(&mut self, follow: &mut Follow, path: PathBuf, file: File) -> Result<Flow> {
        let Ok(metadata) = file.metadata() else {
            return Ok(Flow::Continue);
        };
        let (seen, begun) = (FileId::from(&metadata), Instant::now());
        // It may have been renamed after the names were looked at.
        if follow
            .tails
            .iter()
            .any(|tail| tail.seen.is_same_file(&seen))
        {
            return Ok(Flow::Continue);
        }
        let source = Source::File(path.clone());
        let row = follow.row(&path, &self.account);
        if seen.size == 0 {
            let tail = Tail::new(path, file, seen, None, None);
            return self.keep_open(follow, tail);
        }
        let is_packed = match LogFile::is_packed_file(&file) {
            Ok(is_packed) => is_packed,
            Err(error) => {
                let log = path.display().to_string();
                let error = InputError::Open { log, source: error };
                self.report_once(&path, || error.of_file());
                follow.seen.insert(path, ClosedFile::failed(seen));
                return Ok(Flow::Continue);
            }
        };
        if is_packed && !is_quiet(&metadata) {
            return Ok(Flow::Continue);
        }
        let state = match self.look_up_followed(follow, &path, &file, is_packed) {
            Ok(FollowedLookup::Later) if is_packed => return Ok(Flow::Continue),
            Ok(FollowedLookup::Later) => {
                return self.keep_open(follow, Tail::waiting(path, file, seen, begun));
            }
            Ok(FollowedLookup::Skip) => None,
            Ok(FollowedLookup::Read(state)) => Some(state),
            Err(error) => {
                let reason = self.why_unreadable(&source, &error);
                self.report_once(&path, || reason);
                follow.seen.insert(path, ClosedFile::failed(seen));
                return Ok(Flow::Continue);
            }
        };
        let log = state.as_ref().map(|state| state.log);
        let mut so_far = None;
        if let Some(state) = state {
            let options = LineOptions {
                incomplete_last: is_packed,
                ..self.input.line_options()
            };
            let job = Job {
                state: Some(state),
                followed: (!is_packed).then_some(&file),
                ..Job::new(&source, row, options)
            };
            self.follower = Some(self.follower.take().unwrap_or_default().for_next_log());
            let outcome = self.import_job(job);
            let follower = self.follower.get_or_insert_default();
            so_far = follower.opened.take();
            let must_wait = std::mem::take(&mut follower.must_wait);
            let has_failed = std::mem::take(&mut follower.has_failed);
            match outcome {
                Ok(Flow::Stop) => {
                    follow.tails.extend(
                        so_far.map(|so_far| Tail::new(path, file, seen, log, Some(so_far))),
                    );
                    return Ok(Flow::Stop);
                }
                Ok(_) if must_wait && is_packed => return Ok(Flow::Continue),
                Ok(_) if must_wait => {
                    return self.keep_open(follow, Tail::waiting(path, file, seen, begun));
                }
                Ok(_) if has_failed => {
                    follow.seen.insert(path, ClosedFile::failed(seen));
                    return Ok(Flow::Continue);
                }
                Ok(_) => {}
                Err(error) if error.is_about_log() => {
                    self.report_once(&path, || error.to_string());
                    follow.seen.insert(path, ClosedFile::failed(seen));
                    return Ok(Flow::Continue);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(follower) = &mut self.follower {
            follower.reported.remove(&path);
        }
        reach("between-files");
        match is_packed {
            true => {
                follow.seen.insert(path, ClosedFile::read(seen));
                Ok(Flow::Continue)
            }
            false => self.keep_open(follow, Tail::new(path, file, seen, log, so_far)),
        }
    }

    /// Keeps a log open. If too many are, closes the one that has not changed for the longest time.
    fn keep_open(&mut self, follow: &mut Follow, tail: Tail) -> Result<Flow> {
        follow.tails.push(tail);
        let mut flow = Flow::Continue;
        while follow.tails.len() > follow.max_open && flow != Flow::Stop {
            let tails = follow.tails.iter().enumerate();
            let oldest = tails.min_by_key(|(_, tail)| (!tail.is_named, tail.changed));
            let Some(index) = oldest.map(|(index, _)| index) else {
                break;
            };
            let tail = follow.tails.remove(index);
            self.give_up_tail(follow, &tail, ClosedFile::read(tail.seen));
            flow = self.close_tail(tail, Flow::Continue)?;
        }
        Ok(flow)
    }

    /// Finds out which log a file is. Waits for what this run has read of it in another file.
    fn look_up_followed(
        &mut self,
        follow: &mut Follow,
        path: &Path,
        file: &File,
        is_packed: bool,
    ) -> Result<FollowedLookup> {
        for is_again in [false, true] {
            let Some(state) = self.identify_open(path, file, is_packed)? else {
                return Ok(FollowedLookup::Skip);
            };
            let name = path.display();
            let change = state.change;
            self.console
                .debug(1, || format!("{name}: {change:?} {:?}", state.known_as));
            match change {
                FileChange::Beginning | FileChange::Done => return Ok(FollowedLookup::Skip),
                FileChange::ReadAlready if !state.has_more => return Ok(FollowedLookup::Skip),
                FileChange::ReadAlready if is_again => break,
                FileChange::ReadAlready => {
                    // A longer copy has taken the name of a log that was read to its end.
                    if let Some(tail) = follow.take_replaced(state.log)
                        && self.close_tail(tail, Flow::Continue)? == Flow::Stop
                    {
                        break;
                    }
                    if follow.reads(state.log) {
                        break;
                    }
                    if !self.wait_for_recorders(state.log) || self.shutdown.requested() {
                        break;
                    }
                    if let Some(handle) = &self.ledger {
                        handle.ledger.release(state.log);
                    }
                }
                _ => return Ok(FollowedLookup::Read(state)),
            }
        }
        Ok(FollowedLookup::Later)
    }

    fn identify_open(&self, path: &Path, file: &File, is_packed: bool) -> Result<Option<LogState>> {
        if is_packed {
            let identified = self.identify(path, |file| file)?;
            return Ok(identified.map(|(state, _)| state));
        }
        let Some(handle) = &self.ledger else {
            return Ok(None);
        };
        let plain = LogFile::plain(path, file);
        let mut file = plain.map_err(|error| super::file::unreadable(path, error))?;
        handle.ledger.lookup(file.probe()).map(Some)
    }

    /// Reads the rest of a log that has this name no longer: it was rotated while no run followed
    /// it, or copied and then truncated.
    fn finish_sibling(
        &mut self,
        follow: &mut Follow,
        path: &Path,
        log: Option<LogId>,
    ) -> Result<Flow> {
        let Some(log) = log.filter(|log| !follow.reads(*log)) else {
            return Ok(Flow::Continue);
        };
        let Some(sibling) = self.find_sibling(path, log) else {
            return Ok(Flow::Continue);
        };
        match open_regular(&sibling) {
            Ok(file) if is_complete(&file) => {
                follow.has_found(log);
                self.examine(follow, sibling, file)
            }
            // Often a rotated log is compressed at once.
            _ => {
                follow.try_later(path, log);
                Ok(Flow::Continue)
            }
        }
    }

    /// Finds a log by its content among files whose names begin alike. The newest come first.
    pub(super) fn find_sibling(&self, path: &Path, log: LogId) -> Option<PathBuf> {
        scan::siblings(path)
            .into_iter()
            .take(MAX_SIBLINGS)
            .find(|sibling| self.is_still(sibling, log))
    }

    fn sort_oldest_first(&self, paths: &mut [PathBuf]) {
        super::OldestFirst::new(&self.selector, &self.input.encoding).sort(paths);
    }

    /// Prints why a log cannot be read, once until it can.
    fn report_once(&mut self, path: &Path, reason: impl FnOnce() -> String) {
        let follower = self.follower.get_or_insert_default();
        follower.has_failed = true;
        if follower.report(path) {
            self.console.warn_incomplete(reason());
        }
    }

    /// Reports a log that cannot be read any further.
    pub(super) fn report_unreadable(&mut self, source: &Source, error: &InputError) {
        let path = match source {
            Source::File(path) if self.follower.is_some() => path,
            _ => return self.console.warn_incomplete(error.of_file()),
        };
        // It is another log now, which the next round reads.
        if error.is_replaced() {
            if let Some(follower) = &mut self.follower {
                follower.must_wait = true;
            }
            return;
        }
        self.report_once(path, || error.of_file());
    }
}

/// Whether a file is not compressed, or nothing writes to it any more.
fn is_complete(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| is_quiet(&metadata))
        || LogFile::is_packed_file(file).is_ok_and(|is_packed| !is_packed)
}

/// Whether nothing has written to a file for a while.
fn is_quiet(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    let changed = metadata.mtime().max(metadata.ctime());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    // A clock may be ahead.
    now < changed || now.saturating_sub(changed) > PACKED_QUIET.as_secs() as i64
}
