//! The client for programs without a runtime: one connection, one request at a time.

mod tokens;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use procurify_token_protocol::endpoint::Endpoint;
use procurify_token_protocol::frame::{FrameBuffer, MAX_ANSWER};
use procurify_token_protocol::{
    Answer, CredentialName, CredentialStatus, DaemonStatus, Fingerprint, Request, Watched,
};
use zeroize::Zeroizing;

use crate::answers::{self, Listing, POLL, Watcher};
use crate::cache::Cache;
use crate::call::{self, Setback};
use crate::deadline::{Deadline, now};
use crate::dial::{BlockingStream, dial_blocking, read_arrived, read_within, write_within};
use crate::door::{self, Knock, Search, Step};
use crate::error::{Error, ProtocolError};
use crate::options::{Options, Patience, TokenOptions};
use crate::token::Token;

/// A connection to the daemon, kept between requests and made anew when the daemon was restarted. It starts no thread: give each
/// thread a client of its own, or put one behind a lock.
///
/// Every method ends within its deadline and half a second, which is left to the daemon to explain what it was waiting
/// for.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    deadline: Duration,
    patience: Patience,
    is_cached: bool,
    cache: Cache,
    conversation: Option<Conversation>,
}

/// Somebody who watches a credential; made by [`Client::watch`].
#[derive(Debug)]
pub struct Watch<'a> {
    client: &'a mut Client,
    watcher: Watcher,
}

impl Watch<'_> {
    /// What the credential has come to, once that is something else than was told before; the first call tells how
    /// things stand. Whoever is slow to call again is told of the latest only.
    ///
    /// # Errors
    /// [`Error::Refused`] where the credential was removed (`unknown-credential`) or the vault is locked; the other
    /// [`Error`]s as for any request. Calling again after a [transient](Error::is_transient) one goes on watching.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end at the first error")]
    pub fn next(&mut self) -> Result<Watched, Error> {
        loop {
            let answer = self.client.request(&self.watcher.request(), POLL)?;
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
    pub fn connect(options: &Options) -> Result<Self, Error> {
        let candidates = options.candidates();
        let deadline = Deadline::new(now(), options.connect_timeout);
        let (endpoint, conversation) = Conversation::start(Search::first(&candidates), deadline)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            deadline: options.deadline,
            patience: options.patience,
            is_cached: options.is_cached,
            cache: Cache::default(),
            conversation: Some(conversation),
        })
    }

    /// A valid token: from the client's own cache, or from the daemon. A token that has ended is never returned.
    ///
    /// A credential is cached, and watched, from the second time on that it is asked for.
    ///
    /// # Errors
    /// [`Error`]; most often [`Error::Refused`].
    pub fn token(&mut self, name: &CredentialName) -> Result<Token, Error> {
        self.token_with(name, &TokenOptions::default())
    }

    /// Reports that the API answered 401 to this token, and drops it from the cache. Whoever asks now is given another one; where
    /// the daemon may not have another, it is the same one again.
    ///
    /// A newer token, which somebody else's report may have brought, is not touched.
    ///
    /// # Errors
    /// [`Error`]. The token is out of this client's cache all the same.
    pub fn invalidate(&mut self, token: &Token) -> Result<(), Error> {
        self.invalidate_fingerprint(token.name(), token.fingerprint())
    }

    /// The same for a token of which only the fingerprint is known.
    ///
    /// # Errors
    /// [`Error`].
    pub fn invalidate_fingerprint(
        &mut self,
        name: &CredentialName,
        fingerprint: Fingerprint,
    ) -> Result<(), Error> {
        self.cache.refuse(name, fingerprint);
        let invalidate = Request::Invalidate { name: name.clone(), fingerprint };
        self.request(&invalidate, self.deadline).and_then(|answer| answers::done(&answer))
    }

    /// All credentials, in order of their names.
    ///
    /// # Errors
    /// [`Error`].
    pub fn list(&mut self) -> Result<Vec<CredentialStatus>, Error> {
        let deadline = Deadline::new(now(), self.deadline);
        let mut listing = Listing::default();
        while let Some(request) = listing.next_request() {
            listing.add(self.call(&request, deadline, self.patience)?)?;
        }
        Ok(listing.into_credentials())
    }

    /// One credential.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] where there is none of this name.
    pub fn describe(&mut self, name: &CredentialName) -> Result<CredentialStatus, Error> {
        let describe = Request::Describe { name: name.clone() };
        self.request(&describe, self.deadline).and_then(answers::credential)
    }

    /// The daemon itself.
    ///
    /// # Errors
    /// [`Error`].
    pub fn status(&mut self) -> Result<DaemonStatus, Error> {
        self.request(&Request::Status, self.deadline).and_then(answers::status)
    }

    /// Watches a credential: each new token, the end of one, a failed token request, and the removal. The connection
    /// serves nothing else meanwhile.
    pub fn watch(&mut self, name: &CredentialName) -> Watch<'_> {
        Watch { client: self, watcher: Watcher::new(name.clone()) }
    }

    /// Any request. A deadline within it is cut to what is left of `deadline`.
    ///
    /// # Errors
    /// [`Error`]; where the request must not be sent twice and the connection broke, one with an
    /// [`outcome_unknown`](Error::outcome_unknown).
    pub fn request(&mut self, request: &Request, deadline: Duration) -> Result<Answer, Error> {
        self.call(request, Deadline::new(now(), deadline), self.patience)
    }

    /// The daemon's socket.
    pub fn socket_path(&self) -> &Path {
        &self.endpoint.path
    }

    fn call(&mut self, request: &Request, deadline: Deadline, patience: Patience) -> Result<Answer, Error> {
        let mut attempts = call::Attempts::default();
        loop {
            let attempt = self.attempt(request, deadline, patience)?;
            match attempts.settle(request, attempt, deadline.left(now())) {
                call::Verdict::Over(outcome) => return outcome,
                call::Verdict::Again(pause) => std::thread::sleep(pause),
            }
        }
    }

    fn attempt(
        &mut self,
        request: &Request,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Result<Answer, Setback>, Error> {
        let mut conversation = self.take_conversation(deadline, patience)?;
        let id = conversation.next_id();
        let frame = call::frame(id, request, deadline.left(now()))?;
        let outcome = conversation.exchange(id, &frame, deadline.with_grace());
        self.take_in(&mut conversation);
        // After anything else the connection is broken, or an answer that nobody waits for may still come.
        if outcome.as_ref().err().is_none_or(Setback::leaves_connection) {
            self.conversation = Some(conversation);
        } else {
            self.cache.unwatch_all();
        }
        Ok(outcome)
    }

    /// The one that is under way, or a new one.
    fn take_conversation(&mut self, deadline: Deadline, patience: Patience) -> Result<Conversation, Error> {
        match self.conversation.take() {
            Some(conversation) => Ok(conversation),
            None => Ok(Conversation::start(Search::again(&self.endpoint, patience.get()), deadline)?.1),
        }
    }
}

#[derive(Debug)]
struct Conversation {
    stream: BlockingStream,
    incoming: FrameBuffer,
    last_id: u16,
    /// Questions that are to stay unanswered until there is something to tell.
    watchers: HashMap<u16, Watcher>,
    /// What was told to them.
    overheard: Vec<(Watcher, Result<Answer, Setback>)>,
}

impl Conversation {
    fn start(mut search: Search<'_>, deadline: Deadline) -> Result<(&Endpoint, Self), Error> {
        loop {
            let left = deadline.left(now());
            match search.step(left) {
                Step::Knock(endpoint) => match knock(endpoint, left)? {
                    Knock::Open(stream) => {
                        let incoming = FrameBuffer::new(MAX_ANSWER);
                        let (watchers, overheard) = (HashMap::new(), Vec::new());
                        return Ok((endpoint, Self { stream, incoming, last_id: 0, watchers, overheard }));
                    }
                    Knock::Crowded => search.crowded(),
                    Knock::Absent => {}
                },
                Step::Pause(pause) => std::thread::sleep(pause),
                Step::GiveUp(error) => return Err(error),
            }
        }
    }

    fn next_id(&mut self) -> u16 {
        let is_free = |id: &u16| !self.watchers.contains_key(id);
        let ids = std::iter::successors(Some(call::following(self.last_id)), |id| Some(call::following(*id)));
        self.last_id = ids.into_iter().find(is_free).expect("there are fewer watchers than ids");
        self.last_id
    }

    fn is_watching(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Leaves a question on the connection.
    fn watch(&mut self, watcher: Watcher, end: Deadline) -> Result<(), Setback> {
        let id = self.next_id();
        let frame = call::frame(id, &watcher.request(), POLL);
        let frame = frame.map_err(|_| Setback::Fault(ProtocolError::RequestTooLarge))?;
        self.send(&frame, end)?;
        self.watchers.insert(id, watcher);
        Ok(())
    }

    /// Reads what has arrived, without waiting.
    fn overhear(&mut self) -> Result<(), Setback> {
        loop {
            while let Some(frame) = self.incoming.next_frame()? {
                let (to, reply) = call::read(frame)?;
                self.told(to, reply)?;
            }
            match read_arrived(&mut self.stream, self.incoming.space()).map_err(|error| error.kind()) {
                Ok(0) => return Err(Setback::Undelivered(io::ErrorKind::UnexpectedEof)),
                Ok(count) => self.incoming.filled(count),
                Err(io::ErrorKind::WouldBlock) => return Ok(()),
                Err(io::ErrorKind::Interrupted) => {}
                Err(kind) => return Err(Setback::Undelivered(kind)),
            }
        }
    }

    /// An answer to a question that was left behind.
    fn told(&mut self, to: u16, reply: Result<Answer, Setback>) -> Result<(), Setback> {
        let watcher = self.watchers.remove(&to).ok_or(Setback::Fault(ProtocolError::UnexpectedAnswer))?;
        self.overheard.push((watcher, reply));
        Ok(())
    }

    fn exchange(&mut self, id: u16, frame: &[u8], end: Deadline) -> Result<Answer, Setback> {
        match self.send(frame, end) {
            // A daemon that hung up may have said why before it did.
            Err(undelivered @ Setback::Undelivered(_)) => match self.receive(id, end) {
                Err(Setback::Severed { .. } | Setback::Deadline) => Err(undelivered),
                last_word => last_word,
            },
            Err(setback) => Err(setback),
            Ok(()) => self.receive(id, end),
        }
    }

    fn send(&mut self, frame: &[u8], end: Deadline) -> Result<(), Setback> {
        let mut rest = frame;
        while !rest.is_empty() {
            let written = in_time(end, |left| write_within(&mut self.stream, left, rest));
            match written? {
                Ok(0) => return Err(Setback::Undelivered(io::ErrorKind::WriteZero)),
                Ok(count) => rest = &rest[count..],
                Err(kind) => return Err(Setback::Undelivered(kind)),
            }
        }
        Ok(())
    }

    /// Sends several requests before it reads the first answer, and calls `answered` with each as it comes. The error says that
    /// the connection is of no more use; answers may be missing then.
    fn exchange_all(
        &mut self,
        frames: &[(u16, Zeroizing<Vec<u8>>)],
        end: Deadline,
        mut answered: impl FnMut(u16, Result<Answer, Setback>),
    ) -> Result<(), Setback> {
        for (_, frame) in frames {
            self.send(frame, end)?;
        }
        let mut waiting: HashSet<u16> = frames.iter().map(|(id, _)| *id).collect();
        while !waiting.is_empty() {
            let (to, reply) = self.next_reply(end)?;
            if waiting.remove(&to) {
                answered(to, reply);
            } else {
                self.told(to, reply)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, id: u16, end: Deadline) -> Result<Answer, Setback> {
        loop {
            let (to, reply) = self.next_reply(end)?;
            if to == id {
                return reply;
            }
            self.told(to, reply)?;
        }
    }

    fn next_reply(&mut self, end: Deadline) -> Result<(u16, Result<Answer, Setback>), Setback> {
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                return call::read(frame);
            }
            let read = in_time(end, |left| read_within(&mut self.stream, left, self.incoming.space()));
            let mid_answer = self.incoming.is_within_frame();
            match read? {
                Ok(0) => return Err(Setback::Severed { kind: io::ErrorKind::UnexpectedEof, mid_answer }),
                Ok(count) => self.incoming.filled(count),
                Err(kind) => return Err(Setback::Severed { kind, mid_answer }),
            }
        }
    }
}

fn knock(endpoint: &Endpoint, left: Duration) -> Result<Knock<BlockingStream>, Error> {
    let Some(place) = door::look(endpoint)? else { return Ok(Knock::Absent) };
    door::enter(endpoint, &place, dial_blocking(&place.socket, left))
}

/// One call to the system with what is left until `end`, repeated when a signal interrupts it.
fn in_time(
    end: Deadline,
    mut io: impl FnMut(Duration) -> io::Result<usize>,
) -> Result<Result<usize, io::ErrorKind>, Setback> {
    loop {
        let left = end.left(now());
        if left.is_zero() {
            return Err(Setback::Deadline);
        }
        match io(left).map_err(|error| error.kind()) {
            Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Err(Setback::Deadline),
            Err(io::ErrorKind::Interrupted) => {}
            outcome => return Ok(outcome),
        }
    }
}
