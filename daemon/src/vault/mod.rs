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
//! | `slots.rs` | what opens a vault; alone knows argon2 |
//! | `format.rs` | the file's bytes up to the sealed body |
//! | `contents.rs`, `record.rs` | the credentials, and how they are written; `record.rs` alone knows bincode |
//! | `file.rs`, `key_file.rs`, `lock.rs` | the three files; `disk.rs` is how they are touched |
//! | `error.rs` | what can go wrong |
//!
//! The vault asks no network, no clock and no user, and hands no secret to a log. Which process may work with it is
//! [`InstanceLock`]'s to say: take that first.

mod contents;
mod disk;
mod error;
mod file;
mod format;
mod key_file;
mod lock;
pub(crate) mod record;
mod seal;
mod slots;

use std::fmt;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{ClientId, ClientSecret, CredentialName, NewCredential, Passphrase};

pub use contents::{Credential, Pair, SealedSecret, Which};
pub(crate) use disk::{create_folders, open_or_create};
pub use error::{ChangeError, IoFailure, SecretError, Step, VaultError};
pub use file::VaultPaths;
pub use lock::{InstanceLock, LockError};
pub use seal::{CacheKeys, fingerprint};
pub use slots::SlotKind;

use contents::Contents;
use error::MAX_FILE;
use file::{Old, ReplaceError};
use format::{Checksum, FormatError, RawSlot};
use seal::{Purpose, SEAL_OVERHEAD, VaultKey};
use slots::{KdfParameters, SlotError};

/// What opens a vault.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// The key file at [`VaultPaths::key_file`].
    KeyFile,
    /// A passphrase. Stretching it takes a moment and 64 MiB: do not call from a task that others wait for.
    Passphrase(&'a Passphrase),
}

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
}

impl Vault {
    /// Makes an empty vault that `key` opens, with its folders. A key file that is already there is used; otherwise one
    /// is made, and is on the disk before the vault.
    ///
    /// # Errors
    /// [`VaultError::Exists`] where there is a vault or a previous generation of one, in whatever state.
    pub fn create(paths: &VaultPaths, key: Key<'_>) -> Result<Self, VaultError> {
        Self::create_with(paths, key, KdfParameters::default())
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`VaultError`], one variant for each way in which the files can be wrong.
    pub fn open(paths: &VaultPaths, key: Key<'_>) -> Result<Self, VaultError> {
        let bytes = file::read(&paths.vault)?;
        let file = parse(paths, &bytes)?;
        let kind = key.kind();
        let vault_key = match key {
            Key::KeyFile if !has_slot(&file.slots, kind) => Err(SlotError::NoSuchSlot),
            Key::KeyFile => slots::open_with_key_file(&file.slots, &key_file::read(&paths.key_file)?),
            Key::Passphrase(passphrase) => slots::open_with_passphrase(&file.slots, passphrase),
        }
        .map_err(|error| slot_error(paths, kind, error))?;
        // From here on the key is right, so whatever does not fit is not the caller's fault.
        let damaged = || VaultError::Damaged { path: paths.vault.clone() };
        let body = vault_key.open(Purpose::Body, file.header, file.sealed_body).map_err(|_| damaged())?;
        let contents = Contents::decode(&body).ok_or_else(damaged)?;
        // Not before the vault has proved good: until then, a leftover may be the best copy there is.
        disk::remove_stale(&paths.vault);
        disk::remove_stale(&paths.key_file);
        Ok(Self {
            paths: paths.clone(),
            key: vault_key,
            slots: file.slots,
            contents,
            generation: file.checksum,
        })
    }

    /// What could open the vault, without opening it.
    ///
    /// # Errors
    /// [`VaultError::Missing`] where there is none, and the other ways in which the file can be wrong.
    pub fn slots_at(paths: &VaultPaths) -> Result<Vec<SlotKind>, VaultError> {
        let bytes = file::read(&paths.vault)?;
        Ok(parse(paths, &bytes)?.slots.iter().map(SlotKind::of).collect())
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

    /// Stores several credentials at the price of one: all or none.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn add_all(
        &mut self,
        new: impl IntoIterator<Item = NewCredential>,
        now: DateTime<Utc>,
    ) -> Result<(), ChangeError> {
        self.change(Old::Keep, |contents, key| {
            new.into_iter().try_for_each(|new| contents.add(key, new, now))
        })
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

    fn create_with(paths: &VaultPaths, key: Key<'_>, parameters: KdfParameters) -> Result<Self, VaultError> {
        file::check_absent(&paths.vault)?;
        create_folders(disk::folder_of(&paths.vault))?;
        let vault_key = VaultKey::random();
        let kind = key.kind();
        let slot = match key {
            Key::KeyFile => Ok(slots::key_file_slot(&vault_key, &key_file::read_or_create(&paths.key_file)?)),
            Key::Passphrase(passphrase) => slots::passphrase_slot(&vault_key, passphrase, parameters),
        }
        .map_err(|error| slot_error(paths, kind, error))?;
        let (slots, contents) = (vec![slot], Contents::empty());
        let bytes = write(&slots, &vault_key, &contents);
        file::create(&paths.vault, &bytes)?;
        Ok(Self { paths: paths.clone(), key: vault_key, slots, contents, generation: generation_of(&bytes) })
    }

    /// New contents are made, written, and only then put in the old ones' place.
    fn change(
        &mut self,
        old: Old,
        edit: impl FnOnce(&mut Contents, &VaultKey) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut contents = self.contents.clone();
        edit(&mut contents, &self.key)?;
        let bytes = write(&self.slots, &self.key, &contents);
        if bytes.len() as u64 > MAX_FILE {
            return Err(ChangeError::Full);
        }
        let outcome = match file::replace(&self.paths.vault, &self.generation, &bytes, old) {
            Ok(()) => Ok(()),
            Err(ReplaceError::NotStored(error)) => return Err(ChangeError::NotStored(error)),
            Err(ReplaceError::Unconfirmed(failure)) => Err(ChangeError::Unconfirmed(failure)),
        };
        self.contents = contents;
        self.generation = generation_of(&bytes);
        outcome
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Key<'_> {
    fn kind(self) -> SlotKind {
        match self {
            Self::KeyFile => SlotKind::KeyFile,
            Self::Passphrase(_) => SlotKind::Passphrase,
        }
    }
}

fn write(slots: &[RawSlot], key: &VaultKey, contents: &Contents) -> Vec<u8> {
    let body = contents.encode();
    format::write(slots, body.len() + SEAL_OVERHEAD, |header| key.seal(Purpose::Body, header, &body))
}

fn parse<'a>(paths: &VaultPaths, bytes: &'a [u8]) -> Result<format::Parsed<'a>, VaultError> {
    let path = || paths.vault.clone();
    format::parse(bytes).map_err(|error| match error {
        FormatError::NotAVault => VaultError::NotAVault { path: path() },
        FormatError::Truncated => VaultError::Truncated { path: path() },
        FormatError::Damaged => VaultError::Damaged { path: path() },
        FormatError::Newer { found } => VaultError::Newer { path: path(), found, known: format::FORMAT },
    })
}

fn slot_error(paths: &VaultPaths, kind: SlotKind, error: SlotError) -> VaultError {
    let path = paths.vault.clone();
    match error {
        SlotError::NoSuchSlot => VaultError::NoSuchSlot { path, kind },
        SlotError::WrongKey => VaultError::WrongKey { path, kind },
        SlotError::Malformed => VaultError::Damaged { path },
        SlotError::KdfParameters => VaultError::KdfParameters { path },
        SlotError::OutOfMemory { kib } => VaultError::OutOfMemory { path, kib },
    }
}

fn has_slot(slots: &[RawSlot], kind: SlotKind) -> bool {
    slots.iter().any(|slot| SlotKind::of(slot) == kind)
}

fn generation_of(file: &[u8]) -> Checksum {
    *file.last_chunk().expect("a written file ends in its checksum")
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
