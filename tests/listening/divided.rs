//! Connections that take several requests to Matomo: each part once, whatever happens between them.

use std::time::Duration;

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, When};
use rustix::process::Signal;

use super::{icecast, seconds_sent, stored, told};
use crate::reliability::random::Random;
use crate::support::clock::LONGEST;
use crate::support::stored::{options, started};
use crate::support::{Folder, Program, until};

/// One connection of seven requests, four of which go in the first batch.
fn divided(faults: Faults) -> (Folder, FakeMatomo) {
    let folder = Folder::with_log(icecast("192.0.2.1", 40_000, "/live", 9000));
    let sandbox = started(Options {
        faults,
        ..options()
    });
    (folder, sandbox)
}

fn divided_program(folder: &Folder, sandbox: &FakeMatomo, args: &str) -> Program {
    Program::new(folder)
        .to(sandbox)
        .args(
            "--idsite=1 --log-format-name=icecast2 --recorder-max-payload-size=4 --state-dir=state \
             --request-timeout=1.5 --retry-delay=0 --retry-max-attempts=2 access.log",
        )
        .args(args)
}

/// Which site it is, is told; visits are not shown.
fn closed() -> Vec<Option<Fault>> {
    let hidden = std::iter::repeat_n(Some(Fault::Html(404)), 20);
    std::iter::once(None).chain(hidden).collect()
}

/// A good run makes it whole, and the next finds nothing to do.
#[track_caller]
fn assert_made_whole(folder: &Folder, sandbox: &FakeMatomo) {
    sandbox.set_faults(Faults::default());
    for _ in 0..2 {
        divided_program(folder, sandbox, "").run().exits(0);
        let hits = stored(sandbox);
        assert_eq!((hits.len(), seconds_sent(&hits)), (7, 9000));
    }
}

#[test]
fn a_last_part_in_doubt_at_the_end_of_a_run_is_not_forgotten() {
    let script = vec![None, Some(Fault::Refuse)];
    let (folder, sandbox) = divided(Faults {
        script,
        ..Faults::default()
    });
    let running = divided_program(&folder, &sandbox, "--request-timeout=60").start();
    // Which site, and both batches; from then on it waits for the server to be through.
    assert!(until(LONGEST, || sandbox.log().calls >= 3));
    running.signal(Signal::TERM);
    running.end().exits(143);
    assert_made_whole(&folder, &sandbox);

    let (folder, sandbox) = divided(Faults {
        script: vec![None, Some(Fault::RollBack)],
        api: closed(),
        ..Faults::default()
    });
    divided_program(&folder, &sandbox, "--in-doubt=stop")
        .run()
        .exits(1);
    assert_made_whole(&folder, &sandbox);
}

#[test]
fn parts_that_are_there_stay_known_through_failed_runs() {
    for died in [false, true] {
        let away = || Faults {
            rules: vec![(When::From(1), Fault::Busy(503, None))],
            ..Faults::default()
        };
        let (folder, sandbox) = divided(Faults {
            rules: vec![(When::From(2), Fault::Busy(503, None))],
            ..Faults::default()
        });
        if died {
            sandbox.set_faults(Faults::default());
            let ended = divided_program(&folder, &sandbox, "")
                .env("IMPORT_LOGS_ABORT_AT", "after-intent:2")
                .run();
            assert_eq!(ended.code, None);
        } else {
            divided_program(&folder, &sandbox, "").run().exits(1);
        }
        for _ in 0..2 {
            sandbox.set_faults(away());
            divided_program(&folder, &sandbox, "").run().exits(1);
        }
        assert_eq!(stored(&sandbox).len(), 4);
        assert_made_whole(&folder, &sandbox);
    }
}

/// Its first batch was answered, so nobody waits for it or asks.
#[test]
fn what_was_answered_is_not_in_doubt_though_its_line_is_not_done() {
    let (folder, sandbox) = divided(Faults {
        rules: vec![(When::From(2), Fault::Busy(503, None))],
        ..Faults::default()
    });
    divided_program(&folder, &sandbox, "").run().exits(1);
    sandbox.set_faults(Faults {
        api: closed(),
        ..Faults::default()
    });
    divided_program(&folder, &sandbox, "--request-timeout=600 --in-doubt=stop")
        .run()
        .exits(0)
        .hides("waiting");
    assert_eq!(stored(&sandbox).len(), 7);
}

#[test]
fn a_crash_behind_the_question_forgets_nothing_of_what_was_found() {
    // The second half of the first batch was stored, and the answer lost.
    let (folder, sandbox) = divided(Faults {
        script: vec![Some(Fault::Deadlock)],
        ..Faults::default()
    });
    for point in ["after-answer", "after-settled"] {
        let ended = divided_program(&folder, &sandbox, "")
            .env("IMPORT_LOGS_ABORT_AT", point)
            .run();
        assert_eq!(ended.code, None, "{point}: {ended}");
        assert_eq!(stored(&sandbox).len(), 2);
    }
    assert_made_whole(&folder, &sandbox);
}

/// Connections of 1 to 13 requests, in batches of 23, at a server that fails in many ways; the program is killed or
/// told to stop at random moments until it comes to its end.
#[test]
fn each_request_is_there_once_after_any_number_of_kills_and_faults() {
    let mut random = Random::new("divided connections");
    for recorders in [1, 3, 8] {
        let lines = 150;
        let log: String = (0..lines)
            .map(|number| {
                let address = format!("192.0.2.{}", random.below(60));
                let seconds = random.below(18_000);
                icecast(&address, 40_000 + number, "/live", seconds)
            })
            .collect();
        let whole = started(options());
        let folder = Folder::with_log(&log);
        let run = |sandbox: &FakeMatomo, state: &str| {
            Program::new(&folder).to(sandbox).args(&format!(
                "--idsite=1 --log-format-name=icecast2 --recorder-max-payload-size=23 --request-timeout=1 \
                 --retry-delay=0 --retry-max-attempts=9 --recorders={recorders} --state-dir={state} access.log"
            ))
        };
        run(&whole, "whole").run().exits(0);

        let sandbox = started(Options {
            delay: Duration::from_millis(10),
            ..options()
        });
        let mut said = String::new();
        for runs in 0.. {
            assert!(runs < 100, "no progress");
            sandbox.set_faults(Faults {
                script: (0..400)
                    .map(|_| match random.below(20) {
                        0 | 1 => Some(Fault::Deadlock),
                        2 => Some(Fault::CommitClose),
                        3 => Some(Fault::Refuse),
                        _ => None,
                    })
                    .collect(),
                // Never a single hit, which would rightly be refused.
                rules: vec![(
                    When::HitsAbove(random.within(5..23) as usize),
                    Fault::TooLarge,
                )],
                ..Faults::default()
            });
            let mut running = run(&sandbox, "state").start();
            let moment = Duration::from_millis(random.within(100..900));
            if !until(moment, || running.has_ended()) {
                let signal = *random.pick(&[Signal::KILL, Signal::TERM]);
                running.signal(signal);
            }
            let ended = running.end();
            said += &format!("{:?}\n{}", ended.code, ended.err);
            if matches!(ended.code, Some(0 | 3)) {
                break;
            }
        }
        assert!(sandbox.wait_idle(LONGEST));
        let (there, wanted) = (told(&sandbox), told(&whole));
        let of_more = |some: &[String], others: &[String]| -> Vec<String> {
            let mut left = others.to_vec();
            let is_left = |hit: &&String| match left.iter().position(|other| other == *hit) {
                Some(place) => {
                    left.swap_remove(place);
                    false
                }
                None => true,
            };
            some.iter().filter(is_left).cloned().collect()
        };
        assert!(
            there == wanted,
            "{recorders} recorders: missing {:#?}, too many {:#?}\n{said}",
            of_more(&wanted, &there),
            of_more(&there, &wanted)
        );
    }
}
