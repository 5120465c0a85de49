//! The listening summary and the sandbox's view `listening` agree, whether the format is named or
//! detected.

use std::collections::BTreeMap;

use super::{PLAYER, icecast, rows};
use crate::support::folder::fixture;
use crate::support::{Ended, Folder, Program};

fn import(folder: &Folder, args: &str) -> Ended {
    Program::new(folder)
        .args("--sandbox=trial.sqlite --report=report.json")
        .args(args)
        .arg("access.log")
        // Hints are for people.
        .on_terminal(80)
        .run()
        .exits(0)
}

/// Sessions, seconds and listeners by mount point in the sandbox's view `listening`.
fn stored_listening(folder: &Folder) -> BTreeMap<String, (u64, u64, u64)> {
    let db = rusqlite::Connection::open(folder.file("trial.sqlite")).unwrap();
    let mut query = db
        .prepare(
            "SELECT mount, count(*), sum(seconds), count(DISTINCT listener)
             FROM listening GROUP BY mount",
        )
        .unwrap();
    let number =
        |row: &rusqlite::Row, column| -> u64 { row.get::<_, i64>(column).unwrap().unsigned_abs() };
    let rows = query.query_map([], |row| {
        Ok((
            row.get(0)?,
            (number(row, 1), number(row, 2), number(row, 3)),
        ))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The same figures in the report.
fn reported_listening(folder: &Folder) -> BTreeMap<String, (u64, u64, u64)> {
    let rows = rows(folder).into_iter();
    let mounts = rows.filter(|row| !row.mount.is_empty());
    mounts
        .map(|row| (row.mount, (row.sessions, row.seconds, row.listeners)))
        .collect()
}

/// The text of the listening summary.
fn listening_summary(ended: &Ended) -> &str {
    let (_, part) = ended.out.split_once("\nListening summary\n").unwrap();
    part.split_once("\nSandbox report\n").unwrap().0
}

/// The same example was imported into a real Matomo.
#[test]
fn five_sessions_are_21_requests() {
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
    let all = rows(&folder).remove(0);
    assert_eq!((all.sessions, all.seconds, all.median), (5, 19_480, 1807.0));
    let texts = [" 5.41\n", " 1:04:56, median 0:30:07\n"];
    assert!(texts.iter().all(|text| ended.out.contains(text)), "{ended}");
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
fn a_detected_icecast_log_has_a_listening_summary() {
    let run = |args: &str| {
        let folder = Folder::with_log(fixture("icecast2"));
        let ended = import(&folder, args);
        (
            ended,
            stored_listening(&folder),
            reported_listening(&folder),
        )
    };
    let (detected, stored, _) = run("");
    let (named, stored_events, reported) = run("--log-format-name=icecast2");
    let (off, stored_off, reported_off) = run("--listening-time=off");
    assert_eq!(listening_summary(&detected), listening_summary(&named));
    assert!(listening_summary(&named).contains("2143.86"), "{named}");
    // The lines of the 14th of May have the offset of a summer.
    for text in [
        "2024-05-13 to 2024-05-14, time zone UTC+02:00",
        "\n    2024-05-14   357.44 ",
    ] {
        assert!(listening_summary(&named).contains(text), "{named}");
    }
    assert_eq!(reported.len(), 6);
    assert_eq!(reported, stored_events);
    assert_eq!(stored_events, stored);
    assert_eq!(stored, stored_off);
    assert!(reported_off.is_empty(), "{off}");
    detected.says(&["hint: ", "--log-format-name=icecast2"]);
    named.hides("hint: ");
    off.hides("hint: ");
}

/// A user who follows the hint counts no listener twice.
#[test]
fn events_replace_the_sessions_of_an_earlier_run() {
    let folder = Folder::with_log(fixture("icecast2"));
    import(&folder, "");
    let detected = stored_listening(&folder);
    import(&folder, "--log-format-name=icecast2");
    assert_eq!(detected, stored_listening(&folder));
}

#[test]
fn only_listeners_count_in_a_detected_log() {
    let log = [
        icecast("192.0.2.1", 7200, "/live", 3600),
        icecast("192.0.2.2", 7200, "/live", "-"),
        icecast("192.0.2.3", 7200, "/live", 5),
        icecast("10.0.0.1", 7200, "/live", 7200),
        icecast("192.0.2.4", 7200, "/admin/stats", 7200),
        icecast("192.0.2.5", 7200, "/live", 7200).replace("GET", "SOURCE"),
    ];
    let args = "--relay=10.0.0.0/8 --minimum-listening=6";
    let folder = Folder::with_log(log.concat());
    let ended = import(&folder, args);
    assert_eq!(ended.summary().get("imported"), 6);
    let only = BTreeMap::from([("/live".to_owned(), (1, 3600, 1))]);
    assert_eq!(reported_listening(&folder), only);
    assert_eq!(stored_listening(&folder), only);
    let unmeasured = "\n        1 sessions without usable duration";
    assert!(listening_summary(&ended).contains(unmeasured), "{ended}");
}

/// The number is nginx's seconds or Apache's microseconds (`%D`).
#[test]
fn a_web_log_that_ends_in_a_number_has_no_listening_summary() {
    for (numbers, length) in [([0, 1, 3, 65], 20_480), ([1503, 48_211, 250_123, 88], 5120)] {
        let pages = ["/", "/about", "/shop/cart", "/blog/a.html"].into_iter();
        let log: String = pages
            .zip(numbers)
            .map(|(page, number)| {
                icecast("192.0.2.1", 7200, page, number)
                    .replace(PLAYER, "Mozilla/5.0 (X11; Linux x86_64) Firefox/125.0")
                    .replace(" 16000 ", &format!(" {length} "))
            })
            .collect();
        let run = |args: &str| {
            let folder = Folder::with_log(&log);
            let ended = import(&folder, args);
            assert_eq!(ended.summary().get("imported"), 4);
            let has_summary = ended.out.contains("Listening summary");
            (has_summary, stored_listening(&folder).is_empty(), ended)
        };
        for args in ["", "--listening-time=events", "--listening-time=off"] {
            let (has_summary, has_no_sessions, ended) = run(args);
            assert!(!has_summary && has_no_sessions, "{ended}");
            assert_eq!(
                ended.err.contains("--log-format-name=icecast2"),
                args == "--listening-time=events",
                "{ended}"
            );
        }
    }
}

#[test]
fn one_mount_point_has_one_row_and_relays_have_none() {
    let relay = |seconds: i64| {
        icecast("192.0.2.9", 7200, "/live", seconds).replace(PLAYER, "Icecast 2.4.4")
    };
    let log = [
        icecast("192.0.2.1", 7200, "/live", 60),
        icecast("192.0.2.2", 7200, "//live/;?x", 60),
        icecast("192.0.2.3", 7200, "/live;stream.mp3", 60),
        icecast("192.0.2.4", 7200, "/live.m3u", 60),
        icecast("192.0.2.5", 7200, "/", 60),
        icecast("192.0.2.6", 7200, "/live", 60).replace("GET", "HEAD"),
        relay(5400),
        relay(3600),
        relay(3600).replace("/live", "/status-json.xsl"),
    ];
    let live = |figures| BTreeMap::from([("/live".to_owned(), figures)]);
    let (without_relays, with_relays) = (live((3, 180, 3)), live((5, 9180, 4)));
    for args in ["", "--log-format-name=icecast2"] {
        let folder = Folder::with_log(log.concat());
        let ended = import(&folder, args);
        assert_eq!(reported_listening(&folder), without_relays);
        assert_eq!(stored_listening(&folder), without_relays);
        let relays = "\n        2 lines of relays, 2.50 hours";
        assert!(listening_summary(&ended).contains(relays), "{ended}");

        let folder = Folder::with_log(log.concat());
        let ended = import(&folder, &format!("--enable-relays {args}"));
        assert_eq!(reported_listening(&folder), with_relays);
        assert_eq!(stored_listening(&folder), with_relays);
        assert!(!listening_summary(&ended).contains("relays"), "{ended}");
    }
}

#[test]
fn listeners_with_hidden_addresses_are_distinct() {
    let log: String = ["a", "b", "b"]
        .iter()
        .enumerate()
        .map(|(place, digit)| icecast(&digit.repeat(32), 4000 * (place as i64 + 1), "/live", 60))
        .collect();
    let folder = Folder::with_log(log);
    import(&folder, "--log-format-name=icecast2");
    let expected = BTreeMap::from([("/live".to_owned(), (3, 180, 2))]);
    assert_eq!(reported_listening(&folder), expected);
    assert_eq!(stored_listening(&folder), expected);
}
