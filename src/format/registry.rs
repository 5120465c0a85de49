//! The list of formats.
//!
//! To add a format, add its entry to its family ([`ncsa`], [`cloud`],
//! [`servers`], [`labelled`], [`json`] or [`w3c`]), its log
//! in `fixtures/odd` and its row in guide/formats.md, "Built-in formats". The tests that loop over
//! this list fail until all are there.

use super::json::KeyMap;
use super::text::TextFormat;
use super::w3c::{self, W3cOptions};
use super::{Format, Wanted, cloud, icecast, json, labelled, ncsa, servers};
use crate::error::{Error, Result};
use crate::suggestion::did_you_mean;

/// The options that formats depend on.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions {
    pub wanted: Wanted,
    pub w3c: W3cOptions,
    /// `--json-map`.
    pub json: KeyMap,
}

/// Checks the options.
///
/// # Errors
///
/// Returns a usage error if `--w3c-fields` lacks a required column.
pub fn check(options: &FormatOptions) -> Result<()> {
    let mut dialects = w3c::dialects().iter();
    dialects.try_for_each(|dialect| dialect.open(&options.w3c).map(drop))
}

/// All formats, in the order that breaks ties in detection.
///
/// # Errors
///
/// Returns a usage error if `--w3c-fields` lacks a required column.
#[cfg(test)]
pub fn all(options: &FormatOptions) -> Result<Vec<Box<dyn Format>>> {
    let mut formats = without_header(&options.wanted);
    for dialect in w3c::dialects() {
        formats.push(Box::new(dialect.open(&options.w3c)?));
    }
    Ok(formats)
}

/// All formats but the W3C family, which needs a header.
pub fn without_header(wanted: &Wanted) -> Vec<Box<dyn Format>> {
    // Cheap: no regex is compiled yet.
    let text = |spec| Box::new(TextFormat::new(spec)) as Box<dyn Format>;
    let mut formats: Vec<Box<dyn Format>> = ncsa::SPECS.iter().map(text).collect();
    formats.push(Box::new(icecast::Icecast::new()));
    formats.extend(cloud::SPECS.iter().map(text));
    formats.extend(servers::SPECS.iter().map(text));
    formats.extend(labelled::formats(wanted));
    formats.extend(json::formats(wanted));
    formats
}

/// The names of the built-in formats, for `--log-format-name`.
pub fn names() -> Vec<&'static str> {
    without_header(&Wanted::default())
        .iter()
        .map(|format| format.name())
        .chain(w3c::dialects().iter().map(|dialect| dialect.name))
        .collect()
}

/// The name of the format that a name or an alias means.
pub fn resolved(name: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or(name, |(_, name)| name)
}

/// Other names by which users know formats.
const ALIASES: [(&str, &str); 9] = [
    ("combined", "ncsa_extended"),
    ("jetty", "ncsa_extended"),
    ("varnishncsa", "ncsa_extended"),
    ("virtualmin", "ncsa_extended"),
    ("tomcat", "common"),
    ("apache", "ncsa_extended"),
    ("nginx", "ncsa_extended"),
    ("vhost_combined", "common_complete"),
    ("icecast", "icecast2"),
];

/// Compiles the format that `--log-format` gives.
///
/// # Errors
///
/// Returns a usage error if the text cannot be read, or lacks what every hit needs.
pub fn pasted(text: &str, options: &FormatOptions) -> Result<TextFormat> {
    TextFormat::pasted(text, &options.wanted)
}

/// Returns a format by its name.
///
/// # Errors
///
/// Returns a usage error if there is no such format, or if `--w3c-fields` lacks a required column
/// or `--json-map` a required field.
pub fn by_name(name: &str, options: &FormatOptions) -> Result<Box<dyn Format>> {
    let name = resolved(name);
    if let Some(dialect) = w3c::dialects().iter().find(|dialect| dialect.name == name) {
        return Ok(Box::new(dialect.open(&options.w3c)?));
    }
    if name == json::MAPPED {
        return json::mapped(&options.json, &options.wanted);
    }
    let mut specs = (ncsa::SPECS.iter())
        .chain(&cloud::SPECS)
        .chain(&servers::SPECS);
    if let Some(spec) = specs.find(|spec| spec.name == name) {
        return Ok(Box::new(TextFormat::new(spec)));
    }
    let icecast = std::iter::once_with(|| Box::new(icecast::Icecast::new()) as Box<dyn Format>);
    icecast
        .chain(labelled::formats(&options.wanted))
        .chain(json::formats(&options.wanted))
        .find(|format| format.name() == name)
        .ok_or_else(|| {
            let mut names = names();
            names.push(json::MAPPED);
            let suggestion = did_you_mean(name, names.iter().copied());
            Error::usage(format!(
                "--log-format-name={name}: there is no such format{suggestion}\nformats: {}",
                names.join(", "),
            ))
        })
}
