//! Every message of version 1, byte by byte: the files of `tests/vectors/wire/v1`, which never change. They were written from the
//! specification by a program that shares nothing with the codec. New messages get new files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use procurify_token_tests::protocol::codec::{self, DecodeError};
use procurify_token_tests::protocol::frame::{FrameBuffer, HEAD, Kind, MAX_ANSWER, versions};
use procurify_token_tests::protocol::{Answer, REQUEST_COUNT, Refusal, RefusalClass, Request};

use crate::values;

#[test]
fn every_vector_is_read_as_what_it_means_and_written_as_it_is() {
    for (file, bytes) in vectors() {
        let read = read(&file, &bytes);
        let (written, meant, shown) = match file.split_once('-').unwrap_or((&file, "")) {
            ("request", named) => {
                let Message::Request(read) = read else { panic!("{file} is no request") };
                let meant = values::request(named);
                let shown = (format!("{read:?}"), format!("{meant:?}"));
                let written = |request| codec::encode_request(ID, request).unwrap().to_vec();
                (written(&read), written(&meant), shown)
            }
            ("answer", named) => reply(&file, read, &Ok(values::answer(named))),
            ("refusal.bare", _) => {
                let Message::Reply(Err(refusal)) = read else { panic!("{file} is no refusal") };
                assert_eq!((refusal.code.number(), refusal.code.label()), (65_535, "unknown"));
                assert_eq!(refusal.code.class(), RefusalClass::Internal);
                let again = codec::encode_reply(ID, &Err(refusal)).unwrap().to_vec();
                (again.clone(), again, (String::new(), String::new()))
            }
            ("versions", "") => {
                assert!(matches!(read, Message::Versions { oldest: 1, newest: 1 }));
                assert_eq!(versions(ID)[..], bytes);
                continue;
            }
            (refused, _) => reply(&file, read, &Err(values::refusal(refused))),
        };
        assert_eq!(written, bytes, "{file} is not written as it was read");
        assert_eq!(meant, bytes, "{file} means something else");
        assert_eq!(shown.0, shown.1, "{file}");
    }
}

/// The names and numbers of the specification's tables, each with at least one file.
#[test]
fn every_message_of_the_specification_has_a_vector() {
    let vectors = vectors();
    let specification = include_str!("../../../protocol/src/specification.md");
    let (_, rest) = specification.split_once("\n## Requests\n").unwrap();
    let (requests, rest) = rest.split_once("\n## Answers\n").unwrap();
    let (answers, _) = rest.split_once("\n## Refusals\n").unwrap();
    let mut count = 0;
    for (kind, of, table) in [(Kind::Request, "request", requests), (Kind::Answer, "answer", answers)] {
        for (number, named) in numbered(table) {
            let file = format!("{of}-{}", named.replace(' ', "-"));
            let bytes = vectors.get(&file).unwrap_or_else(|| panic!("there is no {FOLDER}/{file}.hex"));
            assert_eq!((bytes[5], u32::from(bytes[HEAD])), (kind.number(), number), "{file}");
            count += 1;
        }
        let expected = if kind == Kind::Request { REQUEST_COUNT } else { ANSWER_COUNT };
        assert_eq!(u32::try_from(numbered(table).count()).unwrap(), expected, "rows of {of}s");
    }
    assert!(vectors.contains_key("refusal") && vectors.contains_key("versions"));
    assert_eq!(vectors.keys().filter(|file| !file.contains('.')).count(), count + 2, "a file of no message");
}

/// The compiler asks here for whoever adds an answer; for requests there is `REQUEST_COUNT`.
fn number(answer: &Answer) -> u32 {
    match answer {
        Answer::Done => 0,
        Answer::Token(_) => 1,
        Answer::Credentials { .. } => 2,
        Answer::Credential(_) => 3,
        Answer::Status(_) => 4,
        Answer::Initialised { .. } => 5,
        Answer::Watched(_) => 6,
        Answer::Slots { .. } => 7,
        Answer::SlotAdded { .. } => 8,
        Answer::Rekeyed { .. } => 9,
        Answer::VaultPiece(_) => 10,
        Answer::Imported { .. } => 11,
        Answer::Exported { .. } => 12,
        Answer::Findings(_) => 13,
        Answer::AccessExplained { .. } => 14,
        Answer::AuditRecords { .. } => 15,
        Answer::AuditVerified(_) => 16,
    }
}
const ANSWER_COUNT: u32 = 17;

#[test]
fn a_vector_that_is_cut_or_longer_is_no_message() {
    for (file, bytes) in vectors() {
        for length in HEAD..bytes.len() {
            let cut = framed(&bytes, &bytes[HEAD..length]);
            assert!(matches!(read(&file, &cut), Message::Malformed), "{file} cut at {length}");
        }
        if file != "versions" {
            let longer = framed(&bytes, &[&bytes[HEAD..], &[0]].concat());
            assert!(matches!(read(&file, &longer), Message::Malformed), "{file} and a byte");
        }
    }
}

enum Message {
    Request(Request),
    Reply(Result<Answer, Refusal>),
    Versions { oldest: u8, newest: u8 },
    Malformed,
}

fn read(file: &str, bytes: &[u8]) -> Message {
    let mut buffer = FrameBuffer::new(MAX_ANSWER);
    buffer.space()[..bytes.len()].copy_from_slice(bytes);
    buffer.filled(bytes.len());
    let frame = buffer.next_frame().unwrap().unwrap_or_else(|| panic!("{file} is not a whole frame"));
    assert_eq!((frame.request_id, HEAD + frame.body.len()), (ID, bytes.len()), "{file}");
    if frame.kind == Kind::Request {
        return codec::decode_request(frame).map_or(Message::Malformed, Message::Request);
    }
    match codec::decode_reply(frame) {
        Ok(reply) => Message::Reply(reply),
        Err(DecodeError::Versions { oldest, newest }) => Message::Versions { oldest, newest },
        Err(_) => Message::Malformed,
    }
}

/// A message as it was read and written again, what it should mean as it is written, and both as they are shown.
type Compared = (Vec<u8>, Vec<u8>, (String, String));

fn reply(file: &str, read: Message, meant: &Result<Answer, Refusal>) -> Compared {
    let Message::Reply(read) = read else { panic!("{file} is no reply") };
    if let (Ok(read), Ok(meant)) = (&read, meant) {
        assert_eq!(number(read), number(meant), "{file}");
    }
    let shown = (format!("{read:?}"), format!("{meant:?}"));
    let written = |reply| codec::encode_reply(ID, reply).unwrap().to_vec();
    (written(&read), written(meant), shown)
}

/// The head of a frame, with another body.
fn framed(frame: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap().to_le_bytes();
    [&length, &frame[4..HEAD], body].concat()
}

/// The rows `| number | name |` of a table.
fn numbered(table: &str) -> impl Iterator<Item = (u32, &str)> {
    table.lines().filter_map(|line| {
        let mut columns = line.strip_prefix("| ")?.split(" | ");
        Some((columns.next()?.parse().ok()?, columns.next()?))
    })
}

/// The files by their names without `.hex`, as bytes: hexadecimal columns up to a `|`, but for lines that begin with `#`.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let columns = lines.map(|line| line.split('|').next().unwrap());
        let pairs = columns.flat_map(str::split_whitespace);
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(&path))).collect()
}

const FOLDER: &str = "vectors/wire/v1";
const ID: u16 = 7;
