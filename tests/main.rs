//! Integration tests: the real binary with real HTTP, files, pipes, threads and signals.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod bad_logs; // no logs, or none that can be read
mod command_lines; // as they stand in cron tables and pipes
mod concurrency; // many recorders at once
mod connection; // no way to Matomo
mod listening; // radio logs: the time that listeners stayed
mod recorded; // what was recorded of Matomo's own importer, and where we do better
mod refusals; // Matomo will not
mod support; // the harness
mod wrong_use; // command lines that cannot be meant
