//! An import that is interrupted and restarted until it is complete.

use std::ops::Range;
use std::time::Duration;

use super::numbered::{self, assert_each_once};
use super::world::{World, assert_adds_up};
use crate::support::folder::gzip;
use crate::support::{Ended, Program, Running};

/// Where the lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Plain,
    Packed,
    TwoFiles,
    Pipe,
}

impl From {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Packed, Self::TwoFiles, Self::Pipe];
}

pub struct Job {
    pub world: World,
    from: From,
    lines: usize,
    /// The whole log.
    content: Vec<u8>,
    /// How many bytes of it have reached a spool.
    piped: usize,
}

impl Job {
    pub fn new(world: World, from: From, lines: usize, recorders: usize) -> Self {
        let world = world.args(&format!(
            "--recorders={recorders} --recorder-max-payload-size=10"
        ));
        let log = |numbers: Range<usize>| numbered::log(numbers, lines.div_ceil(6));
        match from {
            From::Plain => drop(world.folder.write("access.log", log(0..lines))),
            From::Packed => drop(world.folder.write("access.log.gz", gzip(log(0..lines)))),
            From::TwoFiles => {
                world.folder.write("one.log", log(0..lines / 2));
                world.folder.write("two.log", log(lines / 2..lines));
            }
            From::Pipe => {}
        }
        Self {
            world,
            from,
            lines,
            content: log(0..lines).into_bytes(),
            piped: 0,
        }
    }

    /// Starts a run with the rest of the input. `change` adapts the program first.
    pub fn start(&self, change: impl FnOnce(Program) -> Program) -> Running {
        let logs = match self.from {
            From::Plain => "access.log",
            From::Packed => "access.log.gz",
            From::TwoFiles => "one.log two.log",
            From::Pipe => "-",
        };
        let mut running = change(self.world.program().args(logs)).start();
        if self.from == From::Pipe {
            running.feed(self.content[self.piped..].to_vec());
        }
        running
    }

    /// Waits for the end of a run.
    pub fn end(&mut self, running: Running) -> Ended {
        let ended = assert_adds_up(running.end());
        if self.from == From::Pipe {
            // A later spool may be done, and removed, before an earlier one.
            self.piped = self.piped.max(self.received());
        }
        ended
    }

    /// How many bytes of the input the program has. A spool is removed when all its lines are done.
    fn received(&self) -> usize {
        let mut kept = self.world.spooled().unwrap_or_default();
        let half = self.world.half_line();
        // A run that is killed while it moves the half line leaves it in both files.
        let last = kept.rsplit(|byte| *byte == b'\n').next();
        if !last.is_some_and(|last| !last.is_empty() && last.starts_with(&half)) {
            kept.extend(half);
        }
        let whole = kept
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let last = std::str::from_utf8(&kept[..whole])
            .unwrap()
            .lines()
            .next_back();
        let lines = match last.and_then(numbered::number_in) {
            Some(number) => number + 1,
            None => numbered::stored(&self.world.server).len(),
        };
        let lines = self
            .content
            .split_inclusive(|byte| *byte == b'\n')
            .take(lines);
        lines.map(<[u8]>::len).sum::<usize>() + kept.len() - whole
    }

    /// Completes the import. Each line must be stored exactly once.
    pub fn finish(mut self, what: &str) {
        let running = self.start(|program| program);
        let ended = self.end(running);
        assert_eq!(ended.code, Some(0), "{what}: {ended}");
        assert!(self.world.server.wait_idle(Duration::from_secs(10)));
        let faults = numbered::faults(&self.world.server, 0..self.lines);
        assert!(faults.is_empty(), "{what}: {faults}\n{ended}");
        // Another run has nothing to do.
        if self.from != From::Pipe {
            let running = self.start(|program| program);
            assert_eq!(self.end(running).code, Some(0), "{what}");
            assert_each_once(&self.world.server, 0..self.lines);
        }
    }
}
