//! Those who wait for a token: what for, and why they may get none.

use std::time::Duration;

use procurify_token_protocol::{Failure, RefreshMode};

use super::timing::Moment;

/// Somebody who waits for an answer; the owner's own number, never used twice.
pub type Waiter = u64;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A valid token, with this much life left if that can be had.
    Get {
        /// The min TTL.
        min_ttl: Duration,
    },
    /// A new token.
    Refresh {
        /// What to disregard for it.
        mode: RefreshMode,
    },
}

/// Why a waiter gets no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No credential has this name, or it was removed in the meantime.
    Unknown,
    /// The last request failed, and the next one comes too late for this waiter.
    Failed {
        /// How.
        failure: Failure,
        /// How long until the next request goes out.
        retry_in: Duration,
    },
    /// The waiter's deadline passed while a request was out.
    Deadline,
    /// Everything was let go: the vault is locked.
    Closed,
}

/// One who waits for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) wait: Wait,
    pub(super) deadline: Moment,
}

impl Wait {
    /// Whether even a spent budget is no reason not to ask.
    pub(super) fn is_over_budget(self) -> bool {
        self == Self::Refresh { mode: RefreshMode::OverBudget }
    }

    /// Whether even a setback is no reason not to ask.
    pub(super) fn is_retry(self) -> bool {
        self == Self::Refresh { mode: RefreshMode::Retry }
    }

    /// The same wish without the wish to hurry, which was granted once.
    pub(super) fn gently(self) -> Self {
        match self {
            Self::Refresh { .. } => Self::Refresh { mode: RefreshMode::Plain },
            Self::Get { .. } => self,
        }
    }
}
