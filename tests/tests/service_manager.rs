//! What a service manager is told (`sd_notify(3)`): by a socket that takes the place of systemd's, and the real daemon.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use procurify_token_tests::sandbox::{Fault, Knobs};
use procurify_token_tests::{Daemon, Home, PATIENCE};
use rustix::process::Signal;

#[test]
fn it_is_told_of_readiness_of_every_change_of_the_reload_and_of_the_end() {
    let home = Home::new(&["acme", "globex"]);
    let manager = Manager::of(&home);
    let daemon = manager.start(&home, &[]);
    assert_eq!(manager.hear(), ["READY=1", "STATUS=no vault yet: procurify-token init"]);

    home.command(["init"]).run().succeeds();
    assert_eq!(manager.hear(), ["STATUS=no credentials yet: procurify-token add DOMAIN"]);
    home.sandbox().set("globex", Knobs::failing(Fault::Wrapper401)).unwrap();
    home.enrol("acme");
    manager.hear_until("STATUS=1 credential, healthy");
    home.enrol("globex");
    manager.hear_until("STATUS=2 credentials, 1 healthy: procurify-token list");
    home.command(["remove", "globex", "--yes"]).run().succeeds();
    manager.hear_until("STATUS=1 credential, healthy");
    home.command(["lock"]).run().succeeds();
    manager.hear_until("STATUS=locked, waiting for procurify-token unlock");
    home.command(["unlock"]).run().succeeds();
    manager.hear_until("STATUS=1 credential, healthy");

    daemon.signal(Signal::HUP);
    let [reloading, since] = <[String; 2]>::try_from(manager.hear()).unwrap();
    assert_eq!(reloading, "RELOADING=1");
    assert!(since.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0, "{since}");
    assert_eq!(manager.hear(), ["READY=1", "STATUS=1 credential, healthy"]);

    let good = fs::read_to_string(home.config_folder().join("config.toml")).unwrap();
    fs::write(home.config_folder().join("config.toml"), "nonsense").unwrap();
    daemon.signal(Signal::HUP);
    manager.hear_until("READY=1");
    assert!(
        manager.last().ends_with("is not in force: procurify-tokend --check-config"),
        "{}",
        manager.last()
    );
    fs::write(home.config_folder().join("config.toml"), good).unwrap();

    assert!(daemon.stop().success());
    manager.hear_until("STOPPING=1");
    assert!(!manager.was_told("WATCHDOG"), "nobody wanted a sign of life");
}

#[test]
fn a_vault_that_a_person_has_to_open_is_no_reason_not_to_be_ready() {
    let home = Home::new(&[]);
    let daemon = home.start();
    home.command(["init", "--passphrase-stdin"]).stdin("correct horse battery staple\n").run().succeeds();
    assert!(daemon.stop().success());
    let manager = Manager::of(&home);
    let _daemon = manager.start(&home, &[]);
    assert_eq!(manager.hear(), ["READY=1", "STATUS=locked, waiting for procurify-token unlock"]);
    home.command(["unlock", "--passphrase-stdin"]).stdin("correct horse battery staple\n").run().succeeds();
    manager.hear_until("STATUS=no credentials yet: procurify-token add DOMAIN");
}

#[test]
fn a_vault_whose_key_is_missing_is_told_of_with_what_to_type() {
    let home = Home::new(&[]);
    let daemon = home.start();
    home.command(["init"]).run().succeeds();
    assert!(daemon.stop().success());
    fs::remove_file(home.config_folder().join("vault.key")).unwrap();
    let manager = Manager::of(&home);
    let _daemon = manager.start(&home, &[]);
    assert_eq!(
        manager.hear(),
        ["READY=1", "STATUS=the vault does not open: procurify-token doctor says why"]
    );
}

#[test]
fn it_is_ready_only_when_the_command_that_opens_the_vault_has_answered() {
    let home = Home::new(&[]);
    let (key, gate) = (home.path().join("key"), home.path().join("gate"));
    let line = home.daemon_command().arg("--new-key").output().unwrap().stdout;
    fs::write(&key, line).unwrap();
    let script = format!("read -r go < '{}'; cat '{}'", gate.display(), key.display());
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    home.configure(&format!("[vault]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]"));
    let open_the_gate = || fs::write(&gate, "go\n").unwrap();
    let daemon = home.start();
    std::thread::scope(|scope| {
        scope.spawn(open_the_gate);
        home.command(["init", "--slot", "command"]).run().succeeds();
    });
    assert!(daemon.stop().success());

    let manager = Manager::of(&home);
    let _daemon = manager.start(&home, &[]);
    assert_eq!(manager.hear(), ["STATUS=fetching what opens the vault"]);
    open_the_gate();
    assert_eq!(manager.hear(), ["READY=1", "STATUS=no credentials yet: procurify-token add DOMAIN"]);
}

#[test]
fn where_signs_of_life_are_waited_for_they_are_given_again_and_again() {
    let home = Home::new(&[]);
    let manager = Manager::of(&home);
    // Half of it, again and again.
    let daemon = manager.start(&home, &[("WATCHDOG_USEC", "200000")]);
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    assert!(daemon.stop().success());
    manager.hear_until("STOPPING=1");
}

#[test]
fn one_that_cannot_start_says_why() {
    let home = Home::new(&[]);
    home.configure("[refresh]\nform = 0.5");
    let manager = Manager::of(&home);
    let refused = home.try_start_with(manager.daemon(&home, &[])).unwrap_err();
    assert!(!refused.status.success());
    let [status] = <[String; 1]>::try_from(manager.hear()).unwrap();
    assert!(
        status.starts_with("STATUS=could not start: ") && status.contains("unknown field `form`"),
        "{status}"
    );
}

/// Takes what a daemon says for a service manager.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    heard: std::cell::RefCell<Vec<String>>,
}

impl Manager {
    fn of(home: &Home) -> Self {
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path, heard: std::cell::RefCell::default() }
    }

    fn daemon(&self, home: &Home, more: &[(&str, &str)]) -> Command {
        let mut command = home.daemon_command();
        command.env("NOTIFY_SOCKET", &self.path).envs(more.iter().copied());
        command
    }

    fn start(&self, home: &Home, more: &[(&str, &str)]) -> Daemon {
        home.try_start_with(self.daemon(home, more)).unwrap()
    }

    /// What it is told next, line by line.
    fn hear(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the daemon says something");
        let lines: Vec<_> =
            std::str::from_utf8(&buffer[..length]).unwrap().lines().map(str::to_owned).collect();
        self.heard.borrow_mut().extend(lines.iter().cloned());
        lines
    }

    fn hear_until(&self, wanted: &str) {
        while !self.hear().iter().any(|line| line == wanted) {}
    }

    fn last(&self) -> String {
        self.heard.borrow().last().cloned().unwrap_or_default()
    }

    fn was_told(&self, what: &str) -> bool {
        self.heard.borrow().iter().any(|line| line.starts_with(what))
    }
}
