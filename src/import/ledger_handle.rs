//! The ledger of a run and what belongs to it: opened before it, and written down at its end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use crate::error::Result;
use crate::import::resume;
use crate::import::{Kept, LedgerHandle};
use crate::input::discover::Source;
use crate::ledger::{Ledger, TargetKey};
use crate::recorder::DeliveryOptions;
use crate::report::{Account, Console};

/// The ledger: in the state directory, or in memory until a stopped import writes it down.
pub fn open(
    url: &Url,
    state_dir: Option<PathBuf>,
    idsite: Option<&str>,
    delivery: &DeliveryOptions,
    console: &Console,
) -> Result<LedgerHandle> {
    let target = TargetKey::new(url, idsite);
    let (ledger, pending, kept) = match state_dir {
        Some(dir) => {
            let opened = Ledger::open(&dir, &target)?;
            opened
                .warnings
                .into_iter()
                .for_each(|warning| console.warn_incomplete(warning));
            (opened.ledger, opened.pending, Some(Kept { dir, target }))
        }
        None => (Ledger::in_memory(&target)?, Vec::new(), None),
    };
    Ok(LedgerHandle {
        ledger: Arc::new(ledger),
        kept,
        pending,
        in_doubt: delivery.in_doubt,
        timeout: delivery.timeout,
        spools: Vec::new(),
    })
}

/// Writes down what is done. A stopped import without a state directory gets one now, so that the next run can go on.
pub fn close(
    books: LedgerHandle,
    sources: &[Source],
    account: &Account,
    command_line: &[OsString],
    stopped: bool,
    console: &Console,
) -> Result<()> {
    let LedgerHandle {
        ledger,
        kept,
        spools,
        pending,
        ..
    } = books;
    if kept.is_some() {
        for spool in spools {
            spool.close(&ledger, console)?;
        }
        for batch in pending.iter().filter(|batch| batch.recorded.is_none()) {
            let logs: Vec<String> = batch
                .lines
                .iter()
                .map(|(_, path, _)| path.display().to_string())
                .collect();
            console.warn_incomplete(format!(
                "{} hits of {} are still in doubt since an interrupted run: import that log again with this --state-dir",
                batch.hits,
                logs.join(", ")
            ));
        }
        return ledger.close();
    }
    if stopped {
        resume::leave_ledger(&ledger, sources, account, command_line, console);
    }
    Ok(())
}
