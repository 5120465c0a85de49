//! Transient failures: a batch is retried after the delay that the server asks for and split if it
//! is too large, and a hit that makes its batch fail is found.

use std::time::Duration;

use crate::support::fake::{FakeMatomo, Fault, Faults, Log, Options, When};

use crate::support::stored::{assert_each_once, count, numbers, options, started};
use crate::support::{Ended, Folder, Program, logs};

fn faulty(faults: Faults) -> FakeMatomo {
    started(Options {
        faults,
        ..options()
    })
}

fn script(faults: impl IntoIterator<Item = Fault>) -> FakeMatomo {
    faulty(Faults {
        script: faults.into_iter().map(Some).collect(),
        ..Faults::default()
    })
}

fn rule(when: When, fault: Fault) -> FakeMatomo {
    faulty(Faults {
        rules: vec![(when, fault)],
        ..Faults::default()
    })
}

fn import(server: &FakeMatomo, log: String, args: &str) -> Ended {
    Program::new(&Folder::with_log(log))
        .to(server)
        .args("--idsite=1 --retry-delay=0 access.log")
        .args(args)
        .run()
}

#[test]
fn retry_after_is_obeyed() {
    let server = script([Fault::Busy(503, Some("1".into()))]);
    import(&server, logs::log(20), "").exits(0);
    assert_each_once(&server, 20);
    let log = server.log().tracker;
    assert_eq!(log.len(), 2);
    let waited = log[1].began - log[0].ended.unwrap();
    assert!(
        (1.0..4.0).contains(&waited.as_secs_f64()),
        "waited {waited:?}"
    );
}

#[test]
fn retry_after_replaces_the_delay_of_an_unconfirmed_batch() {
    let server = script([Fault::Busy(502, Some("1".into()))]);
    import(&server, logs::log(20), "--retry-delay=600").exits(0);
    assert_each_once(&server, 20);
}

/// The number of requests sent in the second after a rejection, when all recorders should wait.
/// Requests within `latency` do not count, because the other recorders cannot know of it yet.
fn sent_too_early(log: &Log, rejected: usize, latency: Duration) -> usize {
    let rejected = log.tracker[rejected].ended.unwrap();
    let wait = rejected + latency..rejected + Duration::from_secs(1);
    log.tracker
        .iter()
        .filter(|call| wait.contains(&call.began))
        .count()
}

#[test]
fn all_recorders_wait_for_a_busy_server() {
    let server = script([Fault::Busy(503, Some("1".into()))]);
    let args = "--recorders=8 --recorder-max-payload-size=5";
    import(&server, logs::log_of(400, 100), args).exits(0);
    assert_each_once(&server, 400);
    assert_eq!(sent_too_early(&server.log(), 0, Duration::ZERO), 0);
}

#[test]
fn a_response_to_an_earlier_request_does_not_end_the_wait() {
    let server = started(Options {
        delay: Duration::from_millis(100),
        faults: Faults {
            script: vec![None, Some(Fault::Busy(429, Some("1".into())))],
            ..Faults::default()
        },
        ..options()
    });
    let args = "--recorders=4 --recorder-max-payload-size=5";
    import(&server, logs::log_of(200, 100), args).exits(0);
    assert_each_once(&server, 200);
    assert!(server.log().busy_peak > 1);
    assert_eq!(
        sent_too_early(&server.log(), 1, Duration::from_millis(90)),
        0
    );
}

#[test]
fn a_429_is_retried() {
    let server = script([Fault::Busy(429, None), Fault::Busy(429, None)]);
    import(&server, logs::log(20), "").exits(0);
    assert_each_once(&server, 20);
}

#[test]
fn retry_delays_double() {
    let server = script([
        Fault::Busy(503, None),
        Fault::Busy(503, None),
        Fault::Busy(503, None),
    ]);
    let args = "--retry-delay=0.2 --retry-max-attempts=4";
    import(&server, logs::log(20), args).exits(0);
    let log = server.log().tracker;
    let waits: Vec<f64> = log
        .windows(2)
        .map(|two| (two[1].began - two[0].ended.unwrap()).as_secs_f64())
        .collect();
    // Between half and all of 0.2, 0.4 and 0.8 seconds.
    for (wait, least) in waits.iter().zip([0.1, 0.2, 0.4]) {
        assert!((least..least + 2.0).contains(wait), "{waits:?}");
    }
    assert_eq!(waits.len(), 3);
}

#[test]
fn when_all_attempts_fail_the_import_stops_with_a_summary() {
    let server = rule(When::From(3), Fault::Busy(503, None));
    let args = "--recorder-max-payload-size=5 --retry-max-attempts=2";
    let ended = import(&server, logs::log(20), args)
        .exits(1)
        .says(&["503", "/piwik.php"]);
    assert_eq!(ended.summary().get("imported"), 10);
    assert_eq!(ended.summary().get("unsent"), 10);
    assert_each_once(&server, 10);
    assert_eq!(server.log().tracker.len(), 4);
}

#[test]
fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let server = rule(When::HitsAbove(30), Fault::TooLarge);
    import(&server, logs::log(500), "").exits(0);
    assert_each_once(&server, 500);
    assert!(
        server
            .log()
            .tracker
            .iter()
            .filter(|call| call.status == Some(200))
            .all(|call| call.hits <= 30)
    );
}

#[test]
fn a_web_server_with_a_small_body_limit_gets_small_bodies() {
    let server = started(Options {
        body_limit: Some(20_000),
        ..options()
    });
    import(&server, logs::log(500), "").exits(0);
    assert_each_once(&server, 500);
}

#[test]
fn a_single_hit_that_is_too_large_is_refused_and_named() {
    let long = format!("/page-{}-50", "x".repeat(900));
    let log = logs::log(50) + &logs::page(&long, 50, 25) + &logs::line(51, 25);
    let server = rule(When::UrlHolds("xxxx".into()), Fault::TooLarge);
    let ended = import(&server, log, "").exits(3).says(&["access.log:51: "]);
    assert_eq!(
        (
            ended.summary().get("imported"),
            ended.summary().get("refused")
        ),
        (51, 1)
    );
    assert!(!numbers(&server).contains(&50));
}

/// Checks that a hit that always makes the server fail is refused, and the others are stored.
fn assert_poison_is_found(fault: Fault) {
    let path = "/poison-150";
    let log: String = (0..400)
        .map(|number| match number {
            150 => logs::page(path, number, 25),
            _ => logs::line(number, 25),
        })
        .collect();
    let server = rule(When::UrlHolds(path.into()), fault);
    let ended = import(&server, log, "")
        .exits(3)
        .says(&["access.log:151: "]);
    assert_eq!(
        (
            ended.summary().get("imported"),
            ended.summary().get("refused")
        ),
        (399, 1)
    );
    let others: Vec<usize> = (0..400).filter(|number| *number != 150).collect();
    assert_eq!(numbers(&server), others);
}

#[test]
fn a_hit_that_crashes_php_is_found_and_refused() {
    assert_poison_is_found(Fault::Empty500);
}

#[test]
fn a_hit_that_makes_matomo_fail_is_found_and_refused() {
    assert_poison_is_found(Fault::RollBack);
}

#[test]
fn a_server_that_always_fails_is_not_a_poison_hit() {
    let server = rule(When::From(1), Fault::Empty500);
    let ended = import(&server, logs::log(20), "").exits(1).says(&["500"]);
    assert_eq!(count(&server), 0);
    assert_eq!(
        (
            ended.summary().get("imported"),
            ended.summary().get("refused")
        ),
        (0, 0)
    );
    assert_eq!(ended.summary().get("unsent"), 20);
}

#[test]
fn a_server_that_fails_as_a_whole_stops_the_import_at_once() {
    // The first call looks up the site.
    let mut api = vec![Some(Fault::Html(500)); 50];
    api.insert(0, None);
    let server = faulty(Faults {
        rules: vec![(When::From(3), Fault::Empty500)],
        api,
        ..Faults::default()
    });
    let args = "--recorder-max-payload-size=5 --keep-order";
    let ended = import(&server, logs::log(100), args).exits(1);
    // Neither sent again nor halved.
    assert_eq!(server.log().tracker.len(), 3, "{ended}");
    let ended = ended.says(&["asked about them now", "500", "run again with --state-dir="]);
    assert!(ended.err.starts_with("import-logs: error: "), "{ended}");
    assert!(ended.err.lines().count() <= 3, "{ended}");
    assert_eq!(ended.summary().get("imported"), 10);
    assert_each_once(&server, 10);
}

#[test]
fn a_batch_that_fails_is_halved_if_only_the_lookup_fails() {
    let mut api = vec![Some(Fault::Html(500)); 3];
    api.insert(0, None);
    let server = faulty(Faults {
        script: vec![None, Some(Fault::Empty500)],
        api,
        ..Faults::default()
    });
    let ended = import(&server, logs::log(20), "--recorder-max-payload-size=5").exits(3);
    let ended = ended.says(&["sent again, some may be counted twice"]);
    assert_eq!(ended.summary().get("imported"), 20);
    assert_each_once(&server, 20);
}

#[test]
fn the_error_comes_before_the_summary() {
    let server = rule(When::From(3), Fault::Busy(503, None));
    let folder = Folder::with_log(logs::log(20));
    let args = "--recorder-max-payload-size=5 --retry-max-attempts=1 --output=out.txt";
    Program::new(&folder)
        .to(&server)
        .args("--idsite=1 access.log")
        .args(args)
        .run()
        .exits(1);
    let text = folder.read("out.txt");
    assert!(text.starts_with("import-logs: error: "), "{text}");
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(text.contains("10 requests imported successfully"), "{text}");
}

#[test]
fn alike_messages_are_counted() {
    let busy = || Some(Fault::Busy(503, Some("2".into())));
    let server = faulty(Faults {
        script: vec![None, busy(), None, busy(), None, busy()],
        ..Faults::default()
    });
    let ended = import(&server, logs::log(20), "--recorder-max-payload-size=5").exits(0);
    assert_each_once(&server, 20);
    assert_eq!(
        ended.err.matches("trying again in 2.0 s").count(),
        1,
        "{ended}"
    );
    ended.says(&["(3 times in all)"]);
}

#[test]
fn api_calls_are_retried() {
    let server = faulty(Faults {
        api: vec![Some(Fault::Html(502)), Some(Fault::Busy(503, None)), None],
        ..Faults::default()
    });
    import(&server, logs::log(20), "").exits(0);
    assert_each_once(&server, 20);
}
