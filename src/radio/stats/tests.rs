//! The figures equal a plain count: one that looks at each second of each session.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use proptest::prelude::*;

use super::*;
use crate::radio::calendar::{Month, Period};
use crate::radio::channel::Channel;
use crate::radio::figures::{GroupFigures, GroupKind, LENGTHS, Measures};

/// 2024-05-14 00:00:00, UTC.
pub const START: i64 = 1_715_644_800;

const PLAYERS: [&str; 3] = ["VLC/3.0.20 LibVLC/3.0.20", "Sonos/80.1", "unknown"];

/// A session of a listener, who has one country and one player.
#[derive(Clone, Copy, Debug)]
pub struct TestSession {
    mount: &'static str,
    start: i64,
    seconds: u64,
    listener: u64,
}

pub fn session(mount: &'static str, start: i64, seconds: u64, listener: u64) -> TestSession {
    TestSession {
        mount,
        start,
        seconds,
        listener,
    }
}

fn request<'a>(mount: &'a str, listener: u64, agent: &'a [u8]) -> ListenerRequest<'a> {
    ListenerRequest {
        hash: listener,
        mount: mount.as_bytes(),
        address: b"192.0.2.1",
        located: b"192.0.2.1",
        status: b"200",
        agent,
    }
}

fn collect(all: &[TestSession], options: &ReportOptions) -> ListeningStats {
    let mut stats = ListeningStats::default();
    for one in all {
        let agent = PLAYERS[(one.listener % 3) as usize].as_bytes();
        let listener = stats.listener(options, &request(one.mount, one.listener, agent));
        let time = Session::new(one.start, one.seconds).unwrap();
        stats.sessions.add(&listener.reported(time));
    }
    stats
}

pub fn figures(all: &[TestSession], options: &ReportOptions) -> ListeningFigures {
    collect(all, options).figures(options, None).unwrap()
}

pub fn in_zone(name: &str) -> ReportOptions {
    ReportOptions {
        zone: Some(name.parse().unwrap()),
        ..ReportOptions::default()
    }
}

/// The periods of a time, in any order.
fn periods(time: i64, zone: Tz) -> [Period; 5] {
    let local = DateTime::from_timestamp(time, 0)
        .unwrap()
        .with_timezone(&zone);
    let month = Month {
        year: local.year(),
        month: local.month(),
    };
    let (weekday, hour) = (local.weekday() as u8, local.hour() as u8);
    [
        Period::WeekHour(weekday, hour),
        Period::Hour(hour),
        Period::Day(local.date_naive()),
        Period::Month(month),
        Period::Total,
    ]
}

#[derive(Clone, Debug, Default)]
struct PlainCount {
    measures: Measures,
    listeners: HashSet<u64>,
    lengths: Vec<u64>,
    /// By second.
    load: BTreeMap<i64, u64>,
}

impl PlainCount {
    fn measures(mut self) -> Measures {
        self.lengths.sort_unstable();
        let count = self.lengths.len();
        let middle = |index: usize| self.lengths.get(index).map_or(0.0, |it| *it as f64);
        let mut peak = (0, None);
        for (time, listeners) in self.load {
            if listeners > peak.0 {
                peak = (listeners, Some(time));
            }
        }
        Measures {
            median: (middle(count.saturating_sub(1) / 2) + middle(count / 2)) / 2.0,
            listeners: self.listeners.len() as u64,
            peak: peak.0,
            peak_at: peak.1,
            ..self.measures
        }
    }
}

type PlainFigures = BTreeMap<(GroupKind, String, Period), Measures>;

/// All figures but the lengths of the periods.
fn plain_figures(all: &[TestSession], options: &ReportOptions) -> PlainFigures {
    let zone = options.zone.unwrap_or(Tz::UTC);
    let mut counts: BTreeMap<(GroupKind, String, Period), PlainCount> = BTreeMap::new();
    for one in all {
        let player = Player::of(PLAYERS[(one.listener % 3) as usize].as_bytes());
        let mut groups = vec![
            (GroupKind::All, String::new()),
            (GroupKind::Mount, one.mount.to_owned()),
            (GroupKind::Player, player.name().to_owned()),
        ];
        let channels = options.channels.iter();
        let channels = channels.filter(|channel| channel.contains(one.mount.as_bytes()));
        groups.extend(channels.map(|channel| (GroupKind::Channel, channel.name.clone())));
        let mut count = |time, count: &dyn Fn(&mut PlainCount)| {
            for (kind, name) in &groups {
                for period in periods(time, zone) {
                    let is_coarse = matches!(period, Period::Total | Period::Month(_));
                    if is_coarse || *kind != GroupKind::Player {
                        count(counts.entry((*kind, name.clone(), period)).or_default());
                    }
                }
            }
        };
        count(one.start, &|count| {
            count.measures.sessions += 1;
            count.measures.long_sessions += u64::from(one.seconds >= options.min_session);
            count.measures.session_seconds += one.seconds;
            count.listeners.insert(one.listener);
            count.lengths.push(one.seconds);
        });
        for time in one.start..one.start + one.seconds as i64 {
            count(time, &|count| {
                count.measures.seconds += 1;
                count.listeners.insert(one.listener);
                *count.load.entry(time).or_default() += 1;
            });
        }
    }
    let measures = counts.into_iter();
    measures
        .map(|(key, count)| (key, count.measures()))
        .collect()
}

fn without_period_lengths(figures: &ListeningFigures) -> PlainFigures {
    let measures = |group: &GroupFigures| {
        let (kind, name) = (group.kind, group.name.clone());
        let periods = group.periods.clone().into_iter();
        let periods = periods.map(move |(period, measures)| {
            let measures = Measures {
                period_seconds: 0,
                ..measures
            };
            ((kind, name.clone(), period), measures)
        });
        periods.collect::<Vec<_>>()
    };
    figures.groups.iter().flat_map(measures).collect()
}

fn channels() -> Vec<Channel> {
    Channel::read_all(&["Live=/live*".to_owned(), "Music=/jazz,/live.ogg".to_owned()]).unwrap()
}

/// Sessions that begin in the three days from a time on, often at the begin or end of an hour.
fn sessions(from: i64) -> impl Strategy<Value = Vec<TestSession>> {
    let mounts = prop::sample::select(vec!["/live.mp3", "/live.ogg", "/jazz"]);
    let start = prop_oneof![0..3 * 86_400i64, (0..144i64).prop_map(|half| half * 1800)];
    let seconds = prop_oneof![
        0..100u64,
        0..9000u64,
        (0..5u64).prop_map(|half| half * 1800)
    ];
    let one = (mounts, start, seconds, 0..9u64);
    let one = one.prop_map(move |(mount, start, seconds, listener)| {
        session(mount, from + start, seconds, listener)
    });
    prop::collection::vec(one, 0..25)
}

/// Names of zones, and a time near a change of their clocks.
const ZONES: [(&str, &str); 7] = [
    ("Europe/Berlin", "2026-03-28T12:00:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00:00Z"),
    ("America/New_York", "2026-03-07T20:00:00Z"),
    // The clocks are changed by half an hour.
    ("Australia/Lord_Howe", "2026-04-03T12:00:00Z"),
    ("Asia/Kathmandu", "2026-02-27T00:00:00Z"),
    // The clocks are changed at midnight.
    ("America/Havana", "2026-03-07T00:00:00Z"),
    ("UTC", "2023-12-30T23:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn all_measures_equal_a_plain_count(
        (zone, all) in prop::sample::select(ZONES.to_vec()).prop_flat_map(|(zone, from)| {
            let from = DateTime::parse_from_rfc3339(from).unwrap().timestamp();
            (Just(zone), sessions(from))
        }),
    ) {
        let options = ReportOptions {
            channels: channels(),
            ..in_zone(zone)
        };
        let figures = figures(&all, &options);
        prop_assert_eq!(without_period_lengths(&figures), plain_figures(&all, &options));
        let all_lengths: u64 = figures.lengths.iter().sum();
        prop_assert_eq!(all_lengths, all.len() as u64);
        for (index, (shortest, _)) in LENGTHS.iter().enumerate() {
            let next = LENGTHS.get(index + 1).map_or(u64::MAX, |(next, _)| *next);
            let is_in = |one: &&TestSession| (*shortest..next).contains(&one.seconds);
            prop_assert_eq!(figures.lengths[index], all.iter().filter(is_in).count() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_summary_shows_the_same_without_what_only_report_files_show(all in sessions(START)) {
        let options = ReportOptions { channels: channels(), ..in_zone("Europe/Berlin") };
        let whole = figures(&all, &options);
        let short = figures(&all, &ReportOptions { summary_only: true, ..options });
        prop_assert_eq!(crate::radio::summary(&short, 0), crate::radio::summary(&whole, 0));
        prop_assert!(short.groups.len() <= whole.groups.len());
    }
}

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

#[test]
fn periods_are_as_long_as_the_clock_says() {
    let options = in_zone("Europe/Berlin");
    // From Saturday to Monday; on Sunday the clocks are changed from 3 to 2.
    let friday = DateTime::parse_from_rfc3339("2026-10-24T10:00:00+02:00").unwrap();
    let figures = figures(
        &[session("/live", friday.timestamp(), 50 * 3600, 1)],
        &options,
    );
    let all = figures.all().unwrap();
    let length = |period: Period| all.periods[&period].period_seconds / 3600;
    assert_eq!(length(Period::Total), 73);
    assert_eq!(
        length(Period::Month(Month {
            year: 2026,
            month: 10
        })),
        73
    );
    assert_eq!(length(Period::Day(date(2026, 10, 24))), 24);
    assert_eq!(length(Period::Day(date(2026, 10, 25))), 25);
    assert_eq!(length(Period::Hour(2)), 4);
    assert_eq!(length(Period::Hour(3)), 3);
    assert_eq!(length(Period::WeekHour(6, 2)), 2);
    assert_eq!(all.periods[&Period::WeekHour(6, 2)].seconds, 7200);
    assert_eq!(
        all.periods[&Period::WeekHour(6, 2)].average_listeners(),
        1.0
    );
}

/// The example of the guide.
pub fn five_connections() -> [TestSession; 5] {
    [
        session("/live.mp3", START, 1807, 1),
        session("/jazz", START, 256, 2),
        session("/jazz", START + 100, 17, 2),
        session("/live.mp3", START + 80_000, 12_000, 2),
        session("/live.mp3", START + 82_000, 5400, 1),
    ]
}

#[test]
fn five_connections_by_hand() {
    let all = five_connections();
    let day = |figures: &ListeningFigures, day| {
        figures.all().unwrap().periods[&Period::Day(date(2024, 5, day))]
    };
    let utc = figures(&all, &ReportOptions::default());
    assert_eq!((day(&utc, 14).seconds, day(&utc, 14).sessions), (12_880, 5));
    assert_eq!((day(&utc, 15).seconds, day(&utc, 15).sessions), (6600, 0));
    let total = utc.all().unwrap().total();
    assert_eq!(
        (total.seconds, total.median, total.listeners),
        (19_480, 1807.0, 2)
    );
    assert_eq!((total.peak, total.peak_at), (3, Some(START + 100)));
    assert_eq!(total.period_seconds, 2 * 86_400);
    // In Berlin, midnight is two hours earlier.
    let berlin = figures(&all, &in_zone("Europe/Berlin"));
    assert_eq!(
        (day(&berlin, 14).seconds, day(&berlin, 14).sessions),
        (2080, 3)
    );
    assert_eq!(
        (day(&berlin, 15).seconds, day(&berlin, 15).sessions),
        (17_400, 2)
    );
    assert_eq!(berlin.all().unwrap().total().seconds, 19_480);
}

#[test]
fn the_zone_is_that_of_the_lines_if_they_agree() {
    let zone = |offsets: &[Option<i32>], options: &ReportOptions, of_lines| {
        let mut stats = ListeningStats::default();
        offsets.iter().for_each(|offset| stats.clock.note(*offset));
        stats.figures(options, of_lines).unwrap().zone.to_string()
    };
    let (none, berlin) = (ReportOptions::default(), Some(Tz::Europe__Berlin));
    assert_eq!(zone(&[], &none, berlin), "UTC");
    assert_eq!(zone(&[Some(7200), Some(7200)], &none, berlin), "UTC+02:00");
    assert_eq!(zone(&[Some(0)], &none, None), "UTC");
    assert_eq!(zone(&[Some(7200), Some(3600)], &none, None), "UTC");
    assert_eq!(zone(&[Some(7200), None], &none, None), "UTC");
    assert_eq!(zone(&[None, None], &none, None), "UTC");
    assert_eq!(zone(&[None, None], &none, berlin), "Europe/Berlin");
    let new_york = in_zone("America/New_York");
    assert_eq!(zone(&[Some(7200)], &new_york, berlin), "America/New_York");
}

#[test]
fn overlapping_sessions_are_merged_on_request() {
    let all = [
        session("/live", START, 100, 1),
        session("/live", START + 50, 100, 1),
        session("/live", START + 149, 10, 1),
        session("/live", START + 159, 10, 1),
        session("/jazz", START, 100, 1),
        session("/live", START, 100, 2),
    ];
    let options = ReportOptions {
        merge: true,
        ..ReportOptions::default()
    };
    let merged = figures(&all, &options);
    assert_eq!(merged.merged, 2);
    let total = merged.all().unwrap().total();
    assert_eq!((total.sessions, total.seconds, total.peak), (4, 369, 3));
    let unmerged = figures(&all, &ReportOptions::default());
    let total = unmerged.all().unwrap().total();
    assert_eq!(
        (unmerged.merged, total.sessions, total.seconds),
        (0, 6, 420)
    );
}

#[test]
fn further_mount_points_share_a_group() {
    let options = ReportOptions::default();
    let mut stats = ListeningStats::default();
    for number in 0..=MAX_MOUNTS + 5 {
        let mount = format!("/{number}");
        let listener = stats.listener(&options, &request(&mount, 1, b""));
        stats
            .sessions
            .add(&listener.reported(Session::new(START, 10).unwrap()));
    }
    let figures = stats.figures(&options, None).unwrap();
    let mounts: Vec<_> = figures.of(GroupKind::Mount).collect();
    assert_eq!(mounts.len(), MAX_MOUNTS + 1);
    let others = mounts.last().unwrap();
    assert_eq!((others.name.as_str(), others.total().sessions), ("", 6));
    assert_eq!(
        figures.all().unwrap().total().sessions,
        MAX_MOUNTS as u64 + 6
    );
}

#[test]
fn figures_of_any_number_of_days_are_bounded() {
    let options = ReportOptions::default();
    let mut stats = ListeningStats::default();
    for day in 0..4000 {
        let mount = format!("/{}", day % 1000);
        let listener = stats.listener(&options, &request(&mount, 1, b""));
        let time = Session::new(START + day * 86_400, 20).unwrap();
        stats.sessions.add(&listener.reported(time));
    }
    let figures = stats.figures(&options, None).unwrap();
    let all = figures.all().unwrap();
    let days = all.periods.keys().filter(|it| matches!(it, Period::Day(_)));
    // 300,000 for 1,002 groups.
    assert_eq!(days.count(), 299);
    assert_eq!(all.total().seconds, 80_000);
    assert_eq!(all.periods[&Period::Hour(0)].seconds, 80_000);
}

/// Does nothing.
#[derive(Debug)]
struct NoSink;

impl SessionSink for NoSink {
    fn add(&self, _: &LoggedSession) {}
}

#[test]
fn the_texts_of_a_listener_count_as_memory() {
    let bytes = |sink: Option<Arc<dyn SessionSink>>| {
        let agent = [b'x'; 5000];
        let request = request("/live", 1, &agent);
        let listener = ListeningStats::new(sink).listener(&ReportOptions::default(), &request);
        listener.bytes()
    };
    assert_eq!(bytes(None), 0);
    assert!(bytes(Some(Arc::new(NoSink))) > 5000);
}
