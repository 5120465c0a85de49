//! Complete runs on a server that deadlocks, and whose visitor log may be inaccessible.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Live, Mask, Options};
use regex::Regex;

use super::numbered::{assert_each_once, log, stored};
use super::world::{World, assert_adds_up};
use crate::support::stored::options;
use crate::support::{Ended, Program};

const DAYS: usize = 40;
const A_DAY: usize = 60;

/// A server that deadlocks occasionally, and whenever first batches of a day overlap.
fn deadlocking(live: Live, mask: Mask) -> World {
    let mut script = vec![None; 300];
    for call in (3..300).step_by(7) {
        script[call] = Some(Fault::Deadlock);
    }
    let options = Options {
        faults: Faults {
            script,
            deadlock_first_days: true,
            ..Faults::default()
        },
        live,
        mask,
        delay: Duration::from_millis(3),
        ..options()
    };
    let world = World::with(options).args("--recorders=8 --recorder-max-payload-size=20");
    world
        .folder
        .write("access.log", log(0..DAYS * A_DAY, A_DAY));
    world
}

/// Imports with and without a ledger.
fn with_and_without_ledger(live: Live, mask: Mask, check: impl Fn(&World, Ended)) {
    let ways: [fn(&World) -> Program; 2] = [World::program, World::without_ledger];
    for way in ways {
        let world = deadlocking(live, mask);
        let ended = assert_adds_up(way(&world).args("access.log").run());
        check(&world, ended);
    }
}

#[test]
fn deadlocks_lose_and_double_nothing() {
    with_and_without_ledger(Live::Open, Mask::default(), |world, ended| {
        let ended = ended.exits(0);
        assert_each_once(&world.server, 0..DAYS * A_DAY);
        assert_eq!(ended.summary().get("imported"), (DAYS * A_DAY) as u64);
    });
}

#[test]
fn deadlocks_lose_and_double_nothing_if_addresses_are_kept() {
    with_and_without_ledger(Live::Open, Mask::Off, |world, ended| {
        ended.exits(0);
        assert_each_once(&world.server, 0..DAYS * A_DAY);
    });
}

#[test]
fn if_matomo_cannot_be_asked_nothing_is_lost_and_possible_duplicates_are_listed() {
    with_and_without_ledger(Live::Closed, Mask::default(), |world, ended| {
        let ended = ended.exits(3);
        let stored = stored(&world.server);
        assert_eq!(stored.len(), DAYS * A_DAY, "{ended}");
        let listed = listed(&ended.err);
        let doubled: BTreeSet<usize> = stored
            .into_iter()
            .filter(|(_, times)| *times > 1)
            .map(|(number, _)| number)
            .collect();
        assert!(!doubled.is_empty());
        assert!(doubled.is_subset(&listed), "{doubled:?}\n{ended}");
        let resent = ended.summary().get("resent");
        assert!(resent >= doubled.len() as u64, "{ended}");
    });
}

/// The numbers of the lines that were reported as possible duplicates.
fn listed(messages: &str) -> BTreeSet<usize> {
    let places = Regex::new(r"access\.log:([\d, -]+) are unconfirmed").unwrap();
    let ranges = |found: regex::Captures| -> Vec<usize> {
        let ranges = found[1].split(", ").map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            // Lines are counted from 1, numbers from 0.
            first.parse::<usize>().unwrap() - 1..last.parse().unwrap()
        });
        ranges.flatten().collect()
    };
    places.captures_iter(messages).flat_map(ranges).collect()
}
