//! The daemon's program: reads its arguments and runs.

use std::process::ExitCode;

use clap::Parser as _;
use procurify_tokend::{cli::Arguments, startup};
use zeroizing_alloc::ZeroAlloc;

/// Whatever is freed is wiped first.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

#[expect(
    clippy::print_stderr,
    reason = "the log may not run yet, and whoever started the daemon should see why"
)]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("procurify-tokend: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn run(arguments: &Arguments) -> anyhow::Result<()> {
    startup::run(arguments)
}

#[cfg(windows)]
fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.service {
        return startup::run(arguments);
    }
    let (log, arguments) = (procurify_tokend::config::Folders::of_system().log(), arguments.clone());
    procurify_tokend::supervisor::run_as_service(log, move || startup::run(&arguments))
}
