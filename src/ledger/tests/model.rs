//! Random histories of a log and its imports, checked against a tracker in memory: each line is
//! recorded exactly once.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes so many lines to the log.
    Append(usize),
    /// Writes a part of a line.
    AppendPart,
    /// Renames `log` to `log.1`, `log.1` to `log.2`, and so on.
    Rotate,
    /// Copies `log` to a new `log.1` and truncates it.
    CopyTruncate,
    /// Compresses the newest rotated log that is not compressed yet.
    Compress,
    /// A run that completes.
    Run,
    /// A run that is killed during a batch, before or after the tracker stored a part of it.
    Kill { batch: usize, stored: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..60).prop_map(Step::Append),
        1 => Just(Step::AppendPart),
        1 => Just(Step::Rotate),
        1 => Just(Step::CopyTruncate),
        1 => Just(Step::Compress),
        2 => Just(Step::Run),
        3 => (0_usize..8, any::<bool>()).prop_map(|(batch, stored)| Step::Kill { batch, stored }),
    ]
}

struct Model {
    dir: TempDir,
    /// The number of lines begun so far.
    written: usize,
    /// The rest of an incomplete line.
    rest: Option<String>,
    /// How often the tracker recorded each line.
    tracker: HashMap<String, usize>,
}

impl Model {
    fn path(&self, number: usize, packed: bool) -> PathBuf {
        let name = match (number, packed) {
            (0, _) => "log".to_owned(),
            (_, false) => format!("log.{number}"),
            (_, true) => format!("log.{number}.gz"),
        };
        self.dir.path().join(name)
    }

    /// The existing logs, oldest first.
    fn logs(&self) -> Vec<PathBuf> {
        let all = (0..60)
            .rev()
            .flat_map(|number| [false, true].map(|packed| (number, packed)));
        let paths = all.map(|(number, packed)| self.path(number, packed));
        paths.filter(|path| path.exists()).collect()
    }

    /// Renames all rotated logs to make room for a new `log.1`.
    fn shift(&self) {
        for number in (1..59).rev() {
            for packed in [false, true] {
                let from = self.path(number, packed);
                if from.exists() {
                    fs::rename(from, self.path(number + 1, packed)).unwrap();
                }
            }
        }
    }

    fn finish_line(&mut self) {
        if let Some(rest) = self.rest.take() {
            append(&self.path(0, false), &rest);
        }
    }

    fn apply(&mut self, step: Step) {
        let log = self.path(0, false);
        match step {
            Step::Append(count) => {
                self.finish_line();
                append(&log, &numbered(self.written..self.written + count));
                self.written += count;
            }
            Step::AppendPart => {
                self.finish_line();
                let line = numbered(self.written..self.written + 1);
                append(&log, &line[..10]);
                self.rest = Some(line[10..].to_owned());
                self.written += 1;
            }
            Step::Rotate if log.exists() => {
                self.finish_line();
                self.shift();
                fs::rename(&log, self.path(1, false)).unwrap();
            }
            Step::CopyTruncate if log.exists() => {
                self.finish_line();
                self.shift();
                fs::copy(&log, self.path(1, false)).unwrap();
                fs::write(&log, "").unwrap();
            }
            Step::Compress => {
                let plain = (1..60).find(|number| self.path(*number, false).exists());
                if let Some(number) = plain {
                    compress(&self.path(number, false), &self.path(number, true));
                }
            }
            Step::Run => self.run(None),
            Step::Kill { batch, stored } => self.run(Some((batch, stored))),
            Step::Rotate | Step::CopyTruncate => {}
        }
    }

    fn store(&mut self, content: &[u8], lines: &[Range<u64>]) {
        for line in lines {
            let text = &content[line.start as usize..line.end as usize];
            let text = String::from_utf8(text.to_vec()).unwrap();
            *self.tracker.entry(text).or_default() += 1;
        }
    }

    /// Settles the pending batches of a killed run by asking the tracker for each line.
    fn settle(&self, opened: &OpenedLedger) {
        for batch in &opened.pending {
            let mut found = LogRanges::new();
            for (log, known_path, ranges) in &batch.lines {
                let mut paths = vec![known_path.clone()];
                paths.extend(self.logs());
                paths.retain(|path| path.exists() && matches(&opened.ledger, *log, path));
                let content = decompress(paths.first().expect("the log exists"));
                for (range, _) in ranges.iter() {
                    let bytes = &content[range.start as usize..range.end as usize];
                    let mut start = range.start;
                    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                        let end = start + line.len() as u64;
                        if self
                            .tracker
                            .contains_key(std::str::from_utf8(line).unwrap())
                        {
                            found.entry(*log).or_default().insert(start..end, 1);
                        }
                        start = end;
                    }
                }
            }
            opened.ledger.settle(batch.id, found).unwrap();
        }
    }

    /// Imports all logs in batches of seven lines, which are acknowledged out of order.
    fn run(&mut self, kill: Option<(usize, bool)>) {
        let opened = open(&self.dir.path().join("state"));
        assert_eq!(opened.warnings, [""; 0]);
        self.settle(&opened);
        let ledger = opened.ledger;
        let mut batches = 0;
        for path in self.logs() {
            let state = lookup(&ledger, &path);
            if matches!(
                state.change,
                FileChange::Done | FileChange::ReadAlready | FileChange::Beginning
            ) {
                continue;
            }
            let content = decompress(&path);
            let at = state.resume_at();
            let numbers = content[..at as usize].iter().filter(|byte| **byte == b'\n');
            assert_eq!(state.resume_line(), numbers.count() as u64 + 1);
            ledger
                .note_read(state.log, at, &content[at as usize..])
                .unwrap();
            let mut in_flight = None;
            for chunk in lines_left(&content, &state).chunks(7) {
                let batch = ledger
                    .begin_batch(lines(state.log, chunk), chunk.len() as u64)
                    .unwrap();
                if let Some((at, stored)) = kill
                    && at == batches
                {
                    if stored {
                        // A part of it, as after a deadlock.
                        self.store(&content, &chunk[chunk.len() / 2..]);
                    }
                    return;
                }
                batches += 1;
                self.store(&content, chunk);
                if let Some(before) = in_flight.replace(batch) {
                    ledger.confirm(batch).unwrap();
                    ledger.confirm(before).unwrap();
                    in_flight = None;
                }
            }
            if let Some(batch) = in_flight {
                ledger.confirm(batch).unwrap();
            }
        }
        ledger.close().unwrap();
    }
}

fn matches(ledger: &Ledger, log: LogId, path: &Path) -> bool {
    let probe = FileProbe {
        path,
        file: FileId::from(&fs::metadata(path).unwrap()),
        is_compressed: false,
        may_be_copy: true,
        content: &mut InMemory(decompress(path)),
    };
    ledger.matches(log, probe).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_sent_once_in_any_history(steps in prop::collection::vec(step(), 1..40)) {
        let mut model = Model {
            dir: folder(),
            written: 0,
            rest: None,
            tracker: HashMap::new(),
        };
        for step in steps {
            model.apply(step);
        }
        model.finish_line();
        model.run(None);
        let expected: HashMap<String, usize> = numbered(0..model.written)
            .split_inclusive('\n')
            .map(|line| (line.to_owned(), 1))
            .collect();
        prop_assert_eq!(&model.tracker, &expected);
    }
}
