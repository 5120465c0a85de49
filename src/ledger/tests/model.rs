//! Random histories of a log and its imports against a tracker in memory: every line is there exactly once.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many lines are written into the log.
    Append(usize),
    /// Half a line is written.
    AppendPart,
    /// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on.
    Rotate,
    /// `log` is copied to a new `log.1` and cut off.
    CopyTruncate,
    /// The last rotated log that is not packed yet is packed.
    Pack,
    /// A run that comes to its end.
    Run,
    /// A run that is killed at its n-th batch, before or after the tracker has it.
    Kill { batch: usize, stored: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..60).prop_map(Step::Append),
        1 => Just(Step::AppendPart),
        1 => Just(Step::Rotate),
        1 => Just(Step::CopyTruncate),
        1 => Just(Step::Pack),
        2 => Just(Step::Run),
        3 => (0_usize..8, any::<bool>()).prop_map(|(batch, stored)| Step::Kill { batch, stored }),
    ]
}

struct World {
    dir: TempDir,
    /// How many lines were ever begun.
    written: usize,
    /// The rest of a line that is begun and not ended.
    rest: Option<String>,
    /// How often the tracker has each line.
    tracker: HashMap<String, usize>,
}

impl World {
    fn path(&self, number: usize, packed: bool) -> PathBuf {
        let name = match (number, packed) {
            (0, _) => "log".to_owned(),
            (_, false) => format!("log.{number}"),
            (_, true) => format!("log.{number}.gz"),
        };
        self.dir.path().join(name)
    }

    /// The logs that are there, the oldest first.
    fn logs(&self) -> Vec<PathBuf> {
        let all = (0..60)
            .rev()
            .flat_map(|number| [false, true].map(|packed| (number, packed)));
        let paths = all.map(|(number, packed)| self.path(number, packed));
        paths.filter(|path| path.exists()).collect()
    }

    /// Makes room for a new `log.1`.
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

    fn take(&mut self, step: Step) {
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
            Step::Pack => {
                let plain = (1..60).find(|number| self.path(*number, false).exists());
                if let Some(number) = plain {
                    pack(&self.path(number, false), &self.path(number, true));
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

    /// Asks the tracker, line by line, for the batches that a killed run left.
    fn settle(&self, opened: &Opened) {
        for doubt in &opened.in_doubt {
            let mut found = Lines::new();
            for (log, known_path, ranges) in &doubt.lines {
                let mut paths = vec![known_path.clone()];
                paths.extend(self.logs());
                paths.retain(|path| path.exists() && holds(&opened.ledger, *log, path));
                let content = unpack(paths.first().expect("the log is somewhere"));
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
            opened.ledger.settled(doubt.id, found).unwrap();
        }
    }

    /// One run over all logs, in batches of seven lines, acknowledged out of order.
    fn run(&mut self, kill: Option<(usize, bool)>) {
        let opened = open(&self.dir.path().join("state"));
        assert_eq!(opened.warnings, [""; 0]);
        self.settle(&opened);
        let ledger = opened.ledger;
        let mut batches = 0;
        for path in self.logs() {
            let state = recognise(&ledger, &path);
            if matches!(state.fate, FileChange::Done | FileChange::ReadAlready) {
                continue;
            }
            let content = unpack(&path);
            let at = state.resume_at();
            let numbers = content[..at as usize].iter().filter(|byte| **byte == b'\n');
            assert_eq!(state.resume_line(), numbers.count() as u64 + 1);
            ledger
                .read_to(state.log, at, &content[at as usize..])
                .unwrap();
            let mut under_way = None;
            for chunk in lines_left(&content, &state).chunks(7) {
                let batch = ledger
                    .intent(lines(state.log, chunk), chunk.len() as u64)
                    .unwrap();
                if let Some((at, stored)) = kill
                    && at == batches
                {
                    if stored {
                        // Half of it, as after a deadlock.
                        self.store(&content, &chunk[chunk.len() / 2..]);
                    }
                    return;
                }
                batches += 1;
                self.store(&content, chunk);
                if let Some(before) = under_way.replace(batch) {
                    ledger.done(batch).unwrap();
                    ledger.done(before).unwrap();
                    under_way = None;
                }
            }
            if let Some(batch) = under_way {
                ledger.done(batch).unwrap();
            }
        }
        ledger.close().unwrap();
    }
}

fn holds(ledger: &Ledger, log: LogId, path: &Path) -> bool {
    let probe = Probe {
        path,
        file: FileId::from(&fs::metadata(path).unwrap()),
        packed: false,
        log: &mut Whole(unpack(path)),
    };
    ledger.holds(log, probe).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_logs_and_runs_every_line_is_sent_once(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World {
            dir: folder(),
            written: 0,
            rest: None,
            tracker: HashMap::new(),
        };
        for step in steps {
            world.take(step);
        }
        world.finish_line();
        world.run(None);
        let expected: HashMap<String, usize> = numbered(0..world.written)
            .split_inclusive('\n')
            .map(|line| (line.to_owned(), 1))
            .collect();
        prop_assert_eq!(&world.tracker, &expected);
    }
}
