//! Reads the command line, runs, turns the result into an exit status; nothing else.

fn main() {}
