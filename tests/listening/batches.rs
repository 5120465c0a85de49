//! Sessions whose requests are sent in several batches: each request is stored once, whatever
//! happens between the batches.

use std::time::Duration;

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, When};
use rustix::process::Signal;

use super::{icecast, seconds_sent, sorted_hits, stored};
use crate::reliability::random::Random;
use crate::support::clock::LONGEST;
use crate::support::stored::{options, started};
use crate::support::{Folder, Program, at_once, until};

/// A session of seven requests, four of them in the first batch.
fn session_in_two_batches(faults: Faults) -> (Folder, FakeMatomo) {
    let folder = Folder::with_log(icecast("192.0.2.1", 40_000, "/live", 9000));
    let server = started(Options {
        faults,
        ..options()
    });
    (folder, server)
}

fn import(folder: &Folder, server: &FakeMatomo, args: &str) -> Program {
    Program::new(folder)
        .to(server)
        .args(
            "--idsite=1 --log-format-name=icecast2 --recorder-max-payload-size=4 --state-dir=state \
             --request-timeout=1.5 --retry-delay=0 --retry-max-attempts=2 access.log",
        )
        .args(args)
}

/// The site can be looked up, but not the visits.
fn visits_unreadable() -> Vec<Option<Fault>> {
    let not_found = std::iter::repeat_n(Some(Fault::Html(404)), 20);
    std::iter::once(None).chain(not_found).collect()
}

/// Checks that a run without faults completes the session, and that the next run has nothing to do.
#[track_caller]
fn assert_completed(folder: &Folder, server: &FakeMatomo) {
    server.set_faults(Faults::default());
    for _ in 0..2 {
        import(folder, server, "").run().exits(0);
        let hits = stored(server);
        assert_eq!((hits.len(), seconds_sent(&hits)), (7, 9000));
    }
}

#[test]
fn a_last_batch_that_is_unconfirmed_is_sent_by_the_next_run() {
    let script = vec![None, Some(Fault::Refuse)];
    let (folder, server) = session_in_two_batches(Faults {
        script,
        ..Faults::default()
    });
    let running = import(&folder, &server, "--request-timeout=60").start();
    // The calls are for the site and both batches. The program now waits for the server.
    assert!(until(LONGEST, || server.log().calls >= 3));
    running.signal(Signal::TERM);
    running.end().exits(143);
    assert_completed(&folder, &server);

    let (folder, server) = session_in_two_batches(Faults {
        script: vec![None, Some(Fault::RollBack)],
        api: visits_unreadable(),
        ..Faults::default()
    });
    import(&folder, &server, "--in-doubt=stop").run().exits(1);
    assert_completed(&folder, &server);
}

#[test]
fn stored_requests_are_remembered_through_failed_runs() {
    for crashes in [false, true] {
        let unavailable = || Faults {
            rules: vec![(When::From(1), Fault::Busy(503, None))],
            ..Faults::default()
        };
        let (folder, server) = session_in_two_batches(Faults {
            rules: vec![(When::From(2), Fault::Busy(503, None))],
            ..Faults::default()
        });
        if crashes {
            server.set_faults(Faults::default());
            let ended = import(&folder, &server, "")
                .env("IMPORT_LOGS_ABORT_AT", "after-intent:2")
                .run();
            assert_eq!(ended.code, None);
        } else {
            import(&folder, &server, "").run().exits(1);
        }
        for _ in 0..2 {
            server.set_faults(unavailable());
            import(&folder, &server, "").run().exits(1);
        }
        assert_eq!(stored(&server).len(), 4);
        assert_completed(&folder, &server);
    }
}

#[test]
fn an_acknowledged_batch_is_not_unconfirmed_although_its_line_is_not_done() {
    let (folder, server) = session_in_two_batches(Faults {
        rules: vec![(When::From(2), Fault::Busy(503, None))],
        ..Faults::default()
    });
    import(&folder, &server, "").run().exits(1);
    server.set_faults(Faults {
        api: visits_unreadable(),
        ..Faults::default()
    });
    import(&folder, &server, "--request-timeout=600 --in-doubt=stop")
        .run()
        .exits(0)
        .hides("waiting");
    assert_eq!(stored(&server).len(), 7);
}

#[test]
fn a_crash_after_the_lookup_forgets_no_request_that_was_found() {
    // The second half of the first batch is stored, and the response is lost.
    let (folder, server) = session_in_two_batches(Faults {
        script: vec![Some(Fault::Deadlock)],
        ..Faults::default()
    });
    for point in ["after-answer", "after-settled"] {
        let ended = import(&folder, &server, "")
            .env("IMPORT_LOGS_ABORT_AT", point)
            .run();
        assert_eq!(ended.code, None, "{point}: {ended}");
        assert_eq!(stored(&server).len(), 2);
    }
    assert_completed(&folder, &server);
}

/// Sessions of 2 to 13 requests, in batches of up to 23, with a server that fails in many ways. The
/// program is killed or terminated at random moments until a run finishes.
#[test]
fn each_request_is_stored_once_after_many_kills_and_faults() {
    at_once(vec![1, 3, 8], |recorders| {
        let mut random = Random::new(&format!("sessions in batches {recorders}"));
        let lines = 150;
        let log: String = (0..lines)
            .map(|number| {
                let address = format!("192.0.2.{}", random.below(60));
                let seconds = random.below(18_000);
                icecast(&address, 40_000 + number, "/live", seconds)
            })
            .collect();
        let expected = started(options());
        let folder = Folder::with_log(&log);
        let run = |server: &FakeMatomo, state: &str| {
            Program::new(&folder).to(server).args(&format!(
                "--idsite=1 --log-format-name=icecast2 --recorder-max-payload-size=23 --request-timeout=1 \
                 --retry-delay=0 --retry-max-attempts=9 --recorders={recorders} --state-dir={state} access.log"
            ))
        };
        run(&expected, "expected").run().exits(0);

        let server = started(Options {
            delay: Duration::from_millis(10),
            ..options()
        });
        let mut said = String::new();
        for runs in 0.. {
            assert!(runs < 300, "no progress");
            server.set_faults(Faults {
                script: (0..400)
                    .map(|_| match random.below(20) {
                        0 | 1 => Some(Fault::Deadlock),
                        2 => Some(Fault::CommitClose),
                        3 => Some(Fault::Refuse),
                        _ => None,
                    })
                    .collect(),
                // Accepts single hits, which would be refused otherwise.
                rules: vec![(
                    When::HitsAbove(random.within(5..23) as usize),
                    Fault::TooLarge,
                )],
                ..Faults::default()
            });
            let mut running = run(&server, "state").start();
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
        assert!(server.wait_idle(LONGEST));
        let (found, wanted) = (sorted_hits(&server), sorted_hits(&expected));
        let excess = |some: &[String], others: &[String]| -> Vec<String> {
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
            found == wanted,
            "{recorders} recorders: missing {:#?}, excess {:#?}\n{said}",
            excess(&wanted, &found),
            excess(&found, &wanted)
        );
    });
}
