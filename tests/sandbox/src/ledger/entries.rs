//! What one line of the ledger says. Pure data; `ledger.rs` keeps the lines.

use chrono::{DateTime, Utc};
use http::request::Parts;
use serde::Serialize;

/// What token requests and API calls have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestHead {
    /// The domain that was asked.
    pub domain: String,
    /// The way in.
    pub door: Door,
    /// The HTTP method.
    pub method: String,
    /// Path and query, without the direct doors' `/d/DOMAIN`.
    pub path: String,
    /// The names of all headers, lower case, as they came.
    pub header_names: Vec<String>,
    /// `content-type`.
    pub content_type: Option<String>,
    /// `accept`.
    pub accept: Option<String>,
    /// `user-agent`.
    pub user_agent: Option<String>,
    /// `x-procurify-client`.
    pub x_procurify_client: Option<String>,
}

/// One token request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenRequest {
    /// Counts token requests and API calls together, from 1.
    pub sequence: u64,
    /// When it arrived, by the true clock.
    pub at: DateTime<Utc>,
    /// How it came.
    #[serde(flatten)]
    pub head: RequestHead,
    /// The client id it named, cut to 200 characters.
    pub client_id: Option<String>,
    /// Whether the secret was that client's.
    pub secret_matched: bool,
    /// How the body was written.
    pub body_encoding: BodyEncoding,
    /// How it ended.
    pub outcome: Outcome,
    /// `jti` of the token it got.
    pub jti: Option<String>,
    /// First 8 bytes of the SHA-256 of the token it got, hex.
    pub fingerprint: Option<String>,
    /// Token requests of this domain in flight when it arrived, itself included.
    pub concurrent: u32,
}

/// One API call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApiCall {
    /// Counts token requests and API calls together, from 1.
    pub sequence: u64,
    /// When it arrived, by the true clock.
    pub at: DateTime<Utc>,
    /// How it came.
    #[serde(flatten)]
    pub head: RequestHead,
    /// Whose token it showed, when that token is good.
    pub client_id: Option<String>,
    /// Fingerprint of the token it showed, good or not.
    pub fingerprint: Option<String>,
    /// The status it was answered with; `None` while it is not, or when it never was.
    pub status: Option<u16>,
}

/// A way into the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// Through the CONNECT proxy, at the real URL.
    Proxy,
    /// TLS, directly.
    Tls,
    /// Plain HTTP, directly.
    Plain,
}

/// How a token request's body was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyEncoding {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Neither.
    Other,
}

/// How a token request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It has not ended.
    Pending,
    /// A new token was issued.
    Issued,
    /// The client's last token was handed out again.
    Repeated,
    /// It was refused.
    Refused(Refusal),
    /// A knob made it fail; this is the fault's name.
    Fault(&'static str),
    /// The client went away before there was an answer.
    Abandoned,
}

/// Why a token request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// 405: not POST.
    WrongMethod,
    /// 415: neither JSON nor a form.
    UnsupportedMediaType,
    /// 413: more than 64 KiB.
    BodyTooLarge,
    /// 400: not what its content type says.
    Malformed,
    /// 400: one of the four members is missing or empty.
    MissingMember,
    /// 400: not `client_credentials`.
    UnsupportedGrantType,
    /// 401: unknown client, wrong secret or inactive user.
    WrongCredentials,
    /// 403: not the domain's audience.
    WrongAudience,
    /// 429: the quota of tokens is used up.
    QuotaExceeded,
}

impl RequestHead {
    pub(crate) fn of(parts: &Parts, domain: &str, door: Door, path: &str) -> Self {
        let value = |name: &str| {
            let value = parts.headers.get(name)?;
            Some(shortened(&String::from_utf8_lossy(value.as_bytes())))
        };
        Self {
            domain: domain.to_owned(),
            door,
            method: parts.method.to_string(),
            path: path.to_owned(),
            header_names: parts.headers.keys().map(ToString::to_string).collect(),
            content_type: value("content-type"),
            accept: value("accept"),
            user_agent: value("user-agent"),
            x_procurify_client: value("x-procurify-client"),
        }
    }

    #[cfg(test)]
    pub(crate) fn example(domain: &str) -> Self {
        let (parts, ()) = http::Request::new(()).into_parts();
        Self::of(&parts, domain, Door::Plain, "/oauth/token")
    }
}

impl TokenRequest {
    pub(super) fn arrived(sequence: u64, at: DateTime<Utc>, head: RequestHead, concurrent: u32) -> Self {
        Self {
            sequence,
            at,
            head,
            client_id: None,
            secret_matched: false,
            body_encoding: BodyEncoding::Other,
            outcome: Outcome::Pending,
            jti: None,
            fingerprint: None,
            concurrent,
        }
    }
}

impl ApiCall {
    pub(super) fn arrived(sequence: u64, at: DateTime<Utc>, head: RequestHead) -> Self {
        Self { sequence, at, head, client_id: None, fingerprint: None, status: None }
    }
}

/// Foreign text, cut to what a ledger line has room for.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
