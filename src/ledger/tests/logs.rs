//! Logs that change between two runs.

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

    /// Imports one log. Returns what happened to it, and how many lines were sent.
    fn run(&self, name: &str) -> (FileChange, usize) {
        self.run_all(&[name])[0]
    }

    fn run_all(&self, names: &[&str]) -> Vec<(FileChange, usize)> {
        let opened = open(&self.state_dir());
        assert_eq!(opened.warnings, [""; 0]);
        let ledger = opened.ledger;
        let one = |name: &&str| {
            // Looking it up twice before reading changes nothing.
            let change = lookup(&ledger, &self.path(name)).change;
            (change, import(&ledger, &self.path(name)))
        };
        let results = names.iter().map(one).collect();
        ledger.close().unwrap();
        results
    }
}

#[test]
fn a_log_that_grew_resumes_and_one_that_did_not_is_done() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    assert_eq!(logs.run("log"), (FileChange::New, 100));
    assert_eq!(logs.run("log"), (FileChange::Done, 0));
    append(&logs.path("log"), &numbered(100..150));
    assert_eq!(logs.run("log"), (FileChange::Grown, 50));
    assert_eq!(logs.run("log"), (FileChange::Done, 0));
}

#[test]
fn a_log_first_seen_empty_is_recognized_when_it_is_long() {
    let logs = Logs::new();
    append(&logs.path("log"), "");
    assert_eq!(logs.run("log"), (FileChange::New, 0));
    append(&logs.path("log"), "beg");
    assert_eq!(logs.run("log"), (FileChange::Grown, 0));
    append(&logs.path("log"), "inning\n");
    assert_eq!(logs.run("log"), (FileChange::Grown, 1));
    append(&logs.path("log"), &numbered(0..100));
    assert_eq!(logs.run("log"), (FileChange::Grown, 100));
    compress(&logs.path("log"), &logs.path("log.1.gz"));
    assert_eq!(logs.run("log.1.gz"), (FileChange::Done, 0));
}

#[test]
fn a_log_that_was_empty_and_grew_while_it_was_read_is_recognized_when_compressed() {
    let logs = Logs::new();
    append(&logs.path("log"), "");
    let ledger = open(&logs.state_dir()).ledger;
    let log = lookup(&ledger, &logs.path("log")).log;
    let text = numbered(0..3);
    append(&logs.path("log"), &text);
    ledger.note_read(log, 0, text.as_bytes()).unwrap();
    let batch = ledger
        .begin_batch(line(log, 0..text.len() as u64), 3)
        .unwrap();
    ledger.confirm(batch).unwrap();
    drop(ledger);
    compress(&logs.path("log"), &logs.path("log.1.gz"));
    assert_eq!(logs.run("log.1.gz"), (FileChange::Done, 0));
}

#[test]
fn a_renamed_log_is_recognized_and_the_new_log_with_its_name_is_new() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    append(&logs.path("log"), &numbered(100..110));
    fs::rename(logs.path("log"), logs.path("log.1")).unwrap();
    append(&logs.path("log"), &numbered(110..130));
    let results = logs.run_all(&["log", "log.1"]);
    assert_eq!(results, [(FileChange::New, 20), (FileChange::Renamed, 10)]);
    assert_eq!(logs.run("log.1"), (FileChange::Done, 0));
}

#[test]
fn a_compressed_log_resumes_at_its_position() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    append(&logs.path("log"), &numbered(100..110));
    compress(&logs.path("log"), &logs.path("log.1.gz"));
    assert_eq!(logs.run("log.1.gz"), (FileChange::Compressed, 10));
    fs::rename(logs.path("log.1.gz"), logs.path("log.2.gz")).unwrap();
    assert_eq!(logs.run("log.2.gz"), (FileChange::Done, 0));
}

#[test]
fn a_compressed_log_that_is_done_is_not_decompressed_again() {
    struct Unreadable;
    impl ReadAt for Unreadable {
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            panic!("was decompressed")
        }
    }
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    compress(&logs.path("log"), &logs.path("log.gz"));
    assert_eq!(logs.run("log.gz"), (FileChange::New, 100));
    assert_eq!(logs.run("log.gz"), (FileChange::Done, 0));
    let ledger = open(&logs.state_dir()).ledger;
    let path = &logs.path("log.gz");
    let state = ledger.lookup(FileProbe {
        path,
        file: FileId::from(&fs::metadata(path).unwrap()),
        is_compressed: true,
        may_be_copy: true,
        content: &mut Unreadable,
    });
    assert_eq!(state.unwrap().change, FileChange::Done);
}

#[test]
fn a_log_copied_and_truncated_starts_over_and_its_copy_resumes() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..100));
    logs.run("log");
    append(&logs.path("log"), &numbered(100..110));
    fs::copy(logs.path("log"), logs.path("log.1")).unwrap();
    fs::write(logs.path("log"), numbered(110..500)).unwrap();
    let results = logs.run_all(&["log", "log.1"]);
    assert_eq!(
        results,
        [(FileChange::Truncated, 390), (FileChange::Copied, 10)]
    );
    let results = logs.run_all(&["log", "log.1"]);
    assert_eq!(results, [(FileChange::Done, 0), (FileChange::Done, 0)]);
}

#[test]
fn a_log_truncated_to_nothing_starts_over_each_time() {
    let logs = Logs::new();
    for round in 0..3 {
        append(&logs.path("log"), &numbered(round * 10..round * 10 + 10));
        assert_eq!(logs.run("log").1, 10);
        fs::write(logs.path("log"), "").unwrap();
        assert_eq!(logs.run("log"), (FileChange::Truncated, 0));
    }
}

#[test]
fn a_beginning_of_a_known_log_has_nothing_of_its_own() {
    let logs = Logs::new();
    let text = numbered(0..1000);
    append(&logs.path("log"), &text);
    assert_eq!(logs.run("log").1, 1000);
    // A copy that is still being made, of any length.
    for length in [40, 1000, 5000, 20_000, text.len() - 1] {
        fs::write(logs.path("log.1"), &text[..length]).unwrap();
        let results = logs.run_all(&["log", "log.1"]);
        assert_eq!(results[1], (FileChange::Beginning, 0), "{length}");
    }
    fs::write(logs.path("log.1"), &text).unwrap();
    fs::write(logs.path("log"), numbered(1000..1010)).unwrap();
    let results = logs.run_all(&["log", "log.1"]);
    assert_eq!(
        results,
        [(FileChange::Truncated, 10), (FileChange::Done, 0)]
    );
}

#[test]
fn a_compressed_beginning_of_a_known_log_has_nothing_of_its_own() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..1000));
    append(&logs.path("begin"), &numbered(0..700));
    logs.run("log");
    compress(&logs.path("begin"), &logs.path("log.1.gz"));
    let results = logs.run_all(&["log", "log.1.gz"]);
    assert_eq!(results[1], (FileChange::Beginning, 0));
}

#[test]
fn a_beginning_of_a_log_of_this_run_has_nothing_of_its_own() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..1000));
    append(&logs.path("log.1"), &numbered(0..900));
    let results = logs.run_all(&["log", "log.1"]);
    assert_eq!(
        results,
        [(FileChange::New, 1000), (FileChange::Beginning, 0)]
    );
}

#[test]
fn a_shorter_copy_that_has_grown_on_its_own_loses_nothing() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..1000));
    logs.run("log");
    append(&logs.path("copy"), &numbered(0..600));
    append(&logs.path("copy"), &numbered(5000..5100));
    let results = logs.run_all(&["log", "copy"]);
    assert_eq!(results[1], (FileChange::Copied, 100));
    append(&logs.path("copy"), &numbered(5100..5110));
    assert_eq!(logs.run("copy"), (FileChange::Grown, 10));
}

#[test]
fn what_cannot_be_compared_with_a_log_that_is_gone_is_read() {
    let logs = Logs::new();
    append(&logs.path("log"), &numbered(0..1000));
    logs.run("log");
    fs::write(logs.path("log"), numbered(0..900)).unwrap();
    let (change, sent) = logs.run("log");
    // Only the lines before the last sample are certainly the same.
    assert!(
        change == FileChange::Copied && (1..450).contains(&sent),
        "{sent}"
    );
}

#[test]
fn a_new_log_with_a_reused_inode_is_new() {
    let logs = Logs::new();
    append(&logs.path("old"), &numbered(0..100));
    logs.run("old");
    // The same as deleting a file and creating another with its inode.
    fs::write(logs.path("old"), numbered(500..700)).unwrap();
    fs::rename(logs.path("old"), logs.path("new")).unwrap();
    assert_eq!(logs.run("new"), (FileChange::New, 200));
}

#[test]
fn a_copy_with_the_reused_inode_of_an_empty_log_is_recognized() {
    let logs = Logs::new();
    let path = logs.path("access.log");
    append(&path, &numbered(0..100));
    let copy = logs.path("access.log.1");
    fs::copy(&path, &copy).unwrap();
    let real = FileId::from(&fs::metadata(&copy).unwrap());
    let ledger = open(&logs.state_dir()).ledger;
    let empty = logs.path("empty");
    append(&empty, "");
    let gone = FileId {
        size: 0,
        born: Some((1, 0)),
        ..real
    };
    assert_eq!(lookup_as(&ledger, &empty, gone).change, FileChange::New);
    assert_eq!(import(&ledger, &path), 100);
    let later = FileId {
        born: Some((2, 0)),
        ..real
    };
    let state = lookup_as(&ledger, &copy, later);
    assert_eq!(lines_left(&decompress(&copy), &state), []);
}

#[test]
fn logs_with_the_same_beginning_are_distinguished() {
    let logs = Logs::new();
    let header = format!("#Software: Microsoft\n{}", "#".repeat(2000));
    for (name, first) in [("a", 0), ("b", 100)] {
        let text = numbered(first..first + 50);
        append(&logs.path(name), &format!("{header}\n{text}"));
    }
    let results = logs.run_all(&["a", "b"]);
    assert_eq!(results, [(FileChange::New, 52), (FileChange::New, 52)]);
    append(&logs.path("a"), &numbered(50..60));
    append(&logs.path("b"), &numbered(150..153));
    let results = logs.run_all(&["b", "a"]);
    assert_eq!(results, [(FileChange::Grown, 3), (FileChange::Grown, 10)]);
}

#[test]
fn logs_with_only_the_same_header_lose_nothing_when_they_grow() {
    let logs = Logs::new();
    append(&logs.path("a"), "#Fields: date time\n");
    append(&logs.path("b"), "#Fields: date time\n");
    logs.run_all(&["a", "b"]);
    append(&logs.path("a"), &numbered(0..5));
    append(&logs.path("b"), &numbered(5..12));
    let sent: usize = (logs.run_all(&["b", "a"]).iter())
        .map(|(_, sent)| sent)
        .sum();
    // The header of one of them may be read again.
    assert!((12..=13).contains(&sent), "{sent}");
    let results = logs.run_all(&["a", "b"]);
    assert_eq!(results, [(FileChange::Done, 0), (FileChange::Done, 0)]);
}

#[test]
fn a_copy_of_a_log_read_in_this_run_is_not_read_again() {
    let logs = Logs::new();
    append(&logs.path("a"), &numbered(0..100));
    fs::copy(logs.path("a"), logs.path("b")).unwrap();
    let ledger = open(&logs.state_dir()).ledger;
    let text = numbered(0..100);
    let first = lookup(&ledger, &logs.path("a"));
    ledger.note_read(first.log, 0, text.as_bytes()).unwrap();
    // Its lines have not been acknowledged yet.
    let second = lookup(&ledger, &logs.path("b"));
    assert_eq!(second.change, FileChange::ReadAlready);
    assert_eq!(
        (second.log, second.known_as),
        (first.log, Some(logs.path("a")))
    );
}

#[test]
fn a_log_that_begins_like_one_done_in_this_run_resumes_after_it() {
    let logs = Logs::new();
    append(&logs.path("a"), &numbered(0..3));
    append(&logs.path("b"), &numbered(0..10));
    append(&logs.path("c"), &numbered(0..20));
    let ledger = open(&logs.state_dir()).ledger;
    assert_eq!(import(&ledger, &logs.path("a")), 3);
    // The lines they share count as done, because one may be a copy of the other.
    assert_eq!(import(&ledger, &logs.path("b")), 7);
    assert_eq!(import(&ledger, &logs.path("c")), 10);
    ledger.close().unwrap();
    drop(ledger);
    append(&logs.path("a"), "another line\n");
    append(&logs.path("b"), &numbered(10..12));
    let results = logs.run_all(&["b", "a", "c"]);
    let sent: Vec<usize> = results.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(sent, [2, 1, 0]);
}

#[test]
fn a_copy_of_a_log_that_was_once_empty_is_the_same_log() {
    let logs = Logs::new();
    append(&logs.path("a"), "");
    logs.run_all(&["a"]);
    append(&logs.path("a"), &numbered(0..10));
    fs::copy(logs.path("a"), logs.path("b")).unwrap();
    let results = logs.run_all(&["b", "a"]);
    let sent: Vec<usize> = results.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(sent, [10, 0]);
}

#[test]
fn a_copy_of_a_log_that_has_grown_unread_is_the_same_log() {
    let logs = Logs::new();
    append(&logs.path("a"), &numbered(0..3));
    logs.run_all(&["a"]);
    append(&logs.path("a"), &numbered(3..10));
    fs::copy(logs.path("a"), logs.path("b")).unwrap();
    let results = logs.run_all(&["b", "a"]);
    let sent: Vec<usize> = results.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(sent, [7, 0]);
}

#[test]
fn the_number_of_the_line_to_resume_at_is_known() {
    let dir = folder();
    let path = dir.path().join("log");
    let text = numbered(0..10);
    let length = (text.len() / 10) as u64;
    append(&path, &text);
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let log = lookup(&ledger, &path).log;
    ledger.note_read(log, 0, text.as_bytes()).unwrap();
    ledger.mark_done(log, 0..length, 1);
    let third = ledger
        .begin_batch(line(log, 2 * length..3 * length), 1)
        .unwrap();
    let second = ledger
        .begin_batch(line(log, length..2 * length), 1)
        .unwrap();
    let sixth = ledger
        .begin_batch(line(log, 5 * length..6 * length), 1)
        .unwrap();
    ledger.confirm(sixth).unwrap();
    ledger.confirm(third).unwrap();
    assert_eq!(ledger.position(log), length);
    ledger.confirm(second).unwrap();
    assert_eq!(ledger.position(log), 3 * length);
    drop(ledger);
    let again = lookup(&open(&state).ledger, &path);
    assert_eq!((again.resume_at(), again.resume_line()), (3 * length, 4));
    assert!(again.done.contains(5 * length) && !again.done.contains(4 * length));
}

#[test]
fn targets_are_independent() {
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
fn a_log_that_cannot_be_read_is_named_in_the_error() {
    struct Truncated;
    impl ReadAt for Truncated {
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    let dir = folder();
    let path = &dir.path().join("log.gz");
    append(path, "cut off");
    let ledger = open(&dir.path().join("state")).ledger;
    let probe = FileProbe {
        path,
        file: FileId::from(&fs::metadata(path).unwrap()),
        is_compressed: true,
        may_be_copy: true,
        content: &mut Truncated,
    };
    let error = ledger.lookup(probe).unwrap_err().to_string();
    assert!(error.contains("log.gz"), "{error}");
}

#[test]
fn the_log_of_a_pending_batch_is_found_again() {
    let dir = folder();
    let (path, other) = (dir.path().join("log"), dir.path().join("other"));
    append(&path, &numbered(0..10));
    append(&other, &numbered(20..30));
    let state = dir.path().join("state");
    let ledger = open(&state).ledger;
    let log = lookup(&ledger, &path).log;
    let text = numbered(0..10);
    ledger.note_read(log, 0, text.as_bytes()).unwrap();
    ledger.begin_batch(line(log, 0..30), 1).unwrap();
    drop(ledger);
    let opened = open(&state);
    let (log, known_path, _) = &opened.pending[0].lines[0];
    assert_eq!(*known_path, path);
    let matches = |path: &Path| {
        let file = FileId::from(&fs::metadata(path).unwrap());
        let probe = FileProbe {
            path,
            file,
            is_compressed: false,
            may_be_copy: true,
            content: &mut File::open(path).unwrap(),
        };
        opened.ledger.matches(*log, probe).unwrap()
    };
    assert!(matches(&path) && !matches(&other));
}
