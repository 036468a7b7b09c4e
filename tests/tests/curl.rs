//! `curl`: the real one, with both headers, which nobody else sees and no other host gets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use procurify_token_tests::sandbox::{Config, Fault, Knobs, Running, Sandbox};
use procurify_token_tests::{Daemon, Home, skipped_unless_required};

#[test]
fn curl_calls_with_both_headers_and_its_exit_code_is_passed_on() {
    let (home, _daemon) = Home::enrolled();
    if !has_curl(&home, "curl_calls_with_both_headers") {
        return;
    }
    home.command(["curl", "acme", "-sS", "/api/v3/users/me/"])
        .run()
        .succeeds()
        .showing(&["integration@acme.example"]);
    let url = "https://acme.procurify.com/api/v3/users/me/";
    home.command(["curl", "acme", "-sSi", url]).run().succeeds().showing(&["200 OK", "x-request-id: "]);
    // Its stdin is the caller's.
    let words = ["curl", "acme", "/api/v3/vendors/", "-sSH", "Content-Type: application/json", "-d", "@-"];
    home.command(words).stdin(r#"{"name":"Newcomer"}"#).run().succeeds().showing(&["Newcomer"]);
    let missing = home.command(["curl", "acme", "-sS", "--fail-with-body", "/api/v3/nowhere/"]).run();
    missing.ends_with(22).saying(&["curl: (22)"]);
    home.command(["curl", "hooli", "/api/v3/users/me/"]).run().fails_with(5);
    let calls = home.sandbox().ledger().api_calls("acme");
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.head.x_procurify_client.as_deref() == Some("api")));
    assert!(calls.iter().all(|call| call.client_id.is_some()), "with a token that is good");
}

/// A curl that shows what it was given, and what is in the file that it is to read.
#[test]
fn no_token_is_among_the_arguments_or_in_the_environment_of_curl() {
    let (home, _daemon) = Home::enrolled();
    let token = home.command(["get", "acme"]).run().succeeds().stdout;
    let script = "#!/bin/sh\necho \"ARGS $*\"\nenv | sed 's/^/ENV /'\nsed 's/^/FILE /' \"$3\"\n";
    let folder = home.path().join("programs");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("curl"), script).expect("it can be written");
    fs::set_permissions(folder.join("curl"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let shown = home.command(["curl", "acme", "-s", "/a"]).env("PATH", path).run().succeeds().stdout;
    let of = |what: &str| shown.lines().filter(|line| line.starts_with(what)).collect::<Vec<_>>().join("\n");
    assert!(of("ARGS").starts_with("ARGS --disable --config /dev/fd/"), "{shown}");
    assert!(of("ARGS").ends_with(" -s https://acme.procurify.com/a"), "{shown}");
    assert!(of("FILE").contains(&format!("header = \"Authorization: Bearer {}\"", token.trim_end())));
    assert!(of("FILE").contains(&format!("cacert = \"{}\"", home.ca_file().display())));
    for place in ["ARGS", "ENV"] {
        assert!(!of(place).contains("eyJ"), "{place}");
    }
}

#[test]
fn where_there_is_no_curl_it_says_what_to_install() {
    let (home, _daemon) = Home::enrolled();
    let typed = home.command(["curl", "acme", "/a"]).env("PATH", "/nonexistent").run().fails_with(127);
    typed.saying(&["apt install curl", "procurify-token api"]);
}

#[test]
fn no_other_host_gets_the_token() {
    let (home, _daemon) = enrolled_plainly();
    let elsewhere = Sandbox::spawn(Config::of(&["globex"])).expect("a sandbox");
    if !has_curl(&home, "no_other_host_gets_the_token") {
        return;
    }
    let there = format!("{}/api/v3/vendors/", elsewhere.plain_base_url("globex"));
    let fault = Some(Fault::Redirect { to: there.clone(), status: 307 });
    home.sandbox().set("acme", Knobs { api_fault: fault, ..Knobs::default() }).expect("a knob");
    let path = "/api/v3/vendors/";
    home.command(["curl", "acme", "-sSi", path])
        .run()
        .succeeds()
        .showing(&["307 Temporary Redirect", &there]);
    assert_eq!(calls(&elsewhere), 0);

    let proxy = elsewhere.proxy_url();
    let config = home.path().join("config-of-curl");
    fs::write(&config, format!("location\nurl = \"{there}\"\n")).expect("it can be written");
    let config = config.to_str().expect("text");
    for words in [
        &["-L", path][..],
        &["-sSL", path],
        &["--location-trusted", path],
        &["--locat", path],
        &[path, &there],
        &[path, "--url", &there],
        &[path, "--next", &there],
        &[path, "-:", &there],
        &[path, "-K", config],
        &[path, "-sK", config],
        &[path, "-x", &proxy],
        &[path, "--proxy", &proxy],
        &[path, "--connect-to", &format!("::{}", elsewhere.http_addr())],
        &[path, "-H", "Host: globex.procurify.com"],
        &[path, "--", &there],
    ] {
        let words = [&["curl", "acme"], words].concat();
        home.command(words).run().fails_with(2).saying(&["hint: "]);
    }
    // curl reads no configuration of its own, and asks no proxy the way to this machine.
    fs::copy(config, home.path().join(".curlrc")).expect("it can be copied");
    let typed =
        home.command(["curl", "acme", "-sS", path]).env("http_proxy", &proxy).env("ALL_PROXY", &proxy);
    typed.run().succeeds();
    assert_eq!(calls(&elsewhere), 0);

    // The other host is there, and curl would be led to it: by -L, and by its own configuration.
    let led = format!(
        "procurify-token get acme --header | curl -sSL --noproxy '*' -H @- {}{path}",
        home.sandbox().plain_base_url("acme")
    );
    home.shell(&led).run().succeeds();
    assert_eq!(calls(&elsewhere), 2);
    let typed = home.command(["api", "acme", path]).run().ends_with(22);
    typed.saying(&["307", "redirects are not followed with a token", &there]);
    assert_eq!(calls(&elsewhere), 2);
}

fn calls(sandbox: &Running) -> usize {
    sandbox.ledger().api_calls("globex").len()
}

fn has_curl(home: &Home, test: &str) -> bool {
    let has_curl = home.shell("command -v curl").run().code == Some(0);
    if !has_curl {
        skipped_unless_required(test, "there is no curl");
    }
    has_curl
}

fn enrolled_plainly() -> (Home, Daemon) {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol_plainly("acme");
    home.await_issued("acme", 1);
    (home, daemon)
}
