//! Callers who do everything wrong, against the real daemon on its real socket, while one who does everything right
//! keeps asking: each wrong one gets a clear refusal or a closed connection, and the right one gets every answer.
//!
//! No test here looks at a clock. Where the daemon's own deadlines have to strike, the test waits until they do.

mod peers;
mod strangers;

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use peers::{Caller, Heard, Peer};
use procurify_token_tests::client::{Error, blocking};
use procurify_token_tests::protocol::frame::{HEAD, MAX_REQUEST, OLDEST_VERSION, VERSION};
use procurify_token_tests::protocol::{Answer, RefusalCode, Request, codec};
use procurify_token_tests::{Daemon, Gate, Home, PATIENCE, name};

#[test]
fn garbage_is_refused_and_the_connection_closed() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let mut trailing = frame(1, 7, &[4]);
    trailing[0] += 1;
    trailing.push(0);
    for (what, bytes, code) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), RefusalCode::TOO_LARGE),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), RefusalCode::TOO_LARGE),
        ("a line of text", b"get acme\n".to_vec(), RefusalCode::TOO_LARGE),
        ("nothing but zeros", vec![0; 64], RefusalCode::MALFORMED),
        ("a length below the head", vec![3, 0, 0, 0], RefusalCode::MALFORMED),
        ("a kind that does not exist", frame(9, 7, &[4]), RefusalCode::MALFORMED),
        ("an answer", frame(2, 7, &[0]), RefusalCode::MALFORMED),
        ("a refusal", frame(3, 7, &[0]), RefusalCode::MALFORMED),
        ("versions", frame(0, 7, &[1, 1]), RefusalCode::MALFORMED),
        ("a request without a body", frame(1, 7, &[]), RefusalCode::MALFORMED),
        ("a byte left over", trailing, RefusalCode::MALFORMED),
        ("a name outside the grammar", frame(1, 7, b"\x03\x06../etc"), RefusalCode::MALFORMED),
        ("a name with a line break", frame(1, 7, b"\x03\x06acme\n\n"), RefusalCode::MALFORMED),
        ("a text longer than the frame", frame(1, 7, b"\x03\xfcffff"), RefusalCode::MALFORMED),
        (
            "a text longer than memory",
            frame(1, 7, b"\x03\xfd\xff\xff\xff\xff\xff\xff\xff\xff"),
            RefusalCode::MALFORMED,
        ),
    ] {
        let mut peer = Peer::connect(&home);
        peer.send(&bytes);
        let heard = peer.hear();
        assert!(
            matches!(&heard, Heard::Refusal(0 | 7, refusal) if refusal.code == code),
            "{what}: {heard:?}"
        );
        let heard = peer.hear();
        assert!(matches!(heard, Heard::Closed), "{what}: {heard:?}");
    }
    caller.is_still_served();
}

#[test]
fn no_random_bytes_are_ever_answered() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..400 {
        let length = usize::try_from(dice.roll() % 600).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.roll().to_le_bytes()[0]).collect();
        if round % 2 == 0 {
            // A sound head gets the rest as far as the codec.
            bytes = frame(1, 7, &bytes);
        }
        let mut peer = Peer::connect(&home);
        peer.send(&bytes);
        peer.stop_sending();
        loop {
            match peer.hear() {
                Heard::Closed => break,
                // One byte that happens to be the number of a request without fields is a request.
                Heard::Refusal(..) | Heard::Versions { .. } | Heard::Answer(7, Answer::Status(_)) => {}
                Heard::Answer(..) => panic!("{bytes:02x?} was taken for a request"),
            }
        }
    }
    caller.is_still_served();
}

#[test]
fn a_truncated_frame_is_not_answered() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let whole = codec::encode_request(7, &get()).unwrap();
    for cut in 0..whole.len() {
        let mut peer = Peer::connect(&home);
        peer.send(&whole[..cut]);
        peer.stop_sending();
        let heard = peer.hear();
        assert!(matches!(heard, Heard::Closed), "after {cut} bytes: {heard:?}");
    }
    caller.is_still_served();
}

#[test]
fn an_oversized_frame_is_refused_on_its_length_alone() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let beyond = u32::try_from(MAX_REQUEST - 4 + 1).unwrap();
    for length in [beyond, 1 << 20, u32::MAX - 4, u32::MAX] {
        let mut peer = Peer::connect(&home);
        peer.send(&length.to_le_bytes());
        let heard = peer.hear();
        assert!(
            matches!(&heard, Heard::Refusal(0, refusal) if refusal.code == RefusalCode::TOO_LARGE),
            "{length}: {heard:?}"
        );
        assert!(matches!(peer.hear(), Heard::Closed));
    }
    // One that fits to the last byte is read, and refused for what is in it.
    let mut peer = Peer::connect(&home);
    peer.send(&frame(1, 7, &vec![4; MAX_REQUEST - HEAD]));
    let heard = peer.hear();
    assert!(
        matches!(&heard, Heard::Refusal(7, refusal) if refusal.code == RefusalCode::MALFORMED),
        "{heard:?}"
    );
    caller.is_still_served();
}

#[test]
fn a_frame_of_another_version_is_told_which_are_spoken() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    for version in [0, VERSION + 1, 9, u8::MAX] {
        let mut bytes = codec::encode_request(513, &get()).unwrap();
        bytes[4] = version;
        let mut peer = Peer::connect(&home);
        peer.send(&bytes);
        let heard = peer.hear();
        assert!(
            matches!(heard, Heard::Versions { request_id: 513, oldest: OLDEST_VERSION, newest: VERSION }),
            "{version}: {heard:?}"
        );
        assert!(matches!(peer.hear(), Heard::Closed));
    }
    caller.is_still_served();
}

#[test]
fn an_unknown_request_is_refused_and_the_connection_stays() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let mut peer = Peer::connect(&home);
    for body in [&[200][..], &[200, 1, 2, 3], &[251, 0, 1], &[252, 0xff, 0xff, 0xff, 0xff, 9]] {
        peer.send(&frame(1, 7, body));
        let heard = peer.hear();
        assert!(
            matches!(&heard, Heard::Refusal(7, refusal) if refusal.code == RefusalCode::UNKNOWN_REQUEST),
            "{body:?}: {heard:?}"
        );
    }
    peer.ask(8, &Request::Status);
    assert!(matches!(peer.hear(), Heard::Answer(8, Answer::Status(_))));
    caller.is_still_served();
}

#[test]
fn slow_writers_and_slow_readers_hold_up_nobody_and_are_shown_out() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let whole = codec::encode_request(7, &get()).unwrap();
    let mut writers: Vec<Peer> = (0..100).map(|_| Peer::connect(&home)).collect();
    for (at, writer) in writers.iter_mut().enumerate() {
        writer.send(&whole[..=at % (whole.len() - 1)]);
    }
    let asked: Vec<u8> = (0..200).flat_map(|_| whole.iter().copied()).collect();
    let mut readers: Vec<Peer> = (0..20).map(|_| Peer::connect(&home)).collect();
    for reader in &mut readers {
        assert!(reader.stuff(&asked) > 100 * whole.len());
    }
    caller.is_still_served();
    // Within the daemon's own ten seconds, every one of them is shown out.
    for writer in &mut writers {
        let heard = writer.hear();
        assert!(matches!(heard, Heard::Closed), "{heard:?}");
    }
    for reader in &readers {
        reader.await_hang_up();
    }
    caller.is_still_served();
}

#[test]
fn silent_connections_by_the_hundred_hold_up_nobody() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    let silent: Vec<Peer> = (0..700).map(|_| Peer::connect(&home)).collect();
    caller.is_still_served();
    drop(silent);
    caller.is_still_served();
}

#[test]
fn who_comes_when_every_place_is_taken_is_told_so_and_served_once_one_is_free() {
    let home = Home::new(&["acme"]);
    let config = home.config_folder().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("max-connections = 16\n{text}")).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    let mut kept = home.client();
    let _ = kept.token(&name("acme")).unwrap();

    let mut silent = crowd(&home);
    let mut late = Peer::connect(&home);
    let heard = late.hear();
    assert!(matches!(&heard, Heard::Refusal(0, refusal) if refusal.code == RefusalCode::BUSY), "{heard:?}");
    assert!(matches!(late.hear(), Heard::Closed));
    let refused = home.command(["get", "acme"]).run().fails_with(14);
    let _ = refused.saying(&["hands full"]);
    let _ = kept.token(&name("acme")).expect("who is in already is served");

    silent.clear();
    let served = loop {
        // Until the daemon has noticed that they have left.
        let token =
            blocking::Client::connect(&home.options()).and_then(|mut client| client.token(&name("acme")));
        match token {
            Err(Error::Refused(refusal)) if refusal.code == RefusalCode::BUSY => {}
            other => break other,
        }
    };
    assert!(served.is_ok(), "{served:?}");
}

#[test]
fn half_open_peers_get_their_answers_and_no_more() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    // One that has said all it wants to say still hears the answers.
    let mut peer = Peer::connect(&home);
    for request_id in 1..=50 {
        peer.ask(request_id, &get());
    }
    peer.stop_sending();
    for _ in 1..=50 {
        let heard = peer.hear();
        assert!(matches!(heard, Heard::Answer(1..=50, Answer::Token(_))), "{heard:?}");
    }
    assert!(matches!(peer.hear(), Heard::Closed));
    // One that listens no more is left.
    for _ in 0..50 {
        let mut peer = Peer::connect(&home);
        peer.stop_listening();
        peer.ask(7, &get());
        peer.await_hang_up();
    }
    caller.is_still_served();
}

#[test]
fn clients_that_vanish_in_the_middle_of_an_answer_hurt_nobody() {
    let (home, _daemon) = serving();
    let caller = Caller::of(&home);
    for round in 0..500 {
        let mut peer = Peer::connect(&home);
        for request_id in 1..=round % 7 + 1 {
            peer.ask(request_id, if round % 2 == 0 { &Request::Status } else { &LIST });
        }
        if round % 3 == 0 {
            peer.taste();
        }
    }
    caller.is_still_served();
}

#[test]
fn clients_that_vanish_while_a_token_is_asked_for_cancel_nothing() {
    let home = Home::new(&["acme"]);
    let gate = Gate::before(home.sandbox().http_addr());
    let home = home.behind(gate.proxy_url());
    let _daemon = home.start();
    home.enrol("acme");
    for _ in 0..100 {
        Peer::connect(&home).ask(7, &get());
    }
    gate.await_knocks(1);
    gate.open();
    let _ = home.client().token(&name("acme")).expect("the request goes on");
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1);
}

#[test]
fn thousands_of_connects_leave_the_daemon_as_it_was() {
    let (home, daemon) = serving();
    let caller = Caller::of(&home);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).map(Iterator::count);
    for round in 0..5000 {
        let stream = UnixStream::connect(home.socket()).expect("the daemon accepts connections");
        if round % 5 == 0 {
            let mut peer = Peer::of(stream);
            peer.ask(7, &get());
            assert!(matches!(peer.hear(), Heard::Answer(7, Answer::Token(_))));
        }
    }
    caller.is_still_served();
    drop(caller);
    // The last ones are being closed; a daemon that kept them would never get below this.
    while descriptors().expect("root, or the same user, may count") > 40 {
        std::thread::yield_now();
    }
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
}

/// A home with `acme` enrolled and its token in memory.
fn serving() -> (Home, Daemon) {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let _ = home.client().token(&name("acme")).expect("a token");
    (home, daemon)
}

/// Silent connections until no place is left.
fn crowd(home: &Home) -> Vec<Peer> {
    let mut crowd = Vec::new();
    loop {
        let mut peer = Peer::connect(home);
        peer.ask(7, &Request::Status);
        match peer.hear() {
            Heard::Answer(..) => crowd.push(peer),
            Heard::Refusal(0, refusal) if refusal.code == RefusalCode::BUSY => return crowd,
            other => panic!("{other:?}"),
        }
    }
}

fn get() -> Request {
    Request::Get { name: name("acme"), min_ttl: Duration::ZERO, deadline: PATIENCE }
}

/// A frame with a sound head.
fn frame(kind: u8, request_id: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a body of a test");
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend([VERSION, kind]);
    frame.extend(request_id.to_le_bytes());
    frame.extend(body);
    frame
}

/// xorshift64: the same garbage in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

const LIST: Request = Request::List { after: None };
