//! What an interrupted run leaves behind.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use super::*;
use crate::failpoint;

const SIGABRT: i32 = 6;

#[test]
fn a_batch_that_was_not_acknowledged_is_pending_until_it_is_settled() {
    let dir = folder();
    let path = dir.path().join("log");
    let text = numbered(0..3);
    append(&path, &text);
    let ends: Vec<u64> = (text.match_indices('\n'))
        .map(|(at, _)| at as u64 + 1)
        .collect();
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let salt = ledger.salt();
    let log = lookup(&ledger, &path).log;
    ledger.note_read(log, 0, text.as_bytes()).unwrap();
    let ours = lines(log, &[0..ends[0], ends[0]..ends[1]]);
    let batch = ledger.begin_batch(ours.clone(), 2).unwrap();
    drop(ledger);

    // Runs for another target leave it alone.
    assert_eq!(Ledger::open(&state, &target("2")).unwrap().pending, []);
    let opened = open(&state);
    assert_eq!(opened.ledger.salt(), salt);
    let left = &opened.pending[0];
    assert_eq!((left.id, left.hits, opened.pending.len()), (batch, 2, 1));
    assert_eq!(left.lines, [(log, path.clone(), ours[&log].clone())]);
    assert_eq!(lookup(&opened.ledger, &path).resume_at(), 0);
    opened.ledger.settle(batch, line(log, 0..ends[0])).unwrap();
    drop(opened);

    let opened = open(&state);
    assert_eq!(opened.pending, []);
    assert_eq!(lookup(&opened.ledger, &path).resume_at(), ends[0]);
}

#[test]
fn a_forgotten_batch_is_neither_done_nor_pending() {
    let dir = folder();
    let path = dir.path().join("log");
    append(&path, &numbered(0..3));
    let ledger = open(&dir.path().join("state")).ledger;
    let log = lookup(&ledger, &path).log;
    let batch = ledger.begin_batch(line(log, 0..30), 1).unwrap();
    ledger.forget(batch).unwrap();
    drop(ledger);
    let opened = open(&dir.path().join("state"));
    assert_eq!(opened.pending, []);
    assert_eq!(lookup(&opened.ledger, &path).resume_at(), 0);
}

#[test]
fn eight_recorders_lose_no_batch() {
    let dir = folder();
    let path = dir.path().join("log");
    append(&path, &numbered(0..1));
    let ledger = open(&dir.path().join("state")).ledger;
    let log = lookup(&ledger, &path).log;
    thread::scope(|scope| {
        for recorder in 0..8 {
            let ledger = &ledger;
            scope.spawn(move || {
                for batch in 0..50 {
                    let start = (batch * 8 + recorder) * 10;
                    let batch = ledger.begin_batch(line(log, start..start + 10), 1).unwrap();
                    ledger.confirm(batch).unwrap();
                }
            });
        }
    });
    drop(ledger);
    let opened = open(&dir.path().join("state"));
    assert_eq!(opened.pending, []);
    assert_eq!(opened.ledger.position(log), 8 * 50 * 10);
}

/// The rows of a table, read after the ledger is closed.
fn count(state: &Path, table: &str) -> usize {
    let database = rusqlite::Connection::open(state.join("ledger.db")).unwrap();
    let query = format!("SELECT count(*) FROM {table}");
    database.query_row(&query, [], |row| row.get(0)).unwrap()
}

#[test]
fn many_batches_are_merged_during_the_run_and_all_at_its_end() {
    let dir = folder();
    let path = dir.path().join("log");
    append(&path, &numbered(0..1));
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let log = lookup(&ledger, &path).log;
    // Every second line, so that no ranges are merged.
    let batches = 60;
    for batch in 0..batches {
        let start = batch * 400_000;
        let every_second = (0..20_000).map(|line| start + line * 20..start + line * 20 + 10);
        let batch = ledger
            .begin_batch(lines(log, &every_second.collect::<Vec<_>>()), 20_000)
            .unwrap();
        ledger.confirm(batch).unwrap();
    }
    drop(ledger);
    assert!(count(&state, "done") < 15);
    let opened = open(&state);
    let done = opened.ledger.lock().state.logs[&log].done.clone();
    assert_eq!(done.lines(), batches * 20_000);
    opened.ledger.close().unwrap();
    drop(opened);
    assert_eq!(count(&state, "done"), 0);
    assert_eq!(open(&state).ledger.lock().state.logs[&log].done, done);
}

#[test]
fn an_acknowledged_batch_is_still_open() {
    let dir = folder();
    let path = dir.path().join("log");
    append(&path, &numbered(0..3));
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let log = lookup(&ledger, &path).log;
    let acknowledged = ledger.begin_batch(line(log, 0..30), 1).unwrap();
    ledger.acknowledge(acknowledged).unwrap();
    let pending = ledger.begin_batch(line(log, 30..60), 1).unwrap();
    drop(ledger);
    let opened = open(&state);
    let left: Vec<_> = (opened.pending.iter())
        .map(|it| (it.id, it.state))
        .collect();
    assert_eq!(
        left,
        [
            (acknowledged, BatchState::Acknowledged),
            (pending, BatchState::Pending)
        ]
    );
    assert_eq!(opened.ledger.position(log), 0);
    opened.ledger.confirm(acknowledged).unwrap();
    assert_eq!(opened.ledger.position(log), 30);
}

#[test]
fn a_ledger_in_memory_can_be_saved_to_disk() {
    let dir = folder();
    let path = dir.path().join("log");
    append(&path, &numbered(0..10));
    let ledger = Ledger::in_memory(&target("1")).unwrap();
    assert_eq!(import(&ledger, &path), 10);
    append(&path, &numbered(10..15));
    let salt = ledger.salt();
    let state = ledger.save_in(dir.path()).unwrap();
    assert_eq!(state, dir.path().join("import-logs-state"));
    drop(ledger);
    let opened = open(&state);
    assert_eq!(opened.ledger.salt(), salt);
    assert_eq!(import(&opened.ledger, &path), 5);
    drop(opened);
    let another = Ledger::in_memory(&target("1")).unwrap();
    // Something else has the next name.
    std::os::unix::fs::symlink("/nowhere", dir.path().join("import-logs-state-2")).unwrap();
    let state = another.save_in(dir.path()).unwrap();
    assert_eq!(state, dir.path().join("import-logs-state-3"));
}

#[test]
fn a_second_run_at_the_same_time_fails() {
    let dir = folder();
    let first = open(dir.path());
    let error = Ledger::open(dir.path(), &target("1")).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Stopped);
    assert!(error.to_string().contains("another import"), "{error}");
    drop(first);
    open(dir.path());
}

/// Sends the lines of a log one by one; the tracker is a file. The parent process lets it abort.
#[test]
#[ignore = "started by another test"]
fn child_that_aborts() {
    let Some(dir) = std::env::var_os("LEDGER_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let path = dir.join("log");
    let opened = open(&dir.join("state"));
    for batch in &opened.pending {
        let got = fs::read_to_string(dir.join("tracker")).unwrap_or_default();
        let mut found = LogRanges::new();
        for (log, path, ranges) in &batch.lines {
            let content = fs::read_to_string(path).unwrap();
            for (range, _) in ranges.iter() {
                if got.contains(&content[range.start as usize..range.end as usize]) {
                    found.entry(*log).or_default().insert(range, 1);
                }
            }
        }
        opened.ledger.settle(batch.id, found).unwrap();
    }
    let state = lookup(&opened.ledger, &path);
    let content = fs::read(&path).unwrap();
    opened.ledger.note_read(state.log, 0, &content).unwrap();
    for line in lines_left(&content, &state) {
        let batch = opened
            .ledger
            .begin_batch(super::line(state.log, line.clone()), 1)
            .unwrap();
        let text = &content[line.start as usize..line.end as usize];
        append(&dir.join("tracker"), std::str::from_utf8(text).unwrap());
        failpoint::reach("after-answer");
        opened.ledger.confirm(batch).unwrap();
    }
    opened.ledger.close().unwrap();
}

#[test]
fn aborting_at_any_failpoint_loses_and_doubles_nothing() {
    let points = [
        "after-intent:3",
        "after-answer:2",
        "after-done:2",
        "before-rename",
        "after-rename",
    ];
    for point in points {
        let dir = folder();
        append(&dir.path().join("log"), &numbered(0..6));
        let run = |abort_at: &str| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "ledger::tests::crashes::child_that_aborts",
                    "--ignored",
                ])
                .env("LEDGER_TEST_DIR", dir.path())
                .env("IMPORT_LOGS_ABORT_AT", abort_at)
                .output()
                .unwrap()
        };
        assert_eq!(run(point).status.signal(), Some(SIGABRT), "{point}");
        // Once more, so that the files of a crash meet another crash.
        run(point);
        let last = run("");
        assert!(
            last.status.success(),
            "{point}: {}",
            String::from_utf8_lossy(&last.stdout)
        );
        let got = fs::read_to_string(dir.path().join("tracker")).unwrap();
        assert_eq!(got, numbered(0..6), "{point}");
        assert_eq!(open(&dir.path().join("state")).warnings, [""; 0], "{point}");
    }
}
