use std::process::ExitCode;

fn main() -> ExitCode {
    import_logs::run(std::env::args_os())
}
