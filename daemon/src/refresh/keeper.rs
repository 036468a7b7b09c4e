//! The Keeper: all slots, who waits for them, and the few places for requests that are out.
//!
//! The Keeper decides; it performs nothing. Its owner feeds it events, then takes actions until there are none, then
//! sleeps until [`Keeper::next_wake`]. See the room's front page for a slot's life. The file is a little long because
//! the whole machine is to be read in one place; what one slot does on its own stands in `slot.rs`, who is next in
//! `lanes.rs`.
//!
//! A request that is out has a *place*, kept by the name of its credential until the request has come back, whatever
//! becomes of the slot meanwhile: so there is never more than one request of a credential, over a removal or a locked
//! vault too.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{
    Activity, BudgetStatus, CredentialName, Failure, FailureClass, FailureCode, Fingerprint,
};

use super::lanes::Lanes;
use super::pace::Pace;
use super::shares::{Kind, Urgency};
use super::slot::{Doing, Held, History, Invalidated, Slot, Verdict};
use super::timing::{Moment, Now, Policy};
use super::waiting::{Refused, Wait, Waiter, Waiting};

/// Leave to make one token request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Whose token.
    pub name: CredentialName,
    generation: u64,
}

/// What the owner of the Keeper has to do.
#[derive(Debug)]
pub enum Action<T> {
    /// Write what is known of this credential where the next start finds it: its [`Keeper::history`] and, where
    /// `token` says so, what it holds. Comes before the request or the answers that depend on it.
    Keep {
        /// Which credential.
        name: CredentialName,
        /// Whether what it holds has changed too.
        token: bool,
    },
    /// Make this token request, and bring its outcome to [`Keeper::issued`].
    Issue(Ticket),
    /// Wait no longer for this one: bring its outcome at once, `TIMED_OUT` if there is none yet. Comes where the request's
    /// own deadline has stood still, because the machine slept.
    Abandon(Ticket),
    /// The token of this credential is now this one, or none; everybody who reads tokens should know. Comes before the
    /// answers that hand it out.
    Publish(CredentialName, Option<Held<T>>),
    /// Tell whoever watches this credential that it has a new revision.
    Tell(CredentialName),
    /// Tell the waiter.
    Answer(Waiter, Result<Held<T>, Refused>),
}

/// A slot as people see it.
#[derive(Debug)]
pub struct View<'a, T> {
    /// The token, if it is still valid.
    pub held: Option<&'a Held<T>>,
    /// What is being done.
    pub activity: Activity,
    /// When Procurify is asked next; `None` while it is being asked.
    pub next_attempt: Option<Moment>,
    /// The last failure: what, when by the wall clock, and how many in a row.
    pub last_failure: Option<(&'a Failure, DateTime<Utc>, u32)>,
    /// What was issued, and what may be.
    pub budget: BudgetStatus,
    /// Another number after each new token, end of a token, or failure.
    pub revision: u64,
}

/// See the [room's front page](super).
#[derive(Debug)]
pub struct Keeper<T> {
    policy: Arc<Policy>,
    slots: HashMap<CredentialName, Slot<T>>,
    /// When each slot wants to be looked at: one entry for each slot whose [`Slot::wake`] is some.
    wakes: BTreeSet<(Moment, CredentialName)>,
    /// When each waiter's patience ends: one entry for each waiter of each slot.
    deadlines: BTreeSet<(Moment, CredentialName, Waiter)>,
    /// The slots that are `Queued`. A slot may stand there twice; what is no longer `Queued` when its turn comes is
    /// passed over.
    lanes: Lanes,
    places: HashMap<CredentialName, Place>,
    pace: Pace,
    /// Until when the rate alone keeps the next request back.
    held_back_until: Option<Moment>,
    /// Nothing more is asked for.
    is_winding_down: bool,
    valid: usize,
    healthy: usize,
    generation: u64,
    actions: VecDeque<Action<T>>,
}

/// The place of a request that is out.
#[derive(Clone, Copy, Debug)]
struct Place {
    generation: u64,
    charged: Moment,
    /// When its owner is told to wait no longer; `None` once that is said.
    abandoned_at: Option<Moment>,
}

impl<T: Clone> Keeper<T> {
    /// A Keeper without slots.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            slots: HashMap::new(),
            wakes: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            lanes: Lanes::default(),
            places: HashMap::new(),
            pace: Pace::default(),
            held_back_until: None,
            is_winding_down: false,
            valid: 0,
            healthy: 0,
            generation: 0,
            actions: VecDeque::new(),
        }
    }

    /// New settings; each slot follows them from its next event on, and those that wait for their budget at once.
    pub fn set_policy(&mut self, policy: Policy, now: Now) {
        self.policy = Arc::new(policy);
        let is_waiting = |slot: &Slot<T>| slot.is_out_of_budget();
        let waiting = self.slots.iter().filter(|(_, slot)| is_waiting(slot)).map(|(name, _)| name.clone());
        for name in waiting.collect::<Vec<_>>() {
            let terms = self.policy.terms_of(&name);
            self.change(&name, |slot| slot.wait_for_budget(terms, now));
        }
    }

    /// Takes a credential in, with what an earlier run left of it: a token if it is still valid, and its history.
    pub fn insert(&mut self, name: &CredentialName, restored: Option<Held<T>>, history: History, now: Now) {
        let restored = restored.filter(|held| held.expires > now.boot);
        let due = match &restored {
            Some(held) => self.policy.terms_of(name).refresh_at(held.issued, held.expires, now.jitter(name)),
            None => now.boot,
        };
        if let Some(held) = &restored {
            self.actions.push_back(Action::Publish(name.clone(), Some(held.clone())));
        }
        self.valid += usize::from(restored.is_some());
        let slot = Slot::new(restored, history, now.roll(name), now);
        self.healthy += usize::from(slot.is_healthy());
        self.wakes.extend(slot.wake().map(|at| (at, name.clone())));
        self.slots.insert(name.clone(), slot);
        self.change(name, |slot| {
            if slot.doing == Doing::Queued {
                slot.doing = Doing::Resting { until: due };
            }
        });
        self.tick(now);
    }

    /// Lets a credential go; its waiters are told that there is none.
    pub fn remove(&mut self, name: &CredentialName, now: Now) {
        self.change(name, |slot| {
            slot.held = None;
            slot.come_to_rest();
        });
        let Some(slot) = self.slots.remove(name) else { return };
        self.actions.push_back(Action::Publish(name.clone(), None));
        self.actions.push_back(Action::Tell(name.clone()));
        for (waiter, waiting) in slot.waiting {
            self.deadlines.remove(&(waiting.deadline, name.clone(), waiter));
            self.actions.push_back(Action::Answer(waiter, Err(Refused::Unknown)));
        }
        self.forget_domain_of(name);
        self.fill_places(now);
    }

    /// Lets everything go; every waiter is told so. Requests that are out keep their places.
    pub fn close(&mut self) {
        for (name, slot) in self.slots.drain() {
            self.actions.push_back(Action::Publish(name.clone(), None));
            self.actions.push_back(Action::Tell(name));
            let refused = slot.waiting.keys().map(|waiter| Action::Answer(*waiter, Err(Refused::Closed)));
            self.actions.extend(refused);
        }
        self.wakes.clear();
        self.deadlines.clear();
        self.lanes.clear();
        self.held_back_until = None;
        (self.valid, self.healthy) = (0, 0);
    }

    /// Nothing more is asked for: the daemon stops. What is out may still come back.
    pub fn wind_down(&mut self) {
        self.is_winding_down = true;
    }

    /// Nobody can wait any longer: whoever may have what is held gets it, though it is less than was asked for. The others
    /// go on waiting.
    pub fn hurry(&mut self, now: Now) {
        let waited_for: BTreeSet<_> = self.deadlines.iter().map(|(_, name, _)| name.clone()).collect();
        for name in waited_for {
            self.dismiss(&name, |slot, waiting| slot.best_for(waiting.wait, now).map(Ok));
        }
    }

    /// Somebody wants a token by `deadline`. Answered exactly once: at once, or when there is one, or when it is clear
    /// that there will be none in time.
    pub fn wait(&mut self, waiter: Waiter, name: &CredentialName, wait: Wait, deadline: Moment, now: Now) {
        let Some(slot) = self.slots.get(name) else {
            self.actions.push_back(Action::Answer(waiter, Err(Refused::Unknown)));
            return;
        };
        let is_asking = match slot.judge(wait, deadline, now) {
            Verdict::Answer(answer) => return self.actions.push_back(Action::Answer(waiter, answer)),
            Verdict::Stay => matches!(slot.doing, Doing::Queued),
            Verdict::Ask => true,
        };
        self.deadlines.insert((deadline, name.clone(), waiter));
        self.change(name, |slot| slot.waiting.insert(waiter, Waiting { wait, deadline }));
        if is_asking {
            self.enqueue(name, Urgency::SomebodyWaits);
        }
        self.tick(now);
    }

    /// These have left, and are not to be answered.
    pub fn leave(&mut self, gone: &HashSet<Waiter>) {
        let mut left = HashSet::new();
        self.deadlines.retain(|(_, name, waiter)| {
            let is_gone = gone.contains(waiter);
            if is_gone {
                left.insert(name.clone());
            }
            !is_gone
        });
        for name in left {
            self.change(&name, |slot| slot.waiting.retain(|waiter, _| !gone.contains(waiter)));
        }
    }

    /// The outcome of a ticket. Of no effect if the ticket is no longer the one that is out.
    pub fn issued(&mut self, ticket: &Ticket, outcome: Result<Held<T>, Failure>, now: Now) {
        let Ticket { name, generation } = ticket;
        let Some(place) = self.places.get(name).copied().filter(|place| place.generation == *generation)
        else {
            return;
        };
        let is_current = self.is_current(ticket);
        if outcome.as_ref().is_err_and(|failure| !is_issued(failure)) {
            self.change(name, |slot| slot.budget.refund(place.charged));
        }
        let is_failing = self.is_failing(name, outcome.as_ref().err(), place.charged, now);
        self.free_place(name, is_failing);
        match outcome {
            _ if !is_current => {
                self.enqueue_if_queued(name);
                self.forget_domain_of(name);
            }
            // It took longer to arrive than it lives: the machine may have slept meanwhile.
            Ok(held) if held.expires <= now.boot => {
                self.take_failure(name, FailureCode::TIMED_OUT.into(), now);
            }
            Ok(held) => {
                if !self.take_token(name, held, now) {
                    self.change(name, |slot| slot.budget.refund(place.charged));
                }
            }
            Err(failure) => self.take_failure(name, failure, now),
        }
        self.fill_places(now);
    }

    /// Whether the outcome of a ticket still counts.
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        let doing = self.slots.get(&ticket.name).map(|slot| slot.doing);
        matches!(doing, Some(Doing::Out { generation }) if generation == ticket.generation)
    }

    /// A pair that is not in use yet is being tried with a request of its owner's own, beside all others. It is not held
    /// back, but counts for the rate.
    pub fn trial_begins(&mut self, now: Now) {
        self.pace.send(now.boot);
    }

    /// Such a trial has come back. It counts for the budget where a token was issued, or may have been.
    pub fn trial_ended(&mut self, name: &CredentialName, failure: Option<&Failure>, now: Now) {
        let may_be_issued = |failure: &Failure| {
            matches!(failure.code, FailureCode::TIMED_OUT | FailureCode::INTERRUPTED) || is_issued(failure)
        };
        if failure.is_none_or(may_be_issued) {
            let terms = self.policy.terms_of(name);
            self.change(name, |slot| slot.budget.charge(terms, now.boot));
            self.actions.push_back(Action::Keep { name: name.clone(), token: false });
        }
    }

    /// Another pair of client credentials is in use now and has brought this token. A request of the old pair that may
    /// still be out has become meaningless.
    pub fn adopt(&mut self, name: &CredentialName, held: Held<T>, now: Now) {
        self.change(name, |slot| slot.credentials_changed(now.boot));
        self.take_token(name, held, now);
        self.fill_places(now);
    }

    /// Another pair of client credentials is in use now and has to be tried. What is held stays until it has brought a
    /// token.
    pub fn credentials_changed(&mut self, name: &CredentialName, now: Now) {
        self.change(name, |slot| {
            slot.credentials_changed(now.boot);
            slot.come_to_rest();
        });
        self.actions.push_back(Action::Keep { name: name.clone(), token: false });
        self.tell(name);
        self.enqueue(name, Urgency::SomebodyWaits);
        self.fill_places(now);
    }

    /// The API refused the token with this fingerprint. Forgets it if it is the current one, and asks for another.
    pub fn invalidate(&mut self, name: &CredentialName, fingerprint: Fingerprint, now: Now) {
        let terms = self.policy.terms_of(name);
        let outcome = self.change(name, |slot| slot.invalidate(fingerprint, terms, now));
        match outcome {
            Some(Invalidated::Forgotten) => {
                self.actions.push_back(Action::Keep { name: name.clone(), token: true });
                self.actions.push_back(Action::Publish(name.clone(), None));
                self.tell(name);
                if self.slots.get(name).is_some_and(|slot| matches!(slot.doing, Doing::Resting { .. })) {
                    self.enqueue(name, Urgency::SomebodyWaits);
                    self.fill_places(now);
                }
            }
            Some(Invalidated::CoolingDown) => {
                self.actions.push_back(Action::Keep { name: name.clone(), token: false });
                self.tell(name);
            }
            Some(Invalidated::Nothing) | None => {}
        }
    }

    /// What a credential holds is this, the owner has found: the clocks have changed. Where it ends at another moment
    /// than before, its refresh is reckoned anew.
    pub fn replace(&mut self, name: &CredentialName, held: Option<Held<T>>, now: Now) {
        let held = held.filter(|held| held.expires > now.boot);
        let terms = self.policy.terms_of(name);
        let due = held
            .as_ref()
            .map_or(now.boot, |held| terms.refresh_at(held.issued, held.expires, now.jitter(name)));
        let changed = self.change(name, |slot| {
            let is_same = slot.held.as_ref().map(|old| old.expires) == held.as_ref().map(|new| new.expires);
            slot.held.clone_from(&held);
            if matches!(slot.doing, Doing::Resting { .. }) && !is_same {
                slot.doing = Doing::Resting { until: due };
            }
        });
        if changed.is_some() {
            self.actions.push_back(Action::Publish(name.clone(), held));
            self.tell(name);
        }
    }

    /// There is reason to doubt what a credential holds: it is refreshed as soon as routine allows, and handed out
    /// meanwhile.
    pub fn doubt(&mut self, name: &CredentialName, now: Now) {
        self.change(name, |slot| {
            if matches!(slot.doing, Doing::Resting { .. }) {
                slot.doing = Doing::Resting { until: now.boot };
            }
        });
    }

    /// Time has passed: whatever is due is done. Of no effect when nothing is.
    pub fn tick(&mut self, now: Now) {
        while let Some((_, name)) = self.wakes.first().filter(|(at, _)| *at <= now.boot).cloned() {
            self.wake(&name, now);
        }
        self.abandon(now);
        while self.deadlines.first().is_some_and(|(at, ..)| *at <= now.boot) {
            let Some((_, name, waiter)) = self.deadlines.pop_first() else { break };
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            let Some(Waiting { wait, .. }) = slot.waiting.remove(&waiter) else { continue };
            let answer = slot.best_for(wait, now).ok_or_else(|| slot.too_late(now));
            self.actions.push_back(Action::Answer(waiter, answer));
        }
        self.fill_places(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action<T>> {
        let action = self.actions.pop_front();
        if action.is_none() {
            // What a start with very many takes is not kept for ever.
            self.actions.shrink_to(FEW_ACTIONS);
        }
        action
    }

    /// When [`tick`](Self::tick) is due; nothing happens by itself before.
    pub fn next_wake(&self) -> Option<Moment> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, ..)| *at);
        // There are only as many as there are places.
        let abandoned = self.places.values().filter_map(|place| place.abandoned_at).min();
        [wake, deadline, abandoned, self.held_back_until].into_iter().flatten().min()
    }

    /// What is known of a credential.
    pub fn view(&self, name: &CredentialName, now: Now) -> Option<View<'_, T>> {
        let slot = self.slots.get(name)?;
        let terms = self.policy.terms_of(name);
        let (issued_in_hour, issued_in_day) = slot.budget.spent(now.boot);
        Some(View {
            held: slot.valid(now),
            activity: slot.activity(),
            next_attempt: slot.due(),
            last_failure: slot.last_failure.as_ref().map(|last| (&last.failure, last.at, last.in_a_row)),
            budget: BudgetStatus {
                issued_in_hour,
                per_hour: terms.per_hour,
                issued_in_day,
                per_day: terms.per_day,
            },
            revision: slot.revision,
        })
    }

    /// What a credential holds, whether or not it is still valid.
    pub fn held(&self, name: &CredentialName) -> Option<&Held<T>> {
        self.slots.get(name)?.held.as_ref()
    }

    /// What the next start has to know of a credential beside its token.
    pub fn history(&self, name: &CredentialName) -> Option<History> {
        self.slots.get(name).map(Slot::history)
    }

    /// Those whose tokens live so briefly that their budget does not last.
    pub fn short_of_budget(&self) -> impl Iterator<Item = &CredentialName> {
        let is_short = |(name, slot): &(&CredentialName, &Slot<T>)| {
            slot.life().is_some_and(|life| !self.policy.terms_of(name).suffice(life))
        };
        self.slots.iter().filter(is_short).map(|(name, _)| name)
    }

    /// How many credentials hold a valid token.
    pub fn count_valid(&self) -> usize {
        self.valid
    }

    /// How many credentials there are, and how many of them have nothing wrong with them: they hold a valid token, which the API
    /// has not refused, and the last request brought one.
    pub fn count_healthy(&self) -> (usize, usize) {
        (self.slots.len(), self.healthy)
    }

    /// One slot's time has come.
    fn wake(&mut self, name: &CredentialName, now: Now) {
        let Some(slot) = self.slots.get(name) else { return };
        if slot.held.is_some() && slot.valid(now).is_none() {
            self.change(name, |slot| slot.held = None);
            self.actions.push_back(Action::Publish(name.clone(), None));
            self.tell(name);
        }
        let Some(slot) = self.slots.get(name) else { return };
        if slot.due().is_some_and(|due| due <= now.boot) {
            let urgency = if slot.waiting.is_empty() { Urgency::Routine } else { Urgency::SomebodyWaits };
            self.enqueue(name, urgency);
        }
    }

    /// Requests that should have come back long ago are to come back now.
    fn abandon(&mut self, now: Now) {
        for (name, place) in &mut self.places {
            if place.abandoned_at.take_if(|at| *at <= now.boot).is_some() {
                let ticket = Ticket { name: name.clone(), generation: place.generation };
                self.actions.push_back(Action::Abandon(ticket));
            }
        }
    }

    /// Whether an outcome says that the domain fails. One quick failure does not: it keeps no place from anybody.
    fn is_failing(
        &self,
        name: &CredentialName,
        failure: Option<&Failure>,
        sent: Moment,
        now: Now,
    ) -> Option<bool> {
        let is_unreachable = failure.is_some_and(|failure| failure.code.class() == FailureClass::Transient);
        let has_failed = || self.slots.get(name).is_some_and(|slot| slot.last_failure.is_some());
        let is_sure = !is_unreachable || sent + SLOW <= now.boot || has_failed();
        is_sure.then_some(is_unreachable)
    }

    fn free_place(&mut self, name: &CredentialName, is_failing: Option<bool>) {
        if self.places.remove(name).is_some() {
            self.lanes.returned(&name.domain(), is_failing);
        }
    }

    /// Nothing need be known of a domain without credentials.
    fn forget_domain_of(&mut self, name: &CredentialName) {
        let domain = name.domain();
        if self.lanes.is_only_failing(&domain) && !self.slots.keys().any(|other| other.domain() == domain) {
            self.lanes.forget(&domain);
        }
    }

    /// A slot had to wait for the place of an earlier request.
    fn enqueue_if_queued(&mut self, name: &CredentialName) {
        let Some(slot) = self.slots.get(name) else { return };
        if slot.doing == Doing::Queued {
            let urgency = if slot.waiting.is_empty() { Urgency::Routine } else { Urgency::SomebodyWaits };
            self.enqueue(name, urgency);
        }
    }

    /// Whether it was another token than before.
    fn take_token(&mut self, name: &CredentialName, held: Held<T>, now: Now) -> bool {
        let terms = self.policy.terms_of(name);
        let is_new = self.change(name, |slot| slot.hold(held, terms, now.jitter(name)));
        let Some(held) = self.slots.get(name).and_then(|slot| slot.held.clone()) else { return true };
        self.actions.push_back(Action::Keep { name: name.clone(), token: true });
        self.actions.push_back(Action::Publish(name.clone(), Some(held.clone())));
        self.tell(name);
        self.dismiss(name, |_, _| Some(Ok(held.clone())));
        is_new.unwrap_or(true)
    }

    fn take_failure(&mut self, name: &CredentialName, failure: Failure, now: Now) {
        let policy = Arc::clone(&self.policy);
        self.change(name, |slot| slot.fail(failure, now, &policy, now.jitter(name)));
        self.suffer(name, now);
    }

    /// A slot has to wait: those who cannot wait as long are told so.
    fn suffer(&mut self, name: &CredentialName, now: Now) {
        self.actions.push_back(Action::Keep { name: name.clone(), token: false });
        self.tell(name);
        self.dismiss(name, |slot, waiting| match slot.judge(waiting.wait.gently(), waiting.deadline, now) {
            Verdict::Answer(answer) => Some(answer),
            Verdict::Ask | Verdict::Stay => None,
        });
    }

    fn tell(&mut self, name: &CredentialName) {
        self.change(name, |slot| slot.revision = slot.revision.wrapping_add(1));
        self.actions.push_back(Action::Tell(name.clone()));
    }

    /// Lets a slot change, and keeps the books on its wake, on what is held and on how it fares.
    fn change<R>(&mut self, name: &CredentialName, change: impl FnOnce(&mut Slot<T>) -> R) -> Option<R> {
        let slot = self.slots.get_mut(name)?;
        let (wake, was_held, was_healthy) = (slot.wake(), slot.held.is_some(), slot.is_healthy());
        let result = change(slot);
        let new_wake = slot.wake();
        if wake != new_wake {
            wake.map(|at| self.wakes.remove(&(at, name.clone())));
            self.wakes.extend(new_wake.map(|at| (at, name.clone())));
        }
        self.valid = self.valid + usize::from(slot.held.is_some()) - usize::from(was_held);
        self.healthy = self.healthy + usize::from(slot.is_healthy()) - usize::from(was_healthy);
        Some(result)
    }

    /// Answers those waiters of a slot for whom `answer` has one.
    fn dismiss(
        &mut self,
        name: &CredentialName,
        answer: impl Fn(&Slot<T>, &Waiting) -> Option<Result<Held<T>, Refused>>,
    ) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let mut waiting = std::mem::take(&mut slot.waiting);
        waiting.retain(|waiter, waiting| {
            let Some(answer) = answer(slot, waiting) else { return true };
            self.deadlines.remove(&(waiting.deadline, name.clone(), *waiter));
            self.actions.push_back(Action::Answer(*waiter, answer));
            false
        });
        slot.waiting = waiting;
    }

    fn enqueue(&mut self, name: &CredentialName, urgency: Urgency) {
        let is_needed = self.change(name, |slot| {
            if matches!(slot.doing, Doing::Out { .. }) {
                return false;
            }
            slot.doing = Doing::Queued;
            // However many ask meanwhile, it stands in line once, and once more if it has become urgent.
            let stands = [Some(urgency), Some(Urgency::SomebodyWaits)].contains(&slot.stands);
            if !stands {
                slot.stands = Some(urgency);
            }
            !stands
        });
        if is_needed == Some(true) {
            self.lanes.enqueue(name, urgency);
        }
    }

    /// Sends the next requests out, as far as places, the rate and each one's budget allow.
    fn fill_places(&mut self, now: Now) {
        self.held_back_until = None;
        let Policy { concurrency, rate, .. } = *self.policy;
        while self.places.len() < concurrency && !self.is_winding_down {
            let free_at = |kind: Kind| self.pace.free_at(rate, kind.may_burst());
            let is_free = |kind: &Kind| free_at(*kind).is_none_or(|at| at <= now.boot);
            let Some(kind) = self.lanes.kinds(concurrency, rate).find(is_free) else {
                self.held_back_until = self.lanes.kinds(concurrency, rate).filter_map(free_at).min();
                return;
            };
            let Some(name) = self.lanes.next(kind, concurrency) else { continue };
            self.send(name, now);
        }
    }

    fn send(&mut self, name: CredentialName, now: Now) {
        let terms = self.policy.terms_of(&name);
        self.change(&name, |slot| slot.stands = None);
        let Some(slot) = self.slots.get(&name).filter(|slot| slot.doing == Doing::Queued) else {
            return self.forget_domain_of(&name);
        };
        if self.places.contains_key(&name) {
            // It is remembered when that place is free.
            return;
        }
        let is_over_budget = slot.waiting.values().any(|waiting| waiting.wait.is_over_budget());
        if let Some(until) = slot.budget.frees_up(terms, now.boot).filter(|_| !is_over_budget) {
            self.change(&name, |slot| slot.wait_for_budget(terms, now));
            // Whoever insists is told what he has to insist on, whatever else the slot waits for.
            let failure = Failure::from(FailureCode::BUDGET_SPENT);
            let spent = Refused::Failed { failure, retry_in: now.boot.until(until) };
            self.dismiss(&name, |_, waiting| waiting.wait.is_retry().then(|| Err(spent.clone())));
            return self.suffer(&name, now);
        }
        self.generation += 1;
        let generation = self.generation;
        let place =
            Place { generation, charged: now.boot, abandoned_at: Some(now.boot + self.policy.ticket_life) };
        self.places.insert(name.clone(), place);
        self.lanes.left(&name.domain());
        self.pace.send(now.boot);
        self.change(&name, |slot| {
            slot.doing = Doing::Out { generation };
            slot.budget.charge(terms, now.boot);
        });
        self.actions.push_back(Action::Keep { name: name.clone(), token: false });
        self.actions.push_back(Action::Issue(Ticket { name, generation }));
    }
}

/// Whether a request that failed may have cost a token all the same. One that was never answered counts for nothing: an
/// outage must not use up the budget that is needed when it ends.
fn is_issued(failure: &Failure) -> bool {
    failure.http_status.is_some_and(|status| (200..300).contains(&status))
}

const FEW_ACTIONS: usize = 64;
/// A request that takes so long to fail keeps its place from others.
const SLOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
