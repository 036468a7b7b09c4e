//! Storing client credentials that somebody has typed. Procurify shows a secret only once, so where it cannot be stored it is kept
//! here, in memory, until whatever is in the way is mended or the person gives up.
//!
//! Does not judge what is in the way: the failure says it.

use crate::exit::{ExitCode, Failure};
use crate::{dialog, interrupt};

/// Makes the attempt to store `what`; where that fails, and it was typed, once more as often as the person wants. An attempt is told whether
/// it `is_again`: one before it may have done more than could be told. `look` is what to type to see what is there.
pub(super) fn stored<T>(
    what: &str,
    look: &str,
    was_typed: bool,
    mut attempt: impl FnMut(bool) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let unknown = format!("{what} is not known to be stored");
    let keep_the_dialog = "do not close the dialog in Procurify yet";
    let mut is_again = false;
    loop {
        let failure = match attempt(is_again) {
            Err(failure) if is_about_storing(&failure) => failure,
            outcome => return outcome,
        };
        if !was_typed || is_for_good(&failure) {
            return Err(failure.while_doing(&format!("{keep_the_dialog}, {unknown}")));
        }
        is_again = true;
        let code = failure.while_doing(&unknown).tell();
        let given_up = format!("{unknown}, so {keep_the_dialog}");
        let look = format!("{look} says whether it is");
        interrupt::so_far(&given_up, &look);
        // Masked, for whoever takes it for the question for the secret.
        match dialog::ask_masked("What was typed is kept here. Enter tries again, Ctrl-C gives up. ") {
            Ok(_) => {}
            Err(interrupted) if interrupted.is_of(ExitCode::Interrupted) => return Err(interrupted),
            Err(_) => return Err(Failure::new(code, given_up).hint(look)),
        }
    }
}

/// Somebody who breaks it off is told how far things have come.
fn is_about_storing(failure: &Failure) -> bool {
    matches!(failure, Failure::Told { .. }) && !failure.is_of(ExitCode::Interrupted)
}

/// Nothing that anybody mends meanwhile makes the same request succeed.
fn is_for_good(failure: &Failure) -> bool {
    [ExitCode::Conflict, ExitCode::Usage, ExitCode::UnknownCredential]
        .into_iter()
        .any(|code| failure.is_of(code))
}
