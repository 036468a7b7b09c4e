//! The vault: the one file in which client secrets live, and they are never anywhere else in the clear.
//!
//! Two promises. **Nothing is lost:** a change is whole and on the disk before it is reported, and a failed one leaves
//! disk and memory as they were. **Nothing leaks:** the file is sealed with a vault key that only a key slot gives
//! (`slots.rs`), and each client secret stays sealed in memory too, until [`Vault::client_secret`] opens it for one
//! token request.
//!
//! | room | |
//! | --- | --- |
//! | `seal.rs` | cryptography; alone knows ring |
//! | `slots.rs`, `stretch.rs` | what opens a vault; `stretch.rs` alone knows argon2 |
//! | `format.rs` | the file's bytes up to the sealed body |
//! | `contents.rs`, `record.rs` | the credentials, and how they are written; `record.rs` alone knows bincode |
//! | `file.rs`, `key_file.rs`, `lock.rs` | the files; `disk.rs` is how they are touched |
//! | `command.rs`, `keychain.rs` | keys that come from elsewhere |
//! | `audit_key.rs` | the key of the audit records, sealed beside the vault |
//! | `error.rs` | what can go wrong |
//!
//! The vault asks no network, no clock and no user, and hands no secret to a log. Which process may work with it is
//! [`InstanceLock`]'s to say: take that first. This file is a little long: it is the list of all that can be done to a vault.

mod audit_key;
mod command;
mod contents;
mod disk;
mod error;
mod file;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod key_file;
mod keychain;
mod lock;
pub(crate) mod record;
mod seal;
mod slots;
mod stretch;

use std::fmt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use procurify_token_protocol::{
    ClientId, ClientSecret, CredentialCopy, CredentialName, Description, GenerationStatus, NewCredential,
    NewSlot, RecoveryCode, SlotId, SlotKind, SlotStatus, VaultPiece,
};

pub use audit_key::AuditKeyIs;
pub use command::{CommandError, KeyCommand};
pub use contents::{Credential, Pair, SealedSecret, Which};
pub(crate) use disk::{create_folders, open_or_create};
pub use error::{ChangeError, IoFailure, SecretError, Step, VaultError};
pub use file::VaultPaths;
pub(crate) use key_file::new_line as new_key_line;
pub use keychain::KeychainError;
pub use lock::{InstanceLock, LockError};
pub(crate) use seal::random_bytes;
pub use seal::{AuditKey, CacheKeys, fingerprint};
pub use slots::{Door, Kept, Key, PreparedSlot};

use contents::Contents;
use error::MAX_FILE;
use file::{Old, ReplaceError};
use format::{Checksum, FormatError, RawSlot};
use seal::{Purpose, SEAL_OVERHEAD, VaultKey};
use stretch::KdfParameters;

/// An open vault.
///
/// Every change is on the disk before it returns. When one fails, disk and memory are as before; the single exception
/// is [`ChangeError::Unconfirmed`]. All calls block on the disk.
pub struct Vault {
    paths: VaultPaths,
    key: VaultKey,
    slots: Vec<RawSlot>,
    contents: Contents,
    generation: Checksum,
    /// The number of the older generation that it was read from.
    came_from: u8,
}

impl Vault {
    /// Makes an empty vault with these slots, and its folders. A key file that is already there is used; otherwise one
    /// is made, and is on the disk before the vault. With it comes the recovery code, if it has one.
    ///
    /// # Errors
    /// [`VaultError::Exists`] where there is a vault or an older generation of one, in whatever state.
    pub fn create(
        paths: &VaultPaths,
        slots: &[NewSlot],
        now: DateTime<Utc>,
    ) -> Result<(Self, Option<RecoveryCode>), VaultError> {
        Self::create_with(paths, slots, now, KdfParameters::default())
    }

    /// Opens a vault. The disk is not touched, so any number may try at once; see [`settle`](Self::settle).
    ///
    /// # Errors
    /// [`VaultError`], one variant for each way in which the files can be wrong.
    pub fn open(paths: &VaultPaths, key: Key<'_>) -> Result<Self, VaultError> {
        Self::open_generation(paths, key, 0)
    }

    /// Opens an older generation of a vault; 0 is the vault itself.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_generation(paths: &VaultPaths, key: Key<'_>, number: u8) -> Result<Self, VaultError> {
        let path = paths.generation(number);
        let bytes = file::read(&path).map_err(|error| not_there(paths, number, error))?;
        let file = parse(&path, &bytes)?;
        let vault_key = slots::open(&file.slots, paths, key)?;
        // From here on the key is right, so whatever does not fit is not the caller's fault.
        let damaged = || VaultError::Damaged { path: path.clone() };
        let body = vault_key.open(Purpose::Body, file.header, file.sealed_body).map_err(|_| damaged())?;
        let contents = Contents::decode(&body).ok_or_else(damaged)?;
        Ok(Self {
            paths: paths.clone(),
            key: vault_key,
            slots: file.slots,
            contents,
            generation: file.checksum,
            came_from: number,
        })
    }

    /// Takes possession of what was opened: an older generation takes the vault's place, and what killed saves have left is
    /// removed. Until a vault has proved good, a leftover may be the best copy there is.
    ///
    /// # Errors
    /// The disk's; the older generation is where it was then.
    pub fn settle(&mut self) -> Result<(), VaultError> {
        if self.came_from > 0 {
            file::go_back(&self.paths.vault, self.came_from)?;
            self.came_from = 0;
        }
        disk::remove_stale(&self.paths.vault);
        disk::remove_stale(&self.paths.key_file);
        disk::remove_stale(&self.paths.audit_key());
        Ok(())
    }

    /// What could open the vault, without opening it.
    ///
    /// # Errors
    /// [`VaultError::Missing`] or [`VaultError::OnlyOlder`] where there is none, and the other ways in which the file can be wrong.
    pub fn slots_at(paths: &VaultPaths) -> Result<Vec<SlotStatus>, VaultError> {
        let bytes = file::read(&paths.vault).map_err(|error| not_there(paths, 0, error))?;
        Ok(slots::describe(&parse(&paths.vault, &bytes)?.slots))
    }

    /// Whether the key file opens the vault, without opening it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn try_key_file(paths: &VaultPaths) -> Result<(), VaultError> {
        let bytes = file::read(&paths.vault)?;
        slots::try_key_file(&parse(&paths.vault, &bytes)?.slots, paths)
    }

    /// The older generations that are kept, from the youngest on.
    pub fn generations_at(paths: &VaultPaths) -> Vec<GenerationStatus> {
        let describe = |(number, path): (u8, PathBuf)| GenerationStatus {
            number,
            written_at: std::fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .ok()
                .map(DateTime::from),
            is_whole: file::is_whole(&path),
            path: path.display().to_string(),
        };
        file::generations(&paths.vault).unwrap_or_default().into_iter().map(describe).collect()
    }

    /// A piece of the sealed file, from an offset on. `None` where the vault is no longer the `wanted` generation.
    ///
    /// # Errors
    /// The ways in which the file can be wrong: with no generation named, all of it is looked at.
    pub fn piece(
        paths: &VaultPaths,
        wanted: Option<[u8; 32]>,
        offset: u64,
        most: usize,
    ) -> Result<Option<VaultPiece>, VaultError> {
        file::piece(&paths.vault, wanted, offset, most)
    }

    /// Puts a sealed vault where none is. It need not be one that anything here opens.
    ///
    /// # Errors
    /// [`VaultError::Exists`] where there is one, and the ways in which the bytes can be wrong.
    pub fn restore(paths: &VaultPaths, bytes: &[u8]) -> Result<(), VaultError> {
        file::check_absent(&paths.vault)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(VaultError::TooLarge { path: paths.vault.clone() });
        }
        parse(Path::new("what was uploaded"), bytes).map_err(|error| match error {
            VaultError::Truncated { .. } | VaultError::Damaged { .. } => VaultError::BadBackup,
            VaultError::Newer { found, known, .. } => VaultError::NewerBackup { found, known },
            other => other,
        })?;
        create_folders(disk::folder_of(&paths.vault))?;
        file::create(&paths.vault, bytes)
    }

    /// Where it is.
    pub fn paths(&self) -> &VaultPaths {
        &self.paths
    }

    /// All credentials in order of their names.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        self.contents.iter()
    }

    /// Those whose names come after this one, in their order; all where there is none.
    pub fn credentials_after(&self, name: Option<&CredentialName>) -> impl Iterator<Item = &Credential> {
        self.contents.after(name)
    }

    /// One credential.
    pub fn credential(&self, name: &CredentialName) -> Option<&Credential> {
        self.contents.get(name)
    }

    /// Stores a credential.
    ///
    /// # Errors
    /// [`ChangeError::Exists`], [`ChangeError::Full`], and the disk's.
    pub fn add(&mut self, new: NewCredential, now: DateTime<Utc>) -> Result<(), ChangeError> {
        self.change(Old::Keep, |contents, key| contents.add(key, new, now))
    }

    /// Stores several credentials with all that was kept for them, at the price of one: all or none.
    ///
    /// # Errors
    /// [`ChangeError::SomeExist`], [`ChangeError::Full`], and the disk's.
    pub fn take_in(&mut self, copies: Vec<CredentialCopy>, now: DateTime<Utc>) -> Result<(), ChangeError> {
        let is_there = |copy: &&CredentialCopy| self.contents.get(&copy.credential.name).is_some();
        let there: Vec<_> = copies.iter().filter(is_there).map(|copy| copy.credential.name.clone()).collect();
        if !there.is_empty() {
            return Err(ChangeError::SomeExist(there));
        }
        self.change(Old::Keep, |contents, key| {
            copies.into_iter().try_for_each(|copy| contents.take_in(key, copy, now))
        })
    }

    /// Everything of one credential, secrets included.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn copy_of(&self, credential: &Credential) -> Result<CredentialCopy, SecretError> {
        self.contents.copy(&self.key, credential)
    }

    /// Stores a second pair beside the one in use. With `replace`, a staged pair may be thrown away for it.
    ///
    /// # Errors
    /// [`ChangeError::UnknownCredential`], [`ChangeError::StagedExists`], [`ChangeError::Full`], and the disk's.
    pub fn stage(
        &mut self,
        name: &CredentialName,
        client_id: ClientId,
        client_secret: &ClientSecret,
        replace: bool,
        now: DateTime<Utc>,
    ) -> Result<(), ChangeError> {
        self.change(Old::Keep, |contents, key| {
            contents.stage(key, name, client_id, client_secret, replace, now)
        })
    }

    /// Takes the staged pair into use and keeps the one so far as the previous one, in place of an older one. The pair is
    /// named by its version: another one may have been staged since somebody tried it.
    ///
    /// # Errors
    /// [`ChangeError::UnknownCredential`], [`ChangeError::NothingStaged`], and the disk's.
    pub fn promote(&mut self, name: &CredentialName, version: u64) -> Result<(), ChangeError> {
        self.change(Old::Keep, |contents, _| contents.promote(name, version))
    }

    /// Exchanges the pair in use and the previous one.
    ///
    /// # Errors
    /// [`ChangeError::UnknownCredential`], [`ChangeError::NoPrevious`], and the disk's.
    pub fn rollback(&mut self, name: &CredentialName) -> Result<(), ChangeError> {
        self.change(Old::Keep, |contents, _| contents.rollback(name))
    }

    /// Forgets a credential with its secrets, in the previous generation of the file too.
    ///
    /// # Errors
    /// [`ChangeError::UnknownCredential`], and the disk's.
    pub fn remove(&mut self, name: &CredentialName) -> Result<(), ChangeError> {
        self.change(Old::Forget, |contents, _| contents.remove(name))
    }

    /// Opens one client secret. Drop it as soon as the token request is written.
    ///
    /// # Errors
    /// [`SecretError::Unknown`] where there is no such credential or pair.
    pub fn client_secret(&self, name: &CredentialName, which: Which) -> Result<ClientSecret, SecretError> {
        self.contents.client_secret(&self.key, name, which)
    }

    /// The keys of this vault's token cache.
    pub fn cache_keys(&self) -> CacheKeys {
        self.key.cache_keys()
    }

    /// The key under which audit records are chained. Made where there is none.
    ///
    /// # Errors
    /// Its file cannot be read or written, or is not closed to others.
    pub fn audit_key(&self) -> Result<(AuditKey, AuditKeyIs), VaultError> {
        audit_key::open(&self.paths.audit_key(), &self.key)
    }

    /// The key slots, in the order in which they were added.
    pub fn slots(&self) -> Vec<SlotStatus> {
        slots::describe(&self.slots)
    }

    /// What it takes to show beside this vault that one could open it.
    pub fn door(&self) -> Door {
        Door::new(self.slots.clone(), self.paths.clone())
    }

    /// Gives the vault another slot. Of what is fetched and not typed there is one slot of a kind: one that what was fetched does not
    /// open makes room, for nothing will open it here, and one that it opens stays. The vault key stays, too: whoever has what opened
    /// the slot that went, and a copy of the vault from before, can open every copy until [`rekey`](Self::rekey).
    ///
    /// # Errors
    /// [`ChangeError::NotStored`] with [`VaultError::SlotExists`] or [`VaultError::SlotsFull`], and the disk's.
    pub fn add_slot(
        &mut self,
        prepared: &PreparedSlot,
        description: Description,
        now: DateTime<Utc>,
    ) -> Result<SlotStatus, ChangeError> {
        let kind = prepared.kind();
        let is_one_of_many = matches!(kind, SlotKind::Passphrase | SlotKind::RecoveryCode);
        let path = || self.paths.vault.clone();
        let is_rival = |slot: &RawSlot| !is_one_of_many && slots::kind(slot) == kind;
        if self.slots.iter().any(|slot| is_rival(slot) && prepared.opens(slot)) {
            return Err(ChangeError::NotStored(VaultError::SlotExists { path: path(), kind }));
        }
        let mut slots: Vec<_> = self.slots.iter().filter(|slot| !is_rival(slot)).cloned().collect();
        if slots.len() >= MAX_SLOTS {
            return Err(ChangeError::NotStored(VaultError::SlotsFull { path: path() }));
        }
        let slot = prepared.slot(&self.key, &self.slots, description, now);
        let added = slots::describe(std::slice::from_ref(&slot)).remove(0);
        slots.push(slot);
        self.save(None, slots, self.contents.clone(), Old::Keep).map(|()| added)
    }

    /// Gives the vault a new vault key, without some of its slots, and drops all older generations: what goes, and the key so
    /// far, could still open them. Says how many were dropped. The token cache has other keys from then on.
    ///
    /// # Errors
    /// [`ChangeError::SlotsChanged`] where the slots are not those that were opened, and the disk's.
    pub fn rekey(&mut self, kept: &Kept, without: &[SlotId]) -> Result<usize, ChangeError> {
        let key = VaultKey::random();
        let slots = kept.slots(&self.slots, without, &key).ok_or(ChangeError::SlotsChanged)?;
        let contents = self.contents.resealed(&self.key, &key)?;
        let dropped = file::generations(&self.paths.vault).unwrap_or_default().len();
        let carried = audit_key::carry_over(&self.paths.audit_key(), &self.key, &key);
        let is_carried = carried.map_err(ChangeError::NotStored)?;
        self.save(Some(key), slots, contents, Old::Forget)?;
        if is_carried {
            // The audit key under the vault key so far goes with the next opening, if not now.
            let _ = self.audit_key();
        }
        Ok(dropped)
    }

    fn create_with(
        paths: &VaultPaths,
        new: &[NewSlot],
        now: DateTime<Utc>,
        parameters: KdfParameters,
    ) -> Result<(Self, Option<RecoveryCode>), VaultError> {
        file::check_absent(&paths.vault)?;
        create_folders(disk::folder_of(&paths.vault))?;
        let key = VaultKey::random();
        let (mut slots, mut recovery_code) = (Vec::new(), None);
        for new in new {
            let mut prepared = PreparedSlot::with(paths, new, parameters)?;
            recovery_code = recovery_code.or(prepared.take_recovery_code());
            slots.push(prepared.slot(&key, &slots, Description::default(), now));
        }
        let contents = Contents::empty();
        let bytes = write(&slots, &key, &contents);
        file::create(&paths.vault, &bytes)?;
        let generation = generation_of(&bytes);
        Ok((Self { paths: paths.clone(), key, slots, contents, generation, came_from: 0 }, recovery_code))
    }

    /// New contents are made, written, and only then put in the old ones' place.
    fn change(
        &mut self,
        old: Old,
        edit: impl FnOnce(&mut Contents, &VaultKey) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut contents = self.contents.clone();
        edit(&mut contents, &self.key)?;
        self.save(None, self.slots.clone(), contents, old)
    }

    fn save(
        &mut self,
        new_key: Option<VaultKey>,
        slots: Vec<RawSlot>,
        contents: Contents,
        old: Old,
    ) -> Result<(), ChangeError> {
        let bytes = write(&slots, new_key.as_ref().unwrap_or(&self.key), &contents);
        if bytes.len() as u64 > MAX_FILE {
            return Err(ChangeError::Full);
        }
        let VaultPaths { vault, generations, .. } = &self.paths;
        let outcome = match file::replace(vault, &self.generation, &bytes, old, *generations) {
            Ok(()) => Ok(()),
            Err(ReplaceError::NotStored(error)) => return Err(ChangeError::NotStored(error)),
            Err(ReplaceError::Unconfirmed(failure)) => Err(ChangeError::Unconfirmed(failure)),
        };
        if let Some(key) = new_key {
            self.key = key;
        }
        (self.slots, self.contents) = (slots, contents);
        self.generation = generation_of(&bytes);
        outcome
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn write(slots: &[RawSlot], key: &VaultKey, contents: &Contents) -> Vec<u8> {
    let body = contents.encode();
    format::write(slots, body.len() + SEAL_OVERHEAD, |header| key.seal(Purpose::Body, header, &body))
}

/// What it means that a generation is missing.
fn not_there(paths: &VaultPaths, number: u8, error: VaultError) -> VaultError {
    let has_older = || !file::generations(&paths.vault).unwrap_or_default().is_empty();
    match error {
        VaultError::Missing { path } if number > 0 => {
            VaultError::NoGeneration { path, vault: paths.vault.clone() }
        }
        VaultError::Missing { path } if has_older() => VaultError::OnlyOlder { path },
        other => other,
    }
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<format::Parsed<'a>, VaultError> {
    let path = || path.to_owned();
    format::parse(bytes).map_err(|error| match error {
        FormatError::NotAVault => VaultError::NotAVault { path: path() },
        FormatError::Truncated => VaultError::Truncated { path: path() },
        FormatError::Damaged => VaultError::Damaged { path: path() },
        FormatError::Newer { found } => VaultError::Newer { path: path(), found, known: format::FORMAT },
    })
}

fn generation_of(file: &[u8]) -> Checksum {
    *file.last_chunk().expect("a written file ends in its checksum")
}

const MAX_SLOTS: usize = 32;

#[cfg(test)]
#[cfg(unix)]
mod tests;
