//! `--tracker-url`: hits go to several front ends of one Matomo.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use import_logs::secret::Secret;

use crate::support::clock::{LONGEST, until};
use crate::support::fake::{FakeMatomo, Fault, Faults, Options, When};
use crate::support::stored::{assert_each_once, count, numbers, options, started, text};
use crate::support::{Folder, Program, at_once, logs};

/// An import over these front ends, which are paths of one server.
fn program(folder: &Folder, server: &FakeMatomo, fronts: &[&str]) -> Program {
    let program = Program::new(folder).to(server);
    let program = program.args("--idsite=1 --retry-delay=0 --recorder-max-payload-size=10");
    let urls = fronts
        .iter()
        .map(|front| format!("--tracker-url={}{front}/", server.url()));
    urls.fold(program.arg("access.log"), Program::arg)
}

/// The visitors whose hits came to each path.
fn visitors_by_path(server: &FakeMatomo) -> BTreeMap<String, BTreeSet<String>> {
    let mut visitors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in server.log().tracker {
        let of_path = visitors.entry(call.path.clone()).or_default();
        of_path.extend(
            call.requests()
                .iter()
                .map(|hit| text(hit, "cip").to_owned()),
        );
    }
    visitors
}

#[track_caller]
fn assert_disjoint(visitors: &BTreeMap<String, BTreeSet<String>>) {
    let all: usize = visitors.values().map(BTreeSet::len).sum();
    let distinct: BTreeSet<&String> = visitors.values().flatten().collect();
    assert_eq!(all, distinct.len(), "{visitors:#?}");
}

#[test]
fn each_visitor_has_one_front_end() {
    for recorders in ["1", "2", "5", "auto"] {
        let server = started(Options {
            delay: Duration::from_millis(10),
            ..options()
        });
        let folder = Folder::with_log(logs::log_of(400, 60));
        let program = program(&folder, &server, &["a", "b"]);
        program
            .arg(format!("--recorders={recorders}"))
            .run()
            .exits(0);
        assert_each_once(&server, 400);
        let visitors = visitors_by_path(&server);
        let paths: Vec<&str> = visitors.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/a/piwik.php", "/b/piwik.php"], "{recorders}");
        assert_disjoint(&visitors);
        let log = server.log();
        assert!(
            log.api.iter().all(|call| call.path == "/"),
            "API calls go to --url"
        );
        assert!(log.busy_peak >= 2 || recorders == "auto", "{recorders}");
    }
}

#[test]
fn a_tracker_may_have_another_address_than_the_api() {
    let (api, tracker) = (started(options()), started(options()));
    let folder = Folder::with_log(logs::log(50));
    let token = api.token().expose().to_owned();
    // Each server has a token of its own, so the tracker refuses that of the API.
    Program::new(&folder)
        .to(&api)
        .args("--idsite=1 access.log --tracker-endpoint-path=js/tracker.php")
        .arg(format!("--tracker-url={}matomo/piwik.php", tracker.url()))
        .run()
        .exits(1)
        .hides(&token);
    assert_eq!(api.log().tracker.len(), 0);
    let calls = tracker.log().tracker;
    assert!(
        calls
            .iter()
            .all(|call| call.path == "/matomo/js/tracker.php"),
        "{calls:?}"
    );
    assert!(!calls.is_empty() && tracker.log().api.is_empty());
}

#[test]
fn a_front_end_that_fails_for_a_while_loses_nothing() {
    let faults = vec![
        Fault::RollBack,
        Fault::Deadlock,
        Fault::Busy(503, None),
        Fault::Html(502),
        Fault::CommitHtml(502),
        Fault::CommitClose,
        Fault::Refuse,
    ];
    at_once(faults, |fault| {
        let what = format!("{fault:?}");
        let server = started(Options {
            delay: Duration::from_millis(5),
            ..options()
        });
        // The other front end works.
        server.set_faults(Faults {
            rules: vec![(When::PathBegins("/b/".into()), fault)],
            ..Faults::default()
        });
        let folder = Folder::with_log(logs::log_of(400, 60));
        let running = program(&folder, &server, &["a", "b"])
            .args("--retry-max-attempts=100 --retry-delay=0.1 --request-timeout=1.5 --quiet")
            .start();
        let calls = |path: &str| {
            let log = server.log().tracker;
            log.iter()
                .filter(|call| call.path.starts_with(path))
                .count()
        };
        assert!(until(LONGEST, || calls("/b/") >= 3), "{what}");
        server.set_faults(Faults::default());
        running.end().exits(0);
        assert_each_once(&server, 400);
        let visitors = visitors_by_path(&server);
        assert_eq!(visitors.len(), 2, "{what}");
        assert_disjoint(&visitors);
    });
}

/// Hits that one front end fails on are not refused because another one accepts others.
#[test]
fn a_front_end_that_keeps_failing_stops_the_import_and_can_be_left_out() {
    let server = started(Options {
        delay: Duration::from_millis(5),
        ..options()
    });
    let folder = Folder::with_log(logs::line(0, 300));
    let run = |fronts: &[&str]| {
        let program = program(&folder, &server, fronts);
        program
            .args("--retry-max-attempts=2 --request-timeout=1.5 --state-dir=state")
            .run()
    };
    // The first hit of a day goes alone. The other front end is the one that fails.
    run(&["a", "b"]).exits(0);
    let (good, bad) = match server.log().tracker[0].path.starts_with("/a/") {
        true => ("a", "b"),
        false => ("b", "a"),
    };
    server.set_faults(Faults {
        rules: vec![(When::PathBegins(format!("/{bad}/")), Fault::RollBack)],
        ..Faults::default()
    });
    folder.write("access.log", logs::log_of(2000, 300));
    let failed = run(&["a", "b"]).exits(1);
    assert!(
        failed.err.contains(&format!("/{bad}/piwik.php")),
        "{failed}"
    );
    assert_eq!(failed.summary().get("refused"), 0, "{failed}");
    assert!((2..2000).contains(&count(&server)), "{failed}");
    run(&[good]).exits(0);
    assert_each_once(&server, 2000);
}

#[test]
fn a_front_end_at_a_wrong_address_stops_the_import_at_once() {
    let server = started(Options {
        faults: Faults {
            rules: vec![(When::PathBegins("/b/".into()), Fault::Html(404))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(logs::log_of(400, 60));
    let ended = program(&folder, &server, &["a", "b"]).run().exits(1);
    let ended = ended.says(&["check --tracker-url and --tracker-endpoint-path"]);
    let log = server.log().tracker;
    let wrong = log
        .iter()
        .filter(|call| call.path.starts_with("/b/"))
        .count();
    assert_eq!(wrong, 1, "{ended}");
}

#[test]
fn what_a_front_end_loses_is_sent_to_it_again() {
    let server = started(Options {
        delay: Duration::from_millis(20),
        ..options()
    });
    let log: String = (0..600)
        .map(|number| {
            let day = format!("{:02}/May", 1 + number % 3);
            logs::line(number, 60).replace("14/May", &day)
        })
        .collect();
    let folder = Folder::with_log(log);
    program(&folder, &server, &["a", "b", "c"]).run().exits(0);
    assert_eq!(numbers(&server), (0..600).collect::<Vec<_>>());
    assert_disjoint(&visitors_by_path(&server));
}

#[test]
fn passwords_in_addresses_of_front_ends_are_hidden() {
    let server = started(Options {
        basic_auth: Some(("joe".to_owned(), Secret::new("pass word/1"))),
        ..options()
    });
    let folder = Folder::with_log(logs::log(20));
    let url = server
        .url()
        .replace("http://", "http://joe:pass%20word%2F1@");
    Program::new(&folder)
        .env("MATOMO_TOKEN_AUTH", server.token().expose())
        .secret("pass word")
        .secret("pass%20word")
        .arg(format!("--url={url}"))
        .arg(format!("--tracker-url={url}a/"))
        .arg(format!("--tracker-url={url}b/"))
        .args("--idsite=1 -dd access.log")
        .run()
        .exits(0);
    assert_each_once(&server, 20);
    let wrong = url.replace("joe", "jim");
    Program::new(&folder)
        .env("MATOMO_TOKEN_AUTH", server.token().expose())
        .secret("pass word")
        .secret("pass%20word")
        .arg(format!("--url={url}"))
        .arg(format!("--tracker-url={wrong}a/"))
        .args("--idsite=1 -dd access.log")
        .run()
        .exits(1);
    let shown = Program::new(&folder)
        .env("MATOMO_TOKEN_AUTH", server.token().expose())
        .secret("pass word")
        .secret("pass%20word")
        .arg(format!("--url={url}"))
        .arg(format!("--tracker-url={url}a/"))
        .args("--idsite=1 --show-options access.log")
        .run()
        .exits(0);
    assert!(
        shown.out.contains("--tracker-url=http://joe:***@"),
        "{shown}"
    );
    Program::new(&folder)
        .to(&server)
        .secret("pass%20word")
        .args("--idsite=1 access.log --tracker-url=ftp://joe:pass%20word@a.example/")
        .run()
        .exits(2)
        .says(&["--tracker-url=", "only http and https"]);
}

/// The front end may be another Matomo, which does not have the site.
#[test]
fn a_front_end_that_accepts_nothing_stops_the_import() {
    let all = When::PathBegins("/b/".into());
    let server = started(Options {
        faults: Faults {
            rules: vec![(
                all,
                Fault::Answer(200, r#"{"status":"success","tracked":0,"invalid":10}"#),
            )],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(logs::log_of(400, 60));
    let ended = program(&folder, &server, &["a", "b"])
        .args("--recorders=2 --state-dir=state")
        .run()
        .exits(1);
    assert!(!ended.err.contains("refused by Matomo"), "{ended}");
    let of_b = visitors_by_path(&server)["/b/piwik.php"].len();
    assert!(of_b <= 20, "{of_b} visitors were sent to it");
}

#[test]
fn a_dry_run_and_the_sandbox_need_no_front_end() {
    let server = started(options());
    let folder = Folder::with_log(logs::log(20));
    program(&folder, &server, &["a", "b"])
        .arg("--dry-run")
        .run()
        .exits(0);
    assert_eq!(server.log().tracker.len(), 0);
    Program::new(&folder)
        .args("--sandbox --tracker-url=http://a.example access.log")
        .run()
        .exits(2)
        .says(&["--sandbox and --tracker-url cannot be used together"]);
    let many = " --tracker-url=http://a.example".repeat(65);
    Program::new(&folder)
        .to(&server)
        .args(&many)
        .arg("access.log")
        .run()
        .exits(2)
        .says(&["--tracker-url is given 65 times: give at most 64"]);
}
