//! The only place that prints: to the terminal, a pipe or the file of `--output`.
//!
//! Texts are cleaned of secrets and of control characters, and do not garble the progress bar.
//! Output never affects the import: a closed pipe or a full disk changes neither its course nor the
//! exit status. If the disk of stdout is full, stderr says so. If the file of `--output` cannot be
//! written, the rest goes to stdout and stderr.

mod bar;
mod repeated;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};

use self::bar::Bar;
use self::repeated::Repeated;
use super::clean::{clean, clean_block};
use super::redact;
use crate::error::{Error, Exit, Result};
use crate::private_file;
use crate::secret::Secret;
use crate::sync::{Mutex, RwLock};

/// Minimum bytes of a secret to hide. A shorter one occurs in other words, whose stars would reveal
/// it.
const MIN_SECRET_BYTES: usize = 6;

/// Begins each message.
const PREFIX: &str = "import-logs: ";

/// Prints for all threads. Clones share their state.
#[derive(Clone)]
pub struct Console(Arc<ConsoleState>);

struct ConsoleState {
    debug: u8,
    quiet: bool,
    incomplete: AtomicBool,
    secrets: RwLock<Vec<String>>,
    repeated: Mutex<Repeated>,
    streams: Mutex<Streams>,
}

struct Streams {
    out: Sink,
    err: Sink,
    /// Stdout and stderr, if `--output` replaces them.
    standard: Option<(Sink, Sink)>,
    /// With `--quiet`, until the exit status is known.
    withheld: Option<WithheldOutput>,
    bar: Bar,
    /// A text for stdout was lost.
    out_failed: bool,
}

impl Default for Console {
    /// Stdout and stderr without debug messages, for errors in the options.
    fn default() -> Self {
        Self::standard(0, false)
    }
}

impl Console {
    /// `debug` is how often `--debug` was given. Fails if the file of `--output` cannot be opened.
    pub fn new(debug: u8, quiet: bool, output: Option<&Path>) -> Result<Self> {
        let Some(path) = output else {
            return Ok(Self::standard(debug, quiet));
        };
        let open = || -> io::Result<(File, File)> {
            // Messages may quote lines of the log.
            let file = private_file::append(path)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(|error| {
            let path = path.display().to_string();
            Error::usage(format!(
                "--output={}: cannot be written: {error}; choose a file in an existing, writable directory",
                clean(path.as_bytes())
            ))
        })?;
        let sinks = (Sink::new(out, false), Sink::new(err, false));
        Ok(Self::of(sinks, Some(standard_streams()), debug, quiet))
    }

    fn standard(debug: u8, quiet: bool) -> Self {
        Self::of(standard_streams(), None, debug, quiet)
    }

    fn of(
        (out, err): (Sink, Sink),
        standard: Option<(Sink, Sink)>,
        debug: u8,
        quiet: bool,
    ) -> Self {
        Self(Arc::new(ConsoleState {
            debug,
            quiet,
            incomplete: AtomicBool::new(false),
            secrets: RwLock::default(),
            repeated: Mutex::default(),
            streams: Mutex::new(Streams {
                out,
                err,
                standard,
                withheld: quiet.then(WithheldOutput::default),
                bar: Bar::default(),
                out_failed: false,
            }),
        }))
    }

    /// Prints `***` for this text from now on, and for its [spellings](Secret::spellings). Ignores
    /// secrets shorter than six bytes.
    pub fn hide(&self, secret: &Secret) {
        if secret.expose().len() < MIN_SECRET_BYTES {
            return;
        }
        let mut secrets = self.0.secrets.write();
        secrets.extend(secret.spellings());
        // Longest first: a secret may contain another.
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
    }

    /// Prints a result, such as the summary, to stdout.
    pub fn print(&self, text: impl AsRef<str>) {
        let mut text = self.safe(text.as_ref());
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.put(Stream::Out, text);
    }

    /// Prints a message.
    pub fn note(&self, text: impl AsRef<str>) {
        self.message("", text.as_ref());
    }

    /// Prints a message that may come again and again. All with the same `key` are alike: after the
    /// first, a terminal gets one a minute, and [`Console::end_repeated`] prints their number.
    pub fn note_repeated(&self, key: &str, text: impl AsRef<str>) {
        let terminal = self.stderr_is_terminal();
        let text = self.0.repeated.lock().add(key, text.as_ref(), terminal);
        if let Some(text) = text {
            self.note(text);
        }
    }

    /// Prints the numbers of messages that came again.
    pub fn end_repeated(&self) {
        let texts = self.0.repeated.lock().end();
        texts.into_iter().for_each(|text| self.note(text));
    }

    /// Prints a suggestion, if messages go to a terminal: a job that runs each night should be
    /// silent when all is well.
    pub fn hint(&self, text: impl AsRef<str>) {
        if self.stderr_is_terminal() {
            self.message("hint: ", text.as_ref());
        }
    }

    /// Prints a warning. The exit status stays.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.message("warning: ", text.as_ref());
    }

    /// Prints a warning about missing or lost data. The exit status will be 3.
    pub fn warn_incomplete(&self, text: impl AsRef<str>) {
        self.mark_incomplete();
        self.warn(text);
    }

    /// Makes the exit status 3; the summary says what is missing.
    pub fn mark_incomplete(&self) {
        self.0.incomplete.store(true, Ordering::Release);
    }

    /// Whether the exit status will be 3.
    pub fn is_incomplete(&self) -> bool {
        self.0.incomplete.load(Ordering::Acquire)
    }

    /// Makes the exit status 3 if a text for stdout was lost: it was all that the run is for.
    pub fn require_output(&self) {
        if self.streams().out_failed {
            self.mark_incomplete();
        }
    }

    /// Prints why the import stops.
    pub fn error(&self, text: impl AsRef<str>) {
        self.message("error: ", text.as_ref());
    }

    /// Prints an error of the command line, as clap words it: `error: ` and several lines.
    pub fn usage_error(&self, text: &str) {
        let text = self.safe(text.strip_prefix("error: ").unwrap_or(text));
        let label = self.colored("error: ");
        self.put(Stream::Err, format!("{PREFIX}{label}{}\n", text.trim_end()));
    }

    /// Prints a message if `--debug` was given at least `level` times.
    pub fn debug(&self, level: u8, text: impl FnOnce() -> String) {
        if self.debugs(level) {
            self.message("debug: ", &text());
        }
    }

    /// Whether debug messages of this level are printed.
    pub fn debugs(&self, level: u8) -> bool {
        level <= self.0.debug
    }

    pub fn is_quiet(&self) -> bool {
        self.0.quiet
    }

    /// Whether messages go to a terminal. False with `--output`.
    pub fn stderr_is_terminal(&self) -> bool {
        self.streams().err.terminal
    }

    /// Leaves the progress bar on the screen as it is, before the process ends.
    pub fn leave_bar(&self) {
        let mut streams = self.streams();
        let text = streams.bar.leave();
        streams.err.write(&text);
    }

    /// Whether the progress bar is shown.
    pub fn has_bar(&self) -> bool {
        self.streams().bar.is_shown()
    }

    /// Removes the progress bar and, with `--quiet`, prints the withheld texts unless the run was
    /// successful.
    pub fn finish(&self, exit: Exit) {
        self.clear_bar();
        self.end_repeated();
        if exit != Exit::Ok {
            self.release();
        }
    }

    /// Prints the texts that `--quiet` withheld.
    pub fn release(&self) {
        let mut streams = self.streams();
        if let Some(withheld) = streams.withheld.take() {
            for (stream, text) in withheld.texts() {
                streams.write(stream, &text);
            }
        }
    }

    /// Prints a line of progress to stderr.
    pub(super) fn progress(&self, line: &str) {
        self.put(Stream::Err, format!("{line}\n"));
    }

    /// Draws the bar in a terminal of `width` columns, in place of the one before. From now on it
    /// stays below all other texts. Does nothing after [`Console::leave_bar`].
    pub(super) fn draw_bar(&self, text: &str, width: usize) {
        let mut streams = self.streams();
        let text = streams.bar.draw(text, width);
        streams.err.write(&text);
    }

    /// Removes the bar.
    pub(super) fn clear_bar(&self) {
        let mut streams = self.streams();
        let text = streams.bar.clear();
        streams.err.write(&text);
    }

    /// Prints one message. Lines after the first are indented, so that text from a log cannot pose
    /// as a message.
    fn message(&self, label: &str, text: &str) {
        let text = self
            .safe(text.trim_end_matches('\n'))
            .replace('\n', "\n    ");
        let label = self.colored(label);
        self.put(Stream::Err, format!("{PREFIX}{label}{text}\n"));
    }

    /// The label of a message, in color on a terminal.
    fn colored(&self, label: &str) -> String {
        let color = match label {
            "error: " => "31",
            "warning: " => "33",
            "hint: " => "36",
            _ => return label.to_owned(),
        };
        match self.streams().err.color {
            true => format!("\x1b[1;{color}m{}\x1b[0m ", label.trim_end()),
            false => label.to_owned(),
        }
    }

    fn safe(&self, text: &str) -> String {
        let hidden = redact::secrets(text, &self.0.secrets.read(), MIN_SECRET_BYTES);
        clean_block(&hidden).into_owned()
    }

    fn put(&self, stream: Stream, text: String) {
        let mut streams = self.streams();
        if let Some(withheld) = &mut streams.withheld {
            withheld.push(stream, text);
            return;
        }
        let terminal = streams.sink(stream).terminal;
        if !terminal || !streams.bar.is_shown() {
            streams.write(stream, &text);
            return;
        }
        let (without, again) = streams.bar.around();
        match stream {
            // In one piece, so that the bar does not flicker.
            Stream::Err => streams.write(stream, &[without, text, again].concat()),
            Stream::Out => {
                streams.err.write(&without);
                streams.write(stream, &text);
                streams.err.write(&again);
            }
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.streams.lock()
    }
}

/// Stdout and stderr.
fn standard_streams() -> (Sink, Sink) {
    let (out, err) = (io::stdout(), io::stderr());
    let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
    let err = Sink {
        color: err_terminal && allows_color(|name| std::env::var_os(name)),
        ..Sink::new(err, err_terminal)
    };
    (Sink::new(out, out_terminal), err)
}

/// Whether the environment allows colors on a terminal (<https://no-color.org>).
fn allows_color(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_some_and(|term| term != "dumb")
}

impl Streams {
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
        let warning = |what: &str, effect: &str| {
            format!("import-logs: warning: {what} cannot be written: {error}; {effect}\n")
        };
        match (self.standard.take(), stream) {
            (Some((out, err)), _) => {
                (self.out, self.err) = (out, err);
                let effect = "the rest goes to stdout and stderr";
                self.err.write(&warning("the file of --output", effect));
                self.sink(stream).write(text);
            }
            (None, Stream::Out) => {
                self.out_failed = true;
                self.err.write(&warning("stdout", "some output is lost"));
            }
            (None, Stream::Err) => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// Standard output, standard error or a file. The disk may be full, the pipe closed.
struct Sink {
    writer: Box<dyn Write + Send>,
    /// A terminal, which also shows the progress bar.
    terminal: bool,
    color: bool,
    closed: bool,
    /// A write has failed. Later ones may succeed.
    failed: bool,
}

impl Sink {
    fn new(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        Self {
            writer: Box::new(writer),
            terminal,
            color: false,
            closed: false,
            failed: false,
        }
    }

    /// Returns the first error. A closed pipe is not an error.
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

/// Maximum bytes of messages that `--quiet` withholds.
const WITHHELD_BYTES: usize = 1 << 20;

/// The newest texts that `--quiet` withholds until the exit status is known.
#[derive(Default)]
struct WithheldOutput {
    texts: VecDeque<(Stream, String)>,
    bytes: usize,
    dropped: u64,
}

impl WithheldOutput {
    fn push(&mut self, stream: Stream, mut text: String) {
        if text.len() > WITHHELD_BYTES {
            let fits = (0..=WITHHELD_BYTES / 2)
                .rev()
                .find(|&end| text.is_char_boundary(end));
            text.truncate(fits.unwrap_or(0));
            text.push_str("…\n");
        }
        text.shrink_to_fit();
        self.bytes += Self::cost(&text);
        self.texts.push_back((stream, text));
        while self.bytes > WITHHELD_BYTES && self.texts.len() > 1 {
            if let Some((_, oldest)) = self.texts.pop_front() {
                self.bytes -= Self::cost(&oldest);
                self.dropped += 1;
            }
        }
    }

    /// All texts, the oldest first.
    fn texts(self) -> impl Iterator<Item = (Stream, String)> {
        let dropped = self.dropped;
        let note = (dropped > 0).then(|| {
            let note = format!("import-logs: {dropped} older messages were dropped\n");
            (Stream::Err, note)
        });
        note.into_iter().chain(self.texts)
    }

    /// Bytes of memory. Empty texts take some, too.
    fn cost(text: &str) -> usize {
        text.len() + size_of::<(Stream, String)>()
    }
}

#[cfg(test)]
pub(crate) mod tests;
