//! Damaged files: the ledger reports them, never claims more than was acknowledged, and never
//! begins anew without being asked.

use super::*;

/// A ledger after a complete run and a killed one, and the lines of each log that were done.
struct Scene {
    dir: TempDir,
    truth: BTreeMap<LogId, Ranges>,
}

impl Scene {
    fn new() -> Self {
        let dir = folder();
        let state = dir.path().join("state");
        let logs = ["a", "b", "c"].map(|name| dir.path().join(name)).to_vec();
        append(&logs[0], &numbered(0..6));
        append(&logs[1], &numbered(10..13));
        append(&logs[2], &numbered(20..23));
        let ledger = open(&state).ledger;
        import(&ledger, &logs[0]);
        import(&ledger, &logs[2]);
        ledger.close().unwrap();
        drop(ledger);

        append(&logs[0], &numbered(6..12));
        let ledger = open(&state).ledger;
        let finished = lookup(&ledger, &logs[2]);
        assert_eq!(finished.change, FileChange::Done);
        let mut truth = BTreeMap::from([(finished.log, finished.done)]);
        for path in &logs[..2] {
            let log = lookup(&ledger, path);
            let content = fs::read(path).unwrap();
            ledger.note_read(log.log, 0, &content).unwrap();
            let left = lines_left(&content, &log);
            ledger.mark_done(log.log, left[0].clone(), 1);
            let acknowledged = ledger.begin_batch(lines(log.log, &left[1..2]), 1).unwrap();
            ledger.begin_batch(lines(log.log, &left[2..]), 1).unwrap();
            ledger.confirm(acknowledged).unwrap();
            let done = ledger.lock().state.logs[&log.log].done.clone();
            truth.insert(log.log, done);
        }
        Self { dir, truth }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// What damaged databases are kept as.
    fn broken(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let broken = paths.filter(|path| path.to_string_lossy().contains(".broken-2"));
        broken.collect()
    }

    fn forget_damage(&self) {
        for path in self.broken() {
            fs::remove_file(path).unwrap();
        }
    }

    fn database(&self) -> PathBuf {
        self.state().join("ledger.db")
    }

    /// Opens the ledger and compares its claims with the truth. Returns the error if it is refused.
    fn check(&self, what: &str) -> Option<String> {
        let opened = match Ledger::open(&self.state(), &target("1")) {
            Ok(opened) => opened,
            Err(error) => return Some(error.to_string()),
        };
        let claimed = &opened.ledger.lock().state.logs;
        for (log, truth) in &self.truth {
            let done = claimed.get(log).map(|known| &known.done);
            assert_eq!(done, Some(truth), "{what}");
        }
        None
    }
}

#[test]
fn a_changed_byte_is_found_or_changes_nothing() {
    let scene = Scene::new();
    let whole = fs::read(scene.database()).unwrap();
    let mut refused = 0;
    // Every byte that is not zero, as those hold the values and the structure.
    let used = (0..whole.len()).filter(|at| whole[*at] != 0);
    for at in used.step_by(23) {
        for mask in [0x01, 0xFF] {
            let mut changed = whole.clone();
            changed[at] ^= mask;
            fs::write(scene.database(), changed).unwrap();
            let what = format!("byte {at} ^ {mask:#x}");
            if let Some(error) = scene.check(&what) {
                let is_named = error.contains("is damaged") || error.contains("newer import-logs");
                assert!(is_named && error.contains("ledger.db"), "{what}: {error}");
                refused += 1;
                scene.forget_damage();
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_truncated_database_is_found() {
    let scene = Scene::new();
    let whole = fs::read(scene.database()).unwrap();
    for length in (0..whole.len()).step_by(512) {
        fs::write(scene.database(), &whole[..length]).unwrap();
        if let Some(error) = scene.check(&length.to_string()) {
            assert!(error.contains("is damaged"), "{length}: {error}");
            scene.forget_damage();
        } else {
            // The last page may be free.
            assert!(length + 4096 > whole.len(), "{length}");
        }
    }
}

#[test]
fn a_damaged_database_is_kept_and_a_new_one_is_made_only_when_it_is_removed() {
    let scene = Scene::new();
    fs::write(scene.database(), "no database").unwrap();
    let first = scene.check("").unwrap();
    for part in [
        "ledger.db is damaged (",
        "kept as",
        "ledger.db.broken-2",
        "all lines",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    for _ in 0..2 {
        let later = scene.check("").unwrap();
        assert!(later.contains("ledger.db was damaged, and"), "{later}");
        assert!(later.contains("remove"), "{later}");
    }
    let kept = scene.broken();
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "no database");
    scene.forget_damage();
    assert_eq!(open(&scene.state()).ledger.lock().state.logs.len(), 0);
}

#[test]
fn a_database_that_is_lost_but_for_its_log_is_refused() {
    let scene = Scene::new();
    fs::rename(scene.database(), scene.state().join("ledger.db-wal")).unwrap();
    let error = scene.check("").unwrap();
    assert!(error.contains("ledger.db-wal is left of it"), "{error}");
}

#[test]
fn a_database_that_was_not_complete_is_made_anew() {
    let dir = folder();
    fs::write(dir.path().join("ledger.db.new"), "half a datab").unwrap();
    open(dir.path());
    assert!(!dir.path().join("ledger.db.new").exists());
}
