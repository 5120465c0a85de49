//! Requests in flight together belong to the same past day of each site, and the first hits of a
//! day are sent alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde_json::Value;

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, TrackerCall, When};
use crate::support::stored::{assert_each_once, options, started, text};
use crate::support::{Ended, Folder, Program, at_once, logs};

/// A line of one of two sites, by one of 50 visitors.
fn line(number: usize, time: DateTime<Utc>) -> String {
    let host = ["www.example.com", "blog.example.com"][number % 3 / 2];
    let at = time.format("%d/%b/%Y:%H:%M:%S +0000");
    format!(
        "{host} 10.0.0.{} - - [{at}] \"GET /page-{number} HTTP/1.1\" 200 7 \"-\" \"{}\"\n",
        number % 50 + 1,
        logs::AGENT
    )
}

/// Lines in order, spread evenly over `days` days.
fn log(lines: usize, days: u64) -> String {
    let begin: DateTime<Utc> = "2024-05-01T00:00:00Z".parse().unwrap();
    let step = TimeDelta::seconds((days * 86_400 / lines as u64) as i64);
    let time = |number: usize| begin + step * number as i32;
    (0..lines)
        .map(|number| line(number, time(number)))
        .collect()
}

fn server(options: Options) -> FakeMatomo {
    started(Options {
        delay: Duration::from_millis(15),
        sites: [1, 2]
            .map(|site| (site, format!("http://{site}.example.com")))
            .into(),
        hosts: [("www.example.com", 1), ("blog.example.com", 2)]
            .map(|(host, site)| (host.to_owned(), site))
            .into(),
        ..options
    })
}

fn import(server: &FakeMatomo, log: &str, args: &str) -> Ended {
    let ended = Program::new(&Folder::with_log(log))
        .to(server)
        .args("--recorders=8 --recorder-max-payload-size=5 --log-format-name=common_complete")
        .args("--request-timeout=1 --retry-delay=0 --retry-max-attempts=10 access.log")
        .args(args)
        .run()
        .exits(0);
    assert!(server.wait_idle(Duration::from_secs(10)));
    ended
}

/// The site of a hit, and its day in a time zone that many hours east of UTC.
fn site_day(hit: &Value, zone: i32) -> (String, String) {
    let time = NaiveDateTime::parse_from_str(text(hit, "cdt"), "%Y-%m-%d %H:%M:%S").unwrap();
    let zone = FixedOffset::east_opt(zone * 3600).unwrap();
    let day = time.and_utc().with_timezone(&zone).date_naive();
    (text(hit, "idsite").to_owned(), day.to_string())
}

/// Checks the past days of all requests that were in flight together. Returns the largest number
/// of requests in flight.
#[track_caller]
fn assert_days_apart(calls: &[TrackerCall], zone: i32) -> usize {
    let today = Utc::now().date_naive().to_string();
    let days = |call: &TrackerCall| -> BTreeSet<(String, String)> {
        let days = call.requests().into_iter().map(|hit| site_day(&hit, zone));
        days.filter(|(_, day)| *day < today).collect()
    };
    let days: Vec<_> = calls.iter().map(days).collect();
    let mut most = 0;
    let mut opened = BTreeSet::new();
    for (index, call) in calls.iter().enumerate() {
        let ended = call.ended.unwrap();
        let earlier = (0..index).filter(|other| calls[*other].ended.unwrap() > call.began);
        let later = (index + 1..calls.len()).filter(|other| calls[*other].began < ended);
        let beside: Vec<usize> = earlier.chain(later).collect();
        most = most.max(beside.len() + 1);
        let mut together: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for other in beside.iter().chain([&index]) {
            for (site, day) in &days[*other] {
                together.entry(site).or_default().insert(day);
            }
        }
        if !beside.is_empty() {
            for (site, days) in &together {
                assert_eq!(days.len(), 1, "request {index}, site {site}: {days:?}");
            }
            let new: Vec<_> = days[index].difference(&opened).collect();
            assert!(
                new.is_empty(),
                "request {index} is not alone, but the first of {new:?}"
            );
        }
        opened.extend(days[index].iter().cloned());
    }
    most
}

#[test]
fn days_of_a_log_are_sent_one_after_the_other() {
    let server = server(options());
    import(&server, &log(1200, 6), "");
    assert_each_once(&server, 1200);
    let most = assert_days_apart(&server.log().tracker, 0);
    assert!(most >= 6, "{most} requests in flight");
}

#[test]
fn alternating_days_are_sorted() {
    let server = server(options());
    let sorted = log(1200, 6);
    let lines: Vec<&str> = sorted.lines().collect();
    let mixed: String = (0..1200)
        .map(|number| format!("{}\n", lines[number % 6 * 200 + number / 6]))
        .collect();
    import(&server, &mixed, "");
    assert_each_once(&server, 1200);
    let most = assert_days_apart(&server.log().tracker, 0);
    assert!(most >= 6, "{most} requests in flight");
}

#[test]
fn days_are_kept_apart_across_logs() {
    let server = server(options());
    let sorted = log(600, 3);
    let lines: Vec<&str> = sorted.lines().collect();
    let folder = Folder::with_log(format!("{}\n", lines[400..].join("\n")));
    folder.write("older.log", format!("{}\n", lines[..400].join("\n")));
    Program::new(&folder)
        .to(&server)
        .args("--recorders=4 --recorder-max-payload-size=5 --log-format-name=common_complete")
        .args("--state-dir=state access.log older.log")
        .run()
        .exits(0);
    assert_each_once(&server, 600);
    assert_days_apart(&server.log().tracker, 0);
}

#[test]
fn days_are_kept_apart_in_retries_and_halved_batches() {
    // Shorter than the program waits for the server, which is twice the time-out.
    let stall = Duration::from_millis(1500);
    let faults = vec![
        Fault::RollBack,
        Fault::Deadlock,
        Fault::CommitClose,
        Fault::TooLarge,
        Fault::Busy(503, None),
        Fault::Html(502),
        Fault::Stall(stall),
    ];
    at_once(faults, |fault| {
        let script = (0..200).map(|call| (call % 23 == 7).then(|| fault.clone()));
        // Each time-out takes long.
        let stalls = matches!(fault, Fault::Stall(_));
        let script = script.take(if stalls { 20 } else { 200 }).collect();
        let server = server(Options {
            faults: Faults {
                script,
                ..Faults::default()
            },
            ..options()
        });
        import(&server, &log(1200, 4), "");
        assert_each_once(&server, 1200);
        assert_days_apart(&server.log().tracker, 0);
    });
}

#[test]
fn days_are_kept_apart_if_the_server_fails_under_load() {
    let server = server(Options {
        faults: Faults {
            rules: vec![(When::BusyAbove(3), Fault::RollBack)],
            ..Faults::default()
        },
        ..options()
    });
    import(&server, &log(600, 3), "");
    assert_each_once(&server, 600);
    assert_days_apart(&server.log().tracker, 0);
}

#[test]
fn days_are_those_of_the_sites_time_zone() {
    let server = server(Options {
        timezone: Some("Asia/Tokyo"),
        ..options()
    });
    import(&server, &log(900, 3), "");
    assert_each_once(&server, 900);
    let most = assert_days_apart(&server.log().tracker, 9);
    assert!(most >= 6, "{most} requests in flight");
}

#[test]
fn hits_of_today_do_not_wait() {
    let now = Utc::now();
    // The last hour of a day counts as past, so avoid it.
    let timezone = (now.hour() >= 20).then_some("Asia/Tokyo");
    let server = server(Options {
        timezone,
        ..options()
    });
    let log: String = (0..400).map(|number| line(number, now)).collect();
    import(&server, &log, "");
    assert_each_once(&server, 400);
    let calls = server.log().tracker;
    assert!(
        calls[1].began < calls[0].ended.unwrap(),
        "the first request was sent alone"
    );
}

#[test]
fn sessions_over_midnight_are_sent_alone() {
    let server = server(options());
    let begin: DateTime<Utc> = "2024-05-02T00:00:00Z".parse().unwrap();
    // Each line ends a session of half an hour. Some sessions began the day before.
    let log: String = (0..300)
        .map(|number| {
            let end = begin + TimeDelta::minutes(number * 10);
            format!(
                "10.0.0.{} - - [{}] \"GET /stream-{number} HTTP/1.1\" 200 77777 \"-\" \"VLC/3.0\" 1800\n",
                number % 50 + 1,
                end.format("%d/%b/%Y:%H:%M:%S +0000")
            )
        })
        .collect();
    Program::new(&Folder::with_log(log))
        .to(&server)
        .args("--recorders=8 --recorder-max-payload-size=5 --log-format-name=icecast2 --idsite=1")
        .arg("access.log")
        .run()
        .exits(0);
    assert_days_apart(&server.log().tracker, 0);
    let sent = server.log().sent().len();
    // Each session has a page view, an event in the middle and one at the end.
    assert_eq!(sent, 900);
}
