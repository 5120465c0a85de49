//! Every option as typed: names, defaults and help, by the groups of `--help`. What the values mean is `config`'s
//! affair.

pub mod abbreviation;
mod hits;
mod log;
mod server;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser};

pub use hits::{ListeningTime, RadioArgs, RequestArgs};
pub use log::{FilterArgs, LogFormatArgs};
pub use server::{AuthenticationArgs, ConnectionArgs, MatomoArgs, SiteArgs, StateArgs};

/// Imports web-server and Icecast access logs into Matomo.
#[derive(Debug, Default, Parser)]
#[command(
    name = "import-logs",
    version,
    max_term_width = 100,
    args_override_self = true,
    after_help = "Exit status: 0 all well; 1 the import stopped; 2 wrong use; 3 it finished, but hits were refused or \
                  lost by the server, or a log was missing, unreadable or cut off; 129, 130, 143 stopped by a signal."
)]
pub struct Cli {
    /// Log files, '-' for standard input, or patterns (*, ?, [..]); .gz, .bz2, .zst and .xz are unpacked
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<OsString>,
    #[command(flatten, next_help_heading = "Matomo")]
    pub matomo: MatomoArgs,
    #[command(flatten, next_help_heading = "Sites")]
    pub sites: SiteArgs,
    #[command(flatten, next_help_heading = "Authentication")]
    pub authentication: AuthenticationArgs,
    #[command(flatten, next_help_heading = "Connection")]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Going on")]
    pub going_on: StateArgs,
    #[command(flatten, next_help_heading = "Log format")]
    pub log_format: LogFormatArgs,
    #[command(flatten, next_help_heading = "What is imported")]
    pub imported: FilterArgs,
    #[command(flatten, next_help_heading = "What is sent")]
    pub sent: RequestArgs,
    #[command(flatten, next_help_heading = "Radio")]
    pub radio: RadioArgs,
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputArgs,
}

/// What is printed and written here.
#[derive(Debug, Default, Args)]
pub struct OutputArgs {
    /// Report progress (by itself where standard error is a terminal)
    #[arg(long)]
    pub show_progress: bool,
    /// Time between progress reports
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub show_progress_delay: String,
    /// Print nothing unless the exit status is other than 0
    #[arg(short, long)]
    pub quiet: bool,
    /// Append all output to this file
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write each invalid or refused line to this file, with its reason, to be mended and imported again
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Say what is done; twice: name every invalid or filtered line
    #[arg(short, long, action = ArgAction::Count)]
    pub debug: u8,
    /// Have the tracker say what it does, and print each answer
    #[arg(long)]
    pub debug_tracker: bool,
    /// End each file before its Nth line that fits the format
    #[arg(long, value_name = "N")]
    pub debug_request_limit: Option<String>,
    /// With --disable-bulk-tracking: each recorder waits so long between hits
    #[arg(long = "debug-force-one-hit-every-Ns", value_name = "SECONDS")]
    pub debug_force_one_hit_every: Option<String>,
}

impl Cli {
    /// Reads a command line, the program's name first. The error knows how to print itself and its exit status.
    pub fn read(args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let command = command();
        let args = abbreviation::expand(&command, args);
        Cli::from_arg_matches(&command.try_get_matches_from(args)?)
    }
}

/// What [`Cli`] declares; and every value may begin with a dash (`--add-to-date -3600`), as the script has it.
fn command() -> Command {
    let mut command = Cli::command().mut_args(|arg| {
        let takes_value =
            arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
        arg.allow_hyphen_values(takes_value)
    });
    command.build();
    command
}
