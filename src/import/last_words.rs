//! What a second signal costs, and what is saved before the process ends.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::InputOptions;
use super::ledger_handle::{LedgerHandle, UnsavedLedger, nothing_to_remember};
use crate::input::discover::Source;
use crate::report::{Account, Console, Count, grouped};

/// How long the ledger of a run without a state directory may take to be written.
const SAVE_TIMEOUT: Duration = Duration::from_millis(100);

/// Reports what is given up, for [`crate::shutdown::Shutdown::on_second_signal`].
pub struct LastWords {
    unsaved: Option<Arc<UnsavedLedger>>,
    /// The run has a ledger, in memory or not.
    has_ledger: bool,
    sources: Vec<Source>,
    input: InputOptions,
    account: Arc<Account>,
    console: Console,
}

impl LastWords {
    pub fn new(
        ledger: Option<&LedgerHandle>,
        sources: &[Source],
        input: &InputOptions,
        account: &Arc<Account>,
        console: &Console,
    ) -> Self {
        Self {
            unsaved: ledger.and_then(|handle| handle.unsaved.clone()),
            has_ledger: ledger.is_some(),
            sources: sources.to_vec(),
            input: input.clone(),
            account: Arc::clone(account),
            console: console.clone(),
        }
    }

    /// Prints them, and saves a ledger in memory meanwhile: on a stopped terminal, printing never
    /// ends. Else takes little more than [`SAVE_TIMEOUT`].
    pub fn say(self) {
        let words = Arc::new(self);
        let (cost_is_printed, wait_for_cost) = bounded::<()>(0);
        let (saved, wait_for_saved) = bounded::<()>(0);
        let saving = Arc::clone(&words);
        let started = thread::Builder::new()
            .name("last save".to_owned())
            .spawn(move || {
                saving.save(|| {
                    // Ends when the sender is dropped.
                    let _ = wait_for_cost.recv();
                });
                drop(saved);
            });
        words.print_cost();
        drop(cost_is_printed);
        let outcome = wait_for_saved.recv_timeout(SAVE_TIMEOUT);
        if words.must_save() && (started.is_err() || outcome == Err(RecvTimeoutError::Timeout)) {
            words.console.warn(format!(
                "there was no time to write down which lines are done: running again would send \
                 {} lines again",
                grouped(words.account.total(Count::Imported))
            ));
        }
        words.console.release();
    }

    fn print_cost(&self) {
        self.console.leave_bar();
        let under_way = &self.account.under_way;
        let text = cost(under_way.requests(), under_way.hits()).filter(|_| self.has_ledger);
        if let Some(text) = text {
            self.console.note(text);
        }
    }

    fn must_save(&self) -> bool {
        let sends = self.account.under_way.requests() > 0;
        self.unsaved.is_some() && (sends || !nothing_to_remember(&self.account))
    }

    fn save(&self, written: impl FnOnce()) {
        if let Some(unsaved) = self.unsaved.as_ref().filter(|_| self.must_save()) {
            unsaved.save(&self.sources, &self.input, &self.console, written);
        }
    }
}

/// What becomes of requests that wait for a response. `None` without such requests.
fn cost(requests: u64, hits: u64) -> Option<String> {
    let requests = match requests {
        0 => return None,
        1 => "1 request under way is".to_owned(),
        requests => format!("{} requests under way are", grouped(requests)),
    };
    Some(format!(
        "{requests} not waited for: the next run asks Matomo about {} hits",
        grouped(hits)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_what_the_next_run_asks_about() {
        assert_eq!(cost(0, 0), None);
        assert_eq!(
            cost(1, 1).unwrap(),
            "1 request under way is not waited for: the next run asks Matomo about 1 hits"
        );
        assert_eq!(
            cost(2, 1400).unwrap(),
            "2 requests under way are not waited for: the next run asks Matomo about 1,400 hits"
        );
    }
}
