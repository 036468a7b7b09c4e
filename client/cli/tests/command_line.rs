//! The command from the outside, where no daemon is needed: what it refuses, how it says so, and how it ends.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::path::Path;

use assert_cmd::Command;

fn procurify_token(home: &Path) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("procurify-token");
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/nonexistent")
        .env("PROCURIFY_TOKEN_AUTOSTART", "never");
    command
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(line: &[&str]) -> Ended {
    let home = tempfile::tempdir().unwrap();
    run_in(home.path(), line)
}

fn run_in(home: &Path, line: &[&str]) -> Ended {
    let output = procurify_token(home).args(line).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let Ended { code, stdout, stderr } = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for line in
        ["    3  no procurify-tokend answers", "    7  Procurify rejects the client credentials", "Examples:"]
    {
        assert!(stdout.contains(line), "{line:?} is missing in\n{stdout}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for line in
        [&["gett", "acme"][..], &["get"], &["get", "not a domain"], &["get", "acme", "--env", "--json"], &[]]
    {
        let Ended { code, stdout, stderr } = run(line);
        assert_eq!((code, stdout.as_str()), (2, ""), "{line:?}: {stderr}");
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for line in [
        &["add", "acme", "--client-id", "id", "--client-secret", "canary"][..],
        &["add", "acme", "--secret=canary"],
        &["add", "acme", "canary"],
        &["rotate", "acme", "--secret-stdin=canary"],
        &["unlock", "--passphrase=canary"],
    ] {
        let Ended { code, stdout, stderr } = run(line);
        assert_eq!((code, stdout.as_str()), (2, ""), "{line:?}: {stderr}");
        assert!(!stderr.contains("canary") && stderr.contains("hint:"), "{line:?}: {stderr}");
    }
}

#[test]
fn without_a_daemon_and_without_leave_to_start_one_it_ends_with_3() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("nowhere.sock");
    let socket = socket.to_str().unwrap();
    for command in [&["status"][..], &["stop"], &["lock"], &["get", "acme"], &["list"], &["init"]] {
        let line = [&["--socket", socket], command].concat();
        let Ended { code, stdout, stderr } = run_in(home.path(), &line);
        assert_eq!((code, stdout.as_str()), (3, ""), "{line:?}: {stderr}");
        assert!(
            stderr.contains(socket) && stderr.contains("hint: procurify-tokend --socket"),
            "{line:?}: {stderr}"
        );
    }
}

#[test]
fn a_named_socket_is_never_an_invitation_to_start_a_daemon() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("nowhere.sock");
    let output = procurify_token(home.path())
        .env_remove("PROCURIFY_TOKEN_AUTOSTART")
        .env("PROCURIFY_TOKEN_SOCKET", &socket)
        .args(["list"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn where_nobody_can_be_asked_the_options_are_named() {
    let Ended { code, stderr, .. } = run(&["add", "acme"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--secret-stdin"), "{stderr}");
    let Ended { code, stderr, .. } = run(&["init", "--passphrase"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--passphrase-stdin"), "{stderr}");
}

#[test]
fn plain_http_has_to_be_allowed() {
    let base = "http://127.0.0.1:1";
    let Ended { code, stderr, .. } = run(&["add", "acme", "--base-url", base, "--secret-stdin"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--plain-http"), "{stderr}");
    let Ended { code, stderr, .. } =
        run(&["add", "acme", "--base-url", "http://acme.example", "--plain-http"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("use https"), "{stderr}");
}

#[test]
fn colour_is_for_terminals() {
    let Ended { stderr, .. } = run(&["status"]);
    assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
}
