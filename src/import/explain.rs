//! `--explain`: shows how the first lines of each log are read, and imports nothing.

use std::fmt::Write;

use bumpalo::Bump;
use chrono::DateTime;

use super::dump::open;
use super::line::LineProcessor;
use super::open_log::OpenLog;
use super::recovery::uncounted_log;
use super::sessions::{ListenerEvent, SessionMode};
use super::{Importer, POLL_INTERVAL};
use crate::error::Result;
use crate::format::detect::FormatTrial;
use crate::format::{Field, Fit, Format, Record, is_absent};
use crate::hit::ClientAddress;
use crate::input::buffered::BufferedLine;
use crate::input::discover::Source;
use crate::input::lines::{Line, LineEvent, Lines};
use crate::recorder::Chunk;
use crate::report::clean::clean;

/// Characters of the longest name of a field, and two blanks.
const NAME_WIDTH: usize = 23;

impl Importer {
    /// Explains the first `count` lines of each log that are neither blank nor comments.
    ///
    /// # Errors
    ///
    /// Fails if no format fits a log.
    pub fn explain(&mut self, sources: &[Source], count: usize) -> Result<()> {
        for source in sources {
            if self.shutdown.requested() {
                break;
            }
            match open(source, &self.input, &self.shutdown) {
                Ok(lines) => self.explain_log(source, lines, count)?,
                Err(error) => self.console.warn_incomplete(error.of_file()),
            }
        }
        Ok(())
    }

    fn explain_log(&mut self, source: &Source, mut lines: Lines, count: usize) -> Result<()> {
        let name = source.to_string();
        let wait = self.input.flush_interval;
        let (selector, shutdown, console) = (&self.selector, &self.shutdown, &self.console);
        let selected = selector.choose(&name, &mut lines, shutdown, console, wait)?;
        let Some((mut format, sample)) = selected else {
            console.note(format!("{source}: nothing but blank lines and comments"));
            return Ok(());
        };
        console.print(self.heading(&name, format.as_ref(), &lines, &sample));
        let is_named = selector.is_named();
        let processor = &mut self.processor;
        processor.set_ignored_fields(format.as_ref());
        if format.ready() {
            processor.warn_of_missing_fields(&name, format.as_ref());
        }
        let mode = processor.session_mode(format.as_ref(), is_named, &sample);
        processor.hint_at_listening(&name, format.as_ref(), &mode);
        let mut log = uncounted_log(name, u64::MAX, mode);
        log.takes_any_date = false;
        self.explain_lines(&mut log, format.as_mut(), &sample, &mut lines, count)
    }

    /// Explains lines, those of the sample first. Waits for those of a pipe.
    fn explain_lines(
        &mut self,
        log: &mut OpenLog,
        format: &mut dyn Format,
        sample: &[BufferedLine],
        lines: &mut Lines,
        count: usize,
    ) -> Result<()> {
        let mut arena = Bump::new();
        let mut sample = sample.iter().flat_map(BufferedLine::lines);
        let (mut explained, mut headers, mut misfits) = (0, Vec::new(), Vec::new());
        while explained < count && !self.shutdown.requested() {
            let line = match sample.next() {
                Some(line) => line,
                None => match lines.next(POLL_INTERVAL) {
                    Ok(LineEvent::Line(line)) => line,
                    Ok(LineEvent::Pause) => continue,
                    Ok(LineEvent::End) => break,
                    Err(error) => {
                        self.console.warn_incomplete(error.of_file());
                        break;
                    }
                },
            };
            arena.reset();
            if line.bytes.starts_with(b"#") {
                headers.push(line.bytes.to_vec());
            }
            let text = self.processor.explain_line(log, format, &line, &arena)?;
            let Some((text, fits)) = text else {
                continue;
            };
            self.console.print(text);
            explained += 1;
            if !fits {
                misfits.push(line.bytes.to_vec());
            }
        }
        if !misfits.is_empty()
            && let Some(other) = self.selector.fitting_format(&headers, &misfits)
            && other != format.name()
        {
            self.console.print(format!(
                "The lines that do not fit have the format {other}.\n"
            ));
        }
        Ok(())
    }

    /// Which format a log has and why, and which envelope.
    fn heading(
        &self,
        name: &str,
        format: &dyn Format,
        lines: &Lines,
        sample: &[BufferedLine],
    ) -> String {
        let is_named = self.selector.is_named();
        let how = if is_named {
            "given by the options"
        } else {
            "detected"
        };
        let mut heading = format!("{name}: the format is {}, {how}\n", format.name());
        if let Some(envelope) = lines.envelope() {
            let name = envelope.name();
            let _ = writeln!(heading, "  the envelope is {name}, and is removed");
        }
        if !is_named {
            let sampled = sampled(sample);
            let is_comment = |line: &&Vec<u8>| line.starts_with(b"#");
            let lines = sampled.iter().filter(|line| !is_comment(line)).count();
            heading += &runners_up(format.name(), &self.selector.trials(&sampled), lines);
        }
        heading
    }
}

/// The lines that showed the format.
fn sampled(sample: &[BufferedLine]) -> Vec<Vec<u8>> {
    let lines = sample.iter().flat_map(BufferedLine::lines);
    let lines = lines.filter(|line| !line.too_long && !line.bytes.trim_ascii().is_empty());
    lines.map(|line| line.bytes.to_vec()).collect()
}

/// The required fields that a line of a JSON format lacks. Empty if it has none of them: it is of
/// another kind.
fn missing_fields(format: &dyn Format, record: &Record) -> Vec<&'static str> {
    let (present, missing): (Vec<Field>, Vec<Field>) =
        (Field::REQUIRED.into_iter()).partition(|field| record.get(*field).is_some());
    if !format.is_json() || present.is_empty() {
        return Vec::new();
    }
    missing.into_iter().map(Field::name).collect()
}

/// Why the other formats were not chosen.
fn runners_up(chosen: &str, trials: &[FormatTrial], lines: usize) -> String {
    let mut text = String::new();
    let Some(best) = trials.iter().find(|trial| trial.format == chosen) else {
        return text;
    };
    let _ = match lines {
        1 => writeln!(text, "  the first line fits it"),
        lines => writeln!(text, "  {} of the first {lines} lines fit it", best.fits),
    };
    let others = || trials.iter().filter(|trial| trial.format != chosen);
    let mut fitting: Vec<&FormatTrial> = others().filter(|trial| trial.fits > 0).collect();
    fitting.sort_by_key(|trial| std::cmp::Reverse((trial.fits, trial.richness)));
    for trial in fitting {
        let reason = if trial.fits < best.fits {
            match trial.fits {
                1 => "only 1 line fits it".to_owned(),
                fits => format!("only {fits} lines fit it"),
            }
        } else if trial.implausible > best.implausible {
            "reads other text as the address".to_owned()
        } else if trial.cut > best.cut {
            "text follows its last field".to_owned()
        } else if trial.richness < best.richness {
            "has fewer fields".to_owned()
        } else {
            "fits no better".to_owned()
        };
        let _ = writeln!(text, "  not {}: {reason}", trial.format);
    }
    let misfits = others().filter(|trial| trial.fits == 0).count();
    let _ = writeln!(text, "  no line fits the other {misfits} formats");
    text
}

impl LineProcessor {
    /// A text of the log, with masked addresses.
    fn shown(&self, text: &[u8]) -> String {
        match self.hit.privacy() {
            None => clean(text).into_owned(),
            Some(privacy) => clean(&privacy.mask.mask_text(text)).into_owned(),
        }
    }

    /// Describes a line, and returns whether it fits the format. Returns `None` for a blank line
    /// and for a header.
    fn explain_line(
        &mut self,
        log: &mut OpenLog,
        format: &mut dyn Format,
        line: &Line,
        arena: &Bump,
    ) -> Result<Option<(String, bool)>> {
        let mut text = format!("line {}: {}\n", line.number, self.shown(line.bytes));
        let mut record = Record::default();
        if line.too_long || format.parse(line.bytes, arena, &mut record) == Fit::Misfit {
            if line.bytes.starts_with(b"#") {
                let _ = format.header(line.bytes);
                self.set_ignored_fields(format);
                return Ok(None);
            }
            if line.bytes.trim_ascii().is_empty() {
                return Ok(None);
            }
            let missing = missing_fields(format, &record);
            let why = match (line.too_long, format.gave_up()) {
                (true, _) => "it is longer than 1 MiB".to_owned(),
                (_, true) => "the regular expression takes too long on it".to_owned(),
                _ if missing.is_empty() => "it does not fit the format".to_owned(),
                _ => format!("it has no usable value for {}", missing.join(", ")),
            };
            let _ = writeln!(text, "  invalid: {why}");
            return Ok(Some((text, false)));
        }
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:NAME_WIDTH$}{value}");
        };
        for field in Field::all() {
            if let Some(value) = record.get(field) {
                row(field.name(), &self.shown(value));
            }
        }
        for (name, value) in record.extras() {
            row(name, &self.shown(value));
        }
        if !record.is_whole() {
            row("(what follows)", &self.shown(record.rest()));
        }
        let format = &*format;
        let mut request = self.hit.request(format, &record, arena);
        match self.hit.address(&request) {
            ClientAddress::Ip(address) => row("=> visitor", &self.shown(address)),
            ClientAddress::Id(digits) | ClientAddress::Pseudonym { id: digits, .. } => {
                let of_agent = record.get(Field::Ip).is_none_or(is_absent);
                let source = if of_agent { "user agent" } else { "address" };
                let id = String::from_utf8_lossy(&digits);
                row("=> visitor", &format!("{id}, a hash of the {source}"));
            }
        }
        let time = self.hit.time(&record, format.dates());
        let site = match (self.sites.assumed(), request.host.unwrap_or_default()) {
            (Some(id), b"") => format!("{id}, whose address in Matomo becomes that of the page"),
            (Some(id), _) => id.to_owned(),
            (None, b"") => "none without a host: give --idsite or --log-hostname".to_owned(),
            (None, host) => format!("that of the host {}", clean(host)),
        };
        row("=> site", &site);
        let date = time.and_then(|time| DateTime::from_timestamp(time, 0));
        let date = date.map(|date| date.format("%Y-%m-%d %H:%M:%S UTC").to_string());
        row("=> date", date.as_deref().unwrap_or("cannot be read"));
        let mut chunk = Chunk::default();
        let mut accepted = match self.accept(log, &mut request, arena)? {
            Ok(accepted) => accepted,
            Err(reason) => {
                row("=> dropped", reason.text());
                return Ok(Some((text, true)));
            }
        };
        row("=> filters", "passed");
        let event = match accepted.hit.request.is_listener {
            true => self.take_listener(log, line, &accepted),
            false => ListenerEvent::NotListening,
        };
        match event {
            ListenerEvent::NotListening => {
                let requests = &mut self.requests;
                requests.write_hit(log.id, line.start, &mut accepted, &mut chunk);
            }
            ListenerEvent::NoDuration(start) => {
                row("=> session", "of unknown length");
                let (time, bytes) = (accepted.hit.time, accepted.hit.length);
                let line = (log.id, line.start);
                self.requests
                    .write_page_view(line, &start.template, time, bytes, &mut chunk);
            }
            ListenerEvent::Whole(time) => {
                row("=> session", &format!("{} s", time.seconds()));
                let session = self.whole_session(log, line, &accepted, time);
                self.requests.write_session(log.id, &session, &mut chunk);
            }
            ListenerEvent::Finished(mut sessions) => {
                if let SessionMode::Titles(stitcher) = &mut log.sessions {
                    // As if no other title followed.
                    sessions.extend(stitcher.drain());
                }
                for session in &sessions {
                    let seconds = session.time.seconds();
                    row("=> session", &format!("{seconds} s"));
                    self.requests.write_session(log.id, session, &mut chunk);
                }
            }
        }
        for request in chunk.requests() {
            row("=> request", &String::from_utf8_lossy(request));
        }
        Ok(Some((text, true)))
    }
}
