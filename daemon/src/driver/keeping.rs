//! What outlives the process: tokens and histories, written before anything depends on them.
//!
//! All that one round of the Keeper's actions wants kept is one write. Where the cache does not work the daemon goes on
//! without: that costs requests after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use procurify_token_protocol::CredentialName;
use tracing::warn;

use super::{Driver, VaultState};
use crate::cache::{CachedToken, Entry, TokenChange};
use crate::clock::{Clock, Stamp};
use crate::issuer::TokenIssuer;
use crate::lookup::Ready;
use crate::refresh::{Action, Keeper};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Writes what these actions want kept.
    pub(super) fn keep(&mut self, actions: &[Action<Arc<Ready>>]) {
        let mut changed = BTreeMap::new();
        for action in actions {
            if let Action::Keep { name, token } = action {
                *changed.entry(name).or_insert(false) |= token;
            }
        }
        let VaultState::Open(open) = &mut self.vault else { return };
        let Some(cache) = &mut open.cache else { return };
        let entries: Vec<_> = changed
            .into_iter()
            .filter_map(|(name, token)| {
                let pair_version = open.vault.credential(name)?.current.version;
                let token =
                    if token { token_change(&self.keeper, name, pair_version) } else { TokenChange::Leave };
                Some(Entry { name, token, history: (self.keeper.history(name)?, pair_version) })
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        if let Err(error) = cache.store(&entries, &Stamp::of(&self.parts.clock)) {
            warn!(credentials = entries.len(), %error, "what was learnt could not be kept for the next start");
        }
    }

    pub(super) fn forget(&mut self, name: &CredentialName) {
        let VaultState::Open(open) = &mut self.vault else { return };
        let Some(cache) = &mut open.cache else { return };
        if let Err(error) = cache.forget(name) {
            warn!(credential = %name, %error, "a token stays in the cache");
        }
    }
}

fn token_change(keeper: &Keeper<Arc<Ready>>, name: &CredentialName, pair_version: u64) -> TokenChange {
    let Some(held) = keeper.held(name) else { return TokenChange::Forget };
    let Some(grant) = held.token.grant() else { return TokenChange::Leave };
    TokenChange::Store(CachedToken {
        token: grant.token,
        issued: held.issued,
        expires: held.expires,
        pair_version,
    })
}
