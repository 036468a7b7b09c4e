//! How a secret comes in: typed, from stdin, or from a file. Never as an argument, which `ps` and the shell's history
//! show to others.
//!
//! Bytes are read straight into wiped memory, past the buffer that the standard library keeps for stdin.

use std::fs::File;
use std::io;
use std::path::Path;

use procurify_token_protocol::{ClientId, ClientSecret, Passphrase, RecoveryCode, UnlockWith};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::args::SecretArgs;
use crate::exit::{ExitCode, Failure};
use crate::pasted::{self, Page};
use crate::{dialog, say, system, terminal};

/// The client secret on stdin or in a file, and the client id, where both stand there with their labels.
pub(crate) fn client_secret(from: &SecretArgs) -> Result<(Option<ClientId>, ClientSecret), Failure> {
    let text = match &from.secret_file {
        Some(path) => from_file(path)?,
        None => from_stdin()?,
    };
    if let Some(found) = from_page(&text)? {
        return Ok(found);
    }
    let secret = ClientSecret::new(&text);
    secret.map(|secret| (None, secret)).map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "what was copied with its labels is taken apart here")]
fn from_page(text: &SecretString) -> Result<Option<(Option<ClientId>, ClientSecret)>, Failure> {
    let text = text.expose_secret();
    if !pasted::has_label(text) {
        return Ok(None);
    }
    let mut page = Page::default();
    page.take(text).map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))?;
    Ok(page.take_client_secret().map(|secret| (page.take_client_id(), secret)))
}

/// Refuses early what is no file.
pub(crate) fn must_be_readable(from: &SecretArgs) -> Result<(), Failure> {
    from.secret_file.as_deref().map_or(Ok(()), must_be_file)
}

/// A new passphrase, typed twice.
pub(crate) fn new_passphrase() -> Result<Passphrase, Failure> {
    needs_terminal()?;
    let (first, second) = (dialog::ask_masked("New passphrase: ")?, dialog::ask_masked("The same again: ")?);
    if is_same(&first, &second) {
        passphrase(first)
    } else {
        Err(Failure::new(ExitCode::Usage, "the two passphrases differ; nothing was changed"))
    }
}

/// A passphrase that a vault has, typed.
pub(crate) fn known_passphrase(question: &str) -> Result<UnlockWith, Failure> {
    needs_terminal()?;
    passphrase(dialog::ask_masked(question)?).map(UnlockWith::Passphrase)
}

/// A recovery code, typed. One that is mistyped is asked for again.
pub(crate) fn known_recovery_code() -> Result<UnlockWith, Failure> {
    needs_terminal()?;
    loop {
        match RecoveryCode::parse(&dialog::ask_masked("Recovery code: ")?) {
            Ok(code) => return Ok(UnlockWith::RecoveryCode(code)),
            Err(error) => say::note(&format!("{error}. Once more:")),
        }
    }
}

/// A passphrase or a recovery code, typed: what is meant as a code and mistyped is asked for again.
pub(crate) fn known_key(question: &str) -> Result<UnlockWith, Failure> {
    needs_terminal()?;
    loop {
        match key(dialog::ask_masked(question)?) {
            Ok(key) => return Ok(key),
            Err(Failure::Told { message, .. }) => say::note(&format!("{message}. Once more:")),
            Err(other) => return Err(other),
        }
    }
}

/// A recovery code on stdin.
pub(crate) fn recovery_code_from_stdin() -> Result<UnlockWith, Failure> {
    let code = RecoveryCode::parse(&from_stdin()?);
    code.map(UnlockWith::RecoveryCode).map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))
}

/// A passphrase or a recovery code on stdin.
pub(crate) fn key_from_stdin() -> Result<UnlockWith, Failure> {
    key(without_line_end(&from_stdin()?))
}

/// Passphrases and recovery codes on stdin, one to a line.
#[expect(clippy::disallowed_methods, reason = "the lines are parted here")]
pub(crate) fn keys_from_stdin() -> Result<Vec<UnlockWith>, Failure> {
    let text = from_stdin()?;
    text.expose_secret().lines().filter(|line| !line.is_empty()).map(|line| key(line.into())).collect()
}

fn key(text: SecretString) -> Result<UnlockWith, Failure> {
    if RecoveryCode::is_meant(&text) {
        let code = RecoveryCode::parse(&text);
        return code
            .map(UnlockWith::RecoveryCode)
            .map_err(|error| Failure::new(ExitCode::Usage, error.to_string()));
    }
    passphrase(text).map(UnlockWith::Passphrase)
}

/// The passphrase on stdin, without its line end.
pub(crate) fn passphrase_from_stdin() -> Result<Passphrase, Failure> {
    passphrase(without_line_end(&from_stdin()?))
}

fn passphrase(text: SecretString) -> Result<Passphrase, Failure> {
    Passphrase::new(text).map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))
}

fn needs_terminal() -> Result<(), Failure> {
    if terminal::is_interactive() {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Usage,
        "stdin is not a terminal, so nobody can be asked for a passphrase or recovery code",
    )
    .hint("give it by --passphrase-stdin, --recovery-code-stdin or --key-stdin, whichever the command has"))
}

fn from_stdin() -> Result<SecretString, Failure> {
    read(io::stdin()).map_err(|error| Failure::new(ExitCode::Usage, format!("stdin: {error}")))
}

fn from_file(path: &Path) -> Result<SecretString, Failure> {
    let unreadable = |error: io::Error| Failure::new(ExitCode::Usage, format!("{}: {error}", path.display()));
    must_be_file(path)?;
    let file = File::open(path).map_err(unreadable)?;
    if system::others_may_read(&file).map_err(unreadable)? {
        say::warning(&format!("others can read {0}; to change that: chmod 600 {0}", path.display()));
    }
    read(file).map_err(unreadable)
}

/// Asked before it is opened: to open a pipe is to wait for whoever writes into it.
fn must_be_file(path: &Path) -> Result<(), Failure> {
    let told = |what: String| Failure::new(ExitCode::Usage, format!("{}: {what}", path.display()));
    if path.metadata().map_err(|error| told(error.to_string()))?.is_file() {
        return Ok(());
    }
    Err(told("this is not a regular file".to_owned()).hint("a pipe or a device is read by --secret-stdin"))
}

fn read(source: impl system::Source) -> io::Result<SecretString> {
    let mut buffer = Zeroizing::new(vec![0_u8; LONGEST + 1]);
    let mut filled = 0;
    loop {
        match system::read(&source, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is too long to be a secret"));
        }
    }
    match std::str::from_utf8(&buffer[..filled]) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "this is not text")),
    }
}

/// Whether Enter was all that was typed.
#[expect(clippy::disallowed_methods, reason = "only whether there is anything is looked at")]
pub(crate) fn is_nothing(typed: &SecretString) -> bool {
    typed.expose_secret().trim().is_empty()
}

#[expect(clippy::disallowed_methods, reason = "what was typed twice is compared")]
fn is_same(first: &SecretString, second: &SecretString) -> bool {
    first.expose_secret() == second.expose_secret()
}

#[expect(clippy::disallowed_methods, reason = "the line end is not part of the passphrase")]
fn without_line_end(text: &SecretString) -> SecretString {
    let text = text.expose_secret();
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text).into()
}

const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn a_secret_is_read_whole_and_bounded() {
        assert!(is_same(&read(file_with(b"s3cret\n")).unwrap(), &"s3cret\n".into()));
        assert!(read(file_with(&[b'x'; LONGEST])).is_ok());
        assert_eq!(read(file_with(&[b'x'; LONGEST + 1])).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(file_with(b"\xff")).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn only_the_line_end_is_taken_from_a_passphrase() {
        for (given, kept) in [("a b ", "a b "), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n")] {
            assert!(is_same(&without_line_end(&given.into()), &kept.into()), "{given:?}");
        }
    }
}
