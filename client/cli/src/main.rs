//! `procurify-token`: enrols Procurify credentials and hands out their access tokens.
//!
//! The map: `args` reads the command line, `commands` does what it says, each through `connect` (which finds the
//! daemon, or starts one by `autostart`) and, where the API is called, through `http`. How it ends is `exit`'s. The
//! command holds no state and touches no file of the vault: all of that is the daemon's.

#![cfg_attr(all(target_os = "linux", target_env = "gnu", not(test)), no_main)]

mod aftermath;
mod args;
mod autostart;
mod bearer;
mod clock;
mod commands;
mod connect;
mod demo;
mod dialog;
#[cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
mod entry;
mod exit;
mod http;
mod interrupt;
mod kept_file;
mod overview;
mod pair;
mod pasted;
mod proxy;
mod records;
mod report;
mod say;
mod screen;
mod secret_input;
mod state;
mod supervised;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;
mod table;
mod terminal;
mod text;
mod when;

/// Wipes everything that is freed: tokens and secrets pass through buffers of libraries that do not.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

#[cfg(any(not(all(target_os = "linux", target_env = "gnu")), test))]
fn main() -> std::process::ExitCode {
    u8::try_from(run()).map_or(std::process::ExitCode::FAILURE, Into::into)
}

/// Everything, and the exit code that it ends with.
fn run() -> i32 {
    system::forbid_core_dumps();
    match args::read().and_then(commands::run) {
        Ok(()) => exit::ExitCode::Ok.number().into(),
        Err(failure) => aftermath::tell(failure).number().into(),
    }
}
