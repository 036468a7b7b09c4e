//! `detached`: the last step before a daemon runs. It is a process of its own because it gives up what it inherited, which
//! the command that starts the daemon may still have to hand to another (`exec`).

use std::process::Command;

use crate::args::DetachedArgs;
use crate::exit::{ExitCode, Failure};
use crate::system;

pub(super) fn run(args: &DetachedArgs) -> Failure {
    let (program, arguments) = args.command.split_first().expect("clap requires CMD");
    let error = system::become_detached(Command::new(program).args(arguments));
    Failure::new(ExitCode::of_unrunnable(&error), format!("{}: {error}", program.display()))
        .hint("install procurify-tokend beside procurify-token or in a folder of PATH")
}
