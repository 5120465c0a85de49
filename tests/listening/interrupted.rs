//! Nothing lost and nothing twice, where a line is many requests, or many lines are one connection.

use std::io::Write;

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, When};
use rustix::process::Signal;

use super::{SHOUTCAST_HEADER, icecast, seconds_sent, shoutcast, stored, told};
use crate::support::clock::LONGEST;
use crate::support::stored::{options, sandbox, started};
use crate::support::{Ended, Folder, Program, Summary, until};

/// A connection lasts up to so many seconds: 1 to 9 requests.
const DURATIONS: [i64; 6] = [0, 60, 12_000, 1501, 5400, 9000];

fn icecast_log() -> String {
    let lines = DURATIONS.iter().enumerate();
    lines
        .map(|(number, seconds)| {
            let number = number as i64;
            icecast(
                &format!("192.0.2.{}", number % 4),
                40_000 + number,
                "/live",
                seconds,
            )
        })
        .collect()
}

/// Three listeners, each with titles that follow each other; one leaves and comes again.
fn shoutcast_log() -> String {
    let mut log = SHOUTCAST_HEADER.to_owned();
    for title in 1..=6 {
        for listener in 0..3 {
            let away = if listener == 1 && title > 3 { 100 } else { 0 };
            let address = format!("192.0.2.{listener}");
            log += &shoutcast(
                &address,
                title * 900 + listener + away,
                "/stream?title=x",
                900,
            );
        }
    }
    log
}

/// With a ledger, in batches so small that most connections take several.
fn program(folder: &Folder, sandbox: &FakeMatomo) -> Program {
    Program::new(folder).to(sandbox).args(
        "--idsite=1 --listening-time=events --state-dir=state --recorder-max-payload-size=3 \
         --request-timeout=1 --retry-delay=0 --recorders=2 access.log",
    )
}

/// Imports the log with runs that die at that point, until there is nothing left to die of.
#[track_caller]
fn dies_again_and_again(log: &str, point: &str) {
    let whole = sandbox();
    program(&Folder::with_log(log), &whole).run().exits(0);
    let (folder, sandbox) = (Folder::with_log(log), sandbox());
    for run in 0.. {
        assert!(run < 40, "{point}: no progress");
        let ended = program(&folder, &sandbox)
            .env("IMPORT_LOGS_ABORT_AT", point)
            .run();
        if ended.code.is_some() {
            ended.exits(0);
            assert!(run > 0, "{point} was never reached");
            break;
        }
    }
    assert_eq!(told(&sandbox), told(&whole), "{point}");
}

#[test]
fn connections_are_whole_after_crashes_behind_the_answer() {
    dies_again_and_again(&icecast_log(), "after-answer:2");
}

#[test]
fn connections_are_whole_after_crashes_before_the_sending() {
    dies_again_and_again(&icecast_log(), "after-intent:3");
}

#[test]
fn titles_are_whole_after_crashes_behind_the_answer() {
    dies_again_and_again(&shoutcast_log(), "after-answer:2");
}

#[test]
fn titles_are_whole_after_crashes_before_the_sending() {
    dies_again_and_again(&shoutcast_log(), "after-intent:3");
}

fn append(folder: &Folder, line: &str) {
    let mut log = std::fs::OpenOptions::new()
        .append(true)
        .open(folder.file("access.log"))
        .unwrap();
    log.write_all(line.as_bytes()).unwrap();
}

fn two_titles() -> Folder {
    let titles = [600, 1200].map(|end| shoutcast("192.0.2.1", end, "/stream", 600));
    Folder::with_log(SHOUTCAST_HEADER.to_owned() + &titles.concat())
}

#[test]
fn a_log_that_goes_on_with_the_next_title_adds_up() {
    let (folder, sandbox) = (two_titles(), sandbox());
    program(&folder, &sandbox).run().exits(0);
    append(&folder, &shoutcast("192.0.2.1", 1800, "/stream", 600));
    program(&folder, &sandbox).run().exits(0);
    let hits = stored(&sandbox);
    assert_eq!((hits.len(), seconds_sent(&hits)), (4, 1800));
}

/// The server stored the event with the seconds, not the page view; then the connection goes on.
#[test]
fn what_goes_on_after_a_connection_that_is_there_in_part_is_another() {
    let folder = two_titles();
    let sandbox = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Deadlock)],
            ..Faults::default()
        },
        ..options()
    });
    let died = program(&folder, &sandbox)
        .env("IMPORT_LOGS_ABORT_AT", "after-answer")
        .run();
    assert_eq!(died.code, None);
    assert_eq!(seconds_sent(&stored(&sandbox)), 1200);
    append(&folder, &shoutcast("192.0.2.1", 1800, "/stream", 600));
    program(&folder, &sandbox).run().exits(0);
    let hits = stored(&sandbox);
    assert_eq!((hits.len(), seconds_sent(&hits)), (4, 1800));
}

#[test]
fn titles_that_are_held_when_a_signal_comes_are_not_yet_sent() {
    let (folder, sandbox) = (Folder::with_log(""), sandbox());
    let mut running = Program::new(&folder)
        .to(&sandbox)
        .args("--idsite=1 --log-format-name=shoutcast --output=access.log -")
        .args("--show-progress --show-progress-delay=0.05 --flush-interval=0.05")
        .start();
    running.write(SHOUTCAST_HEADER);
    for end in [600, 1200, 2000] {
        running.write(&shoutcast("192.0.2.1", end, "/stream", 600));
    }
    // Three header lines and three titles, of which two are a connection that is over.
    let told = "6 lines parsed, 2 lines recorded";
    assert!(until(LONGEST, || folder.read("access.log").contains(told)));
    running.signal(Signal::INT);
    assert!(until(LONGEST, || running.has_ended()));
    running.end().exits(130);
    let summary = Summary::of(&folder.read("access.log"));
    assert_eq!((summary.get("imported"), summary.get("unsent")), (2, 1));
    assert_eq!(seconds_sent(&stored(&sandbox)), 1200);
}

#[test]
fn what_was_held_is_counted_where_the_server_takes_no_more() {
    let listeners = 4000;
    let titles = (0..listeners).map(|number| {
        let address = format!("10.0.{}.{}", number / 250, number % 250);
        shoutcast(&address, 600 + number, "/stream", 600)
    });
    let log = SHOUTCAST_HEADER.to_owned() + &titles.collect::<String>();
    let sandbox = started(Options {
        faults: Faults {
            rules: vec![(When::From(3), Fault::Busy(503, None))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(log);
    let program = || Program::new(&folder).to(&sandbox);
    let ended = program()
        .args("--idsite=1 --retry-delay=0 --recorder-max-payload-size=20 access.log")
        .run()
        .exits(1)
        .hides(" in import-logs");
    let summary = ended.summary();
    assert_eq!(
        summary.get("imported") + summary.get("unsent"),
        listeners as u64
    );
    assert_eq!(summary.get("imported"), 20);
}

/// Runs an import whose batches meet these faults, and expects every hit once all the same.
fn faulty(log: String, faults: Faults, args: &str) -> (Ended, FakeMatomo) {
    let sandbox = started(Options {
        faults,
        ..options()
    });
    let ended = Program::new(&Folder::with_log(log))
        .to(&sandbox)
        .args("--idsite=1 --listening-time=events --request-timeout=1 --retry-delay=0 access.log")
        .args(args)
        .run();
    (ended, sandbox)
}

#[test]
fn hidden_addresses_are_asked_for_by_their_url() {
    let addresses = [
        "192.0.2.1",
        "0123456789abcdef0123456789abcdef",
        "-",
        "10.0.0.*",
    ];
    let log: String = addresses
        .map(|address| icecast(address, 40_000, "/live", 1600))
        .concat();
    let faults = Faults {
        script: vec![Some(Fault::CommitClose)],
        ..Faults::default()
    };
    let (ended, sandbox) = faulty(log, faults, "");
    assert_eq!(ended.exits(0).summary().get("imported"), 4);
    let hits = stored(&sandbox);
    assert_eq!((hits.len(), seconds_sent(&hits)), (12, 6400));
}

/// The first batch of each day goes alone, also of the days on which connections only began.
#[test]
fn connections_that_began_on_other_days_do_not_deadlock() {
    let mut log: String = (0..12)
        .map(|number| icecast(&format!("10.0.0.{number}"), 40_000, "/live", 60))
        .collect();
    for number in 0..60 {
        log += &icecast(
            &format!("10.0.1.{number}"),
            40_001,
            "/live",
            40_000 + 86_400 * (1 + number % 2),
        );
    }
    let faults = Faults {
        deadlock_first_days: true,
        ..Faults::default()
    };
    let (ended, sandbox) = faulty(log, faults, "--recorders=6 --recorder-max-payload-size=100");
    assert_eq!(ended.exits(0).summary().get("imported"), 72);
    let log = sandbox.log();
    assert!(log.busy_peak > 1, "they were to run at the same time");
    assert!(log.tracker.iter().all(|call| call.status == Some(200)));
}

#[test]
fn a_refused_connection_is_named_once_and_rejected_with_all_its_titles() {
    let lines = [
        shoutcast("192.0.2.1", 600, "/stream", 600),
        shoutcast("192.0.2.1", 2400, "/stream", 1800),
        shoutcast("192.0.2.2", 90_000, "/stream", 60),
    ];
    let folder = Folder::with_log(SHOUTCAST_HEADER.to_owned() + &lines.concat());
    let sandbox = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Invalid(vec![0, 1, 2]))],
            ..Faults::default()
        },
        ..options()
    });
    let ended = Program::new(&folder)
        .to(&sandbox)
        .args("--idsite=1 --rejects=rejects.log access.log")
        .run()
        .exits(3);
    let summary = ended.summary();
    assert_eq!((summary.get("imported"), summary.get("refused")), (1, 2));
    assert_eq!(
        ended.err.matches("access.log:4: refused by Matomo").count(),
        1,
        "{ended}"
    );
    let fields = SHOUTCAST_HEADER.lines().last().unwrap();
    assert_eq!(
        folder.read("rejects.log"),
        format!(
            "# rejected by import-logs, format: shoutcast\n{fields}\n# access.log:4: refused by Matomo\n{}\
             # access.log:5: refused by Matomo\n{}",
            lines[0], lines[1]
        )
    );
    // Mended, or the server being in a better mood, it can be imported as it is.
    let mended = Program::new(&folder)
        .to(&sandbox)
        .args("--idsite=1 rejects.log")
        .run()
        .exits(0);
    assert_eq!(mended.summary().get("imported"), 2);
    assert_eq!(seconds_sent(&stored(&sandbox)), 2460);
}
