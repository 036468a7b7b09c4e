//! The bytes of a vault file, up to its sealed body.
//!
//! All integers here have a fixed size and are little endian. A backup, and each generation that is kept, is such a file, byte for
//! byte.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | magic: `89 50 54 56 4c 54 0d 0a` (`\x89PTVLT\r\n`) |
//! | 2 | format: 2 |
//! | 8 | length of the whole file, checksum included |
//! | 1 | number of key slots |
//! | per slot | see below |
//! | 8 | length b of the sealed body |
//! | b | sealed body: a box (`seal.rs`) for the purpose `body`, holding the credentials (`contents.rs`) |
//! | 32 | SHA-256 of everything before it |
//!
//! | bytes of a slot | what |
//! | --- | --- |
//! | 1 | kind |
//! | 4 | id: names the slot for as long as it is there |
//! | 8 | when it was added: milliseconds since 1970 (i64), or `i64::MIN` where that is not known |
//! | 2, d | d as two bytes, then what a person wrote about it: d bytes of UTF-8, at most 200 characters, no control characters |
//! | 2, n | n as two bytes, then the payload (`slots.rs`) |
//!
//! Format 1 had slots of kind and payload only, and is otherwise the same. It is read, and written as format 2 with the next
//! change; the ids are then the first four bytes of the SHA-256 of each payload.
//!
//! Everything before the sealed body, from the magic to b itself, is the associated data of the body's box, whose key is the
//! vault key: that makes it authentic. The checksum proves nothing and tells damage from a wrong key. Magic, format, file
//! length and checksum stay where they are in every later format, so a file is called newer only if it is whole.
//!
//! The functions here are pure: bytes in, bytes out. What a slot's payload means is not known here. A little long, because
//! what is written and what is read should be seen side by side.

use chrono::{DateTime, Utc};
use procurify_token_protocol::{Description, SlotId};
use thiserror::Error;

use super::seal;

/// A key slot as it stands in the file. Kinds that this version does not know are kept as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawSlot {
    pub(super) kind: u8,
    pub(super) id: SlotId,
    pub(super) added_at: Option<DateTime<Utc>>,
    pub(super) description: Description,
    /// At most 65,535 bytes.
    pub(super) payload: Vec<u8>,
}

/// A whole file, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) slots: Vec<RawSlot>,
    /// The associated data of the body.
    pub(super) header: &'a [u8],
    pub(super) sealed_body: &'a [u8],
    pub(super) checksum: Checksum,
}

/// The last 32 bytes of a file: they name one generation of a vault.
pub(super) type Checksum = [u8; CHECKSUM_LEN];

/// Takes a file apart.
pub(super) fn parse(file: &[u8]) -> Result<Parsed<'_>, FormatError> {
    let mut rest = Reader(file);
    match rest.array() {
        Some(MAGIC) => {}
        None if MAGIC.starts_with(file) => return Err(FormatError::Truncated),
        _ => return Err(FormatError::NotAVault),
    }
    let format = u16::from_le_bytes(rest.array().ok_or(FormatError::Truncated)?);
    let length = u64::from_le_bytes(rest.array().ok_or(FormatError::Truncated)?);
    match usize::try_from(length) {
        Ok(length) if length == file.len() => {}
        Ok(length) if length < file.len() => return Err(FormatError::Damaged),
        _ => return Err(FormatError::Truncated),
    }
    let (summed, checksum) = file.split_last_chunk().ok_or(FormatError::Damaged)?;
    if seal::checksum(summed) != *checksum {
        return Err(FormatError::Damaged);
    }
    match format {
        1 => parse_body(summed, *checksum, Reader::slot_of_format_1).ok_or(FormatError::Damaged),
        FORMAT => parse_body(summed, *checksum, Reader::slot).ok_or(FormatError::Damaged),
        0 => Err(FormatError::Damaged),
        found => Err(FormatError::Newer { found }),
    }
}

/// Puts a file together. `seal` makes the box of `sealed_len` bytes from its associated data.
///
/// # Panics
/// With more than 255 slots, or a box of another length.
pub(super) fn write(slots: &[RawSlot], sealed_len: usize, seal: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let length_of = |slot: &RawSlot| SLOT_HEAD_LEN + slot.description.as_str().len() + slot.payload.len();
    let slots_len: usize = slots.iter().map(length_of).sum();
    let length = FIXED_LEN + slots_len + sealed_len;
    let mut file = Vec::with_capacity(length);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&FORMAT.to_le_bytes());
    file.extend_from_slice(&(length as u64).to_le_bytes());
    file.push(slots.len().try_into().expect("a vault has at most 255 slots"));
    for RawSlot { kind, id, added_at, description, payload } in slots {
        file.push(*kind);
        file.extend_from_slice(&id.to_bytes());
        let added_at = added_at.map_or(NO_TIME, |moment| moment.timestamp_millis());
        file.extend_from_slice(&added_at.to_le_bytes());
        for bytes in [description.as_str().as_bytes(), payload] {
            let length = u16::try_from(bytes.len()).expect("a payload has at most 65,535 bytes");
            file.extend_from_slice(&length.to_le_bytes());
            file.extend_from_slice(bytes);
        }
    }
    file.extend_from_slice(&(sealed_len as u64).to_le_bytes());
    let sealed_body = seal(&file);
    assert_eq!(sealed_body.len(), sealed_len, "the header names the length of the sealed body");
    file.extend_from_slice(&sealed_body);
    let checksum = seal::checksum(&file);
    file.extend_from_slice(&checksum);
    file
}

/// Why bytes are not a vault of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum FormatError {
    #[error("not a vault")]
    NotAVault,
    #[error("the end is missing")]
    Truncated,
    #[error("bytes have changed")]
    Damaged,
    #[error("format {found} is newer than this program")]
    Newer { found: u16 },
}

fn parse_body<'a>(
    summed: &'a [u8],
    checksum: Checksum,
    slot: fn(&mut Reader<'a>) -> Option<RawSlot>,
) -> Option<Parsed<'a>> {
    let mut rest = Reader(summed.get(MAGIC.len() + 2 + 8..)?);
    let [count] = rest.array()?;
    let slots = (0..count).map(|_| slot(&mut rest)).collect::<Option<Vec<_>>>()?;
    let body_len = u64::from_le_bytes(rest.array()?);
    let Reader(sealed_body) = rest;
    let header = summed.get(..summed.len() - sealed_body.len())?;
    (body_len == sealed_body.len() as u64).then_some(Parsed { slots, header, sealed_body, checksum })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_le_bytes(self.array()?);
        let (bytes, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(bytes)
    }

    fn slot(&mut self) -> Option<RawSlot> {
        let [kind] = self.array()?;
        let id = SlotId::from_bytes(self.array()?);
        let added_at = match i64::from_le_bytes(self.array()?) {
            NO_TIME => None,
            millis => Some(DateTime::from_timestamp_millis(millis)?),
        };
        let text = str::from_utf8(self.bytes()?).ok()?;
        let description: Description = text.parse().ok()?;
        let is_as_written = description.as_str() == text;
        let payload = self.bytes()?.to_vec();
        is_as_written.then_some(RawSlot { kind, id, added_at, description, payload })
    }

    fn slot_of_format_1(&mut self) -> Option<RawSlot> {
        let [kind] = self.array()?;
        let payload = self.bytes()?.to_vec();
        let id = SlotId::from_bytes(*seal::checksum(&payload).first_chunk()?);
        Some(RawSlot { kind, id, added_at: None, description: Description::default(), payload })
    }
}

/// The format that this version writes, and the newest that it reads.
pub(super) const FORMAT: u16 = 2;
pub(super) const CHECKSUM_LEN: usize = 32;

// The first byte is not text and the line end does not survive a transfer in text mode, as in PNG.
const MAGIC: [u8; 8] = *b"\x89PTVLT\r\n";
const SLOT_HEAD_LEN: usize = 1 + 4 + 8 + 2 + 2;
const NO_TIME: i64 = i64::MIN;
const FIXED_LEN: usize = MAGIC.len() + 2 + 8 + 1 + 8 + CHECKSUM_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rstest::rstest;

    fn any_slots() -> impl Strategy<Value = Vec<RawSlot>> {
        let time = proptest::option::of(0..4_000_000_000_000_i64);
        let slot = (any::<u8>(), any::<[u8; 4]>(), time, "[a-zäß ]{0,20}", vec(any::<u8>(), 0..200));
        let slot = slot.prop_map(|(kind, id, time, description, payload)| RawSlot {
            kind,
            id: SlotId::from_bytes(id),
            added_at: time.and_then(DateTime::from_timestamp_millis),
            description: description.parse().unwrap(),
            payload,
        });
        vec(slot, 0..6)
    }

    fn file(slots: &[RawSlot], body: &[u8]) -> Vec<u8> {
        write(slots, body.len(), |_| body.to_vec())
    }

    /// A file with other bytes in one place and a checksum that is right again.
    fn mended(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let summed = file.len() - CHECKSUM_LEN;
        let sum = seal::checksum(&file[..summed]);
        file[summed..].copy_from_slice(&sum);
        file
    }

    fn sample() -> Vec<u8> {
        let slot = |kind, payload| RawSlot {
            kind,
            id: SlotId::from_bytes([kind; 4]),
            added_at: None,
            description: Description::default(),
            payload,
        };
        file(&[slot(1, vec![7; 9]), slot(200, vec![])], b"sealed body")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(slots in any_slots(), body in vec(any::<u8>(), 0..300)) {
            let mut seen_header = Vec::new();
            let file = write(&slots, body.len(), |header| {
                seen_header = header.to_vec();
                body.clone()
            });
            let parsed = parse(&file).unwrap();
            prop_assert_eq!((&parsed.slots, parsed.header, parsed.sealed_body), (&slots, &*seen_header, &*body));
            prop_assert_eq!(&file[file.len() - CHECKSUM_LEN..], &parsed.checksum);
        }

        #[test]
        fn any_bytes_are_an_error_and_never_a_panic(bytes in vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(&bytes).is_err());
        }

        #[test]
        fn whole_looking_bytes_are_read_back_identically_or_refused(rest in vec(any::<u8>(), 9 + CHECKSUM_LEN..120)) {
            let length = MAGIC.len() + 2 + 8 + rest.len();
            let mut file = [&MAGIC[..], &FORMAT.to_le_bytes(), &(length as u64).to_le_bytes(), &rest].concat();
            // Few slots, so that some of the files are good ones.
            file[18] %= 3;
            let file = mended(file, 0, &[]);
            if let Ok(parsed) = parse(&file) {
                prop_assert_eq!(write(&parsed.slots, parsed.sealed_body.len(), |_| parsed.sealed_body.to_vec()), file);
            }
        }
    }

    #[test]
    fn every_cut_is_a_truncation() {
        let file = sample();
        for length in 0..file.len() {
            assert_eq!(parse(&file[..length]), Err(FormatError::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        let file = sample();
        for bit in 0..file.len() * 8 {
            let mut bent = file.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let wanted: &[FormatError] = match bit / 8 {
                0..8 => &[FormatError::NotAVault],
                10..18 => &[FormatError::Truncated, FormatError::Damaged],
                _ => &[FormatError::Damaged],
            };
            assert!(parse(&bent).is_err_and(|e| wanted.contains(&e)), "bit {bit}: {:?}", parse(&bent));
        }
    }

    #[rstest]
    #[case::format_zero(8, &[0, 0], FormatError::Damaged)]
    #[case::format_newer(8, &[3, 0], FormatError::Newer { found: 3 })]
    #[case::format_newest(8, &[255, 255], FormatError::Newer { found: 65535 })]
    #[case::slot_missing(18, &[3], FormatError::Damaged)]
    #[case::slot_count_huge(18, &[255], FormatError::Damaged)]
    #[case::slot_left_over(18, &[1], FormatError::Damaged)]
    #[case::slot_time_huge(24, &[255, 255, 255, 255, 255, 255, 255, 127], FormatError::Damaged)]
    #[case::slot_description_huge(32, &[255, 255], FormatError::Damaged)]
    #[case::slot_description_untidy(32, &[1, 0, b' '], FormatError::Damaged)]
    #[case::slot_length_huge(34, &[255, 255], FormatError::Damaged)]
    #[case::body_length_short(62, &[10], FormatError::Damaged)]
    #[case::body_length_huge(62, &[255; 8], FormatError::Damaged)]
    fn a_right_checksum_does_not_make_a_wrong_file_right(
        #[case] at: usize,
        #[case] bytes: &[u8],
        #[case] error: FormatError,
    ) {
        assert_eq!(parse(&mended(sample(), at, bytes)), Err(error));
    }

    #[test]
    fn a_longer_file_is_damaged_and_a_foreign_one_is_no_vault() {
        let longer = [sample(), vec![0]].concat();
        assert_eq!(parse(&longer), Err(FormatError::Damaged));
        assert_eq!(parse(b"PNG"), Err(FormatError::NotAVault));
        assert_eq!(parse(b"-----BEGIN CERTIFICATE-----"), Err(FormatError::NotAVault));
    }
}
