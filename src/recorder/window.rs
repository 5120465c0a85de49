//! The window: hits that wait for a recorder, shared by all recorders.
//!
//! The parser pushes chunks, and a recorder that is free takes a batch. Hits are ordered by user
//! agent, and the batches sweep over the agents in circles: what arrives meanwhile joins the hits
//! of its agent. So a sweep covers about twice as many hits as fit into the window, and each agent
//! is in few batches. Matomo parses an agent once in each batch, which is most of what a hit costs
//! it.
//!
//! A visitor's hits are in one batch, or wait until the batch with the earlier ones has ended: no
//! two requests in flight share a visitor, and Matomo gets a visitor's hits in the order of the
//! log.
//!
//! Chunks belong to epochs ([`days`](super::days)): an epoch begins when all hits of the earlier
//! ones are answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TryRecvError, bounded, unbounded};
use foldhash::fast::RandomState;

use super::adaptive::LoadLimits;
use super::batch::BatchLimits;
use super::buffer::Buffer;
use super::queue::{CHUNK_BYTES, Chunk, RequestGroup};
use crate::shutdown::Shutdown;
use crate::sync::{Condvar, Mutex};

/// Bytes of hits that wait. Chunks count until all their hits are taken.
const WINDOW_BYTES: usize = 4 << 20;

/// Chunks between the parser and the window: enough that neither waits for the other's lock.
const INBOX_CHUNKS: usize = (512 << 10) / CHUNK_BYTES;

/// How long a full batch waits for more hits to order when the input pauses.
const READ_AHEAD_WAIT: Duration = Duration::from_millis(50);

/// Fewer hits are not worth a request of their own while others are in flight.
const MIN_BATCH_HITS: usize = 250;

/// A recorder takes at least so many hits if they are there, even if the batches are smaller: a
/// hit that the server fails on is known by others that it accepts.
const MIN_TAKEN_HITS: usize = 100;

/// Memory of a group that waits, in bytes: the group, its links, and its share of a visitor.
const GROUP_BYTES: usize = 200;

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

/// What is taken from the window and not finished yet keeps its visitors.
#[derive(Debug)]
struct WindowState {
    contents: Contents,
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
    /// Buffers that recorders have taken and not finished.
    in_flight: usize,
    /// The read-back thread sends something, or waits until nothing is in flight.
    is_reserved: bool,
}

/// Nothing is sent from the window while this exists.
pub struct Reserved<'w>(&'w Window);

impl Window {
    /// Makes a window, and the parser's end of it. With `keep_order`, hits are taken in the order
    /// of the log.
    pub fn new(keep_order: bool) -> (Self, WindowSender) {
        Self::with_capacity(keep_order, WINDOW_BYTES, INBOX_CHUNKS)
    }

    fn with_capacity(
        keep_order: bool,
        max_bytes: usize,
        inbox_chunks: usize,
    ) -> (Self, WindowSender) {
        let (chunks, inbox) = bounded(inbox_chunks);
        let (return_emptied, emptied) = unbounded();
        let window = Self {
            inbox,
            emptied: return_emptied,
            state: Mutex::new(WindowState {
                contents: Contents::new(keep_order),
                epoch: 0,
                is_alone: false,
                next: None,
                is_flushing: false,
                is_closed: false,
                arrived: Instant::now(),
                in_flight: 0,
                is_reserved: false,
            }),
            changed: Condvar::new(),
            idle: Condvar::new(),
            waiting: AtomicUsize::new(0),
            max_bytes,
        };
        (window, WindowSender { chunks, emptied })
    }

    /// Hands a chunk over. Blocks while the window is full. Returns an emptied chunk, or on
    /// shutdown the same one as an error.
    pub fn push(
        &self,
        sender: &WindowSender,
        mut chunk: Chunk,
        stop: &Shutdown,
    ) -> Result<Chunk, Chunk> {
        loop {
            match sender.chunks.send_timeout(chunk, POLL_INTERVAL) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(back)) if !stop.requested() => chunk = back,
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Disconnected(back)) => {
                    return Err(back);
                }
            }
        }
        // Either this thread sees that a recorder waits, or the recorder sees the chunk.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _state = self.state.lock();
            self.changed.notify_one();
        }
        let mut emptied = sender.emptied.try_recv().unwrap_or_else(|_| Chunk::new());
        emptied.clear();
        Ok(emptied)
    }

    /// Waits until there is a batch to take. Returns false if there will be none, because all is
    /// taken and the parser has ended, or on shutdown.
    pub fn wait(&self, limits: impl Fn() -> LoadLimits, stop: &Shutdown) -> bool {
        let mut state = self.state.lock();
        loop {
            // Only now, so that no chunk arrives unseen.
            self.waiting.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.receive(&mut state);
            let limits = limits();
            let wait = match state.due(limits.batch, self.max_bytes) {
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

    /// Takes hits for a batch into an empty buffer, and returns their epoch. Returns `None` if
    /// another recorder was faster.
    pub fn take(&self, limits: LoadLimits, buffer: &mut Buffer) -> Option<u64> {
        let mut state = self.state.lock();
        self.receive(&mut state);
        if state.due(limits.batch, self.max_bytes) != Due::Now {
            return None;
        }
        let target = state.batch_hits(limits);
        state
            .contents
            .take(target, limits.batch, buffer, &self.emptied);
        state.in_flight += 1;
        if state.contents.groups == 0 {
            state.is_flushing = false;
        }
        let epoch = state.epoch;
        // Room for more, which may be another batch.
        self.receive(&mut state);
        if state.due(limits.batch, self.max_bytes) == Due::Now {
            self.changed.notify_one();
        }
        Some(epoch)
    }

    /// Records that all hits of a buffer have an outcome: further hits of their visitors may be
    /// sent.
    pub fn finish(&self, buffer: &Buffer) {
        let mut state = self.state.lock();
        state.contents.release(buffer);
        state.in_flight = state.in_flight.saturating_sub(1);
        if state.in_flight == 0 {
            self.idle.notify_all();
        }
        self.changed.notify_one();
    }

    /// Waits until nothing is in flight, and keeps the recorders from taking more. Called by one
    /// thread only. Returns `None` on shutdown.
    pub fn reserve(&self, stop: &Shutdown) -> Option<Reserved<'_>> {
        let mut state = self.state.lock();
        state.is_reserved = true;
        let reserved = Reserved(self);
        while state.in_flight > 0 {
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
            let mut groups = state.contents.drain();
            groups.extend(state.next.take().into_iter().flat_map(|next| next.groups));
            groups
        };
        loop {
            rest.iter().for_each(&mut each);
            match self.inbox.recv() {
                Ok(chunk) => rest = chunk.groups,
                Err(_) => return,
            }
        }
    }

    /// Moves chunks from the inbox into the window, as far as there is room.
    fn receive(&self, state: &mut WindowState) {
        loop {
            if state.in_flight == 0
                && state.contents.groups == 0
                && let Some(chunk) = state.next.take()
            {
                state.begin_epoch(&chunk);
                self.add(state, chunk);
            }
            if state.next.is_some() || state.contents.bytes >= self.max_bytes {
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

    fn add(&self, state: &mut WindowState, chunk: Chunk) {
        state.is_flushing |= chunk.flush;
        match chunk.groups.is_empty() {
            true => {
                // The parser may have ended already.
                let _ = self.emptied.send(chunk);
            }
            false => state.contents.add(chunk),
        }
        state.is_flushing &= state.contents.groups > 0;
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

impl WindowState {
    fn begin_epoch(&mut self, chunk: &Chunk) {
        self.epoch = chunk.epoch;
        self.is_alone = chunk.alone;
        self.is_flushing = false;
        self.contents.begin_sweep();
    }

    fn due(&self, limits: BatchLimits, max_bytes: usize) -> Due {
        let Contents {
            groups,
            ready_hits,
            blocked_hits,
            bytes,
            ..
        } = self.contents;
        let is_ending = self.next.is_some() || self.is_closed;
        if groups == 0 && self.next.is_none() && self.is_closed {
            return Due::Never;
        }
        let is_alone = self.is_alone && self.in_flight > 0;
        if ready_hits == 0 || self.is_reserved || is_alone {
            return Due::After(Duration::MAX);
        }
        let is_urgent = is_ending || self.is_flushing || bytes >= max_bytes;
        if is_urgent {
            // More of the blocked hits will be ready soon.
            let is_worth_it = self.in_flight == 0
                || blocked_hits == 0
                || ready_hits >= MIN_BATCH_HITS.min(limits.hits);
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

    /// How many hits the next batch has: as many as allowed. If nothing more comes, the recorders
    /// share what is left in equal parts that are worth a request.
    fn batch_hits(&self, limits: LoadLimits) -> usize {
        let LoadLimits { batch, requests } = limits;
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
            false => requests.saturating_sub(self.in_flight).max(1),
        };
        let ready = self.contents.ready_hits;
        let worthwhile = match batch.exact {
            true => unit,
            false => MIN_BATCH_HITS,
        };
        let parts = (ready / worthwhile).clamp(1, free).max(ready.div_ceil(max));
        ready.div_ceil(parts).next_multiple_of(unit).min(max)
    }
}

/// The hits in the window, by visitor.
#[derive(Debug)]
struct Contents {
    keep_order: bool,
    chunks: Vec<HeldChunk>,
    /// Places in `chunks` that are free.
    free: Vec<u32>,
    /// Chunks so far.
    sequence: u64,
    visitors: HashMap<u64, VisitorHits, RandomState>,
    /// Visitors with hits that may be sent, by the agent of their next group, and sorted by its
    /// number. In the order of the log, all have the same agent.
    ///
    /// Agents are sorted by hash. In order of appearance, common agents would come first, and the
    /// batches of a sweep would cost more from one to the next and could not be compared.
    ready: BTreeMap<u64, VecDeque<ReadyVisitor>>,
    /// The agent at which the sweep over `ready` continues.
    position: u64,
    groups: usize,
    /// Requests that may be sent,
    ready_hits: usize,
    /// and those that wait for a request in flight.
    blocked_hits: usize,
    /// Memory of all chunks.
    bytes: usize,
}

/// A chunk that still has groups in the window. Those that are taken have no requests.
#[derive(Debug, Default)]
struct HeldChunk {
    chunk: Chunk,
    sequence: u64,
    links: Vec<GroupLinks>,
    /// Groups that are not taken.
    left: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct GroupLinks {
    first_request: u32,
    /// The next group of the same visitor.
    next: Option<Place>,
}

/// A group: indexes of its chunk, and in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chunk: u32,
    group: u32,
}

/// A visitor whose hits may be sent.
#[derive(Clone, Copy, Debug)]
struct ReadyVisitor {
    /// The number of its next group.
    sequence: u64,
    visitor: u64,
}

/// A visitor with hits in the window or in flight.
#[derive(Clone, Copy, Debug)]
struct VisitorHits {
    /// The first and the last group that wait.
    ends: Option<(Place, Place)>,
    /// Requests that wait.
    hits: usize,
    is_in_flight: bool,
}

impl Contents {
    fn new(keep_order: bool) -> Self {
        Self {
            keep_order,
            chunks: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            visitors: HashMap::default(),
            ready: BTreeMap::new(),
            position: 0,
            groups: 0,
            ready_hits: 0,
            blocked_hits: 0,
            bytes: 0,
        }
    }

    fn begin_sweep(&mut self) {
        self.position = 0;
    }

    /// Adds a chunk that has groups.
    fn add(&mut self, chunk: Chunk) {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.chunks.push(HeldChunk::default());
                self.chunks.len() as u32 - 1
            }
        };
        let originals = chunk.groups.iter().flat_map(|group| &group.originals);
        let bytes = chunk.body.len()
            + chunk.groups.len() * GROUP_BYTES
            + originals.map(|original| original.line.len()).sum::<usize>();
        self.bytes += bytes;
        self.groups += chunk.groups.len();
        self.sequence += 1;
        let mut requests = 0;
        let held = &mut self.chunks[number as usize];
        held.links.clear();
        held.links.extend(chunk.groups.iter().map(|group| {
            let first_request = requests;
            requests += group.requests;
            GroupLinks {
                first_request,
                next: None,
            }
        }));
        held.left = chunk.groups.len();
        held.bytes = bytes;
        held.sequence = self.sequence;
        held.chunk = chunk;
        for group in 0..held.left as u32 {
            self.append(Place {
                chunk: number,
                group,
            });
        }
    }

    /// Puts a group behind the other ones of its visitor.
    fn append(&mut self, place: Place) {
        let group = &self.chunks[place.chunk as usize].chunk.groups[place.group as usize];
        let (visitor, requests) = (group.visitor, group.requests as usize);
        let hits = self.visitors.entry(visitor).or_insert(VisitorHits {
            ends: None,
            hits: 0,
            is_in_flight: false,
        });
        hits.hits += requests;
        let is_in_flight = hits.is_in_flight;
        match is_in_flight {
            true => self.blocked_hits += requests,
            false => self.ready_hits += requests,
        }
        match &mut hits.ends {
            Some((_, last)) => {
                let last = std::mem::replace(last, place);
                self.chunks[last.chunk as usize].links[last.group as usize].next = Some(place);
            }
            ends => {
                *ends = Some((place, place));
                if !is_in_flight {
                    self.make_ready(place, visitor);
                }
            }
        }
    }

    /// The agent by which a visitor with this next group is sorted, and the number of the group.
    fn rank(&self, place: Place) -> (u64, u64) {
        let held = &self.chunks[place.chunk as usize];
        let agent = match self.keep_order {
            true => 0,
            false => held.chunk.groups[place.group as usize].agent,
        };
        (agent, held.sequence << 32 | u64::from(place.group))
    }

    /// Lets the hits of a visitor with this next group be sent.
    fn make_ready(&mut self, place: Place, visitor: u64) {
        let (agent, sequence) = self.rank(place);
        let visitors = self.ready.entry(agent).or_default();
        let ready = ReadyVisitor { sequence, visitor };
        // Nearly always it is the last one.
        if visitors.back().is_none_or(|last| last.sequence < sequence) {
            visitors.push_back(ready);
        } else {
            let at = visitors.partition_point(|other| other.sequence < sequence);
            visitors.insert(at, ready);
        }
    }

    /// Takes about `target` requests into a buffer: no more than the limits allow, and all of an
    /// agent if they fit.
    fn take(
        &mut self,
        target: usize,
        limits: BatchLimits,
        buffer: &mut Buffer,
        emptied: &Sender<Chunk>,
    ) {
        let max_hits = limits.hits.max(target);
        let splits_agents = self.keep_order || limits.exact;
        let mut agent = self.position;
        while let Some(next) = self.next_agent(agent) {
            agent = next;
            if buffer.len() >= target {
                break;
            }
            while buffer.len() < target || !splits_agents {
                let Some(visitor) = self.next_of_agent(agent) else {
                    break;
                };
                if !self.take_visitor((agent, visitor), max_hits, limits.bytes, buffer, emptied) {
                    self.position = agent;
                    self.block_visitors(buffer);
                    return;
                }
            }
        }
        // What arrives for an agent that was just sent waits for the next sweep.
        self.position = self.next_agent(agent).unwrap_or_default();
        self.block_visitors(buffer);
    }

    /// The agent of the sweep that is this one or comes after it.
    fn next_agent(&self, agent: u64) -> Option<u64> {
        let next = self.ready.range(agent..).next();
        let next = next.or_else(|| self.ready.first_key_value());
        next.map(|(agent, _)| *agent)
    }

    fn next_of_agent(&self, agent: u64) -> Option<u64> {
        self.ready.get(&agent)?.front().map(|ready| ready.visitor)
    }

    /// Moves the groups of the first visitor of an agent into a buffer, or only the next one in the
    /// order of the log. Returns false if they do not all fit.
    fn take_visitor(
        &mut self,
        (agent, visitor): (u64, u64),
        max_hits: usize,
        max_bytes: usize,
        buffer: &mut Buffer,
        emptied: &Sender<Chunk>,
    ) -> bool {
        let Some(mut hits) = self.visitors.get(&visitor).copied() else {
            return false;
        };
        let Some((first, last)) = hits.ends else {
            return false;
        };
        let before = hits.hits;
        let mut fits = true;
        let mut next = Some(first);
        while let Some(place) = next {
            let (requests, bytes) = self.size(place);
            fits = buffer.is_empty()
                || buffer.len() + requests <= max_hits
                    && buffer.bytes() + buffer.len() + bytes + requests <= max_bytes;
            if !fits {
                break;
            }
            hits.hits -= requests;
            next = self.move_group(place, buffer, emptied);
            if self.keep_order {
                break;
            }
        }
        if next == Some(first) {
            return false;
        }
        self.ready_hits -= before - hits.hits;
        if let Some(visitors) = self.ready.get_mut(&agent) {
            visitors.pop_front();
            if visitors.is_empty() {
                self.ready.remove(&agent);
            }
        }
        hits.ends = next.map(|next| (next, last));
        // In the order of the log, its next hit may go with the same batch.
        let next = next.filter(|_| self.keep_order);
        if next.is_none() {
            hits.is_in_flight = true;
            self.ready_hits -= hits.hits;
            self.blocked_hits += hits.hits;
        }
        self.visitors.insert(visitor, hits);
        if let Some(next) = next {
            self.make_ready(next, visitor);
        }
        fits
    }

    /// In the order of the log, takes the visitors of a buffer out of those whose hits may be sent.
    fn block_visitors(&mut self, buffer: &Buffer) {
        if !self.keep_order {
            return;
        }
        for group in buffer.groups() {
            if let Some(hits) = self.visitors.get_mut(&group.visitor)
                && !std::mem::replace(&mut hits.is_in_flight, true)
            {
                self.ready_hits -= hits.hits;
                self.blocked_hits += hits.hits;
            }
        }
        let visitors = &self.visitors;
        let is_ready = |ready: &ReadyVisitor| {
            visitors
                .get(&ready.visitor)
                .is_some_and(|it| !it.is_in_flight)
        };
        self.ready.retain(|_, ready| {
            ready.retain(is_ready);
            !ready.is_empty()
        });
    }

    /// The number of a group's requests and their size in bytes.
    fn size(&self, place: Place) -> (usize, usize) {
        let held = &self.chunks[place.chunk as usize];
        let first = held.links[place.group as usize].first_request;
        let requests = held.chunk.groups[place.group as usize].requests;
        let bytes = held.chunk.json(first..first + requests);
        (requests as usize, bytes.len())
    }

    /// Moves a group into a buffer. Returns the next one of its visitor.
    fn move_group(
        &mut self,
        place: Place,
        buffer: &mut Buffer,
        emptied: &Sender<Chunk>,
    ) -> Option<Place> {
        let held = &mut self.chunks[place.chunk as usize];
        let GroupLinks {
            first_request,
            next,
        } = held.links[place.group as usize];
        let group = std::mem::take(&mut held.chunk.groups[place.group as usize]);
        let requests = first_request..first_request + group.requests;
        buffer.push(group, &held.chunk, requests);
        held.left -= 1;
        self.groups -= 1;
        if held.left == 0 {
            self.bytes -= std::mem::take(&mut held.bytes);
            self.free.push(place.chunk);
            // The parser may have ended already.
            let _ = emptied.send(std::mem::take(&mut held.chunk));
        }
        next
    }

    /// Lets further hits of a buffer's visitors be sent.
    fn release(&mut self, buffer: &Buffer) {
        for group in buffer.groups() {
            let Some(hits) = self.visitors.get_mut(&group.visitor) else {
                continue;
            };
            if !std::mem::take(&mut hits.is_in_flight) {
                continue;
            }
            match hits.ends {
                Some((next, _)) => {
                    self.ready_hits += hits.hits;
                    self.blocked_hits -= hits.hits;
                    self.make_ready(next, group.visitor);
                }
                None => {
                    self.visitors.remove(&group.visitor);
                }
            }
        }
    }

    /// Removes all groups.
    fn drain(&mut self) -> Vec<RequestGroup> {
        let chunks = std::mem::take(self).chunks.into_iter();
        chunks
            .flat_map(|held| held.chunk.groups)
            .filter(|group| group.requests > 0)
            .collect()
    }
}

impl Default for Contents {
    fn default() -> Self {
        Self::new(false)
    }
}

#[cfg(test)]
mod tests;
