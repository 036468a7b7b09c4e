//! The token endpoint of a domain in good health.

use procurify_sandbox::{BodyEncoding, Knobs, Outcome, Refusal};
use serde_json::{Value, json};

use crate::support::{Answer, acme, ask, ask_with, plain, right_body};

fn asked_with(change: impl FnOnce(&mut Value)) -> (Answer, Outcome) {
    let sandbox = acme(Knobs::default());
    let mut body = right_body();
    change(&mut body);
    let answer = ask_with(&sandbox, "application/json", &body.to_string()).unwrap();
    (answer, sandbox.ledger().token_requests("acme").remove(0).outcome)
}

#[test]
fn a_right_request_gets_a_token() {
    let sandbox = acme(Knobs::default());
    let answer = ask(&sandbox).unwrap();
    let body = answer.json();
    assert_eq!(body["expires_in"], 86_400);
    assert_eq!(body["token_type"], "Bearer");
    let scope = "urn:procurify-api:domain:acme urn:procurify-api:email:integration@acme.example";
    assert_eq!(body["scope"], scope);
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 32));
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")));

    let token = answer.token();
    assert!((800..=1500).contains(&token.len()), "{}", token.len());
    let claims = claims(&token);
    assert_eq!(claims["aud"], "https://api.procurify.com/");
    assert_eq!(claims["sub"], "sandbox-acme@clients");
    assert_eq!(claims["gty"], "client-credentials");
    assert_eq!(claims["scope"], scope);
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life, 86_400);
    assert!(claims["iss"].is_string());

    assert_ne!(token, ask(&sandbox).unwrap().token());
    let entry = sandbox.ledger().token_requests("acme").remove(0);
    assert_eq!(entry.jti.as_deref(), claims["jti"].as_str());
    assert_eq!(sandbox.ledger().issued("acme"), 2);
}

#[test]
fn a_form_is_as_good_as_json() {
    let sandbox = acme(Knobs::default());
    let body = "grant_type=client_credentials&client_id=sandbox-acme\
        &client_secret=sandbox-acme-secret&audience=https%3A%2F%2Fapi.procurify.com%2F";
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    ask_with(&sandbox, form, body).unwrap().token();
    let entry = sandbox.ledger().token_requests("acme").remove(0);
    assert_eq!(entry.body_encoding, BodyEncoding::Form);
    assert!(entry.secret_matched);
}

#[test]
fn wrong_credentials_are_echoed_in_the_observed_wrapper() {
    let (answer, outcome) = asked_with(|body| body["client_secret"] = json!("wrong"));
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.text(),
        concat!(
            r#"{"data":{"grant_type":"client_credentials","client_id":"sandbox-acme","#,
            r#""client_secret":"wrong"},"errors":{"detail":{"message":"Unauthorized"}}}"#,
        )
    );
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongCredentials));
    let (answer, _) = asked_with(|body| body["client_id"] = json!("nobody"));
    assert_eq!(answer.status, 401);
}

#[test]
fn a_wrong_audience_is_forbidden() {
    let (answer, outcome) = asked_with(|body| body["audience"] = json!("https://api.procurify.com"));
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"], "access_denied");
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongAudience));
}

#[test]
fn each_of_the_four_members_is_needed() {
    for member in ["client_id", "client_secret", "audience", "grant_type"] {
        let (answer, outcome) = asked_with(|body| {
            body.as_object_mut().unwrap().remove(member);
        });
        assert_eq!(answer.status, 400, "{member}");
        assert_eq!(answer.json()["error"], "invalid_request");
        assert_eq!(outcome, Outcome::Refused(Refusal::MissingMember));
    }
    let (answer, _) = asked_with(|body| body["grant_type"] = json!("password"));
    assert_eq!(answer.json()["error"], "unsupported_grant_type");
}

#[test]
fn what_cannot_be_read_is_refused_by_its_own_status() {
    let sandbox = acme(Knobs::default());
    let json = "application/json";
    assert_eq!(ask_with(&sandbox, "text/plain", "{}").unwrap().status, 415);
    for malformed in ["", "{", "[]", "7", r#"{"client_id":7}"#, "\u{0}"] {
        assert_eq!(ask_with(&sandbox, json, malformed).unwrap().status, 400, "{malformed:?}");
    }
    let huge = format!("{{\"x\":\"{}\"}}", "y".repeat(70_000));
    assert_eq!(ask_with(&sandbox, json, &huge).unwrap().status, 413);
    let got = plain(sandbox.http_addr(), "GET", "/d/acme/oauth/token", &[], "").unwrap();
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    assert_eq!(sandbox.ledger().issued("acme"), 0);
}

pub(crate) fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::new();
    for group in middle.as_bytes().chunks(4) {
        let bits = group.iter().fold(0u32, |bits, digit| {
            let value = alphabet.iter().position(|known| known == digit).unwrap();
            bits << 6 | u32::try_from(value).unwrap()
        }) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    serde_json::from_slice(&bytes).unwrap()
}
