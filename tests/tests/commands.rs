//! The commands that keep the vault, as a person types them: what they say, and how they end.

use procurify_sandbox::{Application, Fault, Knobs, RetryAfter};
use procurify_token_tests::{Home, Typed};

#[test]
fn a_vault_is_made_and_a_credential_enrolled() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.command(["status"]).run().succeeds().showing(&["missing", "what to do: procurify-token init"]);
    home.command(["get", "acme"]).run().fails_with(4).saying(&["no vault yet", "hint: procurify-token init"]);

    let made = home.command(["init"]).run().succeeds();
    let (vault, key) = (home.data_folder().join("vault"), home.config_folder().join("vault.key"));
    made.showing(&[&vault.display().to_string(), &key.display().to_string(), "Back up both"]);
    home.command(["init"]).run().fails_with(12).saying(&["already a file"]);

    let added = add(&home, "https://Acme.procurify.com/", "sandbox-acme-secret").succeeds();
    added.showing(&[
        "acme is stored durably",
        "acts as integration@acme.example",
        "procurify-token get acme",
    ]);
    home.command(["list"]).run().succeeds().showing(&["acme", "nightly", "ok"]);
    let listed = home.command(["list", "--json"]).run().succeeds().json();
    assert_eq!(listed["credentials"][0]["client_id"], "sandbox-acme");
    assert_eq!(listed["credentials"][0]["activity"], "resting");
    add(&home, "acme", "other").fails_with(12).saying(&["enrolled already", "rotate acme", "acme/LABEL"]);

    home.command(["status"]).run().succeeds().showing(&["open", "acme"]);
    let status = home.command(["status", "acme", "--json"]).run().succeeds().json();
    assert_eq!(status["credential"]["base_url"], "https://acme.procurify.com");
    home.command(["status", "initech"]).run().fails_with(5).saying(&["no credential is named initech"]);
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
}

#[test]
fn without_a_vault_add_makes_one_and_a_superuser_is_pointed_out() {
    let home = Home::new(&["acme"]);
    let root = Application { superuser: true, ..Application::of("acme") };
    home.sandbox().put_client("acme", root).unwrap();
    let _daemon = home.start();
    let added = add(&home, "acme", "sandbox-acme-secret\n").succeeds();
    added.showing(&["There is no vault yet", "Back up both"]).saying(&["superuser"]);
}

#[test]
fn a_rejected_secret_stays_stored_and_the_message_says_what_to_do() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let typed = add(&home, "acme", "wrong-secret").ends_with(7);
    typed.showing(&["acme is stored durably"]).saying(&[
        "acme stays stored",
        "HTTP 401",
        "procurify-token rotate acme",
        "procurify-token remove acme",
    ]);
    home.command(["get", "acme"]).run().fails_with(7).saying(&["rejects the client id or the client secret"]);
    home.command(["status", "acme"]).run().succeeds().showing(&["rejected", "what to do:"]);
    let requests = home.sandbox().ledger().tally("acme").token_requests;
    home.command(["refresh", "acme"]).run().fails_with(7);
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, requests, "it is not tried in vain");

    let mended = Application { client_secret: "wrong-secret".to_owned(), ..Application::of("acme") };
    home.sandbox().put_client("acme", mended).unwrap();
    home.command(["refresh", "acme", "--retry"]).run().succeeds().showing(&["New token"]);
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn every_kind_of_failure_has_its_exit_code_and_its_advice() {
    let domains = ["acme", "globex", "initech", "umbrella"];
    let home = Home::new(&domains);
    let later = Some(RetryAfter::Seconds(600));
    let faults = [
        (Fault::NotFound404, 8, "no token endpoint"),
        (Fault::ServiceUnavailable503 { retry_after: later.clone() }, 9, "having trouble"),
        (Fault::Throttled429 { retry_after: later, ratelimit_reset_s: None }, 11, "left alone for a while"),
        (Fault::AccessDenied403, 7, "denies them a token"),
    ];
    let _daemon = home.start();
    for (domain, (fault, code, said)) in domains.into_iter().zip(faults) {
        home.sandbox().set(domain, Knobs::failing(fault)).unwrap();
        home.enrol(domain);
        home.command(["get", domain]).run().fails_with(code).saying(&[said, domain, "hint: "]);
    }
    home.command(["get", "hooli"]).run().fails_with(5).saying(&["procurify-token add hooli"]);
}

#[test]
fn a_wrong_command_line_ends_with_2_and_repeats_no_secret() {
    let home = Home::new(&[]);
    for words in [
        &["get"][..],
        &["get", "not a domain"],
        &["get", "acme", "--min-ttl", "soon"],
        &["get", "acme", "--header", "--json"],
        &["frobnicate"],
        &["remove"],
        &["exec", "acme"],
    ] {
        home.command(words).run().fails_with(2);
    }
    for words in [
        &["add", "acme", "--client-secret", "canary"][..],
        &["add", "acme", "--secret=canary"],
        &["rotate", "acme", "--client-secret=canary"],
        &["unlock", "--passphrase=canary"],
        &["add", "acme", "canary"],
    ] {
        let typed = home.command(words).run().fails_with(2);
        assert!(!typed.stderr.contains("canary"), "{typed:#?}");
    }
    home.command(["add", "acme", "--secret=canary"]).run().saying(&["`ps`", "--secret-stdin"]);
    home.command(["--help"]).run().succeeds().showing(&["Exit codes:", "   7  Procurify rejects"]);
}

#[test]
fn without_a_daemon_every_command_says_so_with_3() {
    let home = Home::new(&[]);
    for words in [&["get", "acme"][..], &["list"], &["status"], &["lock"], &["stop"], &["init"]] {
        home.command(words).run().fails_with(3).saying(&["no procurify-tokend answers at", "hint: "]);
    }
}

#[test]
fn a_credential_is_rotated_and_rolled_back() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let first = home.command(["get", "acme"]).run().succeeds().stdout;
    home.command(["rotate", "acme", "--rollback"])
        .run()
        .fails_with(12)
        .saying(&["no earlier client credentials"]);

    let rotate = |secret: &str, more: &[&str]| {
        let words = ["rotate", "acme", "--client-id", "second", "--secret-stdin"];
        home.command(words.iter().chain(more)).stdin(secret).run()
    };
    let refused = rotate("second-secret", &[]).ends_with(7);
    refused.showing(&["stored durably"]).saying(&["acme still uses the old pair", "rotate acme --retry"]);
    assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, first, "the old pair is in use");
    rotate("third-secret", &[]).fails_with(12).saying(&["--replace"]);

    let second = Application {
        client_id: "second".into(),
        client_secret: "second-secret".into(),
        ..Application::of("acme")
    };
    home.sandbox().put_client("acme", second).unwrap();
    home.command(["rotate", "acme", "--retry"]).run().succeeds().showing(&["acme now uses the new pair"]);
    assert_eq!(client_id(&home), "second");
    assert_ne!(home.command(["get", "acme"]).run().succeeds().stdout, first);

    home.command(["rotate", "acme", "--rollback"]).run().succeeds().showing(&["the previous pair again"]);
    assert_eq!(client_id(&home), "sandbox-acme");
    home.command(["refresh", "acme", "--retry"]).run().succeeds();
    let last = home.sandbox().ledger().token_requests("acme").pop().unwrap();
    assert_eq!(last.client_id.as_deref(), Some("sandbox-acme"));
}

#[test]
fn removing_asks_first_and_says_what_lives_on() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.command(["remove", "acme"]).run().fails_with(2).saying(&["nobody can be asked", "--yes"]);
    home.command(["get", "acme"]).run().succeeds();
    home.command(["remove", "acme", "--yes"]).run().succeeds().showing(&["acme is gone", "up to 24 h"]);
    home.command(["get", "acme"]).run().fails_with(5);
    home.command(["remove", "acme", "--yes"]).run().fails_with(5);
}

#[test]
fn a_vault_with_a_passphrase_is_locked_and_unlocked() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.command(["init", "--passphrase-stdin"])
        .stdin("open sesame\n")
        .run()
        .succeeds()
        .showing(&["passphrase"]);
    home.enrol("acme");
    let token = home.command(["get", "acme"]).run().succeeds().stdout;

    home.command(["lock"]).run().succeeds().showing(&["procurify-token unlock"]);
    home.command(["get", "acme"]).run().fails_with(4).saying(&["hint: procurify-token unlock"]);
    let unlock = |passphrase: &str| home.command(["unlock", "--passphrase-stdin"]).stdin(passphrase).run();
    unlock("open barley\n").fails_with(4).saying(&["passphrase does not open"]);
    unlock("open sesame\n").succeeds();
    assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, token);

    assert!(daemon.stop().success());
    let _daemon = home.start();
    home.command(["get", "acme"]).run().fails_with(4);
    home.command(["unlock"]).run().fails_with(4).saying(&["--passphrase-stdin"]);
    unlock("open sesame\n").succeeds();
    assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, token);
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
}

#[test]
fn a_vault_with_a_key_file_is_locked_and_unlocked() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let token = home.command(["get", "acme"]).run().succeeds().stdout;
    home.command(["lock"]).run().succeeds();
    home.command(["list"]).run().fails_with(4);
    home.command(["unlock"]).run().succeeds();
    assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, token);
}

#[test]
fn an_invalidated_token_is_not_handed_out_again() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let first = home.command(["get", "acme", "--json"]).run().succeeds().json();
    let fingerprint = first["fingerprint"].as_str().unwrap();
    home.command(["invalidate", "acme", "--fingerprint", "0123456789abcdef"]).run().succeeds();
    assert_eq!(home.command(["get", "acme"]).run().succeeds().line(), first["access_token"], "another's");
    home.command(["invalidate", "acme", "--fingerprint", fingerprint]).run().succeeds();
    assert_ne!(home.command(["get", "acme"]).run().succeeds().line(), first["access_token"]);
    assert_eq!(home.sandbox().ledger().issued("acme"), 2);
}

fn add(home: &Home, name: &str, secret: &str) -> Typed {
    let words = ["add", name, "--client-id", "sandbox-acme", "--secret-stdin", "--description", "nightly"];
    home.command(words).stdin(secret).run()
}

fn client_id(home: &Home) -> String {
    let status = home.command(["status", "acme", "--json"]).run().succeeds().json();
    status["credential"]["client_id"].as_str().expect("a client id").to_owned()
}
