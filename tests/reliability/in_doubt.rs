//! `--in-doubt`: unconfirmed batches if Matomo cannot be asked about them.

use std::ops::Range;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Live, Options};
use rustix::process::Signal;

use super::numbered::{assert_each_once, line, log};
use super::world::{World, assert_adds_up};
use crate::support::stored::options;
use crate::support::{Ended, at_once, until};

const LINES: usize = 100;
/// The lines of the unconfirmed batch.
const UNCONFIRMED: Range<usize> = 10..20;

/// A Matomo whose visitor log is not accessible, with these faults.
fn closed(script: Vec<Option<Fault>>) -> World {
    let world = World::with(Options {
        live: Live::Closed,
        faults: Faults {
            script,
            ..Faults::default()
        },
        ..options()
    });
    world.folder.write("access.log", log(0..LINES, 20));
    world.args("--recorders=1 --recorder-max-payload-size=10 --keep-order")
}

/// A server whose response to the second batch is lost.
fn answer_lost() -> World {
    closed(vec![None, Some(Fault::CommitClose)])
}

/// A program that is aborted when the response to the second batch arrives.
fn program_aborted() -> World {
    let world = closed(Vec::new());
    let dying = world
        .program()
        .env("IMPORT_LOGS_ABORT_AT", "after-answer:2");
    assert_eq!(assert_adds_up(dying.arg("access.log").run()).code, None);
    world
}

fn import(world: &World, policy: &str) -> Ended {
    world.import(&format!("--in-doubt={policy} access.log"))
}

/// Asserts that the unconfirmed lines are stored twice, and all others once.
fn assert_unconfirmed_doubled(world: &World) {
    assert_each_once(&world.server, (0..LINES).chain(UNCONFIRMED));
}

#[test]
fn resend_is_the_default_and_lists_possible_duplicates() {
    let world = answer_lost();
    let ended = world.import("access.log").exits(3);
    let ended = ended.says(&["access.log:11-20 are unconfirmed", "may be counted twice"]);
    let summary = ended.summary();
    assert_eq!((summary.get("imported"), summary.get("resent")), (100, 10));
    assert_unconfirmed_doubled(&world);
    import(&world, "resend").exits(0);
    assert_unconfirmed_doubled(&world);
}

#[test]
fn skip_never_sends_again_and_lists_what_may_be_missing() {
    for fault in [Fault::CommitClose, Fault::Refuse] {
        let world = closed(vec![None, Some(fault.clone())]);
        let ended = import(&world, "skip").exits(3);
        let ended = ended.says(&["access.log:11-20 are unconfirmed", "not sent again"]);
        let summary = ended.summary();
        assert_eq!((summary.get("imported"), summary.get("in_doubt")), (90, 10));
        import(&world, "resend").exits(0);
        let there = |number: &usize| fault == Fault::CommitClose || !UNCONFIRMED.contains(number);
        assert_each_once(&world.server, (0..LINES).filter(there));
    }
}

#[test]
fn stop_sends_nothing_until_the_policy_is_changed() {
    for policy in ["skip", "resend"] {
        let world = answer_lost();
        for _ in 0..2 {
            import(&world, "stop")
                .exits(1)
                .says(&["are unconfirmed", "--in-doubt=stop"]);
            assert_each_once(&world.server, 0..20);
        }
        import(&world, policy).exits(3);
        match policy {
            "skip" => assert_each_once(&world.server, 0..LINES),
            _ => assert_unconfirmed_doubled(&world),
        }
    }
}

#[test]
fn in_doubt_applies_to_batches_of_a_run_that_died() {
    let world = program_aborted();
    let ended = import(&world, "resend").exits(3).says(&[
        "10 hits",
        "are unconfirmed",
        "may be counted twice",
    ]);
    assert_eq!(ended.summary().get("resent"), 10);
    assert_unconfirmed_doubled(&world);

    let world = program_aborted();
    let ended =
        import(&world, "skip")
            .exits(3)
            .says(&["10 hits", "are unconfirmed", "not sent again"]);
    assert_eq!(ended.summary().get("in_doubt"), 10);
    assert_each_once(&world.server, 0..LINES);

    // Only the unconfirmed batch waits for a decision.
    let world = program_aborted();
    for _ in 0..2 {
        import(&world, "stop").exits(1).says(&["--in-doubt=stop"]);
        assert_each_once(&world.server, 0..LINES);
    }
    import(&world, "skip").exits(3);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn the_policy_also_applies_without_a_ledger() {
    for (policy, code) in [("resend", 3), ("skip", 3), ("stop", 1)] {
        let world = answer_lost();
        let program = world.without_ledger().arg(format!("--in-doubt={policy}"));
        assert_adds_up(program.arg("access.log").run()).exits(code);
        match policy {
            "resend" => assert_unconfirmed_doubled(&world),
            "skip" => assert_each_once(&world.server, 0..LINES),
            _ => assert_each_once(&world.server, 0..20),
        }
    }
}

/// The first API call (for the site) is answered, later ones are not.
fn api_down(script: Vec<Option<Fault>>) -> Faults {
    let later = std::iter::repeat_n(Some(Fault::Html(503)), 20);
    Faults {
        script,
        api: std::iter::once(None).chain(later).collect(),
        ..Faults::default()
    }
}

/// A run that gets SIGINT while it waits to ask Matomo again.
fn interrupted_while_asking(world: &World, policy: &str, calls: u64) {
    let program = world
        .program()
        .args("--retry-delay=60 access.log")
        .arg(format!("--in-doubt={policy}"));
    let calls = world.calls() + calls;
    let running = program.start();
    assert!(until(Duration::from_secs(20), || world.calls() >= calls));
    running.signal(Signal::INT);
    assert_adds_up(running.end())
        .exits(130)
        .hides("cannot be asked");
}

#[test]
fn a_run_interrupted_while_asking_leaves_the_question_to_the_next_run() {
    at_once(vec!["resend", "skip", "stop"], |policy| {
        for stored in [true, false] {
            let fault = match stored {
                true => Fault::CommitHtml(500),
                false => Fault::RollBack,
            };
            let world = World::faulty(api_down(vec![None, Some(fault)]));
            world.folder.write("access.log", log(0..LINES, 20));
            let world = world.args("--recorders=1 --recorder-max-payload-size=10");
            // The calls are for the site, two batches and the lookup.
            interrupted_while_asking(&world, policy, 4);
            world.server.set_faults(Faults::default());
            import(&world, policy).exits(0);
            assert_each_once(&world.server, 0..LINES);
        }

        let world = World::new(Duration::ZERO);
        world.folder.write("access.log", log(0..LINES, 20));
        let world = world.args("--recorders=1 --recorder-max-payload-size=10");
        let dying = world
            .program()
            .env("IMPORT_LOGS_ABORT_AT", "after-answer:2");
        assert_eq!(assert_adds_up(dying.arg("access.log").run()).code, None);
        world.server.set_faults(api_down(Vec::new()));
        interrupted_while_asking(&world, policy, 2);
        world.server.set_faults(Faults::default());
        import(&world, policy).exits(0);
        assert_each_once(&world.server, 0..LINES);
    });
}

#[test]
fn an_address_that_ends_in_zeros_proves_nothing_if_addresses_are_anonymized() {
    let world = World::with(Options {
        faults: Faults {
            script: vec![Some(Fault::CommitClose)],
            ..Faults::default()
        },
        ..options()
    });
    let line = line(0, 20);
    let (_, rest) = line.split_once(' ').unwrap();
    let first = format!("203.0.0.0 {rest}");
    world.folder.write("access.log", first + &log(1..LINES, 20));
    world.import("--recorders=1 access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn lines_that_begin_like_a_header_are_confirmed_too() {
    let world = World::new(Duration::ZERO)
        .args("--recorders=1 --log-date-format=%d/%b/%Y:%H:%M:%S")
        .args(r"--log-format-regex=#(?P<ip>\S+).\S+.\S+.\[(?P<date>\S+).(?P<timezone>\S+)\]..\S+.(?P<path>\S+).\S+.(?P<status>\d+)");
    let text: String = (0..30)
        .map(|number| format!("#{}", line(number, 20)))
        .collect();
    world.folder.write("access.log", text);
    let dying = world
        .program()
        .env("IMPORT_LOGS_ABORT_AT", "after-answer:1");
    assert_eq!(assert_adds_up(dying.arg("access.log").run()).code, None);
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..30);
}

/// Matomo is down after it stored a batch, so it cannot be asked either.
#[test]
fn a_batch_stays_unconfirmed_while_matomo_is_down() {
    let down = |script, first: usize| {
        let answered = std::iter::repeat_n(None, first);
        let later = std::iter::repeat_n(Some(Fault::Busy(503, None)), 20);
        Faults {
            script,
            api: answered.chain(later).collect(),
            ..Faults::default()
        }
    };
    for died in [false, true] {
        let world = World::new(Duration::ZERO).args("--recorders=1 --recorder-max-payload-size=10");
        world.folder.write("access.log", log(0..LINES, 20));
        if died {
            let dying = world
                .program()
                .env("IMPORT_LOGS_ABORT_AT", "after-answer:2");
            assert_eq!(assert_adds_up(dying.arg("access.log").run()).code, None);
        } else {
            world
                .server
                .set_faults(down(vec![None, Some(Fault::CommitHtml(500))], 1));
            let ended = world.import("access.log").exits(1).says(&["503"]);
            assert_eq!(ended.summary().get("resent"), 0);
        }
        world.server.set_faults(down(Vec::new(), 1));
        world
            .import("access.log")
            .exits(1)
            .says(&["10 hits", "are unconfirmed", "503"]);
        world.server.set_faults(Faults::default());
        world.import("access.log").exits(0);
        assert_each_once(&world.server, 0..LINES);
    }
}
