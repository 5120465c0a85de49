//! The lock on the state directory: one run at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::disk;
use crate::error::{Error, Result};

/// The file in the state directory that is locked; it holds the process id of the run that has the lock.
const NAME: &str = "lock";

/// A run that is just ending, or a program that it has just started, may hold the lock for a moment longer.
const BLINK: Duration = Duration::from_millis(200);

/// Held for as long as it lives. The system lets go of it when the process ends, however it ends, so nothing that a
/// crash leaves can keep the next run out.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the directory, or says which process has it.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let options = disk::private().read(true).create(true).to_owned();
        let mut file = options
            .open(&path)
            .map_err(|error| disk::failed("open", &path, &error))?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if begun.elapsed() < BLINK => thread::sleep(BLINK / 20),
                Err(Errno::WOULDBLOCK) => return Err(taken(dir, &mut file)),
                Err(error) => return Err(disk::failed("lock", &path, &error.into())),
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| disk::failed("write", &path, &error))?;
        Ok(Self { _file: file })
    }
}

fn taken(dir: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    // Who has the lock is told where it can be read; that somebody has it is certain without.
    let who = match file.take(20).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    let who = who.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Error::stopped(format!(
        "another import{who} is using the state directory {}: wait for it to end, or give this one a --state-dir of \
         its own",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_has_the_lock_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        let pid = format!("(process {})", std::process::id());
        assert!(error.contains(&pid), "{error}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_crash_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), "1234567890123\n").unwrap();
        Lock::take(dir.path()).unwrap();
        let pid = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
    }
}
