//! A key that a program prints: how a KMS, a password manager or `OpenBao` opens a vault.
//!
//! The program and its arguments come from the configuration file and from nowhere else. It gets no input, what it writes to
//! stderr is thrown away, and it is given a time; then it and whatever it started is ended. What it prints is a key file's
//! one line. This room does not know what vault the key is for.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use super::key_file::{self, TEXT_LEN};
use super::seal::WrappingKey;

/// A program that prints a key, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCommand {
    /// The program.
    pub program: String,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// Then it is ended.
    pub timeout: Duration,
}

/// Why a program gave no key.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("it cannot be started: {0}")]
    NotStarted(std::io::Error),
    /// It did not succeed.
    #[error("it failed ({0}); run it by hand, as the daemon's user, to see why")]
    Failed(ExitStatus),
    /// It was ended.
    #[error("it printed no key within {} s and was ended", .0.as_secs())]
    TimedOut(Duration),
    /// What it printed is no key.
    #[error(
        "what it printed is not the one line of a key file. procurify-tokend --new-key makes such a line, to be put where the program finds it"
    )]
    NoKey,
}

impl KeyCommand {
    /// The key that the program prints. Blocks for as long as it runs.
    pub(super) fn key(&self) -> Result<WrappingKey, CommandError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        own_group(&mut command);
        let mut child = command.spawn().map_err(CommandError::NotStarted)?;
        let group = child.id();
        let mut stdout = child.stdout.take().expect("its stdout is a pipe");
        let (report, reported) = mpsc::channel();
        let reading = thread::Builder::new().name("key command".to_owned()).spawn(move || {
            let mut printed = Zeroizing::new([0; TEXT_LEN + 1]);
            let length = read_some(&mut stdout, &mut *printed);
            // Whatever else it prints has nowhere to go, and it learns that.
            drop(stdout);
            let _ = report.send((printed, length, child.wait()));
        });
        if let Err(error) = reading {
            end_group(group);
            return Err(CommandError::NotStarted(error));
        }
        let outcome = reported.recv_timeout(self.timeout);
        // Also when it has ended by itself: what it started in the background would hold on to what it knows.
        end_group(group);
        let Ok((printed, length, status)) = outcome else { return Err(CommandError::TimedOut(self.timeout)) };
        match status {
            Ok(status) if !status.success() => Err(CommandError::Failed(status)),
            Ok(_) => key_file::parse(&printed[..length]).ok_or(CommandError::NoKey),
            Err(error) => Err(CommandError::NotStarted(error)),
        }
    }
}

/// Reads until the end, or until the buffer is full.
fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    length
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(unix)]
fn end_group(leader: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // Nobody is left, which is as well.
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

#[cfg(not(unix))]
fn end_group(_: u32) {}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const LINE: &str =
        "PROCURIFY-TOKEN-KEY-1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn shell(script: &str, timeout: Duration) -> Result<WrappingKey, CommandError> {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        KeyCommand { program: "/bin/sh".to_owned(), arguments, timeout }.key()
    }

    #[test]
    fn the_key_is_what_the_program_prints() {
        let long = Duration::from_mins(1);
        for script in [format!("echo {LINE}"), format!("printf %s '{LINE}'; exec >&-")] {
            assert_eq!(shell(&script, long).unwrap().bytes()[31], 255, "{script}");
        }
        for script in ["true".to_owned(), format!("echo {LINE}; echo more"), "yes".to_owned()] {
            let error = shell(&script, long).unwrap_err();
            assert!(matches!(error, CommandError::NoKey | CommandError::Failed(_)), "{script}: {error}");
        }
        let failed = shell(&format!("echo {LINE}; exit 3"), long).unwrap_err();
        assert!(matches!(failed, CommandError::Failed(status) if status.code() == Some(3)), "{failed}");
        let missing = KeyCommand { program: "/no/such/program".to_owned(), arguments: vec![], timeout: long };
        assert!(matches!(missing.key(), Err(CommandError::NotStarted(_))));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        let temp = tempfile::tempdir().unwrap();
        let held = temp.path().join("held");
        rustix::fs::mkfifoat(rustix::fs::CWD, &held, 0o600.into()).unwrap();
        let script = format!("exec 3>'{}'; sleep 600 & wait", held.display());
        let reader = thread::spawn(move || std::fs::read(held).unwrap());
        let error = shell(&script, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut(_)), "{error}");
        // The pipe ends when nobody holds its other end any more.
        assert!(reader.join().unwrap().is_empty());
    }
}
