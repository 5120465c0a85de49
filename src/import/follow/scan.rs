//! Looks at the names of the logs that are followed: which files they lead to now.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use super::tail::{ReadSoFar, Tail};
use super::{FollowOptions, RETRY_INTERVAL};
use crate::input::discover::{Source, discover};
use crate::input::watch::{FolderWatch, folder_of};
use crate::ledger::{FileId, LogId};
use crate::report::{Account, Console, Row};

/// Logs that are open at most, and the part of the files that a process may open.
const MAX_OPEN: usize = 1024;
const OPEN_PART: u64 = 2;

/// Names with a row of their own in the account. Logs with other names share one.
const MAX_ROWS: usize = 1000;

/// How often a log that has lost its name is looked for, and for how long.
const SEARCH_INTERVAL: Duration = Duration::from_secs(3);
const SEARCH_TIME: Duration = Duration::from_secs(900);
/// Logs that are looked for at most.
const MAX_UNFINISHED: usize = 1000;

/// Messages about names that are remembered, so that they are printed once.
const MAX_MESSAGES: usize = 1000;

/// What the reading of a log tells the loop that follows logs.
#[derive(Default)]
pub struct FollowState {
    /// The log that was read to its end.
    pub opened: Option<ReadSoFar>,
    /// It has to be tried again, without a message.
    pub must_wait: bool,
    /// It cannot be read.
    pub has_failed: bool,
    /// Logs that cannot be read, which is reported.
    pub reported: HashSet<PathBuf>,
}

impl FollowState {
    /// Forgets what concerns the last log.
    pub fn for_next_log(self) -> Self {
        Self {
            reported: self.reported,
            ..Self::default()
        }
    }

    /// Whether a problem of a log has to be reported.
    pub fn report(&mut self, path: &Path) -> bool {
        self.reported.len() < MAX_MESSAGES && self.reported.insert(path.to_owned())
    }
}

/// A file that is not open.
pub struct ClosedFile {
    file: FileId,
    /// When to read it again although it has not changed.
    retry: Option<Instant>,
}

impl ClosedFile {
    pub fn read(file: FileId) -> Self {
        Self { file, retry: None }
    }

    pub fn failed(file: FileId) -> Self {
        Self {
            file,
            retry: Instant::now().checked_add(RETRY_INTERVAL),
        }
    }

    /// Whether the file has to be read.
    fn is_due(&self, now: &FileId) -> bool {
        match self.retry {
            // A log that grows all the time is not tried all the time.
            Some(retry) => retry <= Instant::now() || !self.file.is_same_file(now),
            None => self.file != *now,
        }
    }
}

/// A log that has lost its name before all of it was read.
struct Unfinished {
    /// The name that it had.
    path: PathBuf,
    log: LogId,
    /// When to look for it next, and when to stop.
    due: Instant,
    end: Instant,
}

/// The logs that are followed.
pub struct Follow {
    names: Vec<OsString>,
    pub options: FollowOptions,
    pub watch: FolderWatch,
    pub tails: Vec<Tail>,
    /// Files that are not open, by name.
    pub seen: HashMap<PathBuf, ClosedFile>,
    unfinished: Vec<Unfinished>,
    /// Names that led to a file in this run.
    known_names: HashSet<PathBuf>,
    rows: HashMap<PathBuf, Row>,
    shared_row: Option<Row>,
    messages: HashSet<String>,
    pub max_open: usize,
}

impl Follow {
    pub fn new(names: &[OsString], options: FollowOptions, console: &Console) -> Self {
        let (watch, error) = FolderWatch::new();
        if let Some(error) = error {
            console.debug(1, || {
                format!("changes are not reported, only polled: {error}")
            });
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let max_open = usize::try_from(limit / OPEN_PART).unwrap_or(MAX_OPEN);
        Self {
            names: names.to_vec(),
            options,
            watch,
            tails: Vec::new(),
            seen: HashMap::new(),
            unfinished: Vec::new(),
            known_names: HashSet::new(),
            rows: HashMap::new(),
            shared_row: None,
            messages: HashSet::new(),
            max_open: max_open.clamp(1, MAX_OPEN),
        }
    }

    /// Finds out which files the names lead to. Returns those that have to be opened.
    pub fn scan(&mut self, console: &Console) -> Vec<PathBuf> {
        let mut open: HashMap<(u64, u64), usize> = HashMap::new();
        for (index, tail) in self.tails.iter_mut().enumerate() {
            (tail.is_named, tail.now) = (false, None);
            open.insert((tail.seen.device, tail.seen.inode), index);
        }
        let (mut paths, mut files) = (HashSet::new(), HashSet::new());
        let mut folders = BTreeSet::new();
        let mut found = Vec::new();
        for path in self.paths(console, &mut folders) {
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) => {
                    if error.kind() != ErrorKind::NotFound {
                        self.warn_once(&path, &format!("cannot be read: {error}"), console);
                    }
                    continue;
                }
            };
            if !metadata.is_file() {
                let why = "not a file, so it cannot be followed; import it without --follow";
                self.warn_once(&path, why, console);
                continue;
            }
            let file = FileId::from(&metadata);
            let identity = (file.device, file.inode);
            if !paths.insert(path.clone()) || !files.insert(identity) {
                continue;
            }
            folders.insert(folder_of(&path));
            match open
                .get(&identity)
                .and_then(|index| self.tails.get_mut(*index))
            {
                Some(tail) => {
                    (tail.is_named, tail.now) = (true, Some(file));
                    tail.path = path;
                }
                None if self.seen.get(&path).is_none_or(|seen| seen.is_due(&file)) => {
                    found.push(path);
                }
                None => {}
            }
        }
        self.seen.retain(|path, _| paths.contains(path));
        self.known_names.retain(|path| paths.contains(path));
        self.watch.set_folders(folders);
        found
    }

    /// The paths that the names lead to, and the folders in which others may appear.
    fn paths(&mut self, console: &Console, folders: &mut BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for name in &self.names {
            let folder = folder_of(Path::new(name));
            if folder.is_dir() {
                folders.insert(folder);
            }
            let mut warnings = Vec::new();
            let sources = discover(slice::from_ref(name), &mut |warning| warnings.push(warning));
            if sources.is_empty() && warnings.pop().is_some() {
                let name = name.display();
                let text = format!("{name}: there is no such log yet; it is read when it appears");
                if self.messages.len() < MAX_MESSAGES && self.messages.insert(text.clone()) {
                    console.note(text);
                }
            }
            for warning in warnings {
                if self.messages.len() < MAX_MESSAGES && self.messages.insert(warning.clone()) {
                    console.warn_incomplete(warning);
                }
            }
            paths.extend(sources.into_iter().filter_map(|source| match source {
                Source::File(path) => Some(path),
                Source::Stdin | Source::Object(_) => None,
            }));
        }
        paths
    }

    /// Reports why a name cannot be followed, once.
    fn warn_once(&mut self, path: &Path, why: &str, console: &Console) {
        let text = format!("{}: {why}", path.display());
        if self.messages.len() < MAX_MESSAGES && self.messages.insert(text.clone()) {
            console.warn_incomplete(text);
        }
    }

    /// Whether a name has not led to a file before, in this run, or to another one that was closed.
    pub fn is_new_log(&mut self, path: &Path, file: &File) -> bool {
        let is_new_name = self.known_names.insert(path.to_owned());
        let file = file.metadata().map(|metadata| FileId::from(&metadata));
        let is_other = |seen: &ClosedFile| file.is_ok_and(|file| !seen.file.is_same_file(&file));
        is_new_name || self.seen.get(path).is_some_and(is_other)
    }

    /// Whether a name leads to a file now, or is that of an open log.
    pub fn is_known(&self, path: &Path) -> bool {
        self.known_names.contains(path)
            || self.seen.contains_key(path)
            || self.tails.iter().any(|tail| tail.path == path)
    }

    /// Looks for a log again and again, until it is found or has not been for a long time.
    pub fn try_later(&mut self, path: &Path, log: LogId) {
        let is_known = self.unfinished.iter().any(|it| it.log == log);
        if !is_known && self.unfinished.len() < MAX_UNFINISHED {
            let now = Instant::now();
            let after = |time| now.checked_add(time).unwrap_or(now);
            self.unfinished.push(Unfinished {
                path: path.to_owned(),
                log,
                due: after(SEARCH_INTERVAL),
                end: after(SEARCH_TIME),
            });
        }
    }

    /// The logs that have to be looked for now, with the names that they had.
    pub fn unfinished(&mut self) -> Vec<(PathBuf, LogId)> {
        let now = Instant::now();
        self.unfinished.retain(|it| it.end > now);
        let due = self.unfinished.iter_mut().filter(|it| it.due <= now);
        due.map(|it| {
            it.due = now.checked_add(SEARCH_INTERVAL).unwrap_or(now);
            (it.path.clone(), it.log)
        })
        .collect()
    }

    /// Ends the search for a log.
    pub fn has_found(&mut self, log: LogId) {
        self.unfinished.retain(|it| it.log != log);
    }

    /// Takes the open file of a log out if it has no name and nothing more to read.
    pub fn take_replaced(&mut self, log: LogId) -> Option<Tail> {
        let is_replaced = |tail: &Tail| tail.reads(log) && !tail.is_named && tail.is_at_end();
        let index = self.tails.iter().position(is_replaced)?;
        Some(self.tails.remove(index))
    }

    /// Whether lines of this log are read from an open file.
    pub fn reads(&self, log: LogId) -> bool {
        self.tails.iter().any(|tail| tail.reads(log))
    }

    /// The counters of a log with this name.
    pub fn row(&mut self, path: &Path, account: &Account) -> Row {
        if let Some((number, row)) = self.rows.get(path) {
            return (*number, Arc::clone(row));
        }
        if self.rows.len() >= MAX_ROWS {
            let open = || account.open("other logs");
            let (number, row) = self.shared_row.get_or_insert_with(open);
            return (*number, Arc::clone(row));
        }
        let (number, row) = account.open(path.display().to_string());
        self.rows
            .insert(path.to_owned(), (number, Arc::clone(&row)));
        (number, row)
    }
}

/// The files in a folder whose names begin like this one, the newest first.
pub fn siblings(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    // `access.log.1`, `access.log-20240501` and `access-20240501.log` are of `access.log`.
    let stem = match name.iter().skip(1).position(|byte| *byte == b'.') {
        Some(end) => &name[..end + 1],
        None => name,
    };
    let Ok(entries) = fs::read_dir(folder_of(path)) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let other = entry.file_name();
            if !other.as_bytes().starts_with(stem) || other.as_bytes() == name {
                return None;
            }
            let metadata = entry.metadata().ok()?;
            let modified = metadata.modified().ok()?;
            metadata
                .is_file()
                .then(|| (modified, path.with_file_name(other)))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, path)| path).collect()
}
