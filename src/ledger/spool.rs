//! The spool: what came on stdin or through a named pipe, which cannot be read again.
//!
//! Every block is appended to a file in the state directory and synced before it is looked into. That file is a log
//! like any other: it is recognised, read and marked in the ledger, and removed when it is done. A run that ends early
//! leaves its spool; the next one for the same target finishes it before it takes anything new.
//!
//! The bytes are kept as they came, packed where they came packed. A run that died before its stdin had ended leaves
//! an *open* spool, whose last line may have no end yet, and whose packed data may be cut off: what the next run gets
//! from the same source follows it. One that the end was seen of is whole and, as nothing may be added to it, read-only.
//!
//! Its name is `spool.TARGET.NUMBER`, and for a named pipe `spool.TARGET.NUMBER.PIPE`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::checksum::Checksum;
use super::{TargetKey, disk};
use crate::error::{Error, Result};
use crate::failpoint::reach;

/// Where a spool's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolOrigin {
    Stdin,
    /// A named pipe, told from others by a checksum of its path.
    Pipe(Checksum),
}

impl SpoolOrigin {
    /// A named pipe's, by whatever name.
    pub fn of_pipe(path: &Path) -> Self {
        let whole = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let whole = whole.unwrap_or_else(|_| path.to_owned());
        Self::Pipe(Checksum::of(whole.as_os_str().as_bytes()))
    }
}

/// A spool that an earlier run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolContents {
    pub path: PathBuf,
    pub origin: SpoolOrigin,
    /// Its source had not ended when the run did.
    pub is_open: bool,
}

/// A spool being filled.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// The source, as the user knows it.
    source: String,
    file: File,
    /// Bytes taken.
    length: u64,
}

/// The spools that earlier runs for this target left in the state directory, the oldest first.
pub fn left_over(dir: &Path, target: &TargetKey) -> Result<Vec<SpoolContents>> {
    let left = |(number, origin)| {
        let path = path(dir, target, number, origin);
        let metadata = fs::metadata(&path).map_err(|error| disk::failed("read", &path, &error))?;
        Ok(SpoolContents {
            path,
            origin,
            is_open: !metadata.permissions().readonly(),
        })
    };
    spools(dir, target)?.into_iter().map(left).collect()
}

/// The spools that runs for other targets left, each with the key of its target.
pub fn of_others(dir: &Path, target: &TargetKey) -> Result<Vec<(PathBuf, Checksum)>> {
    let failed = |error| disk::failed("read", dir, &error);
    let mut others = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let spool = name.to_str().and_then(|name| name.strip_prefix("spool."));
        let Some((key, rest)) = spool.and_then(|spool| spool.split_once('.')) else {
            continue;
        };
        let key = Checksum::parse(key.as_bytes()).filter(|key| *key != target.key());
        if let (Some(key), Some(_)) = (key, read_name(rest)) {
            others.push((dir.join(&name), key));
        }
    }
    others.sort();
    Ok(others)
}

/// Removes a spool that is done to its end, as [`super::Ledger::position`] says.
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| disk::failed("remove", path, &error))
}

impl Spool {
    /// Begins a new one for a source. The state directory's lock (see [`super::Ledger::open`]) must be held.
    pub fn create(
        dir: &Path,
        target: &TargetKey,
        origin: SpoolOrigin,
        source: String,
    ) -> Result<Self> {
        let last = spools(dir, target)?.last().map_or(0, |(number, _)| *number);
        let path = path(dir, target, last.saturating_add(1), origin);
        let file = (disk::private().create_new(true).open(&path))
            .map_err(|error| disk::failed("make", &path, &error))?;
        disk::sync_dir(dir)?;
        Ok(Self {
            path,
            source,
            file,
            length: 0,
        })
    }

    /// Goes on with one that an earlier run left open.
    pub fn go_on(path: &Path, source: String) -> Result<Self> {
        let failed = |error| disk::failed("open", path, &error);
        let file = (disk::private().append(true).open(path)).map_err(failed)?;
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

    /// Bytes taken from the source so far; they are certainly on the disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends a block; when this comes back it is certainly on the disk. An empty block is the source's end. On an error
    /// [`Spool::length`] says how much of it is kept, with as much of this block as found room.
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
                // What follows the safe bytes will be piped again.
                let _ = self.file.set_len(self.length);
                result = result.and(Err(error));
            }
        }
        reach("after-spool-append");
        result.map_err(|error| self.full(&error))
    }

    fn end(&self) -> Result<()> {
        let close = || {
            let mut permissions = self.file.metadata()?.permissions();
            permissions.set_readonly(true);
            self.file.set_permissions(permissions)?;
            self.file.sync_all()
        };
        close().map_err(|error| disk::failed("write", &self.path, &error))
    }

    fn full(&self, error: &io::Error) -> Error {
        Error::stopped(format!(
            "cannot write {}: {error}; {} bytes of {} are safe there. Free some space, then run again and pipe what \
             follows them into it (tail -c +{} of the same input)",
            self.path.display(),
            self.length,
            self.source,
            self.length.saturating_add(1)
        ))
    }
}

/// `spool.TARGET.`
fn prefix(target: &TargetKey) -> String {
    format!("spool.{}.", target.key())
}

fn path(dir: &Path, target: &TargetKey, number: u64, origin: SpoolOrigin) -> PathBuf {
    let prefix = prefix(target);
    dir.join(match origin {
        SpoolOrigin::Stdin => format!("{prefix}{number}"),
        SpoolOrigin::Pipe(pipe) => format!("{prefix}{number}.{pipe}"),
    })
}

/// The target's spools, in the order of their numbers.
fn spools(dir: &Path, target: &TargetKey) -> Result<Vec<(u64, SpoolOrigin)>> {
    let failed = |error| disk::failed("read", dir, &error);
    let prefix = prefix(target);
    let mut spools = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let spool = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        spools.extend(spool.and_then(read_name));
    }
    spools.sort_unstable_by_key(|(number, _)| *number);
    Ok(spools)
}

/// What stands behind the prefix.
fn read_name(name: &str) -> Option<(u64, SpoolOrigin)> {
    let (number, origin) = match name.split_once('.') {
        None => (name, SpoolOrigin::Stdin),
        Some((number, pipe)) => (number, SpoolOrigin::Pipe(Checksum::parse(pipe.as_bytes())?)),
    };
    Some((number.parse().ok()?, origin))
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
    fn spools_are_left_in_the_order_they_came_and_for_their_target_only() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = SpoolOrigin::of_pipe(Path::new("/run/access.fifo"));
        for (content, origin) in [("one", SpoolOrigin::Stdin), ("two", pipe)] {
            let mut spool = create(dir.path(), "1", origin);
            spool.append(content.as_bytes()).unwrap();
            spool.append(b"\n").unwrap();
            assert_eq!(spool.length(), 4);
        }
        create(dir.path(), "2", SpoolOrigin::Stdin);
        let left = left_over(dir.path(), &target("1")).unwrap();
        let contents: Vec<_> = (left.iter().map(|left| fs::read(&left.path).unwrap())).collect();
        assert_eq!(contents, [b"one\n", b"two\n"]);
        assert_eq!((left[0].origin, left[1].origin), (SpoolOrigin::Stdin, pipe));
        remove(&left[0].path).unwrap();
        assert_eq!(left_over(dir.path(), &target("1")).unwrap(), left[1..]);
    }

    #[test]
    fn a_spool_is_open_until_stdin_has_ended_and_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = create(dir.path(), "1", SpoolOrigin::Stdin);
        let is_open = || left_over(dir.path(), &target("1")).unwrap()[0].is_open;
        let path = spool.path().to_owned();
        spool.append(b"half a l").unwrap();
        drop(spool);
        assert!(is_open());
        let mut spool = Spool::go_on(&path, "stdin".into()).unwrap();
        spool.append(b"ine\n").unwrap();
        assert_eq!(spool.length(), 12);
        spool.append(b"").unwrap();
        assert!(!is_open());
        assert_eq!(fs::read(&path).unwrap(), b"half a line\n");
    }

    #[test]
    fn a_full_disk_says_how_much_is_safe() {
        // A disk that is always full.
        let Ok(file) = disk::private().open("/dev/full") else {
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
