//! What a command line that failed is about: whether a program reads the answer, and which credentials it names.
//!
//! It is read once more for that, by what its arguments are called: so a command that succeeds pays nothing, and a new one is known
//! without being mentioned here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::CommandFactory as _;
use procurify_token_protocol::CredentialName;

use super::CommandLine;

/// What a command line that failed is about.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// Whether a program reads what is said.
    pub(crate) is_json: bool,
    /// The credentials that it names.
    pub(crate) names: Vec<CredentialName>,
    /// The daemon's socket, where one is named.
    pub(crate) socket: Option<PathBuf>,
}

/// What the command line of this process is about.
pub(crate) fn about() -> About {
    about_words(std::env::args_os().collect())
}

fn about_words(words: Vec<OsString>) -> About {
    let own = words.iter().take_while(|word| *word != "--");
    let is_json = own.clone().any(|word| word == "--json");
    let Ok(matches) = CommandLine::command().try_get_matches_from(words) else {
        return About { is_json, ..About::default() };
    };
    let socket = matches.try_get_one::<PathBuf>("socket").ok().flatten().cloned();
    let mut about = About { socket, ..About::default() };
    let mut matches = &matches;
    while let Some((_, inner)) = matches.subcommand() {
        about.is_json |= matches!(inner.try_get_one::<bool>("json"), Ok(Some(true)));
        for id in ["name", "names"] {
            let names = inner.try_get_many::<CredentialName>(id).ok().flatten();
            about.names.extend(names.into_iter().flatten().cloned());
        }
        matches = inner;
    }
    about
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("get acme globex --json", true, &["acme", "globex"])]
    #[case("status acme", false, &["acme"])]
    #[case("slot list --json", true, &[])]
    #[case("exec acme -- jq --json", false, &["acme"])]
    // What clap does not take names nothing.
    #[case("get acme --json --min-ttl soon", true, &[])]
    #[case("get a! -- --json", false, &[])]
    fn a_command_line_says_what_it_is_about(
        #[case] line: &str,
        #[case] is_json: bool,
        #[case] names: &[&str],
    ) {
        let words = std::iter::once("procurify-token").chain(line.split(' ')).map(OsString::from);
        let about = about_words(words.collect());
        let found: Vec<_> = about.names.iter().map(CredentialName::as_str).collect();
        assert_eq!((about.is_json, found.as_slice()), (is_json, names));
    }
}
