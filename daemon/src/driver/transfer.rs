//! The vault on its way elsewhere and back: backup and restore of the sealed file, export and import of what is in it.
//!
//! A backup is sealed, so it takes no more than being served at all. An export is not, so whoever asks for it shows that it
//! could open the vault by itself.

use std::time::Duration;

use procurify_token_protocol::{Answer, CredentialCopy, CredentialName, ExportProof, Refusal, codec};
use tracing::{info, warn};

use super::beside::{Effort, paused};
use super::{Driver, Event, Reply, Upload, VaultState};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::TokenIssuer;
use crate::refresh::{History, Moment};
use crate::vault::{Key, Vault, random_bytes};

/// What entitles to the next page of an export.
pub(super) struct ExportPass {
    pass: [u8; 16],
    good_until: Moment,
}

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    pub(super) fn backup(&mut self, generation: Option<[u8; 32]>, offset: u64, reply: Reply) {
        let piece = self.beside(Effort::Disk, move |paths| {
            let piece = Vault::piece(paths, generation, offset, MOST_IN_ANSWER);
            let piece = piece.map_err(|error| explain::vault(&error))?;
            piece.map(Answer::VaultPiece).ok_or_else(explain::changed)
        });
        self.running.push(Box::pin(async move { Event::Answered { answer: piece.await, reply } }));
    }

    pub(super) fn restore(&mut self, upload: Option<Upload>, reply: Reply) {
        let refusal = match (&self.vault, &upload) {
            (VaultState::Open(_), _) => {
                let path = self.parts.places.vault.vault.clone();
                Some(explain::vault(&crate::vault::VaultError::Exists { path }))
            }
            (VaultState::Closed, None) => Some(explain::nothing_uploaded()),
            (VaultState::Closed, Some(_)) => None,
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
            return;
        }
        let restored = self.beside(Effort::Disk, move |paths| {
            Vault::restore(paths, &upload.unwrap_or_default()).map_err(|error| explain::vault(&error))?;
            info!("a backup was put in the vault's place");
            let slots = Vault::slots_at(paths).map_err(|error| explain::vault(&error))?;
            Ok(Answer::Slots { slots, generations: Vault::generations_at(paths) })
        });
        self.running.push(Box::pin(async move { Event::Answered { answer: restored.await, reply } }));
    }

    pub(super) fn import(&mut self, upload: Option<Upload>, reply: Reply) {
        let upload = match (self.opened(), upload) {
            (Err(refusal), _) => Err(refusal),
            (Ok(_), None) => Err(explain::nothing_uploaded()),
            (Ok(_), Some(upload)) => Ok(upload),
        };
        match upload {
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
            }
            Ok(upload) => {
                let copies = self.beside(Effort::Disk, move |_| {
                    codec::decode_copies(&upload).map_err(|_| explain::not_credentials())
                });
                self.running.push(Box::pin(async move { Event::Arrived { copies: copies.await, reply } }));
            }
        }
    }

    pub(super) fn imported(&mut self, copies: Vec<CredentialCopy>) -> Result<Answer, Refusal> {
        let now = self.parts.clock.now();
        let names: Vec<CredentialName> = copies.iter().map(|copy| copy.credential.name.clone()).collect();
        let outcome = self.opened()?.vault.take_in(copies, now.wall);
        if let Err(error) = &outcome {
            warn!("{error}");
            if !matches!(error, crate::vault::ChangeError::Unconfirmed(_)) {
                return Err(explain::vault_change(error));
            }
        }
        for name in &names {
            self.keeper.insert(name, None, History::default(), now);
        }
        info!(credentials = names.len(), "credentials were imported");
        outcome.map_err(|error| explain::vault_change(&error))?;
        Ok(Answer::Imported { count: u32::try_from(names.len()).unwrap_or(u32::MAX) })
    }

    pub(super) fn export(&mut self, proof: ExportProof, after: Option<CredentialName>, reply: Reply) {
        let door = match self.opened() {
            Ok(open) => open.vault.door(),
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        match proof {
            ExportProof::Pass(shown) => {
                let now = self.parts.clock.boot();
                let is_good = |export: &ExportPass| export.pass == shown && export.good_until > now;
                let answer = match self.export.take().filter(is_good) {
                    Some(_) => self.exported(after.as_ref()),
                    None => Err(explain::no_pass()),
                };
                let _ = reply.send(answer);
            }
            ExportProof::Key(key) => {
                let locked = self.locked;
                let allowed = self.beside(Effort::of_key(&key), move |_| door.prove(Key::from(&key)));
                self.running.push(Box::pin(async move {
                    let allowed = paused(allowed.await).await.map_err(|error| explain::vault(&error));
                    Event::Exporting { allowed, after, locked, reply }
                }));
            }
        }
    }

    pub(super) fn exported(&mut self, after: Option<&CredentialName>) -> Result<Answer, Refusal> {
        let vault = &self.opened()?.vault;
        let (mut page, mut length) = (Vec::new(), 0);
        let mut more = false;
        for credential in vault.credentials_after(after) {
            let copy = vault
                .copy_of(credential)
                .map_err(|_| explain::internal("a sealed client secret in the daemon's memory is damaged"))?;
            length += codec::encode_copies(std::slice::from_ref(&copy)).len();
            if length > MOST_IN_ANSWER && !page.is_empty() {
                more = true;
                break;
            }
            page.push(copy);
        }
        if after.is_none() {
            info!("client secrets are exported");
        }
        self.export = more
            .then(|| ExportPass { pass: random_bytes(), good_until: self.parts.clock.boot() + PASS_IS_GOOD });
        Ok(Answer::Exported { page, pass: self.export.as_ref().map(|export| export.pass) })
    }
}

/// An answer has at most 256 KiB, head and frame included.
const MOST_IN_ANSWER: usize = 192 * 1024;
const PASS_IS_GOOD: Duration = Duration::from_mins(10);
