//! `--dump-log-regex`: prints the format of each log as a regex for `--log-format-regex`
//! (guide/formats.md, "Printing a format").

use std::time::Duration;

use super::format_selector::FormatSelector;
use super::{InputOptions, POLL_INTERVAL};
use crate::error::Result;
use crate::format::Format;
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::{LineEvent, Lines};
use crate::report::Console;
use crate::shutdown::Shutdown;

/// Prints name, regex and date format of the format that the user names, or else of each log's.
pub fn print(
    selector: &FormatSelector,
    has_logs: bool,
    sources: impl FnOnce() -> Vec<Source>,
    input: &InputOptions,
    console: &Console,
    shutdown: &Shutdown,
) -> Result<()> {
    if let Some(format) = selector.given()?
        && (format.ready() || !has_logs)
    {
        console.print(described(format.as_ref(), selector));
        return Ok(());
    }
    for source in sources() {
        let detected = detect(&source, selector, input, console, shutdown)?;
        if shutdown.requested() {
            break;
        }
        match detected {
            DetectedFormat::Known(format) => {
                let described = described(format.as_ref(), selector);
                console.print(format!("{source}:\n{described}"));
            }
            DetectedFormat::NoLines => {
                console.note(format!("{source}: nothing but blank lines and comments"));
            }
            DetectedFormat::Unreadable(error) => console.warn_incomplete(error.of_file()),
        }
    }
    Ok(())
}

/// What the first lines of a log show.
enum DetectedFormat {
    Known(Box<dyn Format>),
    /// Only blank lines and comments.
    NoLines,
    Unreadable(InputError),
}

fn detect(
    source: &Source,
    selector: &FormatSelector,
    input: &InputOptions,
    console: &Console,
    shutdown: &Shutdown,
) -> Result<DetectedFormat> {
    let name = source.to_string();
    let mut lines = match open(source, input, shutdown) {
        Ok(lines) => lines,
        Err(error) => return Ok(DetectedFormat::Unreadable(error)),
    };
    match selector.choose(&name, &mut lines, shutdown, console, input.flush_interval)? {
        Some((format, _)) if format.ready() => Ok(DetectedFormat::Known(format)),
        Some((format, _)) => read_header(&name, format, &mut lines, shutdown),
        None => Ok(match lines.next(Duration::ZERO) {
            Ok(_) => DetectedFormat::NoLines,
            Err(error) => DetectedFormat::Unreadable(error),
        }),
    }
}

/// Opens a log and waits for its first bytes.
pub(super) fn open(
    source: &Source,
    input: &InputOptions,
    shutdown: &Shutdown,
) -> std::result::Result<Lines, InputError> {
    let mut lines = Lines::open(source, input.line_options())?;
    input.wait_for_writer(&lines, shutdown)?;
    while !lines.inspect(POLL_INTERVAL)? && !shutdown.requested() {}
    Ok(lines)
}

/// Reads until a named W3C format has its fields, which the header of the log gives.
fn read_header(
    name: &str,
    mut format: Box<dyn Format>,
    lines: &mut Lines,
    shutdown: &Shutdown,
) -> Result<DetectedFormat> {
    let mut unusable = None;
    while !shutdown.requested() && !format.ready() {
        match lines.next(POLL_INTERVAL) {
            Ok(LineEvent::Line(line)) if line.bytes.starts_with(b"#") => {
                if let Err(error) = format.header(line.bytes) {
                    unusable = Some(error.at_line(name, line.number));
                }
            }
            Ok(LineEvent::Line(line)) if line.bytes.trim_ascii().is_empty() => {}
            Ok(LineEvent::Line(_)) => {
                return unusable.map_or(Ok(DetectedFormat::Known(format)), Err);
            }
            Ok(LineEvent::Pause) => {}
            Ok(LineEvent::End) => return unusable.map_or(Ok(DetectedFormat::NoLines), Err),
            Err(error) => return Ok(DetectedFormat::Unreadable(error)),
        }
    }
    Ok(match format.ready() {
        true => DetectedFormat::Known(format),
        false => DetectedFormat::NoLines,
    })
}

/// The text that is printed of a format.
pub(crate) fn described(format: &dyn Format, selector: &FormatSelector) -> String {
    let name = format.name();
    match (
        format.regex(),
        selector.date_format().or(format.date_pattern()),
    ) {
        (Some(regex), Some(dates)) => {
            format!("format: {name}\nregex: {regex}\ndate format: {dates}\n")
        }
        (Some(regex), None) => format!("format: {name}\nregex: {regex}\n"),
        (None, _) if format.is_json() => {
            format!("format: {name}\nregex: none, its lines are JSON\n")
        }
        (None, _) if format.ready() => {
            format!("format: {name}\nregex: none, its values may come in any order\n")
        }
        (None, _) => format!("format: {name}\nregex: none before a '#Fields: ...' line\n"),
    }
}
