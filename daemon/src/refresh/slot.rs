//! One credential's slot: what it holds and what it is doing.
//!
//! The slot knows how each outcome changes it. Who waits, which slots are due and how many requests are out is the
//! Keeper's.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{Activity, Failure, FailureClass, FailureCode, Fingerprint, RefreshMode};

use super::budget::Budget;
use super::shares::Urgency;
use super::timing::{Moment, Now, Policy, SHORTEST_INTERVAL, Terms};
use super::waiting::{Refused, Wait, Waiter, Waiting};

/// A token that is held, and its life on the boot-time clock. What `T` holds is the owner's affair.
#[derive(Clone, Debug)]
pub struct Held<T> {
    /// The token, in whatever form it is handed out.
    pub token: T,
    /// Which token.
    pub fingerprint: Fingerprint,
    /// When it was requested.
    pub issued: Moment,
    /// When it ends.
    pub expires: Moment,
}

impl<T> Held<T> {
    /// How long it still lives.
    pub fn remaining(&self, now: Moment) -> Duration {
        now.until(self.expires)
    }
}

/// What the next start has to know of a credential beside its token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// When tokens were issued, in order: what the budget is reckoned from.
    pub issued: Vec<Moment>,
    /// Why requests wait, where they do.
    pub setback: Option<Setback>,
    /// How many young tokens the API has refused without a good one in between.
    pub refused_in_a_row: u32,
    /// Whether the API has refused the token that is held, which is kept for want of a better one.
    pub is_refused: bool,
    /// When other client credentials were taken into use.
    pub changed_at: Option<Moment>,
}

/// Why requests wait, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Setback {
    /// How the last one failed.
    pub failure: Failure,
    /// When it failed, by the wall clock.
    pub at: DateTime<Utc>,
    /// How many failed in a row.
    pub in_a_row: u32,
    /// When the next one may go out.
    pub until: Moment,
    /// Whether the client credentials are barred until then.
    pub is_barred: bool,
}

/// How a token request failed, when, and how often in a row.
#[derive(Clone, Debug)]
pub(super) struct LastFailure {
    pub(super) failure: Failure,
    pub(super) at: DateTime<Utc>,
    pub(super) in_a_row: u32,
    /// Until when it was, or is, a reason to wait.
    until: Moment,
    /// Whether it is one to bar the client credentials until then.
    is_barred: bool,
}

impl LastFailure {
    /// What a slot does that it has happened to.
    fn waits(&self) -> Doing {
        if self.is_barred {
            Doing::Barred { probe_at: self.until }
        } else {
            Doing::BackingOff { until: self.until }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Resting { until: Moment },
    Queued,
    Out { generation: u64 },
    BackingOff { until: Moment },
    Barred { probe_at: Moment },
}

/// What became of a token that the API refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidated {
    /// It was not the current one, or waits for its replacement already.
    Nothing,
    /// It is gone.
    Forgotten,
    /// It stays, for want of a better one.
    CoolingDown,
}

#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) held: Option<Held<T>>,
    pub(super) doing: Doing,
    pub(super) last_failure: Option<Box<LastFailure>>,
    pub(super) budget: Budget,
    /// Another number after each change that a watcher is told of.
    pub(super) revision: u64,
    /// When other client credentials were taken into use, while that is a reason for patience.
    changed_at: Option<Moment>,
    /// As how urgent it stands in its lane already.
    pub(super) stands: Option<Urgency>,
    /// The API has refused what is held.
    is_refused: bool,
    /// How many young tokens the API has refused without a good one in between.
    refused_in_a_row: u32,
    /// For how many seconds the newest token was to live; 0 where there has been none.
    life: u32,
    pub(super) waiting: BTreeMap<Waiter, Waiting>,
}

/// What to do for somebody who waits.
#[derive(Debug)]
pub(super) enum Verdict<T> {
    /// Tell him.
    Answer(Result<Held<T>, Refused>),
    /// Ask Procurify for him.
    Ask,
    /// Let him wait for what is being done already.
    Stay,
}

impl<T: Clone> Slot<T> {
    /// A slot with what an earlier run has left. A setback never lasts longer than it did when it was new.
    pub(super) fn new(held: Option<Held<T>>, history: History, revision: u64, now: Now) -> Self {
        let History { issued, setback, refused_in_a_row, is_refused, changed_at } = history;
        let last_failure = setback.map(|Setback { failure, at, in_a_row, until, is_barred }| {
            Box::new(LastFailure { failure, at, in_a_row, until, is_barred })
        });
        Self {
            doing: last_failure.as_ref().map_or(Doing::Queued, |last| last.waits()),
            is_refused: is_refused && held.is_some(),
            life: held.as_ref().map_or(0, life_of),
            held,
            last_failure,
            budget: Budget::restored(issued, now.boot),
            revision,
            changed_at,
            stands: None,
            refused_in_a_row,
            waiting: BTreeMap::new(),
        }
    }

    /// What the next start has to know.
    pub(super) fn history(&self) -> History {
        let setback = self.last_failure.as_deref().map(|last| Setback {
            failure: last.failure.clone(),
            at: last.at,
            in_a_row: last.in_a_row,
            until: last.until,
            is_barred: last.is_barred,
        });
        History {
            issued: self.budget.issued().to_vec(),
            setback,
            refused_in_a_row: self.refused_in_a_row,
            is_refused: self.is_refused,
            changed_at: self.changed_at,
        }
    }

    /// The token, if it is still valid.
    pub(super) fn valid(&self, now: Now) -> Option<&Held<T>> {
        self.held.as_ref().filter(|held| held.expires > now.boot)
    }

    /// Whether there is nothing wrong: a token that the API has not refused is held, and the last request brought one.
    pub(super) fn is_healthy(&self) -> bool {
        self.held.is_some() && self.last_failure.is_none() && !self.is_refused
    }

    /// For how long the newest token was to live.
    pub(super) fn life(&self) -> Option<Duration> {
        (self.life > 0).then(|| Duration::from_secs(self.life.into()))
    }

    /// When this slot wants to be looked at again: what it does is due, or what it holds has ended.
    pub(super) fn wake(&self) -> Option<Moment> {
        let ends = self.held.as_ref().map(|held| held.expires);
        self.due().into_iter().chain(ends).min()
    }

    /// When what it does is due.
    pub(super) fn due(&self) -> Option<Moment> {
        match self.doing {
            Doing::Resting { until } | Doing::BackingOff { until } => Some(until),
            Doing::Barred { probe_at } => Some(probe_at),
            Doing::Out { .. } | Doing::Queued => None,
        }
    }

    pub(super) fn activity(&self) -> Activity {
        match self.doing {
            Doing::Resting { .. } => Activity::Resting,
            Doing::Queued | Doing::Out { .. } => Activity::Requesting,
            Doing::BackingOff { .. } => Activity::BackingOff,
            Doing::Barred { .. } => Activity::Barred,
        }
    }

    /// Takes in a new token, and says whether it is another one. The same token handed out again does not live longer
    /// for it.
    pub(super) fn hold(&mut self, mut new: Held<T>, terms: Terms, jitter: f64) -> bool {
        let mut soonest = new.issued;
        let mut is_new = true;
        if let Some(old) = &self.held {
            // It is replaced because its time has come, and not because the API would have none of it.
            if !self.is_refused {
                self.refused_in_a_row = 0;
            }
            if old.fingerprint == new.fingerprint && old.expires > new.issued {
                if old.expires <= new.expires {
                    (new.token, new.expires) = (old.token.clone(), old.expires);
                }
                soonest = new.issued + SAME_TOKEN_INTERVAL;
                is_new = false;
            }
        }
        let until = terms.refresh_at(new.issued, new.expires, jitter).max(soonest);
        if is_new {
            self.life = life_of(&new);
        }
        self.held = Some(new);
        self.is_refused &= !is_new;
        self.doing = Doing::Resting { until };
        self.last_failure = None;
        is_new
    }

    /// Takes in a failure of the client credentials in use and decides when to try again.
    pub(super) fn fail(&mut self, failure: Failure, now: Now, policy: &Policy, jitter: f64) {
        let in_a_row = self.last_failure.as_ref().map_or(0, |last| last.in_a_row).saturating_add(1);
        let patience = failure.retry_after.unwrap_or_default();
        // Procurify may not know them everywhere yet.
        let is_fresh = failure.code == FailureCode::CREDENTIALS_REJECTED
            && self.changed_at.is_some_and(|at| at + FRESH > now.boot);
        let until = now.boot
            + match failure.code.class() {
                FailureClass::Rejected if !is_fresh => policy.probe_interval.max(patience),
                class => {
                    let is_brief = class == FailureClass::Transient || is_fresh;
                    let calm = if is_brief { Duration::ZERO } else { CALM_INTERVAL };
                    policy.backoff(in_a_row, jitter).max(calm).max(patience)
                }
            };
        let is_barred = failure.code.class() == FailureClass::Rejected && !is_fresh;
        self.suffer(LastFailure { failure, at: now.wall, in_a_row, until, is_barred });
    }

    /// Nothing may be sent before the budget frees up. A setback that lasts longer stays.
    pub(super) fn wait_for_budget(&mut self, terms: Terms, now: Now) {
        let until = self.budget.frees_up(terms, now.boot).unwrap_or(now.boot);
        let is_setback =
            |last: &LastFailure| last.failure.code != FailureCode::BUDGET_SPENT && last.until > until;
        if let Some(last) = self.last_failure.as_deref().filter(|last| is_setback(last)) {
            self.doing = last.waits();
        } else {
            let failure = FailureCode::BUDGET_SPENT.into();
            self.suffer(LastFailure { failure, at: now.wall, in_a_row: 1, until, is_barred: false });
        }
    }

    /// Whether it waits for its budget and nothing else.
    pub(super) fn is_out_of_budget(&self) -> bool {
        let last = self.last_failure.as_ref().map(|last| last.failure.code);
        matches!(self.doing, Doing::BackingOff { .. }) && last == Some(FailureCode::BUDGET_SPENT)
    }

    fn suffer(&mut self, last: LastFailure) {
        self.doing = last.waits();
        self.last_failure = Some(Box::new(last));
    }

    /// The API refused the token with this fingerprint. If it is the current one it is forgotten, to be replaced.
    ///
    /// If the one before it was refused as well, a new one would hardly fare better: the slot cools down, twice as long
    /// each time, and keeps handing out what it holds. The API may think better of it; we have nothing better to give.
    pub(super) fn invalidate(&mut self, fingerprint: Fingerprint, terms: Terms, now: Now) -> Invalidated {
        let is_current = |held: &Held<T>| held.fingerprint == fingerprint;
        let Some(held) = self.held.as_ref().filter(|held| is_current(held) && !self.is_cooling_down()) else {
            return Invalidated::Nothing;
        };
        let is_young = held.issued + FIRST_COOL_DOWN > now.boot;
        let in_a_row = if is_young { self.refused_in_a_row.saturating_add(1) } else { 1 };
        self.refused_in_a_row = in_a_row;
        if in_a_row > 1 && matches!(self.doing, Doing::Resting { .. }) {
            let cool_down = FIRST_COOL_DOWN.saturating_mul(1 << (in_a_row - 2).min(MOST_DOUBLINGS));
            let (failure, until) = (FailureCode::TOKENS_REFUSED.into(), now.boot + cool_down);
            self.suffer(LastFailure { failure, at: now.wall, in_a_row, until, is_barred: false });
            self.is_refused = true;
            return Invalidated::CoolingDown;
        }
        if let (Some(_), Doing::Resting { .. }) = (self.budget.frees_up(terms, now.boot), self.doing) {
            self.wait_for_budget(terms, now);
            self.is_refused = true;
            return Invalidated::CoolingDown;
        }
        (self.held, self.is_refused) = (None, false);
        Invalidated::Forgotten
    }

    fn is_cooling_down(&self) -> bool {
        let last = self.last_failure.as_ref().map(|last| last.failure.code);
        matches!(self.doing, Doing::BackingOff { .. })
            && matches!(last, Some(FailureCode::TOKENS_REFUSED | FailureCode::BUDGET_SPENT))
    }

    /// The client credentials were changed: what was known of the old ones says nothing of the new ones.
    pub(super) fn credentials_changed(&mut self, now: Moment) {
        self.last_failure = None;
        self.refused_in_a_row = 0;
        self.changed_at = Some(now);
    }

    /// Nothing is being done any more; a request that is out has become meaningless.
    pub(super) fn come_to_rest(&mut self) {
        self.doing = Doing::Queued;
    }

    /// What to do for somebody who waits.
    pub(super) fn judge(&self, wait: Wait, deadline: Moment, now: Now) -> Verdict<T> {
        if let (Wait::Get { min_ttl }, Some(held)) = (wait, self.valid(now)) {
            let is_enough = held.remaining(now.boot) >= min_ttl;
            // No new token would live that long either, or it was asked for only a moment ago.
            let is_best =
                held.issued.until(held.expires) <= min_ttl || held.issued + SHORTEST_INTERVAL > now.boot;
            if is_enough || is_best && matches!(self.doing, Doing::Resting { .. }) {
                return Verdict::Answer(Ok(held.clone()));
            }
        }
        match (self.doing, wait) {
            (Doing::Queued | Doing::Out { .. }, _) => Verdict::Stay,
            (Doing::Resting { .. }, _)
            | (_, Wait::Refresh { mode: RefreshMode::Retry | RefreshMode::OverBudget }) => Verdict::Ask,
            (Doing::BackingOff { until }, _) if deadline > until => Verdict::Stay,
            (Doing::BackingOff { until } | Doing::Barred { probe_at: until }, _) => {
                Verdict::Answer(self.best_for(wait, now).ok_or_else(|| self.refusal(until, now)))
            }
        }
    }

    /// The token to hand out where nothing better can be had: for a `get`, what is valid.
    pub(super) fn best_for(&self, wait: Wait, now: Now) -> Option<Held<T>> {
        match wait {
            Wait::Get { .. } => self.valid(now).cloned(),
            Wait::Refresh { .. } => None,
        }
    }

    /// What to tell somebody whose deadline has passed: the failure that kept him waiting, where there was one.
    pub(super) fn too_late(&self, now: Now) -> Refused {
        match &self.last_failure {
            Some(_) => self.refusal(self.due().unwrap_or(now.boot), now),
            None => Refused::Deadline,
        }
    }

    /// What to tell somebody who cannot wait until the next attempt.
    fn refusal(&self, next_attempt: Moment, now: Now) -> Refused {
        let last = self.last_failure.as_ref().expect("only a failure makes a slot wait");
        let failure = last.failure.clone();
        Refused::Failed { failure, retry_in: now.boot.until(next_attempt) }
    }
}

fn life_of<T>(held: &Held<T>) -> u32 {
    u32::try_from(held.issued.until(held.expires).as_secs()).unwrap_or(u32::MAX)
}

/// A server that hands out the token it handed out before is asked again after this long at the soonest.
const SAME_TOKEN_INTERVAL: Duration = Duration::from_mins(1);
/// The shortest wait after a failure that waiting alone hardly mends.
const CALM_INTERVAL: Duration = Duration::from_mins(1);
/// For how long after a rotation a 401 may be the old state of a server.
const FRESH: Duration = Duration::from_mins(1);
const FIRST_COOL_DOWN: Duration = Duration::from_mins(5);
const MOST_DOUBLINGS: u32 = 4;
