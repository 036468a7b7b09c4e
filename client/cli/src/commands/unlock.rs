//! `unlock`: open the vault, without a person where that is possible.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{RefusalClass, RefusalCode, Request, SlotKind, UnlockWith};

use super::{PATIENCE, done, key, refused};
use crate::args::UnlockArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{report, say, secret_input, terminal};

pub(super) fn run(daemon: &Daemon, args: &UnlockArgs) -> Result<(), Failure> {
    let key = if args.passphrase {
        Some(secret_input::known_passphrase("Passphrase: ")?)
    } else if args.passphrase_stdin {
        Some(UnlockWith::Passphrase(secret_input::passphrase_from_stdin()?))
    } else if args.recovery_code {
        Some(secret_input::known_recovery_code()?)
    } else if args.recovery_code_stdin {
        Some(secret_input::recovery_code_from_stdin()?)
    } else {
        None
    };
    let generation = args.generation.unwrap_or_default();
    let mut client = daemon.connect()?;
    match key {
        Some(key) => done(&mut client, &Request::Unlock { key, generation })?,
        None => unlock(&mut client, generation)?,
    }
    if args.form.json {
        return report::print_json(&[("vault", "open".into()), ("generation", generation.into())]);
    }
    if generation > 0 {
        say::line(
            "The older generation has the vault's place. What had it before stands beside it, set aside.",
        )?;
    }
    say::line("The vault is open.")
}

/// What needs nobody first; then the person at the terminal.
fn unlock(client: &mut Client, generation: u8) -> Result<(), Failure> {
    let request = Request::Unlock { key: UnlockWith::Unattended, generation };
    let Err(error) = client.request(&request, PATIENCE) else {
        return Ok(());
    };
    if refused(&error) == Some(RefusalCode::NO_VAULT)
        || refused(&error).is_none_or(|code| code.class() != RefusalClass::Vault)
    {
        return Err(error.into());
    }
    let kinds: Vec<_> = match key::slots(client) {
        Ok(slots) => slots.iter().map(|slot| slot.kind).collect(),
        // The newest generation cannot be read; an older one may have any.
        Err(_) if generation > 0 => vec![SlotKind::Passphrase, SlotKind::RecoveryCode],
        Err(_) => return Err(error.into()),
    };
    if kinds.iter().all(|kind| kind.is_unattended()) {
        return Err(error.into());
    }
    if !terminal::is_interactive() {
        return Err(
            Failure::from(error).hint("procurify-token unlock --passphrase-stdin, or --recovery-code-stdin")
        );
    }
    if kinds.iter().any(|kind| kind.is_unattended()) {
        say::note(&Failure::from(error).message());
    }
    done(client, &Request::Unlock { key: key::known(&kinds)?, generation })
}
