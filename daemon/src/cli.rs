//! The command line: words in, valid types out.

use std::path::PathBuf;

use clap::Parser;

/// Keeps Procurify client secrets sealed and their access tokens ready.
///
/// Usually started by a service manager, or by `procurify-token` when no daemon answers. It serves its own user and
/// root over a Unix socket.
#[derive(Clone, Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Read this configuration instead of the user's
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Listen here [default: where clients look]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Use the system's folders and socket: /etc, /var/lib and /run/procurify-token
    #[arg(long)]
    pub system: bool,

    /// Print the line "ready" when the socket answers, then close standard output
    #[arg(long)]
    pub announce_ready: bool,

    /// Run as a service of Windows, which starts it: procurify-token service install
    #[cfg(windows)]
    #[arg(long, requires = "system")]
    pub service: bool,

    /// Print the configuration file with every key, its meaning and its default
    #[arg(long)]
    pub print_default_config: bool,

    /// Print a new key, as a line of a key file: for whatever `[vault] command` asks, or systemd-creds
    #[arg(long)]
    pub new_key: bool,

    /// Read the configuration, say whether it is good, and exit
    #[arg(long)]
    pub check_config: bool,

    /// Look for what is amiss, print it as JSON, and exit: what `procurify-token doctor` shows where no daemon runs
    #[arg(long)]
    pub doctor: bool,
}

const EXAMPLES: &str = "\
Examples:
  procurify-tokend                          for yourself, in the foreground
  procurify-tokend --print-default-config > ~/.config/procurify-token/config.toml
  kill -HUP $(pidof procurify-tokend)       read the configuration again";
