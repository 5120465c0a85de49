//! import-logs: web-server and Icecast access logs into Matomo.
//!
//! A line walks once through the rooms, in this order, and never back: `input` bytes to lines -> `format` line
//! to record -> `filter` keep or drop, with a reason -> `hit` record to hit -> `site` whose hit it is ->
//! `recorder` hits to batches, one visitor always on the same recorder -> `matomo` batch to request, answer to
//! outcome -> `report` what came of it.
//!
//! `cli` and `config` say what is wanted, `pipeline` puts a run together, `prepare` makes ready what its first line needs,
//! `connected` is the server it talks to, `books` what it keeps, and `parser` is the thread that walks the lines as far as
//! the recorders. Beside the way stand `listening` (lines of radio logs are connections), `replay` (lines
//! that are tracking requests already), `ledger` (what is done, kept on disk; `resume` leaves one where a run stopped)
//! and `sandbox` (a small Matomo of our own, to try things and for the tests).

pub mod cli;
pub mod config;
pub mod error;
mod failpoint;
pub mod filter;
pub mod format;
pub mod guide;
pub mod hit;
pub mod hit_id;
pub mod import;
pub mod input;
pub mod ledger;
pub mod matomo;
pub mod radio;
pub mod recorder;
pub mod replay;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod secret;
pub mod shutdown;
pub mod site;
pub mod sync;
pub mod target;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::Cli;
use config::Config;
use error::Result;
use input::discover::{discover, refuse_log};
use report::{Console, Exit};
use shutdown::Shutdown;

/// Runs the program with a command line, its own name first.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let cli = match Cli::read(args.iter().cloned()) {
        Ok(cli) => cli,
        // Help and version come this way too; a closed pipe is no reason to fail.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let mut console = Console::default();
    let exit = match prepare(cli, args, &mut console) {
        Ok((config, stop)) => run::run(config, &console, &stop),
        Err(error) => {
            console.error(error.to_string());
            Exit::of_run(Some(&error), None, false)
        }
    };
    console.finish(exit);
    exit.into()
}

fn prepare(cli: Cli, args: Vec<OsString>, console: &mut Console) -> Result<(Config, Shutdown)> {
    if let Some(output) = &cli.output.output {
        // What is wrong with the names of logs is told later.
        refuse_log("--output", output, &discover(&cli.files, &mut |_| {}))?;
    }
    *console = Console::new(
        cli.output.debug,
        cli.output.quiet,
        cli.output.output.as_deref(),
    )?;
    let config = Config {
        command_line: args,
        ..Config::new(cli)?
    };
    Ok((config, Shutdown::install()?))
}
