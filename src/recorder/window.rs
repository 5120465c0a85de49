//! The window: hits that wait for a recorder, shared by all recorders.
//!
//! The parser pushes chunks, and a recorder that is free takes a batch. Hits are ordered by user
//! agent, and the batches sweep over the agents in circles: what arrives meanwhile joins the hits
//! of its agent. So each agent is in few batches. Matomo parses an agent once in each batch, and
//! that costs it as much as several hits.
//!
//! A visitor's hits are in one batch, or wait until the batch with the earlier ones has ended: no
//! two requests in flight share a visitor, and Matomo gets a visitor's hits in the order of the
//! log.
//!
//! With several front ends of Matomo ([`Client::fronts`](crate::matomo::client::Client::fronts)),
//! each visitor belongs to one of them, and each recorder sends to one of them.
//!
//! Chunks belong to epochs ([`days`](super::days)): an epoch begins when all hits of the earlier
//! ones are answered.

mod contents;

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TryRecvError, bounded, unbounded};

use super::adaptive::LoadLimits;
use super::batch::BatchLimits;
use super::buffer::Buffer;
use super::queue::{CHUNK_BYTES, Chunk, RequestGroup, SpareBuffers};
use crate::hit_id::finalize;
use crate::shutdown::Shutdown;
use crate::sync::{Condvar, Mutex};
use contents::{Contents, Quota};

/// Bytes of hits that wait.
const WINDOW_BYTES: usize = 3 << 20;

/// At least so many for each front end, so that its batches are full.
const FRONT_BYTES: usize = 1 << 20;

/// Chunks between the parser and the window: enough that neither waits for the other's lock.
const INBOX_CHUNKS: usize = (128 << 10) / CHUNK_BYTES;

/// How long a full batch waits for more hits to order when the input pauses.
const READ_AHEAD_WAIT: Duration = Duration::from_millis(50);

/// Fewer hits are not worth a request of their own while others are in flight.
const MIN_WORTHWHILE_HITS: usize = 250;

/// A recorder takes at least so much if it is there, even if the batches are smaller: a hit that
/// the server fails on is known by others that it accepts.
const MIN_TAKEN_HITS: usize = 100;
const MIN_TAKEN_BYTES: usize = 64 << 10;

/// How often a thread that waits checks for a shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The window. The parser has one end of it, and each recorder the other.
pub struct Window {
    inbox: Receiver<Chunk>,
    emptied: Sender<Chunk>,
    state: Mutex<WindowState>,
    /// A recorder may find something to send.
    changed: Condvar,
    /// Nothing is in flight.
    idle: Condvar,
    /// Recorders that wait for [`Window::changed`].
    waiting: AtomicUsize,
    max_bytes: usize,
}

/// The parser's end. Dropping it ends the recorders.
#[derive(Debug)]
pub struct WindowSender {
    chunks: Sender<Chunk>,
    emptied: Receiver<Chunk>,
}

/// What the lock of the window protects.
#[derive(Debug)]
struct WindowState {
    /// The hits for each front end.
    fronts: Vec<FrontHits>,
    spare: SpareBuffers,
    epoch: u64,
    /// Only one request of this epoch may be in flight.
    is_alone: bool,
    /// The first chunk of the next epoch.
    next: Option<Chunk>,
    /// Send what is there without waiting for more.
    is_flushing: bool,
    is_closed: bool,
    /// When the last chunk arrived.
    arrived: Instant,
    /// The read-back thread sends something, or waits until nothing is in flight.
    is_reserved: bool,
}

/// The hits of the visitors of one front end.
#[derive(Debug)]
struct FrontHits {
    contents: Contents,
    /// Buffers that recorders have taken and not finished.
    in_flight: usize,
}

/// Nothing is sent from the window while this exists.
pub struct Reserved<'w>(&'w Window);

impl Window {
    /// Makes a window for so many front ends, and the parser's end of it. With `keep_order`, hits
    /// are taken in the order of the log.
    pub fn new(keep_order: bool, fronts: usize) -> (Self, WindowSender) {
        let max_bytes = WINDOW_BYTES.max(fronts.saturating_mul(FRONT_BYTES));
        Self::with_capacity(keep_order, fronts, max_bytes, INBOX_CHUNKS)
    }

    fn with_capacity(
        keep_order: bool,
        fronts: usize,
        max_bytes: usize,
        inbox_chunks: usize,
    ) -> (Self, WindowSender) {
        let (chunks, inbox) = bounded(inbox_chunks);
        let (return_emptied, emptied) = unbounded();
        let window = Self {
            inbox,
            emptied: return_emptied,
            state: Mutex::new(WindowState {
                fronts: (0..fronts.max(1))
                    .map(|_| FrontHits {
                        contents: Contents::new(keep_order),
                        in_flight: 0,
                    })
                    .collect(),
                spare: SpareBuffers::default(),
                epoch: 0,
                is_alone: false,
                next: None,
                is_flushing: false,
                is_closed: false,
                arrived: Instant::now(),
                is_reserved: false,
            }),
            changed: Condvar::new(),
            idle: Condvar::new(),
            waiting: AtomicUsize::new(0),
            max_bytes,
        };
        (window, WindowSender { chunks, emptied })
    }

    /// Hands a chunk over. Blocks while the window is full, and calls `waiting` now and then.
    /// Returns an emptied chunk, or on shutdown the same one as an error.
    pub fn push(
        &self,
        sender: &WindowSender,
        mut chunk: Chunk,
        stop: &Shutdown,
        waiting: impl Fn(),
    ) -> Result<Chunk, Chunk> {
        loop {
            match sender.chunks.send_timeout(chunk, POLL_INTERVAL) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(back)) if !stop.requested() => {
                    waiting();
                    chunk = back;
                }
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Disconnected(back)) => {
                    return Err(back);
                }
            }
        }
        // Either this thread sees that a recorder waits, or the recorder sees the chunk.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let state = self.state.lock();
            self.wake(&state);
        }
        Ok(sender.emptied.try_recv().unwrap_or_else(|_| Chunk::new()))
    }

    /// Waits until there is a batch for a front end to take. Returns false if there will be none,
    /// because all is taken and the parser has ended, or on shutdown.
    pub fn wait(&self, front: usize, limits: impl Fn() -> LoadLimits, stop: &Shutdown) -> bool {
        let mut state = self.state.lock();
        loop {
            // Only now, so that no chunk arrives unseen.
            self.waiting.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.receive(&mut state);
            let limits = limits();
            let wait = match state.due(front, limits.batch, self.max_bytes) {
                _ if stop.requested() => None,
                Due::Now => Some(Duration::ZERO),
                Due::After(wait) => Some(wait.min(POLL_INTERVAL)),
                Due::Never => None,
            };
            if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                state = self.changed.wait_timeout(state, wait);
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            match wait {
                None => {
                    self.changed.notify_all();
                    return false;
                }
                Some(Duration::ZERO) => return true,
                Some(_) => {}
            }
        }
    }

    /// Takes hits of a batch for a front end into an empty buffer, and returns their epoch. Returns
    /// `None` if another recorder was faster.
    pub fn take(&self, front: usize, limits: LoadLimits, buffer: &mut Buffer) -> Option<u64> {
        let mut state = self.state.lock();
        state.spare.append(&mut buffer.spare);
        self.receive(&mut state);
        if state.due(front, limits.batch, self.max_bytes) != Due::Now {
            return None;
        }
        let quota = state.quota(front, limits);
        let of_front = &mut state.fronts[front];
        of_front.contents.take(quota, buffer);
        of_front.in_flight += 1;
        buffer.set_front(front);
        if state.groups() == 0 {
            state.is_flushing = false;
        }
        let epoch = state.epoch;
        // Room for more, which may be another batch.
        self.receive(&mut state);
        let mut fronts = 0..state.fronts.len();
        if fronts.any(|front| state.due(front, limits.batch, self.max_bytes) == Due::Now) {
            self.wake(&state);
        }
        Some(epoch)
    }

    /// Records that all hits of a buffer have an outcome: further hits of their visitors may be
    /// sent.
    pub fn finish(&self, buffer: &Buffer) {
        let mut state = self.state.lock();
        let of_front = &mut state.fronts[buffer.front()];
        of_front.contents.release(buffer);
        of_front.in_flight = of_front.in_flight.saturating_sub(1);
        if state.in_flight() == 0 {
            self.idle.notify_all();
        }
        self.wake(&state);
    }

    /// Wakes a recorder that may find something to send.
    fn wake(&self, state: &WindowState) {
        match state.fronts.len() {
            1 => self.changed.notify_one(),
            // It may be for the recorder of another front end.
            _ => self.changed.notify_all(),
        }
    }

    /// Waits until nothing is in flight, and keeps the recorders from taking more. Called by one
    /// thread only. Returns `None` on shutdown.
    pub fn reserve(&self, stop: &Shutdown) -> Option<Reserved<'_>> {
        let mut state = self.state.lock();
        state.is_reserved = true;
        let reserved = Reserved(self);
        while state.in_flight() > 0 {
            if stop.requested() {
                drop(state);
                return None;
            }
            state = self.idle.wait_timeout(state, POLL_INTERVAL);
        }
        drop(state);
        Some(reserved)
    }

    /// Removes everything that waits, also what the parser still pushes until it drops its end.
    /// For recorders that stop.
    pub fn drain(&self, mut each: impl FnMut(&RequestGroup)) {
        let mut rest = {
            let mut state = self.state.lock();
            let fronts = state.fronts.iter_mut();
            let mut groups: Vec<_> = fronts.flat_map(|front| front.contents.drain()).collect();
            groups.extend(state.next.take().into_iter().flat_map(Chunk::into_groups));
            groups
        };
        loop {
            rest.iter().for_each(&mut each);
            match self.inbox.recv() {
                Ok(chunk) => rest = chunk.into_groups().collect(),
                Err(_) => return,
            }
        }
    }

    /// Moves chunks from the inbox into the window, as far as there is room.
    fn receive(&self, state: &mut WindowState) {
        loop {
            if state.in_flight() == 0
                && state.groups() == 0
                && let Some(chunk) = state.next.take()
            {
                state.begin_epoch(&chunk);
                self.add(state, chunk);
            }
            if state.next.is_some() || state.bytes() >= self.max_bytes {
                return;
            }
            match self.inbox.try_recv() {
                Ok(chunk) => {
                    state.arrived = Instant::now();
                    match chunk.epoch == state.epoch {
                        true => self.add(state, chunk),
                        false => state.next = Some(chunk),
                    }
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    state.is_closed = true;
                    return;
                }
            }
        }
    }

    fn add(&self, state: &mut WindowState, mut chunk: Chunk) {
        let WindowState { fronts, spare, .. } = state;
        let number = fronts.len();
        chunk.drain(spare).for_each(|waiting| {
            let front = front_of(waiting.group.visitor, number);
            fronts[front].contents.add(waiting);
        });
        state.is_flushing = (state.is_flushing || chunk.flush) && state.groups() > 0;
        chunk.clear();
        // The parser may have ended already.
        let _ = self.emptied.send(chunk);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_reserved = false;
        self.0.changed.notify_all();
    }
}

/// When a recorder may take the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    /// Perhaps after this time, or when something changes.
    After(Duration),
    /// All is taken, and nothing more comes.
    Never,
}

/// Which of so many front ends a visitor belongs to, given by its hash.
fn front_of(visitor: u64, fronts: usize) -> usize {
    match fronts {
        1 => 0,
        // The bits of the hash also choose counters of hits, so they must not be alike in the hits
        // of a front end.
        _ => (finalize(visitor) % fronts as u64) as usize,
    }
}

impl WindowState {
    fn begin_epoch(&mut self, chunk: &Chunk) {
        self.epoch = chunk.epoch;
        self.is_alone = chunk.alone;
        self.is_flushing = false;
        let fronts = self.fronts.iter_mut();
        fronts.for_each(|front| front.contents.begin_sweep());
    }

    /// Groups that wait.
    fn groups(&self) -> usize {
        self.fronts.iter().map(|front| front.contents.groups).sum()
    }

    /// Memory of all groups.
    fn bytes(&self) -> usize {
        self.fronts.iter().map(|front| front.contents.bytes).sum()
    }

    /// Buffers that recorders have taken and not finished.
    fn in_flight(&self) -> usize {
        self.fronts.iter().map(|front| front.in_flight).sum()
    }

    fn due(&self, front: usize, limits: BatchLimits, max_bytes: usize) -> Due {
        let FrontHits {
            contents,
            in_flight,
        } = &self.fronts[front];
        let Contents {
            ready_hits,
            blocked_hits,
            ..
        } = *contents;
        let is_ending = self.next.is_some() || self.is_closed;
        // All front ends have to be empty: a recorder that ends counts what is left as not sent.
        if self.groups() == 0 && self.next.is_none() && self.is_closed {
            return Due::Never;
        }
        let is_alone = self.is_alone && self.in_flight() > 0;
        if ready_hits == 0 || self.is_reserved || is_alone {
            return Due::After(Duration::MAX);
        }
        let is_urgent = is_ending || self.is_flushing || self.bytes() >= max_bytes;
        if is_urgent {
            // More of the blocked hits will be ready soon.
            let is_worth_it = *in_flight == 0
                || blocked_hits == 0
                || ready_hits >= MIN_WORTHWHILE_HITS.min(limits.hits);
            return match is_worth_it {
                true => Due::Now,
                false => Due::After(Duration::MAX),
            };
        }
        // What the batches take until the window is full again.
        if ready_hits < limits.hits.max(MIN_TAKEN_HITS) {
            return Due::After(Duration::MAX);
        }
        match READ_AHEAD_WAIT.saturating_sub(self.arrived.elapsed()) {
            Duration::ZERO => Due::Now,
            wait => Due::After(wait),
        }
    }

    /// What the next batch takes: as much as allowed. If nothing more comes, the recorders share
    /// what is left in equal parts that are worth a request.
    fn quota(&self, front: usize, limits: LoadLimits) -> Quota {
        let target = self.batch_hits(front, limits);
        Quota {
            target,
            splits_agents: limits.batch.exact,
            max_hits: limits.batch.hits.max(target),
            max_bytes: limits.batch.bytes.max(MIN_TAKEN_BYTES),
        }
    }

    fn batch_hits(&self, front: usize, limits: LoadLimits) -> usize {
        let LoadLimits { batch, requests } = limits;
        let FrontHits {
            contents,
            in_flight,
        } = &self.fronts[front];
        let unit = match batch.exact {
            true => batch.hits.max(1),
            false => 1,
        };
        let max = batch.hits.max(MIN_TAKEN_HITS.next_multiple_of(unit));
        if !(self.next.is_some() || self.is_closed || self.is_flushing) {
            return max;
        }
        let free = match self.is_alone {
            true => 1,
            false => {
                let of_front = requests.div_ceil(self.fronts.len());
                of_front.saturating_sub(*in_flight).max(1)
            }
        };
        let ready = contents.ready_hits;
        let worthwhile = match batch.exact {
            true => unit,
            false => MIN_WORTHWHILE_HITS,
        };
        let parts = (ready / worthwhile).clamp(1, free).max(ready.div_ceil(max));
        ready.div_ceil(parts).next_multiple_of(unit).min(max)
    }
}

#[cfg(test)]
mod tests;
