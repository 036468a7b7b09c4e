//! `unlock`: open the vault, with its key file or a passphrase.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{RefusalClass, RefusalCode, Request, UnlockWith};

use super::{PATIENCE, done, refused};
use crate::args::UnlockArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{say, secret_input, terminal};

pub(super) fn run(daemon: &Daemon, args: &UnlockArgs) -> Result<(), Failure> {
    let passphrase = match (args.passphrase, args.passphrase_stdin) {
        (true, _) => Some(secret_input::known_passphrase()?),
        (_, true) => Some(secret_input::passphrase_from_stdin()?),
        _ => None,
    };
    let mut client = daemon.connect()?;
    match passphrase {
        Some(passphrase) => done(&mut client, &Request::Unlock { key: UnlockWith::Passphrase(passphrase) })?,
        None => unlock(&mut client)?,
    }
    say::line("The vault is open.")
}

/// The key file first, since it needs nobody; then the person at the terminal.
fn unlock(client: &mut Client) -> Result<(), Failure> {
    let Err(error) = client.request(&Request::Unlock { key: UnlockWith::KeyFile }, PATIENCE) else {
        return Ok(());
    };
    let may_have_passphrase = refused(&error).is_some_and(|code| {
        code == RefusalCode::WRONG_KEY
            || (code.class() == RefusalClass::Vault && code != RefusalCode::NO_VAULT)
    });
    if !may_have_passphrase {
        return Err(error.into());
    }
    if !terminal::is_interactive() {
        return Err(
            Failure::from(error).hint("a vault with a passphrase: procurify-token unlock --passphrase-stdin")
        );
    }
    say::note("No key file opens it, so its passphrase is asked for.");
    done(client, &Request::Unlock { key: UnlockWith::Passphrase(secret_input::known_passphrase()?) })
}
