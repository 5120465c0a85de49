//! SIGINT, SIGTERM and SIGHUP: batches in flight finish, the summary counts what is stored, and a
//! second signal ends the program at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Options, When};
use rustix::process::Signal;

use crate::support::http::{Response, Server};
use crate::support::stored::{count, numbers, options, started};
use crate::support::{Ended, Folder, Program, Running, logs, until};

const SOON: Duration = Duration::from_secs(10);

fn slow() -> FakeMatomo {
    started(Options {
        delay: Duration::from_millis(30),
        ..options()
    })
}

fn always(fault: Fault) -> FakeMatomo {
    started(Options {
        faults: Faults {
            rules: vec![(When::From(1), fault)],
            ..Faults::default()
        },
        ..options()
    })
}

/// Starts an import that would take more than a minute.
fn start(server: &FakeMatomo, folder: &Folder, args: &str) -> Running {
    Program::new(folder)
        .to(server)
        .args("--idsite=1 --recorder-max-payload-size=2 access.log")
        .args(args)
        .start()
}

fn log() -> Folder {
    Folder::with_log(logs::log_of(5000, 200))
}

/// Sends a signal after some responses, and waits for the end.
fn stopped_by(signal: Signal, recorders: usize) -> (FakeMatomo, Ended) {
    let (server, folder) = (slow(), log());
    let program = start(&server, &folder, &format!("--recorders={recorders}"));
    assert!(until(SOON, || count(&server) >= 20));
    program.signal(signal);
    let ended = program.end();
    (server, ended)
}

/// Checks that the summary counts what is stored, and that no line is stored twice.
#[track_caller]
fn assert_counts_what_is_stored(server: &FakeMatomo, ended: &Ended) {
    assert!(server.wait_idle(SOON));
    let stored = numbers(server);
    let mut once = stored.clone();
    once.dedup();
    assert_eq!(stored, once);
    assert_eq!(
        ended.summary().get("imported"),
        stored.len() as u64,
        "{ended}"
    );
    assert!(
        (20..5000).contains(&stored.len()),
        "{} stored",
        stored.len()
    );
}

#[test]
fn sigint_counts_what_is_stored() {
    let (server, ended) = stopped_by(Signal::INT, 4);
    assert_counts_what_is_stored(&server, &ended.exits(130));
}

#[test]
fn sigterm_counts_what_is_stored() {
    let (server, ended) = stopped_by(Signal::TERM, 1);
    assert_counts_what_is_stored(&server, &ended.exits(143));
}

#[test]
fn sighup_counts_what_is_stored_and_says_how_to_resume() {
    // Under nohup the signal is ignored.
    if import_logs::shutdown::is_ignored(Signal::HUP.as_raw()) {
        return;
    }
    let (server, ended) = stopped_by(Signal::HUP, 2);
    assert_counts_what_is_stored(
        &server,
        &ended.exits(129).says(&["run again with --state-dir="]),
    );
}

#[test]
fn unsent_lines_are_counted() {
    let (_, ended) = stopped_by(Signal::INT, 4);
    let summary = ended.exits(130).summary();
    assert!(summary.get("unsent") > 0);
    assert_eq!(summary.dropped(), 0);
}

/// Interrupts a program with a request in flight, which the first signal alone does not end.
fn signal_twice(program: &Running) {
    program.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(1500));
    program.signal(Signal::INT);
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let (server, folder) = (always(Fault::Stall(Duration::from_secs(600))), log());
    let program = start(&server, &folder, "");
    assert!(until(SOON, || server.log().busy_peak > 0));
    signal_twice(&program);
    let begun = Instant::now();
    program.end().exits(130).says(&[
        "a second signal ends them at once",
        "1 request under way is not waited for: the next run asks Matomo about 2 hits",
        "run again with --state-dir=",
    ]);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Such as a terminal after Ctrl-S.
#[test]
fn a_second_signal_saves_what_is_done_if_nothing_can_be_printed() {
    let (server, folder) = (always(Fault::Stall(Duration::from_secs(600))), log());
    let program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorder-max-payload-size=2 access.log")
        .through("mkfifo full; exec 2<>full; yes | dd bs=4096 count=16 iflag=fullblock >&2 2>&-")
        .start();
    assert!(until(SOON, || server.log().busy_peak > 0));
    signal_twice(&program);
    let ended = program.end().exits(130);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    assert!(folder.file("import-logs-state/ledger.db").is_file());
}

#[test]
fn a_second_signal_saves_in_the_temporary_folder_if_other_users_can_write_to_that_of_the_log() {
    let (server, folder) = (always(Fault::Stall(Duration::from_secs(600))), log());
    let temporary = Folder::new();
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), all).unwrap();
    let program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorder-max-payload-size=2 access.log")
        .env("TMPDIR", temporary.path().to_str().unwrap())
        .start();
    assert!(until(SOON, || server.log().busy_peak > 0));
    signal_twice(&program);
    let ended = program.end().exits(130);
    ended.says(&["run again with --state-dir="]);
    assert!(temporary.file("import-logs-state/ledger.db").is_file());
}

#[test]
fn a_signal_ends_the_wait_for_a_failing_server() {
    let (server, folder) = (always(Fault::Busy(503, None)), log());
    let program = start(&server, &folder, "--retry-delay=600 --recorders=4");
    assert!(until(SOON, || !server.log().tracker.is_empty()));
    program.signal(Signal::TERM);
    let begun = Instant::now();
    let ended = program.end().exits(143);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(ended.summary().get("imported"), 0);
    assert_eq!(count(&server), 0);
    let reported = ended.err.matches("; trying again in ").count();
    assert_eq!(reported, 1, "not reported once for all recorders: {ended}");
}

#[test]
fn a_signal_ends_an_open_pipe_whose_lines_are_sent() {
    let server = slow();
    let mut program = Program::new(&Folder::new())
        .to(&server)
        .args("--idsite=1 --flush-interval=0.1 -")
        .start();
    program.write(&logs::log(10));
    assert!(until(SOON, || count(&server) == 10));
    program.signal(Signal::INT);
    // Stdin stays open until the program ends.
    assert!(until(SOON, || program.has_ended()));
    let ended = program.end().exits(130);
    assert_eq!(ended.summary().get("imported"), 10);
}

#[test]
fn a_signal_before_the_server_answers_prints_no_summary() {
    let server = started(Options {
        delay: Duration::from_secs(3600),
        ..options()
    });
    let folder = log();
    let program = start(&server, &folder, "--request-timeout=1 --retry-delay=600");
    assert!(until(SOON, || server.log().calls > 0));
    program.signal(Signal::INT);
    let ended = program.end();
    assert!(ended.code == Some(130) || ended.code == Some(1), "{ended}");
    assert_eq!(ended.out, "");
}

#[test]
fn a_signal_during_maintenance_is_no_error() {
    let server = started(Options {
        faults: Faults {
            maintenance: true,
            ..Faults::default()
        },
        ..options()
    });
    let folder = log();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let calls = server.log().calls;
        let program = start(&server, &folder, "--retry-delay=600");
        assert!(until(SOON, || server.log().calls > calls));
        program.signal(signal);
        program.end().exits(code).hides("error");
    }
}

#[test]
fn a_signal_ends_an_unanswered_api_call() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(60));
        Response::html(200)
    });
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let program = Program::new(&log())
            .args("--token-auth=0123456789abcdef --idsite=1 access.log")
            .arg(format!("--url={}", server.url()))
            .start();
        std::thread::sleep(Duration::from_millis(700));
        let begun = Instant::now();
        program.signal(signal);
        program.end().exits(code).hides("error");
        assert!(begun.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn a_signal_ends_a_site_lookup_during_an_import() {
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let server = Server::start(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("second.example") && body.contains("getSitesIdFromSiteUrl") {
            seen.store(true, Ordering::Release);
            std::thread::sleep(Duration::from_secs(60));
        }
        Response::json(200, r#"[{"idsite":"1"}]"#)
    });
    let line = |host: &str| {
        format!(
            "{host} 1.2.3.4 - - [14/May/2024:06:05:27 +0000] \"GET /a HTTP/1.1\" 200 1 \"-\" \"Mozilla\"\n"
        )
    };
    let folder = Folder::with_log(line("first.example").repeat(20) + &line("second.example"));
    let program = Program::new(&folder)
        .args("--token-auth=0123456789abcdef --log-format-name=common_complete access.log")
        .arg(format!("--url={}", server.url()))
        .start();
    assert!(until(SOON, || asked.load(Ordering::Acquire)));
    let begun = Instant::now();
    program.signal(Signal::TERM);
    let ended = program.end();
    assert!(begun.elapsed() < Duration::from_secs(8), "{ended}");
    assert!(!ended.err.contains(" in import-logs"), "{ended}");
}

#[test]
fn a_response_that_arrives_while_the_program_is_suspended_is_read() {
    let timeout = Duration::from_millis(500);
    let server = started(Options {
        delay: Duration::from_millis(100),
        live: Live::Closed,
        ..options()
    });
    let folder = Folder::with_log(logs::log(20));
    let mut program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --in-doubt=stop --retry-max-attempts=1 access.log")
        .arg(format!("--request-timeout={}", timeout.as_secs_f64()))
        .start();
    // The request is in flight.
    assert!(until(SOON, || server.log().tracker.len() == 1));
    program.signal(Signal::STOP);
    assert!(server.wait_idle(SOON));
    // The time-out of the request passes.
    std::thread::sleep(2 * timeout);
    assert!(!program.has_ended());
    program.signal(Signal::CONT);
    let ended = program.end().exits(0);
    assert_eq!((ended.summary().get("imported"), count(&server)), (20, 20));
}
