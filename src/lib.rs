//! import-logs imports the access logs of web servers and of Icecast into Matomo.
//!
//! # Data flow
//!
//! A line passes once through these modules, in this order:
//!
//! ```text
//! input      bytes to lines: decompress, decode, split, remove envelopes
//! format     line to record: which bytes are the address, the date, the path
//! hit        record to hit: what the fields mean
//! filter     keep the hit, or drop it for a reason
//! site       which Matomo site it belongs to
//! recorder   tracking requests to batches, in parallel
//! matomo     batch to HTTP request, response to outcome
//! report     counters, messages, summary
//! ```
//!
//! [`run`](fn@run) reads the command line (`cli`) into checked options (`config`), and `run::run`
//! sets up a run: it connects to the `target`, opens the [`ledger`], and starts the recorders.
//! `import` drives the logs through the flow; start reading there, with `import::line`.
//!
//! Three modules are beside the flow. `radio` turns lines of streaming servers into listening
//! sessions. `report_file` writes the figures of a run to files. [`sandbox`] is a small tracker in
//! the program, to try an import without a server.
//!
//! # Threads
//!
//! - The main thread is the parser. It reads one log after the other, as far as the queue.
//! - With `--follow`, a thread hears of changes in the folders of the logs.
//! - Each open log has a reader thread, which decompresses ahead and finds the line feeds.
//! - Each recorder is a thread. It takes hits from a bounded window, which all recorders share, and
//!   sends them in batches.
//! - The read-back thread asks Matomo whether it has what it acknowledged.
//! - The ledger's thread writes the database.
//! - One thread does the input and output of all HTTP requests; their senders wait for it.
//! - Progress is printed by a thread of its own, and an API call can run on one.
//! - At the end, a thread counts the distinct listeners while the main one measures the rest.
//! - Signal handlers set a flag. All threads check it, or wait with [`shutdown::Shutdown::wait`].
//!   One thread waits for a second signal, which ends the process.
//!
//! # Invariants
//!
//! - Every line that is read ends in exactly one counter. `report::Account::balance` proves it at
//!   the end of each run.
//! - A batch is in the ledger, on disk, before it is sent. A line is done only when Matomo has
//!   confirmed or refused all its requests, or when it needs none.
//! - Requests in flight together share no visitor, and have hits of the same past day of each site.
//! - A line that is read again becomes the same requests with the same ids (`hit_id`), so Matomo
//!   can be asked which of them it has.
//! - The hits of a visitor are sent in the order of the log.
//! - With `--anonymize-ip`, no output but a spool has a whole address: `hit` masks what is sent,
//!   `import` masks what is written and printed.
//! - Memory does not depend on the size of a log.
//! - Only `report` prints, and it never prints a [`secret`].
//! - A module imports only from layers below its own (see the end of this file).
//!
//! # Glossary
//!
//! - **envelope**: what Docker, container runtimes or syslog put around each line of a log.
//! - **record**: the fields of a line, as bytes.
//! - **hit**: one page view, download or event, as Matomo counts it.
//! - **request**: a hit as JSON, ready to be sent. A line is nearly always one request; a listening
//!   session is several, which form a **request group**.
//! - **chunk**: requests on their way to a recorder. **Batch**: requests sent in one HTTP request.
//! - **pending**: a batch that is sent, or about to be. **Acknowledged**: Matomo said that it has
//!   the batch. **Confirmed**: Matomo showed that it has it, or is not asked: its lines are done.
//!   **Unconfirmed**: there was no usable answer, so Matomo may or may not have it.
//! - **done**: a line that no later run needs to send.
//! - **session**: the time that a listener was connected to a mount point.
//! - **spool**: the copy of a pipe in the state directory.
//! - **target**: a Matomo and, with `--idsite`, a site. Each has its own ledger.
//!
//! # Layers
//!
//! The modules below are grouped in layers: a module imports only from layers below its own.

mod run;

pub mod config;

pub mod cli;
mod import;

mod report_file;

mod recorder;
mod site;
mod target;

mod filter;
pub mod matomo;

pub mod hit;
pub mod sandbox;

mod radio;

pub mod format;

pub mod ledger;

mod report;

mod input;
pub mod shutdown;
mod systemd;

mod async_thread;
mod error;
mod failpoint;
pub mod guide;
mod hit_id;
mod network;
mod privacy;
mod private_file;
pub mod secret;
mod suggestion;
mod sync;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::Cli;
use config::Config;
use error::{Exit, Result};
use input::discover::{discover, refuse_log};
use report::{Console, pager};
use shutdown::Shutdown;

/// Runs the program. `args` begin with the name of the program.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let mut console = Console::default();
    let cli = match Cli::read(args.clone()) {
        Ok(cli) => cli,
        // Also --help and --version. A closed pipe is not a failure.
        Err(error) => {
            match error.use_stderr() {
                true => console.usage_error(&error.render().to_string()),
                false => {
                    let _ = error.print();
                }
            }
            if let Some(cli) = Cli::without_wrong_options(args, &error) {
                config::pipe_rescue(&cli).save(&console, &Shutdown::new());
            }
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let done = match manual(&cli, &console) {
        Ok(true) => Ok(Exit::of_run(None, None, console.is_incomplete())),
        Ok(false) => run_command(cli, &mut console),
        Err(error) => Err(error),
    };
    let exit = done.unwrap_or_else(|error| {
        console.error(error.to_string());
        Exit::of_run(Some(&error), None, false)
    });
    console.finish(exit);
    exit.into()
}

/// Prints what the program has to say about itself. Returns whether it was asked to.
fn manual(cli: &Cli, console: &Console) -> Result<bool> {
    let Some(manual) = cli::manual::requested(cli)? else {
        return Ok(false);
    };
    match manual.is_paged {
        true => pager::page(&manual.text, console),
        false => console.print(manual.text),
    }
    console.require_output();
    Ok(true)
}

fn run_command(cli: Cli, console: &mut Console) -> Result<Exit> {
    match config::state_command(&cli)? {
        Some(command) => {
            console.print(command.run()?);
            Ok(Exit::Ok)
        }
        None => import(cli, console),
    }
}

fn import(cli: Cli, console: &mut Console) -> Result<Exit> {
    let rescue = config::pipe_rescue(&cli);
    let origins = cli.origins.clone();
    match configure(cli, console) {
        Ok((config, shutdown)) => Ok(run::run(config, &rescue, console, &shutdown)),
        Err(error) => {
            console.error(origins.annotated(error.to_string()));
            rescue.save(console, &Shutdown::new());
            Ok(Exit::of_run(Some(&error), None, false))
        }
    }
}

fn configure(cli: Cli, console: &mut Console) -> Result<(Config, Shutdown)> {
    if let Some(output) = &cli.output.output {
        // Names without a file are reported later.
        refuse_log("--output", output, &discover(&cli.files, &mut |_| {}))?;
    }
    *console = Console::new(
        cli.output.debug,
        cli.output.quiet && !cli.log_format.prints_only(),
        cli.output.output.as_deref(),
    )?;
    Ok((Config::new(cli)?, Shutdown::install()?))
}
