//! What all recorders share: the connection, the ledger, and what this run knows about the server.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::DeliveryOptions;
use crate::ledger::Ledger;
use crate::matomo::api::Api;
use crate::matomo::client::Client;
use crate::matomo::exchange::{Exchange, ExchangeResult};
use crate::matomo::visit_log::VisitLog;
use crate::report::redact;
use crate::report::rejects::Rejects;
use crate::report::{Account, Console};
use crate::secret::Secret;
use crate::shutdown::Shutdown;
use crate::sync::{Condvar, Mutex};

/// How long a successful token check is valid for a batch of one hit. Asking for each hit would
/// double the number of requests.
const TOKEN_CHECK_TTL: Duration = Duration::from_secs(5);

/// How often a recorder that waits for a lock checks for a shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Shared by all recorders of a run.
pub struct Context {
    pub client: Client,
    pub api: Api,
    pub visits: VisitLog,
    pub token: Option<Secret>,
    pub account: Arc<Account>,
    pub console: Console,
    pub stop: Shutdown,
    pub options: DeliveryOptions,
    pub ledger: Option<Arc<Ledger>>,
    pub rejects: Option<Arc<Rejects>>,
    pub server: ServerState,
}

impl Context {
    /// Prints the tracker's response, with `--debug-tracker`.
    pub fn print_response(&self, exchange: &Exchange) {
        if let ExchangeResult::Response(answer) = &exchange.result
            && self.options.debug_tracker
        {
            let text = redact::text(&answer.body);
            self.console
                .note(format!("tracker: {} {}", answer.status, text.trim()));
        }
    }

    /// Warns once about text around the JSON of a response, such as a PHP warning.
    pub fn warn_of_noise(&self, noise: Option<String>) {
        if let Some(noise) = noise.filter(|_| !self.options.debug_tracker) {
            self.server.noise_reported.get_or_init(|| {
                self.console.warn(format!(
                    "Matomo's answer holds text that does not belong there: {}",
                    redact::quote(noise.as_bytes())
                ))
            });
        }
    }
}

/// What this run has learned about the server.
#[derive(Debug, Default)]
pub struct ServerState {
    pub first_batches: FirstBatchLock,
    pub backoff: Backoff,
    /// Number of acknowledged batches.
    acknowledged: AtomicU64,
    /// Sites for which a hit was accepted.
    accepted_sites: Mutex<HashSet<u32>>,
    /// Time of the last successful token check.
    token_checked: Mutex<Option<Instant>>,
    noise_reported: OnceLock<()>,
}

impl ServerState {
    pub fn count_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of batches acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Records that Matomo accepted hits for these sites.
    pub fn accept_sites(&self, sites: impl IntoIterator<Item = u32>) {
        self.accepted_sites.lock().extend(sites);
    }

    /// Whether Matomo has accepted a hit for any of these sites.
    pub fn has_accepted(&self, days: &[SiteDay]) -> bool {
        let accepted = self.accepted_sites.lock();
        days.iter().any(|(site, _)| accepted.contains(site))
    }

    /// Records a successful token check.
    pub fn set_token_checked(&self) {
        *self.token_checked.lock() = Some(Instant::now());
    }

    /// Whether a token check succeeded within the last seconds.
    pub fn is_token_checked(&self) -> bool {
        let checked = *self.token_checked.lock();
        checked.is_some_and(|time| time.elapsed() < TOKEN_CHECK_TTL)
    }
}

/// Index of a site, and a day counted from 1970, UTC.
pub type SiteDay = (u32, i32);

/// Lets the first batch of each site and day go alone; others of that site and day wait for it.
///
/// The first batch of a site and past day makes Matomo write to one table inside the batch's
/// transaction. If several PHP processes do that at once, the database runs into a deadlock and
/// drops an unknown part of the hits. After one batch is acknowledged, the others no longer write
/// to that table. See guide/guarantees.md, "Avoiding deadlocks".
#[derive(Debug, Default)]
pub struct FirstBatchLock {
    days: Mutex<HashMap<SiteDay, FirstBatch>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstBatch {
    InFlight,
    Acknowledged,
}

/// Permission to send a batch. Dropped without [`FirstBatchGuard::acknowledge`], it lets another
/// batch be the first.
#[derive(Debug)]
pub struct FirstBatchGuard<'l> {
    lock: &'l FirstBatchLock,
    first: Vec<SiteDay>,
}

impl FirstBatchLock {
    /// Waits until no first batch of these days is in flight. Returns `None` on shutdown.
    ///
    /// It takes all days at once or none, so recorders cannot wait for each other in a circle.
    pub fn acquire(&self, days: &[SiteDay], stop: &Shutdown) -> Option<FirstBatchGuard<'_>> {
        let mut state = self.days.lock();
        while days
            .iter()
            .any(|day| state.get(day) == Some(&FirstBatch::InFlight))
        {
            if stop.requested() {
                return None;
            }
            // A signal does not wake this wait.
            state = self.changed.wait_timeout(state, POLL_INTERVAL);
        }
        let first: Vec<SiteDay> = days
            .iter()
            .copied()
            .filter(|day| !state.contains_key(day))
            .collect();
        state.extend(first.iter().map(|day| (*day, FirstBatch::InFlight)));
        Some(FirstBatchGuard { lock: self, first })
    }
}

impl FirstBatchGuard<'_> {
    /// The batch was acknowledged: from now on these days need no lock.
    pub fn acknowledge(mut self) {
        let mut state = self.lock.days.lock();
        state.extend(
            self.first
                .drain(..)
                .map(|day| (day, FirstBatch::Acknowledged)),
        );
    }
}

impl Drop for FirstBatchGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.days.lock();
        for day in &self.first {
            state.remove(day);
        }
        drop(state);
        self.lock.changed.notify_all();
    }
}

/// The pause of all recorders while the server is away.
#[derive(Debug, Default)]
pub struct Backoff {
    until: Mutex<Option<Instant>>,
}

impl Backoff {
    /// Pauses all recorders for `wait` from now. A pause that ends later stays as it is.
    pub fn start(&self, wait: Duration) {
        let end = Instant::now().checked_add(wait);
        let mut until = self.until.lock();
        *until = (*until).max(end);
    }

    pub fn is_active(&self) -> bool {
        self.remaining().is_some()
    }

    /// Waits until the pause ends. Returns true on shutdown.
    pub fn wait(&self, stop: &Shutdown) -> bool {
        // The pause may be extended meanwhile.
        while let Some(remaining) = self.remaining() {
            if stop.wait(remaining) {
                return true;
            }
        }
        stop.requested()
    }

    /// Only time ends a pause. A response that arrives meanwhile belongs to a request sent before
    /// it, and says nothing about the server now.
    fn remaining(&self) -> Option<Duration> {
        let until = (*self.until.lock())?;
        let remaining = until.saturating_duration_since(Instant::now());
        (!remaining.is_zero()).then_some(remaining)
    }
}
