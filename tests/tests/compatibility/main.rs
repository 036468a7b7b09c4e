//! What is promised to those who were not updated together: clients of version 1 against today's daemon, today's daemon against
//! frames of every version, today's client and command against other daemons, and every message of the wire byte by byte.
//!
//! | room | what |
//! | --- | --- |
//! | `main.rs` | an old client, which shares no code with us, against today's daemon |
//! | `frames.rs` | today's daemon against whatever may arrive |
//! | `other_daemons.rs` | today's client against daemons that are not today's |
//! | `vectors.rs`, `values.rs` | the messages of version 1 in `tests/vectors/wire/v1`, and what they mean |

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

mod frames;
mod other_daemons;
mod values;
mod vectors;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use procurify_token_tests::protocol::{Fingerprint, RefusalCode};
use procurify_token_tests::{Home, name, skipped_unless_required, text_of};
use serde_json::{Value, json};

#[test]
fn an_old_client_is_served_as_it_always_was() {
    let Some(python) = python("an old client against today's daemon") else { return };
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.start();
    let old = |words: &[&str]| old_client(&python, &home, words);

    let status = old(&["status"]).unwrap();
    assert_eq!((&status["vault"], &status["credentials"]), (&json!("missing"), &json!(0)));
    assert_eq!(status["pid"], daemon.pid());
    let refused = old(&["get", "acme"]).unwrap_err();
    assert_eq!(refused["code"], RefusalCode::NO_VAULT.number());
    assert!(!refused["message"].as_str().unwrap().is_empty());

    home.enrol("acme");
    home.enrol("globex");
    let ours = home.client().token(&name("acme")).unwrap();
    let got = old(&["get", "acme"]).unwrap();
    assert_eq!(got["token"], text_of(&ours));
    assert_eq!(got["fingerprint"], ours.fingerprint().to_string());
    assert_eq!(got["expires_at"], ours.expires_at().timestamp_millis());
    assert_eq!(got["base_url"], ours.base_url().as_str());

    let mut client = home.client();
    client.token(&name("globex")).unwrap();
    let listed = old(&["list"]).unwrap();
    let described = old(&["describe", "globex"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    // But for the times, which are reckoned from a clock that runs on, and told to the millisecond.
    let timeless = |credential: &Value| {
        let of = |field: &str| credential[field].clone();
        ["name", "client_id", "token_url", "added_at", "activity", "last_failure", "budget"].map(of)
    };
    assert_eq!(timeless(&listed[1]), timeless(&described));
    let ours = client.describe(&name("globex")).unwrap();
    assert_eq!(described["client_id"], ours.client_id.as_str());
    assert_eq!(described["token_url"], ours.token_url.as_str());
    assert_eq!(described["audience"], ours.audience.as_str());
    assert_eq!(described["added_at"], ours.added_at.timestamp_millis());
    assert_eq!(described["token"]["fingerprint"], ours.token.unwrap().fingerprint.to_string());
    assert_eq!(described["budget"][1], ours.budget.per_hour);
    assert_eq!(old(&["status"]).unwrap()["with_token"], 2);

    let fingerprint = got["fingerprint"].as_str().unwrap();
    assert_eq!(old(&["invalidate", "acme", fingerprint]).unwrap(), "done");
    let next = old(&["get", "acme"]).unwrap();
    assert_ne!(next["token"], got["token"]);
    let held = client.token(&name("acme")).unwrap();
    assert_eq!(held.fingerprint(), next["fingerprint"].as_str().unwrap().parse::<Fingerprint>().unwrap());
    // Of one that is no longer held nothing follows.
    assert_eq!(old(&["invalidate", "acme", fingerprint]).unwrap(), "done");
    assert_eq!(old(&["get", "acme"]).unwrap()["token"], next["token"]);

    let refused = old(&["describe", "initech"]).unwrap_err();
    assert_eq!(refused["code"], RefusalCode::UNKNOWN_CREDENTIAL.number());
    client.request(&procurify_token_tests::protocol::Request::Lock, procurify_token_tests::PATIENCE).unwrap();
    assert_eq!(old(&["get", "acme"]).unwrap_err()["code"], RefusalCode::LOCKED.number());
}

/// `Err` is a refusal.
#[track_caller]
fn old_client(python: &OsString, home: &Home, words: &[&str]) -> Result<Value, Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/old_client.py");
    // -B: it leaves nothing beside the sources. -I: nothing of this machine's comes between.
    let mut command = Command::new(python);
    command.args(["-I", "-B"]).arg(program).arg(home.socket()).args(words);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let mut said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}: {told}", output.status));
    match output.status.code() {
        Some(0) => Ok(said),
        Some(1) => Err(said["refused"].take()),
        other => panic!("{words:?}: {other:?}: {told}"),
    }
}

/// `None`, said loudly, where it cannot run; a failure where everything has to run.
fn python(test: &str) -> Option<OsString> {
    let python = env::var_os("PROCURIFY_TESTS_PYTHON").unwrap_or_else(|| "python3".into());
    let probe = "import sys; sys.exit(sys.version_info < (3, 8))";
    let probed = Command::new(&python).args(["-c", probe]).stderr(Stdio::null()).status();
    if probed.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let why = format!("{} is no Python 3.8; PROCURIFY_TESTS_PYTHON names another", python.display());
    skipped_unless_required(test, &why);
    None
}
