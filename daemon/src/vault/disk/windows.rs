//! Owners and access lists. SYSTEM and the administrators count as root does elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use procurify_token_windows::{Grants, Make, Security, closing, make_folder, make_private, own_identity};

use super::super::error::{IoFailure, Step, VaultError};

pub(super) fn check_file(path: &Path, file: &File, _: &fs::Metadata) -> Result<(), VaultError> {
    check(path, Security::of(file), |grants| grants.reading() || grants.writing())
}

pub(super) fn check_handed_over(path: &Path, file: &File, metadata: &fs::Metadata) -> Result<(), VaultError> {
    check_file(path, file, metadata)
}

pub(super) fn check_folder_access(folder: &Path, _: &fs::Metadata) -> Result<(), VaultError> {
    check(folder, Security::of_path(folder), Grants::writing)
}

fn check(path: &Path, security: io::Result<Security>, right: fn(&Grants) -> bool) -> Result<(), VaultError> {
    let failed = |cause| IoFailure { step: Step::Inspect, path: path.to_owned(), cause };
    let (security, own) = (security.map_err(failed)?, own_identity().map_err(failed)?.user);
    match security.stranger(&own, right) {
        None => Ok(()),
        Some(who) => {
            Err(VaultError::OpenToOthers { path: path.to_owned(), who: who.to_string(), mend: closing(path) })
        }
    }
}

/// No link is followed.
pub(super) fn unfollowed(options: &mut OpenOptions) -> &mut OpenOptions {
    /// `FILE_FLAG_OPEN_REPARSE_POINT`.
    const LINKS_THEMSELVES: u32 = 0x0020_0000;
    options.custom_flags(LINKS_THEMSELVES)
}

/// A new, private file, not to be confused with one that was there.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    make_private(path, Make::New, &own_identity()?.user)
}

/// A private file for reading and writing, made where it is missing.
pub(super) fn open_or_make(path: &Path) -> io::Result<File> {
    make_private(path, Make::IfMissing, &own_identity()?.user)
}

pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    make_folder(folder, &own_identity()?.user, "")
}
