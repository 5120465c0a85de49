//! Selects the format of a log: the one that the user names, or the one that fits its first lines
//! (guide/formats.md, "Detection").

use std::time::Duration;

use bumpalo::Bump;

use super::POLL_INTERVAL;
use crate::error::{Error, Result};
use crate::format::address::looks_like_address;
use crate::format::custom::Custom;
use crate::format::date::Strptime;
use crate::format::detect::{Candidates, Detector, FormatTrial};
use crate::format::json;
use crate::format::registry::{self, FormatOptions};
use crate::format::text::TextFormat;
use crate::format::{Field, Fit, Format, Record};
use crate::input::buffered::BufferedLine;
use crate::input::envelope::{EnvelopeChoice, LogEnvelope};
use crate::input::lines::{Line, LineEvent, Lines, LookAhead};
use crate::input::unwrap::unwrap_all;
use crate::report::Console;
use crate::shutdown::Shutdown;
use crate::sync;

/// Bytes of lines, raw and decoded, that are buffered until the format is known.
pub(super) const MAX_BUFFERED_BYTES: usize = 16 << 20;

/// Lines to look at for their envelope: more, while no line fits any format with the header of
/// syslog or without it.
const LINES_AHEAD: [usize; 2] = [32, 1000];

#[derive(Debug)]
pub enum FormatChoice {
    Detect,
    Named(String),
    /// A template as in the configuration of Apache or nginx.
    Pasted(String),
    Regex {
        regex: String,
        dates: Strptime,
        date_format: String,
    },
}

/// Selects a format for each log.
pub struct FormatSelector {
    choice: FormatChoice,
    /// The format of a regex.
    custom: Option<Custom>,
    /// The format of a template.
    pasted: Option<TextFormat>,
    options: FormatOptions,
    envelope: EnvelopeChoice,
    /// For the next log.
    spare: sync::Mutex<Option<Candidates>>,
}

/// A format, and the lines that were read to detect it.
pub type SelectedFormat = (Box<dyn Format>, Vec<BufferedLine>);

impl FormatSelector {
    /// # Errors
    ///
    /// Returns an error if the format's name, its template, its regex, or an option of the W3C
    /// family is invalid.
    pub fn new(choice: FormatChoice, options: FormatOptions) -> Result<Self> {
        let custom = match &choice {
            FormatChoice::Regex { regex, dates, .. } => {
                Some(Custom::new(regex, Some(dates.clone()), &options.wanted)?)
            }
            _ => None,
        };
        let pasted = match &choice {
            FormatChoice::Pasted(text) => Some(registry::pasted(text, &options)?),
            _ => None,
        };
        let selector = Self {
            choice,
            custom,
            pasted,
            options,
            envelope: EnvelopeChoice::default(),
            spare: sync::Mutex::default(),
        };
        match &selector.choice {
            FormatChoice::Detect => drop(Detector::new(&selector.options)?),
            _ => drop(selector.given()?),
        }
        Ok(selector)
    }

    /// Chooses how the envelopes of logs are found.
    pub fn with_envelope(self, envelope: EnvelopeChoice) -> Self {
        Self { envelope, ..self }
    }

    /// Selects the format of a log, and removes the envelope of its lines.
    ///
    /// `max_wait` is how long a pipe may pause before the lines so far decide. Returns `None` if
    /// the log has only blank lines and comments, if it cannot be read further (then the next
    /// line of `lines` is the error), or if a shutdown is requested.
    ///
    /// # Errors
    ///
    /// Returns an error if no format fits.
    pub fn choose(
        &self,
        log: &str,
        lines: &mut Lines,
        shutdown: &Shutdown,
        console: &Console,
        max_wait: Duration,
    ) -> Result<Option<SelectedFormat>> {
        if let Some(envelope) = self.choose_envelope(lines, shutdown)? {
            console.debug(1, || format!("{log}: the envelope is {}", envelope.name()));
            lines.set_envelope(envelope);
        }
        match self.given()? {
            Some(format) => Ok(Some((format, Vec::new()))),
            None => self.detect(log, lines, shutdown, console, max_wait),
        }
    }

    /// Selects the envelope of a log by its first lines. Of a pipe, those decide that come without
    /// a pause.
    fn choose_envelope(
        &self,
        lines: &mut Lines,
        shutdown: &Shutdown,
    ) -> Result<Option<LogEnvelope>> {
        match self.envelope {
            EnvelopeChoice::Named(envelope) => return Ok(Some(envelope)),
            EnvelopeChoice::None => return Ok(None),
            EnvelopeChoice::Detect => {}
        }
        let is_pipe = lines.total().is_none();
        let mut envelope = None;
        for max_lines in LINES_AHEAD {
            let mut is_all = false;
            while !is_all && lines.look_ahead(max_lines, POLL_INTERVAL) == LookAhead::Pause {
                let mut ahead = lines.ahead();
                is_all =
                    shutdown.requested() || is_pipe && ahead.any(|line| says_something(line.bytes));
            }
            let ahead: Vec<Line> = lines.ahead().filter(|line| !line.too_long).collect();
            let ahead: Vec<&[u8]> = ahead.iter().map(|line| line.bytes).collect();
            let (found, is_certain) = self.envelope_of(&ahead)?;
            envelope = found;
            if is_certain || is_all || ahead.len() < max_lines {
                break;
            }
        }
        Ok(envelope)
    }

    /// The envelope of a log that begins with these lines, and whether more lines cannot change
    /// that. Returns `None` if the format reads the lines only as they are. A regex of the user may
    /// describe the envelope, too.
    fn envelope_of(&self, lines: &[&[u8]]) -> Result<(Option<LogEnvelope>, bool)> {
        let Some(envelope) = lines.iter().find_map(|line| LogEnvelope::of(line)) else {
            return Ok((None, true));
        };
        if envelope != LogEnvelope::Syslog && self.custom.is_none() {
            return Ok((Some(envelope), true));
        }
        let enveloped = lines.iter().filter(|line| envelope.is_around(line));
        let enveloped: Vec<&[u8]> = enveloped.copied().collect();
        let unwrapped = unwrap_all(envelope, &enveloped);
        let unwrapped: Vec<&[u8]> = unwrapped.iter().map(Vec::as_slice).collect();
        let (fit, fit_as_is) = (self.fit(&unwrapped)?, self.fit(&enveloped)?);
        let is_read_as_is = match self.custom {
            Some(_) => fit_as_is > 0 && fit_as_is >= fit,
            None => fit_as_is > fit,
        };
        let envelope = (!is_read_as_is).then_some(envelope);
        Ok((envelope, fit > 0 || fit_as_is > 0))
    }

    /// How well the format that the user names fits these lines, or any that can be detected.
    fn fit(&self, lines: &[&[u8]]) -> Result<u8> {
        match self.given()? {
            Some(format) => Ok(best_fit(format.as_ref(), lines)),
            None => {
                let mut detector = Detector::new(&self.options)?;
                lines.iter().any(|line| detector.look(line));
                Ok(u8::from(detector.decide().is_some()))
            }
        }
    }

    /// The lines of the beginning of a log without their envelope.
    pub fn unwrap_head(&self, head: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let lines: Vec<&[u8]> = head.iter().map(Vec::as_slice).collect();
        let envelope = match self.envelope {
            EnvelopeChoice::Named(envelope) => Some(envelope),
            EnvelopeChoice::None => None,
            EnvelopeChoice::Detect => {
                let found = self.envelope_of(&lines);
                found.ok().and_then(|(envelope, _)| envelope)
            }
        };
        match envelope {
            Some(envelope) => unwrap_all(envelope, &lines),
            None => head,
        }
    }

    /// The format that the user names. `None` if it is to be detected.
    pub fn given(&self) -> Result<Option<Box<dyn Format>>> {
        if let Some(custom) = &self.custom {
            return Ok(Some(Box::new(custom.clone())));
        }
        if let Some(pasted) = &self.pasted {
            return Ok(Some(Box::new(pasted.clone())));
        }
        Ok(match &self.choice {
            FormatChoice::Named(name) => Some(registry::by_name(name, &self.options)?),
            _ => None,
        })
    }

    /// Detects the format of a log with these first lines, if they show one.
    pub fn detect_in(&self, lines: &[Vec<u8>]) -> Option<Box<dyn Format>> {
        let mut detector = Detector::new(&self.options).ok()?;
        for line in lines {
            if detector.look(line) {
                break;
            }
        }
        detector.decide()
    }

    /// Returns whether the user names the format.
    pub fn is_named(&self) -> bool {
        !matches!(self.choice, FormatChoice::Detect)
    }

    /// The date format that the user gave with a regex.
    pub fn date_format(&self) -> Option<&str> {
        match &self.choice {
            FormatChoice::Regex { date_format, .. } => Some(date_format),
            _ => None,
        }
    }

    /// The format that most of these lines have, below these headers.
    pub fn fitting_format(&self, headers: &[Vec<u8>], lines: &[Vec<u8>]) -> Option<&'static str> {
        let mut detector = Detector::new(&self.options).ok()?;
        for line in headers.iter().chain(lines) {
            detector.look(line);
        }
        let format = detector.decide()?;
        let fits = |line: &&Vec<u8>| {
            format.parse(line, &Bump::new(), &mut Record::default()) == Fit::Record
        };
        (lines.iter().filter(fits).count() * 2 >= lines.len()).then(|| format.name())
    }

    /// How each format reads the first lines of a log.
    pub fn trials(&self, lines: &[Vec<u8>]) -> Vec<FormatTrial> {
        let Ok(mut detector) = Detector::new(&self.options) else {
            return Vec::new();
        };
        for line in lines {
            detector.look(line);
        }
        detector.trials(lines.iter().map(Vec::as_slice))
    }

    /// What to do about lines that the format does not fit.
    pub fn advice(&self) -> &'static str {
        match &self.choice {
            FormatChoice::Named(name) if name == json::MAPPED => "check --json-map",
            FormatChoice::Named(_) => "check --log-format-name",
            FormatChoice::Pasted(_) => "check --log-format",
            FormatChoice::Regex { .. } => "check --log-format-regex",
            FormatChoice::Detect => "--rejects=FILE writes them to a file, with the reasons",
        }
    }

    fn detect(
        &self,
        log: &str,
        lines: &mut Lines,
        shutdown: &Shutdown,
        console: &Console,
        max_wait: Duration,
    ) -> Result<Option<SelectedFormat>> {
        let mut detector = Detector::with(self.spare.lock().take(), &self.options);
        let mut buffered: Vec<BufferedLine> = Vec::new();
        let mut bytes = 0;
        // A line that is too long is not comment or blank, but cannot show the format.
        let mut has_long_line = false;
        let mut ended = false;
        loop {
            if shutdown.requested() {
                return Ok(None);
            }
            let is_enough = match lines.next(POLL_INTERVAL) {
                Ok(LineEvent::Line(line)) => {
                    let is_enough = !line.too_long && detector.look(line.bytes);
                    has_long_line |= line.too_long;
                    if !buffered.last_mut().is_some_and(|last| last.add(&line)) {
                        let line = BufferedLine::new(&line);
                        bytes += line.size();
                        buffered.push(line);
                    }
                    is_enough || bytes >= MAX_BUFFERED_BYTES
                }
                // The pipe pauses: decide, if there is more than comments to decide on.
                Ok(LineEvent::Pause) => {
                    !detector.saw_nothing()
                        && buffered
                            .first()
                            .is_some_and(|line| line.since.elapsed() >= max_wait)
                }
                Ok(LineEvent::End) => {
                    ended = true;
                    true
                }
                // Reported when the lines are read on.
                Err(error) => {
                    lines.put_back(error);
                    ended = true;
                    true
                }
            };
            if is_enough {
                break;
            }
        }
        if detector.saw_nothing() && !has_long_line && ended {
            return Ok(None);
        }
        let hint = detector.hint();
        let header_error = detector.header_error();
        let (format, spare) = detector.decide_and_keep();
        *self.spare.lock() = Some(spare);
        let Some(format) = format else {
            if let Some(error) = header_error {
                return Err(Error::of_log(format!("{log}: {error}")));
            }
            let count: u64 = buffered.iter().map(BufferedLine::count).sum();
            let is_json =
                |line: &BufferedLine| line.line().bytes.trim_ascii_start().starts_with(b"{");
            let else_do = match buffered.iter().any(is_json) {
                true => "describe it with --json-map",
                false => {
                    "paste the LogFormat or log_format line of the server to --log-format, or \
                     describe it with --log-format-regex"
                }
            };
            let lines = match count {
                1 => "line".to_owned(),
                count => format!("{count} lines"),
            };
            return Err(Error::of_log(format!(
                "{log}: no format fits its first {lines}; name it with --log-format-name \
                 (one of {}), or {else_do}",
                registry::names().join(", ")
            )));
        };
        console.debug(1, || format!("{log}: the format is {}", format.name()));
        if let Some(hint) = hint {
            console.hint(format!("{log}: {hint}"));
        }
        Ok(Some((format, buffered)))
    }
}

/// How well a format fits the one of these lines that it fits best: 0 if it does not, or reads no
/// date, 2 if it also reads an address.
fn best_fit(format: &dyn Format, lines: &[&[u8]]) -> u8 {
    let mut arena = Bump::new();
    let fits = lines.iter().map(|line| {
        arena.reset();
        let mut record = Record::default();
        let is_record = format.parse(line, &arena, &mut record) == Fit::Record;
        if !is_record || format.dates().read(&record).is_none() {
            return 0;
        }
        let address = record.get(Field::Ip).unwrap_or_default();
        1 + u8::from(looks_like_address(address))
    });
    let best = fits.max().unwrap_or(0);
    format.gave_up();
    best
}

/// Whether a line can show the envelope of a log. `journalctl` begins with a note.
fn says_something(line: &[u8]) -> bool {
    !line.trim_ascii().is_empty() && !line.starts_with(b"-- ")
}
