//! Damaged files: the ledger opens, reports them, and never claims more than was acknowledged.

use super::*;

/// A ledger after a complete run and a killed one, and the lines of each log that were done.
struct Scene {
    dir: TempDir,
    logs: Vec<PathBuf>,
    truth: BTreeMap<PathBuf, Ranges>,
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
        let mut truth = BTreeMap::from([(logs[2].clone(), finished.done)]);
        for path in &logs[..2] {
            let log = lookup(&ledger, path);
            let content = fs::read(path).unwrap();
            ledger.note_read(log.log, 0, &content).unwrap();
            let left = lines_left(&content, &log);
            ledger.mark_done(log.log, left[0].clone(), 1);
            let acknowledged = ledger.begin_batch(lines(log.log, &left[1..2]), 1).unwrap();
            ledger.begin_batch(lines(log.log, &left[2..]), 1).unwrap();
            ledger.acknowledge(acknowledged).unwrap();
            let done = ledger.lock().state.logs[&log.log].done.clone();
            truth.insert(path.clone(), done);
        }
        Self { dir, logs, truth }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The ledger's files and their content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.state())
            .unwrap()
            .map(|it| it.unwrap().path());
        entries
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    fn set(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        for path in self
            .files()
            .keys()
            .filter(|path| !files.contains_key(*path))
        {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in files {
            fs::write(path, bytes).unwrap();
        }
    }

    /// Opens the ledger and compares its claims with the truth. Returns whether all lines that were
    /// done are known, and the warnings.
    fn check(&self, what: &str) -> (bool, Vec<String>) {
        let opened = match Ledger::open(&self.state(), &target("1")) {
            Ok(opened) => opened,
            Err(error) => panic!("{what}: {error}"),
        };
        let mut complete = true;
        for path in &self.logs {
            let state = lookup(&opened.ledger, path);
            let claimed = state.done;
            let truth = &self.truth[path];
            let mut both = truth.clone();
            both.extend(&claimed);
            assert_eq!(&both, truth, "{what}: claims more of {}", path.display());
            complete &= &claimed == truth;
            // Nor may it call a whole log done.
            let whole = fs::metadata(path).unwrap().len();
            assert!(
                state.change != FileChange::Done || claimed.first_gap() == whole,
                "{what}"
            );
        }
        (complete, opened.warnings)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn truncated_or_changed_at_any_byte_it_opens_and_never_claims_more() {
    let scene = Scene::new();
    let whole = scene.files();
    let names: Vec<String> = whole.keys().map(|path| name(path)).collect();
    for needed in ["ledger.json", "ledger.json.old", "journal.2", "journal.3"] {
        assert!(names.contains(&needed.to_owned()), "{names:?}");
    }
    for (path, bytes) in &whole {
        for at in 0..bytes.len() {
            let mut changes = vec![bytes[..at].to_vec()];
            for mask in [0x01, 0x10, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                changes.push(changed);
            }
            for changed in changes {
                let mut files = whole.clone();
                files.insert(path.clone(), changed);
                scene.set(&files);
                let what = format!("{} at {at}", name(path));
                let (complete, _) = scene.check(&what);
                // A damaged snapshot loses nothing: the old one and the journals since give the
                // same.
                assert!(complete || name(path) == "journal.3", "{what}");
            }
        }
    }
}

#[test]
fn with_several_files_missing_or_damaged_it_opens_and_never_claims_more() {
    let scene = Scene::new();
    let whole = scene.files();
    let paths: Vec<&PathBuf> = whole.keys().collect();
    for chosen in 0..3_usize.pow(paths.len() as u32) {
        let mut files = whole.clone();
        for (index, path) in paths.iter().enumerate() {
            match chosen / 3_usize.pow(index as u32) % 3 {
                0 => {}
                1 => drop(files.remove(*path)),
                _ => drop(files.insert((*path).clone(), b"{\"version\":1}\nbroken".to_vec())),
            }
        }
        scene.set(&files);
        scene.check(&format!(
            "{:?}",
            files.keys().map(|path| name(path)).collect::<Vec<_>>()
        ));
    }
}

#[test]
fn a_damaged_snapshot_is_reported_and_quarantined() {
    let scene = Scene::new();
    let path = scene.state().join("ledger.json");
    fs::write(&path, "half a ledg").unwrap();
    let (complete, warnings) = scene.check("damaged");
    assert!(complete);
    assert!(
        warnings[0].contains("ledger.json is damaged"),
        "{warnings:?}"
    );
    let kept: Vec<_> = (scene.files().into_iter())
        .filter(|(path, _)| name(path).starts_with("ledger.json.broken-2"))
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].1, b"half a ledg");
    assert_eq!(scene.check("afterwards"), (true, vec![]));
}

#[test]
fn a_damaged_journal_is_reported_and_copied_and_its_other_records_count() {
    let scene = Scene::new();
    let path = scene.state().join("journal.3");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|it| it == b"passed").unwrap();
    bytes[at] = b'P';
    fs::write(&path, &bytes).unwrap();
    let (complete, warnings) = scene.check("damaged");
    assert!(!complete);
    assert!(
        warnings[0].contains("journal.3 is damaged (1 of its records"),
        "{warnings:?}"
    );
    assert!(
        scene
            .files()
            .keys()
            .any(|path| name(path).starts_with("journal.3.broken-2"))
    );
    assert_eq!(scene.check("afterwards"), (false, vec![]));
}

#[test]
fn a_journal_torn_at_its_end_is_not_damaged() {
    let scene = Scene::new();
    let path = scene.state().join("journal.3");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(scene.check("torn"), (false, vec![]));
}

#[test]
fn an_emptied_or_overwritten_journal_is_reported_and_copied() {
    let scene = Scene::new();
    let whole = scene.files();
    let path = scene.state().join("journal.3");
    let header = whole[&path].split_inclusive(|byte| *byte == b'\n').next();
    let beheaded = whole[&path][header.unwrap().len()..].to_vec();
    for (content, what) in [
        (Vec::new(), "its beginning is missing"),
        (vec![0; 3000], "its beginning is missing"),
        (b"no line end".to_vec(), "its beginning is missing"),
        (beheaded, "its beginning is missing"),
        (b"no\nrecords\n".to_vec(), "2 of its records"),
    ] {
        let mut files = whole.clone();
        files.insert(path.clone(), content.clone());
        scene.set(&files);
        let (_, warnings) = scene.check(what);
        let name = format!("journal.3 is damaged ({what}");
        assert!(
            warnings.len() == 1 && warnings[0].contains(&name),
            "{name}: {warnings:?}"
        );
        let kept = |(path, bytes): &(&PathBuf, &Vec<u8>)| {
            path.to_string_lossy().contains("journal.3.broken-2") && **bytes == content
        };
        assert!(scene.files().iter().any(|file| kept(&file)), "{what}");
    }
}

#[test]
fn the_journal_of_an_interrupted_checkpoint_is_never_reported() {
    let scene = Scene::new();
    let whole = scene.files();
    let header = b"0123456789abcdef {\"jour".to_vec();
    for content in [Vec::new(), vec![0; 90], header] {
        let mut files = whole.clone();
        files.insert(scene.state().join("journal.4"), content);
        scene.set(&files);
        assert_eq!(scene.check("left"), (true, vec![]));
        // Nor later, when the next snapshot is lost and all journals are needed.
        fs::remove_file(scene.state().join("ledger.json")).unwrap();
        assert_eq!(scene.check("lost"), (true, vec![]));
    }
    // The same for the very first one.
    for content in [Vec::new(), vec![0; 90]] {
        let files = BTreeMap::from([(scene.state().join("journal.1"), content)]);
        scene.set(&files);
        assert_eq!(scene.check("first").1, Vec::<String>::new());
    }
}

#[test]
fn missing_journals_and_journals_of_another_ledger_are_reported() {
    let (scene, other) = (Scene::new(), Scene::new());
    let path = scene.state().join("journal.3");
    fs::copy(other.state().join("journal.3"), &path).unwrap();
    let (_, warnings) = scene.check("foreign");
    assert!(
        warnings[0].contains("belongs to another ledger"),
        "{warnings:?}"
    );
    let scene = Scene::new();
    fs::remove_file(scene.state().join("journal.3")).unwrap();
    let (_, warnings) = scene.check("missing");
    assert!(warnings[0].contains("journal.3 is missing"), "{warnings:?}");
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_not_changed() {
    let scene = Scene::new();
    let path = scene.state().join("journal.3");
    let mut newer = Vec::new();
    let salt = Salt([1; 16]);
    let version = 2;
    LedgerRecord::Header { version, salt }
        .write(&mut newer)
        .unwrap();
    fs::write(&path, &newer).unwrap();
    let before = scene.files();
    let error = Ledger::open(&scene.state(), &target("1")).unwrap_err();
    assert!(
        error.to_string().contains("newer import-logs (version 2"),
        "{error}"
    );
    let mut after = scene.files();
    after.retain(|path, _| name(path) != "lock");
    assert!(
        after
            .iter()
            .all(|(path, bytes)| before.get(path) == Some(bytes))
    );
    assert_eq!(after.len() + 1, before.len());
}
