//! The state directory: who may write to it, its lock, and its files.
//!
//! Another user who can write to the directory decides which lines count as done, and what a spool
//! holds. So a directory that others can write to is refused, and so are links in it
//! (guide/guarantees.md, "State directory").

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;
use rustix::process::geteuid;

use crate::error::{Error, Result};
use crate::private_file;
use crate::report::shell_word;

/// The lock file, with the process id of the run that has the lock.
const LOCK_NAME: &str = "lock";

/// A run that is ending, or a process it has just started, may hold the lock a little longer.
const LOCK_GRACE_PERIOD: Duration = Duration::from_millis(200);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A state directory that is checked, and locked until this is dropped: it admits one run at a
/// time.
///
/// The system releases the lock when the process ends, however it ends, so a crash never locks out
/// the next run.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Locks a directory, which is created if necessary.
    ///
    /// # Errors
    ///
    /// If another run uses it, and names that; if others can write to it.
    pub fn take(dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| io_error("create", dir, &error))?;
        Self::lock(dir)
    }

    /// Locks a new directory. Returns `None` if there is something with that name.
    pub fn create(dir: &Path) -> Result<Option<Self>> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => Self::lock(dir).map(Some),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(io_error("create", dir, &error)),
        }
    }

    fn lock(dir: &Path) -> Result<Self> {
        check(dir)?;
        let path = dir.join(LOCK_NAME);
        let mut options = private_file::options();
        let mut file = (options.read(true).create(true).open(&path))
            .map_err(|error| io_error("open", &path, &error))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_GRACE_PERIOD => {
                    thread::sleep(LOCK_POLL_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Err(locked(dir, &mut file)),
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, &error)),
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| io_error("write", &path, &error))?;
        Ok(Self { _file: file })
    }
}

/// Removes a directory that was made in vain, with the lock file in it.
pub fn remove_dir(dir: &Path) {
    let _ = fs::remove_file(dir.join(LOCK_NAME));
    let _ = fs::remove_dir(dir);
}

/// Fails if another user can replace a folder that is created in this one.
pub fn check_place(place: &Path) -> Result<()> {
    let metadata = fs::metadata(place).map_err(|error| io_error("read", place, &error))?;
    let is_sticky = metadata.mode() & 0o1000 != 0;
    match is_foreign(&metadata) || metadata.mode() & 0o002 != 0 && !is_sticky {
        true => Err(Error::stopped(format!(
            "other users can rename folders in {}",
            place.display()
        ))),
        false => Ok(()),
    }
}

/// Whether it belongs to a user other than this one and root.
fn is_foreign(metadata: &Metadata) -> bool {
    ![geteuid().as_raw(), 0].contains(&metadata.uid())
}

/// Refuses a directory that another user could have prepared or can change.
fn check(dir: &Path) -> Result<()> {
    let failed = |error| io_error("read", dir, &error);
    let refused = |path: &Path, what: String, remedy: String| {
        Err(Error::stopped(format!(
            "{} {what}, so the state directory is not safe: {remedy}, or use another --state-dir",
            path.display()
        )))
    };
    let link = fs::symlink_metadata(dir).map_err(failed)?;
    let metadata = fs::metadata(dir).map_err(failed)?;
    if is_foreign(&link) || is_foreign(&metadata) {
        let owner = if is_foreign(&link) {
            link.uid()
        } else {
            metadata.uid()
        };
        let take_over = format!(
            "if nothing in it is theirs, take it over with `chown -Rh {} {}`",
            geteuid().as_raw(),
            quoted(dir)
        );
        return refused(
            dir,
            format!("belongs to another user (uid {owner})"),
            take_over,
        );
    }
    if metadata.mode() & 0o022 != 0 {
        let remedy = format!("run `chmod go-w {}`", quoted(dir));
        return refused(dir, "can be changed by other users".to_owned(), remedy);
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if !kind.is_file() && !kind.is_dir() {
            let what = if kind.is_symlink() {
                "is a link"
            } else {
                "is not a plain file"
            };
            let remedy = format!("run `rm {}`", quoted(&entry.path()));
            return refused(&entry.path(), what.to_owned(), remedy);
        }
    }
    Ok(())
}

/// A path as the shell takes it, and without control characters.
fn quoted(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

fn locked(dir: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let pid = match file.take(20).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Error::stopped(format!(
        "another import{process} is using the state directory {}: wait for it to end, or use another \
         --state-dir",
        dir.display()
    ))
}

/// Makes new, renamed and removed names in a directory survive a power failure.
pub fn sync_dir(dir: &Path) -> Result<()> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        // Some network file systems cannot sync a directory, and do not need to.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        result => result.map_err(|error| io_error("sync", dir, &error)),
    }
}

/// The error for a file in the state directory that could not be read or written.
pub fn io_error(action: &str, path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let this user read and write there, or use another --state-dir"
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "it is a file and not a folder: use another --state-dir"
        }
        _ => "check that disk, or use another --state-dir",
    };
    Error::stopped(format!(
        "cannot {action} {}: {error}; {remedy}",
        path.display()
    ))
}

/// A free name for a file that is quarantined: `NAME.LABEL-TIME`, with a number if that name is
/// taken (guide/guarantees.md, "Quarantine").
pub fn quarantine_path(path: &Path, label: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().display();
    let time = Utc::now().format("%Y%m%dT%H%M%SZ");
    let first = path.with_file_name(format!("{name}.{label}-{time}"));
    let numbered = (2_u32..).map(|n| path.with_file_name(format!("{name}.{label}-{time}-{n}")));
    let mut free = std::iter::once(first.clone())
        .chain(numbered)
        .filter(|path| !path.exists());
    free.next().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_names_the_process_that_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        let error = StateLock::take(dir.path()).unwrap_err().to_string();
        let pid = format!("(process {})", std::process::id());
        assert!(error.contains(&pid), "{error}");
        drop(first);
        StateLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_crash_does_not_lock_out_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_NAME), "1234567890123\n").unwrap();
        StateLock::take(dir.path()).unwrap();
        let pid = fs::read_to_string(dir.path().join(LOCK_NAME)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
    }

    #[test]
    fn quarantined_files_of_one_second_have_different_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        let mut taken = Vec::new();
        for _ in 0..3 {
            let free = quarantine_path(&path, "broken");
            assert!(!taken.contains(&free));
            let name = free.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("ledger.json.broken-2"), "{name}");
            fs::write(&free, "").unwrap();
            taken.push(free);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateLock::take(&file.join("state")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("file/state"), "{error}");
    }
}
