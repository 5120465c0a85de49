//! Batches: a window cut, one after the other, each of the size that suits the server when its turn comes.

use super::sizer::Size;
use super::tempo::Era;
use super::window::Window;

/// Requests to be sent as one, and how it went so far.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Indexes into the window.
    pub requests: Vec<u32>,
    /// Attempts so far.
    pub attempts: u32,
    /// A part of a batch that failed in all attempts: it is tried once, to find the hit that does it.
    pub probe: bool,
    /// Requests that this run had committed when the batch was first given up, or the one that it is a half of.
    pub successes_before: u64,
    /// When its size was chosen; `None` once it was sent.
    pub cut: Option<Era>,
}

impl Batch {
    /// Of a size chosen in that era.
    pub fn new(requests: Vec<u32>, cut: Era) -> Self {
        Self {
            requests,
            attempts: 0,
            probe: false,
            successes_before: 0,
            cut: Some(cut),
        }
    }

    /// The second half and the first, each to be attempted anew.
    pub fn halves(mut self) -> [Self; 2] {
        self.attempts = 0;
        let second = self.requests.split_off(self.requests.len().div_ceil(2));
        let second = Self {
            requests: second,
            attempts: 0,
            probe: self.probe,
            successes_before: self.successes_before,
            cut: self.cut,
        };
        [second, self]
    }
}

/// What is left of an ordered window.
#[derive(Debug)]
pub struct Uncut {
    order: Vec<u32>,
    begin: usize,
}

impl Uncut {
    /// `order` is of indexes into the window.
    pub fn new(order: Vec<u32>) -> Self {
        Self { order, begin: 0 }
    }

    /// The next batch; empty: nothing is left. The requests of one line stay together as long as they fit. Unless the
    /// size is exact, batches are of about the same size, for a small rest costs the server nearly as much as a full
    /// batch; and where there is room for all hits of an agent, they go together.
    pub fn next(&mut self, window: &Window, size: Size) -> Vec<u32> {
        let rest = &self.order[self.begin..];
        let most = size.hits.max(1);
        let enough = if size.exact {
            most
        } else {
            rest.len().div_ceil(rest.len().div_ceil(most).max(1))
        };
        let mut taken = 0;
        let mut bytes = 0;
        let same_line =
            |one: &u32, other: &u32| std::ptr::eq(window.unit(*one), window.unit(*other));
        for line in rest.chunk_by(same_line) {
            let agent = window.unit(line[0]).agent;
            let split = |last: &u32| size.exact || window.unit(*last).agent != agent;
            if taken >= enough && rest[..taken].last().is_some_and(split) {
                break;
            }
            let length = |request: &u32| window.json(*request).len() + 1;
            let more: usize = line.iter().map(length).sum();
            if taken > 0 && (taken + line.len() > most || bytes + more > size.bytes) {
                break;
            }
            if taken == 0 && (line.len() > most || more > size.bytes) {
                // Too much for one batch, so it is taken apart. At least one goes, however large.
                let mut room = size.bytes;
                let fits = |request: &&u32| {
                    let left = room.checked_sub(length(request));
                    room = left.unwrap_or(0);
                    left.is_some()
                };
                taken = line.iter().take(most).take_while(fits).count().max(1);
                break;
            }
            taken += line.len();
            bytes += more;
        }
        let batch = rest[..taken].to_vec();
        self.begin += taken;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::window::tests::window;

    fn size(hits: usize, exact: bool) -> Size {
        Size {
            hits,
            bytes: 1_000_000,
            exact,
        }
    }

    /// Lengths of all batches of a window in the order of its log.
    fn lengths(window: &Window, size: Size) -> Vec<usize> {
        let mut uncut = Uncut::new(window.order_of_log());
        let mut batches = Vec::new();
        loop {
            let batch = uncut.next(window, size);
            if batch.is_empty() {
                let all: Vec<u32> = batches.concat();
                assert_eq!(all, window.order_of_log());
                return batches.iter().map(Vec::len).collect();
            }
            batches.push(batch);
        }
    }

    /// Lines of one request each, of these agents.
    fn of_agents(agents: &[u64]) -> Window {
        let units: Vec<_> = (0..).zip(agents).map(|(n, agent)| (n, *agent, 1)).collect();
        window(&units)
    }

    #[test]
    fn batches_are_full_where_the_user_named_their_size() {
        let window = of_agents(&[1; 12]);
        assert_eq!(lengths(&window, size(5, true)), [5, 5, 2]);
        assert_eq!(lengths(&window, size(1, true)), [1; 12]);
    }

    #[test]
    fn otherwise_they_are_of_about_the_same_size() {
        let window = of_agents(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(lengths(&window, size(5, false)), [4, 4, 4]);
        assert_eq!(lengths(&window, size(11, false)), [6, 6]);
        assert_eq!(lengths(&window, size(100, false)), [12]);
    }

    #[test]
    fn an_agents_hits_go_together_where_there_is_room() {
        let window = of_agents(&[1, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(lengths(&window, size(6, false)), [6, 6]);
        assert_eq!(lengths(&window, size(7, false)), [6, 6]);
        let window = of_agents(&[1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6]);
        assert_eq!(lengths(&window, size(8, false)), [8, 4]);
        assert_eq!(lengths(&window, size(6, false)), [6, 6], "no room");
    }

    #[test]
    fn requests_of_one_line_stay_together_as_long_as_they_fit() {
        let window = window(&[(1, 1, 2), (2, 2, 2), (3, 3, 7), (4, 4, 1)]);
        assert_eq!(lengths(&window, size(3, true)), [2, 2, 3, 3, 2]);
        assert_eq!(lengths(&window, size(4, true)), [4, 4, 4]);
    }

    #[test]
    fn bodies_stay_below_their_bytes_but_a_single_hit_always_goes() {
        // "0.0" and a comma are four bytes.
        let window = of_agents(&[1; 5]);
        let of_bytes = |bytes| Size {
            bytes,
            ..size(100, true)
        };
        assert_eq!(lengths(&window, of_bytes(8)), [2, 2, 1]);
        assert_eq!(lengths(&window, of_bytes(11)), [2, 2, 1]);
        assert_eq!(lengths(&window, of_bytes(1)), [1; 5]);
        let line = self::window(&[(1, 1, 5), (2, 2, 1)]);
        assert_eq!(lengths(&line, of_bytes(9)), [2, 2, 2]);
    }

    #[test]
    fn the_size_may_change_on_the_way() {
        let window = of_agents(&[1; 10]);
        let mut uncut = Uncut::new(window.order_of_log());
        assert_eq!(uncut.next(&window, size(2, true)), [0, 1]);
        assert_eq!(uncut.next(&window, size(5, true)), [2, 3, 4, 5, 6]);
        assert_eq!(uncut.next(&window, size(5, true)), [7, 8, 9]);
        assert!(uncut.next(&window, size(5, true)).is_empty());
    }
}
