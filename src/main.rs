//! Reads the command line, runs, turns the result into an exit status; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    import_logs::run(std::env::args_os())
}
