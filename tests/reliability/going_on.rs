//! Imports that stop, and the way on: with the ledger by the same command, without it by the one that is printed.

use std::process::Command;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Options, When};
use rustix::process::Signal;

use super::numbered::{assert_each_once, log, stored};
use super::world::{World, adding_up};
use crate::support::clock::LONGEST;
use crate::support::folder::gzip;
use crate::support::stored::options;
use crate::support::{Ended, Running, until};

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

fn start(world: &World) -> Running {
    let program = world.without_ledger().arg("it's one.log");
    program.arg("two.log.gz").start()
}

/// Sends the signal when something is stored.
fn interrupt(world: &World, running: &Running, signal: Signal, more_than: usize) {
    let stored = || stored(&world.sandbox).len() > more_than;
    assert!(until(Duration::from_secs(30), stored));
    running.signal(signal);
}

/// The command that a stopped import printed.
fn printed(ended: &Ended) -> String {
    let mut lines = ended.err.lines();
    let found = lines.any(|line| line.contains("this goes on "));
    assert!(found, "{ended}");
    let command = lines.next().unwrap_or_default();
    assert!(command.contains("--state-dir="), "{ended}");
    command.to_owned()
}

/// Runs a command as a shell does.
fn run(world: &World, command: &str) -> (Option<i32>, String) {
    let ended = Command::new("sh")
        .args(["-c", command])
        .current_dir(world.folder.path())
        .env("MATOMO_TOKEN_AUTH", world.sandbox.token().expose())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!said.contains("add up"), "{said}");
    (ended.status.code(), said)
}

/// The printed command finishes the import, and once more it finds nothing to do.
fn finishes(world: &World, stopped: &Ended) {
    let command = printed(stopped);
    for _ in 0..2 {
        let (code, said) = run(world, &command);
        assert_eq!(code, Some(0), "{command}\n{said}");
        assert_each_once(&world.sandbox, 0..LINES);
    }
}

#[test]
fn after_ctrl_c_the_printed_command_goes_on() {
    for recorders in [1, 3, 8] {
        let world = world(recorders, Faults::default());
        let running = start(&world);
        interrupt(&world, &running, Signal::INT, 0);
        let ended = adding_up(running.end()).exits(130);
        let there = stored(&world.sandbox).len();
        assert!(there < LINES, "it was not interrupted: {ended}");
        assert_eq!(ended.summary().get("imported"), there as u64);
        finishes(&world, &ended);
    }
}

#[test]
fn after_the_last_attempt_the_printed_command_goes_on() {
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
        let ended = adding_up(start(&world).end());
        let ended = ended.exits(1);
        world.sandbox.set_faults(Faults::default());
        finishes(&world, &ended);
    }
}

#[test]
fn where_nothing_was_sent_the_same_command_begins_again() {
    let faults = Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    };
    let world = world(1, faults);
    let args = "--skip=100 --retry-max-attempts=1 two.log.gz";
    let stopped = adding_up(world.without_ledger().args(args).run()).exits(1);
    let stopped = stopped.says(&["nothing was sent yet: the same command begins again"]);
    assert!(!stopped.err.contains("--state-dir"), "{stopped}");
    assert!(!world.folder.file("import-logs-state").exists());
    world.sandbox.set_faults(Faults::default());
    adding_up(world.without_ledger().args(args).run()).exits(0);
    assert_each_once(&world.sandbox, LINES / 2 + 100..LINES);
}

#[test]
fn a_command_that_goes_on_without_a_limit_says_so() {
    let faults = Faults {
        rules: vec![(When::From(3), Fault::Busy(503, None))],
        ..Faults::default()
    };
    let world = world(1, faults);
    let args = "--debug-request-limit=100 --retry-max-attempts=1 two.log.gz";
    adding_up(world.without_ledger().args(args).run())
        .exits(1)
        .says(&["to the end of each log: --debug-request-limit does not go with that"]);
}

#[test]
fn a_command_that_goes_on_can_be_stopped_again() {
    let world = world(3, Faults::default());
    let running = start(&world);
    interrupt(&world, &running, Signal::INT, 0);
    let stopped = adding_up(running.end()).exits(130);
    let command = printed(&stopped);
    let there = stored(&world.sandbox).len();
    world.sandbox.set_faults(Faults {
        rules: vec![(When::From(4), Fault::RollBack)],
        ..Faults::default()
    });
    let (code, said) = run(&world, &command);
    assert_eq!(code, Some(1), "{said}");
    let now = stored(&world.sandbox).len();
    assert!((there + 1..LINES).contains(&now), "{now} after {there}");
    world.sandbox.set_faults(Faults::default());
    finishes(&world, &stopped);
}

#[test]
fn with_the_ledger_a_signal_lets_batches_finish_and_the_same_command_goes_on() {
    for (recorders, signal, code) in [(1, Signal::TERM, 143), (8, Signal::INT, 130)] {
        let world = world(recorders, Faults::default());
        let program = || world.program().arg("it's one.log").arg("two.log.gz");
        let running = program().start();
        interrupt(&world, &running, signal, 0);
        let ended = adding_up(running.end()).exits(code);
        let there = stored(&world.sandbox).len() as u64;
        assert!(there < LINES as u64, "it was not interrupted: {ended}");
        assert_eq!(ended.summary().get("imported"), there);
        assert!(world.in_doubt().is_empty());
        let summary = adding_up(program().run()).exits(0).summary();
        assert_eq!(summary.get("imported"), LINES as u64 - there);
        assert_each_once(&world.sandbox, 0..LINES);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_ledger_is_right_still() {
    let world =
        World::new(Duration::from_millis(500)).args("--recorders=2 --recorder-max-payload-size=50");
    world.folder.write("access.log", log(0..LINES, 60));
    let running = world.program().arg("access.log").start();
    interrupt(&world, &running, Signal::INT, 0);
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::INT);
    let ended = running.end().exits(130);
    assert_eq!(ended.out, "");
    assert!(!world.in_doubt().is_empty());
    world.import("access.log").exits(0);
    assert_each_once(&world.sandbox, 0..LINES);
}

#[test]
fn a_service_that_is_stopped_goes_on_with_its_stdin() {
    let world =
        World::new(Duration::from_millis(30)).args("--recorders=3 --recorder-max-payload-size=500");
    // Longer than what is read ahead.
    let lines = 20_000;
    let content = log(0..lines, 6000);
    let first = &content[..content.len() * 2 / 3];
    let mut running = world.program().arg("-").start();
    running.write(first);
    interrupt(&world, &running, Signal::TERM, 30);
    // It is not the pipe's end that ends it.
    assert!(until(Duration::from_secs(30), || running.has_ended()));
    adding_up(running.end()).exits(143);
    let kept = world.spooled().unwrap();
    assert!(kept == first.as_bytes(), "all that was in the pipe");
    let mut running = world.program().arg("-").start();
    running.feed(content.as_bytes()[kept.len()..].to_vec());
    let ended = adding_up(running.end()).exits(0);
    ended.says(&[&format!("what comes now follows its {} bytes", kept.len())]);
    assert_each_once(&world.sandbox, 0..lines);
    assert_eq!(world.spooled(), None);
}

#[test]
fn who_is_stopped_before_the_pipes_turn_keeps_what_is_in_it() {
    let world =
        World::new(Duration::from_millis(100)).args("--recorders=1 --recorder-max-payload-size=50");
    world.folder.write("access.log", log(0..3000, 60));
    let mut running = world.program().args("access.log -").start();
    running.write(&log(3000..3005, 60));
    interrupt(&world, &running, Signal::TERM, 30);
    assert!(until(Duration::from_secs(30), || running.has_ended()));
    adding_up(running.end())
        .exits(143)
        .says(&["bytes of stdin are safe in"]);
    adding_up(world.program().args("access.log").run()).exits(0);
    assert_each_once(&world.sandbox, 0..3005);
}

#[test]
fn who_is_stopped_before_the_server_answers_keeps_what_is_piped() {
    let world = World::new(Duration::ZERO);
    world.sandbox.set_faults(Faults {
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
        .says(&["bytes of stdin are safe in"]);
    world.sandbox.set_faults(Faults::default());
    world.folder.write("access.log", log(5..10, 60));
    adding_up(world.program().args("access.log").run()).exits(0);
    assert_each_once(&world.sandbox, 0..10);
}

#[test]
fn what_was_kept_of_stdin_is_finished_by_a_run_that_reads_something_else() {
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
    assert_each_once(&world.sandbox, (0..whole).chain(300..400));
    assert_eq!(world.spooled(), None);
}

/// A named pipe in the world's folder.
fn pipe(world: &World, name: &str) {
    let made = std::process::Command::new("mkfifo")
        .arg(world.folder.file(name))
        .status();
    assert!(made.unwrap().success());
}

/// Without the ledger a pipe is neither kept nor read again, and nothing else is said.
#[test]
fn the_printed_command_leaves_pipes_out_and_promises_nothing_of_them() {
    let world = world(1, Faults::default());
    pipe(&world, "one.fifo");
    let program = world.without_ledger().arg("one.fifo").arg("it's one.log");
    let running = program.arg("-").start();
    let path = world.folder.file("one.fifo");
    let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let through = log(LINES..2 * LINES, 60);
    std::io::Write::write_all(&mut writer, through.as_bytes()).unwrap();
    interrupt(&world, &running, Signal::INT, 0);
    let ended = adding_up(running.end()).exits(130);
    let ended = ended.says(&[
        "nothing is kept of one.fifo, stdin, which cannot be read again",
        "what is done of the other logs is kept in ",
    ]);
    let command = printed(&ended);
    assert!(
        !command.contains("fifo") && !command.ends_with(" -"),
        "{command}"
    );
    let before = stored(&world.sandbox).into_keys();
    let through: Vec<usize> = before.filter(|number| *number >= LINES).collect();
    let (code, said) = run(&world, &command);
    assert_eq!(code, Some(0), "{command}\n{said}");
    assert_each_once(&world.sandbox, (0..LINES / 2).chain(through));
}

/// Reads so much of a source and is killed: a whole line of it is at the server, and the rest is in its spool.
fn killed(world: &World, source: &str, text: &str) {
    let before = world.spooled().map_or(0, |spooled| spooled.len());
    let mut program = world.program().arg(source).start();
    let writer = match source {
        "-" => {
            program.write(text);
            None
        }
        // Opening waits for the program to open the other end.
        pipe => {
            let path = world.folder.file(pipe);
            let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
            Some(pipe)
        }
    };
    assert!(until(LONGEST, || {
        world
            .spooled()
            .is_some_and(|spooled| spooled.len() == before + text.len())
    }));
    program.signal(Signal::KILL);
    program.end();
    drop(writer);
}

#[test]
fn what_was_read_from_one_pipe_is_not_continued_with_another() {
    let world = World::new(Duration::ZERO).args("--log-format-name=ncsa_extended");
    for name in ["one.fifo", "two.fifo"] {
        pipe(&world, name);
    }
    let lines = log(0..6, 60);
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    // Each ends with the first half of a line, which is none by itself.
    let cut = |whole: &str, half: &str| format!("{whole}{}", &half[..30]);
    killed(&world, "one.fifo", &cut(lines[0], lines[1]));
    let rest = |text: &str| text.as_bytes()[30..].to_vec();
    // Killed again, with another half line beside it: two open spools.
    killed(&world, "-", &cut(lines[2], lines[3]));
    // A run of stdin finishes the other one and goes on with its own.
    let mut running = world.program().arg("-").start();
    running.feed(rest(lines[3]));
    let ended = adding_up(running.end()).exits(0);
    ended.says(&[
        "finishing what an earlier run read from a named pipe",
        "going on with what an earlier run read from stdin",
    ]);
    assert_each_once(&world.sandbox, [0, 2, 3]);
    assert_eq!(world.spooled(), None);
    // And a pipe goes on with what came through it, by whatever name.
    killed(&world, "two.fifo", &cut(lines[4], lines[5]));
    let writer = {
        let (path, rest) = (world.folder.file("two.fifo"), rest(lines[5]));
        std::thread::spawn(move || std::fs::write(path, rest))
    };
    let ended = world.import("./two.fifo").exits(0);
    ended.says(&["going on with what an earlier run read from ./two.fifo"]);
    writer.join().unwrap().unwrap();
    assert_each_once(&world.sandbox, [0, 2, 3, 4, 5]);
    assert_eq!(world.spooled(), None);
}

/// The server is away; whoever pipes will not do so again.
#[test]
fn what_is_piped_while_matomo_is_away_is_kept_whole() {
    let lines = 20_000;
    let away = Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    };
    let closed = Faults {
        maintenance: true,
        ..Faults::default()
    };
    for faults in [away, closed] {
        let world = World::faulty(faults).args("--retry-max-attempts=2");
        let text = log(0..lines, 6000);
        assert!(text.len() > 2_000_000, "more than is read ahead");
        let ended = adding_up(world.program().arg("-").stdin(text).run());
        ended.exits(1).says(&["503", "stdin is kept whole in "]);
        assert!(stored(&world.sandbox).is_empty());
        world.sandbox.set_faults(Faults::default());
        adding_up(world.program().arg("-").stdin("").run()).exits(0);
        assert_each_once(&world.sandbox, 0..lines);
        assert_eq!(world.spooled(), None, "nothing is left behind");
    }
}
