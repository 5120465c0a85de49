//! Dates that Matomo would replace by the current time are not sent. The server's clock decides.

use chrono::{DateTime, TimeDelta, Utc};

use crate::support::fake::FakeMatomo;
use crate::support::logs;
use crate::support::stored::{assert_each_once, fake_matomo, numbers};
use crate::support::{Folder, Program};

/// A server whose clock is ahead of this machine's, or behind it if `ahead` is negative.
fn server(ahead: TimeDelta) -> FakeMatomo {
    let server = fake_matomo();
    server.set_ahead(ahead);
    server
}

/// Numbered lines with these dates.
fn log(dates: impl IntoIterator<Item = DateTime<Utc>>) -> String {
    dates.into_iter().enumerate().map(line).collect()
}

fn line((number, date): (usize, DateTime<Utc>)) -> String {
    let date = date.format("%d/%b/%Y:%H:%M:%S +0000").to_string();
    let text = logs::line(number, 25);
    let (begin, rest) = text.split_once('[').unwrap();
    let (_, end) = rest.split_once(']').unwrap();
    format!("{begin}[{date}]{end}")
}

fn program(folder: &Folder, server: &FakeMatomo) -> Program {
    Program::new(folder).to(server).args("--idsite=1")
}

#[test]
fn dates_that_matomo_would_replace_are_invalid() {
    let now = Utc::now();
    let ages = [
        TimeDelta::hours(-25),
        TimeDelta::hours(-23),
        TimeDelta::zero(),
        TimeDelta::days(7299),
        TimeDelta::days(7301),
        TimeDelta::days(20_000),
    ];
    let folder = Folder::with_log(log(ages.map(|age| now - age)));
    let server = server(TimeDelta::zero());
    let ended = program(&folder, &server)
        .args("-dd access.log")
        .run()
        .exits(0);
    let ended = ended.says(&[
        "access.log:1: invalid: date is more than a day ahead",
        "access.log:5: invalid: date is more than 20 years ago",
        "access.log:6: invalid: date is more than 20 years ago",
    ]);
    assert_eq!(numbers(&server), [1, 2, 3]);
    assert_eq!(ended.summary().get("invalid"), 3);
}

#[test]
fn the_servers_clock_decides_and_a_difference_is_reported_once() {
    let now = Utc::now();
    let log = log([0, 30, 60].map(|hours| now + TimeDelta::hours(hours)));
    for (ahead, stored) in [
        (0, vec![0]),
        (26, vec![0, 1]),
        (72, vec![0, 1, 2]),
        (-48, vec![]),
    ] {
        for args in ["--idsite=1", "--log-hostname=www.example.com"] {
            let server = server(TimeDelta::hours(ahead));
            let folder = Folder::with_log(&log);
            let ended = Program::new(&folder)
                .to(&server)
                .args(args)
                .args("access.log")
                .run()
                .exits(0);
            assert_eq!(numbers(&server), stored, "{ahead} {args}");
            let warnings = ended.err.matches("the clock of this machine is").count();
            assert_eq!(warnings, usize::from(ahead != 0), "{ended}");
        }
    }
}

#[test]
fn a_log_that_begins_with_a_hundred_future_dates_is_not_imported() {
    let ahead = |lines: i64| {
        let begin = Utc::now() + TimeDelta::hours(50);
        (0..lines).map(move |second| begin + TimeDelta::seconds(second))
    };
    let headed = log(ahead(100)) + &logs::log(1);
    let static_ones = headed.replace("/page-1", "/style.css?page-1");
    let odd = format!("{}odd\n\n{headed}", "# a comment\n".repeat(3));
    for log in [&headed, &static_ones, &odd] {
        for args in ["", "--log-format-name=ncsa_extended"] {
            let folder = Folder::with_log(log);
            let server = server(TimeDelta::zero());
            let ended = program(&folder, &server)
                .args(args)
                .args("--state-dir=state --rejects=bad.log access.log")
                .run()
                .exits(1);
            let ended = ended.says(&["access.log: its first 100 lines are all dated ahead"]);
            assert_eq!((numbers(&server).len(), ended.out.as_str()), (0, ""));
            assert_eq!(
                std::fs::read(folder.file("bad.log")).unwrap_or_default(),
                b""
            );
            // Once the clock is right, no line is lost.
            server.set_ahead(TimeDelta::hours(60));
            let ended = program(&folder, &server)
                .args(args)
                .args("--enable-static --state-dir=state access.log")
                .run()
                .exits(0);
            assert_eq!(numbers(&server).len(), 101, "{ended}");
        }
    }
}

#[test]
fn a_log_with_fewer_future_dates_is_imported() {
    let now = Utc::now();
    let ahead = log((0..99).map(|_| now + TimeDelta::hours(50)));
    let good = line((0, now));
    for log in [
        ahead.clone() + &good,
        good.clone() + &ahead + &ahead,
        ahead.clone(),
    ] {
        let folder = Folder::with_log(&log);
        let server = server(TimeDelta::zero());
        let ended = program(&folder, &server).args("access.log").run().exits(3);
        assert_eq!(
            numbers(&server).len(),
            log.matches(&good).count(),
            "{ended}"
        );
    }
    // The user may skip them.
    let folder = Folder::with_log(ahead.repeat(2) + &good);
    let server = server(TimeDelta::zero());
    program(&folder, &server)
        .args("--skip=198 access.log")
        .run()
        .exits(0);
    assert_each_once(&server, 1);
}

#[test]
fn a_pipe_that_begins_with_a_hundred_future_dates_is_saved() {
    let begin = Utc::now() + TimeDelta::hours(50);
    let log = log((0..100).map(|_| begin)) + &line((100, Utc::now()));
    let folder = Folder::new();
    let server = server(TimeDelta::zero());
    program(&folder, &server)
        .args("--state-dir=state -")
        .stdin(&log)
        .run()
        .exits(1)
        .says(&["its first 100 lines are all dated ahead", "saved in"]);
    server.set_ahead(TimeDelta::hours(60));
    program(&folder, &server)
        .args("--state-dir=state -")
        .stdin("")
        .run()
        .exits(0);
    assert_each_once(&server, 101);
}

#[test]
fn future_dates_of_a_w3c_log_are_noticed() {
    let date = Utc::now() + TimeDelta::hours(50);
    let row = format!(
        "{} 203.0.113.9 /page-0 200\n",
        date.format("%Y-%m-%d %H:%M:%S")
    );
    let header = "#Fields: date time c-ip cs-uri-stem sc-status\n";
    for args in ["", "--log-format-name=w3c_extended"] {
        let folder = Folder::with_log(header.to_owned() + &row.repeat(100));
        let server = server(TimeDelta::zero());
        program(&folder, &server)
            .args(args)
            .args("access.log")
            .run()
            .exits(1)
            .says(&["access.log: its first 100 lines are all dated ahead"]);
    }
}

#[test]
fn a_line_that_is_not_sent_creates_no_site() {
    let now = Utc::now();
    let lines = [
        ("one.example", 0),
        ("two.example", 72),
        ("three.example", 1),
    ];
    let log: String = lines
        .into_iter()
        .enumerate()
        .map(|(number, (host, hours))| {
            let date = now + TimeDelta::hours(hours);
            format!("{host} {}", line((number, date)))
        })
        .collect();
    let server = server(TimeDelta::zero());
    let ended = Program::new(&Folder::with_log(log))
        .to(&server)
        .args("--add-sites-new-hosts access.log")
        .run()
        .exits(0);
    let summary = ended.summary();
    assert_eq!(summary.get("sites_created"), 2, "{ended}");
    assert_eq!(summary.get("invalid"), 1, "{ended}");
    assert!(!ended.out.contains("two.example"), "{ended}");
}
