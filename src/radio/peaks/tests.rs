//! Tests of the most listeners at once, against counting them second by second.

use proptest::prelude::*;

use super::hour::OPEN_HOUR;
use super::*;

/// 2024-05-14 00:00:00, UTC.
const START: i64 = 1_715_644_800;

/// Mount point, start counted from [`START`], seconds.
type Listened = (u16, i64, u64);

fn peaks(peaks: &mut Peaks, all: &[Listened]) -> Summaries {
    for (mount, start, seconds) in all {
        peaks.add(*mount, Session::new(START + start, *seconds).unwrap());
    }
    let open: usize = peaks
        .spans
        .values()
        .map(|span| match span {
            Span::Open(hour) => hour.bytes(),
            Span::Closed(..) => 0,
        })
        .sum();
    assert_eq!(peaks.bytes, open);
    peaks.most()
}

/// Most and when, by the plain way: at each start, who was there?
fn plainly(all: &[Listened], mount: Option<u16>) -> Option<(i64, i64)> {
    let of_mount = || {
        all.iter()
            .filter(|one| mount.is_none_or(|mount| one.0 == mount) && one.2 > 0)
    };
    let at = |time: i64| {
        of_mount()
            .filter(|(_, start, seconds)| (*start..start + *seconds as i64).contains(&time))
            .count()
    };
    of_mount()
        .map(|(_, start, _)| (at(*start) as i64, START + start))
        .max_by_key(|(most, when)| (*most, -when))
}

fn found(summary: &Summary) -> (i64, i64) {
    (summary.most, summary.when)
}

#[test]
fn who_leaves_in_the_second_in_which_another_comes_is_not_there_with_him() {
    let most = peaks(&mut Peaks::default(), &[(0, 0, 100), (0, 100, 100)]);
    assert_eq!(found(&most[&0]), (1, START));
    let most = peaks(&mut Peaks::default(), &[(0, 0, 101), (0, 100, 100)]);
    assert_eq!(found(&most[&0]), (2, START + 100));
}

#[test]
fn nobody_listens_for_no_time() {
    assert!(peaks(&mut Peaks::default(), &[(0, 0, 0)]).is_empty());
}

#[test]
fn all_mount_points_count_together() {
    let most = peaks(
        &mut Peaks::default(),
        &[(0, 0, 5000), (1, 4000, 5000), (1, 4000, 1), (2, 9000, 1)],
    );
    assert_eq!(found(&most[&ALL]), (3, START + 4000));
    assert_eq!([0, 1, 2].map(|mount| most[&mount].most), [1, 2, 1]);
}

#[test]
fn very_many_in_one_second_are_counted() {
    let all: Vec<Listened> = (0..5000)
        .map(|_| (7, 30, 7200))
        .chain([(7, 31, 1)])
        .collect();
    let most = peaks(&mut Peaks::default(), &all);
    assert_eq!(found(&most[&7]), (5001, START + 31));
}

#[test]
fn a_crowded_hour_takes_no_more_than_its_seconds() {
    let mut peaks = Peaks::default();
    for number in 0..200_000 {
        peaks.add(0, Session::new(START + number % 1800, 900).unwrap());
    }
    assert!(peaks.bytes < 3600 * 4 * 2 + OPEN_HOUR, "{}", peaks.bytes);
}

#[test]
fn a_log_in_order_is_exact_however_little_is_kept_open() {
    // A listener every 20 seconds for ten days, 10 to 40 minutes each, in the order in which they left.
    let mut all: Vec<Listened> = (0..43_200)
        .map(|n| ((n % 3) as u16, n * 20, 600 + (n as u64 * 7919) % 1800))
        .collect();
    all.sort_by_key(|(_, start, seconds)| start + *seconds as i64);
    let exact = peaks(&mut Peaks::default(), &all);
    let few = peaks(&mut Peaks::new(8000, 60), &all);
    assert_eq!(few, exact);
    assert!(
        exact
            .values()
            .all(|summary| summary.possible == summary.most)
    );
}

#[test]
fn rotated_logs_with_the_newest_first_are_exact_too() {
    // A file holds those who left on its day; what is kept open is more than two files and less than all seven.
    let mut all: Vec<Listened> = (0..30_240)
        .map(|n| (0, n * 20, 600 + (n as u64 * 7919) % 9000))
        .collect();
    all.sort_by_key(|(_, start, seconds)| {
        let end = start + *seconds as i64;
        (-end.div_euclid(86_400), end)
    });
    let mut few = Peaks::new(250_000, 1000);
    assert_eq!(peaks(&mut few, &all), peaks(&mut Peaks::default(), &all));
    assert!(few.summaries > 0, "something was closed");
}

#[test]
fn what_is_kept_stays_bounded() {
    let mut peaks = Peaks::new(10_000, 100);
    for number in 0..20_000i64 {
        let start = START + (number * 7_919_777).rem_euclid(1_000_000_000);
        peaks.add((number % 50) as u16, Session::new(start, 5000).unwrap());
        assert!(peaks.bytes <= 10_000 && peaks.summaries <= 100);
        assert!(peaks.spans.len() <= 10_000 / OPEN_HOUR + 100);
    }
}

fn connections() -> impl Strategy<Value = Vec<Listened>> {
    prop::collection::vec((0..3u16, 0..30_000i64, 0..8000u64), 1..60)
}

proptest! {
    #[test]
    fn the_most_are_found(all in connections()) {
        let most = peaks(&mut Peaks::default(), &all);
        for mount in 0..3 {
            prop_assert_eq!(most.get(&mount).map(found), plainly(&all, Some(mount)));
        }
        prop_assert_eq!(most.get(&ALL).map(found), plainly(&all, None));
        prop_assert!(most.values().all(|summary| summary.possible == summary.most));
    }

    #[test]
    fn what_may_not_be_exact_is_known_and_bounded(all in connections(), room in 0..1500usize, summaries in 1..40usize) {
        let most = peaks(&mut Peaks::new(room, summaries), &all);
        for mount in [0, 1, 2, ALL] {
            let plain = plainly(&all, (mount != ALL).then_some(mount));
            let Some((plain, _)) = plain else {
                prop_assert!(!most.contains_key(&mount));
                continue;
            };
            let summary = most[&mount];
            prop_assert!(summary.most <= plain && plain <= summary.possible, "{summary:?} for {plain}");
        }
    }

    #[test]
    fn the_first_moment_is_found_in_whatever_little_room(mut all in connections(), room in 300..1500usize) {
        // In the order of ends, with connections that are shorter than what stays open.
        for one in &mut all {
            one.2 %= 600;
        }
        all.sort_by_key(|(_, start, seconds)| start + *seconds as i64);
        let most = peaks(&mut Peaks::new(room, 20), &all);
        for (mount, summary) in most {
            if summary.possible == summary.most {
                let plain = plainly(&all, (mount != ALL).then_some(mount));
                prop_assert_eq!(summary.most, plain.unwrap().0);
            }
        }
    }
}
