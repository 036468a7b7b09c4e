//! The options of `service`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    pub(crate) command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Have the service manager start the daemon, now and after each boot
    #[command(after_help = super::help::SERVICE_INSTALL)]
    Install {
        #[command(flatten)]
        whose: WhoseArgs,
        /// Print the files and commands, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// With --system: keep the vault's key in a file, instead of sealing it for this machine
        #[arg(long)]
        key_file: bool,
    },
    /// Have the daemon started by nobody any more; vault, keys and configuration stay
    #[command(after_help = super::help::SERVICE_UNINSTALL)]
    Uninstall {
        #[command(flatten)]
        whose: WhoseArgs,
        /// Print the files and commands, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show whether the service is installed, enabled and running, since when, and what to type
    #[command(after_help = super::help::SERVICE_STATUS)]
    Status {
        #[command(flatten)]
        whose: WhoseArgs,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// Whose daemon it is.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct WhoseArgs {
    /// This user's [default, but for root]
    #[arg(long)]
    pub(crate) user: bool,
    /// The machine's, with a user of its own [default for root]
    #[arg(long)]
    pub(crate) system: bool,
}
