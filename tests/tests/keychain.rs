//! A vault that the keychain of a desktop's session opens: against the Secret Service of gnome-keyring, on a session bus of
//! the test's own.
//!
//! It takes a daemon with the feature `keychain`, which `.ci/run` builds and names in `PROCURIFY_TESTS_KEYCHAIN_DAEMON`, and
//! the programs `dbus-daemon` and `gnome-keyring-daemon`.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use procurify_token_tests::{Daemon, Home, skipped};

#[test]
fn a_key_in_the_keychain_opens_the_vault_without_a_person() {
    let home = Home::new(&["acme"]);
    let Some(mut session) = Session::begin(&home) else { return };
    let daemon = session.daemon(&home);
    let made = home.command(["init", "--no-confirm"]).run().succeeds();
    let code = made.stdout.lines().find_map(|line| line.strip_prefix("Recovery code: ")).unwrap().to_owned();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();

    home.command(["slot", "add", "keychain"]).run().succeeds();
    home.command(["slot", "add", "keychain"]).run().fails_with(12).saying(&["a slot for a keychain already"]);
    fs::remove_file(home.config_folder().join("vault.key")).unwrap();
    let status = home.command(["status", "--json"]).run().succeeds().json();
    assert_eq!(status["daemon"]["sandbox"], "full", "{status:#}");
    assert!(daemon.stop().success());

    let daemon = session.daemon(&home);
    home.command(["get", "acme"]).run().succeeds();
    home.command(["lock"]).run().succeeds();
    home.command(["unlock"]).run().succeeds();
    home.command(["lock"]).run().succeeds();

    session.take_the_keyring();
    home.command(["unlock"]).run().fails_with(4).saying(&["The keychain gives no key", "none answers"]);
    home.command(["unlock", "--recovery-code-stdin"]).stdin(format!("{code}\n")).run().succeeds();
    home.command(["get", "acme"]).run().succeeds();
    assert!(daemon.stop().success());

    // Outside of any session, too, it says what is missing, and serves whoever opens it otherwise.
    let _daemon = home.try_start_with(command(&home)).unwrap();
    home.command(["get", "acme"]).run().fails_with(4);
    home.command(["unlock"]).run().fails_with(4).saying(&["DBUS_SESSION_BUS_ADDRESS"]);
    assert!(!home.log().contains("PROCURIFY-TOKEN-KEY-1"), "the log shows a key");
}

#[test]
fn what_somebody_else_keeps_under_our_name_is_left_alone() {
    let home = Home::new(&[]);
    let Some(session) = Session::begin(&home) else { return };
    let _daemon = session.daemon(&home);
    home.command(["init", "--no-confirm"]).run().succeeds();
    let vault = home.data_folder().join("vault");
    let label = ["store", "--label=other", "service", "procurify-token", "username"];
    let mut store =
        session.command("secret-tool").args(label).arg(&vault).stdin(Stdio::piped()).spawn().unwrap();
    store.stdin.take().unwrap().write_all(b"not a key").unwrap();
    assert!(store.wait().unwrap().success());
    let refused = home.command(["slot", "add", "keychain"]).run().fails_with(12);
    let _ = refused.saying(&["is not one key, and was left alone"]);
    let found = session.command("secret-tool").arg("lookup").args(&label[2..]).arg(&vault).output().unwrap();
    assert_eq!(found.stdout, b"not a key");
}

#[test]
fn without_the_feature_the_daemon_says_so() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    home.init();
    let refused = home.command(["slot", "add", "keychain"]).run().fails_with(12);
    let _ = refused.saying(&["built without", "--features keychain"]);
}

/// A session bus with an unlocked keyring on it, for one home.
struct Session {
    address: String,
    bus: Child,
    keyring: Child,
    home: PathBuf,
}

impl Session {
    fn begin(home: &Home) -> Option<Self> {
        if env::var_os(DAEMON).is_none() {
            skipped("keychain", "PROCURIFY_TESTS_KEYCHAIN_DAEMON names no daemon with that feature");
            return None;
        }
        for program in ["dbus-daemon", "gnome-keyring-daemon", "secret-tool"] {
            if Command::new(program).arg("--version").output().is_err() {
                skipped("keychain", &format!("there is no {program}"));
                return None;
            }
        }
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let home = home.path().to_owned();
        let mut keyring = in_session("gnome-keyring-daemon", &address, &home)
            .args(["--unlock", "--foreground", "--components=secrets"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        keyring.stdin.take().unwrap().write_all(b"keyring password").unwrap();
        // It names its control folder once it is there.
        BufReader::new(keyring.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Some(Self { address, bus, keyring, home })
    }

    fn command(&self, program: &str) -> Command {
        in_session(program, &self.address, &self.home)
    }

    fn daemon(&self, home: &Home) -> Daemon {
        let mut command = command(home);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        home.try_start_with(command).unwrap()
    }

    /// The keyring goes, and no other is started in its place.
    fn take_the_keyring(&mut self) {
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
        let _ = self.keyring.kill();
        self.keyring.wait().unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in [&mut self.keyring, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The daemon with a keychain.
fn command(home: &Home) -> Command {
    let usual = home.daemon_command();
    let mut command = Command::new(env::var_os(DAEMON).unwrap());
    command.env_clear().current_dir(home.path());
    command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn in_session(program: &str, address: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("DBUS_SESSION_BUS_ADDRESS", address).env("HOME", home).env_remove("XDG_RUNTIME_DIR");
    command
}

const DAEMON: &str = "PROCURIFY_TESTS_KEYCHAIN_DAEMON";
