//! The command from the outside, where no daemon is needed: what it refuses, how it says so, and how it ends.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use assert_cmd::Command;
use rstest::rstest;

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
        &["add", "acme:canary"],
        &["add", "acme", "--client-id", "a canary"],
        &["rotate", "acme", "--client-id", "a canary"],
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
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was written");
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

#[test]
fn what_outlives_the_command_keeps_nothing_open_that_others_wait_for() {
    let home = tempfile::tempdir().unwrap();
    let command = assert_cmd::cargo::cargo_bin!("procurify-token");
    let is_open = |through: &str| {
        let line =
            format!("{through} sh -c '{{ true >&9; }} 2> /dev/null && echo open || echo closed' 9> job.lock");
        let output =
            Command::new("sh").current_dir(&home).env("us", command).args(["-c", &line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!([is_open(""), is_open("\"$us\" detached --")], ["open\n", "closed\n"]);
}

#[rstest]
#[case(None)]
#[case(Some("relative"))]
#[case(Some("/nonexistent/home"))]
fn without_a_home_nothing_is_written_and_no_daemon_started(#[case] home: Option<&str>) {
    let here = tempfile::tempdir().unwrap();
    let mut command = procurify_token(here.path());
    command.current_dir(&here).env("XDG_STATE_HOME", here.path()).env_remove("HOME").args(["list"]);
    if let Some(home) = home {
        command.env("HOME", home);
    }
    let output = command.env("PROCURIFY_TOKEN_AUTOSTART", "always").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("set HOME (absolute)"), "{stderr}");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0, "something was written");
}

#[test]
fn a_daemon_that_leaves_before_it_answers_is_followed_by_another() {
    let home = tempfile::tempdir().unwrap();
    // Where the programs can be one file with those under test.
    let programs = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let command = programs.path().join("procurify-token");
    fs::hard_link(assert_cmd::cargo::cargo_bin!("procurify-token"), &command).unwrap();
    let script = "#!/bin/sh\ntouch \"$HOME/started\"\n";
    let daemon = programs.path().join("procurify-tokend");
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(daemon).unwrap();
    std::io::Write::write_all(&mut file, script.as_bytes()).unwrap();
    drop(file);

    let folder = home.path().join(".procurify-token");
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let socket = folder.join("tokend.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let leaving = std::thread::spawn(move || {
        let caller = listener.accept().unwrap();
        fs::remove_file(socket).unwrap();
        drop((listener, caller));
    });
    let output = Command::new(command)
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("PROCURIFY_TOKEN_AUTOSTART", "always")
        .args(["get", "acme"])
        .output()
        .unwrap();
    leaving.join().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(home.path().join("started").exists(), "{stderr}");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
}

#[test]
fn a_secret_file_is_a_file() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("tokend.sock");
    for path in ["/dev/null", "/"] {
        let line = ["add", "acme", "--client-id", "id", "--secret-file", path];
        let Ended { code, stderr, .. } =
            run_in(home.path(), &[&["--socket", socket.to_str().unwrap()][..], &line].concat());
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("--secret-stdin") && !stderr.contains("chmod"), "{stderr}");
    }
}
