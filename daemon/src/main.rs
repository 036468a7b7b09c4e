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
    match startup::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("procurify-tokend: {problem:#}");
            ExitCode::FAILURE
        }
    }
}
