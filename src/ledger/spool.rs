//! The spool: what came on stdin, which cannot be read again.
//!
//! Every block is appended to a file in the state directory and synced before it is looked into. That file is a log
//! like any other: it is recognised, read and marked in the ledger, and removed when it is done. A run that ends early
//! leaves its spool; the next one for the same target finishes it before it takes anything new.
//!
//! The bytes are kept as they came, packed where they came packed. A run that died before its stdin had ended leaves
//! an *open* spool, whose last line may have no end yet, and whose packed data may be cut off: what the next run gets
//! on stdin follows it. One that stdin's end was seen of is whole and, as nothing may be added to it, read-only.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::failpoint::reach;
use super::{Target, disk};
use crate::error::{Error, Result};

/// A spool being filled.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    /// Bytes taken.
    length: u64,
}

/// The spools that earlier runs for this target left in the state directory, the oldest first.
pub fn left_over(dir: &Path, target: &Target) -> Result<Vec<PathBuf>> {
    let numbers = numbers(dir, target)?;
    Ok(numbers
        .into_iter()
        .map(|number| path(dir, target, number))
        .collect())
}

/// Whether stdin had not ended when the run that filled this spool did.
pub fn is_open(path: &Path) -> Result<bool> {
    let metadata = fs::metadata(path).map_err(|error| disk::failed("read", path, &error))?;
    Ok(!metadata.permissions().readonly())
}

/// Removes a spool that is done to its end, as [`super::Ledger::position`] says.
pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| disk::failed("remove", path, &error))
}

impl Spool {
    /// Begins a new one. The state directory's lock (see [`super::Ledger::open`]) must be held.
    pub fn create(dir: &Path, target: &Target) -> Result<Self> {
        let last = numbers(dir, target)?.last().copied().unwrap_or(0);
        let path = path(dir, target, last.saturating_add(1));
        let file = (disk::private().create_new(true).open(&path))
            .map_err(|error| disk::failed("make", &path, &error))?;
        disk::sync_dir(dir)?;
        Ok(Self {
            path,
            file,
            length: 0,
        })
    }

    /// Goes on with one that an earlier run left open.
    pub fn go_on(path: &Path) -> Result<Self> {
        let failed = |error| disk::failed("open", path, &error);
        let file = (disk::private().append(true).open(path)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            length: file.metadata().map_err(failed)?.len(),
            file,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes taken from stdin so far; they are certainly on the disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends a block; when this comes back it is certainly on the disk. An empty block is stdin's end. On an error
    /// [`Spool::length`] says how much of stdin is kept, with as much of this block as found room.
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
            "cannot write {}: {error}; {} bytes of stdin are safe there. Free some space, then run again and pipe what \
             follows them into it (tail -c +{} of the same input)",
            self.path.display(),
            self.length,
            self.length.saturating_add(1)
        ))
    }
}

/// `spool.TARGET.`
fn prefix(target: &Target) -> String {
    format!("spool.{}.", target.key())
}

fn path(dir: &Path, target: &Target, number: u64) -> PathBuf {
    dir.join(format!("{}{number}", prefix(target)))
}

/// The numbers of the target's spools, in order.
fn numbers(dir: &Path, target: &Target) -> Result<Vec<u64>> {
    let failed = |error| disk::failed("read", dir, &error);
    let prefix = prefix(target);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(idsite: &str) -> Target {
        let url = "https://matomo.example/".parse().unwrap();
        Target::new(&url, Some(idsite))
    }

    #[test]
    fn spools_are_left_in_the_order_they_came_and_for_their_target_only() {
        let dir = tempfile::tempdir().unwrap();
        for content in ["one", "two"] {
            let mut spool = Spool::create(dir.path(), &target("1")).unwrap();
            spool.append(content.as_bytes()).unwrap();
            spool.append(b"\n").unwrap();
            assert_eq!(spool.length(), 4);
        }
        Spool::create(dir.path(), &target("2")).unwrap();
        let left = left_over(dir.path(), &target("1")).unwrap();
        let contents: Vec<_> = (left.iter().map(|path| fs::read(path).unwrap())).collect();
        assert_eq!(contents, [b"one\n", b"two\n"]);
        remove(&left[0]).unwrap();
        assert_eq!(left_over(dir.path(), &target("1")).unwrap(), left[1..]);
    }

    #[test]
    fn a_spool_is_open_until_stdin_has_ended_and_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), &target("1")).unwrap();
        let path = spool.path().to_owned();
        spool.append(b"half a l").unwrap();
        drop(spool);
        assert!(is_open(&path).unwrap());
        let mut spool = Spool::go_on(&path).unwrap();
        spool.append(b"ine\n").unwrap();
        assert_eq!(spool.length(), 12);
        spool.append(b"").unwrap();
        assert!(!is_open(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"half a line\n");
    }

    #[test]
    fn a_full_disk_says_how_much_of_stdin_is_safe() {
        // A disk that is always full.
        let Ok(file) = disk::private().open("/dev/full") else {
            return;
        };
        let mut spool = Spool {
            path: "/state/spool.1".into(),
            file,
            length: 1000,
        };
        let error = spool.append(b"more").unwrap_err().to_string();
        for part in [
            "/state/spool.1",
            "No space left",
            "1000 bytes",
            "tail -c +1001",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(spool.length(), 1000);
    }
}
