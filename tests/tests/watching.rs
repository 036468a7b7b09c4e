//! Watching a credential, as a person and a program do: told of each new token, refusal and removal; hurting nobody.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use procurify_token_tests::protocol::{Request, codec};
use procurify_token_tests::sandbox::{Fault, Knobs, RetryAfter};
use procurify_token_tests::{Home, PATIENCE, name, wait_for_end};
use serde_json::Value;

#[test]
fn a_watcher_is_told_of_each_new_token_refusal_and_removal() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();
    let (mut watcher, mut lines) = watch(&home);
    let first = next(&mut lines);
    let fingerprint = |told: &Value| told["token"]["fingerprint"].as_str().expect("a token").to_owned();

    home.command(["refresh", "acme"]).run().succeeds();
    let second = next(&mut lines);
    assert_ne!(fingerprint(&second), fingerprint(&first));
    assert!(second["refusal"].is_null(), "{second}");

    home.sandbox().set("acme", Knobs::failing(later())).unwrap();
    home.command(["refresh", "acme"]).run().fails_with(9);
    let third = next(&mut lines);
    assert_eq!(fingerprint(&third), fingerprint(&second), "it is held all the same");
    assert_eq!(third["refusal"]["code"], "upstream-unavailable");

    home.command(["remove", "acme", "--yes"]).run().succeeds();
    assert_eq!(watcher.wait().unwrap().code(), Some(5), "there is nothing to watch any more");
    assert!(lines.all(|line| serde_json::from_str::<Value>(&line.unwrap()).is_ok()));
}

#[test]
fn a_watcher_leaves_when_nobody_reads_what_it_says() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();
    let (mut watcher, mut lines) = watch(&home);
    next(&mut lines);
    drop(lines);
    let pid = i32::try_from(watcher.id()).unwrap();
    assert!(wait_for_end(pid, PATIENCE), "it would stay for ever");
    assert!(watcher.wait().unwrap().success());
}

#[test]
fn watchers_that_never_listen_hold_up_nobody() {
    let home = Home::new(&["acme"]);
    home.configure("[budget]\nper-hour = 1000\nper-day = 1000");
    let _daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();
    let deaf: Vec<_> = (0..20).map(|_| deaf_watcher(&home)).collect();
    for _ in 0..5 {
        let refreshed = home.command(["refresh", "acme"]).run().succeeds();
        assert!(refreshed.stderr.is_empty(), "{refreshed:#?}");
        home.command(["get", "acme"]).run().succeeds();
    }
    drop(deaf);
    assert_eq!(home.sandbox().ledger().issued("acme"), 6);
}

#[test]
fn watchers_that_are_killed_keep_no_place_from_others() {
    let home = Home::new(&["acme"]);
    let config = format!("max-connections = 16\n[issuer]\nextra-ca = \"{}\"\n", home.ca_file().display());
    fs::write(home.config_folder().join("config.toml"), config).expect("the configuration is written");
    let _daemon = home.start();
    home.enrol("acme");
    let watchers: Vec<_> = (0..16).map(|_| watch(&home)).collect();
    for (mut watcher, mut lines) in watchers {
        next(&mut lines);
        watcher.kill().expect("it runs");
        watcher.wait().expect("it is a child");
    }
    let is_served = (0..20).any(|_| home.command(["get", "acme", "--deadline", "1s"]).run().code == Some(0));
    assert!(is_served, "the places are free again");
}

fn watch(home: &Home) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = home.command(["watch", "acme", "--json"]).into_command();
    let mut watcher = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it can be run");
    let lines = BufReader::new(watcher.stdout.take().expect("its stdout is a pipe")).lines();
    (watcher, lines)
}

#[track_caller]
fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = lines.next().expect("there is more to tell").expect("it can be read");
    assert!(!line.contains("eyJ"), "the token itself is never told");
    serde_json::from_str(&line).expect("a line is an object")
}

/// Down for longer than anybody waits.
fn later() -> Fault {
    Fault::ServiceUnavailable503 { retry_after: Some(RetryAfter::Seconds(600)) }
}

/// Asks again and again what has become of `acme`, and never reads the answers.
fn deaf_watcher(home: &Home) -> UnixStream {
    let mut stream = UnixStream::connect(home.socket()).expect("a daemon listens");
    for request_id in 0..20 {
        let request = Request::Watch { name: name("acme"), seen: None, deadline: Duration::from_mins(5) };
        let frame = codec::encode_request(request_id, &request).expect("it fits");
        stream.write_all(&frame).expect("the daemon takes it");
    }
    stream
}
