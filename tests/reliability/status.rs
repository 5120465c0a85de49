//! `--status`, `--forget` and `--forget-unconfirmed`.

use std::fs;

use crate::support::fake::{Fault, Faults, Live, Options};

use super::numbered::{assert_each_once, log};
use super::world::World;
use crate::support::stored::options;
use crate::support::{Ended, Program};

const A_DAY: usize = 50;

fn world(live: Live, script: Vec<Option<Fault>>) -> World {
    let world = World::with(Options {
        live,
        faults: Faults {
            script,
            ..Faults::default()
        },
        ..options()
    });
    world.folder.write("access.log", log(0..30, A_DAY));
    world.args("--recorders=1 --recorder-max-payload-size=10")
}

/// Runs the program without a server and logs.
fn state(world: &World, args: &str) -> Ended {
    let program = Program::new(&world.folder).arg("--state-dir=state");
    program.args(args).run()
}

#[test]
fn status_lists_logs_and_how_far_they_are_imported() {
    let world = world(Live::default(), Vec::new());
    world.import("access.log").exits(0);
    let text = state(&world, "--status").exits(0).out;
    assert!(text.contains(" idsite=1\n"), "{text}");
    assert!(
        text.contains("access.log: 30 lines done, up to byte "),
        "{text}"
    );
    world.import("access.log").exits(0);
    let text = state(&world, "--status").exits(0).out;
    assert!(
        text.contains("access.log: 30 lines done, to its end; last seen "),
        "{text}"
    );
}

#[test]
fn status_lists_pending_hits_with_their_lines() {
    let world = world(Live::default(), Vec::new());
    let dying = world.program().arg("access.log");
    let dying = dying.env("IMPORT_LOGS_ABORT_AT", "after-answer:2").run();
    assert_eq!(dying.code, None);
    let text = state(&world, "--status").exits(0).out;
    let (_, pending) = text.split_once("Pending").unwrap();
    assert!(
        pending.contains("access.log: 10 hits of lines 11-20; pending, sent "),
        "{text}"
    );
    // `--status` changes nothing.
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..30);
    let text = state(&world, "--status").exits(0).out;
    assert!(!text.contains("Pending"), "{text}");
}

#[test]
fn status_lists_unconfirmed_lines_until_they_are_forgotten() {
    let world = world(Live::Closed, vec![None, Some(Fault::CommitClose)]);
    world.import("access.log").exits(3);
    for _ in 0..2 {
        let text = state(&world, "--status").exits(0).out;
        let (_, list) = text.split_once("Unconfirmed").unwrap();
        assert!(
            list.contains("access.log: 10 hits of lines 11-20; "),
            "{text}"
        );
        assert!(list.contains("may be counted twice"), "{text}");
    }
    state(&world, "--forget-unconfirmed").exits(0);
    let text = state(&world, "--status").exits(0).out;
    assert!(!text.contains("nconfirmed"), "{text}");
}

#[test]
fn a_batch_that_was_given_up_is_listed_and_counts_as_done_once_it_is_forgotten() {
    let world = world(Live::default(), Vec::new());
    let dying = world.program().arg("access.log");
    let dying = dying.env("IMPORT_LOGS_ABORT_AT", "after-intent:2").run();
    assert_eq!(dying.code, None);
    let (path, away) = (world.folder.file("access.log"), world.folder.file("away"));
    fs::rename(&path, &away).unwrap();
    fs::create_dir(world.folder.file("other")).unwrap();
    fs::rename(&away, world.folder.file("other/access.log")).unwrap();
    world.folder.write("other.log", log(30..40, A_DAY));
    world
        .import("other.log")
        .exits(3)
        .says(&["their log is gone"]);
    let text = state(&world, "--status").exits(0).out;
    let (_, list) = text.split_once("Unconfirmed").unwrap();
    assert!(
        list.contains("hits of lines 11-20; unconfirmed, sent "),
        "{text}"
    );
    state(&world, "--forget-unconfirmed").exits(0);
    world.import("other/access.log").exits(0);
    assert_each_once(&world.server, (0..10).chain(20..40));
}

#[test]
fn a_forgotten_log_is_imported_from_its_beginning() {
    let world = world(Live::default(), Vec::new());
    world.folder.write("other.log", log(30..40, A_DAY));
    world.import("access.log other.log").exits(0);
    state(&world, "--forget=other.log").exits(0);
    let text = state(&world, "--status").exits(0).out;
    assert!(
        !text.contains("other.log") && text.contains("access.log"),
        "{text}"
    );
    state(&world, "--forget=other.log")
        .exits(1)
        .says(&["not in the ledger"]);
    world.import("access.log other.log").exits(0);
    assert_each_once(&world.server, (0..40).chain(30..40));
}

#[test]
fn names_of_logs_are_cleaned_before_they_are_printed() {
    let world = world(Live::default(), Vec::new());
    let name = "evil\u{1b}[2J.log";
    world.folder.write(name, log(30..31, A_DAY));
    let ended = world.program().arg(name).run();
    ended.exits(0);
    let text = state(&world, "--status").exits(0).out;
    assert!(
        !text.contains('\u{1b}') && text.contains("evil\\x1b[2J.log"),
        "{text}"
    );
}

#[test]
fn status_needs_a_ledger_and_conflicts_with_logs() {
    let world = world(Live::default(), Vec::new());
    state(&world, "--status")
        .exits(1)
        .says(&["no ledger in state"]);
    assert!(!world.state_dir().exists());
    state(&world, "--status access.log")
        .exits(2)
        .says(&["--status"]);
    let without = Program::new(&world.folder).arg("--status").run();
    without.exits(2).says(&["need --state-dir"]);
}
