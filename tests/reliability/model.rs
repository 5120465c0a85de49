//! The model test: random sequences of events in logs, runs and the server. In the end, each line
//! that was not deleted unread is stored exactly once, and no line is stored twice.
//!
//! Many runs settle the pending batches of a killed run, and are disturbed meanwhile.
//!
//! The environment variable `IMPORT_LOGS_MODEL_RUNS` sets the number of sequences (200 if unset).

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use chrono::Utc;

use crate::support::fake::{Fault, Faults, Options, When};
use rustix::process::Signal;

use super::logs::Logs;
use super::numbered::{self, stored};
use super::random::Random;
use super::world::{TIMEOUT, World, assert_adds_up};
use crate::support::clock::{LONGEST, until};
use crate::support::stored::options;
use crate::support::{Ended, Program, Running, at_once};

const RUNS: u64 = 200;
/// Sequences that run concurrently. They mostly wait.
const AT_ONCE: u64 = 20;
/// In seconds.
const DAY: i64 = 24 * 3600;
/// The age of the first line of some logs, in days. These logs end before today.
const AGE: i64 = 40;
/// How far the clock of a run may be ahead, in hours.
const CLOCKS: [f64; 9] = [
    0.0,
    0.5,
    -0.5,
    9.0,
    -9.0,
    36.0 * 24.0,
    -36.0 * 24.0,
    500.0 * 24.0,
    -500.0 * 24.0,
];

#[test]
fn each_line_is_stored_once_in_any_sequence() {
    let runs = std::env::var("IMPORT_LOGS_MODEL_RUNS")
        .map_or(RUNS, |runs| runs.parse().expect("a number of sequences"));
    let next = AtomicU64::new(0);
    let disturbed = AtomicU64::new(0);
    at_once((0..AT_ONCE).collect(), |_| {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= runs {
                break;
            }
            let settling = Sequence::new(seed).run();
            disturbed.fetch_add(settling, Relaxed);
        }
    });
    let disturbed = disturbed.into_inner();
    println!("{runs} sequences; {disturbed} runs were disturbed while they asked about a batch");
    assert!(disturbed >= runs / 10, "{disturbed}");
}

struct Sequence {
    random: Random,
    world: World,
    logs: Logs,
    /// Whether a run was killed or failed, so that batches may have been pending.
    disturbed: bool,
    /// Whether the server loses nothing if batches of a killed run and of the next run overlap.
    is_kind: bool,
    /// Runs that were certainly settling a batch when they were disturbed.
    settling: u64,
    /// The steps so far, for the messages of failed assertions.
    story: String,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(&format!("model {seed}"));
        let is_kind = random.chance(50);
        let world = World::with(Options {
            delay: Duration::from_millis(4),
            days_may_meet: is_kind,
            ..options()
        });
        // Some servers write the same heading to each log. It may be longer than the fingerprint.
        let heading = match random.below(3) {
            0 => "#Software: a web server that has a great deal to say of itself\n".repeat(20),
            1 => "#Version: 1.0\n".to_owned(),
            _ => String::new(),
        };
        let since = match random.chance(50) {
            true => numbered::BEGIN,
            false => (Utc::now().timestamp() / DAY - AGE) * DAY,
        };
        Self {
            random,
            logs: Logs::new(world.folder.path(), since, heading),
            world,
            is_kind,
            disturbed: false,
            settling: 0,
            story: format!("sequence {seed}:\n"),
        }
    }

    /// Returns how many runs were disturbed while they settled a batch.
    fn run(mut self) -> u64 {
        self.append();
        for _ in 0..self.random.within(8..18) {
            self.step();
        }
        // The first run settles pending batches, the second reads the rest of copied logs.
        for _ in 0..2 {
            self.world.server.set_faults(Faults::default());
            self.undisturbed();
        }
        let stored = stored(&self.world.server);
        for number in self.logs.all() {
            let times = stored.get(&number).copied().unwrap_or(0);
            let fine = times == 1 || times == 0 && !self.logs.is_needed(number);
            assert!(
                fine,
                "line {number} is stored {times} times; {}",
                self.story
            );
        }
        self.settling
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..18 => self.append(),
            18..43 => self.change_log(),
            43..46 => {
                self.note("delete".to_owned());
                self.logs.delete();
            }
            46..50 => self.set_clock(),
            50..61 => self.undisturbed(),
            61..73 => self.killed(),
            73..81 => self.growing(),
            81..90 => self.at_a_faulty_server(),
            _ => self.settling(),
        }
    }

    fn change_log(&mut self) {
        match self.random.below(25) {
            0..7 => {
                let percent = self.random.below(101);
                self.note(format!("append {percent} % of a line"));
                self.logs.append_part(percent);
            }
            7..15 => {
                self.note("rotate".to_owned());
                self.logs.rotate();
            }
            15..19 => {
                self.note("copy and truncate".to_owned());
                self.logs.copy_and_truncate();
            }
            19..21 => {
                self.note("truncate".to_owned());
                self.logs.truncate();
            }
            _ => {
                let which = self.random.below(10);
                self.note(format!("pack {which}"));
                self.logs.pack(which);
            }
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
        // Format detection reads the start of a log differently.
        let format = *self.random.pick(&["", "--log-format-name=ncsa_extended"]);
        let args = format!("--recorders={recorders} --recorder-max-payload-size={hits} {format}");
        self.note(format!("run {args}"));
        let clock = self.world.folder.file("clock");
        let program = self.world.program().args(&args).arg("access.log*");
        program.env("IMPORT_LOGS_CLOCK", clock.to_str().unwrap())
    }

    /// Sets the clock of this and all later runs.
    fn set_clock(&mut self) {
        let hours = *self.random.pick(&CLOCKS);
        self.note(format!("clock {hours:+} h"));
        let seconds = (hours * 3600.0).to_string();
        let new = self.world.folder.write("clock.new", seconds);
        fs::rename(new, self.world.folder.file("clock")).unwrap();
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

    /// Leaves a batch pending, and disturbs the run that settles it.
    fn settling(&mut self) {
        self.append();
        self.killed_at_work();
        let is_pending = !self.world.pending().is_empty();
        let mut program = self.program();
        if self.is_kind {
            program = program.arg("--read-back=off");
        }
        let is_held = self.random.chance(70);
        if is_held {
            self.world.server.hold_questions();
        }
        let mut running = program.start();
        if is_held {
            let server = &self.world.server;
            until(LONGEST, || running.has_ended() || server.holds_a_question());
        } else {
            // Disturbs it while it starts, or while it waits for the server to finish.
            let below = *self.random.pick(&[100, TIMEOUT.as_millis() as u64]);
            self.pause(below);
        }
        // Without read-back, each lookup is for a pending batch.
        let asks = is_held && self.is_kind && self.world.server.holds_a_question();
        self.settling += u64::from(is_pending && asks && !running.has_ended());
        for _ in 0..self.random.within(1..4) {
            self.disturb(&mut running);
            self.pause(30);
        }
        self.note("no longer disturbed".to_owned());
        self.world.server.release_questions();
        let ended = running.end();
        let ended = self.ended(ended);
        assert!(
            matches!(ended.code, None | Some(0 | 3 | 130)),
            "{}",
            self.story
        );
    }

    /// Kills a run while it waits for the server to process a batch.
    fn killed_at_work(&mut self) {
        let faults = [
            None,
            Some(Fault::CommitLate(Duration::from_millis(300))),
            Some(Fault::CommitStall(TIMEOUT)),
            Some(Fault::Stall(TIMEOUT)),
        ];
        let script = (0..3).map(|_| self.random.pick(&faults).clone());
        let script = Vec::from_iter(script);
        self.note(format!("a server with {script:?}"));
        self.world.server.set_faults(Faults {
            script,
            ..Faults::default()
        });
        let calls = self.world.calls();
        let mut running = self.program().start();
        // The calls are for the site, and for a batch or a lookup.
        until(LONGEST, || {
            running.has_ended() || self.world.calls() >= calls + 2
        });
        self.pause(40);
        self.kill(&mut running);
        let ended = running.end();
        self.ended(ended);
        self.world.server.set_faults(Faults::default());
        self.disturbed = true;
    }

    fn disturb(&mut self, running: &mut Running) {
        match self.random.below(100) {
            0..20 => self.append(),
            20..70 => self.change_log(),
            70..75 => {
                self.note("delete".to_owned());
                self.logs.delete();
            }
            75..85 => self.set_clock(),
            85..90 => self.kill(running),
            90..95 => {
                self.note("interrupt".to_owned());
                if !running.has_ended() {
                    running.signal(Signal::INT);
                }
            }
            _ => self.suspend(running),
        }
    }

    fn kill(&mut self, running: &mut Running) {
        self.note("kill".to_owned());
        if !running.has_ended() {
            running.signal(Signal::KILL);
        }
    }

    /// Suspends a run until its requests have timed out.
    fn suspend(&mut self, running: &mut Running) {
        self.note("suspend".to_owned());
        if !running.has_ended() {
            running.signal(Signal::STOP);
            sleep(TIMEOUT + Duration::from_millis(200));
            running.signal(Signal::CONT);
        }
    }

    fn pause(&mut self, below: u64) {
        let pause = self.random.below(below);
        sleep(Duration::from_millis(pause));
    }

    fn at_a_faulty_server(&mut self) {
        // At most two failures: after three, the hit would be refused.
        let mut script = vec![None; 12];
        for _ in 0..2 {
            let call = self.random.below(12) as usize;
            script[call] = Some(self.random.pick(&FAULTS).clone());
        }
        self.note(format!("a server with {script:?}"));
        let too_large = (When::HitsAbove(2), Fault::TooLarge);
        let rules = Vec::from_iter(self.random.chance(30).then_some(too_large));
        self.world.server.set_faults(Faults {
            script,
            rules,
            ..Faults::default()
        });
        let ended = self.program().run();
        let ended = self.ended(ended);
        assert!(matches!(ended.code, Some(0 | 1 | 3)), "{}", self.story);
        self.world.server.set_faults(Faults::default());
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
