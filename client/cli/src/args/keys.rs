//! The options of the commands that are about the vault as a whole: what opens it, and copies of it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use procurify_token_protocol::{Description, SlotId};

use super::{JsonArgs, help};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct InitArgs {
    /// What opens it, beside the recovery code
    #[arg(long, value_name = "KIND", default_value = "key-file")]
    pub(crate) slot: NewSlotKind,
    /// Type a passphrase instead: --slot passphrase
    #[arg(long, conflicts_with = "slot")]
    pub(crate) passphrase: bool,
    /// Read the passphrase from stdin
    #[arg(long, conflicts_with_all = ["slot", "passphrase"])]
    pub(crate) passphrase_stdin: bool,
    /// Make no recovery code
    #[arg(long)]
    pub(crate) no_recovery_code: bool,
    /// Print the recovery code on stdout, and do not ask for it to be typed back
    #[arg(long, conflicts_with = "no_recovery_code")]
    pub(crate) no_confirm: bool,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, and clap lets one of them be set"
)]
pub(crate) struct UnlockArgs {
    /// Type the passphrase without trying first what needs nobody
    #[arg(long, group = "key")]
    pub(crate) passphrase: bool,
    /// Read the passphrase from stdin
    #[arg(long, group = "key")]
    pub(crate) passphrase_stdin: bool,
    /// Type the recovery code
    #[arg(long, group = "key")]
    pub(crate) recovery_code: bool,
    /// Read the recovery code from stdin
    #[arg(long, group = "key")]
    pub(crate) recovery_code_stdin: bool,
    /// Go back to an older generation: 1 is the one before the newest. What has its place is set aside
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) generation: Option<u8>,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

/// Something that may open a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NewSlotKind {
    /// The key file of the daemon's configuration; made where it is missing
    KeyFile,
    /// A passphrase
    Passphrase,
    /// A code to be written on paper, shown once
    RecoveryCode,
    /// What `[vault] command` in the daemon's configuration prints
    Command,
    /// A key in the keychain of the user's session
    Keychain,
    /// A credential that systemd hands to the daemon
    Credential,
}

#[derive(Debug, Args)]
pub(crate) struct SlotArgs {
    #[command(subcommand)]
    pub(crate) command: SlotCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SlotCommand {
    /// Show what opens the vault, and its older generations
    #[command(after_help = help::SLOT_LIST)]
    List(JsonArgs),
    /// Have the vault opened by something more
    #[command(after_help = help::SLOT_ADD)]
    Add {
        /// What opens it
        kind: NewSlotKind,
        /// What it is for; whoever reads the vault's file can read this, too
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        description: Description,
        /// Read the new passphrase from stdin
        #[arg(long, conflicts_with = "key_stdin")]
        passphrase_stdin: bool,
        /// Print the recovery code on stdout, and do not ask for it to be typed back
        #[arg(long)]
        no_confirm: bool,
        #[command(flatten)]
        proof: ProofArgs,
        #[command(flatten)]
        form: JsonArgs,
    },
    /// Have the vault no longer opened by something, and give it a new key
    #[command(after_help = help::SLOT_REMOVE)]
    Remove {
        /// As `slot list` shows them
        #[arg(value_name = "ID", required = true)]
        ids: Vec<SlotId>,
        #[command(flatten)]
        keys: RekeyArgs,
    },
}

/// What shows that one could open the vault, where that needs a person.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ProofArgs {
    /// Read a passphrase or recovery code that opens the vault from stdin
    #[arg(long)]
    pub(crate) key_stdin: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RekeyArgs {
    /// Read the passphrases and recovery codes of the slots that stay from stdin, one to a line
    #[arg(long)]
    pub(crate) keys_stdin: bool,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// Where it is written to or read from
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) proof: ProofArgs,
}
