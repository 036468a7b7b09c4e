//! The driver: the one task that owns the Keeper and the vault, and does what the Keeper says.
//!
//! Sessions reach it through a [`Handle`]. It never waits for the network itself: token requests and slow key
//! derivations run beside it and come back as `Event`s. The disk it does wait for, because what it reports as stored
//! has to be stored; tokens in memory are served meanwhile, from `lookup` and by another thread.
//!
//! | file | what |
//! | --- | --- |
//! | `mod.rs` | the loop, and the Keeper's actions |
//! | `request.rs` | token requests |
//! | `opening.rs` | making, opening and locking the vault |
//! | `admin.rs`, `rotation.rs` | requests that change what is in it |
//! | `report.rs` | what is known of credentials and of the daemon |

mod admin;
mod opening;
mod report;
mod request;
mod rotation;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::stream::{FuturesUnordered, StreamExt};
use procurify_token_protocol::{Answer, CredentialName, Failure, Refusal, Request, TokenGrant, codec};
use tokio::sync::{mpsc, oneshot};

use rotation::Trial;

use crate::access::Peer;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::explain;
use crate::issuer::{Issued, TokenIssuer};
use crate::lookup::{Lookup, Ready};
use crate::refresh::{Action, Held, Keeper, Now, Policy, Refused, Ticket, Wait, Waiter};
use crate::vault::{Vault, VaultError, VaultPaths};

/// How sessions reach the driver.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Has a request answered. Dropping the future cancels nothing that was begun.
    ///
    /// # Errors
    /// The refusal to send; `busy` and `stopping` are the handle's own.
    pub async fn ask(&self, request: Request, peer: Peer) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(Command { request, peer, reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(explain::stopping())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(explain::busy()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(explain::stopping()),
        }
    }
}

#[cfg(test)]
impl Handle {
    /// A handle whose requests arrive in the test's own hand.
    pub(crate) fn in_hand() -> (Self, mpsc::Receiver<(Request, Reply)>) {
        let (commands, mut inbox) = mpsc::channel(MOST_COMMANDS);
        let (forward, hand) = mpsc::channel(MOST_COMMANDS);
        tokio::spawn(async move {
            while let Some(Command { request, reply, .. }) = inbox.recv().await {
                if forward.send((request, reply)).await.is_err() {
                    return;
                }
            }
        });
        (Self { commands }, hand)
    }
}

/// What the outside tells the driver besides requests.
#[derive(Debug)]
pub enum Control<I> {
    /// The configuration was read again.
    Reconfigure {
        /// The Keeper's settings.
        policy: Policy,
        /// Whoever makes token requests from now on.
        issuer: Arc<I>,
        /// The extra CA that is in force now.
        extra_ca: Option<PathBuf>,
    },
    /// The daemon stops.
    Stop,
}

/// What the driver is made of.
#[derive(Debug)]
pub struct Parts<I, C> {
    /// The table that `get` is answered from.
    pub lookup: Arc<Lookup>,
    /// Whoever makes token requests.
    pub issuer: Arc<I>,
    /// The time.
    pub clock: C,
    /// The Keeper's settings.
    pub policy: Policy,
    /// Where the vault and its key file are.
    pub vault: VaultPaths,
    /// Where sealed tokens are kept.
    pub cache: PathBuf,
    /// The extra CA that is in force.
    pub extra_ca: Option<PathBuf>,
    /// What a person should know about how the daemon runs.
    pub warnings: Vec<String>,
    /// Raised when a client asks the daemon to stop.
    pub stop: Arc<tokio::sync::Notify>,
}

/// See the [room's front page](self).
pub struct Driver<I, C> {
    parts: Parts<I, C>,
    started_at: DateTime<Utc>,
    keeper: Keeper,
    vault: VaultState,
    /// What was wrong when the vault was last opened.
    problems: Vec<String>,
    waiters: HashMap<Waiter, (CredentialName, Reply)>,
    next_waiter: Waiter,
    /// Credentials whose staged pair is being tried.
    promoting: Vec<CredentialName>,
    commands: mpsc::Receiver<Command>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send>>>,
}

type Reply = oneshot::Sender<Result<Answer, Refusal>>;

#[derive(Debug)]
struct Command {
    request: Request,
    peer: Peer,
    reply: Reply,
}

#[derive(Debug)]
enum VaultState {
    Closed,
    /// A key is being derived.
    Opening,
    Open(Box<OpenVault>),
}

#[derive(Debug)]
struct OpenVault {
    vault: Vault,
    /// Absent where its file cannot be used; then a restart costs token requests.
    cache: Option<Cache>,
}

/// Something that ran beside the driver has ended.
enum Event {
    Issued { ticket: Ticket, sent: Now, outcome: Result<Issued, Failure> },
    Tried { trial: Trial, outcome: Result<Issued, Failure>, reply: Reply },
    Opened { opened: Result<Vault, VaultError>, is_new: bool, reply: Option<Reply> },
}

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// A driver whose vault is still closed, and the handle to it.
    pub fn new(parts: Parts<I, C>) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(MOST_COMMANDS);
        let driver = Self {
            started_at: parts.clock.now().wall,
            keeper: Keeper::new(parts.policy),
            vault: VaultState::Closed,
            problems: Vec::new(),
            waiters: HashMap::new(),
            next_waiter: 0,
            promoting: Vec::new(),
            commands,
            running: FuturesUnordered::new(),
            parts,
        };
        (driver, Handle { commands: sender })
    }

    /// Serves until it is told to stop. Token requests that are out by then are waited for a little: what Procurify has
    /// issued should not be lost.
    pub async fn run(mut self, mut controls: mpsc::Receiver<Control<I>>) {
        loop {
            self.perform();
            let nap = self.nap();
            tokio::select! {
                control = controls.recv() => match control {
                    Some(Control::Reconfigure { policy, issuer, extra_ca }) => {
                        self.keeper.set_policy(policy);
                        (self.parts.issuer, self.parts.extra_ca) = (issuer, extra_ca);
                    }
                    Some(Control::Stop) | None => break,
                },
                Some(command) = self.commands.recv() => self.take(command),
                Some(event) = self.running.next() => self.come_back(event),
                () = tokio::time::sleep(nap) => {}
            }
            self.keeper.tick(self.parts.clock.now());
        }
        self.commands.close();
        let _ = tokio::time::timeout(LAST_WAIT, async {
            while let Some(event) = self.running.next().await {
                self.come_back(event);
                self.perform();
            }
        })
        .await;
        for (_, reply) in self.waiters.drain().map(|(_, waiter)| waiter) {
            let _ = reply.send(Err(explain::stopping()));
        }
        self.keeper.close();
        self.perform();
    }

    /// A suspend or a changed clock is noticed within this time, whatever the Keeper expects.
    fn nap(&self) -> Duration {
        let now = self.parts.clock.boot();
        self.keeper.next_wake().map_or(LONGEST_NAP, |wake| now.until(wake).min(LONGEST_NAP))
    }

    /// Does what the Keeper says, in its order.
    fn perform(&mut self) {
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::Issue(ticket) => self.issue(ticket),
                Action::Publish(name, held) => self.publish(&name, held.as_ref()),
                Action::Answer(waiter, answer) => self.answer(waiter, answer),
            }
        }
    }

    fn publish(&self, name: &CredentialName, held: Option<&Held>) {
        let ready = held.and_then(|held| {
            let grant = self.grant(name, held)?;
            let frame = codec::encode_reply(0, &Ok(Answer::Token(grant))).ok()?;
            Some(Ready { frame, expires: held.expires })
        });
        self.parts.lookup.publish(name, ready);
    }

    fn grant(&self, name: &CredentialName, held: &Held) -> Option<TokenGrant> {
        let VaultState::Open(open) = &self.vault else { return None };
        let base_url = open.vault.credential(name)?.base_url.clone();
        Some(TokenGrant { token: Arc::clone(&held.token), base_url })
    }

    fn answer(&mut self, waiter: Waiter, answer: Result<Held, Refused>) {
        let Some((name, reply)) = self.waiters.remove(&waiter) else { return };
        let answer = match answer {
            Ok(held) => self.grant(&name, &held).map(Answer::Token).ok_or_else(explain::locked),
            Err(refused) => Err(explain::refused(&name, &refused)),
        };
        // Whoever asked may have left; that is its own affair.
        let _ = reply.send(answer);
    }

    fn take(&mut self, command: Command) {
        let Command { request, peer, reply } = command;
        match request {
            Request::Get { name, min_ttl, deadline } => {
                self.wait(name, Wait::Get { min_ttl }, deadline, reply);
            }
            Request::Refresh { name, retry, deadline } => {
                self.wait(name, Wait::Refresh { retry }, deadline, reply);
            }
            Request::Promote { name, deadline } => self.promote(name, deadline, reply),
            Request::Init { key } => self.open(key, true, reply),
            Request::Unlock { key } => self.open(key, false, reply),
            request => {
                let answer = self.administer(request, peer);
                // Before the answer: whoever is told "done" and asks again must not find the table as it was.
                self.perform();
                let _ = reply.send(answer);
            }
        }
    }

    fn wait(&mut self, name: CredentialName, wait: Wait, deadline: Duration, reply: Reply) {
        if let Err(refusal) = self.opened() {
            let _ = reply.send(Err(refusal));
            return;
        }
        let now = self.parts.clock.now();
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        self.keeper.wait(waiter, &name, wait, now.boot + deadline.min(LONGEST_DEADLINE), now);
        self.waiters.insert(waiter, (name, reply));
    }
}

/// How many requests may wait for the driver; further callers are told that it is busy.
const MOST_COMMANDS: usize = 4096;
const LONGEST_NAP: Duration = Duration::from_secs(30);
const LONGEST_DEADLINE: Duration = Duration::from_hours(1);
/// How long token requests that are out may hold up a stop.
const LAST_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
