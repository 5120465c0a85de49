//! The parser: logs, one after the other, through format, filters, hit and site into the recorders' parcels.

mod again;
pub mod dump;
pub mod format_selector;
mod known;
pub mod ledger_handle;
mod line;
mod log;
pub mod pipe;
mod radio;
pub mod resume;
mod settle;
mod spooled;
mod way;

pub use line::Requests;
pub use radio::{Radio, RadioOptions};
pub use spooled::ReadSpool;

use crate::input::encoding::Encoding;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::error::Result;
use crate::failpoint::reach;
use crate::filter::Filters;
use crate::hit::HitOptions;
use crate::import::format_selector::FormatSelector;
use crate::input::discover::Source;
use crate::ledger::{Ledger, PendingBatch, TargetKey};
use crate::matomo::api::Api;
use crate::recorder::InDoubt;
use crate::recorder::{Queue, count_unsent};
use crate::replay::ReplayOptions;
use crate::report::rejects::Rejects;
use crate::report::{Account, Console, Row};
use crate::sandbox::HitStore;
use crate::shutdown::Shutdown;
use crate::site::Sites;

/// How often a wait for input looks whether the program is to stop.
pub const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct InputOptions {
    pub encoding: Encoding,
    /// Lines passed over, counted over all files.
    pub skip: u64,
    /// Each file ends before its own line of this number that fits the format.
    pub limit: Option<u64>,
    /// When a pipe pauses so long, what is there goes out.
    pub flush_interval: Duration,
}

/// Everything that a line meets on its way.
pub struct Importer {
    pub input: InputOptions,
    pub chooser: FormatSelector,
    pub hit: HitOptions,
    /// `--ignore-groups`.
    pub ignored_groups: Vec<String>,
    /// Which of these a format lacks, by place and the format's name; the user has been told.
    pub lacking_groups: HashSet<(usize, &'static str)>,
    pub filters: Filters,
    pub replay: Option<ReplayOptions>,
    /// `None`: plain hits, also of radio logs.
    pub radio: Option<Radio>,
    pub requests: Requests,
    pub sites: Sites,
    pub api: Api,
    pub outbox: Queue,
    pub account: Arc<Account>,
    /// Bytes read of all logs so far, packed as they are, for the progress report.
    pub bytes: Arc<AtomicU64>,
    pub rejects: Option<Arc<Rejects>>,
    pub console: Console,
    pub stop: Shutdown,
    /// Lines still to be passed over.
    pub skip: u64,
    /// For agents and visitors.
    pub hasher: FixedState,
    /// The sandbox's store, which is told of connections that are sent as plain hits.
    pub sandbox: Option<HitStore>,
    /// `None`: nothing is kept of what was done (a dry run, the sandbox).
    pub books: Option<LedgerHandle>,
}

/// What is done, and what an earlier run left unclear.
pub struct LedgerHandle {
    pub ledger: Arc<Ledger>,
    /// With `--state-dir`: where the ledger is kept. Without it the ledger lives in memory, until a stopped import
    /// writes it down.
    pub kept: Option<Kept>,
    /// Batches of an earlier run that may or may not be at the server.
    pub pending: Vec<PendingBatch>,
    pub in_doubt: InDoubt,
    /// `--request-timeout`: so long a server may still be at a request that was not answered.
    pub timeout: Duration,
    /// Spools of which there is no more to be read.
    pub spools: Vec<ReadSpool>,
}

#[derive(Clone, Debug)]
pub struct Kept {
    pub dir: PathBuf,
    pub target: TargetKey,
}

/// Whether a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    /// This log has ended before its end (`--debug-request-limit`).
    LogEnds,
    /// The recorders take nothing more, or the program is to stop.
    Over,
}

/// What is left of the parser for the end of the run.
pub struct Remains {
    pub sites: Sites,
    pub radio: Option<Radio>,
    pub books: Option<LedgerHandle>,
}

impl Importer {
    /// Reads all logs. A log that cannot be read is named and passed over; an error stops the import.
    pub fn run(&mut self, sources: &[Source]) -> Result<()> {
        let outcome = self.import_all(sources);
        // What was read goes out, also before an error is told; what nobody takes is counted.
        if self.stop.requested() || self.outbox.flush().is_err() {
            count_unsent(&self.account, self.outbox.unsent());
        }
        outcome
    }

    /// Ends the recorders.
    pub fn end(self) -> Remains {
        Remains {
            sites: self.sites,
            radio: self.radio,
            books: self.books,
        }
    }

    fn import_all(&mut self, sources: &[Source]) -> Result<()> {
        // Each has its row, also where it turns out that there is nothing to read.
        let rows: Vec<Row> = sources
            .iter()
            .map(|source| self.account.open(source.to_string()))
            .collect();
        let mut left = sources;
        let outcome = self.import_in_turn(&mut left, rows);
        if let Some(kept) = self.kept() {
            pipe::keep(left, &kept, &self.options(), &self.stop, &self.console);
        }
        outcome
    }

    /// `left`: those that were not begun.
    fn import_in_turn(&mut self, left: &mut &[Source], rows: Vec<Row>) -> Result<()> {
        if self.import_spools(left)? == Flow::Over {
            return Ok(());
        }
        for row in rows {
            let Some((source, rest)) = left.split_first() else {
                break;
            };
            if self.stop.requested() {
                break;
            }
            *left = rest;
            if self.import(source, row)? == Flow::Over {
                break;
            }
            reach("between-files");
        }
        Ok(())
    }
}
