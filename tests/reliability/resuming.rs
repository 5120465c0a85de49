//! Imports that stop and resume: with the same command if it has a state directory, otherwise with
//! the state directory that the message names.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Options, When};
use rustix::process::Signal;

use super::numbered::{assert_each_once, log, stored};
use super::world::{World, assert_adds_up};
use crate::support::clock::LONGEST;
use crate::support::folder::gzip;
use crate::support::stored::options;
use crate::support::{Ended, Program, Running, until};

const LINES: usize = 300;

fn world(recorders: usize, faults: Faults) -> World {
    let world = World::with(Options {
        delay: Duration::from_millis(30),
        faults,
        ..options()
    });
    world.folder.write("it's one.log", log(0..LINES / 2, 60));
    world
        .folder
        .write("two.log.gz", gzip(log(LINES / 2..LINES, 60)));
    world.args(&format!(
        "--recorders={recorders} --recorder-max-payload-size=10"
    ))
}

/// An import of both logs, without a state directory.
fn program(world: &World) -> Program {
    let program = world.without_ledger().arg("it's one.log");
    program.arg("two.log.gz")
}

/// Sends a signal once more than this many lines are stored.
fn interrupt(world: &World, running: &Running, signal: Signal, more_than: usize) {
    let stored = || stored(&world.server).len() > more_than;
    assert!(until(Duration::from_secs(30), stored));
    running.signal(signal);
}

/// The state directory that a stopped import names.
#[track_caller]
fn named_state_dir(ended: &Ended) -> PathBuf {
    let (_, message) = ended
        .err
        .split_once("run again with --state-dir=")
        .unwrap_or_else(|| panic!("no way to resume: {ended}"));
    let (dir, _) = message.split_once(" to resume").unwrap();
    dir.into()
}

/// The same program with the state directory that a stopped import names.
#[track_caller]
fn resumed(program: Program, stopped: &Ended) -> Program {
    let dir = named_state_dir(stopped);
    program.arg(format!("--state-dir={}", dir.display()))
}

/// Checks that the resumed import finishes, and that another run has nothing to do.
fn assert_finishes(world: &World, stopped: &Ended) {
    for _ in 0..2 {
        let ended = assert_adds_up(resumed(program(world), stopped).run()).exits(0);
        let stored = stored(&world.server);
        let is_once = |number: usize| stored.get(&number) == Some(&1);
        assert!(
            stored.len() == LINES && (0..LINES).all(is_once),
            "{stored:?}\nstopped: {stopped}\nresumed: {ended}"
        );
    }
}

#[test]
fn an_import_resumes_after_ctrl_c() {
    for recorders in [1, 3, 8] {
        let world = world(recorders, Faults::default());
        let running = program(&world).start();
        interrupt(&world, &running, Signal::INT, 0);
        let ended = assert_adds_up(running.end()).exits(130);
        let there = stored(&world.server).len();
        assert!(there < LINES, "the import was not interrupted: {ended}");
        assert_eq!(ended.summary().get("imported"), there as u64);
        assert_finishes(&world, &ended);
    }
}

#[test]
fn an_import_resumes_after_its_last_attempt_failed() {
    for (recorders, fault) in [
        (1, Fault::Busy(503, None)),
        (3, Fault::Empty500),
        (8, Fault::Html(502)),
        (4, Fault::Deadlock),
    ] {
        let faults = Faults {
            rules: vec![(When::From(7), fault.clone())],
            ..Faults::default()
        };
        let world = world(recorders, faults);
        let ended = assert_adds_up(program(&world).run());
        let ended = ended.exits(1);
        world.server.set_faults(Faults::default());
        assert_finishes(&world, &ended);
    }
}

#[test]
fn an_import_that_sent_nothing_begins_again_without_a_ledger() {
    let faults = Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    };
    let world = world(1, faults);
    let args = "--skip=100 --retry-max-attempts=1 two.log.gz";
    let stopped = assert_adds_up(world.without_ledger().args(args).run()).exits(1);
    let stopped = stopped
        .says(&["1 request was sent, and Matomo stored nothing of it: run the same command again"]);
    assert!(!stopped.err.contains("--state-dir"), "{stopped}");
    assert!(!world.folder.file("import-logs-state").exists());
    world.server.set_faults(Faults::default());
    assert_adds_up(world.without_ledger().args(args).run()).exits(0);
    assert_each_once(&world.server, LINES / 2 + 100..LINES);
}

/// The ledger replaces both options: one counts lines of all runs, the other ends logs early.
#[test]
fn skip_and_limit_are_left_out_when_an_import_resumes() {
    let faults = || Faults {
        rules: vec![(When::From(3), Fault::Busy(503, None))],
        ..Faults::default()
    };
    for (option, from) in [("--skip=40", 40), ("--debug-request-limit=100", 0)] {
        let world = world(1, faults());
        let program = || {
            world
                .without_ledger()
                .args("--retry-max-attempts=1 two.log.gz")
        };
        let stopped = assert_adds_up(program().arg(option).run()).exits(1);
        let (name, _) = option.split_once('=').unwrap();
        let stopped = stopped.says(&[&format!("leave out {name}: ")]);
        world.server.set_faults(Faults::default());
        resumed(program().arg(option), &stopped).run().exits(2);
        assert_adds_up(resumed(program(), &stopped).run()).exits(0);
        assert_each_once(&world.server, LINES / 2 + from..LINES);
    }
}

#[test]
fn a_resumed_import_can_be_stopped_again() {
    let world = world(3, Faults::default());
    let running = program(&world).start();
    interrupt(&world, &running, Signal::INT, 0);
    let stopped = assert_adds_up(running.end()).exits(130);
    let there = stored(&world.server).len();
    world.server.set_faults(Faults {
        rules: vec![(When::From(4), Fault::RollBack)],
        ..Faults::default()
    });
    assert_adds_up(resumed(program(&world), &stopped).run()).exits(1);
    let now = stored(&world.server).len();
    assert!((there + 1..LINES).contains(&now), "{now} after {there}");
    world.server.set_faults(Faults::default());
    assert_finishes(&world, &stopped);
}

#[test]
fn with_a_state_directory_the_same_command_resumes_after_a_signal() {
    for (recorders, signal, code) in [(1, Signal::TERM, 143), (8, Signal::INT, 130)] {
        let world = world(recorders, Faults::default());
        let program = || world.program().arg("it's one.log").arg("two.log.gz");
        let running = program().start();
        interrupt(&world, &running, signal, 0);
        let ended = assert_adds_up(running.end()).exits(code);
        let there = stored(&world.server).len() as u64;
        assert!(
            there < LINES as u64,
            "the import was not interrupted: {ended}"
        );
        assert_eq!(ended.summary().get("imported"), there);
        assert!(world.pending().is_empty());
        let summary = assert_adds_up(program().run()).exits(0).summary();
        assert_eq!(summary.get("imported"), LINES as u64 - there);
        assert_each_once(&world.server, 0..LINES);
    }
}

#[test]
fn a_second_signal_ends_the_run_at_once_and_leaves_a_valid_ledger() {
    let world =
        World::new(Duration::from_millis(500)).args("--recorders=2 --recorder-max-payload-size=50");
    world.folder.write("access.log", log(0..LINES, 60));
    let running = world.program().arg("access.log").start();
    interrupt(&world, &running, Signal::INT, 0);
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::INT);
    let ended = running.end().exits(130);
    assert_eq!(ended.out, "");
    assert!(!world.pending().is_empty());
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn a_service_that_is_stopped_resumes_with_its_stdin() {
    let world =
        World::new(Duration::from_millis(30)).args("--recorders=3 --recorder-max-payload-size=500");
    // Longer than the read-ahead buffer.
    let lines = 20_000;
    let content = log(0..lines, 6000);
    let first = &content[..content.len() * 2 / 3];
    let mut running = world.program().arg("-").start();
    running.write(first);
    interrupt(&world, &running, Signal::TERM, 30);
    // The program ends although the pipe is open.
    assert!(until(Duration::from_secs(30), || running.has_ended()));
    assert_adds_up(running.end()).exits(143);
    let kept = world.spooled().unwrap();
    assert!(kept == first.as_bytes(), "not all of the pipe was read");
    let mut running = world.program().arg("-").start();
    running.feed(content.as_bytes()[kept.len()..].to_vec());
    let ended = assert_adds_up(running.end()).exits(0);
    ended.says(&["finishing what an earlier run read from stdin (state/spool."]);
    assert_each_once(&world.server, 0..lines);
    assert_eq!(world.spooled(), None);
}

#[test]
fn a_pipe_is_saved_if_the_import_stops_before_reading_it() {
    let world =
        World::new(Duration::from_millis(100)).args("--recorders=1 --recorder-max-payload-size=50");
    world.folder.write("access.log", log(0..3000, 60));
    let mut running = world.program().args("access.log -").start();
    running.write(&log(3000..3005, 60));
    interrupt(&world, &running, Signal::TERM, 30);
    assert!(until(Duration::from_secs(30), || running.has_ended()));
    assert_adds_up(running.end())
        .exits(143)
        .says(&["bytes of stdin are saved in"]);
    assert_adds_up(world.program().args("access.log").run()).exits(0);
    assert_each_once(&world.server, 0..3005);
}

#[test]
fn a_pipe_is_saved_if_the_import_stops_before_the_server_answers() {
    let world = World::new(Duration::ZERO);
    world.server.set_faults(Faults {
        api: vec![Some(Fault::Busy(503, None)); 10],
        ..Faults::default()
    });
    let mut running = world.program().args("--retry-delay=60 -").start();
    running.write(&log(0..5, 60));
    assert!(until(Duration::from_secs(20), || world.calls() > 0));
    running.signal(Signal::TERM);
    assert!(until(Duration::from_secs(30), || running.has_ended()));
    running
        .end()
        .exits(143)
        .says(&["bytes of stdin are saved in"]);
    world.server.set_faults(Faults::default());
    world.folder.write("access.log", log(5..10, 60));
    assert_adds_up(world.program().args("access.log").run()).exits(0);
    assert_each_once(&world.server, 0..10);
}

#[test]
fn a_spool_of_stdin_is_finished_by_a_run_of_another_log() {
    let world = World::new(Duration::ZERO).args("--recorders=3 --recorder-max-payload-size=10");
    let mut dying = world
        .program()
        .env("IMPORT_LOGS_ABORT_AT", "after-intent:4")
        .arg("-")
        .start();
    dying.feed(log(0..300, 60).into_bytes());
    assert_eq!(dying.end().code, None);
    let kept = String::from_utf8(world.spooled().unwrap()).unwrap();
    world.folder.write("access.log", log(300..400, 60));
    world
        .import("access.log")
        .exits(0)
        .says(&["finishing what an earlier run read from stdin"]);
    let whole = kept.matches('\n').count();
    assert_each_once(&world.server, (0..whole).chain(300..400));
    assert_eq!(world.spooled(), None);
}

/// Creates a named pipe.
fn pipe(world: &World, name: &str) {
    let made = std::process::Command::new("mkfifo")
        .arg(world.folder.file(name))
        .status();
    assert!(made.unwrap().success());
}

/// Without a state directory, pipes are neither saved nor recorded.
#[test]
fn pipes_are_left_out_when_an_import_resumes() {
    let world = world(1, Faults::default());
    pipe(&world, "one.fifo");
    let program = world.without_ledger().arg("one.fifo").arg("it's one.log");
    let running = program.arg("-").start();
    let path = world.folder.file("one.fifo");
    let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let through = log(LINES..2 * LINES, 60);
    std::io::Write::write_all(&mut writer, through.as_bytes()).unwrap();
    interrupt(&world, &running, Signal::INT, 0);
    let ended = assert_adds_up(running.end()).exits(130);
    let ended = ended.says(&[
        "one.fifo, stdin cannot be read again",
        "leave out one.fifo, stdin: ",
    ]);
    let before = stored(&world.server).into_keys();
    let through: Vec<usize> = before.filter(|number| *number >= LINES).collect();
    let program = world.without_ledger().arg("it's one.log");
    assert_adds_up(resumed(program, &ended).run()).exits(0);
    assert_each_once(&world.server, (0..LINES / 2).chain(through));
}

/// Kills an import after it reads this text from a source: the server has its complete lines, and
/// the spool has the rest.
fn killed(world: &World, source: &str, text: &str) {
    let mut program = world.program().arg(source).start();
    let writer = match source {
        "-" => {
            program.write(text);
            None
        }
        // Opening blocks until the program opens the other end.
        pipe => {
            let path = world.folder.file(pipe);
            let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
            Some(pipe)
        }
    };
    let is_saved = |spooled: Vec<u8>| spooled.ends_with(text.as_bytes());
    assert!(until(LONGEST, || world.spooled().is_some_and(is_saved)));
    program.signal(Signal::KILL);
    program.end();
    drop(writer);
}

#[test]
fn a_spool_is_continued_by_the_same_pipe_only() {
    let world = World::new(Duration::ZERO).args("--log-format-name=ncsa_extended");
    for name in ["one.fifo", "two.fifo"] {
        pipe(&world, name);
    }
    let lines = log(0..6, 60);
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    // Each ends in the middle of a line.
    let cut = |whole: &str, half: &str| format!("{whole}{}", &half[..30]);
    killed(&world, "one.fifo", &cut(lines[0], lines[1]));
    let rest = |text: &str| text.as_bytes()[30..].to_vec();
    // Another killed run leaves another half line, so two spools are open.
    killed(&world, "-", &cut(lines[2], lines[3]));
    // A run of stdin finishes the other spool and continues its own.
    let mut running = world.program().arg("-").start();
    running.feed(rest(lines[3]));
    let ended = assert_adds_up(running.end()).exits(0);
    ended.says(&[
        "finishing what an earlier run read from a named pipe",
        "finishing what an earlier run read from stdin",
    ]);
    assert_each_once(&world.server, [0, 2, 3]);
    assert_eq!(world.spooled(), None);
    let import = |pipe: &str, rest: Vec<u8>| {
        let path = world.folder.file(pipe);
        let writer = std::thread::spawn(move || std::fs::write(path, rest));
        let ended = world.import(&format!("./{pipe}")).exits(0);
        writer.join().unwrap().unwrap();
        ended
    };
    // A pipe continues its spool under any path to it.
    killed(&world, "two.fifo", &cut(lines[4], lines[5]));
    let ended = import("two.fifo", rest(lines[5]));
    ended.says(&["finishing what an earlier run read from ./two.fifo"]);
    assert_each_once(&world.server, [0, 2, 3, 4, 5]);
    assert_eq!(world.spooled(), None);
    // The half line of a finished spool waits for its pipe.
    import("one.fifo", rest(lines[1]));
    assert_each_once(&world.server, 0..6);
    assert_eq!(world.spooled(), None);
}

/// The writer of a pipe does not repeat its data.
#[test]
fn everything_piped_while_matomo_is_away_is_saved() {
    let lines = 20_000;
    let busy = Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    };
    let closed = Faults {
        maintenance: true,
        ..Faults::default()
    };
    for faults in [busy, closed] {
        let world = World::faulty(faults).args("--retry-max-attempts=2");
        let text = log(0..lines, 6000);
        assert!(
            text.len() > 2_000_000,
            "the input is shorter than the read-ahead buffer"
        );
        let ended = assert_adds_up(world.program().arg("-").stdin(text).run());
        ended.exits(1).says(&["503", "all of stdin is saved in "]);
        assert!(stored(&world.server).is_empty());
        world.server.set_faults(Faults::default());
        assert_adds_up(world.program().arg("-").stdin("").run()).exits(0);
        assert_each_once(&world.server, 0..lines);
        assert_eq!(world.spooled(), None, "spooled data is left");
    }
}

#[test]
fn with_few_open_files_an_import_can_be_resumed_or_sends_nothing() {
    let faults = || Faults {
        rules: vec![(When::From(7), Fault::Busy(503, None))],
        ..Faults::default()
    };
    let mut resumable = 0;
    // With one file more or less, something else fails.
    for files in 8..=32 {
        let world = world(8, faults()).args("--retry-max-attempts=1");
        std::fs::create_dir(world.folder.file("temp")).unwrap();
        let limited = program(&world).through(&format!("ulimit -n {files}"));
        let temp = world.folder.file("temp");
        let ended = assert_adds_up(limited.env("TMPDIR", temp.to_str().unwrap()).run());
        let left = |place: PathBuf| {
            let names = std::fs::read_dir(place)
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            let is_left = |name: &std::ffi::OsString| name.to_string_lossy().contains("state");
            names.filter(is_left).count()
        };
        let left = left(temp) + left(world.folder.path().to_owned());
        world.server.set_faults(Faults::default());
        match ended.err.contains("run again with --state-dir=") {
            true => {
                resumable += 1;
                assert_eq!(left, 1, "{ended}");
                assert_finishes(&world, &ended);
            }
            false => {
                assert_eq!(left, 0, "{files} files: {ended}");
                assert!(stored(&world.server).is_empty(), "{files} files: {ended}");
            }
        }
    }
    assert!(resumable > 0);
}
