//! What a request meets instead of an answer.
//!
//! Knows how each fault looks on the wire, not when it strikes.

use chrono::{DateTime, Utc};
use http::StatusCode;
use http::header::{ALLOW, CONTENT_LENGTH, HeaderName, RETRY_AFTER};
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::later;
use crate::knobs::{Fault, Rejection, RetryAfter};
use crate::ledger::Refusal;
use crate::reply::{self, Reply};
use crate::submission::Submission;
use crate::wire::{Cut, Ending, Payload};

/// Lets the fault happen. `asked` is what the client sent, for the answer that echoes it.
pub(crate) async fn meet(
    fault: &Fault,
    asked: &Submission,
    now: DateTime<Utc>,
    ending: &Ending,
) -> Result<Reply, Cut> {
    Ok(match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Reset => return Err(ending.reset()),
        Fault::TruncatedBody => {
            let body = Payload::CutShort(PLAUSIBLE[..PLAUSIBLE.len() / 2].into());
            sized(body, PLAUSIBLE.len() as u64)
        }
        Fault::OversizedBody { bytes, chunked } => {
            let body = Payload::Padded { blanks: *bytes, then: PLAUSIBLE.into() };
            if *chunked {
                reply::with_body(StatusCode::OK, "application/json", body)
            } else {
                sized(body, bytes.saturating_add(PLAUSIBLE.len() as u64))
            }
        }
        Fault::Redirect { to, status } => {
            let status = StatusCode::from_u16(*status).ok().filter(StatusCode::is_redirection);
            reply::redirect(status.unwrap_or(StatusCode::TEMPORARY_REDIRECT), to)
        }
        Fault::Wrapper401 => rejected(Rejection::Wrapper401, asked),
        Fault::InvalidClient401 => rejected(Rejection::InvalidClient401, asked),
        Fault::AccessDenied401 => rejected(Rejection::AccessDenied401, asked),
        Fault::AccessDenied403 => access_denied_403(),
        Fault::Throttled429 { retry_after, ratelimit_reset_s } => {
            throttled(retry_after.as_ref(), *ratelimit_reset_s, now)
        }
        Fault::BadGatewayHtml502 => {
            reply::html(StatusCode::BAD_GATEWAY, "<html><h1>502 Bad Gateway</h1></html>")
        }
        Fault::GatewayTimeoutHtml504 => {
            reply::html(StatusCode::GATEWAY_TIMEOUT, "<html><h1>504 Gateway Time-out</h1></html>")
        }
        Fault::ServiceUnavailable503 { retry_after } => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let reply = reply::oauth_error(status, "temporarily_unavailable", "Try again later");
            with_retry_after(reply, retry_after.as_ref(), now)
        }
        Fault::Html200 => reply::html(StatusCode::OK, "<html><h1>Please sign in</h1></html>"),
        Fault::ErrorIn200 => reply::oauth_error(StatusCode::OK, "server_error", "Something went wrong"),
        Fault::NotFound404 => not_found(),
        Fault::BadRequest400 { error } => {
            reply::oauth_error(StatusCode::BAD_REQUEST, error, "The request was not understood")
        }
    })
}

/// The answer to a token request that is refused on its merits.
pub(crate) fn refused(
    refusal: Refusal,
    rejection: Rejection,
    asked: &Submission,
    now: DateTime<Utc>,
) -> Reply {
    let bad_request = |error, text| reply::oauth_error(StatusCode::BAD_REQUEST, error, text);
    match refusal {
        Refusal::WrongMethod => method_not_allowed("POST"),
        Refusal::UnsupportedMediaType => {
            reply::api_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
        }
        Refusal::BodyTooLarge => reply::api_error(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
        Refusal::Malformed => bad_request("invalid_request", "The body cannot be read"),
        Refusal::MissingMember => {
            bad_request("invalid_request", "client_id, client_secret, audience and grant_type are required")
        }
        Refusal::UnsupportedGrantType => bad_request("unsupported_grant_type", "Use client_credentials"),
        Refusal::WrongCredentials => rejected(rejection, asked),
        Refusal::WrongAudience => access_denied_403(),
        Refusal::QuotaExceeded => throttled(Some(&RetryAfter::Seconds(3600)), Some(3600), now),
    }
}

pub(crate) fn not_found() -> Reply {
    reply::html(StatusCode::NOT_FOUND, "<html><h1>Not Found</h1></html>")
}

pub(crate) fn method_not_allowed(allowed: &str) -> Reply {
    let reply = reply::api_error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    reply::with_header(reply, ALLOW, allowed)
}

fn rejected(rejection: Rejection, asked: &Submission) -> Reply {
    let status = StatusCode::UNAUTHORIZED;
    match rejection {
        // Echoing the secret is what was observed, and why no client may log this body.
        Rejection::Wrapper401 => reply::json(
            status,
            &Wrapper {
                data: Echo {
                    grant_type: asked.grant_type.as_deref(),
                    client_id: asked.client_id.as_deref(),
                    client_secret: asked.client_secret.as_deref(),
                },
                errors: json!({ "detail": { "message": "Unauthorized" } }),
            },
        ),
        Rejection::InvalidClient401 => {
            reply::oauth_error(status, "invalid_client", "Client authentication failed")
        }
        Rejection::AccessDenied401 => reply::oauth_error(status, "access_denied", "Unauthorized"),
    }
}

/// The observed wrapper, its members in the observed order.
#[derive(Serialize)]
struct Wrapper<'a> {
    data: Echo<'a>,
    errors: Value,
}

#[derive(Serialize)]
struct Echo<'a> {
    grant_type: Option<&'a str>,
    client_id: Option<&'a str>,
    client_secret: Option<&'a str>,
}

fn access_denied_403() -> Reply {
    let description = "Service not enabled within domain";
    reply::oauth_error(StatusCode::FORBIDDEN, "access_denied", description)
}

fn throttled(retry_after: Option<&RetryAfter>, reset_s: Option<i64>, now: DateTime<Utc>) -> Reply {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let description = "Global limit has been reached";
    let mut reply = reply::oauth_error(status, "too_many_requests", description);
    if let Some(reset_s) = reset_s {
        let reset = later(now, reset_s).timestamp().to_string();
        let headers = [("limit", "100"), ("remaining", "0"), ("reset", &reset)];
        for (name, value) in headers {
            let name = format!("x-ratelimit-{name}");
            let name = HeaderName::try_from(name).expect("the three names are valid");
            reply = reply::with_header(reply, name, value);
        }
    }
    with_retry_after(reply, retry_after, now)
}

fn with_retry_after(reply: Reply, retry_after: Option<&RetryAfter>, now: DateTime<Utc>) -> Reply {
    let value = match retry_after {
        None => return reply,
        Some(RetryAfter::Seconds(seconds)) => seconds.to_string(),
        Some(RetryAfter::ImfDate(after)) => reply::imf_fixdate(later(now, *after)),
        Some(RetryAfter::Rfc850Date(after)) => {
            later(now, *after).format("%A, %d-%b-%y %H:%M:%S GMT").to_string()
        }
        Some(RetryAfter::Asctime(after)) => later(now, *after).format("%a %b %e %H:%M:%S %Y").to_string(),
        Some(RetryAfter::Text(text)) => text.clone(),
    };
    reply::with_header(reply, RETRY_AFTER, &value)
}

fn sized(body: Payload, length: u64) -> Reply {
    let reply = reply::with_body(StatusCode::OK, "application/json", body);
    reply::with_header(reply, CONTENT_LENGTH, &length.to_string())
}

/// What a careless client would take for a token.
const PLAUSIBLE: &[u8] =
    br#"{"access_token":"not-a-token-of-the-sandbox","expires_in":86400,"token_type":"Bearer"}"#;
