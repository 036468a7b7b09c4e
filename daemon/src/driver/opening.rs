//! Making, opening and locking the vault.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use procurify_token_protocol::{
    AccessToken, Answer, NewSlot, RecoveryCode, Refusal, SlotKind, TokenGrant, UnlockWith,
};
use tracing::{info, warn};

use super::beside::{Effort, paused};
use super::{Driver, Event, OpenVault, Reply, VaultState};
use crate::audit::Keep;
use crate::cache::{Cache, CachedToken, Condition};
use crate::clock::{Anchor, Clock, Stamp};
use crate::explain;
use crate::issuer::TokenIssuer;
use crate::lookup::Ready;
use crate::refresh::{Held, Now};
use crate::vault::{Credential, Key, Vault, VaultError, VaultPaths, Which};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Opens the vault where that needs no person. What may take its time, a command or a keychain, is asked once the driver
    /// runs, and whoever comes meanwhile waits for it.
    pub fn open_at_start(&mut self) {
        let kinds = Vault::slots_at(&self.parts.places.vault).unwrap_or_default();
        if kinds.iter().any(|slot| matches!(slot.kind, SlotKind::Command | SlotKind::Keychain)) {
            self.held_back = Some(Vec::new());
            return;
        }
        let opened = Vault::open(&self.parts.places.vault, Key::Unattended);
        self.opened_by_itself(opened);
        // Whoever is told that the daemon is ready finds the kept tokens in the table.
        self.perform();
        self.show_vitals();
    }

    /// Begins what [`open_at_start`](Self::open_at_start) has left.
    pub(super) fn open_by_itself(&mut self) {
        if self.held_back.is_some() {
            let attempt = Attempt { locked: self.locked, purpose: Purpose::ByItself };
            self.attempt(attempt, Effort::Fetch, |paths| Ok((Vault::open(paths, Key::Unattended)?, None)));
        }
    }

    fn opened_by_itself(&mut self, opened: Result<Vault, VaultError>) {
        match opened {
            Ok(vault) => {
                if let Err(error) = self.settle_in(vault) {
                    self.not_open(&error);
                }
            }
            Err(VaultError::Missing { .. }) => info!("there is no vault yet: procurify-token init makes one"),
            Err(VaultError::OnlyByPerson { .. }) => {
                info!("the vault waits for a person: procurify-token unlock");
            }
            Err(error) => self.not_open(&error),
        }
    }

    fn not_open(&mut self, error: &VaultError) {
        let problem = format!("The vault is not open. {error}");
        warn!("{problem}");
        self.is_unusable = true;
        self.problems.push(problem);
    }

    /// Makes a vault, beside the driver.
    pub(super) fn init(&mut self, slots: Vec<NewSlot>, reply: Reply) {
        let kinds: Vec<_> = slots.iter().map(std::mem::discriminant).collect();
        let is_sound = !kinds.is_empty() && (1..kinds.len()).all(|at| !kinds[..at].contains(&kinds[at]));
        let now = self.parts.clock.now().wall;
        let refusal = match &self.vault {
            _ if !is_sound => Some(explain::no_slots()),
            VaultState::Open(_) => {
                let exists = VaultError::Exists { path: self.parts.places.vault.vault.clone() };
                Some(explain::vault(&exists))
            }
            VaultState::Closed => None,
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
            return;
        }
        let has_key_file = slots.iter().any(|slot| matches!(slot, NewSlot::KeyFile));
        let attempt = Attempt { locked: self.locked, purpose: Purpose::Init { has_key_file, reply } };
        self.attempt(attempt, Effort::of_slots(&slots), move |paths| Vault::create(paths, &slots, now));
    }

    /// Opens the vault, beside the driver.
    pub(super) fn unlock(&mut self, key: UnlockWith, generation: u8, reply: Reply) {
        if let VaultState::Open(_) = &self.vault {
            let is_open = if generation == 0 { Ok(Answer::Done) } else { Err(explain::open_already()) };
            let _ = reply.send(is_open);
            return;
        }
        let attempt = Attempt { locked: self.locked, purpose: Purpose::Unlock { generation, reply } };
        self.attempt(attempt, Effort::of_key(&key), move |paths| {
            Ok((Vault::open_generation(paths, Key::from(&key), generation)?, None))
        });
    }

    /// Tries something that takes its time. Others may try at the same moment; who errs pays for it alone, with a pause.
    fn attempt(
        &mut self,
        attempt: Attempt,
        effort: Effort,
        work: impl FnOnce(&VaultPaths) -> Result<(Vault, Option<RecoveryCode>), VaultError> + Send + 'static,
    ) {
        let tried = self.beside(effort, work);
        self.running
            .push(Box::pin(async move { Event::Opened { opened: paused(tried.await).await, attempt } }));
    }

    pub(super) fn finish_opening(
        &mut self,
        opened: Result<(Vault, Option<RecoveryCode>), VaultError>,
        attempt: Attempt,
    ) {
        let Attempt { locked, purpose } = attempt;
        let is_of_use = locked == self.locked;
        match purpose {
            Purpose::ByItself => {
                // A person may have been faster.
                if is_of_use && matches!(self.vault, VaultState::Closed) {
                    self.opened_by_itself(opened.map(|(vault, _)| vault));
                    self.perform();
                }
                self.let_in();
            }
            Purpose::Init { has_key_file, reply } => {
                let made =
                    opened.map_err(|error| explain::vault(&error)).and_then(|(vault, recovery_code)| {
                        self.settle_in(vault).map_err(|error| explain::vault(&error))?;
                        let path = |path: &Path| path.display().to_string();
                        let VaultPaths { vault, key_file, .. } = &self.parts.places.vault;
                        let key_file = has_key_file.then(|| path(key_file));
                        Ok(Answer::Initialised { vault: path(vault), key_file, recovery_code })
                    });
                self.perform();
                let _ = reply.send(made);
            }
            Purpose::Unlock { generation, reply } => {
                let outcome = match (opened, &self.vault) {
                    (Err(error), _) => Err(explain::vault(&error)),
                    (Ok(_), _) if !is_of_use => Err(explain::locked()),
                    (Ok(_), VaultState::Open(_)) if generation > 0 => Err(explain::open_already()),
                    (Ok(_), VaultState::Open(_)) => Ok(Answer::Done),
                    (Ok((vault, _)), VaultState::Closed) => match self.settle_in(vault) {
                        Ok(()) => Ok(Answer::Done),
                        Err(error) => Err(explain::vault(&error)),
                    },
                };
                self.perform();
                let _ = reply.send(outcome);
                if matches!(self.vault, VaultState::Open(_)) {
                    self.let_in();
                }
            }
        }
    }

    /// Nobody need wait any longer for the vault to be opened by itself.
    fn let_in(&mut self) {
        for command in self.held_back.take().into_iter().flatten() {
            self.take(command);
        }
    }

    /// Takes an open vault into use: its credentials to the Keeper, with the tokens that an earlier run left.
    fn settle_in(&mut self, mut vault: Vault) -> Result<(), VaultError> {
        vault.settle()?;
        self.problems.clear();
        let now = self.parts.clock.now();
        let mut cache = match Cache::open(&self.parts.places.cache, vault.cache_keys()) {
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
                self.problems.push(problem);
                None
            }
        };
        let stamp = Stamp::of(&self.parts.clock);
        let mut tokens = 0_usize;
        for credential in vault.credentials() {
            let kept = cache.as_ref().map(|cache| cache.load(&credential.name, &stamp)).unwrap_or_default();
            let (mut history, version) = kept.history;
            if version != credential.current.version {
                (history.setback, history.refused_in_a_row, history.changed_at) = (None, 0, None);
            }
            if kept.token.as_ref().is_some_and(|(_, anchor)| *anchor == Anchor::WallClock) {
                self.by_wall_clock.insert(credential.name.clone());
            }
            // As where the clock is set while the daemon runs: the machine may have stood still, and no clock but this
            // one have noticed.
            let is_doubtful =
                kept.token.as_ref().is_some_and(|(kept, _)| kept.token.expires_at() <= now.wall);
            let held = kept.token.and_then(|(token, _)| restored(credential, token, now));
            tokens += usize::from(held.is_some());
            self.keeper.insert(&credential.name, held, history, now);
            if is_doubtful {
                self.keeper.doubt(&credential.name, now);
            }
        }
        if self.parts.audit.keep() != Keep::Off {
            match vault.audit_key() {
                Ok((key, how)) => self.parts.audit.open(key, how),
                Err(error) => {
                    warn!("no audit records are written: {error}");
                    self.parts.audit.cannot_open(&error.to_string());
                }
            }
        }
        let credentials = vault.credentials().count();
        info!(credentials, tokens, "the vault is open");
        // A crash in the middle of a removal leaves what nobody will ever ask for.
        let names = vault.credentials().map(|credential| &credential.name);
        if let Some(Err(error)) = cache.as_mut().map(|cache| cache.retain(names)) {
            warn!(%error, "tokens of credentials that are gone stay in the cache");
        }
        self.vault = VaultState::Open(Box::new(OpenVault { vault, cache }));
        self.is_unusable = false;
        Ok(())
    }

    /// Lets go of the vault key and every token. What the cache holds stays, sealed.
    pub(super) fn lock(&mut self) {
        self.keeper.close();
        self.perform();
        self.by_wall_clock.clear();
        self.export = None;
        self.locked += 1;
        self.parts.audit.close();
        self.vault = VaultState::Closed;
    }

    /// What was begun with an open vault, if that was not locked since. Another may be open by now, and what was shown was shown to
    /// the one before.
    pub(super) fn still<T>(&self, locked: u64, begun: T) -> Result<T, Refusal> {
        if locked == self.locked { Ok(begun) } else { Err(explain::locked()) }
    }

    pub(super) fn opened(&mut self) -> Result<&mut OpenVault, Refusal> {
        let paths = &self.parts.places.vault;
        match &mut self.vault {
            VaultState::Open(open) => Ok(open),
            VaultState::Closed if paths.vault.exists() => Err(explain::locked()),
            VaultState::Closed => match Vault::slots_at(paths) {
                Err(error @ VaultError::OnlyOlder { .. }) => Err(explain::vault(&error)),
                _ => Err(explain::no_vault()),
            },
        }
    }
}

/// A token of an earlier run, named by the wall clock as it stands now. One that was issued in the future was written
/// down by a clock that was wrong, and nothing is known of its life.
pub(super) fn restored(credential: &Credential, kept: CachedToken, now: Now) -> Option<Held<Arc<Ready>>> {
    let CachedToken { token, issued, expires, pair_version } = kept;
    if !has_version(credential, pair_version) || issued > now.boot + CLOCK_TOLERANCE || expires <= now.boot {
        return None;
    }
    let fingerprint = token.fingerprint();
    let token = AccessToken::new(token.secret().clone(), fingerprint, now.wall_of(expires)).ok()?;
    let grant = TokenGrant { token: token.into(), base_url: credential.base_url.clone() };
    let ready = Ready::new(grant, expires)?;
    Some(Held { token: ready.into(), fingerprint, issued, expires })
}

fn has_version(credential: &Credential, version: u64) -> bool {
    let pairs = [Which::Current, Which::Staged, Which::Previous];
    pairs.into_iter().filter_map(|which| credential.pair(which)).any(|pair| pair.version == version)
}

/// Something that was tried with the vault's files, and for whom.
pub(super) struct Attempt {
    /// How often the vault had been locked when it began.
    locked: u64,
    purpose: Purpose,
}

enum Purpose {
    ByItself,
    Init { has_key_file: bool, reply: Reply },
    Unlock { generation: u8, reply: Reply },
}

/// By how much clocks may differ that are right.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);
