//! The program, as a person or a test harness runs it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use assert_cmd::assert::OutputAssertExt;

use crate::support::{plain, right_body};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_procurify-sandbox"))
}

/// Starts it and reads what it prints up to `ready`. It stops when its stdin is dropped.
fn ready(flags: &[&str]) -> (Child, Vec<String>) {
    let mut child = program()
        .args(flags)
        .arg("--stop-with-stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let lines = stdout.lines().map(Result::unwrap).take_while(|line| line != "ready").collect();
    (child, lines)
}

fn value<'a>(lines: &'a [String], name: &str) -> &'a str {
    let export = format!("export {name}='");
    let line = lines.iter().find_map(|line| line.strip_prefix(&export)).unwrap();
    line.strip_suffix('\'').unwrap()
}

fn token_status(lines: &[String], domain: &str, id: &str, secret: &str) -> u16 {
    let address: SocketAddr = value(lines, "HTTPS_PROXY").strip_prefix("http://").unwrap().parse().unwrap();
    let mut body = right_body();
    body["client_id"] = id.into();
    body["client_secret"] = secret.into();
    let path = format!("/d/{domain}/oauth/token");
    let headers = [("content-type", "application/json")];
    plain(address, "POST", &path, &headers, &body.to_string()).unwrap().status
}

#[test]
fn it_says_how_to_use_it_serves_and_stops_with_its_stdin() {
    let (mut child, lines) = ready(&[]);
    assert!(lines.iter().any(|line| line.contains("client id sandbox-globex")));
    let ca = value(&lines, "SSL_CERT_FILE").to_owned();
    assert!(std::fs::read_to_string(&ca).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(token_status(&lines, "acme", "sandbox-acme", "sandbox-acme-secret"), 200);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!std::path::Path::new(&ca).exists(), "the temporary CA file was left behind");
}

#[test]
fn its_flags_are_heeded() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let (mut child, lines) = ready(&[
        "--ca-file",
        ca.to_str().unwrap(),
        "--domain=umbrella:id:pass:a@b.example",
        "--many=3",
        "--expires-in=0",
        "--print-env",
    ]);
    assert!(lines.iter().all(|line| line.starts_with("export ")));
    assert_eq!(value(&lines, "SSL_CERT_FILE"), ca.to_str().unwrap());
    assert_eq!(token_status(&lines, "umbrella", "id", "pass"), 200);
    let load = ("sandbox-load-00003", "sandbox-load-00003-secret");
    assert_eq!(token_status(&lines, "load-00003", load.0, load.1), 200);
    assert_eq!(token_status(&lines, "acme", "sandbox-acme", "sandbox-acme-secret"), 404);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&ca).unwrap().permissions().mode() & 0o777, 0o644);
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(ca.exists());
}

#[cfg(unix)]
#[test]
fn sigterm_and_sigint_stop_it_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let (mut child, _) = ready(&[]);
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(child.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn help_lists_the_controls_and_a_bad_flag_is_a_usage_error() {
    let help = program().arg("--help").assert().success();
    let text = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    assert!(text.contains("/_sandbox/reset") && text.contains("--many"));
    program().arg("--domain=a:b").assert().failure().code(2);
}
