//! `service`: has the system's service manager start the daemon, now and after each boot, or no longer.
//!
//! What is there is looked at first (`facts.rs`), from that follows what is to be done (`plan.rs`, pure), and that is either shown or done
//! step by step (`step.rs`). So `--dry-run` shows what would be done and nothing else. A vault, a key or a configuration is never removed
//! here, and units that a package has brought are used as they are.

#[cfg(unix)]
mod facts;
#[cfg(unix)]
mod launchd;
#[cfg(unix)]
mod plan;
#[cfg(unix)]
mod step;
#[cfg(unix)]
mod systemd;
#[cfg(unix)]
mod units;
#[cfg(windows)]
mod windows;

use crate::args::ServiceArgs;
use crate::exit::Failure;

#[cfg(windows)]
pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    windows::run(args)
}

#[cfg(unix)]
pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    use crate::args::ServiceCommand;
    if cfg!(target_os = "macos") {
        return launchd::run(args);
    }
    match args.command {
        ServiceCommand::Install { whose, dry_run, key_file } => {
            systemd::install(Whose::of(whose), dry_run, key_file)
        }
        ServiceCommand::Uninstall { whose, dry_run } => systemd::uninstall(Whose::of(whose), dry_run),
        ServiceCommand::Status { whose, json } => systemd::status(Whose::of(whose), json),
    }
}

/// Whose service it is.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    User,
    System,
}

#[cfg(unix)]
impl Whose {
    fn of(args: crate::args::WhoseArgs) -> Self {
        let is_default = crate::system::is_root() && !args.user;
        if args.system || is_default { Self::System } else { Self::User }
    }

    /// How it is named on the command line.
    fn option(self) -> &'static str {
        match self {
            Self::User => "--user",
            Self::System => "--system",
        }
    }
}
