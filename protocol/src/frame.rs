//! Frames: how bytes on a connection become messages.
//!
//! This room knows lengths, versions and kinds; what a body means is the codec's. [`FrameBuffer`] does no I/O: its
//! owner reads bytes into it and takes frames out of it.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroize;

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// The oldest version that this crate still understands.
pub const OLDEST_VERSION: u8 = 1;

/// The bytes of a frame's head: length, version, kind, request id.
pub const HEAD: usize = 8;

/// The longest request, head included.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The longest answer, head included.
pub const MAX_ANSWER: usize = 256 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0: "I speak versions a to b": two bytes, in every version for ever.
    Versions,
    /// 1: a [`Request`](crate::Request).
    Request,
    /// 2: an [`Answer`](crate::Answer).
    Answer,
    /// 3: a [`Refusal`](crate::Refusal).
    Refusal,
}

impl Kind {
    /// The kind as sent.
    pub fn number(self) -> u8 {
        match self {
            Self::Versions => 0,
            Self::Request => 1,
            Self::Answer => 2,
            Self::Refusal => 3,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Versions, Self::Request, Self::Answer, Self::Refusal]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// One whole frame, borrowed from the buffer it was read into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: Kind,
    /// Chosen by the client; the answer bears the same one.
    pub request_id: u16,
    /// The body, still encoded.
    pub body: &'a [u8],
}

/// Without the body, which may hold a secret.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, request_id, body } = self;
        write!(f, "Frame({kind:?}, {request_id}, {} bytes)", body.len())
    }
}

/// Why the bytes on a connection are not frames. After any of these the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Longer than a message of this direction may be.
    #[error("the frame is longer than the protocol allows")]
    TooLong,
    /// Shorter than its own head, or of a kind that does not exist.
    #[error("these bytes are not a frame of the procurify-token protocol")]
    Malformed,
    /// Of a version that this crate does not speak.
    #[error("the frame is of protocol version {version}; this side speaks {OLDEST_VERSION} to {VERSION}")]
    Version {
        /// The version in the frame.
        version: u8,
        /// The request that should be told so.
        request_id: u16,
    },
}

/// Writes a frame's head in front of a body of `body_length` bytes.
pub(crate) fn head(kind: Kind, request_id: u16, body_length: usize) -> [u8; HEAD] {
    let length = u32::try_from(HEAD - LENGTH_FIELD + body_length).expect("bodies are far below 4 GiB");
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [i0, i1] = request_id.to_le_bytes();
    [l0, l1, l2, l3, VERSION, kind.number(), i0, i1]
}

/// The frame that tells a peer of another version which versions are spoken here.
pub fn versions(request_id: u16) -> [u8; HEAD + 2] {
    let mut frame = [0; HEAD + 2];
    frame[..HEAD].copy_from_slice(&head(Kind::Versions, request_id, 2));
    frame[HEAD..].copy_from_slice(&[OLDEST_VERSION, VERSION]);
    frame
}

/// Collects the bytes of a connection and yields its frames.
///
/// The buffer grows only as far as a frame that has announced itself needs, and shrinks again when that is gone. What it held is
/// wiped.
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    /// Nothing beyond it was ever written, or it was wiped.
    end: usize,
    longest: usize,
}

/// Without the bytes, which may hold a secret.
impl fmt::Debug for FrameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBuffer({} bytes)", self.end - self.start)
    }
}

impl FrameBuffer {
    /// A buffer for frames of at most `longest` bytes: [`MAX_REQUEST`] for the daemon, [`MAX_ANSWER`] for a client.
    pub fn new(longest: usize) -> Self {
        Self { bytes: vec![0; longest / USUAL], start: 0, end: 0, longest }
    }

    /// Where to read the next bytes into; never empty as long as [`next_frame`](Self::next_frame) was asked first.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes were read into [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Whether some bytes of an unfinished frame are held.
    pub fn is_within_frame(&self) -> bool {
        self.end > self.start
    }

    /// The next whole frame, or `None` until more bytes are read.
    ///
    /// # Errors
    /// [`FrameError`]; the connection should be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let held = self.end - self.start;
        let Some(length) = self.announced_length()? else {
            self.make_room(HEAD);
            return Ok(None);
        };
        if held < length {
            self.make_room(length);
            return Ok(None);
        }
        let frame = &self.bytes[self.start..self.start + length];
        self.start += length;
        let (version, request_id) = (frame[4], u16::from_le_bytes([frame[6], frame[7]]));
        let kind = Kind::from_number(frame[5]);
        // The refusal "I speak a to b" is readable whatever version its sender is of.
        if !(OLDEST_VERSION..=VERSION).contains(&version) && kind != Some(Kind::Versions) {
            return Err(FrameError::Version { version, request_id });
        }
        let kind = kind.ok_or(FrameError::Malformed)?;
        Ok(Some(Frame { kind, request_id, body: &frame[HEAD..] }))
    }

    fn announced_length(&self) -> Result<Option<usize>, FrameError> {
        let Some(field) = self.bytes[self.start..self.end].first_chunk::<LENGTH_FIELD>() else {
            return Ok(None);
        };
        let rest = usize::try_from(u32::from_le_bytes(*field)).map_err(|_| FrameError::TooLong)?;
        match rest.checked_add(LENGTH_FIELD) {
            Some(length) if length < HEAD => Err(FrameError::Malformed),
            Some(length) if length <= self.longest => Ok(Some(length)),
            _ => Err(FrameError::TooLong),
        }
    }

    fn make_room(&mut self, length: usize) {
        let held = self.end - self.start;
        let usual = self.longest / USUAL;
        if length > self.bytes.len() || (held == 0 && self.bytes.len() > usual) {
            let mut other = vec![0; length.max(usual)];
            other[..held].copy_from_slice(&self.bytes[self.start..self.end]);
            self.bytes[..self.end].zeroize();
            self.bytes = other;
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.bytes[held..self.end].zeroize();
        }
        (self.start, self.end) = (0, held);
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        self.bytes[..self.end].zeroize();
    }
}

const LENGTH_FIELD: usize = 4;
/// Nearly every frame is shorter than this part of the longest: 1 KiB of requests, 4 KiB of answers.
const USUAL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: Kind, request_id: u16, body: &[u8]) -> Vec<u8> {
        [&head(kind, request_id, body.len())[..], body].concat()
    }

    fn feed(buffer: &mut FrameBuffer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = buffer.space();
            let count = space.len().min(bytes.len());
            assert!(count > 0, "a buffer that asked for more has room for more");
            space[..count].copy_from_slice(&bytes[..count]);
            buffer.filled(count);
            bytes = &bytes[count..];
            if !bytes.is_empty() {
                assert_eq!(buffer.next_frame(), Ok(None));
            }
        }
    }

    proptest! {
        #[test]
        fn frames_arrive_whole_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 1..5),
            cut in 1usize..5000,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(Kind::Request, 7, body)).collect();
            let mut buffer = FrameBuffer::new(MAX_REQUEST);
            let (mut arrived, mut rest) = (Vec::new(), &stream[..]);
            loop {
                while let Some(frame) = buffer.next_frame().unwrap() {
                    arrived.push(frame.body.to_vec());
                }
                if rest.is_empty() {
                    break;
                }
                let space = buffer.space();
                let count = space.len().min(rest.len()).min(cut);
                prop_assert!(count > 0);
                space[..count].copy_from_slice(&rest[..count]);
                buffer.filled(count);
                rest = &rest[count..];
            }
            prop_assert_eq!(arrived, bodies);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = FrameBuffer::new(MAX_REQUEST);
            let count = bytes.len();
            buffer.space()[..count].copy_from_slice(&bytes);
            buffer.filled(count);
            while let Ok(Some(_)) = buffer.next_frame() {}
        }
    }

    #[test]
    fn debug_shows_no_bytes() {
        let mut buffer = FrameBuffer::new(MAX_REQUEST);
        feed(&mut buffer, &frame(Kind::Answer, 7, &[201, 202, 203]));
        assert_eq!(format!("{buffer:?}"), "FrameBuffer(11 bytes)");
        assert_eq!(format!("{:?}", buffer.next_frame()), "Ok(Some(Frame(Answer, 7, 3 bytes)))");
    }

    #[test]
    fn an_overlong_frame_is_refused_on_its_length_alone() {
        let mut buffer = FrameBuffer::new(MAX_REQUEST);
        let length = u32::try_from(MAX_REQUEST - LENGTH_FIELD + 1).unwrap();
        feed(&mut buffer, &length.to_le_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::TooLong));
    }

    #[test]
    fn the_longest_request_is_taken() {
        let mut buffer = FrameBuffer::new(MAX_REQUEST);
        feed(&mut buffer, &frame(Kind::Request, 1, &vec![9; MAX_REQUEST - HEAD]));
        assert_eq!(buffer.next_frame().unwrap().unwrap().body.len(), MAX_REQUEST - HEAD);
    }

    #[test]
    fn a_length_below_the_head_is_malformed() {
        let mut buffer = FrameBuffer::new(MAX_REQUEST);
        feed(&mut buffer, &3u32.to_le_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::Malformed));
    }

    #[test]
    fn another_version_is_named_and_its_request_too() {
        let mut bytes = frame(Kind::Request, 513, b"");
        bytes[4] = 9;
        let mut buffer = FrameBuffer::new(MAX_REQUEST);
        feed(&mut buffer, &bytes);
        assert_eq!(buffer.next_frame(), Err(FrameError::Version { version: 9, request_id: 513 }));
    }

    #[test]
    fn the_versions_refusal_is_readable_from_any_version() {
        let mut bytes = versions(513);
        bytes[4] = 9;
        let mut buffer = FrameBuffer::new(MAX_ANSWER);
        feed(&mut buffer, &bytes);
        let frame = buffer.next_frame().unwrap().unwrap();
        assert_eq!((frame.kind, frame.request_id, frame.body), (Kind::Versions, 513, &[1, 1][..]));
    }
}
