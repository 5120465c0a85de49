//! The figures equal a plain calculation over all sessions at once.

use std::collections::{BTreeMap, HashSet};

use super::super::peak::Peak;
use super::*;

/// 2024-01-01 00:00:00, UTC.
const START: i64 = 1_704_067_200;

/// A million in an optimized build, less in a slow one.
const MANY: usize = if cfg!(debug_assertions) {
    200_000
} else {
    1_000_000
};

#[derive(Clone, Copy)]
struct TestSession {
    mount: &'static str,
    time: Session,
    listener: u64,
}

/// SplitMix64 with a fixed seed.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Sessions of `days` days on four mount points, ordered by end: many short ones, some of hours, a
/// few of weeks.
fn log(many: usize, days: u64, listeners: u64) -> Vec<TestSession> {
    let mut random = SplitMix(many as u64);
    let mut all: Vec<TestSession> = (0..many)
        .map(|_| {
            let longest = [60, 600, 600, 7200, 7200, 7200, 40_000, 2_592_001];
            let kind = if random.below(100) == 0 { 8 } else { 7 };
            let longest = longest[random.below(kind) as usize];
            let seconds = random.below(longest);
            let start = START + random.below(days * 86_400) as i64;
            TestSession {
                mount: ["/live.mp3", "/live.mp3", "/live.ogg", "/jazz", "/talk"]
                    [random.below(5) as usize],
                time: Session::new(start, seconds).unwrap(),
                listener: random.below(listeners),
            }
        })
        .collect();
    all.sort_by_key(|one| one.time.end());
    all
}

fn collect(all: &[TestSession]) -> ListeningStats {
    let mut stats = ListeningStats::default();
    for one in all {
        stats.add(one.mount.as_bytes(), one.time, one.listener);
    }
    stats
}

fn plain_peak(all: &[TestSession]) -> Peak {
    let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
    for one in all {
        *changes.entry(one.time.start()).or_default() += 1;
        *changes.entry(one.time.end()).or_default() -= 1;
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

fn plain_report(all: &[TestSession]) -> MountReport {
    let mut durations: Vec<u64> = all.iter().map(|one| one.time.seconds()).collect();
    durations.sort_unstable();
    let half = durations.len() / 2;
    let median = if durations.len() % 2 == 1 {
        durations[half] as f64
    } else {
        (durations[half - 1] + durations[half]) as f64 / 2.0
    };
    MountReport {
        sessions: all.len() as u64,
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

fn of_mount(all: &[TestSession], mount: &[u8]) -> Vec<TestSession> {
    let of_mount = all.iter().filter(|one| one.mount.as_bytes() == mount);
    of_mount.copied().collect()
}

/// Seconds of all sessions that are within the day.
fn plain_day(all: &[TestSession], day: i64) -> u64 {
    let within = |one: &TestSession| {
        let from = one.time.start().max(day * DAY);
        let to = one.time.end().min((day + 1) * DAY);
        (to - from).max(0) as u64
    };
    all.iter().map(within).sum()
}

#[test]
fn every_figure_equals_a_plain_calculation() {
    let all = log(MANY, 31, 60_000);
    let report = collect(&all).report();
    assert!(!report.estimated && report.others.is_none());
    assert_eq!(report.all, plain_report(&all));
    let names: Vec<&[u8]> = report
        .mounts
        .iter()
        .map(|(name, _)| name.as_slice())
        .collect();
    assert_eq!(names.len(), 4);
    assert_eq!(
        names[0], b"/live.mp3",
        "the mount point with the most seconds is first"
    );
    assert!(
        report
            .mounts
            .is_sorted_by_key(|(_, mount)| u64::MAX - mount.seconds)
    );
    let parts: Vec<Vec<TestSession>> = names.iter().map(|name| of_mount(&all, name)).collect();
    for ((_, found), part) in report.mounts.iter().zip(&parts) {
        assert_eq!(*found, plain_report(part));
    }
    assert_eq!(
        report.days.iter().map(|day| day.seconds).sum::<u64>(),
        report.all.seconds
    );
    for day in &report.days {
        assert_eq!(day.seconds, plain_day(&all, day.day));
        for (found, part) in day.mounts.iter().zip(&parts) {
            assert_eq!(*found, plain_day(part, day.day));
        }
    }
}

#[test]
fn a_report_does_not_change_the_figures() {
    let all = log(1000, 3, 50);
    let mut stats = collect(&all);
    let first = stats.report();
    assert_eq!(stats.report(), first);
    let (more, rest) = all.split_at(400);
    let mut stats = collect(more);
    stats.report();
    for one in rest {
        stats.add(one.mount.as_bytes(), one.time, one.listener);
    }
    assert_eq!(stats.report(), first);
}

#[test]
fn only_medians_and_listeners_are_estimated_above_the_limit() {
    let all = log(3 * MANY, 90, 600_000);
    let mut stats = ListeningStats {
        distribution: Distribution::new(MANY),
        ..ListeningStats::default()
    };
    for one in &all {
        stats.add(one.mount.as_bytes(), one.time, one.listener);
    }
    let report = stats.report();
    assert!(report.estimated);
    let check = |found: &MountReport, all: &[TestSession]| {
        let exact = plain_report(all);
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
        assert_eq!(*found, estimated, "all other figures are exact");
    };
    check(&report.all, &all);
    for (name, found) in &report.mounts {
        check(found, &of_mount(&all, name));
    }
}

#[test]
fn excess_mount_points_share_a_row() {
    let mut stats = ListeningStats::default();
    let session = Session::new(START, 60).unwrap();
    for number in 0..1005 {
        stats.add(format!("/{number}").as_bytes(), session, 1);
    }
    let report = stats.report();
    assert_eq!(report.mounts.len(), 1000);
    assert_eq!(
        report.others.as_ref().map(|others| others.sessions),
        Some(5)
    );
    assert_eq!(report.all.peak.listeners, 1005);
    assert_eq!(report.days[0].seconds, 1005 * 60);
    assert!(report.text().contains("(other mount points)"));
}

#[test]
fn sessions_of_unknown_length_are_in_no_other_figure() {
    let mut stats = ListeningStats::default();
    stats.count_no_duration();
    let report = stats.report();
    assert_eq!((report.no_duration, report.all.sessions), (1, 0));
    assert!(report.days.is_empty());
}

#[test]
fn mount_points_are_numbered() {
    let mut mounts = Mounts::default();
    assert_eq!(mounts.id(b"/live"), 0);
    assert_eq!(mounts.id(b"/jazz"), 1);
    assert_eq!(mounts.id(b"/live"), 0);
    assert_eq!(mounts.id(b""), 2);
}

#[test]
fn excess_and_long_names_share_a_number() {
    let mut mounts = Mounts::default();
    assert_eq!(mounts.id(&[b'x'; MAX_NAME_BYTES + 1]), OTHERS);
    for number in 0..MAX_MOUNTS {
        assert_eq!(usize::from(mounts.id(&number.to_be_bytes())), number);
    }
    assert_eq!(mounts.id(b"/one more"), OTHERS);
    assert_eq!(
        mounts.id(&7usize.to_be_bytes()),
        7,
        "earlier names keep their numbers"
    );
    assert_eq!(mounts.names().count(), MAX_MOUNTS);
}

/// 2024-05-14, in days since 1970.
const TODAY: i64 = 19_857;

fn add_to(days: &mut DailySeconds, mount: MountId, start: i64, seconds: u64) {
    days.add(mount, Session::new(start, seconds).unwrap());
}

fn days_of(days: &DailySeconds) -> Vec<(i64, Vec<(MountId, u64)>)> {
    days.iter()
        .map(|(day, mounts)| (day - TODAY, mounts.iter().map(|(m, s)| (*m, *s)).collect()))
        .collect()
}

#[test]
fn sessions_are_divided_at_midnight() {
    let mut days = DailySeconds::default();
    add_to(&mut days, 0, TODAY * DAY - 100, 100 + 86_400 + 7);
    add_to(&mut days, 1, TODAY * DAY + 86_390, 10);
    add_to(&mut days, 1, TODAY * DAY, 0);
    assert_eq!(
        days_of(&days),
        [
            (-1, vec![(0, 100)]),
            (0, vec![(0, 86_400), (1, 10)]),
            (1, vec![(0, 7)])
        ]
    );
}

#[test]
fn the_last_days_are_kept_in_any_order() {
    let mut days = DailySeconds::default();
    for day in (0..400).rev().chain(0..500) {
        add_to(&mut days, 0, (TODAY + day) * DAY, 60);
    }
    let kept = days_of(&days);
    assert_eq!(kept.len(), MAX_DAYS);
    assert_eq!((kept[0].0, kept[MAX_DAYS - 1].0), (134, 499));
    assert_eq!(kept[0].1, [(0, 120)], "all seconds of that day");
}
