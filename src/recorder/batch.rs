//! Cuts a buffer into batches.

use super::buffer::Buffer;

/// Hits of AI assistants in one batch. If Matomo fails to store one of them, it loses those before
/// it in the batch and answers as if all were stored.
pub const MAX_ASSISTANT_HITS: usize = 20;

/// Upper limits of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub hits: usize,
    /// Size of the body. A single hit may be larger.
    pub bytes: usize,
    /// The user chose the number of hits: batches are full while there are enough hits.
    pub exact: bool,
}

/// Requests to send as one bulk request, and how often that was tried.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Indexes into the buffer.
    pub requests: Vec<u32>,
    pub attempts: u32,
    /// Part of a batch that failed in all attempts. It is tried once, to find the poison hit.
    pub probe: bool,
    /// None of its hits was sent before.
    pub is_new: bool,
    /// Batches acknowledged in this run when this batch, or the one it was split from, first
    /// failed.
    pub acknowledged_before: u64,
}

impl Batch {
    pub fn new(requests: Vec<u32>) -> Self {
        Self {
            requests,
            attempts: 0,
            probe: false,
            is_new: true,
            acknowledged_before: 0,
        }
    }

    /// Splits the batch into its second and its first half, in the order of a stack. Both start
    /// with no attempts.
    pub fn split(mut self) -> [Self; 2] {
        let second = self.requests.split_off(self.requests.len().div_ceil(2));
        let first = Self {
            attempts: 0,
            is_new: false,
            ..self
        };
        let second = Self {
            requests: second,
            ..first
        };
        [second, first]
    }
}

/// The part of a buffer that is not yet cut into batches.
#[derive(Debug)]
pub struct BatchIter {
    order: Vec<u32>,
    position: usize,
}

impl BatchIter {
    /// Takes the indexes of requests in the order in which they are sent.
    pub fn new(order: Vec<u32>) -> Self {
        Self { order, position: 0 }
    }

    /// Cuts the next batch. The limits may change from one batch to the next.
    ///
    /// Requests of one group stay together if they fit. Unless the limits are exact, batches are of
    /// about the same size, because a small remainder costs the server nearly as much as a full
    /// batch.
    pub fn next_batch(&mut self, buffer: &Buffer, limits: BatchLimits) -> Option<Batch> {
        let rest = &self.order[self.position..];
        let is_assistant = |request: &u32| buffer.group(*request).is_assistant;
        let of_assistants = rest.first().is_some_and(is_assistant);
        let max = match of_assistants {
            true => limits.hits.clamp(1, MAX_ASSISTANT_HITS),
            false => limits.hits.max(1),
        };
        let other_kind = |request: &u32| is_assistant(request) != of_assistants;
        let rest = &rest[..rest.iter().position(other_kind).unwrap_or(rest.len())];
        let target = match limits.exact {
            true => max,
            false => rest.len().div_ceil(rest.len().div_ceil(max).max(1)),
        };
        let mut taken = 0;
        let mut bytes = 0;
        for group in rest.chunk_by(|one, other| buffer.are_in_one_group(*one, *other)) {
            let group_bytes = buffer.batch_bytes(group);
            let fits = taken + group.len() <= max && bytes + group_bytes <= limits.bytes;
            if taken >= target || !fits {
                if taken == 0 {
                    taken = Self::split_group(buffer, &group[..group.len().min(max)], limits.bytes);
                }
                break;
            }
            taken += group.len();
            bytes += group_bytes;
        }
        let batch = rest[..taken].to_vec();
        self.position += taken;
        (!batch.is_empty()).then(|| Batch::new(batch))
    }

    /// How many requests of a group that is too large for one batch go into this one: at least one,
    /// however large that is.
    fn split_group(buffer: &Buffer, group: &[u32], max_bytes: usize) -> usize {
        let mut bytes = 0;
        let fits = |request: &&u32| {
            bytes += buffer.batch_bytes(&[**request]);
            bytes <= max_bytes
        };
        group.iter().take_while(fits).count().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::queue::{Chunk, RequestGroup};

    fn limits(hits: usize, exact: bool) -> BatchLimits {
        BatchLimits {
            hits,
            bytes: 1_000_000,
            exact,
        }
    }

    /// The number of requests of each batch, in the order of the log.
    fn lengths(buffer: &Buffer, limits: BatchLimits) -> Vec<usize> {
        let mut iter = BatchIter::new(buffer.requests());
        let batches: Vec<Vec<u32>> = std::iter::from_fn(|| iter.next_batch(buffer, limits))
            .map(|batch| batch.requests)
            .collect();
        assert_eq!(batches.concat(), buffer.requests());
        batches.iter().map(Vec::len).collect()
    }

    /// Groups of one request each, of these agents.
    fn of_agents(agents: &[u64]) -> Buffer {
        let groups: Vec<_> = (0..).zip(agents).map(|(n, agent)| (n, *agent, 1)).collect();
        Buffer::of_groups(&groups)
    }

    #[test]
    fn hits_of_assistants_are_in_small_batches_of_their_own() {
        let mut chunk = Chunk::new();
        for number in 0..60 {
            chunk.body.extend_from_slice(b"{}");
            chunk.end_request();
            chunk.groups.push(RequestGroup {
                requests: 1,
                is_assistant: (10..55).contains(&number),
                ..RequestGroup::default()
            });
        }
        let buffer = Buffer::of_chunk(chunk);
        assert_eq!(lengths(&buffer, limits(1000, false)), [10, 15, 15, 15, 5]);
        assert_eq!(lengths(&buffer, limits(1000, true)), [10, 20, 20, 5, 5]);
        assert_eq!(lengths(&buffer, limits(4, true))[..4], [4, 4, 2, 4]);
    }

    #[test]
    fn batches_are_full_if_the_user_chose_their_size() {
        let buffer = of_agents(&[1; 12]);
        assert_eq!(lengths(&buffer, limits(5, true)), [5, 5, 2]);
        assert_eq!(lengths(&buffer, limits(1, true)), [1; 12]);
    }

    #[test]
    fn otherwise_batches_are_of_about_the_same_size() {
        let buffer = of_agents(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(lengths(&buffer, limits(5, false)), [4, 4, 4]);
        assert_eq!(lengths(&buffer, limits(11, false)), [6, 6]);
        assert_eq!(lengths(&buffer, limits(100, false)), [12]);
    }

    #[test]
    fn requests_of_one_group_stay_together_if_they_fit() {
        let buffer = Buffer::of_groups(&[(1, 1, 2), (2, 2, 2), (3, 3, 7), (4, 4, 1)]);
        assert_eq!(lengths(&buffer, limits(3, true)), [2, 2, 3, 3, 2]);
        assert_eq!(lengths(&buffer, limits(4, true)), [4, 4, 4]);
    }

    #[test]
    fn bodies_stay_within_the_limit_but_a_single_hit_always_goes() {
        // "0.0" and a comma are four bytes.
        let buffer = of_agents(&[1; 5]);
        let of_bytes = |bytes| BatchLimits {
            bytes,
            ..limits(100, true)
        };
        assert_eq!(lengths(&buffer, of_bytes(8)), [2, 2, 1]);
        assert_eq!(lengths(&buffer, of_bytes(11)), [2, 2, 1]);
        assert_eq!(lengths(&buffer, of_bytes(1)), [1; 5]);
        let buffer = Buffer::of_groups(&[(1, 1, 5), (2, 2, 1)]);
        assert_eq!(lengths(&buffer, of_bytes(9)), [2, 2, 2]);
    }

    #[test]
    fn the_limits_may_change_from_batch_to_batch() {
        let buffer = of_agents(&[1; 10]);
        let mut iter = BatchIter::new(buffer.requests());
        let mut next = |hits| Some(iter.next_batch(&buffer, limits(hits, true))?.requests);
        assert_eq!(next(2), Some(vec![0, 1]));
        assert_eq!(next(5), Some(vec![2, 3, 4, 5, 6]));
        assert_eq!(next(5), Some(vec![7, 8, 9]));
        assert_eq!(next(5), None);
    }
}
