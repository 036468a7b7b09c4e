//! The invented Procurify as the driver meets it, with a book of all that was asked and issued: what must hold of
//! requests is checked here, as they come in.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use procurify_token_protocol::{CredentialName, Failure, FailureCode, TokenUrl};
use procurify_tokend::clock::Clock;
use procurify_tokend::issuer::{Issued, Reach, TokenIssuer, TokenRequest};
use procurify_tokend::refresh::{Moment, Now, Policy};
use tokio::time::Instant;

use crate::procurify::{Application, Weather};

/// What driver, Procurify and the world around them share: the book, which has the time in it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Book>>);

pub(crate) struct Book {
    pub(crate) rng: Rng,
    pub(crate) policy: Policy,
    /// Nothing but plain `get`s, bad weather, sleep and restarts happens: then no request needs another reason than time.
    pub(crate) is_plain: bool,
    /// Of each domain; the first one is always fair.
    pub(crate) weather: Vec<Weather>,
    pub(crate) accounts: HashMap<CredentialName, Account>,
    /// Which credential a client id belongs to.
    pub(crate) pairs: HashMap<String, CredentialName>,
    /// Pairs that are tried beside the Keeper, because a person wants it.
    pub(crate) trials: HashSet<String>,
    /// How often the daemon was killed.
    pub(crate) crashes: u32,
    /// Each token that was ever issued: whose, and when it ends.
    tokens: BTreeMap<u64, (CredentialName, Moment)>,
    in_flight: BTreeMap<u64, CredentialName>,
    next_request: u64,
    next_token: u64,
    sent: VecDeque<Moment>,
    started: Instant,
    /// What the machine slept, in all.
    slept: Duration,
    /// When it last woke.
    woke: Option<Instant>,
    booted_at: Moment,
    boot_id: u128,
    wall_ahead: TimeDelta,
    events: VecDeque<String>,
    violation: Option<String>,
}

/// What is known of one credential from outside the daemon.
pub(crate) struct Account {
    pub(crate) domain: usize,
    pub(crate) application: Application,
    pub(crate) is_enrolled: bool,
    /// How many outcomes of earlier requests have become meaningless.
    pub(crate) epoch: u32,
    pub(crate) enrolment: u32,
    /// Callers that insist, on a retry or beyond the budget.
    pub(crate) insisting: u32,
    /// The newest token that reached the daemon: when it was asked for, and when it ends.
    arrived: Option<(Moment, Moment)>,
    ledger: Vec<Moment>,
    /// Nothing is to be asked before, unless a person insists.
    pub(crate) quiet_until: Option<Moment>,
    changed_at: Option<Moment>,
}

impl Shared {
    pub(crate) fn new(mut rng: Rng) -> Self {
        let is_plain = rng.bool();
        let mut policy = Policy { concurrency: rng.usize(2..10), rate: rng.u32(5..20), ..Policy::default() };
        if !is_plain {
            (policy.terms.per_hour, policy.terms.per_day) = (rng.u32(1..8), rng.u32(8..30));
        }
        let domains = rng.usize(2..5);
        let book = Book {
            policy,
            is_plain,
            weather: vec![Weather::Fair; domains],
            accounts: HashMap::new(),
            pairs: HashMap::new(),
            trials: HashSet::new(),
            crashes: 0,
            tokens: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_request: 0,
            next_token: 0,
            sent: VecDeque::new(),
            started: Instant::now(),
            slept: Duration::ZERO,
            woke: None,
            booted_at: Moment::default(),
            boot_id: 1,
            wall_ahead: TimeDelta::days(20_000),
            events: VecDeque::new(),
            violation: None,
            rng,
        };
        Self(Arc::new(Mutex::new(book)))
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    pub(crate) fn note(&self, event: &str) {
        self.book().note(event);
    }

    /// An invariant, checked where a panic would end the wrong task.
    pub(crate) fn holds(&self, condition: bool, what: &str) {
        self.book().holds(condition, what);
    }
}

impl Book {
    /// The time, as nothing in the daemon can tell it: it runs through sleep and reboots, and is never wrong.
    pub(crate) fn truth(&self) -> Moment {
        Moment::default() + (Instant::now() - self.started) + self.slept
    }

    pub(crate) fn sleep(&mut self, asleep: Duration) {
        self.slept += asleep;
        self.woke = Some(Instant::now());
    }

    /// Whether what was out when the machine went to sleep may still be backed off from.
    pub(crate) fn has_just_woken(&self) -> bool {
        self.woke.is_some_and(|woke| woke.elapsed() < Duration::from_mins(1))
    }

    /// How long the machine has slept in all, and how often the daemon was killed.
    pub(crate) fn troubles(&self) -> (Duration, u32) {
        (self.slept, self.crashes)
    }

    pub(crate) fn reboot(&mut self) {
        (self.booted_at, self.boot_id) = (self.truth(), self.boot_id + 1);
    }

    pub(crate) fn set_wall_clock(&mut self, step: TimeDelta) {
        self.wall_ahead += step;
    }

    pub(crate) fn note(&mut self, event: &str) {
        let line = format!("{:>12} {event}", self.truth().as_millis());
        self.events.push_back(line);
        if self.events.len() > 40 {
            self.events.pop_front();
        }
    }

    pub(crate) fn last_events(&self) -> impl Iterator<Item = &String> {
        self.events.iter()
    }

    pub(crate) fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    fn holds(&mut self, condition: bool, what: &str) {
        if !condition && self.violation.is_none() {
            self.violation = Some(what.to_owned());
        }
    }

    /// Whose a token is and when it ends; the text is this book's own.
    pub(crate) fn token(&self, text: &str) -> Option<&(CredentialName, Moment)> {
        self.tokens.get(&text.strip_prefix("token-")?.parse().ok()?)
    }

    /// Requests that are out become meaningless: the process ends, or what they are for.
    pub(crate) fn forget_requests(&mut self) {
        self.in_flight.clear();
        self.sent.clear();
        self.trials.clear();
        self.accounts.values_mut().for_each(|account| account.epoch += 1);
    }

    fn request(&mut self, client_id: &str) -> (Sent, Option<Reply>) {
        let now = self.truth();
        let name = self.pairs[client_id].clone();
        let is_trial = self.trials.contains(client_id);
        self.note(&format!("a request of {client_id}"));
        if !is_trial {
            self.at_most_one_request_is_out(&name);
            self.no_more_are_out_than_there_are_places();
            self.no_more_in_a_second_than_the_rate(now);
            self.no_more_tokens_than_the_budget(&name, now);
            self.a_server_that_asked_for_patience_is_left_alone(&name, now);
            self.nobody_is_asked_before_it_is_time(&name, now);
        }
        let number = self.next_request;
        self.next_request += 1;
        if !is_trial {
            self.in_flight.insert(number, name.clone());
        }
        let Self { accounts, weather, rng, next_token, .. } = self;
        let account = accounts.get_mut(&name).unwrap();
        let weather = weather[account.domain];
        let answer = account.application.answer(weather, rng, next_token, now);
        let (epoch, enrolment) = (account.epoch, account.enrolment);
        let mut is_new = false;
        let answer = answer.map(|(latency, outcome)| {
            let outcome = outcome.map(|token| {
                is_new = token.is_new;
                self.tokens.insert(token.number, (name.clone(), token.expires));
                token.number
            });
            (latency, outcome)
        });
        (Sent { number, name, at: now, epoch, enrolment, is_trial, is_new }, answer)
    }

    fn come_back(&mut self, sent: &Sent, outcome: &Result<u64, Failure>) {
        let now = self.truth();
        self.note(&format!("{} is answered: {outcome:?}", sent.name));
        let was_out = sent.is_trial || self.in_flight.remove(&sent.number).is_some();
        let account = self.accounts.get_mut(&sent.name).unwrap();
        let counts = was_out && account.epoch == sent.epoch;
        let ends = outcome.as_ref().ok().map(|number| self.tokens[number].1);
        match outcome {
            Ok(_) if was_out && account.enrolment == sent.enrolment => {
                if sent.is_new {
                    account.ledger.push(if sent.is_trial { now } else { sent.at });
                }
                if counts {
                    account.arrived = ends.map(|ends| (sent.at, ends));
                    account.quiet_until = None;
                }
            }
            Err(failure) if counts && !sent.is_trial => {
                let is_fresh = account.changed_at.is_some_and(|at| at + Duration::from_mins(1) > now);
                let probe = (failure.code == FailureCode::CREDENTIALS_REJECTED && !is_fresh)
                    .then_some(self.policy.probe_interval);
                let patience = failure.retry_after.max(probe).map(|wait| now + wait);
                account.quiet_until = patience.max(account.quiet_until);
            }
            _ => {}
        }
    }

    // What must hold of a request.

    fn at_most_one_request_is_out(&mut self, name: &CredentialName) {
        let is_out = self.in_flight.values().any(|other| other == name);
        self.holds(!is_out, "at most one request is out for each credential");
    }

    fn no_more_are_out_than_there_are_places(&mut self) {
        self.holds(self.in_flight.len() < self.policy.concurrency, "no more are out than there are places");
    }

    fn no_more_in_a_second_than_the_rate(&mut self, now: Moment) {
        self.sent.retain(|at| *at + Duration::from_secs(1) > now);
        self.sent.push_back(now);
        let most = usize::try_from(self.policy.rate).unwrap();
        self.holds(self.sent.len() <= most, "no more requests go out in a second than the rate");
    }

    fn no_more_tokens_than_the_budget(&mut self, name: &CredentialName, now: Moment) {
        let account = &self.accounts[name];
        // To the millisecond, where a reboot has brought the wall clock into it.
        let within = |length: Duration| {
            let length = length.saturating_sub(Duration::from_millis(5));
            u32::try_from(account.ledger.iter().filter(|at| **at + length > now).count()).unwrap()
        };
        let terms = self.policy.terms;
        let is_within = within(Duration::from_hours(1)) < terms.per_hour
            && within(Duration::from_hours(24)) < terms.per_day;
        let holds = is_within || account.insisting > 0;
        self.holds(holds, "no more tokens are issued than the budget allows");
    }

    fn a_server_that_asked_for_patience_is_left_alone(&mut self, name: &CredentialName, now: Moment) {
        let account = &self.accounts[name];
        let is_quiet = account.quiet_until.is_some_and(|until| now + Duration::from_millis(5) < until);
        let holds = !is_quiet || account.insisting > 0;
        self.holds(holds, "a server that asked for patience, or rejected, is left alone, over a restart too");
    }

    /// A restart within a token's life issues nothing, nor does sleep, nor a caller: the schedule alone does.
    fn nobody_is_asked_before_it_is_time(&mut self, name: &CredentialName, now: Moment) {
        let Some((sent, ends)) = self.accounts[name].arrived.filter(|_| self.is_plain) else { return };
        let due = sent + sent.until(ends).mul_f64(self.policy.terms.refresh_from);
        let holds = now + Duration::from_millis(5) >= due;
        self.holds(holds, "no token is asked for before 80 % of the life of the one that is held");
    }
}

impl Account {
    pub(crate) fn new(domain: usize, application: Application) -> Self {
        Self {
            domain,
            application,
            is_enrolled: false,
            epoch: 0,
            enrolment: 0,
            insisting: 0,
            arrived: None,
            ledger: Vec::new(),
            quiet_until: None,
            changed_at: None,
        }
    }

    /// A person insists: what a server asked for counts no more.
    pub(crate) fn insist(&mut self) {
        self.insisting += 1;
        self.quiet_until = None;
    }

    /// Other client credentials are in use.
    pub(crate) fn changed(&mut self, now: Moment) {
        self.epoch += 1;
        (self.quiet_until, self.changed_at) = (None, Some(now));
    }

    pub(crate) fn removed(&mut self) {
        self.epoch += 1;
        self.enrolment += 1;
        self.is_enrolled = false;
        self.ledger.clear();
        (self.arrived, self.quiet_until, self.changed_at) = (None, None, None);
    }
}

/// After how long what comes back: the number of a token.
type Reply = (Duration, Result<u64, Failure>);

struct Sent {
    number: u64,
    name: CredentialName,
    at: Moment,
    epoch: u32,
    enrolment: u32,
    is_trial: bool,
    is_new: bool,
}

impl TokenIssuer for Shared {
    async fn reach(&self, _: TokenUrl, _: DateTime<Utc>) -> Reach {
        Reach { proxy: None, outcome: Ok(None) }
    }

    async fn issue(&self, request: TokenRequest) -> Result<Issued, Failure> {
        let (sent, answer) = self.book().request(request.client_id.as_str());
        let _out = Out { number: sent.number, shared: self };
        // Whoever issues over the network gives up after this long.
        let (latency, outcome) = answer
            .filter(|(latency, _)| *latency < ISSUER_DEADLINE)
            .unwrap_or((ISSUER_DEADLINE, Err(FailureCode::TIMED_OUT.into())));
        tokio::time::sleep(latency).await;
        let mut book = self.book();
        book.come_back(&sent, &outcome);
        outcome.map(|number| Issued {
            access_token: format!("token-{number}").into(),
            lifetime: sent.at.until(book.tokens[&number].1),
            server_ahead: None,
        })
    }
}

/// A request that is out, until nobody waits for it any longer.
struct Out<'a> {
    number: u64,
    shared: &'a Shared,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.shared.book().in_flight.remove(&self.number);
    }
}

impl Clock for Shared {
    fn boot(&self) -> Moment {
        self.now().boot
    }

    fn now(&self) -> Now {
        let mut book = self.book();
        let truth = book.truth();
        let since = TimeDelta::milliseconds(truth.as_millis());
        let wall: DateTime<Utc> = DateTime::UNIX_EPOCH + since + book.wall_ahead;
        Now { boot: Moment::default() + book.booted_at.until(truth), wall, dice: book.rng.u64(..) }
    }

    fn boot_id(&self) -> Option<u128> {
        Some(self.book().boot_id)
    }
}

const ISSUER_DEADLINE: Duration = Duration::from_secs(30);
