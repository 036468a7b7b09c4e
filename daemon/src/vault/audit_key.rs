//! The file of the audit key: 32 random bytes, sealed beside the vault.
//!
//! The file is a magic, `PTAUDIT1`, and one or two boxes (`seal.rs`) of 80 bytes for the purpose `audit key`, without associated data,
//! under the vault key. There are two while the vault gets a new key: one under the key so far and one under the new one, written
//! before the vault is, so that whichever of them the vault has after a crash opens one. The next opening leaves only that. The key
//! itself stays what it is: what was chained under it before is as good as what comes after.
//!
//! A file that the vault key does not open is put aside, not overwritten. What is chained is not known here.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::disk::{self, Temporary};
use super::error::{Step, VaultError};
use super::seal::{AuditKey, KEY_LEN, SEAL_OVERHEAD, VaultKey};

/// Where the audit key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditKeyIs {
    /// It was there.
    TheSame,
    /// There was none, or none that this vault opens: it has been made now.
    New,
}

pub(super) fn open(path: &Path, key: &VaultKey) -> Result<(AuditKey, AuditKeyIs), VaultError> {
    if let Some(boxes) = boxes(path)? {
        let opened = boxes.iter().find_map(|sealed| AuditKey::open_under(key, sealed).ok());
        if let Some(audit_key) = opened {
            if boxes.len() > 1 {
                write(path, &[audit_key.seal_under(key)])?;
            }
            return Ok((audit_key, AuditKeyIs::TheSame));
        }
        let aside = disk::set_aside_name(path);
        disk::attempt(Step::Keep, &aside, || fs::rename(path, &aside))?;
    }
    let audit_key = AuditKey::random();
    write(path, &[audit_key.seal_under(key)])?;
    Ok((audit_key, AuditKeyIs::New))
}

/// Seals the key under another vault key as well, where there is one that the vault key so far opens. Says whether there is.
pub(super) fn carry_over(path: &Path, from: &VaultKey, to: &VaultKey) -> Result<bool, VaultError> {
    let boxes = boxes(path)?.unwrap_or_default();
    match boxes.iter().find_map(|sealed| AuditKey::open_under(from, sealed).ok()) {
        Some(audit_key) => {
            write(path, &[audit_key.seal_under(from), audit_key.seal_under(to)])?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// The boxes in the file; none of them where it is something else.
fn boxes(path: &Path) -> Result<Option<Vec<Vec<u8>>>, VaultError> {
    let Some(file) = disk::open_private(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    disk::attempt(Step::Read, path, || file.take(LONGEST_FILE).read_to_end(&mut bytes))?;
    let boxes = bytes.strip_prefix(&MAGIC).unwrap_or_default();
    Ok(Some(boxes.chunks_exact(BOX).map(<[u8]>::to_vec).collect()))
}

fn write(path: &Path, boxes: &[Vec<u8>]) -> Result<(), VaultError> {
    let folder = disk::folder_of(path);
    disk::check_folder(folder)?;
    let bytes = [&MAGIC[..], &boxes.concat()].concat();
    Temporary::filled(path, &bytes)?.replace(Step::Replace, path)?;
    Ok(disk::flush_folder(folder)?)
}

const MAGIC: [u8; 8] = *b"PTAUDIT1";
const BOX: usize = KEY_LEN + SEAL_OVERHEAD;
const LONGEST_FILE: u64 = 4096;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn is_same(one: &AuditKey, other: &AuditKey) -> bool {
        one.mac(&[b"x"]) == other.mac(&[b"x"])
    }

    #[test]
    fn the_key_is_the_same_after_each_opening_and_under_each_vault_key_whichever_a_crash_leaves() {
        let (folder, old, new) = (folder(), VaultKey::random(), VaultKey::random());
        let path = folder.path().join("vault.audit-key");
        assert!(!carry_over(&path, &old, &new).unwrap() && !path.exists());
        let (key, how) = open(&path, &old).unwrap();
        assert_eq!(how, AuditKeyIs::New);
        for _ in 0..2 {
            carry_over(&path, &old, &new).unwrap();
            // The vault was not written: it has the key so far.
            let (again, how) = open(&path, &old).unwrap();
            assert!(is_same(&key, &again) && how == AuditKeyIs::TheSame);
        }
        carry_over(&path, &old, &new).unwrap();
        let (again, _) = open(&path, &new).unwrap();
        assert!(is_same(&key, &again));
        assert_eq!(fs::read(&path).unwrap().len(), 8 + BOX, "nothing is left under the key so far");
        assert!(AuditKey::open_under(&old, &fs::read(&path).unwrap()[8..]).is_err());
    }

    #[test]
    fn what_the_vault_key_does_not_open_is_put_aside_and_not_lost() {
        let (folder, mine, other) = (folder(), VaultKey::random(), VaultKey::random());
        let path = folder.path().join("vault.audit-key");
        let (theirs, _) = open(&path, &other).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (key, how) = open(&path, &mine).unwrap();
        assert!(!is_same(&key, &theirs) && how == AuditKeyIs::New);
        let aside = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
        let aside: Vec<_> = aside.filter(|found| *found != path).collect();
        assert_eq!((aside.len(), fs::read(&aside[0]).unwrap()), (1, bytes));
    }

    #[test]
    fn a_file_that_others_may_read_is_not_believed() {
        let (folder, key) = (folder(), VaultKey::random());
        let path = folder.path().join("vault.audit-key");
        drop(open(&path, &key).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(&path, &key), Err(VaultError::Mode { .. })));
    }
}
