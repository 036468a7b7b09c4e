//! What goes on beside the driver and comes back as an event: looking at files, stretching passphrases, asking other programs
//! for a key. Each has places of its own, so that a command that hangs, or somebody who types wrong passphrases, keeps nobody
//! from looking at the vault or from opening it in another way. What becomes of it is the driver's affair.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use procurify_token_protocol::{NewSlot, UnlockWith};
use tokio::sync::Semaphore;

use super::Driver;
use crate::clock::Clock;
use crate::issuer::TokenIssuer;
use crate::vault::{ChangeError, VaultError, VaultPaths};

/// What something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// The disk.
    Disk,
    /// To stretch a passphrase: 64 MiB for a moment.
    Stretch,
    /// To fetch a key: a command or a keychain may take its time.
    Fetch,
}

impl Effort {
    /// To open a vault with this.
    pub(super) fn of_key(key: &UnlockWith) -> Self {
        if matches!(key, UnlockWith::Unattended) { Self::Fetch } else { Self::Stretch }
    }

    /// To make these slots.
    pub(super) fn of_slots(slots: &[NewSlot]) -> Self {
        let is_stretched = slots.iter().any(|slot| matches!(slot, NewSlot::Passphrase(_)));
        if is_stretched { Self::Stretch } else { Self::Fetch }
    }
}

/// How much may go on at once.
#[derive(Debug)]
pub(super) struct Places([Arc<Semaphore>; 3]);

impl Default for Places {
    fn default() -> Self {
        Self([(); 3].map(|()| Arc::new(Semaphore::new(MOST_AT_ONCE))))
    }
}

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// Has something done beside the driver, when there is a place for it.
    pub(super) fn beside<T: Send + 'static>(
        &self,
        effort: Effort,
        work: impl FnOnce(&VaultPaths) -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T> + Send>> {
        let paths = self.parts.places.vault.clone();
        let place = Arc::clone(&self.beside.0[effort as usize]);
        Box::pin(async move {
            let _permit = place.acquire_owned().await.expect("the semaphore is never closed");
            let done = tokio::task::spawn_blocking(move || work(&paths)).await;
            done.expect("work with the vault does not panic")
        })
    }
}

/// Whether somebody has typed what opens nothing.
pub(super) trait IsWrongKey {
    fn is_wrong_key(&self) -> bool;
}

impl IsWrongKey for VaultError {
    fn is_wrong_key(&self) -> bool {
        matches!(self, Self::WrongKey { kind, .. } if !kind.is_unattended())
    }
}

impl IsWrongKey for ChangeError {
    fn is_wrong_key(&self) -> bool {
        matches!(self, Self::SlotNotOpened { kind, .. } if !kind.is_unattended())
    }
}

/// Who errs pays for it alone, with a pause before he learns of it.
pub(super) async fn paused<T, E: IsWrongKey>(outcome: Result<T, E>) -> Result<T, E> {
    if outcome.as_ref().is_err_and(E::is_wrong_key) {
        tokio::time::sleep(PAUSE_AFTER_WRONG_KEY).await;
    }
    outcome
}

const MOST_AT_ONCE: usize = 2;
/// How much later a wrong passphrase or recovery code is answered.
const PAUSE_AFTER_WRONG_KEY: Duration = Duration::from_secs(1);
