//! The options of what shells ask for: the scripts that complete, and what may come next.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// 3.2 or later
    Bash,
    /// 5 or later
    Zsh,
    /// 3 or later
    Fish,
    /// 5.1 or later
    #[value(name = "powershell")]
    Pwsh,
}

#[derive(Debug, Args)]
pub(crate) struct CompleteArgs {
    /// Who asks; each has its own way to write candidates
    pub(crate) shell: Shell,
    /// The word that is being typed, behind a `=`: it may be empty, or look like an option
    #[arg(value_name = "=WORD")]
    pub(crate) word: OsString,
    /// The words before it, from the command's name on
    #[arg(last = true, value_name = "WORDS")]
    pub(crate) before: Vec<OsString>,
}
