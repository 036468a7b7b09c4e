//! `slot` and `rekey`: what opens the vault.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{
    Answer, GenerationStatus, NewSlot, RecoveryCode, Request, SlotId, SlotKind, SlotStatus, UnlockWith,
};
use serde_json::{Value, json};

use super::{PATIENCE, key, unexpected};
use crate::args::{NewSlotKind, RekeyArgs, SlotCommand};
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, clock, report, say, secret_input, table, terminal, text, when};

pub(super) fn run(daemon: &Daemon, command: SlotCommand) -> Result<(), Failure> {
    match command {
        SlotCommand::List(args) => list(&mut *daemon.connect()?, args.json),
        SlotCommand::Add { kind, description, passphrase_stdin, no_confirm, proof, form } => {
            if kind == NewSlotKind::RecoveryCode && !no_confirm && !key::may_confirm() {
                return Err(key::nobody_to_show_it_to());
            }
            let slot = new_slot(kind, passphrase_stdin)?;
            let mut client = daemon.connect()?;
            let before = key::slots(&mut client)?;
            let answer = key::proven(&mut client, proof, |proof| Request::AddSlot {
                proof,
                slot: slot.clone(),
                description: description.clone(),
            })?;
            if let Answer::SlotAdded { slot, .. } = &answer
                && let Some(gone) = replaced(slot.kind, &before, &key::slots(&mut client)?)
            {
                say::note(&format!(
                    "It takes the place of slot {gone}, which the {} that is here does not open. What opened that one still opens \
                     copies of the vault from before, and with such a copy this vault, until procurify-token rekey.",
                    slot.kind
                ));
            }
            added(answer, !no_confirm, form.json)
        }
        SlotCommand::Remove { ids, keys } => {
            let mut client = daemon.connect()?;
            let opens_by_itself = |slots: &[SlotStatus]| slots.iter().any(|slot| slot.kind.is_unattended());
            let opened_by_itself = opens_by_itself(&key::slots(&mut client)?);
            let dropped = rekeyed(&mut client, ids.clone(), keys)?;
            if keys.form.json {
                let opens_by_itself = opens_by_itself(&key::slots(&mut client)?);
                return report::print_json(&[
                    ("removed", ids.iter().map(ToString::to_string).collect()),
                    ("dropped_generations", dropped.into()),
                    ("opens_by_itself", opens_by_itself.into()),
                ]);
            }
            say::line("Gone. The vault has a new key, which what was removed does not open.")?;
            say_dropped(dropped)?;
            if opened_by_itself && !opens_by_itself(&key::slots(&mut client)?) {
                say::warning(
                    "nothing opens the vault without a person any more: after each start of the daemon, no job gets a token until \
                     procurify-token unlock",
                );
            }
            Ok(())
        }
    }
}

/// The slot of a kind that has made room. Only of what is fetched: of what is typed there may be several, and somebody else may have
/// removed one meanwhile.
fn replaced(kind: SlotKind, before: &[SlotStatus], after: &[SlotStatus]) -> Option<SlotId> {
    let is_gone = |slot: &&SlotStatus| slot.kind == kind && after.iter().all(|other| other.id != slot.id);
    before.iter().filter(|_| kind.is_unattended()).find(is_gone).map(|slot| slot.id)
}

/// `rekey`: all slots stay.
pub(super) fn rekey(daemon: &Daemon, keys: RekeyArgs) -> Result<(), Failure> {
    let mut client = daemon.connect()?;
    let dropped = rekeyed(&mut client, Vec::new(), keys)?;
    if keys.form.json {
        return report::print_json(&[("dropped_generations", dropped.into())]);
    }
    say::line("The vault has a new key. All slots stay as they were.")?;
    say_dropped(dropped)
}

/// A slot of a kind, with what a person has to type for it.
pub(super) fn new_slot(kind: NewSlotKind, passphrase_stdin: bool) -> Result<NewSlot, Failure> {
    Ok(match kind {
        NewSlotKind::KeyFile => NewSlot::KeyFile,
        NewSlotKind::Passphrase if passphrase_stdin => {
            NewSlot::Passphrase(secret_input::passphrase_from_stdin()?)
        }
        NewSlotKind::Passphrase => NewSlot::Passphrase(secret_input::new_passphrase()?),
        NewSlotKind::RecoveryCode => NewSlot::RecoveryCode,
        NewSlotKind::Command => NewSlot::Command,
        NewSlotKind::Keychain => NewSlot::Keychain,
        NewSlotKind::Credential => NewSlot::Credential,
    })
}

fn list(client: &mut Client, json: bool) -> Result<(), Failure> {
    let (slots, generations) = match client.request(&Request::Slots, PATIENCE)? {
        Answer::Slots { slots, generations } => (slots, generations),
        other => return Err(unexpected(&other)),
    };
    if json {
        return print_json(&slots, &generations);
    }
    let now = clock::now();
    let date = |moment: Option<_>| moment.map_or_else(String::new, |moment| when::distance(moment, now));
    let rows = slots.iter().map(|slot| {
        let (id, kind) = (slot.id.to_string(), slot.kind.to_string());
        [id, kind, date(slot.added_at), slot.description.as_str().to_owned()]
    });
    table::rows(["SLOT", "OPENED BY", "ADDED", "DESCRIPTION"], rows)?;
    if generations.is_empty() {
        return Ok(());
    }
    say::line("")?;
    let rows = generations.iter().map(|generation| {
        let condition = if generation.is_whole { "whole" } else { "damaged" };
        [
            generation.number.to_string(),
            date(generation.written_at),
            condition.to_owned(),
            generation.path.clone(),
        ]
    });
    table::rows(["GENERATION", "WRITTEN", "CONDITION", "FILE"], rows)
}

fn print_json(slots: &[SlotStatus], generations: &[GenerationStatus]) -> Result<(), Failure> {
    let generation = |generation: &GenerationStatus| {
        json!({
            "number": generation.number, "path": generation.path, "whole": generation.is_whole,
            "written_at": generation.written_at.map(when::stamp),
        })
    };
    report::print_json(&[
        ("slots", slots.iter().map(slot_json).collect()),
        ("generations", generations.iter().map(generation).collect()),
    ])
}

fn slot_json(slot: &SlotStatus) -> Value {
    json!({
        "id": slot.id.to_string(), "kind": slot.kind.to_string(), "description": slot.description.as_str(),
        "added_at": slot.added_at.map(when::stamp),
    })
}

fn added(answer: Answer, confirm: bool, is_json: bool) -> Result<(), Failure> {
    let Answer::SlotAdded { slot, key_file, recovery_code } = answer else { return Err(unexpected(&answer)) };
    if is_json {
        let shown = recovery_code.as_ref().filter(|_| !confirm).map(bearer::recovery_code);
        let parts =
            [("slot", slot_json(&slot)), ("key_file", key_file.into()), ("recovery_code", shown.into())];
        if confirm {
            hand_over(recovery_code.as_ref(), confirm, &slot)?;
        }
        return report::print_json(&parts);
    }
    say::line(format!("The vault is opened by a {} as well: slot {}.", slot.kind, slot.id))?;
    if let Some(key_file) = key_file {
        say::line(format!("Back up {}, apart from the vault.", text::one_line(&key_file)))?;
    }
    hand_over(recovery_code.as_ref(), confirm, &slot)
}

fn hand_over(code: Option<&RecoveryCode>, confirm: bool, slot: &SlotStatus) -> Result<(), Failure> {
    match code {
        Some(code) => key::hand_over(code, confirm).map_err(|failure| {
            failure
                .while_doing("the recovery code was not confirmed")
                .hint(format!("procurify-token slot remove {} makes it worthless", slot.id))
        }),
        None => Ok(()),
    }
}

/// Gives the vault a new key without some slots; says how many older generations were dropped.
fn rekeyed(client: &mut Client, without: Vec<SlotId>, from: RekeyArgs) -> Result<u32, Failure> {
    let slots = key::slots(client)?;
    let personal = |slot: &&SlotStatus| {
        matches!(slot.kind, SlotKind::Passphrase | SlotKind::RecoveryCode) && !without.contains(&slot.id)
    };
    let staying: Vec<_> = slots.iter().filter(personal).collect();
    let keys = match (staying.is_empty(), from.keys_stdin) {
        (true, _) => Vec::new(),
        (false, true) => secret_input::keys_from_stdin()?,
        (false, false) => typed_keys(&staying)?,
    };
    match client.request(&Request::Rekey { without, keys }, PATIENCE)? {
        Answer::Rekeyed { dropped } => Ok(dropped),
        other => Err(unexpected(&other)),
    }
}

fn typed_keys(staying: &[&SlotStatus]) -> Result<Vec<UnlockWith>, Failure> {
    if !terminal::is_interactive() {
        return Err(Failure::new(
            ExitCode::Usage,
            "stdin is not a terminal, so nobody can be asked for what opens the slots that stay",
        )
        .hint("give it by --keys-stdin, one to a line, or remove those slots, too"));
    }
    say::note("The vault gets a new key, so what opens the slots that stay is needed once more.");
    let ask = |slot: &&SlotStatus| {
        let description = match slot.description.as_str() {
            "" => String::new(),
            text => format!(", {}", text::one_line(text)),
        };
        let question = format!("{} of slot {}{description}: ", capitalised(&slot.kind.to_string()), slot.id);
        match slot.kind {
            SlotKind::RecoveryCode => secret_input::known_key(&question),
            _ => secret_input::known_passphrase(&question),
        }
    };
    staying.iter().map(ask).collect()
}

fn say_dropped(dropped: u32) -> Result<(), Failure> {
    match dropped {
        0 => say::line("There were no older generations that the key so far could have opened."),
        1 => say::line("The older generation, which the key so far could still open, is gone, too."),
        more => say::line(format!(
            "{more} older generations, which the key so far could still open, are gone, too."
        )),
    }?;
    say::line(
        "Backups that were made before, and vaults that were put aside (procurify-token doctor names them), are as they were: what \
         opened them still does.",
    )
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
