//! `--dump-log-regex`: what a log is read with, to be given back with `--log-format-regex`.

use std::ffi::OsString;

use crate::choice::Chooser;
use crate::config::InputOptions;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::input::discover::discover;
use crate::input::lines::{Lines, Next, Options};
use crate::parser::TICK;
use crate::report::Console;
use crate::stop::Stop;

/// Prints name, regex and date format of the format that the user named, or of each log's. Imports nothing.
pub fn print(
    chooser: &Chooser,
    files: &[OsString],
    input: &InputOptions,
    console: &Console,
    stop: &Stop,
) -> Result<()> {
    if let Some(format) = chooser.given()?
        && format.ready()
    {
        console.print(described(format.as_ref(), chooser));
        return Ok(());
    }
    for source in discover(files, &mut |warning| console.warn_incomplete(warning)) {
        let name = source.to_string();
        let options = Options {
            encoding: input.encoding.clone(),
            ..Options::default()
        };
        let chosen = Lines::open(&source, options)
            .map_err(|error| Error::stopped(error.to_string()))
            .and_then(|mut lines| {
                match chooser.choose(&name, &mut lines, stop, console, input.flush_interval)? {
                    Some((format, _)) if format.ready() => Ok(Some(format)),
                    Some((format, _)) => with_header(format, &name, &mut lines, stop),
                    None => Ok(None),
                }
            })?;
        if stop.requested() {
            break;
        }
        match chosen {
            Some(format) => {
                console.print(format!("{name}:\n{}", described(format.as_ref(), chooser)))
            }
            None => console.note(format!("{name}: nothing but blank lines and comments")),
        }
    }
    Ok(())
}

/// A named W3C format takes its fields from the log's header. `None`: there is nothing but blank lines and comments,
/// or the program is to stop. An error: the log cannot be read, or its header cannot be used.
fn with_header(
    mut format: Box<dyn Format>,
    name: &str,
    lines: &mut Lines,
    stop: &Stop,
) -> Result<Option<Box<dyn Format>>> {
    let mut unusable = None;
    while !stop.requested() && !format.ready() {
        match lines
            .next(TICK)
            .map_err(|error| Error::stopped(error.to_string()))?
        {
            Next::Line(line) if line.bytes.starts_with(b"#") => {
                if let Err(error) = format.header(line.bytes) {
                    let place = format!("{name}:{}", line.number);
                    unusable = Some(Error::stopped(format!("{place}: {error}")));
                }
            }
            Next::Line(line) if line.bytes.trim_ascii().is_empty() => {}
            Next::Line(_) => return unusable.map_or(Ok(Some(format)), Err),
            Next::Pause => {}
            Next::End => return Ok(None),
        }
    }
    Ok(format.ready().then_some(format))
}

/// What is printed of a format: its name, its regex, and the date format that goes with it.
pub(crate) fn described(format: &dyn Format, chooser: &Chooser) -> String {
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
