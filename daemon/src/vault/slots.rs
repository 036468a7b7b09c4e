//! Key slots: each wraps the vault key with one thing that opens the vault.
//!
//! | kind | payload |
//! | --- | --- |
//! | 1 key file | box (80 bytes) under the 32 bytes of the key file |
//! | 2 passphrase | m in KiB (4), t (4), p (4), salt (16), box (80) under Argon2id(version 0x13, passphrase, salt, m, t, p) of 32 bytes (RFC 9106) |
//!
//! A box is one of `seal.rs` for the purpose `slot`, holding the 32 bytes of the vault key; its associated data is the
//! slot's kind and the payload before the box. Integers are little endian. Derivation uses the parameters in the slot
//! and nothing else, and they are bounded before any memory is asked for. Other kinds belong to later versions: they
//! are carried along and never looked into.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use procurify_token_protocol::Passphrase;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::format::RawSlot;
use super::seal::{self, KEY_LEN, SEAL_OVERHEAD, VaultKey, WrappingKey};

/// What a slot is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// The key file.
    KeyFile,
    /// A passphrase.
    Passphrase,
    /// Something that a later version knows, by its number.
    Unknown(u8),
}

impl SlotKind {
    pub(super) fn of(slot: &RawSlot) -> Self {
        match slot.kind {
            KEY_FILE => Self::KeyFile,
            PASSPHRASE => Self::Passphrase,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile => f.write_str("key file"),
            Self::Passphrase => f.write_str("passphrase"),
            Self::Unknown(kind) => write!(f, "slot of kind {kind}"),
        }
    }
}

/// How much work a passphrase costs (Argon2id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KdfParameters {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl KdfParameters {
    fn are_bounded(self) -> bool {
        (8 * 1024..=1024 * 1024).contains(&self.memory_kib)
            && (1..=16).contains(&self.passes)
            && (1..=8).contains(&self.lanes)
    }

    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.memory_kib.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.passes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.lanes.to_le_bytes());
        bytes
    }
}

impl Default for KdfParameters {
    /// 64 MiB, three passes, one lane: RFC 9106 §4, second recommendation, without its threads.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// A slot that the content of a key file opens.
pub(super) fn key_file_slot(vault_key: &VaultKey, key_file: &WrappingKey) -> RawSlot {
    RawSlot { kind: KEY_FILE, payload: key_file.wrap(vault_key, &[KEY_FILE]) }
}

/// A slot that a passphrase opens.
pub(super) fn passphrase_slot(
    vault_key: &VaultKey,
    passphrase: &Passphrase,
    parameters: KdfParameters,
) -> Result<RawSlot, SlotError> {
    let salt: [u8; SALT_LEN] = seal::random_bytes();
    let mut payload = [&parameters.to_bytes()[..], &salt].concat();
    let wrapped =
        stretch(passphrase, parameters, &salt)?.wrap(vault_key, &associated_data(PASSPHRASE, &payload));
    payload.extend_from_slice(&wrapped);
    Ok(RawSlot { kind: PASSPHRASE, payload })
}

/// The vault key from the first slot that a key file opens.
pub(super) fn open_with_key_file(slots: &[RawSlot], key_file: &WrappingKey) -> Result<VaultKey, SlotError> {
    open_first(slots, KEY_FILE, |payload| {
        key_file.unwrap(payload, &[KEY_FILE]).map_err(|_| SlotError::WrongKey)
    })
}

/// The vault key from the first slot that a passphrase opens. Takes a moment and the memory that the slot names.
pub(super) fn open_with_passphrase(
    slots: &[RawSlot],
    passphrase: &Passphrase,
) -> Result<VaultKey, SlotError> {
    open_first(slots, PASSPHRASE, |payload| {
        let (public, wrapped) = payload.split_at_checked(PASSPHRASE_HEAD).ok_or(SlotError::Malformed)?;
        let number = |at: usize| public[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let parameters = KdfParameters { memory_kib: number(0), passes: number(4), lanes: number(8) };
        stretch(passphrase, parameters, &public[12..])?
            .unwrap(wrapped, &associated_data(PASSPHRASE, public))
            .map_err(|_| SlotError::WrongKey)
    })
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

/// Tries the slots of one kind. A slot that cannot even be tried outweighs one that does not fit, so that nobody types
/// a right passphrase again and again.
fn open_first(
    slots: &[RawSlot],
    kind: u8,
    open: impl Fn(&[u8]) -> Result<VaultKey, SlotError>,
) -> Result<VaultKey, SlotError> {
    let mut outcome = Err(SlotError::NoSuchSlot);
    for slot in slots.iter().filter(|slot| slot.kind == kind) {
        let is_whole = slot.payload.len() == payload_len(kind);
        match if is_whole { open(&slot.payload) } else { Err(SlotError::Malformed) } {
            Ok(key) => return Ok(key),
            Err(SlotError::WrongKey) if !matches!(outcome, Err(SlotError::NoSuchSlot)) => {}
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

#[expect(clippy::disallowed_methods, reason = "the passphrase is stretched here, and only the result leaves")]
fn stretch(
    passphrase: &Passphrase,
    parameters: KdfParameters,
    salt: &[u8],
) -> Result<WrappingKey, SlotError> {
    if !parameters.are_bounded() {
        return Err(SlotError::KdfParameters);
    }
    let KdfParameters { memory_kib, passes, lanes } = parameters;
    let params =
        Params::new(memory_kib, passes, lanes, Some(KEY_LEN)).map_err(|_| SlotError::KdfParameters)?;
    let out_of_memory = |_| SlotError::OutOfMemory { kib: memory_kib };
    // Our own memory and not the library's: this one is wiped, and asking for too much of it is an error.
    let mut memory: Zeroizing<Vec<Block>> = Zeroizing::default();
    memory.try_reserve_exact(params.block_count()).map_err(out_of_memory)?;
    memory.resize(params.block_count(), Block::default());
    let text = passphrase.secret().expose_secret().as_bytes();
    WrappingKey::try_fill(|key| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(text, salt, key, memory.as_mut_slice())
            .map_err(|_| SlotError::KdfParameters)
    })
}

fn associated_data(kind: u8, public: &[u8]) -> Vec<u8> {
    [&[kind], public].concat()
}

fn payload_len(kind: u8) -> usize {
    if kind == PASSPHRASE { PASSPHRASE_HEAD + WRAPPED_LEN } else { WRAPPED_LEN }
}

const KEY_FILE: u8 = 1;
const PASSPHRASE: u8 = 2;
const SALT_LEN: usize = 16;
const PASSPHRASE_HEAD: usize = 12 + SALT_LEN;
const WRAPPED_LEN: usize = KEY_LEN + SEAL_OVERHEAD;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::seal::Purpose;
    use rstest::rstest;

    const CHEAP: KdfParameters = KdfParameters { memory_kib: 8 * 1024, passes: 1, lanes: 1 };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.into()).unwrap()
    }

    fn is_same(one: &VaultKey, other: &VaultKey) -> bool {
        let sealed = one.seal(Purpose::Body, b"", b"x");
        other.open(Purpose::Body, b"", &sealed).is_ok()
    }

    #[test]
    fn each_slot_gives_the_same_vault_key() {
        let (vault_key, file) = (VaultKey::random(), WrappingKey::random());
        let slots = [
            RawSlot { kind: 99, payload: vec![1, 2, 3] },
            passphrase_slot(&vault_key, &passphrase("one"), CHEAP).unwrap(),
            passphrase_slot(&vault_key, &passphrase("two"), CHEAP).unwrap(),
            key_file_slot(&vault_key, &file),
        ];
        assert!(is_same(&open_with_key_file(&slots, &file).unwrap(), &vault_key));
        assert!(is_same(&open_with_passphrase(&slots, &passphrase("one")).unwrap(), &vault_key));
        assert!(is_same(&open_with_passphrase(&slots, &passphrase("two")).unwrap(), &vault_key));
        assert_eq!(open_with_passphrase(&slots, &passphrase("three")).unwrap_err(), SlotError::WrongKey);
        assert_eq!(open_with_key_file(&slots, &WrappingKey::random()).unwrap_err(), SlotError::WrongKey);
        assert_eq!(open_with_key_file(&slots[..3], &file).unwrap_err(), SlotError::NoSuchSlot);
        assert_eq!(open_with_passphrase(&slots[3..], &passphrase("one")).unwrap_err(), SlotError::NoSuchSlot);
    }

    #[rstest]
    #[case(KdfParameters { memory_kib: 9 * 1024, passes: 2, lanes: 3 })]
    #[case(KdfParameters { memory_kib: 16 * 1024, passes: 1, lanes: 8 })]
    #[case(KdfParameters::default())]
    fn the_parameters_in_the_slot_are_the_ones_that_are_used(#[case] parameters: KdfParameters) {
        let vault_key = VaultKey::random();
        let slot = passphrase_slot(&vault_key, &passphrase("right"), parameters).unwrap();
        assert_eq!(slot.payload[..12], parameters.to_bytes());
        let slots = [slot];
        assert!(is_same(&open_with_passphrase(&slots, &passphrase("right")).unwrap(), &vault_key));
        assert_eq!(open_with_passphrase(&slots, &passphrase("wrong")).unwrap_err(), SlotError::WrongKey);
    }

    #[test]
    fn a_changed_parameter_or_salt_opens_nothing() {
        let mut slot = passphrase_slot(&VaultKey::random(), &passphrase("right"), CHEAP).unwrap();
        slot.payload[4] = 2;
        assert_eq!(
            open_with_passphrase(&[slot.clone()], &passphrase("right")).unwrap_err(),
            SlotError::WrongKey
        );
        slot.payload[4] = 1;
        slot.payload[12] ^= 1;
        assert_eq!(open_with_passphrase(&[slot], &passphrase("right")).unwrap_err(), SlotError::WrongKey);
    }

    #[rstest]
    #[case::memory_small(0, 8 * 1024 - 1)]
    #[case::memory_huge(0, 1024 * 1024 + 1)]
    #[case::memory_absurd(0, u32::MAX)]
    #[case::passes_none(4, 0)]
    #[case::passes_many(4, 17)]
    #[case::lanes_none(8, 0)]
    #[case::lanes_many(8, 9)]
    fn parameters_out_of_bounds_are_not_tried(#[case] at: usize, #[case] number: u32) {
        let mut slot = passphrase_slot(&VaultKey::random(), &passphrase("right"), CHEAP).unwrap();
        slot.payload[at..at + 4].copy_from_slice(&number.to_le_bytes());
        assert_eq!(
            open_with_passphrase(&[slot], &passphrase("right")).unwrap_err(),
            SlotError::KdfParameters
        );
    }

    #[test]
    fn a_slot_of_another_length_is_malformed() {
        let (vault_key, file) = (VaultKey::random(), WrappingKey::random());
        let mut slot = key_file_slot(&vault_key, &file);
        slot.payload.push(0);
        assert_eq!(open_with_key_file(&[slot], &file).unwrap_err(), SlotError::Malformed);
        let short = RawSlot { kind: PASSPHRASE, payload: vec![0; 5] };
        assert_eq!(open_with_passphrase(&[short], &passphrase("x")).unwrap_err(), SlotError::Malformed);
    }
}
