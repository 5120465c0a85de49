//! Tests of the figures against a plain calculation over all connections at once.

use std::collections::{BTreeMap, HashSet};

use super::super::days::DAY;
use super::*;

/// 2024-01-01 00:00:00, UTC.
const START: i64 = 1_704_067_200;

/// A million where the compiler has made it fast enough.
const MANY: usize = if cfg!(debug_assertions) {
    200_000
} else {
    1_000_000
};

#[derive(Clone, Copy)]
struct Listened {
    mount: &'static str,
    connection: Session,
    listener: u64,
}

/// SplitMix64: numbers that look random, and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Connections of `days` days on four mount points, in the order in which they ended: many short ones, some of
/// hours, a few of weeks.
fn log(many: usize, days: u64, listeners: u64) -> Vec<Listened> {
    let mut random = Random(many as u64);
    let mut all: Vec<Listened> = (0..many)
        .map(|_| {
            let longest = [60, 600, 600, 7200, 7200, 7200, 40_000, 2_592_001];
            let kind = if random.below(100) == 0 { 8 } else { 7 };
            let longest = longest[random.below(kind) as usize];
            let seconds = random.below(longest);
            let start = START + random.below(days * 86_400) as i64;
            Listened {
                mount: ["/live.mp3", "/live.mp3", "/live.ogg", "/jazz", "/talk"]
                    [random.below(5) as usize],
                connection: Session::new(start, seconds).unwrap(),
                listener: random.below(listeners),
            }
        })
        .collect();
    all.sort_by_key(|one| one.connection.end());
    all
}

fn tallied(all: &[Listened]) -> ListeningStats {
    let mut tally = ListeningStats::default();
    for one in all {
        tally.add(one.mount.as_bytes(), one.connection, one.listener);
    }
    tally
}

fn plain_peak(all: &[Listened]) -> Peak {
    let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
    for one in all {
        *changes.entry(one.connection.start()).or_default() += 1;
        *changes.entry(one.connection.end()).or_default() -= 1;
    }
    let (mut now, mut most, mut at) = (0, 0, None);
    for (time, change) in changes {
        now += change;
        if now > most {
            (most, at) = (now, Some(time));
        }
    }
    Peak {
        listeners: most as u64,
        at,
        exact: true,
    }
}

fn plainly(all: &[Listened]) -> MountReport {
    let mut durations: Vec<u64> = all.iter().map(|one| one.connection.seconds()).collect();
    durations.sort_unstable();
    let half = durations.len() / 2;
    let median = if durations.len() % 2 == 1 {
        durations[half] as f64
    } else {
        (durations[half - 1] + durations[half]) as f64 / 2.0
    };
    MountReport {
        connections: all.len() as u64,
        seconds: durations.iter().sum(),
        median,
        listeners: all
            .iter()
            .map(|one| one.listener)
            .collect::<HashSet<_>>()
            .len() as u64,
        peak: plain_peak(all),
    }
}

fn of_mount(all: &[Listened], mount: &[u8]) -> Vec<Listened> {
    let of_mount = all.iter().filter(|one| one.mount.as_bytes() == mount);
    of_mount.copied().collect()
}

/// Seconds of a day: how much of each connection lies in it.
fn plain_day(all: &[Listened], day: i64) -> u64 {
    let within = |one: &Listened| {
        let from = one.connection.start().max(day * DAY);
        let to = one.connection.end().min((day + 1) * DAY);
        (to - from).max(0) as u64
    };
    all.iter().map(within).sum()
}

#[test]
fn every_figure_equals_a_plain_calculation() {
    let all = log(MANY, 31, 60_000);
    let figures = tallied(&all).figures();
    assert!(!figures.estimated && figures.others.is_none());
    assert_eq!(figures.all, plainly(&all));
    let names: Vec<&[u8]> = figures
        .mounts
        .iter()
        .map(|(name, _)| name.as_slice())
        .collect();
    assert_eq!(names.len(), 4);
    assert_eq!(names[0], b"/live.mp3", "the one with most time first");
    assert!(
        figures
            .mounts
            .is_sorted_by_key(|(_, figures)| u64::MAX - figures.seconds)
    );
    let parts: Vec<Vec<Listened>> = names.iter().map(|name| of_mount(&all, name)).collect();
    for ((_, found), part) in figures.mounts.iter().zip(&parts) {
        assert_eq!(*found, plainly(part));
    }
    assert_eq!(
        figures.days.iter().map(|day| day.seconds).sum::<u64>(),
        figures.all.seconds
    );
    for day in &figures.days {
        assert_eq!(day.seconds, plain_day(&all, day.day));
        for (found, part) in day.mounts.iter().zip(&parts) {
            assert_eq!(*found, plain_day(part, day.day));
        }
    }
}

#[test]
fn asking_twice_changes_nothing() {
    let all = log(1000, 3, 50);
    let mut tally = tallied(&all);
    let first = tally.figures();
    assert_eq!(tally.figures(), first);
    let (more, rest) = all.split_at(400);
    let mut tally = tallied(more);
    tally.figures();
    for one in rest {
        tally.add(one.mount.as_bytes(), one.connection, one.listener);
    }
    assert_eq!(tally.figures(), first);
}

#[test]
fn above_a_million_only_medians_and_listeners_are_estimated() {
    // Where the compiler has not made it fast, a smaller bound stands for the million.
    let all = log(3 * MANY, 90, 600_000);
    let mut tally = ListeningStats {
        spread: Spread::new(MANY),
        ..ListeningStats::default()
    };
    for one in &all {
        tally.add(one.mount.as_bytes(), one.connection, one.listener);
    }
    let figures = tally.figures();
    assert!(figures.estimated);
    let check = |found: &MountReport, all: &[Listened]| {
        let exact = plainly(all);
        let within = |found: f64, exact: f64| (found / exact - 1.0).abs() < 0.01;
        assert!(
            within(found.median, exact.median),
            "{found:?} for {exact:?}"
        );
        assert!(
            within(found.listeners as f64, exact.listeners as f64),
            "{found:?} for {exact:?}"
        );
        let estimated = MountReport {
            median: found.median,
            listeners: found.listeners,
            ..exact
        };
        assert_eq!(*found, estimated, "all else is exact");
    };
    check(&figures.all, &all);
    for (name, found) in &figures.mounts {
        check(found, &of_mount(&all, name));
    }
}

#[test]
fn invented_mount_points_share_one_row() {
    let mut tally = ListeningStats::default();
    let connection = Session::new(START, 60).unwrap();
    for number in 0..1005 {
        tally.add(format!("/{number}").as_bytes(), connection, 1);
    }
    let figures = tally.figures();
    assert_eq!(figures.mounts.len(), 1000);
    assert_eq!(
        figures.others.as_ref().map(|others| others.connections),
        Some(5)
    );
    assert_eq!(figures.all.peak.listeners, 1005);
    assert_eq!(figures.days[0].seconds, 1005 * 60);
    assert!(figures.text().contains("(other mount points)"));
}

#[test]
fn connections_without_duration_are_in_no_other_figure() {
    let mut tally = ListeningStats::default();
    tally.no_duration();
    let figures = tally.figures();
    assert_eq!((figures.no_duration, figures.all.connections), (1, 0));
    assert!(figures.days.is_empty());
}
