//! `--verify` and `--repair`: whether Matomo has the imported lines.

use crate::listening::{SHOUTCAST_HEADER, icecast, shoutcast, sorted_hits};
use crate::support::fake::{FakeMatomo, Options};
use crate::support::stored::{assert_each_once, numbers, options, started};
use crate::support::{Ended, Folder, Program, logs};

/// A server, and a log that was imported into it.
struct Imported {
    matomo: FakeMatomo,
    folder: Folder,
}

const LINES: usize = 400;

/// Four days of a hundred lines each. The visitors of the last day have a network of their own.
fn log() -> String {
    let line = |number: usize| {
        let line = logs::line(number, 25);
        let line = line.replace("14/May", &format!("{}/May", 14 + number / 100));
        match number >= 300 {
            true => line.replacen("10.0.", "192.168.", 1),
            false => line,
        }
    };
    (0..LINES).map(line).collect()
}

impl Imported {
    fn new(options: Options) -> Self {
        Self::of(options, log())
    }

    fn of(options: Options, log: String) -> Self {
        let imported = Self {
            matomo: started(Options {
                timezone: Some("UTC"),
                ..options
            }),
            folder: Folder::with_log(log),
        };
        imported.run("").exits(0);
        assert_each_once(&imported.matomo, LINES);
        imported
    }

    fn program(&self, args: &str) -> Program {
        Program::new(&self.folder)
            .to(&self.matomo)
            .args("--idsite=1 --recorders=1 --request-timeout=2 --state-dir=state access.log")
            .args(args)
    }

    fn run(&self, args: &str) -> Ended {
        self.program(args).run()
    }

    fn delete(&self, condition: &str) {
        let delete = format!("DELETE FROM hits WHERE {condition}");
        let deleted = self.matomo.store().read(|db| db.execute(&delete, []));
        assert!(deleted.unwrap() > 0, "{condition}");
    }

    #[track_caller]
    fn finds(&self, cause: &str) {
        self.run("--verify").exits(3).prints(&[cause]);
    }

    fn questions(&self, method: &str) -> usize {
        let calls = self.matomo.log().api;
        calls.iter().filter(|call| call.method == method).count()
    }
}

#[test]
fn days_with_equal_counts_need_no_lookup() {
    let imported = Imported::new(options());
    let asked = imported.questions("Live.getLastVisitsDetails");
    let ended = imported.run("--verify").exits(0);
    ended.prints(&["400 hits of 1 logs", "4 of 4 days", "0 hits are missing"]);
    assert_eq!(imported.questions("Live.getLastVisitsDetails"), asked);
    assert_eq!(imported.questions("VisitsSummary.getActions"), 1);
}

#[test]
fn missing_hits_are_found_and_repaired() {
    let imported = Imported::new(options());
    imported.delete("url LIKE '%/page-%3' AND epoch < 1715731200");
    let sampled = imported.run("--verify").exits(3);
    let missing = [
        "3 of 4 days",
        "10 actions fewer",
        "90 hits of the other days",
        "10 hits are missing",
    ];
    sampled.prints(&missing);
    let all = imported.run("--verify=all").exits(3);
    all.prints(&missing)
        .prints(&["day 2024-05-14: 10 missing", "access.log:4"]);
    assert_eq!(
        numbers(&imported.matomo).len(),
        LINES - 10,
        "--verify sent hits"
    );

    let repaired = imported.run("--verify=all --repair").exits(0);
    assert_eq!(repaired.summary().get("imported"), 10, "{repaired}");
    assert_each_once(&imported.matomo, LINES);
    imported
        .run("--verify=all")
        .exits(0)
        .prints(&["4 of 4 days"]);
}

#[test]
fn missing_hits_without_an_address_are_found_and_repaired() {
    let log = log().replace("10.0.", "client-");
    let imported = Imported::of(options(), log);
    imported.delete("url LIKE '%/page-%3' AND epoch < 1715731200");
    let all = imported.run("--verify=all").exits(3);
    all.prints(&["10 hits are missing", "access.log:4"]);
    imported.run("--verify=all --repair").exits(0);
    assert_each_once(&imported.matomo, LINES);
}

#[test]
fn a_repair_that_is_killed_can_be_repeated() {
    // Killed before the batch is sent, and after Matomo has stored it.
    for (point, remaining) in [("after-intent:1", 3), ("after-answer:1", 0)] {
        let imported = Imported::new(options());
        imported.delete("url LIKE '%/page-%7'");
        let killed = imported
            .program("--verify=all --repair")
            .env("IMPORT_LOGS_ABORT_AT", point);
        assert_eq!(killed.run().code, None);
        imported.run("").exits(0);
        imported.run("--verify=all").exits(remaining);
        imported.run("--verify=all --repair").exits(0);
        assert_each_once(&imported.matomo, LINES);
    }
}

#[test]
fn a_sample_has_hits_of_every_network() {
    let line = |number: usize| match number % 400 {
        77 => logs::line(number, 25).replacen("10.0.", "192.168.", 1),
        _ => logs::line(number, 25),
    };
    let imported = Imported {
        matomo: started(options()),
        folder: Folder::with_log((0..2000).map(line).collect::<String>()),
    };
    imported.run("").exits(0);
    imported.delete("address LIKE '192.168.%'");
    let ended = imported.run("--verify").exits(3);
    let looked_up = |ended: &Ended| -> u64 {
        let (number, _) = ended.out.split_once(" hits of the other days").unwrap();
        number.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!((100..500).contains(&looked_up(&ended)), "{ended}");
    ended.prints(&["network 192.168.0.0/16", "0 present"]);
    let ended = imported.run("--verify=all").exits(3);
    assert_eq!(looked_up(&ended), 1995);
    ended.prints(&[
        "5 hits are missing",
        "network 192.168.0.0/16: 5 missing, 0 present",
    ]);
}

#[test]
fn hits_that_matomo_excludes_are_not_missing() {
    for count_differs in [false, true] {
        let imported = Imported::new(Options {
            excluded_ips: "192.168.0.0/16".into(),
            ..options()
        });
        imported.delete("address LIKE '192.168.%'");
        if count_differs {
            imported.delete("url LIKE '%/page-7'");
        }
        let ended = imported.run("--verify=all --repair").exits(0);
        ended.prints(&["100 hits are left out by Matomo's settings: excluded address"]);
        let expected: Vec<usize> = (0..300).collect();
        assert_eq!(numbers(&imported.matomo), expected);
    }
}

#[test]
fn hits_in_another_site_are_found_there() {
    let imported = Imported::new(Options::fixed(
        &[(1, "http://www.example.com"), (2, "http://b.example")],
        &[],
    ));
    let moved = "UPDATE hits SET idsite = 2 WHERE url LIKE '%/page-12'";
    let moved = imported.matomo.store().read(|db| db.execute(moved, []));
    assert_eq!(moved.unwrap(), 1);
    let ended = imported.run("--verify").exits(3);
    ended.prints(&["1 hits are missing", "into another site (2)"]);
}

#[test]
fn a_log_that_was_not_imported_cannot_be_verified() {
    let imported = Imported::new(options());
    let other = logs::log(10).replace("GET /", "GET /other/");
    imported.folder.write("other.log", other);
    let ended = imported.run("other.log --verify").exits(3);
    ended.says(&["other.log: no line of it is imported"]);
    assert_eq!(numbers(&imported.matomo).len(), LINES);
}

#[test]
fn without_a_ledger_nothing_can_be_verified() {
    let folder = Folder::with_log(logs::log(1));
    let run = |args: &str| Program::new(&folder).args(args).arg("access.log").run();
    for args in ["--verify", "--verify --dry-run --state-dir=state"] {
        let ended = run(&format!("--url=http://127.0.0.1:1 {args}")).exits(2);
        ended.says(&["--verify needs the --state-dir"]);
    }
    for args in ["--repair", "--verify --repair --state-dir=state"] {
        let ended = run(&format!("--url=http://127.0.0.1:1 {args}")).exits(2);
        ended.says(&["--repair needs --verify=all"]);
    }
}

#[test]
fn only_the_missing_requests_of_a_listening_session_are_sent() {
    let mut titles = SHOUTCAST_HEADER.to_owned();
    for title in 1..=6 {
        titles += &shoutcast("192.0.2.7", title * 900, "/stream?title=x", 900);
    }
    let connections = [1200, 9000, 60]
        .iter()
        .map(|seconds| {
            icecast(
                &format!("192.0.2.{}", seconds % 250),
                40_000,
                "/live",
                seconds,
            )
        })
        .collect();
    for log in [titles, connections] {
        let imported = Imported {
            matomo: started(options()),
            folder: Folder::with_log(log),
        };
        imported.run("--listening-time=events").exits(0);
        let before = sorted_hits(&imported.matomo);
        let is_last = "id IN (SELECT max(id) FROM hits GROUP BY visitor)";
        imported.delete(&format!("{is_last} OR id = (SELECT min(id) FROM hits)"));
        let ended = imported.run("--listening-time=events --verify=all --repair");
        ended.exits(0);
        assert_eq!(sorted_hits(&imported.matomo), before);
        imported
            .run("--listening-time=events --verify=all")
            .exits(0);
    }
}

#[test]
fn what_the_spam_filter_of_matomo_leaves_out_is_named() {
    // A tenth of each day is of another kind.
    let imported = |change: &dyn Fn(String) -> String| {
        let line = |number: usize| match number % 10 {
            3 => change(logs::line(number, 25)),
            _ => logs::line(number, 25),
        };
        Imported::of(options(), (0..LINES).map(line).collect())
    };
    let network = imported(&|line| line.replacen("10.0.", "192.168.", 1));
    network.delete("address LIKE '192.168.%'");
    network.finds("add those that you need to ip_allow_list");

    let headless = imported(&|line| line.replace(logs::AGENT, "Mozilla/5.0 HeadlessChrome/124"));
    headless.delete("agent LIKE '%Headless%'");
    headless.finds("TrackingSpamPrevention, part of Matomo 6, leaves out headless browsers");
}
