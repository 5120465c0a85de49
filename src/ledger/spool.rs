//! Spools: what comes from stdin or a named pipe, which cannot be read twice (guide/guarantees.md,
//! "Pipes").
//!
//! Each block is appended to a file in the state directory and synced before its lines are
//! processed. The file is a log like any other: the ledger knows which of its lines are done, and
//! when all of them are, it is removed. If a run ends early, the next run for the same target
//! finishes its spools before it reads anything new.
//!
//! The bytes are stored as they came, compressed or not. If a run was killed before its pipe had
//! ended, the spool is *open*: its last line may be incomplete, or its compressed data truncated.
//! What the next run reads from the same source is appended to it. A spool whose pipe has ended is
//! complete, and read-only so that nothing is appended.
//!
//! A spool is named `spool.TARGET.NUMBER`, or `spool.TARGET.NUMBER.PIPE` for a named pipe. One that
//! can never be imported is quarantined: `.aside-TIME` is added to its name.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::TargetKey;
use super::directory::{io_error, private_file, quarantine_path, sync_dir};
use super::fingerprint::Checksum;
use crate::error::{Error, Result};
use crate::failpoint::reach;

const PREFIX: &str = "spool.";

/// The source of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolOrigin {
    Stdin,
    /// A named pipe, identified by the checksum of its path.
    Pipe(Checksum),
}

impl SpoolOrigin {
    /// The same for all paths that lead to one pipe.
    pub fn of_pipe(path: &Path) -> Self {
        let full = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let full = full.unwrap_or_else(|_| path.to_owned());
        Self::Pipe(Checksum::of(full.as_os_str().as_bytes()))
    }
}

/// A spool of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolContents {
    pub path: PathBuf,
    pub origin: SpoolOrigin,
    /// Whether the run ended before its source did.
    pub is_open: bool,
}

/// A spool being filled.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// The name of the source, for messages.
    source: String,
    file: File,
    /// In bytes.
    length: u64,
}

/// The spools of earlier runs for this target, oldest first.
pub fn left_over(dir: &Path, target: &TargetKey) -> Result<Vec<SpoolContents>> {
    let read = |(path, name): (PathBuf, SpoolName)| {
        let metadata = fs::metadata(&path).map_err(|error| io_error("read", &path, &error))?;
        Ok(SpoolContents {
            path,
            origin: name.origin,
            is_open: !metadata.permissions().readonly(),
        })
    };
    let spools = all(dir)?.into_iter();
    spools
        .filter(|(_, name)| name.target == target.key())
        .map(read)
        .collect()
}

/// The spools for other targets, with the checksums of their targets.
pub fn of_others(dir: &Path, target: &TargetKey) -> Result<Vec<(PathBuf, Checksum)>> {
    let spools = all(dir)?.into_iter();
    let others = spools.filter(|(_, name)| name.target != target.key());
    Ok(others.map(|(path, name)| (path, name.target)).collect())
}

/// The spools for all targets.
pub fn all_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(all(dir)?.into_iter().map(|(path, _)| path).collect())
}

/// Removes a spool whose lines are all done, see [`super::Ledger::position`].
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| io_error("remove", path, &error))
}

/// Renames a spool that can never be imported, so that no run tries again. Returns its new path.
pub fn quarantine(path: &Path) -> Result<PathBuf> {
    let renamed = quarantine_path(path, "aside");
    fs::rename(path, &renamed).map_err(|error| io_error("rename", path, &error))?;
    Ok(renamed)
}

impl Spool {
    /// Creates a spool. The state directory must be locked, see [`super::Ledger::open`].
    pub fn create(
        dir: &Path,
        target: &TargetKey,
        origin: SpoolOrigin,
        source: String,
    ) -> Result<Self> {
        let target = target.key();
        let spools = all(dir)?;
        let ours = spools.iter().filter(|(_, name)| name.target == target);
        let last = ours.map(|(_, name)| name.number).max().unwrap_or(0);
        let number = last.saturating_add(1);
        let name = match origin {
            SpoolOrigin::Stdin => format!("{PREFIX}{target}.{number}"),
            SpoolOrigin::Pipe(pipe) => format!("{PREFIX}{target}.{number}.{pipe}"),
        };
        let path = dir.join(name);
        let file = (private_file().create_new(true).open(&path))
            .map_err(|error| io_error("create", &path, &error))?;
        sync_dir(dir)?;
        Ok(Self {
            path,
            source,
            file,
            length: 0,
        })
    }

    /// Appends to an open spool of an earlier run.
    pub fn resume(path: &Path, source: String) -> Result<Self> {
        let failed = |error| io_error("open", path, &error);
        let file = (private_file().append(true).open(path)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            source,
            length: file.metadata().map_err(failed)?.len(),
            file,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that are synced to disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends a block and syncs it. An empty block is the end of the source.
    ///
    /// On an error, as much of the block is kept as there is room for; [`Spool::length`] includes
    /// that part.
    pub fn append(&mut self, block: &[u8]) -> Result<()> {
        if block.is_empty() {
            return self.end();
        }
        let mut rest = block;
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            match self.file.write(rest) {
                Ok(0) => result = Err(io::Error::from(ErrorKind::WriteZero)),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        match self.file.sync_data() {
            Ok(()) => self.length += (block.len() - rest.len()) as u64,
            Err(error) => {
                // The message asks to pipe in again what follows the synced bytes.
                let _ = self.file.set_len(self.length);
                result = result.and(Err(error));
            }
        }
        reach("after-spool-append");
        result.map_err(|error| self.write_error(&error))
    }

    fn end(&self) -> Result<()> {
        let close = || {
            let mut permissions = self.file.metadata()?.permissions();
            permissions.set_readonly(true);
            self.file.set_permissions(permissions)?;
            self.file.sync_all()
        };
        close().map_err(|error| io_error("write", &self.path, &error))
    }

    fn write_error(&self, error: &io::Error) -> Error {
        Error::stopped(format!(
            "cannot write {}: {error}; {} bytes of {} are saved there: free some space, then run \
             again and pipe in the rest (tail -c +{} of the same input)",
            self.path.display(),
            self.length,
            self.source,
            self.length.saturating_add(1)
        ))
    }
}

/// What the name of a spool says.
struct SpoolName {
    /// The checksum of the target.
    target: Checksum,
    number: u64,
    origin: SpoolOrigin,
}

impl SpoolName {
    fn parse(name: &str) -> Option<Self> {
        let (target, rest) = name.strip_prefix(PREFIX)?.split_once('.')?;
        let (number, origin) = match rest.split_once('.') {
            None => (rest, SpoolOrigin::Stdin),
            Some((number, pipe)) => {
                let pipe = Checksum::parse(pipe.as_bytes())?;
                (number, SpoolOrigin::Pipe(pipe))
            }
        };
        Some(Self {
            target: Checksum::parse(target.as_bytes())?,
            number: number.parse().ok()?,
            origin,
        })
    }
}

/// All spools in a directory, in the order of their numbers.
fn all(dir: &Path) -> Result<Vec<(PathBuf, SpoolName)>> {
    let failed = |error| io_error("read", dir, &error);
    let mut spools = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(parsed) = name.to_str().and_then(SpoolName::parse) {
            spools.push((dir.join(&name), parsed));
        }
    }
    spools.sort_by_key(|(_, name)| (name.target, name.number));
    Ok(spools)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(idsite: &str) -> TargetKey {
        let url = "https://matomo.example/".parse().unwrap();
        TargetKey::new(&url, Some(idsite))
    }

    fn create(dir: &Path, idsite: &str, origin: SpoolOrigin) -> Spool {
        Spool::create(dir, &target(idsite), origin, "stdin".into()).unwrap()
    }

    #[test]
    fn spools_are_found_in_order_and_only_for_their_target() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = SpoolOrigin::of_pipe(Path::new("/run/access.fifo"));
        for (content, origin) in [("one", SpoolOrigin::Stdin), ("two", pipe)] {
            let mut spool = create(dir.path(), "1", origin);
            spool.append(content.as_bytes()).unwrap();
            spool.append(b"\n").unwrap();
            assert_eq!(spool.length(), 4);
        }
        let other = create(dir.path(), "2", SpoolOrigin::Stdin);
        let left = left_over(dir.path(), &target("1")).unwrap();
        let contents: Vec<_> = (left.iter().map(|left| fs::read(&left.path).unwrap())).collect();
        assert_eq!(contents, [b"one\n", b"two\n"]);
        assert_eq!((left[0].origin, left[1].origin), (SpoolOrigin::Stdin, pipe));
        let others = of_others(dir.path(), &target("1")).unwrap();
        assert_eq!(others, [(other.path().to_owned(), target("2").key())]);
        remove(&left[0].path).unwrap();
        assert_eq!(left_over(dir.path(), &target("1")).unwrap(), left[1..]);
    }

    #[test]
    fn a_quarantined_spool_is_not_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = SpoolOrigin::of_pipe(Path::new("/run/access.fifo"));
        for origin in [SpoolOrigin::Stdin, pipe] {
            let spool = create(dir.path(), "1", origin);
            let renamed = quarantine(spool.path()).unwrap();
            assert!(renamed.exists() && !spool.path().exists());
        }
        assert_eq!(left_over(dir.path(), &target("1")).unwrap(), []);
        assert_eq!(of_others(dir.path(), &target("2")).unwrap(), []);
    }

    #[test]
    fn a_spool_is_open_and_can_be_resumed_until_its_source_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = create(dir.path(), "1", SpoolOrigin::Stdin);
        let is_open = || left_over(dir.path(), &target("1")).unwrap()[0].is_open;
        let path = spool.path().to_owned();
        spool.append(b"half a l").unwrap();
        drop(spool);
        assert!(is_open());
        let mut spool = Spool::resume(&path, "stdin".into()).unwrap();
        spool.append(b"ine\n").unwrap();
        assert_eq!(spool.length(), 12);
        spool.append(b"").unwrap();
        assert!(!is_open());
        assert_eq!(fs::read(&path).unwrap(), b"half a line\n");
    }

    #[test]
    fn on_a_full_disk_the_error_says_how_much_is_saved() {
        // A disk that is always full.
        let Ok(file) = private_file().open("/dev/full") else {
            return;
        };
        let mut spool = Spool {
            path: "/state/spool.1".into(),
            source: "access.fifo".into(),
            file,
            length: 1000,
        };
        let error = spool.append(b"more").unwrap_err().to_string();
        for part in [
            "/state/spool.1",
            "No space left",
            "1000 bytes of access.fifo",
            "tail -c +1001",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(spool.length(), 1000);
    }
}
