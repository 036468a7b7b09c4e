use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use procurify_token_protocol::{Audience, BodyEncoding, ClientSecret};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const SECRET: &str = "canary-secret";

pub(in crate::issuer) fn request() -> TokenRequest {
    TokenRequest {
        domain: "acme".parse().unwrap(),
        client_id: "an-id".parse().unwrap(),
        client_secret: ClientSecret::new(&SECRET.into()).unwrap(),
        token_url: "https://acme.procurify.com/oauth/token".parse().unwrap(),
        audience: Audience::default(),
        body_encoding: BodyEncoding::Json,
        now: DateTime::from_timestamp_secs(784_111_777).unwrap(),
    }
}

fn answered(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Result<Issued, Failure> {
    let headers =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let request = request();
    let head = Head { request: &request, status: StatusCode::from_u16(status).unwrap(), headers: &headers };
    head.verdict().map_or_else(|| head.judge(body), Err)
}

fn failure(status: u16, body: &str) -> FailureCode {
    let failure = answered(status, &[], body.as_bytes()).unwrap_err();
    assert_eq!(failure.http_status, Some(status));
    failure.code
}

#[expect(clippy::disallowed_methods, reason = "the test compares it")]
fn token(body: &str) -> Result<String, FailureCode> {
    let issued = answered(200, &[], body.as_bytes()).map_err(|failure| failure.code)?;
    Ok(issued.access_token.expose_secret().to_owned())
}

const GOOD: &str = r#"{"access_token":"eyJh.e30.c2ln","token_type":"Bearer","expires_in":86400,
    "scope":"urn:procurify-api:domain:acme urn:procurify-api:email:jo@example.com","new_member":[{}]}"#;

#[test]
fn the_documented_answer_is_issued() {
    let issued = answered(200, &[("date", "Sun, 06 Nov 1994 08:49:30 GMT")], GOOD.as_bytes()).unwrap();
    assert_eq!(issued.lifetime, Duration::from_secs(24 * 3600));
    assert_eq!(issued.server_ahead, Some(TimeDelta::seconds(-7)));
    assert_eq!(token(GOOD).unwrap(), "eyJh.e30.c2ln");
}

#[rstest]
#[case::bare(r#"{"access_token":"t","token_type":"Bearer"}"#)]
#[case::any_case(r#"{"access_token":"t","token_type":"bEARER"}"#)]
#[case::escaped(r#"{"access_token":"\u0074","token_type":"Bearer"}"#)]
#[case::no_error(r#"{"error":null,"access_token":"t","token_type":"Bearer","scope":null}"#)]
#[case::odd_scope(
    r#"{"access_token":"t","token_type":"Bearer","scope":"openid urn:procurify-api:email:x@y"}"#
)]
#[case::own_domain(r#"{"access_token":"t","token_type":"Bearer","scope":"urn:procurify-api:domain:ACME"}"#)]
#[case::among_others(
    r#"{"access_token":"t","token_type":"Bearer","scope":"urn:procurify-api:domain:b urn:procurify-api:domain:acme"}"#
)]
fn good_answers_in_other_shapes(#[case] body: &str) {
    assert_eq!(token(body).as_deref(), Ok("t"));
}

#[rstest]
#[case::no_type(r#"{"access_token":"t"}"#, FailureCode::NOT_OAUTH)]
#[case::mac(r#"{"access_token":"t","token_type":"mac"}"#, FailureCode::NOT_OAUTH)]
#[case::no_token(r#"{"token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::null_token(r#"{"access_token":null,"token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::empty_token(r#"{"access_token":"","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::padding_only(r#"{"access_token":"==","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::line_break(r#"{"access_token":"t\r\nX: y","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::nul(r#"{"access_token":"t\u0000","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::space(r#"{"access_token":"a b","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::umlaut(r#"{"access_token":"ä","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::number(r#"{"access_token":5,"token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::twice(r#"{"access_token":"t","access_token":"u","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::trailing(r#"{"access_token":"t","token_type":"Bearer"} x"#, FailureCode::NOT_OAUTH)]
#[case::an_array(r#"["t","Bearer",60,null]"#, FailureCode::NOT_OAUTH)]
#[case::html("<!DOCTYPE html><title>Log in</title>", FailureCode::NOT_OAUTH)]
#[case::nothing("", FailureCode::NOT_OAUTH)]
#[case::error_object(r#"{"error":{},"access_token":"t","token_type":"Bearer"}"#, FailureCode::NOT_OAUTH)]
#[case::error_beside(
    r#"{"error":"invalid_client","access_token":"t","token_type":"Bearer"}"#,
    FailureCode::CREDENTIALS_REJECTED
)]
#[case::empty_error(r#"{"error":"","access_token":"t","token_type":"Bearer"}"#, FailureCode::REQUEST_REFUSED)]
#[case::temporary_error(r#"{"error":"server_error"}"#, FailureCode::SERVER_ERROR)]
#[case::other_domain(
    r#"{"access_token":"t","token_type":"Bearer","scope":"urn:procurify-api:domain:acme-2"}"#,
    FailureCode::WRONG_DOMAIN
)]
#[case::no_life(r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#, FailureCode::NO_LIFETIME)]
fn a_200_that_is_not_a_token(#[case] body: &str, #[case] code: FailureCode) {
    assert_eq!(token(body), Err(code));
}

#[test]
fn a_token_has_at_most_16_kib() {
    let body = |size| format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "t".repeat(size));
    assert_eq!(token(&body(16 * 1024)).unwrap().len(), 16 * 1024);
    assert_eq!(token(&body(16 * 1024 + 1)), Err(FailureCode::NOT_OAUTH));
}

#[rstest]
#[case("invalid_client", FailureCode::CREDENTIALS_REJECTED)]
#[case("unauthorized_client", FailureCode::ACCESS_DENIED)]
#[case("access_denied", FailureCode::ACCESS_DENIED)]
#[case("invalid_request", FailureCode::REQUEST_REFUSED)]
#[case("invalid_grant", FailureCode::REQUEST_REFUSED)]
#[case("invalid_scope", FailureCode::REQUEST_REFUSED)]
#[case("unsupported_grant_type", FailureCode::REQUEST_REFUSED)]
#[case("invalid_target", FailureCode::REQUEST_REFUSED)]
#[case("server_error", FailureCode::SERVER_ERROR)]
#[case("temporarily_unavailable", FailureCode::SERVER_ERROR)]
#[case("slow_down", FailureCode::THROTTLED)]
#[case("too_many_requests", FailureCode::THROTTLED)]
#[case("too_many_attempts", FailureCode::THROTTLED)]
fn error_codes_of_oauth(
    #[values(400, 403, 422)] status: u16,
    #[case] error: &str,
    #[case] code: FailureCode,
) {
    assert_eq!(failure(status, &format!(r#"{{"error":"{error}","error_description":"no"}}"#)), code);
}

const ECHO: &str = r#"{"data":{"grant_type":"client_credentials","client_id":"an-id","client_secret":"canary-secret"},
    "errors":{"detail":{"message":"Unauthorized"}}}"#;

#[rstest]
#[case(401, ECHO, FailureCode::CREDENTIALS_REJECTED)]
#[case(400, ECHO, FailureCode::ACCESS_DENIED)]
#[case(403, ECHO, FailureCode::ACCESS_DENIED)]
#[case(401, r#"{"error":"access_denied"}"#, FailureCode::CREDENTIALS_REJECTED)]
#[case(401, "", FailureCode::CREDENTIALS_REJECTED)]
#[case(400, "{}", FailureCode::NOT_OAUTH)]
#[case(400, r#"["invalid_client",null,null]"#, FailureCode::NOT_OAUTH)]
#[case(400, GOOD, FailureCode::NOT_OAUTH)]
#[case(403, "<html>Attention required!", FailureCode::NOT_OAUTH)]
#[case(201, GOOD, FailureCode::NOT_OAUTH)]
#[case(204, "", FailureCode::NOT_OAUTH)]
#[case(301, GOOD, FailureCode::REDIRECTED)]
#[case(307, "", FailureCode::REDIRECTED)]
#[case(404, r#"{"error":"invalid_client"}"#, FailureCode::NO_TOKEN_ENDPOINT)]
#[case(405, "", FailureCode::NO_TOKEN_ENDPOINT)]
#[case(410, "", FailureCode::NO_TOKEN_ENDPOINT)]
#[case(415, "", FailureCode::NO_TOKEN_ENDPOINT)]
#[case(408, "", FailureCode::SERVER_ERROR)]
#[case(425, "", FailureCode::SERVER_ERROR)]
#[case(429, r#"{"error":"invalid_client"}"#, FailureCode::THROTTLED)]
#[case(500, r#"{"error":"invalid_client"}"#, FailureCode::SERVER_ERROR)]
#[case(502, "<html>", FailureCode::SERVER_ERROR)]
#[case(599, "", FailureCode::SERVER_ERROR)]
#[case(600, GOOD, FailureCode::NOT_OAUTH)]
fn the_status_decides_first(#[case] status: u16, #[case] body: &str, #[case] code: FailureCode) {
    assert_eq!(failure(status, body), code);
}

#[rstest]
#[case(429, "", Some(60))]
#[case(503, "", Some(60))]
#[case(403, r#"{"error":"too_many_requests"}"#, Some(60))]
#[case(401, "", None)]
#[case(404, "", None)]
fn patience_is_kept_where_trying_again_makes_sense(
    #[case] status: u16,
    #[case] body: &str,
    #[case] seconds: Option<u64>,
) {
    let failure = answered(status, &[("retry-after", "60")], body.as_bytes()).unwrap_err();
    assert_eq!(failure.retry_after, seconds.map(Duration::from_secs));
}

#[rstest]
#[case(429, &[("x-ratelimit-reset", "784111787")], Some(10))]
#[case(429, &[("x-ratelimit-reset", "784111787"), ("retry-after", "3600")], Some(3600))]
#[case(429, &[], None)]
#[case(503, &[("x-ratelimit-reset", "784111787")], None)]
fn a_rate_limit_stands_in_for_retry_after(
    #[case] status: u16,
    #[case] headers: &[(&'static str, &str)],
    #[case] seconds: Option<u64>,
) {
    let failure = answered(status, headers, b"").unwrap_err();
    assert_eq!(failure.retry_after, seconds.map(Duration::from_secs));
}

#[rstest]
#[case(200, "gzip", Some(FailureCode::NOT_OAUTH))]
#[case(403, "br", Some(FailureCode::NOT_OAUTH))]
#[case(502, "gzip", Some(FailureCode::SERVER_ERROR))]
#[case(200, "identity", None)]
fn a_compressed_answer_is_not_read(
    #[case] status: u16,
    #[case] coding: &str,
    #[case] code: Option<FailureCode>,
) {
    let answer = answered(status, &[("content-encoding", coding)], GOOD.as_bytes());
    assert_eq!(answer.err().map(|failure| failure.code), code);
}

#[rstest]
#[case("a1b2-c3", Some("a1b2-c3"))]
#[case("x-canary-secret-y", None)]
#[case("canary", None)]
#[case("for-an-id-1", None)]
#[case("two words", None)]
fn a_request_id_is_kept_unless_it_tells_on_the_credentials(#[case] id: &str, #[case] kept: Option<&str>) {
    let failure = answered(500, &[("x-request-id", id)], b"").unwrap_err();
    assert_eq!(failure.request_id.as_ref().map(RequestId::as_str), kept);
}

#[test]
fn a_request_id_is_dropped_where_it_tells_the_token() {
    let body = br#"{"access_token":"canary-token","token_type":"Bearer","expires_in":0}"#;
    let failure = answered(200, &[("x-request-id", "r-canary-token")], body).unwrap_err();
    assert_eq!((failure.code, failure.request_id), (FailureCode::NO_LIFETIME, None));
}

/// Bodies that are nearly right, with the secret in every place where a text can be.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(r#""canary-secret""#.to_owned()),
        Just(r#""Bearer""#.to_owned()),
        Just(r#""invalid_client""#.to_owned()),
        Just(r#""urn:procurify-api:domain:canary-secret""#.to_owned()),
        Just(r#"{"client_secret":"canary-secret"}"#.to_owned()),
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
    ];
    let name = prop::sample::select(vec![
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "error",
        "data",
        "errors",
        "canary-secret",
    ]);
    let member = (name, word).prop_map(|(name, word)| format!(r#""{name}":{word}"#));
    prop_oneof![
        prop::collection::vec(member, 0..6)
            .prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
        Just(ECHO.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn no_answer_panics_or_tells_the_secret(status in 100..1000_u16, body in body(), id in "[a-c-]{0,2}canary-secret[a-c-]{0,2}") {
        let headers = [("x-request-id", id.as_str()), ("retry-after", SECRET), ("date", SECRET)];
        let answer = answered(status, &headers, &body);
        let shown = format!("{answer:?}");
        prop_assert!(!shown.contains("canary"), "{}", shown);
    }
}
