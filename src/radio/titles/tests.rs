//! Tests of the holder: what is one connection, when it is released, and that nothing is lost.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::connection::LONGEST;
use super::*;

/// 2024-05-14 00:00:00, UTC.
const DAY: i64 = 1_715_644_800;

type Tested = Stitcher<u64, u32, u32>;

/// A connection of n lines weighs n + 1.
impl MemoryUse for u32 {
    fn weight(&self) -> usize {
        1
    }
}

/// A connection by its start and end, counted from [`DAY`].
fn from_to(start: i64, end: i64) -> Session {
    Session::new(DAY + start, (end - start) as u64).unwrap()
}

/// Start from [`DAY`], seconds, lines.
type Seen = (i64, u64, Vec<u32>);

fn seen(whole: Stitched<u32, u32>) -> Seen {
    assert_eq!(
        whole.first, whole.lines[0],
        "what is kept of the first line is of the first line"
    );
    (
        whole.connection.start() - DAY,
        whole.connection.seconds(),
        whole.lines,
    )
}

fn offer(holder: &mut Tested, key: u64, line: u32, start: i64, end: i64) -> Vec<Seen> {
    let over = holder.offer(
        key,
        from_to(start, end),
        line,
        Continuation::Perhaps,
        || line,
    );
    over.into_iter().map(seen).collect()
}

fn drain(holder: &mut Tested) -> Vec<Seen> {
    holder.drain().map(seen).collect()
}

/// Everything that comes of lines of one listener.
fn connections(lines: &[(i64, i64)]) -> Vec<Seen> {
    let mut holder = Tested::default();
    let mut all = Vec::new();
    for (line, (start, end)) in (0..).zip(lines) {
        all.extend(offer(&mut holder, 1, line, *start, *end));
    }
    all.extend(drain(&mut holder));
    all
}

#[test]
fn lines_that_follow_each_other_are_one_connection() {
    assert_eq!(
        connections(&[(0, 180), (180, 300), (300, 310)]),
        [(0, 310, vec![0, 1, 2])]
    );
}

#[test]
fn a_gap_or_overlap_of_five_seconds_is_none_and_of_six_is_one() {
    for (start, joined) in [(105, true), (95, true), (106, false), (94, false)] {
        let found = connections(&[(0, 100), (start, 200)]);
        assert_eq!(found.len() == 1, joined, "from {start}");
        let seconds: u64 = found.iter().map(|(_, seconds, _)| seconds).sum();
        assert_eq!(
            seconds,
            100 + (200 - start) as u64,
            "a gap is not listened to"
        );
    }
}

#[test]
fn each_listener_and_mount_is_by_itself() {
    let mut holder = Tested::default();
    assert!(offer(&mut holder, 1, 0, 0, 100).is_empty());
    assert!(offer(&mut holder, 2, 1, 0, 100).is_empty());
    assert!(offer(&mut holder, 1, 2, 100, 200).is_empty());
    assert_eq!(
        drain(&mut holder),
        [(0, 100, vec![1]), (0, 200, vec![0, 2])]
    );
}

#[test]
fn a_connection_is_released_by_a_line_that_does_not_follow() {
    let mut holder = Tested::default();
    offer(&mut holder, 1, 0, 0, 100);
    assert_eq!(offer(&mut holder, 1, 1, 200, 300), [(0, 100, vec![0])]);
    assert_eq!(holder.lines(), 1);
    assert_eq!(drain(&mut holder), [(200, 100, vec![1])]);
    assert_eq!(holder.lines(), 0);
    assert!(drain(&mut holder).is_empty());
}

#[test]
fn two_people_behind_one_address_are_two_connections() {
    // Both get the change of title at 180; one came at 60, and the order of their lines changes.
    let lines = [
        (0, 180),
        (60, 180),
        (180, 360),
        (180, 360),
        (360, 400),
        (360, 500),
    ];
    let mut found = connections(&lines);
    found.sort();
    assert_eq!(found, [(0, 400, vec![0, 2, 4]), (60, 440, vec![1, 3, 5])]);
}

#[test]
fn the_return_of_one_of_several_says_nothing_of_the_others() {
    let mut holder = Tested::default();
    offer(&mut holder, 1, 0, 0, 180);
    offer(&mut holder, 1, 1, 60, 180);
    assert!(offer(&mut holder, 1, 2, 200, 250).is_empty());
    assert!(offer(&mut holder, 1, 3, 180, 360).is_empty());
    assert!(offer(&mut holder, 1, 4, 180, 360).is_empty());
    assert_eq!(drain(&mut holder).len(), 3);
}

#[test]
fn a_line_continues_the_connection_that_ended_nearest() {
    let mut holder = Tested::default();
    offer(&mut holder, 1, 0, 0, 96);
    offer(&mut holder, 1, 1, 0, 101);
    offer(&mut holder, 1, 2, 0, 104);
    offer(&mut holder, 1, 3, 100, 200);
    assert_eq!(
        drain(&mut holder),
        [(0, 96, vec![0]), (0, 104, vec![2]), (0, 201, vec![1, 3])]
    );
}

#[test]
fn a_title_may_take_a_day_and_no_longer() {
    let mut holder = Tested::default();
    offer(&mut holder, 1, 0, 0, 100);
    assert!(offer(&mut holder, 2, 1, 86_000, 86_500).is_empty());
    assert_eq!(
        offer(&mut holder, 2, 2, 86_500, 86_501),
        [(0, 100, vec![0])]
    );
}

#[test]
fn one_date_in_the_future_does_not_keep_later_lines_apart() {
    let mut holder = Tested::default();
    offer(&mut holder, 9, 0, 1_000_000_000, 1_000_000_001);
    offer(&mut holder, 1, 1, 0, 100);
    offer(&mut holder, 1, 2, 100, 200);
    assert_eq!(drain(&mut holder)[0], (0, 200, vec![1, 2]));
}

#[test]
fn a_connection_never_gets_longer_than_one_may_be() {
    let longest = LONGEST as i64;
    let found = connections(&[
        (0, longest - 10),
        (longest - 10, longest),
        (longest, longest + 1),
    ]);
    assert_eq!(found, [(0, LONGEST, vec![0, 1]), (longest, 1, vec![2])]);
}

#[test]
fn what_is_too_much_releases_what_ended_longest_ago() {
    let mut holder = Tested::new(5);
    offer(&mut holder, 1, 0, 0, 300);
    offer(&mut holder, 2, 1, 0, 100);
    assert_eq!(offer(&mut holder, 3, 2, 0, 200), [(0, 100, vec![1])]);

    let mut holder = Tested::new(4);
    offer(&mut holder, 1, 0, 0, 100);
    offer(&mut holder, 2, 1, 0, 101);
    assert_eq!(offer(&mut holder, 1, 2, 100, 200), [(0, 101, vec![1])]);
    assert_eq!(offer(&mut holder, 1, 3, 200, 300), []);
    assert_eq!(
        offer(&mut holder, 1, 4, 300, 400),
        [(0, 400, vec![0, 2, 3, 4])],
        "one connection alone can be too much"
    );
    assert_eq!((holder.lines(), holder.weight), (0, 0));
}

/// Lines of several listeners, each with one connection at a time: key, silence before it, seconds.
fn turns() -> impl Strategy<Value = Vec<(u64, i64, i64)>> {
    prop::collection::vec((0..4u64, 0..12i64, 0..400i64), 0..80)
}

proptest! {
    #[test]
    fn connections_of_single_listeners_are_as_long_as_they_can_be(turns in turns()) {
        let mut clocks: HashMap<u64, i64> = HashMap::new();
        let mut lines = Vec::new();
        for (key, silence, seconds) in turns {
            let clock = clocks.entry(key).or_default();
            let start = *clock + silence;
            *clock = start + seconds;
            lines.push((*clock, key, start));
        }
        lines.sort_by_key(|(end, ..)| *end);
        // The plain calculation: listener by listener.
        let mut expected: Vec<(u64, Seen)> = Vec::new();
        for wanted in 0..4 {
            let mut open: Option<(i64, Seen)> = None;
            for (line, (end, key, start)) in (0..).zip(&lines) {
                if *key != wanted {
                    continue;
                }
                let seconds = (end - start) as u64;
                open = Some(match open.take() {
                    Some((last, (first, sum, mut all))) if start - last <= 5 => {
                        all.push(line);
                        (*end, (first, sum + seconds, all))
                    }
                    before => {
                        expected.extend(before.map(|(_, whole)| (wanted, whole)));
                        (*end, (*start, seconds, vec![line]))
                    }
                });
            }
            expected.extend(open.map(|(_, whole)| (wanted, whole)));
        }
        let mut holder = Tested::default();
        let mut found = Vec::new();
        for (line, (end, key, start)) in (0..).zip(&lines) {
            found.extend(offer(&mut holder, *key, line, *start, *end));
        }
        found.extend(drain(&mut holder));
        let mut expected: Vec<Seen> = expected.into_iter().map(|(_, whole)| whole).collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn whatever_comes_no_line_and_no_second_is_lost_or_doubled(
        lines in prop::collection::vec((0..3u64, -200_000..200_000i64, 0..90_000i64), 0..200),
        most in 2..60usize,
    ) {
        let mut holder = Tested::new(most);
        let mut found = Vec::new();
        let mut seconds = 0;
        for (line, (key, start, length)) in (0..).zip(&lines) {
            seconds += *length as u64;
            found.extend(offer(&mut holder, *key, line, *start, start + length));
            prop_assert!(holder.weight <= most);
            prop_assert_eq!(holder.held.len() + holder.lines(), holder.weight);
            prop_assert_eq!(holder.held.len(), holder.by_end.len());
        }
        found.extend(drain(&mut holder));
        prop_assert_eq!(found.iter().map(|(_, seconds, _)| seconds).sum::<u64>(), seconds);
        let mut numbers: Vec<u32> = found.into_iter().flat_map(|(.., lines)| lines).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..lines.len() as u32).collect::<Vec<_>>());
    }
}
