//! `complete`: what may come next on a command line, a candidate to a line. Asked by the scripts of `completions`.
//!
//! Commands and options come from the command line's own definition, so no script has to know them. The names of credentials come
//! from a daemon that runs: none is started here (a service manager that keeps the socket starts a stopped one), none that hangs is
//! waited for, and what goes wrong is passed over in silence, for somebody is typing. Nothing of a credential is shown but its name and its description.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use procurify_token_protocol::CredentialName;

use crate::aftermath;
use crate::args::{CommandLine, CompleteArgs, Shell};
use crate::exit::Failure;
use crate::{say, text};

pub(super) fn run(args: CompleteArgs) -> Result<(), Failure> {
    let CompleteArgs { shell, word, before } = args;
    let Some(word) = word.to_str().and_then(|word| word.strip_prefix('=')) else { return Ok(()) };
    let mut words = joined(before);
    let mut command = with_names(CommandLine::command(), named_socket(&words).as_ref());
    words.push(word.into());
    let candidates = candidates(&mut command, words);
    let lines: String = candidates.iter().filter_map(|candidate| line(shell, candidate)).collect();
    say::bytes(lines.as_bytes())
}

/// What may take the place of the last word. Options only where it begins as one: who wants a name need not look for it among them.
fn candidates(command: &mut Command, words: Vec<OsString>) -> Vec<CompletionCandidate> {
    let place = words.len() - 1;
    let is_dash = |word: &OsStr| word.as_encoded_bytes().starts_with(b"-");
    let wants_option = is_dash(&words[place]);
    let folder = std::env::current_dir().ok();
    let mut candidates = complete(command, words, place, folder.as_deref()).unwrap_or_default();
    candidates
        .retain(|candidate| !candidate.is_hide_set() && (wants_option || !is_dash(candidate.get_value())));
    candidates
}

/// A candidate as a shell takes it, with what it is where the shell shows that.
fn line(shell: Shell, candidate: &CompletionCandidate) -> Option<String> {
    let word = candidate.get_value().to_str()?;
    // One that does not fit into a line would be taken for two.
    if word.chars().any(char::is_control) {
        return None;
    }
    let what = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    let what = text::one_line(what.lines().next().unwrap_or_default()).into_owned();
    Some(match shell {
        Shell::Bash => format!("{word}\n"),
        Shell::Zsh if what.is_empty() => format!("{}\n", word.replace(':', "\\:")),
        Shell::Zsh => format!("{}:{what}\n", word.replace(':', "\\:")),
        Shell::Fish | Shell::Pwsh => format!("{word}\t{what}\n"),
    })
}

/// Bash parts `--option=value` at the `=`; as two words it means the same.
fn joined(words: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(words.len());
    for word in words {
        let is_sign =
            word == "=" && joined.last().is_some_and(|last| last.as_encoded_bytes().starts_with(b"--"));
        if !is_sign {
            joined.push(word);
        }
    }
    joined
}

/// Whichever argument is called after a credential is completed with the names of those that are there.
fn with_names(command: Command, socket: Option<&PathBuf>) -> Command {
    command
        .mut_args(|arg| match arg.get_id().as_str() {
            "name" | "names" | "credential" => {
                let socket = socket.cloned();
                arg.add(ArgValueCandidates::new(move || names(socket.clone())))
            }
            _ => arg,
        })
        .mut_subcommands(|command| match command.get_name() {
            // The one whose name is a new one.
            "add" => command,
            _ => with_names(command, socket),
        })
}

fn names(socket: Option<PathBuf>) -> Vec<CompletionCandidate> {
    let names = aftermath::names_in_time(socket, PATIENCE);
    names.iter().map(CredentialName::as_str).map(CompletionCandidate::new).collect()
}

fn named_socket(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter().skip_while(|word| *word != "--socket");
    words.nth(1).map(PathBuf::from)
}

/// Together with all else, within a tenth of a second: who types does not wait.
const PATIENCE: Duration = Duration::from_millis(80);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn found(before: &[&str], word: &str) -> Vec<String> {
        let mut words = joined(before.iter().map(OsString::from).collect());
        words.push(word.into());
        let nowhere = PathBuf::from("/nonexistent/tokend.sock");
        let mut command = with_names(CommandLine::command(), Some(&nowhere));
        let found = candidates(&mut command, words);
        found.iter().map(|candidate| candidate.get_value().to_str().unwrap().to_owned()).collect()
    }

    #[rstest]
    #[case(&["p"], "refr", &["refresh"])]
    #[case(&["p", "slot"], "rem", &["remove"])]
    #[case(&["p", "get", "acme"], "--min", &["--min-ttl"])]
    #[case(&["p", "--autostart"], "al", &["always"])]
    #[case(&["p", "--autostart", "="], "al", &["always"])]
    #[case(&["p", "slot", "add"], "pass", &["passphrase"])]
    #[case(&["p", "completions"], "z", &["zsh"])]
    #[case(&["p", "get"], "", &[])]
    #[case(&["p"], "compl", &["completions"])]
    #[case(&["p"], "detach", &[])]
    fn what_may_come_next_is_known_by_the_definition(
        #[case] before: &[&str],
        #[case] word: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(found(before, word), expected);
    }

    #[test]
    fn each_shell_is_told_in_its_own_way() {
        let candidate = CompletionCandidate::new("a:b").help(Some("two\nlines".into()));
        assert_eq!(line(Shell::Bash, &candidate).as_deref(), Some("a:b\n"));
        assert_eq!(line(Shell::Zsh, &candidate).as_deref(), Some("a\\:b:two\n"));
        assert_eq!(line(Shell::Fish, &candidate).as_deref(), Some("a:b\ttwo\n"));
        assert_eq!(line(Shell::Bash, &CompletionCandidate::new("a\nb")), None);
    }
}
