//! What the state keeps, forgets and holds in doubt.

use std::path::Path;

use super::*;
use crate::ledger::Marks;
use crate::ledger::file_id::FileId;
use crate::ledger::path_text::PathText;

const DAY: u64 = 24 * 3600;
const NOW: u64 = 20_000 * DAY;

fn seen(log: u64, seen: u64) -> Record {
    let identity = Identity {
        target: Checksum::of(b"target"),
        path: PathText(Path::new("/log").into()),
        file: FileId {
            device: 1,
            inode: log,
            size: 0,
            modified: (0, 0),
            born: None,
        },
        head: Head::of(b"beginning"),
        seen,
        end: None,
    };
    let log = LogId(log);
    Record::Seen { log, identity }
}

fn state(logs: &[(u64, u64)]) -> State {
    let mut state = State::new(Salt([7; 16]));
    state.opened = NOW;
    for &(log, last) in logs {
        state.apply(seen(log, last));
    }
    state
}

fn left(state: &State) -> Vec<u64> {
    state.logs.keys().map(|log| log.0).collect()
}

fn lines(log: u64) -> Lines {
    let mut ranges = Ranges::default();
    ranges.insert(0..10, 1);
    Lines::from([(LogId(log), ranges)])
}

fn intent(batch: u64, log: u64) -> Record {
    Record::Intent {
        batch: BatchId(batch),
        intent: Intent {
            target: Checksum::of(b"target"),
            sent_at: NOW * 1000,
            hits: 1,
            lines: lines(log),
            there: None,
        },
    }
}

#[test]
fn logs_unseen_for_four_hundred_days_are_forgotten() {
    let mut state = state(&[(1, NOW - 401 * DAY), (2, NOW - 399 * DAY)]);
    state.open(NOW);
    assert_eq!(left(&state), [2]);
}

#[test]
fn one_run_with_a_clock_far_ahead_or_behind_forgets_nothing() {
    for wrong in [0, NOW + 10_000 * DAY] {
        let mut state = state(&[(1, NOW - DAY)]);
        state.open(wrong);
        state.open(NOW + DAY);
        assert_eq!(left(&state), [1], "clock at {wrong}");
    }
}

#[test]
fn a_log_with_a_batch_in_doubt_is_never_forgotten() {
    let mut state = state(&[(1, 0)]);
    state.apply(intent(1, 1));
    state.open(NOW);
    assert_eq!(left(&state), [1]);
}

#[test]
fn of_too_many_logs_those_seen_last_stay_and_all_that_are_in_use() {
    let many = MANY_LOGS as u64 + 2;
    let logs = |age: u64| (1..=many).map(move |log| (log, NOW - age + log % 7));
    let mut unused = state(&logs(31 * DAY).collect::<Vec<_>>());
    unused.open(NOW);
    assert_eq!(unused.logs.len(), MANY_LOGS);
    assert!(!unused.logs.contains_key(&LogId(7)) && !unused.logs.contains_key(&LogId(14)));
    let mut in_use = state(&logs(DAY).collect::<Vec<_>>());
    in_use.open(NOW);
    assert_eq!(in_use.logs.len(), MANY_LOGS + 2);
}

#[test]
fn a_done_claims_the_lines_of_its_intent_and_a_settlement_only_what_was_found() {
    let mut state = state(&[(1, NOW), (2, NOW)]);
    state.apply(intent(1, 1));
    state.apply(intent(2, 2));
    assert_eq!(state.in_doubt(Checksum::of(b"target")).len(), 2);
    assert_eq!(state.in_doubt(Checksum::of(b"another")).len(), 0);
    state.apply(Record::Done { batch: BatchId(1) });
    state.apply(Record::Settled {
        batch: BatchId(2),
        found: Lines::new(),
    });
    assert_eq!(state.logs[&LogId(1)].done.first_gap(), 10);
    assert!(state.logs[&LogId(2)].done.is_empty() && state.pending.is_empty());
}

#[test]
fn a_batch_that_was_answered_is_known_until_its_lines_are_done() {
    let mut state = state(&[(1, NOW)]);
    state.apply(intent(1, 1));
    state.apply(intent(2, 1));
    let marks: Marks = [b"abcdef"].into_iter().collect();
    state.apply(Record::There {
        batch: BatchId(1),
        marks: marks.clone(),
    });
    state.open(NOW);
    let there: Vec<_> = state
        .in_doubt(Checksum::of(b"target"))
        .into_iter()
        .map(|batch| batch.there)
        .collect();
    assert_eq!(there, [Some(marks), None]);
    state.apply(Record::Done { batch: BatchId(2) });
    state.open(NOW);
    assert!(state.pending.is_empty());
}

#[test]
fn records_that_refer_to_what_is_not_known_claim_nothing_but_use_up_their_numbers() {
    let mut state = State::new(Salt([7; 16]));
    state.apply(intent(8, 5));
    state.apply(Record::Done { batch: BatchId(9) });
    state.apply(Record::Passed { lines: lines(6) });
    assert!(state.logs.is_empty() && state.pending.is_empty());
    assert_eq!((state.next_log, state.next_batch), (7, 10));
}
