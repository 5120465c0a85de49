//! An answer that never came, or that says nothing: Matomo is asked which hits it has, and no hit
//! is there twice.

use std::time::{Duration, Instant};

use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Mask, Options};

use crate::support::stored::{assert_each_once, number, numbers, options, seen_through, started};
use crate::support::{Ended, Folder, Program, logs};

/// A server whose second batch has this fault, with a visitor log that can be seen like this.
fn faulty(live: Live, fault: Fault) -> FakeMatomo {
    started(Options {
        faults: in_second_batch(fault),
        ..seen_through(live)
    })
}

/// Such a server, which keeps whole addresses.
fn with_whole_addresses(fault: Fault) -> FakeMatomo {
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

/// Sixty lines, twenty a request.
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

/// Whatever happened to the second batch, each hit is there once and the run ends well.
#[track_caller]
fn assert_settled(fault: Fault) -> FakeMatomo {
    assert_settled_by(faulty(Live::Open, fault))
}

#[track_caller]
fn assert_settled_by(server: FakeMatomo) -> FakeMatomo {
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
fn stored_then_the_connection_closed() {
    let server = assert_settled(Fault::CommitClose);
    assert_eq!(
        server.log().sent().len(),
        60,
        "nothing had to be sent again"
    );
}

#[test]
fn stored_then_no_answer_in_time() {
    let server = assert_settled(Fault::CommitStall(Duration::from_secs(3)));
    assert_eq!(
        server.log().sent().len(),
        60,
        "nothing had to be sent again"
    );
}

#[test]
fn stored_and_half_an_answer() {
    assert_settled(Fault::HalfJson);
}

#[test]
fn stored_while_the_front_end_gave_up() {
    assert_settled(Fault::CommitHtml(504));
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
        assert_eq!(
            server.log().sent().len(),
            60,
            "nothing had to be sent again"
        );
    }
}

#[test]
fn closed_before_the_body_was_read() {
    assert_settled(Fault::Refuse);
}

#[test]
fn closed_in_the_middle_of_the_body() {
    assert_settled(Fault::CloseInBody);
}

#[test]
fn no_answer_and_nothing_stored() {
    assert_settled(Fault::Stall(Duration::from_secs(3)));
}

#[test]
fn rolled_back() {
    assert_settled(Fault::RollBack);
}

#[test]
fn a_deadlock_that_kept_the_second_half() {
    let server = assert_settled(Fault::Deadlock);
    let sent: Vec<usize> = server.log().sent().iter().map(number).collect();
    assert_eq!(sent.len(), 60 + 10, "only the lost half was sent again");
}

#[test]
fn addresses_without_their_end_are_found_without_their_urls() {
    for fault in [Fault::CommitClose, Fault::Deadlock] {
        let server = assert_settled(fault);
        let by_url = |segment: &String| segment.contains("actionUrl");
        let calls = server.log().api;
        let mut segments = calls.iter().filter_map(|call| call.form.get("segment"));
        assert!(!segments.any(by_url));
    }
}

#[test]
fn hits_whose_dates_matomo_replaces_are_found_in_the_present() {
    let server = faulty(Live::Open, Fault::CommitClose);
    // Slightly ahead.
    let date = chrono::Utc::now() + chrono::TimeDelta::hours(23);
    let date = date.format("[%d/%b/%Y:%H:").to_string();
    let log = logs::log(60).replace("[14/May/2024:00:", &date);
    import_log(&server, log, "").exits(0);
    assert_each_once(&server, 60);
}

#[test]
fn an_odd_answer_to_the_question_decides_nothing() {
    for odd in [Fault::Html(200), Fault::Html(404), Fault::HalfJson] {
        let server = started(Options {
            faults: Faults {
                script: vec![None, Some(Fault::CommitClose)],
                // The site is asked for first.
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
    // One visitor, whose visit shows 500 actions. Batches are of 300.
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
fn whole_addresses_are_found_too() {
    assert_settled_by(with_whole_addresses(Fault::CommitClose));
    assert_settled_by(with_whole_addresses(Fault::Deadlock));
}

#[test]
fn a_user_who_comes_from_several_addresses_is_found_at_all_of_them() {
    let server = with_whole_addresses(Fault::CommitClose);
    // Her visit has the address of its first hit, here one of the first batch's. The others tell
    // that addresses are kept as they are.
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
fn replayed_hits_that_share_a_mark_are_not_taken_for_one_another() {
    let server = faulty(Live::Open, Fault::RollBack);
    // What is done on one page has one pv_id: here that of the first batch's last page.
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
fn deadlocks_of_first_days_double_nothing() {
    let server = started(Options {
        faults: Faults {
            deadlock_first_days: true,
            ..Faults::default()
        },
        ..options()
    });
    // Forty past days in turn, eight recorders.
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
fn where_matomo_cannot_be_asked_the_batch_goes_again_and_the_exit_status_says_so() {
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
    assert_eq!(once, (0..60).collect::<Vec<_>>(), "none is lost");
}

#[test]
fn where_the_user_wants_nothing_twice_it_is_not_sent_again() {
    let server = faulty(Live::Closed, Fault::Refuse);
    let ended = import(&server, "--in-doubt=skip")
        .exits(3)
        .says(&["unconfirmed", "not sent again"]);
    assert_eq!(ended.summary().get("imported"), 40);
    assert_eq!(ended.summary().get("in_doubt"), 20);
    assert_eq!(numbers(&server).len(), 40);
}

#[test]
fn where_the_user_wants_to_decide_it_stops() {
    let server = faulty(Live::Closed, Fault::CommitClose);
    let ended = import(&server, "--in-doubt=stop")
        .exits(1)
        .says(&["unconfirmed", "--in-doubt=stop"]);
    assert_eq!(ended.summary().get("imported"), 20);
    assert_eq!(numbers(&server).len(), 40);
}

#[test]
fn what_is_to_be_sent_again_and_never_is_stays_in_doubt() {
    let server = faulty(Live::Closed, Fault::CommitHtml(502));
    let folder = Folder::with_log(logs::log(40));
    // The server goes away while the second batch waits for its second attempt.
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
    assert_eq!(summary.get("resent"), 0, "nothing went out twice: {ended}");
}

/// Pages that many visitors open at once get several action ids, one of which a search by url
/// finds.
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
    // The length of a response tells the lines apart.
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
