//! A pipe that stays open: what was written to it goes out when it pauses.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use crate::support::fake::FakeMatomo;

use crate::support::folder::gzip;
use crate::support::stored::{assert_each_once, count, fake_matomo, numbers};
use crate::support::{Folder, Program, Running, logs, until};

fn open(server: &FakeMatomo, args: &str) -> Running {
    let folder = Folder::new();
    Program::new(&folder)
        .to(server)
        .args("--idsite=1")
        .args(args)
        .args("-")
        .start()
}

/// So many hits are at the server within that time.
#[track_caller]
fn assert_there(server: &FakeMatomo, hits: u64, within: Duration) {
    let there = until(within, || count(server) >= hits);
    assert!(there, "{} of {hits} are there", count(server));
}

const SOON: Duration = Duration::from_secs(5);
/// Long enough for what would be sent at once, were it sent.
const A_WHILE: Duration = Duration::from_millis(700);

#[test]
fn a_line_is_at_the_server_within_five_seconds_its_format_found_out() {
    let server = fake_matomo();
    let mut program = open(&server, "");
    program.write(&logs::line(0, 1));
    assert_there(&server, 1, SOON);
    program.write(&logs::line(1, 1));
    assert_there(&server, 2, SOON);
    program.end().exits(0);
    assert_each_once(&server, 2);
}

#[test]
fn many_recorders_do_not_make_it_wait_longer() {
    let server = fake_matomo();
    let mut program = open(&server, "--recorders=8 --flush-interval=0.2");
    program.write(&logs::log(30));
    assert_there(&server, 30, SOON);
    program.end().exits(0);
    assert_each_once(&server, 30);
}

#[test]
fn a_pause_after_lines_that_are_not_imported_ends_nothing() {
    let server = fake_matomo();
    let mut program = open(
        &server,
        "--log-format-name=ncsa_extended --flush-interval=0.1",
    );
    program.write(&logs::page("/style.css", 0, 1));
    assert!(!until(A_WHILE, || count(&server) > 0));
    program.write(&logs::line(0, 1));
    assert_there(&server, 1, SOON);
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
    let server = fake_matomo();
    let mut program = open(
        &server,
        "--log-format-name=ncsa_extended --flush-interval=600",
    );
    program.write(&logs::log(3));
    assert!(!until(A_WHILE, || count(&server) > 0));
    program.end().exits(0);
    assert_each_once(&server, 3);
    assert_eq!(server.log().tracker.len(), 1);
}

#[test]
fn full_batches_do_not_wait() {
    let server = fake_matomo();
    let args =
        "--log-format-name=ncsa_extended --flush-interval=600 --recorder-max-payload-size=10";
    let mut program = open(&server, args);
    program.write(&logs::log(1000));
    assert_there(&server, 500, SOON);
    program.end().exits(0);
    assert_each_once(&server, 1000);
}

#[test]
fn a_line_whose_end_is_not_there_yet_is_not_torn() {
    let server = fake_matomo();
    let mut program = open(&server, "--flush-interval=0.1");
    let line = logs::line(0, 1);
    let (one, two) = line.split_at(60);
    program.write(one);
    assert!(!until(A_WHILE, || count(&server) > 0));
    program.write(two);
    assert_there(&server, 1, SOON);
    let ended = program.end().exits(0);
    assert_eq!(ended.summary().get("invalid"), 0);
}

#[test]
fn a_last_line_without_its_end_counts_when_the_pipe_ends() {
    let server = fake_matomo();
    let log = logs::log(3);
    Program::new(&Folder::new())
        .to(&server)
        .args("--idsite=1 -")
        .stdin(log.trim_end())
        .run()
        .exits(0);
    assert_each_once(&server, 3);
}

#[test]
fn what_is_packed_may_come_through_a_pipe() {
    let server = fake_matomo();
    Program::new(&Folder::new())
        .to(&server)
        .args("--idsite=1 -")
        .stdin(gzip(logs::log(500)))
        .run()
        .exits(0);
    assert_each_once(&server, 500);
}

#[test]
fn a_named_pipe_is_a_log_like_any_other() {
    let server = fake_matomo();
    let folder = Folder::new();
    let pipe = folder.file("access.fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 access.fifo")
        .start();
    // Opening waits for the program to open the other end.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(logs::line(0, 1).as_bytes()).unwrap();
    assert_there(&server, 1, SOON);
    drop(writer);
    program.end().exits(0);
    assert_eq!(numbers(&server), [0]);
}
