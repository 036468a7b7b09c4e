//! Keys that people have: a recovery code is shown and typed back, and somebody shows that he could open the vault.

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{
    Answer, RecoveryCode, RefusalCode, Request, SlotKind, SlotStatus, UnlockWith,
};

use super::{PATIENCE, refused, unexpected};
use crate::args::ProofArgs;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, dialog, interrupt, say, secret_input, terminal};

/// Shows a recovery code, once, and has it typed back. Where nobody is asked, it goes to stdout.
pub(super) fn hand_over(code: &RecoveryCode, confirm: bool) -> Result<(), Failure> {
    if !confirm {
        return say::line(format!("Recovery code: {}", bearer::recovery_code(code)));
    }
    interrupt::so_far("the recovery code that was shown is one, whether it was written down or not", "");
    typed_back(code, "Type it back, to see that it was written down rightly: ", true).map(|_| ())
}

/// The same where the person may do without: Enter alone is enough. Says whether it was typed back.
pub(super) fn offer(code: &RecoveryCode) -> Result<bool, Failure> {
    typed_back(code, "Type it back (Enter alone: not now): ", false)
}

fn typed_back(code: &RecoveryCode, question: &str, must_be: bool) -> Result<bool, Failure> {
    let sentence = "This recovery code opens the vault when everything else is lost. Write it on paper; it is not shown again.";
    terminal::show(&format!(
        "\n{}\n\n    {}\n\n",
        terminal::fitted(sentence).join("\n"),
        bearer::recovery_code(code)
    ))?;
    loop {
        let typed = dialog::ask_masked(question)?;
        if !must_be && secret_input::is_nothing(&typed) {
            return Ok(false);
        }
        match RecoveryCode::parse(&typed) {
            Ok(typed) if bearer::is_same_code(&typed, code) => {
                say::note("The recovery code is right.");
                return Ok(true);
            }
            Ok(_) => say::note("This is another recovery code. Once more:"),
            Err(error) => say::note(&format!("{error}. Once more:")),
        }
    }
}

/// Asks for something of a vault that opens without anybody, and where it does not, for somebody who can open it.
pub(super) fn proven(
    client: &mut Client,
    from: ProofArgs,
    request: impl Fn(UnlockWith) -> Request,
) -> Result<Answer, Failure> {
    if from.key_stdin {
        return Ok(client.request(&request(secret_input::key_from_stdin()?), PATIENCE)?);
    }
    let kinds: Vec<_> = slots(client)?.iter().map(|slot| slot.kind).collect();
    if kinds.iter().any(|kind| kind.is_unattended()) {
        match client.request(&request(UnlockWith::Unattended), PATIENCE) {
            // The key file may be gone, and the vault open since before that.
            Err(error) if refused(&error) == Some(RefusalCode::WRONG_KEY) && terminal::is_interactive() => {}
            outcome => return Ok(outcome?),
        }
    }
    say::note("For this, somebody has to show that he can open the vault.");
    Ok(client.request(&request(known(&kinds)?), PATIENCE)?)
}

/// The passphrase or recovery code of a vault with these slots, typed.
pub(super) fn known(kinds: &[SlotKind]) -> Result<UnlockWith, Failure> {
    let has = |kind| kinds.contains(&kind);
    let question = match (has(SlotKind::Passphrase), has(SlotKind::RecoveryCode)) {
        (true, true) => "Passphrase or recovery code: ",
        (false, true) => "Recovery code: ",
        (true | false, false) => "Passphrase: ",
    };
    secret_input::known_key(question)
}

/// The slots of the vault.
pub(super) fn slots(client: &mut Client) -> Result<Vec<SlotStatus>, Failure> {
    match client.request(&Request::Slots, PATIENCE)? {
        Answer::Slots { slots, .. } => Ok(slots),
        other => Err(unexpected(&other)),
    }
}

/// Whether somebody is there to type a recovery code back. Where nobody is, none is made unless it may be printed.
pub(super) fn may_confirm() -> bool {
    terminal::is_interactive()
}

/// That nobody could be shown a recovery code.
pub(super) fn nobody_to_show_it_to() -> Failure {
    Failure::new(ExitCode::Usage, "stdin is not a terminal, so nobody can be shown a recovery code")
        .hint("--no-confirm prints it on stdout")
}
