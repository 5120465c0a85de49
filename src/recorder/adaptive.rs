//! Load control: how many hits a batch holds, and how many requests are in flight at once.
//!
//! [`BatchSize`], [`ConcurrencyLimit`] and the [`Controller`] over both neither wait nor read the
//! clock: measurements go in, limits come out. The [`Semaphore`] applies them to the recorders.

use std::time::Duration;

use super::batch::BatchLimits;
use crate::shutdown::Shutdown;
use crate::sync::{Condvar, Mutex};

/// Hits in a batch unless the user chooses. A hit in a larger batch is hardly cheaper (measured:
/// 3 % from 1,000 to 2,000 hits), and an unconfirmed batch costs more.
const DEFAULT_BATCH_HITS: usize = 1000;

/// Failures and slow responses shrink batches no further than this.
const MIN_BATCH_HITS: usize = 200;

/// Bytes in a body: below the 1 MiB that nginx accepts by default.
const MAX_BODY_BYTES: usize = 900_000;

/// A batch that takes longer holds too many hits.
const SLOW_RESPONSE: Duration = Duration::from_secs(5);

/// Good batches before the batch size is doubled. The number doubles each time the size shrinks.
const GROWTH_BATCHES: u32 = 8;
const MAX_GROWTH_BATCHES: u32 = 128;

/// A sample has at least this many requests, and at least two for each that may be in flight.
const MIN_SAMPLE_REQUESTS: usize = 4;

/// `--recorders=auto` starts with a single request at a time, which shows what a hit costs without
/// a queue.
const INITIAL_AUTO_LIMIT: usize = 1;
/// `--recorders=auto` grows while fewer requests than this are queued in the server,
const AUTO_GROWTH_QUEUE: f64 = 1.0;
/// and shrinks if there are more than this.
const AUTO_MAX_QUEUE: f64 = 2.0;
/// `--recorders=N`: the same as shares of N. The user may know better, so N is reduced only if
/// requests take twice as long.
const FIXED_GROWTH_QUEUE: f64 = 1.0 / 3.0;
const FIXED_MAX_QUEUE: f64 = 1.0 / 2.0;
/// A server that answers within this many seconds has no queue.
const AUTO_FAST_RESPONSE: f64 = 0.01;
const FIXED_FAST_RESPONSE: f64 = 0.1;

/// Samples before a limit that was too high is tried again. The number doubles each time.
const RETRY_SAMPLES: u32 = 8;
const MAX_RETRY_SAMPLES: u32 = 128;
/// Samples with a queue after which one sample is taken at half the limit. If hits cost more than
/// before, that looks just like a queue; the extra sample tells them apart.
const BASELINE_SAMPLES: u32 = 64;

/// How often a recorder that waits for a permit checks for a shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What a response says about the load of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadSignal {
    Accepted,
    /// Status 413.
    TooLarge,
    TimedOut,
    /// The connection broke before the response.
    ConnectionLost,
    /// A server error, as after deadlocks and if memory runs out.
    Failed,
    /// Rejected unprocessed, with 429 or 503.
    Busy,
    /// Nothing.
    Unrelated,
}

/// The measurements of one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLoad {
    pub hits: usize,
    /// Size of the body.
    pub bytes: usize,
    /// From sending to the end of the response.
    pub elapsed: Duration,
    pub signal: LoadSignal,
    /// None of its hits was sent before. A repeated batch is cheaper, or fails again for the same
    /// reason.
    pub is_new: bool,
}

/// The sum of some requests under the same limits. A single request says little about the cost of a
/// hit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadSample {
    requests: usize,
    hits: usize,
    /// The sum of all response times.
    seconds: f64,
    /// Requests that were sent while as many as allowed were in flight.
    saturated: usize,
}

impl LoadSample {
    pub fn add(&mut self, hits: usize, elapsed: Duration, saturated: bool) {
        self.requests += 1;
        self.hits += hits;
        self.seconds += elapsed.as_secs_f64();
        self.saturated += usize::from(saturated);
    }

    /// Response time in seconds for each hit.
    fn cost(&self) -> f64 {
        self.seconds / self.hits.max(1) as f64
    }

    /// Mean response time in seconds.
    fn latency(&self) -> f64 {
        self.seconds / self.requests.max(1) as f64
    }

    /// Whether the limit held requests back.
    fn is_saturated(&self) -> bool {
        self.saturated * 2 >= self.requests
    }
}

/// The size of a batch. It starts at its maximum, halves when requests fail or are slow, and
/// doubles again after some good ones.
#[derive(Debug)]
pub struct BatchSize {
    limits: BatchLimits,
    min_hits: usize,
    max_hits: usize,
    /// Size of the largest body that was accepted.
    accepted_bytes: usize,
    /// Good batches since the last change.
    good: u32,
    /// Good batches before the next growth.
    growth_batches: u32,
}

impl BatchSize {
    /// `hits` is the maximum that the user chose; `buffer_bytes` is what a recorder reads ahead,
    /// which limits a batch, too.
    pub fn new(hits: Option<usize>, buffer_bytes: usize) -> Self {
        let max_hits = hits.unwrap_or(DEFAULT_BATCH_HITS).max(1);
        Self {
            limits: BatchLimits {
                hits: max_hits,
                bytes: MAX_BODY_BYTES.min(buffer_bytes),
                exact: hits.is_some(),
            },
            min_hits: MIN_BATCH_HITS.min(max_hits),
            max_hits,
            accepted_bytes: 0,
            good: 0,
            growth_batches: GROWTH_BATCHES,
        }
    }

    pub fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// Whether a batch is large enough to be compared with others: each request has a cost of its
    /// own, so hits in a small batch are expensive.
    fn is_comparable(&self, load: &RequestLoad) -> bool {
        let is_large = load.hits.saturating_mul(2) >= self.limits.hits
            || load.bytes.saturating_mul(2) >= self.limits.bytes;
        is_large && load.is_new
    }

    /// A body of this size was accepted.
    fn accept_body(&mut self, bytes: usize) {
        self.accepted_bytes = self.accepted_bytes.max(bytes);
    }

    /// A body of this size was rejected, probably for its size. The limit is part of the server's
    /// configuration, so it holds for the rest of the run. If as large a body was accepted before,
    /// the reason is another one.
    fn reject_body(&mut self, bytes: usize) {
        if bytes > self.accepted_bytes {
            let limit = (bytes / 2).max(self.accepted_bytes).max(1);
            self.limits.bytes = self.limits.bytes.min(limit);
        }
    }

    /// A comparable batch was accepted.
    fn accept(&mut self, load: &RequestLoad) {
        if load.elapsed > SLOW_RESPONSE {
            self.shrink(load.hits);
        } else if self.limits.hits < self.max_hits && load.elapsed * 2 <= SLOW_RESPONSE {
            self.good += 1;
            if self.good >= self.growth_batches {
                self.limits.hits = self.limits.hits.saturating_mul(2).min(self.max_hits);
                self.good = 0;
            }
        }
    }

    /// A comparable batch with this many hits failed or was slow.
    fn shrink(&mut self, hits: usize) {
        let half = (hits / 2).max(self.min_hits);
        self.limits.hits = self.limits.hits.min(half);
        self.good = 0;
        self.growth_batches = (self.growth_batches * 2).min(MAX_GROWTH_BATCHES);
    }
}

/// The number of recorders, as the user gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// `--recorders=N`
    Fixed(usize),
    /// `--recorders=auto`, and the maximum.
    Auto(usize),
}

/// How many requests may be in flight at once: one more while the server answers as fast as before,
/// many fewer when it slows down or fails.
///
/// It compares the response time per hit with the lowest seen so far, as TCP Vegas does for
/// packets: if `n` requests at once each take twice as long, half of them only wait in the server's
/// queue.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    max: usize,
    limit: usize,
    growth_queue: f64,
    max_queue: f64,
    fast_response: f64,
    /// The cost of a hit without a queue: the lowest so far, smoothed.
    baseline: Option<f64>,
    /// Samples with a queue since the baseline was checked.
    unchecked: u32,
    /// The limit to return to after the sample that measures the baseline.
    limit_after_baseline: Option<usize>,
    /// A limit that was too high, and is not tried again during `rest` samples.
    too_high: usize,
    rest: u32,
    next_rest: u32,
    /// The last limit that the server coped with.
    settled: usize,
}

impl ConcurrencyLimit {
    pub fn new(concurrency: Concurrency) -> Self {
        let (max, limit, growth_queue, max_queue, fast_response) = match concurrency {
            Concurrency::Fixed(n) => {
                let queue = |share| n as f64 * share;
                let (growth, max) = (queue(FIXED_GROWTH_QUEUE), queue(FIXED_MAX_QUEUE));
                (n, n, growth, max, FIXED_FAST_RESPONSE)
            }
            Concurrency::Auto(n) => (
                n,
                n.min(INITIAL_AUTO_LIMIT),
                AUTO_GROWTH_QUEUE,
                AUTO_MAX_QUEUE,
                AUTO_FAST_RESPONSE,
            ),
        };
        Self {
            max: max.max(1),
            limit: limit.max(1),
            growth_queue,
            max_queue,
            fast_response,
            baseline: None,
            unchecked: 0,
            limit_after_baseline: None,
            too_high: usize::MAX,
            rest: 0,
            next_rest: RETRY_SAMPLES,
            settled: limit.max(1),
        }
    }

    /// The number of requests allowed at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The limit that the server coped with last.
    pub fn settled(&self) -> usize {
        self.settled
    }

    /// Adjusts the limit to a sample of accepted requests, all sent under the present limit.
    pub fn update(&mut self, sample: &LoadSample) {
        if let Some(limit) = self.limit_after_baseline.take() {
            self.baseline = Some(sample.cost());
            self.limit = limit;
            return;
        }
        let queue = self.queue(sample);
        if queue > self.max_queue && self.limit > 1 {
            self.reduce(self.limit * 3 / 4);
            return;
        }
        if self.limit == self.too_high {
            self.forget_too_high();
        }
        self.settled = self.limit;
        self.rest = self.rest.saturating_sub(1);
        let next = self.limit + 1;
        let is_allowed = next <= self.max && (next < self.too_high || self.rest == 0);
        if is_allowed && queue < self.growth_queue && sample.is_saturated() {
            self.limit = next;
            return;
        }
        self.unchecked += 1;
        if self.unchecked > BASELINE_SAMPLES && queue >= self.growth_queue / 2.0 && self.limit > 1 {
            self.unchecked = 0;
            self.limit_after_baseline = Some(self.limit);
            self.limit /= 2;
        }
    }

    /// A request failed in a way that overload explains.
    pub fn halve(&mut self) {
        if self.limit > 1 {
            self.reduce(self.limit / 2);
        } else {
            // A single request fails as well, so overload was not the reason.
            self.forget_too_high();
        }
        self.settled = self.settled.min(self.limit);
    }

    fn reduce(&mut self, limit: usize) {
        self.limit_after_baseline = None;
        self.too_high = self.limit;
        self.limit = limit.max(1);
        self.rest = self.next_rest;
        self.next_rest = (self.next_rest * 2).min(MAX_RETRY_SAMPLES);
    }

    fn forget_too_high(&mut self) {
        self.too_high = usize::MAX;
        self.next_rest = RETRY_SAMPLES;
    }

    /// How many of the requests in flight wait in the server's queue. Lowers the baseline.
    fn queue(&mut self, sample: &LoadSample) -> f64 {
        let cost = sample.cost();
        let baseline = match self.baseline {
            // Only half the way down, because a single sample may be a lucky one.
            Some(baseline) if cost < baseline => (baseline + cost) / 2.0,
            baseline => baseline.unwrap_or(cost),
        };
        self.baseline = Some(baseline);
        if cost <= baseline || sample.latency() < self.fast_response {
            return 0.0;
        }
        self.limit as f64 * (1.0 - baseline / cost)
    }
}

/// Adjusts batch size and concurrency to the responses.
#[derive(Debug)]
pub struct Controller {
    batch_size: BatchSize,
    concurrency: ConcurrencyLimit,
    sample: LoadSample,
    /// Number of changes so far. A request sent before a change says nothing about the new limits,
    /// and several that fail at the same time count once.
    generation: u64,
}

impl Controller {
    pub fn new(concurrency: Concurrency, batch_size: BatchSize) -> Self {
        Self {
            batch_size,
            concurrency: ConcurrencyLimit::new(concurrency),
            sample: LoadSample::default(),
            generation: 0,
        }
    }

    /// The limits of the next batch.
    pub fn batch_limits(&self) -> BatchLimits {
        self.batch_size.limits()
    }

    /// How many requests may be in flight at once.
    pub fn limit(&self) -> usize {
        self.concurrency.limit()
    }

    /// Takes in a request that has ended. `generation` is that of its permit; `saturated` means
    /// that as many requests as allowed were in flight. Returns whether the limits have changed.
    pub fn record(&mut self, load: &RequestLoad, generation: u64, saturated: bool) -> bool {
        let before = (self.batch_limits(), self.limit());
        match load.signal {
            LoadSignal::Accepted => self.batch_size.accept_body(load.bytes),
            // A server may also close the connection if a body is too large.
            LoadSignal::TooLarge | LoadSignal::ConnectionLost => {
                self.batch_size.reject_body(load.bytes);
            }
            _ => {}
        }
        if generation == self.generation {
            self.adjust(load, saturated);
        }
        let changed = before != (self.batch_limits(), self.limit());
        if changed {
            self.generation += 1;
            self.sample = LoadSample::default();
        }
        changed
    }

    fn adjust(&mut self, load: &RequestLoad, saturated: bool) {
        let is_comparable = self.batch_size.is_comparable(load);
        match load.signal {
            LoadSignal::Accepted if is_comparable => {
                let before = self.batch_limits();
                self.batch_size.accept(load);
                if self.batch_limits() == before {
                    self.measure(load, saturated);
                }
            }
            LoadSignal::TimedOut | LoadSignal::ConnectionLost | LoadSignal::Failed => {
                self.concurrency.halve();
                if is_comparable {
                    self.batch_size.shrink(load.hits);
                }
            }
            LoadSignal::Busy => self.concurrency.halve(),
            LoadSignal::Accepted | LoadSignal::TooLarge | LoadSignal::Unrelated => {}
        }
    }

    fn measure(&mut self, load: &RequestLoad, saturated: bool) {
        self.sample.add(load.hits, load.elapsed, saturated);
        if self.sample.requests >= MIN_SAMPLE_REQUESTS.max(2 * self.limit()) {
            self.concurrency.update(&std::mem::take(&mut self.sample));
        }
    }
}

/// A FIFO semaphore whose size the controller adjusts. It shares one lock with the controller.
///
/// The order is fair, so that no recorder falls behind with the hits of its visitors.
#[derive(Debug)]
pub struct Semaphore {
    state: Mutex<SemaphoreState>,
    changed: Condvar,
}

#[derive(Debug)]
struct SemaphoreState {
    controller: Controller,
    /// Recorders that have asked for a permit, numbered in this order.
    arrived: u64,
    /// How many of them have left. The others wait or have a request in flight.
    left: u64,
}

/// Permission to send one request. It is returned on drop.
#[derive(Debug)]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    generation: u64,
    saturated: bool,
}

impl Semaphore {
    pub fn new(controller: Controller) -> Self {
        Self {
            state: Mutex::new(SemaphoreState {
                controller,
                arrived: 0,
                left: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// The limits of the next batch.
    pub fn batch_limits(&self) -> BatchLimits {
        self.state.lock().controller.batch_limits()
    }

    /// The number of requests at once that the server coped with last. `None` if nothing was sent.
    pub fn settled(&self) -> Option<usize> {
        let state = self.state.lock();
        (state.left > 0).then(|| state.controller.concurrency.settled())
    }

    /// Waits for a permit. Returns `None` on shutdown.
    pub fn acquire(&self, stop: &Shutdown) -> Option<Permit<'_>> {
        let mut state = self.state.lock();
        let number = state.arrived;
        state.arrived += 1;
        loop {
            let ahead = number.saturating_sub(state.left);
            let limit = state.controller.limit() as u64;
            if ahead < limit {
                return Some(Permit {
                    semaphore: self,
                    generation: state.controller.generation,
                    saturated: ahead + 1 >= limit,
                });
            }
            if stop.requested() {
                state.left += 1;
                return None;
            }
            // A signal does not wake this wait.
            state = self.changed.wait_timeout(state, POLL_INTERVAL);
        }
    }
}

impl Permit<'_> {
    /// Returns the permit of a request that has ended. If that changes the limits, it describes the
    /// new ones.
    pub fn release(self, load: &RequestLoad) -> Option<String> {
        let mut state = self.semaphore.state.lock();
        let controller = &mut state.controller;
        let changed = controller.record(load, self.generation, self.saturated);
        changed.then(|| {
            let BatchLimits { hits, bytes, .. } = controller.batch_limits();
            let limit = controller.limit();
            format!(
                "new limits: {hits} hits and {bytes} bytes per request, {limit} requests at once"
            )
        })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.state.lock().left += 1;
        self.semaphore.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
