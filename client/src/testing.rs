//! A daemon for tests: it listens on a real socket, speaks the real protocol, and says what the test tells it to.
//!
//! It holds no vault, asks nobody for tokens, and judges nobody. Its fingerprints are made up: the same token has the same one.
//! What a test tells it has been written, when the call returns, to every client whose question it had read by then: a blocking
//! client goes by it with its next call, one on tokio as soon as its runtime has run. A question that was still on its way is answered
//! by what is new as soon as it is read, and a client that does not read is waited for no longer than 5 s. It runs on a thread of its own, so a test needs no runtime for it. With tokio's paused clock a client's deadlines pass at once,
//! because the fake is no task of the test's runtime.
//!
//! ```
//! # #[cfg(feature = "blocking")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use procurify_token_client::testing::{Asked, FakeDaemon};
//! use procurify_token_client::{RefusalCode, Error, blocking::Client};
//!
//! let daemon = FakeDaemon::start()?;
//! daemon.set_token("acme", "first");
//! daemon.set_next_token("acme", "second");
//!
//! // What the program under test does.
//! let mut client = Client::connect(&daemon.options())?;
//! let token = client.token(&"acme".parse()?)?;
//! client.invalidate(&token)?;
//! let next = client.token(&"acme".parse()?)?;
//!
//! assert_ne!(token.fingerprint(), next.fingerprint());
//! assert!(daemon.requests().contains(&Asked::Invalidate("acme".parse()?, token.fingerprint())));
//!
//! daemon.refuse("globex", RefusalCode::LOCKED);
//! assert!(matches!(client.token(&"globex".parse()?), Err(Error::Refused(why)) if why.code == RefusalCode::LOCKED));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "blocking"))]
//! # fn main() {}
//! ```

mod serving;
mod state;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use procurify_token_protocol::{BaseUrl, CredentialName, Fingerprint, RefusalCode};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::options::Options;
use state::{State, Word};

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// For a token.
    Get(CredentialName),
    /// To be told of news. A client with a cache asks so by itself.
    Watch(CredentialName),
    /// It reported a refused token.
    Invalidate(CredentialName, Fingerprint),
    /// Anything else; the fake refuses it as `unknown-request`.
    Other,
}

/// A daemon that says what it is told to. Dropping it ends it.
#[derive(Debug)]
pub struct FakeDaemon {
    shared: Arc<Shared>,
    socket: PathBuf,
    running: Option<Running>,
    _folder: TempDir,
}

#[derive(Debug)]
struct Running {
    end: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What the fake's thread and the test share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    told: Condvar,
}

/// A watch that is out; dropped when its answer was written, or its connection has ended.
#[derive(Debug)]
struct Watching {
    shared: Arc<Shared>,
    number: u64,
}

impl Watching {
    /// Written down and listed under one lock, so that a test that sees the question knows that it will be told.
    fn new(shared: &Arc<Shared>, name: CredentialName) -> Self {
        let mut state = shared.state();
        state.asked.push(Asked::Watch(name.clone()));
        Self { shared: Arc::clone(shared), number: state.watch_begins(name) }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.state().watching.remove(&self.number);
        self.shared.told.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and wakes whoever waits for that.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_replace(());
    }

    /// The same; returns when whoever watched this credential has been told, where there is something to tell. Who watches is
    /// listed under the lock of the change: a question that comes later is answered by what is new.
    fn change_and_tell(&self, name: &CredentialName, change: impl FnOnce(&mut State)) {
        let watching = {
            let mut state = self.state();
            let before = state.revision_of(name);
            change(&mut state);
            if state.revision_of(name) == before {
                return;
            }
            state.watching_for(name)
        };
        self.changed.send_replace(());
        let state = self.state();
        let is_untold = |state: &mut State| watching.iter().any(|number| state.watching.contains_key(number));
        drop(self.told.wait_timeout_while(state, LONGEST_TELLING, is_untold));
    }
}

impl FakeDaemon {
    /// Listens, and knows no credential.
    ///
    /// # Errors
    /// No temporary folder could be made, or no socket in it.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("procurify-fake-").tempdir()?;
        let socket = serving::address(folder.path());
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: watch::channel(()).0, told: Condvar::new() });
        let mut daemon = Self { shared, socket, running: None, _folder: folder };
        daemon.restart()?;
        Ok(daemon)
    }

    /// How a client finds it.
    pub fn options(&self) -> Options {
        Options::new().socket(&self.socket)
    }

    /// This credential holds this token, valid for 24 hours, at `https://DOMAIN.procurify.com`.
    ///
    /// # Panics
    /// Where one of them is not by the rules of the protocol, as in all of these methods.
    #[track_caller]
    pub fn set_token(&self, name: &str, token: &str) {
        self.set_token_for(name, token, DAY);
    }

    /// The same for a token that lives this long.
    ///
    /// # Panics
    /// As [`set_token`](Self::set_token).
    #[track_caller]
    pub fn set_token_for(&self, name: &str, token: &str, life: Duration) {
        let (name, word) = (parsed(name), Word::token(token, life));
        self.shared.change_and_tell(&name.clone(), |state| state.say(name, word));
    }

    /// This one takes its place once it is invalidated or [expires](Self::expire). Several queue up.
    ///
    /// # Panics
    /// As [`set_token`](Self::set_token).
    #[track_caller]
    pub fn set_next_token(&self, name: &str, token: &str) {
        let (name, word) = (parsed(name), Word::token(token, DAY));
        self.shared.change_and_tell(&name, |state| state.say_next(&name, word));
    }

    /// The credential's API lives here, from the next token on: the address of a test's own server.
    ///
    /// # Panics
    /// Where it is no [`BaseUrl`].
    #[track_caller]
    pub fn set_base_url(&self, name: &str, base_url: &str) {
        let base_url: BaseUrl = base_url.parse().expect("a base URL");
        self.shared.change(|state| state.set_base_url(parsed(name), base_url));
    }

    /// Whoever asks for this credential is refused.
    ///
    /// # Panics
    /// As [`set_token`](Self::set_token).
    #[track_caller]
    pub fn refuse(&self, name: &str, code: RefusalCode) {
        let name = parsed(name);
        self.shared.change_and_tell(&name.clone(), |state| state.say(name, Word::Refusal(code)));
    }

    /// The token has ended. Whoever asks waits for the next one, until the deadline.
    ///
    /// # Panics
    /// As [`set_token`](Self::set_token).
    #[track_caller]
    pub fn expire(&self, name: &str) {
        let name = parsed(name);
        self.shared.change_and_tell(&name, |state| state.end_token(&name));
    }

    /// The credential is gone.
    ///
    /// # Panics
    /// As [`set_token`](Self::set_token).
    #[track_caller]
    pub fn remove(&self, name: &str) {
        let name = parsed(name);
        self.shared.change_and_tell(&name, |state| state.remove(&name));
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// How often a token was asked for: what a cache saves.
    pub fn gets(&self) -> usize {
        self.requests().iter().filter(|asked| matches!(asked, Asked::Get(_))).count()
    }

    /// Ends it as a crash would: every connection breaks, and nobody listens any more.
    pub fn stop(&mut self) {
        if let Some(Running { end, thread }) = self.running.take() {
            end.send_replace(true);
            let _ = thread.join();
        }
    }

    /// Starts it again on the same socket, with what it was told so far.
    ///
    /// # Errors
    /// The socket could not be made.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        let (end, has_ended) = watch::channel(false);
        let thread = serving::start(Arc::clone(&self.shared), &self.socket, has_ended)?;
        self.running = Some(Running { end, thread });
        Ok(())
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.stop();
    }
}

#[track_caller]
fn parsed(name: &str) -> CredentialName {
    name.parse().expect("the name of a credential, such as acme or acme/reporting")
}

const DAY: Duration = Duration::from_hours(24);
/// Reached only where a client does not read.
const LONGEST_TELLING: Duration = Duration::from_secs(5);
