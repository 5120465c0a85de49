//! The console: the one way out for text, to the terminal, a pipe or the file of `--output`.
//!
//! Whatever a caller hands over, what leaves here holds no secret and nothing that a terminal would obey, and does
//! not garble the progress bar. Nobody's reading is a condition for the import: a closed pipe or a full disk under
//! the messages stops nothing and changes no exit status. That stdout's disk is full is told on stderr.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use indicatif::ProgressBar;

use super::clean::{clean, clean_block};
use super::exit::Exit;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Bytes that `--quiet` holds back at most, of the newest messages.
const HELD_BYTES: usize = 1 << 20;

/// Bytes of the shortest secret to look for. Shorter ones stand in other words by chance: the summary would lose
/// its words, and show by that what the secret is.
const SHORTEST_SECRET: usize = 6;

/// Prints for all threads; clones share everything.
#[derive(Clone)]
pub struct Console(Arc<Shared>);

struct Shared {
    debug: u8,
    quiet: bool,
    incomplete: AtomicBool,
    secrets: RwLock<Vec<String>>,
    state: Mutex<State>,
}

/// What only one thread at a time may touch. Lock order: this first, then the bar's own lock.
struct State {
    out: Sink,
    err: Sink,
    /// `--quiet` before the exit status is known.
    held: Option<Held>,
    bar: Option<ProgressBar>,
}

impl Default for Console {
    /// Stdout and stderr, no debug messages: for what has to be said before the options are known.
    fn default() -> Self {
        Self::standard(0, false)
    }
}

impl Console {
    /// `debug` is how often `--debug` was given. An error: the file of `--output` cannot be opened.
    pub fn new(debug: u8, quiet: bool, output: Option<&Path>) -> Result<Self> {
        let Some(path) = output else {
            return Ok(Self::standard(debug, quiet));
        };
        let open = || -> io::Result<(File, File)> {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(|error| {
            let path = path.display().to_string();
            Error::usage(format!(
                "--output={}: cannot be written: {error}; name a file in a folder that exists and may be written to",
                clean(path.as_bytes())
            ))
        })?;
        Ok(Self::of(
            Sink::new(out, false),
            Sink::new(err, false),
            debug,
            quiet,
        ))
    }

    fn standard(debug: u8, quiet: bool) -> Self {
        let out = Sink::new(io::stdout(), io::stdout().is_terminal());
        let err = Sink::new(io::stderr(), io::stderr().is_terminal());
        Self::of(out, err, debug, quiet)
    }

    fn of(out: Sink, err: Sink, debug: u8, quiet: bool) -> Self {
        Self(Arc::new(Shared {
            debug,
            quiet,
            incomplete: AtomicBool::new(false),
            secrets: RwLock::default(),
            state: Mutex::new(State {
                out,
                err,
                held: quiet.then(Held::default),
                bar: None,
            }),
        }))
    }

    /// From now on `***` stands where this text would, as it is or as it looks in a form or in JSON. Texts of
    /// fewer than six bytes are not looked for.
    pub fn hide(&self, secret: &Secret) {
        let text = secret.expose();
        if text.len() < SHORTEST_SECRET {
            return;
        }
        let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let json = serde_json::Value::from(text).to_string();
        let json = json.trim_matches('"').to_owned();
        let mut secrets = self
            .0
            .secrets
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        secrets.extend([text.to_owned(), form, json]);
        // The longest first: a secret may hold another.
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
    }

    /// What the run is asked for, to stdout: the summary, a report. Its lines stay as they are.
    pub fn print(&self, text: impl AsRef<str>) {
        let mut text = self.safe(text.as_ref());
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.put(Stream::Out, text);
    }

    /// Something worth knowing that is no fault.
    pub fn note(&self, text: impl AsRef<str>) {
        self.message("", text.as_ref());
    }

    /// What could be done about something.
    pub fn hint(&self, text: impl AsRef<str>) {
        self.message("hint: ", text.as_ref());
    }

    /// Something is odd, and the import goes on.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.message("warning: ", text.as_ref());
    }

    /// Something is missing or lost, and the import goes on; the exit status will say so (SPEC section 10: 3).
    pub fn warn_incomplete(&self, text: impl AsRef<str>) {
        self.mark_incomplete();
        self.warn(text);
    }

    /// The exit status will say that something is missing or lost; the summary says what.
    pub fn mark_incomplete(&self) {
        self.0.incomplete.store(true, Ordering::Release);
    }

    /// Whether [`Console::warn_incomplete`] was called.
    pub fn is_incomplete(&self) -> bool {
        self.0.incomplete.load(Ordering::Acquire)
    }

    /// Why the import stops.
    pub fn error(&self, text: impl AsRef<str>) {
        self.message("error: ", text.as_ref());
    }

    /// For `--debug` given at least `level` times; the text is made only then.
    pub fn debug(&self, level: u8, text: impl FnOnce() -> String) {
        if self.debugs(level) {
            self.message("debug: ", &text());
        }
    }

    /// Whether a debug message of this level would be shown.
    pub fn debugs(&self, level: u8) -> bool {
        level <= self.0.debug
    }

    pub fn is_quiet(&self) -> bool {
        self.0.quiet
    }

    /// Whether somebody may be watching; never with `--output`.
    pub fn stderr_is_terminal(&self) -> bool {
        self.state().err.terminal
    }

    /// The end of all printing: takes the progress bar away and, with `--quiet`, shows what was held back, unless
    /// all went well.
    pub fn finish(&self, exit: Exit) {
        let mut state = self.state();
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        if exit == Exit::Ok {
            return;
        }
        let Some(held) = state.held.take() else {
            return;
        };
        if held.dropped > 0 {
            let note = format!(
                "import-logs: {} older messages are left out\n",
                held.dropped
            );
            state.err.write(&note);
        }
        for (stream, text) in held.texts {
            state.sink(stream).write(&text);
        }
    }

    /// A plain line of progress, to stderr.
    pub(super) fn progress(&self, line: &str) {
        self.put(Stream::Err, format!("{line}\n"));
    }

    /// From now on the bar steps aside for every text.
    pub(super) fn show_bar(&self, bar: ProgressBar) {
        self.state().bar = Some(bar);
    }

    /// Takes the bar off the screen.
    pub(super) fn clear_bar(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A message of one paragraph. Lines after the first are indented: no text can pass for a message of its own.
    fn message(&self, label: &str, text: &str) {
        let text = self
            .safe(text.trim_end_matches('\n'))
            .replace('\n', "\n    ");
        self.put(Stream::Err, format!("import-logs: {label}{text}\n"));
    }

    fn safe(&self, text: &str) -> String {
        let secrets = self
            .0
            .secrets
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut hidden = text.to_owned();
        for secret in secrets.iter() {
            if hidden.contains(secret.as_str()) {
                hidden = hidden.replace(secret.as_str(), "***");
            }
        }
        clean_block(&hidden).into_owned()
    }

    fn put(&self, stream: Stream, text: String) {
        let mut state = self.state();
        if let Some(held) = &mut state.held {
            held.push(stream, text);
            return;
        }
        let bar = state.bar.clone();
        let sink = state.sink(stream);
        let failed = match bar.filter(|_| sink.terminal) {
            Some(bar) => bar.suspend(|| sink.write(&text)),
            None => sink.write(&text),
        };
        if let (Stream::Out, Some(error)) = (stream, failed) {
            let warning = format!(
                "import-logs: warning: stdout cannot be written: {error}; the import is not affected\n"
            );
            state.err.write(&warning);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl State {
    fn sink(&mut self, stream: Stream) -> &mut Sink {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// Where text goes.
struct Sink {
    writer: Box<dyn Write + Send>,
    /// A terminal also shows the progress bar, which then has to step aside.
    terminal: bool,
    closed: bool,
    /// There was an error; the next text may fare better.
    failed: bool,
}

impl Sink {
    fn new(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        Self {
            writer: Box::new(writer),
            terminal,
            closed: false,
            failed: false,
        }
    }

    /// Gives the first error; a reader who has enough is none.
    fn write(&mut self, text: &str) -> Option<io::Error> {
        if self.closed {
            return None;
        }
        let written = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        let error = written.err()?;
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.closed = true;
            return None;
        }
        let first = !std::mem::replace(&mut self.failed, true);
        first.then_some(error)
    }
}

/// What `--quiet` holds back: the newest texts, of [`HELD_BYTES`] together.
#[derive(Default)]
struct Held {
    texts: VecDeque<(Stream, String)>,
    bytes: usize,
    dropped: u64,
}

impl Held {
    fn push(&mut self, stream: Stream, mut text: String) {
        if text.len() > HELD_BYTES {
            let fits = (0..=HELD_BYTES / 2)
                .rev()
                .find(|&end| text.is_char_boundary(end));
            text.truncate(fits.unwrap_or(0));
            text.push_str("…\n");
        }
        text.shrink_to_fit();
        self.bytes += Self::cost(&text);
        self.texts.push_back((stream, text));
        while self.bytes > HELD_BYTES && self.texts.len() > 1 {
            if let Some((_, oldest)) = self.texts.pop_front() {
                self.bytes -= Self::cost(&oldest);
                self.dropped += 1;
            }
        }
    }

    /// Its own bytes and those that keep it: many empty texts take memory too.
    fn cost(text: &str) -> usize {
        text.len() + size_of::<(Stream, String)>()
    }
}

#[cfg(test)]
pub(crate) mod tests;
