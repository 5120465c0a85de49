use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use chrono_tz::Europe::Berlin;

use super::html;
use super::markup::{clock, decimal, hours};
use crate::radio::{
    GroupFigures, GroupKind, LENGTHS, ListeningFigures, Measures, Month, Period, RelayFigures,
    ReportZone,
};
use crate::report::grouped;
use crate::report_file::{LogFigures, RunFigures, RunReport, WebFigures};

mod chromium;

const HOSTILE: &str = "/<script>alert(1)</script>\"'><img src=x>&amp;\0\x1b[2J\u{85}\u{202e}\n";

fn day(text: &str) -> NaiveDate {
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
        let slot = zone.slot(time);
        let weekend = if slot.weekday() > 4 { 0.7 } else { 1.0 };
        let hour = (f64::from(slot.hour()) - 3.0) / 24.0 * std::f64::consts::TAU;
        let rhythm = 1.1 - hour.cos() + 0.3 * (2.0 * hour).sin();
        let noise = 0.85 + (time / 3600 * 7919 % 31) as f64 / 100.0;
        let seconds = (450.0 * weekend * rhythm * noise) as u64 * 60;
        let sessions = seconds / 2900;
        for period in slot.periods() {
            let sum = periods.entry(period).or_default();
            sum.period_seconds += slot.seconds();
            sum.seconds += seconds;
            sum.sessions += sessions;
            sum.long_sessions += sessions * 4 / 5;
            sum.session_seconds += sessions * 2871;
            sum.listeners += sessions / 3;
            sum.median = 1021.0;
            let peak = seconds * 3 / 2 / slot.seconds();
            if peak > sum.peak {
                (sum.peak, sum.peak_at) = (peak, Some(time + 1234));
            }
        }
        time = slot.end;
    }
    periods
}

fn mounts(count: usize) -> Vec<String> {
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

fn web() -> WebFigures {
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
        hits: 34_297,
    }
}

fn report(listening: Option<ListeningFigures>, web: Option<WebFigures>) -> RunReport {
    RunReport {
        title: Some("Radio Möwe 98.4".into()),
        created: 1_790_000_000,
        zone: listening.as_ref().map_or(ReportZone::Utc, |it| it.zone),
        run: run(),
        listening,
        web,
    }
}

fn month() -> RunReport {
    report(Some(listening("2026-03-01", 31, &mounts(8))), None)
}

fn year() -> RunReport {
    report(Some(listening("2026-01-01", 365, &mounts(1000))), None)
}

/// No part of a report is missing, and all texts are hostile.
fn hostile() -> RunReport {
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
    report
}

/// Figures without a session, as of a log of relays only.
fn empty() -> RunReport {
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
fn samples() -> Vec<(&'static str, RunReport)> {
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

/// Panics unless each tag is closed, each attribute is quoted, and there are no stray brackets.
fn check_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start], &open);
        let end = rest.find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "{tag}");
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
            continue;
        }
        check_attributes(tag.trim_end_matches('/'));
        if !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
        if name == "style" {
            let end = rest.find("</style>").unwrap();
            assert!(!rest[..end].contains('<'));
            rest = &rest[end..];
        }
    }
    check_text(rest, &open);
    assert!(open.is_empty(), "{open:?}");
}

fn check_text(text: &str, open: &[&str]) {
    assert!(!text.contains('>'), "{text}");
    let is_hidden = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{2069}');
    assert!(!text.contains(is_hidden), "{text:?}");
    for after in text.split('&').skip(1) {
        let entity = after.split(';').next().unwrap();
        assert!(
            ["amp", "lt", "gt", "quot", "#39"].contains(&entity),
            "{text}"
        );
    }
    assert!(!open.is_empty() || text.trim().is_empty(), "{text}");
}

fn check_attributes(tag: &str) {
    let quoted: Vec<&str> = tag.split('"').collect();
    assert_eq!(quoted.len() % 2, 1, "{tag}");
    for (index, part) in quoted.iter().enumerate().step_by(2) {
        // Every part but the last one is the name of the attribute that follows.
        let name = match index + 1 < quoted.len() {
            true => part.strip_suffix('=').unwrap_or("="),
            false => part,
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '\n');
        assert!(name.chars().all(is_word), "{tag}");
    }
}

/// The text of the elements that begin with a tag.
fn texts_after<'a>(page: &'a str, tag: &str) -> Vec<&'a str> {
    let parts = page.split(tag).skip(1);
    parts.map(|part| part.split("</").next().unwrap()).collect()
}

#[test]
fn pages_of_all_shapes_are_well_formed_and_load_nothing() {
    for (name, report) in samples() {
        let page = html(&report);
        check_well_formed(&page);
        let body = &page[page.find("<body>").unwrap()..];
        for part in [
            "<script", "<img", "<link", "src=", "href", "@import", "http:", "https:",
        ] {
            // Escaped texts of the hostile page have them as well.
            let is_text = name == "hostile" && part == "src=";
            assert!(is_text || !page.contains(part), "{name}: {part}");
        }
        for number in ["NaN", "inf,", "inf<", "inf\"", "-0"] {
            assert!(!body.contains(&format!(">{number}")), "{name}: {number}");
            assert!(!body.contains(&format!("\"{number}")), "{name}: {number}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
        assert_eq!(body.matches("<h1>").count(), 1, "{name}");
        for svg in body.split("<svg ").skip(1) {
            let tag = svg.split('>').next().unwrap();
            let has_title = tag.contains("role=\"img\"") && svg.contains("><title>");
            assert!(
                has_title || tag.contains("aria-hidden=\"true\""),
                "{name}: {tag}"
            );
        }
        if let Some(folder) = std::env::var_os("IMPORT_LOGS_HTML_SAMPLES") {
            let file = std::path::Path::new(&folder).join(name.replace(' ', "-") + ".html");
            std::fs::write(file, page).unwrap();
        }
    }
}

#[test]
fn the_checker_finds_faults() {
    for page in [
        "<!DOCTYPE html><p>",
        "<!DOCTYPE html><p></b>",
        "<!DOCTYPE html><p>a > b</p>",
        "<!DOCTYPE html><p>&nbsp</p>",
        "<!DOCTYPE html><p class=a></p>",
        "<!DOCTYPE html><p class=\"a\" b\"></p>",
        "<!DOCTYPE html><p>\u{202e}</p>",
        "<!DOCTYPE html><p></p>text",
    ] {
        assert!(
            std::panic::catch_unwind(|| check_well_formed(page)).is_err(),
            "{page}"
        );
    }
    check_well_formed("<!DOCTYPE html><p class=\"a\">&lt;</p>\n");
}

#[test]
fn the_six_numbers_are_those_of_the_figures() {
    let report = month();
    let page = html(&report);
    let total = report.listening.unwrap().all().unwrap().total();
    assert_eq!(
        (total.seconds, total.sessions),
        (65_278_783, 21_372),
        "the sample has changed"
    );
    let shown = texts_after(&page, "<dd>");
    assert_eq!(
        shown[..6],
        [
            &*hours(total.seconds),
            &*grouped(total.sessions),
            "47 min 51 s",
            &*decimal(total.average_listeners(), 2),
            &*grouped(total.peak),
            &*grouped(total.listeners),
        ]
    );
    for smaller in [
        format!(
            "<b>{} sessions</b> of at least 60 seconds",
            grouped(total.long_sessions)
        ),
        "<b>18 min 34 s</b> median session".into(),
        format!(
            "<b>{}</b> hours per listener",
            decimal(total.hours_per_listener(), 2)
        ),
    ] {
        assert!(page.contains(&smaller), "{smaller}");
    }
    assert!(page.contains("<b>1 to 31 March 2026</b> · time zone Europe/Berlin</p>"));
}

#[test]
fn all_measures_of_a_mount_point_are_in_a_row() {
    let report = month();
    let page = html(&report);
    let figures = report.listening.unwrap();
    let jazz = figures.of(GroupKind::Mount).nth(2).unwrap();
    let total = jazz.total();
    let cells = [
        hours(total.seconds),
        grouped(total.sessions),
        grouped(total.long_sessions),
        clock(total.average_session()),
        "0:17:01".into(),
        decimal(total.average_listeners(), 2),
        grouped(total.peak),
        "3 Mar 2026, 16:20".into(),
        grouped(total.listeners),
        decimal(total.hours_per_listener(), 2),
    ];
    let row = format!(
        "<tr><th scope=\"row\">/jazz</th><td>{}</td></tr>",
        cells.join("</td><td>")
    );
    assert!(page.contains(&row), "{row}");
}

#[test]
fn days_and_months_add_up_and_the_clock_is_changed() {
    let report = month();
    let page = html(&report);
    let figures = report.listening.as_ref().unwrap();
    let all = figures.all().unwrap();
    // The clock is put forward at 2:00.
    let sunday = all.periods[&Period::Day(day("2026-03-29"))];
    assert_eq!(sunday.period_seconds, 23 * 3600);
    assert!(page.contains(&format!(
        "<title>29 March 2026: {} hours</title>",
        hours(sunday.seconds)
    )));
    assert!(page.contains(&format!(
        "<th scope=\"row\">Sun 29 Mar 2026</th><td>{}</td>",
        hours(sunday.seconds)
    )));
    let march = all.periods[&Period::Month(Month::of(day("2026-03-01")))];
    assert_eq!(march.seconds, all.total().seconds);
    let sums = format!(
        "<th scope=\"row\">All</th><td>{}</td></tr>",
        hours(march.seconds)
    );
    assert!(page.contains(&sums), "{sums}");
    let rest: u64 = figures
        .of(GroupKind::Mount)
        .skip(6)
        .map(|group| group.total().seconds)
        .sum();
    assert!(page.contains(&format!("other mount points <b>{}</b>", hours(rest))));
    let at_noon = all.periods[&Period::WeekHour(2, 12)].average_listeners();
    let wednesday = page.split("<abbr title=\"Wednesday\">").nth(1).unwrap();
    assert_eq!(
        texts_after(wednesday, "<td class=\"h")[12],
        format!("5\">{at_noon:.1}")
    );
}

#[test]
fn a_year_of_many_mount_points_is_small() {
    let page = html(&year());
    assert!(page.len() < 300_000, "{}", page.len());
    assert!(
        page.contains("Listening hours per week")
            && page.contains("<th scope=\"row\">950 more</th>")
    );
    assert!(page.contains("<th scope=\"col\">Dec 2026</th><th scope=\"col\">All</th>"));
    let three = html(&report(
        Some(listening("2024-02-28", 800, &mounts(8))),
        None,
    ));
    assert!(three.contains("Hours by month and mount point, 2025</caption>"));
    assert!(three.contains("Listening hours per month"));
    let twenty = html(&report(
        Some(listening("2005-02-28", 7400, &mounts(3))),
        None,
    ));
    assert!(twenty.contains("<th scope=\"col\">before 2014</th><th scope=\"col\">2014</th>"));
    assert!(three.len() < 300_000 && twenty.len() < 300_000);
}

#[test]
fn hostile_texts_are_shown_as_they_are() {
    let page = html(&hostile());
    let shown = concat!(
        "/&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;&lt;img src=x&gt;&amp;amp;",
        r"\x00\x1b[2J\u{85}\u{202e}\n"
    );
    assert!(page.contains(&format!("<h1>{shown}</h1>")), "{page}");
    for place in [
        "listeners in ",
        "1 line</b>: ",
        "<th scope=\"row\">",
        "other countries than ",
    ] {
        assert!(page.contains(&format!("{place}{shown}")), "{place}");
    }
    // Channel, mount points, countries, players, pages, status codes, referrers and logs.
    let rows = page
        .matches(&format!("<th scope=\"row\">{shown}</th>"))
        .count();
    assert_eq!(rows, 2 + 2 + 2 + 4 + 6 + 3 + 1);
}

#[test]
fn long_lists_are_cut() {
    let mut report = month();
    report.run.logs = (0..62)
        .map(|number| LogFigures {
            name: format!("log{number}"),
            read: 1000,
            ..Default::default()
        })
        .collect();
    let page = html(&report);
    assert!(page.contains(">log49</th>") && !page.contains(">log50</th>"));
    assert!(page.contains("<th scope=\"row\">and 12 more logs</th><td>12,000</td>"));
}

#[test]
fn the_foot_says_what_is_left_out() {
    let mut report = month();
    report.listening.as_mut().unwrap().country = Some("US".into());
    let page = html(&report);
    for text in [
        "<b>1,234 lines</b> of relays with 651.58 hours",
        "<b>17 sessions</b> without a usable length",
        "<b>0 sessions</b> of other countries than US",
        "<b>12 sessions</b> joined",
        "<b>1,234 lines</b>: address is in --relay",
        "<b>2,222 lines</b>: request of a bot",
        "<b>3 lines</b>: not confirmed by Matomo",
        "listeners in US only",
        concat!(
            "Made by import-logs ",
            env!("CARGO_PKG_VERSION"),
            " on 21 Sep 2026, 16:13"
        ),
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_web_log_has_its_own_lists() {
    let page = html(&report(None, Some(web())));
    assert!(page.contains("<p class=\"kind\">Access report</p>"));
    assert!(page.contains("<b>1 to 30 September 2026</b>"));
    for row in [
        "<th scope=\"row\">imported</th><td>120,000</td>",
        "<th scope=\"row\">Wed 9 Sep 2026</th><td>0</td>",
        "<td>12,345</td><td>36.0 %</td>",
        "<td>97</td><td>0.3 %</td>",
    ] {
        assert!(page.contains(row), "{row}");
    }
    assert!(!page.contains("Listening"));
    let both = html(&report(
        Some(listening("2026-09-01", 30, &mounts(3))),
        Some(web()),
    ));
    let place = |text: &str| both.find(text).unwrap();
    assert!(place("Session lengths") < place("Most viewed pages"));
}

#[test]
fn a_report_without_sessions_says_so() {
    let page = html(&empty());
    assert!(page.contains("no listening sessions of known length"));
    assert_eq!(
        texts_after(&page, "<dd>")[..6],
        ["0.00", "0", "0 s", "0.00", "0", "0"]
    );
    let mut report = report(None, None);
    report.title = Some(" ".into());
    report.run.from_sandbox = true;
    let page = html(&report);
    assert!(page.contains("<h1>Import report</h1>") && page.contains("kept sandbox database"));
}
