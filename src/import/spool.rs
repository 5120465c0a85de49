//! Pipes cannot be read twice. With a state directory, everything that comes from standard input
//! or a named pipe goes through a spool file there (guide/guarantees.md, "Pipes").
//!
//! A spool is removed when all its lines are done, and kept for the next run if some are not. If
//! the rest of it can never be read, it is quarantined: reported once, and renamed so that no run
//! reads it again (guide/guarantees.md, "Quarantine").

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::file::{Job, ReadEnd, SITE_ADVICE, unreadable};
use super::ledger_handle::StateDir;
use super::{Flow, Importer, InputOptions, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::line_ends::last_line_end;
use crate::input::lines::{LineOptions, Lines, Tee, Watcher};
use crate::input::reader::Keeper;
use crate::ledger::spool::{self, Spool, SpoolContents, SpoolOptions, SpoolOrigin};
use crate::ledger::{FileChange, FileId, FileProbe, Ledger, LogFile, LogId, LogState, ReadAt};
use crate::report::{Console, Row};
use crate::shutdown::Shutdown;
use crate::sync::Mutex;

/// When an import stops, the rest of a pipe is saved until it pauses for this long.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How much is saved of data that is no log.
const MAX_UNREADABLE_BYTES: u64 = 256 << 20;
/// The longest time spent saving the rest of a pipe.
const MAX_SAVE_TIME: Duration = Duration::from_secs(60);

/// The spool of a pipe, or one that an earlier run left.
#[derive(Clone, Copy)]
pub(super) struct SpoolFile<'s> {
    pub path: &'s Path,
    pub is_leftover: bool,
    /// The pipe had not ended, so more may be appended.
    pub is_open: bool,
}

/// A pipe and the spool that gets a copy of it. The thread that reads the pipe fills the spool.
pub(super) struct SpooledPipe {
    pub tee: Tee,
    pub spool: SharedSpool,
}

pub(super) type SharedSpool = Arc<Mutex<Spool>>;

impl InputOptions {
    fn spool_options(&self) -> SpoolOptions {
        SpoolOptions {
            max_bytes: self.spool_max,
            moves_half_line: self.encoding.unit() == 1,
        }
    }

    /// Options for reading a pipe through a spool. Its half line is left to the next run.
    fn spooled_line_options(&self) -> LineOptions {
        LineOptions {
            incomplete_last: !self.spool_options().moves_half_line,
            ..self.line_options()
        }
    }
}

/// A spool that was read to its end, or as far as it ever can be.
#[derive(Debug)]
pub struct FinishedSpool {
    path: PathBuf,
    log: LogId,
    /// All lines before this position must be done before the spool may be removed.
    end: u64,
    /// Why what follows cannot be read.
    problem: Option<String>,
    /// Nothing of it is imported, as no line has a site.
    has_no_site: bool,
}

// Reading pipes and spools.
impl Importer {
    /// Imports the spools that earlier runs left, before anything new. A compressed one whose pipe
    /// had not ended is left for that pipe, if this run reads it.
    pub(super) fn import_spools(&mut self, sources: &[Source]) -> Result<Flow> {
        let Some(StateDir { path: dir, target }) = self.state_dir() else {
            return Ok(Flow::Continue);
        };
        let options = self.input.line_options();
        for contents in spool::left_over(dir, target)? {
            // What comes next through its pipe goes to a new spool that begins with its half line.
            if contents.is_open && !is_hopeless(&contents.path, &options, &self.shutdown) {
                spool::seal(&contents.path, self.input.spool_options())?;
            }
        }
        let left = spool::left_over(dir, target)?;
        for contents in &left {
            let SpoolContents { path, origin, .. } = contents;
            let source = sources
                .iter()
                .find(|source| origin_of(source) == Some(*origin));
            if source.is_some()
                && find_open(&left, *origin, &options, &self.shutdown)
                    .is_some_and(|open| open.path == *path)
            {
                continue;
            }
            let name = match (source, origin) {
                (Some(source), _) => source.to_string(),
                (None, SpoolOrigin::Stdin) => Source::Stdin.to_string(),
                (None, SpoolOrigin::Pipe(_)) => "a named pipe".to_owned(),
            };
            self.console.note(format!(
                "finishing what an earlier run read from {name} ({})",
                path.display()
            ));
            let state = match self.identify(path, LogFile::growing) {
                Ok(Some((state, _))) => state,
                Ok(None) => continue,
                Err(error) => {
                    let problem = error.to_string();
                    match is_hopeless(path, &options, &self.shutdown) {
                        true => quarantine(path, &problem, &self.console)?,
                        false => self.console.warn_incomplete(problem),
                    }
                    continue;
                }
            };
            if state.change == FileChange::Done {
                spool::remove(path)?;
                continue;
            }
            let job = Job {
                source: &Source::File(path.clone()),
                row: self.account.open(path.display().to_string()),
                options: options.clone(),
                pipe: None,
                spool: Some(SpoolFile {
                    path,
                    is_leftover: true,
                    is_open: contents.is_open,
                }),
                state: Some(state),
                only: None,
                followed: None,
                until: None,
            };
            match self.import_job(job) {
                Ok(Flow::Stop) => return Ok(Flow::Stop),
                Ok(_) => {}
                Err(error) if error.is_about_log() => {
                    self.console.warn_incomplete(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Flow::Continue)
    }

    /// Imports a pipe through a spool.
    pub(super) fn import_pipe(
        &mut self,
        source: &Source,
        row: Row,
        dir: &StateDir,
    ) -> Result<Flow> {
        let (spool, state) = self.open_recorded_spool(source, dir)?;
        let path = spool.path().to_owned();
        self.import_job(Job {
            source,
            row,
            options: self.input.spooled_line_options(),
            pipe: Some(tee(spool)?),
            spool: Some(SpoolFile {
                path: &path,
                is_leftover: false,
                is_open: false,
            }),
            state: Some(state),
            only: None,
            followed: None,
            until: None,
        })
    }

    /// Opens a spool for a pipe, and looks it up in the ledger: the one that an earlier run left
    /// open, or a new one.
    fn open_recorded_spool(
        &mut self,
        source: &Source,
        StateDir { path: dir, target }: &StateDir,
    ) -> Result<(Spool, LogState)> {
        let origin = origin_of(source).unwrap_or(SpoolOrigin::Stdin);
        let left = spool::left_over(dir, target)?;
        let options = self.input.line_options();
        if let Some(open) = find_open(&left, origin, &options, &self.shutdown) {
            let path = &open.path;
            match self.identify(path, LogFile::growing) {
                // Compressed data cannot be continued without its beginning, even if all its
                // lines are done.
                Ok(Some((state, is_packed))) if is_packed || state.change != FileChange::Done => {
                    let options = self.input.spool_options();
                    let spool = Spool::resume(path, source.to_string(), options)?;
                    self.console.note(format!(
                        "resuming what an earlier run read from {source} ({}): new data is \
                         appended to its {} bytes",
                        path.display(),
                        spool.length()
                    ));
                    return Ok((spool, state));
                }
                Ok(Some(_)) => spool::remove(path)?,
                Ok(None) => {}
                // The pipe is saved in a new spool.
                Err(error) => self.console.warn_incomplete(error.to_string()),
            }
        }
        let options = self.input.spool_options();
        let spool = Spool::create(dir, target, origin, source.to_string(), options)?;
        let state = self.new_log(spool.path())?;
        Ok((spool, state))
    }
}

/// The content of a log that is not looked at.
struct Nothing;

impl ReadAt for Nothing {
    fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Importer {
    /// Adds a spool to the ledger. The half line with which it may begin is no sign of another log.
    fn new_log(&self, path: &Path) -> Result<LogState> {
        let failed = |error| unreadable(path, error);
        let Some(handle) = &self.ledger else {
            return Err(failed(ErrorKind::InvalidInput.into()));
        };
        handle.ledger.lookup(FileProbe {
            path,
            file: FileId::from(&fs::metadata(path).map_err(failed)?),
            is_compressed: false,
            may_be_copy: false,
            content: &mut Nothing,
        })
    }
}

// What becomes of a spool that was read.
impl SpoolFile<'_> {
    /// Decides what to do with the spool when its lines are done. Returns `None` if it stays for
    /// the next run, and prints why.
    pub fn finish(self, log: LogId, end: ReadEnd, console: &Console) -> Option<FinishedSpool> {
        let has_no_site = matches!(end, ReadEnd::NoSite(_));
        let (end, problem) = match end {
            ReadEnd::NoSite(error) => (0, Some(error.to_string())),
            ReadEnd::Stopped | ReadEnd::Open(_) | ReadEnd::Ahead => return None,
            ReadEnd::Complete(end) => (end, None),
            ReadEnd::Unreadable(end, error) if self.is_hopeless(&error) => {
                (end, Some(error.to_string()))
            }
            ReadEnd::Unusable(end, error) if !self.is_open => (end, Some(error.to_string())),
            ReadEnd::Unreadable(_, error) => {
                self.wait_for_more(&error.to_string(), console);
                return None;
            }
            ReadEnd::Unusable(_, error) => {
                self.wait_for_more(&error.to_string(), console);
                return None;
            }
        };
        Some(FinishedSpool {
            path: self.path.to_owned(),
            log,
            end,
            problem,
            has_no_site,
        })
    }

    pub fn wait_for_more(self, problem: &str, console: &Console) {
        if fs::metadata(self.path).is_ok_and(|metadata| metadata.len() == 0) {
            // Nothing came through the pipe.
            let _ = fs::remove_file(self.path);
            return console.warn_incomplete(problem);
        }
        let path = self.path.display();
        console.warn_incomplete(match self.is_open {
            true => format!("{problem}; if the pipe sends nothing more, remove {path}"),
            false => problem.to_owned(),
        });
    }

    /// Returns whether the spool can never be read further.
    pub fn is_hopeless(self, error: &InputError) -> bool {
        // Truncated compressed data may be continued.
        error.is_lasting() && !(self.is_open && error.is_truncated())
    }
}

impl FinishedSpool {
    /// Removes, keeps or quarantines the spool. Called after the recorders have ended.
    pub fn close(self, ledger: &Ledger, console: &Console) -> Result<()> {
        let is_done = ledger.position(self.log) >= self.end;
        match self.problem {
            None if is_done => spool::remove(&self.path),
            None => Ok(()),
            Some(problem) if self.has_no_site => {
                let name = spool::quarantine(&self.path)?;
                console.warn_incomplete(format!(
                    "{problem}; they are quarantined as {}: {SITE_ADVICE}, and import them by that \
                     name",
                    name.display()
                ));
                Ok(())
            }
            Some(problem) if is_done => quarantine(&self.path, &problem, console),
            Some(problem) => {
                // Read-only, so that no run appends to it: that would be quarantined with it.
                let sealed = fs::metadata(&self.path).and_then(|metadata| {
                    let mut permissions = metadata.permissions();
                    permissions.set_readonly(true);
                    fs::set_permissions(&self.path, permissions)
                });
                sealed.map_err(|error| failed("write", &self.path, &error))?;
                console.warn_incomplete(format!(
                    "{problem}; the next run with this --state-dir imports the readable part of {}",
                    self.path.display()
                ));
                Ok(())
            }
        }
    }
}

/// Renames a spool that can never be imported, and reports it.
fn quarantine(path: &Path, problem: &str, console: &Console) -> Result<()> {
    let name = spool::quarantine(path)?;
    console.warn_incomplete(format!(
        "{problem}; the readable part is imported, and the spool is quarantined as {}: repair it \
         and import it by that name, or remove it",
        name.display()
    ));
    Ok(())
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    Error::stopped(format!(
        "cannot {doing} {path}: {error}; check the disk, or remove the file"
    ))
}

/// Holds back the half line at the end of a block, until the next block or the end of the log. A
/// half line at the end of a pipe leaves the spool.
pub(super) fn whole_lines(note: impl Fn(u64, &[u8]) + Send + 'static) -> Watcher {
    let mut held = Vec::new();
    Box::new(move |start, block| {
        let before = start.saturating_sub(held.len() as u64);
        held.extend_from_slice(block);
        // After a `\r` at the end, `\n` may follow.
        let decided = held.strip_suffix(b"\r").unwrap_or(&held);
        let end = last_line_end(decided).unwrap_or(0);
        // The end of the log, or a line that is too long to be moved.
        let is_whole = block.is_empty() || held.len() - end > spool::MAX_HALF_LINE_BYTES as usize;
        let end = if is_whole { held.len() } else { end };
        note(before, &held[..end]);
        held.drain(..end);
    })
}

/// Saves what pipes hold if the import ends before it reads them.
pub(super) fn save_pipes(
    sources: &[Source],
    dir: &StateDir,
    input: &InputOptions,
    shutdown: &Shutdown,
    console: &Console,
) {
    for source in sources {
        let Some(origin) = origin_of(source) else {
            continue;
        };
        let opened = open_spool(source, origin, dir, input, shutdown).and_then(|spool| {
            let SpooledPipe { tee, spool } = tee(spool)?;
            let lines = Lines::open_pipe(source, tee, input.spooled_line_options())
                .map_err(|error| Error::stopped(error.to_string()))?;
            Ok((spool, lines))
        });
        match opened {
            Ok((spool, mut lines)) => {
                let name = source.to_string();
                save_rest(&name, &mut lines, &spool, true, shutdown, console);
            }
            Err(error) => console.warn_incomplete(format!(
                "what is in {source} is lost, because it cannot be saved: {error}"
            )),
        }
    }
}

fn open_spool(
    source: &Source,
    origin: SpoolOrigin,
    StateDir { path: dir, target }: &StateDir,
    input: &InputOptions,
    shutdown: &Shutdown,
) -> Result<Spool> {
    let (name, options) = (source.to_string(), input.spool_options());
    let left = spool::left_over(dir, target)?;
    match find_open(&left, origin, &input.line_options(), shutdown) {
        Some(left) => Spool::resume(&left.path, name, options),
        None => Spool::create(dir, target, origin, name, options),
    }
}

fn tee(spool: Spool) -> Result<SpooledPipe> {
    let path = spool.path();
    let before = File::open(path).map_err(|error| unreadable(path, error))?;
    let spool = Arc::new(Mutex::new(spool));
    let filled = Arc::clone(&spool);
    let keeper: Keeper = Box::new(move |bytes| {
        let mut spool = filled.lock();
        spool.append(bytes).map_err(io::Error::other)
    });
    let tee = Tee { before, keeper };
    Ok(SpooledPipe { tee, spool })
}

/// Reads the rest of a pipe into its spool, until the pipe ends or pauses. After a signal, only
/// what is there already. `is_log` is false if it does not fit the options.
pub(super) fn save_rest(
    name: &str,
    lines: &mut Lines,
    spool: &SharedSpool,
    is_log: bool,
    shutdown: &Shutdown,
    console: &Console,
) {
    let outcome = drain(lines, shutdown);
    if !is_log {
        keep_whole(spool, console);
    }
    let mut spool = spool.lock();
    spool.close();
    let path = spool.path();
    if let Err(error) = outcome {
        return console.warn_incomplete(error.to_string());
    }
    if spool.length() == 0 {
        let _ = fs::remove_file(path);
    }
    let path = path.display();
    match outcome {
        Ok(true) if spool.length() > 0 => console.note(format!(
            "all of {name} is saved in {path}: the next run with this --state-dir finishes it"
        )),
        Ok(true) => note_half_line(name, &spool, console),
        _ if spool.received() > 0 => console.warn(format!(
            "{} bytes of {name} are saved in {path}, and the next run with this --state-dir \
             finishes them; {}",
            spool.received(),
            spool.rest()
        )),
        _ => {}
    }
}

/// Says that a pipe ended in the middle of a line.
pub(super) fn note_half_line(name: &str, spool: &Spool, console: &Console) {
    let bytes = spool.half_line();
    if bytes > 0 {
        console.note(format!(
            "{name} ends in the middle of a line: its last {bytes} bytes are kept, and what the \
             next run reads from {name} continues them"
        ));
    }
}

/// Saves the rest of a pipe that cannot be read further. The error itself is reported with the
/// spool.
pub(super) fn save_unreadable(
    name: &str,
    lines: &mut Lines,
    spool: &SharedSpool,
    shutdown: &Shutdown,
    console: &Console,
) {
    spool.lock().limit_to(MAX_UNREADABLE_BYTES);
    match drain(lines, shutdown) {
        Ok(true) => {}
        Err(InputError::NotCopied { .. }) | Ok(false) => {
            console.warn(format!("{name} had not ended; its rest is not saved"));
        }
        Err(error) => console.warn_incomplete(error.to_string()),
    }
    keep_whole(spool, console);
}

/// Keeps what is no log in one piece.
pub(super) fn keep_whole(spool: &SharedSpool, console: &Console) {
    if let Err(error) = spool.lock().take_half_line_back() {
        console.warn_incomplete(error.to_string());
    }
}

/// Returns whether the pipe was read to its end.
fn drain(lines: &mut Lines, shutdown: &Shutdown) -> std::result::Result<bool, InputError> {
    lines.drain(MAX_PAUSE, MAX_SAVE_TIME, || shutdown.signal().is_some())
}

/// The origin that the spool of a source names. `None` if the source can be read again.
fn origin_of(source: &Source) -> Option<SpoolOrigin> {
    match source {
        Source::Stdin => Some(SpoolOrigin::Stdin),
        Source::File(path) => source.is_pipe().then(|| SpoolOrigin::of_pipe(path)),
        Source::Object(_) => None,
    }
}

/// Finds the spool to which new data of this origin is appended: the last one that is open and
/// can be read.
fn find_open<'l>(
    left: &'l [SpoolContents],
    origin: SpoolOrigin,
    options: &LineOptions,
    shutdown: &Shutdown,
) -> Option<&'l SpoolContents> {
    let mut of_origin = left.iter().rev().filter(|left| left.origin == origin);
    of_origin.find(|left| left.is_open && !is_hopeless(&left.path, options, shutdown))
}

/// Returns whether the first bytes of an open spool show that it can never be read.
fn is_hopeless(path: &Path, options: &LineOptions, shutdown: &Shutdown) -> bool {
    let looked =
        Lines::open(&Source::File(path.to_owned()), options.clone()).and_then(|mut lines| {
            while !lines.inspect(POLL_INTERVAL)? && !shutdown.requested() {}
            Ok(())
        });
    let spool = SpoolFile {
        path,
        is_leftover: true,
        is_open: true,
    };
    looked.is_err_and(|error| spool.is_hopeless(&error))
}
