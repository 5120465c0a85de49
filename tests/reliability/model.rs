//! The model test: random sequences of what may happen to logs, runs and the server. In the end,
//! each line that was not deleted unread is stored exactly once, and no line is stored twice.
//!
//! The environment variable `IMPORT_LOGS_MODEL_RUNS` sets the number of sequences (200 if unset).

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Options, When};
use rustix::process::Signal;

use super::job::at_once;
use super::logs::Logs;
use super::numbered::stored;
use super::random::Random;
use super::world::{World, assert_adds_up};
use crate::support::stored::options;
use crate::support::{Ended, Program};

const RUNS: u64 = 200;
/// Sequences run at the same time. They mostly wait.
const AT_ONCE: u64 = 10;

#[test]
fn in_any_sequence_each_line_is_stored_once() {
    let runs = std::env::var("IMPORT_LOGS_MODEL_RUNS")
        .map_or(RUNS, |runs| runs.parse().expect("a number of sequences"));
    let next = AtomicU64::new(0);
    at_once((0..AT_ONCE).collect(), |_| {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= runs {
                break;
            }
            Sequence::new(seed).run();
        }
    });
    println!("{runs} sequences");
}

struct Sequence {
    random: Random,
    world: World,
    logs: Logs,
    /// Whether a run was killed or failed, so that batches may have been pending.
    disturbed: bool,
    /// The steps so far, for the message of a failed assertion.
    story: String,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let world = World::with(Options {
            delay: Duration::from_millis(4),
            ..options()
        });
        let mut random = Random::new(&format!("model {seed}"));
        // Some servers begin each log with the same text, which may be longer than the fingerprint.
        let heading = match random.below(3) {
            0 => "#Software: a web server that has a great deal to say of itself\n".repeat(20),
            1 => "#Version: 1.0\n".to_owned(),
            _ => String::new(),
        };
        Self {
            random,
            logs: Logs::new(world.folder.path(), heading),
            world,
            disturbed: false,
            story: format!("sequence {seed}:\n"),
        }
    }

    fn run(mut self) {
        self.append();
        for _ in 0..self.random.within(8..18) {
            self.step();
        }
        // The first run settles pending batches, the second reads the rest of copied logs.
        for _ in 0..2 {
            self.world.sandbox.set_faults(Faults::default());
            self.undisturbed();
        }
        let stored = stored(&self.world.sandbox);
        for number in self.logs.all() {
            let times = stored.get(&number).copied().unwrap_or(0);
            let fine = times == 1 || times == 0 && !self.logs.is_needed(number);
            assert!(
                fine,
                "line {number} is stored {times} times; {}",
                self.story
            );
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..20 => self.append(),
            20..27 => {
                let percent = self.random.below(101);
                self.note(format!("append {percent} % of a line"));
                self.logs.append_part(percent);
            }
            27..37 => {
                self.note("rotate".to_owned());
                self.logs.rotate();
            }
            37..43 => {
                self.note("copy and truncate".to_owned());
                self.logs.copy_and_truncate();
            }
            43..45 => {
                self.note("truncate".to_owned());
                self.logs.truncate();
            }
            45..52 => {
                let which = self.random.below(10);
                self.note(format!("pack {which}"));
                self.logs.pack(which);
            }
            52..55 => {
                self.note("delete".to_owned());
                self.logs.delete();
            }
            55..67 => self.undisturbed(),
            67..82 => self.killed(),
            82..90 => self.growing(),
            _ => self.at_a_faulty_server(),
        }
    }

    fn append(&mut self) {
        let count = self.random.within(1..12);
        self.note(format!("append {count}"));
        self.logs.append(count);
    }

    fn note(&mut self, what: String) {
        self.story += &what;
        self.story += "\n";
    }

    fn program(&mut self) -> Program {
        let (recorders, hits) = (*self.random.pick(&[1, 2, 3, 8]), self.random.within(1..9));
        // The beginning of a log is read differently if the format is detected.
        let format = *self.random.pick(&["", "--log-format-name=ncsa_extended"]);
        let args = format!("--recorders={recorders} --recorder-max-payload-size={hits} {format}");
        self.note(format!("run {args}"));
        self.world.program().args(&args).arg("access.log*")
    }

    fn ended(&mut self, ended: Ended) -> Ended {
        let ended = assert_adds_up(ended);
        let _ = write!(self.story, "  {:?} {}", ended.code, ended.err);
        ended
    }

    fn undisturbed(&mut self) {
        let ended = self.program().run();
        let ended = self.ended(ended);
        // A batch stays pending if its log was deleted.
        let may_be_pending = self.disturbed && self.logs.has_gone();
        let no_log = ended.err.contains("no file matches");
        assert!(
            ended.code == Some(0) || ended.code == Some(3) && (may_be_pending || no_log),
            "{}",
            self.story
        );
    }

    fn killed(&mut self) {
        let running = self.program().start();
        let moment = self.random.below(150);
        sleep(Duration::from_millis(moment));
        running.signal(Signal::KILL);
        self.note(format!("killed after {moment} ms"));
        let ended = running.end();
        self.ended(ended);
        self.disturbed = true;
    }

    /// Writes to the log while it is read.
    fn growing(&mut self) {
        let running = self.program().start();
        for _ in 0..3 {
            let pause = self.random.below(25);
            sleep(Duration::from_millis(pause));
            self.append();
        }
        let ended = running.end();
        self.ended(ended);
    }

    fn at_a_faulty_server(&mut self) {
        // At most two: after three, a hit would be refused because the server always fails on it.
        let mut script = vec![None; 12];
        for _ in 0..2 {
            let call = self.random.below(12) as usize;
            script[call] = Some(self.random.pick(&FAULTS).clone());
        }
        self.note(format!("a server with {script:?}"));
        let too_large = (When::HitsAbove(2), Fault::TooLarge);
        let rules = Vec::from_iter(self.random.chance(30).then_some(too_large));
        self.world.sandbox.set_faults(Faults {
            script,
            rules,
            ..Faults::default()
        });
        let ended = self.program().run();
        let ended = self.ended(ended);
        assert!(matches!(ended.code, Some(0 | 1 | 3)), "{}", self.story);
        self.world.sandbox.set_faults(Faults::default());
        self.disturbed = true;
    }
}

const FAULTS: [Fault; 15] = [
    Fault::Refuse,
    Fault::CloseInBody,
    Fault::CommitClose,
    Fault::CommitLate(Duration::from_millis(300)),
    Fault::CommitStall(Duration::from_millis(100)),
    Fault::Stall(Duration::from_millis(100)),
    Fault::RollBack,
    Fault::Deadlock,
    Fault::Empty500,
    Fault::Busy(503, None),
    Fault::Html(502),
    Fault::CommitHtml(504),
    Fault::Html(404),
    Fault::Nothing,
    Fault::HalfJson,
];
