//! The client for programs on tokio: many requests at once over one connection.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procurify_token_protocol::endpoint::Endpoint;
use procurify_token_protocol::{
    Answer, CredentialName, CredentialStatus, DaemonStatus, Fingerprint, Request, Watched,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use crate::answers::{self, Listing, POLL, Watcher};
use crate::call::{self, Setback};
use crate::conversation::{self, Call};
use crate::deadline::Deadline;
use crate::dial::{AsyncStream, dial};
use crate::door::{self, Knock, Search, Step};
use crate::error::Error;
use crate::options::{Options, Patience, TokenOptions};
use crate::token::Token;
use crate::tokens::Tokens;

/// A connection to the daemon, shared by all clones, and made anew when the daemon was restarted.
///
/// Requests are pipelined: a slow one holds up none of the others, and dropping a call disturbs none of them. Every
/// method ends within its deadline and half a second, which is left to the daemon to explain what it was waiting for.
///
/// Dropping the future of any method, at any point, loses nothing and cancels nothing that anybody else waits for. The client
/// spawns tasks on the runtime it is used on: one for the connection, and one for each credential that its cache watches. All
/// of them end with the last clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    line: Arc<Line>,
    deadline: Duration,
    /// `None` where the daemon is to be asked each time.
    tokens: Option<Tokens>,
}

/// The connection, and how it is made anew.
#[derive(Debug)]
pub(crate) struct Line {
    endpoint: Endpoint,
    /// How long a daemon that is gone is waited for.
    pub(crate) patience: Patience,
    /// Locked for as long as somebody connects, so that nobody else does.
    calls: Mutex<UnboundedSender<Call>>,
}

/// Somebody who watches a credential; made by [`Client::watch`].
#[derive(Debug)]
pub struct Watch {
    client: Client,
    watcher: Watcher,
}

impl Watch {
    /// What the credential has come to, once that is something else than was told before; the first call tells how
    /// things stand. Whoever is slow to call again is told of the latest only. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] where the credential was removed (`unknown-credential`) or the vault is locked; the other
    /// [`Error`]s as for any request. Calling again after a [transient](Error::is_transient) one goes on watching.
    pub async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            let answer = self.client.request(&self.watcher.request(), POLL).await?;
            if let Some(news) = self.watcher.news(answer)? {
                return Ok(news);
            }
        }
    }
}

impl Client {
    /// Finds the daemon and connects. Later connections are made to the same socket.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] at once where nobody listens; [`Error::Untrusted`]; [`Error::Deadline`] when the daemon is
    /// too busy to accept the connection; [`Error::Connection`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let candidates = options.candidates();
        let deadline = Deadline::new(now(), options.connect_timeout);
        let (endpoint, calls) = converse(Search::first(&candidates), deadline).await?;
        let (endpoint, calls) = (endpoint.clone(), Mutex::new(calls));
        let Options { deadline, patience, is_cached, .. } = *options;
        let line = Arc::new(Line { endpoint, patience, calls });
        let tokens = is_cached.then(|| Tokens::new(Arc::clone(&line)));
        Ok(Self(Arc::new(Inner { line, deadline, tokens })))
    }

    /// A valid token: from the client's own cache, or from the daemon. A token that has ended is never returned.
    ///
    /// From the cache it comes at once, but for one call in each millisecond: that one lets the runtime run first, so that what the
    /// daemon has said of the token is heard also where the program waits for nothing else.
    ///
    /// # Errors
    /// [`Error`]; most often [`Error::Refused`].
    pub async fn token(&self, name: &CredentialName) -> Result<Token, Error> {
        self.token_with(name, &TokenOptions::default()).await
    }

    /// A token that still lives for a while, or within a deadline of its own.
    ///
    /// # Errors
    /// [`Error`]; most often [`Error::Refused`].
    pub async fn token_with(&self, name: &CredentialName, options: &TokenOptions) -> Result<Token, Error> {
        let limit = options.deadline.unwrap_or(self.0.deadline);
        let Some(tokens) = &self.0.tokens else {
            let get = Request::Get { name: name.clone(), min_ttl: options.min_ttl, deadline: limit };
            let grant = self.request(&get, limit).await.and_then(answers::token)?;
            return Ok(Token::new(name.clone(), grant));
        };
        match tokens.handed_out(name, options.min_ttl).await {
            Some(token) => Ok(token),
            None => tokens.ask(name, options.min_ttl, Deadline::new(now(), limit)).await,
        }
    }

    /// Reports that the API answered 401 to this token, and drops it from the cache. Whoever asks now is given another one; where
    /// the daemon may not have another, it is the same one again.
    ///
    /// A newer token, which somebody else's report may have brought, is not touched.
    ///
    /// # Errors
    /// [`Error`]. The token is out of this client's cache all the same.
    pub async fn invalidate(&self, token: &Token) -> Result<(), Error> {
        self.invalidate_fingerprint(token.name(), token.fingerprint()).await
    }

    /// The same for a token of which only the fingerprint is known.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn invalidate_fingerprint(
        &self,
        name: &CredentialName,
        fingerprint: Fingerprint,
    ) -> Result<(), Error> {
        if let Some(tokens) = &self.0.tokens {
            tokens.refuse(name, fingerprint);
        }
        let invalidate = Request::Invalidate { name: name.clone(), fingerprint };
        self.request(&invalidate, self.0.deadline).await.and_then(|answer| answers::done(&answer))
    }

    /// All credentials, in order of their names.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self) -> Result<Vec<CredentialStatus>, Error> {
        let deadline = Deadline::new(now(), self.0.deadline);
        let mut listing = Listing::default();
        while let Some(request) = listing.next_request() {
            listing.add(self.call(&request, deadline).await?)?;
        }
        Ok(listing.into_credentials())
    }

    /// One credential.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] where there is none of this name.
    pub async fn describe(&self, name: &CredentialName) -> Result<CredentialStatus, Error> {
        let describe = Request::Describe { name: name.clone() };
        self.request(&describe, self.0.deadline).await.and_then(answers::credential)
    }

    /// The daemon itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn status(&self) -> Result<DaemonStatus, Error> {
        self.request(&Request::Status, self.0.deadline).await.and_then(answers::status)
    }

    /// Watches a credential: each new token, the end of one, a failed token request, and the removal.
    pub fn watch(&self, name: &CredentialName) -> Watch {
        Watch { client: self.clone(), watcher: Watcher::new(name.clone()) }
    }

    /// Any request. A deadline within it is cut to what is left of `deadline`.
    ///
    /// # Errors
    /// [`Error`]; where the request must not be sent twice and the connection broke, one with an
    /// [`outcome_unknown`](Error::outcome_unknown).
    pub async fn request(&self, request: &Request, deadline: Duration) -> Result<Answer, Error> {
        self.call(request, Deadline::new(now(), deadline)).await
    }

    /// The daemon's socket.
    pub fn socket_path(&self) -> &Path {
        &self.0.line.endpoint.path
    }

    async fn call(&self, request: &Request, deadline: Deadline) -> Result<Answer, Error> {
        let line = &self.0.line;
        line.call(request, deadline, line.patience).await
    }
}

impl Line {
    pub(crate) async fn call(
        &self,
        request: &Request,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Answer, Error> {
        let mut attempts = call::Attempts::default();
        loop {
            let attempt = self.attempt(request, deadline, patience).await?;
            match attempts.settle(request, attempt, deadline.left(now())) {
                call::Verdict::Over(outcome) => return outcome,
                call::Verdict::Again(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// One attempt over the connection that there is; none where it has ended, or somebody makes another one.
    pub(crate) async fn ask_here(&self, request: &Request, limit: Duration) -> Result<Answer, Setback> {
        let gone = || Setback::Undelivered(io::ErrorKind::NotConnected);
        let calls = self.calls.try_lock().map_err(|_| gone())?.clone();
        let deadline = Deadline::new(now(), limit);
        let frame = call::frame(call::WHOLE_CONNECTION, request, limit).map_err(|_| gone())?;
        exchange(&calls, frame, deadline).await
    }

    async fn attempt(
        &self,
        request: &Request,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Result<Answer, Setback>, Error> {
        let calls = self.open(deadline, patience).await?;
        let frame = call::frame(call::WHOLE_CONNECTION, request, deadline.left(now()))?;
        Ok(exchange(&calls, frame, deadline).await)
    }

    /// The connection, made anew where it has ended.
    async fn open(&self, deadline: Deadline, patience: Patience) -> Result<UnboundedSender<Call>, Error> {
        let within_grace = deadline.with_grace().at();
        let mut calls = timeout_at(within_grace, self.calls.lock()).await.map_err(|_| Error::Deadline)?;
        if calls.is_closed() {
            *calls = converse(Search::again(&self.endpoint, patience.get()), deadline).await?.1;
        }
        Ok(calls.clone())
    }
}

async fn exchange(
    calls: &UnboundedSender<Call>,
    frame: Zeroizing<Vec<u8>>,
    deadline: Deadline,
) -> Result<Answer, Setback> {
    let (reply, outcome) = oneshot::channel();
    if calls.send(Call { frame, reply }).is_err() {
        return Err(Setback::Undelivered(io::ErrorKind::BrokenPipe));
    }
    match timeout_at(deadline.with_grace().at(), outcome).await {
        Ok(Ok(outcome)) => outcome,
        // The task of the connection is gone, with its runtime.
        Ok(Err(_)) => Err(Setback::Severed { kind: io::ErrorKind::BrokenPipe, mid_answer: false }),
        Err(_) => Err(Setback::Deadline),
    }
}

async fn converse(
    mut search: Search<'_>,
    deadline: Deadline,
) -> Result<(&Endpoint, UnboundedSender<Call>), Error> {
    loop {
        match search.step(deadline.left(now())) {
            Step::Knock(endpoint) => match knock(endpoint, deadline).await? {
                Knock::Open(stream) => return Ok((endpoint, conversation::start(stream))),
                Knock::Crowded => search.crowded(),
                Knock::Absent => {}
            },
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::GiveUp(error) => return Err(error),
        }
    }
}

/// Looks at a handful of folders without leaving the thread: they are local, and it takes microseconds.
async fn knock(endpoint: &Endpoint, deadline: Deadline) -> Result<Knock<AsyncStream>, Error> {
    let Some(place) = door::look(endpoint)? else { return Ok(Knock::Absent) };
    let within_grace = deadline.with_grace().at();
    let connected = timeout_at(within_grace, dial(&place.socket)).await.map_err(|_| Error::Deadline)?;
    door::enter(endpoint, &place, connected)
}

/// The runtime's clock, which a test may stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
