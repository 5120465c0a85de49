//! What all recorders share: where they send, what they report to, and what they have learnt of the server.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::gate::{Gates, SiteDay};
use super::outage::Outage;
use crate::ledger::Ledger;
use crate::matomo::api::Api;
use crate::matomo::client::Client;
use crate::matomo::exchange::{Exchange, ExchangeResult};
use crate::recorder::DeliveryOptions;
use crate::report::rejects::Rejects;
use crate::report::{Account, Console, redact};
use crate::secret::Secret;
use crate::shutdown::Shutdown;

/// So long a word of Matomo's about the token holds, where asking for each single hit would double the requests.
const SHORT_WHILE: Duration = Duration::from_secs(5);

/// What all recorders share.
pub struct Context {
    pub client: Client,
    pub api: Api,
    pub token: Option<Secret>,
    pub account: Arc<Account>,
    pub console: Console,
    pub stop: Shutdown,
    pub options: DeliveryOptions,
    /// `None`: nothing is kept of what was done.
    pub ledger: Option<Arc<Ledger>>,
    pub rejects: Option<Arc<Rejects>>,
    pub learnt: Learnt,
}

/// What the recorders of a run have learnt so far.
#[derive(Debug, Default)]
pub struct Learnt {
    pub gates: Gates,
    pub outage: Outage,
    /// Batches that were committed.
    successes: AtomicU64,
    /// Sites that this run has had a hit accepted for.
    accepted: Mutex<HashSet<u32>>,
    /// When Matomo last said that the token holds.
    trusted: Mutex<Option<Instant>>,
    /// Text before an answer's JSON is shown once.
    noise_shown: OnceLock<()>,
}

impl Learnt {
    /// A batch was committed.
    pub fn succeed(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    /// Batches that were committed.
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Matomo took hits of these sites.
    pub fn accept(&self, sites: impl IntoIterator<Item = u32>) {
        self.lock().extend(sites);
    }

    /// Whether Matomo has taken a hit of one of these sites.
    pub fn accepted(&self, days: &[SiteDay]) -> bool {
        let accepted = self.lock();
        days.iter().any(|(site, _)| accepted.contains(site))
    }

    /// The token holds, Matomo says.
    pub fn trust(&self) {
        *self.trusted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it said so a short while ago.
    pub fn trusts(&self) -> bool {
        let trusted = *self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        trusted.is_some_and(|since| since.elapsed() < SHORT_WHILE)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// With `--debug-tracker`, what the tracker answered.
    pub fn show_answer(&self, exchange: &Exchange) {
        if let ExchangeResult::Response(answer) = &exchange.result
            && self.options.debug_tracker
        {
            let text = redact::text(&answer.body);
            self.console
                .note(format!("tracker: {} {}", answer.status, text.trim()));
        }
    }

    /// What stood around an answer's JSON that nobody asked for, a warning of PHP's: once.
    pub fn show_noise(&self, noise: Option<String>) {
        if let Some(noise) = noise.filter(|_| !self.options.debug_tracker) {
            self.learnt.noise_shown.get_or_init(|| {
                self.console.warn(format!(
                    "Matomo's answer holds text that does not belong there: {}",
                    redact::quote(noise.as_bytes())
                ))
            });
        }
    }
}
