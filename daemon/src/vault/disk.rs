//! Files that nobody else may touch: opened only when their owner and mode are right, written so that a crash at any
//! moment leaves a whole file under every name.
//!
//! A file is private when it is a regular file (links are not followed), belongs to the effective user and has no
//! permission bit for group or others; its folder must belong to that user or root and be writable by no one else. On
//! Windows its access list must let nobody in but that user, SYSTEM and the administrators.
//!
//! This room knows neither vaults nor keys.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use system::{check_file, check_folder_access, check_handed_over, unfollowed};

use super::error::{IoFailure, Step, VaultError};
use super::seal;

/// Opens a private file for reading; `None` where there is none.
pub(super) fn open_private(path: &Path) -> Result<Option<File>, VaultError> {
    let Some((file, metadata)) = open_regular(path)? else { return Ok(None) };
    check_file(path, &file, &metadata)?;
    check_folder(folder_of(path))?;
    Ok(Some(file))
}

/// Opens a file that a service manager made for us: it may be root's, and then readable by a group of one by means of an
/// entry in its access list, but by nobody else.
pub(super) fn open_handed_over(path: &Path) -> Result<Option<File>, VaultError> {
    let Some((file, metadata)) = open_regular(path)? else { return Ok(None) };
    check_handed_over(path, &file, &metadata)?;
    check_folder(folder_of(path))?;
    Ok(Some(file))
}

fn open_regular(path: &Path) -> Result<Option<(File, fs::Metadata)>, VaultError> {
    let file = match unfollowed(OpenOptions::new().read(true)).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(VaultError::NotAFile { path: path.to_owned() });
            }
            _ => return Err(IoFailure { step: Step::Open, path: path.to_owned(), cause }.into()),
        },
    };
    let metadata = attempt(Step::Inspect, path, || file.metadata())?;
    if !metadata.is_file() {
        return Err(VaultError::NotAFile { path: path.to_owned() });
    }
    Ok(Some((file, metadata)))
}

/// Refuses a folder into which others may put files.
pub(super) fn check_folder(folder: &Path) -> Result<(), VaultError> {
    let metadata = attempt(Step::Inspect, folder, || fs::metadata(folder))?;
    check_folder_access(folder, &metadata)
}

/// Makes a folder and the missing ones above it, closed to others and safe from a power loss.
pub(crate) fn create_folders(folder: &Path) -> Result<(), IoFailure> {
    let missing: Vec<_> =
        folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists()).collect();
    for folder in missing.into_iter().rev() {
        attempt(Step::CreateFolder, folder, || system::create_folder(folder))?;
        flush_folder(folder_of(folder))?;
    }
    Ok(())
}

/// A new, private file, not to be confused with one that was there.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    system::create_new(path)
}

/// Opens a private file for reading and writing and makes it where it is missing.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    system::open_or_make(path)
}

/// A file under a name of its own, until it gets its real one. Its own name goes when the value goes.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// A new private file beside `target`, complete and on the disk.
    pub(super) fn filled(target: &Path, bytes: &[u8]) -> Result<Self, IoFailure> {
        let path = temporary_name(target);
        let mut file = attempt(Step::Create, &path, || create_private(&path))?;
        let temporary = Self(path);
        attempt(Step::Write, &temporary.0, || file.write_all(bytes))?;
        attempt(Step::Flush, &temporary.0, || file.sync_all())?;
        Ok(temporary)
    }

    /// A second name of `existing` beside `target`.
    pub(super) fn linked(target: &Path, existing: &Path) -> Result<Self, IoFailure> {
        let temporary = Self(temporary_name(target));
        attempt(Step::Link, existing, || fs::hard_link(existing, &temporary.0))?;
        Ok(temporary)
    }

    /// A second name of this file beside `target`.
    pub(super) fn linked_again(&self, target: &Path) -> Result<Self, IoFailure> {
        Self::linked(target, &self.0)
    }

    /// Takes the place of `target`, where there may be a file or none.
    ///
    /// Where both are names of one file a rename does nothing and keeps both names (POSIX): then, too, the temporary
    /// one goes with `self`.
    pub(super) fn replace(self, step: Step, target: &Path) -> Result<(), IoFailure> {
        attempt(step, target, || fs::rename(&self.0, target))
    }

    /// Takes the name `target` only if nothing has it, whoever else tries the same.
    pub(super) fn settle(self, target: &Path) -> Result<(), IoFailure> {
        attempt(Step::Link, target, || fs::hard_link(&self.0, target))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        #[cfg(all(test, unix))]
        if faults::has_crashed() {
            return;
        }
        // Nothing to do about a failure: what stays is sealed, and the next opening tries again.
        let _ = fs::remove_file(&self.0);
    }
}

/// A name beside `target` for what has to make room for something else.
pub(super) fn set_aside_name(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".aside-{:08x}", u32::from_le_bytes(seal::random_bytes())));
    target.with_file_name(name)
}

/// Opens one of our own files, without a look at who else may.
pub(super) fn open_for_reading(path: &Path) -> io::Result<File> {
    unfollowed(OpenOptions::new().read(true)).open(path)
}

/// Removes what saves of `target` left behind when they were killed.
pub(super) fn remove_stale(target: &Path) {
    let Ok(entries) = fs::read_dir(folder_of(target)) else { return };
    for entry in entries.flatten().filter(|entry| is_temporary_of(target, &entry.file_name())) {
        let _ = fs::remove_file(entry.path());
    }
}

/// Makes the names in a folder safe from a power loss. Windows has no such call and needs none.
pub(super) fn flush_folder(folder: &Path) -> Result<(), IoFailure> {
    attempt(Step::FlushFolder, folder, || if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) })
}

/// The folder that a path lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// One step; its failure names it. Every step that tests let fail goes through here.
pub(super) fn attempt<T>(
    step: Step,
    path: &Path,
    operation: impl FnOnce() -> io::Result<T>,
) -> Result<T, IoFailure> {
    #[cfg(all(test, unix))]
    let operation = || faults::strike(step).and_then(|()| operation());
    operation().map_err(|cause| IoFailure { step, path: path.to_owned(), cause })
}

fn temporary_name(target: &Path) -> PathBuf {
    let mut name = temporary_prefix(target);
    name.push(format!("{:016x}.tmp", u64::from_le_bytes(seal::random_bytes())));
    target.with_file_name(name)
}

fn is_temporary_of(target: &Path, name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.strip_prefix(temporary_prefix(target).as_encoded_bytes())
        .and_then(|rest| rest.strip_suffix(b".tmp"))
        .is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
}

fn temporary_prefix(target: &Path) -> std::ffi::OsString {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

#[cfg(all(test, unix))]
pub(super) mod faults;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
