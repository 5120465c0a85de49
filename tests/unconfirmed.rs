//! If a response is lost or unusable, the program asks Matomo which hits it has, and stores no hit
//! twice.

use std::time::{Duration, Instant};

use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Mask, Options};

use crate::support::stored::{assert_each_once, number, numbers, options, seen_through, started};
use crate::support::{Ended, Folder, Program, logs};

/// A server with this fault in the second batch, and with this access to its visitor log.
fn faulty(live: Live, fault: Fault) -> FakeMatomo {
    started(Options {
        faults: in_second_batch(fault),
        ..seen_through(live)
    })
}

/// A server with this fault in the second batch that does not anonymize addresses.
fn with_full_addresses(fault: Fault) -> FakeMatomo {
    started(Options {
        faults: in_second_batch(fault),
        mask: Mask::Off,
        ..options()
    })
}

fn in_second_batch(fault: Fault) -> Faults {
    Faults {
        script: vec![None, Some(fault)],
        ..Faults::default()
    }
}

/// Imports sixty lines in batches of twenty.
fn import(server: &FakeMatomo, args: &str) -> Ended {
    import_log(server, logs::log(60), args)
}

fn import_log(server: &FakeMatomo, log: String, args: &str) -> Ended {
    let ended = Program::new(&Folder::with_log(log))
        .to(server)
        .args("--idsite=1 --recorder-max-payload-size=20 --retry-delay=0 --request-timeout=1")
        .args("access.log")
        .args(args)
        .run();
    assert!(server.wait_idle(Duration::from_secs(10)));
    ended
}

/// Checks that each hit is stored once and the run succeeds, whatever happens to the second batch.
#[track_caller]
fn assert_all_stored_once(fault: Fault) -> FakeMatomo {
    assert_server_stores_all_once(faulty(Live::Open, fault))
}

#[track_caller]
fn assert_server_stores_all_once(server: FakeMatomo) -> FakeMatomo {
    let ended = import(&server, "").exits(0);
    assert_eq!(ended.summary().get("imported"), 60, "{ended}");
    assert_each_once(&server, 60);
    let asked = server
        .log()
        .api
        .into_iter()
        .any(|call| call.method == "Live.getLastVisitsDetails");
    assert!(asked, "Matomo was not asked");
    server
}

#[test]
fn a_connection_closed_after_storing_doubles_nothing() {
    let server = assert_all_stored_once(Fault::CommitClose);
    assert_eq!(server.log().sent().len(), 60, "hits were sent again");
}

#[test]
fn a_timeout_after_storing_doubles_nothing() {
    let server = assert_all_stored_once(Fault::CommitStall(Duration::from_secs(3)));
    assert_eq!(server.log().sent().len(), 60, "hits were sent again");
}

#[test]
fn half_a_response_doubles_nothing() {
    assert_all_stored_once(Fault::HalfJson);
}

#[test]
fn a_gateway_timeout_after_storing_doubles_nothing() {
    assert_all_stored_once(Fault::CommitHtml(504));
}

#[test]
fn hits_without_an_address_are_looked_up_by_visitor_id() {
    for mask in [Mask::default(), Mask::Off] {
        let server = started(Options {
            faults: in_second_batch(Fault::CommitClose),
            mask,
            ..options()
        });
        let ended = import_log(&server, logs::named(60, 25), "").exits(0);
        let ended = ended.prints(&["60 lines without an address"]);
        assert_eq!(ended.summary().get("imported"), 60, "{ended}");
        assert_each_once(&server, 60);
        let asked = server.log().api.into_iter().any(|call| {
            let segment = call.form.get("segment");
            segment.is_some_and(|segment| segment.contains("visitorId=="))
        });
        assert!(asked, "Matomo was not asked");
        assert_eq!(server.log().sent().len(), 60, "hits were sent again");
    }
}

#[test]
fn a_connection_closed_before_the_body_loses_nothing() {
    assert_all_stored_once(Fault::Refuse);
}

#[test]
fn a_connection_closed_within_the_body_loses_nothing() {
    assert_all_stored_once(Fault::CloseInBody);
}

#[test]
fn a_timeout_without_storing_loses_nothing() {
    assert_all_stored_once(Fault::Stall(Duration::from_secs(3)));
}

#[test]
fn a_rollback_loses_nothing() {
    assert_all_stored_once(Fault::RollBack);
}

#[test]
fn only_the_half_lost_in_a_deadlock_is_sent_again() {
    let server = assert_all_stored_once(Fault::Deadlock);
    let sent: Vec<usize> = server.log().sent().iter().map(number).collect();
    assert_eq!(
        sent.len(),
        60 + 10,
        "more or less than the lost half was sent again"
    );
}

#[test]
fn anonymized_addresses_are_looked_up_without_urls() {
    for fault in [Fault::CommitClose, Fault::Deadlock] {
        let server = assert_all_stored_once(fault);
        let by_url = |segment: &String| segment.contains("actionUrl");
        let calls = server.log().api;
        let mut segments = calls.iter().filter_map(|call| call.form.get("segment"));
        assert!(!segments.any(by_url));
    }
}

#[test]
fn hits_whose_dates_matomo_replaces_by_now_are_found() {
    let server = faulty(Live::Open, Fault::CommitClose);
    // Less than a day ahead, so the program sends it and Matomo replaces it.
    let date = chrono::Utc::now() + chrono::TimeDelta::hours(23);
    let date = date.format("[%d/%b/%Y:%H:").to_string();
    let log = logs::log(60).replace("[14/May/2024:00:", &date);
    import_log(&server, log, "").exits(0);
    assert_each_once(&server, 60);
}

#[test]
fn an_unusable_lookup_response_decides_nothing() {
    for odd in [Fault::Html(200), Fault::Html(404), Fault::HalfJson] {
        let server = started(Options {
            faults: Faults {
                script: vec![None, Some(Fault::CommitClose)],
                // The first call looks up the site.
                api: vec![None, Some(odd)],
                ..Faults::default()
            },
            ..options()
        });
        import(&server, "").exits(0);
        assert_each_once(&server, 60);
    }
}

#[test]
fn hits_that_a_long_visit_may_hide_are_not_sent_again() {
    let server = faulty(Live::Open, Fault::CommitClose);
    // One visitor, whose visit shows only 500 actions, in batches of 300.
    let ended = import_log(
        &server,
        logs::log_of(700, 1),
        "--recorder-max-payload-size=300",
    );
    let ended = ended.exits(3).says(&[
        "100 hits of access.log:501-600 are unconfirmed",
        "not sent again",
    ]);
    let summary = ended.summary();
    assert_eq!(
        (summary.get("imported"), summary.get("in_doubt")),
        (600, 100)
    );
    assert_each_once(&server, 700);
}

#[test]
fn full_addresses_are_looked_up() {
    assert_server_stores_all_once(with_full_addresses(Fault::CommitClose));
    assert_server_stores_all_once(with_full_addresses(Fault::Deadlock));
}

#[test]
fn hits_of_a_user_with_several_addresses_are_found() {
    let server = with_full_addresses(Fault::CommitClose);
    // The visit has the address of its first hit, which is in the first batch. The visits of the
    // others show that addresses are not anonymized.
    let log: String = (0..60)
        .map(|number| match (logs::line(number, 60), number % 2) {
            (line, 0) => line.replacen("- - [", "- anna [", 1),
            (line, _) => line,
        })
        .collect();
    import_log(&server, log, "--keep-order").exits(0);
    assert_each_once(&server, 60);
}

#[test]
fn replayed_hits_that_share_a_pv_id_are_not_confused() {
    let server = faulty(Live::Open, Fault::RollBack);
    // All actions on a page share its pv_id. Here it is that of the first batch's last page.
    let log: String = (0..40)
        .map(|number| {
            let page = number.min(19);
            let query = format!(
                "idsite=1&rec=1&url=http%3A%2F%2Fwww.example.com%2Fpage-{number}&pv_id=PAGE{page:02}"
            );
            logs::page(&format!("/matomo.php?{query}"), number, 1)
        })
        .collect();
    let ended = import_log(&server, log, "--replay-tracking")
        .exits(3)
        .says(&[
            "20 hits of access.log:21-40 are unconfirmed",
            "pv_id",
            "sent again",
        ]);
    assert_eq!(ended.summary().get("imported"), 40);
    assert_eq!(ended.summary().get("resent"), 20);
    assert_each_once(&server, 40);
}

#[test]
fn deadlocks_of_first_batches_of_days_double_nothing() {
    let server = started(Options {
        faults: Faults {
            deadlock_first_days: true,
            ..Faults::default()
        },
        ..options()
    });
    // Forty alternating past days, sent by eight recorders.
    let log: String = (0..1200)
        .map(|number| {
            let (month, day) = (["Apr", "May"][number / 20 % 2], number / 40 % 20 + 1);
            logs::line(number, 300).replace("14/May", &format!("{day:02}/{month}"))
        })
        .collect();
    Program::new(&Folder::with_log(log))
        .to(&server)
        .args("--idsite=1 --recorders=8 --recorder-max-payload-size=20 --retry-delay=0.05")
        .args("--retry-max-attempts=10 access.log")
        .run()
        .exits(0);
    assert_each_once(&server, 1200);
}

#[test]
fn a_batch_is_sent_again_and_reported_if_matomo_cannot_be_asked() {
    let server = faulty(Live::Closed, Fault::CommitClose);
    let ended =
        import(&server, "")
            .exits(3)
            .says(&["20 hits of access.log:", "unconfirmed", "sent again"]);
    assert_eq!(ended.summary().get("imported"), 60);
    assert_eq!(ended.summary().get("resent"), 20);
    let mut once = numbers(&server);
    assert_eq!(once.len(), 80);
    once.dedup();
    assert_eq!(once, (0..60).collect::<Vec<_>>(), "hits are lost");
}

#[test]
fn in_doubt_skip_sends_nothing_again() {
    let server = faulty(Live::Closed, Fault::Refuse);
    let ended = import(&server, "--in-doubt=skip")
        .exits(3)
        .says(&["unconfirmed", "not sent again"]);
    assert_eq!(ended.summary().get("imported"), 40);
    assert_eq!(ended.summary().get("in_doubt"), 20);
    assert_eq!(numbers(&server).len(), 40);
}

#[test]
fn in_doubt_stop_stops_the_import() {
    let server = faulty(Live::Closed, Fault::CommitClose);
    let ended = import(&server, "--in-doubt=stop")
        .exits(1)
        .says(&["unconfirmed", "--in-doubt=stop"]);
    assert_eq!(ended.summary().get("imported"), 20);
    assert_eq!(numbers(&server).len(), 40);
}

#[test]
fn a_batch_whose_retry_is_never_sent_stays_unconfirmed() {
    let server = faulty(Live::Closed, Fault::CommitHtml(502));
    let folder = Folder::with_log(logs::log(40));
    // The server goes down while the second batch waits for its second attempt.
    let program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorder-max-payload-size=20 --retry-delay=3 access.log")
        .start();
    let begun = Instant::now();
    while server.log().tracker.len() < 2 && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    drop(server);
    let ended = program.end().exits(1);
    let summary = ended.summary();
    assert_eq!(summary.get("imported"), 20, "{ended}");
    assert_eq!(summary.get("in_doubt"), 20, "{ended}");
    assert_eq!(summary.get("resent"), 0, "hits were sent twice: {ended}");
}

/// A page that many visitors open at the same time gets several action ids, and a search by URL
/// finds only one of them.
#[test]
fn pages_that_all_visitors_share_are_not_stored_twice() {
    let lost = [3, 5, 8, 13].map(|call| (call, Fault::CommitClose));
    let mut script = vec![None; 14];
    for (call, fault) in lost {
        script[call] = Some(fault);
    }
    let server = started(Options {
        faults: Faults {
            script,
            ..Faults::default()
        },
        delay: Duration::from_millis(20),
        ..options()
    });
    // The response lengths identify the lines.
    let log: String = (0..600)
        .map(|number| logs::page(&format!("/shared-{}", number % 7), number, 100))
        .collect();
    let ended = Program::new(&Folder::with_log(log))
        .to(&server)
        .args("--idsite=1 --recorders=8 --recorder-max-payload-size=20 --retry-delay=0")
        .args("--request-timeout=1 access.log")
        .run()
        .exits(0);
    assert_eq!(ended.summary().get("imported"), 600);
    let hits = server.store().hits().unwrap();
    let mut lengths: Vec<u64> = hits
        .iter()
        .filter_map(|hit| hit["bw_bytes"].as_u64())
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=600).collect::<Vec<_>>());
}
