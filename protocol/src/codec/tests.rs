use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use proptest::prelude::*;

use super::*;
use crate::frame::FrameBuffer;
use crate::{
    AccessToken, FailureCode, Fingerprint, RecoveryCode, RefusalCode, SlotId, TokenGrant, UnlockWith,
};

fn request_of(bytes: &[u8]) -> Result<Request, DecodeError> {
    let mut buffer = FrameBuffer::new(MAX_REQUEST);
    buffered(&mut buffer, bytes);
    decode_request(buffer.next_frame().unwrap().unwrap())
}

fn reply_of(bytes: &[u8]) -> Result<Result<Answer, Refusal>, DecodeError> {
    let mut buffer = FrameBuffer::new(MAX_ANSWER);
    buffered(&mut buffer, bytes);
    decode_reply(buffer.next_frame().unwrap().unwrap())
}

fn buffered(buffer: &mut FrameBuffer, bytes: &[u8]) {
    for byte in bytes {
        while buffer.space().is_empty() {
            assert_eq!(buffer.next_frame(), Ok(None));
        }
        buffer.space()[0] = *byte;
        buffer.filled(1);
    }
}

/// What takes few bytes for many numbers: bincode counts each of them as eight.
#[test]
fn a_full_answer_of_small_things_is_read_again() {
    let copy = |number| CredentialCopy {
        credential: crate::NewCredential {
            name: format!("a/{number}").parse().unwrap(),
            description: crate::Description::default(),
            client_id: "i".parse().unwrap(),
            client_secret: crate::ClientSecret::new(&"s".into()).unwrap(),
            base_url: "https://a.example".parse().unwrap(),
            token_url: "https://a.example/t".parse().unwrap(),
            audience: "a".parse().unwrap(),
            body_encoding: crate::BodyEncoding::Json,
        },
        added_at: None,
        staged: None,
        previous: None,
    };
    let page: Vec<_> = (0..4200).map(copy).collect();
    assert_eq!(decode_copies(&encode_copies(&page)).unwrap().len(), page.len());
    let frame = encode_reply(7, &Ok(Answer::Exported { page, pass: None })).unwrap();
    assert!(frame.len() > MAX_ANSWER * 3 / 4, "{} bytes", frame.len());
    assert!(matches!(reply_of(&frame), Ok(Ok(Answer::Exported { page, .. })) if page.len() == 4200));
}

/// The messages of the examples on the front page, by the names they have there.
fn example(name: &str) -> Vec<u8> {
    let expires_at: DateTime<Utc> = Utc.with_ymd_and_hms(2027, 1, 15, 8, 0, 0).unwrap();
    let acme = "acme".parse().unwrap();
    let fingerprint = Fingerprint::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
    let request = |request| encode_request(7, &request).unwrap().to_vec();
    let reply = |reply| encode_reply(7, &reply).unwrap().to_vec();
    match name {
        "get" => request(Request::Get {
            name: acme,
            min_ttl: Duration::from_mins(10),
            deadline: Duration::from_millis(5_500),
        }),
        "token" => reply(Ok(Answer::Token(TokenGrant {
            token: AccessToken::new("abc.def".into(), fingerprint, expires_at).unwrap().into(),
            base_url: "https://acme.procurify.com".parse().unwrap(),
        }))),
        "invalidate" => request(Request::Invalidate { name: acme, fingerprint }),
        "done" => reply(Ok(Answer::Done)),
        "list" => request(Request::List { after: None }),
        "status" => request(Request::Status),
        "unlock" => request(Request::Unlock { key: UnlockWith::Unattended, generation: 0 }),
        "rekey" => request(Request::Rekey {
            without: vec![SlotId::from_bytes([0x9b, 0x31, 0xd0, 0x07])],
            keys: vec![UnlockWith::Unattended],
        }),
        "watch" => request(Request::Watch { name: acme, seen: Some(9), deadline: Duration::from_mins(1) }),
        "watched" => {
            reply(Ok(Answer::Watched(Box::new(crate::Watched { revision: 10, token: None, refusal: None }))))
        }
        "refused" => reply(Err(Refusal {
            code: RefusalCode::UPSTREAM_UNAVAILABLE,
            retry_after: Some(Duration::from_secs(90)),
            message: "down".into(),
            advice: String::new(),
        })),
        "versions" => frame::versions(7).to_vec(),
        other => panic!("the specification shows an example that nobody checks: {other}"),
    }
}

/// The `text` blocks of the specification whose first line is `# name`, as bytes.
fn examples_in_specification() -> Vec<(&'static str, Vec<u8>)> {
    let specification = include_str!("../specification.md");
    let blocks = specification.split("```text\n# ").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| {
            let (name, lines) = block.split_once('\n').unwrap();
            let hex: String = lines
                .lines()
                .map(|line| line.split('|').next().unwrap())
                .flat_map(|columns| columns.chars().filter(|c| !c.is_whitespace()))
                .collect();
            let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
            (name, bytes.collect())
        })
        .collect()
}

#[test]
fn the_examples_of_the_specification_are_what_the_codec_writes() {
    let examples = examples_in_specification();
    assert_eq!(examples.len(), 12, "every example is found");
    for (name, bytes) in examples {
        let written = example(name);
        let hex = written.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        assert_eq!(bytes, written, "{name} is written as {hex}");
    }
}

#[test]
fn the_specification_lists_every_code() {
    let specification = include_str!("../specification.md");
    let refusals = RefusalCode::ALL.iter().map(|code| (code.number(), code.label()));
    let failures = FailureCode::ALL.iter().map(|code| (code.number(), code.label()));
    for (number, label) in refusals.chain(failures) {
        assert!(specification.contains(&format!("\n| {number} | {label} | ")), "{number} {label}");
    }
}

#[test]
fn the_examples_read_back_and_are_written_identically() {
    for (name, bytes) in examples_in_specification() {
        let again = match bytes[5] {
            1 => encode_request(7, &request_of(&bytes).unwrap()).unwrap(),
            2 | 3 => encode_reply(7, &reply_of(&bytes).unwrap()).unwrap(),
            _ => continue,
        };
        assert_eq!(bytes, *again, "{name}");
    }
}

#[test]
fn a_body_with_a_byte_too_many_or_too_few_is_malformed() {
    let bytes = example("get");
    let body = &bytes[HEAD..];
    for wrong in [[body, &[0]].concat(), body[..body.len() - 1].to_vec()] {
        let frame = Frame { kind: Kind::Request, request_id: 7, body: &wrong };
        assert_eq!(decode_request(frame).unwrap_err(), DecodeError::Malformed);
    }
}

/// But for numbers that are longer than they have to be, a message has one form.
#[test]
fn what_would_be_written_otherwise_is_malformed() {
    let decode = |body: &[u8]| decode_request(Frame { kind: Kind::Request, request_id: 7, body }).map(|_| ());
    let described = |text: &str| [&[17, 0, 0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    assert_eq!(decode(&described("x y")), Ok(()));
    let code = RecoveryCode::from_bytes(&[7; 20]);
    #[expect(clippy::disallowed_methods, reason = "a code of this test alone is written in other ways")]
    let code = secrecy::ExposeSecret::expose_secret(code.secret()).to_owned();
    let unlock = |text: &str| [&[6, 2, u8::try_from(text.len()).unwrap()], text.as_bytes(), &[0]].concat();
    assert_eq!(decode(&unlock(&code)), Ok(()));
    let add = |secret: &str, base_url: &str| {
        let texts = ["a", "", "i", secret, base_url, "https://a.example/t", "a"];
        let texts =
            texts.iter().flat_map(|text| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat());
        [8].into_iter().chain(texts).chain([0]).collect::<Vec<u8>>()
    };
    assert_eq!(decode(&add("s", "https://a.example")), Ok(()));
    let promote = |nanoseconds: u32| [&[10, 1, b'a', 1, 252][..], &nanoseconds.to_le_bytes()].concat();
    assert_eq!(decode(&promote(999_999_999)), Ok(()));
    for wrong in [
        described(" x"),
        described("x\u{a0}"),
        unlock(&code.to_lowercase()),
        unlock(&code.replace('-', "")),
        add("s ", "https://a.example"),
        add("s", "https://a.example/"),
        promote(1_000_000_000),
    ] {
        assert_eq!(decode(&wrong), Err(DecodeError::Malformed), "{wrong:?}");
    }
    let refusal = [&[100, 1, 1, 252][..], &1_000_000_000_u32.to_le_bytes(), &[0, 0]].concat();
    let refusal = decode_reply(Frame { kind: Kind::Refusal, request_id: 7, body: &refusal });
    assert_eq!(refusal.unwrap_err(), DecodeError::Malformed);
    // Numbers are read at any width.
    assert_eq!(decode(&[251, 4, 0]), Ok(()));
}

#[test]
fn a_request_of_a_later_version_is_told_from_garbage() {
    let decode = |body| decode_request(Frame { kind: Kind::Request, request_id: 7, body }).unwrap_err();
    let unknown = [u8::try_from(REQUEST_COUNT).unwrap(), 1, 2, 3];
    assert_eq!(decode(&unknown), DecodeError::UnknownRequest);
    assert_eq!(decode(&[0xff; 20]), DecodeError::Malformed);
}

#[test]
fn the_count_of_requests_is_the_number_behind_the_last_one() {
    let last = Request::AuditVerify;
    let body = encode_request(7, &last).unwrap()[HEAD];
    assert_eq!(u32::from(body) + 1, REQUEST_COUNT);
}

#[test]
fn a_string_that_claims_to_be_huge_allocates_nothing_of_the_kind() {
    let mut body = vec![0, 253];
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    let frame = Frame { kind: Kind::Request, request_id: 7, body: &body };
    assert_eq!(decode_request(frame).unwrap_err(), DecodeError::Malformed);
}

#[test]
fn a_daemon_of_other_versions_is_named() {
    let mut bytes = example("versions");
    bytes[HEAD..].copy_from_slice(&[3, 5]);
    assert_eq!(reply_of(&bytes).unwrap_err(), DecodeError::Versions { oldest: 3, newest: 5 });
}

#[test]
fn an_answer_may_be_readdressed() {
    let mut bytes = example("done");
    readdress(&mut bytes, 513);
    assert_eq!(bytes[6..8], [1, 2]);
}

proptest! {
    #[test]
    fn any_body_decodes_or_is_refused(body in prop::collection::vec(any::<u8>(), 0..400), kind in 0u8..4) {
        let kind = [Kind::Versions, Kind::Request, Kind::Answer, Kind::Refusal][usize::from(kind)];
        let frame = Frame { kind, request_id: 7, body: &body };
        if let Ok(request) = decode_request(frame) {
            // Longer numbers than have to be are read, and are all that is written otherwise.
            let again = &encode_request(7, &request).unwrap()[HEAD..];
            prop_assert!(again == &body[..] || again.len() < body.len());
        }
        let _ = decode_reply(frame);
    }
}
