//! Requests that change the vault or its state: each is on the disk before it is answered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use procurify_token_protocol::{
    Answer, CredentialName, Failure, FailureCode, Fingerprint, Refusal, Request, UnlockWith,
};
use tracing::{info, warn};

use super::{Driver, Event, OpenVault, Reply, VaultState, held};
use crate::access::Peer;
use crate::cache::{Cache, Condition};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::{Issued, TokenIssuer, TokenRequest};
use crate::refresh::{Held, Now};
use crate::vault::{ChangeError, Credential, Key, Vault, VaultError, Which};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Opens the vault by its key file where it has one: what needs no person needs no command either.
    pub fn open_at_start(&mut self) {
        let opened = Vault::open(&self.parts.vault, Key::KeyFile);
        match &opened {
            Err(VaultError::Missing { .. }) => info!("there is no vault yet: procurify-token init makes one"),
            Err(VaultError::NoSuchSlot { .. }) => {
                info!("the vault waits for its passphrase: procurify-token unlock");
            }
            Err(error) => {
                let problem = format!("The vault is not open. {error}");
                warn!("{problem}");
                self.parts.warnings.push(problem);
            }
            Ok(_) => {}
        }
        if opened.is_ok() {
            self.finish_opening(opened, false, None);
            // Whoever is told that the daemon is ready finds the kept tokens in the table.
            self.perform();
        }
    }

    /// Everything that is answered without waiting for anybody.
    pub(super) fn administer(&mut self, request: Request, peer: Peer) -> Result<Answer, Refusal> {
        let now = self.parts.clock.now();
        match request {
            Request::Status => return Ok(Answer::Status(Box::new(self.daemon_status(now)))),
            Request::Lock => {
                self.opened()?;
                self.lock();
                info!(?peer, "the vault was locked");
                return Ok(Answer::Done);
            }
            Request::Stop => {
                info!(?peer, "a client asked the daemon to stop");
                self.parts.stop.notify_one();
                return Ok(Answer::Done);
            }
            _ => {}
        }
        let vault = &mut self.opened()?.vault;
        let changed = match request {
            Request::List { after } => return Ok(self.page(after.as_ref(), now)),
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
                let changed = made(&name, vault.add(*new, now.wall))?;
                info!(credential = %name, ?peer, "a credential was enrolled");
                self.keeper.insert(&name, None, now);
                changed
            }
            Request::Stage { name, client_id, client_secret, replace } => {
                let changed = made(&name, vault.stage(&name, client_id, &client_secret, replace, now.wall))?;
                info!(credential = %name, ?peer, "new client credentials were stored beside the old ones");
                changed
            }
            Request::Rollback { name } => {
                let changed = made(&name, vault.rollback(&name))?;
                info!(credential = %name, ?peer, "the earlier client credentials are in use again");
                self.keeper.credentials_changed(&name, now);
                changed
            }
            Request::Remove { name } => {
                let changed = made(&name, vault.remove(&name))?;
                info!(credential = %name, ?peer, "a credential was removed");
                self.forget(&name);
                self.keeper.remove(&name, now);
                changed
            }
            Request::Get { .. }
            | Request::Refresh { .. }
            | Request::Promote { .. }
            | Request::Init { .. }
            | Request::Unlock { .. }
            | Request::Status
            | Request::Lock
            | Request::Stop => unreachable!("these are answered elsewhere"),
        };
        changed.confirmed()
    }

    /// Makes or opens the vault. A passphrase takes its time, beside the driver.
    pub(super) fn open(&mut self, key: UnlockWith, is_new: bool, reply: Reply) {
        let answer = match (&self.vault, is_new) {
            (VaultState::Opening, _) => Some(Err(explain::busy())),
            (VaultState::Open(_), false) => Some(Ok(Answer::Done)),
            (VaultState::Open(_), true) | (VaultState::Closed, _) => None,
        };
        if let Some(answer) = answer {
            let _ = reply.send(answer);
            return;
        }
        if let (VaultState::Open(_), true) = (&self.vault, is_new) {
            let exists = VaultError::Exists { path: self.parts.vault.vault.clone() };
            let _ = reply.send(Err(explain::vault(&exists)));
            return;
        }
        self.vault = VaultState::Opening;
        let paths = self.parts.vault.clone();
        let work = tokio::task::spawn_blocking(move || {
            let key = match &key {
                UnlockWith::KeyFile => Key::KeyFile,
                UnlockWith::Passphrase(passphrase) => Key::Passphrase(passphrase),
            };
            if is_new { Vault::create(&paths, key) } else { Vault::open(&paths, key) }
        });
        self.running.push(Box::pin(async move {
            let opened = work.await.expect("opening a vault does not panic");
            Event::Opened { opened, is_new, reply: Some(reply) }
        }));
    }

    pub(super) fn finish_opening(
        &mut self,
        opened: Result<Vault, VaultError>,
        is_new: bool,
        reply: Option<Reply>,
    ) {
        let answer = match opened {
            Ok(vault) => {
                self.settle_in(vault);
                let path = |path: &Path| path.display().to_string();
                let paths = &self.parts.vault;
                if is_new {
                    let key_file = paths.key_file.exists().then(|| path(&paths.key_file));
                    Ok(Answer::Initialised { vault: path(&paths.vault), key_file })
                } else {
                    Ok(Answer::Done)
                }
            }
            Err(error) => {
                self.vault = VaultState::Closed;
                Err(explain::vault(&error))
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// Takes an open vault into use: its credentials to the Keeper, with the tokens that an earlier run left.
    fn settle_in(&mut self, vault: Vault) {
        let now = self.parts.clock.now();
        let cache = match Cache::open(&self.parts.cache, vault.cache_keys()) {
            Ok((cache, condition)) => {
                if condition == Condition::Replaced {
                    warn!(
                        "the token cache was unusable and was made anew; every credential asks for a token"
                    );
                }
                Some(cache)
            }
            Err(error) => {
                let problem = format!("Tokens are not kept over a restart: {error}");
                warn!("{problem}");
                self.parts.warnings.push(problem);
                None
            }
        };
        let mut restored = 0_usize;
        for credential in vault.credentials() {
            let kept = cache.as_ref().and_then(|cache| cache.load(&credential.name));
            let kept = kept.filter(|kept| has_version(credential, kept.pair_version));
            restored += usize::from(kept.is_some());
            let kept = kept.map(|kept| Held {
                issued: now.moment_of(kept.issued_at),
                expires: now.moment_of(kept.token.expires_at()),
                token: kept.token,
            });
            self.keeper.insert(&credential.name, kept, now);
        }
        info!(credentials = vault.credentials().count(), tokens = restored, "the vault is open");
        self.vault = VaultState::Open(Box::new(OpenVault { vault, cache }));
    }

    /// Tries the staged pair, beside whatever the pair in use is doing.
    pub(super) fn promote(&mut self, name: CredentialName, deadline: Duration, reply: Reply) {
        let begun = self.begin_promotion(&name);
        let (request, sent) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        self.promoting.push(name.clone());
        let issuer = Arc::clone(&self.parts.issuer);
        self.running.push(Box::pin(async move {
            let patience = deadline.min(super::LONGEST_DEADLINE);
            let outcome = tokio::time::timeout(patience, issuer.issue(request)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(FailureCode::TIMED_OUT.into()));
            Event::Tried { name, sent, outcome, reply }
        }));
    }

    fn begin_promotion(&mut self, name: &CredentialName) -> Result<(TokenRequest, Now), Refusal> {
        let vault = &self.opened()?.vault;
        let credential = vault.credential(name).ok_or_else(|| explain::unknown(name))?;
        if credential.staged.is_none() {
            return Err(explain::change(name, &ChangeError::NothingStaged));
        }
        if self.promoting.contains(name) {
            return Err(explain::busy());
        }
        let sent = self.parts.clock.now();
        let request = self.token_request(name, Which::Staged, sent);
        request.map(|request| (request, sent)).map_err(|failure| explain::failed(name, &failure, None))
    }

    pub(super) fn finish_promotion(
        &mut self,
        name: &CredentialName,
        sent: Now,
        outcome: Result<Issued, Failure>,
        reply: Reply,
    ) {
        self.promoting.retain(|other| other != name);
        let _ = reply.send(self.promoted(name, sent, outcome));
    }

    fn promoted(
        &mut self,
        name: &CredentialName,
        sent: Now,
        outcome: Result<Issued, Failure>,
    ) -> Result<Answer, Refusal> {
        let outcome = outcome.and_then(|issued| held(&issued, sent));
        self.note_outcome(name, outcome.as_ref());
        let held = outcome.map_err(|failure| explain::failed(name, &failure, None))?;
        let vault = &mut self.opened()?.vault;
        let changed = made(name, vault.promote(name))?;
        info!(credential = %name, "the new client credentials work and are in use");
        let grant = self.grant(name, &held).ok_or_else(|| explain::unknown(name))?;
        self.keeper.adopt(name, held, self.parts.clock.now());
        self.keep(name);
        changed.confirmed().map(|_| Answer::Token(grant))
    }

    fn invalidate(
        &mut self,
        name: &CredentialName,
        fingerprint: Fingerprint,
        now: Now,
    ) -> Result<(), Refusal> {
        let view = self.keeper.view(name, now).ok_or_else(|| explain::unknown(name))?;
        if view.held.is_some_and(|held| held.token.fingerprint() == fingerprint) {
            info!(credential = %name, token = %fingerprint, "the API refused the token");
            self.forget(name);
            self.keeper.invalidate(name, fingerprint, now);
        }
        Ok(())
    }

    fn forget(&mut self, name: &CredentialName) {
        let VaultState::Open(open) = &mut self.vault else { return };
        let Some(cache) = &mut open.cache else { return };
        if let Err(error) = cache.forget(name) {
            warn!(credential = %name, %error, "a token stays in the cache");
        }
    }

    /// Lets go of the vault key and every token. What the cache holds stays, sealed.
    fn lock(&mut self) {
        self.keeper.close();
        self.perform();
        self.vault = VaultState::Closed;
    }

    pub(super) fn opened(&mut self) -> Result<&mut OpenVault, Refusal> {
        match &mut self.vault {
            VaultState::Open(open) => Ok(open),
            VaultState::Opening => Err(explain::locked()),
            VaultState::Closed if self.parts.vault.vault.exists() => Err(explain::locked()),
            VaultState::Closed => Err(explain::no_vault()),
        }
    }
}

/// A change that was made, and what the disk said to it.
enum Changed {
    Confirmed,
    Unconfirmed(Refusal),
}

impl Changed {
    /// Only what the disk has confirmed is reported as done.
    fn confirmed(self) -> Result<Answer, Refusal> {
        match self {
            Self::Confirmed => Ok(Answer::Done),
            Self::Unconfirmed(refusal) => Err(refusal),
        }
    }
}

fn made(name: &CredentialName, outcome: Result<(), ChangeError>) -> Result<Changed, Refusal> {
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

fn has_version(credential: &Credential, version: u64) -> bool {
    let pairs = [Which::Current, Which::Staged, Which::Previous];
    pairs.into_iter().filter_map(|which| credential.pair(which)).any(|pair| pair.version == version)
}
