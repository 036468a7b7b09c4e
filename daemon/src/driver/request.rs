//! Token requests: from a ticket to what came of it.

use std::sync::Arc;

use chrono::TimeDelta;
use procurify_token_protocol::{AccessToken, CredentialName, Failure, FailureCode};
use tracing::{debug, info, warn};

use super::{Driver, Event, VaultState};
use crate::cache::CachedToken;
use crate::clock::Clock;
use crate::explain;
use crate::issuer::{Issued, TokenIssuer, TokenRequest};
use crate::refresh::{Held, Now, Ticket};
use crate::vault::{Which, fingerprint};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    pub(super) fn issue(&mut self, ticket: Ticket) {
        let sent = self.parts.clock.now();
        match self.token_request(&ticket.name, Which::Current, sent) {
            Ok(request) => {
                debug!(credential = %ticket.name, "asking for a token");
                let issuer = Arc::clone(&self.parts.issuer);
                self.running.push(Box::pin(async move {
                    Event::Issued { ticket, sent, outcome: issuer.issue(request).await }
                }));
            }
            Err(failure) => self.keeper.issued(&ticket, Err(failure), sent),
        }
    }

    /// The one place where a client secret is opened: for one request, which takes it along and wipes it.
    pub(super) fn token_request(
        &self,
        name: &CredentialName,
        which: Which,
        now: Now,
    ) -> Result<TokenRequest, Failure> {
        let unreadable = || Failure::from(FailureCode::SECRET_UNREADABLE);
        let VaultState::Open(open) = &self.vault else { return Err(unreadable()) };
        let credential = open.vault.credential(name).ok_or_else(unreadable)?;
        let pair = credential.pair(which).ok_or_else(unreadable)?;
        Ok(TokenRequest {
            domain: name.domain(),
            client_id: pair.client_id.clone(),
            client_secret: open.vault.client_secret(name, which).map_err(|_| unreadable())?,
            token_url: credential.token_url.clone(),
            audience: credential.audience.clone(),
            body_encoding: credential.body_encoding,
            now: now.wall,
        })
    }

    pub(super) fn come_back(&mut self, event: Event) {
        match event {
            Event::Issued { ticket, sent, outcome } => {
                let outcome = outcome.and_then(|issued| held(&issued, sent));
                self.note_outcome(&ticket.name, outcome.as_ref());
                let is_kept = outcome.is_ok() && self.keeper.is_current(&ticket);
                self.keeper.issued(&ticket, outcome, self.parts.clock.now());
                if is_kept {
                    self.keep(&ticket.name);
                }
            }
            Event::Tried { trial, outcome, reply } => self.finish_promotion(&trial, outcome, reply),
            Event::Opened { opened, is_new, reply } => self.finish_opening(opened, is_new, reply),
        }
    }

    /// Writes what is held for a credential to the cache, before anybody is handed it.
    pub(super) fn keep(&mut self, name: &CredentialName) {
        let now = self.parts.clock.now();
        let VaultState::Open(open) = &mut self.vault else { return };
        let Some(cache) = &mut open.cache else { return };
        let Some(version) = open.vault.credential(name).map(|credential| credential.current.version) else {
            return;
        };
        let Some(held) = self.keeper.view(name, now).and_then(|view| view.held) else { return };
        let token = CachedToken {
            token: Arc::clone(&held.token),
            issued_at: now.wall_of(held.issued),
            pair_version: version,
        };
        if let Err(error) = cache.store(name, &token) {
            warn!(credential = %name, %error, "the token could not be kept for the next start");
        }
    }

    pub(super) fn note_outcome(&self, name: &CredentialName, outcome: Result<&Held, &Failure>) {
        let now = self.parts.clock.now();
        let last = self.keeper.view(name, now).and_then(|view| view.last_failure);
        match (outcome, last) {
            (Ok(held), _) => {
                let token = held.token.fingerprint();
                info!(credential = %name, %token, expires_at = %held.token.expires_at(), "a token was issued");
            }
            // Said once, not at every attempt of a long outage.
            (Err(failure), Some((before, ..))) if before.code == failure.code => {
                debug!(credential = %name, failure = failure.code.label(), "no token again");
            }
            (Err(failure), _) => {
                let report = explain::report(name, failure, now.wall, 1);
                warn!(credential = %name, failure = failure.code.label(), "no token: {}", report.message);
            }
        }
    }
}

/// A token as it arrived, with its life counted from the moment it was asked for.
pub(super) fn held(issued: &Issued, sent: Now) -> Result<Held, Failure> {
    let life = TimeDelta::from_std(issued.lifetime).unwrap_or(TimeDelta::zero());
    let token =
        AccessToken::new(issued.access_token.clone(), fingerprint(&issued.access_token), sent.wall + life)
            .map_err(|_| Failure::from(FailureCode::NOT_OAUTH))?;
    Ok(Held { token: Arc::new(token), issued: sent.boot, expires: sent.boot + issued.lifetime })
}
