//! Today's daemon against frames of every version and kind, held against the table in the specification. What is sent and heard
//! is bytes; nothing of our own crates comes between.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use procurify_token_tests::protocol::REQUEST_COUNT;
use procurify_token_tests::{Home, PATIENCE};

#[test]
fn another_version_is_told_which_are_spoken_and_left() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    for version in [0, 2, 9, 255] {
        // The kind and the body may be anything in another version.
        for (kind, body) in [(1, &STATUS[..]), (2, &[]), (3, &[1]), (9, &[0xff; 300]), (255, &[])] {
            let mut peer = Peer::connect(&home);
            // What follows is not looked at.
            peer.send(&[frame(version, kind, 0x0207, body), frame(1, 1, 8, &STATUS)].concat());
            assert_eq!(peer.hear(), Some(frame(1, 0, 0x0207, &[1, 1])), "version {version}, kind {kind}");
            peer.stop_sending();
            assert_eq!(peer.hear(), None, "version {version}, kind {kind}");
        }
    }
    let mut peer = Peer::connect(&home);
    peer.send(&frame(2, 1, 7, &STATUS));
    assert!(peer.hear().is_some());
    assert_eq!(peer.hear(), None, "it is the daemon that closes the connection");
    home.client().status().expect("everybody else is served");
}

#[test]
fn what_is_not_a_frame_of_a_client_is_malformed_and_the_connection_closed() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    let too_long = 65_533_u32.to_le_bytes();
    for (what, bytes, request_id, code) in [
        ("a kind that does not exist", frame(1, 4, 7, &STATUS), 0, 100),
        ("the last kind that does not exist", frame(1, 255, 7, &[]), 0, 100),
        ("an answer", frame(1, 2, 7, &[0]), 7, 100),
        ("a refusal", frame(1, 3, 7, &[100, 0, 0, 0]), 7, 100),
        ("versions", frame(1, 0, 7, &[1, 1]), 7, 100),
        ("versions of another version", frame(9, 0, 7, &[9, 9]), 7, 100),
        ("a length below 4", vec![3, 0, 0, 0], 0, 100),
        ("a length above the limit", too_long.to_vec(), 0, 101),
        ("the same of another version", [&too_long[..], &[9, 1, 7, 0]].concat(), 0, 101),
        ("no body", frame(1, 1, 7, &[]), 7, 100),
        ("a body that ends too early", frame(1, 1, 7, &[0, 4, b'a']), 7, 100),
        ("a byte left over", frame(1, 1, 7, &[4, 0]), 7, 100),
        ("a name with a space", frame(1, 1, 7, &[3, 2, b'a', b' ']), 7, 100),
        ("an optional that is neither there nor not", frame(1, 1, 7, &[2, 2]), 7, 100),
        ("nanoseconds of a second", frame(1, 1, 7, &[10, 1, b'a', 0, 252, 0, 0xca, 0x9a, 0x3b]), 7, 100),
        ("a description with a space at its end", with_description("x "), 7, 100),
    ] {
        let mut peer = Peer::connect(&home);
        // What follows is not looked at.
        peer.send(&[&bytes[..], &frame(1, 1, 8, &STATUS)].concat());
        peer.refused(request_id, code, what);
        peer.stop_sending();
        assert_eq!(peer.hear(), None, "{what}");
    }
    let mut peer = Peer::connect(&home);
    peer.send(&frame(1, 1, 7, &[]));
    peer.refused(7, 100, "no body");
    assert_eq!(peer.hear(), None, "it is the daemon that closes the connection");
    // The same without what was wrong with it is a request.
    let mut peer = Peer::connect(&home);
    peer.send(&with_description("x"));
    peer.refused(7, 300, "there is no vault");
}

#[test]
fn an_unknown_request_is_refused_and_the_connection_serves_on() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    let mut peer = Peer::connect(&home);
    let next = u8::try_from(REQUEST_COUNT).expect("it is written as one byte");
    let unknown: [&[u8]; 5] =
        [&[next], &[next, 0, 1, 2, 3], &[250], &[251, 0, 1, 9], &[252, 0xff, 0xff, 0xff, 0xff]];
    for body in unknown {
        peer.send(&frame(1, 1, 7, body));
        peer.refused(7, 102, &format!("{body:?}"));
        peer.send(&frame(1, 1, 8, &STATUS));
        assert_eq!(peer.hear().unwrap()[4..9], [1, 2, 8, 0, 4], "the status");
    }
    // A known number stays known when it is written longer than it has to be.
    peer.send(&frame(1, 1, 9, &[251, 4, 0]));
    assert_eq!(peer.hear().unwrap()[4..9], [1, 2, 9, 0, 4]);
}

#[test]
fn ids_are_repeated_and_nothing_else_is_done_with_them() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    let mut peer = Peer::connect(&home);
    for request_id in [0, 1, 1, 0x0201, u16::MAX] {
        peer.send(&frame(1, 1, request_id, &STATUS));
        let [low, high] = request_id.to_le_bytes();
        assert_eq!(peer.hear().unwrap()[4..9], [1, 2, low, high, 4]);
    }
    let pipelined =
        [frame(1, 1, 5, &STATUS), frame(1, 1, 5, &STATUS), frame(1, 1, 6, &[3, 1, b'a'])].concat();
    for byte in pipelined {
        peer.send(&[byte]);
    }
    let mut replies: Vec<_> = (0..3).map(|_| peer.hear().unwrap()[5..7].to_vec()).collect();
    replies.sort_unstable();
    assert_eq!(replies, [[2, 5], [2, 5], [3, 6]]);
}

/// `status`.
const STATUS: [u8; 1] = [4];

fn frame(version: u8, kind: u8, request_id: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap().to_le_bytes();
    [&length[..], &[version, kind], &request_id.to_le_bytes(), body].concat()
}

/// An `add slot` for the key file, by whatever opens the vault without a person.
fn with_description(text: &str) -> Vec<u8> {
    frame(1, 1, 7, &[&[17, 0, 0, u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat())
}

struct Peer(UnixStream);

impl Peer {
    fn connect(home: &Home) -> Self {
        let stream = UnixStream::connect(home.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// So that the daemon need not wait whether more is coming before it closes the connection.
    fn stop_sending(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// The next frame; `None` where the daemon has closed the connection.
    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            outcome => outcome.unwrap(),
        }
        let mut frame = vec![0; 4 + u32::from_le_bytes(length) as usize];
        frame[..4].copy_from_slice(&length);
        self.0.read_exact(&mut frame[4..]).unwrap();
        Some(frame)
    }

    #[track_caller]
    fn refused(&mut self, request_id: u16, code: u16, what: &str) {
        let frame = self.hear().unwrap_or_else(|| panic!("{what}: nothing was said"));
        assert_eq!(frame[4..6], [1, 3], "{what}");
        assert_eq!(frame[6..8], request_id.to_le_bytes(), "{what}");
        let said = match frame[8] {
            251 => u16::from_le_bytes([frame[9], frame[10]]),
            short => u16::from(short),
        };
        assert_eq!(said, code, "{what}");
    }
}
