//! Reports for the tests of all formats.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveDate;

use super::figures::{LogFigures, RunFigures, RunReport, WebFigures};
use crate::filter::{BotCounter, BotFigures, BotList, BotRanges};
use crate::hit::ClientAddress;
use crate::radio::{
    GroupFigures, GroupKind, ListeningFigures, Measures, Month, Period, RelayFigures, ReportZone,
};

/// 2026-10-01 00:00:00, UTC.
const CREATED: i64 = 1_790_812_800;

/// 2026-09-01 00:00:00 in Berlin.
const SEPTEMBER: i64 = 1_788_213_600;

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 9, day).unwrap()
}

fn run() -> RunFigures {
    let ignored = [("relay", 3), ("bot", 4)];
    RunFigures {
        elapsed: Duration::from_millis(1500),
        read: 100,
        headers: 1,
        skipped: 2,
        other_shards: 0,
        imported: 80,
        ignored: ignored
            .map(|(name, lines)| (name, name.to_owned(), lines))
            .into(),
        refused: 4,
        lost: 3,
        unconfirmed: 2,
        unsent: 1,
        resent: 5,
        downloads: 6,
        no_address: 9,
        sites: 2,
        requests: 11,
        logs: vec![LogFigures {
            name: "a <b>.log".to_owned(),
            read: 100,
            imported: 80,
            ignored: 7,
        }],
        ..RunFigures::default()
    }
}

/// The report of a web log.
pub fn web() -> RunReport {
    let list = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter()
            .map(|(text, n)| ((*text).to_owned(), *n))
            .collect()
    };
    RunReport {
        title: Some("Radio <Example>".to_owned()),
        created: CREATED,
        zone: ReportZone::Utc,
        run: run(),
        listening: None,
        web: Some(WebFigures {
            days: vec![(day(14), 3), (day(15), 4)],
            pages: list(&[("/a", 5), ("/b", 1)]),
            status: list(&[("200", 6), ("304", 1)]),
            referrers: list(&[("news.example", 2)]),
            hits: 7,
        }),
        bots: Some(bots()),
    }
}

fn bots() -> BotFigures {
    let list = "GPTBot\tGPTBot\tAI training\tA & B\n<b>\t<b>\tcrawler\tA & B\n";
    let list = BotList::parse(list).unwrap();
    let networks = vec!["192.0.2.0/24".parse().unwrap()];
    let ranges = BotRanges::new(vec![("GPTBot".to_owned(), networks)], list.entries());
    let mut counter = BotCounter::new(list.entries(), ranges.unwrap());
    for (bot, hit) in (0..18).map(|number| (number % 2, number / 2)) {
        let address: &[u8] = if hit < 5 { b"192.0.2.1" } else { b"192.0.3.1" };
        let (status, bytes) = if hit < 2 { ("404", 500) } else { ("200", 0) };
        let address = || ClientAddress::Ip(address);
        counter.add(Some(bot), status.as_bytes(), bytes, address);
    }
    counter.figures(list.entries())
}

/// The report of a radio log of September 2026 in Berlin.
pub fn listening() -> RunReport {
    let zone = ReportZone::Named(chrono_tz::Europe::Berlin);
    let measures = Measures {
        period_seconds: 2_592_000,
        seconds: 19_480,
        sessions: 5,
        long_sessions: 4,
        session_seconds: 19_480,
        median: 1807.0,
        listeners: 2,
        peak: 3,
        // 20:15 on the 14th.
        peak_at: Some(SEPTEMBER + 13 * 86_400 + 20 * 3600 + 900),
    };
    let in_hour = Measures {
        sessions: 3,
        ..measures
    };
    let group = |kind, name: &str| {
        let by_time = [
            (Period::Day(day(14)), measures),
            (Period::Hour(20), in_hour),
            (Period::WeekHour(0, 20), in_hour),
        ];
        let has_times = !matches!(kind, GroupKind::Country | GroupKind::Player);
        let total = match has_times {
            true => measures,
            false => Measures {
                peak: 0,
                peak_at: None,
                ..measures
            },
        };
        let totals = [
            (Period::Total, total),
            (Period::Month(Month::of(day(1))), total),
        ];
        let by_time = by_time.into_iter().filter(|_| has_times);
        GroupFigures {
            kind,
            name: name.to_owned(),
            periods: BTreeMap::from_iter(totals.into_iter().chain(by_time)),
        }
    };
    let groups = vec![
        group(GroupKind::All, ""),
        group(GroupKind::Channel, "Pop & <Rock>"),
        group(GroupKind::Mount, "/live.mp3"),
        group(GroupKind::Country, "DE"),
        group(GroupKind::Player, "VLC"),
    ];
    RunReport {
        listening: Some(ListeningFigures {
            zone,
            range: SEPTEMBER..SEPTEMBER + 30 * 86_400,
            min_session: 60,
            groups,
            lengths: [1, 2, 1, 1, 0, 0, 0, 0, 0],
            no_duration: 6,
            relays: RelayFigures {
                lines: 8,
                seconds: 9,
            },
            other_countries: 7,
            merged: 10,
            country: None,
        }),
        zone,
        web: None,
        bots: None,
        ..web()
    }
}
