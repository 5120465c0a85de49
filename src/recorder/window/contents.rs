//! The hits that wait in the window, by agent and visitor.

use std::collections::{BTreeMap, HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::recorder::buffer::Buffer;
use crate::recorder::queue::{RequestGroup, WaitingGroup};

/// Memory of a group that waits, in bytes, besides what it has on the heap: its place, and what the
/// maps of visitors and the allocator need.
const GROUP_BYTES: usize = size_of::<HeldGroup>() + 100;

/// How much to take at once.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Requests to take. The other requests of the last agent are taken, too,
    pub target: usize,
    /// unless this is set,
    pub splits_agents: bool,
    /// and up to these limits. The size is that of a body, in bytes.
    pub max_hits: usize,
    pub max_bytes: usize,
}

/// The hits in the window, by visitor.
#[derive(Debug)]
pub struct Contents {
    keep_order: bool,
    /// The groups that wait. Free places have none.
    places: Vec<Option<HeldGroup>>,
    free: Vec<u32>,
    /// Groups so far.
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
    /// Memory of all groups.
    pub bytes: usize,
}

#[derive(Debug)]
struct HeldGroup {
    waiting: WaitingGroup,
    /// The number of the group, in the order of the log.
    sequence: u64,
    /// The place of the visitor's next group.
    next: Option<u32>,
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
    /// The places of the first and the last group that wait.
    ends: Option<(u32, u32)>,
    /// Requests that wait.
    hits: usize,
    is_in_flight: bool,
}

impl Contents {
    pub fn new(keep_order: bool) -> Self {
        Self {
            keep_order,
            places: Vec::new(),
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

    /// Puts a group behind the other ones of its visitor.
    pub fn add(&mut self, waiting: WaitingGroup) {
        let RequestGroup {
            visitor, requests, ..
        } = waiting.group;
        let requests = requests as usize;
        self.bytes += memory(&waiting);
        self.groups += 1;
        self.sequence += 1;
        let held = Some(HeldGroup {
            waiting,
            sequence: self.sequence,
            next: None,
        });
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = held;
                place
            }
            None => {
                self.places.push(held);
                self.places.len() as u32 - 1
            }
        };
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
                if let Some(held) = &mut self.places[last as usize] {
                    held.next = Some(place);
                }
            }
            ends => {
                *ends = Some((place, place));
                if !is_in_flight {
                    self.make_ready(place, visitor);
                }
            }
        }
    }

    /// Lets the hits of a visitor with the next group at this place be sent.
    fn make_ready(&mut self, place: u32, visitor: u64) {
        let Some(held) = &self.places[place as usize] else {
            return;
        };
        let sequence = held.sequence;
        let agent = match self.keep_order {
            true => 0,
            false => held.waiting.group.agent,
        };
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

    /// Takes requests into an empty buffer, and all of an agent if they fit.
    pub fn take(&mut self, quota: Quota, buffer: &mut Buffer) {
        let splits_agents = self.keep_order || quota.splits_agents;
        let mut agent = self.position;
        while let Some(next) = self.next_agent(agent) {
            agent = next;
            if buffer.len() >= quota.target {
                break;
            }
            while buffer.len() < quota.target || !splits_agents {
                let Some(visitor) = self.next_of_agent(agent) else {
                    break;
                };
                if !self.take_visitor(agent, visitor, quota, buffer) {
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
        agent: u64,
        visitor: u64,
        quota: Quota,
        buffer: &mut Buffer,
    ) -> bool {
        let Some(mut hits) = self.visitors.get(&visitor).copied() else {
            return false;
        };
        let Some((first, last)) = hits.ends else {
            return false;
        };
        let mut next = Some(first);
        let mut fits = true;
        let taken_before = buffer.len();
        while let Some(place) = next {
            fits = self.fits(place, quota, buffer);
            if !fits {
                break;
            }
            next = self.move_group(place, buffer);
            if self.keep_order {
                break;
            }
        }
        let taken = buffer.len() - taken_before;
        if taken == 0 {
            return false;
        }
        self.ready_hits -= taken;
        if let Some(visitors) = self.ready.get_mut(&agent) {
            visitors.pop_front();
            if visitors.is_empty() {
                self.ready.remove(&agent);
            }
        }
        hits.hits -= taken;
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

    /// Whether the group at a place fits into a buffer. An empty one takes any group.
    fn fits(&self, place: u32, quota: Quota, buffer: &Buffer) -> bool {
        let Some(held) = &self.places[place as usize] else {
            return false;
        };
        let requests = buffer.len() + held.waiting.group.requests as usize;
        let bytes = buffer.bytes() + held.waiting.json_bytes();
        let separators = requests;
        buffer.is_empty() || requests <= quota.max_hits && bytes + separators <= quota.max_bytes
    }

    /// Moves the group at a place into a buffer. Returns the place of its visitor's next one.
    fn move_group(&mut self, place: u32, buffer: &mut Buffer) -> Option<u32> {
        let held = self.places[place as usize].take()?;
        self.free.push(place);
        self.groups -= 1;
        self.bytes -= memory(&held.waiting);
        buffer.push(held.waiting);
        held.next
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
        let places = std::mem::take(self).places.into_iter();
        places.flatten().map(|held| held.waiting.group).collect()
    }
}

/// The memory of a group that waits, in bytes.
fn memory(waiting: &WaitingGroup) -> usize {
    GROUP_BYTES + waiting.heap_bytes()
}

impl Default for Contents {
    fn default() -> Self {
        Self::new(false)
    }
}
