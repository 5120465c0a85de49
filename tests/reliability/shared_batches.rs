//! Batches with lines of several logs: each log is settled on its own.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::numbered::{assert_each_once, line};
use super::random::Random;
use super::world::{TIMEOUT, World, assert_adds_up};
use crate::support::at_once;
use crate::support::clock::{LONGEST, until};
use crate::support::fake::{Fault, Faults};

const A_DAY: usize = 1000;

fn name(number: usize) -> String {
    format!("{number:03}.log")
}

/// Writes logs of one line each.
fn write_logs(world: &World, logs: usize) {
    for number in 0..logs {
        world.folder.write(&name(number), line(number, A_DAY));
    }
}

/// Kills a run while the server works on its only batch, which has a line of each log.
fn killed(fault: Fault, logs: usize) -> World {
    let world = World::faulty(Faults {
        script: vec![Some(fault)],
        ..Faults::default()
    });
    let world = world.args("--recorders=1");
    write_logs(&world, logs);
    let calls = world.calls();
    let mut running = world.program().arg("*.log").start();
    assert!(until(LONGEST, || world.calls() >= calls + 2));
    running.signal(Signal::KILL);
    assert!(until(LONGEST, || running.has_ended()));
    assert_eq!(world.pending().len(), 1);
    world
}

fn stored() -> Fault {
    Fault::CommitStall(Duration::from_secs(600))
}

fn not_stored() -> Fault {
    Fault::Stall(Duration::from_secs(600))
}

#[test]
fn small_logs_share_requests() {
    for args in ["", "--log-format-name=ncsa_extended"] {
        let world = World::new(Duration::ZERO).args("--recorders=1").args(args);
        write_logs(&world, 300);
        let calls = world.calls();
        world.import("*.log").exits(0);
        assert_each_once(&world.server, 0..300);
        // The calls are for the site and one batch.
        assert_eq!(world.calls() - calls, 2);
        let again = world.calls();
        world.import("*.log").exits(0);
        assert!(world.calls() - again <= 1);
    }
}

#[test]
fn a_log_of_a_pending_batch_is_settled_without_the_others() {
    for (fault, again) in [(stored(), 0), (not_stored(), 5)] {
        let world = killed(fault, 5);
        world.import("001.log").exits(3).says(&["4 hits of "]);
        assert_eq!(world.pending().len(), 1);
        // The other logs have moved.
        for number in [0, 2] {
            let path = |name: String| world.folder.file(&name);
            fs::rename(path(name(number)), path(format!("{number}.old"))).unwrap();
        }
        world.import("0.old 003.log").exits(3).says(&["2 hits of "]);
        world.import("*.old *.log").exits(0);
        assert_eq!(world.pending().len(), 0, "{again}");
        assert_each_once(&world.server, 0..5);
    }
}

#[test]
fn a_log_of_a_pending_batch_that_is_gone_is_given_up_alone() {
    let world = killed(stored(), 3);
    fs::remove_file(world.folder.file("001.log")).unwrap();
    world
        .import("*.log")
        .exits(3)
        .says(&["1 hits of ", "001.log", "their log is gone"]);
    world.import("*.log").exits(0);
    assert_each_once(&world.server, 0..3);
}

#[test]
fn each_line_of_many_logs_is_stored_once_after_random_kills() {
    at_once(vec![1, 3], |recorders| {
        let mut random = Random::new(&format!("shared batches {recorders}"));
        let world = World::new(Duration::from_millis(15));
        let args = format!("--recorders={recorders} --recorder-max-payload-size=7");
        let world = world.args(&args);
        write_logs(&world, 120);
        for _ in 0..12 {
            let mut running = world.program().arg("*.log").start();
            sleep(Duration::from_millis(random.below(300)));
            if !running.has_ended() {
                running.signal(Signal::KILL);
            }
            assert!(until(LONGEST, || running.has_ended()));
            if random.below(2) == 0 {
                sleep(TIMEOUT);
            }
        }
        assert!(world.server.wait_idle(LONGEST));
        world.import("*.log").exits(0);
        assert_eq!(world.pending().len(), 0);
        assert_each_once(&world.server, 0..120);
    });
}

#[test]
fn a_file_does_not_wait_for_the_pipe_after_it() {
    let world = World::new(Duration::ZERO);
    world.folder.write("access.log", line(0, A_DAY));
    let mut running = world
        .program()
        .args("--log-format-name=ncsa_extended access.log -")
        .start();
    let count = || world.server.store().count().unwrap();
    assert!(until(LONGEST, || count() == 1));
    running.close();
    assert_adds_up(running.end()).exits(0);
}
