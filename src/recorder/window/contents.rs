//! The hits that wait in the window, by agent and visitor.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crossbeam_channel::Sender;
use foldhash::fast::RandomState;

use crate::recorder::batch::BatchLimits;
use crate::recorder::buffer::Buffer;
use crate::recorder::queue::{Chunk, RequestGroup};

/// Memory of a group that waits, in bytes: the group, its links, and its share of a visitor.
const GROUP_BYTES: usize = 200;

/// The hits in the window, by visitor.
#[derive(Debug)]
pub struct Contents {
    keep_order: bool,
    chunks: Vec<HeldChunk>,
    /// Places in `chunks` that are free.
    free: Vec<u32>,
    /// Chunks so far.
    sequence: u64,
    pub(super) visitors: HashMap<u64, VisitorHits, RandomState>,
    /// Visitors with hits that may be sent, by the agent of their next group, and sorted by its
    /// number. In the order of the log, all have the same agent.
    ///
    /// Agents are sorted by hash. In order of appearance, common agents would come first, and the
    /// batches of a sweep would cost more from one to the next and could not be compared.
    ready: BTreeMap<u64, VecDeque<ReadyVisitor>>,
    /// The agent at which the sweep over `ready` continues.
    position: u64,
    pub groups: usize,
    /// Requests that may be sent.
    pub ready_hits: usize,
    /// Requests that wait for a request in flight.
    pub blocked_hits: usize,
    /// Memory of all chunks.
    pub bytes: usize,
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
pub(super) struct VisitorHits {
    /// The first and the last group that wait.
    ends: Option<(Place, Place)>,
    /// Requests that wait.
    hits: usize,
    is_in_flight: bool,
}

impl Contents {
    pub fn new(keep_order: bool) -> Self {
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

    pub fn begin_sweep(&mut self) {
        self.position = 0;
    }

    /// Adds a chunk that has groups.
    pub fn add(&mut self, chunk: Chunk) {
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
    pub fn take(
        &mut self,
        target: usize,
        max_bytes: usize,
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
                if !self.take_visitor((agent, visitor), max_hits, max_bytes, buffer, emptied) {
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
            let mut chunk = std::mem::take(&mut held.chunk);
            chunk.clear();
            // The parser may have ended already.
            let _ = emptied.send(chunk);
        }
        next
    }

    /// Lets further hits of a buffer's visitors be sent.
    pub fn release(&mut self, buffer: &Buffer) {
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
    pub fn drain(&mut self) -> Vec<RequestGroup> {
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
