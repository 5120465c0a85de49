//! Reading back: hits that Matomo acknowledged and lost are sent again, once.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Mask, Options, TrackerCall};
use crate::support::stored::{assert_each_once, count, number, options, seen_through, started};
use crate::support::{Ended, Folder, Program, logs};

/// The words of the summary about hits that were sent again.
const SENT_AGAIN: &str = "hits had been lost by Matomo, and were sent again";

/// A server that loses the first hits of these requests despite a success response.
fn losing(live: Live, calls: &[usize], hits: usize) -> FakeMatomo {
    started(losing_options(live, calls, hits))
}

fn losing_options(live: Live, calls: &[usize], hits: usize) -> Options {
    let last = calls.iter().max().copied().unwrap_or_default();
    let script = (0..=last).map(|call| calls.contains(&call).then_some(Fault::Swallowed(hits)));
    Options {
        faults: Faults {
            script: script.collect(),
            ..Faults::default()
        },
        delay: Duration::from_millis(5),
        ..seen_through(live)
    }
}

fn program(folder: &Folder, server: &FakeMatomo, args: &str) -> Program {
    Program::new(folder)
        .to(server)
        .args("--idsite=1 --recorder-max-payload-size=20 --retry-delay=0 access.log")
        .args(args)
}

fn import(server: &FakeMatomo, lines: usize, args: &str) -> Ended {
    let folder = Folder::with_log(logs::log_of(lines, 100));
    program(&folder, server, args).run()
}

/// The number of calls that look up visits.
fn questions(server: &FakeMatomo) -> usize {
    let calls = server.log().api.into_iter();
    let is_question = |method: &str| method == "Live.getLastVisitsDetails";
    calls.filter(|call| is_question(&call.method)).count()
}

#[test]
fn lost_hits_are_sent_again() {
    for mask in [Mask::default(), Mask::Off] {
        let server = started(Options {
            mask,
            ..losing_options(Live::Open, &[3, 7, 12], 6)
        });
        let ended = import(&server, 600, "--recorders=4").exits(0);
        assert_each_once(&server, 600);
        assert_eq!(ended.summary().get("imported"), 600);
        assert!(ended.out.contains(&format!("18 {SENT_AGAIN}")), "{ended}");
    }
}

#[test]
fn lost_hits_without_an_address_are_sent_again() {
    for mask in [Mask::default(), Mask::Off] {
        let server = started(Options {
            mask,
            ..losing_options(Live::Open, &[3, 7, 12], 6)
        });
        let folder = Folder::with_log(logs::named(600, 100));
        let ended = program(&folder, &server, "--recorders=4").run().exits(0);
        assert_each_once(&server, 600);
        assert!(ended.out.contains(&format!("18 {SENT_AGAIN}")), "{ended}");
    }
}

#[test]
fn lost_hits_are_sent_again_while_no_other_request_is_in_flight() {
    let server = losing(Live::Open, &[3], 6);
    import(&server, 2000, "--recorders=4").exits(0);
    assert_each_once(&server, 2000);
    let calls = server.log().tracker;
    let mut seen = HashSet::new();
    let again = calls.iter().find(|call| {
        let hits = call.requests();
        hits.iter().any(|hit| !seen.insert(number(hit)))
    });
    let again = again.unwrap();
    assert_eq!(again.hits, 6);
    let ended = again.ended.unwrap();
    let beside = |call: &&TrackerCall| {
        call.number != again.number && call.began < ended && call.ended.unwrap() > again.began
    };
    assert_eq!(calls.iter().filter(beside).count(), 0);
}

#[test]
fn nothing_is_sent_again_if_matomo_shows_no_hit_at_all() {
    let server = started(Options {
        blind_questions: usize::MAX,
        ..options()
    });
    let ended = import(&server, 600, "--recorders=4 --state-dir=state").exits(0);
    assert_eq!(server.log().sent().len(), 600);
    ended.says(&["it shows none of them", "this run relies on its answers"]);
}

#[test]
fn a_completely_lost_batch_is_sent_again() {
    let server = losing(Live::Open, &[5], 1000);
    import(&server, 600, "--recorders=4").exits(0);
    assert_each_once(&server, 600);
}

#[test]
fn lost_hits_of_sessions_are_sent_again() {
    let log: String = (0..100)
        .map(|number| {
            format!(
                "10.0.0.{} - - [14/May/2024:{:02}:{:02}:00 +0000] \"GET /stream-{number} HTTP/1.1\" \
                 200 77777 \"-\" \"VLC/3.0\" 1800\n",
                number % 50 + 1,
                number / 10,
                number % 10
            )
        })
        .collect();
    let server = losing(Live::Open, &[3, 5], 7);
    let folder = Folder::with_log(log);
    program(&folder, &server, "--recorders=4 --log-format-name=icecast2")
        .run()
        .exits(0);
    assert_eq!(count(&server), 300);
}

#[test]
fn nothing_is_asked_if_one_recorder_sends() {
    let server = losing(Live::Open, &[], 0);
    import(&server, 100, "").exits(0);
    assert_eq!(questions(&server), 0);
}

#[test]
fn nothing_is_asked_with_read_back_off() {
    let server = losing(Live::Open, &[], 0);
    import(&server, 100, "--recorders=4 --read-back=off").exits(0);
    assert_eq!(questions(&server), 0);
}

#[test]
fn one_recorder_asks_with_read_back_on() {
    let server = losing(Live::Open, &[2], 3);
    import(&server, 100, "--read-back=on").exits(0);
    assert_each_once(&server, 100);
}

#[test]
fn few_questions_are_asked() {
    let server = losing(Live::Open, &[], 0);
    let ended = import(&server, 4000, "--recorders=4").exits(0);
    assert_each_once(&server, 4000);
    let asked = questions(&server);
    assert!((4..20).contains(&asked), "{asked} questions: {ended}");
}

#[test]
fn lines_of_a_pipe_are_read_back_too() {
    for args in ["--recorders=4", "--recorders=4 --state-dir=state"] {
        let server = losing(Live::Open, &[1], 4);
        let folder = Folder::new();
        Program::new(&folder)
            .to(&server)
            .args("--idsite=1 --recorder-max-payload-size=20 --retry-delay=0 -")
            .args(args)
            .stdin(logs::log_of(200, 100))
            .run()
            .exits(0);
        assert_each_once(&server, 200);
    }
}

#[test]
fn a_run_that_cannot_ask_says_so_once() {
    let server = losing(Live::Closed, &[2], 3);
    let ended = import(&server, 600, "--recorders=4 --state-dir=state").exits(0);
    assert_eq!(count(&server), 597);
    let said = ended.err.matches("this run relies on its answers").count();
    assert_eq!(said, 1, "{ended}");
}

#[test]
fn hits_that_matomo_excludes_are_sent_at_most_twice() {
    let server = started(Options {
        excluded: Some("10.9.9.9"),
        ..options()
    });
    // All hits of a batch are excluded.
    let log: String = (0..200)
        .map(|number| {
            let line = logs::line(number, 100);
            match number < 60 {
                true => format!("10.9.9.9{}", &line[line.find(" -").unwrap()..]),
                false => line,
            }
        })
        .collect();
    let folder = Folder::with_log(log);
    let args = "--read-back=on --keep-order --state-dir=state";
    let ended = program(&folder, &server, args).run().exits(0);
    ended.says(&[
        "Matomo leaves out 60 hits",
        "address 10.9.9.9",
        "access.log:1, access.log:2,",
    ]);
    assert_eq!(count(&server), 140);
    let sent = server.log().sent();
    let of_first = sent.iter().filter(|hit| number(hit) == 0).count();
    assert_eq!(of_first, 2);
    // The others come from the same address, so they are not sent again.
    assert_eq!(sent.len(), 220);
    // The next run has nothing to do.
    program(&folder, &server, args).run().exits(0);
    assert_eq!(server.log().sent().len(), 220);
}

#[test]
fn hits_that_matomo_shows_late_are_not_sent_again() {
    let server = started(Options {
        blind_questions: 1,
        ..options()
    });
    import(&server, 200, "--recorders=4").exits(0);
    assert_each_once(&server, 200);
    assert_eq!(server.log().sent().len(), 200);
}

#[test]
fn batches_that_were_not_confirmed_are_settled_by_the_next_run() {
    let server = losing(Live::Open, &[3], 5);
    let folder = Folder::with_log(logs::log_of(200, 100));
    let args = "--recorders=4 --state-dir=state --request-timeout=1";
    let ended = program(&folder, &server, args)
        .env("IMPORT_LOGS_ABORT_AT", "before-read-back")
        .run();
    assert_eq!(ended.code, None, "{ended}");
    assert_eq!(count(&server), 195);
    program(&folder, &server, args).run().exits(0);
    assert_each_once(&server, 200);
}

#[test]
fn batches_are_left_to_the_next_run_while_matomo_is_away() {
    // The site is found, then the API is in maintenance mode.
    let faults = || Faults {
        api: std::iter::once(None)
            .chain((0..200).map(|_| Some(Fault::Busy(503, None))))
            .collect(),
        ..Faults::default()
    };
    let args = "--recorders=4 --retry-max-attempts=1";
    for (state, exit) in [("--state-dir=state", 3), ("", 0)] {
        let server = started(Options {
            faults: faults(),
            ..options()
        });
        let folder = Folder::with_log(logs::log_of(600, 100));
        let run = || program(&folder, &server, args).args(state).run();
        let ended = run().exits(exit);
        assert_each_once(&server, 600);
        let said = match state.is_empty() {
            true => "this run relies on its answers",
            false => "the next run asks whether it has their hits",
        };
        ended.says(&[said]);
        if !state.is_empty() {
            server.set_faults(Faults::default());
            run().exits(0);
            assert_eq!(server.log().sent().len(), 600);
            run().exits(0).says(&["already imported to its end"]);
        }
    }
}
