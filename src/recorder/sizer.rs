//! How many hits a tracking request takes: more, as long as that makes a hit cheaper for the server; fewer, at once,
//! when a request is too much for it.
//!
//! Nothing here waits or looks at a clock: what was seen goes in, the size to use comes out.

use std::time::Duration;

use super::round::Round;

/// A request begins with so many hits, and grows from there.
const LEAST: usize = 200;
/// Beyond that a hit gets hardly cheaper (measured: 3 % from 1,000 to 2,000), and a batch in doubt dearer.
const MOST: usize = 1000;
/// Bytes of a body: below the 1 MiB that nginx takes where nobody configured it.
const MOST_BYTES: usize = 900_000;
/// A request that takes longer holds too many hits.
const SLOW: Duration = Duration::from_secs(5);
/// What a size costs is known after so many hits in so many requests.
const ENOUGH_HITS: usize = 2000;
const ENOUGH_REQUESTS: usize = 4;
/// Measurements without a trial after a size has not proved itself; doubled each time.
const PATIENCE: u32 = 8;
const MOST_PATIENCE: u32 = 128;

/// The size of a tracking request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub hits: usize,
    /// Of the whole body. A single hit may be larger.
    pub bytes: usize,
    /// The user named the number of hits: full requests and a rest, as he expects.
    pub exact: bool,
}

#[derive(Debug)]
pub struct Sizer {
    size: Size,
    least: usize,
    most: Size,
    /// What was seen at this size.
    seen: Round,
    /// The size before, and what a hit cost there: the present one is on trial.
    trial: Option<(Size, f64)>,
    /// Measurements still to pass before the next trial.
    rest: u32,
    patience: u32,
}

impl Sizer {
    /// `given` is the user's own number of hits (`--recorder-max-payload-size`), which is used until it proves too
    /// many; `room` the bytes that a recorder reads ahead, of which a request cannot be more.
    pub fn new(given: Option<usize>, room: usize) -> Self {
        let most = Size {
            hits: given.unwrap_or(MOST).max(1),
            bytes: MOST_BYTES.min(room),
            exact: given.is_some(),
        };
        Self {
            size: Size {
                hits: given.map_or(LEAST, |_| most.hits),
                ..most
            },
            least: LEAST.min(most.hits),
            most,
            seen: Round::default(),
            trial: None,
            rest: 0,
            patience: PATIENCE,
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether a request that was taken held too many hits all the same.
    pub fn is_slow(elapsed: Duration) -> bool {
        elapsed > SLOW
    }

    /// Whether the present size has yet to prove itself.
    pub fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Requests of this size were taken. When that shows that a size on trial is better, this gives by which factor
    /// a hit's cost has changed.
    pub fn judge(&mut self, round: &Round) -> Option<f64> {
        self.seen.add(round);
        if self.seen.hits < ENOUGH_HITS || self.seen.requests < ENOUGH_REQUESTS {
            return None;
        }
        let cost = std::mem::take(&mut self.seen).cost();
        let trial = self.trial.take();
        if let Some((before, known)) = trial
            && cost >= known
        {
            self.fail(before);
            return None;
        }
        if trial.is_some() {
            self.patience = PATIENCE;
        }
        self.step_up(cost);
        trial.map(|(_, known)| cost / known)
    }

    fn step_up(&mut self, cost: f64) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let next = match self.size.hits.saturating_mul(2) {
            hits if hits < self.most.hits => Size {
                hits,
                bytes: self.size.bytes.saturating_mul(2).min(self.most.bytes),
                ..self.size
            },
            _ => self.most,
        };
        if next.hits > self.size.hits {
            self.trial = Some((self.size, cost));
            self.size = next;
        }
    }

    /// The present size is not to be tried again soon.
    fn fail(&mut self, next: Size) {
        self.size = next;
        self.rest = self.patience;
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
    }

    /// Something else has changed, so costs cannot be compared: a size on trial has not proved itself.
    pub fn restart(&mut self) {
        self.seen = Round::default();
        if let Some((before, _)) = self.trial.take() {
            self.size = before;
        }
    }

    /// A request of so many hits took too long or failed: half of it from now on.
    pub fn shrink(&mut self, hits: usize) {
        let hits = (hits / 2).max(self.least);
        self.halve(hits, self.size.bytes);
    }

    /// A request of the present size, of so many hits and bytes, was too large for the server (413): half of it from
    /// now on, also where that is below the usual least.
    pub fn refuse(&mut self, hits: usize, bytes: usize) {
        self.halve(hits / 2, bytes / 2);
    }

    fn halve(&mut self, hits: usize, bytes: usize) {
        let before = self.size;
        self.restart();
        self.fail(Size {
            hits: hits.clamp(1, before.hits),
            bytes: bytes.clamp(1, before.bytes),
            ..before
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: usize = 2 << 20;

    /// Sends requests to a server that takes so many seconds for so many hits, until nothing changes for long.
    /// Gives the sizes on the way.
    fn grow(sizer: &mut Sizer, seconds: impl Fn(usize) -> f64, requests: usize) -> Vec<usize> {
        let mut sizes = vec![sizer.size().hits];
        for _ in 0..requests {
            let hits = sizer.size().hits;
            let mut round = Round::default();
            round.request(hits, Duration::from_secs_f64(seconds(hits)), true);
            sizer.judge(&round);
            if sizes.last() != Some(&sizer.size().hits) {
                sizes.push(sizer.size().hits);
            }
        }
        sizes
    }

    /// As measured on a Matomo: something for each request, something for each hit.
    fn usual(hits: usize) -> f64 {
        0.1 + hits as f64 * 0.0025
    }

    #[test]
    fn requests_grow_while_a_hit_gets_cheaper() {
        let mut sizer = Sizer::new(None, ROOM);
        assert_eq!(grow(&mut sizer, usual, 40), [200, 400, 800, 1000]);
    }

    #[test]
    fn the_price_that_changed_with_the_size_is_told() {
        let mut sizer = Sizer::new(None, ROOM);
        let mut factors = Vec::new();
        for _ in 0..40 {
            let hits = sizer.size().hits;
            let mut round = Round::default();
            round.request(hits, Duration::from_secs(1), true);
            factors.extend(sizer.judge(&round));
        }
        assert_eq!(factors, [0.5, 0.5, 0.8]);
    }

    #[test]
    fn a_size_at_which_a_hit_costs_more_is_left_again() {
        let mut sizer = Sizer::new(None, ROOM);
        let swapping = |hits| usual(hits) * if hits > 500 { 2.0 } else { 1.0 };
        let sizes = grow(&mut sizer, swapping, 40);
        assert_eq!(sizes, [200, 400, 800, 400]);
        // And tried again now and then, for servers change.
        let sizes = grow(&mut sizer, swapping, 400);
        assert!((3..20).contains(&sizes.len()), "{sizes:?}");
        assert!(grow(&mut sizer, usual, 1000).contains(&1000));
    }

    #[test]
    fn what_is_too_much_is_halved_at_once_and_not_tried_again_soon() {
        let mut sizer = Sizer::new(None, ROOM);
        grow(&mut sizer, usual, 40);
        for (failed, next) in [(1000, 500), (500, 250), (250, 200), (200, 200)] {
            sizer.shrink(failed);
            assert_eq!(sizer.size().hits, next);
        }
        assert_eq!(grow(&mut sizer, usual, 60), [200]);
        assert_eq!(grow(&mut sizer, usual, 2000).last(), Some(&1000));
    }

    #[test]
    fn a_small_request_that_fails_does_not_make_others_larger() {
        let mut sizer = Sizer::new(None, ROOM);
        sizer.shrink(900);
        assert_eq!(sizer.size().hits, 200);
    }

    #[test]
    fn what_was_too_large_is_halved_until_it_fits_and_seldom_tried_again() {
        let mut sizer = Sizer::new(None, ROOM);
        let (mut refused, mut last) = (Vec::new(), 0);
        for request in 0..20_000 {
            let hits = sizer.size().hits;
            if hits > 60 {
                sizer.refuse(hits, hits * 430);
                refused.push(request);
            } else {
                let mut round = Round::default();
                round.request(hits, Duration::from_secs_f64(usual(hits)), true);
                sizer.judge(&round);
                last = hits;
            }
        }
        assert_eq!((last, sizer.size().bytes), (50, 50 * 430));
        assert!((4..10).contains(&refused.len()), "{refused:?}");
        // It was one of the hits: the server takes as many again.
        assert_eq!(grow(&mut sizer, usual, 20_000).last(), Some(&1000));
        assert_eq!(sizer.size().bytes, MOST_BYTES);
    }

    #[test]
    fn the_users_number_is_where_it_begins_and_the_ceiling() {
        let mut sizer = Sizer::new(Some(5), ROOM);
        assert_eq!(grow(&mut sizer, usual, 2000), [5]);
        sizer.shrink(5);
        assert_eq!((sizer.size().exact, sizer.size().hits), (true, 5));
        let mut sizer = Sizer::new(Some(3000), ROOM);
        assert_eq!(grow(&mut sizer, usual, 100), [3000]);
        sizer.shrink(3000);
        assert_eq!(grow(&mut sizer, usual, 400), [1500, 3000]);
    }

    #[test]
    fn a_request_is_no_more_than_is_read_ahead() {
        assert_eq!(Sizer::new(None, 300_000).size().bytes, 300_000);
        assert_eq!(Sizer::new(None, ROOM).size().bytes, MOST_BYTES);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Taken(usize, u64),
        Shrink(usize),
        Refuse(usize, usize),
        Restart,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let hits = 0usize..5000;
        let event = prop_oneof![
            8 => (hits.clone(), any::<u64>()).prop_map(|(hits, nanos)| Event::Taken(hits, nanos)),
            1 => hits.clone().prop_map(Event::Shrink),
            1 => (hits, 0usize..2_000_000).prop_map(|(hits, bytes)| Event::Refuse(hits, bytes)),
            1 => Just(Event::Restart),
        ];
        proptest::collection::vec(event, 0..300)
    }

    proptest! {
        #[test]
        fn whatever_is_seen_sizes_stay_in_their_bounds(
            given in proptest::option::of(0usize..5000),
            events in events(),
        ) {
            let mut sizer = Sizer::new(given, ROOM);
            for event in events {
                match event {
                    Event::Taken(hits, nanos) => {
                        let mut round = Round::default();
                        round.request(hits, Duration::from_nanos(nanos), true);
                        let factor = sizer.judge(&round);
                        prop_assert!(factor.is_none_or(|factor| (0.0..1.0).contains(&factor)));
                    }
                    Event::Shrink(hits) => sizer.shrink(hits),
                    Event::Refuse(hits, bytes) => sizer.refuse(hits, bytes),
                    Event::Restart => sizer.restart(),
                }
                let size = sizer.size();
                prop_assert!(size.hits >= 1 && size.hits <= given.unwrap_or(MOST).max(1));
                prop_assert!(size.bytes >= 1 && size.bytes <= MOST_BYTES);
            }
        }
    }
}
