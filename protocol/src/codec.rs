//! Bodies: the only room that knows bincode.
//!
//! bincode 2.0.1 is complete and no longer maintained (RUSTSEC-2025-0141); it was asked for by name. The exit is any
//! crate that writes the same bytes, which the examples on the crate's front page pin down: varint integers, little
//! endian, no trailing bytes. Nothing here uses recursive types, zero-size elements, `u128`, or serde's `default`,
//! `untagged` and `skip_serializing_if`, which this format cannot carry.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::SizeWriter;
use bincode::serde::{borrow_decode_from_slice, encode_into_slice, encode_into_writer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::frame::{self, Frame, HEAD, Kind, MAX_ANSWER, MAX_REQUEST};
use crate::{Answer, CredentialCopy, MOST_IN_UPLOAD, REQUEST_COUNT, Refusal, Request};

/// A request as one frame.
///
/// # Errors
/// [`TooLarge`] beyond [`MAX_REQUEST`].
pub fn encode_request(request_id: u16, request: &Request) -> Result<Zeroizing<Vec<u8>>, TooLarge> {
    encode(Kind::Request, request_id, request, MAX_REQUEST)
}

/// An answer or a refusal as one frame.
///
/// # Errors
/// [`TooLarge`] beyond [`MAX_ANSWER`].
pub fn encode_reply(
    request_id: u16,
    reply: &Result<Answer, Refusal>,
) -> Result<Zeroizing<Vec<u8>>, TooLarge> {
    match reply {
        Ok(answer) => encode(Kind::Answer, request_id, answer, MAX_ANSWER),
        Err(refusal) => encode(Kind::Refusal, request_id, refusal, MAX_ANSWER),
    }
}

/// Puts another request id on a frame that was encoded earlier, so that one encoded answer serves many requests.
pub fn readdress(frame: &mut [u8], request_id: u16) {
    if let Some(field) = frame.get_mut(6..HEAD) {
        field.copy_from_slice(&request_id.to_le_bytes());
    }
}

/// The request in a frame.
///
/// # Errors
/// [`DecodeError`]: an unknown request is told from a malformed one.
pub fn decode_request(frame: Frame<'_>) -> Result<Request, DecodeError> {
    match (frame.kind, decode(frame.body)) {
        (Kind::Request, Some(request)) => Ok(request),
        (Kind::Request, None) if decode_number(frame.body).is_some_and(|n| n >= REQUEST_COUNT) => {
            Err(DecodeError::UnknownRequest)
        }
        _ => Err(DecodeError::Malformed),
    }
}

/// The answer or refusal in a frame.
///
/// # Errors
/// [`DecodeError`]: a daemon of another version, or bytes that are not an answer.
pub fn decode_reply(frame: Frame<'_>) -> Result<Result<Answer, Refusal>, DecodeError> {
    let reply = match frame.kind {
        Kind::Answer => decode(frame.body).map(Ok),
        Kind::Refusal => decode(frame.body).map(Err),
        Kind::Versions => match frame.body {
            [oldest, newest, ..] => {
                return Err(DecodeError::Versions { oldest: *oldest, newest: *newest });
            }
            _ => None,
        },
        Kind::Request => None,
    };
    reply.ok_or(DecodeError::Malformed)
}

/// Credentials as they are uploaded.
///
/// # Panics
/// Never: they hold only what this encoding can write.
pub fn encode_copies(copies: &[CredentialCopy]) -> Zeroizing<Vec<u8>> {
    let mut size = SizeWriter::default();
    encode_into_writer(copies, &mut size, UPLOAD).expect("only what bincode can write");
    let mut bytes = Zeroizing::new(vec![0; size.bytes_written]);
    encode_into_slice(copies, &mut bytes, UPLOAD).expect("the buffer was measured");
    bytes
}

/// The credentials in an upload.
///
/// # Errors
/// [`DecodeError::Malformed`] for anything but a list of them.
pub fn decode_copies(bytes: &[u8]) -> Result<Vec<CredentialCopy>, DecodeError> {
    match borrow_decode_from_slice(bytes, UPLOAD) {
        Ok((copies, consumed)) if consumed == bytes.len() => Ok(copies),
        _ => Err(DecodeError::Malformed),
    }
}

/// A message does not fit into one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message is longer than one frame may be")]
pub struct TooLarge;

/// Why a frame is not the message that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not a message, or one with bytes left over.
    #[error("the frame does not hold a message of this protocol version")]
    Malformed,
    /// A request of a later version.
    #[error("the request is not one that this version knows")]
    UnknownRequest,
    /// The daemon speaks other versions.
    #[error("the daemon speaks protocol versions {oldest} to {newest}")]
    Versions {
        /// The oldest that it speaks.
        oldest: u8,
        /// The newest that it speaks.
        newest: u8,
    },
}

fn encode<T: Serialize>(
    kind: Kind,
    request_id: u16,
    message: &T,
    longest: usize,
) -> Result<Zeroizing<Vec<u8>>, TooLarge> {
    let mut size = SizeWriter::default();
    encode_into_writer(message, &mut size, CONFIG).map_err(|_| TooLarge)?;
    let length = size.bytes_written;
    if HEAD + length > longest {
        return Err(TooLarge);
    }
    // Sized before it is filled: a buffer that grew would leave copies of a secret behind.
    let mut frame = Zeroizing::new(vec![0; HEAD + length]);
    frame[..HEAD].copy_from_slice(&frame::head(kind, request_id, length));
    encode_into_slice(message, &mut frame[HEAD..], CONFIG).map_err(|_| TooLarge)?;
    Ok(frame)
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    match borrow_decode_from_slice(body, CONFIG) {
        Ok((message, consumed)) if consumed == body.len() => Some(message),
        _ => None,
    }
}

fn decode_number(body: &[u8]) -> Option<u32> {
    bincode::decode_from_slice::<u32, _>(body, CONFIG).ok().map(|(number, _)| number)
}

/// Against its limit bincode counts an integer as wide as its type, up to eight bytes, though a small one takes only one. What
/// is decoded is bounded by the frame; the limit bounds what its length prefixes claim.
const WIDEST: usize = 8;
const IN_FRAME: usize = WIDEST * MAX_ANSWER;
const IN_UPLOAD: usize = WIDEST * MOST_IN_UPLOAD;
const CONFIG: Configuration<LittleEndian, Varint, Limit<IN_FRAME>> =
    config::standard().with_limit::<IN_FRAME>();
const UPLOAD: Configuration<LittleEndian, Varint, Limit<IN_UPLOAD>> =
    config::standard().with_limit::<IN_UPLOAD>();

#[cfg(test)]
mod tests;
