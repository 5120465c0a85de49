//! Matomo refuses requests: unknown sites, wrong tokens, invalid or lost hits, disabled bulk
//! tracking.

use std::time::Duration;

use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Options, Tokens, When};
use import_logs::secret::Secret;
use serde_json::json;

use crate::support::stored::{assert_each_once, count, numbers, options, started};
use crate::support::{Ended, Folder, Program, logs, until};

fn import(server: &FakeMatomo, args: &str) -> Ended {
    let folder = Folder::with_log(logs::log(20));
    Program::new(&folder)
        .to(server)
        .args("--retry-delay=0 access.log")
        .args(args)
        .run()
}

/// Imports with this token instead of the server's own.
fn import_as(server: &FakeMatomo, token: &str, args: &str) -> Ended {
    Program::new(&Folder::with_log(logs::log(20)))
        .arg(format!("--url={}", server.url()))
        .env("MATOMO_TOKEN_AUTH", token)
        .secret(token)
        .args("--idsite=1 --retry-delay=0 access.log")
        .args(args)
        .run()
}

fn faulty(faults: Faults) -> FakeMatomo {
    started(Options {
        faults,
        ..options()
    })
}

fn always(fault: Fault) -> FakeMatomo {
    faulty(Faults {
        rules: vec![(When::From(1), fault)],
        ..Faults::default()
    })
}

#[test]
fn an_unknown_site_stops_before_anything_is_sent() {
    let server = started(options());
    let ended = import(&server, "--idsite=99")
        .exits(1)
        .says(&["site 99 does not exist, or this token may not see it"]);
    assert_eq!(ended.out, "");
    assert!(server.log().tracker.is_empty());
}

#[test]
fn a_bad_token_stops_before_anything_is_sent() {
    let server = started(options());
    let ended = import_as(&server, "ffffffffffffffffffffffffffffffff", "");
    let says = ["error: ", "the token is wrong or has expired"];
    assert_eq!(ended.exits(1).says(&says).out, "");
    assert!(server.log().tracker.is_empty());
}

#[test]
fn a_missing_token_stops_the_import_with_a_hint() {
    let server = started(options());
    let ended = Program::new(&Folder::with_log(logs::log(20)))
        .arg(format!("--url={}", server.url()))
        .args("--idsite=1 access.log")
        .run()
        .exits(1)
        .says(&["--token-auth-file"]);
    assert_eq!(ended.out, "");
    assert_eq!(count(&server), 0);
}

#[test]
fn a_token_with_only_view_access_stops_the_import() {
    let view = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
    let tokens = Tokens {
        view: Some(Secret::new(view)),
        ..Tokens::default()
    };
    let server = started(Options {
        tokens,
        ..options()
    });
    let ended = import_as(&server, view, "")
        .exits(1)
        .says(&["refused all 20 hits", "token"]);
    assert_eq!(ended.summary().get("imported"), 0);
    assert_eq!(ended.summary().get("unsent"), 20);
    assert_eq!(count(&server), 0);
    assert_eq!(server.log().tracker.len(), 1);
}

#[test]
fn a_400_suggests_that_bulk_tracking_is_disabled() {
    let server = always(Fault::Html(400));
    let ended = import(&server, "--idsite=1")
        .exits(1)
        .says(&["400", "BulkTracking"]);
    assert_eq!(ended.summary().get("imported"), 0);
    assert_eq!(count(&server), 0);
    assert_eq!(server.log().tracker.len(), 1);
}

#[test]
fn a_413_for_a_small_request_is_retried() {
    let server = faulty(Faults {
        script: vec![None, Some(Fault::TooLarge), None, Some(Fault::TooLarge)],
        ..Faults::default()
    });
    let ended = import(&server, "--idsite=1 --recorder-max-payload-size=1").exits(0);
    assert_eq!(ended.summary().get("imported"), 20);
    assert_each_once(&server, 20);
}

#[test]
fn a_proxy_that_answers_413_to_everything_stops_the_import() {
    for args in ["", "--recorder-max-payload-size=1"] {
        let server = always(Fault::TooLarge);
        let ended = import(&server, &format!("--idsite=1 {args}"))
            .exits(1)
            .says(&["413"]);
        let summary = ended.summary();
        assert_eq!((summary.get("refused"), summary.get("unsent")), (0, 20));
    }
}

#[test]
fn a_hit_that_always_gets_413_is_refused_if_others_are_accepted() {
    let server = faulty(Faults {
        rules: vec![(When::UrlHolds("page-7".to_owned()), Fault::TooLarge)],
        ..Faults::default()
    });
    let ended = import(&server, "--idsite=1")
        .exits(3)
        .says(&["access.log:8"]);
    assert_eq!(ended.summary().get("refused"), 1);
    assert_eq!(count(&server), 19);
}

#[test]
fn a_400_during_an_import_stops_all_recorders() {
    let server = faulty(Faults {
        rules: vec![(When::From(5), Fault::Html(400))],
        ..Faults::default()
    });
    let folder = Folder::with_log(logs::log_of(4000, 200));
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorders=8 --recorder-max-payload-size=10 access.log")
        .run()
        .exits(1)
        .says(&["BulkTracking"]);
    // The first hits of the day, and three full batches.
    assert_eq!(ended.summary().get("imported"), 33);
    assert_eq!(count(&server), 33);
    assert!(ended.summary().get("unsent") > 0);
}

#[test]
fn a_hit_that_gets_400_is_refused_once_others_were_accepted() {
    let rejected = Fault::Answer(400, r#"{"status":"error","tracked":0,"invalid":0}"#);
    let wrong = ["page-6", "page-7", "page-12", "page-19"];
    let server = faulty(Faults {
        rules: wrong
            .map(|page| (When::UrlHolds(page.to_owned()), rejected.clone()))
            .to_vec(),
        ..Faults::default()
    });
    let folder = Folder::with_log(logs::log(20));
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --keep-order --recorder-max-payload-size=5 access.log")
        .args("--retry-delay=60 --rejects=rejects.log")
        .run()
        .exits(3)
        .says(&[
            "access.log:7: the server rejects it",
            "access.log:8:",
            "access.log:13:",
            "access.log:20:",
        ]);
    assert_eq!(ended.summary().get("refused"), 4);
    assert_eq!(ended.summary().get("imported"), 16);
    let kept = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18];
    assert_eq!(numbers(&server), kept);
    let rejects = folder.read("rejects.log");
    for page in wrong {
        assert!(rejects.contains(page), "{page}: {rejects}");
    }
}

#[test]
fn a_server_that_rejects_everything_stops_a_pipe_after_three_hits() {
    // Each hit is a batch of its own.
    let server = faulty(Faults {
        rules: vec![(When::From(3), Fault::Html(400))],
        ..Faults::default()
    });
    let mut running = Program::new(&Folder::new())
        .to(&server)
        .args("--idsite=1 --log-format-name=ncsa_extended --flush-interval=0.01 -")
        .start();
    for number in 0..12 {
        running.write(&logs::line(number, 25));
        let sent = || server.log().tracker.len() > number || number > 5;
        until(Duration::from_secs(10), sent);
    }
    let ended = running.end().exits(1);
    assert_eq!(ended.summary().get("imported"), 2);
    assert_eq!(ended.summary().get("refused"), 3);
    assert_eq!(count(&server), 2);
}

#[test]
fn a_rejected_hit_is_found_without_the_visitor_log() {
    let rejected = Fault::Answer(400, r#"{"status":"error","tracked":0,"invalid":0}"#);
    let server = started(Options {
        live: Live::Closed,
        faults: Faults {
            rules: vec![(When::UrlHolds("page-12".to_owned()), rejected)],
            ..Faults::default()
        },
        ..options()
    });
    let args = "--idsite=1 --keep-order --recorder-max-payload-size=5 --in-doubt=skip";
    let ended = import(&server, args).exits(3);
    assert_eq!(ended.summary().get("refused"), 1);
    assert_eq!(ended.summary().get("in_doubt"), 0);
    assert_eq!(count(&server), 19);
}

#[test]
fn the_reasons_of_matomo_for_refused_hits_are_printed() {
    let failure = |site: &str, problem: &str| {
        json!({
            "idsite": site, "idfailure": "1", "problem": problem, "solution": "Check\u{1b}[31m it.",
            "request_url": "token_auth=x",
        })
    };
    let failures = vec![
        failure("7", "The site does not exist."),
        failure("7", "The site does not exist."),
        failure("1", &"long ".repeat(1000)),
    ];
    let faults = Faults {
        script: vec![Some(Fault::Invalid(vec![3]))],
        ..Faults::default()
    };
    let server = started(Options {
        faults,
        tracking_failures: failures.clone(),
        ..options()
    });
    let ended = import(&server, "--idsite=1").exits(3).says(&[
        "Matomo refused hits of site 7 in the last two days: The site does not exist. Check",
        "of site 1 in the last two days: long long",
    ]);
    let lines = ended.err.lines().filter(|line| line.contains("two days"));
    assert_eq!(lines.clone().count(), 2, "{ended}");
    assert!(
        lines
            .clone()
            .all(|line| line.len() < 600 && !line.contains('\u{1b}'))
    );

    // Nothing was refused, so nothing is asked.
    let server = started(Options {
        tracking_failures: failures,
        ..options()
    });
    import(&server, "--idsite=1").exits(0).hides("two days");
}

#[test]
fn disabled_tracking_is_not_a_success() {
    let server = always(Fault::Nothing);
    let ended = import(&server, "--idsite=1")
        .exits(1)
        .says(&["recorded none"]);
    assert_eq!(ended.summary().get("imported"), 0);
}

#[test]
fn refused_hits_are_counted_and_named() {
    let server = faulty(Faults {
        script: vec![None, Some(Fault::Invalid(vec![0, 3]))],
        ..Faults::default()
    });
    let ended = import(&server, "--idsite=1 --recorder-max-payload-size=10")
        .exits(3)
        .says(&["access.log:11: refused", "access.log:14: refused"]);
    assert_eq!(ended.summary().get("imported"), 18);
    assert_eq!(ended.summary().get("refused"), 2);
    let stored: Vec<usize> = (0..20)
        .filter(|number| ![10, 13].contains(number))
        .collect();
    assert_eq!(numbers(&server), stored);
}

/// A token with write access to the site that is not a super user's.
const WRITE: &str = "dddddddddddddddddddddddddddddddd";

/// A server that also accepts [`WRITE`].
fn writable(script: Vec<Option<Fault>>) -> FakeMatomo {
    started(Options {
        tokens: Tokens {
            write: Some(Secret::new(WRITE)),
            ..Tokens::default()
        },
        faults: Faults {
            script,
            ..Faults::default()
        },
        ..options()
    })
}

#[test]
fn refused_hits_are_counted_without_a_super_users_token() {
    let server = writable(vec![Some(Fault::Invalid(vec![0, 3]))]);
    let ended = import_as(&server, WRITE, "")
        .exits(3)
        .says(&["2 of the 20 hits of access.log:1-20 were refused"]);
    assert_eq!(ended.summary().get("imported"), 18);
    assert_eq!(ended.summary().get("refused"), 2);
}

#[test]
fn a_completely_refused_batch_is_named_with_any_token() {
    let server = writable(vec![None, Some(Fault::Invalid(vec![0, 1]))]);
    let rejects = Folder::new();
    let file = rejects.file("rejects");
    let args = format!("--recorder-max-payload-size=2 --rejects={}", file.display());
    let ended = import_as(&server, WRITE, &args)
        .exits(3)
        .says(&["access.log:3: refused", "access.log:4: refused"]);
    assert_eq!(ended.summary().get("imported"), 18);
    assert_eq!(ended.summary().get("refused"), 2);
    let rejects = rejects.read("rejects");
    assert!(rejects.contains(&logs::line(2, 25)) && rejects.contains(&logs::line(3, 25)));
}

#[test]
fn a_token_that_expires_stops_the_import_without_losing_a_line() {
    let server = faulty(Faults {
        token_holds: Some(1),
        ..Faults::default()
    });
    let folder = Folder::with_log(logs::log(20));
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorder-max-payload-size=5 access.log")
        .run()
        .exits(1)
        .says(&["refused all 5 hits of access.log:6-10", "token"]);
    assert_eq!(ended.summary().get("imported"), 5);
    assert_eq!(ended.summary().get("refused"), 0);
    assert_eq!(ended.summary().get("unsent"), 15);
}

#[test]
fn hits_that_the_server_lost_are_counted() {
    let server = faulty(Faults {
        script: vec![Some(Fault::Lost(3))],
        ..Faults::default()
    });
    let ended = import(&server, "--idsite=1")
        .exits(3)
        .says(&["3 hits fewer than the 20"]);
    assert_eq!(ended.summary().get("imported"), 17);
    assert_eq!(ended.summary().get("lost"), 3);
    assert_eq!(count(&server), 17);
}

#[test]
fn text_before_the_trackers_json_is_reported_once_and_is_not_a_failure() {
    let server = always(Fault::Warnings);
    let ended = import(&server, "--idsite=1 --recorder-max-payload-size=5").exits(0);
    assert_eq!(
        ended.err.matches("Undefined array key").count(),
        1,
        "{ended}"
    );
    assert_each_once(&server, 20);
}

#[test]
fn maintenance_of_matomo_is_reported() {
    let server = faulty(Faults {
        maintenance: true,
        ..Faults::default()
    });
    let ended = import(&server, "--idsite=1").exits(1).says(&["503"]);
    assert_eq!(ended.out, "");
    assert!(server.log().tracker.is_empty());
}
