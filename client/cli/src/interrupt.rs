//! What to say to a person who breaks a dialog off: what is there by now, and what is not.
//!
//! Ctrl-C is a key while somebody is asked, and a signal while something is done. Both say the same. Decides nothing: whoever
//! asks and does says here, before each step, how far things have come.

use std::sync::{Mutex, Once, PoisonError};

use crate::exit::{ExitCode, Failure};
use crate::{say, system, terminal};

/// What is there, and what to type next.
struct SoFar {
    what: String,
    next: String,
}

/// Says how far things have come.
pub(crate) fn so_far(what: impl Into<String>, next: impl Into<String>) {
    *SO_FAR.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(SoFar { what: what.into(), next: next.into() });
}

/// That somebody broke it off.
pub(crate) fn failure() -> Failure {
    match SO_FAR.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some(SoFar { what, next }) => {
            Failure::new(ExitCode::Interrupted, format!("interrupted; {what}")).hint(next.clone())
        }
        None => Failure::new(ExitCode::Interrupted, "interrupted; nothing was changed"),
    }
}

/// From now on, whoever ends us by a signal finds the terminal as it was, and is told the same. The signal then does what
/// it always does.
pub(crate) fn notice_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        system::before_a_signal_ends_us(|| {
            terminal::restore();
            // Behind `^C`, or a question.
            say::note("\n");
            let _ = failure().tell();
        });
    });
}

static SO_FAR: Mutex<Option<SoFar>> = Mutex::new(None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_far_things_have_come() {
        assert_eq!(failure().message(), "interrupted; nothing was changed");
        so_far("the vault is made", "procurify-token add acme");
        let Failure::Told { code, message, hint } = failure() else { panic!("not told") };
        assert_eq!((code, message.as_str()), (ExitCode::Interrupted, "interrupted; the vault is made"));
        assert_eq!(hint, "procurify-token add acme");
    }
}
