//! The three ways in: CONNECT proxy, TLS, plain HTTP; and which domain a request is for.
//!
//! Every connection is one task, every tunnel part of its connection's task, so that stopping the
//! listener stops all of them. What is said inside is not this room's business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::HOST;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::domain::Domain;
use crate::house::{Controls, House};
use crate::ledger::Door;
use crate::reply::{self, Reply};
use crate::wire::{Cut, Ending, Payload, Wire};
use crate::{api, clock, control, faults, token};

/// A request that has found its domain.
pub(crate) struct Visit<'a> {
    pub(crate) house: &'a House,
    pub(crate) domain: &'a Domain,
    pub(crate) door: Door,
    /// What the client sees in front of `path`: `https://acme.procurify.com`, or
    /// `https://localhost:8443/d/acme`.
    pub(crate) base: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) ending: &'a Ending,
}

impl Visit<'_> {
    /// The time as this domain sees it.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.domain.skewed(clock::now())
    }

    pub(crate) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Serves a listener until dropped; `door` is [`Door::Tls`] or [`Door::Plain`].
pub(crate) async fn serve(controls: Controls, listener: TcpListener, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(enter(controls.clone(), stream, door))),
                // Out of descriptors, most likely: some will be free soon.
                Err(_) => pause(20).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Waits; 0 does not even yield.
pub(crate) async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// The domain part of `acme.procurify.com` or `acme.localhost`.
pub(crate) fn domain_of(host: &str) -> Option<&str> {
    host.strip_suffix(".procurify.com").or_else(|| host.strip_suffix(".localhost"))
}

async fn enter(controls: Controls, stream: TcpStream, door: Door) {
    // Only latency is lost if this fails.
    let _ = stream.set_nodelay(true);
    let (wire, ending) = Wire::new(stream);
    let tls = &controls.house().tls;
    if door == Door::Tls {
        if let Ok(stream) = tls.accept(wire).await {
            converse(&controls, stream, door, None, &ending).await;
        }
    } else if let Some(Tunnel { domain, upgrade }) = converse(&controls, wire, door, None, &ending).await
        && let Ok(stream) = upgrade.await
        && let Ok(stream) = tls.accept(TokioIo::new(stream)).await
    {
        converse(&controls, stream, Door::Proxy, Some(domain), &ending).await;
    }
}

/// A CONNECT that was granted.
struct Tunnel {
    domain: String,
    upgrade: OnUpgrade,
}

/// Serves HTTP until the connection ends, or becomes a tunnel.
async fn converse(
    controls: &Controls,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    door: Door,
    domain: Option<String>,
    ending: &Ending,
) -> Option<Tunnel> {
    let tunnel: Arc<Mutex<Option<Tunnel>>> = Arc::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (controls, domain, ending) = (controls.clone(), domain.clone(), ending.clone());
        let tunnel = Arc::clone(&tunnel);
        async move {
            if door == Door::Plain && request.method() == Method::CONNECT {
                let house = controls.house();
                let (reply, granted) = connect(house, &mut request);
                *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = granted;
                return Ok(reply::stamped(reply, clock::now(), &house.signer.unique()));
            }
            let (parts, body) = request.into_parts();
            visit(&controls, parts, body, door, domain, &ending).await
        }
    });
    // How a connection ended is nobody's concern here: the ledger has what was asked on it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn connect(house: &House, request: &mut Request<Incoming>) -> (Reply, Option<Tunnel>) {
    let host = request.uri().host().unwrap_or_default().to_ascii_lowercase();
    let domain = host
        .strip_suffix(".procurify.com")
        .filter(|domain| request.uri().port_u16() == Some(443) && house.domain(domain).is_some());
    match domain {
        Some(domain) => {
            let tunnel = Tunnel { domain: domain.to_owned(), upgrade: hyper::upgrade::on(request) };
            (Reply::new(Payload::Empty), Some(tunnel))
        }
        None => (reply::text(StatusCode::FORBIDDEN, "the sandbox leads only to its own domains\n"), None),
    }
}

async fn visit(
    controls: &Controls,
    parts: Parts,
    body: Incoming,
    door: Door,
    tunnelled_to: Option<String>,
    ending: &Ending,
) -> Result<Reply, Cut> {
    let house = controls.house();
    let stamp = |reply, date| reply::stamped(reply, date, &house.signer.unique());
    if door == Door::Plain && parts.uri.path().starts_with(control::ROOT) {
        let reply = control::answer(controls, &parts, body).await;
        return Ok(stamp(reply, clock::now()));
    }
    let found = Destination::of(&parts, door, tunnelled_to)
        .and_then(|found| Some((house.domain(&found.domain)?, found)));
    let Some((domain, Destination { base, path, .. })) = found else {
        let reply = reply::text(StatusCode::NOT_FOUND, NO_DOMAIN);
        return Ok(stamp(reply, clock::now()));
    };
    let visit =
        Visit { house, domain, door, base, path, query: parts.uri.query().map(str::to_owned), ending };
    let reply = match visit.path.as_str() {
        "/oauth/token" => token::answer(&visit, parts, body).await?,
        "/api/v3/oauth/token" if domain.knobs().api_v3_token => token::answer(&visit, parts, body).await?,
        path if path.starts_with("/api/") => api::answer(&visit, parts, body).await?,
        _ => faults::not_found(),
    };
    Ok(stamp(reply, visit.now()))
}

/// Where a request wants to go.
struct Destination {
    domain: String,
    base: String,
    path: String,
}

impl Destination {
    /// Inside a tunnel, where the tunnel leads; else by the path's `/d/DOMAIN`, else by host.
    fn of(parts: &Parts, door: Door, tunnelled_to: Option<String>) -> Option<Self> {
        let path = parts.uri.path();
        if let Some(domain) = tunnelled_to {
            return Some(Self {
                base: format!("https://{domain}.procurify.com"),
                path: path.to_owned(),
                domain,
            });
        }
        let scheme = if door == Door::Tls { "https" } else { "http" };
        let named = || parts.headers.get(HOST)?.to_str().ok();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str).or_else(named)?;
        if let Some(rest) = path.strip_prefix("/d/") {
            let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return Some(Self {
                domain: domain.to_owned(),
                base: format!("{scheme}://{authority}/d/{domain}"),
                path: path.to_owned(),
            });
        }
        let host = authority.split(':').next()?.to_ascii_lowercase();
        Some(Self {
            domain: domain_of(&host)?.to_owned(),
            base: format!("{scheme}://{authority}"),
            path: path.to_owned(),
        })
    }
}

const NO_DOMAIN: &str = "\
No domain of this sandbox is meant. Use https://DOMAIN.procurify.com through the proxy, or begin
the path with /d/DOMAIN.
";
