//! What all recorders share: the connection, the ledger, and what this run knows about the server.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::DeliveryOptions;
use crate::error::{Error, Result};
use crate::input::bucket::Lease;
use crate::ledger::Ledger;
use crate::matomo::api::Api;
use crate::matomo::client::{Client, TrackingWay};
use crate::matomo::exchange::{Exchange, ExchangeResult};
use crate::matomo::visit_log::VisitLog;
use crate::radio::SessionLog;
use crate::report::redact;
use crate::report::rejects::Rejects;
use crate::report::{Account, Console};
use crate::secret::Secret;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// How long a successful token check is valid for a batch of one hit. Asking for each hit would
/// double the number of requests.
const TOKEN_CHECK_TTL: Duration = Duration::from_secs(5);

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
    /// Takes the listening sessions that were imported.
    pub sessions: Arc<SessionLog>,
    pub server: ServerState,
    /// How long this worker may send hits of the objects that a queue gave to it.
    pub lease: Option<Lease>,
}

impl Context {
    /// Sends requests to the tracker of a front end.
    ///
    /// # Errors
    ///
    /// Returns an error if another worker may send the hits of these objects by now.
    pub fn track(&self, front: usize, body: Bytes, way: TrackingWay) -> Result<Exchange> {
        match &self.lease {
            None => Ok(self.client.track(front, body, way)),
            Some(lease) if lease.is_valid() => Ok(self.client.track_leased(front, body, lease)),
            Some(lease) => Err(Error::stopped(format!(
                "the messages of the queue could not be kept ({}): other workers may have its \
                 messages by now, so it sends nothing more; start it again",
                lease.problem()
            ))),
        }
    }

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

    /// Notes once that Matomo stores hits itself that were to go into its queue.
    pub fn note_direct_answer(&self) {
        self.server.direct_answer_noted.get_or_init(|| {
            self.console.note(
                "Matomo stores the hits at once: its queue is switched off; --queued-tracking has no \
                 effect",
            );
        });
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
    /// Each front end.
    fronts: Vec<FrontState>,
    /// Time of the last successful token check.
    token_checked: Mutex<Option<Instant>>,
    noise_reported: OnceLock<()>,
    direct_answer_noted: OnceLock<()>,
}

/// What this run has learned about one front end of the server. A front end that fails says nothing
/// about the hits that another one accepts.
#[derive(Debug, Default)]
pub struct FrontState {
    pub backoff: Backoff,
    /// Number of acknowledged batches.
    acknowledged: AtomicU64,
    /// Hits that were refused because Matomo rejected them, since the last acknowledged batch.
    rejected: AtomicUsize,
    /// Sites for which a hit was accepted.
    accepted_sites: Mutex<HashSet<u32>>,
}

impl FrontState {
    pub fn count_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.rejected.store(0, Ordering::Relaxed);
    }

    /// Counts hits that are refused although Matomo has accepted no other since it rejected them.
    /// Returns how many there are now.
    pub fn count_rejected(&self, hits: usize) -> usize {
        self.rejected.fetch_add(hits, Ordering::Relaxed) + hits
    }

    /// The number of batches acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Records that hits of these sites were accepted.
    pub fn accept_sites(&self, sites: impl IntoIterator<Item = u32>) {
        self.accepted_sites.lock().extend(sites);
    }

    /// Whether a hit of any of these sites was accepted.
    pub fn has_accepted(&self, mut sites: impl Iterator<Item = u32>) -> bool {
        let accepted = self.accepted_sites.lock();
        sites.any(|site| accepted.contains(&site))
    }
}

impl ServerState {
    /// For so many front ends.
    pub fn new(fronts: usize) -> Self {
        Self {
            fronts: (0..fronts).map(|_| FrontState::default()).collect(),
            ..Self::default()
        }
    }

    /// The front end with this number, from 0.
    pub fn front(&self, front: usize) -> &FrontState {
        &self.fronts[front]
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

/// The pause of all recorders of a front end while it is away.
#[derive(Debug, Default)]
pub struct Backoff {
    until: Mutex<Option<Instant>>,
}

impl Backoff {
    /// Pauses its recorders for `wait` from now. A pause that ends later stays as it is.
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
