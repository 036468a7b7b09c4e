//! A layer of [tower](https://docs.rs/tower) that makes each request one of a credential's owner.
//!
//! It does what [`Client::send`] does, for a service of requests whose body can be sent
//! again. It keeps no tokens of its own: the client's cache is enough.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::CredentialName;
use crate::client::Client;
use crate::http::{SendError, authorized, is_refused};
use crate::options::TokenOptions;

/// Puts a credential's token on each request: both headers, only to the credential's own server, and once more with the next token
/// where the API answers 401. An address that is a path only goes to the credential's base URL.
///
/// ```
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use procurify_token_client::{Client, testing::FakeDaemon};
/// use hyper_util::client::legacy::Client as Http;
/// use hyper_util::rt::TokioExecutor;
/// use procurify_token_client::tower::ProcurifyLayer;
/// use tower_layer::Layer;
///
/// # let daemon = FakeDaemon::start()?;
/// let client = Client::connect(&daemon.options()).await?;
/// let http = Http::builder(TokioExecutor::new()).build_http::<http_body_util::Empty<&[u8]>>();
/// let service = ProcurifyLayer::new(client, "acme".parse()?).layer(http);
/// # drop(service);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct ProcurifyLayer {
    client: Client,
    name: CredentialName,
    options: TokenOptions,
}

impl ProcurifyLayer {
    /// For this credential.
    pub fn new(client: Client, name: CredentialName) -> Self {
        Self { client, name, options: TokenOptions::default() }
    }

    /// With other demands on a token than the client's own, on the next one after a 401 too.
    #[must_use]
    pub fn token_options(self, options: TokenOptions) -> Self {
        Self { options, ..self }
    }
}

impl<S> Layer<S> for ProcurifyLayer {
    type Service = Procurify<S>;

    fn layer(&self, inner: S) -> Procurify<S> {
        Procurify { inner, layer: self.clone() }
    }
}

/// What [`ProcurifyLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct Procurify<S> {
    inner: S,
    layer: ProcurifyLayer,
}

impl<S, B, R> Service<Request<B>> for Procurify<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Clone + Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = SendError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, SendError<S::Error>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(SendError::Http)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that said that it is ready is the one to call; the next caller asks its clone.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let ProcurifyLayer { client, name, options } = self.layer.clone();
        Box::pin(async move {
            let token = client.token_with(&name, &options).await.map_err(SendError::Token)?;
            let first = authorized(request.clone(), &token).map_err(SendError::Misdirected)?;
            let response = inner.call(first).await.map_err(SendError::Http)?;
            if !is_refused(&response) {
                return Ok(response);
            }
            let next = client.next_token(&token, &options).await.map_err(SendError::Token)?;
            let Some(next) = next else { return Ok(response) };
            let second = authorized(request, &next).map_err(SendError::Misdirected)?;
            poll_fn(|cx| inner.poll_ready(cx)).await.map_err(SendError::Http)?;
            let response = inner.call(second).await.map_err(SendError::Http)?;
            if is_refused(&response) {
                client.report(&next).await;
            }
            Ok(response)
        })
    }
}
