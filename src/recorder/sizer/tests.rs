//! Sizes against servers that are made up, and bounds that hold whatever is seen.

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
