//! One exchange with a token endpoint, from the connection to the classified answer.
//!
//! Everything happens inside the future that `issue` returns, without a task of its own: whoever drops it closes the
//! connection. Trying again is not done here.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::Uri;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use procurify_token_protocol::{Failure, FailureCode, TokenUrl};
use thiserror::Error;
use tokio::time;
use zeroize::Zeroizing;

use super::classify::Head;
use super::connect::Connector;
use super::{Issued, Proxies, Reach, TokenIssuer, TokenRequest, body, tls};

/// Asks token endpoints over HTTPS, or over plain HTTP on this machine.
pub struct HttpsIssuer {
    pub(super) connector: Connector,
    pub(super) request_timeout: Duration,
}

/// How an [`HttpsIssuer`] reaches its endpoints.
#[derive(Debug)]
pub struct IssuerSettings {
    /// A PEM file with CAs to trust beside those of the system.
    pub extra_ca: Option<PathBuf>,
    /// The longest that name, TCP, proxy and TLS may take together.
    pub connect_timeout: Duration,
    /// The longest that a whole request may take, connecting included.
    pub request_timeout: Duration,
    /// Which proxy to use.
    pub proxies: Proxies,
}

impl Default for IssuerSettings {
    /// 10 seconds to connect, 30 in all, no extra CA, no proxy.
    fn default() -> Self {
        Self {
            extra_ca: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            proxies: Proxies::none(),
        }
    }
}

/// Why there is no [`HttpsIssuer`] to be had.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The file of extra CAs cannot be read.
    #[error("the extra CA file {path:?} cannot be read")]
    UnreadableCa {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of extra CAs holds none, or something else beside them.
    #[error("the extra CA file {path:?} holds no certificate, or one that is broken: it must be PEM")]
    NotACa {
        /// Which.
        path: PathBuf,
    },
    /// The certificates that the system trusts cannot be had.
    #[error(
        "the certificates that this system trusts could not be loaded (on Linux: install ca-certificates)"
    )]
    Tls(#[from] rustls::Error),
    /// The environment names a proxy that cannot be used.
    #[error(
        "HTTPS_PROXY or ALL_PROXY names no usable proxy: write http, https, socks5 or socks5h://HOST:PORT"
    )]
    Proxy,
}

impl HttpsIssuer {
    /// Loads the system's trust and the extra CAs, which blocks for some milliseconds.
    ///
    /// # Errors
    /// [`SetupError`] where there would be nobody to trust.
    pub fn new(settings: IssuerSettings) -> Result<Self, SetupError> {
        let IssuerSettings { extra_ca, connect_timeout, request_timeout, proxies } = settings;
        let tls = tls::connector(extra_ca.as_deref())?;
        Ok(Self { connector: Connector::new(tls, proxies, connect_timeout), request_timeout })
    }

    async fn exchange(&self, request: &TokenRequest) -> Result<Issued, Failure> {
        let target: Uri = request.token_url.as_str().parse().expect("a TokenUrl is a URI");
        let stream = self.connector.connect(&target).await?;
        let (mut sender, connection) = http1::Builder::new()
            // Never copied into a buffer beside the headers.
            .writev(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| http_failure(&error))?;
        let conversation = async {
            let answer = sender.send_request(body::post(request, &target)).await;
            let (parts, body) = answer.map_err(|error| http_failure(&error))?.into_parts();
            let head = Head { request, status: parts.status, headers: &parts.headers };
            if let Some(failure) = head.verdict() {
                return Err(failure);
            }
            let body = read(body).await.map_err(|code| head.failure(code))?;
            head.judge(&body)
        };
        let mut conversation = pin!(conversation);
        tokio::select! {
            biased;
            outcome = &mut conversation => outcome,
            // What ended it, good or bad, the conversation has been told.
            _ = connection => conversation.await,
        }
    }
}

impl TokenIssuer for HttpsIssuer {
    async fn issue(&self, request: TokenRequest) -> Result<Issued, Failure> {
        let exchange = self.exchange(&request);
        time::timeout(self.request_timeout, exchange).await.unwrap_or(Err(FailureCode::TIMED_OUT.into()))
    }

    async fn reach(&self, url: TokenUrl, now: DateTime<Utc>) -> Reach {
        self.try_to_reach(&url, now).await
    }
}

async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, FailureCode> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(FailureCode::TOO_LARGE);
    }
    let mut read = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| FailureCode::INTERRUPTED)?;
        let chunk = frame.data_ref().map_or(&[][..], |data| data);
        if read.len() + chunk.len() > MAX_BODY {
            return Err(FailureCode::TOO_LARGE);
        }
        append(&mut read, chunk);
    }
    Ok(read)
}

/// Grows by moving into a new buffer, so that the old one is wiped.
fn append(buffer: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if buffer.capacity() - buffer.len() < chunk.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * (buffer.len() + chunk.len())));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(chunk);
}

fn http_failure(error: &hyper::Error) -> FailureCode {
    if error.is_parse() { FailureCode::NOT_OAUTH } else { FailureCode::INTERRUPTED }
}

/// 1 MiB.
const MAX_BODY: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
