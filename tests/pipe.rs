//! Pipes that stay open: when the writer pauses, the lines so far are sent.

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

/// Checks that the server stores that many hits within the time.
#[track_caller]
fn assert_stored_within(server: &FakeMatomo, hits: u64, within: Duration) {
    let there = until(within, || count(server) >= hits);
    assert!(there, "{} of {hits} hits are stored", count(server));
}

const SOON: Duration = Duration::from_secs(5);
/// Long enough for lines to arrive that are wrongly sent at once.
const A_WHILE: Duration = Duration::from_millis(700);

#[test]
fn a_line_in_a_format_to_detect_is_sent_within_five_seconds() {
    let server = fake_matomo();
    let mut program = open(&server, "");
    program.write(&logs::line(0, 1));
    assert_stored_within(&server, 1, SOON);
    program.write(&logs::line(1, 1));
    assert_stored_within(&server, 2, SOON);
    program.end().exits(0);
    assert_each_once(&server, 2);
}

#[test]
fn many_recorders_do_not_delay_lines() {
    let server = fake_matomo();
    let mut program = open(&server, "--recorders=8 --flush-interval=0.2");
    program.write(&logs::log(30));
    assert_stored_within(&server, 30, SOON);
    program.end().exits(0);
    assert_each_once(&server, 30);
}

#[test]
fn a_pause_after_ignored_lines_ends_nothing() {
    let server = fake_matomo();
    let mut program = open(
        &server,
        "--log-format-name=ncsa_extended --flush-interval=0.1",
    );
    program.write(&logs::page("/style.css", 0, 1));
    assert!(!until(A_WHILE, || count(&server) > 0));
    program.write(&logs::line(0, 1));
    assert_stored_within(&server, 1, SOON);
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
fn flush_interval_sets_how_long_lines_wait() {
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
    assert_stored_within(&server, 500, SOON);
    program.end().exits(0);
    assert_each_once(&server, 1000);
}

#[test]
fn a_line_written_in_two_pieces_is_one_line() {
    let server = fake_matomo();
    let mut program = open(&server, "--flush-interval=0.1");
    let line = logs::line(0, 1);
    let (one, two) = line.split_at(60);
    program.write(one);
    assert!(!until(A_WHILE, || count(&server) > 0));
    program.write(two);
    assert_stored_within(&server, 1, SOON);
    let ended = program.end().exits(0);
    assert_eq!(ended.summary().get("invalid"), 0);
}

#[test]
fn the_last_line_of_a_pipe_needs_no_line_end() {
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
fn compressed_data_can_be_piped() {
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
fn a_named_pipe_can_be_imported() {
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
    // Opening blocks until the program opens the other end.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(logs::line(0, 1).as_bytes()).unwrap();
    assert_stored_within(&server, 1, SOON);
    drop(writer);
    program.end().exits(0);
    assert_eq!(numbers(&server), [0]);
}
