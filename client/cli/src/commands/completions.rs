//! `completions`: the script that makes a shell ask `complete` what may come next. The scripts are files of their own, which
//! packages install as they are.

use crate::args::{CompletionsArgs, Shell};
use crate::exit::Failure;
use crate::say;

pub(super) fn run(args: CompletionsArgs) -> Result<(), Failure> {
    say::bytes(script(args.shell).as_bytes())
}

fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("../../completions/procurify-token.bash"),
        Shell::Zsh => include_str!("../../completions/_procurify-token"),
        Shell::Fish => include_str!("../../completions/procurify-token.fish"),
        Shell::Pwsh => include_str!("../../completions/procurify-token.ps1"),
    }
}
