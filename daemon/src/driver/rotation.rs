//! Taking other client credentials into use: tried first, then promoted, the earlier ones kept.

use std::sync::Arc;
use std::time::Duration;

use procurify_token_protocol::{Answer, CredentialName, Failure, FailureCode, Refusal};
use tracing::info;

use super::admin::made;
use super::{Driver, Event, Reply};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::{Issued, TokenIssuer, TokenRequest};
use crate::refresh::Now;
use crate::vault::{ChangeError, Which};

/// A staged pair that is being tried: this one and no other is promoted if it works.
#[derive(Debug)]
pub(super) struct Trial {
    name: CredentialName,
    version: u64,
    sent: Now,
}

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Tries the staged pair, beside whatever the pair in use is doing.
    pub(super) fn promote(&mut self, name: CredentialName, deadline: Duration, reply: Reply) {
        let begun = self.begin_promotion(&name);
        let (trial, request) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        self.promoting.push(name);
        let issuer = Arc::clone(&self.parts.issuer);
        self.running.push(Box::pin(async move {
            let patience = deadline.min(super::LONGEST_DEADLINE);
            let outcome = tokio::time::timeout(patience, issuer.issue(request)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(FailureCode::TIMED_OUT.into()));
            Event::Tried { trial, outcome, reply }
        }));
    }

    fn begin_promotion(&mut self, name: &CredentialName) -> Result<(Trial, TokenRequest), Refusal> {
        let vault = &self.opened()?.vault;
        let credential = vault.credential(name).ok_or_else(|| explain::unknown(name))?;
        let nothing = || explain::change(name, &ChangeError::NothingStaged);
        let version = credential.staged.as_ref().ok_or_else(nothing)?.version;
        if self.promoting.contains(name) {
            return Err(explain::being_tried(name));
        }
        let sent = self.parts.clock.now();
        let request = self
            .token_request(name, Which::Staged, sent)
            .map_err(|failure| explain::failed(name, &failure, None))?;
        self.keeper.trial_begins(sent);
        Ok((Trial { name: name.clone(), version, sent }, request))
    }

    pub(super) fn finish_promotion(&mut self, trial: &Trial, outcome: Result<Issued, Failure>, reply: Reply) {
        self.promoting.retain(|name| *name != trial.name);
        let answer = self.promoted(trial, outcome);
        self.perform();
        let _ = reply.send(answer);
    }

    fn promoted(
        &mut self,
        Trial { name, version, sent }: &Trial,
        outcome: Result<Issued, Failure>,
    ) -> Result<Answer, Refusal> {
        // Whatever becomes of it below.
        self.keeper.trial_ended(name, outcome.as_ref().err(), self.parts.clock.now());
        let outcome = outcome.and_then(|issued| self.hold(name, &issued, *sent));
        // The machine may have slept while the answer was on its way.
        let now = self.parts.clock.boot();
        let outcome = outcome
            .and_then(|held| if held.expires > now { Ok(held) } else { Err(FailureCode::TIMED_OUT.into()) });
        self.note_outcome(name, outcome.as_ref());
        let held = outcome.map_err(|failure| explain::failed(name, &failure, None))?;
        let vault = &mut self.opened()?.vault;
        let changed = made(name, vault.promote(name, *version))?;
        info!(credential = %name, "the new client credentials work and are in use");
        let grant = held.token.grant().ok_or_else(|| explain::unknown(name))?;
        self.by_wall_clock.remove(name);
        self.keeper.adopt(name, held, self.parts.clock.now());
        changed.confirmed().map(|_| Answer::Token(grant))
    }
}
