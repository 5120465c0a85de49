//! Logs that grow, shrink, move and disappear, or are damaged, during and between runs.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, When};

use super::numbered::{assert_each_once, line, log, stored};
use super::world::{World, assert_adds_up};
use crate::support::folder::gzip;
use crate::support::until;

const A_DAY: usize = 40;

fn world() -> World {
    World::new(Duration::ZERO).args("--recorders=3 --recorder-max-payload-size=20")
}

fn append(world: &World, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .open(world.folder.file("access.log"))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A slow server and a long log, so that most of it is unread when its first lines are stored.
fn slow_world(lines: usize) -> World {
    let world = World::new(Duration::from_millis(100)).args(
        "--recorders=2 --recorder-max-payload-size=2000 --request-timeout=60 --read-back=off",
    );
    world.folder.write("access.log", log(0..lines, lines / 3));
    world
}

fn wait_until_something_is_stored(world: &World) -> bool {
    until(Duration::from_secs(30), || {
        world.server.store().count().unwrap() > 0
    })
}

#[test]
fn a_log_removed_while_it_is_read_is_read_to_its_end() {
    const LINES: usize = 20_000;
    let world = slow_world(LINES);
    let running = world.program().arg("access.log").start();
    assert!(wait_until_something_is_stored(&world));
    fs::remove_file(world.folder.file("access.log")).unwrap();
    assert_adds_up(running.end()).exits(0);
    assert_each_once(&world.server, 0..LINES);
    world
        .import("access.log")
        .exits(3)
        .says(&["access.log", "no such file"]);
}

#[test]
fn a_log_truncated_while_it_is_read_is_stored_once() {
    const LINES: usize = 20_000;
    let world = slow_world(LINES);
    let running = world.program().arg("access.log").start();
    assert!(wait_until_something_is_stored(&world));
    let file = OpenOptions::new()
        .write(true)
        .open(world.folder.file("access.log"));
    file.unwrap().set_len(100_000).unwrap();
    assert_adds_up(running.end())
        .exits(3)
        .says(&["access.log", "truncated while it was read"]);
    let read = stored(&world.server).len();
    assert!((600..LINES).contains(&read), "{read} lines");
    assert_each_once(&world.server, 0..read);
    // It is now another log, because it no longer contains what was read.
    let file = OpenOptions::new()
        .write(true)
        .open(world.folder.file("access.log"));
    file.unwrap().set_len(0).unwrap();
    append(&world, &log(LINES..LINES + 50, A_DAY));
    world
        .import("access.log")
        .exits(0)
        .says(&["access.log: truncated since the last run"]);
    assert_each_once(&world.server, (0..read).chain(LINES..LINES + 50));
}

#[test]
fn an_incomplete_last_line_waits_for_its_end() {
    let world = world();
    let last = line(50, A_DAY);
    let (half, rest) = last.split_at(last.len() - 1);
    world.folder.write("access.log", log(0..50, A_DAY) + half);
    for _ in 0..2 {
        let ended = world.import("access.log").exits(0);
        assert_eq!(ended.summary().get("invalid"), 0);
        assert_each_once(&world.server, 0..50);
    }
    append(&world, rest);
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..51);
}

#[test]
fn the_last_line_of_a_compressed_log_needs_no_line_end() {
    let world = world();
    world
        .folder
        .write("access.log.1.gz", gzip(log(0..50, A_DAY).trim_end()));
    for _ in 0..2 {
        world.import("access.log.1.gz").exits(0);
        assert_each_once(&world.server, 0..50);
    }
}

#[test]
fn a_log_compressed_with_an_incomplete_last_line_is_imported_once() {
    let world = world();
    let content = log(0..50, A_DAY);
    world.folder.write("access.log", content.trim_end());
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..49);
    fs::remove_file(world.folder.file("access.log")).unwrap();
    world
        .folder
        .write("access.log.1.gz", gzip(content.trim_end()));
    for _ in 0..2 {
        world.import("access.log.1.gz").exits(0);
        assert_each_once(&world.server, 0..50);
    }
}

#[test]
fn a_line_of_a_hundred_megabytes_is_invalid_and_needs_no_memory() {
    let world = World::new(Duration::from_millis(100)).args("--recorders=1");
    let mut content = log(0..20, A_DAY).into_bytes();
    content.resize(content.len() + 100_000_000, b'x');
    content.push(b'\n');
    content.extend_from_slice(log(20..40, A_DAY).as_bytes());
    world.folder.write("access.log", &content);
    let mut running = world.program().arg("access.log").start();
    let mut peak = 0;
    assert!(until(Duration::from_secs(60), || {
        peak = peak.max(running.peak_memory().unwrap_or(0));
        running.has_ended()
    }));
    let ended = assert_adds_up(running.end()).exits(0);
    assert_eq!(ended.summary().get("invalid"), 1);
    assert_each_once(&world.server, 0..40);
    assert!((1..60_000_000).contains(&peak), "{peak} bytes");
}

#[test]
fn a_truncated_compressed_log_is_imported_in_part_and_resumes_when_it_is_complete() {
    // The damage to the short log is within the bytes that identify a log.
    for lines in [3000, 12] {
        let world = world();
        let whole = gzip(log(0..lines, 500));
        world
            .folder
            .write("access.log.gz", &whole[..whole.len() * 3 / 5]);
        for _ in 0..2 {
            let ended = world.import("access.log.gz").exits(3);
            ended.says(&["access.log.gz", "truncated"]);
        }
        let read = stored(&world.server).len();
        assert!(
            (1 + lines / 30..lines - lines / 30).contains(&read),
            "{read} lines"
        );
        assert_each_once(&world.server, 0..read);
        world.folder.write("access.log.gz", &whole);
        world.import("access.log.gz").exits(0);
        assert_each_once(&world.server, 0..lines);
    }
}

#[test]
fn named_pipes_are_read() {
    let world = world();
    world.folder.write("content", log(0..200, A_DAY));
    let made = std::process::Command::new("mkfifo")
        .arg(world.folder.file("pipe"))
        .status();
    assert!(made.unwrap().success());
    let writer = {
        let (from, to) = (world.folder.file("content"), world.folder.file("pipe"));
        std::thread::spawn(move || fs::write(to, fs::read(from).unwrap()))
    };
    world.import("pipe").exits(0);
    writer.join().unwrap().unwrap();
    assert_each_once(&world.server, 0..200);
    assert_eq!(world.spooled(), None);
}

/// A SHOUTcast log of one day: a header and these lines.
fn shoutcast(lines: std::ops::Range<usize>) -> String {
    let header = "#Software: SHOUTcast\n#Version: 1.0\n\
        #Fields: c-ip c-dns date time cs-uri-stem c-status cs(User-Agent) sc-bytes x-duration avgbandwidth\n";
    let lines = lines.map(|number| {
        let (address, minute) = (number % 200 + 1, number % 60);
        format!(
            "10.0.0.{address} 10.0.0.{address} 2024-05-14 10:{minute:02}:00 /n/{number} 200 VLC 5 0 1\n"
        )
    });
    header.to_owned() + &lines.collect::<String>()
}

#[test]
fn a_day_without_listeners_blocks_no_other_day() {
    for args in ["", "--log-format-name=shoutcast", "--state-dir=state"] {
        let world = World::new(Duration::ZERO).args("--listening-time=off");
        world.folder.write("log.1", shoutcast(0..0));
        world.folder.write("log.2", shoutcast(0..30));
        world.folder.write("log.3", shoutcast(30..60));
        assert_adds_up(world.without_ledger().args(args).arg("log.*").run()).exits(0);
        assert_each_once(&world.server, 0..60);
    }
}

#[test]
fn a_log_renamed_while_it_is_read_is_not_read_again_under_its_new_name() {
    const LINES: usize = 20_000;
    let world = slow_world(LINES);
    world
        .folder
        .write("access.log.1", log(LINES..LINES + 50, A_DAY));
    let running = world.without_ledger().arg("access.log*").start();
    assert!(wait_until_something_is_stored(&world));
    let file = |name| world.folder.file(name);
    fs::rename(file("access.log.1"), file("access.log.2")).unwrap();
    fs::rename(file("access.log"), file("access.log.1")).unwrap();
    assert_adds_up(running.end())
        .exits(3)
        .says(&["access.log.1: this file was read as", "is not imported"]);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn a_log_with_two_names_is_read_once() {
    let world = world();
    world.folder.write("access.log", log(0..A_DAY, A_DAY));
    let file = |name| world.folder.file(name);
    std::os::unix::fs::symlink("access.log", file("access-latest.log")).unwrap();
    assert_adds_up(world.without_ledger().arg("access*.log").run())
        .exits(0)
        .says(&["this is the same file as"]);
    assert_each_once(&world.server, 0..A_DAY);
}

#[test]
fn the_ledger_of_a_stopped_import_knows_a_log_that_begins_like_another() {
    let world = World::faulty(Faults {
        rules: vec![(When::From(6), Fault::Busy(503, None))],
        ..Faults::default()
    })
    .args("--recorder-max-payload-size=20 --retry-max-attempts=1");
    world.folder.write("a.log", log(0..10, A_DAY));
    world.folder.write("b.log", log(0..300, A_DAY));
    let stopped = assert_adds_up(world.without_ledger().args("a.log b.log").run()).exits(1);
    let stopped = stopped.says(&[
        "b.log: 10 of ",
        " lines are done; continuing with the rest",
        "run again with --state-dir=",
    ]);
    let left = world.folder.file("import-logs-state");
    assert!(left.exists(), "{stopped}");
    world.server.set_faults(Faults::default());
    let state = format!("--state-dir={}", left.display());
    assert_adds_up(world.without_ledger().arg(state).args("a.log b.log").run()).exits(0);
    assert_each_once(&world.server, 0..300);
}

#[test]
fn a_log_rotated_while_its_pending_batch_is_settled_is_not_mistaken_for_another() {
    for by_copy in [false, true] {
        let world = World::new(Duration::ZERO)
            .args("--recorders=1 --recorder-max-payload-size=20 --keep-order --request-timeout=3");
        world.folder.write("access.log", log(0..200, A_DAY));
        let file = |name| world.folder.file(name);
        // The second batch is stored, but its response is not processed.
        let aborted = world
            .program()
            .env("IMPORT_LOGS_ABORT_AT", "after-answer:2")
            .arg("access.log")
            .run();
        assert!(aborted.code.is_none(), "{aborted}");
        let running = world.program().arg("access.log").start();
        // It waits for the server, for as long as a request may take.
        let waits = || running.has_said("waiting");
        assert!(until(Duration::from_secs(20), waits));
        match by_copy {
            true => {
                fs::copy(file("access.log"), file("access.log.1")).unwrap();
            }
            false => fs::rename(file("access.log"), file("access.log.1")).unwrap(),
        }
        world.folder.write("access.log", log(200..500, A_DAY));
        let ended = assert_adds_up(running.end());
        match by_copy {
            true => ended.exits(3).says(&["are still unconfirmed"]),
            false => ended.exits(0),
        };
        world.import("access.log access.log.1").exits(0);
        assert_each_once(&world.server, 0..500);
    }
}

#[test]
fn a_log_with_an_incomplete_last_line_does_not_block_one_that_begins_like_it() {
    let world = world();
    let half = log(10..11, A_DAY);
    let half = &half[..half.len() / 2];
    world.folder.write("a.log", log(0..10, A_DAY) + half);
    world.folder.write("b.log", log(0..60, A_DAY));
    world.import("a.log b.log").exits(0);
    assert_each_once(&world.server, 0..60);
}

#[test]
fn a_log_copied_and_truncated_while_it_is_read_is_distinguished_from_the_new_one() {
    const LINES: usize = 20_000;
    let world = slow_world(LINES);
    let running = world.program().arg("access.log").start();
    assert!(wait_until_something_is_stored(&world));
    let file = |name| world.folder.file(name);
    fs::copy(file("access.log"), file("access.log.1")).unwrap();
    OpenOptions::new()
        .write(true)
        .open(file("access.log"))
        .unwrap()
        .set_len(0)
        .unwrap();
    append(&world, &log(LINES..LINES + 30_000, LINES));
    assert_adds_up(running.end())
        .exits(3)
        .says(&["access.log", "truncated while it was read"]);
    world.import("access.log access.log.1").exits(0);
    assert_each_once(&world.server, 0..LINES + 30_000);
}

#[test]
fn a_truncated_compressed_log_resumes_after_a_stopped_run() {
    let world = World::faulty(Faults {
        rules: vec![(When::From(4), Fault::Busy(503, None))],
        ..Faults::default()
    })
    .args("--recorders=1 --recorder-max-payload-size=20 --retry-max-attempts=1 --keep-order");
    let packed = gzip(log(0..400, A_DAY));
    world
        .folder
        .write("access.log.gz", &packed[..packed.len() - 20]);
    world.import("access.log.gz").exits(1);
    world.server.set_faults(Faults::default());
    world.import("access.log.gz").exits(3).says(&["truncated"]);
    let read = stored(&world.server).len();
    assert!((100..400).contains(&read), "{read} lines");
    world.folder.write("access.log.gz", &packed);
    world.import("access.log.gz").exits(0);
    assert_each_once(&world.server, 0..400);
}

#[test]
fn lines_after_the_incomplete_last_line_of_a_shared_beginning_are_sent_whole() {
    let whole = log(0..60, A_DAY);
    let ends = whole.match_indices('\n').nth(9).unwrap().0 + 5;
    for args in ["", "--state-dir=state"] {
        let world = World::new(Duration::ZERO).args("--log-format-name=ncsa_extended");
        let packed = args.starts_with("--state-dir");
        let (name, bytes) = match packed {
            true => ("a.log.gz", gzip(&whole[..ends])),
            false => ("a.log", whole[..ends].into()),
        };
        world.folder.write(name, bytes);
        world.folder.write("b.log", &whole);
        let program = world.without_ledger().args(args).args(name).arg("b.log");
        assert_adds_up(program.run()).exits(0);
        assert_each_once(&world.server, 0..60);
    }
}

#[test]
fn a_copy_that_is_still_being_made_is_not_imported() {
    let world = world();
    let text = log(0..1000, A_DAY);
    world.folder.write("access.log", &text);
    world.import("access.log").exits(0);
    for length in [500, 50_000, text.len() - 1] {
        world.folder.write("access.log.1", &text[..length]);
        let ended = world.import("access.log access.log.1").exits(0);
        ended.says(&["access.log.1: a copy of the beginning of "]);
    }
    // logrotate with copytruncate.
    world.folder.write("access.log.1", &text);
    world.folder.write("access.log", log(1000..1010, A_DAY));
    world.import("access.log access.log.1").exits(0);
    assert_each_once(&world.server, 0..1010);
}

#[test]
fn a_line_end_that_is_written_in_two_pieces_is_one() {
    for end in ["\r", "\r\n", "\n"] {
        let world = world();
        let text = log(0..6, A_DAY).replace('\n', end);
        for length in 1..=text.len() {
            let is_next_to_end = |at: usize| text.as_bytes()[..at].ends_with(b"\r");
            if is_next_to_end(length) || is_next_to_end(length - 1) || length == text.len() {
                world.folder.write("access.log", &text[..length]);
                let ended = world.import("access.log").exits(0);
                assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
            }
        }
        // A carriage return at the end is no line end yet.
        let complete = if end == "\r" { 5 } else { 6 };
        assert_each_once(&world.server, 0..complete);
    }
}

#[test]
fn zeros_at_the_start_of_a_truncated_log_lose_no_line() {
    let world = world();
    world.folder.write("access.log", log(0..A_DAY, A_DAY));
    world.import("access.log").exits(0);
    // The writer keeps its position.
    let file = fs::File::create(world.folder.file("access.log")).unwrap();
    let mut position = 100_000;
    for lines in [
        log(A_DAY..2 * A_DAY, A_DAY),
        log(2 * A_DAY..3 * A_DAY, A_DAY),
    ] {
        std::os::unix::fs::FileExt::write_all_at(&file, lines.as_bytes(), position).unwrap();
        position += lines.len() as u64;
        let ended = world.import("access.log").exits(0);
        assert_eq!(ended.summary().get("invalid"), 0, "{ended}");
    }
    assert_each_once(&world.server, 0..3 * A_DAY);
}
