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
const SLOW_RESPONSE: Duration = Duration::from_secs(10);

/// Good batches before the batch size is doubled. The number doubles each time the size shrinks.
const GROWTH_BATCHES: u32 = 8;
const MAX_GROWTH_BATCHES: u32 = 128;

/// A sample has at least this many requests, and at least one for each that may be in flight. With
/// `auto` its hits per second are compared, and those of two requests differ by chance.
const MIN_SAMPLE_REQUESTS: usize = 2;
const MIN_AUTO_SAMPLE_REQUESTS: usize = 4;

/// Hits in the first request of `--recorders=auto`, which is alone.
const FIRST_AUTO_HITS: usize = 250;
/// `--recorders=auto` goes below this only if requests fail: while one request waits for the
/// network or the database, the server can work on another one.
const MIN_AUTO_LIMIT: usize = 2;
/// More requests at once are worth it if the hits per second grow by this share of what they would
/// grow by if the server had no limit.
const MIN_GAIN: f64 = 0.5;

/// Samples before other limits are tried again, or one that failed. The number doubles each time.
const RETRY_SAMPLES: u32 = 8;
const MAX_RETRY_SAMPLES: u32 = 128;

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

    /// Hits per second with this many requests in flight.
    fn rate(&self, in_flight: usize) -> f64 {
        in_flight as f64 * self.hits as f64 / self.seconds.max(f64::MIN_POSITIVE)
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
    /// `hits` is the maximum that the user chose.
    pub fn new(hits: Option<usize>) -> Self {
        let max_hits = hits.unwrap_or(DEFAULT_BATCH_HITS).max(1);
        Self {
            limits: BatchLimits {
                hits: max_hits,
                bytes: MAX_BODY_BYTES,
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

/// How many requests may be in flight at once.
///
/// A number that the user chose is reduced only when requests fail, and grows back. `auto` looks
/// for the number beyond which the server gets no faster: it compares the hits per second under two
/// limits. They come from the response times, so pauses of the input do not count.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    max: usize,
    is_auto: bool,
    limit: usize,
    /// `auto` has had a response.
    has_started: bool,
    /// Limits grow by half, as nothing is known of the server yet.
    is_ramping_up: bool,
    /// The limit that `limit` is compared with, and its hits per second.
    reference: Option<(usize, f64)>,
    /// Samples before `auto` tries another limit.
    rest: u32,
    next_rest: u32,
    /// Whether it tries fewer requests next, not more.
    tries_fewer: bool,
    /// Requests failed above this limit. It holds for `ceiling_rest` samples.
    ceiling: usize,
    ceiling_rest: u32,
    next_ceiling_rest: u32,
}

impl ConcurrencyLimit {
    pub fn new(concurrency: Concurrency) -> Self {
        let (max, is_auto) = match concurrency {
            Concurrency::Fixed(max) => (max.max(1), false),
            Concurrency::Auto(max) => (max.max(1), true),
        };
        Self {
            max,
            is_auto,
            limit: if is_auto { 1 } else { max },
            has_started: false,
            is_ramping_up: true,
            reference: None,
            rest: 0,
            next_rest: RETRY_SAMPLES,
            tries_fewer: false,
            ceiling: max,
            ceiling_rest: 0,
            next_ceiling_rest: 2,
        }
    }

    /// The number of requests allowed at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The limit that is found so far.
    pub fn settled(&self) -> usize {
        let reference = self.reference.map(|(limit, _)| limit);
        reference.unwrap_or(self.limit).min(self.ceiling)
    }

    /// The number of requests in a sample.
    fn sample_requests(&self) -> usize {
        let min = match self.is_auto {
            true => MIN_AUTO_SAMPLE_REQUESTS,
            false => MIN_SAMPLE_REQUESTS,
        };
        self.limit.max(min)
    }

    fn is_starting(&self) -> bool {
        self.is_auto && !self.has_started
    }

    /// The server has accepted a first request.
    fn start(&mut self) {
        if self.is_starting() {
            self.has_started = true;
            self.limit = MIN_AUTO_LIMIT.min(self.max);
        }
    }

    /// Adjusts the limit to a sample of accepted requests, all sent under the present limit.
    pub fn update(&mut self, sample: &LoadSample) {
        if self.ceiling < self.max {
            self.ceiling_rest = self.ceiling_rest.saturating_sub(1);
            if self.ceiling_rest == 0 {
                self.ceiling = self.max;
            }
        }
        let floor = match self.is_auto {
            true => MIN_AUTO_LIMIT.min(self.max),
            false => self.max,
        };
        if self.limit < floor {
            self.limit = (self.limit + 1).min(self.ceiling);
        } else if self.is_auto {
            self.search(sample, floor);
        }
    }

    /// Compares the limit with the one before, and chooses the next.
    fn search(&mut self, sample: &LoadSample, floor: usize) {
        let rate = sample.rate(self.limit);
        if let Some(before) = self.reference.take() {
            let now = (self.limit, rate);
            let is_better = match before.0 < self.limit {
                true => is_worth_it(before, now),
                false => !is_worth_it(now, before),
            };
            if !is_better {
                self.give_up(before.0);
                return;
            }
        }
        self.rest = self.rest.saturating_sub(1);
        if self.rest > 0 && !self.is_ramping_up {
            return;
        }
        let more = match self.is_ramping_up {
            true => self.limit + (self.limit / 2).max(1),
            false => self.limit + 1,
        };
        let more = more.min(self.ceiling);
        let has_more = more > self.limit && sample.is_saturated();
        let has_fewer = self.limit > floor && !self.is_ramping_up;
        let next = match (has_more, has_fewer) {
            (true, true) if self.tries_fewer => self.limit - 1,
            (true, _) => more,
            (false, true) => self.limit - 1,
            (false, false) => return,
        };
        self.reference = Some((self.limit, rate));
        self.limit = next;
    }

    /// Returns to a limit that another one is not better than.
    fn give_up(&mut self, limit: usize) {
        self.tries_fewer = limit < self.limit;
        self.limit = limit.min(self.ceiling);
        self.is_ramping_up = false;
        self.rest = self.next_rest;
        self.next_rest = (self.next_rest * 2).min(MAX_RETRY_SAMPLES);
    }

    /// A request failed in a way that overload explains.
    pub fn halve(&mut self) {
        self.reference = None;
        self.is_ramping_up = false;
        if self.limit > 1 {
            self.ceiling = self.limit - 1;
            self.ceiling_rest = self.next_ceiling_rest;
            self.next_ceiling_rest = (self.next_ceiling_rest * 2).min(MAX_RETRY_SAMPLES);
            self.limit /= 2;
        } else {
            // A single request fails as well, so overload was not the reason.
            self.ceiling = self.max;
            self.next_ceiling_rest = 2;
        }
    }
}

/// Whether the hits per second grow enough from fewer requests at once to more. Each is a limit and
/// its rate.
fn is_worth_it((fewer, before): (usize, f64), (more, rate): (usize, f64)) -> bool {
    let added = more.saturating_sub(fewer) as f64 / fewer.max(1) as f64;
    rate >= before * (1.0 + MIN_GAIN * added)
}

/// What recorders may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    pub batch: BatchLimits,
    /// Requests in flight at once.
    pub requests: usize,
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
        let limits = self.batch_size.limits();
        match self.concurrency.is_starting() && !limits.exact {
            true => BatchLimits {
                hits: limits.hits.min(FIRST_AUTO_HITS),
                ..limits
            },
            false => limits,
        }
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
            LoadSignal::Accepted => {
                self.batch_size.accept_body(load.bytes);
                self.concurrency.start();
            }
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
        if self.sample.requests >= self.concurrency.sample_requests() {
            self.concurrency.update(&std::mem::take(&mut self.sample));
        }
    }
}

/// A FIFO semaphore whose size the controller adjusts. It shares one lock with the controller.
///
/// The order is fair, so that a batch that is sent again does not wait behind new ones for long.
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
        self.limits().batch
    }

    pub fn limits(&self) -> LoadLimits {
        let controller = &self.state.lock().controller;
        LoadLimits {
            batch: controller.batch_limits(),
            requests: controller.limit(),
        }
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
