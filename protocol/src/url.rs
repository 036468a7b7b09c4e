//! Where a credential's requests may go: [`BaseUrl`] and [`TokenUrl`].
//!
//! A secret travels only over TLS, or in the clear to this very machine. This room guards the grammar; whether a
//! name such as `localhost` really resolves to loopback is for whoever connects.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Domain;
use crate::pattern::text_conversions;

/// Where the API of a domain lives, without a trailing slash: `https://acme.procurify.com`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(Arc<str>);

impl BaseUrl {
    /// `https://DOMAIN.procurify.com`.
    pub fn of_domain(domain: &Domain) -> Self {
        Self(format!("https://{domain}.procurify.com").into())
    }

    /// The address as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of an absolute path below this one.
    ///
    /// # Errors
    /// [`UrlError::Path`] for a path that does not begin with a single `/` or holds anything but visible ASCII: it
    /// could name another host.
    pub fn join(&self, path: &str) -> Result<String, UrlError> {
        let is_absolute = path.starts_with('/') && !path.starts_with("//");
        if is_absolute && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            Ok(format!("{}{path}", self.0))
        } else {
            Err(UrlError::Path)
        }
    }
}

impl FromStr for BaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let uri = checked(text)?;
        if uri.query().is_some() || text.ends_with('/') {
            return Err(UrlError::Malformed);
        }
        Ok(Self(text.into()))
    }
}

/// Where tokens are requested: by default `BASE/oauth/token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenUrl(Arc<str>);

impl TokenUrl {
    /// The documented address below a base URL: `/oauth/token`.
    pub fn below(base: &BaseUrl) -> Self {
        Self(format!("{base}/oauth/token").into())
    }

    /// The address as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        checked(text).map(|_| Self(text.into()))
    }
}

/// Whether an address is in the clear, which these types allow towards loopback only.
pub fn is_plain_http(url: &str) -> bool {
    url.starts_with("http://")
}

/// Why a text is not an address that a secret or a token may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Not an absolute address, or one with user-info or a fragment.
    #[error("write an address such as https://acme.procurify.com, without user name or fragment")]
    Malformed,
    /// `http` towards another machine.
    #[error(
        "plain http would show the secret to the network: use https (http is possible to 127.0.0.1, ::1 and localhost only)"
    )]
    PlainHttp,
    /// Neither https nor http.
    #[error("only https addresses are used")]
    Scheme,
    /// A path that is not an absolute path.
    #[error("a path begins with one / and holds no spaces, such as /api/v3/vendors/")]
    Path,
    /// Right but for its form, where a program wrote it.
    #[error("the address is not in the form in which programs write it")]
    Untidy,
}

text_conversions!(UrlError: BaseUrl, TokenUrl);

fn checked(text: &str) -> Result<Uri, UrlError> {
    if text.len() > MAX_URL || text.contains(['#', '\\']) {
        return Err(UrlError::Malformed);
    }
    let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
    let authority = uri.authority().ok_or(UrlError::Malformed)?;
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let has_bad_port = !port.is_empty() && authority.port_u16().is_none();
    if authority.as_str().contains('@') || authority.host().is_empty() || has_bad_port {
        return Err(UrlError::Malformed);
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(authority.host()) => Ok(uri),
        Some("http") => Err(UrlError::PlainHttp),
        _ => Err(UrlError::Scheme),
    }
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const MAX_URL: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://acme.procurify.com", "https://acme.procurify.com")]
    #[case("https://acme.procurify.com/", "https://acme.procurify.com")]
    #[case("https://proxy.example/d/acme", "https://proxy.example/d/acme")]
    #[case("http://127.0.0.1:8080", "http://127.0.0.1:8080")]
    #[case("http://[::1]:8080", "http://[::1]:8080")]
    #[case("http://localhost:8080", "http://localhost:8080")]
    fn good_base_urls(#[case] text: &str, #[case] url: &str) {
        assert_eq!(text.parse::<BaseUrl>().unwrap().as_str(), url);
    }

    #[rstest]
    #[case("http://acme.procurify.com", UrlError::PlainHttp)]
    #[case("http://127.0.0.1.evil.com", UrlError::PlainHttp)]
    #[case("http://localhost.evil.com", UrlError::PlainHttp)]
    #[case("ftp://acme.procurify.com", UrlError::Scheme)]
    #[case("acme.procurify.com", UrlError::Scheme)]
    #[case("https://user@acme.procurify.com", UrlError::Malformed)]
    #[case("https://acme.procurify.com/#x", UrlError::Malformed)]
    #[case("https://acme.procurify.com/?a=b", UrlError::Malformed)]
    #[case("https://acme.procurify.com//", UrlError::Malformed)]
    #[case("https://a:99999", UrlError::Malformed)]
    #[case("https://a:", UrlError::Malformed)]
    #[case("https://a b", UrlError::Malformed)]
    #[case("", UrlError::Malformed)]
    fn bad_base_urls(#[case] text: &str, #[case] error: UrlError) {
        assert_eq!(text.parse::<BaseUrl>(), Err(error));
    }

    #[test]
    fn a_joined_path_stays_on_the_host() {
        let base: BaseUrl = "https://acme.procurify.com".parse().unwrap();
        assert_eq!(base.join("/api/v3/vendors/").unwrap(), "https://acme.procurify.com/api/v3/vendors/");
        for path in ["api", "", "//evil.com/", "@evil.com/", ".evil.com", "/a b", "/\\evil.com", "/a\r\nb"] {
            assert_eq!(base.join(path), Err(UrlError::Path), "{path:?}");
        }
    }
}
