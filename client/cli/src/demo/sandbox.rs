//! The local Procurify of the demo: the program `procurify-sandbox` as a child, which stops with us.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use crate::autostart::program_beside_us;
use crate::clock::within;
use crate::exit::{ExitCode, Failure};
use crate::system;

/// A sandbox that answers.
#[derive(Debug)]
pub(super) struct Sandbox {
    child: Child,
    /// Closed, it ends the sandbox; so does our death.
    stdin: Option<ChildStdin>,
    proxy: String,
    ca: PathBuf,
}

impl Sandbox {
    /// Starts one that serves `acme` and `globex`, and waits until it is ready.
    pub(super) fn start(ca: &Path, interrupted: &AtomicBool) -> Result<Self, Failure> {
        let mut command = Command::new(program_beside_us(SANDBOX));
        command.args(["--print-env", "--stop-with-stdin", "--ca-file"]).arg(ca);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = system::detach(&mut command).spawn().map_err(|error| {
            Failure::new(ExitCode::Other, format!("procurify-sandbox could not be started: {error}"))
                .hint("the demo needs it beside procurify-token: cargo build --release builds both")
        })?;
        let stdin = child.stdin.take();
        let (line, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|l| line.send(l))
            });
        }
        let mut sandbox = Self { child, stdin, proxy: String::new(), ca: ca.to_owned() };
        let outcome = sandbox.await_ready(&lines, interrupted);
        if outcome.is_err() {
            sandbox.stop();
        }
        outcome.map(|()| sandbox)
    }

    /// The address of its proxy, behind which the real addresses lead to it.
    pub(super) fn proxy(&self) -> &str {
        &self.proxy
    }

    /// The certificate to trust.
    pub(super) fn ca(&self) -> &Path {
        &self.ca
    }

    /// What it was asked so far.
    pub(super) fn ledger(&self) -> Result<Value, Failure> {
        let unread = |error: String| {
            Failure::new(ExitCode::Other, format!("the sandbox's ledger cannot be read: {error}"))
        };
        let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(PATIENCE)).build();
        let mut response = config
            .new_agent()
            .get(format!("{}/_sandbox/ledger", self.proxy))
            .call()
            .map_err(|error| unread(error.to_string()))?;
        let body = response.body_mut().read_to_vec().map_err(|error| unread(error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| unread(error.to_string()))
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        self.stdin = None;
        if !within(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn await_ready(
        &mut self,
        lines: &mpsc::Receiver<String>,
        interrupted: &AtomicBool,
    ) -> Result<(), Failure> {
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            match lines.recv_timeout(GLANCE) {
                Ok(line) if line == "ready" && !self.proxy.is_empty() => return Ok(()),
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("export HTTPS_PROXY=") {
                        address.trim_matches('\'').clone_into(&mut self.proxy);
                    }
                }
                Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                    return Err(interruption());
                }
                Err(RecvTimeoutError::Timeout) => waited += GLANCE,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err(Failure::new(ExitCode::Other, "procurify-sandbox did not become ready"))
    }
}

/// Why the demo ended early.
pub(super) fn interruption() -> Failure {
    Failure::new(ExitCode::Other, "interrupted, and cleared away")
}

const SANDBOX: &str = "procurify-sandbox";
const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(50);
