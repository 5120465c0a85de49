//! `--dump-log-regex`: what a log is read with, to be given back with `--log-format-regex`.

use std::ffi::OsString;
use std::time::Duration;

use crate::error::Result;
use crate::format::Format;
use crate::import::InputOptions;
use crate::import::TICK;
use crate::import::format_selector::FormatSelector;
use crate::input::InputError;
use crate::input::discover::{Source, discover};
use crate::input::lines::{LineEvent, LineOptions, Lines};
use crate::report::Console;
use crate::shutdown::Shutdown;

/// Prints name, regex and date format of the format that the user named, or of each log's. Imports nothing.
pub fn print(
    chooser: &FormatSelector,
    files: &[OsString],
    input: &InputOptions,
    console: &Console,
    stop: &Shutdown,
) -> Result<()> {
    if let Some(format) = chooser.given()?
        && format.ready()
    {
        console.print(described(format.as_ref(), chooser));
        return Ok(());
    }
    for source in discover(files, &mut |warning| console.warn_incomplete(warning)) {
        let found = look_into(&source, chooser, input, console, stop)?;
        if stop.requested() {
            break;
        }
        match found {
            Found::Format(format) => console.print(format!(
                "{source}:\n{}",
                described(format.as_ref(), chooser)
            )),
            Found::Nothing => {
                console.note(format!("{source}: nothing but blank lines and comments"))
            }
            Found::Unreadable(error) => console.warn_incomplete(error.of_file()),
        }
    }
    Ok(())
}

/// What a log shows.
enum Found {
    Format(Box<dyn Format>),
    Nothing,
    /// It is passed over, as an import does it.
    Unreadable(InputError),
}

fn look_into(
    source: &Source,
    chooser: &FormatSelector,
    input: &InputOptions,
    console: &Console,
    stop: &Shutdown,
) -> Result<Found> {
    let name = source.to_string();
    let options = LineOptions {
        encoding: input.encoding.clone(),
        ..LineOptions::default()
    };
    let opened = Lines::open(source, options).and_then(|mut lines| {
        while !lines.inspect(TICK)? && !stop.requested() {}
        Ok(lines)
    });
    let mut lines = match opened {
        Ok(lines) => lines,
        Err(error) => return Ok(Found::Unreadable(error)),
    };
    match chooser.choose(&name, &mut lines, stop, console, input.flush_interval)? {
        Some((format, _)) if format.ready() => Ok(Found::Format(format)),
        Some((format, _)) => with_header(&name, format, &mut lines, stop),
        None => Ok(match lines.next(Duration::ZERO) {
            Ok(_) => Found::Nothing,
            Err(error) => Found::Unreadable(error),
        }),
    }
}

/// A named W3C format takes its fields from the log's header.
fn with_header(
    name: &str,
    mut format: Box<dyn Format>,
    lines: &mut Lines,
    stop: &Shutdown,
) -> Result<Found> {
    let mut unusable = None;
    while !stop.requested() && !format.ready() {
        match lines.next(TICK) {
            Ok(LineEvent::Line(line)) if line.bytes.starts_with(b"#") => {
                if let Err(error) = format.header(line.bytes) {
                    unusable = Some(error.at_line(name, line.number));
                }
            }
            Ok(LineEvent::Line(line)) if line.bytes.trim_ascii().is_empty() => {}
            Ok(LineEvent::Line(_)) => return unusable.map_or(Ok(Found::Format(format)), Err),
            Ok(LineEvent::Pause) => {}
            Ok(LineEvent::End) => return unusable.map_or(Ok(Found::Nothing), Err),
            Err(error) => return Ok(Found::Unreadable(error)),
        }
    }
    Ok(match format.ready() {
        true => Found::Format(format),
        false => Found::Nothing,
    })
}

/// What is printed of a format: its name, its regex, and the date format that goes with it.
pub(crate) fn described(format: &dyn Format, chooser: &FormatSelector) -> String {
    let name = format.name();
    match (
        format.regex(),
        chooser.date_format().or(format.dates().pattern()),
    ) {
        (Some(regex), Some(dates)) => {
            format!("format: {name}\nregex: {regex}\ndate format: {dates}\n")
        }
        (Some(regex), None) => format!("format: {name}\nregex: {regex}\n"),
        (None, _) if format.ready() => format!("format: {name}\nregex: none, its lines are JSON\n"),
        (None, _) => format!("format: {name}\nregex: none before a '#Fields: ...' line\n"),
    }
}
