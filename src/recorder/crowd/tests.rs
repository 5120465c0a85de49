//! The limit against servers that are made up: with few cores, with noise, with errors.

use std::time::Duration;

use super::*;
use proptest::prelude::*;

/// So many rounds against a server whose requests of 100 hits take `millis` with so many at once. Gives the
/// limits on the way.
fn run(crowd: &mut Crowd, rounds: usize, mut millis: impl FnMut(usize) -> f64) -> Vec<usize> {
    let mut limits = vec![crowd.limit()];
    for _ in 0..rounds {
        let mut round = Round::default();
        for _ in 0..2 * crowd.limit() {
            let elapsed = Duration::from_secs_f64(millis(crowd.limit()) / 1000.0);
            round.request(100, elapsed, true);
        }
        crowd.judge(&round);
        limits.push(crowd.limit());
    }
    limits
}

fn doubles_above_four(at_once: usize) -> f64 {
    40.0 * f64::from(1 << ((at_once - 1) / 4))
}

/// A server with so many cores, whose requests take turns when there are more.
fn cores(cores: usize) -> impl Fn(usize) -> f64 {
    move |at_once| 500.0 * (at_once as f64 / cores as f64).max(1.0)
}

#[test]
fn auto_stays_below_where_requests_get_slow() {
    let mut crowd = Crowd::new(Most::Auto(16));
    let limits = run(&mut crowd, 5, doubles_above_four);
    assert_eq!(limits, [1, 2, 3, 4, 5, 3]);
    let limits = run(&mut crowd, 200, doubles_above_four);
    assert!(limits.iter().all(|limit| (3..=5).contains(limit)));
    assert!(limits.iter().filter(|limit| **limit == 4).count() > 150);
    assert_eq!(crowd.settled(), 4);
}

#[test]
fn auto_fills_the_servers_cores_and_little_more() {
    for number in 1..=12 {
        let mut crowd = Crowd::new(Most::Auto(16));
        run(&mut crowd, 1000, cores(number));
        let settled = crowd.settled();
        assert!(
            (number..=number + 2).contains(&settled),
            "{number} cores, {settled} requests"
        );
    }
}

#[test]
fn auto_ends_at_its_most() {
    let mut crowd = Crowd::new(Most::Auto(8));
    assert_eq!(run(&mut crowd, 100, |_| 300.0).last(), Some(&8));
    assert_eq!(crowd.settled(), 8);
}

#[test]
fn noise_does_not_keep_auto_down_nor_let_it_rise() {
    // 30 % up or down, another each time.
    let mut seed = 1u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0.7 + 0.6 * f64::from(seed >> 8) / f64::from(1u32 << 24)
    };
    let mut crowd = Crowd::new(Most::Auto(8));
    let limits = run(&mut crowd, 200, |n| noise() * cores(8)(n));
    assert!(limits[100..].iter().sum::<usize>() > 6 * 100, "{limits:?}");
    let mut crowd = Crowd::new(Most::Auto(8));
    let limits = run(&mut crowd, 200, |n| noise() * doubles_above_four(n));
    assert!(limits[20..].iter().sum::<usize>() < 5 * 180, "{limits:?}");
    assert!((3..=6).contains(&crowd.settled()));
}

#[test]
fn where_the_limit_holds_nobody_back_it_does_not_rise() {
    let mut crowd = Crowd::new(Most::Auto(8));
    let mut round = Round::default();
    for _ in 0..8 {
        round.request(100, Duration::from_millis(50), false);
    }
    assert!(!crowd.judge(&round));
    assert_eq!(crowd.limit(), 1);
}

#[test]
fn errors_halve_it_at_once_and_it_comes_back_step_by_step() {
    let mut crowd = Crowd::new(Most::Fixed(8));
    assert!(crowd.trouble());
    assert_eq!(crowd.limit(), 4);
    assert_eq!(
        run(&mut crowd, 5, |_| 300.0),
        [4, 5, 6, 7, 7, 7],
        "eight were too many a short while ago"
    );
    assert_eq!(run(&mut crowd, 5, |_| 300.0).last(), Some(&8));
    for _ in 0..5 {
        crowd.trouble();
    }
    assert_eq!(crowd.limit(), 1);
    assert!(!crowd.trouble());
    assert_eq!(run(&mut crowd, 100, |_| 300.0).last(), Some(&8));
}

#[test]
fn a_number_that_keeps_failing_is_tried_more_and_more_seldom() {
    let mut crowd = Crowd::new(Most::Fixed(8));
    let mut tries = Vec::new();
    for round in 0..400 {
        if crowd.limit() > 4 {
            crowd.trouble();
            tries.push(round);
        }
        run(&mut crowd, 1, |_| 300.0);
    }
    assert!((4..12).contains(&tries.len()), "{tries:?}");
}

#[test]
fn a_fixed_number_is_eased_when_requests_take_more_than_twice_as_long() {
    let mut crowd = Crowd::new(Most::Fixed(8));
    assert_eq!(run(&mut crowd, 5, |_| 200.0), [8; 6]);
    assert_eq!(run(&mut crowd, 5, |_| 300.0), [8; 6]);
    let limits = run(&mut crowd, 5, |_| 900.0);
    assert!(limits.is_sorted_by(|one, next| one >= next));
    assert!(crowd.limit() < 6, "{limits:?}");
    assert_eq!(run(&mut crowd, 100, |_| 200.0).last(), Some(&8));
}

#[test]
fn dearer_hits_are_told_from_a_queue() {
    let mut crowd = Crowd::new(Most::Auto(16));
    run(&mut crowd, 50, cores(16));
    assert_eq!(crowd.limit(), 16);
    let limits = run(&mut crowd, 10, |n| 2.5 * cores(16)(n));
    assert!(crowd.limit() < 8, "{limits:?}");
    let limits = run(&mut crowd, 300, |n| 2.5 * cores(16)(n));
    assert_eq!(crowd.limit(), 16, "{limits:?}");
}

#[test]
fn a_server_that_answers_within_milliseconds_is_never_eased() {
    let mut crowd = Crowd::new(Most::Fixed(4));
    run(&mut crowd, 5, |_| 0.5);
    assert_eq!(run(&mut crowd, 5, |_| 90.0), [4; 6]);
}

#[test]
fn another_size_of_requests_is_another_price_and_no_queue() {
    let mut crowd = Crowd::new(Most::Auto(4));
    run(&mut crowd, 20, |_| 100.0);
    crowd.reprice(4.0);
    assert_eq!(run(&mut crowd, 20, |_| 400.0), [4; 21]);
    // And no free ticket either: what was a queue before is one still.
    let mut crowd = Crowd::new(Most::Auto(16));
    run(&mut crowd, 20, doubles_above_four);
    crowd.reprice(0.5);
    let limits = run(&mut crowd, 100, |n| doubles_above_four(n) / 2.0);
    assert!(limits.iter().all(|limit| (3..=5).contains(limit)));
}

proptest! {
    #[test]
    fn whatever_is_seen_the_limit_stays_in_its_bounds(
        most in 0usize..40,
        auto: bool,
        events in proptest::collection::vec((0u8..5, any::<u64>(), 0usize..2000), 0..300),
    ) {
        let mut crowd = Crowd::new(if auto { Most::Auto(most) } else { Most::Fixed(most) });
        for (kind, nanos, hits) in events {
            match kind {
                0 => drop(crowd.trouble()),
                1 => crowd.reprice(hits as f64 / 1000.0),
                _ => {
                    let mut round = Round::default();
                    round.request(hits, Duration::from_nanos(nanos), kind == 2);
                    crowd.judge(&round);
                }
            }
            for number in [crowd.limit(), crowd.settled()] {
                prop_assert!((1..=most.max(1)).contains(&number));
            }
        }
    }
}
