//! What is one session, when it is released, and that no line is lost.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::session::MAX_SESSION_SECONDS;
use super::*;

/// 2024-05-14 00:00:00, UTC.
const DAY: i64 = 1_715_644_800;

type TestStitcher = Stitcher<u64, u32, u32>;

/// A session of n lines takes n + 1 bytes.
impl MemoryUse for u32 {
    fn bytes(&self) -> usize {
        1
    }
}

/// Start and end are counted from [`DAY`].
fn from_to(start: i64, end: i64) -> Session {
    Session::new(DAY + start, (end - start) as u64).unwrap()
}

/// Start, counted from [`DAY`], seconds, and lines of a session.
type Released = (i64, u64, Vec<u32>);

fn released(session: Stitched<u32, u32>) -> Released {
    assert_eq!(session.first, session.lines[0]);
    (
        session.time.start() - DAY,
        session.time.seconds(),
        session.lines,
    )
}

fn add(stitcher: &mut TestStitcher, key: u64, line: u32, start: i64, end: i64) -> Vec<Released> {
    let ended = stitcher.add(
        key,
        from_to(start, end),
        line,
        Continuation::Perhaps,
        || line,
    );
    ended.into_iter().map(released).collect()
}

fn drain(stitcher: &mut TestStitcher) -> Vec<Released> {
    stitcher.drain().map(released).collect()
}

/// The sessions of the lines of one listener.
fn sessions(lines: &[(i64, i64)]) -> Vec<Released> {
    let mut stitcher = TestStitcher::default();
    let mut all = Vec::new();
    for (line, (start, end)) in (0..).zip(lines) {
        all.extend(add(&mut stitcher, 1, line, *start, *end));
    }
    all.extend(drain(&mut stitcher));
    all
}

#[test]
fn lines_that_follow_each_other_are_one_session() {
    assert_eq!(
        sessions(&[(0, 180), (180, 300), (300, 310)]),
        [(0, 310, vec![0, 1, 2])]
    );
}

#[test]
fn a_gap_or_overlap_of_up_to_five_seconds_is_ignored() {
    for (start, joined) in [(105, true), (95, true), (106, false), (94, false)] {
        let found = sessions(&[(0, 100), (start, 200)]);
        assert_eq!(found.len() == 1, joined, "from {start}");
        let seconds: u64 = found.iter().map(|(_, seconds, _)| seconds).sum();
        assert_eq!(
            seconds,
            100 + (200 - start) as u64,
            "the gap does not count"
        );
    }
}

#[test]
fn each_key_has_its_own_sessions() {
    let mut stitcher = TestStitcher::default();
    assert!(add(&mut stitcher, 1, 0, 0, 100).is_empty());
    assert!(add(&mut stitcher, 2, 1, 0, 100).is_empty());
    assert!(add(&mut stitcher, 1, 2, 100, 200).is_empty());
    assert_eq!(
        drain(&mut stitcher),
        [(0, 100, vec![1]), (0, 200, vec![0, 2])]
    );
}

#[test]
fn a_session_is_released_by_a_line_after_a_gap() {
    let mut stitcher = TestStitcher::default();
    add(&mut stitcher, 1, 0, 0, 100);
    assert_eq!(add(&mut stitcher, 1, 1, 200, 300), [(0, 100, vec![0])]);
    assert_eq!(stitcher.lines(), 1);
    assert_eq!(drain(&mut stitcher), [(200, 100, vec![1])]);
    assert_eq!(stitcher.lines(), 0);
    assert!(drain(&mut stitcher).is_empty());
}

#[test]
fn two_people_behind_one_address_have_two_sessions() {
    // The title changes for both at 180 and 360. One came at 60.
    let lines = [
        (0, 180),
        (60, 180),
        (180, 360),
        (180, 360),
        (360, 400),
        (360, 500),
    ];
    let mut found = sessions(&lines);
    found.sort();
    assert_eq!(found, [(0, 400, vec![0, 2, 4]), (60, 440, vec![1, 3, 5])]);
}

#[test]
fn a_gap_releases_nothing_if_the_key_has_several_sessions() {
    let mut stitcher = TestStitcher::default();
    add(&mut stitcher, 1, 0, 0, 180);
    add(&mut stitcher, 1, 1, 60, 180);
    assert!(add(&mut stitcher, 1, 2, 200, 250).is_empty());
    assert!(add(&mut stitcher, 1, 3, 180, 360).is_empty());
    assert!(add(&mut stitcher, 1, 4, 180, 360).is_empty());
    assert_eq!(drain(&mut stitcher).len(), 3);
}

#[test]
fn a_line_continues_the_session_that_ended_nearest() {
    let mut stitcher = TestStitcher::default();
    add(&mut stitcher, 1, 0, 0, 96);
    add(&mut stitcher, 1, 1, 0, 101);
    add(&mut stitcher, 1, 2, 0, 104);
    add(&mut stitcher, 1, 3, 100, 200);
    assert_eq!(
        drain(&mut stitcher),
        [(0, 96, vec![0]), (0, 104, vec![2]), (0, 201, vec![1, 3])]
    );
}

#[test]
fn a_title_takes_at_most_a_day() {
    let mut stitcher = TestStitcher::default();
    add(&mut stitcher, 1, 0, 0, 100);
    assert!(add(&mut stitcher, 2, 1, 86_000, 86_500).is_empty());
    assert_eq!(
        add(&mut stitcher, 2, 2, 86_500, 86_501),
        [(0, 100, vec![0])]
    );
}

#[test]
fn a_date_in_the_future_does_not_separate_later_lines() {
    let mut stitcher = TestStitcher::default();
    add(&mut stitcher, 9, 0, 1_000_000_000, 1_000_000_001);
    add(&mut stitcher, 1, 1, 0, 100);
    add(&mut stitcher, 1, 2, 100, 200);
    assert_eq!(drain(&mut stitcher)[0], (0, 200, vec![1, 2]));
}

#[test]
fn a_session_does_not_exceed_the_maximum_length() {
    let longest = MAX_SESSION_SECONDS as i64;
    let found = sessions(&[
        (0, longest - 10),
        (longest - 10, longest),
        (longest, longest + 1),
    ]);
    assert_eq!(
        found,
        [(0, MAX_SESSION_SECONDS, vec![0, 1]), (longest, 1, vec![2])]
    );
}

#[test]
fn the_session_that_ended_first_is_released_when_memory_is_full() {
    let mut stitcher = TestStitcher::new(5);
    add(&mut stitcher, 1, 0, 0, 300);
    add(&mut stitcher, 2, 1, 0, 100);
    assert_eq!(add(&mut stitcher, 3, 2, 0, 200), [(0, 100, vec![1])]);

    let mut stitcher = TestStitcher::new(4);
    add(&mut stitcher, 1, 0, 0, 100);
    add(&mut stitcher, 2, 1, 0, 101);
    assert_eq!(add(&mut stitcher, 1, 2, 100, 200), [(0, 101, vec![1])]);
    assert_eq!(add(&mut stitcher, 1, 3, 200, 300), []);
    assert_eq!(
        add(&mut stitcher, 1, 4, 300, 400),
        [(0, 400, vec![0, 2, 3, 4])],
        "a single session can be too large"
    );
    assert_eq!((stitcher.lines(), stitcher.bytes), (0, 0));
}

/// Lines of several listeners, each with one session at a time: key, pause before it, seconds.
fn lines() -> impl Strategy<Value = Vec<(u64, i64, i64)>> {
    prop::collection::vec((0..4u64, 0..12i64, 0..400i64), 0..80)
}

proptest! {
    #[test]
    fn sessions_of_separate_listeners_equal_a_plain_calculation(listened in lines()) {
        let mut clocks: HashMap<u64, i64> = HashMap::new();
        let mut lines = Vec::new();
        for (key, pause, seconds) in listened {
            let clock = clocks.entry(key).or_default();
            let start = *clock + pause;
            *clock = start + seconds;
            lines.push((*clock, key, start));
        }
        lines.sort_by_key(|(end, ..)| *end);
        // Listener by listener.
        let mut expected: Vec<(u64, Released)> = Vec::new();
        for wanted in 0..4 {
            let mut open: Option<(i64, Released)> = None;
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
                        expected.extend(before.map(|(_, session)| (wanted, session)));
                        (*end, (*start, seconds, vec![line]))
                    }
                });
            }
            expected.extend(open.map(|(_, session)| (wanted, session)));
        }
        let mut stitcher = TestStitcher::default();
        let mut found = Vec::new();
        for (line, (end, key, start)) in (0..).zip(&lines) {
            found.extend(add(&mut stitcher, *key, line, *start, *end));
        }
        found.extend(drain(&mut stitcher));
        let mut expected: Vec<Released> = expected.into_iter().map(|(_, session)| session).collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_line_or_second_is_lost_or_counted_twice(
        lines in prop::collection::vec((0..3u64, -200_000..200_000i64, 0..90_000i64), 0..200),
        max_bytes in 2..60usize,
    ) {
        let mut stitcher = TestStitcher::new(max_bytes);
        let mut found = Vec::new();
        let mut seconds = 0;
        for (line, (key, start, length)) in (0..).zip(&lines) {
            seconds += *length as u64;
            found.extend(add(&mut stitcher, *key, line, *start, start + length));
            prop_assert!(stitcher.bytes <= max_bytes);
            prop_assert_eq!(stitcher.open.len() + stitcher.lines(), stitcher.bytes);
            prop_assert_eq!(stitcher.open.len(), stitcher.by_end.len());
        }
        found.extend(drain(&mut stitcher));
        prop_assert_eq!(found.iter().map(|(_, seconds, _)| seconds).sum::<u64>(), seconds);
        let mut numbers: Vec<u32> = found.into_iter().flat_map(|(.., lines)| lines).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..lines.len() as u32).collect::<Vec<_>>());
    }
}
