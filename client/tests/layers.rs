//! The layer of tower and both `send`s against a service that refuses what it is told to.

use std::convert::Infallible;
use std::future::{Future, Ready, poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use procurify_token_client::http::SendError;
use procurify_token_client::testing::{Asked, FakeDaemon};
use procurify_token_client::tower::ProcurifyLayer;
use procurify_token_client::{Client, blocking};
use tower_layer::Layer;
use tower_service::Service;

/// Answers 401 to these tokens, and writes down what it was sent.
#[derive(Clone)]
struct Api {
    refused: &'static [&'static str],
    sent: Arc<Mutex<Vec<String>>>,
    /// As a service that has to be asked before each call whether it is ready.
    is_ready: bool,
    /// The credential that the daemon forgets when it is sent this header.
    removing: Option<(Arc<FakeDaemon>, String)>,
}

impl Api {
    fn refusing(refused: &'static [&'static str]) -> Self {
        Self { refused, sent: Arc::default(), is_ready: false, removing: None }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as whoever sends answers")]
    fn answer(&self, request: &Request<&'static str>) -> Result<Response<()>, Infallible> {
        let header = |name: &str| String::from_utf8_lossy(request.headers()[name].as_bytes()).into_owned();
        let (token, client) = (header("authorization"), header("x-procurify-client"));
        self.sent.lock().expect("nobody panicked").push(format!(
            "{} {token} {client} {}",
            request.uri(),
            request.body()
        ));
        if let Some((daemon, _)) = self.removing.as_ref().filter(|(_, at)| *at == token) {
            daemon.remove("acme");
        }
        let is_refused = self.refused.iter().any(|refused| token == format!("Bearer {refused}"));
        Ok(Response::builder().status(if is_refused { 401 } else { 200 }).body(()).expect("an answer"))
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().expect("nobody panicked").clone()
    }
}

impl Service<Request<&'static str>> for Api {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<&'static str>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "it was not asked whether it is ready");
        ready(self.answer(&request))
    }
}

fn daemon() -> FakeDaemon {
    let daemon = FakeDaemon::start().expect("it starts");
    daemon.set_token("acme", "one");
    daemon.set_next_token("acme", "two");
    daemon
}

fn request(uri: &str) -> Request<&'static str> {
    Request::post(uri).body("body").expect("a request")
}

fn reports(daemon: &FakeDaemon) -> usize {
    daemon.requests().iter().filter(|asked| matches!(asked, Asked::Invalidate(..))).count()
}

async fn by_layer(daemon: &FakeDaemon, api: &Api, uri: &str) -> Result<u16, SendError<Infallible>> {
    let client = Client::connect(&daemon.options()).await.expect("it listens");
    let mut service = ProcurifyLayer::new(client, "acme".parse().expect("a name")).layer(api.clone());
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request(uri)).await.map(|response| response.status().as_u16())
}

async fn by_send(daemon: &FakeDaemon, api: &Api, uri: &str) -> Result<u16, SendError<Infallible>> {
    let client = Client::connect(&daemon.options()).await.expect("it listens");
    let acme = "acme".parse().expect("a name");
    let response = client.send(&acme, request(uri), |request| ready(api.answer(&request))).await?;
    Ok(response.status().as_u16())
}

fn by_blocking(daemon: &FakeDaemon, api: &Api, uri: &str) -> Result<u16, SendError<Infallible>> {
    let mut client = blocking::Client::connect(&daemon.options()).expect("it listens");
    let acme = "acme".parse().expect("a name");
    Ok(client.send(&acme, request(uri), |request| api.answer(&request))?.status().as_u16())
}

async fn does_the_dance<F: Future<Output = Result<u16, SendError<Infallible>>>>(
    call: impl Fn(Arc<FakeDaemon>, Api, &'static str) -> F,
) {
    let (own, elsewhere) = ("/a", "https://globex.procurify.com/a");
    for (refused, status, tokens, reported) in [
        (&[][..], 200, &["one"][..], 0),
        (&["one"][..], 200, &["one", "two"][..], 1),
        (&["one", "two"][..], 401, &["one", "two"][..], 2),
    ] {
        let (daemon, api) = (Arc::new(daemon()), Api::refusing(refused));
        assert_eq!(call(Arc::clone(&daemon), api.clone(), own).await.expect("an answer"), status);
        let sent: Vec<_> = tokens
            .iter()
            .map(|token| format!("https://acme.procurify.com/a Bearer {token} api body"))
            .collect();
        assert_eq!((api.sent(), reports(&daemon)), (sent, reported));
    }
    let api = Api::refusing(&[]);
    let outcome = call(Arc::new(daemon()), api.clone(), elsewhere).await;
    assert!(matches!(outcome, Err(SendError::Misdirected(_))) && api.sent().is_empty());
    let nobodys = Arc::new(FakeDaemon::start().expect("it starts"));
    let outcome = call(nobodys, api.clone(), own).await;
    assert!(matches!(outcome, Err(SendError::Token(why)) if !why.is_transient()) && api.sent().is_empty());
}

#[tokio::test]
async fn the_layer_repeats_once_with_the_next_token() {
    does_the_dance(|daemon, api, uri| async move { by_layer(&daemon, &api, uri).await }).await;
}

#[tokio::test]
async fn send_repeats_once_with_the_next_token() {
    does_the_dance(|daemon, api, uri| async move { by_send(&daemon, &api, uri).await }).await;
}

#[tokio::test]
async fn the_blocking_send_repeats_once_with_the_next_token() {
    does_the_dance(|daemon, api, uri| ready(by_blocking(&daemon, &api, uri))).await;
}

/// The credential is removed while the API answers, so that no report of its tokens is taken.
#[tokio::test]
async fn a_report_that_fails_does_not_hide_the_answer_of_the_api() {
    for (refused, removed_at) in [(&["one"][..], "one"), (&["one", "two"][..], "two")] {
        for by in ["layer", "send", "blocking"] {
            let (daemon, api) = (Arc::new(daemon()), Api::refusing(refused));
            let at = format!("Bearer {removed_at}");
            let api = Api { removing: Some((Arc::clone(&daemon), at)), ..api };
            let outcome = match by {
                "layer" => by_layer(&daemon, &api, "/a").await,
                "send" => by_send(&daemon, &api, "/a").await,
                _ => by_blocking(&daemon, &api, "/a"),
            };
            let status = outcome.unwrap_or_else(|error| panic!("{by}, {removed_at}: {error:?}"));
            assert_eq!(
                (status, api.sent().len(), reports(&daemon)),
                (401, refused.len(), refused.len()),
                "{by}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_that_the_daemon_keeps_is_not_tried_twice() {
    let (daemon, api) = (daemon(), Api::refusing(&["one"]));
    daemon.set_token("globex", "one");
    daemon.set_next_token("globex", "one");
    let client = Client::connect(&daemon.options()).await.expect("it listens");
    let globex = "globex".parse().expect("a name");
    let response = client.send(&globex, request("/a"), |request| ready(api.answer(&request))).await;
    assert_eq!((response.expect("an answer").status().as_u16(), api.sent().len()), (401, 1));
}
