//! A server, a folder with logs and a ledger, and runs of the program in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::fake::{FakeMatomo, Faults, Options};
use import_logs::ledger::{BatchId, Ledger, TargetKey};

use crate::support::stored::{options, started};
use crate::support::{Ended, Folder, Program};

/// How long a request may take. The server is local and far faster; after a kill so long is waited before the server
/// is asked.
pub const TIMEOUT: Duration = Duration::from_millis(1500);

pub struct World {
    pub sandbox: FakeMatomo,
    pub folder: Folder,
    /// Arguments of every run.
    pub args: String,
}

impl World {
    /// Each request takes the server so long.
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
            sandbox: started(Options {
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

    /// More arguments for every run.
    pub fn args(mut self, args: &str) -> Self {
        self.args = format!("{} {args}", self.args);
        self
    }

    /// The program with the ledger, not yet started; logs are still to be named.
    pub fn program(&self) -> Program {
        self.without_ledger().arg("--state-dir=state")
    }

    pub fn without_ledger(&self) -> Program {
        Program::new(&self.folder)
            .to(&self.sandbox)
            .args(&self.args)
    }

    /// Runs the program with the ledger on these logs.
    pub fn import(&self, logs: &str) -> Ended {
        adding_up(self.program().args(logs).run())
    }

    /// How many requests the server has had.
    pub fn calls(&self) -> u64 {
        self.sandbox.log().calls
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.file("state")
    }

    /// The batches of which the ledger holds an intent without its done. Looks at a copy.
    pub fn in_doubt(&self) -> BTreeSet<BatchId> {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.state_dir()).into_iter().flatten() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let opened = Ledger::open(copy.path(), &self.target()).unwrap();
        opened.pending.iter().map(|batch| batch.id).collect()
    }

    fn target(&self) -> TargetKey {
        TargetKey::new(&self.sandbox.url().parse().unwrap(), Some("1"))
    }

    /// The bytes of stdin that the ledger's folder keeps.
    pub fn spooled(&self) -> Option<Vec<u8>> {
        let mut spools: Vec<PathBuf> = fs::read_dir(self.state_dir())
            .ok()?
            .map(|entry| entry.unwrap().path())
            .filter(|path| name(path).starts_with("spool."))
            .collect();
        spools.sort();
        let all = spools.iter().map(|path| fs::read(path).unwrap());
        (!spools.is_empty()).then(|| all.collect::<Vec<_>>().concat())
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The account of every run holds: the program itself says so where it does not.
#[track_caller]
pub fn adding_up(ended: Ended) -> Ended {
    for words in ["does not add up", "mistake in import-logs", "panicked"] {
        assert!(!ended.err.contains(words), "{ended}");
    }
    ended
}
