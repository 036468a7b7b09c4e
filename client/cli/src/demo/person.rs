//! The person of the demo: types a command line, and shows what came of it.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::house::House;
use super::sandbox::interruption;
use crate::clock::within;
use crate::exit::{ExitCode, Failure};
use crate::{say, text};

/// What came of a command line.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) succeeded: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl House {
    /// Types a command line of `procurify-token`, with a secret on its stdin where there is one, and shows both the
    /// line and what it printed, long texts shortened.
    pub(super) fn types(&self, words: &[&str], secret: Option<&str>) -> Result<Typed, Failure> {
        if self.is_interrupted() {
            return Err(interruption());
        }
        let line = words.join(" ");
        match secret {
            Some(_) => say::line(format!("   $ printf %s \"$SECRET\" | procurify-token {line}"))?,
            None => say::line(format!("   $ procurify-token {line}"))?,
        }
        let typed = self.run(words, secret)?;
        for line in typed.stdout.lines().chain(typed.stderr.lines()) {
            say::line(format!("     {}", text::one_line(&shortened(line))))?;
        }
        if let (["get", name], true) = (words, typed.succeeded) {
            say::line(format!("     (its fingerprint is {})", self.fingerprint_of(name)?))?;
        }
        Ok(typed)
    }

    fn run(&self, words: &[&str], secret: Option<&str>) -> Result<Typed, Failure> {
        let (stdout, stderr) = (self.folder().join("stdout"), self.folder().join("stderr"));
        let io =
            |error: std::io::Error| Failure::new(ExitCode::Other, format!("this could not be run: {error}"));
        let mut command = self.program(&std::env::current_exe().map_err(io)?);
        command
            .args(words)
            .stdout(File::create(&stdout).map_err(io)?)
            .stderr(File::create(&stderr).map_err(io)?);
        command.stdin(if secret.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(io)?;
        if let (Some(secret), Some(mut stdin)) = (secret, child.stdin.take()) {
            // A command that did not want it says so itself.
            let _ = stdin.write_all(secret.as_bytes());
        }
        let succeeded = self.await_end(&mut child)?;
        let read = |path| std::fs::read_to_string(path).map_err(io);
        Ok(Typed { succeeded, stdout: read(stdout)?, stderr: read(stderr)? })
    }

    fn await_end(&self, child: &mut Child) -> Result<bool, Failure> {
        let mut outcome = None;
        let is_over = within(PATIENCE, || {
            outcome = child.try_wait().ok().flatten();
            outcome.is_some()
        });
        if !is_over {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::new(ExitCode::Other, "this command did not end"));
        }
        if self.is_interrupted() {
            return Err(interruption());
        }
        Ok(outcome.is_some_and(|status| status.success()))
    }
}

/// A line fit for a demo: a token shows its first characters, and a long body its beginning.
fn shortened(line: &str) -> String {
    let is_token = |word: &str| {
        word.len() > LONGEST_WORD
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
    };
    if is_token(line) {
        return format!("{}... (a token of {} characters)", &line[..TOKEN_SHOWN], line.len());
    }
    match line.char_indices().nth(LONGEST_LINE) {
        Some((cut, _)) => format!("{}... ({} bytes)", &line[..cut], line.len()),
        None => line.to_owned(),
    }
}

const PATIENCE: Duration = Duration::from_mins(1);
const LONGEST_WORD: usize = 100;
const LONGEST_LINE: usize = 150;
const TOKEN_SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown_whole() {
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{}", "x".repeat(900));
        assert_eq!(shortened(&token), "eyJhbGciOiJSUzI1... (a token of 921 characters)");
    }

    #[test]
    fn a_long_line_shows_its_beginning_and_a_short_one_stays() {
        assert_eq!(shortened("It acts as a@b.example."), "It acts as a@b.example.");
        let long = "ä ".repeat(100);
        assert!(shortened(&long).ends_with("... (300 bytes)"));
    }
}
