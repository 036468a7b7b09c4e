//! One credential's slot: what it holds and what it is doing.
//!
//! The slot knows how each outcome changes it. Who waits, which slots are due and how many requests are out is the
//! Keeper's.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{AccessToken, Activity, Failure, FailureClass, FailureCode, Fingerprint};

use super::timing::{Moment, Now, Policy, SHORTEST_INTERVAL};
use super::waiting::{Refused, Wait, Waiting};

/// A token that is held, and its life on the boot-time clock.
#[derive(Clone, Debug)]
pub struct Held {
    /// The token.
    pub token: Arc<AccessToken>,
    /// When it was requested.
    pub issued: Moment,
    /// When it ends.
    pub expires: Moment,
}

impl Held {
    /// How long it still lives.
    pub fn remaining(&self, now: Moment) -> Duration {
        now.until(self.expires)
    }
}

/// How a token request failed, when, and how often in a row.
#[derive(Clone, Debug)]
pub(super) struct LastFailure {
    pub(super) failure: Failure,
    pub(super) at: DateTime<Utc>,
    pub(super) in_a_row: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Resting { until: Moment },
    Queued,
    Out { generation: u64, lost_at: Moment },
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
pub(super) struct Slot {
    pub(super) held: Option<Held>,
    pub(super) doing: Doing,
    pub(super) last_failure: Option<LastFailure>,
    /// How many young tokens the API has refused without a good one in between.
    refused_in_a_row: u32,
    pub(super) waiting: Vec<Waiting>,
}

/// What to do for somebody who waits.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Tell him.
    Answer(Result<Held, Refused>),
    /// Ask Procurify for him.
    Ask,
    /// Let him wait for what is being done already.
    Stay,
}

impl Slot {
    pub(super) fn new(held: Option<Held>) -> Self {
        Self { held, doing: Doing::Queued, last_failure: None, refused_in_a_row: 0, waiting: Vec::new() }
    }

    /// The token, if it is still valid.
    pub(super) fn valid(&self, now: Now) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.expires > now.boot)
    }

    /// When this slot wants to be looked at again.
    pub(super) fn wake(&self) -> Option<Moment> {
        match self.doing {
            Doing::Resting { until } | Doing::BackingOff { until } => Some(until),
            Doing::Barred { probe_at } => Some(probe_at),
            Doing::Out { lost_at, .. } => Some(lost_at),
            Doing::Queued => None,
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

    /// Takes in a new token. The same token handed out again does not live longer for it.
    pub(super) fn hold(&mut self, mut new: Held, policy: &Policy, jitter: f64) {
        let mut soonest = new.issued;
        if let Some(old) = &self.held {
            // It is replaced because its time has come, and not because the API would have none of it.
            if self.last_failure.as_ref().is_none_or(|last| last.failure.code != FailureCode::TOKENS_REFUSED)
            {
                self.refused_in_a_row = 0;
            }
            if old.token.fingerprint() == new.token.fingerprint() && old.expires > new.issued {
                if old.expires <= new.expires {
                    (new.token, new.expires) = (Arc::clone(&old.token), old.expires);
                }
                soonest = new.issued + SAME_TOKEN_INTERVAL;
            }
        }
        let until = policy.refresh_at(new.issued, new.expires, jitter).max(soonest);
        self.held = Some(new);
        self.doing = Doing::Resting { until };
        self.last_failure = None;
    }

    /// Takes in a failure of the client credentials in use and decides when to try again.
    pub(super) fn fail(&mut self, failure: Failure, now: Now, policy: &Policy, jitter: f64) {
        let in_a_row = self.last_failure.as_ref().map_or(0, |last| last.in_a_row).saturating_add(1);
        let patience = failure.retry_after.unwrap_or_default();
        self.doing = match failure.code.class() {
            FailureClass::Rejected => {
                Doing::Barred { probe_at: now.boot + policy.probe_interval.max(patience) }
            }
            class => {
                let calm = if class == FailureClass::Transient { Duration::ZERO } else { CALM_INTERVAL };
                let wait = policy.backoff(in_a_row, jitter).max(calm).max(patience);
                Doing::BackingOff { until: now.boot + wait }
            }
        };
        self.last_failure = Some(LastFailure { failure, at: now.wall, in_a_row });
    }

    /// The API refused the token with this fingerprint. If it is the current one it is forgotten, to be replaced.
    ///
    /// If the one before it was refused as well, a new one would hardly fare better: the slot cools down, twice as long
    /// each time, and keeps handing out what it holds. The API may think better of it; we have nothing better to give.
    pub(super) fn invalidate(&mut self, fingerprint: Fingerprint, now: Now) -> Invalidated {
        let is_current = |held: &Held| held.token.fingerprint() == fingerprint;
        let Some(held) = self.held.as_ref().filter(|held| is_current(held) && !self.is_cooling_down()) else {
            return Invalidated::Nothing;
        };
        let is_young = held.issued + FIRST_COOL_DOWN > now.boot;
        let in_a_row = if is_young { self.refused_in_a_row.saturating_add(1) } else { 1 };
        self.refused_in_a_row = in_a_row;
        if in_a_row > 1 && matches!(self.doing, Doing::Resting { .. }) {
            let cool_down = FIRST_COOL_DOWN.saturating_mul(1 << (in_a_row - 2).min(MOST_DOUBLINGS));
            self.doing = Doing::BackingOff { until: now.boot + cool_down };
            let failure = Failure::from(FailureCode::TOKENS_REFUSED);
            self.last_failure = Some(LastFailure { failure, at: now.wall, in_a_row });
            return Invalidated::CoolingDown;
        }
        self.held = None;
        Invalidated::Forgotten
    }

    fn is_cooling_down(&self) -> bool {
        let last = self.last_failure.as_ref().map(|last| last.failure.code);
        matches!(self.doing, Doing::BackingOff { .. }) && last == Some(FailureCode::TOKENS_REFUSED)
    }

    /// The client credentials were changed: what was known of the old ones says nothing of the new ones.
    pub(super) fn forget_failures(&mut self) {
        self.last_failure = None;
        self.refused_in_a_row = 0;
    }

    /// Nothing is being done any more; a request that is out has become meaningless.
    pub(super) fn come_to_rest(&mut self) {
        self.doing = Doing::Queued;
    }

    /// What to do for somebody who waits.
    pub(super) fn judge(&self, wait: Wait, deadline: Moment, now: Now) -> Verdict {
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
            (Doing::Resting { .. }, _) | (_, Wait::Refresh { retry: true }) => Verdict::Ask,
            (Doing::BackingOff { until }, _) if deadline > until => Verdict::Stay,
            (Doing::BackingOff { until } | Doing::Barred { probe_at: until }, _) => {
                Verdict::Answer(self.best_for(wait, now).ok_or_else(|| self.refusal(until, now)))
            }
        }
    }

    /// The token to hand out where nothing better can be had: for a `get`, what is valid.
    pub(super) fn best_for(&self, wait: Wait, now: Now) -> Option<Held> {
        match wait {
            Wait::Get { .. } => self.valid(now).cloned(),
            Wait::Refresh { .. } => None,
        }
    }

    /// What to tell somebody whose deadline has passed: the failure that kept him waiting, where there was one.
    pub(super) fn too_late(&self, now: Now) -> Refused {
        match &self.last_failure {
            Some(_) => self.refusal(self.wake().unwrap_or(now.boot), now),
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

/// A server that hands out the token it handed out before is asked again after this long at the soonest.
const SAME_TOKEN_INTERVAL: Duration = Duration::from_mins(1);
/// The shortest wait after a failure that waiting alone hardly mends.
const CALM_INTERVAL: Duration = Duration::from_mins(1);
const FIRST_COOL_DOWN: Duration = Duration::from_mins(5);
const MOST_DOUBLINGS: u32 = 4;
