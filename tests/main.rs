//! Integration tests: the real binary with real HTTP, files, pipes, threads and signals.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod account; // every line has one end
mod bad_logs; // no logs, or none that can be read
mod command_lines; // as they stand in cron tables and pipes
mod concurrency; // many recorders at once
mod connection; // no way to Matomo
mod dates;
mod doubt; // answers that never came
mod explain; // --explain
mod fake_matomo; // the server of these tests
mod hosts; // hosts without a site
mod kindness; // what suits the server
mod listening; // radio logs and listening sessions
mod memory; // what a long log takes
mod output; // what is printed, and where
mod past_days; // which hits are in flight together
mod pipe; // stdin that stays open
mod read_back; // what Matomo has of what it acknowledged
mod readme; // its promises
mod recorded; // what was recorded of Matomo's own importer, and where we do better
mod refusals; // Matomo will not
mod rejects; // --rejects
mod reliability; // nothing lost, nothing twice
mod retry; // failures that heal
mod sandbox; // --sandbox
mod signals; // SIGINT, SIGTERM, SIGHUP
mod support; // the harness
mod token; // where it comes from, and where it never goes
mod verify; // --verify and --repair
mod wrong_use; // command lines that cannot be meant
