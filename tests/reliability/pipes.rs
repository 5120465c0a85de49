//! Pipes that end early or late: saved after a failure, cut in the middle of a line, limited, or
//! without a writer.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::numbered::{assert_each_once, log};
use super::world::{World, assert_adds_up};
use crate::support::clock::LONGEST;
use crate::support::fake::{Fault, Faults, When};
use crate::support::folder::gzip;
use crate::support::{Ended, until};

fn piped(world: &World, args: &str, input: impl AsRef<[u8]>) -> Ended {
    assert_adds_up(world.program().args(args).arg("-").stdin(input).run())
}

/// The input after the bytes that a run says it saved.
fn rest<'i>(ended: &Ended, input: &'i [u8]) -> &'i [u8] {
    let (_, number) = ended.err.split_once("tail -c +").expect("no advice");
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap();
    let from: usize = number[..end].parse().unwrap();
    &input[from - 1..]
}

/// Kills a run after it saves this input and before it imports any of it.
fn killed(world: &World, input: &str) {
    let mut program = world.program().arg("--flush-interval=600").arg("-").start();
    program.write(input);
    let saved = || {
        world
            .spooled()
            .is_some_and(|kept| kept.ends_with(input.as_bytes()))
    };
    assert!(until(LONGEST, saved));
    program.signal(Signal::KILL);
    program.end();
}

#[test]
fn saved_bytes_are_counted_in_the_input_of_the_current_run() {
    let world = World::new(Duration::ZERO);
    let text = log(0..4000, 600);
    let (first, second) = text.as_bytes().split_at(100_000);
    killed(&world, std::str::from_utf8(first).unwrap());
    // To simulate a full disk, `ulimit` limits the length of files.
    let program = world.program().through("ulimit -f 600");
    let ended = assert_adds_up(program.arg("-").stdin(second).run()).exits(3);
    let ended = ended
        .says(&["cannot write state/spool."])
        .hides("reading stopped at byte");
    piped(&world, "", rest(&ended, second)).exits(0);
    assert_each_once(&world.server, 0..4000);
    assert_eq!(world.spooled(), None);
}

#[test]
fn a_pipe_is_saved_whatever_is_wrong_with_the_command() {
    let text = log(0..300, 60);
    for args in [
        "--exclude-path-from=none",
        "--output=none/x",
        "--no-such-option",
        "--in-doubt=perhaps --another --no-such-option=1",
        "--log-format-regex=(",
        "--retry-delay=soon",
        "--url=https://URL --ca-certificate=none",
    ] {
        let world = World::new(Duration::ZERO);
        let args = args.replace("URL", world.server.url().strip_prefix("http://").unwrap());
        let ended = piped(&world, &args, &text).exits(2);
        ended.says(&["all of stdin is saved in "]);
        piped(&world, "", "").exits(0);
        assert_each_once(&world.server, 0..300);
        assert_eq!(world.spooled(), None);
    }
}

#[test]
fn a_pipe_that_cannot_be_saved_is_reported_as_lost() {
    let world = World::new(Duration::ZERO);
    let lost = "what is in stdin is lost";
    world.folder.write("file", "");
    for (args, code) in [
        ("--state-dir=file", 1),
        ("--state-dir=file --exclude-path-from=none", 2),
        ("--url=http://", 2),
    ] {
        let ended = piped(&world, args, log(0..3, 60)).exits(code);
        ended
            .says(&[lost, "running again does not bring it back"])
            .hides("run the same command again");
    }
    let unsaved = |program: crate::support::Program| {
        assert_adds_up(program.arg("-").stdin(log(0..3, 60)).run()).exits(2)
    };
    let wrong = || world.without_ledger().arg("--exclude-path-from=none");
    unsaved(wrong()).says(&[lost, "--state-dir would have saved it"]);
    // A dry run loses nothing, and a file can be read again.
    unsaved(wrong().arg("--dry-run")).hides("lost");
    world.folder.write("access.log", log(0..3, 60));
    unsaved(wrong().through("exec < access.log")).hides("lost");
}

#[test]
fn a_line_that_is_cut_between_two_pipes_is_imported_once() {
    // Cuts are also in the first line, and twice in the same line.
    import_in_pieces(&log(0..60, 60), &[20, 30, 500, 1, 1000, 0, 333, 2000]);
}

#[test]
fn lines_that_end_in_a_carriage_return_are_imported_once_wherever_a_pipe_is_cut() {
    let text = log(0..60, 60).replace('\n', "\r");
    let line = text.find('\r').unwrap() + 1;
    // The last byte of a pipe may be the end of its line.
    import_in_pieces(&text, &[20, line - 20, line, 500, 1, 1000, 0, 333]);
}

/// Pipes 60 lines in pieces of these lengths and a last piece, each to a separate run.
#[track_caller]
fn import_in_pieces(text: &str, lengths: &[usize]) {
    let world = World::new(Duration::ZERO);
    let mut rest = text;
    for length in lengths.iter().chain([&text.len()]) {
        let (now, later) = rest.split_at(*length.min(&rest.len()));
        let ended = piped(&world, "", now).exits(0);
        assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
        assert_eq!(world.spooled(), None, "{ended}");
        rest = later;
    }
    assert_each_once(&world.server, 0..60);
}

#[test]
fn a_killed_run_that_saved_half_of_a_line_end_is_resumed() {
    let text = log(0..60, 60).replace('\n', "\r\n");
    let (at, _) = text.match_indices('\n').nth(20).unwrap();
    let (first, second) = text.split_at(at);
    let world = World::new(Duration::ZERO);
    killed(&world, first);
    let ended = piped(&world, "", second).exits(0);
    assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
    assert_each_once(&world.server, 0..60);
    assert_eq!(world.spooled(), None);
}

#[test]
fn a_pipe_in_utf16_ends_with_its_last_line() {
    let text = format!("\u{feff}{}", log(0..60, 60));
    for text in [&text as &str, text.trim_end()] {
        let world = World::new(Duration::ZERO);
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let ended = piped(&world, "", &bytes).exits(0);
        assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
        assert_eq!(world.spooled(), None, "{ended}");
        assert_each_once(&world.server, 0..60);
    }
}

#[test]
fn the_half_line_of_a_pipe_that_could_not_be_sent_is_continued() {
    let args = "--retry-max-attempts=1 --recorder-max-payload-size=5 --keep-order";
    let world = World::new(Duration::ZERO).args(args);
    let text = log(0..60, 60);
    let (first, second) = text.split_at(3333);
    // Some of the lines are sent, so the spool must be recognized without its half line.
    world.server.set_faults(Faults {
        rules: vec![(When::From(3), Fault::Busy(503, None))],
        ..Faults::default()
    });
    piped(&world, "", first).exits(1);
    world.server.set_faults(Faults::default());
    let ended = piped(&world, "", second).exits(0);
    assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
    assert_each_once(&world.server, 0..60);
    assert_eq!(world.spooled(), None);
}

#[test]
fn the_half_line_of_a_killed_run_waits_for_its_own_pipe() {
    let world = World::new(Duration::ZERO);
    let text = log(0..60, 60);
    let (first, second) = text.split_at(3333);
    killed(&world, first);
    world.folder.write("access.log", log(60..90, 60));
    let ended = world.import("access.log").exits(0);
    assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
    piped(&world, "", second).exits(0);
    assert_each_once(&world.server, 0..90);
}

#[test]
fn a_crash_while_a_half_line_is_moved_neither_loses_nor_doubles_it() {
    let text = log(0..60, 60);
    let (first, second) = text.split_at(3333);
    let world = World::new(Duration::ZERO);
    let dying = world
        .program()
        .env("IMPORT_LOGS_ABORT_AT", "after-half-line");
    assert_eq!(dying.arg("-").stdin(first).run().code, None);
    piped(&world, "", second).exits(0);
    assert_each_once(&world.server, 0..60);
    assert_eq!(world.spooled(), None);
}

#[test]
fn a_compressed_pipe_ends_with_its_last_line() {
    let world = World::new(Duration::ZERO);
    let text = log(0..60, 60);
    piped(&world, "", gzip(text.trim_end())).exits(0);
    piped(&world, "", log(60..90, 60)).exits(0);
    assert_each_once(&world.server, 0..90);
}

#[test]
fn a_spool_has_a_limit_and_the_message_says_how_to_continue() {
    let world = World::new(Duration::ZERO);
    let text = log(0..500, 60);
    let mut input = text.as_bytes();
    let mut runs = 1;
    loop {
        let ended = piped(&world, "--spool-max=20K", input);
        if ended.code == Some(0) {
            break;
        }
        let ended = ended.exits(3);
        input = rest(&ended.says(&["has reached --spool-max"]), input);
        runs += 1;
    }
    assert!(runs > 3, "{runs} runs");
    assert_each_once(&world.server, 0..500);
    assert_eq!(world.spooled(), None);
}

#[test]
fn a_compressed_spool_is_continued_with_a_higher_limit() {
    let world = World::new(Duration::ZERO);
    let packed = gzip(log(0..2000, 60));
    let ended = piped(&world, "--spool-max=4K", &packed).exits(3);
    let ended = ended.says(&["raise --spool-max"]);
    piped(&world, "", rest(&ended, &packed)).exits(0);
    assert_each_once(&world.server, 0..2000);
    assert_eq!(world.spooled(), None);
}

#[test]
fn endless_data_stops_at_the_limit() {
    let world = World::new(Duration::ZERO);
    std::os::unix::fs::symlink("/dev/zero", world.folder.file("zero.log")).unwrap();
    world.folder.write("access.log", log(0..30, 60));
    let ended = world.import("--spool-max=2M zero.log access.log").exits(3);
    assert_each_once(&world.server, 0..30);
    assert!(world.spooled().unwrap().len() <= 2 << 20, "{ended}");
}

#[test]
fn a_pipe_without_a_writer_does_not_block_the_others() {
    for has_state_dir in [true, false] {
        let world = World::new(Duration::ZERO);
        let pipe = world.folder.file("a.log");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        world.folder.write("b.log", log(0..30, 60));
        let program = || match has_state_dir {
            true => world.program(),
            false => world.without_ledger(),
        };
        let args = "--pipe-wait=0.05 *.log";
        let ended = assert_adds_up(program().args(args).run()).exits(3);
        ended.says(&[
            "a.log: no program opened this pipe for writing",
            "--pipe-wait",
        ]);
        assert_each_once(&world.server, 0..30);
        assert_eq!(world.spooled(), None);
        // The program waits for a writer that is slow.
        let mut slow = program().args("--pipe-wait=60 a.log").start();
        let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
        writer.write_all(log(30..40, 60).as_bytes()).unwrap();
        assert!(!slow.has_ended());
        drop(writer);
        assert_adds_up(slow.end()).exits(0);
        assert_each_once(&world.server, 0..40);
    }
}

#[test]
fn a_closed_stdin_is_an_error_and_the_other_logs_are_imported() {
    let world = World::new(Duration::ZERO);
    world.folder.write("access.log", log(0..30, 60));
    for program in [world.program(), world.without_ledger()] {
        let program = program.through("exec <&-").args("- access.log");
        assert_adds_up(program.run())
            .exits(3)
            .says(&["stdin: cannot be read: it is closed"]);
    }
    assert_eq!(world.spooled(), None);
    // An empty stdin is not an error.
    let program = world.program().through("exec </dev/null").arg("-");
    assert_adds_up(program.run()).exits(0);
}
