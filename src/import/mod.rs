//! The parser thread: reads the logs one after the other and hands the requests of their lines to
//! the recorders.
//!
//! A line passes through two files. [`mod@file`] opens a log as a [`Job`](file::Job): it looks the
//! log up in the ledger, detects its format and reads its lines. [`mod@line`] takes one line: it
//! parses and filters it, finds its site, and writes its request into the queue.
//! [`open_log`] is what both know about the log.
//!
//! The other files handle what is special: [`sessions`] the lines of radio logs, [`spool`] pipes,
//! which cannot be read twice, and [`recovery`] the batches that an interrupted run left pending.
//! [`verify`] asks Matomo for the hits of lines that are done. [`invalid`] warns of logs that
//! mostly do not fit. [`rescue`] saves the pipes of a run that fails early, and [`last_words`] is
//! what a run says that a second signal ends. [`oldest_first`] puts the files of a pattern in
//! order. [`shard`] leaves the lines of other workers out. [`follow`] reads logs for as long as
//! they grow, [`objects`] reads those of a bucket side by side, and [`queue`] those that a queue
//! announces.

pub mod dump;
mod explain;
mod file;
mod follow;
pub mod format_selector;
mod invalid;
mod last_words;
pub mod ledger_handle;
mod line;
mod objects;
mod oldest_first;
mod open_log;
mod queue;
mod queued;
mod recovery;
mod rescue;
mod sessions;
mod shard;
mod spool;
pub mod template_memo;
mod verify;

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use follow::FollowOptions;
pub use last_words::LastWords;
pub use ledger_handle::LedgerHandle;
pub use line::{LineProcessor, Present, RequestWriter};
pub use oldest_first::OldestFirst;
pub use queue::WorkOptions;
pub use rescue::PipeRescue;
pub use sessions::{Radio, RadioOptions};
pub use shard::Shard;
pub use verify::VerifyOptions;

use crate::error::Result;
use crate::failpoint::reach;
use crate::filter::BotFigures;
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::encoding::Encoding;
use crate::input::lines::{LineOptions, Lines};
use crate::recorder::count_unsent;
use crate::report::{Account, Console, Row};
use crate::report_file::WebCounter;
use crate::shutdown::Shutdown;
use crate::site::Sites;
use crate::systemd::ServiceManager;
use file::OpenedLog;
use follow::FollowState;
use format_selector::FormatSelector;
use invalid::InvalidInSmallLogs;

/// How long to wait for input before checking whether to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often to check whether a named pipe has a writer.
const WRITER_POLL_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub struct InputOptions {
    pub encoding: Encoding,
    /// `--skip`: number of lines to skip, counted over all logs.
    pub skip: u64,
    /// `--debug-request-limit`: each log ends before its line of this number that fits the
    /// format.
    pub limit: Option<u64>,
    /// `--max-invalid`, in percent: more invalid lines of a log cause a warning. 100 is off.
    pub max_invalid: u8,
    /// `--flush-interval`: when a pipe has held lines back for this long, they are sent.
    pub flush_interval: Duration,
    /// `--pipe-wait`: how long to wait for the writer of a named pipe.
    pub pipe_wait: Duration,
    /// `--spool-max`, in bytes.
    pub spool_max: u64,
}

impl InputOptions {
    /// Options for reading a whole log.
    pub fn line_options(&self) -> LineOptions {
        LineOptions {
            encoding: self.encoding.clone(),
            ..LineOptions::default()
        }
    }

    /// Waits until a named pipe has a writer. Fails if none comes within `--pipe-wait`.
    fn wait_for_writer(
        &self,
        lines: &Lines,
        shutdown: &Shutdown,
    ) -> std::result::Result<(), InputError> {
        let begun = Instant::now();
        while lines.is_opening() && !shutdown.wait(WRITER_POLL_INTERVAL) {
            if begun.elapsed() >= self.pipe_wait {
                return Err(lines.no_writer(self.pipe_wait));
            }
        }
        Ok(())
    }
}

/// Imports logs, one after the other.
pub struct Importer {
    input: InputOptions,
    selector: FormatSelector,
    processor: LineProcessor,
    ledger: Option<LedgerHandle>,
    invalid_in_small_logs: InvalidInSmallLogs,
    account: Arc<Account>,
    console: Console,
    shutdown: Shutdown,
    service: ServiceManager,
    /// Whether logs are followed, and what was found out about the last one.
    follower: Option<FollowState>,
    /// An object that is read on later.
    paused: Option<(Box<OpenedLog>, Lines)>,
    /// When the first line was read that was not sent, of a pipe or of a log that is followed.
    unsent_since: Option<Instant>,
}

/// What the end of the run needs of the importer.
pub struct ImportEnd {
    pub sites: Sites,
    pub radio: Option<Radio>,
    pub web: Option<WebCounter>,
    pub bots: Option<BotFigures>,
    pub ledger: Option<LedgerHandle>,
    pub input: InputOptions,
}

/// Whether and where to continue after a line or a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    /// Skip the rest of this log (`--debug-request-limit`).
    EndLog,
    /// Read this line again later: other logs have earlier ones.
    Ahead,
    /// Stop the import: the recorders have failed or a shutdown is requested.
    Stop,
}

/// What an importer is made of.
pub struct ImporterParts {
    pub input: InputOptions,
    pub selector: FormatSelector,
    pub processor: LineProcessor,
    /// `None` for a dry run and for the sandbox.
    pub ledger: Option<LedgerHandle>,
    pub account: Arc<Account>,
    pub console: Console,
    pub shutdown: Shutdown,
    /// Hears that the parser is alive.
    pub service: ServiceManager,
    /// `--follow`
    pub follows: bool,
}

impl Importer {
    pub fn new(parts: ImporterParts) -> Self {
        let ImporterParts {
            input,
            selector,
            processor,
            ledger,
            account,
            console,
            shutdown,
            service,
            follows,
        } = parts;
        Self {
            input,
            selector,
            processor,
            ledger,
            invalid_in_small_logs: InvalidInSmallLogs::default(),
            account,
            console,
            shutdown,
            service,
            follower: follows.then(FollowState::default),
            paused: None,
            unsent_since: None,
        }
    }

    /// Imports all logs. A log that cannot be read is reported and skipped.
    ///
    /// # Errors
    ///
    /// Returns the error that stopped the import.
    pub fn run(&mut self, sources: &[Source]) -> Result<()> {
        let outcome = self.import_all(sources);
        self.end_reading();
        outcome
    }

    /// Hands over what was read, unless the run stops.
    fn end_reading(&mut self) {
        self.judge_small_logs();
        let queue = &mut self.processor.queue;
        if self.shutdown.requested() || queue.flush().is_err() {
            count_unsent(&self.account, queue.unsent());
        }
    }

    /// Drops the queue, which ends the recorders.
    pub fn finish(mut self) -> ImportEnd {
        ImportEnd {
            bots: self.processor.bot_figures(),
            sites: self.processor.sites,
            radio: self.processor.radio,
            web: self.processor.web,
            ledger: self.ledger,
            input: self.input,
        }
    }

    fn import_all(&mut self, sources: &[Source]) -> Result<()> {
        let sources = self.without_done_objects(sources);
        // Every other log gets a row, even if nothing is read of it.
        let rows: Vec<Row> = sources
            .iter()
            .map(|source| self.account.open(source.to_string()))
            .collect();
        let mut remaining = sources.as_slice();
        let outcome = self.import_in_order(&mut remaining, rows);
        if let Some(ledger) = &self.ledger {
            ledger.save_pipes(remaining, &self.input, &self.shutdown, &self.console);
        }
        outcome
    }

    /// Imports logs until one stops the import. `remaining` becomes the logs that were not begun.
    fn import_in_order(&mut self, remaining: &mut &[Source], rows: Vec<Row>) -> Result<()> {
        if self.import_spools(remaining)? == Flow::Stop {
            return Ok(());
        }
        let mut rows = rows.into_iter();
        while let Some((source, rest)) = remaining.split_first() {
            if self.shutdown.requested() {
                break;
            }
            let is_object = |source: &&Source| matches!(source, Source::Object(_));
            let objects = remaining.iter().take_while(is_object).count();
            let flow = match (objects, rows.next()) {
                (_, None) => break,
                (0, Some(row)) => {
                    *remaining = rest;
                    self.import_source(source, row)?
                }
                (_, Some(row)) => {
                    let (objects, rest) = remaining.split_at(objects);
                    *remaining = rest;
                    let others = rows.by_ref().take(objects.len() - 1);
                    let rows = iter::once(row).chain(others).collect();
                    self.import_objects(objects, rows)?
                }
            };
            if flow == Flow::Stop {
                return Ok(());
            }
            reach("between-files");
        }
        // Settling what had to wait may take long.
        if !self.shutdown.requested() && self.processor.queue.flush().is_ok() {
            self.wait_until_sent();
            self.take_queued();
            self.import_waiting(recovery::Patience::Wait)?;
        }
        Ok(())
    }
}
