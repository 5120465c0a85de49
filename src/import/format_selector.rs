//! Which format a log is read with: the one that the user names, or the one that its first lines show.

use crate::format::date::Strptime;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::format::custom::Custom;
use crate::format::detect::Detector;
use crate::format::registry::{self, FormatOptions};
use crate::import::TICK;
use crate::input::lines::{Line, LineEvent, Lines};
use crate::report::Console;
use crate::shutdown::Shutdown;

/// Bytes of lines that are held while the format is not known, read and as they stand in the log.
const MOST_HELD: usize = 16 << 20;

/// Which format a log is to be read with.
#[derive(Debug)]
pub enum FormatChoice {
    Detect,
    Named(String),
    Regex {
        regex: String,
        dates: Strptime,
        date_format: String,
    },
}

/// Chooses a format for each log.
#[derive(Debug)]
pub struct FormatSelector {
    choice: FormatChoice,
    options: FormatOptions,
}

/// A line that was read before the format was known, and those behind it that are the same.
#[derive(Debug)]
pub struct BufferedLine {
    /// When it was read.
    pub since: Instant,
    bytes: Vec<u8>,
    raw: Vec<u8>,
    place: Line<'static>,
    times: u64,
}

impl BufferedLine {
    fn new(line: &Line) -> Self {
        let place = Line {
            bytes: b"",
            raw: b"",
            ..*line
        };
        Self {
            since: Instant::now(),
            bytes: line.bytes.to_vec(),
            raw: line.raw.to_vec(),
            place,
            times: 1,
        }
    }

    pub fn line(&self) -> Line<'_> {
        self.nth(0)
    }

    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.times).map(|n| self.nth(n))
    }

    fn nth(&self, n: u64) -> Line<'_> {
        let length = self.length();
        Line {
            bytes: &self.bytes,
            raw: &self.raw,
            number: self.place.number + n,
            start: self.place.start + n * length,
            end: self.place.end + n * length,
            ..self.place
        }
    }

    fn length(&self) -> u64 {
        self.place.end - self.place.start
    }

    /// Takes in the next line, if it is the same once more.
    fn takes(&mut self, line: &Line) -> bool {
        let same = self.raw == line.raw
            && self.bytes == line.bytes
            && self.length() == line.end - line.start
            && (self.place.terminated, self.place.too_long) == (line.terminated, line.too_long);
        self.times += u64::from(same);
        same
    }

    /// Memory that it takes.
    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.raw.len()
    }
}

/// A format, and the lines that were read to find it.
pub type Chosen = (Box<dyn Format>, Vec<BufferedLine>);

impl FormatSelector {
    /// An error: the format's name or regex, or an option of the W3C family, cannot be used.
    pub fn new(choice: FormatChoice, options: FormatOptions) -> Result<Self> {
        let chooser = Self { choice, options };
        match &chooser.choice {
            FormatChoice::Detect => drop(Detector::new(&chooser.options)?),
            _ => drop(chooser.given()?),
        }
        Ok(chooser)
    }

    /// The format for a log. `None`: it holds nothing but blank lines and comments, and is passed over, or the
    /// program is to stop. An error: no format fits. Where the log cannot be read further, `lines` says so next.
    pub fn choose(
        &self,
        log: &str,
        lines: &mut Lines,
        stop: &Shutdown,
        console: &Console,
        patience: Duration,
    ) -> Result<Option<Chosen>> {
        match self.given()? {
            Some(format) => Ok(Some((format, Vec::new()))),
            None => self.detect(log, lines, stop, console, patience),
        }
    }

    /// The format that the user names. `None`: it is to be found out.
    pub fn given(&self) -> Result<Option<Box<dyn Format>>> {
        Ok(match &self.choice {
            FormatChoice::Detect => None,
            FormatChoice::Named(name) => Some(registry::by_name(name, &self.options)?),
            FormatChoice::Regex { regex, dates, .. } => Some(Box::new(Custom::new(
                regex,
                Some(dates.clone()),
                &self.options.wanted,
            )?)),
        })
    }

    /// Whether the user says what format the logs have.
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

    /// Reads on until the lines tell the format. A pipe that pauses has shown all that it will show for now.
    fn detect(
        &self,
        log: &str,
        lines: &mut Lines,
        stop: &Shutdown,
        console: &Console,
        patience: Duration,
    ) -> Result<Option<Chosen>> {
        let mut detector = Detector::new(&self.options)?;
        let mut held: Vec<BufferedLine> = Vec::new();
        let mut size = 0;
        // Of a line that is too long only the beginning is there: it is something, but says nothing.
        let mut odd = false;
        let mut ended = false;
        loop {
            if stop.requested() {
                return Ok(None);
            }
            let enough = match lines.next(TICK) {
                Ok(LineEvent::Line(line)) => {
                    let enough = !line.too_long && detector.look(line.bytes);
                    odd |= line.too_long;
                    if !held.last_mut().is_some_and(|last| last.takes(&line)) {
                        let line = BufferedLine::new(&line);
                        size += line.size();
                        held.push(line);
                    }
                    enough || size >= MOST_HELD
                }
                // Not before there is a line to decide on, and not by comments alone.
                Ok(LineEvent::Pause) => {
                    !detector.saw_nothing()
                        && held
                            .first()
                            .is_some_and(|line| line.since.elapsed() >= patience)
                }
                Ok(LineEvent::End) => {
                    ended = true;
                    true
                }
                // Told when the lines are read on.
                Err(error) => {
                    lines.put_back(error);
                    ended = true;
                    true
                }
            };
            if enough {
                break;
            }
        }
        if detector.saw_nothing() && !odd && ended {
            return Ok(None);
        }
        let hint = detector.hint();
        match detector.decide() {
            Some(format) => {
                console.debug(1, || format!("{log}: the format is {}", format.name()));
                hint.into_iter()
                    .for_each(|hint| console.hint(format!("{log}: {hint}")));
                Ok(Some((format, held)))
            }
            None => Err(Error::of_log(format!(
                "{log}: no format fits its first {} lines; name it with --log-format-name (one of {}), \
                 or describe it with --log-format-regex",
                held.iter().map(|held| held.times).sum::<u64>(),
                registry::names().join(", ")
            ))),
        }
    }
}
