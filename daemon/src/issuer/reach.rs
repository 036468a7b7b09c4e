//! Whether a token endpoint can be reached at all: every step of a token request but the request itself.
//!
//! Nothing of a credential is sent: a `HEAD /`, whatever its answer, shows that name, proxy, connection and certificate
//! stand, and brings the server's date.

use chrono::{DateTime, TimeDelta, Utc};
use http::header::HOST;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use procurify_token_protocol::{FailureCode, TokenUrl};
use tokio::time;

use super::HttpsIssuer;
use super::retry_after::server_ahead;

/// How far one gets.
#[derive(Debug)]
pub struct Reach {
    /// The proxy on the way, without user name and password.
    pub proxy: Option<String>,
    /// How far the server's clock is ahead, where it says; or which step failed.
    pub outcome: Result<Option<TimeDelta>, FailureCode>,
}

impl HttpsIssuer {
    pub(super) async fn try_to_reach(&self, url: &TokenUrl, now: DateTime<Utc>) -> Reach {
        let target: Uri = url.as_str().parse().expect("a TokenUrl is a URI");
        let outcome = time::timeout(self.request_timeout, self.knock(&target, now)).await;
        Reach {
            proxy: self.connector.proxy_towards(&target),
            outcome: outcome.unwrap_or(Err(FailureCode::TIMED_OUT)),
        }
    }

    async fn knock(&self, target: &Uri, now: DateTime<Utc>) -> Result<Option<TimeDelta>, FailureCode> {
        let stream = self.connector.connect(target).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|_| FailureCode::INTERRUPTED)?;
        let authority = target.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let request = Request::head("/").header(HOST, authority).body(Empty::<Bytes>::new());
        let request = request.expect("a host is a header");
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|_| FailureCode::INTERRUPTED)?;
            Ok(server_ahead(answer.headers(), now))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            outcome = &mut answer => outcome,
            _ = connection => answer.await,
        }
    }
}
