//! Owners and modes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::super::error::VaultError;

pub(super) fn check_file(path: &Path, _: &File, metadata: &fs::Metadata) -> Result<(), VaultError> {
    let (wanted, found) = (effective_user(), metadata.uid());
    if found != wanted {
        return Err(VaultError::Owner { path: path.to_owned(), found, wanted });
    }
    match metadata.mode() & 0o7777 {
        found if found & 0o077 != 0 => Err(VaultError::Mode { path: path.to_owned(), found }),
        _ => Ok(()),
    }
}

pub(super) fn check_handed_over(path: &Path, _: &File, metadata: &fs::Metadata) -> Result<(), VaultError> {
    let (wanted, found) = (effective_user(), metadata.uid());
    if found != wanted && found != 0 {
        return Err(VaultError::Owner { path: path.to_owned(), found, wanted });
    }
    match metadata.mode() & 0o7777 {
        found if found & 0o027 != 0 => Err(VaultError::Mode { path: path.to_owned(), found }),
        _ => Ok(()),
    }
}

pub(super) fn check_folder_access(path: &Path, metadata: &fs::Metadata) -> Result<(), VaultError> {
    let (wanted, found) = (effective_user(), metadata.uid());
    if found != wanted && found != 0 {
        return Err(VaultError::FolderOwner { path: path.to_owned(), found, wanted });
    }
    match metadata.mode() & 0o7777 {
        found if found & 0o022 != 0 => Err(VaultError::FolderMode { path: path.to_owned(), found }),
        _ => Ok(()),
    }
}

fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// No link is followed, and a pipe in the file's place does not make the open wait.
pub(super) fn unfollowed(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
}

/// A new, private file, not to be confused with one that was there.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    private(unfollowed(OpenOptions::new().write(true).create_new(true))).open(path)
}

/// A private file for reading and writing, made where it is missing.
pub(super) fn open_or_make(path: &Path) -> io::Result<File> {
    private(unfollowed(OpenOptions::new().read(true).write(true).create(true).truncate(false))).open(path)
}

pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}
