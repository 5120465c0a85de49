//! The console: the one way out for text, to the terminal, a pipe or the file of `--output`.
//!
//! Whatever a caller hands over, what leaves here holds no secret and nothing that a terminal would obey, and does
//! not garble the progress bar. Nobody's reading is a condition for the import: a closed pipe or a full disk under
//! the messages stops nothing and changes no exit status. That stdout's disk is full is told on stderr; so it is for
//! the file of `--output`, and what is left to say goes where it would have gone without it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use indicatif::ProgressBar;

use super::clean::{clean, clean_block};
use super::exit::Exit;
use super::held::Held;
use super::sink::{Sink, Stream};
use crate::error::{Error, Result};
use crate::secret::Secret;

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
    /// Stdout and stderr, while `--output` stands in their place.
    spare: Option<(Sink, Sink)>,
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
        let sinks = (Sink::new(out, false), Sink::new(err, false));
        Ok(Self::of(sinks, Some(standard()), debug, quiet))
    }

    fn standard(debug: u8, quiet: bool) -> Self {
        Self::of(standard(), None, debug, quiet)
    }

    fn of((out, err): (Sink, Sink), spare: Option<(Sink, Sink)>, debug: u8, quiet: bool) -> Self {
        Self(Arc::new(Shared {
            debug,
            quiet,
            incomplete: AtomicBool::new(false),
            secrets: RwLock::default(),
            state: Mutex::new(State {
                out,
                err,
                spare,
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
        for (stream, text) in held.texts() {
            state.write(stream, &text);
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
        let terminal = state.sink(stream).terminal;
        match bar.filter(|_| terminal) {
            Some(bar) => bar.suspend(|| state.write(stream, &text)),
            None => state.write(stream, &text),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stdout and stderr.
fn standard() -> (Sink, Sink) {
    (
        Sink::new(io::stdout(), io::stdout().is_terminal()),
        Sink::new(io::stderr(), io::stderr().is_terminal()),
    )
}

impl State {
    fn sink(&mut self, stream: Stream) -> &mut Sink {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn write(&mut self, stream: Stream, text: &str) {
        let Some(error) = self.sink(stream).write(text) else {
            return;
        };
        let told = |what: &str| {
            format!(
                "import-logs: warning: {what} cannot be written: {error}; the import is not affected\n"
            )
        };
        match (self.spare.take(), stream) {
            (Some((out, err)), _) => {
                (self.out, self.err) = (out, err);
                self.err.write(&told("the file of --output"));
                self.sink(stream).write(text);
            }
            (None, Stream::Out) => {
                self.err.write(&told("stdout"));
            }
            (None, Stream::Err) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
