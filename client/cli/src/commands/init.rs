//! `init`: make the vault, and say what to keep safe.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{Answer, Description, NewSlot, RecoveryCode, Request, UnlockWith};
use serde_json::Value;

use super::{PATIENCE, key, slot, unexpected};
use crate::args::{InitArgs, NewSlotKind};
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, dialog, interrupt, report, say, text};

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
        say::sentence(NO_CODE)?;
    }
    say::line("Next: procurify-token add DOMAIN")
}

/// Makes one beside what was asked for, with a key file. Says so where somebody reads it; else it is part of the outcome.
pub(super) fn make_first(client: &mut Client, is_json: bool) -> Result<Value, Failure> {
    if !is_json {
        say::sentence("There is no vault yet, so one is made with a key file.")?;
    }
    let vault = Vault::make_with_key_file(client)?;
    if is_json {
        return Ok(vault.json(true)?.into_iter().map(|(name, part)| (name.to_owned(), part)).collect());
    }
    vault.announce(true)?;
    Ok(Value::Null)
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

    /// With a key file, and with nothing that a person has to keep.
    pub(super) fn make_with_key_file(client: &mut Client) -> Result<Self, Failure> {
        Self::make(client, vec![NewSlot::KeyFile])
    }

    /// Says where it is and what to back up, and hands over the recovery code.
    pub(super) fn announce(&self, confirm: bool) -> Result<(), Failure> {
        say::line(format!("The vault is {}", text::one_line(&self.path)))?;
        if let Some(key_file) = &self.key_file {
            say::line(format!("Its key is   {}", text::one_line(key_file)))?;
            say::sentence(
                "Back up both, in different places: together they open every client secret, alone neither does.",
            )?;
        } else {
            say::sentence(
                "Back it up: procurify-token backup FILE. Whatever opens the vault opens the backup.",
            )?;
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

/// Asks whether a vault that opens by itself should have a recovery code as well. One that is not typed back is taken out of
/// the vault again: a code that nobody has written down would only seem to be of use.
///
/// `done` is what is there by now, for who breaks it off.
pub(super) fn offer_recovery_code(client: &mut Client, done: &str) -> Result<(), Failure> {
    if !key::may_confirm() {
        return say::sentence(NO_CODE);
    }
    let without = || interrupt::so_far(format!("{done}; the vault has no recovery code"), MAKE_A_CODE);
    without();
    let question = "A recovery code on paper opens the vault when its key file is lost. Make one now? [Y/n] ";
    if !matches!(dialog::ask(question)?.to_ascii_lowercase().as_str(), "" | "y" | "yes") {
        return say::sentence(NO_CODE_YET);
    }
    let (proof, slot) = (UnlockWith::Unattended, NewSlot::RecoveryCode);
    let request = Request::AddSlot { proof, slot, description: Description::default() };
    let (id, code) = match client.request(&request, PATIENCE)? {
        Answer::SlotAdded { slot, recovery_code: Some(code), .. } => (slot.id, code),
        other => return Err(unexpected(&other)),
    };
    interrupt::so_far(
        format!("{done}; the recovery code that was shown is one, whether it was written down or not"),
        format!("procurify-token slot remove {id} makes it worthless"),
    );
    let outcome = key::offer(&code);
    if matches!(outcome, Ok(true)) {
        return Ok(());
    }
    let request = Request::Rekey { without: vec![id], keys: Vec::new() };
    if let Err(error) = client.request(&request, PATIENCE) {
        return Err(Failure::from(error)
            .while_doing("the recovery code was not typed back, and is still one")
            .hint(format!("procurify-token slot remove {id} makes it worthless")));
    }
    without();
    say::sentence(NOT_TYPED_BACK)?;
    match outcome {
        Err(Failure::Told { code: ExitCode::Interrupted, .. }) => Err(interrupt::failure()),
        // What became of the code does not undo what is done.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Said where a vault is made and nobody can be shown a recovery code.
pub(super) const NO_CODE: &str = "It has no recovery code, since nobody could be shown one. At a terminal: procurify-token slot add \
     recovery-code";
/// Said where a vault is made, and it is not the time for a recovery code.
pub(super) const NO_CODE_YET: &str =
    "The vault has no recovery code. Whenever you like: procurify-token slot add recovery-code";
/// What to type for one.
const MAKE_A_CODE: &str = "procurify-token slot add recovery-code makes one";
const NOT_TYPED_BACK: &str = "The recovery code was not typed back, so it is worthless now. For another: procurify-token slot add recovery-code";
