//! What becomes of logs between two runs.

use super::*;

struct Logs {
    dir: TempDir,
}

impl Logs {
    fn new() -> Self {
        Self { dir: folder() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// One run over that log: what was made of it, and how many lines were sent.
    fn run(&self, name: &str) -> (FileChange, usize) {
        self.run_all(&[name])[0]
    }

    fn run_all(&self, names: &[&str]) -> Vec<(FileChange, usize)> {
        let opened = open(&self.state_dir());
        assert_eq!(opened.warnings, [""; 0]);
        let ledger = opened.ledger;
        let one = |name: &&str| {
            // Recognising twice before reading changes nothing.
            let fate = recognise(&ledger, &self.path(name)).fate;
            (fate, import(&ledger, &self.path(name)))
        };
        let came = names.iter().map(one).collect();
        ledger.close().unwrap();
        came
    }
}

#[test]
fn a_log_that_grew_goes_on_and_one_that_did_not_is_done() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    assert_eq!(logs.run("log"), (FileChange::New, 100));
    assert_eq!(logs.run("log"), (FileChange::Done, 0));
    append(&logs.path("log"), &numbered(100..150));
    assert_eq!(logs.run("log"), (FileChange::GoesOn, 50));
    assert_eq!(logs.run("log"), (FileChange::Done, 0));
}

#[test]
fn a_log_known_from_its_first_bytes_on_is_known_when_it_is_long() {
    let logs = Logs::new();
    append(&logs.path("log"), "");
    assert_eq!(logs.run("log"), (FileChange::New, 0));
    append(&logs.path("log"), "beg");
    assert_eq!(logs.run("log"), (FileChange::GoesOn, 0));
    append(&logs.path("log"), "inning\n");
    assert_eq!(logs.run("log"), (FileChange::GoesOn, 1));
    append(&logs.path("log"), &numbered(0..100));
    assert_eq!(logs.run("log"), (FileChange::GoesOn, 100));
    pack(&logs.path("log"), &logs.path("log.1.gz"));
    assert_eq!(logs.run("log.1.gz"), (FileChange::Done, 0));
}

#[test]
fn a_log_that_was_empty_when_recognised_and_filled_while_read_is_known_when_packed() {
    let logs = Logs::new();
    append(&logs.path("log"), "");
    let ledger = open(&logs.state_dir()).ledger;
    let log = recognise(&ledger, &logs.path("log")).log;
    let text = numbered(0..3);
    append(&logs.path("log"), &text);
    ledger.read_to(log, 0, text.as_bytes()).unwrap();
    let batch = ledger.intent(line(log, 0..text.len() as u64), 3).unwrap();
    ledger.done(batch).unwrap();
    drop(ledger);
    pack(&logs.path("log"), &logs.path("log.1.gz"));
    assert_eq!(logs.run("log.1.gz"), (FileChange::Done, 0));
}

#[test]
fn a_renamed_log_is_known_and_the_new_one_of_its_name_is_new() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    append(&logs.path("log"), &numbered(100..110));
    fs::rename(logs.path("log"), logs.path("log.1")).unwrap();
    append(&logs.path("log"), &numbered(110..130));
    let came = logs.run_all(&["log", "log.1"]);
    assert_eq!(came, [(FileChange::New, 20), (FileChange::Renamed, 10)]);
    assert_eq!(logs.run("log.1"), (FileChange::Done, 0));
}

#[test]
fn a_log_packed_since_goes_on_at_its_position() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    append(&logs.path("log"), &numbered(100..110));
    pack(&logs.path("log"), &logs.path("log.1.gz"));
    assert_eq!(logs.run("log.1.gz"), (FileChange::Packed, 10));
    fs::rename(logs.path("log.1.gz"), logs.path("log.2.gz")).unwrap();
    assert_eq!(logs.run("log.2.gz"), (FileChange::Done, 0));
}

#[test]
fn a_packed_log_once_found_done_is_not_unpacked_again() {
    struct Never;
    impl Unpacked for Never {
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            panic!("was unpacked")
        }
    }
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    pack(&logs.path("log"), &logs.path("log.gz"));
    assert_eq!(logs.run("log.gz"), (FileChange::New, 100));
    assert_eq!(logs.run("log.gz"), (FileChange::Done, 0));
    let ledger = open(&logs.state_dir()).ledger;
    let path = &logs.path("log.gz");
    let state = ledger.recognise(Probe {
        path,
        file: FileId::from(&fs::metadata(path).unwrap()),
        packed: true,
        log: &mut Never,
    });
    assert_eq!(state.unwrap().fate, FileChange::Done);
}

#[test]
fn a_log_copied_and_cut_off_begins_anew_and_its_copy_goes_on() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    append(&logs.path("log"), &numbered(100..110));
    fs::copy(logs.path("log"), logs.path("log.1")).unwrap();
    fs::write(logs.path("log"), numbered(110..500)).unwrap();
    let came = logs.run_all(&["log", "log.1"]);
    assert_eq!(came, [(FileChange::CutOff, 390), (FileChange::Copied, 10)]);
    let came = logs.run_all(&["log", "log.1"]);
    assert_eq!(came, [(FileChange::Done, 0), (FileChange::Done, 0)]);
}

#[test]
fn a_log_cut_off_to_nothing_begins_anew_each_time() {
    let logs = Logs::new();
    for round in 0..3 {
        append(&logs.path("log"), &numbered(round * 10..round * 10 + 10));
        assert_eq!(logs.run("log").1, 10);
        fs::write(logs.path("log"), "").unwrap();
        assert_eq!(logs.run("log"), (FileChange::CutOff, 0));
    }
}

#[test]
fn a_shorter_log_of_the_same_beginning_is_another_one() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    fs::write(logs.path("log"), numbered(0..90)).unwrap();
    assert_eq!(logs.run("log"), (FileChange::CutOff, 90));
}

#[test]
fn a_new_log_with_the_inode_of_one_that_is_gone_is_new() {
    let logs = Logs::new();
    append(&logs.path("old"), &numbered(0..100));
    logs.run("old");
    // What deleting and making a file comes to where the inode is used again.
    fs::write(logs.path("old"), numbered(500..700)).unwrap();
    fs::rename(logs.path("old"), logs.path("new")).unwrap();
    assert_eq!(logs.run("new"), (FileChange::New, 200));
}

#[test]
fn a_copy_with_the_inode_of_an_empty_log_that_is_gone_is_known() {
    let logs = Logs::new();
    let path = logs.path("access.log");
    append(&path, &numbered(0..100));
    let copy = logs.path("access.log.1");
    fs::copy(&path, &copy).unwrap();
    let as_it_is = FileId::from(&fs::metadata(&copy).unwrap());
    let ledger = open(&logs.state_dir()).ledger;
    let empty = logs.path("empty");
    append(&empty, "");
    let gone = FileId {
        size: 0,
        born: Some((1, 0)),
        ..as_it_is
    };
    assert_eq!(recognise_as(&ledger, &empty, gone).fate, FileChange::New);
    assert_eq!(import(&ledger, &path), 100);
    let later = FileId {
        born: Some((2, 0)),
        ..as_it_is
    };
    let state = recognise_as(&ledger, &copy, later);
    assert_eq!(lines_left(&unpack(&copy), &state), []);
}

#[test]
fn logs_that_begin_alike_are_told_apart() {
    let logs = Logs::new();
    let header = format!("#Software: Microsoft\n{}", "#".repeat(2000));
    for (name, first) in [("a", 0), ("b", 100)] {
        let text = numbered(first..first + 50);
        append(&logs.path(name), &format!("{header}\n{text}"));
    }
    let came = logs.run_all(&["a", "b"]);
    assert_eq!(came, [(FileChange::New, 52), (FileChange::New, 52)]);
    append(&logs.path("a"), &numbered(50..60));
    append(&logs.path("b"), &numbered(150..153));
    let came = logs.run_all(&["b", "a"]);
    assert_eq!(came, [(FileChange::GoesOn, 3), (FileChange::GoesOn, 10)]);
}

#[test]
fn logs_of_nothing_but_the_same_header_lose_nothing_when_they_grow() {
    let logs = Logs::new();
    append(&logs.path("a"), "#Fields: date time\n");
    append(&logs.path("b"), "#Fields: date time\n");
    logs.run_all(&["a", "b"]);
    append(&logs.path("a"), &numbered(0..5));
    append(&logs.path("b"), &numbered(5..12));
    let sent: usize = (logs.run_all(&["b", "a"]).iter())
        .map(|(_, sent)| sent)
        .sum();
    // The header of one of them may be looked at again.
    assert!((12..=13).contains(&sent), "{sent}");
    let came = logs.run_all(&["a", "b"]);
    assert_eq!(came, [(FileChange::Done, 0), (FileChange::Done, 0)]);
}

#[test]
fn a_copy_of_a_log_that_this_run_has_read_is_not_read_again() {
    let logs = Logs::new();
    append(&logs.path("a"), &numbered(0..100));
    fs::copy(logs.path("a"), logs.path("b")).unwrap();
    let ledger = open(&logs.state_dir()).ledger;
    let text = numbered(0..100);
    let first = recognise(&ledger, &logs.path("a"));
    ledger.read_to(first.log, 0, text.as_bytes()).unwrap();
    // Its lines are still with the recorders.
    let second = recognise(&ledger, &logs.path("b"));
    assert_eq!(second.fate, FileChange::ReadAlready);
    assert_eq!(
        (second.log, second.known_as),
        (first.log, Some(logs.path("a")))
    );
}

#[test]
fn a_log_that_begins_like_one_that_this_run_is_through_with_is_read_on_from_there() {
    let logs = Logs::new();
    append(&logs.path("a"), &numbered(0..3));
    append(&logs.path("b"), &numbered(0..10));
    append(&logs.path("c"), &numbered(0..20));
    let ledger = open(&logs.state_dir()).ledger;
    assert_eq!(import(&ledger, &logs.path("a")), 3);
    // What both have in common counts as done, be it because one is a copy of the other.
    assert_eq!(import(&ledger, &logs.path("b")), 7);
    assert_eq!(import(&ledger, &logs.path("c")), 10);
    ledger.close().unwrap();
    drop(ledger);
    append(&logs.path("a"), "another line\n");
    append(&logs.path("b"), &numbered(10..12));
    let came = logs.run_all(&["b", "a", "c"]);
    let sent: Vec<usize> = came.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(sent, [2, 1, 0]);
}

#[test]
fn a_copy_of_a_log_that_was_empty_once_is_the_log_that_it_copies() {
    let logs = Logs::new();
    append(&logs.path("a"), "");
    logs.run_all(&["a"]);
    append(&logs.path("a"), &numbered(0..10));
    fs::copy(logs.path("a"), logs.path("b")).unwrap();
    let came = logs.run_all(&["b", "a"]);
    let sent: Vec<usize> = came.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(sent, [10, 0]);
}

#[test]
fn a_copy_of_a_log_that_grew_before_it_was_read_on_is_no_log_of_its_own() {
    let logs = Logs::new();
    append(&logs.path("a"), &numbered(0..3));
    logs.run_all(&["a"]);
    append(&logs.path("a"), &numbered(3..10));
    fs::copy(logs.path("a"), logs.path("b")).unwrap();
    let came = logs.run_all(&["b", "a"]);
    let sent: Vec<usize> = came.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(sent, [7, 0]);
}

#[test]
fn going_on_knows_the_number_of_the_line() {
    let dir = folder();
    let path = dir.path().join("log");
    let text = numbered(0..10);
    let length = (text.len() / 10) as u64;
    append(&path, &text);
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let log = recognise(&ledger, &path).log;
    ledger.read_to(log, 0, text.as_bytes()).unwrap();
    ledger.passed(log, 0..length, 1);
    let third = ledger.intent(line(log, 2 * length..3 * length), 1).unwrap();
    let second = ledger.intent(line(log, length..2 * length), 1).unwrap();
    let sixth = ledger.intent(line(log, 5 * length..6 * length), 1).unwrap();
    ledger.done(sixth).unwrap();
    ledger.done(third).unwrap();
    assert_eq!(ledger.position(log), length);
    ledger.done(second).unwrap();
    assert_eq!(ledger.position(log), 3 * length);
    drop(ledger);
    let again = recognise(&open(&state).ledger, &path);
    assert_eq!((again.resume_at(), again.resume_line()), (3 * length, 4));
    assert!(again.done.contains(5 * length) && !again.done.contains(4 * length));
}

#[test]
fn targets_are_apart() {
    let dir = folder();
    let path = dir.path().join("log");
    append(&path, &numbered(0..10));
    for idsite in ["1", "2"] {
        let opened = Ledger::open(&dir.path().join("state"), &target(idsite)).unwrap();
        assert_eq!(import(&opened.ledger, &path), 10, "{idsite}");
    }
    for idsite in ["1", "2"] {
        let opened = Ledger::open(&dir.path().join("state"), &target(idsite)).unwrap();
        assert_eq!(import(&opened.ledger, &path), 0, "{idsite}");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_named() {
    struct Cut;
    impl Unpacked for Cut {
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    let dir = folder();
    let path = &dir.path().join("log.gz");
    append(path, "cut off");
    let ledger = open(&dir.path().join("state")).ledger;
    let probe = Probe {
        path,
        file: FileId::from(&fs::metadata(path).unwrap()),
        packed: true,
        log: &mut Cut,
    };
    let error = ledger.recognise(probe).unwrap_err().to_string();
    assert!(error.contains("log.gz"), "{error}");
}

#[test]
fn a_file_is_found_again_to_settle_what_is_in_doubt() {
    let dir = folder();
    let (path, other) = (dir.path().join("log"), dir.path().join("other"));
    append(&path, &numbered(0..10));
    append(&other, &numbered(20..30));
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let log = recognise(&ledger, &path).log;
    let text = numbered(0..10);
    ledger.read_to(log, 0, text.as_bytes()).unwrap();
    ledger.intent(line(log, 0..30), 1).unwrap();
    drop(ledger);
    let opened = open(&state);
    let (log, known_path, _) = &opened.in_doubt[0].lines[0];
    assert_eq!(*known_path, path);
    let holds = |path: &Path| {
        let file = FileId::from(&fs::metadata(path).unwrap());
        let packed = false;
        let mut log_file = File::open(path).unwrap();
        let probe = Probe {
            path,
            file,
            packed,
            log: &mut log_file,
        };
        opened.ledger.holds(*log, probe).unwrap()
    };
    assert!(holds(&path) && !holds(&other));
}
