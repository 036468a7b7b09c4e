//! The temporary folder of the demo and everything that runs in it. Whatever happens, it is cleared away: at the end,
//! on failure, on a panic, and on Ctrl-C.
//!
//! A signal never interrupts a command that is being run, only what follows it: a command that was cut off could leave
//! a daemon behind that nobody knows of. The children are out of the terminal's reach for the same reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use procurify_token_client::blocking::Client;
use procurify_token_client::{Error, NameError, Options, Request};
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use tempfile::TempDir;

use super::sandbox::Sandbox;
use crate::clock::within;
use crate::exit::{ExitCode, Failure};
use crate::{say, system};

/// The folder, the sandbox and, once a command has started it, the daemon.
#[derive(Debug)]
pub(super) struct House {
    sandbox: Sandbox,
    interrupted: Arc<AtomicBool>,
    // Last: it goes when everybody has left it.
    folder: TempDir,
}

impl House {
    pub(super) fn build() -> Result<Self, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [
            SIGINT,
            SIGTERM,
            #[cfg(unix)]
            SIGHUP,
        ] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(|error| unbuilt(&error))?;
        }
        // tempfile makes it for its owner alone.
        let folder = tempfile::Builder::new().prefix("procurify-demo-").tempdir_in(short_folder());
        let folder = folder.map_err(|error| unbuilt(&error))?;
        let sandbox = Sandbox::start(&folder.path().join("ca.pem"), &interrupted)?;
        let house = Self { sandbox, interrupted, folder };
        house.furnish().map_err(|error| unbuilt(&error))?;
        Ok(house)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// A program that sees this house instead of the user's.
    pub(super) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let upper = name.to_string_lossy().to_ascii_uppercase();
            if OURS.iter().any(|prefix| upper.starts_with(prefix)) || upper.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        for (name, folder) in FOLDERS {
            command.env(name, self.folder().join(folder));
        }
        command
            .env("HTTPS_PROXY", self.sandbox.proxy())
            // Another daemon of this machine must not be mistaken for the demo's.
            .env("PROCURIFY_TOKEN_SOCKET", self.socket())
            .env("PROCURIFY_TOKEN_AUTOSTART", "always")
            .current_dir(self.folder());
        system::detach(&mut command);
        command
    }

    /// How many tokens the sandbox has issued for each domain.
    pub(super) fn issued<const N: usize>(&self, domains: [&str; N]) -> Result<[u64; N], Failure> {
        let ledger = self.sandbox.ledger()?;
        Ok(domains.map(|domain| ledger["domains"][domain]["issued"].as_u64().unwrap_or_default()))
    }

    /// Which token the daemon holds for a domain.
    pub(super) fn fingerprint_of(&self, name: &str) -> Result<String, Failure> {
        let name =
            name.parse().map_err(|error: NameError| Failure::new(ExitCode::Other, error.to_string()))?;
        let token = self.connect()?.describe(&name)?.token;
        Ok(token.map_or_else(|| "unknown".to_owned(), |token| token.fingerprint.to_string()))
    }

    /// Ends the daemon without a chance to say goodbye.
    pub(super) fn kill_daemon(&self) -> Result<(), Failure> {
        let pid = self.connect()?.status()?.pid;
        say::line(format!("   $ kill -9 {pid}"))?;
        system::kill(pid);
        if self.is_daemon_gone_within(PATIENCE) {
            Ok(())
        } else {
            Err(Failure::new(ExitCode::Other, "the daemon survived kill -9"))
        }
    }

    /// Clears everything away and says what is left, if anything is.
    pub(super) fn clear_away(self) -> Result<(), Failure> {
        let path = self.folder().to_owned();
        drop(self);
        if path.exists() {
            let failure = Failure::new(ExitCode::Other, format!("{} could not be removed", path.display()));
            return Err(failure.hint(format!("rm -r {}", path.display())));
        }
        Ok(())
    }

    fn furnish(&self) -> std::io::Result<()> {
        for (_, folder) in FOLDERS {
            system::private_folder(&self.folder().join(folder))?;
        }
        let config = self.folder().join("config/procurify-token");
        system::private_folder(&config)?;
        // A JSON text is a TOML text as well.
        let extra_ca = serde_json::Value::from(self.sandbox.ca().to_string_lossy());
        fs::write(config.join("config.toml"), format!("[issuer]\nextra-ca = {extra_ca}\n"))
    }

    fn socket(&self) -> PathBuf {
        if cfg!(windows) {
            return format!(r"\\.\pipe\procurify-token-demo-{}", std::process::id()).into();
        }
        self.folder().join("run/tokend.sock")
    }

    fn connect(&self) -> Result<Client, Error> {
        Client::connect(&Options::new().socket(self.socket()).deadline(PATIENCE))
    }

    fn is_daemon_gone_within(&self, limit: Duration) -> bool {
        within(limit, || matches!(self.connect(), Err(Error::NoDaemon { .. })))
    }

    fn end_daemon(&self) {
        let Ok(mut client) = self.connect() else { return };
        let Ok(status) = client.status() else { return };
        // Refused or not: whoever is still there afterwards is killed.
        let _ = client.request(&Request::Stop, PATIENCE);
        drop(client);
        if !within(PATIENCE, || !system::is_running(status.pid)) {
            system::kill(status.pid);
            let _ = within(PATIENCE, || !system::is_running(status.pid));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.end_daemon();
        self.sandbox.stop();
    }
}

/// The path of a Unix socket may have about 100 bytes.
fn short_folder() -> PathBuf {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() > LONGEST_FOLDER && Path::new("/tmp").is_dir() { "/tmp".into() } else { usual }
}

fn unbuilt(error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Other, format!("the demo's folder could not be set up: {error}"))
}

/// Variables that could lead out of the house.
const OURS: [&str; 5] = ["PROCURIFY_", "XDG_", "SSL_CERT_", "NOTIFY_SOCKET", "LISTEN_"];
const FOLDERS: [(&str, &str); 8] = [
    ("APPDATA", "config"),
    ("LOCALAPPDATA", "data"),
    ("HOME", "home"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_STATE_HOME", "state"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_RUNTIME_DIR", "run"),
];
const LONGEST_FOLDER: usize = 50;
const PATIENCE: Duration = Duration::from_secs(5);
