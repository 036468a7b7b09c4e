//! Any bytes as the body of a message, or as an upload: what is read is written as the very same bytes, but for numbers that
//! came longer than they have to be; and it fits where it came from.

#![no_main]

use procurify_token_protocol::codec;
use procurify_token_protocol::frame::{Frame, HEAD, Kind, MAX_ANSWER, MAX_REQUEST};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((what, body)) = bytes.split_first() else { return };
    let (written_by, longest): (fn(&[u8]) -> Option<Vec<u8>>, usize) = match what % 4 {
        0 => (request, MAX_REQUEST - HEAD),
        1 => (answer, MAX_ANSWER - HEAD),
        2 => (refusal, MAX_ANSWER - HEAD),
        _ => (copies, usize::MAX),
    };
    let body = &body[..body.len().min(longest)];
    let Some(written) = written_by(body) else { return };
    assert!(written == body || written.len() < body.len(), "one message has two forms");
    assert!(written_by(&written).as_ref() == Some(&written), "what was written is not read as the same");
});

fn request(body: &[u8]) -> Option<Vec<u8>> {
    let request = codec::decode_request(Frame { kind: Kind::Request, request_id: 7, body }).ok()?;
    Some(codec::encode_request(7, &request).expect("a request that came in a frame fits into one")[HEAD..].to_vec())
}

fn answer(body: &[u8]) -> Option<Vec<u8>> {
    reply(Frame { kind: Kind::Answer, request_id: 7, body })
}

fn refusal(body: &[u8]) -> Option<Vec<u8>> {
    reply(Frame { kind: Kind::Refusal, request_id: 7, body })
}

fn reply(frame: Frame<'_>) -> Option<Vec<u8>> {
    let reply = codec::decode_reply(frame).ok()?;
    Some(codec::encode_reply(7, &reply).expect("a reply that came in a frame fits into one")[HEAD..].to_vec())
}

fn copies(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::decode_copies(bytes).ok().map(|copies| codec::encode_copies(&copies).to_vec())
}
