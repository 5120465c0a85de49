//! The requests that a recorder has read ahead, and the order in which it sends them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::queue::{Chunk, REQUEST_BYTES, RequestGroup};
use crate::hit_id::HitId;
use crate::matomo::json;
use crate::secret::Secret;

/// Requests to send, and the progress of each group.
///
/// Methods take the index of a request in the buffer.
#[derive(Debug, Default)]
pub struct Buffer {
    body: Vec<u8>,
    requests: Vec<BufferedRequest>,
    groups: Vec<BufferedGroup>,
}

#[derive(Clone, Copy, Debug)]
struct BufferedRequest {
    /// Offsets in the buffer's body.
    begin: u32,
    end: u32,
    group: u32,
    /// Matomo may have it, and it will be sent again all the same.
    unconfirmed: bool,
}

#[derive(Clone, Debug)]
struct BufferedGroup {
    group: RequestGroup,
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
    /// Reserves capacity for `bytes` of requests: growing step by step would leave as much unused
    /// memory behind. Reserved pages that are never written to do not count.
    pub fn with_capacity(bytes: usize) -> Self {
        let hits = bytes / REQUEST_BYTES;
        Self {
            body: Vec::with_capacity(bytes),
            requests: Vec::with_capacity(hits),
            groups: Vec::with_capacity(hits),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// The size of all requests in bytes.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    pub fn clear(&mut self) {
        self.body.clear();
        self.requests.clear();
        self.groups.clear();
    }

    /// Takes everything out of a chunk.
    pub fn add(&mut self, chunk: &mut Chunk) {
        let offset = self.body.len() as u32;
        self.body.extend_from_slice(&chunk.body);
        let mut ends = chunk.ends.iter();
        let mut begin = offset;
        for group in chunk.groups.drain(..) {
            let number = self.groups.len() as u32;
            for end in ends.by_ref().take(group.requests as usize) {
                self.requests.push(BufferedRequest {
                    begin,
                    end: offset + end,
                    group: number,
                    unconfirmed: false,
                });
                begin = offset + end;
            }
            self.groups.push(BufferedGroup {
                unsettled: group.requests,
                outcome: HitOutcome::Imported,
                resent: false,
                group,
            });
        }
        chunk.clear();
    }

    /// The order that costs Matomo least: it looks up each user agent once a batch, so hits of one
    /// agent come together, and within them those of one visitor. All hits of a visitor stay in the
    /// order of the log, at the place of the visitor's first agent.
    ///
    /// Agents are sorted by hash. In order of appearance, common agents would come first, and the
    /// batches of a buffer would cost more from one to the next and could not be compared.
    pub fn order_by_agent(&self) -> Vec<u32> {
        let mut agents: HashMap<u64, u64, RandomState> = HashMap::default();
        let mut keys: Vec<(u64, u64, u32)> = Vec::with_capacity(self.requests.len());
        for BufferedGroup { group, .. } in &self.groups {
            let agent = *agents.entry(group.visitor).or_insert(group.agent);
            let next = keys.len() as u32;
            keys.extend(
                (next..next + group.requests).map(|request| (agent, group.visitor, request)),
            );
        }
        // With a single agent the order of the log is as good.
        if keys.iter().any(|key| key.0 != keys[0].0) {
            keys.sort_unstable();
        }
        keys.into_iter().map(|(.., request)| request).collect()
    }

    pub fn order_of_log(&self) -> Vec<u32> {
        (0..self.requests.len() as u32).collect()
    }

    /// The JSON object of a request.
    pub fn json(&self, request: u32) -> &[u8] {
        let request = self.requests[request as usize];
        &self.body[request.begin as usize..request.end as usize]
    }

    /// The size of these requests in a body, in bytes: their JSON objects and separators.
    pub fn batch_bytes(&self, requests: &[u32]) -> usize {
        requests
            .iter()
            .map(|request| self.json(*request).len() + 1)
            .sum()
    }

    /// The body of a bulk tracking request; see guide/requests.md, "Batches".
    pub fn batch_body(&self, requests: &[u32], token: Option<&Secret>) -> Bytes {
        let mut body = Vec::with_capacity(self.batch_bytes(requests) + 128);
        let requests = requests.iter().map(|request| self.json(*request));
        write_body(&mut body, requests, token);
        Bytes::from(body)
    }

    pub fn group(&self, request: u32) -> &RequestGroup {
        &self.entry(request).group
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
        (entry.unsettled == 0).then_some((&entry.group, entry.outcome))
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
        first.then_some(&entry.group)
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
            .map(move |(number, entry)| (&entry.group, unconfirmed.contains(&number)))
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
    use crate::hit::HitDays;
    use crate::recorder::queue::LinePosition;

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
                    file: 0,
                    log: None,
                    originals: Vec::new(),
                    session: None,
                    has_hit_ids: true,
                    position: LinePosition {
                        line: line as u64,
                        start: 0,
                        end: 0,
                    },
                    more: Vec::new(),
                    site: 0,
                    days: HitDays::Today,
                    requests: *requests,
                    agent: *agent,
                    visitor: *visitor,
                });
            }
            let mut buffer = Self::default();
            buffer.add(&mut chunk);
            assert!(chunk.groups.is_empty() && chunk.body.is_empty());
            buffer
        }
    }

    fn texts(buffer: &Buffer, order: &[u32]) -> Vec<String> {
        order
            .iter()
            .map(|request| String::from_utf8(buffer.json(*request).to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn agents_are_grouped_and_each_visitor_keeps_its_order() {
        let buffer = Buffer::of_groups(&[
            (1, 10, 1),
            (2, 20, 1),
            (3, 10, 1),
            (1, 20, 1),
            (2, 20, 1),
            (3, 10, 1),
        ]);
        let order = buffer.order_by_agent();
        assert_eq!(
            texts(&buffer, &order),
            ["0.0", "3.0", "2.0", "5.0", "1.0", "4.0"]
        );
    }

    #[test]
    fn hits_of_a_single_agent_stay_in_the_order_of_the_log() {
        let buffer = Buffer::of_groups(&[(1, 10, 1), (2, 10, 1), (1, 10, 1), (2, 10, 1)]);
        assert_eq!(buffer.order_by_agent(), buffer.order_of_log());
    }

    #[test]
    fn requests_of_one_group_stay_together_in_order() {
        let buffer = Buffer::of_groups(&[(1, 10, 3), (2, 20, 1), (3, 10, 2)]);
        let order = buffer.order_by_agent();
        assert_eq!(
            texts(&buffer, &order),
            ["0.0", "0.1", "0.2", "2.0", "2.1", "1.0"]
        );
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

    #[test]
    fn a_buffer_holds_several_chunks() {
        let mut buffer = Buffer::of_groups(&[(1, 10, 2)]);
        let mut chunk = Chunk::default();
        chunk.body.extend_from_slice(b"later");
        chunk.end_request();
        chunk.groups.push(RequestGroup {
            position: LinePosition {
                line: 7,
                ..LinePosition::default()
            },
            requests: 1,
            ..buffer.group(0).clone()
        });
        buffer.add(&mut chunk);
        assert_eq!(buffer.json(2), b"later");
        assert_eq!(buffer.group(2).position.line, 7);
    }
}
