//! Each knob, on the wire.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use procurify_sandbox::{
    Application, Config, ExpiresIn, Fault, Knobs, Outage, Outcome, Refusal, Rejection, RetryAfter, Running,
    Sandbox, Scope, Token, TokenType,
};
use serde_json::{Value, json};

use crate::support::{Answer, acme, ask, ask_with, call, plain, right_body};
use crate::token::claims;

const ME: &str = "/api/v3/users/me/";

fn failing(fault: Fault) -> Answer {
    ask(&acme(Knobs::failing(fault))).unwrap()
}

fn answered(knobs: Knobs) -> Value {
    ask(&acme(knobs)).unwrap().json()
}

fn status(sandbox: &Running) -> u16 {
    ask(sandbox).unwrap().status
}

/// Asks, waits until the request is in the state wanted, stops the sandbox, and expects the
/// connection to have ended without an answer.
fn unanswered_until_stopped(knobs: Knobs, wanted: &Outcome) {
    let sandbox = acme(knobs);
    let controls = (*sandbox).clone();
    let asking = thread::spawn(move || ask(&controls));
    assert!(sandbox.ledger().wait_for(Duration::from_secs(60), |book| {
        book.tally("acme").in_flight == 1
            && book.token_requests().all(|r| r.secret_matched && r.outcome == *wanted)
    }));
    drop(sandbox);
    assert!(asking.join().unwrap().is_err());
}

#[test]
fn latency_holds_the_answer_back_until_the_sandbox_stops() {
    let knobs = Knobs { latency_ms: u64::MAX, ..Knobs::default() };
    unanswered_until_stopped(knobs, &Outcome::Pending);
}

#[test]
fn a_short_latency_is_over_some_time() {
    let sandbox = acme(Knobs { latency_ms: 1, ..Knobs::default() });
    assert_eq!(status(&sandbox), 200);
}

#[test]
fn a_hang_never_answers() {
    unanswered_until_stopped(Knobs::failing(Fault::Hang), &Outcome::Fault("hang"));
}

#[test]
fn a_reset_is_a_reset() {
    let error = ask(&acme(Knobs::failing(Fault::Reset))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_truncated_body_ends_before_its_announced_length() {
    let answer = failing(Fault::TruncatedBody);
    assert_eq!(answer.status, 200);
    assert!(!answer.complete && !answer.body.is_empty());
}

#[test]
fn an_oversized_body_is_whole_and_would_be_taken_for_a_token() {
    let announced = failing(Fault::oversized(false));
    assert!(announced.complete && announced.header("content-length").is_some());
    let chunked = failing(Fault::oversized(true));
    assert!(chunked.complete);
    assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
    for answer in [announced, chunked] {
        assert!(answer.body.len() > 2 * 1024 * 1024);
        answer.token();
    }
}

#[test]
fn a_redirect_leads_where_it_says() {
    let answer = failing(Fault::redirect("https://evil.example/oauth/token"));
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), Some("https://evil.example/oauth/token"));
    let odd = Fault::Redirect { to: "/x".to_owned(), status: 302 };
    assert_eq!(failing(odd).status, 302);
}

#[test]
fn a_header_that_http_cannot_carry_is_a_500_and_no_panic() {
    assert_eq!(failing(Fault::redirect("a\r\nb: c")).status, 500);
    let odd = Fault::Redirect { to: "/x".to_owned(), status: 99 };
    assert_eq!(failing(odd).status, 307);
}

#[test]
fn error_profiles_look_like_their_names() {
    let wrapper = failing(Fault::Wrapper401);
    assert_eq!(wrapper.status, 401);
    assert_eq!(wrapper.json()["data"]["client_secret"], "sandbox-acme-secret");
    for (fault, status, error) in [
        (Fault::InvalidClient401, 401, "invalid_client"),
        (Fault::AccessDenied401, 401, "access_denied"),
        (Fault::AccessDenied403, 403, "access_denied"),
        (Fault::ErrorIn200, 200, "server_error"),
        (Fault::ServiceUnavailable503 { retry_after: None }, 503, "temporarily_unavailable"),
        (Fault::BadRequest400 { error: "invalid_scope".to_owned() }, 400, "invalid_scope"),
    ] {
        let answer = failing(fault);
        assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(error)));
    }
    for (fault, status) in [
        (Fault::BadGatewayHtml502, 502),
        (Fault::GatewayTimeoutHtml504, 504),
        (Fault::Html200, 200),
        (Fault::NotFound404, 404),
    ] {
        let answer = failing(fault);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.text().starts_with("<html>"));
    }
}

#[test]
fn throttling_names_the_time_in_every_legal_form() {
    let after = |retry_after| {
        let answer = failing(Fault::Throttled429 { retry_after, ratelimit_reset_s: Some(90) });
        assert_eq!((answer.status, &answer.json()["error"]), (429, &json!("too_many_requests")));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
        let date = parsed(answer.header("date").unwrap(), IMF);
        let reset: i64 = answer.header("x-ratelimit-reset").unwrap().parse().unwrap();
        // `Date` is read off the clock a little after the other.
        assert!((80..=90).contains(&(reset - date.timestamp())));
        (answer.header("retry-after").map(str::to_owned), date)
    };
    assert_eq!(after(Some(RetryAfter::Seconds(30))).0.as_deref(), Some("30"));
    assert_eq!(after(Some(RetryAfter::Text("soon".to_owned()))).0.as_deref(), Some("soon"));
    assert_eq!(after(None).0, None);
    for (form, retry_after) in [
        (IMF, RetryAfter::ImfDate(7200)),
        ("%A, %d-%b-%y %H:%M:%S GMT", RetryAfter::Rfc850Date(7200)),
        ("%a %b %e %H:%M:%S %Y", RetryAfter::Asctime(7200)),
    ] {
        let (value, date) = after(Some(retry_after));
        // The two are read off the clock one after the other.
        let value = value.unwrap();
        let named = parsed(&value, form);
        assert_eq!(named.format(form).to_string(), value);
        let ahead = named - date;
        assert!((7190..=7200).contains(&ahead.num_seconds()), "{form}: {ahead}");
    }
    let unavailable = failing(Fault::ServiceUnavailable503 { retry_after: Some(RetryAfter::Seconds(5)) });
    assert_eq!(unavailable.header("retry-after"), Some("5"));
}

#[test]
fn expires_in_may_be_odd() {
    let with = |expires_in| {
        let knobs = Knobs { expires_in, ..Knobs::default() };
        answered(knobs).get("expires_in").map(Value::to_string)
    };
    let shown = |text: &str| Some(text.to_owned());
    assert_eq!(with(ExpiresIn::Seconds(-5)), shown("-5"));
    assert_eq!(with(ExpiresIn::Seconds(i64::MAX)), shown("9223372036854775807"));
    assert_eq!(with(ExpiresIn::Float(86_400.0)), shown("86400.0"));
    assert_eq!(with(ExpiresIn::Float(1e300)), shown("1e+300"));
    assert_eq!(with(ExpiresIn::Float(f64::NAN)), shown("null"));
    assert_eq!(with(ExpiresIn::Text("86400".to_owned())), shown("\"86400\""));
    assert_eq!(with(ExpiresIn::Missing), None);
}

#[test]
fn a_token_expires_when_it_was_said_to() {
    let sandbox = acme(Knobs { expires_in: ExpiresIn::Seconds(0), ..Knobs::default() });
    let token = ask(&sandbox).unwrap().token();
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 401);
    sandbox.set("acme", Knobs::default()).unwrap();
    let token = ask(&sandbox).unwrap().token();
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 200);
}

#[test]
fn token_type_may_be_odd() {
    let with = |token_type| answered(Knobs { token_type, ..Knobs::default() });
    assert_eq!(with(TokenType::Named("mac".to_owned()))["token_type"], "mac");
    assert_eq!(with(TokenType::Missing).get("token_type"), None);
}

#[test]
fn scope_may_be_odd() {
    let with = |scope| answered(Knobs { scope, ..Knobs::default() });
    let other = with(Scope::OtherDomain("globex".to_owned()));
    assert_eq!(
        other["scope"],
        "urn:procurify-api:domain:globex urn:procurify-api:email:integration@acme.example"
    );
    assert_eq!(with(Scope::Text("x".to_owned()))["scope"], "x");
    assert_eq!(with(Scope::Missing).get("scope"), None);
}

#[test]
fn the_token_itself_may_be_odd() {
    let with = |token| answered(Knobs { token, ..Knobs::default() });
    assert!(with(Token::ControlCharacters)["access_token"].as_str().unwrap().contains("\r\n"));
    assert_eq!(with(Token::Empty)["access_token"], "");
    assert_eq!(with(Token::Missing).get("access_token"), None);
}

#[test]
fn the_same_token_may_be_handed_out_again() {
    let sandbox = acme(Knobs { same_token: true, ..Knobs::default() });
    let first = ask(&sandbox).unwrap().token();
    assert_eq!(first, ask(&sandbox).unwrap().token());
    assert_eq!(sandbox.ledger().issued("acme"), 1);
    let entries = sandbox.ledger().token_requests("acme");
    assert_eq!(entries[1].outcome, Outcome::Repeated);
    assert_eq!(entries[0].fingerprint, entries[1].fingerprint);
}

#[test]
fn the_domains_clock_may_be_wrong() {
    let week = 7 * 86_400;
    let sandbox = acme(Knobs { date_skew_s: -week, ..Knobs::default() });
    let answer = ask(&sandbox).unwrap();
    let date = parsed(answer.header("date").unwrap(), IMF);
    let true_time = sandbox.ledger().token_requests("acme")[0].at;
    assert!((true_time - date).num_seconds() > week - 3600);
    let issued = claims(&answer.token())["iat"].as_i64().unwrap();
    assert!((issued - date.timestamp()).abs() < 3600);
    let extreme = acme(Knobs { date_skew_s: i64::MIN, ..Knobs::default() });
    assert_eq!(status(&extreme), 200);
}

#[test]
fn a_burst_fails_so_many_requests_and_then_no_more() {
    let sandbox = acme(Knobs::failing_at_first(2, Fault::BadGatewayHtml502));
    assert_eq!([0; 4].map(|_| status(&sandbox)), [502, 502, 200, 200]);
    let outcomes: Vec<Outcome> =
        sandbox.ledger().token_requests("acme").into_iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes[1], Outcome::Fault("bad-gateway-html-502"));
    assert_eq!(outcomes[2], Outcome::Issued);
}

#[test]
fn an_outage_covers_token_endpoint_and_api_until_cleared() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let outage = |from_s, to_s| Knobs {
        outages: vec![Outage { from_s, to_s, fault: Fault::BadGatewayHtml502 }],
        ..Knobs::default()
    };
    let statuses = || (status(&sandbox), call(&sandbox, "GET", ME, &token, "").status);
    sandbox.set("acme", outage(0, None)).unwrap();
    assert_eq!(statuses(), (502, 502));
    sandbox.clear("acme").unwrap();
    assert_eq!(statuses(), (200, 200));
    sandbox.set("acme", outage(u64::MAX, None)).unwrap();
    assert_eq!(statuses(), (200, 200));
    sandbox.set("acme", outage(0, Some(0))).unwrap();
    assert_eq!(statuses(), (200, 200));
}

#[test]
fn a_quota_of_tokens_runs_out_until_reset() {
    let mut config = Config::of(&["acme"]);
    config.domains[0].knobs.token_quota = Some(2);
    let sandbox = Sandbox::spawn(config).unwrap();
    assert_eq!([0; 3].map(|_| status(&sandbox)), [200, 200, 429]);
    let refused = ask(&sandbox).unwrap();
    assert!(refused.header("retry-after").is_some());
    let last = sandbox.ledger().token_requests("acme").pop().unwrap();
    assert_eq!(last.outcome, Outcome::Refused(Refusal::QuotaExceeded));
    sandbox.reset();
    assert_eq!(status(&sandbox), 200);
}

#[test]
fn the_audience_may_be_another_or_none() {
    let without = || {
        let mut body = right_body();
        body.as_object_mut().unwrap().remove("audience");
        body.to_string()
    };
    let sandbox = acme(Knobs { audience_optional: true, ..Knobs::default() });
    let answer = ask_with(&sandbox, "application/json", &without()).unwrap();
    assert_eq!(answer.status, 200);
    let other = Knobs { audience: "urn:other".to_owned(), ..Knobs::default() };
    sandbox.set("acme", other).unwrap();
    assert_eq!(status(&sandbox), 403);
    let mut body = right_body();
    body["audience"] = json!("urn:other");
    let answer = ask_with(&sandbox, "application/json", &body.to_string()).unwrap();
    assert_eq!(claims(&answer.token())["aud"], "urn:other");
}

#[test]
fn the_other_token_url_exists_only_when_told_so() {
    let sandbox = acme(Knobs::default());
    let ask_there = || {
        let headers = [("content-type", "application/json")];
        let path = "/d/acme/api/v3/oauth/token";
        let body = right_body().to_string();
        plain(sandbox.http_addr(), "POST", path, &headers, &body).unwrap().status
    };
    assert_eq!(ask_there(), 404);
    let there = Knobs { api_v3_token: true, ..Knobs::default() };
    sandbox.set("acme", there).unwrap();
    assert_eq!(ask_there(), 200);
}

#[test]
fn wrong_credentials_may_be_answered_in_other_words() {
    let mut body = right_body();
    body["client_secret"] = json!("wrong");
    for (rejection, error) in
        [(Rejection::InvalidClient401, "invalid_client"), (Rejection::AccessDenied401, "access_denied")]
    {
        let sandbox = acme(Knobs { rejection, ..Knobs::default() });
        let answer = ask_with(&sandbox, "application/json", &body.to_string()).unwrap();
        assert_eq!((answer.status, &answer.json()["error"]), (401, &json!(error)));
        assert_eq!(status(&sandbox), 200);
    }
}

#[test]
fn the_old_secret_works_for_the_grace_of_a_rotation_and_no_longer() {
    for (rotation_grace_s, old_secret) in [(3600, 200), (0, 401)] {
        let sandbox = acme(Knobs { rotation_grace_s, ..Knobs::default() });
        let rotated = Application { client_secret: "new".to_owned(), ..Application::of("acme") };
        sandbox.put_client("acme", rotated).unwrap();
        assert_eq!(status(&sandbox), old_secret);
        let mut body = right_body();
        body["client_secret"] = json!("new");
        let answer = ask_with(&sandbox, "application/json", &body.to_string()).unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn the_api_may_fail_alone() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let knobs = Knobs {
        api_fault: Some(Fault::Throttled429 {
            retry_after: Some(RetryAfter::Seconds(7)),
            ratelimit_reset_s: None,
        }),
        ..Knobs::default()
    };
    sandbox.set("acme", knobs).unwrap();
    let answer = call(&sandbox, "GET", "/api/v3/vendors/", &token, "");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(status(&sandbox), 200);
}

#[test]
fn a_role_may_lack_the_permission_for_vendors() {
    let sandbox = acme(Knobs { api_forbidden: true, ..Knobs::default() });
    let token = ask(&sandbox).unwrap().token();
    assert_eq!(call(&sandbox, "GET", "/api/v3/vendors/", &token, "").status, 403);
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 200);
}

fn parsed(date: &str, form: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(date, form).unwrap().and_utc()
}

const IMF: &str = "%a, %d %b %Y %H:%M:%S GMT";
