//! Requests of the crate [`http`](https://docs.rs/http), whoever sends them: both headers, only to the credential's own server,
//! and once more after a 401.
//!
//! No HTTP client is in here, and none is needed: [`Client::send`](crate::Client::send) and
//! [`blocking::Client::send`](crate::blocking::Client::send) take a closure that sends. It opens the token for the one header
//! that it is for. It follows no redirect, and yours must not either: the token would go with it.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use secrecy::ExposeSecret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::error::Error;
#[cfg(feature = "async")]
use crate::options::TokenOptions;
use crate::token::Token;

/// The header that Procurify wants beside `Authorization`: `X-Procurify-Client: api`.
pub const CLIENT_HEADER: HeaderName = HeaderName::from_static("x-procurify-client");

/// Makes a request one of the token's owner: sets both headers, in place of what was there, and puts the token's base URL before an
/// address that is a path only.
///
/// ```
/// # #[cfg(all(feature = "blocking", feature = "testing"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use procurify_token_client::{blocking::Client, testing::FakeDaemon};
/// use procurify_token_client::http::authorize;
///
/// # let daemon = FakeDaemon::start()?;
/// # daemon.set_token("acme", "a-token");
/// # let token = Client::connect(&daemon.options())?.token(&"acme".parse()?)?;
/// let (mut parts, body) = http::Request::get("/api/v3/vendors/?page=2").body(())?.into_parts();
/// authorize(&mut parts, &token)?;
/// assert_eq!(parts.uri, "https://acme.procurify.com/api/v3/vendors/?page=2");
/// assert_eq!(parts.headers["authorization"], "Bearer a-token");
/// assert!(parts.headers["authorization"].is_sensitive());
/// assert_eq!(parts.headers["x-procurify-client"], "api");
///
/// parts.uri = "https://elsewhere.example/".parse()?;
/// assert!(authorize(&mut parts, &token).is_err());
/// # drop(body);
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "blocking", feature = "testing")))]
/// # fn main() {}
/// ```
///
/// # Errors
/// [`Misdirected`] where the request is for another server; then it is left as it was.
pub fn authorize(parts: &mut Parts, token: &Token) -> Result<(), Misdirected> {
    parts.uri = directed(&parts.uri, token)?;
    set_headers(&mut parts.headers, token);
    Ok(())
}

/// Sets both headers, in place of what was there. `Authorization` is marked as sensitive, so that nobody prints it.
///
/// Headers do not say where they go: send them to the token's [base URL](Token::base_url) only, or use [`authorize`].
///
/// # Panics
/// Never: what is no header's value is no token either.
#[expect(clippy::disallowed_methods, reason = "the header is what a token is for")]
pub fn set_headers(headers: &mut HeaderMap, token: &Token) {
    let text = Zeroizing::new(format!("Bearer {}", token.secret().expose_secret()));
    let mut authorization = HeaderValue::from_str(&text).expect("a token is a b64token");
    authorization.set_sensitive(true);
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(CLIENT_HEADER, HeaderValue::from_static("api"));
}

/// Where a request goes: an address of the same scheme, host and port as the base URL, or a path put behind it.
fn directed(uri: &Uri, token: &Token) -> Result<Uri, Misdirected> {
    let base: Uri = token.base_url().as_str().parse().map_err(|_| Misdirected(()))?;
    if uri.scheme().is_none() && uri.authority().is_none() {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        return token.base_url().join(path).ok().and_then(|url| url.parse().ok()).ok_or(Misdirected(()));
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@'))
        || origin(uri) != origin(&base)
    {
        return Err(Misdirected(()));
    }
    Ok(uri.clone())
}

fn origin(uri: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    });
    (uri.scheme_str(), uri.host().map(str::to_ascii_lowercase), port)
}

/// A request with both headers, ready to be sent.
pub(crate) fn authorized<B>(request: Request<B>, token: &Token) -> Result<Request<B>, Misdirected> {
    let (mut parts, body) = request.into_parts();
    authorize(&mut parts, token)?;
    Ok(Request::from_parts(parts, body))
}

/// Whether the API refused the token.
pub(crate) fn is_refused<R>(response: &Response<R>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
}

/// A request was for another server than the token's own. Nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the request is for another server than the credential's base URL, and the token is sent nowhere else"
)]
pub struct Misdirected(());

impl fmt::Debug for Misdirected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Misdirected")
    }
}

/// Why a call of the API has no answer.
#[derive(Debug, Error)]
pub enum SendError<E> {
    /// There is no token, or no other in place of a refused one.
    #[error(transparent)]
    Token(Error),
    /// The request was for another server; nothing was sent.
    #[error(transparent)]
    Misdirected(Misdirected),
    /// What the HTTP client says.
    #[error("the request to the API failed")]
    Http(#[source] E),
}

impl<E> SendError<E> {
    /// Whether the same call may succeed later, as [`Error::is_transient`] has it. Of what the HTTP client says, this crate
    /// knows nothing: false.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Token(error) if error.is_transient())
    }
}

#[cfg(feature = "async")]
impl crate::Client {
    /// Calls the API: sends the request with both headers by `send`, and where the API answers 401, reports the token and sends it
    /// once more with the next one. A request whose address is a path goes to the credential's base URL.
    ///
    /// ```
    /// # #[cfg(feature = "testing")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use procurify_token_client::{Client, testing::FakeDaemon};
    /// # let daemon = FakeDaemon::start()?;
    /// # daemon.set_token("acme", "a-token");
    /// # daemon.set_next_token("acme", "another");
    /// let client = Client::connect(&daemon.options()).await?;
    /// let request = http::Request::get("/api/v3/vendors/").body(())?;
    /// let response = client
    ///     .send(&"acme".parse()?, request, |request| async move {
    ///         // An HTTP client of your choice; this one refuses the first token.
    ///         let is_refused = request.headers()["authorization"] == "Bearer a-token";
    ///         http::Response::builder().status(if is_refused { 401 } else { 200 }).body(())
    ///     })
    ///     .await?;
    /// assert_eq!(response.status(), 200);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "testing"))]
    /// # fn main() {}
    /// ```
    ///
    /// A 401 comes back as it is where the daemon has no other token (it keeps a token when another would hardly fare better),
    /// where the report of it fails, and where the API refuses the second one too.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send<B: Clone, R, E, F>(
        &self,
        name: &crate::CredentialName,
        request: Request<B>,
        mut send: impl FnMut(Request<B>) -> F,
    ) -> Result<Response<R>, SendError<E>>
    where
        F: Future<Output = Result<Response<R>, E>>,
    {
        let token = self.token(name).await.map_err(SendError::Token)?;
        let first = authorized(request.clone(), &token).map_err(SendError::Misdirected)?;
        let response = send(first).await.map_err(SendError::Http)?;
        if !is_refused(&response) {
            return Ok(response);
        }
        let next = self.next_token(&token, &TokenOptions::default()).await.map_err(SendError::Token)?;
        let Some(next) = next else { return Ok(response) };
        let second = authorized(request, &next).map_err(SendError::Misdirected)?;
        let response = send(second).await.map_err(SendError::Http)?;
        if is_refused(&response) {
            self.report(&next).await;
        }
        Ok(response)
    }

    /// Another token in place of one that the API refused, if the daemon has one and takes the report.
    pub(crate) async fn next_token(
        &self,
        refused: &Token,
        options: &TokenOptions,
    ) -> Result<Option<Token>, Error> {
        if !self.report(refused).await {
            return Ok(None);
        }
        let next = self.token_with(refused.name(), options).await?;
        Ok((next.fingerprint() != refused.fingerprint()).then_some(next))
    }

    /// Reports a refused token. A report that fails must not take the place of the API's own answer: it only says so.
    pub(crate) async fn report(&self, refused: &Token) -> bool {
        self.invalidate(refused).await.is_ok()
    }
}

#[cfg(feature = "blocking")]
impl crate::blocking::Client {
    /// Calls the API: sends the request with both headers by `send`, and where the API answers 401, reports the token and sends it
    /// once more with the next one. A request whose address is a path goes to the credential's base URL.
    ///
    /// A 401 comes back as it is where the daemon has no other token (it keeps a token when another would hardly fare better),
    /// where the report of it fails, and where the API refuses the second one too. Set the HTTP client so that a status is no error.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send<B: Clone, R, E>(
        &mut self,
        name: &crate::CredentialName,
        request: Request<B>,
        mut send: impl FnMut(Request<B>) -> Result<Response<R>, E>,
    ) -> Result<Response<R>, SendError<E>> {
        let token = self.token(name).map_err(SendError::Token)?;
        let first = authorized(request.clone(), &token).map_err(SendError::Misdirected)?;
        let response = send(first).map_err(SendError::Http)?;
        if !is_refused(&response) {
            return Ok(response);
        }
        // A report that fails must not take the place of the API's own answer.
        if self.invalidate(&token).is_err() {
            return Ok(response);
        }
        let next = self.token(name).map_err(SendError::Token)?;
        if next.fingerprint() == token.fingerprint() {
            return Ok(response);
        }
        let second = authorized(request, &next).map_err(SendError::Misdirected)?;
        let response = send(second).map_err(SendError::Http)?;
        if is_refused(&response) {
            let _ = self.invalidate(&next);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use procurify_token_protocol::{AccessToken, Fingerprint, TokenGrant};

    fn token(base_url: &str) -> Token {
        let access =
            AccessToken::new("a-token".into(), Fingerprint::from_bytes([1; 8]), chrono::DateTime::UNIX_EPOCH);
        let grant = TokenGrant { token: access.unwrap().into(), base_url: base_url.parse().unwrap() };
        Token::new("acme".parse().unwrap(), grant)
    }

    fn goes_to(uri: &str, base_url: &str) -> Option<String> {
        directed(&uri.parse().unwrap(), &token(base_url)).ok().map(|uri| uri.to_string())
    }

    #[test]
    fn a_token_goes_to_its_own_server_only() {
        let own = |uri| goes_to(uri, "https://acme.procurify.com");
        for (uri, goes) in [
            ("/api/?a=b", "https://acme.procurify.com/api/?a=b"),
            ("https://acme.procurify.com/api/", "https://acme.procurify.com/api/"),
            ("https://acme.procurify.com:443/", "https://acme.procurify.com:443/"),
            ("https://Acme.Procurify.com/", "https://Acme.Procurify.com/"),
        ] {
            assert_eq!(own(uri).as_deref(), Some(goes));
        }
        for uri in [
            "http://acme.procurify.com/",
            "https://acme.procurify.com:8443/",
            "https://acme.procurify.com.evil.com/",
            "https://globex.procurify.com/",
            "https://user@acme.procurify.com/",
            "https://acme.procurify.com@evil.com/",
            "//evil.com/",
            "acme.procurify.com",
        ] {
            assert_eq!(own(uri), None, "{uri}");
        }
    }

    #[test]
    fn in_the_clear_it_goes_to_this_machine_only() {
        assert_eq!(goes_to("/a", "http://127.0.0.1:8080/d/acme").unwrap(), "http://127.0.0.1:8080/d/acme/a");
        assert!(goes_to("http://127.0.0.1:8080/other", "http://127.0.0.1:8080").is_some());
        assert!(goes_to("http://127.0.0.1:8081/", "http://127.0.0.1:8080").is_none());
    }

    #[test]
    fn a_misdirected_request_is_left_as_it_was() {
        let (mut parts, ()) = Request::get("https://evil.com/").body(()).unwrap().into_parts();
        assert_eq!(authorize(&mut parts, &token("https://acme.procurify.com")), Err(Misdirected(())));
        assert!(parts.headers.is_empty());
    }
}
