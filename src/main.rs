use std::process::ExitCode;

/// That of musl takes half as long again for a whole import.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    import_logs::run(std::env::args_os())
}
