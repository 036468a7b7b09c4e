//! Requests to Procurify's API: TLS with the system's trust and the daemon's extra CA, a token only for its own origin.
//!
//! Redirects are never followed, because the token would go with them. What an answer means is for the callers.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use procurify_token_client::TokenGrant;
use procurify_token_protocol::{BaseUrl, is_plain_http};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use crate::bearer;
use crate::exit::{ExitCode, Failure};
use crate::proxy;

/// The API of one credential.
#[derive(Debug)]
pub(crate) struct Api {
    agent: Agent,
    base: BaseUrl,
}

impl Api {
    /// Prepares for requests below `base`; `extra_ca` names a PEM file.
    pub(crate) fn new(base: &BaseUrl, extra_ca: Option<&str>) -> Result<Self, Failure> {
        let (roots, proxy) = if is_plain_http(base.as_str()) {
            (Vec::new(), None)
        } else {
            (trusted(extra_ca)?, proxy_for(base)?)
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .user_agent(concat!("procurify-token/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(RESPONSE))
            .timeout_per_read(Some(RESPONSE))
            .build();
        Ok(Self { agent: config.new_agent(), base: base.clone() })
    }

    /// Sends one request with both headers. The body of the answer is still on its way.
    ///
    /// `url` must be of the same origin as the base URL; anything else is refused, since the token would be shown to it.
    pub(crate) fn send(
        &self,
        method: &Method,
        url: &str,
        grant: &TokenGrant,
        body: Option<&[u8]>,
    ) -> Result<Response<Body>, Failure> {
        if !is_same_origin(self.base.as_str(), url) {
            return Err(Failure::new(
                ExitCode::Other,
                format!("{url} is not at {}: the token is not sent there", self.base),
            ));
        }
        let authorization = bearer::authorization(&grant.token);
        let (client, api) = bearer::CLIENT_HEADER;
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("Authorization", authorization.as_str())
            .header(client, api)
            .header("Accept", "application/json");
        let outcome = match body {
            Some(body) => request
                .header("Content-Type", "application/json")
                .body(body)
                .map_err(|error| unsendable(&error))
                .map(|request| self.agent.run(request)),
            None => {
                request.body(()).map_err(|error| unsendable(&error)).map(|request| self.agent.run(request))
            }
        };
        outcome?.map_err(|error| self.unanswered(&error))
    }

    fn unanswered(&self, error: &ureq::Error) -> Failure {
        let code = match error {
            ureq::Error::Timeout(_) | ureq::Error::BodyStalled => ExitCode::Deadline,
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => ExitCode::Misconfigured,
            // The TLS layer speaks through I/O errors.
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => ExitCode::Misconfigured,
            _ => ExitCode::Unavailable,
        };
        let failure = Failure::new(code, format!("no answer from {}: {error}", self.base));
        match code {
            ExitCode::Misconfigured => failure.hint(
                "where a company's proxy inspects TLS, its CA belongs into extra-ca of the daemon's configuration",
            ),
            _ => failure,
        }
    }
}

/// Whether two addresses have scheme, host and port in common.
pub(crate) fn is_same_origin(base: &str, url: &str) -> bool {
    match (origin(base), origin(url)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => false,
    }
}

fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let default_port = match uri.scheme_str()? {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let port = authority.port_u16().unwrap_or(default_port);
    Some((uri.scheme_str()?.to_owned(), authority.host().to_ascii_lowercase(), port))
}

fn trusted(extra_ca: Option<&str>) -> Result<Vec<Certificate<'static>>, Failure> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots: Vec<_> =
        system.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    if let Some(path) = extra_ca {
        let unusable = |why: String| {
            Failure::new(
                ExitCode::Misconfigured,
                format!("the daemon's extra CA {path} cannot be used: {why}"),
            )
        };
        let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let before = roots.len();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| unusable(error.to_string()))? {
                roots.push(certificate);
            }
        }
        if roots.len() == before {
            return Err(unusable("it holds no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(Failure::new(
            ExitCode::Misconfigured,
            "this system trusts no certificate authority at all",
        )
        .hint("install the package ca-certificates, or set SSL_CERT_FILE"));
    }
    Ok(roots)
}

fn proxy_for(base: &BaseUrl) -> Result<Option<Proxy>, Failure> {
    let uri: Uri = base.as_str().parse().map_err(|error| unsendable(&http::Error::from(error)))?;
    let proxy = proxy::for_host(uri.host().unwrap_or_default(), |name| std::env::var(name).ok());
    let is_http = |address: &str| address.split_once("://").is_none_or(|(scheme, _)| scheme == "http");
    // Not repeated: it may hold a password.
    let unfit = || {
        Failure::new(ExitCode::Misconfigured, "HTTPS_PROXY or ALL_PROXY is not the address of an HTTP proxy")
            .hint("write it as http://HOST:PORT; a SOCKS proxy is for procurify-token curl")
    };
    let Some(address) = proxy else { return Ok(None) };
    if !is_http(&address) {
        return Err(unfit());
    }
    Proxy::new(&address).map(Some).map_err(|_| unfit())
}

fn unsendable(error: &http::Error) -> Failure {
    Failure::new(ExitCode::Usage, format!("this cannot be sent: {error}"))
}

const CONNECT: Duration = Duration::from_secs(10);
const RESPONSE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://acme.procurify.com/api/v3/vendors/?page=2", true)]
    #[case("https://ACME.procurify.com:443/x", true)]
    #[case("http://acme.procurify.com/", false)]
    #[case("https://acme.procurify.com:8443/", false)]
    #[case("https://acme.procurify.com.evil.com/", false)]
    #[case("https://acme.procurify.com@evil.com/", false)]
    #[case("https://user@acme.procurify.com/", false)]
    #[case("//acme.procurify.com/", false)]
    #[case("/api/v3/vendors/", false)]
    #[case("", false)]
    fn only_scheme_host_and_port_together_are_an_origin(#[case] url: &str, #[case] same: bool) {
        assert_eq!(is_same_origin("https://acme.procurify.com", url), same);
    }
}
