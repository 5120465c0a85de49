//! Reports made by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use chrono_tz::Europe::Berlin;

use crate::radio::{
    GroupFigures, GroupKind, LENGTHS, ListeningFigures, Measures, Month, Period, RelayFigures,
    ReportZone,
};
use crate::report_file::{LogFigures, RunFigures, RunReport, WebFigures, sample};

pub const HOSTILE: &str = "/<script>alert(1)</script>\"'><img src=x>&amp;\0\x1b[2J\u{85}\u{202e}\n";

pub fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Figures of mount points that share the listeners of a month or a year, with a daily and a weekly
/// rhythm. The first has the most.
pub fn listening(first: &str, days: u64, mounts: &[String]) -> ListeningFigures {
    let zone = ReportZone::Named(Berlin);
    let (first, end) = (day(first), day(first) + Days::new(days));
    let range = zone.start_of(first)..zone.start_of(end);
    let mut all = BTreeMap::new();
    let first = periods(zone, range.clone());
    let groups = mounts.iter().enumerate().map(|(rank, name)| {
        let share = (rank as f64 + 1.0).powf(-0.8);
        let scaled = |measures: &Measures| scaled(measures, share);
        let periods = first
            .iter()
            .map(|(period, measures)| (*period, scaled(measures)));
        let periods = periods.filter(|(_, measures)| measures.seconds > 0);
        let periods = with_sums_of_days(periods.collect());
        for (period, measures) in &periods {
            let sum: &mut Measures = all.entry(*period).or_default();
            sum.period_seconds = measures.period_seconds;
            sum.seconds += measures.seconds;
            sum.sessions += measures.sessions;
            sum.long_sessions += measures.long_sessions;
            sum.session_seconds += measures.session_seconds;
            sum.listeners += measures.listeners;
            sum.median = 1113.5;
            sum.peak_at = measures.peak_at.max(sum.peak_at);
        }
        group(GroupKind::Mount, name, periods)
    });
    let groups: Vec<GroupFigures> = groups.collect();
    for measures in all.values_mut().filter(|measures| measures.seconds > 0) {
        measures.peak = measures.seconds * 8 / 5 / measures.period_seconds + 1;
    }
    let most = all.values().map(|measures| measures.peak).max();
    let total = all.entry(Period::Total).or_default();
    total.peak = most.unwrap_or(0);
    let total = *total;
    let part = |kind, name: &str, share: f64| {
        let measures = scaled(&total, share);
        group(kind, name, BTreeMap::from([(Period::Total, measures)]))
    };
    let channels = [("Main", 0.71), ("Music only", 0.24)]
        .map(|(name, share)| part(GroupKind::Channel, name, share));
    let countries = [("DE", 0.66), ("AT", 0.14), ("CH", 0.11), ("", 0.09)];
    let countries = countries.map(|(name, share)| part(GroupKind::Country, name, share));
    let players = [
        ("Browser (Chrome)", 0.31),
        ("VLC", 0.22),
        ("Apple (AppleCoreMedia)", 0.18),
        ("Sonos", 0.12),
        ("TuneIn", 0.09),
        ("Winamp", 0.008),
    ];
    let players = players.map(|(name, share)| part(GroupKind::Player, name, share));
    let all = group(GroupKind::All, "", all);
    ListeningFigures {
        zone,
        range,
        min_session: 60,
        groups: [
            vec![all],
            channels.into(),
            groups,
            countries.into(),
            players.into(),
        ]
        .concat(),
        lengths: [2410, 3122, 2877, 1902, 1433, 988, 541, 207, 64],
        no_duration: 17,
        relays: RelayFigures {
            lines: 1234,
            seconds: 2_345_678,
        },
        other_countries: 0,
        merged: 12,
        country: None,
    }
}

fn group(kind: GroupKind, name: &str, periods: BTreeMap<Period, Measures>) -> GroupFigures {
    GroupFigures {
        kind,
        name: name.into(),
        periods,
    }
}

fn scaled(measures: &Measures, share: f64) -> Measures {
    let part = |number: u64| (number as f64 * share) as u64;
    Measures {
        seconds: part(measures.seconds),
        sessions: part(measures.sessions),
        long_sessions: part(measures.long_sessions),
        session_seconds: part(measures.session_seconds),
        listeners: part(measures.listeners),
        peak: part(measures.peak),
        ..*measures
    }
}

/// Rounding must not make the sums differ.
fn with_sums_of_days(mut periods: BTreeMap<Period, Measures>) -> BTreeMap<Period, Measures> {
    let mut sums: BTreeMap<Period, u64> = BTreeMap::new();
    for (period, measures) in &periods {
        if let Period::Day(day) = period {
            *sums.entry(Period::Total).or_default() += measures.seconds;
            *sums.entry(Period::Month(Month::of(*day))).or_default() += measures.seconds;
        }
    }
    for (period, seconds) in sums {
        periods.entry(period).or_default().seconds = seconds;
    }
    periods
}

/// The figures of the largest mount point, from one hour of the clock to the next.
fn periods(zone: ReportZone, range: std::ops::Range<i64>) -> BTreeMap<Period, Measures> {
    let mut periods: BTreeMap<Period, Measures> = BTreeMap::new();
    let mut time = range.start;
    while time < range.end {
        let hour = zone.clock_hour(time);
        let weekend = if hour.weekday() > 4 { 0.7 } else { 1.0 };
        let angle = (f64::from(hour.hour()) - 3.0) / 24.0 * std::f64::consts::TAU;
        let rhythm = 1.1 - angle.cos() + 0.3 * (2.0 * angle).sin();
        let noise = 0.85 + (time / 3600 * 7919 % 31) as f64 / 100.0;
        let seconds = (450.0 * weekend * rhythm * noise) as u64 * 60;
        let sessions = seconds / 2900;
        for period in hour.periods() {
            let sum = periods.entry(period).or_default();
            sum.period_seconds += hour.seconds();
            sum.seconds += seconds;
            sum.sessions += sessions;
            sum.long_sessions += sessions * 4 / 5;
            sum.session_seconds += sessions * 2871;
            sum.listeners += sessions / 3;
            sum.median = 1021.0;
            let peak = seconds * 3 / 2 / hour.seconds();
            if peak > sum.peak {
                (sum.peak, sum.peak_at) = (peak, Some(time + 1234));
            }
        }
        time = hour.end;
    }
    periods
}

pub fn mounts(count: usize) -> Vec<String> {
    let known = [
        "/live.mp3",
        "/live.aac",
        "/jazz",
        "/klassik.ogg",
        "/news",
        "/80s",
        "/mobile",
        "/test",
    ];
    let known = known.iter().map(|name| name.to_string());
    known
        .chain((8..).map(|number| format!("/channel-{number}")))
        .take(count)
        .collect()
}

fn run() -> RunFigures {
    RunFigures {
        elapsed: Duration::from_millis(12_345),
        read: 123_456,
        imported: 120_000,
        ignored: vec![
            ("relay", "address is in --relay".into(), 1234),
            ("bot", "request of a bot".into(), 2222),
        ],
        unconfirmed: 3,
        sites: 1,
        requests: 601,
        logs: vec![LogFigures {
            name: "access.log".into(),
            read: 123_456,
            imported: 120_000,
            ignored: 3456,
        }],
        ..Default::default()
    }
}

pub fn web() -> WebFigures {
    let list = |texts: &[(&str, u64)]| {
        texts
            .iter()
            .map(|(text, number)| (text.to_string(), *number))
            .collect()
    };
    let days = day("2026-09-01").iter_days().take(30).enumerate();
    let days = days.map(|(index, day)| (day, 900 + (index as u64 * 7919) % 700));
    WebFigures {
        days: days
            .filter(|(day, _)| *day != NaiveDate::from_ymd_opt(2026, 9, 9).unwrap())
            .collect(),
        pages: list(&[
            ("/", 12_345),
            ("/programme", 3120),
            (
                "/a/very/long/path/with-many-words-in-it/that-goes/on/and/on/index.html",
                812,
            ),
        ]),
        status: list(&[("200", 31_000), ("304", 2200), ("404", 97)]),
        referrers: list(&[("www.example.org", 611), ("news.example", 42)]),
        hits: 35_613,
    }
}

pub fn report(listening: Option<ListeningFigures>, web: Option<WebFigures>) -> RunReport {
    RunReport {
        title: Some("Radio Möwe 98.4".into()),
        created: 1_790_000_000,
        zone: listening.as_ref().map_or(ReportZone::Utc, |it| it.zone),
        run: run(),
        listening,
        web,
        bots: None,
    }
}

pub fn month() -> RunReport {
    report(Some(listening("2026-03-01", 31, &mounts(8))), None)
}

pub fn year() -> RunReport {
    report(Some(listening("2026-01-01", 365, &mounts(1000))), None)
}

/// No part of a report is missing, and all texts are hostile.
pub fn hostile() -> RunReport {
    let mut figures = listening("2026-03-28", 3, &[HOSTILE.into(), "/\u{2066}&<b>".into()]);
    figures.country = Some(HOSTILE.into());
    for group in figures
        .groups
        .iter_mut()
        .filter(|group| group.kind != GroupKind::All)
    {
        group.name = HOSTILE.into();
    }
    let list = vec![(HOSTILE.to_owned(), 5)];
    let web = WebFigures {
        days: vec![(day("2026-09-01"), 5)],
        pages: list.clone(),
        status: list.clone(),
        referrers: list,
        hits: 5,
    };
    let mut report = report(Some(figures), Some(web));
    report.title = Some(HOSTILE.into());
    report.run.ignored = vec![("bot", HOSTILE.into(), 1)];
    report.run.logs[0].name = HOSTILE.into();
    report.bots = sample::web().bots;
    for bot in report.bots.iter_mut().flat_map(|bots| &mut bots.rows) {
        bot.name = HOSTILE.into();
        bot.operator = HOSTILE.into();
    }
    report
}

/// Figures without a session, as of a log of relays only.
pub fn empty() -> RunReport {
    let figures = ListeningFigures {
        zone: ReportZone::Utc,
        range: 0..0,
        min_session: 60,
        groups: vec![group(GroupKind::All, "", BTreeMap::new())],
        lengths: [0; LENGTHS.len()],
        no_duration: 0,
        relays: RelayFigures::default(),
        other_countries: 0,
        merged: 0,
        country: None,
    };
    report(Some(figures), None)
}

/// Reports of all shapes.
pub fn samples() -> Vec<(&'static str, RunReport)> {
    let listeners = |first, days, count| report(Some(listening(first, days, &mounts(count))), None);
    let mut bare = report(None, None);
    bare.title = None;
    bare.run = RunFigures::default();
    let mut zero = listeners("2026-09-01", 1, 2);
    for group in zero
        .listening
        .iter_mut()
        .flat_map(|figures| &mut figures.groups)
    {
        group
            .periods
            .values_mut()
            .for_each(|measures| *measures = Measures::default());
    }
    vec![
        ("month", month()),
        ("quarter", listeners("2026-09-01", 92, 3)),
        ("year", year()),
        ("three years", listeners("2024-02-28", 800, 8)),
        ("twenty years", listeners("2005-02-28", 7400, 3)),
        ("day", listeners("2026-05-14", 1, 1)),
        (
            "both",
            report(Some(listening("2026-09-01", 30, &mounts(3))), Some(web())),
        ),
        ("web", report(None, Some(web()))),
        ("hostile", hostile()),
        ("empty", empty()),
        ("zero", zero),
        ("bare", bare),
    ]
}
