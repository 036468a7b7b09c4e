//! What is run each time the file was written: one at a time, for no longer than it may take, and what it fails with is told. And how all of
//! this ends when somebody asks for it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use procurify_token_protocol::CredentialName;

use crate::exit::ExitCode;
use crate::{clock, say, system, when};

/// What must not be cut in two when the process is asked to end, and the process of the command that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Mutex<Option<u32>>>);

impl Ending {
    /// Ends the process when somebody asks for that, and the command that runs with it.
    pub(super) fn on_request(&self) -> io::Result<()> {
        let ending = self.clone();
        system::when_asked_to_end(move || {
            let running = ending.lock();
            if let Some(pid) = *running {
                system::kill_group(pid);
            }
            // With the lock in hand: nothing is begun any more.
            std::process::exit(ExitCode::Ok as i32)
        })
    }

    /// Does something whole, or not at all.
    pub(super) fn not_during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.lock();
        work()
    }

    fn lock(&self) -> MutexGuard<'_, Option<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that runs a line for the shell.
#[derive(Debug)]
pub(super) struct OnChange {
    /// Has room for one: whoever comes while that is taken wants the same.
    wake: SyncSender<()>,
}

impl OnChange {
    pub(super) fn start(
        line: OsString,
        limit: Duration,
        name: &CredentialName,
        path: &Path,
        ending: Ending,
    ) -> Self {
        let (wake, woken) = mpsc::sync_channel(1);
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let variables = [
            ("PROCURIFY_TOKEN_FILE", whole.into_os_string()),
            ("PROCURIFY_TOKEN_NAME", name.as_str().into()),
        ];
        std::thread::spawn(move || run_each_time(&woken, &line, &variables, limit, &ending));
        Self { wake }
    }

    /// It is run as soon as it does not run any more.
    pub(super) fn file_was_written(&self) {
        let _ = self.wake.try_send(());
    }
}

fn run_each_time(
    woken: &Receiver<()>,
    line: &OsStr,
    variables: &[(&str, OsString)],
    limit: Duration,
    ending: &Ending,
) {
    while woken.recv().is_ok() {
        let outcome = start(line, variables, ending).map(|child| wait(child, limit, ending));
        let what = match outcome {
            Ok(Some(status)) if status.success() => continue,
            Ok(Some(status)) => format!("ended with {status}"),
            Ok(None) => format!("took longer than {} and was ended", when::span(limit)),
            Err(error) => format!("could not be run: {error}"),
        };
        say::warning(&format!("the command of --on-change {what}: {}", line.display()));
    }
}

fn start(line: &OsStr, variables: &[(&str, OsString)], ending: &Ending) -> io::Result<Child> {
    let mut command = system::shell(line);
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let mut running = ending.lock();
    let child = system::detach(&mut command).spawn()?;
    *running = Some(child.id());
    Ok(child)
}

/// How it ended; `None` where it was ended.
fn wait(mut child: Child, limit: Duration, ending: &Ending) -> Option<ExitStatus> {
    let mut status = None;
    let has_ended = clock::within(limit, || {
        // Together: what has been waited for is no longer there to be killed.
        let mut running = ending.lock();
        status = child.try_wait().ok().flatten();
        if status.is_some() {
            *running = None;
        }
        status.is_some()
    });
    if !has_ended {
        let mut running = ending.lock();
        system::kill_group(child.id());
        let _ = child.wait();
        *running = None;
    }
    status
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run(line: &str, limit: Duration) -> Option<ExitStatus> {
        let ending = Ending::default();
        let outcome = wait(start(line.as_ref(), &[], &ending).expect("a shell"), limit, &ending);
        assert_eq!(*ending.lock(), None);
        outcome
    }

    #[test]
    fn a_command_ends_by_itself_or_with_all_that_it_has_started() {
        let long = Duration::from_secs(60);
        assert_eq!(run("exit 3", long).unwrap().code(), Some(3));
        assert_eq!(run("exec true", long).unwrap().code(), Some(0));

        // Whoever holds the other end of the pipe is gone when it can be read to its end.
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn({
            let fifo = fifo.clone();
            move || tell.send(std::fs::read_to_string(fifo))
        });
        let line = format!("exec 9>'{}'; echo begun >&9; (sleep 100; echo late >&9) & wait", fifo.display());
        assert_eq!(run(&line, Duration::from_millis(300)), None);
        let read = told.recv_timeout(Duration::from_secs(20)).expect("nobody holds it open any more");
        assert_eq!(read.expect("it can be read"), "begun\n");
    }
}
