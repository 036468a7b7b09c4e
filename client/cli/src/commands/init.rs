//! `init`: make the vault, and say what to keep safe.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{Answer, NewSlot, RecoveryCode, Request};
use serde_json::Value;

use super::{PATIENCE, key, slot, unexpected};
use crate::args::{InitArgs, NewSlotKind};
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, report, say, text};

pub(super) fn run(daemon: &Daemon, args: &InitArgs) -> Result<(), Failure> {
    let kind = if args.passphrase || args.passphrase_stdin { NewSlotKind::Passphrase } else { args.slot };
    let mut slots = vec![slot::new_slot(kind, args.passphrase_stdin)?];
    let wants_code = !args.no_recovery_code && kind != NewSlotKind::RecoveryCode;
    let may_have_code = args.no_confirm || key::may_confirm();
    if wants_code && may_have_code {
        slots.push(NewSlot::RecoveryCode);
    }
    if kind == NewSlotKind::RecoveryCode && !may_have_code {
        return Err(key::nobody_to_show_it_to());
    }
    let mut client = daemon.connect()?;
    let vault = Vault::make(&mut client, slots)?;
    if args.form.json {
        return report::print_json(&vault.json(!args.no_confirm)?);
    }
    vault.announce(!args.no_confirm)?;
    if matches!(kind, NewSlotKind::Passphrase | NewSlotKind::RecoveryCode) {
        say::line(
            "Only your passphrase or recovery code opens it, after each start of the daemon: procurify-token unlock",
        )?;
    }
    if wants_code && !may_have_code {
        say::line(NO_CODE)?;
    }
    say::line("Next: procurify-token add DOMAIN")
}

/// A vault that was just made.
pub(super) struct Vault {
    path: String,
    key_file: Option<String>,
    recovery_code: Option<RecoveryCode>,
}

impl Vault {
    pub(super) fn make(client: &mut Client, slots: Vec<NewSlot>) -> Result<Self, Failure> {
        match client.request(&Request::Init { slots }, PATIENCE) {
            Ok(Answer::Initialised { vault, key_file, recovery_code }) => {
                Ok(Self { path: vault, key_file, recovery_code })
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(match Failure::from(error) {
                Failure::Told { code: code @ ExitCode::Conflict, message, hint } if hint.is_empty() => {
                    Failure::new(code, message).hint("it stays as it is; next: procurify-token add DOMAIN")
                }
                other => other,
            }),
        }
    }

    /// With a key file, and with a recovery code if somebody is there to write it down.
    pub(super) fn make_by_default(client: &mut Client) -> Result<Self, Failure> {
        let mut slots = vec![NewSlot::KeyFile];
        if key::may_confirm() {
            slots.push(NewSlot::RecoveryCode);
        }
        Self::make(client, slots)
    }

    /// Says where it is and what to back up, and hands over the recovery code.
    pub(super) fn announce(&self, confirm: bool) -> Result<(), Failure> {
        say::line(format!("The vault is {}", text::one_line(&self.path)))?;
        if let Some(key_file) = &self.key_file {
            say::line(format!("Its key is   {}", text::one_line(key_file)))?;
            say::line(
                "Back up both, in different places: together they open every client secret, alone neither does.",
            )?;
        } else {
            say::line("Back it up: procurify-token backup FILE. Whatever opens the vault opens the backup.")?;
        }
        self.hand_over(confirm)
    }

    /// The same for programs: a recovery code is among it only where nobody is shown it.
    pub(super) fn json(&self, confirm: bool) -> Result<[(&'static str, Value); 3], Failure> {
        if confirm {
            self.hand_over(confirm)?;
        }
        let code = self
            .recovery_code
            .as_ref()
            .filter(|_| !confirm)
            .map(|code| bearer::recovery_code(code).to_string());
        Ok([
            ("vault", self.path.as_str().into()),
            ("key_file", self.key_file.clone().into()),
            ("recovery_code", code.into()),
        ])
    }

    fn hand_over(&self, confirm: bool) -> Result<(), Failure> {
        match &self.recovery_code {
            Some(code) => key::hand_over(code, confirm).map_err(|failure| {
                failure.while_doing("the vault is made, and its recovery code was not confirmed").hint(
                    "procurify-token slot list names its slot; procurify-token slot remove ID makes it worthless, and \
                     procurify-token slot add recovery-code makes another",
                )
            }),
            None => Ok(()),
        }
    }
}

/// Said where a vault is made and nobody can be shown a recovery code.
pub(super) const NO_CODE: &str = "It has no recovery code, since nobody could be shown one. At a terminal: procurify-token slot add \
     recovery-code";
