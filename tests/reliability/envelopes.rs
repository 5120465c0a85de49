//! Logs of container runtimes, whose lines come in parts.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use crate::support::fake::Options;
use rustix::process::Signal;

use super::numbered::{self, assert_each_once};
use super::random::Random;
use super::world::{TIMEOUT, World, assert_adds_up};
use crate::support::clock::{LONGEST, until};
use crate::support::stored::options;
use crate::support::{Ended, at_once};

const A_DAY: usize = 100;

fn part(stream: &str, tag: char, text: &str) -> String {
    format!("2024-05-14T04:25:24.497999999+00:00 {stream} {tag} {text}\n")
}

/// The numbered lines in envelopes. Two of three are cut into parts, interleaved with each other
/// and with a whole line.
fn log(numbers: Range<usize>) -> String {
    let numbers: Vec<usize> = numbers.collect();
    let mut log = String::new();
    for group in numbers.chunks(3) {
        let lines: Vec<String> = group
            .iter()
            .map(|number| numbered::line(*number, A_DAY))
            .collect();
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        match lines[..] {
            [a, b, c] => {
                log += &part("stdout", 'P', &a[..20]);
                log += &part("stderr", 'P', &b[..30]);
                log += &part("stderr", 'P', &b[30..60]);
                log += &part("stdout", 'F', &a[20..]);
                log += c;
                log += "\n";
                log += &part("stderr", 'F', &b[60..]);
            }
            _ => lines
                .iter()
                .for_each(|line| log += &part("stdout", 'F', line)),
        }
    }
    log
}

fn world(delay: Duration, recorders: usize) -> World {
    World::with(Options { delay, ..options() }).args(&format!(
        "--recorders={recorders} --recorder-max-payload-size=10"
    ))
}

fn append(world: &World, name: &str, text: &str) {
    let path = world.folder.file(name);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn joined_lines_are_stored_once_after_repeated_kills() {
    const LINES: usize = 600;
    const DELAY: Duration = Duration::from_millis(25);
    at_once(vec![1, 3], |recorders| {
        let mut random = Random::new(&format!("envelopes {recorders}"));
        let world = world(DELAY, recorders);
        world.folder.write("access.log", log(0..LINES));
        for _ in 0..8 {
            let mut running = world.program().arg("access.log").start();
            let calls = world.calls() + 1 + random.below(6);
            until(LONGEST, || running.has_ended() || world.calls() >= calls);
            sleep(Duration::from_millis(
                random.below(2 * DELAY.as_millis() as u64),
            ));
            if !running.has_ended() {
                running.signal(Signal::KILL);
            }
            running.end();
        }
        sleep(TIMEOUT);
        world.import("access.log").exits(0);
        assert_each_once(&world.server, 0..LINES);
        world.import("access.log").exits(0);
        assert_each_once(&world.server, 0..LINES);
    });
}

#[test]
fn a_log_that_grows_by_any_number_of_bytes_is_stored_once() {
    const LINES: usize = 120;
    let world = world(Duration::ZERO, 1);
    let mut random = Random::new("growing envelopes");
    let log = log(0..LINES);
    let mut rest = log.as_str();
    while !rest.is_empty() {
        let length = rest.len().min(1 + random.below(3000) as usize);
        append(&world, "access.log", &rest[..length]);
        rest = &rest[length..];
        world.import("access.log");
    }
    assert_each_once(&world.server, 0..LINES);
    let status = world.import("access.log").exits(0);
    assert!(
        status.err.contains("already imported to its end"),
        "{status}"
    );
}

#[test]
fn a_log_that_is_rotated_within_a_joined_line_is_stored_once() {
    let world = world(Duration::ZERO, 2);
    let (first, rest) = (log(0..30), log(30..33));
    let cut = rest.find('\n').unwrap() + 1;
    append(&world, "access.log", &(first + &rest[..cut]));
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..30);
    let [old, new] = ["access.log.1", "access.log"].map(|name| world.folder.file(name));
    fs::rename(new, old).unwrap();
    append(&world, "access.log.1", &rest[cut..]);
    append(&world, "access.log", &log(33..60));
    world.import("access.log.1 access.log").exits(0);
    assert_each_once(&world.server, 0..60);
}

#[test]
fn joined_lines_come_through_a_pipe_and_an_open_spool() {
    const LINES: usize = 300;
    let world = world(Duration::from_millis(20), 1);
    let log = log(0..LINES);
    let mut running = world.program().arg("-").start();
    running.feed(log.clone().into_bytes());
    assert!(until(LONGEST, || world.calls() >= 4));
    running.signal(Signal::KILL);
    running.end();
    let length = world.spooled().unwrap_or_default().len();
    sleep(TIMEOUT);
    let rest = &log[length + world.half_line().len()..];
    assert_adds_up(world.program().arg("-").stdin(rest).run()).exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn an_incomplete_line_at_the_end_of_a_pipe_is_counted() {
    let world = world(Duration::ZERO, 1);
    let rest = log(30..33);
    let cut = rest.find('\n').unwrap() + 1;
    let piped = |input: String| {
        let program = world.program().args("--max-invalid=100 -");
        assert_adds_up(program.stdin(input).run()).exits(0)
    };
    let ended = piped(log(0..30) + &rest[..cut]);
    let counts = |ended: &Ended| ["imported", "invalid"].map(|name| ended.summary().get(name));
    assert_eq!(counts(&ended), [30, 1]);
    assert_eq!(counts(&piped(rest[cut..].to_owned())), [2, 1]);
}

#[test]
fn verification_finds_all_joined_lines() {
    let world = world(Duration::ZERO, 1);
    world.folder.write("access.log", log(0..90));
    world.import("access.log").exits(0);
    let verified = world
        .program()
        .args("--verify=all access.log")
        .run()
        .exits(0);
    assert!(verified.out.contains("90"), "{verified}");
    assert_each_once(&world.server, 0..90);
}

#[test]
fn a_joined_line_is_one_line_with_the_number_of_its_first_part() {
    let world = world(Duration::ZERO, 1);
    let broken = [
        part("stdout", 'P', "not a "),
        part("stderr", 'F', "a message"),
        part("stdout", 'F', "line"),
    ];
    world
        .folder
        .write("access.log", log(0..3) + &broken.concat() + &log(3..6));
    let args = "--rejects=rejects.log --max-invalid=100 access.log";
    let ended = world.import(args).exits(0);
    assert_eq!(
        (
            ended.summary().get("imported"),
            ended.summary().get("invalid")
        ),
        (6, 2)
    );
    let rejects = world.folder.read("rejects.log");
    let misfit = "invalid: not in the format of the log";
    let expected = format!(
        "# rejected by import-logs, format: ncsa_extended\n\
         # access.log:8: {misfit}\na message\n# access.log:7: {misfit}\nnot a line\n"
    );
    assert_eq!(rejects, expected);
    // Corrected, the rejects are a log without envelopes.
    let line = numbered::line(6, A_DAY);
    world
        .folder
        .write("mended.log", rejects.replace("not a line\n", &line));
    world.import("--max-invalid=100 mended.log").exits(0);
    assert_each_once(&world.server, 0..7);
    // The next lines are numbered by those of the file.
    append(&world, "access.log", "junk\n");
    let ended = world
        .program()
        .args("-dd --max-invalid=100 access.log")
        .run()
        .exits(0);
    assert!(ended.err.contains("access.log:16: "), "{ended}");
}

#[test]
fn skipped_lines_are_joined_lines() {
    let world = world(Duration::ZERO, 1);
    world.folder.write("access.log", log(0..9));
    let ended = world.without_ledger().args("--skip=3 access.log").run();
    assert_adds_up(ended).exits(0);
    assert_each_once(&world.server, 3..9);
}
