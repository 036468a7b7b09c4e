//! Storing client credentials that somebody has typed. Procurify shows a secret only once, so where it cannot be stored it is kept
//! here, in memory, until whatever is in the way is mended or the person gives up.
//!
//! Does not judge what is in the way: the failure says it.

use crate::exit::{ExitCode, Failure};
use crate::{dialog, interrupt};

/// Makes the attempt to store `what`; where that fails, and it was typed, once more as often as the person wants. `look` is what to
/// type to see what is there.
pub(super) fn stored<T>(
    what: &str,
    look: &str,
    was_typed: bool,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let unknown = format!("{what} is not known to be stored");
    let keep_the_dialog = "do not close the dialog in Procurify yet";
    loop {
        let failure = match attempt() {
            Err(failure) if is_about_storing(&failure) => failure,
            outcome => return outcome,
        };
        if !was_typed || is_for_good(&failure) {
            return Err(failure.while_doing(&format!("{keep_the_dialog}, {unknown}")));
        }
        failure.while_doing(&unknown).tell();
        interrupt::so_far(format!("{unknown}, so {keep_the_dialog}"), format!("{look} says whether it is"));
        dialog::ask("What was typed is kept here. Enter tries again, Ctrl-C gives up. ")?;
    }
}

/// Somebody who breaks it off is told how far things have come.
fn is_about_storing(failure: &Failure) -> bool {
    matches!(failure, Failure::Told { .. }) && !failure.is_of(ExitCode::Interrupted)
}

/// Nothing that anybody mends meanwhile makes the same request succeed.
fn is_for_good(failure: &Failure) -> bool {
    failure.is_of(ExitCode::Conflict) || failure.is_of(ExitCode::Usage)
}
