//! Clocks that do not agree: steps of the wall clock, and a server whose date is another.
//!
//! A token's life is counted on the boot-time clock, so a step changes nothing about when it ends; but what its end is
//! called changes, and a token from before a reboot has nothing but the wall clock to go by.

use chrono::TimeDelta;
use procurify_token_protocol::{AccessToken, CredentialName, TokenGrant};
use tracing::{info, warn};

use super::opening::restored;
use super::{Driver, VaultState};
use crate::clock::{Clock, Stamp, offset};
use crate::explain;
use crate::issuer::TokenIssuer;
use crate::lookup::Ready;
use crate::refresh::{Held, Now};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Notices a step of the wall clock, and sets right what hangs on it.
    pub(super) fn look_at_the_clocks(&mut self, now: Now) {
        let step = offset(&now) - self.offset;
        if step.abs() < LEAST_STEP {
            return;
        }
        self.offset += step;
        info!(seconds = step.num_seconds(), "the wall clock was set");
        let VaultState::Open(open) = &self.vault else { return };
        let names: Vec<_> = open.vault.credentials().map(|credential| credential.name.clone()).collect();
        for name in names {
            if self.by_wall_clock.contains(&name) {
                self.restore_again(&name, now);
            } else {
                self.rename_end(&name, now);
            }
        }
    }

    /// What was restored by the clock as it stood then may be alive or dead by the clock as it stands now.
    fn restore_again(&mut self, name: &CredentialName, now: Now) {
        let stamp = Stamp::of(&self.parts.clock);
        let VaultState::Open(open) = &self.vault else { return };
        let (Some(cache), Some(credential)) = (&open.cache, open.vault.credential(name)) else { return };
        let held = cache.load(name, &stamp).token.and_then(|(token, _)| restored(credential, token, now));
        self.keeper.replace(name, held, now);
    }

    /// The same token ends at the same moment, which the wall clock calls by another name. If by its own account it has
    /// ended already, the machine may have stood still without its boot-time clock noticing: a new one is asked for.
    fn rename_end(&mut self, name: &CredentialName, now: Now) {
        let Some(held) = self.keeper.held(name).cloned() else { return };
        let Some(grant) = held.token.grant() else { return };
        let is_doubtful = grant.token.expires_at() <= now.wall;
        let value = grant.token.secret().clone();
        let Ok(token) = AccessToken::new(value, held.fingerprint, now.wall_of(held.expires)) else { return };
        let Some(ready) = Ready::new(TokenGrant { token: token.into(), ..grant }, held.expires) else {
            return;
        };
        self.keeper.replace(name, Some(Held { token: ready.into(), ..held }), now);
        if is_doubtful {
            self.keeper.doubt(name, now);
        }
    }

    /// A server's answer told how far its clock is ahead.
    pub(super) fn note_skew(&mut self, server_ahead: Option<TimeDelta>) {
        let Some(ahead) = server_ahead else { return };
        let was_wrong = self.skew.is_some();
        self.skew = (ahead.abs() > GREATEST_SKEW).then_some(ahead);
        match self.skew {
            Some(ahead) if !was_wrong => warn!("{}", explain::skewed(ahead)),
            None if was_wrong => info!("this machine's clock and Procurify's agree again"),
            _ => {}
        }
    }
}

/// Less than this is not a step but a clock that is steered.
const LEAST_STEP: TimeDelta = TimeDelta::seconds(1);
const GREATEST_SKEW: TimeDelta = TimeDelta::seconds(60);
