//! How a token request can fail, in terms that a program can decide on and a person can act on.
//!
//! A [`Failure`] holds numbers only: a token endpoint's body, which may echo the secret (`procurify.md`, "When it
//! fails"), has no place to hide in it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Domain;
use crate::pattern::stable_codes;

/// What became of a token request that brought no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub code: FailureCode,
    /// The HTTP status, where an answer arrived.
    pub http_status: Option<u16>,
    /// The `x-request-id` of the answer, which Procurify's support asks for.
    pub request_id: Option<RequestId>,
    /// How long the server asked to be left alone.
    #[serde(deserialize_with = "crate::pattern::optional_duration")]
    pub retry_after: Option<Duration>,
    /// Which domain the token was for, where that was another one.
    pub domain: Option<Domain>,
}

impl From<FailureCode> for Failure {
    fn from(code: FailureCode) -> Self {
        Self { code, http_status: None, request_id: None, retry_after: None, domain: None }
    }
}

/// A stable number for each way of failing; the hundreds are its [`FailureClass`], so a reader that does not know a
/// code still knows what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailureCode(u16);

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// 1xx: tried again by itself, soon.
    Transient,
    /// 2xx: the server, or the credential's own budget, asks for patience.
    Throttled,
    /// 3xx: these client credentials will not work again until somebody changes them.
    Rejected,
    /// 4xx (and whatever a later version may add): the answer does not come from a working token endpoint.
    Misconfigured,
}

stable_codes! {
    FailureCode:
    /// The host's name could not be resolved.
    NAME_NOT_RESOLVED = 101, "name-not-resolved";
    /// No connection could be made.
    NOT_CONNECTED = 102, "not-connected";
    /// The connection broke before the whole answer had arrived.
    INTERRUPTED = 103, "interrupted";
    /// A deadline passed.
    TIMED_OUT = 104, "timed-out";
    /// 408, 425 or 5xx, or an error body that RFC 6749 calls temporary.
    SERVER_ERROR = 105, "server-error";
    /// The proxy could not be reached or refused the tunnel.
    PROXY = 106, "proxy";
    /// The API answered 401 to two new tokens in a row, so a third is not asked for at once.
    TOKENS_REFUSED = 107, "tokens-refused";

    /// 429.
    THROTTLED = 201, "throttled";
    /// As many tokens were issued for the credential as its budget allows, so nothing was sent.
    BUDGET_SPENT = 202, "budget-spent";

    /// 401: unknown client id or wrong client secret.
    CREDENTIALS_REJECTED = 301, "credentials-rejected";
    /// `unauthorized_client` or `access_denied`: known, but not allowed to have a token.
    ACCESS_DENIED = 302, "access-denied";
    /// The token is for another domain than the one asked for.
    WRONG_DOMAIN = 303, "wrong-domain";
    /// The stored client secret cannot be opened, so nothing was sent.
    SECRET_UNREADABLE = 304, "secret-unreadable";

    /// 404, 405, 410 or 415: no token endpoint lives at the token URL.
    NO_TOKEN_ENDPOINT = 401, "no-token-endpoint";
    /// A redirect, which is never followed with a secret in hand.
    REDIRECTED = 402, "redirected";
    /// Not an OAuth answer: HTML, broken JSON, no token, a token with forbidden characters, a type other than Bearer.
    NOT_OAUTH = 403, "not-oauth";
    /// 400 or 403 with a permanent error of RFC 6749 §5.2 that concerns the request and not the client.
    REQUEST_REFUSED = 404, "request-refused";
    /// The server's certificate is not trusted.
    UNTRUSTED = 405, "untrusted";
    /// An answer larger than a token endpoint's ever is.
    TOO_LARGE = 406, "too-large";
    /// An `expires_in` of zero or less.
    NO_LIFETIME = 407, "no-lifetime";
}

impl FailureCode {
    /// What it means for the next attempt.
    pub fn class(self) -> FailureClass {
        match self.0 {
            100..=199 => FailureClass::Transient,
            200..=299 => FailureClass::Throttled,
            300..=399 => FailureClass::Rejected,
            _ => FailureClass::Misconfigured,
        }
    }
}

/// The `x-request-id` of an answer: 1 to 64 letters, digits, `-` and `_`; whatever else a server sends is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// Takes in a header's value.
    pub fn from_header(value: &str) -> Option<Self> {
        let is_plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (is_plain && (1..=64).contains(&value.len())).then(|| Self(value.to_owned()))
    }

    /// The value as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_header(&text).ok_or("not a request id")
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_still_has_a_class() {
        assert_eq!(FailureCode(199).class(), FailureClass::Transient);
        assert_eq!(FailureCode(399).class(), FailureClass::Rejected);
        assert_eq!(FailureCode(999).class(), FailureClass::Misconfigured);
        assert_eq!(FailureCode(999).label(), "unknown");
    }

    #[test]
    fn a_request_id_is_plain_text_or_nothing() {
        assert_eq!(RequestId::from_header("a1-B_2").unwrap().as_str(), "a1-B_2");
        for bad in ["", "a b", "a\u{1b}[31m", &"x".repeat(65)] {
            assert!(RequestId::from_header(bad).is_none());
        }
    }
}
