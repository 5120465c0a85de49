//! The crash matrix: the program is aborted at each failpoint, and again while it recovers. Then
//! the import completes.

use std::time::Duration;

use rustix::process::Signal;

use super::job::{From, Job};
use super::numbered::assert_each_once;
use super::world::World;
use crate::support::at_once;
use crate::support::clock::{LONGEST, until};

/// The failpoints, and at which visits the program is aborted.
const POINTS: [(&str, [u32; 2]); 9] = [
    ("after-spool-append", [1, 2]),
    ("after-intent", [1, 9]),
    ("in-body", [1, 7]),
    ("after-answer", [2, 8]),
    ("before-read-back", [1, 1]),
    ("after-done", [1, 6]),
    ("before-rename", [1, 1]),
    ("after-rename", [1, 1]),
    ("between-files", [1, 2]),
];

fn is_reached(point: &str, time: u32, from: From, recorders: usize) -> bool {
    match point {
        "after-spool-append" => from == From::Pipe,
        // One recorder does not read back.
        "before-read-back" => recorders > 1,
        "between-files" => time == 1 || from == From::TwoFiles,
        _ => true,
    }
}

#[test]
fn each_line_is_stored_once_after_two_aborts_at_any_failpoint() {
    let mut cells = Vec::new();
    for from in From::ALL {
        for recorders in [1, 3, 8] {
            for index in 0..2 {
                cells.push((from, recorders, index));
            }
        }
    }
    at_once(cells, |(from, recorders, index)| {
        for (point, times) in POINTS {
            let time = times[index];
            if !is_reached(point, time, from, recorders) {
                continue;
            }
            let what = format!("{from:?}, {recorders} recorders, {point}:{time}");
            let world = World::new(Duration::from_millis(2));
            let mut job = Job::new(world, from, 250, recorders);
            let abort_at = format!("{point}:{time}");
            let dying = job.start(|program| program.env("IMPORT_LOGS_ABORT_AT", &abort_at));
            let ended = job.end(dying);
            assert_eq!(ended.code, None, "{what} is never reached: {ended}");
            // Recovery is interrupted by another crash, if the failpoint is reached again.
            let dying = job.start(|program| program.env("IMPORT_LOGS_ABORT_AT", &abort_at));
            job.end(dying);
            job.finish(&what);
        }
    });
}

#[test]
fn a_run_waits_for_the_request_of_a_killed_run() {
    let world = World::new(Duration::from_millis(600));
    let job = Job::new(world, From::Plain, 60, 4);
    let calls = job.world.calls();
    let mut running = job.start(|program| program);
    // The site, and a tracking request that is not answered yet.
    assert!(until(LONGEST, || job.world.calls() >= calls + 2));
    running.signal(Signal::KILL);
    assert!(until(LONGEST, || running.has_ended()));
    assert_each_once(&job.world.server, 0..0);
    job.finish("killed during a request");
}
