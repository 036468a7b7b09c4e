//! Ways in for the fuzzer. They come with its own `--cfg fuzzing`, and are in no program that anybody runs.

use procurify_token_protocol::{Description, SlotId};

use super::contents::Contents;
use super::format::{self, RawSlot};
use super::seal::{self, WrappingKey};
use super::slots;

/// Bytes as a file, and as what stands between a right head and a right checksum.
///
/// # Panics
/// Where something that was read is not written as it was.
pub fn file(bytes: &[u8]) {
    let _ = format::parse(bytes);
    let Some((format, rest)) = bytes.split_first() else { return };
    let mut file = b"\x89PTVLT\r\n".to_vec();
    file.extend_from_slice(&[1 + format % 2, 0]);
    let length = file.len() + 8 + rest.len() + format::CHECKSUM_LEN;
    file.extend_from_slice(&(length as u64).to_le_bytes());
    file.extend_from_slice(rest);
    let checksum = seal::checksum(&file);
    file.extend_from_slice(&checksum);
    if let Ok(parsed) = format::parse(&file) {
        let again = format::write(&parsed.slots, parsed.sealed_body.len(), |_| parsed.sealed_body.to_vec());
        if format % 2 == 1 {
            assert_eq!(again, file);
        }
        assert_eq!(format::parse(&again).map(|parsed| parsed.slots), Ok(parsed.slots));
    }
}

/// Bytes as a slot: no key opens it, and none of them panics.
///
/// # Panics
/// Where it opens.
pub fn slot(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else { return };
    let slot = RawSlot {
        kind: *kind,
        id: SlotId::from_bytes([0; 4]),
        added_at: None,
        description: Description::default(),
        payload: payload.to_vec(),
    };
    assert!(!slots::opens_by_chance(&slot, &WrappingKey::of_recovery_code(b"nobody has this")));
}

/// Bytes as an opened body.
///
/// # Panics
/// Where what was read is not written and read as the same.
pub fn body(bytes: &[u8]) {
    if let Some(contents) = Contents::decode(bytes) {
        assert_eq!(Contents::decode(&contents.encode()).as_ref(), Some(&contents));
    }
}
