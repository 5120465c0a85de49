//! What a second signal costs, and what is saved before the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::InputOptions;
use super::ledger_handle::{LedgerHandle, how_to_resume, nothing_to_remember, place_beside};
use crate::input::discover::Source;
use crate::ledger::Ledger;
use crate::report::{Account, Console, Count, grouped};

/// How long the ledger of a run without a state directory may take to be written.
const SAVE_TIMEOUT: Duration = Duration::from_millis(100);

/// Reports what is given up, for [`crate::shutdown::Shutdown::on_second_signal`].
pub struct LastWords {
    /// A ledger in memory.
    unsaved: Option<Arc<Ledger>>,
    /// The run has a ledger, in memory or not.
    has_ledger: bool,
    /// Set when the ledger in memory is about to be written, which happens once.
    is_saved: Arc<AtomicBool>,
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
        let unsaved = ledger.filter(|handle| handle.state_dir.is_none());
        Self {
            unsaved: unsaved.map(|handle| Arc::clone(&handle.ledger)),
            has_ledger: ledger.is_some(),
            is_saved: ledger.map_or_else(Arc::default, |handle| Arc::clone(&handle.is_saved)),
            sources: sources.to_vec(),
            input: input.clone(),
            account: Arc::clone(account),
            console: console.clone(),
        }
    }

    /// Prints them. Takes little more than [`SAVE_TIMEOUT`].
    pub fn say(self) {
        let console = &self.console;
        console.leave_bar();
        if self.has_ledger {
            let under_way = &self.account.under_way;
            if let Some(text) = cost(under_way.requests(), under_way.hits()) {
                console.note(text);
            }
        }
        if let Some(ledger) = self.unsaved.clone() {
            self.save(ledger);
        }
        console.release();
    }

    fn save(&self, ledger: Arc<Ledger>) {
        let sends = self.account.under_way.requests() > 0;
        let place = place_beside(&self.sources);
        let Some(place) = place.filter(|_| sends || !nothing_to_remember(&self.account)) else {
            return;
        };
        // The end of the run is writing it already.
        if self.is_saved.swap(true, Ordering::AcqRel) {
            thread::sleep(SAVE_TIMEOUT);
            return;
        }
        let (sender, receiver) = bounded(1);
        let started = thread::Builder::new()
            .name("last save".to_owned())
            .spawn(move || sender.send(ledger.save_in(&place)));
        let saved = started
            .ok()
            .and_then(|_| receiver.recv_timeout(SAVE_TIMEOUT).ok());
        match saved {
            Some(Ok(dir)) => {
                let dir = std::path::absolute(&dir).unwrap_or(dir);
                let text = how_to_resume(&dir, &self.sources, &self.input);
                self.console.note(text);
            }
            Some(Err(_)) | None => self.console.warn(format!(
                "there was no time to write down which lines are done: running again would send \
                 {} lines again",
                grouped(self.account.total(Count::Imported))
            )),
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
