//! SIGKILL at random moments, again and again, until all is done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::fake::Options;
use rustix::process::Signal;

use super::job::{From, Job, at_once};
use super::random::Random;
use super::world::{TIMEOUT, World};
use crate::support::clock::{LONGEST, until};
use crate::support::stored::options;

/// Kills of each of the twelve rows (recorders and where lines come from), so that there are at least 200.
const KILLS: u64 = 17;
/// So many of them at least must fall between an intent and its done.
const BETWEEN: u64 = 50;
/// The server takes its time, so that most moments are moments of a request.
const DELAY: Duration = Duration::from_millis(25);

#[test]
fn killed_at_two_hundred_random_moments_each_line_is_there_once() {
    let between = AtomicU64::new(0);
    let kills = AtomicU64::new(0);
    let mut rows = Vec::new();
    for from in From::ALL {
        for recorders in [1, 3, 8] {
            rows.push((from, recorders));
        }
    }
    at_once(rows, |(from, recorders)| {
        let mut random = Random::new(&format!("kills {from:?} {recorders}"));
        let mut left = KILLS;
        while left > 0 {
            let what = format!("{from:?}, {recorders} recorders, {left} kills left");
            let world = World::with(Options {
                delay: DELAY,
                ..options()
            });
            let mut job = Job::new(world, from, 400 * recorders, recorders);
            while left > 0 {
                let (died, in_doubt) = kill(&mut job, &mut random);
                if !died {
                    break;
                }
                left -= 1;
                kills.fetch_add(1, Relaxed);
                between.fetch_add(u64::from(in_doubt), Relaxed);
            }
            job.finish(&what);
        }
    });
    let (kills, between) = (kills.into_inner(), between.into_inner());
    println!("{kills} kills, {between} of them between an intent and its done");
    assert!(kills >= 200 && between >= BETWEEN, "{between} of {kills}");
}

/// Starts a run and kills it: whether it was killed before it ended, and whether a batch of it was under way then.
fn kill(job: &mut Job, random: &mut Random) -> (bool, bool) {
    let before = job.world.in_doubt();
    let calls = job.world.calls();
    let mut running = job.start(|program| program);
    let begun = Instant::now();
    // Some time after its start, or, however busy this machine is, after so many of its requests.
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
    let in_doubt = died && !job.world.in_doubt().is_subset(&before);
    // As often as not the next run finds that the server has had its time already.
    if in_doubt && random.below(2) == 0 {
        sleep(TIMEOUT.saturating_sub(begun.elapsed()));
    }
    (died, in_doubt)
}
