//! Making, opening and locking the vault.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use procurify_token_protocol::{AccessToken, Answer, Refusal, TokenGrant, UnlockWith};
use tracing::{info, warn};

use super::{Driver, Event, OpenVault, Reply, VaultState};
use crate::cache::{Cache, CachedToken, Condition};
use crate::clock::{Anchor, Clock, Stamp};
use crate::explain;
use crate::issuer::TokenIssuer;
use crate::lookup::Ready;
use crate::refresh::{Held, Now};
use crate::vault::{Credential, Key, Vault, VaultError, Which};

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
                self.problems.push(problem);
            }
            Ok(_) => {}
        }
        if opened.is_ok() {
            self.finish_opening(opened, false, None);
            // Whoever is told that the daemon is ready finds the kept tokens in the table.
            self.perform();
        }
    }

    /// Makes or opens the vault. A passphrase takes its time, beside the driver.
    pub(super) fn open(&mut self, key: UnlockWith, is_new: bool, reply: Reply) {
        let answer = match &self.vault {
            VaultState::Closed => None,
            VaultState::Opening => Some(Err(explain::busy())),
            VaultState::Open(_) if is_new => {
                let exists = VaultError::Exists { path: self.parts.vault.vault.clone() };
                Some(Err(explain::vault(&exists)))
            }
            VaultState::Open(_) => Some(Ok(Answer::Done)),
        };
        if let Some(answer) = answer {
            let _ = reply.send(answer);
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
        self.problems.clear();
        let now = self.parts.clock.now();
        let mut cache = match Cache::open(&self.parts.cache, vault.cache_keys()) {
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
            let held = kept.token.and_then(|(token, _)| restored(credential, token, now));
            tokens += usize::from(held.is_some());
            self.keeper.insert(&credential.name, held, history, now);
        }
        let credentials = vault.credentials().count();
        info!(credentials, tokens, "the vault is open");
        // A crash in the middle of a removal leaves what nobody will ever ask for.
        let names = vault.credentials().map(|credential| &credential.name);
        if let Some(Err(error)) = cache.as_mut().map(|cache| cache.retain(names)) {
            warn!(%error, "tokens of credentials that are gone stay in the cache");
        }
        self.vault = VaultState::Open(Box::new(OpenVault { vault, cache }));
    }

    /// Lets go of the vault key and every token. What the cache holds stays, sealed.
    pub(super) fn lock(&mut self) {
        self.keeper.close();
        self.perform();
        self.by_wall_clock.clear();
        self.vault = VaultState::Closed;
    }

    pub(super) fn opened(&mut self) -> Result<&mut OpenVault, Refusal> {
        let paths = &self.parts.vault;
        match &mut self.vault {
            VaultState::Open(open) => Ok(open),
            VaultState::Opening => Err(explain::locked()),
            VaultState::Closed if paths.vault.exists() => Err(explain::locked()),
            VaultState::Closed if paths.previous().exists() => {
                Err(explain::only_previous(&paths.vault, &paths.previous()))
            }
            VaultState::Closed => Err(explain::no_vault()),
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

/// By how much clocks may differ that are right.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);
