//! What can be seen of the driver from outside without asking it: how the vault and its credentials fare, and when the driver last
//! came round its loop.
//!
//! Whoever asks costs it a wake-up; whoever looks here costs nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::{Driver, LONGEST_NAP, VaultState};
use crate::clock::Clock;
use crate::issuer::TokenIssuer;
use crate::refresh::Moment;

/// How the vault and its credentials fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// What opens the vault without a person is still being fetched.
    #[default]
    Opening,
    /// There is no vault yet.
    Missing {
        /// Whether systemd has handed over a key for one.
        has_credential: bool,
    },
    /// A person has to open it.
    Locked,
    /// It should have opened by itself, and did not.
    Unusable,
    /// It is open.
    Open {
        /// How many credentials are in it.
        credentials: usize,
        /// How many of them hold a valid token, with nothing wrong since.
        healthy: usize,
    },
}

/// The signs of life of one driver, for whoever looks without asking.
#[derive(Debug, Default)]
pub struct Vitals {
    condition: watch::Sender<Condition>,
    /// On the boot-time clock, in milliseconds.
    last_round: AtomicI64,
}

impl Vitals {
    /// A driver that has been silent for longer than this is stuck: it wakes every minute, and nothing that it does itself takes half
    /// of one.
    pub const LONGEST_SILENCE: Duration = LONGEST_NAP.saturating_add(Duration::from_secs(30));

    /// How things stand, and each time that this changes.
    pub fn watch(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// When it last came round.
    pub fn last_round(&self) -> Moment {
        Moment::from_millis(self.last_round.load(Ordering::Relaxed))
    }

    fn note(&self, condition: Condition, now: Moment) {
        self.last_round.store(now.as_millis(), Ordering::Relaxed);
        self.condition.send_if_modified(|known| std::mem::replace(known, condition) != condition);
    }
}

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Shows that it is alive, and how things stand.
    pub(super) fn show_vitals(&self) {
        self.parts.vitals.note(self.condition(), self.parts.clock.boot());
    }

    fn condition(&self) -> Condition {
        let paths = &self.parts.places.vault;
        match &self.vault {
            VaultState::Open(_) => {
                let (credentials, healthy) = self.keeper.count_healthy();
                Condition::Open { credentials, healthy }
            }
            VaultState::Closed if self.held_back.is_some() => Condition::Opening,
            VaultState::Closed if self.is_unusable => Condition::Unusable,
            VaultState::Closed if paths.vault.exists() => Condition::Locked,
            VaultState::Closed => Condition::Missing {
                has_credential: paths.credential.as_ref().is_some_and(|credential| credential.exists()),
            },
        }
    }
}
