use super::*;
use crate::vault::seal::Purpose;
use rstest::rstest;

const CHEAP: KdfParameters = KdfParameters { memory_kib: 8 * 1024, passes: 1, lanes: 1 };

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into()).unwrap()
}

fn paths() -> VaultPaths {
    VaultPaths::new("/nowhere/vault", "/nowhere/vault.key")
}

fn raw(kind: u8, payload: Vec<u8>) -> RawSlot {
    let id = SlotId::from_bytes([kind; 4]);
    RawSlot { kind, id, added_at: None, description: Description::default(), payload }
}

fn passphrase_slot(vault_key: &VaultKey, text: &str, parameters: KdfParameters) -> RawSlot {
    let new = NewSlot::Passphrase(passphrase(text));
    let prepared = PreparedSlot::with(&paths(), &new, parameters).unwrap();
    prepared.slot(vault_key, &[], Description::default(), DateTime::UNIX_EPOCH)
}

fn key_file_slot(vault_key: &VaultKey, key: &WrappingKey) -> RawSlot {
    raw(1, key.wrap(vault_key, &[1]))
}

fn is_same(one: &VaultKey, other: &VaultKey) -> bool {
    let sealed = one.seal(Purpose::Body, b"", b"x");
    other.open(Purpose::Body, b"", &sealed).is_ok()
}

#[test]
fn each_slot_gives_the_same_vault_key() {
    let (vault_key, file) = (VaultKey::random(), WrappingKey::random());
    let slots = [
        raw(99, vec![1, 2, 3]),
        passphrase_slot(&vault_key, "one", CHEAP),
        passphrase_slot(&vault_key, "two", CHEAP),
        key_file_slot(&vault_key, &file),
    ];
    assert!(is_same(&open_with_key(&slots, SlotKind::KeyFile, &file).unwrap(), &vault_key));
    assert!(is_same(&open_with_passphrase(&slots, &passphrase("one")).unwrap(), &vault_key));
    assert!(is_same(&open_with_passphrase(&slots, &passphrase("two")).unwrap(), &vault_key));
    assert_eq!(open_with_passphrase(&slots, &passphrase("three")).unwrap_err(), SlotError::WrongKey);
    assert_eq!(
        open_with_key(&slots, SlotKind::KeyFile, &WrappingKey::random()).unwrap_err(),
        SlotError::WrongKey
    );
    assert_eq!(open_with_key(&slots[..3], SlotKind::KeyFile, &file).unwrap_err(), SlotError::NoSuchSlot);
    assert_eq!(open_with_passphrase(&slots[3..], &passphrase("one")).unwrap_err(), SlotError::NoSuchSlot);
}

#[rstest]
#[case(KdfParameters { memory_kib: 9 * 1024, passes: 2, lanes: 3 })]
#[case(KdfParameters { memory_kib: 16 * 1024, passes: 1, lanes: 8 })]
#[case(KdfParameters::default())]
fn the_parameters_in_the_slot_are_the_ones_that_are_used(#[case] parameters: KdfParameters) {
    let vault_key = VaultKey::random();
    let slot = passphrase_slot(&vault_key, "right", parameters);
    assert_eq!(slot.payload[..12], parameters.to_bytes());
    let slots = [slot];
    assert!(is_same(&open_with_passphrase(&slots, &passphrase("right")).unwrap(), &vault_key));
    assert_eq!(open_with_passphrase(&slots, &passphrase("wrong")).unwrap_err(), SlotError::WrongKey);
}

#[test]
fn a_changed_parameter_or_salt_opens_nothing() {
    let mut slot = passphrase_slot(&VaultKey::random(), "right", CHEAP);
    slot.payload[4] = 2;
    assert_eq!(open_with_passphrase(&[slot.clone()], &passphrase("right")).unwrap_err(), SlotError::WrongKey);
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
    let mut slot = passphrase_slot(&VaultKey::random(), "right", CHEAP);
    slot.payload[at..at + 4].copy_from_slice(&number.to_le_bytes());
    assert_eq!(open_with_passphrase(&[slot], &passphrase("right")).unwrap_err(), SlotError::KdfParameters);
}

#[test]
fn a_slot_of_another_length_is_malformed() {
    let (vault_key, file) = (VaultKey::random(), WrappingKey::random());
    let mut slot = key_file_slot(&vault_key, &file);
    slot.payload.push(0);
    assert_eq!(open_with_key(&[slot], SlotKind::KeyFile, &file).unwrap_err(), SlotError::Malformed);
    let short = raw(2, vec![0; 5]);
    assert_eq!(open_with_passphrase(&[short], &passphrase("x")).unwrap_err(), SlotError::Malformed);
}

#[test]
fn a_recovery_code_opens_its_slot_and_no_other() {
    let vault_key = VaultKey::random();
    let made = || PreparedSlot::new(&paths(), &NewSlot::RecoveryCode).unwrap();
    let (mut one, mut other) = (made(), made());
    let slots = [one.slot(&vault_key, &[], Description::default(), DateTime::UNIX_EPOCH)];
    let (code, wrong) = (one.take_recovery_code().unwrap(), other.take_recovery_code().unwrap());
    assert!(one.take_recovery_code().is_none(), "it is given once");
    assert!(is_same(&open(&slots, &paths(), Key::RecoveryCode(&code)).unwrap(), &vault_key));
    let refused = open(&slots, &paths(), Key::RecoveryCode(&wrong)).unwrap_err();
    assert!(matches!(refused, VaultError::WrongKey { kind: SlotKind::RecoveryCode, .. }), "{refused:?}");
    let refused = open(&slots, &paths(), Key::Unattended).unwrap_err();
    assert!(matches!(refused, VaultError::OnlyByPerson { .. }), "{refused:?}");
}
