//! `init`: make the vault, and say what to keep safe.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{Answer, Request, UnlockWith};

use super::{PATIENCE, unexpected};
use crate::args::InitArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{say, secret_input, text};

pub(super) fn run(daemon: &Daemon, args: &InitArgs) -> Result<(), Failure> {
    let key = match (args.passphrase, args.passphrase_stdin) {
        (true, _) => UnlockWith::Passphrase(secret_input::new_passphrase()?),
        (_, true) => UnlockWith::Passphrase(secret_input::passphrase_from_stdin()?),
        _ => UnlockWith::KeyFile,
    };
    let mut client = daemon.connect()?;
    let vault = Vault::make(&mut client, key)?;
    vault.announce()?;
    say::line("Next: procurify-token add DOMAIN")
}

/// A vault that was just made.
pub(super) struct Vault {
    path: String,
    key_file: Option<String>,
}

impl Vault {
    pub(super) fn make(client: &mut Client, key: UnlockWith) -> Result<Self, Failure> {
        match client.request(&Request::Init { key }, PATIENCE) {
            Ok(Answer::Initialised { vault, key_file }) => Ok(Self { path: vault, key_file }),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(match Failure::from(error) {
                Failure::Told { code: code @ ExitCode::Conflict, message, hint } if hint.is_empty() => {
                    Failure::new(code, message).hint("it stays as it is; next: procurify-token add DOMAIN")
                }
                other => other,
            }),
        }
    }

    /// Says where it is and what to back up.
    pub(super) fn announce(&self) -> Result<(), Failure> {
        say::line(format!("The vault is {}", text::one_line(&self.path)))?;
        if let Some(key_file) = &self.key_file {
            say::line(format!("Its key is   {}", text::one_line(key_file)))?;
            return say::line(
                "Back up both, in different places: together they open every client secret, alone neither does.",
            );
        }
        say::line("Only your passphrase opens it, after each start of the daemon: procurify-token unlock")?;
        say::line("Back up the vault, and keep the passphrase elsewhere. Nobody can recover it.")
    }
}
