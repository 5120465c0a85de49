//! Reads a command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, FromArgMatches};

use super::{Cli, abbreviation, mistake};

impl Cli {
    /// Parses a command line, program name first. The error prints itself and knows its exit
    /// status.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let command = command();
        let args = abbreviation::expand(&command, args.into_iter());
        let count = args.len().saturating_sub(1);
        let matches = command.clone().try_get_matches_from(args);
        let matches = matches.map_err(|error| mistake::explain(error, &command, count))?;
        Cli::from_arg_matches(&matches)
    }

    /// Parses a command line without the options that made it fail with `error`. Returns `None` if
    /// that is not enough.
    pub fn without_wrong_options(args: Vec<OsString>, error: &clap::Error) -> Option<Cli> {
        let mut wrong = wrong_option(error)?;
        let mut args = abbreviation::expand(&command(), args.into_iter());
        loop {
            let before = args.len();
            args.retain(|arg| {
                let arg = arg.to_string_lossy();
                arg.split('=').next() != Some(&wrong)
            });
            if args.len() == before {
                return None;
            }
            match Self::read(args.clone()) {
                Ok(cli) => return Some(cli),
                Err(error) => wrong = wrong_option(&error)?,
            }
        }
    }
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
