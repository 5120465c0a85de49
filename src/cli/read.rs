//! Reads a command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, FromArgMatches};

use super::defaults::Variables;
use super::{Cli, abbreviation, defaults, mistake};

impl Cli {
    /// Parses a command line, program name first, together with the options in the environment and
    /// in the file of `--defaults`. The error prints itself and knows its exit status.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        read(args, &|name| std::env::var_os(name), &[])
    }

    /// Parses a command line without the options that made it fail with `error`. Returns `None` if
    /// that is not enough.
    pub fn without_wrong_options(args: Vec<OsString>, error: &clap::Error) -> Option<Cli> {
        let mut args = abbreviation::expand(&command(), args.into_iter());
        let mut removed = Vec::new();
        let mut wrong = wrong_option(error)?;
        loop {
            let before = args.len();
            args.retain(|arg| {
                let arg = arg.to_string_lossy();
                arg.split('=').next() != Some(&wrong)
            });
            // It may also be in the environment or in the file.
            let name = wrong.trim_start_matches('-').to_owned();
            if args.len() == before && removed.contains(&name) {
                return None;
            }
            removed.push(name);
            match read(args.clone(), &|name| std::env::var_os(name), &removed) {
                Ok(cli) => return Some(cli),
                Err(error) => wrong = wrong_option(&error)?,
            }
        }
    }
}

/// Parses a command line and the options in `variables` and in the file of `--defaults`, except
/// those in `without`.
pub(super) fn read(
    args: impl IntoIterator<Item = OsString>,
    variables: Variables,
    without: &[String],
) -> Result<Cli, clap::Error> {
    let command = command();
    let args = abbreviation::expand(&command, args.into_iter());
    let count = args.len().saturating_sub(1);
    let (args, mut origins) = defaults::add(&command, args, variables, without)?;
    let matches = command.clone().try_get_matches_from(args);
    let matches = matches.map_err(|error| {
        let origin = wrong_option(&error);
        let origin = origin.and_then(|name| origins.of(name.trim_start_matches('-')));
        mistake::explain(error, &command, count, origin)
    })?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if cli.defaults.show_options {
        let names = std::env::vars_os().map(|(name, _)| name);
        let names = names.filter_map(|name| name.into_string().ok());
        let notes = defaults::unknown_variables(&command, names);
        origins.describe(&command, &matches, variables, &notes);
    }
    cli.origins = origins;
    Ok(cli)
}

/// The name of the option that an error is about. `None` for `--help` and `--version`.
fn wrong_option(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg)? {
        // With the name of its value: `--in-doubt <POLICY>`.
        ContextValue::String(text) if error.use_stderr() => {
            text.split([' ', '=']).next().map(str::to_owned)
        }
        _ => None,
    }
}

/// [`Cli`]'s command, in which values may begin with a dash (`--add-to-date -3600`) as they may in
/// the script.
pub(super) fn command() -> Command {
    let mut command = Cli::command().mut_args(|arg| {
        let takes_value =
            arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
        arg.allow_hyphen_values(takes_value)
    });
    command.build();
    command
}
