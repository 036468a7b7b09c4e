//! One daemon to a vault.
//!
//! The lock is the operating system's, on an open file, so that it goes with its process however that ends. The file
//! stays: one that came and went could be locked under two identities. The pid in it is for people.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::disk;
use super::error::{Step, VaultError};

/// The right to work with the vault in a folder, for as long as the value lives.
///
/// The file is closed in programs that this one starts.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Locks `daemon.lock` in `folder`, and makes both where they are missing.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if another process has it; never waits.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        disk::create_folders(folder).map_err(VaultError::from)?;
        disk::check_folder(folder)?;
        let path = folder.join(FILE_NAME);
        let mut file =
            disk::attempt(Step::Open, &path, || disk::open_or_create(&path)).map_err(VaultError::from)?;
        let locked = disk::attempt(Step::Lock, &path, || match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(cause)) => Err(cause),
        });
        if !locked.map_err(VaultError::from)? {
            return Err(LockError::Held { folder: folder.to_owned(), pid: pid_in(&mut file) });
        }
        disk::attempt(Step::Write, &path, || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        })
        .map_err(VaultError::from)?;
        Ok(Self { _file: file })
    }
}

/// Why the vault in a folder cannot be worked with.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon does already.
    #[error("Another procurify-tokend{} works with the vault in {folder}.{}", pid_text(*.pid), way_out(*.pid), folder = .folder.display())]
    Held {
        /// The vault's folder.
        folder: PathBuf,
        /// Its process, where that could be read: Windows keeps a locked file from being read.
        pid: Option<u32>,
    },
    /// The folder or the file in it is not usable.
    #[error(transparent)]
    Unusable(#[from] VaultError),
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn way_out(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" If it does not answer, end it: kill {pid}"))
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

const FILE_NAME: &str = "daemon.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("made/on/the/way");
        let first = InstanceLock::acquire(&folder).unwrap();
        let second = InstanceLock::acquire(&folder).unwrap_err();
        let own = std::process::id();
        assert!(matches!(second, LockError::Held { pid: Some(pid), .. } if pid == own), "{second:?}");
        assert!(second.to_string().contains(&format!("(process {own})")));
        drop(first);
        assert!(folder.join(FILE_NAME).exists());
        InstanceLock::acquire(&folder).unwrap();
    }

    #[test]
    fn a_pid_that_is_longer_than_ours_leaves_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join(FILE_NAME), "99999999999999\n").unwrap();
        let _lock = InstanceLock::acquire(temp.path()).unwrap();
        let text = std::fs::read_to_string(temp.path().join(FILE_NAME)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
