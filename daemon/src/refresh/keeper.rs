//! The Keeper: all slots, who waits for them, and the few places for requests that are out.
//!
//! The Keeper decides; it performs nothing. Its owner feeds it events, then takes actions until there are none, then
//! sleeps until [`Keeper::next_wake`]. See the room's front page for a slot's life. The file is a little long because
//! the whole machine is to be read in one place; what one slot does on its own stands in `slot.rs`.

use std::collections::{BTreeSet, HashMap, VecDeque};

use chrono::{DateTime, Utc};
use procurify_token_protocol::{Activity, CredentialName, Failure, FailureCode, Fingerprint};

use super::slot::{Doing, Held, Invalidated, Slot, Verdict};
use super::timing::{Moment, Now, Policy};
use super::waiting::{Refused, Wait, Waiter, Waiting};

/// Leave to make one token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose token.
    pub name: CredentialName,
    generation: u64,
}

/// What the owner of the Keeper has to do.
#[derive(Debug)]
pub enum Action {
    /// Make this token request, and bring its outcome to [`Keeper::issued`].
    Issue(Ticket),
    /// The token of this credential is now this one, or none; everybody who reads tokens should know. Comes before the
    /// answers that hand it out.
    Publish(CredentialName, Option<Held>),
    /// Tell the waiter.
    Answer(Waiter, Result<Held, Refused>),
}

/// A slot as people see it.
#[derive(Debug)]
pub struct View<'a> {
    /// The token, if it is still valid.
    pub held: Option<&'a Held>,
    /// What is being done.
    pub activity: Activity,
    /// When Procurify is asked next; `None` while it is being asked.
    pub next_attempt: Option<Moment>,
    /// The last failure: what, when by the wall clock, and how many in a row.
    pub last_failure: Option<(&'a Failure, DateTime<Utc>, u32)>,
}

/// See the [room's front page](super).
#[derive(Debug)]
pub struct Keeper {
    policy: Policy,
    slots: HashMap<CredentialName, Slot>,
    /// When each slot wants to be looked at: one entry for each slot whose [`Slot::wake`] is some.
    wakes: BTreeSet<(Moment, CredentialName)>,
    /// When each waiter's patience ends: one entry for each waiter of each slot.
    deadlines: BTreeSet<(Moment, CredentialName, Waiter)>,
    /// The slots that are `Queued`, those that somebody waits for apart. A slot may stand in both; what is no longer
    /// `Queued` when its turn comes is passed over.
    urgent: VecDeque<CredentialName>,
    routine: VecDeque<CredentialName>,
    out: usize,
    generation: u64,
    actions: VecDeque<Action>,
}

impl Keeper {
    /// A Keeper without slots.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            slots: HashMap::new(),
            wakes: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            urgent: VecDeque::new(),
            routine: VecDeque::new(),
            out: 0,
            generation: 0,
            actions: VecDeque::new(),
        }
    }

    /// New settings; each slot follows them from its next event on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Takes a credential in, with the token that an earlier run left if it is still valid.
    pub fn insert(&mut self, name: &CredentialName, restored: Option<Held>, now: Now) {
        let restored = restored.filter(|held| held.expires > now.boot);
        let due = match &restored {
            Some(held) => self.policy.refresh_at(held.issued, held.expires, now.jitter(name)),
            None => now.boot,
        };
        if let Some(held) = &restored {
            self.actions.push_back(Action::Publish(name.clone(), Some(held.clone())));
        }
        self.slots.insert(name.clone(), Slot::new(restored));
        self.change(name, |slot| slot.doing = Doing::Resting { until: due });
        self.tick(now);
    }

    /// Lets a credential go; its waiters are told that there is none.
    pub fn remove(&mut self, name: &CredentialName, now: Now) {
        self.change(name, Slot::come_to_rest);
        let Some(slot) = self.slots.remove(name) else { return };
        self.actions.push_back(Action::Publish(name.clone(), None));
        for waiting in slot.waiting {
            self.deadlines.remove(&(waiting.deadline, name.clone(), waiting.waiter));
            self.actions.push_back(Action::Answer(waiting.waiter, Err(Refused::Unknown)));
        }
        self.fill_places(now);
    }

    /// Lets everything go; every waiter is told so.
    pub fn close(&mut self) {
        for (name, slot) in self.slots.drain() {
            self.actions.push_back(Action::Publish(name, None));
            let refused = slot.waiting.iter().map(|w| Action::Answer(w.waiter, Err(Refused::Closed)));
            self.actions.extend(refused);
        }
        // The generation goes on: the answer to a ticket of before the closing must find nothing that looks like it.
        let (generation, actions) = (self.generation, std::mem::take(&mut self.actions));
        *self = Self { generation, actions, ..Self::new(self.policy) };
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
        self.change(name, |slot| slot.waiting.push(Waiting { waiter, wait, deadline }));
        if is_asking {
            self.enqueue(name, Urgency::SomebodyWaits);
        }
        self.tick(now);
    }

    /// The outcome of a ticket. Of no effect if the ticket is no longer the one that is out.
    pub fn issued(&mut self, ticket: &Ticket, outcome: Result<Held, Failure>, now: Now) {
        if !self.is_current(ticket) {
            return;
        }
        match outcome {
            // It took longer to arrive than it lives.
            Ok(held) if held.expires <= now.boot => {
                self.take_failure(&ticket.name, FailureCode::NO_LIFETIME.into(), now);
            }
            Ok(held) => self.take_token(&ticket.name, held, now),
            Err(failure) => self.take_failure(&ticket.name, failure, now),
        }
        self.fill_places(now);
    }

    /// Whether the outcome of a ticket still counts.
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        let doing = self.slots.get(&ticket.name).map(|slot| slot.doing);
        matches!(doing, Some(Doing::Out { generation, .. }) if generation == ticket.generation)
    }

    /// Another pair of client credentials is in use now and has brought this token. A request of the old pair that may
    /// still be out has become meaningless.
    pub fn adopt(&mut self, name: &CredentialName, held: Held, now: Now) {
        self.change(name, Slot::forget_failures);
        self.take_token(name, held, now);
        self.fill_places(now);
    }

    /// Another pair of client credentials is in use now and has to be tried. What is held stays until it has brought a
    /// token.
    pub fn credentials_changed(&mut self, name: &CredentialName, now: Now) {
        self.change(name, |slot| {
            slot.forget_failures();
            slot.come_to_rest();
        });
        self.enqueue(name, Urgency::SomebodyWaits);
        self.fill_places(now);
    }

    /// The API refused the token with this fingerprint. Forgets it if it is the current one, and asks for another.
    pub fn invalidate(&mut self, name: &CredentialName, fingerprint: Fingerprint, now: Now) {
        let outcome = self.change(name, |slot| slot.invalidate(fingerprint, now));
        if outcome == Some(Invalidated::Forgotten) {
            self.actions.push_back(Action::Publish(name.clone(), None));
            if self.slots.get(name).is_some_and(|slot| matches!(slot.doing, Doing::Resting { .. })) {
                self.enqueue(name, Urgency::SomebodyWaits);
                self.fill_places(now);
            }
        }
    }

    /// Time has passed: whatever is due is done. Of no effect when nothing is.
    pub fn tick(&mut self, now: Now) {
        while self.wakes.first().is_some_and(|(at, _)| *at <= now.boot) {
            let Some((_, name)) = self.wakes.pop_first() else { break };
            match self.slots.get(&name) {
                Some(Slot { doing: Doing::Out { .. }, .. }) => {
                    self.take_failure(&name, FailureCode::TIMED_OUT.into(), now);
                }
                Some(slot) if slot.waiting.is_empty() => self.enqueue(&name, Urgency::Routine),
                _ => self.enqueue(&name, Urgency::SomebodyWaits),
            }
        }
        while self.deadlines.first().is_some_and(|(at, ..)| *at <= now.boot) {
            let Some((_, name, waiter)) = self.deadlines.pop_first() else { break };
            self.dismiss(&name, |slot, waiting| {
                (waiting.waiter == waiter)
                    .then(|| slot.best_for(waiting.wait, now).ok_or_else(|| slot.too_late(now)))
            });
        }
        self.fill_places(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`tick`](Self::tick) is due; nothing happens by itself before.
    pub fn next_wake(&self) -> Option<Moment> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, ..)| *at);
        wake.into_iter().chain(deadline).min()
    }

    /// What is known of a credential.
    pub fn view(&self, name: &CredentialName, now: Now) -> Option<View<'_>> {
        let slot = self.slots.get(name)?;
        let is_out = matches!(slot.doing, Doing::Out { .. });
        Some(View {
            held: slot.valid(now),
            activity: slot.activity(),
            next_attempt: slot.wake().filter(|_| !is_out),
            last_failure: slot.last_failure.as_ref().map(|last| (&last.failure, last.at, last.in_a_row)),
        })
    }

    /// How many credentials hold a valid token.
    pub fn count_valid(&self, now: Now) -> usize {
        self.slots.values().filter(|slot| slot.valid(now).is_some()).count()
    }

    fn take_token(&mut self, name: &CredentialName, held: Held, now: Now) {
        let policy = self.policy;
        self.change(name, |slot| slot.hold(held, &policy, now.jitter(name)));
        let Some(held) = self.slots.get(name).and_then(|slot| slot.held.clone()) else { return };
        self.actions.push_back(Action::Publish(name.clone(), Some(held.clone())));
        self.dismiss(name, |_, _| Some(Ok(held.clone())));
    }

    fn take_failure(&mut self, name: &CredentialName, failure: Failure, now: Now) {
        let policy = self.policy;
        self.change(name, |slot| slot.fail(failure, now, &policy, now.jitter(name)));
        self.dismiss(name, |slot, waiting| match slot.judge(waiting.wait.gently(), waiting.deadline, now) {
            Verdict::Answer(answer) => Some(answer),
            Verdict::Ask | Verdict::Stay => None,
        });
    }

    /// Lets a slot change, and keeps the books on its wake and on the requests that are out.
    fn change<T>(&mut self, name: &CredentialName, change: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let slot = self.slots.get_mut(name)?;
        let (wake, was_out) = (slot.wake(), matches!(slot.doing, Doing::Out { .. }));
        let result = change(slot);
        let is_out = matches!(slot.doing, Doing::Out { .. });
        let new_wake = slot.wake();
        if wake != new_wake {
            wake.map(|at| self.wakes.remove(&(at, name.clone())));
            self.wakes.extend(new_wake.map(|at| (at, name.clone())));
        }
        self.out = self.out + usize::from(is_out) - usize::from(was_out);
        Some(result)
    }

    /// Answers those waiters of a slot for whom `answer` has one.
    fn dismiss(
        &mut self,
        name: &CredentialName,
        answer: impl Fn(&Slot, &Waiting) -> Option<Result<Held, Refused>>,
    ) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let waiting = std::mem::take(&mut slot.waiting);
        for waiting in waiting {
            match answer(slot, &waiting) {
                Some(answer) => {
                    self.deadlines.remove(&(waiting.deadline, name.clone(), waiting.waiter));
                    self.actions.push_back(Action::Answer(waiting.waiter, answer));
                }
                None => slot.waiting.push(waiting),
            }
        }
    }

    fn enqueue(&mut self, name: &CredentialName, urgency: Urgency) {
        let is_out = self.change(name, |slot| {
            let is_out = matches!(slot.doing, Doing::Out { .. });
            if !is_out {
                slot.doing = Doing::Queued;
            }
            is_out
        });
        match (is_out, urgency) {
            (Some(false), Urgency::SomebodyWaits) => self.urgent.push_back(name.clone()),
            (Some(false), Urgency::Routine) => self.routine.push_back(name.clone()),
            _ => {}
        }
    }

    fn fill_places(&mut self, now: Now) {
        while self.out < self.policy.concurrency {
            let Some(name) = self.urgent.pop_front().or_else(|| self.routine.pop_front()) else { return };
            if !self.slots.get(&name).is_some_and(|slot| matches!(slot.doing, Doing::Queued)) {
                continue;
            }
            self.generation += 1;
            let generation = self.generation;
            let lost_at = now.boot + self.policy.ticket_life;
            self.change(&name, |slot| slot.doing = Doing::Out { generation, lost_at });
            self.actions.push_back(Action::Issue(Ticket { name, generation }));
        }
    }
}

enum Urgency {
    SomebodyWaits,
    Routine,
}

#[cfg(test)]
mod tests;
