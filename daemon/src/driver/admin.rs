//! Requests that change what is in the vault, and those that are answered at once: a change is on the disk before it is
//! answered. A little long, because every
//! verb that changes something is to be seen beside the others.

use procurify_token_protocol::{Answer, CredentialName, Fingerprint, Refusal, Request};
use tracing::{info, warn};

use super::Driver;
use crate::access::{Peer, Scope};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::TokenIssuer;
use crate::refresh::{History, Now};
use crate::vault::ChangeError;

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Everything that is answered without waiting for anybody.
    pub(super) fn administer(
        &mut self,
        request: Request,
        peer: &Peer,
        scope: &Scope,
    ) -> Result<Answer, Refusal> {
        let now = self.parts.clock.now();
        match request {
            Request::Status => return Ok(Answer::Status(Box::new(self.daemon_status()))),
            Request::Lock => {
                self.opened()?;
                self.lock();
                info!(uid = peer.user.as_ref().map(display), pid = peer.pid, "the vault was locked");
                return Ok(Answer::Done);
            }
            Request::Stop => {
                info!(
                    uid = peer.user.as_ref().map(display),
                    pid = peer.pid,
                    "a client asked the daemon to stop"
                );
                self.parts.stop.notify_one();
                return Ok(Answer::Done);
            }
            _ => {}
        }
        self.opened()?;
        let changed = match request {
            Request::List { after } => return Ok(self.page(after.as_ref(), scope, now)),
            Request::Describe { name } => {
                let status = self.credential_status(&name, now).ok_or_else(|| explain::unknown(&name))?;
                return Ok(Answer::Credential(Box::new(status)));
            }
            Request::Invalidate { name, fingerprint } => {
                self.invalidate(&name, fingerprint, now)?;
                return Ok(Answer::Done);
            }
            Request::Add(new) => {
                let name = new.name.clone();
                let changed = made(&name, self.opened()?.vault.add(*new, now.wall))?;
                info!(credential = %name, uid = peer.user.as_ref().map(display), pid = peer.pid, "a credential was enrolled");
                self.keeper.insert(&name, None, History::default(), now);
                changed
            }
            Request::Stage { name, .. } if self.promoting.contains(&name) => {
                return Err(explain::being_tried(&name));
            }
            Request::Stage { name, client_id, client_secret, replace } => {
                let changed = made(
                    &name,
                    self.opened()?.vault.stage(&name, client_id, &client_secret, replace, now.wall),
                )?;
                info!(credential = %name, uid = peer.user.as_ref().map(display), pid = peer.pid, "new client credentials were stored beside the old ones");
                changed
            }
            Request::Rollback { name } => {
                let changed = made(&name, self.opened()?.vault.rollback(&name))?;
                info!(credential = %name, uid = peer.user.as_ref().map(display), pid = peer.pid, "the earlier client credentials are in use again");
                self.keeper.credentials_changed(&name, now);
                changed
            }
            Request::Remove { name } => {
                let changed = made(&name, self.opened()?.vault.remove(&name))?;
                info!(credential = %name, uid = peer.user.as_ref().map(display), pid = peer.pid, "a credential was removed");
                self.forget(&name);
                self.keeper.remove(&name, now);
                changed
            }
            Request::Get { .. }
            | Request::Refresh { .. }
            | Request::Promote { .. }
            | Request::Init { .. }
            | Request::Unlock { .. }
            | Request::Watch { .. }
            | Request::Slots
            | Request::AddSlot { .. }
            | Request::Rekey { .. }
            | Request::Backup { .. }
            | Request::Upload(_)
            | Request::Restore { .. }
            | Request::Import { .. }
            | Request::Export { .. }
            | Request::Examine
            | Request::ExplainAccess { .. }
            | Request::AuditShow { .. }
            | Request::AuditVerify
            | Request::Status
            | Request::Lock
            | Request::Stop => unreachable!("these are answered elsewhere"),
        };
        changed.confirmed()
    }

    fn invalidate(
        &mut self,
        name: &CredentialName,
        fingerprint: Fingerprint,
        now: Now,
    ) -> Result<(), Refusal> {
        let view = self.keeper.view(name, now).ok_or_else(|| explain::unknown(name))?;
        if view.held.is_some_and(|held| held.fingerprint == fingerprint) {
            info!(credential = %name, token = %fingerprint, "the API refused the token");
            self.keeper.invalidate(name, fingerprint, now);
        }
        Ok(())
    }
}

/// A change that was made, and what the disk said to it.
pub(super) enum Changed {
    Confirmed,
    Unconfirmed(Refusal),
}

impl Changed {
    /// Only what the disk has confirmed is reported as done.
    pub(super) fn confirmed(self) -> Result<Answer, Refusal> {
        match self {
            Self::Confirmed => Ok(Answer::Done),
            Self::Unconfirmed(refusal) => Err(refusal),
        }
    }
}

/// What a change to the vault amounts to.
pub(super) fn made(name: &CredentialName, outcome: Result<(), ChangeError>) -> Result<Changed, Refusal> {
    let Err(error) = outcome else { return Ok(Changed::Confirmed) };
    let refusal = explain::change(name, &error);
    match error {
        ChangeError::Unconfirmed(_) => {
            warn!(credential = %name, "{error}");
            Ok(Changed::Unconfirmed(refusal))
        }
        ChangeError::NotStored(_) => {
            warn!(credential = %name, "{error}");
            Err(refusal)
        }
        _ => Err(refusal),
    }
}
