//! The control endpoint.

use procurify_sandbox::{Controls, Fault, Knobs};
use serde_json::json;

use crate::support::right_body;
use crate::support::{Answer, acme, ask, ask_with, call, dial, exchange, plain, request, tls};

fn control(sandbox: &Controls, method: &str, path: &str, body: &str) -> Answer {
    let path = format!("/_sandbox/{path}");
    plain(sandbox.http_addr(), method, &path, &[], body).unwrap()
}

#[test]
fn knobs_are_set_shown_and_cleared() {
    let sandbox = acme(Knobs::default());
    let knobs = r#"{"burst": {"count": 1, "fault": {"bad-request-400": {"error": "x"}}}}"#;
    assert_eq!(control(&sandbox, "PUT", "domains/acme/knobs", knobs).status, 204);
    let shown = control(&sandbox, "GET", "domains/acme/knobs", "").json();
    assert_eq!(shown["burst"]["count"], 1);
    let fault = Fault::BadRequest400 { error: "x".to_owned() };
    assert_eq!(sandbox.knobs("acme"), Ok(Knobs::failing_at_first(1, fault)));
    assert_eq!(ask(&sandbox).unwrap().status, 400);
    control(&sandbox, "PUT", "domains/acme/knobs", r#"{"fault": "html-200"}"#);
    assert_eq!(control(&sandbox, "DELETE", "domains/acme/knobs", "").status, 204);
    assert_eq!(sandbox.knobs("acme"), Ok(Knobs::default()));
}

#[test]
fn clients_come_rotate_and_go() {
    let sandbox = acme(Knobs::default());
    let client = json!({ "client-id": "second", "client-secret": "s", "email": "b@acme.example" });
    let body = client.to_string();
    assert_eq!(control(&sandbox, "POST", "domains/acme/clients", &body).status, 204);
    let status = |secret: &str| {
        let mut body = right_body();
        body["client_id"] = json!("second");
        body["client_secret"] = json!(secret);
        ask_with(&sandbox, "application/json", &body.to_string()).unwrap().status
    };
    assert_eq!(status("s"), 200);
    let rotated = body.replace(r#""s""#, r#""t""#);
    control(&sandbox, "POST", "domains/acme/clients", &rotated);
    assert_eq!((status("s"), status("t")), (401, 200));
    assert_eq!(control(&sandbox, "DELETE", "domains/acme/clients/second", "").status, 204);
    assert_eq!(status("t"), 401);
    assert_eq!(control(&sandbox, "DELETE", "domains/acme/clients/second", "").status, 404);
}

#[test]
fn the_ledger_is_shown_and_a_reset_empties_it() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let shown = control(&sandbox, "GET", "ledger", "").json();
    assert_eq!(shown["domains"]["acme"]["issued"], 1);
    assert_eq!(shown["token-requests"][0]["client-id"], "sandbox-acme");
    assert_eq!(shown["token-requests"][0]["outcome"], "issued");
    let other = control(&sandbox, "GET", "ledger?domain=globex", "").json();
    assert_eq!(other["token-requests"], json!([]));

    sandbox.set("acme", Knobs::failing(Fault::NotFound404)).unwrap();
    assert_eq!(control(&sandbox, "POST", "reset", "").status, 204);
    assert!(sandbox.ledger().token_requests("acme").is_empty());
    assert_eq!(call(&sandbox, "GET", "/api/v3/users/me/", &token, "").status, 401);
    assert_eq!(ask(&sandbox).unwrap().status, 200);
}

#[test]
fn revoking_closes_the_api() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    assert_eq!(control(&sandbox, "POST", "domains/acme/revoke", "").status, 204);
    assert_eq!(call(&sandbox, "GET", "/api/v3/users/me/", &token, "").status, 401);
}

#[test]
fn what_makes_no_sense_is_refused_with_words() {
    let sandbox = acme(Knobs::default());
    for (method, path, body, status) in [
        ("PUT", "domains/acme/knobs", r#"{"latency": 5}"#, 400),
        ("PUT", "domains/acme/knobs", "{", 400),
        ("PUT", "domains/globex/knobs", "{}", 404),
        ("POST", "domains/globex/revoke", "", 404),
        ("POST", "ledger", "", 404),
        ("GET", "", "", 404),
    ] {
        let answer = control(&sandbox, method, path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn only_the_plain_door_has_it() {
    let sandbox = acme(Knobs::default());
    let mut stream = tls(&sandbox, dial(sandbox.https_addr()), "localhost");
    let asked = request("GET", "/_sandbox/ledger", "localhost", &[], "");
    assert_eq!(exchange(&mut stream, &asked).unwrap().status, 404);
}
