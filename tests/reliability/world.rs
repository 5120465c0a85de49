//! A server, a folder with logs and a ledger, and runs of the program in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::fake::{FakeMatomo, Faults, Options};
use import_logs::ledger::{BatchId, Ledger, TargetKey};

use crate::support::stored::{options, started};
use crate::support::{Ended, Folder, Program};

/// The request time-out. The local server responds far sooner. After a kill, the next run waits
/// this long before it asks the server.
pub const TIMEOUT: Duration = Duration::from_millis(1500);

pub struct World {
    pub server: FakeMatomo,
    pub folder: Folder,
    /// The arguments of every run.
    pub args: String,
}

impl World {
    /// A server that takes this long for each request.
    pub fn new(delay: Duration) -> Self {
        Self::with(Options { delay, ..options() })
    }

    pub fn faulty(faults: Faults) -> Self {
        Self::with(Options {
            faults,
            ..options()
        })
    }

    pub fn with(options: Options) -> Self {
        Self {
            server: started(Options {
                keep_log: false,
                ..options
            }),
            folder: Folder::new(),
            args: format!(
                "--idsite=1 --retry-delay=0 --request-timeout={}",
                TIMEOUT.as_secs_f64()
            ),
        }
    }

    /// Adds arguments to every run.
    pub fn args(mut self, args: &str) -> Self {
        self.args = format!("{} {args}", self.args);
        self
    }

    /// The program with a ledger, not yet started and without logs.
    pub fn program(&self) -> Program {
        self.without_ledger().arg("--state-dir=state")
    }

    pub fn without_ledger(&self) -> Program {
        Program::new(&self.folder).to(&self.server).args(&self.args)
    }

    /// Imports these logs with a ledger.
    pub fn import(&self, logs: &str) -> Ended {
        assert_adds_up(self.program().args(logs).run())
    }

    /// The number of requests to the server so far.
    pub fn calls(&self) -> u64 {
        self.server.log().calls
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.file("state")
    }

    /// The pending batches in a copy of the ledger.
    pub fn pending(&self) -> BTreeSet<BatchId> {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.state_dir()).into_iter().flatten() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let opened = Ledger::open(copy.path(), &self.target()).unwrap();
        opened.pending.iter().map(|batch| batch.id).collect()
    }

    fn target(&self) -> TargetKey {
        TargetKey::new(&self.server.url().parse().unwrap(), Some("1"))
    }

    /// The content of all spools in the state directory, if there are any.
    pub fn spooled(&self) -> Option<Vec<u8>> {
        self.kept("spool.")
    }

    /// The half line with which a pipe ended.
    pub fn half_line(&self) -> Vec<u8> {
        self.kept("half.").unwrap_or_default()
    }

    fn kept(&self, prefix: &str) -> Option<Vec<u8>> {
        let mut spools: Vec<PathBuf> = fs::read_dir(self.state_dir())
            .ok()?
            .map(|entry| entry.unwrap().path())
            .filter(|path| name(path).starts_with(prefix))
            .collect();
        spools.sort();
        let all = spools.iter().map(|path| fs::read(path).unwrap());
        (!spools.is_empty()).then(|| all.collect::<Vec<_>>().concat())
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Checks that the run counted every line exactly once. If not, the program reports it.
#[track_caller]
pub fn assert_adds_up(ended: Ended) -> Ended {
    for words in ["does not add up", " in import-logs", "panicked"] {
        assert!(!ended.err.contains(words), "{ended}");
    }
    ended
}
