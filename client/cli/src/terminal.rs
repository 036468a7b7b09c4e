//! Questions to the person at the terminal. They go to the terminal itself and never to stdout, which may be a file.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::str::FromStr;

use procurify_token_protocol::ClientId;
use secrecy::SecretString;

use crate::exit::{ExitCode, Failure};
use crate::{say, system};

/// Whether there is somebody to ask.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Shows something on the terminal itself, whatever stdout is.
pub(crate) fn show(text: &str) -> Result<(), Failure> {
    let mut terminal =
        OpenOptions::new().write(true).open(system::TERMINAL[0]).map_err(|error| unasked(&error))?;
    terminal.write_all(text.as_bytes()).map_err(|error| unasked(&error))
}

/// Asks, and takes one line.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    show(question)?;
    let terminal =
        OpenOptions::new().read(true).open(system::TERMINAL[1]).map_err(|error| unasked(&error))?;
    let mut answer = String::new();
    match BufReader::new(&terminal).read_line(&mut answer) {
        Ok(0) => Err(Failure::new(ExitCode::Usage, "no answer was given")),
        Ok(_) => Ok(answer.trim().to_owned()),
        Err(error) => Err(unasked(&error)),
    }
}

/// Asks, and takes one line without showing it.
pub(crate) fn ask_masked(question: &str) -> Result<SecretString, Failure> {
    let config = rpassword::ConfigBuilder::new().password_feedback_mask('*').build();
    rpassword::prompt_password_with_config(question, config)
        .map(SecretString::from)
        .map_err(|error| unasked(&error))
}

/// Asks until the line is what it should be, or there is no answer.
pub(crate) fn ask_parsed<T>(question: &str) -> Result<T, Failure>
where
    T: FromStr<Err: Display>,
{
    loop {
        match ask(question)?.parse() {
            Ok(answer) => return Ok(answer),
            Err(error) => say::note(&format!("{error}. Once more:")),
        }
    }
}

/// Asks for the public half of client credentials that are entered for the first time.
pub(crate) fn new_client_id() -> Result<ClientId, Failure> {
    if is_interactive() {
        return ask_parsed("Client id: ");
    }
    Err(Failure::new(ExitCode::Usage, "stdin is not a terminal, so nobody can be asked for the client id")
        .hint("give it by --client-id ID"))
}

fn unasked(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::Interrupted => Failure::new(ExitCode::Usage, "interrupted; nothing was changed"),
        io::ErrorKind::UnexpectedEof => Failure::new(ExitCode::Usage, "no answer was given"),
        _ => Failure::new(ExitCode::Usage, format!("there is no terminal to ask on: {error}")),
    }
}
