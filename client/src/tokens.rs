//! The tokens of the async client: handed out from its cache, or asked for, by one caller for all who want the same.
//!
//! A task watches each credential that is cached, and ends at whatever it does not understand: then its token is no longer
//! handed out, and the next caller asks the daemon and begins to watch anew. No task connects to anybody, and all are aborted
//! with the last clone of the client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use procurify_token_protocol::{CredentialName, Fingerprint, RefusalClass, Request};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::answers::{self, POLL, Watcher};
use crate::cache::Cache;
use crate::call::Setback;
use crate::clock::{Moment, Now};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::line::Line;
use crate::options::Patience;
use crate::token::Token;

/// The tokens of a client and its clones.
#[derive(Debug)]
pub(crate) struct Tokens {
    line: Arc<Line>,
    cache: Arc<Shared>,
    /// Who asks for what. Whoever wants the same waits for its turn, and finds the token in the cache.
    turns: Mutex<HashMap<Wish, Weak<Turn>>>,
    watchers: Mutex<JoinSet<()>>,
    rests: Rests,
}

type Wish = (CredentialName, Duration);
type Turn = tokio::sync::Mutex<()>;

impl Tokens {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self {
            line,
            cache: Arc::default(),
            turns: Mutex::default(),
            watchers: Mutex::default(),
            rests: Rests::new(Moment::now()),
        }
    }

    /// Without asking anybody; now and then after a rest, in which the watches run that may have something against it.
    pub(crate) async fn handed_out(&self, name: &CredentialName, min_ttl: Duration) -> Option<Token> {
        let now = Moment::now();
        let token = self.cache.read().find(name, min_ttl, now)?;
        if !self.rests.is_due(now) {
            return Some(token);
        }
        for _ in 0..YIELDS_OF_A_REST {
            tokio::task::yield_now().await;
        }
        self.held(name, min_ttl)
    }

    fn held(&self, name: &CredentialName, min_ttl: Duration) -> Option<Token> {
        self.cache.read().find(name, min_ttl, Moment::now())
    }

    pub(crate) async fn ask(
        &self,
        name: &CredentialName,
        min_ttl: Duration,
        deadline: Deadline,
    ) -> Result<Token, Error> {
        let turn = self.turn(name, min_ttl);
        let within_grace = deadline.with_grace().at();
        let _turn = timeout_at(within_grace, turn.lock()).await.map_err(|_| Error::Deadline)?;
        // Whoever had the turn before has asked for all who wait.
        if let Some(token) = self.held(name, min_ttl) {
            return Ok(token);
        }
        // With a token in hand nobody is waited for.
        let patience =
            if self.spare(name).is_some() { Patience::Of(Duration::ZERO) } else { self.line.patience };
        let outcome = self.ask_daemon(name, min_ttl, deadline, patience).await;
        if let Err(error) = &outcome {
            self.heed(name, error);
        }
        match outcome {
            // Looked for only now: somebody may have reported it as refused meanwhile.
            Err(error) if error.is_of_the_connection() => self.spare(name).ok_or(error),
            outcome => outcome,
        }
    }

    /// Drops a token that the API refused.
    pub(crate) fn refuse(&self, name: &CredentialName, refused: Fingerprint) {
        self.cache.write().refuse(name, refused);
    }

    fn spare(&self, name: &CredentialName) -> Option<Token> {
        self.cache.read().spare(name, Moment::now())
    }

    fn heed(&self, name: &CredentialName, error: &Error) {
        if error.is_denial() {
            self.cache.write().deny(name);
        }
    }

    async fn ask_daemon(
        &self,
        name: &CredentialName,
        min_ttl: Duration,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Token, Error> {
        let is_to_be_watched = {
            let mut cache = self.cache.write();
            cache.admit(name, Moment::now()) && !cache.is_watched(name)
        };
        if is_to_be_watched {
            self.begin_to_watch(name, deadline, patience).await?;
            if let Some(token) = self.held(name, min_ttl) {
                return Ok(token);
            }
        }
        let news = self.cache.read().news(name);
        let left = deadline.left(crate::line::now());
        let get = Request::Get { name: name.clone(), min_ttl, deadline: left };
        let grant = self.line.call(&get, deadline, patience).await.and_then(answers::token)?;
        Ok(self.cache.write().learned(name, grant, news, Now::read()))
    }

    /// Asks how things stand, which is answered at once, and starts a task that goes on from there. A daemon that refuses that is
    /// asked for the token all the same: its refusal says more.
    async fn begin_to_watch(
        &self,
        name: &CredentialName,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<(), Error> {
        let mut watcher = Watcher::new(name.clone());
        let told = match self.line.call(&watcher.request(), deadline, patience).await {
            Ok(answer) => watcher.news(answer)?,
            Err(error) => {
                self.heed(name, &error);
                return if error.leaves_a_get() { Ok(()) } else { Err(error) };
            }
        };
        let mut cache = self.cache.write();
        // Without a place there is nothing to watch for, and at its end this watch would take the place of another one.
        if let Some(told) = told
            && cache.knows(name)
            && !cache.is_watched(name)
        {
            cache.told(name, told, Now::read());
            let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            while watchers.try_join_next().is_some() {}
            let watch = Watch { cache: Arc::clone(&self.cache), watcher, is_over: false };
            watchers.spawn(watch.keep(Arc::clone(&self.line)));
        }
        Ok(())
    }

    fn turn(&self, name: &CredentialName, min_ttl: Duration) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let wish = (name.clone(), min_ttl);
        if let Some(turn) = turns.get(&wish).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(wish, Arc::downgrade(&turn));
        turn
    }
}

/// When a caller who could be answered at once is to let others run: once in each millisecond. Always would cost more than the
/// cache itself; tokio's own budget lets 128 calls pass, however long the caller works in between.
#[derive(Debug)]
struct Rests {
    since: Moment,
    /// The last one, in milliseconds.
    last: AtomicU64,
}

impl Rests {
    fn new(now: Moment) -> Self {
        Self { since: now, last: AtomicU64::new(0) }
    }

    fn is_due(&self, now: Moment) -> bool {
        let millis = u64::try_from(self.since.until(now).as_millis()).unwrap_or(u64::MAX);
        // Looked at first: what is only read is shared by all cores.
        self.last.load(Ordering::Relaxed) != millis && self.last.swap(millis, Ordering::Relaxed) != millis
    }
}

/// The cache, locked for moments only.
#[derive(Debug, Default)]
struct Shared(RwLock<Cache>);

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Cache> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Cache> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One credential that is watched. However it ends, its token is no longer handed out: with its task, its runtime, or its
/// client.
struct Watch {
    cache: Arc<Shared>,
    watcher: Watcher,
    /// Whether nothing is to be kept of it.
    is_over: bool,
}

impl Watch {
    async fn keep(mut self, line: Arc<Line>) {
        let name = self.watcher.name().clone();
        loop {
            let outcome = line.ask_here(&self.watcher.request(), POLL).await;
            let told = match outcome {
                Ok(answer) => self.watcher.news(answer),
                Err(Setback::Refused(refusal)) => {
                    self.is_over = refusal.code.class() != RefusalClass::Unavailable;
                    return;
                }
                Err(_) => return,
            };
            let is_wanted = match told {
                Ok(Some(told)) => {
                    self.cache.write().told(&name, told, Now::read());
                    true
                }
                Ok(None) => self.cache.write().heard(&name, Moment::now()),
                Err(_) => return,
            };
            if !is_wanted {
                self.is_over = true;
                return;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut cache = self.cache.write();
        if self.is_over {
            cache.forget(self.watcher.name());
        } else {
            cache.unwatch(self.watcher.name());
        }
    }
}

/// On a runtime of one thread, the first looks at the socket and wakes the connection's task, the second runs that one, which
/// wakes the watch.
const YIELDS_OF_A_REST: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_in_a_millisecond_rests() {
        let start = Moment::now();
        let rests = Rests::new(start);
        let due = [0, 999, 1000, 1001, 1999, 5000, 5001]
            .map(|micros| rests.is_due(start.after(Duration::from_micros(micros))));
        assert_eq!(due, [false, false, true, false, false, true, false]);
    }
}
