//! Options that are not on the command line: those in the environment (`IMPORT_LOGS_IDSITE`) and in
//! the file of `--defaults` (guide/options.md, "Defaults").
//!
//! They become arguments before those that are typed, so clap parses and checks them all alike. An
//! option that is given in one place replaces what the places after it say, and also the options
//! there that cannot be used with it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Error};

use super::origin::{Origin, Origins};
use crate::input::small_file;
use crate::suggestion::{closest, did_you_mean};

/// What the names of variables begin with.
const PREFIX: &str = "IMPORT_LOGS_";

/// Options that ask for something else than an import. They must be typed.
const TYPED_ONLY: [&str; 5] = ["help", "version", "generate", "guide", "show-options"];

/// Options that the file must not hold: it may be readable by other users.
pub const SECRETS: [&str; 3] = ["token-auth", "password", "auth-password"];

/// Groups of options that replace each other, besides those that clap knows to conflict.
const RIVALS: [&[&str]; 3] = [
    &["url", "sandbox"],
    &[
        "token-auth",
        "token-auth-file",
        "auth-config",
        "login",
        "config",
    ],
    &[
        "log-format",
        "log-format-name",
        "log-format-regex",
        "json-map",
    ],
];

/// Variables that other programs know, too, and the option that each is like.
pub const SHARED_VARIABLES: [(&str, &str); 2] = [
    ("MATOMO_TOKEN_AUTH", "token-auth"),
    ("STATE_DIRECTORY", "state-dir"),
];

/// Looks up a variable of the environment.
pub type Variables<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// The variable of an option.
pub fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_uppercase().replace('-', "_"))
}

/// Messages about the variables that begin like options and name no option.
pub fn unknown_variables(command: &Command, names: impl Iterator<Item = String>) -> Vec<String> {
    let longs: Vec<&str> = settings(command).map(|(long, _)| long).collect();
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with(PREFIX))
        .filter(|name| !longs.iter().any(|long| variable(long) == *name))
        .collect();
    unknown.sort();
    let described = |name: &String| {
        if TYPED_ONLY.iter().any(|long| variable(long) == *name) {
            return format!("{name}: this option must be typed");
        }
        let meant = closest(&name[PREFIX.len()..], longs.iter().copied());
        let meant = meant.map(|long| format!("; did you mean {}?", variable(long)));
        let meant = meant.unwrap_or_default();
        format!("{name}: there is no such option{meant}")
    };
    unknown.iter().map(described).collect()
}

/// Adds the options of the environment and of the file to a command line in which all names are
/// complete, the program's name first. Those in `without` are not added.
///
/// # Errors
///
/// Returns an error that names the variable or the file.
pub fn add(
    command: &Command,
    typed: Vec<OsString>,
    variables: Variables,
    without: &[String],
) -> Result<(Vec<OsString>, Origins), Error> {
    let lenient = command.clone().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(&typed) else {
        // --help and --version.
        return Ok((typed, Origins::default()));
    };
    let is_wanted = |long: &str| !without.iter().any(|name| name == long);
    let mut taken: Vec<TakenOption> = settings(command)
        .filter(|(_, arg)| is_typed(&matches, arg))
        .map(|(long, _)| TakenOption { long, is_on: true })
        .collect();
    let mut origins = Origins::default();
    let mut added = Vec::new();
    let mut place = |layer: BTreeMap<&'_ str, (Vec<OsString>, Origin)>, taken: &[TakenOption]| {
        for (long, (args, origin)) in layer {
            if !is_replaced(command, long, taken) {
                added.extend(args);
                origins.insert(long, origin);
            }
        }
    };

    let mut environment = BTreeMap::new();
    for (long, arg) in settings(command).filter(|(long, _)| is_wanted(long)) {
        let name = variable(long);
        let Some(value) = variables(&name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let args = of_variable(arg, long, &value)
            .map_err(|expected| wrong(long, format!("{name}={}: {expected}", value.display())))?;
        environment.insert(long, (args, Origin::Variable(name)));
    }
    let known = environment.iter().map(|(long, (args, _))| TakenOption {
        long,
        is_on: !args.is_empty(),
    });
    let mut known: Vec<TakenOption> = known.collect();
    place(environment, &taken);
    let shared = SHARED_VARIABLES.iter().filter(|(name, _)| {
        let value = variables(name);
        value.is_some_and(|value| !value.is_empty())
    });
    known.extend(shared.map(|(_, long)| TakenOption { long, is_on: true }));
    taken.extend(known);

    let typed_file = matches.get_one::<PathBuf>("defaults").cloned();
    let file = typed_file.or_else(|| {
        let named = variables(&variable("defaults"))?;
        (!named.is_empty()).then(|| PathBuf::from(named))
    });
    if let Some(file) = file.filter(|_| is_wanted("defaults")) {
        place(read_file(command, &file, without)?, &taken);
    }

    let mut args = typed;
    let typed = args.split_off(args.len().min(1));
    args.extend(added);
    args.extend(typed);
    Ok((args, origins))
}

/// The options that can be given outside the command line.
fn settings(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = |arg| Arg::get_long(arg).map(|long| (long, arg));
    let options = command.get_arguments().filter_map(named);
    options.filter(|(long, _)| !TYPED_ONLY.contains(long))
}

fn is_typed(matches: &ArgMatches, arg: &Arg) -> bool {
    matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// An option that is given in a place that comes first.
#[derive(Clone, Copy)]
struct TakenOption<'a> {
    long: &'a str,
    /// Not one that is only turned off, such as `IMPORT_LOGS_SANDBOX=false`.
    is_on: bool,
}

/// Whether an option, or one that cannot be used with it, is given in a place that comes first.
fn is_replaced(command: &Command, long: &str, taken: &[TakenOption]) -> bool {
    let conflicts = |one: &str, other: &str| {
        let arg = settings(command).find(|(name, _)| *name == one);
        let conflicting = arg.map(|(_, arg)| command.get_arg_conflicts_with(arg));
        let mut conflicting = conflicting.into_iter().flatten();
        conflicting.any(|arg| arg.get_long() == Some(other))
    };
    taken.iter().any(|taken| {
        let other = taken.long;
        let are_rivals = RIVALS
            .iter()
            .any(|group| group.contains(&long) && group.contains(&other));
        let excludes = || are_rivals || conflicts(long, other) || conflicts(other, long);
        other == long || (taken.is_on && excludes())
    })
}

/// The arguments that a variable is equal to, or what is expected of it.
fn of_variable(arg: &Arg, long: &str, value: &OsStr) -> Result<Vec<OsString>, &'static str> {
    let text = value.to_str();
    match arg.get_action() {
        ArgAction::Append => match text {
            // One value a line.
            Some(text) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                Ok(lines.map(|line| with_value(long, line.as_ref())).collect())
            }
            None => Ok(vec![with_value(long, value)]),
        },
        // A number is a value: `IMPORT_LOGS_EXPLAIN=1`.
        ArgAction::Set => match text
            .filter(|text| is_value_optional(arg) && text.parse::<u64>().is_err())
            .and_then(truth)
        {
            Some(on) => Ok(switch(long, usize::from(on))),
            None => Ok(vec![with_value(long, value)]),
        },
        ArgAction::Count => {
            let text = text.unwrap_or_default().trim();
            let times = text.parse::<u8>().ok().map(usize::from);
            let times = times.or_else(|| truth(text).map(usize::from));
            let times = times.ok_or("expected a number, true or false")?;
            Ok(switch(long, times))
        }
        _ => {
            let on = text.and_then(truth).ok_or("expected true or false")?;
            Ok(switch(long, usize::from(on)))
        }
    }
}

/// Whether `--sandbox` is as good as `--sandbox=FILE`.
fn is_value_optional(arg: &Arg) -> bool {
    arg.is_require_equals_set()
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn switch(long: &str, times: usize) -> Vec<OsString> {
    vec![OsString::from(format!("--{long}")); times]
}

fn with_value(long: &str, value: &OsStr) -> OsString {
    let mut arg = OsString::from(format!("--{long}="));
    arg.push(value);
    arg
}

/// Reads the file of `--defaults`, except the keys in `without`.
fn read_file<'c>(
    command: &'c Command,
    file: &Path,
    without: &[String],
) -> Result<BTreeMap<&'c str, (Vec<OsString>, Origin)>, Error> {
    let place = format!("--defaults={}", file.display());
    let text = small_file::read_text(file)
        .map_err(|error| wrong("defaults", format!("{place}: cannot be read: {error}")))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        // Its own text would show the line, which may hold a secret.
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        wrong(
            "defaults",
            format!("{place}: line {line}: {}", error.message()),
        )
    })?;
    let mut layer = BTreeMap::new();
    for (key, value) in &table {
        if without.contains(key) {
            continue;
        }
        let in_key = |what: String| wrong(key, format!("{place}: {key}: {what}"));
        if SECRETS.contains(&key.as_str()) {
            return Err(in_key(match key.as_str() {
                "token-auth" => "a token has no place in this file: put it into a file of its \
                                 own, which only you can read, and name that with token-auth-file"
                    .to_owned(),
                _ => "a password has no place in this file: put it into the environment, or use \
                      a token and name its file with token-auth-file"
                    .to_owned(),
            }));
        }
        if key == "defaults" || TYPED_ONLY.contains(&key.as_str()) {
            return Err(in_key("this option cannot be in this file".to_owned()));
        }
        let Some((long, arg)) = settings(command).find(|(long, _)| long == key) else {
            let known = settings(command).map(|(long, _)| long);
            let known = known.filter(|long| !SECRETS.contains(long) && *long != "defaults");
            let suggestion = did_you_mean(key, known);
            return Err(in_key(format!("there is no such option{suggestion}")));
        };
        let args = of_toml(arg, long, value).map_err(|what| in_key(what.to_owned()))?;
        layer.insert(long, (args, Origin::File(file.to_owned())));
    }
    Ok(layer)
}

/// The arguments that a value in the file is equal to, or what is expected of it.
fn of_toml(arg: &Arg, long: &str, value: &toml::Value) -> Result<Vec<OsString>, &'static str> {
    use toml::Value;
    let one = |value: &Value| match value {
        Value::String(text) => Ok(with_value(long, text.as_ref())),
        Value::Integer(number) => Ok(with_value(long, number.to_string().as_ref())),
        Value::Float(number) => Ok(with_value(long, number.to_string().as_ref())),
        Value::Datetime(_) => Err("put the date into quotes"),
        Value::Boolean(_) | Value::Array(_) | Value::Table(_) => {
            Err("expected a text in quotes or a number")
        }
    };
    match (arg.get_action(), value) {
        (ArgAction::Append, Value::Array(values)) => values.iter().map(one).collect(),
        (ArgAction::Set, Value::Boolean(on)) if is_value_optional(arg) => {
            Ok(switch(long, usize::from(*on)))
        }
        (ArgAction::Append | ArgAction::Set, value) => one(value).map(|arg| vec![arg]),
        (_, Value::Boolean(on)) => Ok(switch(long, usize::from(*on))),
        (ArgAction::Count, Value::Integer(times @ 0..=9)) => Ok(switch(long, *times as usize)),
        (ArgAction::Count, _) => Err("expected a number, true or false"),
        _ => Err("expected true or false"),
    }
}

/// The error about an option, which lets a pipe be saved without that option.
fn wrong(option: &str, message: String) -> Error {
    let mut error = Error::raw(ErrorKind::ValueValidation, message + "\n");
    let option = ContextValue::String(format!("--{option}"));
    error.insert(ContextKind::InvalidArg, option);
    error
}

#[cfg(test)]
mod tests;
