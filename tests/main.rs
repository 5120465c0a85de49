//! Integration tests: the real binary with real HTTP, files, pipes, threads and signals.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod recorded; // what was recorded of Matomo's own importer, and where we do better
mod support; // the harness
