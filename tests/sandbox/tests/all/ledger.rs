//! What the ledger remembers, and what it must not.

use std::io::Write;
use std::thread;
use std::time::Duration;

use procurify_sandbox::{BodyEncoding, Fault, Knobs, Outcome};

use crate::support::{acme, ask, ask_with, call, dial, request, right_body};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn an_entry_tells_who_asked_how_and_what_came_of_it() {
    let sandbox = acme(Knobs::default());
    let body = right_body().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("user-agent", "test/1"),
        ("x-procurify-client", "api"),
        ("x-odd", "1"),
    ];
    let answer =
        crate::support::plain(sandbox.http_addr(), "POST", "/d/acme/oauth/token?x=1", &headers, &body);
    let token = answer.unwrap().token();
    let entry = sandbox.ledger().token_requests("acme").remove(0);
    assert_eq!(entry.client_id.as_deref(), Some("sandbox-acme"));
    assert!(entry.secret_matched);
    assert_eq!(entry.body_encoding, BodyEncoding::Json);
    assert_eq!(entry.outcome, Outcome::Issued);
    assert_eq!(entry.concurrent, 1);
    assert_eq!(entry.head.method, "POST");
    assert_eq!(entry.head.path, "/oauth/token?x=1");
    assert_eq!(entry.head.content_type.as_deref(), Some("application/json"));
    assert_eq!(entry.head.accept.as_deref(), Some("application/json"));
    assert_eq!(entry.head.user_agent.as_deref(), Some("test/1"));
    assert_eq!(entry.head.x_procurify_client.as_deref(), Some("api"));
    assert!(entry.head.header_names.contains(&"x-odd".to_owned()));

    call(&sandbox, "GET", "/api/v3/users/me/", &token, "");
    call(&sandbox, "GET", "/api/v3/users/me/", "unknown", "");
    let calls = sandbox.ledger().api_calls("acme");
    assert_eq!(calls[0].fingerprint, entry.fingerprint);
    assert_eq!(calls[0].client_id.as_deref(), Some("sandbox-acme"));
    assert_eq!((calls[0].status, calls[1].status), (Some(200), Some(401)));
    assert_eq!(calls[1].client_id, None);
    assert!(entry.sequence < calls[0].sequence && calls[0].sequence < calls[1].sequence);
}

#[test]
fn no_secret_and_no_token_is_in_it() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    call(&sandbox, "GET", "/api/v3/users/me/", &token, "");
    let mut body = right_body();
    body["client_secret"] = "canary".into();
    ask_with(&sandbox, "application/json", &body.to_string()).unwrap();
    let ledger = serde_json::to_string(&sandbox.ledger().report(None)).unwrap();
    assert!(ledger.contains("sandbox-acme"));
    for secret in ["sandbox-acme-secret", "canary", token.as_str()] {
        assert!(!ledger.contains(secret));
    }
    assert!(!sandbox.ledger().token_requests("acme")[1].secret_matched);
}

#[test]
fn requests_at_once_are_counted() {
    let sandbox = acme(Knobs::failing(Fault::Hang));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let controls = (*sandbox).clone();
            thread::spawn(move || ask(&controls).is_err())
        })
        .collect();
    assert!(sandbox.ledger().wait_for(LIMIT, |book| book.tally("acme").in_flight == 3));
    let ledger = sandbox.ledger().clone();
    drop(sandbox);
    assert!(callers.into_iter().all(|caller| caller.join().unwrap()));
    assert_eq!(ledger.max_in_flight("acme"), 3);
    assert_eq!(ledger.tally("acme").in_flight, 0);
}

#[test]
fn a_caller_that_goes_away_is_noticed() {
    let sandbox = acme(Knobs { latency_ms: u64::MAX, ..Knobs::default() });
    let mut stream = dial(sandbox.http_addr());
    let headers = [("content-type", "application/json")];
    let asked = request("POST", "/d/acme/oauth/token", "x", &headers, &right_body().to_string());
    stream.write_all(&asked).unwrap();
    assert!(sandbox.ledger().wait_for(LIMIT, |book| book.tally("acme").in_flight == 1));
    drop(stream);
    assert!(sandbox.ledger().wait_for(LIMIT, |book| book.tally("acme").in_flight == 0));
    assert_eq!(sandbox.ledger().token_requests("acme")[0].outcome, Outcome::Abandoned);
}
