//! A daemon that runs: the real program, as a child of the test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::Signal;

use crate::processes::{self, PATIENCE, wait_for_end};

/// A daemon that has said `ready`. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

/// A daemon that ended instead of becoming ready.
#[derive(Debug)]
pub struct DidNotStart {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stderr, log included.
    pub stderr: String,
}

impl Daemon {
    /// Starts a daemon; `Err` is how it ended instead of saying `ready`.
    pub(crate) fn start(mut command: Command) -> Result<Self, ExitStatus> {
        command.arg("--announce-ready").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("procurify-tokend can be run");
        let stdout = child.stdout.take().expect("its stdout is a pipe");
        let (announce, announced) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = announce.send(line);
        });
        let mut daemon = Self { child };
        match announced.recv_timeout(PATIENCE).as_deref() {
            Ok("ready\n") => Ok(daemon),
            Ok("") => Err(daemon.ended()),
            other => panic!("procurify-tokend did not say that it is ready: {other:?}"),
        }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid fits into pid_t")
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// Ends it as a service manager would (SIGTERM), and waits until it is gone.
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.ended()
    }

    /// Sends it a signal, such as HUP.
    pub fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    fn ended(&mut self) -> ExitStatus {
        assert!(wait_for_end(self.pid(), PATIENCE), "the daemon {} does not end", self.pid());
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
