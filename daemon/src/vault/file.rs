//! The vault's file: read whole, replaced whole; and the generations before it.
//!
//! A save goes: a new file beside the vault, flushed; the kept generations move up by one, `VAULT.1` to `VAULT.2` and so
//! on; a second name for the vault so far, which becomes `VAULT.1`; the new file takes the vault's name; the folder is
//! flushed. When something is removed, all of them are dropped, and it is the new file that becomes `VAULT.1` as well. Under
//! the vault's own name there is a whole vault at every moment. A failure before the new file has the name changes
//! nothing. A failure after it is another matter: everyone who opens the vault now finds the new generation, so that one
//! counts, in memory too; but a power loss could still bring back the old one, and the next successful save settles it.
//!
//! A vault that somebody else put in place of ours (a restored backup, say) is never overwritten. One that is merely
//! damaged is: what is in memory is the better copy, and the damaged one does not displace a good `VAULT.1`. Nor does a save
//! that failed half way and is repeated push good generations out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use procurify_token_protocol::{Piece, VaultPiece};

use super::command::KeyCommand;
use super::disk::{self, Temporary};
use super::error::{IoFailure, MAX_FILE, Step, VaultError};
use super::format::{self, CHECKSUM_LEN, Checksum, FormatError};

/// Where a vault is, and what may open it without a person. Keep vault and key in different folders, so that a copy of one
/// opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultPaths {
    /// The vault.
    pub vault: PathBuf,
    /// The key file, whether or not the vault has a slot for it.
    pub key_file: PathBuf,
    /// The key that systemd hands to the daemon, where it does.
    pub credential: Option<PathBuf>,
    /// The program that prints a key, where one is configured.
    pub command: Option<KeyCommand>,
    /// How many older generations are kept: at least one.
    pub generations: u8,
}

impl VaultPaths {
    /// A vault and its key file, with three older generations.
    pub fn new(vault: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            vault: vault.into(),
            key_file: key_file.into(),
            credential: None,
            command: None,
            generations: KEPT_GENERATIONS,
        }
    }

    /// Where the key of the audit records is kept, sealed under the vault key.
    pub fn audit_key(&self) -> PathBuf {
        let mut name = self.vault.as_os_str().to_owned();
        name.push(".audit-key");
        name.into()
    }

    /// Where a generation of the vault is kept; 0 is the vault itself.
    pub fn generation(&self, number: u8) -> PathBuf {
        generation(&self.vault, number)
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

/// Fails where anything has the vault's name or that of an older generation: all of them may hold secrets.
pub(super) fn check_absent(path: &Path) -> Result<(), VaultError> {
    let paths = std::iter::once(path.to_owned()).chain(generations(path)?.into_values());
    match paths.into_iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(VaultError::Exists { path }),
        None => Ok(()),
    }
}

/// The older generations that are there, by their numbers. A folder that is not there has none; one that cannot be read may
/// have any.
pub(super) fn generations(path: &Path) -> Result<BTreeMap<u8, PathBuf>, IoFailure> {
    let number = |name: &OsStr| {
        let own = path.file_name()?.to_str()?;
        let digits = name.to_str()?.strip_prefix(own)?.strip_prefix('.')?;
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        (digits == format!("{number}")).then_some(number)
    };
    let folder = disk::folder_of(path);
    disk::attempt(Step::Inspect, folder, || {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries?,
        };
        let mut found = BTreeMap::new();
        for entry in entries {
            if let Some(number) = number(&entry?.file_name()) {
                found.insert(number, generation(path, number));
            }
        }
        Ok(found)
    })
}

/// The generations before a file, whether that is the vault or an older generation of it.
pub(super) fn generations_before(path: &Path) -> BTreeMap<u8, PathBuf> {
    let own = generations(path).unwrap_or_default();
    let number = path.extension().and_then(OsStr::to_str).and_then(|digits| digits.parse::<u8>().ok());
    match number {
        Some(number) if own.is_empty() => {
            generations(&path.with_extension("")).unwrap_or_default().split_off(&number.saturating_add(1))
        }
        _ => own,
    }
}

/// Whether a file is a whole vault that may be read.
pub(super) fn is_whole(path: &Path) -> bool {
    read(path).is_ok_and(|bytes| format::parse(&bytes).is_ok())
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

/// Puts `bytes` in place of the generation `known`, and keeps so many older ones.
pub(super) fn replace(
    path: &Path,
    known: &Checksum,
    bytes: &[u8],
    old: Old,
    kept: u8,
) -> Result<(), ReplaceError> {
    let folder = disk::folder_of(path);
    disk::check_folder(folder)?;
    let current = current(path, known)?;
    let new = Temporary::filled(path, bytes)?;
    match (old, current) {
        (Old::Keep, Current::Known) => keep(path, known, kept)?,
        (Old::Keep, Current::Lost) => {}
        // Before the vault itself: once that has changed, nobody would come back for what is left in the others.
        (Old::Forget, _) => {
            new.linked_again(path)?.replace(Step::Keep, &generation(path, 1))?;
            drop_generations(path, 1)?;
        }
    }
    new.replace(Step::Replace, path)?;
    disk::flush_folder(folder).map_err(ReplaceError::Unconfirmed)
}

/// Lets an older generation take the vault's place. What had that place gets a name of its own, and stays.
pub(super) fn go_back(path: &Path, number: u8) -> Result<Option<PathBuf>, VaultError> {
    let folder = disk::folder_of(path);
    disk::check_folder(folder)?;
    let old = Temporary::linked(path, &generation(path, number))?;
    let aside = if fs::symlink_metadata(path).is_ok() {
        let aside = disk::set_aside_name(path);
        Temporary::linked(path, path)?.settle(&aside)?;
        Some(aside)
    } else {
        None
    };
    old.replace(Step::Replace, path)?;
    disk::flush_folder(folder).map_err(VaultError::Unconfirmed)?;
    Ok(aside)
}

fn keep(path: &Path, known: &Checksum, kept: u8) -> Result<(), IoFailure> {
    let there = generations(path)?;
    // It stands there already where a removal put it, or a save that came no further.
    if there.get(&1).is_some_and(|first| is_generation(first, known)) {
        return Ok(());
    }
    let copy = Temporary::linked(path, path)?;
    // Up to the first gap, so that what a crash left moves no further than it has to; from the oldest on, so that none is
    // lost but the last.
    let moving: Vec<u8> = (1..kept).take_while(|number| there.contains_key(number)).collect();
    for number in moving.into_iter().rev() {
        disk::attempt(Step::Keep, &generation(path, number + 1), || {
            fs::rename(generation(path, number), generation(path, number + 1))
        })?;
    }
    copy.replace(Step::Keep, &generation(path, 1))?;
    drop_generations(path, kept)
}

/// Removes the generations beyond a number.
fn drop_generations(path: &Path, kept: u8) -> Result<(), IoFailure> {
    for (_, old) in generations(path)?.into_iter().filter(|(number, _)| *number > kept) {
        disk::attempt(Step::Drop, &old, || fs::remove_file(&old))?;
    }
    Ok(())
}

/// Whether a file ends in this checksum.
fn is_generation(path: &Path, known: &Checksum) -> bool {
    let last = || -> io::Result<Checksum> {
        let mut file = disk::open_for_reading(path)?;
        file.seek(SeekFrom::End(-CHECKSUM_AT_END))?;
        let mut checksum = [0; CHECKSUM_LEN];
        file.read_exact(&mut checksum)?;
        Ok(checksum)
    };
    last().is_ok_and(|found| found == *known)
}

/// A piece of the vault's file, and which generation it is of. With no generation named, the whole file is looked at first.
pub(super) fn piece(
    path: &Path,
    wanted: Option<Checksum>,
    offset: u64,
    most: usize,
) -> Result<Option<VaultPiece>, VaultError> {
    let mut file = disk::open_private(path)?.ok_or_else(|| VaultError::Missing { path: path.to_owned() })?;
    let generation = match wanted {
        Some(wanted) => wanted,
        None => checked(path, &read(path)?)?,
    };
    let mut read = || -> io::Result<Option<VaultPiece>> {
        let length = file.metadata()?.len();
        let mut checksum = [0; CHECKSUM_LEN];
        file.seek(SeekFrom::End(-CHECKSUM_AT_END))?;
        file.read_exact(&mut checksum)?;
        if checksum != generation || offset > length {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(most);
        file.seek(SeekFrom::Start(offset))?;
        (&mut file).take(most as u64).read_to_end(&mut bytes)?;
        Ok(Some(VaultPiece { generation, length, piece: Piece::new(bytes) }))
    };
    Ok(disk::attempt(Step::Read, path, &mut read)?)
}

fn checked(path: &Path, bytes: &[u8]) -> Result<Checksum, VaultError> {
    Ok(super::parse(path, bytes)?.checksum)
}

/// What becomes of the generation that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    /// It is kept as `VAULT.1`.
    Keep,
    /// It holds something that must be gone, as those before it do: `VAULT.1`, too, becomes the new generation, and there is
    /// no other.
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

fn generation(path: &Path, number: u8) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

const KEPT_GENERATIONS: u8 = 3;
const CHECKSUM_AT_END: i64 = 32;
