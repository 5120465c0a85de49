//! Interrupted runs lose no session and send none twice, although a session has many requests or
//! many lines.

use std::io::Write;

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, When};
use rustix::process::Signal;

use super::{SHOUTCAST_HEADER, icecast, rows, seconds_sent, shoutcast, sorted_hits, stored};
use crate::support::clock::LONGEST;
use crate::support::stored::{fake_matomo, options, started};
use crate::support::{Ended, Folder, Program, Summary, until};

/// Seconds of sessions of 2 to 9 requests.
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

/// Three listeners with six titles each. One of them leaves after three and returns.
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

/// Uses a ledger, and batches so small that most sessions need several.
fn program(folder: &Folder, server: &FakeMatomo) -> Program {
    Program::new(folder).to(server).args(
        "--idsite=1 --listening-time=events --state-dir=state --recorder-max-payload-size=3 \
         --request-timeout=1 --retry-delay=0 --recorders=2 access.log",
    )
}

/// Runs imports of the log that crash at this failpoint until one finishes.
#[track_caller]
fn crash_repeatedly(log: &str, point: &str) {
    let expected = fake_matomo();
    program(&Folder::with_log(log), &expected).run().exits(0);
    let (folder, server) = (Folder::with_log(log), fake_matomo());
    for run in 0.. {
        assert!(run < 40, "{point}: no progress");
        let ended = program(&folder, &server)
            .env("IMPORT_LOGS_ABORT_AT", point)
            .run();
        if ended.code.is_some() {
            ended.exits(0);
            assert!(run > 0, "{point} was never reached");
            break;
        }
    }
    assert_eq!(sorted_hits(&server), sorted_hits(&expected), "{point}");
}

#[test]
fn sessions_are_complete_if_runs_crash_after_the_response() {
    crash_repeatedly(&icecast_log(), "after-answer:2");
}

#[test]
fn sessions_are_complete_if_runs_crash_before_sending() {
    crash_repeatedly(&icecast_log(), "after-intent:3");
}

#[test]
fn titles_are_complete_if_runs_crash_after_the_response() {
    crash_repeatedly(&shoutcast_log(), "after-answer:2");
}

#[test]
fn titles_are_complete_if_runs_crash_before_sending() {
    crash_repeatedly(&shoutcast_log(), "after-intent:3");
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
fn a_title_appended_after_a_run_is_imported() {
    let (folder, server) = (two_titles(), fake_matomo());
    program(&folder, &server).run().exits(0);
    append(&folder, &shoutcast("192.0.2.1", 1800, "/stream", 600));
    program(&folder, &server).run().exits(0);
    let hits = stored(&server);
    assert_eq!((hits.len(), seconds_sent(&hits)), (4, 1800));
}

/// The server stores the event with the seconds but not the page view. Then another title follows.
#[test]
fn a_title_after_a_partly_stored_session_starts_a_new_session() {
    let folder = two_titles();
    let server = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Deadlock)],
            ..Faults::default()
        },
        ..options()
    });
    let crashed = program(&folder, &server)
        .env("IMPORT_LOGS_ABORT_AT", "after-answer")
        .run();
    assert_eq!(crashed.code, None);
    assert_eq!(seconds_sent(&stored(&server)), 1200);
    append(&folder, &shoutcast("192.0.2.1", 1800, "/stream", 600));
    program(&folder, &server).run().exits(0);
    let hits = stored(&server);
    assert_eq!((hits.len(), seconds_sent(&hits)), (4, 1800));
}

#[test]
fn titles_of_an_open_session_are_not_sent_after_a_signal() {
    let (folder, server) = (Folder::with_log(""), fake_matomo());
    let mut running = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --log-format-name=shoutcast --output=access.log -")
        .args("--show-progress --show-progress-delay=0.05 --flush-interval=0.05")
        .arg("--report=report.json")
        .start();
    running.write(SHOUTCAST_HEADER);
    for end in [600, 1200, 2000] {
        running.write(&shoutcast("192.0.2.1", end, "/stream", 600));
    }
    // Three header lines and three titles. The first two are a session that has ended.
    let progress = "6 lines parsed, 2 lines recorded";
    assert!(until(LONGEST, || folder
        .read("access.log")
        .contains(progress)));
    running.signal(Signal::INT);
    assert!(until(LONGEST, || running.has_ended()));
    running.end().exits(130);
    let output = folder.read("access.log");
    let summary = Summary::of(&output);
    assert_eq!((summary.get("imported"), summary.get("unsent")), (2, 1));
    assert_eq!(seconds_sent(&stored(&server)), 1200);
    // The figures are those of what was imported.
    assert_eq!(reported(&folder), (1, 1200));
    let unsent = "\n        1 lines not sent yet (the run that sends them reports them)\n";
    assert!(output.contains(unsent), "{output}");
}

#[test]
fn titles_of_open_sessions_are_counted_when_the_server_fails() {
    let listeners = 4000;
    let titles = (0..listeners).map(|number| {
        let address = format!("10.0.{}.{}", number / 250, number % 250);
        shoutcast(&address, 600 + number, "/stream", 600)
    });
    let log = SHOUTCAST_HEADER.to_owned() + &titles.collect::<String>();
    let server = started(Options {
        faults: Faults {
            rules: vec![(When::From(3), Fault::Busy(503, None))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(log);
    let program = || Program::new(&folder).to(&server);
    let ended = program()
        .args("--idsite=1 --retry-delay=0 --recorder-max-payload-size=20 access.log")
        .arg("--report=report.json")
        .run()
        .exits(1)
        .hides(" in import-logs");
    let summary = ended.summary();
    assert_eq!(
        summary.get("imported") + summary.get("unsent"),
        listeners as u64
    );
    assert_eq!(summary.get("imported"), 20);
    assert_eq!(reported(&folder), (20, 12_000));
}

/// Sessions and seconds in the folder's report.
fn reported(folder: &Folder) -> (u64, u64) {
    let all = rows(folder).remove(0);
    (all.sessions, all.seconds)
}

/// Imports a log with these faults of the server.
fn import_with_faults(log: String, faults: Faults, args: &str) -> (Ended, FakeMatomo) {
    let server = started(Options {
        faults,
        ..options()
    });
    let ended = Program::new(&Folder::with_log(log))
        .to(&server)
        .args("--idsite=1 --listening-time=events --request-timeout=1 --retry-delay=0 access.log")
        .args(args)
        .run();
    (ended, server)
}

#[test]
fn hits_with_hidden_addresses_are_looked_up_by_url() {
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
    let (ended, server) = import_with_faults(log, faults, "");
    assert_eq!(ended.exits(0).summary().get("imported"), 4);
    let hits = stored(&server);
    assert_eq!((hits.len(), seconds_sent(&hits)), (12, 6400));
}

/// The first batch of each day is sent alone, even if sessions only start on that day.
#[test]
fn sessions_that_start_on_other_days_cause_no_deadlocks() {
    let mut log: String = (0..200)
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
    let (ended, server) =
        import_with_faults(log, faults, "--recorders=6 --recorder-max-payload-size=100");
    assert_eq!(ended.exits(0).summary().get("imported"), 260);
    let log = server.log();
    assert!(log.busy_peak > 1, "requests do not overlap");
    assert!(log.tracker.iter().all(|call| call.status == Some(200)));
}

#[test]
fn a_refused_session_is_reported_once_and_rejected_with_all_its_titles() {
    let lines = [
        shoutcast("192.0.2.1", 600, "/stream", 600),
        shoutcast("192.0.2.1", 2400, "/stream", 1800),
        shoutcast("192.0.2.2", 90_000, "/stream", 60),
    ];
    let folder = Folder::with_log(SHOUTCAST_HEADER.to_owned() + &lines.concat());
    let server = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Invalid(vec![0, 1, 2]))],
            ..Faults::default()
        },
        ..options()
    });
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --rejects=rejects.log --report=report.json access.log")
        .run()
        .exits(3);
    let summary = ended.summary();
    assert_eq!((summary.get("imported"), summary.get("refused")), (1, 2));
    assert_eq!(reported(&folder), (1, 60));
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
    // The file can be imported as it is.
    let imported = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 rejects.log")
        .run()
        .exits(0);
    assert_eq!(imported.summary().get("imported"), 2);
    assert_eq!(seconds_sent(&stored(&server)), 2460);
}
