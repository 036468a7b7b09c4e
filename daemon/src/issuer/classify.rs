//! What an answer means: the status decides first, and the body only where the status leaves something open.
//!
//! Pure: an answer in, [`Issued`] or [`Failure`] out. A `Failure` takes nothing from the body but which known word it
//! holds, and nothing from the header but numbers and a request id that holds neither half of the credentials.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use procurify_token_protocol::{AccessToken, Domain, Failure, FailureClass, FailureCode, RequestId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::lifetime::lifetime;
use super::retry_after::{ratelimit_reset, retry_after, server_ahead};
use super::{Issued, TokenRequest};

/// An answer without its body, and the request it answers.
pub(super) struct Head<'a> {
    pub(super) request: &'a TokenRequest,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
}

impl Head<'_> {
    /// The failure that the status alone decides. The body of such an answer need not even be read, which is the safest
    /// thing to do with one that may echo the secret.
    pub(super) fn verdict(&self) -> Option<Failure> {
        let code = match self.status.as_u16() {
            401 => FailureCode::CREDENTIALS_REJECTED,
            404 | 405 | 410 | 415 => FailureCode::NO_TOKEN_ENDPOINT,
            408 | 425 | 500..=599 => FailureCode::SERVER_ERROR,
            429 => FailureCode::THROTTLED,
            300..=399 => FailureCode::REDIRECTED,
            // RFC 9110 §15.5: a 4xx that is not known is a 400.
            200 | 400..=499 if !self.is_compressed() => return None,
            _ => FailureCode::NOT_OAUTH,
        };
        Some(self.failure(code))
    }

    /// What the body decides, where [`Self::verdict`] did not.
    ///
    /// A 403 that is not an answer of OAuth comes from something in front of the endpoint, such as a firewall, that never
    /// looked at the credentials: it must not mark them as rejected, and it does not pass by itself. So it is
    /// `NOT_OAUTH`, like any page of HTML.
    pub(super) fn judge(&self, body: &[u8]) -> Result<Issued, Failure> {
        let complaint = object::<Complaint>(body).ok_or_else(|| self.failure(FailureCode::NOT_OAUTH))?;
        match complaint.code() {
            Some(code) => Err(self.failure(code)),
            None if self.status == StatusCode::OK => self.accept(body),
            None => Err(self.failure(FailureCode::NOT_OAUTH)),
        }
    }

    /// A failure of this answer, with what its header says about it.
    pub(super) fn failure(&self, code: FailureCode) -> Failure {
        let (headers, now) = (self.headers, self.request.now);
        Failure {
            code,
            http_status: Some(self.status.as_u16()),
            request_id: self.request_id(),
            retry_after: match code.class() {
                FailureClass::Transient => retry_after(headers, now),
                FailureClass::Throttled => {
                    retry_after(headers, now).or_else(|| ratelimit_reset(headers, now))
                }
                FailureClass::Rejected | FailureClass::Misconfigured => None,
            },
            domain: None,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the token's own lifetime is looked at")]
    fn accept(&self, body: &[u8]) -> Result<Issued, Failure> {
        let grant = object::<Grant>(body).ok_or_else(|| self.failure(FailureCode::NOT_OAUTH))?;
        let token = grant.access_token.expose_secret();
        let refused = |code| {
            let mut failure = self.failure(code);
            failure.request_id = failure.request_id.filter(|id| !overlap(id.as_str(), token));
            failure
        };
        let is_bearer = grant.token_type.eq_ignore_ascii_case("Bearer");
        if !is_bearer || !AccessToken::is_well_formed(&grant.access_token) {
            return Err(refused(FailureCode::NOT_OAUTH));
        }
        if let Some(scope) = grant.scope
            && self.is_for_another_domain(&scope)
        {
            let domain = domains_in(&scope).find_map(|domain| domain.to_ascii_lowercase().parse().ok());
            let domain = domain.filter(|domain: &Domain| self.is_no_secret(domain.as_str()));
            let domain = domain.filter(|domain| !overlap(domain.as_str(), token));
            return Err(Failure { domain, ..refused(FailureCode::WRONG_DOMAIN) });
        }
        let server_ahead = server_ahead(self.headers, self.request.now);
        let server_now = server_ahead.map(|ahead| self.request.now + ahead);
        let lifetime = lifetime(grant.expires_in.as_ref(), token, server_now)
            .ok_or_else(|| refused(FailureCode::NO_LIFETIME))?;
        Ok(Issued { access_token: grant.access_token, lifetime, server_ahead })
    }

    fn is_for_another_domain(&self, scope: &str) -> bool {
        let mut domains = domains_in(scope).peekable();
        domains.peek().is_some() && domains.all(|d| !d.eq_ignore_ascii_case(self.request.domain.as_str()))
    }

    /// We ask for no compression, so that what is counted is what is parsed.
    fn is_compressed(&self) -> bool {
        self.headers.get_all(CONTENT_ENCODING).iter().any(|value| value != "identity")
    }

    fn request_id(&self) -> Option<RequestId> {
        let id = RequestId::from_header(self.headers.get("x-request-id")?.to_str().ok()?)?;
        self.is_no_secret(id.as_str()).then_some(id)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the server is not trusted to keep the secret out of its words"
    )]
    fn is_no_secret(&self, text: &str) -> bool {
        let secret = self.request.client_secret.secret().expose_secret();
        !overlap(text, secret) && !overlap(text, self.request.client_id.as_str())
    }
}

/// The members by which a body says no: RFC 6749 §5.2, or the wrapper that Procurify's API puts around its errors.
#[derive(Deserialize)]
struct Complaint {
    error: Option<ErrorCode>,
    data: Option<IgnoredAny>,
    errors: Option<IgnoredAny>,
}

impl Complaint {
    fn code(&self) -> Option<FailureCode> {
        let is_wrapper = self.data.is_some() && self.errors.is_some();
        match self.error {
            Some(ErrorCode::InvalidClient) => Some(FailureCode::CREDENTIALS_REJECTED),
            Some(ErrorCode::UnauthorizedClient | ErrorCode::AccessDenied) => Some(FailureCode::ACCESS_DENIED),
            Some(ErrorCode::ServerError | ErrorCode::TemporarilyUnavailable) => {
                Some(FailureCode::SERVER_ERROR)
            }
            Some(ErrorCode::SlowDown | ErrorCode::TooManyRequests) => Some(FailureCode::THROTTLED),
            Some(ErrorCode::AnyOther) => Some(FailureCode::REQUEST_REFUSED),
            None => is_wrapper.then_some(FailureCode::ACCESS_DENIED),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ErrorCode {
    InvalidClient,
    UnauthorizedClient,
    AccessDenied,
    ServerError,
    TemporarilyUnavailable,
    SlowDown,
    #[serde(alias = "too_many_attempts")]
    TooManyRequests,
    /// `invalid_request`, `invalid_grant`, `invalid_scope`, `unsupported_grant_type`, and what extensions add: the request
    /// is at fault, and would be the next time.
    #[serde(other)]
    AnyOther,
}

/// RFC 6749 §5.1. A missing `token_type` is no answer of OAuth; members we do not know are ignored.
#[derive(Deserialize)]
struct Grant {
    access_token: SecretString,
    token_type: String,
    expires_in: Option<Value>,
    scope: Option<String>,
}

/// Reads a JSON object; serde would take an array for one.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(body).ok())?
}

fn domains_in(scope: &str) -> impl Iterator<Item = &str> {
    scope.split_ascii_whitespace().filter_map(|member| member.strip_prefix(DOMAIN_SCOPE))
}

/// Whether one is a part of the other.
fn overlap(text: &str, secret: &str) -> bool {
    text.contains(secret) || secret.contains(text)
}

const DOMAIN_SCOPE: &str = "urn:procurify-api:domain:";

#[cfg(test)]
pub(super) mod tests;
