//! The token cache: what outlives a restart beside the vault. Losing it costs requests, never secrets.
//!
//! A redb file with two tables, both under the keyed hash of a credential's name: its sealed token, and its sealed
//! history (when tokens were issued, and why and until when requests wait). Each record is a box (`vault/seal.rs`,
//! associated data: the hashed name) and begins with the time it was written by all clocks; every other time in it is
//! reckoned from that one, so that a reader needs one conversion to today's clock. The file shows neither names nor
//! tokens, and a record opens in its own place only. What a later version keeps here gets a table of its own.
//!
//! Nothing in the file is precious, so nothing in it is ever an error for a reader: what does not open is absent, and a
//! file that is not ours, or not whole, is replaced by a new one. redb may panic over a file that was changed behind
//! its back; it is asked to check the whole file when opening, and what still panics is caught (where panics unwind).
//! Whether a token is still good is not judged here.
//!
//! A little long, because a record's form is to be read beside what writes and reads it.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::DateTime;
use procurify_token_protocol::{AccessToken, CredentialName, Failure};
use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::{Anchor, Stamp};
use crate::refresh::{History, Moment, Setback};
use crate::vault::{self, CacheKeys, record};

/// A token as it is kept over a restart.
#[derive(Clone, Debug)]
pub struct CachedToken {
    /// The token.
    pub token: Arc<AccessToken>,
    /// When it was requested.
    pub issued: Moment,
    /// When it ends.
    pub expires: Moment,
    /// The version of the pair of client credentials that it was issued to.
    pub pair_version: u64,
}

/// What is to be written of one credential.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Which credential.
    pub name: &'a CredentialName,
    /// What becomes of its token.
    pub token: TokenChange,
    /// Its history, for the pair of this version.
    pub history: (History, u64),
}

/// What becomes of the token that is kept.
#[derive(Clone, Debug)]
pub enum TokenChange {
    /// It stays.
    Leave,
    /// It is forgotten.
    Forget,
    /// This one takes its place.
    Store(CachedToken),
}

/// What an earlier run has left of a credential.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Its token, and what its life was reckoned by. Whether it still lives is not judged.
    pub token: Option<(CachedToken, Anchor)>,
    /// Its history, and the version of the pair that its setback is about.
    pub history: (History, u64),
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

    /// What is kept of a credential. What was sealed with another vault's key, or is damaged, counts as absent.
    pub fn load(&self, name: &CredentialName, now: &Stamp) -> Kept {
        let hashed = self.keys.hashed_name(name);
        let sealed = unwinding(|| {
            let reading = self.database.begin_read()?;
            let find = |table: Table| match reading.open_table(table) {
                Ok(table) => Ok(table.get(&hashed)?.map(|value| value.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(redb::Error::from(error)),
            };
            Ok((find(TOKENS)?, find(HISTORIES)?))
        });
        let (token, history) = sealed.unwrap_or_default();
        let token = token.and_then(|sealed| self.open_token(&hashed, &sealed, now));
        let history = history.and_then(|sealed| self.open_history(&hashed, &sealed, now));
        Kept { token, history: history.unwrap_or_default() }
    }

    fn open_token(&self, hashed: &[u8; 32], sealed: &[u8], now: &Stamp) -> Option<(CachedToken, Anchor)> {
        let plaintext = self.keys.open_token(hashed, sealed).ok()?;
        let record: OpenRecord = record::decode(&plaintext)?;
        let (then, anchor) = now.moment_of(&record.written.stamp()?);
        let token = CachedToken {
            token: Arc::new(record.token),
            issued: after(then, record.issued),
            expires: after(then, record.expires),
            pair_version: record.pair_version,
        };
        Some((token, anchor))
    }

    fn open_history(&self, hashed: &[u8; 32], sealed: &[u8], now: &Stamp) -> Option<(History, u64)> {
        let plaintext = self.keys.open_history(hashed, sealed).ok()?;
        let record: HistoryRecord = record::decode(&plaintext)?;
        // Nothing was written in the future: a clock that was ahead must not make anybody wait for it.
        let then = now.moment_of(&record.written.stamp()?).0.min(now.boot);
        let setback = record.setback.and_then(|setback| {
            let SetbackRecord { failure, at, in_a_row, until, is_barred } = setback;
            let at = DateTime::from_timestamp_millis(at)?;
            Some(Setback { failure, at, in_a_row, until: after(then, until), is_barred })
        });
        let issued = record.issued.into_iter().map(|at| after(then, at)).collect();
        let history = History {
            issued,
            setback,
            refused_in_a_row: record.refused_in_a_row,
            is_refused: record.is_refused,
            changed_at: record.changed_at.map(|at| after(then, at)),
        };
        Some((history, record.pair_version))
    }

    /// Writes what has become of some credentials; on the disk, all of it, when it returns.
    ///
    /// # Errors
    /// [`CacheError::Storage`].
    pub fn store(&mut self, entries: &[Entry<'_>], now: &Stamp) -> Result<(), CacheError> {
        self.write(|transaction| {
            let mut tokens = transaction.open_table(TOKENS)?;
            let mut histories = transaction.open_table(HISTORIES)?;
            for Entry { name, token, history } in entries {
                let hashed = self.keys.hashed_name(name);
                match token {
                    TokenChange::Leave => {}
                    TokenChange::Forget => drop(tokens.remove(&hashed)?),
                    TokenChange::Store(cached) => {
                        let record = record::encode(&Record::new(cached, now));
                        drop(tokens.insert(&hashed, &*self.keys.seal_token(&hashed, &record))?);
                    }
                }
                let record = record::encode(&HistoryRecord::new(history, now));
                histories.insert(&hashed, &*self.keys.seal_history(&hashed, &record))?;
            }
            Ok(())
        })
    }

    /// Seals everything that is kept for `names` under other keys, and forgets the rest.
    ///
    /// # Errors
    /// [`CacheError::Storage`]; what is stored from then on is sealed under the new keys all the same.
    pub fn rekey(
        &mut self,
        keys: CacheKeys,
        names: impl IntoIterator<Item = impl Borrow<CredentialName>>,
    ) -> Result<(), CacheError> {
        let old = std::mem::replace(&mut self.keys, keys);
        let new = &self.keys;
        self.write(|transaction| {
            let mut tokens = transaction.open_table(TOKENS)?;
            let mut histories = transaction.open_table(HISTORIES)?;
            let mut resealed = Vec::new();
            for name in names {
                let (from, to) = (old.hashed_name(name.borrow()), new.hashed_name(name.borrow()));
                let token = tokens.get(&from)?.map(|sealed| old.open_token(&from, sealed.value()));
                let history = histories.get(&from)?.map(|sealed| old.open_history(&from, sealed.value()));
                let token = token.and_then(Result::ok).map(|record| new.seal_token(&to, &record));
                let history = history.and_then(Result::ok).map(|record| new.seal_history(&to, &record));
                resealed.push((to, token, history));
            }
            tokens.retain(|_, _| false)?;
            histories.retain(|_, _| false)?;
            for (hashed, token, history) in &resealed {
                if let Some(sealed) = token {
                    tokens.insert(hashed, &**sealed)?;
                }
                if let Some(sealed) = history {
                    histories.insert(hashed, &**sealed)?;
                }
            }
            Ok(())
        })
    }

    /// Forgets all that is kept of a credential.
    ///
    /// # Errors
    /// [`CacheError::Storage`].
    pub fn forget(&mut self, name: &CredentialName) -> Result<(), CacheError> {
        let hashed = self.keys.hashed_name(name);
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.remove(&hashed)?;
            transaction.open_table(HISTORIES)?.remove(&hashed)?;
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
        if !self.holds_others_than(&known).map_err(CacheError::Storage)? {
            return Ok(());
        }
        self.write(|transaction| {
            transaction.open_table(TOKENS)?.retain(|hashed, _| known.contains(hashed))?;
            transaction.open_table(HISTORIES)?.retain(|hashed, _| known.contains(hashed))?;
            Ok(())
        })
    }

    fn holds_others_than(&self, known: &HashSet<[u8; 32]>) -> Result<bool, redb::Error> {
        unwinding(|| {
            let reading = self.database.begin_read()?;
            for table in [TOKENS, HISTORIES] {
                let table = match reading.open_table(table) {
                    Ok(table) => table,
                    Err(TableError::TableDoesNotExist(_)) => continue,
                    Err(error) => return Err(error.into()),
                };
                for record in table.iter()? {
                    if !known.contains(record?.0.value()) {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
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

/// When a record was written, by all clocks, in milliseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Written {
    wall: i64,
    boot: i64,
    boot_id: Option<[u8; 16]>,
}

impl Written {
    fn at(now: &Stamp) -> Self {
        let boot_id = now.boot_id.map(u128::to_be_bytes);
        Self { wall: now.wall.timestamp_millis(), boot: now.boot.as_millis(), boot_id }
    }

    fn stamp(self) -> Option<Stamp> {
        Some(Stamp {
            wall: DateTime::from_timestamp_millis(self.wall)?,
            boot: Moment::from_millis(self.boot),
            boot_id: self.boot_id.map(u128::from_be_bytes),
        })
    }
}

#[derive(Serialize)]
struct Record<'a> {
    written: Written,
    token: &'a AccessToken,
    issued: i64,
    expires: i64,
    pair_version: u64,
}

impl<'a> Record<'a> {
    fn new(cached: &'a CachedToken, now: &Stamp) -> Self {
        let CachedToken { token, issued, expires, pair_version } = cached;
        Self {
            written: Written::at(now),
            token,
            issued: distance(now.boot, *issued),
            expires: distance(now.boot, *expires),
            pair_version: *pair_version,
        }
    }
}

/// The same, read.
#[derive(Deserialize)]
struct OpenRecord {
    written: Written,
    token: AccessToken,
    issued: i64,
    expires: i64,
    pair_version: u64,
}

#[derive(Serialize, Deserialize)]
struct HistoryRecord {
    written: Written,
    pair_version: u64,
    issued: Vec<i64>,
    setback: Option<SetbackRecord>,
    refused_in_a_row: u32,
    is_refused: bool,
    changed_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct SetbackRecord {
    failure: Failure,
    at: i64,
    in_a_row: u32,
    until: i64,
    is_barred: bool,
}

impl HistoryRecord {
    fn new((history, pair_version): &(History, u64), now: &Stamp) -> Self {
        let setback = history.setback.as_ref().map(|setback| SetbackRecord {
            failure: setback.failure.clone(),
            at: setback.at.timestamp_millis(),
            in_a_row: setback.in_a_row,
            until: distance(now.boot, setback.until),
            is_barred: setback.is_barred,
        });
        Self {
            written: Written::at(now),
            pair_version: *pair_version,
            issued: history.issued.iter().map(|at| distance(now.boot, *at)).collect(),
            setback,
            refused_in_a_row: history.refused_in_a_row,
            is_refused: history.is_refused,
            changed_at: history.changed_at.map(|at| distance(now.boot, at)),
        }
    }
}

fn distance(from: Moment, to: Moment) -> i64 {
    to.as_millis().saturating_sub(from.as_millis())
}

fn after(from: Moment, distance: i64) -> Moment {
    Moment::from_millis(from.as_millis().saturating_add(distance))
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
        check_tables(&database)?;
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

/// The tables have our types, or are not there yet.
fn check_tables(database: &Database) -> Result<(), redb::Error> {
    let reading = database.begin_read()?;
    for table in [TOKENS, HISTORIES] {
        match reading.open_table(table) {
            Ok(_) | Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
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

/// On Windows it was made so.
#[cfg(not(unix))]
fn close_to_others(_: &File) -> io::Result<()> {
    Ok(())
}

type Table = TableDefinition<'static, &'static [u8; 32], &'static [u8]>;

const TOKENS: Table = TableDefinition::new("tokens 2");
const HISTORIES: Table = TableDefinition::new("histories 1");

// redb's own is 1 GiB; the whole daemon means to stay below 4 MB.
const MEMORY: usize = 256 * 1024;

/// A way in for the fuzzer: bytes as opened records. It comes with its `--cfg fuzzing`, and is in no program that anybody runs.
#[cfg(fuzzing)]
pub fn fuzz_records(bytes: &[u8]) {
    let _ = record::decode::<OpenRecord>(bytes);
    let _ = record::decode::<HistoryRecord>(bytes);
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
