//! Lets a chosen step of the running test's thread fail, or the process seem to die there.

use std::cell::Cell;
use std::io;

use super::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vault) enum Fault {
    None,
    /// The step fails when it comes for the n-th time.
    Fail(Step, u32),
    /// There the process dies: nothing works from then on and nothing is tidied up.
    Crash(Step, u32),
    Crashed,
}

/// Runs `operation` with a fault; true if the fault struck.
pub(in crate::vault) fn with<T>(fault: Fault, operation: impl FnOnce() -> T) -> (T, bool) {
    FAULT.set(fault);
    let outcome = operation();
    let left = FAULT.replace(Fault::None);
    (outcome, left != fault && matches!(left, Fault::None | Fault::Crashed))
}

pub(super) fn has_crashed() -> bool {
    FAULT.get() == Fault::Crashed
}

pub(super) fn strike(step: Step) -> io::Result<()> {
    let fault = FAULT.get();
    let next = match fault {
        Fault::Fail(at, nth) if at == step && nth > 1 => Fault::Fail(at, nth - 1),
        Fault::Crash(at, nth) if at == step && nth > 1 => Fault::Crash(at, nth - 1),
        Fault::Fail(at, _) if at == step => Fault::None,
        Fault::Crash(at, _) if at == step => Fault::Crashed,
        unchanged => unchanged,
    };
    FAULT.set(next);
    let strikes = next == Fault::Crashed || (next == Fault::None && fault != Fault::None);
    if strikes { Err(io::Error::other("injected")) } else { Ok(()) }
}

thread_local! { static FAULT: Cell<Fault> = const { Cell::new(Fault::None) } }
