//! Spools: what comes from stdin or a named pipe, which cannot be read twice (guide/guarantees.md,
//! "Pipes").
//!
//! Each block is appended to a file in the state directory and synced before its lines are
//! processed. The file is a log like any other: the ledger knows which of its lines are done, and
//! when all of them are, it is removed. If a run ends early, the next run for the same target
//! finishes its spools before it reads anything new.
//!
//! The bytes are stored as they came, compressed or not. A spool whose pipe has ended is complete,
//! and read-only so that nothing is appended.
//!
//! A source may end in the middle of a line: `logtail` prints what is there. That half line is
//! moved to a file of its own, with which the next spool of the same source begins.
//!
//! If a run was killed before its pipe had ended, the spool is *open*. The next run completes it.
//! If it is compressed, it may be truncated: what the next run reads from the same source is
//! appended.
//!
//! A spool is named `spool.TARGET.NUMBER`, or `spool.TARGET.NUMBER.PIPE` for a named pipe, and a
//! half line `half.TARGET` or `half.TARGET.PIPE`. A spool that can never be imported is
//! quarantined: `.aside-TIME` is added to its name.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::TargetKey;
use super::directory::{io_error, quarantine_path, sync_dir};
use super::fingerprint::Checksum;
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::input::decompress::Decompressor;
use crate::input::line_ends::last_line_end;
use crate::private_file;

const PREFIX: &str = "spool.";
const HALF_PREFIX: &str = "half.";

/// A half line that is longer stays in its spool, as a line that is too long.
pub const MAX_HALF_LINE_BYTES: u64 = 1 << 20;

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

/// How a spool is filled.
#[derive(Clone, Copy, Debug)]
pub struct SpoolOptions {
    /// `--spool-max`, in bytes.
    pub max_bytes: u64,
    /// Move a half line at the end of the source to a file of its own. Off for encodings in which
    /// the byte `\n` may be a part of another character.
    pub moves_half_line: bool,
}

/// A spool being filled.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// The name of the source, for messages.
    source: String,
    file: File,
    options: SpoolOptions,
    /// In bytes.
    length: u64,
    /// The bytes of what this run read from the source. Earlier runs may have left others.
    received: u64,
    /// Bytes of the half line with which the source ended.
    half_line: u64,
    /// Nothing is appended any more.
    is_closed: bool,
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
    /// Creates a spool, which begins with the half line that the last one of this source left. The
    /// state directory must be locked, see [`super::Ledger::open`].
    pub fn create(
        dir: &Path,
        target: &TargetKey,
        origin: SpoolOrigin,
        source: String,
        options: SpoolOptions,
    ) -> Result<Self> {
        let target = target.key();
        let spools = all(dir)?;
        let ours = spools.iter().filter(|(_, name)| name.target == target);
        let last = ours.map(|(_, name)| name.number).max().unwrap_or(0);
        let name = SpoolName {
            target,
            number: last.saturating_add(1),
            origin,
        };
        let path = dir.join(name.to_string());
        let half = dir.join(name.half());
        match options.moves_half_line && half.exists() {
            true => fs::rename(&half, &path),
            false => private_file::options()
                .create_new(true)
                .open(&path)
                .map(drop),
        }
        .map_err(|error| spool_error("create", &path, &error))?;
        sync_dir(dir)?;
        Self::open(&path, source, options)
    }

    /// Appends to an open spool of an earlier run.
    pub fn resume(path: &Path, source: String, options: SpoolOptions) -> Result<Self> {
        let spool = Self::open(path, source, options)?;
        let failed = |error| spool_error("read", path, &error);
        // A run that was killed while it moved the half line left it in both files.
        if let Some(half) = spool.half_path()
            && let Some((_, line)) = half_line(path, false).map_err(failed)?
            && fs::read(&half).is_ok_and(|moved| line.starts_with(&moved))
        {
            remove(&half)?;
        }
        Ok(spool)
    }

    fn open(path: &Path, source: String, options: SpoolOptions) -> Result<Self> {
        let failed = |error| spool_error("open", path, &error);
        let file = (private_file::options().append(true).open(path)).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self {
            path: path.to_owned(),
            source,
            file,
            options,
            length,
            received: 0,
            half_line: 0,
            is_closed: false,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that are synced to disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes of what this run read from the source are saved.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The length of the half line with which the source ended.
    pub fn half_line(&self) -> u64 {
        self.half_line
    }

    /// Moves the half line back: it is part of data that is no log.
    pub fn take_half_line_back(&mut self) -> Result<()> {
        let Some(half) = self.half_path().filter(|_| self.half_line > 0) else {
            return Ok(());
        };
        let move_line = || {
            (&self.file).write_all(&fs::read(&half)?)?;
            self.file.sync_data()?;
            fs::remove_file(&half)
        };
        move_line().map_err(|error| spool_error("write", &self.path, &error))?;
        self.length += std::mem::take(&mut self.half_line);
        Ok(())
    }

    /// Lowers the limit: what follows is no log.
    pub fn limit_to(&mut self, max_bytes: u64) {
        self.options.max_bytes = self.options.max_bytes.min(max_bytes.max(self.length));
    }

    /// Refuses everything that follows, so that [`Spool::received`] stays as it is.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Appends a block and syncs it. An empty block is the end of the source.
    ///
    /// On an error, as much of the block is kept as there is room for; [`Spool::length`] includes
    /// that part.
    pub fn append(&mut self, block: &[u8]) -> Result<()> {
        if self.is_closed {
            return Err(Error::stopped("no more of it is saved"));
        }
        if block.is_empty() {
            return self.end(true);
        }
        let room = self.options.max_bytes.saturating_sub(self.length);
        let fitting = block.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut rest = &block[..fitting];
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
            Ok(()) => {
                let written = (fitting - rest.len()) as u64;
                self.length += written;
                self.received += written;
            }
            Err(error) => {
                // The message asks to pipe in again what follows the synced bytes.
                let _ = self.file.set_len(self.length);
                result = result.and(Err(error));
            }
        }
        reach("after-spool-append");
        result.map_err(|error| self.write_error(&error))?;
        match fitting < block.len() {
            true => Err(self.limit_error()?),
            false => Ok(()),
        }
    }

    /// Completes the spool: moves the half line at its end, and makes it read-only. `is_end` is
    /// whether the source has ended, so that a `\r` at the end is a line end.
    fn end(&mut self, is_end: bool) -> Result<()> {
        self.move_half_line(is_end)?;
        let seal = || {
            let mut permissions = self.file.metadata()?.permissions();
            permissions.set_readonly(true);
            self.file.set_permissions(permissions)?;
            self.file.sync_all()
        };
        seal().map_err(|error| spool_error("write", &self.path, &error))?;
        self.is_closed = true;
        Ok(())
    }

    /// The half line is in its own file before it leaves this one.
    fn move_half_line(&mut self, is_end: bool) -> Result<()> {
        let Some(half) = self.half_path() else {
            return Ok(());
        };
        let move_line = || -> io::Result<u64> {
            let Some((position, line)) = half_line(&self.path, is_end)? else {
                return Ok(0);
            };
            let mut file = private_file::options().create_new(true).open(&half)?;
            file.write_all(&line)?;
            file.sync_all()?;
            if let Some(dir) = half.parent() {
                File::open(dir)?.sync_all()?;
            }
            reach("after-half-line");
            self.file.set_len(position)?;
            Ok(line.len() as u64)
        };
        self.half_line = move_line().map_err(|error| spool_error("write", &half, &error))?;
        self.length -= self.half_line;
        Ok(())
    }

    /// Where the half line of this source is kept. `None` if it stays in the spool.
    fn half_path(&self) -> Option<PathBuf> {
        let name = SpoolName::parse(self.path.file_name()?.to_str()?)?;
        (self.options.moves_half_line).then(|| self.path.with_file_name(name.half()))
    }

    fn write_error(&self, error: &io::Error) -> Error {
        Error::stopped(format!(
            "cannot write {}: {error}; {}: free some space, then run again and {}",
            self.path.display(),
            self.saved(),
            self.rest()
        ))
    }

    /// The spool is full. A compressed one, or one in UTF-16, can only be continued in the same
    /// file.
    fn limit_error(&mut self) -> Result<Error> {
        let keeps_half_line =
            keeps_half_line(&self.path).map_err(|error| self.write_error(&error))?;
        let advice = match keeps_half_line {
            true => "raise --spool-max, then run again and",
            false => {
                self.end(false)?;
                "run again and"
            }
        };
        Ok(Error::stopped(format!(
            "{} has reached --spool-max; {}: {advice} {}",
            self.path.display(),
            self.saved(),
            self.rest()
        )))
    }

    fn saved(&self) -> String {
        format!(
            "{} bytes of {} are saved there",
            self.received(),
            self.source
        )
    }

    /// How to continue, in bytes of what this run read.
    pub fn rest(&self) -> String {
        let next = self.received().saturating_add(1);
        format!("pipe in the rest (tail -c +{next} of the same input)")
    }
}

/// Completes a spool that an earlier run left open. Compressed data stays open, because it may be
/// truncated, and data whose half line cannot be moved, such as UTF-16.
///
/// The ledger must not look the spool up before: a fingerprint of the half line would no longer
/// match.
pub fn seal(path: &Path, options: SpoolOptions) -> Result<()> {
    let failed = |error| spool_error("read", path, &error);
    if !options.moves_half_line || keeps_half_line(path).map_err(failed)? {
        return Ok(());
    }
    Spool::resume(path, String::new(), options)?.end(false)?;
    match fs::metadata(path).map_err(failed)?.len() {
        0 => remove(path),
        _ => Ok(()),
    }
}

/// Whether the bytes at the end of a spool are no line that can be read by itself.
fn keeps_half_line(path: &Path) -> io::Result<bool> {
    let mut data = Decompressor::new(File::open(path)?)?;
    Ok(data.is_compressed() || data.has_utf16_bom()?)
}

/// The half line at the end of a spool, and its position. `None` if the spool ends with a whole
/// line, is compressed or is UTF-16, or if the half line is longer than [`MAX_HALF_LINE_BYTES`].
/// A `\r` at the end is a line end only if `is_end`: otherwise `\n` may follow.
fn half_line(path: &Path, is_end: bool) -> io::Result<Option<(u64, Vec<u8>)>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(MAX_HALF_LINE_BYTES + 1);
    let mut end = vec![0; (length - from) as usize];
    file.read_exact_at(&mut end, from)?;
    let decided = match end.strip_suffix(b"\r") {
        Some(before) if !is_end => before,
        _ => &end,
    };
    let start = match last_line_end(decided) {
        Some(start) => start,
        None if from == 0 => 0,
        None => return Ok(None),
    };
    let line = end.split_off(start);
    let is_half = (1..=MAX_HALF_LINE_BYTES).contains(&(line.len() as u64));
    match !is_half || keeps_half_line(path)? {
        true => Ok(None),
        false => Ok(Some((from + start as u64, line))),
    }
}

/// The error for a spool that cannot be used. What is in the pipe is not saved then.
fn spool_error(action: &str, path: &Path, error: &io::Error) -> Error {
    Error::stopped(format!(
        "cannot {action} {}: {error}; check that disk and the permissions of the folder",
        path.display()
    ))
}

/// What the name of a spool says.
struct SpoolName {
    /// The checksum of the target.
    target: Checksum,
    number: u64,
    origin: SpoolOrigin,
}

impl fmt::Display for SpoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}.{}", self.target, self.number)?;
        match self.origin {
            SpoolOrigin::Stdin => Ok(()),
            SpoolOrigin::Pipe(pipe) => write!(f, ".{pipe}"),
        }
    }
}

impl SpoolName {
    /// The name of the half line's file of the same source.
    fn half(&self) -> String {
        match self.origin {
            SpoolOrigin::Stdin => format!("{HALF_PREFIX}{}", self.target),
            SpoolOrigin::Pipe(pipe) => format!("{HALF_PREFIX}{}.{pipe}", self.target),
        }
    }

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

    const OPTIONS: SpoolOptions = SpoolOptions {
        max_bytes: 1000,
        moves_half_line: true,
    };

    fn create(dir: &Path, idsite: &str, origin: SpoolOrigin) -> Spool {
        Spool::create(dir, &target(idsite), origin, "stdin".into(), OPTIONS).unwrap()
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
        let mut spool = Spool::resume(&path, "stdin".into(), OPTIONS).unwrap();
        spool.append(b"ine\n").unwrap();
        assert_eq!((spool.length(), spool.received()), (12, 4));
        spool.append(b"").unwrap();
        assert!(!is_open());
        assert_eq!(fs::read(&path).unwrap(), b"half a line\n");
    }

    #[test]
    fn on_a_full_disk_the_error_says_how_much_is_saved() {
        // A disk that is always full.
        let Ok(file) = private_file::options().open("/dev/full") else {
            return;
        };
        let mut spool = Spool {
            path: "/state/spool.1".into(),
            source: "access.fifo".into(),
            file,
            options: OPTIONS,
            // An earlier run left 600 bytes.
            length: 900,
            received: 300,
            half_line: 0,
            is_closed: false,
        };
        let error = spool.append(b"more").unwrap_err().to_string();
        for part in [
            "/state/spool.1",
            "No space left",
            "300 bytes of access.fifo",
            "tail -c +301",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!((spool.length(), spool.received()), (900, 300));
    }

    /// The content of the spools of `--idsite=1`.
    fn contents(dir: &Path) -> Vec<String> {
        let left = left_over(dir, &target("1")).unwrap();
        let read = |left: &SpoolContents| fs::read_to_string(&left.path).unwrap();
        left.iter().map(read).collect()
    }

    #[test]
    fn a_full_spool_says_how_to_continue_and_the_next_one_begins_with_its_half_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = create(dir.path(), "1", SpoolOrigin::Stdin);
        let line = format!("{}\n", "x".repeat(299));
        let input = line.repeat(5);
        let error = spool.append(input.as_bytes()).unwrap_err().to_string();
        for part in ["--spool-max", "1000 bytes of stdin", "tail -c +1001 "] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(contents(dir.path()), [line.repeat(3)]);
        let mut next = create(dir.path(), "1", SpoolOrigin::Stdin);
        next.append(&input.as_bytes()[1000..]).unwrap();
        next.append(b"").unwrap();
        assert_eq!((next.received(), next.length()), (500, 600));
        assert_eq!(contents(dir.path()), [line.repeat(3), line.repeat(2)]);
    }

    #[test]
    fn a_limit_can_be_lowered_but_not_below_what_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = create(dir.path(), "1", SpoolOrigin::Stdin);
        spool.append(b"0123456789\n").unwrap();
        spool.limit_to(5);
        assert!(spool.append(b"more\n").is_err());
        assert_eq!(contents(dir.path()), ["0123456789\n"]);
    }

    #[test]
    fn a_half_line_waits_for_its_own_source() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = SpoolOrigin::of_pipe(Path::new("/run/access.fifo"));
        for (origin, text) in [(SpoolOrigin::Stdin, "one\nstd"), (pipe, "two\nfi")] {
            let mut spool = create(dir.path(), "1", origin);
            spool.append(text.as_bytes()).unwrap();
            spool.append(b"").unwrap();
            assert_eq!(
                (spool.length(), spool.half_line()),
                (4, text.len() as u64 - 4)
            );
        }
        assert_eq!(contents(dir.path()), ["one\n", "two\n"]);
        for (idsite, origin, text) in [
            ("2", SpoolOrigin::Stdin, ""),
            ("1", pipe, "fi"),
            ("1", SpoolOrigin::Stdin, "std"),
            ("1", SpoolOrigin::Stdin, ""),
        ] {
            let spool = create(dir.path(), idsite, origin);
            assert_eq!(fs::read_to_string(spool.path()).unwrap(), text);
        }
    }

    #[test]
    fn a_half_line_that_was_not_moved_to_the_end_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = create(dir.path(), "1", SpoolOrigin::Stdin);
        spool.append(b"one\ntw").unwrap();
        // Killed after a part of it was written.
        fs::write(spool.half_path().unwrap(), "t").unwrap();
        let path = spool.path().to_owned();
        drop(spool);
        let mut spool = Spool::resume(&path, "stdin".into(), OPTIONS).unwrap();
        spool.append(b"o\n").unwrap();
        spool.append(b"").unwrap();
        assert_eq!(contents(dir.path()), ["one\ntwo\n"]);
        create(dir.path(), "1", SpoolOrigin::Stdin);
        assert_eq!(contents(dir.path())[1], "");
    }

    #[test]
    fn what_is_compressed_or_too_long_is_not_split() {
        let dir = tempfile::tempdir().unwrap();
        let options = SpoolOptions {
            max_bytes: u64::MAX,
            ..OPTIONS
        };
        let too_long = vec![b'x'; MAX_HALF_LINE_BYTES as usize + 1];
        for content in [&b"\x1f\x8b\x08 and more"[..], &too_long] {
            let (stdin, source) = (SpoolOrigin::Stdin, "stdin".to_owned());
            let spool = Spool::create(dir.path(), &target("1"), stdin, source, options);
            let mut spool = spool.unwrap();
            spool.append(content).unwrap();
            spool.append(b"").unwrap();
            assert_eq!(fs::read(spool.path()).unwrap(), content);
            assert!(!spool.half_path().unwrap().exists());
        }
    }
}
