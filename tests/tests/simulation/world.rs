//! The world around one Keeper: it does what the Keeper says, lets random things happen, and checks what must hold.
//!
//! Longer than most rooms, because the invariants are to be read beside what keeps their books.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use fastrand::Rng;
use procurify_token_protocol::{CredentialName, Failure, FailureCode, Fingerprint, RefreshMode};
use procurify_tokend::refresh::{
    Action, Held, History, Keeper, Moment, Now, Policy, Refused, Terms, Ticket, Wait, Waiter,
};

use crate::procurify::{Application, Token, Weather};

/// Writes down what happens, where somebody will read it: in the history that failed.
macro_rules! note {
    ($world:expr, $($words:tt)*) => {
        if $world.is_told {
            $world.tell(&format!($($words)*));
        }
    };
}

pub(crate) struct World {
    rng: Rng,
    keeper: Keeper<u64>,
    policy: Policy,
    boot: Moment,
    wall_ahead: TimeDelta,
    weather: Vec<Weather>,
    credentials: Vec<Credential>,
    /// Requests that are at Procurify, by when they are answered.
    answers: BTreeMap<(Moment, u64), Pending>,
    /// Requests that are out, by number.
    in_flight: BTreeMap<u64, Ticket>,
    next_request: u64,
    next_token: u64,
    /// Of those who are not answered yet.
    waiters: BTreeMap<Waiter, Waiting>,
    next_waiter: Waiter,
    sent: VecDeque<Moment>,
    events: VecDeque<String>,
    pub(crate) is_told: bool,
}

struct Credential {
    name: CredentialName,
    domain: usize,
    application: Application,
    is_enrolled: bool,
    /// What the next start would find.
    kept: (Option<Held<u64>>, History),
    published: Option<Held<u64>>,
    /// The request whose outcome counts.
    current: Option<u64>,
    /// When tokens were issued and arrived.
    ledger: Vec<Moment>,
    /// Nothing is to be asked before, unless a person insists.
    quiet_until: Option<Moment>,
    changed_at: Option<Moment>,
    /// How often a credential of this name was removed.
    enrolment: u32,
    /// A request that has come back already.
    past: Option<Ticket>,
}

struct Pending {
    request: u64,
    credential: usize,
    ticket: Ticket,
    sent: Moment,
    enrolment: u32,
    outcome: Result<Token, Failure>,
}

struct Waiting {
    credential: usize,
    wait: Wait,
    deadline: Moment,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let policy = Policy {
            concurrency: rng.usize(1..10),
            rate: rng.u32(1..20),
            terms: Terms {
                per_hour: rng.u32(1..8),
                per_day: rng.u32(8..30),
                refresh_from: 0.8,
                refresh_to: 0.9,
            },
            ..Policy::default()
        };
        let domains = rng.usize(1..6);
        let credentials =
            (0..rng.usize(1..16)).map(|number| Credential::new(number, domains, &mut rng)).collect();
        let mut world = Self {
            keeper: Keeper::new(policy.clone()),
            policy,
            boot: Moment::from_millis(1_000_000_000),
            wall_ahead: TimeDelta::days(20_000),
            weather: vec![Weather::Fair; domains],
            credentials,
            answers: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_request: 0,
            next_token: 0,
            waiters: BTreeMap::new(),
            next_waiter: 0,
            sent: VecDeque::new(),
            events: VecDeque::new(),
            is_told: false,
            rng,
        };
        (0..world.credentials.len()).for_each(|index| world.enrol(index));
        world
    }

    /// So many random events, then calm weather, in which everything has to come right.
    pub(crate) fn live(&mut self, events: usize) {
        for _ in 0..events {
            self.pass();
            self.happen();
        }
        note!(self, "calm weather");
        self.weather.fill(Weather::Fair);
        let end = self.boot + Duration::from_hours(26);
        while self.boot < end {
            self.step_to(self.next_thing().min(end));
        }
        self.whoever_can_have_a_token_has_one();
        assert!(self.waiters.is_empty(), "every waiter is answered: {} are not", self.waiters.len());
    }

    pub(crate) fn last_events(&self) -> impl Iterator<Item = &String> {
        self.events.iter()
    }

    fn tell(&mut self, event: &str) {
        self.events.push_back(format!("{:>12} {event}", self.boot.as_millis()));
        if self.events.len() > 40 {
            self.events.pop_front();
        }
    }

    fn now(&mut self) -> Now {
        let since = TimeDelta::milliseconds(self.boot.as_millis());
        Now { boot: self.boot, wall: DateTime::UNIX_EPOCH + since + self.wall_ahead, dice: self.rng.u64(..) }
    }

    // Time.

    fn pass(&mut self) {
        match self.rng.u8(0..16) {
            // A suspend: nobody ticks, and requests that are out come back when the machine does.
            0 => {
                let asleep = Duration::from_secs(self.rng.u64(60..200_000));
                note!(self, "suspended for {asleep:?}");
                self.boot = self.boot + asleep;
                // What wakes first: the answers that are there, or the clock.
                if self.rng.bool() {
                    self.arrive();
                }
            }
            // A moment, in which nothing need be due.
            1..=5 => {
                let moment = Duration::from_millis(self.rng.u64(0..20_000));
                let next = (self.boot + moment).min(self.next_thing());
                self.step_to(next);
            }
            // A quiet while.
            6 => {
                let end = self.boot + Duration::from_secs(self.rng.u64(600..40_000));
                let mut steps = 0;
                while self.boot < end && steps < 200 {
                    self.step_to(self.next_thing().min(end));
                    steps += 1;
                }
            }
            _ => self.step_to(self.next_thing()),
        }
    }

    fn next_thing(&self) -> Moment {
        let answer = self.answers.keys().next().map(|(at, _)| *at);
        let next = [self.keeper.next_wake(), answer].into_iter().flatten().min();
        next.unwrap_or(self.boot + Duration::from_hours(1))
    }

    fn step_to(&mut self, moment: Moment) {
        self.boot = self.boot.max(moment);
        self.arrive();
        let now = self.now();
        self.keeper.tick(now);
        self.settle();
        self.what_is_published_is_what_is_held();
        self.no_wake_is_stuck_in_the_past();
        self.nobody_waits_beyond_his_deadline();
    }

    /// Whatever Procurify has answered by now arrives.
    fn arrive(&mut self) {
        while let Some(entry) = self.answers.first_entry().filter(|entry| entry.key().0 <= self.boot) {
            let pending = entry.remove();
            self.come_back(pending);
        }
    }

    fn come_back(&mut self, pending: Pending) {
        let Pending { request, credential: index, ticket, sent, enrolment, outcome } = pending;
        self.in_flight.remove(&request);
        let now = self.now();
        let credential = &mut self.credentials[index];
        let counts = credential.current.take_if(|current| *current == request).is_some();
        note!(self, "{} is answered: {outcome:?}, counts: {counts}", ticket.name);
        let credential = &mut self.credentials[index];
        match &outcome {
            Ok(token) if token.is_new && enrolment == credential.enrolment => {
                credential.ledger.push(sent);
            }
            Err(failure) if counts => {
                let is_fresh =
                    credential.changed_at.is_some_and(|at| at + Duration::from_mins(1) > self.boot);
                let probe = (failure.code == FailureCode::CREDENTIALS_REJECTED && !is_fresh)
                    .then_some(self.policy.probe_interval);
                credential.quiet_until =
                    failure.retry_after.max(probe).map(|wait| self.boot + wait).max(credential.quiet_until);
            }
            _ => {}
        }
        let held = outcome.map(|token| Held {
            token: token.number,
            fingerprint: fingerprint(token.number),
            issued: sent,
            expires: token.expires,
        });
        let before = self.state_of(index);
        self.keeper.issued(&ticket, held, now);
        self.credentials[index].past = Some(ticket);
        if !counts {
            // But that a place is free again may let a slot find out that its budget is spent.
            let spent = before.map(|(held, _)| (held, Some(FailureCode::BUDGET_SPENT)));
            let after = self.state_of(index);
            assert!(
                after == before || after == spent,
                "a stale ticket changes nothing: {before:?} {after:?}"
            );
        }
        self.settle();
    }

    /// Of an earlier request than the one that may be out.
    fn come_back_again(&mut self, index: usize) {
        let Some(ticket) = self.credentials[index].past.clone() else { return };
        note!(self, "an earlier request for {} is answered again", ticket.name);
        let now = self.now();
        self.next_token += 1;
        let (token, expires) = (self.next_token, self.boot + LONG);
        let held = Held { token, fingerprint: fingerprint(token), issued: self.boot, expires };
        let outcome = if self.rng.bool() { Ok(held) } else { Err(FailureCode::CREDENTIALS_REJECTED.into()) };
        let before = self.state_of(index);
        self.keeper.issued(&ticket, outcome, now);
        assert_eq!(self.state_of(index), before, "a ticket that has come back already changes nothing");
    }

    /// What an outcome would change.
    fn state_of(&mut self, index: usize) -> Option<(Option<Fingerprint>, Option<FailureCode>)> {
        let now = self.now();
        let view = self.keeper.view(&self.credentials[index].name, now)?;
        let failure = view.last_failure.map(|(failure, ..)| failure.code);
        Some((view.held.map(|held| held.fingerprint), failure))
    }

    // What happens.

    fn happen(&mut self) {
        let index = self.rng.usize(..self.credentials.len());
        let name = self.credentials[index].name.clone();
        let now = self.now();
        match self.rng.u8(0..40) {
            0..=13 => self.get(index),
            14..=16 => {
                let mode = [RefreshMode::Plain, RefreshMode::Retry, RefreshMode::OverBudget];
                let mode = mode[self.rng.usize(..3)];
                if mode != RefreshMode::Plain {
                    self.credentials[index].quiet_until = None;
                }
                self.wait(index, Wait::Refresh { mode });
            }
            17..=20 => {
                let current = self.credentials[index].published.as_ref().map(|held| held.fingerprint);
                let named =
                    current.filter(|_| self.rng.bool()).unwrap_or_else(|| fingerprint(self.rng.u64(..50)));
                note!(self, "the API refused a token of {name}");
                self.keeper.invalidate(&name, named, now);
            }
            21..=26 => {
                let domain = self.rng.usize(..self.weather.len());
                self.weather[domain] = Weather::any(&mut self.rng);
                note!(self, "domain {domain}: {:?}", self.weather[domain]);
            }
            27 => self.wall_ahead += TimeDelta::seconds(self.rng.i64(-100_000_000..100_000_000)),
            28 => {
                let application = &mut self.credentials[index].application;
                application.is_known = !application.is_known;
            }
            29..=30 => self.restart(true),
            31 => self.restart(false),
            32 => self.lock_and_unlock(),
            33 => self.rotate(index),
            34 => self.adopt(index),
            35 if self.credentials[index].is_enrolled => {
                note!(self, "{name} is removed");
                self.keeper.remove(&name, now);
                let credential = &mut self.credentials[index];
                credential.forget();
                credential.is_enrolled = false;
            }
            35 => self.enrol(index),
            36 => self.keeper.doubt(&name, now),
            37 => self.come_back_again(index),
            _ => {}
        }
        self.settle();
        self.what_is_published_is_what_is_held();
    }

    fn enrol(&mut self, index: usize) {
        let name = self.credentials[index].name.clone();
        note!(self, "{name} is enrolled");
        self.credentials[index].is_enrolled = true;
        let now = self.now();
        self.keeper.insert(&name, None, History::default(), now);
        self.settle();
    }

    fn get(&mut self, index: usize) {
        let min_ttl = if self.rng.bool() { 0 } else { self.rng.u64(0..100_000) };
        self.wait(index, Wait::Get { min_ttl: Duration::from_secs(min_ttl) });
    }

    fn wait(&mut self, index: usize, wait: Wait) {
        let deadline = self.boot + Duration::from_secs(self.rng.u64(0..90));
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        let name = self.credentials[index].name.clone();
        note!(self, "waiter {waiter} wants {wait:?} of {name}");
        self.waiters.insert(waiter, Waiting { credential: index, wait, deadline });
        let now = self.now();
        self.keeper.wait(waiter, &name, wait, deadline, now);
        self.settle();
    }

    /// A crash leaves what was kept; a clean stop waits for the answers that come within 5 s first.
    fn restart(&mut self, is_crash: bool) {
        note!(self, "{}", if is_crash { "crash" } else { "restart" });
        if !is_crash {
            self.keeper.wind_down();
            let patience = self.boot + Duration::from_secs(5);
            while let Some((at, _)) = self.answers.keys().next().copied().filter(|(at, _)| *at <= patience) {
                self.boot = self.boot.max(at);
                self.arrive();
            }
        }
        self.answers.clear();
        self.in_flight.clear();
        self.waiters.clear();
        self.sent.clear();
        self.credentials.iter_mut().for_each(|credential| credential.past = None);
        self.keeper = Keeper::new(self.policy.clone());
        self.insert_all();
    }

    fn lock_and_unlock(&mut self) {
        note!(self, "locked and unlocked");
        self.keeper.close();
        self.settle();
        assert!(self.waiters.is_empty(), "everybody is told that the vault was locked");
        self.insert_all();
    }

    fn insert_all(&mut self) {
        for credential in &mut self.credentials {
            (credential.published, credential.current) = (None, None);
        }
        for index in 0..self.credentials.len() {
            let credential = &mut self.credentials[index];
            if credential.is_enrolled {
                let (name, (held, history)) = (credential.name.clone(), credential.kept.clone());
                let now = self.now();
                self.keeper.insert(&name, held, history, now);
            }
            self.settle();
        }
    }

    fn rotate(&mut self, index: usize) {
        let now = self.now();
        let credential = &mut self.credentials[index];
        if credential.is_enrolled {
            credential.changed();
            credential.changed_at = Some(self.boot);
            let name = credential.name.clone();
            note!(self, "{name} has other client credentials");
            self.keeper.credentials_changed(&name, now);
        }
    }

    fn adopt(&mut self, index: usize) {
        let now = self.now();
        let credential = &mut self.credentials[index];
        if credential.is_enrolled {
            credential.changed();
            credential.changed_at = Some(self.boot);
            credential.application.is_known = true;
            credential.ledger.push(self.boot);
            let name = credential.name.clone();
            self.next_token += 1;
            let held = Held {
                token: self.next_token,
                fingerprint: fingerprint(self.next_token),
                issued: self.boot,
                expires: self.boot + credential.application.life,
            };
            note!(self, "{name} was rotated");
            self.keeper.trial_ended(&name, None, now);
            self.keeper.adopt(&name, held, now);
        }
    }

    // What the Keeper says.

    fn settle(&mut self) {
        let mut abandoned = VecDeque::new();
        loop {
            // What comes of that comes after everything that was said in the same breath.
            let Some(action) = self.keeper.poll_action() else {
                let Some(ticket) = abandoned.pop_front() else { return };
                self.abandon(&ticket);
                continue;
            };
            match action {
                Action::Keep { name, token } => {
                    let index = self.index_of(&name);
                    if let Some(history) = self.keeper.history(&name) {
                        self.credentials[index].kept.1 = history;
                        if token {
                            self.credentials[index].kept.0 = self.keeper.held(&name).cloned();
                        }
                    }
                }
                Action::Issue(ticket) => self.issue(ticket),
                Action::Abandon(ticket) => abandoned.push_back(ticket),
                Action::Publish(name, held) => {
                    let index = self.index_of(&name);
                    self.credentials[index].published = held;
                }
                Action::Tell(_) => {}
                Action::Answer(waiter, answer) => self.answered(waiter, answer),
            }
        }
    }

    fn issue(&mut self, ticket: Ticket) {
        let index = self.index_of(&ticket.name);
        let boot = self.boot;
        note!(self, "a request for {}", ticket.name);
        self.at_most_one_request_is_out(&ticket.name);
        self.no_more_are_out_than_there_are_places();
        self.no_more_in_a_second_than_the_rate();
        self.no_more_tokens_than_the_budget(index);
        self.a_server_that_asked_for_patience_is_left_alone(index);
        let request = self.next_request;
        self.next_request += 1;
        self.in_flight.insert(request, ticket.clone());
        let credential = &mut self.credentials[index];
        credential.current = Some(request);
        let weather = self.weather[credential.domain];
        let answer = credential.application.answer(weather, &mut self.rng, &mut self.next_token, boot);
        if let Some((latency, outcome)) = answer {
            let enrolment = credential.enrolment;
            let pending = Pending { request, credential: index, ticket, sent: boot, enrolment, outcome };
            self.answers.insert((boot + latency, request), pending);
        }
    }

    /// An answer that is there counts; without one, nothing has come of it that anybody could know.
    fn abandon(&mut self, ticket: &Ticket) {
        note!(self, "the request for {} is abandoned", ticket.name);
        let number = self.in_flight.iter().find(|(_, out)| *out == ticket).map(|(number, _)| *number);
        let request = number.expect("what is abandoned is out");
        let pending = self.answers.iter().find(|(_, pending)| pending.request == request);
        if let Some(key) = pending.map(|(key, _)| *key) {
            let mut pending = self.answers.remove(&key).unwrap();
            if key.0 > self.boot {
                pending.outcome = Err(FailureCode::TIMED_OUT.into());
            }
            return self.come_back(pending);
        }
        self.in_flight.remove(&request);
        let index = self.index_of(&ticket.name);
        self.credentials[index].current.take_if(|current| *current == request);
        let now = self.now();
        self.keeper.issued(ticket, Err(FailureCode::TIMED_OUT.into()), now);
    }

    fn answered(&mut self, waiter: Waiter, answer: Result<Held<u64>, Refused>) {
        let short = answer.as_ref().map(|held| held.token).map_err(Clone::clone);
        note!(self, "waiter {waiter} is told {short:?}");
        let waiting = self.waiters.remove(&waiter).expect("a waiter is answered once");
        let now = self.now();
        match answer {
            Ok(held) => assert!(held.expires > self.boot, "no expired token is ever handed out"),
            Err(refused) => {
                let name = &self.credentials[waiting.credential].name;
                let is_held = self.keeper.view(name, now).is_some_and(|view| view.held.is_some());
                let is_get = matches!(waiting.wait, Wait::Get { .. });
                assert!(!(is_get && is_held), "nobody is refused while a valid token is held: {refused:?}");
            }
        }
    }

    // What must hold.

    fn at_most_one_request_is_out(&self, name: &CredentialName) {
        let is_out = self.in_flight.values().any(|out| out.name == *name);
        assert!(!is_out, "at most one request is out for each credential: {name} has one");
    }

    fn no_more_are_out_than_there_are_places(&self) {
        assert!(self.in_flight.len() < self.policy.concurrency, "no more are out than there are places");
    }

    fn no_more_in_a_second_than_the_rate(&mut self) {
        let boot = self.boot;
        self.sent.retain(|at| *at + Duration::from_secs(1) > boot);
        self.sent.push_back(boot);
        let most = usize::try_from(self.policy.rate).unwrap();
        assert!(self.sent.len() <= most, "no more requests go out in a second than the rate");
    }

    fn no_more_tokens_than_the_budget(&self, index: usize) {
        if self.insists(index, RefreshMode::OverBudget) {
            return;
        }
        let ledger = &self.credentials[index].ledger;
        let within = |length: Duration| ledger.iter().filter(|at| **at + length > self.boot).count();
        let terms = self.policy.terms;
        let hour = within(Duration::from_hours(1)) < usize::try_from(terms.per_hour).unwrap();
        let day = within(Duration::from_hours(24)) < usize::try_from(terms.per_day).unwrap();
        assert!(hour && day, "no more tokens are issued than the budget allows");
    }

    fn a_server_that_asked_for_patience_is_left_alone(&self, index: usize) {
        let quiet = self.credentials[index].quiet_until.is_some_and(|until| until > self.boot);
        let insists = self.insists(index, RefreshMode::Retry);
        assert!(!quiet || insists, "a server that asked for patience, or rejected, is left alone");
    }

    fn insists(&self, index: usize, least: RefreshMode) -> bool {
        let insists = |wait: &Wait| matches!(wait, Wait::Refresh { mode } if *mode >= least);
        self.waiters.values().any(|waiting| waiting.credential == index && insists(&waiting.wait))
    }

    fn no_wake_is_stuck_in_the_past(&self) {
        let wake = self.keeper.next_wake();
        assert!(wake.is_none_or(|wake| wake > self.boot), "no wake is stuck in the past");
    }

    fn nobody_waits_beyond_his_deadline(&self) {
        let late = self.waiters.iter().find(|(_, waiting)| waiting.deadline <= self.boot);
        assert!(late.is_none(), "nobody waits beyond his deadline: {:?}", late.map(|(waiter, _)| waiter));
    }

    fn what_is_published_is_what_is_held(&self) {
        for credential in &self.credentials {
            let held = self.keeper.held(&credential.name).map(|held| (held.token, held.expires));
            let published = credential.published.as_ref().map(|held| (held.token, held.expires));
            assert_eq!(published, held, "what is published is what is held");
        }
    }

    fn whoever_can_have_a_token_has_one(&mut self) {
        let now = self.now();
        let names: BTreeSet<_> = self
            .credentials
            .iter()
            // Shorter ones may lie in wait for their budget.
            .filter(|c| c.is_enrolled && c.application.is_known && c.application.life >= LONG)
            .map(|c| c.name.clone())
            .collect();
        // A server that repeats its tokens may have nothing else to give.
        let repeats: HashMap<_, _> =
            self.credentials.iter().map(|c| (c.name.clone(), c.application.repeats)).collect();
        for name in names {
            let is_held = self.keeper.view(&name, now).is_some_and(|view| view.held.is_some());
            assert!(is_held || repeats[&name], "in calm weather whoever can have a token has one: {name}");
        }
    }

    fn index_of(&self, name: &CredentialName) -> usize {
        self.credentials.iter().position(|credential| credential.name == *name).unwrap()
    }
}

impl Credential {
    fn new(number: usize, domains: usize, rng: &mut Rng) -> Self {
        let domain = rng.usize(..domains);
        Self {
            name: format!("d{domain}/c{number}").parse().unwrap(),
            domain,
            application: Application::any(rng),
            is_enrolled: false,
            kept: (None, History::default()),
            published: None,
            current: None,
            ledger: Vec::new(),
            quiet_until: None,
            changed_at: None,
            enrolment: 0,
            past: None,
        }
    }

    fn changed(&mut self) {
        (self.current, self.quiet_until) = (None, None);
    }

    fn forget(&mut self) {
        self.changed();
        self.kept = (None, History::default());
        self.ledger.clear();
        self.changed_at = None;
        self.enrolment += 1;
    }
}

fn fingerprint(number: u64) -> Fingerprint {
    Fingerprint::from_bytes(number.to_be_bytes())
}

/// A token of this life is refreshed well within the smallest budget of a day.
const LONG: Duration = Duration::from_hours(24);
