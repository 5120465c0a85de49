//! The next run settles the pending batches of a killed run, whatever happens to their logs
//! meanwhile. Batches that cannot be settled are given up.

use std::fs;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Live, Options};
use rustix::process::Signal;

use super::numbered::{assert_each_once, line, log, stored as stored_numbers};
use super::world::{World, assert_adds_up};
use crate::support::Program;
use crate::support::clock::{LONGEST, until};
use crate::support::logs::AGENT;
use crate::support::stored::options;

const A_DAY: usize = 50;

/// Kills a run while a server with this fault works on the first batch of a log of 30 lines.
fn killed(fault: Fault, timeout: f64) -> World {
    let world = faulty(fault, timeout);
    world.folder.write("access.log", log(0..30, A_DAY));
    kill(&world, world.program().arg("access.log"));
    world
}

/// A server with this fault, and batches of ten lines.
fn faulty(fault: Fault, timeout: f64) -> World {
    let world = World::faulty(Faults {
        script: vec![Some(fault)],
        ..Faults::default()
    });
    let args = format!("--recorders=1 --recorder-max-payload-size=10 --request-timeout={timeout}");
    world.args(&args)
}

/// Kills the program while the server works on its first batch.
fn kill(world: &World, program: Program) {
    let calls = world.calls();
    let mut running = program.start();
    // The calls are for the site and the batch.
    assert!(until(LONGEST, || world.calls() >= calls + 2));
    running.signal(Signal::KILL);
    assert!(until(LONGEST, || running.has_ended()));
}

/// The batch is stored, but its response never comes.
fn stored() -> Fault {
    Fault::CommitStall(Duration::from_secs(600))
}

#[test]
fn a_log_that_is_rotated_while_its_batch_is_settled_is_sent_once() {
    let world = killed(stored(), 3.0);
    let running = world.program().arg("access.log").start();
    assert!(until(LONGEST, || running.has_said("waiting")));
    let path = |name| world.folder.file(name);
    fs::rename(path("access.log"), path("access.log.1")).unwrap();
    world.folder.write("access.log", log(30..40, A_DAY));
    assert_adds_up(running.end()).exits(0);
    assert_eq!(world.pending().len(), 0);
    world.import("access.log access.log.1").exits(0);
    assert_each_once(&world.server, 0..40);
}

#[test]
fn only_the_unconfirmed_batch_waits_for_the_server() {
    let world = killed(stored(), 600.0);
    world.folder.write("other.log", log(30..50, A_DAY));
    let pending = world.pending();
    let running = world.program().args("access.log other.log").start();
    let count = || world.server.store().count().unwrap();
    assert!(until(LONGEST, || count() == 50));
    assert!(until(LONGEST, || running.has_said("waiting")));
    running.signal(Signal::INT);
    assert_adds_up(running.end()).exits(130);
    assert_eq!(world.pending(), pending);
    assert_each_once(&world.server, 0..50);
}

#[test]
fn missing_hits_of_a_killed_run_are_looked_up_once_more_before_they_are_sent_again() {
    // Stored between the first lookup and the second.
    let world = killed(Fault::CommitLate(Duration::from_millis(2200)), 1.5);
    world.import("access.log").exits(0);
    assert!(world.server.wait_idle(LONGEST));
    assert_each_once(&world.server, 0..30);
}

#[test]
fn a_clock_that_is_years_behind_the_log_doubles_nothing() {
    for set_right in [false, true] {
        let world = faulty(stored(), 0.5);
        world.folder.write("access.log", log(0..30, A_DAY));
        world
            .folder
            .write("clock", (-20 * 366 * 86_400).to_string());
        let program = || {
            world
                .program()
                .env("IMPORT_LOGS_CLOCK", "clock")
                .arg("access.log")
        };
        kill(&world, program());
        if set_right {
            world.folder.write("clock", "0");
        }
        assert_adds_up(program().run()).exits(0);
        assert_each_once(&world.server, 0..30);
    }
}

/// Matomo still works on a batch of a killed run, and loses the only line of `other.log`, which has
/// another day.
fn losing() -> World {
    let world = faulty(Fault::CommitLate(Duration::from_millis(700)), 1.5);
    world.folder.write("access.log", log(0..10, A_DAY));
    kill(&world, world.program().arg("access.log"));
    world.folder.write("other.log", line(A_DAY, A_DAY));
    world
}

#[test]
fn a_line_that_matomo_loses_while_it_works_for_a_killed_run_is_sent_again() {
    let world = losing();
    world.import("access.log other.log").exits(0);
    assert_each_once(&world.server, (0..10).chain([A_DAY]));
}

#[test]
fn a_lost_line_is_noticed_when_the_killed_run_is_settled() {
    let world = losing();
    // Matomo shows this run no hits: neither its own nor those of the killed run.
    let again = "1 requests are not confirmed";
    world.import("other.log").exits(3).says(&[again]);
    assert_eq!(stored_numbers(&world.server).get(&A_DAY), None);
    world.import("access.log other.log").exits(0);
    assert_each_once(&world.server, (0..10).chain([A_DAY]));
}

#[test]
fn hits_that_never_arrived_are_sent_once_the_server_is_finished() {
    let world = killed(Fault::Stall(Duration::from_secs(600)), 0.5);
    let ended = world.import("access.log").exits(0);
    assert_eq!(ended.summary().get("imported"), 30);
    assert_each_once(&world.server, 0..30);
}

#[test]
fn a_batch_whose_log_is_gone_is_listed_and_then_forgotten() {
    let world = killed(stored(), 0.5);
    fs::remove_file(world.folder.file("access.log")).unwrap();
    world.folder.write("other.log", log(30..40, A_DAY));
    world.import("--quiet other.log").exits(3).says(&[
        "10 hits of ",
        "access.log: lines 1-10 stay unconfirmed",
        "their log is gone",
    ]);
    world.import("other.log").exits(0).hides("unconfirmed");
}

#[test]
fn a_batch_that_three_runs_do_not_settle_is_listed_and_settled_if_its_log_comes_back() {
    let world = killed(stored(), 0.5);
    world.folder.write("other.log", log(30..40, A_DAY));
    for _ in 0..2 {
        let again = "still unconfirmed since an interrupted run: import that log again";
        world.import("other.log").exits(3).says(&[again]);
    }
    let ended = world.import("other.log").exits(3);
    ended.says(&["lines 1-10 stay unconfirmed", "3 runs could not settle"]);
    world.import("other.log").exits(0).hides("unconfirmed");
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..40);
}

#[test]
fn a_batch_is_given_up_after_three_runs_that_cannot_ask_matomo() {
    let world = killed(stored(), 0.5);
    for run in 1..=3 {
        let odd = std::iter::once(None).chain(std::iter::repeat_n(Some(Fault::Html(503)), 20));
        world.server.set_faults(Faults {
            api: odd.collect(),
            ..Faults::default()
        });
        let ended = world.import("--retry-max-attempts=1 --in-doubt=skip access.log");
        match run {
            1 | 2 => ended.exits(1).says(&["cannot be asked about them now"]),
            _ => ended.exits(3).says(&["not sent again"]),
        };
    }
    assert_each_once(&world.server, 0..30);
}

/// A Matomo that cannot be asked, and whose response to the first batch is lost.
fn server_that_cannot_be_asked() -> World {
    let world = World::with(Options {
        live: Live::Closed,
        faults: Faults {
            script: vec![Some(Fault::CommitClose)],
            ..Faults::default()
        },
        ..options()
    });
    world.args("--recorders=1 --recorder-max-payload-size=10")
}

#[test]
fn the_next_run_reports_unconfirmed_lines_after_a_crash() {
    let world = server_that_cannot_be_asked();
    world.folder.write("access.log", log(0..30, A_DAY));
    let dying = world.program().args("--quiet access.log");
    let dying = dying.env("IMPORT_LOGS_ABORT_AT", "after-answer:2").run();
    assert_eq!(dying.code, None);
    let expected = [
        "in an earlier run",
        "access.log:1-10 are unconfirmed",
        "may be counted twice",
    ];
    world.import("--quiet access.log").exits(3).says(&expected);
    world.import("--quiet access.log").exits(0);
}

#[test]
fn unconfirmed_lines_are_named_exactly() {
    let world = server_that_cannot_be_asked();
    let odd = |number: usize| match number % 2 {
        0 => line(number, A_DAY),
        _ => line(number, A_DAY).replace(AGENT, "Another/1.0 (X11; Linux) Firefox/128.0"),
    };
    let text: String = (0..40).map(odd).collect();
    world.folder.write("access.log", text);
    let ended = world.import("access.log").exits(3);
    let (_, list) = ended.err.split_once("10 hits of access.log:").unwrap();
    let (list, _) = list.split_once(" are unconfirmed").unwrap();
    let mut listed = Vec::new();
    for part in list.split(", ") {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        listed.extend(first.parse::<usize>().unwrap()..=last.parse().unwrap());
    }
    // They are exactly those that are stored twice.
    let stored = stored_numbers(&world.server).into_iter();
    let doubled: Vec<usize> = stored
        .filter(|(_, times)| *times == 2)
        .map(|(number, _)| number + 1)
        .collect();
    assert_eq!(listed, doubled, "{list}");
    assert!(list.contains(','), "{list}");
}
