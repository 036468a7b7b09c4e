//! Building answers. Every way of writing a header that a knob or a client could spoil ends in a
//! 500 that says so, never in a panic.

use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, DATE, HeaderName, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::wire::Payload;

pub(crate) type Reply = Response<Payload>;

pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(body) => with_body(status, "application/json", Payload::Whole(body.into())),
        Err(_) => impossible(),
    }
}

pub(crate) fn html(status: StatusCode, body: &'static str) -> Reply {
    with_body(status, "text/html; charset=utf-8", Payload::Whole(body.into()))
}

pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    with_body(status, "text/plain; charset=utf-8", Payload::Whole(body.into().into()))
}

pub(crate) fn redirect(status: StatusCode, to: &str) -> Reply {
    with_header(html(status, ""), LOCATION, to)
}

/// An OAuth error (RFC 6749 §5.2).
pub(crate) fn oauth_error(status: StatusCode, error: &str, description: &str) -> Reply {
    json(status, &json!({ "error": error, "error_description": description }))
}

/// An error in the API's own shape.
pub(crate) fn api_error(status: StatusCode, message: &str) -> Reply {
    json(status, &json!({ "errors": { "detail": { "message": message } } }))
}

pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: Payload) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(crate) fn with_header(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            reply.headers_mut().insert(name, value);
            reply
        }
        Err(_) => impossible(),
    }
}

/// Puts on what every answer carries: `date` and `x-request-id`.
pub(crate) fn stamped(reply: Reply, date: DateTime<Utc>, request_id: &str) -> Reply {
    let reply = with_header(reply, DATE, &imf_fixdate(date));
    with_header(reply, HeaderName::from_static("x-request-id"), request_id)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
pub(crate) fn imf_fixdate(date: DateTime<Utc>) -> String {
    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn impossible() -> Reply {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the sandbox was told to send something that HTTP cannot carry")
}
