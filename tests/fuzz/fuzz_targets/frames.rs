//! Any bytes as what arrives on a connection, in pieces of any size: the frames are those that a reader of the whole would find,
//! and never more is kept than one of them may have.

#![no_main]

use procurify_token_protocol::frame::{
    FrameBuffer, FrameError, HEAD, Kind, MAX_ANSWER, MAX_REQUEST, OLDEST_VERSION, VERSION,
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(([direction, count], rest)) = input.split_first_chunk() else { return };
    let (cuts, bytes) = rest.split_at(usize::from(*count).min(rest.len()));
    let longest = if direction % 2 == 1 { MAX_ANSWER } else { MAX_REQUEST };
    let expected = of_the_whole(bytes, longest);
    assert!(in_pieces(bytes, longest, &[]) == expected);
    assert!(in_pieces(bytes, longest, cuts) == expected);
    assert!(in_pieces(bytes, longest, &[0]) == expected, "byte by byte");
});

#[derive(PartialEq)]
enum Read {
    Frame(Kind, u16, Vec<u8>),
    Error(FrameError),
    /// The bytes end within a frame.
    Within,
}

/// The specification, once more and in the plainest way.
fn of_the_whole(mut bytes: &[u8], longest: usize) -> Vec<Read> {
    let mut read = Vec::new();
    while !bytes.is_empty() {
        let Some(length) = bytes.first_chunk().map(|field| u32::from_le_bytes(*field) as usize + 4) else {
            read.push(Read::Within);
            break;
        };
        if length < HEAD || length > longest {
            let error = if length < HEAD { FrameError::Malformed } else { FrameError::TooLong };
            read.push(Read::Error(error));
            break;
        }
        if bytes.len() < length {
            read.push(Read::Within);
            break;
        }
        let (frame, rest) = bytes.split_at(length);
        let (version, request_id) = (frame[4], u16::from(frame[6]) + 256 * u16::from(frame[7]));
        let kind = match frame[5] {
            0 => Kind::Versions,
            _ if !(OLDEST_VERSION..=VERSION).contains(&version) => {
                read.push(Read::Error(FrameError::Version { version, request_id }));
                break;
            }
            1 => Kind::Request,
            2 => Kind::Answer,
            3 => Kind::Refusal,
            _ => {
                read.push(Read::Error(FrameError::Malformed));
                break;
            }
        };
        read.push(Read::Frame(kind, request_id, frame[HEAD..].to_vec()));
        bytes = rest;
    }
    read
}

/// The same by the buffer, as much at a time as it has room for, or as a cut allows: 0 for one byte, 255 for 4 KiB.
fn in_pieces(bytes: &[u8], longest: usize, cuts: &[u8]) -> Vec<Read> {
    let (mut buffer, mut read, mut rest, mut held) = (FrameBuffer::new(longest), Vec::new(), bytes, 0);
    let mut cuts = cuts.iter().cycle();
    loop {
        match buffer.next_frame() {
            Ok(Some(frame)) => {
                held -= HEAD + frame.body.len();
                read.push(Read::Frame(frame.kind, frame.request_id, frame.body.to_vec()));
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                read.push(Read::Error(error));
                return read;
            }
        }
        assert_eq!(buffer.is_within_frame(), held > 0);
        if rest.is_empty() {
            read.extend((held > 0).then_some(Read::Within));
            return read;
        }
        let space = buffer.space();
        assert!(held + space.len() <= longest, "more is kept than a frame may have");
        let most = cuts.next().map_or(usize::MAX, |cut| 1 + usize::from(*cut) * 16);
        let count = space.len().min(rest.len()).min(most);
        assert!(count > 0, "a buffer that wants more has room for more");
        space[..count].copy_from_slice(&rest[..count]);
        buffer.filled(count);
        (held, rest) = (held + count, &rest[count..]);
    }
}
