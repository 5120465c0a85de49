//! A pipe that stays open: what was written to it goes out when it pauses.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use crate::support::fake::FakeMatomo;

use crate::support::folder::gzip;
use crate::support::stored::{assert_each_once, count, numbers, sandbox};
use crate::support::{Folder, Program, Running, logs, until};

fn open(sandbox: &FakeMatomo, args: &str) -> Running {
    let folder = Folder::new();
    Program::new(&folder)
        .to(sandbox)
        .args("--idsite=1")
        .args(args)
        .args("-")
        .start()
}

/// So many hits are at the server within that time.
#[track_caller]
fn assert_there(sandbox: &FakeMatomo, hits: u64, within: Duration) {
    let there = until(within, || count(sandbox) >= hits);
    assert!(there, "{} of {hits} are there", count(sandbox));
}

const SOON: Duration = Duration::from_secs(5);
/// Long enough for what would be sent at once, were it sent.
const A_WHILE: Duration = Duration::from_millis(700);

#[test]
fn a_line_is_at_the_server_within_five_seconds_its_format_found_out() {
    let sandbox = sandbox();
    let mut program = open(&sandbox, "");
    program.write(&logs::line(0, 1));
    assert_there(&sandbox, 1, SOON);
    program.write(&logs::line(1, 1));
    assert_there(&sandbox, 2, SOON);
    program.end().exits(0);
    assert_each_once(&sandbox, 2);
}

#[test]
fn many_recorders_do_not_make_it_wait_longer() {
    let sandbox = sandbox();
    let mut program = open(&sandbox, "--recorders=8 --flush-interval=0.2");
    program.write(&logs::log(30));
    assert_there(&sandbox, 30, SOON);
    program.end().exits(0);
    assert_each_once(&sandbox, 30);
}

#[test]
fn a_pause_after_lines_that_are_not_imported_ends_nothing() {
    let sandbox = sandbox();
    let mut program = open(
        &sandbox,
        "--log-format-name=ncsa_extended --flush-interval=0.1",
    );
    program.write(&logs::page("/style.css", 0, 1));
    assert!(!until(A_WHILE, || count(&sandbox) > 0));
    program.write(&logs::line(0, 1));
    assert_there(&sandbox, 1, SOON);
    let ended = program.end().exits(0);
    assert_eq!(
        (
            ended.summary().get("imported"),
            ended.summary().get("static")
        ),
        (1, 1)
    );
}

#[test]
fn the_user_decides_how_long_lines_wait_for_others() {
    let sandbox = sandbox();
    let mut program = open(
        &sandbox,
        "--log-format-name=ncsa_extended --flush-interval=600",
    );
    program.write(&logs::log(3));
    assert!(!until(A_WHILE, || count(&sandbox) > 0));
    program.end().exits(0);
    assert_each_once(&sandbox, 3);
    assert_eq!(sandbox.log().tracker.len(), 1);
}

#[test]
fn full_batches_do_not_wait() {
    let sandbox = sandbox();
    let args =
        "--log-format-name=ncsa_extended --flush-interval=600 --recorder-max-payload-size=10";
    let mut program = open(&sandbox, args);
    program.write(&logs::log(1000));
    assert_there(&sandbox, 500, SOON);
    program.end().exits(0);
    assert_each_once(&sandbox, 1000);
}

#[test]
fn a_line_whose_end_is_not_there_yet_is_not_torn() {
    let sandbox = sandbox();
    let mut program = open(&sandbox, "--flush-interval=0.1");
    let line = logs::line(0, 1);
    let (one, two) = line.split_at(60);
    program.write(one);
    assert!(!until(A_WHILE, || count(&sandbox) > 0));
    program.write(two);
    assert_there(&sandbox, 1, SOON);
    let ended = program.end().exits(0);
    assert_eq!(ended.summary().get("invalid"), 0);
}

#[test]
fn a_last_line_without_its_end_counts_when_the_pipe_ends() {
    let sandbox = sandbox();
    let log = logs::log(3);
    Program::new(&Folder::new())
        .to(&sandbox)
        .args("--idsite=1 -")
        .stdin(log.trim_end())
        .run()
        .exits(0);
    assert_each_once(&sandbox, 3);
}

#[test]
fn what_is_packed_may_come_through_a_pipe() {
    let sandbox = sandbox();
    Program::new(&Folder::new())
        .to(&sandbox)
        .args("--idsite=1 -")
        .stdin(gzip(logs::log(500)))
        .run()
        .exits(0);
    assert_each_once(&sandbox, 500);
}

#[test]
fn a_named_pipe_is_a_log_like_any_other() {
    let sandbox = sandbox();
    let folder = Folder::new();
    let pipe = folder.file("access.fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let program = Program::new(&folder)
        .to(&sandbox)
        .args("--idsite=1 access.fifo")
        .start();
    // Opening waits for the program to open the other end.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(logs::line(0, 1).as_bytes()).unwrap();
    assert_there(&sandbox, 1, SOON);
    drop(writer);
    program.end().exits(0);
    assert_eq!(numbers(&sandbox), [0]);
}
