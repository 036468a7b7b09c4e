//! How records are written inside a box: the only room of the storage that knows bincode.
//!
//! bincode 2 as on the wire (`config::standard()`: little endian, varint integers), in order of the fields, with
//! nothing left over: the types and their bytes are in `protocol/src/specification.md`, under Bodies. The exit from that crate is that
//! of the protocol's codec.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::SizeWriter;
use bincode::serde::{borrow_decode_from_slice, encode_into_slice, encode_into_writer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::MAX_FILE;

/// The bytes of a record, in a buffer that is wiped.
pub(crate) fn encode<T: Serialize>(record: &T) -> Zeroizing<Vec<u8>> {
    let mut size = SizeWriter::default();
    encode_into_writer(record, &mut size, CONFIG).expect("records hold only what bincode can write");
    // Sized before it is filled: a buffer that grew would leave copies of a secret behind.
    let mut bytes = Zeroizing::new(vec![0; size.bytes_written]);
    encode_into_slice(record, &mut bytes, CONFIG).expect("the buffer was measured for this record");
    bytes
}

/// The record in exactly these bytes; `None` where they are not one.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match borrow_decode_from_slice(bytes, CONFIG) {
        Ok((record, consumed)) if consumed == bytes.len() => Some(record),
        _ => None,
    }
}

const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_RECORD>> =
    config::standard().with_limit::<MAX_RECORD>();
/// Against its limit bincode counts an integer as wide as its type, up to eight bytes, though a small one takes only one: what
/// was written has to be read again, however small its integers are.
#[expect(clippy::cast_possible_truncation, reason = "1 GiB fits everywhere")]
const MAX_RECORD: usize = (MAX_FILE as usize).saturating_mul(8);
