//! The client for programs on tokio: many requests at once over one connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use procurify_token_protocol::{
    Answer, CredentialName, CredentialStatus, DaemonStatus, Fingerprint, Request, Watched,
};

use crate::answers::{self, Listing, POLL, Watcher};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::line::{Line, now};
use crate::options::{Options, TokenOptions};
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
        let Options { deadline, patience, is_cached, connect_timeout, .. } = *options;
        let deadline_of_connect = Deadline::new(now(), connect_timeout);
        let line = Arc::new(Line::connect(&candidates, deadline_of_connect, patience).await?);
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
