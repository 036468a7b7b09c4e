//! Starting a daemon for this user: detached, its log in a private file, and used only once it says that it is ready.
//!
//! Does not decide whether one should be started.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::exit::{ExitCode, Failure};
use crate::{say, system};

/// The right to start a daemon: only one process of a user has it at a time, or two commands that are typed at once
/// would start two daemons.
#[derive(Debug)]
pub(crate) struct Starter {
    log: PathBuf,
    _lock: File,
}

impl Starter {
    /// Waits for whoever else is starting one.
    pub(crate) fn alone() -> Result<Self, Failure> {
        let folder = state_folder()?;
        system::private_folder(&folder).map_err(|error| unusable(&folder, &error))?;
        let lock_path = folder.join("start.lock");
        let lock = system::append_private(&lock_path).map_err(|error| unusable(&lock_path, &error))?;
        lock.lock().map_err(|error| unusable(&lock_path, &error))?;
        Ok(Self { log: folder.join("tokend.log"), _lock: lock })
    }

    /// Puts a log that has grown long aside, in the place of the one that was put aside before.
    fn turn_log(&self) {
        if self.log.metadata().is_ok_and(|metadata| metadata.len() > LONG_LOG) {
            // It only grows longer where it cannot be.
            let _ = fs::rename(&self.log, self.log.with_extension("log.1"));
        }
    }

    /// Starts a daemon and waits, at most [`PATIENCE`], until it answers on its socket.
    pub(crate) fn start(&self, socket: Option<&Path>) -> Result<(), Failure> {
        self.turn_log();
        let log = system::append_private(&self.log).map_err(|error| unusable(&self.log, &error))?;
        let written_before = log.metadata().map_or(0, |metadata| metadata.len());
        let us = std::env::current_exe().map_err(|error| no_start(&error))?;
        let mut command = system::daemon_command(&us, &program_beside_us(DAEMON));
        command
            .arg("--announce-ready")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .current_dir("/");
        // What a service manager passed to us is not for a daemon of the user's own.
        for variable in
            ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"]
        {
            command.env_remove(variable);
        }
        if let Some(socket) = socket {
            // It starts in another folder than ours.
            command.arg("--socket").arg(std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned()));
        }
        let mut daemon = command.spawn().map_err(|error| no_start(&error))?;
        match await_ready(&mut daemon) {
            Ready::Yes => Ok(()),
            Ready::No => Err(self.failed("procurify-tokend could not start", written_before)),
            Ready::NotYet => {
                let message = format!("procurify-tokend was not ready after {} s", PATIENCE.as_secs());
                Err(self.failed(&message, written_before))
            }
        }
    }

    fn failed(&self, message: &str, written_before: u64) -> Failure {
        let last_words = last_lines(&self.log, written_before);
        let message =
            if last_words.is_empty() { message.to_owned() } else { format!("{message}:\n{last_words}") };
        Failure::new(ExitCode::NoDaemon, message).hint(format!("its log is {}", self.log.display()))
    }
}

/// A program of ours: the one that was installed or built together with this one, else the one on `PATH`.
pub(crate) fn program_beside_us(name: &str) -> PathBuf {
    let sibling = std::env::current_exe().ok();
    let sibling = sibling.map(|own| own.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    sibling.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}

enum Ready {
    Yes,
    No,
    NotYet,
}

fn await_ready(daemon: &mut Child) -> Ready {
    let (announce, announced) = mpsc::channel();
    if let Some(stdout) = daemon.stdout.take() {
        std::thread::spawn(move || announce.send(says_ready(stdout)));
    }
    match within_patience(&announced) {
        Ok(true) => return Ready::Yes,
        Ok(false) => {}
        Err(_) => {
            // One that comes up later would be nobody's.
            let _ = daemon.kill();
            let _ = daemon.wait();
            return Ready::NotYet;
        }
    }
    // It closed its end without the word: it is ending, or not a daemon that we know.
    let _ = daemon.kill();
    let _ = daemon.wait();
    Ready::No
}

/// Waits, and says so where that takes long enough for a person to wonder: a vault of many credentials takes seconds.
fn within_patience(announced: &Receiver<bool>) -> Result<bool, RecvTimeoutError> {
    let mut progress = say::Progress::new("starting procurify-tokend", 1);
    for seconds in 1..PATIENCE.as_secs() {
        match announced.recv_timeout(SECOND) {
            Err(RecvTimeoutError::Timeout) => progress.lasts(seconds),
            outcome => return outcome,
        }
    }
    announced.recv_timeout(SECOND)
}

fn says_ready(stdout: ChildStdout) -> bool {
    let mut line = String::new();
    BufReader::new(stdout.take(1024)).read_line(&mut line).is_ok() && line.trim_end() == "ready"
}

fn last_lines(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(MOST_OF_LOG).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn state_folder() -> Result<PathBuf, Failure> {
    system::state_folder().ok_or_else(|| Failure::new(ExitCode::NoDaemon, system::NO_STATE_FOLDER))
}

fn no_start(error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::NoDaemon, format!("procurify-tokend could not be started: {error}"))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        ExitCode::NoDaemon,
        format!("no daemon can be started, {} cannot be used: {error}", path.display()),
    )
}

const DAEMON: &str = "procurify-tokend";
const PATIENCE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const LINES_SHOWN: usize = 8;
const MOST_OF_LOG: u64 = 256 * 1024;
/// Years of a quiet daemon, or some days of one that cannot reach anything.
const LONG_LOG: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_start_wrote_is_shown_and_only_its_end() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let lines = (1..=9).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
        fs::write(log.path(), format!("old\n{lines}\n")).unwrap();
        assert_eq!(
            last_lines(log.path(), 4),
            "  line 2\n  line 3\n  line 4\n  line 5\n  line 6\n  line 7\n  line 8\n  line 9"
        );
        assert_eq!(last_lines(log.path(), 4 + 7 * 8), "  line 9");
        assert_eq!(last_lines(log.path(), 1000), "");
    }
}
