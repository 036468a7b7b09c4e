//! The driver: the one task that owns the Keeper and the vault, and does what the Keeper says.
//!
//! Sessions reach it through a [`Handle`]. It never waits for the network itself: token requests and slow key
//! derivations run beside it and come back as `Event`s. The disk it does wait for, because what it reports as stored
//! has to be stored; tokens in memory are served meanwhile, from `lookup` and by another thread. A little long: it is the one
//! place where all that can happen comes together.
//!
//! | file | what |
//! | --- | --- |
//! | `mod.rs` | the loop, and the Keeper's actions |
//! | `request.rs` | token requests |
//! | `beside.rs` | what takes its time, and how much of it at once |
//! | `opening.rs` | making, opening and locking the vault |
//! | `slots.rs` | what opens the vault, and its key |
//! | `transfer.rs` | backup, restore, export, import |
//! | `admin.rs`, `rotation.rs` | requests that change what is in it |
//! | `keeping.rs` | what outlives the process |
//! | `watching.rs` | those who watch a credential |
//! | `clocks.rs` | clocks that do not agree |
//! | `examining.rs` | what is amiss |
//! | `report.rs` | what is known of credentials and of the daemon |
//! | `vitals.rs` | what is seen of it from outside, without asking |

mod admin;
mod beside;
mod clocks;
mod examining;
mod keeping;
mod opening;
mod report;
mod request;
mod rotation;
mod slots;
mod transfer;
mod vitals;
mod watching;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{FuturesUnordered, StreamExt};
use procurify_token_protocol::{
    Answer, CredentialCopy, CredentialName, Description, Failure, Finding, RecoveryCode, Refusal, Request,
    SlotId,
};
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

pub use vitals::{Condition, Vitals};

use opening::Attempt;
use rotation::Trial;
use transfer::ExportPass;

use crate::access::{Peer, Scope};
use crate::audit;
use crate::cache::Cache;
use crate::checkup::Places;
use crate::clock::{Clock, offset};
use crate::explain;
use crate::issuer::{Issued, TokenIssuer};
use crate::lookup::{Lookup, Ready};
use crate::os::sandbox::Confinement;
use crate::refresh::{Action, Held, Keeper, Moment, Now, Policy, Refused, Ticket, Wait, Waiter};
use crate::vault::{Kept, PreparedSlot, Vault, VaultError};

/// How sessions reach the driver.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// How many requests may wait for the driver; further callers are told that it is busy.
    pub const MOST_COMMANDS: usize = 4096;

    /// Has a request answered. Dropping the future cancels nothing that was begun.
    ///
    /// # Errors
    /// The refusal to send; `busy` and `stopping` are the handle's own.
    pub async fn ask(&self, request: Request, peer: Peer) -> Result<Answer, Refusal> {
        self.ask_about(request, None, peer, Scope::Everything).await
    }

    /// Has a request answered that is about what was uploaded before.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub async fn ask_about(
        &self,
        request: Request,
        upload: Option<Upload>,
        peer: Peer,
        scope: Scope,
    ) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(Command { request, upload, peer, scope, reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(explain::stopping())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(explain::busy()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(explain::stopping()),
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Handle {
    /// A handle whose requests arrive in the hand of a test or of the fuzzer.
    pub(crate) fn in_hand() -> (Self, mpsc::Receiver<(Request, Reply)>) {
        let (commands, mut inbox) = mpsc::channel(Handle::MOST_COMMANDS);
        let (forward, hand) = mpsc::channel(Handle::MOST_COMMANDS);
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
    /// The configuration on the disk was refused, as is said here, and the earlier one goes on.
    NotInForce(Finding),
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
    /// Where everything is.
    pub places: Places,
    /// The extra CA that is in force.
    pub extra_ca: Option<PathBuf>,
    /// Whether no core file and no other process of the user shows this one's memory.
    pub core_dumps_forbidden: bool,
    /// What the daemon has denied itself.
    pub sandbox: Confinement,
    /// What a person should know about how the daemon runs.
    pub warnings: Vec<String>,
    /// Raised when a client asks the daemon to stop.
    pub stop: Arc<tokio::sync::Notify>,
    /// Where audit records are kept, which need a key from the vault.
    pub audit: audit::Handle,
    /// Where it shows that it is alive, and how things stand.
    pub vitals: Arc<Vitals>,
}

/// See the [room's front page](self).
pub struct Driver<I, C> {
    parts: Parts<I, C>,
    started_at: DateTime<Utc>,
    keeper: Keeper<Arc<Ready>>,
    vault: VaultState,
    /// Whatever was begun with the vault before it was last locked is of no more use.
    locked: u64,
    /// Those who came while the vault was being opened by itself.
    held_back: Option<Vec<Command>>,
    /// It should have been opened by itself, and was not.
    is_unusable: bool,
    /// How much may go on beside it.
    beside: beside::Places,
    /// Who may have the next page of an export.
    export: Option<ExportPass>,
    /// Why the configuration on the disk is not in force.
    not_in_force: Option<Finding>,
    /// What was wrong when the vault was last opened.
    problems: Vec<String>,
    waiters: HashMap<Waiter, (CredentialName, Reply)>,
    next_waiter: Waiter,
    /// With so many waiters, it is time to look for those that have left.
    crowd: usize,
    /// Of each request that is out; dropping it abandons the request.
    out: HashMap<Ticket, oneshot::Sender<Infallible>>,
    /// Credentials whose staged pair is being tried.
    promoting: Vec<CredentialName>,
    /// Dropping the sender tells all who watch the credential.
    watchers: HashMap<CredentialName, watch::Sender<()>>,
    /// Credentials whose token is of an earlier boot, so that the wall clock alone says when it ends.
    by_wall_clock: HashSet<CredentialName>,
    /// How far the wall clock stood off the boot-time clock when that was last looked at.
    offset: TimeDelta,
    /// How far Procurify's clock is ahead, where that is too far.
    skew: Option<TimeDelta>,
    commands: mpsc::Receiver<Command>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Event> + Send>>>,
}

/// What a client has uploaded, possibly secret.
pub type Upload = Zeroizing<Vec<u8>>;

type Reply = oneshot::Sender<Result<Answer, Refusal>>;

#[derive(Debug)]
struct Command {
    request: Request,
    upload: Option<Upload>,
    peer: Peer,
    scope: Scope,
    reply: Reply,
}

#[derive(Debug)]
enum VaultState {
    Closed,
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
    Issued {
        ticket: Ticket,
        sent: Now,
        outcome: Result<Issued, Failure>,
    },
    Tried {
        trial: Trial,
        outcome: Result<Issued, Failure>,
        reply: Reply,
    },
    Watched {
        name: CredentialName,
        reply: Reply,
    },
    Opened {
        opened: Result<(Vault, Option<RecoveryCode>), VaultError>,
        attempt: Attempt,
    },
    SlotPrepared {
        prepared: Result<PreparedSlot, Refusal>,
        description: Description,
        locked: u64,
        reply: Reply,
    },
    SlotsKept {
        kept: Result<Kept, Refusal>,
        without: Vec<SlotId>,
        locked: u64,
        reply: Reply,
    },
    Exporting {
        allowed: Result<(), Refusal>,
        after: Option<CredentialName>,
        locked: u64,
        reply: Reply,
    },
    Arrived {
        copies: Result<Vec<CredentialCopy>, Refusal>,
        reply: Reply,
    },
    Answered {
        answer: Result<Answer, Refusal>,
        reply: Reply,
    },
}

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// A driver whose vault is still closed, and the handle to it.
    pub fn new(parts: Parts<I, C>) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(Handle::MOST_COMMANDS);
        let now = parts.clock.now();
        let driver = Self {
            started_at: now.wall,
            keeper: Keeper::new(parts.policy.clone()),
            vault: VaultState::Closed,
            locked: 0,
            held_back: None,
            is_unusable: false,
            beside: beside::Places::default(),
            export: None,
            not_in_force: None,
            problems: Vec::new(),
            waiters: HashMap::new(),
            next_waiter: 0,
            crowd: LEAST_CROWD,
            out: HashMap::new(),
            promoting: Vec::new(),
            watchers: HashMap::new(),
            by_wall_clock: HashSet::new(),
            offset: offset(&now),
            skew: None,
            commands,
            running: FuturesUnordered::new(),
            parts,
        };
        (driver, Handle { commands: sender })
    }

    /// Serves until it is told to stop. Token requests that are out by then are waited for a little: what Procurify has
    /// issued should not be lost.
    pub async fn run(mut self, mut controls: mpsc::Receiver<Control<I>>) {
        self.open_by_itself();
        let mut rings_at = self.wake();
        let mut alarm = pin!(C::nap(self.until(rings_at)));
        loop {
            self.perform();
            self.show_vitals();
            // One that rings too early may: most of what happens does not change when the next thing is due. One that should have rung
            // has slept with the machine, where the system's timers do.
            let wake = self.wake();
            if wake < rings_at || rings_at < self.parts.clock.boot() {
                alarm.set(C::nap(self.until(wake)));
                rings_at = wake;
            }
            tokio::select! {
                // In this order, so that the same events in the same order lead to the same state. What comes back is
                // no more than was sent; it cannot keep those out who ask.
                biased;
                control = controls.recv() => match control {
                    Some(Control::Reconfigure { policy, issuer, extra_ca }) => {
                        self.keeper.set_policy(policy, self.parts.clock.now());
                        (self.parts.issuer, self.parts.extra_ca) = (issuer, extra_ca);
                        self.not_in_force = None;
                    }
                    Some(Control::NotInForce(finding)) => self.not_in_force = Some(finding),
                    Some(Control::Stop) | None => break,
                },
                Some(event) = self.running.next() => self.come_back(event),
                Some(command) = self.commands.recv() => self.take(command),
                () = &mut alarm => {
                    rings_at = self.wake();
                    alarm.set(C::nap(self.until(rings_at)));
                }
            }
            let now = self.parts.clock.now();
            self.look_at_the_clocks(now);
            self.keeper.tick(now);
        }
        self.commands.close();
        // Whoever was not heard yet is told so at once, while the table still has what is held.
        while self.commands.try_recv().is_ok() {}
        self.watchers.clear();
        self.keeper.wind_down();
        let _ = tokio::time::timeout(LAST_WAIT, async {
            while let Some(event) = self.running.next().await {
                self.come_back(event);
                self.perform();
            }
        })
        .await;
        self.keeper.hurry(self.parts.clock.now());
        self.perform();
        for (_, reply) in self.waiters.drain().map(|(_, waiter)| waiter) {
            let _ = reply.send(Err(explain::stopping()));
        }
        self.keeper.close();
        self.perform();
    }

    /// When to look at the time again: a changed clock is noticed within a minute, whatever the Keeper expects.
    fn wake(&self) -> Moment {
        let at_the_latest = self.parts.clock.boot() + LONGEST_NAP;
        self.keeper.next_wake().map_or(at_the_latest, |wake| wake.min(at_the_latest))
    }

    fn until(&self, wake: Moment) -> Duration {
        self.parts.clock.boot().until(wake)
    }

    /// Does what the Keeper says, in its order; what is to be kept is written first.
    fn perform(&mut self) {
        loop {
            let actions: Vec<_> = std::iter::from_fn(|| self.keeper.poll_action()).collect();
            if actions.is_empty() {
                return;
            }
            self.keep(&actions);
            for action in actions {
                match action {
                    Action::Keep { .. } => {}
                    Action::Issue(ticket) => self.issue(ticket),
                    Action::Abandon(ticket) => drop(self.out.remove(&ticket)),
                    Action::Publish(name, held) => {
                        self.parts.lookup.publish(&name, held.map(|held| held.token));
                    }
                    Action::Tell(name) => self.tell(&name),
                    Action::Answer(waiter, answer) => self.answer(waiter, answer),
                }
            }
        }
    }

    fn answer(&mut self, waiter: Waiter, answer: Result<Held<Arc<Ready>>, Refused>) {
        let Some((name, reply)) = self.waiters.remove(&waiter) else { return };
        let answer = match answer {
            Ok(held) => held.token.grant().map(Answer::Token).ok_or_else(explain::locked),
            Err(refused) => Err(explain::refused(&name, &refused)),
        };
        // Whoever asked may have left; that is its own affair.
        let _ = reply.send(answer);
    }

    fn take(&mut self, command: Command) {
        if let Some(held_back) = &mut self.held_back
            && needs_the_vault(&command.request)
        {
            held_back.push(command);
            return;
        }
        let Command { request, upload, peer, scope, reply } = command;
        match request {
            Request::Get { name, min_ttl, deadline } => {
                self.wait(name, Wait::Get { min_ttl }, deadline, reply);
            }
            Request::Refresh { name, mode, deadline } => {
                self.wait(name, Wait::Refresh { mode }, deadline, reply);
            }
            Request::Watch { name, seen, deadline } => self.watch(name, seen, deadline, reply),
            Request::Promote { name, deadline } => self.promote(name, deadline, reply),
            Request::Init { slots } => self.init(slots, reply),
            Request::Unlock { key, generation } => self.unlock(key, generation, reply),
            Request::Slots => self.slots(reply),
            Request::AddSlot { proof, slot, description } => self.add_slot(proof, slot, description, reply),
            Request::Rekey { without, keys } => self.rekey(without, keys, reply),
            Request::Backup { generation, offset } => self.backup(generation, offset, reply),
            Request::Restore { .. } => self.restore(upload, reply),
            Request::Import { .. } => self.import(upload, reply),
            Request::Export { proof, after } => self.export(proof, after, reply),
            Request::Examine => self.examine(reply),
            request => {
                let answer = self.administer(request, &peer, &scope);
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
        self.let_go_of_those_who_left();
        let now = self.parts.clock.now();
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        self.keeper.wait(waiter, &name, wait, now.boot + deadline.min(LONGEST_DEADLINE), now);
        self.waiters.insert(waiter, (name, reply));
    }

    /// Whoever asks, is killed and asks again must not leave an ever longer trail. Looked for seldom enough to cost
    /// nothing, and often enough that no more than twice as many wait as there are.
    fn let_go_of_those_who_left(&mut self) {
        if self.waiters.len() < self.crowd {
            return;
        }
        let left =
            |(waiter, (_, reply)): (&Waiter, &(CredentialName, Reply))| reply.is_closed().then_some(*waiter);
        let left: HashSet<_> = self.waiters.iter().filter_map(left).collect();
        self.waiters.retain(|waiter, _| !left.contains(waiter));
        self.keeper.leave(&left);
        self.crowd = (2 * self.waiters.len()).max(LEAST_CROWD);
    }
}

/// Whether whoever asks has to wait until the vault has been opened by itself.
fn needs_the_vault(request: &Request) -> bool {
    !matches!(
        request,
        Request::Status
            | Request::Stop
            | Request::Slots
            | Request::Backup { .. }
            | Request::Init { .. }
            | Request::Unlock { .. }
            | Request::Examine
    )
}

const LEAST_CROWD: usize = 64;
const LONGEST_NAP: Duration = Duration::from_mins(1);
const LONGEST_DEADLINE: Duration = Duration::from_hours(1);
/// How long token requests that are out may hold up a stop.
const LAST_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
