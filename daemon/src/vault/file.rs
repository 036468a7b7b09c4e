//! The vault's file: read whole, replaced whole.
//!
//! A save goes: a new file beside the vault, flushed; a second name for the vault so far, which becomes `VAULT.1`; the
//! new file takes the vault's name; the folder is flushed. When something is removed, it is the new file that becomes
//! `VAULT.1` as well. Under the vault's own name there is a whole vault at every moment. A failure before the new file has the name changes nothing. A failure after it is another matter: everyone
//! who opens the vault now finds the new generation, so that one counts, in memory too; but a power loss could still
//! bring back the old one, and the next successful save settles it.
//!
//! A vault that somebody else put in place of ours (a restored backup, say) is never overwritten. One that is merely
//! damaged is: what is in memory is the better copy, and the damaged one does not displace a good `VAULT.1`.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::disk::{self, Temporary};
use super::error::{IoFailure, MAX_FILE, Step, VaultError};
use super::format::{self, Checksum, FormatError};

/// Where a vault and the key file that may open it are. Keep them in different folders, so that a copy of one opens
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultPaths {
    /// The vault.
    pub vault: PathBuf,
    /// The key file, whether or not the vault has a slot for it.
    pub key_file: PathBuf,
}

impl VaultPaths {
    /// Where the previous generation of the vault is kept.
    pub fn previous(&self) -> PathBuf {
        previous(&self.vault)
    }
}

/// The bytes of the vault.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, VaultError> {
    let file = disk::open_private(path)?.ok_or_else(|| VaultError::Missing { path: path.to_owned() })?;
    let mut bytes = Vec::new();
    disk::attempt(Step::Read, path, || file.take(MAX_FILE + 1).read_to_end(&mut bytes))?;
    match bytes.len() as u64 {
        ..=MAX_FILE => Ok(bytes),
        _ => Err(VaultError::TooLarge { path: path.to_owned() }),
    }
}

/// Fails where anything has the vault's name or that of its previous generation: both may hold secrets.
pub(super) fn check_absent(path: &Path) -> Result<(), VaultError> {
    for path in [path.to_owned(), previous(path)] {
        if fs::symlink_metadata(&path).is_ok() {
            return Err(VaultError::Exists { path });
        }
    }
    Ok(())
}

/// Writes a vault where none is, in a folder that exists.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    disk::check_folder(disk::folder_of(path))?;
    Temporary::filled(path, bytes)?.settle(path).map_err(|failure| match failure.cause.kind() {
        ErrorKind::AlreadyExists => VaultError::Exists { path: path.to_owned() },
        _ => failure.into(),
    })?;
    disk::flush_folder(disk::folder_of(path)).map_err(VaultError::Unconfirmed)
}

/// Puts `bytes` in place of the generation `known`.
pub(super) fn replace(path: &Path, known: &Checksum, bytes: &[u8], old: Old) -> Result<(), ReplaceError> {
    let folder = disk::folder_of(path);
    disk::check_folder(folder)?;
    let current = current(path, known)?;
    let new = Temporary::filled(path, bytes)?;
    match (old, current) {
        (Old::Keep, Current::Known) => Temporary::linked(path, path)?.replace(Step::Keep, &previous(path))?,
        (Old::Keep, Current::Lost) => {}
        // Before the vault itself: once that has changed, nobody would come back for what is left in the other.
        (Old::Forget, _) => new.linked_again(path)?.replace(Step::Keep, &previous(path))?,
    }
    new.replace(Step::Replace, path)?;
    disk::flush_folder(folder).map_err(ReplaceError::Unconfirmed)
}

/// What becomes of the generation that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    /// It is kept as `VAULT.1`.
    Keep,
    /// It holds something that must be gone: `VAULT.1`, too, becomes the new generation.
    Forget,
}

#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The disk is as before.
    NotStored(VaultError),
    /// The new generation is in place, and the disk has not confirmed it.
    Unconfirmed(IoFailure),
}

impl<E: Into<VaultError>> From<E> for ReplaceError {
    fn from(error: E) -> Self {
        Self::NotStored(error.into())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Current {
    Known,
    /// Missing or damaged: not worth keeping.
    Lost,
}

fn current(path: &Path, known: &Checksum) -> Result<Current, VaultError> {
    let bytes = match read(path) {
        Err(VaultError::Missing { .. }) => return Ok(Current::Lost),
        bytes => bytes?,
    };
    match format::parse(&bytes) {
        Ok(parsed) if parsed.checksum == *known => Ok(Current::Known),
        Err(FormatError::Truncated | FormatError::Damaged) => Ok(Current::Lost),
        Ok(_) | Err(FormatError::NotAVault | FormatError::Newer { .. }) => {
            Err(VaultError::ChangedOnDisk { path: path.to_owned() })
        }
    }
}

/// Where the previous generation is kept.
fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}
