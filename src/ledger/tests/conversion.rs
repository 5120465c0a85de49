//! Ledgers of earlier versions, in fixtures/ledgers: one of a run that was killed, so that its
//! records are in the journal, and one that a run without a server opened since, so that they are
//! in the snapshot. That run also saved a pipe.

use super::*;

/// The target of the fixtures.
fn target() -> TargetKey {
    TargetKey::new(&"http://127.0.0.1:19631/".parse().unwrap(), Some("1"))
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ledgers")
}

/// A state directory with the files of that fixture.
fn state_dir(name: &str) -> TempDir {
    let dir = folder();
    for entry in fs::read_dir(fixtures().join(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The lines of the log that are done and those of its pending batch, from 0.
fn check(opened: &OpenedLedger) {
    let salt = 0x519c_4c6d_af02_892c_08e9_e129_1fe8_af83_u128;
    assert_eq!(opened.ledger.salt(), salt.to_be_bytes());
    assert_eq!(opened.warnings, [""; 0]);
    let path = fixtures().join("access.log");
    let state = lookup(&opened.ledger, &path);
    assert_eq!(state.log, LogId(1));
    let content = fs::read(&path).unwrap();
    let mut starts = vec![0];
    starts.extend(
        (0..content.len())
            .filter(|at| content[*at] == b'\n')
            .map(|at| at as u64 + 1),
    );
    let of = |ranges: &Ranges| {
        let lines = starts.iter().enumerate();
        let lines = lines.filter(|(_, start)| ranges.contains(**start));
        lines.map(|(line, _)| line).collect::<Vec<_>>()
    };
    assert_eq!(
        of(&state.done),
        [2, 5, 8, 9, 13, 14, 15, 16, 18, 19, 22, 23]
    );
    let batch = &opened.pending[0];
    assert_eq!(
        (opened.pending.len(), batch.id, batch.hits),
        (1, BatchId(4), 4)
    );
    assert_eq!((batch.state, batch.runs), (BatchState::Pending, 0));
    let (log, _, lines) = &batch.lines[0];
    assert_eq!(*log, LogId(1));
    assert_eq!(of(lines), [1, 10, 12, 20]);
}

#[test]
fn the_ledger_of_a_killed_run_is_converted() {
    let dir = state_dir("killed");
    for _ in 0..2 {
        check(&Ledger::open(dir.path(), &target()).unwrap());
        assert_eq!(names(&dir), ["ledger.db", "lock"]);
    }
}

#[test]
fn the_ledger_of_an_interrupted_run_is_converted_and_its_spool_stays() {
    let dir = state_dir("interrupted");
    for _ in 0..2 {
        check(&Ledger::open(dir.path(), &target()).unwrap());
        let spool = "spool.ebfa3116047f3440.1";
        assert_eq!(names(&dir), ["ledger.db", "lock", spool]);
        let left = spool::left_over(dir.path(), &target()).unwrap();
        let text = fs::read_to_string(&left[0].path).unwrap();
        assert!(left.len() == 1 && text.lines().count() == 3);
    }
}

#[test]
fn without_the_newest_snapshot_the_one_before_and_the_journals_give_the_same() {
    let dir = state_dir("interrupted");
    fs::remove_file(dir.path().join("ledger.json")).unwrap();
    check(&Ledger::open(dir.path(), &target()).unwrap());
}

#[test]
fn a_journal_torn_by_a_crash_is_converted_up_to_there() {
    let dir = state_dir("killed");
    let path = dir.path().join("journal.1");
    let mut journal = fs::read_to_string(&path).unwrap();
    journal.push_str("0123456789abcdef {\"done\":{\"ba");
    fs::write(&path, journal).unwrap();
    check(&Ledger::open(dir.path(), &target()).unwrap());
}

#[test]
fn a_damaged_ledger_of_an_earlier_version_is_refused_and_kept() {
    for (fixture, name) in [
        ("killed", "journal.1"),
        ("killed", "ledger.json"),
        ("interrupted", "journal.2"),
    ] {
        let dir = state_dir(fixture);
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[30] ^= 1;
        fs::write(&path, &bytes).unwrap();
        for _ in 0..2 {
            let error = Ledger::open(dir.path(), &target()).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("is damaged"),
                "{error}"
            );
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        fs::remove_file(&path).unwrap();
        if name != "ledger.json" {
            let error = Ledger::open(dir.path(), &target()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("missing"), "{error}");
        }
    }
}
