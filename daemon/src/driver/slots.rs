//! What opens the vault: looking at its key slots, adding one, and giving the vault another key without some of them.
//!
//! Whoever adds a slot shows that it could have opened the vault by itself: an open vault alone would let any program of
//! the user make itself a way in that stays.

use procurify_token_protocol::{Answer, Description, NewSlot, Refusal, SlotId, UnlockWith};
use tracing::{info, warn};

use super::beside::{Effort, paused};
use super::{Driver, Event, OpenVault, Reply};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::TokenIssuer;
use crate::vault::{ChangeError, Kept, Key, PreparedSlot, Vault};

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    /// The slots and the older generations, from the disk: a locked vault has them, too.
    pub(super) fn slots(&mut self, reply: Reply) {
        let looked = self.beside(Effort::Disk, |paths| {
            let slots = Vault::slots_at(paths).map_err(|error| explain::vault(&error))?;
            Ok(Answer::Slots { slots, generations: Vault::generations_at(paths) })
        });
        self.running.push(Box::pin(async move { Event::Answered { answer: looked.await, reply } }));
    }

    pub(super) fn add_slot(
        &mut self,
        proof: UnlockWith,
        slot: NewSlot,
        description: Description,
        reply: Reply,
    ) {
        let door = match self.opened() {
            Ok(open) => open.vault.door(),
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let locked = self.locked;
        let proof_takes = Effort::of_key(&proof);
        let proven = self.beside(proof_takes, move |_| door.prove(Key::from(&proof)));
        let slot_takes = Effort::of_slots(std::slice::from_ref(&slot));
        let prepared = self.beside(slot_takes, move |paths| PreparedSlot::new(paths, &slot));
        self.running.push(Box::pin(async move {
            let prepared = match paused(proven.await).await {
                Ok(()) => prepared.await,
                Err(error) => Err(error),
            };
            let prepared = prepared.map_err(|error| explain::vault(&error));
            Event::SlotPrepared { prepared, description, locked, reply }
        }));
    }

    pub(super) fn slot_added(
        &mut self,
        mut prepared: PreparedSlot,
        description: Description,
    ) -> Result<Answer, Refusal> {
        let now = self.parts.clock.now().wall;
        let recovery_code = prepared.take_recovery_code();
        let key_file = matches!(prepared.kind(), procurify_token_protocol::SlotKind::KeyFile)
            .then(|| self.parts.places.vault.key_file.display().to_string());
        let added = self.opened()?.vault.add_slot(&prepared, description, now);
        let slot = added.map_err(|error| refused(&error))?;
        info!(slot = %slot.id, kind = %slot.kind, "a key slot was added");
        Ok(Answer::SlotAdded { slot, key_file, recovery_code })
    }

    pub(super) fn rekey(&mut self, without: Vec<SlotId>, keys: Vec<UnlockWith>, reply: Reply) {
        let door = match self.opened() {
            Ok(open) => open.vault.door(),
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let (going, locked) = (without.clone(), self.locked);
        let effort = if keys.is_empty() { Effort::Fetch } else { Effort::Stretch };
        let kept = self.beside(effort, move |_| door.keep(&going, &keys));
        self.running.push(Box::pin(async move {
            let kept = paused(kept.await).await.map_err(|error| explain::vault_change(&error));
            Event::SlotsKept { kept, without, locked, reply }
        }));
    }

    pub(super) fn rekeyed(&mut self, kept: &Kept, without: &[SlotId]) -> Result<Answer, Refusal> {
        let OpenVault { vault, cache } = self.opened()?;
        let outcome = vault.rekey(kept, without);
        if let Err(error) = &outcome
            && !matches!(error, ChangeError::Unconfirmed(_))
        {
            return Err(refused(error));
        }
        let names = vault.credentials().map(|credential| &credential.name);
        if let Some(Err(error)) = cache.as_mut().map(|cache| cache.rekey(vault.cache_keys(), names)) {
            warn!(%error, "the tokens that were kept for a restart are lost to it");
        }
        let dropped = outcome.map_err(|error| refused(&error))?;
        info!(removed = without.len(), dropped, "the vault has a new key");
        Ok(Answer::Rekeyed { dropped: u32::try_from(dropped).unwrap_or(u32::MAX) })
    }
}

fn refused(error: &ChangeError) -> Refusal {
    warn!("{error}");
    explain::vault_change(error)
}
