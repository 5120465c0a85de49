//! Servers whose responses are slow, late, wrong, incomplete or missing.

use std::time::Duration;

use crate::support::fake::{Fault, Faults, Options, Tokens, When};
use import_logs::secret::Secret;

use super::numbered::{assert_each_once, faults, log, stored};
use super::world::{TIMEOUT, World, assert_adds_up};
use crate::support::stored::options;
use crate::support::{Ended, Program, at_once};

const LINES: usize = 200;

fn with_log(world: World) -> World {
    world.folder.write("access.log", log(0..LINES, 30));
    world
}

/// A server whose second and fifth response have this fault.
fn now_and_then(fault: &Fault) -> World {
    let mut script = vec![None; 5];
    script[1] = Some(fault.clone());
    script[4] = Some(fault.clone());
    with_log(World::faulty(Faults {
        script,
        ..Faults::default()
    }))
}

fn always(fault: Fault) -> World {
    with_log(World::faulty(Faults {
        rules: vec![(When::From(1), fault)],
        ..Faults::default()
    }))
}

/// With and without a ledger.
const WAYS: [fn(&World) -> Program; 2] = [World::program, World::without_ledger];

#[test]
fn occasional_faulty_responses_lose_and_double_nothing() {
    let beyond = TIMEOUT + Duration::from_millis(500);
    let answers = [
        Fault::Refuse,
        Fault::CloseInBody,
        Fault::CommitClose,
        // Slow; after the time-out; never.
        Fault::CommitLate(TIMEOUT / 4),
        Fault::CommitLate(beyond),
        Fault::CommitStall(TIMEOUT / 4),
        Fault::CommitStall(beyond),
        Fault::Stall(TIMEOUT / 4),
        Fault::Stall(beyond),
        Fault::RollBack,
        Fault::Deadlock,
        Fault::Empty500,
        Fault::Busy(429, Some("1".to_owned())),
        Fault::Busy(503, Some("0".to_owned())),
        Fault::Busy(503, None),
        Fault::Html(200),
        Fault::Html(502),
        Fault::CommitHtml(200),
        Fault::CommitHtml(500),
        Fault::CommitHtml(504),
        Fault::HalfJson,
        Fault::Warnings,
        Fault::Twice,
    ];
    at_once(answers.to_vec(), |fault| {
        for (recorders, way) in [1, 4].into_iter().zip(WAYS) {
            let world = now_and_then(&fault).args(&format!(
                "--recorders={recorders} --recorder-max-payload-size=20"
            ));
            let ended = assert_adds_up(way(&world).arg("access.log").run());
            assert_eq!(ended.code, Some(0), "{fault:?}: {ended}");
            let wrong = faults(&world.server, 0..LINES);
            assert!(
                wrong.is_empty(),
                "{fault:?}, {recorders} recorders: {wrong}\n{ended}"
            );
            let imported = ended.summary().get("imported");
            assert_eq!(imported, LINES as u64, "{fault:?}: {ended}");
        }
    });
}

/// Imports to a server that accepts nothing, and resumes when it accepts everything.
fn stops_then_resumes(world: World, args: &str, says: &[&str]) {
    let world = world.args("--recorders=3 --recorder-max-payload-size=20");
    let ended = world
        .import(&format!("{args} access.log"))
        .exits(1)
        .says(says);
    let summary = ended.summary();
    assert_eq!(summary.get("imported"), 0, "{ended}");
    assert_each_once(&world.server, 0..0);
    world.server.set_faults(Faults::default());
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn a_server_that_never_answers_stops_the_import_until_it_does() {
    let never = always(Fault::Stall(Duration::from_secs(20)));
    let args = "--request-timeout=0.5 --retry-max-attempts=2";
    stops_then_resumes(never, args, &["error: ", "no answer in time"]);
}

#[test]
fn a_server_that_is_down_stops_the_import_until_it_is_back() {
    let away = always(Fault::Busy(503, None));
    stops_then_resumes(away, "--retry-max-attempts=2", &["error: ", "503"]);
}

#[test]
fn no_line_is_done_while_tracking_is_disabled() {
    stops_then_resumes(always(Fault::Nothing), "", &["error: ", "switched off"]);
}

#[test]
fn no_line_is_done_with_a_token_without_write_access() {
    let view = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
    let world = with_log(World::with(Options {
        tokens: Tokens {
            view: Some(Secret::new(view)),
            ..Tokens::default()
        },
        ..options()
    }));
    let read_only = world.program().env("MATOMO_TOKEN_AUTH", view);
    let ended = assert_adds_up(
        read_only
            .args("--recorders=4 --recorder-max-payload-size=20 access.log")
            .run(),
    );
    let ended = ended.exits(1).says(&["error: ", "refused all", "token"]);
    assert_eq!(ended.summary().get("imported"), 0);
    assert_each_once(&world.server, 0..0);
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn a_hit_that_always_fails_is_found_and_refused() {
    for (recorders, way) in [1, 3, 8].into_iter().zip([WAYS[0], WAYS[1], WAYS[0]]) {
        let world = with_log(World::faulty(Faults {
            rules: vec![(When::UrlHolds("/n/177".to_owned()), Fault::RollBack)],
            ..Faults::default()
        }));
        let world = world.args(&format!(
            "--recorders={recorders} --recorder-max-payload-size=20"
        ));
        let ended = assert_adds_up(way(&world).arg("access.log").run());
        let ended = ended.exits(3).says(&["access.log:178: "]);
        let summary = ended.summary();
        assert_eq!(
            (summary.get("refused"), summary.get("imported")),
            (1, 199),
            "{ended}"
        );
        assert_each_once(&world.server, (0..LINES).filter(|number| *number != 177));
    }
}

#[test]
fn batches_that_are_too_large_are_divided() {
    let world = with_log(World::faulty(Faults {
        rules: vec![(When::HitsAbove(7), Fault::TooLarge)],
        ..Faults::default()
    }));
    world.import("--recorders=2 access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn hits_acknowledged_before_the_server_went_down_are_not_sent_again() {
    for recorders in [1, 3, 8] {
        let world = with_log(World::faulty(Faults {
            rules: vec![(When::From(6), Fault::Busy(503, None))],
            ..Faults::default()
        }));
        let world = world.args(&format!(
            "--recorders={recorders} --recorder-max-payload-size=10"
        ));
        let ended: Ended = world.import("access.log").exits(1);
        // The first hits of a day are a batch of their own.
        let there = stored(&world.server).len() as u64;
        assert!((5..=50).contains(&there), "{ended}");
        assert_eq!(ended.summary().get("imported"), there, "{ended}");
        world.server.set_faults(Faults::default());
        let summary = world.import("access.log").exits(0).summary();
        assert_eq!(summary.get("imported"), LINES as u64 - there);
        assert_each_once(&world.server, 0..LINES);
    }
}
