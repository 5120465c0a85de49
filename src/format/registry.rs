//! The one list of formats. To add one: its entry beside its kin, its fixture, its row in guide/formats.md, "Built-in formats"; tests over
//! this list fail until all are there.

use super::w3c::{self, W3cOptions};
use super::{Format, Wanted, cloud, json, ncsa};
use crate::error::{Error, Result};

/// What formats are made with.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions {
    pub wanted: Wanted,
    pub w3c: W3cOptions,
}

/// All formats, in the order that breaks ties in detection (SPEC section 3). An error: an option of the W3C family
/// cannot be used.
pub fn all(options: &FormatOptions) -> Result<Vec<Box<dyn Format>>> {
    let mut formats = lines(&options.wanted);
    for dialect in w3c::dialects() {
        formats.push(Box::new(dialect.open(&options.w3c)?));
    }
    Ok(formats)
}

/// Those that need no header: a line alone tells whether it fits.
pub fn lines(wanted: &Wanted) -> Vec<Box<dyn Format>> {
    let mut formats = ncsa::formats();
    formats.extend(cloud::formats());
    formats.extend(json::formats(wanted));
    formats
}

/// The names for `--log-format-name`.
pub fn names() -> Vec<&'static str> {
    let lines = lines(&Wanted::default());
    lines
        .iter()
        .map(|format| format.name())
        .chain(w3c::dialects().iter().map(|dialect| dialect.name))
        .collect()
}

/// A format by its name. An error: there is none of that name, or an option of its own cannot be used.
pub fn by_name(name: &str, options: &FormatOptions) -> Result<Box<dyn Format>> {
    if let Some(dialect) = w3c::dialects().iter().find(|dialect| dialect.name == name) {
        return Ok(Box::new(dialect.open(&options.w3c)?));
    }
    lines(&options.wanted)
        .into_iter()
        .find(|format| format.name() == name)
        .ok_or_else(|| {
            Error::usage(format!(
                "--log-format-name={name}: there is no such format; there are {}",
                names().join(", ")
            ))
        })
}
