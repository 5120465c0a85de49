//! SIGKILL at random moments, until the import is complete.
//!
//! The environment variable `IMPORT_LOGS_KILLS` sets the number of kills for each combination of
//! recorders and sources (17 if unset).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::fake::Options;
use rustix::process::Signal;

use super::job::{From, Job};
use super::random::Random;
use super::world::{TIMEOUT, World};
use crate::support::at_once;
use crate::support::clock::{LONGEST, until};
use crate::support::stored::options;

/// Kills for each of the twelve combinations of recorders and sources: at least 200 in all. A
/// quarter of them must leave a batch pending.
const KILLS: u64 = 17;
/// The server's delay, so that requests are in flight most of the time.
const DELAY: Duration = Duration::from_millis(25);

#[test]
fn each_line_is_stored_once_after_two_hundred_random_kills() {
    let kills_each = std::env::var("IMPORT_LOGS_KILLS")
        .map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let pending = AtomicU64::new(0);
    let kills = AtomicU64::new(0);
    let mut rows = Vec::new();
    for from in From::ALL {
        for recorders in [1, 3, 8] {
            rows.push((from, recorders));
        }
    }
    at_once(rows, |(from, recorders)| {
        let mut random = Random::new(&format!("kills {from:?} {recorders}"));
        let mut left = kills_each;
        while left > 0 {
            let what = format!("{from:?}, {recorders} recorders, {left} kills left");
            let world = World::with(Options {
                delay: DELAY,
                ..options()
            });
            let mut job = Job::new(world, from, 400 * recorders, recorders);
            while left > 0 {
                let (died, left_pending) = kill(&mut job, &mut random);
                if !died {
                    break;
                }
                left -= 1;
                kills.fetch_add(1, Relaxed);
                pending.fetch_add(u64::from(left_pending), Relaxed);
            }
            job.finish(&what);
        }
    });
    let (kills, pending) = (kills.into_inner(), pending.into_inner());
    println!("{kills} kills, {pending} of them left a batch pending");
    assert!(
        kills >= 12 * kills_each && pending >= kills / 4,
        "{pending} of {kills}"
    );
}

/// Starts a run and kills it. Returns whether it was killed before it ended, and whether it left a
/// batch pending.
fn kill(job: &mut Job, random: &mut Random) -> (bool, bool) {
    let before = job.world.pending();
    let calls = job.world.calls();
    let mut running = job.start(|program| program);
    let begun = Instant::now();
    // After a random time or number of requests, so that it also works on a slow machine.
    if random.chance(30) {
        sleep(Duration::from_millis(random.below(400)));
    } else {
        let calls = calls + random.within(1..12);
        until(LONGEST, || {
            running.has_ended() || job.world.calls() >= calls
        });
        sleep(Duration::from_millis(
            random.below(2 * DELAY.as_millis() as u64),
        ));
    }
    if !running.has_ended() {
        running.signal(Signal::KILL);
    }
    let ended = job.end(running);
    assert!(matches!(ended.code, None | Some(0)), "{ended}");
    let died = ended.code.is_none();
    let left_pending = died && !job.world.pending().is_subset(&before);
    // In half of the cases, the next run does not have to wait for the server.
    if left_pending && random.below(2) == 0 {
        sleep(TIMEOUT.saturating_sub(begun.elapsed()));
    }
    (died, left_pending)
}
