//! Token requests: from a ticket to what came of it.

use std::sync::Arc;

use procurify_token_protocol::{AccessToken, Answer, CredentialName, Failure, FailureCode, TokenGrant};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{Driver, Event, VaultState};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::{Issued, TokenIssuer, TokenRequest};
use crate::lookup::Ready;
use crate::refresh::{Held, Now, Ticket};
use crate::vault::{Which, fingerprint};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    pub(super) fn issue(&mut self, ticket: Ticket) {
        let sent = self.parts.clock.now();
        match self.token_request(&ticket.name, Which::Current, sent) {
            Ok(request) => {
                debug!(credential = %ticket.name, "asking for a token");
                let issuer = Arc::clone(&self.parts.issuer);
                let (stays_wanted, abandoned) = oneshot::channel();
                self.out.insert(ticket.clone(), stays_wanted);
                self.running.push(Box::pin(async move {
                    let outcome = tokio::select! {
                        // An answer that is there already is a token that was issued already.
                        biased;
                        outcome = issuer.issue(request) => outcome,
                        _ = abandoned => Err(FailureCode::TIMED_OUT.into()),
                    };
                    Event::Issued { ticket, sent, outcome }
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
                self.out.remove(&ticket);
                let outcome = outcome.and_then(|issued| self.hold(&ticket.name, &issued, sent));
                self.note_outcome(&ticket.name, outcome.as_ref());
                if outcome.is_ok() && self.keeper.is_current(&ticket) {
                    self.by_wall_clock.remove(&ticket.name);
                }
                self.keeper.issued(&ticket, outcome, self.parts.clock.now());
            }
            Event::Watched { name, reply } => {
                let _ = reply.send(self.watched(&name).map(|state| Answer::Watched(Box::new(state))));
            }
            Event::Tried { trial, outcome, reply } => self.finish_promotion(&trial, outcome, reply),
            Event::Opened { opened, attempt } => self.finish_opening(opened, attempt),
            Event::SlotPrepared { prepared, description, locked, reply } => {
                let prepared = prepared.and_then(|prepared| self.still(locked, prepared));
                let added = prepared.and_then(|prepared| self.slot_added(prepared, description));
                let _ = reply.send(added);
            }
            Event::SlotsKept { kept, without, locked, reply } => {
                let kept = kept.and_then(|kept| self.still(locked, kept));
                let rekeyed = kept.and_then(|kept| self.rekeyed(&kept, &without));
                let _ = reply.send(rekeyed);
            }
            Event::Exporting { allowed, after, locked, reply } => {
                let allowed = allowed.and_then(|()| self.still(locked, ()));
                let page = allowed.and_then(|()| self.exported(after.as_ref()));
                let _ = reply.send(page);
            }
            Event::Arrived { copies, reply } => {
                let imported = copies.and_then(|copies| self.imported(copies));
                self.perform();
                let _ = reply.send(imported);
            }
            Event::Answered { answer, reply } => {
                let _ = reply.send(answer);
            }
        }
    }

    pub(super) fn note_outcome(&self, name: &CredentialName, outcome: Result<&Held<Arc<Ready>>, &Failure>) {
        let now = self.parts.clock.now();
        let last = self.keeper.view(name, now).and_then(|view| view.last_failure);
        match (outcome, last) {
            (Ok(held), _) => {
                let (token, expires_at) = (held.fingerprint, now.wall_of(held.expires));
                info!(credential = %name, %token, %expires_at, "a token was issued");
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

    /// A token as it arrived, with its life counted from the moment it was asked for.
    pub(super) fn hold(
        &mut self,
        name: &CredentialName,
        issued: &Issued,
        sent: Now,
    ) -> Result<Held<Arc<Ready>>, Failure> {
        self.note_skew(issued.server_ahead);
        let VaultState::Open(open) = &self.vault else { return Err(FailureCode::SECRET_UNREADABLE.into()) };
        let credential = open.vault.credential(name);
        let credential = credential.ok_or_else(|| Failure::from(FailureCode::SECRET_UNREADABLE))?;
        let fingerprint = fingerprint(&issued.access_token);
        let expires = sent.boot + issued.lifetime;
        // By the wall clock of today: it may have been set while the request was out.
        let ends = self.parts.clock.now().wall_of(expires);
        let token = AccessToken::new(issued.access_token.clone(), fingerprint, ends).ok();
        let grant =
            token.map(|token| TokenGrant { token: token.into(), base_url: credential.base_url.clone() });
        let ready = grant.and_then(|grant| Ready::new(grant, expires));
        let unusable = || Failure { http_status: Some(200), ..FailureCode::NOT_OAUTH.into() };
        let ready = ready.ok_or_else(unusable)?;
        Ok(Held { token: ready.into(), fingerprint, issued: sent.boot, expires })
    }
}
