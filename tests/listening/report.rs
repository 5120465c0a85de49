//! What the sandbox tells of listeners, and that the summary tells the same.

use std::collections::BTreeMap;

use super::{Row, icecast, rows};
use crate::support::folder::fixture;
use crate::support::{Ended, Folder, Program};

fn import(folder: &Folder, args: &str) -> Ended {
    Program::new(folder)
        .args("--sandbox=trial.sqlite")
        .args(args)
        .arg("access.log")
        .run()
        .exits(0)
}

/// The numbers that the sandbox's report has for each mount point: connections, seconds and so on.
fn reported(text: &str) -> BTreeMap<String, Vec<String>> {
    let (_, table) = text.split_once("Mount point\n").unwrap();
    let lines = table.lines().take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let plain = line.replace(',', "");
            let mut cells: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
            (cells.pop().unwrap(), cells)
        })
        .collect()
}

fn numbers(row: &Row) -> Vec<String> {
    let mut cells = vec![
        row.connections.to_string(),
        row.seconds.to_string(),
        row.hours.clone(),
        row.average.clone(),
        row.median.clone(),
        row.most.to_string(),
    ];
    cells.extend(row.first.split(' ').map(str::to_owned));
    cells.push(row.listeners.to_string());
    cells
}

/// What was tried on a running Matomo.
#[test]
fn five_connections_are_21_requests_that_add_up() {
    let ends = [
        (36_000, 1807),
        (36_060, 256),
        (50_000, 12_000),
        (50_001, 17),
        (80_000, 5400),
    ];
    let log: String = ends
        .iter()
        .enumerate()
        .map(|(number, (end, seconds))| {
            icecast(&format!("192.0.2.{number}"), *end, "/live.mp3", seconds)
        })
        .collect();
    let folder = Folder::with_log(log);
    let ended = import(&folder, "--log-format-name=icecast2");
    assert_eq!(ended.summary().get("imported"), 5);
    assert!(
        ended
            .out
            .contains("5 connections: 19,480 s, 5.41 hours, average 3,896 s, median 1,807 s"),
        "{ended}"
    );
    let db = rusqlite::Connection::open(folder.file("trial.sqlite")).unwrap();
    let count = |what: &str| -> i64 {
        db.query_row(
            &format!("SELECT count(*) FROM hits WHERE {what}"),
            [],
            |row| row.get(0),
        )
        .unwrap()
    };
    assert_eq!(count("1"), 21);
    assert_eq!(count("kind = 'page view' AND new_visit"), 5);
    assert_eq!(count("kind = 'event' AND e_v IS NULL"), 11);
    assert_eq!(count("kind = 'event' AND e_v > 0"), 5);
    let visits: (i64, i64) = db
        .query_row("SELECT count(*), sum(seconds) FROM visits", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(visits, (5, 19_480));
}

#[test]
fn a_log_that_only_looks_like_icecasts_has_its_listeners_in_the_report() {
    let folder = Folder::with_log(fixture("icecast2"));
    let detected = import(&folder, "").says(&["hint: ", "--log-format-name=icecast2"]);
    assert!(rows(&detected.out).is_empty(), "{detected}");
    let off = import(
        &Folder::with_log(fixture("icecast2")),
        "--listening-time=off",
    )
    .hides("hint: ");
    let named = import(
        &Folder::with_log(fixture("icecast2")),
        "--log-format-name=icecast2",
    )
    .hides("hint: ");
    let by_mount = reported(&detected.out);
    assert_eq!(by_mount.len(), 6);
    assert_eq!(by_mount, reported(&named.out));
    assert_eq!(by_mount, reported(&off.out));
    let told = rows(&named.out);
    for row in &told[..told.len() - 1] {
        assert_eq!(
            by_mount.get(&row.mount),
            Some(&numbers(row)),
            "{}",
            row.mount
        );
    }
    let hours = |ended: &Ended| {
        ended
            .out
            .split_once("hours per day (UTC)\n")
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(hours(&detected), hours(&named));
    assert!(hours(&named).contains("2,143.86"), "{named}");
}

/// So that whoever follows the hint sees no listener twice.
#[test]
fn once_its_events_are_there_they_alone_count() {
    let folder = Folder::with_log(fixture("icecast2"));
    let detected = import(&folder, "");
    let named = import(&folder, "--log-format-name=icecast2");
    assert_eq!(reported(&detected.out), reported(&named.out));
}

#[test]
fn who_is_no_listener_is_none_in_a_detected_log_either() {
    let log = [
        icecast("192.0.2.1", 7200, "/live", 3600),
        icecast("192.0.2.2", 7200, "/live", "-"),
        icecast("192.0.2.3", 7200, "/live", 5),
        icecast("10.0.0.1", 7200, "/live", 7200),
        icecast("192.0.2.4", 7200, "/admin/stats", 7200),
        icecast("192.0.2.5", 7200, "/live", 7200).replace("GET", "SOURCE"),
    ];
    let args = "--relay=10.0.0.0/8 --minimum-listening=6";
    let ended = import(&Folder::with_log(log.concat()), args);
    assert_eq!(ended.summary().get("imported"), 6);
    let found = reported(&ended.out);
    assert_eq!(found.len(), 1);
    assert_eq!(found["/live"][..2], ["1", "3600"]);
}

#[test]
fn hidden_addresses_are_listeners_of_their_own() {
    let log: String = ["a", "b", "b"]
        .iter()
        .enumerate()
        .map(|(place, digit)| icecast(&digit.repeat(32), 4000 * (place as i64 + 1), "/live", 60))
        .collect();
    let folder = Folder::with_log(log);
    let ended = import(&folder, "--log-format-name=icecast2");
    let told = rows(&ended.out);
    assert_eq!((told[0].connections, told[0].listeners), (3, 2));
    assert_eq!(reported(&ended.out)["/live"], numbers(&told[0]));
}
