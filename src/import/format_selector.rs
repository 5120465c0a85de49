//! Selects the format of a log: the one that the user names, or the one that fits its first lines
//! (guide/formats.md, "Detection").

use std::time::{Duration, Instant};

use bumpalo::Bump;

use super::POLL_INTERVAL;
use crate::error::{Error, Result};
use crate::format::custom::Custom;
use crate::format::date::Strptime;
use crate::format::detect::Detector;
use crate::format::registry::{self, FormatOptions};
use crate::format::text::TextFormat;
use crate::format::{Fit, Format, Record};
use crate::input::lines::{Line, LineEvent, Lines};
use crate::report::Console;
use crate::shutdown::Shutdown;

/// Bytes of lines, raw and decoded, that are buffered until the format is known.
pub(super) const MAX_BUFFERED_BYTES: usize = 16 << 20;

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
#[derive(Debug)]
pub struct FormatSelector {
    choice: FormatChoice,
    /// The format of a regex.
    custom: Option<Custom>,
    /// The format of a template.
    pasted: Option<TextFormat>,
    options: FormatOptions,
}

/// A line that was read before the format was known, with the identical lines that follow it.
#[derive(Debug)]
pub struct BufferedLine {
    /// When it was read.
    pub since: Instant,
    bytes: Vec<u8>,
    /// `None` if they are the same.
    raw: Option<Vec<u8>>,
    /// The line without its texts.
    line: Line<'static>,
    /// Number of identical lines.
    count: u64,
}

impl BufferedLine {
    pub fn new(line: &Line) -> Self {
        Self {
            since: Instant::now(),
            bytes: line.bytes.to_vec(),
            raw: (line.raw != line.bytes).then(|| line.raw.to_vec()),
            line: Line {
                bytes: b"",
                raw: b"",
                ..*line
            },
            count: 1,
        }
    }

    pub fn line(&self) -> Line<'_> {
        self.nth(0)
    }

    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.count).map(|n| self.nth(n))
    }

    fn nth(&self, n: u64) -> Line<'_> {
        let length = self.length();
        Line {
            bytes: &self.bytes,
            raw: self.raw(),
            number: self.line.number + n,
            start: self.line.start + n * length,
            end: self.line.end + n * length,
            ..self.line
        }
    }

    fn raw(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(&self.bytes)
    }

    fn length(&self) -> u64 {
        self.line.end - self.line.start
    }

    /// Counts the next line, if it is identical.
    pub fn add(&mut self, line: &Line) -> bool {
        let is_same = self.raw() == line.raw
            && self.bytes == line.bytes
            && self.length() == line.end - line.start
            && (self.line.terminated, self.line.too_long) == (line.terminated, line.too_long);
        self.count += u64::from(is_same);
        is_same
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.raw.as_ref().map_or(0, Vec::len)
    }
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
        };
        match &selector.choice {
            FormatChoice::Detect => drop(Detector::new(&selector.options)?),
            _ => drop(selector.given()?),
        }
        Ok(selector)
    }

    /// Selects the format of a log.
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
        match self.given()? {
            Some(format) => Ok(Some((format, Vec::new()))),
            None => self.detect(log, lines, shutdown, console, max_wait),
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
    pub fn detect_in(&self, lines: impl Iterator<Item = Vec<u8>>) -> Option<Box<dyn Format>> {
        let mut detector = Detector::new(&self.options).ok()?;
        for line in lines {
            if detector.look(&line) {
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

    /// What to do about lines that the format does not fit.
    pub fn advice(&self) -> &'static str {
        match &self.choice {
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
        let mut detector = Detector::new(&self.options)?;
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
        let Some(format) = detector.decide() else {
            if let Some(error) = header_error {
                return Err(Error::of_log(format!("{log}: {error}")));
            }
            let count: u64 = buffered.iter().map(|line| line.count).sum();
            return Err(Error::of_log(format!(
                "{log}: no format fits its first {count} lines; name it with --log-format-name \
                 (one of {}), or describe it with --log-format-regex",
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
