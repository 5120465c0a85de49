//! Tests of the text of the summary's part "Listening".

use super::*;
use crate::radio::{ListeningStats, Session};

/// 2024-05-14 00:00:00, UTC.
const START: i64 = 1_715_644_800;

fn tally(all: &[(&str, i64, u64, u64)]) -> ListeningStats {
    let mut tally = ListeningStats::default();
    for (mount, start, seconds, listener) in all {
        let connection = Session::new(START + start, *seconds).unwrap();
        tally.add(mount.as_bytes(), connection, *listener);
    }
    tally
}

#[test]
fn mount_points_and_days_are_listed() {
    let mut tally = tally(&[
        ("/live.mp3", 0, 1807, 1),
        ("/jazz", 0, 256, 2),
        ("/live.mp3", 80_000, 12_000, 2),
        ("/jazz", 100, 17, 2),
        ("/live.mp3", 82_000, 5400, 1),
    ]);
    tally.no_duration();
    tally.no_duration();
    assert_eq!(
        tally.figures().text(),
        "
Listening summary
-----------------

    mount point  connections  seconds  hours  average s  median s  most at once       first at (UTC)  unique listeners
    /live.mp3              3    19207   5.34     6402.3      5400             2  2024-05-14 22:46:40                 2
    /jazz                  2      273   0.08      136.5     136.5             2  2024-05-14 00:01:40                 1
    (all)                  5    19480   5.41       3896      1807             3  2024-05-14 00:01:40                 2

    2 connections without usable duration (a page view alone, in no figure above)

    Listening hours per day (UTC):

    day         (all)  /live.mp3  /jazz
    2024-05-14   3.58       3.50   0.08
    2024-05-15   1.83       1.83   0.00
"
    );
}

#[test]
fn a_single_mount_point_needs_no_column() {
    let text = tally(&[("/live", 0, 3600, 1)]).figures().text();
    assert!(
        text.ends_with("    day         (all)\n    2024-05-14   1.00\n"),
        "{text}"
    );
    assert!(!text.contains("without usable duration") && !text.contains('~'));
}

#[test]
fn a_log_without_listeners_has_no_such_part() {
    assert_eq!(ListeningStats::default().figures().text(), "");
}

#[test]
fn lost_durations_alone_are_told() {
    let mut tally = ListeningStats::default();
    tally.no_duration();
    let text = tally.figures().text();
    assert!(text.contains("    0 connections\n"), "{text}");
    assert!(
        text.contains("    1 connections without usable duration"),
        "{text}"
    );
}

#[test]
fn nobody_at_once_has_no_moment() {
    let text = tally(&[("/live", 0, 0, 1)]).figures().text();
    let row = text.lines().find(|line| line.contains("/live")).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["/live", "1", "0", "0.00", "0", "0", "0", "-", "1"]
    );
}

#[test]
fn estimates_are_marked() {
    let mut figures = tally(&[("/live", 0, 60, 1)]).figures();
    figures.estimated = true;
    figures.all.peak.exact = false;
    let text = figures.text();
    let row = text.lines().find(|line| line.contains("(all)")).unwrap();
    assert!(
        row.contains(" ~60 ") && row.contains(" ~1 ") && row.ends_with(" ~1"),
        "{row}"
    );
    assert!(text.contains("    ~ estimated\n"));
}

#[test]
fn names_written_by_strangers_are_harmless() {
    let long = format!("/{}", "x".repeat(100));
    let text = tally(&[("/\x1b[2J\n", 0, 60, 1), (&long, 0, 60, 1)])
        .figures()
        .text();
    assert!(text.contains("/\\x1b[2J\\n"), "{text}");
    assert!(
        !text.contains(&long) && text.contains(&format!("/{}…", "x".repeat(39))),
        "{text}"
    );
}

#[test]
fn days_before_the_last_366_are_one_row() {
    let all: Vec<_> = (0..400).map(|day| ("/live", day * DAY, 3600, 1)).collect();
    let text = tally(&all).figures().text();
    assert!(
        text.contains("    earlier     34.00\n    2024-06-17   1.00\n"),
        "{text}"
    );
    assert_eq!(
        text.lines().filter(|line| line.ends_with(" 1.00")).count(),
        366
    );
}
