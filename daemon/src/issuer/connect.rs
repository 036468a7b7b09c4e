//! From a token URL to a stream that a secret may be written to: name, TCP, proxy, TLS.
//!
//! A connection is made for one request and never kept. Each step knows its own way of failing, so the steps are taken
//! one by one instead of in a stack of connectors whose errors look alike.

use std::convert::Infallible;
use std::error::Error;
use std::future::{self, Future};
use std::io;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use procurify_token_protocol::FailureCode;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net;
use tokio::time::{self, Instant};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::Proxies;

/// Makes connections; the timeout is for all steps of one together.
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    tls: TlsConnector,
    proxies: Proxies,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(tls: TlsConnector, proxies: Proxies, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared among the addresses of a name, so that one that swallows packets does not use up the patience.
        tcp.set_connect_timeout(Some(timeout));
        Self { tcp, tls, proxies, timeout }
    }

    /// The proxy on the way to `target`, without its user name and password.
    pub(super) fn proxy_towards(&self, target: &Uri) -> Option<String> {
        let proxy = self.proxies.towards(target)?;
        let uri = proxy.uri();
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or(authority);
        Some(format!("{}://{host}", uri.scheme_str().unwrap_or("http")))
    }

    /// Connects to the host of `target`, with TLS unless the URL is plain http, which `TokenUrl` allows towards this
    /// machine only.
    pub(super) async fn connect(&self, target: &Uri) -> Result<Box<dyn Stream>, FailureCode> {
        let begun = Instant::now();
        let stream = match self.proxies.towards(target) {
            None => self.in_time(begun, self.dial(target)).await?,
            Some(proxy) => {
                let tunnel = self.in_time(begun, self.tunnel(&proxy, target));
                tunnel.await.map_err(|_| FailureCode::PROXY)?
            }
        };
        if target.scheme_str() == Some("https") {
            self.in_time(begun, self.secure(target, stream)).await
        } else {
            Ok(stream)
        }
    }

    async fn in_time<T>(
        &self,
        begun: Instant,
        step: impl Future<Output = Result<T, FailureCode>>,
    ) -> Result<T, FailureCode> {
        let left = self.timeout.saturating_sub(begun.elapsed());
        time::timeout(left, step).await.unwrap_or(Err(FailureCode::TIMED_OUT))
    }

    async fn dial(&self, target: &Uri) -> Result<Box<dyn Stream>, FailureCode> {
        // The resolver is always ready, and with it the connector.
        let connected = self.tcp.clone().call(target.clone()).await;
        connected.map(boxed).map_err(|error| dial_failure(&error))
    }

    async fn secure(&self, target: &Uri, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, FailureCode> {
        let host = target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FailureCode::NAME_NOT_RESOLVED)?;
        let secured = self.tls.connect(name, stream).await.map_err(|error| tls_failure(&error))?;
        Ok(Box::new(secured))
    }

    /// Asks `proxy` for a way to `target`. The proxy resolves the name, also under `socks5`: it may know names that this
    /// machine does not.
    async fn tunnel(&self, proxy: &Intercept, target: &Uri) -> Result<Box<dyn Stream>, FailureCode> {
        let address = with_port(proxy.uri());
        let mut stream = self.dial(&address).await?;
        if address.scheme_str() == Some("https") {
            stream = self.secure(&address, stream).await?;
        }
        let stream = Connected(Some(TokioIo::new(stream)));
        if let Some("socks5" | "socks5h") = address.scheme_str() {
            let mut socks = SocksV5::new(address, stream);
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            socks.call(target.clone()).await.map(boxed).map_err(|_| FailureCode::PROXY)
        } else {
            let mut tunnel = Tunnel::new(address, stream);
            if let Some(authorization) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            tunnel.call(target.clone()).await.map(boxed).map_err(|_| FailureCode::PROXY)
        }
    }
}

/// Anything that HTTP can be spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn boxed<S: Stream + 'static>(io: TokioIo<S>) -> Box<dyn Stream> {
    Box::new(io.into_inner())
}

/// Asks the system for the addresses of a name, but not for those of `localhost` (RFC 6761 §6.3): what is sent there in
/// the clear must stay on this machine, whatever a hosts file or a name server says.
#[derive(Clone)]
struct Resolver;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = NotResolved;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NotResolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotResolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(resolve(name))
    }
}

async fn resolve(name: Name) -> Result<vec::IntoIter<SocketAddr>, NotResolved> {
    if name.as_str().eq_ignore_ascii_case("localhost") {
        let addresses = vec![(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
        return Ok(addresses.into_iter());
    }
    let addresses = net::lookup_host((name.as_str(), 0)).await.map_err(|_| NotResolved)?;
    let addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() { Err(NotResolved) } else { Ok(addresses.into_iter()) }
}

#[derive(Debug, Error)]
#[error("the name could not be resolved")]
struct NotResolved;

/// A connection that is already there, in the shape in which the proxy protocols want one.
struct Connected<S>(Option<S>);

impl<S> Service<Uri> for Connected<S> {
    type Response = S;
    type Error = Infallible;
    type Future = future::Ready<Result<S, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        future::ready(Ok(self.0.take().expect("a proxy is asked once for each connection")))
    }
}

/// The address of a proxy with the port it has when none is written: SOCKS has its own (RFC 1928 §3), the others those
/// of their scheme.
fn with_port(proxy: &Uri) -> Uri {
    let (Some(scheme @ ("socks5" | "socks5h")), None) = (proxy.scheme_str(), proxy.port_u16()) else {
        return proxy.clone();
    };
    format!("{scheme}://{}:1080/", proxy.host().unwrap_or_default())
        .parse()
        .expect("a host with a port is an address")
}

fn dial_failure(error: &(dyn Error + 'static)) -> FailureCode {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    let code = causes.find_map(|cause| {
        if cause.is::<NotResolved>() {
            return Some(FailureCode::NAME_NOT_RESOLVED);
        }
        let io = cause.downcast_ref::<io::Error>()?;
        (io.kind() == io::ErrorKind::TimedOut).then_some(FailureCode::TIMED_OUT)
    });
    code.unwrap_or(FailureCode::NOT_CONNECTED)
}

/// Only a certificate that does not stand up is a matter of trust. An alert, a version we do not speak or a connection
/// that breaks is a server in trouble, which may get over it.
fn tls_failure(error: &io::Error) -> FailureCode {
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            FailureCode::UNTRUSTED
        }
        _ => FailureCode::NOT_CONNECTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[tokio::test]
    async fn localhost_is_this_machine_whatever_the_system_says() {
        for name in ["localhost", "LocalHost"] {
            let addresses = resolve(name.parse().unwrap()).await.unwrap();
            assert_eq!(
                addresses.collect::<Vec<_>>(),
                ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]
            );
        }
    }

    #[rstest]
    #[case("socks5://p/", "socks5://p:1080/")]
    #[case("socks5h://[::1]/", "socks5h://[::1]:1080/")]
    #[case("socks5://p:9050/", "socks5://p:9050/")]
    #[case("http://p/", "http://p/")]
    fn a_socks_proxy_has_a_port_of_its_own(#[case] written: &'static str, #[case] address: &str) {
        assert_eq!(with_port(&Uri::from_static(written)).to_string(), address);
    }

    #[test]
    fn only_certificates_are_a_matter_of_trust() {
        let failure = |error: rustls::Error| tls_failure(&io::Error::new(io::ErrorKind::InvalidData, error));
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(failure(expired), FailureCode::UNTRUSTED);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::InternalError);
        assert_eq!(failure(alert), FailureCode::NOT_CONNECTED);
        assert_eq!(tls_failure(&io::ErrorKind::UnexpectedEof.into()), FailureCode::NOT_CONNECTED);
    }
}
