//! The token cache: sealed access tokens that outlive a restart. Losing it costs requests, never secrets.
//!
//! A redb file with one table: under the keyed hash of a credential's name stands a box (`vault/seal.rs`, purpose
//! `cached token`, associated data: the hashed name) with one record: token · when it was requested · version of the
//! pair it was issued to. So the file shows neither names nor tokens, and a record opens in its own place only. What a
//! later version keeps here gets a table of its own.
//!
//! Nothing in the file is precious, so nothing in it is ever an error for a reader: what does not open is absent, and a
//! file that is not ours, or not whole, is replaced by a new one. redb may panic over a file that was changed behind
//! its back; it is asked to check the whole file when opening, and what still panics is caught (where panics unwind).
//! Whether a token is still good is not judged here.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{AccessToken, CredentialName};
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::vault::{self, CacheKeys, record};

/// A token as it is kept over a restart.
#[derive(Clone, Debug)]
pub struct CachedToken {
    /// The token.
    pub token: Arc<AccessToken>,
    /// When it was requested, to the millisecond.
    pub issued_at: DateTime<Utc>,
    /// The version of the pair of client credentials that it was issued to.
    pub pair_version: u64,
}

/// The open cache. All calls block on the disk.
#[derive(Debug)]
pub struct Cache {
    database: Database,
    keys: CacheKeys,
}

impl Cache {
    /// Opens the cache at `path`, or makes it with its folders, closed to others.
    ///
    /// # Errors
    /// [`CacheError`]; never because of what is in the file.
    pub fn open(path: &Path, keys: CacheKeys) -> Result<(Self, Condition), CacheError> {
        let failed = |cause| CacheError::Io { path: path.to_owned(), cause };
        let folder = path.parent().unwrap_or(Path::new(""));
        vault::create_folders(folder).map_err(|failure| failed(failure.cause))?;
        let condition = match fs::symlink_metadata(path) {
            Err(_) => Condition::New,
            Ok(_) => match open_database(path) {
                Ok(database) => return Ok((Self { database, keys }, Condition::Kept)),
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::Unusable) => {
                    fs::remove_file(path).map_err(failed)?;
                    Condition::Replaced
                }
            },
        };
        match open_database(path) {
            Ok(database) => Ok((Self { database, keys }, condition)),
            Err(Refused::Error(error)) => Err(error),
            Err(Refused::Unusable) => Err(failed(io::Error::other("a new file is not usable"))),
        }
    }

    /// The token kept for a credential. One that was sealed with another vault's key, or is damaged, counts as absent.
    pub fn load(&self, name: &CredentialName) -> Option<CachedToken> {
        let hashed = self.keys.hashed_name(name);
        let sealed = unwinding(|| {
            let table = self.database.begin_read()?.open_table(TOKENS)?;
            Ok(table.get(&hashed)?.map(|value| value.value().to_vec()))
        });
        let plaintext = self.keys.open_token(&hashed, &sealed.ok()??).ok()?;
        let OpenRecord { token, issued_at, pair_version } = record::decode(&plaintext)?;
        Some(CachedToken { token: Arc::new(token), issued_at, pair_version })
    }

    /// Keeps a token, in place of an older one; on the disk when it returns.
    ///
    /// # Errors
    /// [`CacheError::Storage`].
    pub fn store(&mut self, name: &CredentialName, cached: &CachedToken) -> Result<(), CacheError> {
        let hashed = self.keys.hashed_name(name);
        let CachedToken { token, issued_at, pair_version } = cached;
        let record = Record { token, issued_at: *issued_at, pair_version: *pair_version };
        let sealed = self.keys.seal_token(&hashed, &record::encode(&record));
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.insert(&hashed, &*sealed)?;
            Ok(())
        })
    }

    /// Forgets the token of a credential, if one is kept.
    ///
    /// # Errors
    /// [`CacheError::Storage`].
    pub fn forget(&mut self, name: &CredentialName) -> Result<(), CacheError> {
        let hashed = self.keys.hashed_name(name);
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.remove(&hashed)?;
            Ok(())
        })
    }

    /// Forgets everything that is not kept for one of `names`, records of another vault included.
    ///
    /// # Errors
    /// [`CacheError::Storage`].
    pub fn retain(
        &mut self,
        names: impl IntoIterator<Item = impl Borrow<CredentialName>>,
    ) -> Result<(), CacheError> {
        let known: HashSet<_> = names.into_iter().map(|name| self.keys.hashed_name(name.borrow())).collect();
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.retain(|hashed, _| known.contains(hashed))?;
            Ok(())
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), CacheError> {
        unwinding(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        })
        .map_err(CacheError::Storage)
    }
}

/// In which condition the cache was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was there.
    Kept,
    /// There was none.
    New,
    /// There was one that could not be used: damaged, of another format, or not a cache. It is gone.
    Replaced,
}

/// Why the cache does not work. The daemon can do without it.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Another process has it open.
    #[error("The token cache {path} is in use by another process.", path = .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made, opened or closed to others.
    #[error("The token cache {path} cannot be used: {cause}.", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A record could not be read or written.
    #[error("The token cache cannot be written: {0}.")]
    Storage(redb::Error),
}

#[derive(Serialize)]
struct Record<'a> {
    token: &'a AccessToken,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    issued_at: DateTime<Utc>,
    pair_version: u64,
}

/// The same, read.
#[derive(Deserialize)]
struct OpenRecord {
    token: AccessToken,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    issued_at: DateTime<Utc>,
    pair_version: u64,
}

enum Refused {
    /// The file is at fault, and a new one will do.
    Unusable,
    Error(CacheError),
}

fn open_database(path: &Path) -> Result<Database, Refused> {
    let failed = |cause| Refused::Error(CacheError::Io { path: path.to_owned(), cause });
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Refused::Unusable);
    }
    let file = vault::open_or_create(path).map_err(failed)?;
    close_to_others(&file).map_err(failed)?;
    let opened = unwinding(|| {
        let database = Database::builder()
            .set_cache_size(MEMORY)
            .set_check_integrity_on_open(true)
            .create_with_backend(FileBackend::new(file)?)?;
        check_table(&database)?;
        Ok(database)
    });
    opened.map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            Refused::Error(CacheError::InUse { path: path.to_owned() })
        }
        redb::Error::Io(cause) if !is_about_content(&cause) => failed(cause),
        _ => Refused::Unusable,
    })
}

/// The table has our types, or is not there yet.
fn check_table(database: &Database) -> Result<(), redb::Error> {
    match database.begin_read()?.open_table(TOKENS) {
        Ok(_) | Err(TableError::TableDoesNotExist(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs what may panic over a file that was changed behind redb's back.
fn unwinding<T>(operation: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    // What a panic leaves behind in redb, it refuses to work with by itself.
    catch_unwind(AssertUnwindSafe(operation))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("redb panicked".to_owned())))
}

fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

#[cfg(unix)]
fn close_to_others(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// The folder's inherited ACL does that on Windows.
#[cfg(not(unix))]
fn close_to_others(_: &File) -> io::Result<()> {
    Ok(())
}

const TOKENS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("tokens 1");

// redb's own is 1 GiB; the whole daemon means to stay below 4 MB.
const MEMORY: usize = 256 * 1024;

#[cfg(test)]
#[cfg(unix)]
mod tests;
