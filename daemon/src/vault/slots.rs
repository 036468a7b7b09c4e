//! Key slots: each wraps the vault key with one thing that opens the vault.
//!
//! | kind | payload |
//! | --- | --- |
//! | 1 key file | box (80 bytes) under the 32 bytes of the key file |
//! | 2 passphrase | m in KiB (4), t (4), p (4), salt (16), box (80) under Argon2id(version 0x13, passphrase, salt, m, t, p) of 32 bytes (RFC 9106) |
//! | 3 recovery code | box (80) under HKDF-SHA256 of the code's 20 bytes, no salt, info `procurify-token vault v1 recovery code`, 32 bytes |
//! | 4 command, 5 keychain, 6 systemd credential | box (80) under the 32 bytes of the key-file line that comes from there |
//!
//! A box is one of `seal.rs` for the purpose `slot`, holding the 32 bytes of the vault key; its associated data is the
//! slot's kind (1 byte) and the payload before the box, which only a passphrase has: not the rest of the slot. Integers are little
//! endian. Of several slots of a kind any may fit. A passphrase is its UTF-8 bytes as typed, without the line end and without
//! normalising. How a recovery code spells its bytes is in the protocol's specification. Derivation uses the parameters in the
//! slot and nothing else, and they are bounded before any memory is asked for (`stretch.rs`). Other kinds belong to later versions: they
//! are carried along and never looked into, and a new vault key leaves them behind.
//!
//! A vault that gets a new key wraps it in each slot that stays, so what opens those is asked for once more. It is not kept
//! in the vault for that purpose: whoever had an old copy, and the means to open it, would find there what opens the
//! new one. A little long: how a slot is made, opened and wrapped anew is one thought.

use chrono::{DateTime, SubsecRound, Utc};
use procurify_token_protocol::{
    CODE_LEN, Description, NewSlot, Passphrase, RecoveryCode, SlotId, SlotKind, SlotStatus, UnlockWith,
};
use zeroize::Zeroizing;

use super::error::{ChangeError, VaultError};
use super::file::VaultPaths;
use super::format::RawSlot;
use super::key_file;
use super::keychain;
use super::seal::{self, KEY_LEN, SEAL_OVERHEAD, VaultKey, WrappingKey};
use super::stretch::{KdfParameters, StretchError, stretch};

/// What opens a slot, at hand; made before the slot, because it may take time.
#[derive(Debug)]
pub struct PreparedSlot {
    kind: SlotKind,
    /// The payload before the box.
    public: Vec<u8>,
    key: WrappingKey,
    /// What a person has to be told, once.
    recovery_code: Option<RecoveryCode>,
}

impl PreparedSlot {
    /// Makes or fetches what will open the slot. May take a moment and 64 MiB, or as long as a command takes: do not call from
    /// a task that others wait for.
    ///
    /// # Errors
    /// What is wrong with where it would come from.
    pub fn new(paths: &VaultPaths, new: &NewSlot) -> Result<Self, VaultError> {
        Self::with(paths, new, KdfParameters::default())
    }

    pub(super) fn with(
        paths: &VaultPaths,
        new: &NewSlot,
        parameters: KdfParameters,
    ) -> Result<Self, VaultError> {
        let bare = |kind, key| Self { kind, public: Vec::new(), key, recovery_code: None };
        Ok(match new {
            NewSlot::KeyFile => bare(SlotKind::KeyFile, key_file::read_or_create(&paths.key_file)?),
            NewSlot::Keychain => bare(SlotKind::Keychain, keychain::read_or_create(&paths.vault)?),
            NewSlot::Command | NewSlot::Credential => {
                let kind = kind_of(new);
                bare(kind, unattended(kind, paths)?)
            }
            NewSlot::RecoveryCode => {
                let bytes: Zeroizing<[u8; CODE_LEN]> = Zeroizing::new(seal::random_bytes());
                Self::of_recovery_code(RecoveryCode::from_bytes(&bytes))
            }
            NewSlot::Passphrase(passphrase) => {
                let salt: [u8; SALT_LEN] = seal::random_bytes();
                let key = stretch(passphrase, parameters, &salt)
                    .map_err(|error| SlotError::from(error).of(paths, SlotKind::Passphrase))?;
                let public = [&parameters.to_bytes()[..], &salt].concat();
                Self { public, ..bare(SlotKind::Passphrase, key) }
            }
        })
    }

    pub(super) fn of_recovery_code(code: RecoveryCode) -> Self {
        let key = WrappingKey::of_recovery_code(&*code.to_bytes());
        Self { kind: SlotKind::RecoveryCode, public: Vec::new(), key, recovery_code: Some(code) }
    }

    /// What opens it.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// The recovery code, if that is what opens it: it is given once.
    pub fn take_recovery_code(&mut self) -> Option<RecoveryCode> {
        self.recovery_code.take()
    }

    /// Whether it opens a slot of its kind.
    pub(super) fn opens(&self, slot: &RawSlot) -> bool {
        self.unwrap(slot).is_ok()
    }

    /// The slot, under an id that none of the others has.
    pub(super) fn slot(
        &self,
        vault_key: &VaultKey,
        others: &[RawSlot],
        description: Description,
        now: DateTime<Utc>,
    ) -> RawSlot {
        let fresh = || SlotId::from_bytes(seal::random_bytes());
        let id = std::iter::repeat_with(fresh).find(|id| others.iter().all(|slot| slot.id != *id));
        RawSlot {
            kind: number_of(self.kind),
            id: id.expect("there is always another"),
            added_at: Some(now.trunc_subsecs(3)),
            description,
            payload: self.payload(vault_key),
        }
    }

    fn payload(&self, vault_key: &VaultKey) -> Vec<u8> {
        let associated_data = associated_data(number_of(self.kind), &self.public);
        [&self.public[..], &self.key.wrap(vault_key, &associated_data)].concat()
    }
}

/// The slots of an open vault, to be opened once more beside it. They are the ones in the daemon's memory and not the file's: any
/// program of the user may put another vault there for a moment, one that it can open.
#[derive(Debug)]
pub struct Door {
    slots: Vec<RawSlot>,
    paths: VaultPaths,
}

impl Door {
    pub(super) fn new(slots: Vec<RawSlot>, paths: VaultPaths) -> Self {
        Self { slots, paths }
    }

    /// Whether this opens the vault. Takes as long as opening it.
    ///
    /// # Errors
    /// As for [`Vault::open`](super::Vault::open), as far as keys are concerned.
    pub fn prove(&self, key: Key<'_>) -> Result<(), VaultError> {
        open(&self.slots, &self.paths, key).map(drop)
    }

    /// Opens the slots that are to stay once more, for [`Vault::rekey`](super::Vault::rekey).
    ///
    /// # Errors
    /// [`ChangeError::SlotNotOpened`], [`ChangeError::UnknownSlot`], [`ChangeError::LastSlot`].
    pub fn keep(&self, without: &[SlotId], keys: &[UnlockWith]) -> Result<Kept, ChangeError> {
        Kept::open(&self.slots, &self.paths, without, keys)
    }
}

/// The slots that are to stay, each with what opens it.
#[derive(Debug)]
pub struct Kept(Vec<(SlotId, PreparedSlot)>);

impl Kept {
    /// Opens each slot but those in `without` once more, to keep it. What needs no person is fetched; the others are opened
    /// by one of the `keys`. May take as long as [`PreparedSlot::new`] for each.
    fn open(
        slots: &[RawSlot],
        paths: &VaultPaths,
        without: &[SlotId],
        keys: &[UnlockWith],
    ) -> Result<Self, ChangeError> {
        if let Some(unknown) = without.iter().find(|id| slots.iter().all(|slot| slot.id != **id)) {
            return Err(ChangeError::UnknownSlot(*unknown));
        }
        let staying: Vec<_> = slots.iter().filter(|slot| !without.contains(&slot.id)).collect();
        if staying.is_empty() {
            return Err(ChangeError::LastSlot);
        }
        let kept = staying.into_iter().map(|slot| {
            let prepared = reopened(slot, paths, keys).map_err(|why| ChangeError::SlotNotOpened {
                id: slot.id,
                kind: kind(slot),
                why,
            })?;
            Ok((slot.id, prepared))
        });
        kept.collect::<Result<_, _>>().map(Self)
    }

    /// The slots that stay, for another vault key. `None` where they are no longer those that were opened.
    pub(super) fn slots(
        &self,
        slots: &[RawSlot],
        without: &[SlotId],
        vault_key: &VaultKey,
    ) -> Option<Vec<RawSlot>> {
        let staying: Vec<_> = slots.iter().filter(|slot| !without.contains(&slot.id)).collect();
        let is_same = staying.iter().map(|slot| slot.id).eq(self.0.iter().map(|(id, _)| *id));
        let wrap = |(slot, (_, prepared)): (&RawSlot, &(SlotId, PreparedSlot))| RawSlot {
            payload: prepared.payload(vault_key),
            ..slot.clone()
        };
        is_same.then(|| staying.into_iter().zip(&self.0).map(wrap).collect())
    }
}

fn reopened(slot: &RawSlot, paths: &VaultPaths, keys: &[UnlockWith]) -> Result<PreparedSlot, String> {
    let kind = kind(slot);
    if kind.is_unattended() {
        let key = unattended(kind, paths).map_err(|error| error.to_string())?;
        let prepared = PreparedSlot { kind, public: Vec::new(), key, recovery_code: None };
        return match prepared.unwrap(slot) {
            Ok(_) => Ok(prepared),
            Err(error) => Err(error.of(paths, kind).to_string()),
        };
    }
    let fitting = keys.iter().find_map(|key| {
        let prepared = match (kind, key) {
            (SlotKind::Passphrase, UnlockWith::Passphrase(passphrase)) => {
                let (public, parameters, salt) = passphrase_head(slot).ok()?;
                let key = stretch(passphrase, parameters, salt).ok()?;
                PreparedSlot { kind, public: public.to_vec(), key, recovery_code: None }
            }
            (SlotKind::RecoveryCode, UnlockWith::RecoveryCode(code)) => {
                let key = WrappingKey::of_recovery_code(&*code.to_bytes());
                PreparedSlot { kind, public: Vec::new(), key, recovery_code: None }
            }
            _ => return None,
        };
        prepared.unwrap(slot).is_ok().then_some(prepared)
    });
    fitting.ok_or_else(|| match kind {
        SlotKind::Unknown(_) => "Only a later version of this program can open it.".to_owned(),
        _ => String::new(),
    })
}

impl PreparedSlot {
    fn unwrap(&self, slot: &RawSlot) -> Result<VaultKey, SlotError> {
        let (public, wrapped) =
            slot.payload.split_at_checked(self.public.len()).ok_or(SlotError::Malformed)?;
        if wrapped.len() != WRAPPED_LEN {
            return Err(SlotError::Malformed);
        }
        self.key.unwrap(wrapped, &associated_data(slot.kind, public)).map_err(|_| SlotError::WrongKey)
    }
}

/// What opens a vault.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// Whatever needs no person: key file, systemd credential, keychain, command, in this order.
    Unattended,
    /// A passphrase. Stretching it takes a moment and 64 MiB: do not call from a task that others wait for.
    Passphrase(&'a Passphrase),
    /// A recovery code.
    RecoveryCode(&'a RecoveryCode),
}

impl<'a> From<&'a UnlockWith> for Key<'a> {
    fn from(key: &'a UnlockWith) -> Self {
        match key {
            UnlockWith::Unattended => Self::Unattended,
            UnlockWith::Passphrase(passphrase) => Self::Passphrase(passphrase),
            UnlockWith::RecoveryCode(code) => Self::RecoveryCode(code),
        }
    }
}

/// The vault key, from the first slot that this opens.
pub(super) fn open(slots: &[RawSlot], paths: &VaultPaths, key: Key<'_>) -> Result<VaultKey, VaultError> {
    let opened =
        |kind: SlotKind, outcome: Result<VaultKey, SlotError>| outcome.map_err(|error| error.of(paths, kind));
    match key {
        Key::Passphrase(passphrase) => opened(SlotKind::Passphrase, open_with_passphrase(slots, passphrase)),
        Key::RecoveryCode(code) => {
            let key = WrappingKey::of_recovery_code(&*code.to_bytes());
            opened(SlotKind::RecoveryCode, open_with_key(slots, SlotKind::RecoveryCode, &key))
        }
        Key::Unattended => {
            let is_there = |kind: &SlotKind| slots.iter().any(|slot| self::kind(slot) == *kind);
            let mut failures = Vec::new();
            for kind in UNATTENDED.into_iter().filter(is_there) {
                let key = unattended(kind, paths);
                match key.and_then(|key| opened(kind, open_with_key(slots, kind, &key))) {
                    Ok(key) => return Ok(key),
                    Err(error) => failures.push(error),
                }
            }
            match failures.len() {
                0 => Err(VaultError::OnlyByPerson { path: paths.vault.clone() }),
                1 => Err(failures.remove(0)),
                _ => Err(VaultError::NoneOpens { failures }),
            }
        }
    }
}

/// Whether the key file opens its slot.
pub(super) fn try_key_file(slots: &[RawSlot], paths: &VaultPaths) -> Result<(), VaultError> {
    let key = key_file::read(&paths.key_file)?;
    let opened = open_with_key(slots, SlotKind::KeyFile, &key);
    opened.map(drop).map_err(|error| error.of(paths, SlotKind::KeyFile))
}

/// What is known of slots without opening them.
pub(super) fn describe(slots: &[RawSlot]) -> Vec<SlotStatus> {
    let describe = |slot: &RawSlot| SlotStatus {
        id: slot.id,
        kind: kind(slot),
        description: slot.description.clone(),
        added_at: slot.added_at,
    };
    slots.iter().map(describe).collect()
}

fn unattended(kind: SlotKind, paths: &VaultPaths) -> Result<WrappingKey, VaultError> {
    match kind {
        SlotKind::Credential => {
            let missing = || VaultError::CredentialMissing { path: None };
            key_file::read_credential(paths.credential.as_deref().ok_or_else(missing)?)
        }
        SlotKind::Keychain => keychain::read(&paths.vault),
        SlotKind::Command => {
            let command = paths.command.as_ref().ok_or(VaultError::NoCommand)?;
            command.key().map_err(|error| VaultError::Command { program: command.program.clone(), error })
        }
        _ => key_file::read(&paths.key_file),
    }
}

fn kind_of(new: &NewSlot) -> SlotKind {
    match new {
        NewSlot::KeyFile => SlotKind::KeyFile,
        NewSlot::Passphrase(_) => SlotKind::Passphrase,
        NewSlot::RecoveryCode => SlotKind::RecoveryCode,
        NewSlot::Command => SlotKind::Command,
        NewSlot::Keychain => SlotKind::Keychain,
        NewSlot::Credential => SlotKind::Credential,
    }
}

pub(super) fn kind(slot: &RawSlot) -> SlotKind {
    let known = KINDS.iter().find(|(number, _)| *number == slot.kind);
    known.map_or(SlotKind::Unknown(slot.kind), |(_, kind)| *kind)
}

fn number_of(kind: SlotKind) -> u8 {
    let known = KINDS.iter().find(|(_, known)| *known == kind);
    known.map_or(u8::MAX, |(number, _)| *number)
}

/// Why no slot gives the vault key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotError {
    NoSuchSlot,
    WrongKey,
    Malformed,
    KdfParameters,
    OutOfMemory { kib: u32 },
}

impl From<StretchError> for SlotError {
    fn from(error: StretchError) -> Self {
        match error {
            StretchError::Parameters => Self::KdfParameters,
            StretchError::OutOfMemory { kib } => Self::OutOfMemory { kib },
        }
    }
}

impl SlotError {
    fn of(self, paths: &VaultPaths, kind: SlotKind) -> VaultError {
        let path = paths.vault.clone();
        match self {
            Self::NoSuchSlot => VaultError::NoSuchSlot { path, kind },
            Self::WrongKey => VaultError::WrongKey { path, kind },
            Self::Malformed => VaultError::Damaged { path },
            Self::KdfParameters => VaultError::KdfParameters { path },
            Self::OutOfMemory { kib } => VaultError::OutOfMemory { path, kib },
        }
    }
}

/// The vault key from the first slot of a kind that a key opens.
fn open_with_key(slots: &[RawSlot], kind: SlotKind, key: &WrappingKey) -> Result<VaultKey, SlotError> {
    open_first(slots, kind, |slot| {
        if slot.payload.len() != WRAPPED_LEN {
            return Err(SlotError::Malformed);
        }
        key.unwrap(&slot.payload, &[slot.kind]).map_err(|_| SlotError::WrongKey)
    })
}

/// The vault key from the first slot that a passphrase opens. Takes a moment and the memory that the slot names.
fn open_with_passphrase(slots: &[RawSlot], passphrase: &Passphrase) -> Result<VaultKey, SlotError> {
    open_first(slots, SlotKind::Passphrase, |slot| {
        let (public, parameters, salt) = passphrase_head(slot)?;
        stretch(passphrase, parameters, salt)?
            .unwrap(&slot.payload[PASSPHRASE_HEAD..], &associated_data(slot.kind, public))
            .map_err(|_| SlotError::WrongKey)
    })
}

/// The payload before the box, and what is in it.
fn passphrase_head(slot: &RawSlot) -> Result<(&[u8], KdfParameters, &[u8]), SlotError> {
    if slot.payload.len() != PASSPHRASE_HEAD + WRAPPED_LEN {
        return Err(SlotError::Malformed);
    }
    let public = &slot.payload[..PASSPHRASE_HEAD];
    let number = |at: usize| public[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let parameters = KdfParameters { memory_kib: number(0), passes: number(4), lanes: number(8) };
    Ok((public, parameters, &public[12..]))
}

/// Whether a key that was never wrapped in it opens a slot, whatever its kind; looks into all of its payload.
#[cfg(fuzzing)]
pub(super) fn opens_by_chance(slot: &RawSlot, key: &WrappingKey) -> bool {
    let _ = describe(std::slice::from_ref(slot));
    let _ = passphrase_head(slot);
    open_with_key(std::slice::from_ref(slot), kind(slot), key).is_ok()
}

/// Tries the slots of one kind. A slot that cannot even be tried outweighs one that does not fit, so that nobody types
/// a right passphrase again and again.
fn open_first(
    slots: &[RawSlot],
    kind: SlotKind,
    open: impl Fn(&RawSlot) -> Result<VaultKey, SlotError>,
) -> Result<VaultKey, SlotError> {
    let mut outcome = Err(SlotError::NoSuchSlot);
    for slot in slots.iter().filter(|slot| self::kind(slot) == kind) {
        match open(slot) {
            Ok(key) => return Ok(key),
            Err(SlotError::WrongKey) if !matches!(outcome, Err(SlotError::NoSuchSlot)) => {}
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

fn associated_data(kind: u8, public: &[u8]) -> Vec<u8> {
    [&[kind], public].concat()
}

/// In this order they are tried.
const UNATTENDED: [SlotKind; 4] =
    [SlotKind::KeyFile, SlotKind::Credential, SlotKind::Keychain, SlotKind::Command];
const KINDS: [(u8, SlotKind); 6] = [
    (1, SlotKind::KeyFile),
    (2, SlotKind::Passphrase),
    (3, SlotKind::RecoveryCode),
    (4, SlotKind::Command),
    (5, SlotKind::Keychain),
    (6, SlotKind::Credential),
];
const SALT_LEN: usize = 16;
const PASSPHRASE_HEAD: usize = 12 + SALT_LEN;
const WRAPPED_LEN: usize = KEY_LEN + SEAL_OVERHEAD;

#[cfg(test)]
mod tests;
