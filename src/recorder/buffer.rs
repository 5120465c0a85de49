//! The requests that a recorder has taken from the window, with their outcomes.

use std::collections::HashSet;

use bytes::Bytes;

use super::queue::{RequestGroup, SpareBuffers, WaitingGroup};
use crate::hit_id::HitId;
use crate::matomo::json;
use crate::secret::Secret;

/// Requests to send, and the progress of each group.
///
/// Methods take the index of a request in the buffer.
#[derive(Debug, Default)]
pub struct Buffer {
    requests: Vec<BufferedRequest>,
    groups: Vec<BufferedGroup>,
    bytes: usize,
    /// The front end that they are for.
    front: usize,
    /// Those of groups that are done.
    pub spare: SpareBuffers,
    /// The last body that was sent.
    last_body: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct BufferedRequest {
    group: u32,
    /// Its number in the group.
    part: u32,
    /// Matomo may have it, and it will be sent again all the same.
    unconfirmed: bool,
}

#[derive(Clone, Debug)]
struct BufferedGroup {
    waiting: WaitingGroup,
    /// Requests without an outcome.
    unsettled: u32,
    outcome: HitOutcome,
    /// One of its requests was sent again although Matomo may have had it.
    resent: bool,
}

/// What became of a hit. Ordered from best to worst: the worst of a group's requests decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HitOutcome {
    Imported,
    /// Matomo may have it. Final with `--in-doubt=skip`; if the import stops, the next run asks.
    Unconfirmed,
    Lost,
    Refused,
}

impl Buffer {
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// The size of all requests in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn groups(&self) -> impl ExactSizeIterator<Item = &RequestGroup> {
        self.groups.iter().map(|entry| &entry.waiting.group)
    }

    /// The number of the front end that the requests are for, from 0.
    pub fn front(&self) -> usize {
        self.front
    }

    pub fn set_front(&mut self, front: usize) {
        self.front = front;
    }

    pub fn clear(&mut self) {
        self.bytes = 0;
        self.requests.clear();
        for entry in self.groups.drain(..) {
            self.spare.keep(entry.waiting);
        }
    }

    pub fn push(&mut self, waiting: WaitingGroup) {
        let group = self.groups.len() as u32;
        let requests = waiting.group.requests;
        self.requests
            .extend((0..requests).map(|part| BufferedRequest {
                group,
                part,
                unconfirmed: false,
            }));
        self.bytes += waiting.json_bytes();
        self.groups.push(BufferedGroup {
            unsettled: requests,
            outcome: HitOutcome::Imported,
            resent: false,
            waiting,
        });
    }

    /// All requests, in the order in which they are sent.
    pub fn requests(&self) -> Vec<u32> {
        (0..self.requests.len() as u32).collect()
    }

    /// The JSON object of a request.
    pub fn json(&self, request: u32) -> &[u8] {
        let BufferedRequest { group, part, .. } = self.requests[request as usize];
        self.groups[group as usize].waiting.json(part)
    }

    /// The size of these requests in a body, in bytes: their JSON objects and separators.
    pub fn batch_bytes(&self, requests: &[u32]) -> usize {
        requests
            .iter()
            .map(|request| self.json(*request).len() + 1)
            .sum()
    }

    /// The body of a bulk tracking request; see guide/requests.md, "Batches".
    pub fn batch_body(&mut self, requests: &[u32], token: Option<&Secret>) -> Bytes {
        // Its memory is reused once the client is done with it: the allocator would keep that, too.
        let mut body = match std::mem::take(&mut self.last_body) {
            last if last.is_unique() => Vec::from(last),
            _ => Vec::new(),
        };
        body.clear();
        body.reserve_exact(self.batch_bytes(requests) + 128);
        let requests = requests.iter().map(|request| self.json(*request));
        write_body(&mut body, requests, token);
        self.last_body = Bytes::from(body);
        self.last_body.clone()
    }

    pub fn group(&self, request: u32) -> &RequestGroup {
        &self.entry(request).waiting.group
    }

    /// Sets the outcome of a request. Returns its group and the outcome of that if this was the
    /// last request of the group.
    pub fn settle(
        &mut self,
        request: u32,
        outcome: HitOutcome,
    ) -> Option<(&RequestGroup, HitOutcome)> {
        let entry = &mut self.groups[self.requests[request as usize].group as usize];
        entry.unsettled = entry.unsettled.saturating_sub(1);
        entry.outcome = entry.outcome.max(outcome);
        (entry.unsettled == 0).then_some((&entry.waiting.group, entry.outcome))
    }

    pub fn are_in_one_group(&self, one: u32, other: u32) -> bool {
        self.requests[one as usize].group == self.requests[other as usize].group
    }

    /// The hit identifier in the JSON object of a request.
    pub fn hit_id(&self, request: u32) -> Option<HitId> {
        // Quotes inside a JSON string are escaped, so this only matches the field itself.
        const FIELD: &[u8] = b",\"pv_id\":\"";
        let json = self.json(request);
        let begin = memchr::memmem::find(json, FIELD)?;
        json[begin + FIELD.len()..].first_chunk().copied()
    }

    /// Records that a request will be sent again although Matomo may have it.
    pub fn set_unconfirmed(&mut self, request: u32) {
        self.requests[request as usize].unconfirmed = true;
    }

    /// Records that a request was sent. Returns its group the first time that one of the group's
    /// unconfirmed requests is sent again.
    pub fn set_sent(&mut self, request: u32) -> Option<&RequestGroup> {
        let request = &mut self.requests[request as usize];
        if !std::mem::take(&mut request.unconfirmed) {
            return None;
        }
        let entry = &mut self.groups[request.group as usize];
        let first = !std::mem::replace(&mut entry.resent, true);
        first.then_some(&entry.waiting.group)
    }

    /// Whether a request of this request's group was refused.
    pub fn is_refused(&self, request: u32) -> bool {
        self.entry(request).outcome == HitOutcome::Refused
    }

    /// Whether all requests of this request's group have an outcome.
    pub fn is_settled(&self, request: u32) -> bool {
        self.entry(request).unsettled == 0
    }

    /// The groups that have requests without an outcome, and whether one of these is unconfirmed.
    pub fn unsettled(&self) -> impl Iterator<Item = (&RequestGroup, bool)> {
        let unconfirmed: HashSet<u32> = self
            .requests
            .iter()
            .filter(|request| request.unconfirmed)
            .map(|request| request.group)
            .collect();
        (0..)
            .zip(&self.groups)
            .filter(|(_, entry)| entry.unsettled > 0)
            .map(move |(number, entry)| (&entry.waiting.group, unconfirmed.contains(&number)))
    }

    fn entry(&self, request: u32) -> &BufferedGroup {
        &self.groups[self.requests[request as usize].group as usize]
    }
}

/// Writes the body of a bulk tracking request.
pub fn write_body<'r>(
    body: &mut Vec<u8>,
    requests: impl Iterator<Item = &'r [u8]>,
    token: Option<&Secret>,
) {
    body.push(b'{');
    if let Some(token) = token {
        body.extend_from_slice(b"\"token_auth\":\"");
        json::push_text(body, token.expose().as_bytes());
        body.extend_from_slice(b"\",");
    }
    body.extend_from_slice(b"\"requests\":[");
    for (index, request) in requests.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(request);
    }
    body.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::queue::{Chunk, LinePosition};

    impl Buffer {
        /// Holds one group for each visitor, agent and number of requests. A request reads
        /// `group.request`, as in `0.2`.
        pub fn of_groups(groups: &[(u64, u64, u32)]) -> Self {
            let mut chunk = Chunk::default();
            for (line, (visitor, agent, requests)) in groups.iter().enumerate() {
                for part in 0..*requests {
                    chunk
                        .body
                        .extend_from_slice(format!("{line}.{part}").as_bytes());
                    chunk.end_request();
                }
                chunk.groups.push(RequestGroup {
                    has_hit_ids: true,
                    position: LinePosition {
                        line: line as u64,
                        ..LinePosition::default()
                    },
                    requests: *requests,
                    agent: *agent,
                    visitor: *visitor,
                    ..RequestGroup::default()
                });
            }
            Self::of_chunk(chunk)
        }

        /// Holds all of a chunk.
        pub fn of_chunk(mut chunk: Chunk) -> Self {
            let mut buffer = Self::default();
            let groups: Vec<_> = chunk.drain(&mut buffer.spare).collect();
            groups.into_iter().for_each(|group| buffer.push(group));
            buffer
        }
    }

    #[test]
    fn the_last_request_settles_a_group_with_the_worst_outcome() {
        let mut buffer = Buffer::of_groups(&[(1, 10, 3)]);
        assert_eq!(buffer.settle(0, HitOutcome::Imported), None);
        assert_eq!(buffer.settle(1, HitOutcome::Refused), None);
        assert_eq!(buffer.unsettled().count(), 1);
        let settled = buffer.settle(2, HitOutcome::Imported);
        assert_eq!(
            settled.map(|(_, outcome)| outcome),
            Some(HitOutcome::Refused)
        );
        assert_eq!(buffer.unsettled().count(), 0);
    }
}
