//! Secrets that came as arguments. They are refused with the reason, and never repeated: what the shell has seen once
//! need not be in a CI log as well.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};

use crate::exit::{ExitCode, Failure};

/// Refuses a command line on which a secret is given as a value.
pub(super) fn refuse_secrets(words: &[OsString]) -> Result<(), Failure> {
    let Some(option) = options(words).find_map(as_secret) else { return Ok(()) };
    let (what, instead) = match option {
        "--passphrase" => ("a passphrase", "leave the value out to type it, or use --passphrase-stdin"),
        _ => ("a client secret", "leave it out to type it, or use --secret-stdin or --secret-file PATH"),
    };
    let message = format!(
        "{option}: {what} is not taken as an argument, where `ps` and the shell's history show it to others. \
         Nothing was stored. Should it be a real one, create another in Procurify"
    );
    let message = match option {
        "--passphrase" => message.split(". Nothing").next().unwrap_or_default().to_owned(),
        _ => message,
    };
    Err(Failure::new(ExitCode::Usage, message).hint(instead))
}

/// The complaint about a command line, without the words that may be a secret in the wrong place.
pub(super) fn without_values(words: &[OsString], error: clap::Error) -> Failure {
    let is_surplus = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::TooManyValues);
    let takes_secret = options(words).any(|word| TAKE_SECRETS.contains(&word));
    // `add acme s3cret` and `--secret-stdin=s3cret` are surplus values; a misspelt option is worth repeating.
    let is_option = error.get(ContextKind::InvalidArg).is_some_and(|word| {
        let word = word.to_string();
        error.kind() == ErrorKind::UnknownArgument && word.starts_with('-') && !word.contains('=')
    });
    if is_surplus && takes_secret && !is_option {
        return Failure::new(
            ExitCode::Usage,
            "there is an argument too many; it is not repeated here because it may be a secret",
        )
        .hint("procurify-token --help");
    }
    match (error.kind(), error.source()) {
        // `add acme:s3cret`: what is wrong with it is said, and the reason does not repeat it.
        (ErrorKind::ValueValidation, Some(reason)) if takes_secret => {
            let place = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
            let message =
                format!("{place}: {reason}. The value is not repeated here because it may be a secret");
            Failure::new(ExitCode::Usage, message).hint("procurify-token --help")
        }
        _ => Failure::CommandLine(Box::new(error)),
    }
}

/// The words that are ours: not those behind `--`, which are somebody else's command.
fn options(words: &[OsString]) -> impl Iterator<Item = &str> {
    words.iter().skip(1).map_while(|word| (word != "--").then_some(word.to_str().unwrap_or_default()))
}

fn as_secret(word: &str) -> Option<&'static str> {
    let (option, value) = word.split_once('=').map_or((word, None), |(option, value)| (option, Some(value)));
    match option {
        "--passphrase" => value.map(|_| "--passphrase"),
        _ => SECRET_OPTIONS.into_iter().find(|secret| *secret == option),
    }
}

const SECRET_OPTIONS: [&str; 4] = ["--client-secret", "--secret", "--client_secret", "--password"];
const TAKE_SECRETS: [&str; 4] = ["add", "rotate", "init", "unlock"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::CommandLine;
    use clap::Parser;
    use rstest::rstest;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn told(failure: Failure) -> String {
        match failure {
            Failure::Told { code: ExitCode::Usage, message, hint } => format!("{message} {hint}"),
            Failure::CommandLine(error) => error.render().to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case("p add acme --client-secret canary")]
    #[case("p add acme --secret=canary")]
    #[case("p add --secret canary acme")]
    #[case("p rotate acme --client-secret=canary")]
    #[case("p unlock --passphrase=canary")]
    fn a_secret_as_an_option_is_refused_with_the_reason_and_without_the_secret(#[case] line: &str) {
        let told = told(refuse_secrets(&words(line)).unwrap_err());
        assert!(told.contains("`ps`") && told.contains("-stdin") && !told.contains("canary"), "{told}");
    }

    #[rstest]
    #[case("p add acme --secret-stdin")]
    #[case("p add acme --secret-file secret")]
    #[case("p init --passphrase")]
    #[case("p exec acme -- mysql --password=x --secret y")]
    fn other_lines_are_left_alone(#[case] line: &str) {
        assert!(refuse_secrets(&words(line)).is_ok());
    }

    #[rstest]
    #[case("p add acme canary")]
    #[case("p add acme --secret-stdin=canary")]
    #[case("p add acme --secret-typo=canary")]
    #[case("p rotate acme canary")]
    #[case("p unlock canary")]
    #[case("p add acme:canary")]
    #[case("p add acme --client-id=äcanary")]
    #[case("p rotate acme/canary!")]
    fn a_surplus_or_wrong_word_is_not_repeated_where_it_may_be_a_secret(#[case] line: &str) {
        let words = words(line);
        let told = told(without_values(&words, CommandLine::try_parse_from(&words).unwrap_err()));
        assert!(!told.contains("canary"), "{told}");
    }

    #[test]
    fn a_misspelt_option_is_still_named() {
        let words = words("p add acme --secret-stdim");
        let told = told(without_values(&words, CommandLine::try_parse_from(&words).unwrap_err()));
        assert!(told.contains("--secret-stdim") && told.contains("--secret-stdin"), "{told}");
    }
}
