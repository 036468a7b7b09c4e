//! Today's client and command against daemons that are not today's: of other versions, with answers and codes that nobody knows
//! yet, and such as are no daemon at all. Each ends with an error that says what to do, never with a panic, and never by waiting.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use procurify_token_tests::client::{Client, Error, ProtocolError, RefusalCode, blocking};
use procurify_token_tests::protocol::codec::DecodeError;
use procurify_token_tests::protocol::frame::FrameError;
use procurify_token_tests::protocol::{RefusalClass, Request};
use procurify_token_tests::{Home, PATIENCE, name};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_of_another_version_is_told_from_an_older_and_a_newer_client() {
    let home = Home::new(&[]);
    let daemon = OtherDaemon::start(&home);
    let client_is_older = "the client is the older one: update the program that it is part of";
    let daemon_is_older = "the daemon is the older one: update procurify-tokend and restart it";
    for (reply, range, said, older) in [
        (Reply::of(2, 0, &[2, 3]), (2, 3), "versions 2 to 3", client_is_older),
        (Reply::of(255, 0, &[255, 255]), (255, 255), "version 255", client_is_older),
        (Reply::of(0, 0, &[0, 0]), (0, 0), "version 0", daemon_is_older),
        // Whichever request it is for, and whatever a later version adds behind it.
        (Reply::of(3, 0, &[2, 3, 9]).to(0), (2, 3), "versions 2 to 3", client_is_older),
        (Reply::of(3, 0, &[2, 3]).to(999), (2, 3), "versions 2 to 3", client_is_older),
        // It answers as if it had understood.
        (Reply::of(2, 2, &[0]), (2, 2), "version 2", client_is_older),
        (Reply::of(9, 77, &[]), (9, 9), "version 9", client_is_older),
    ] {
        for error in daemon.errors(&home, reply).await {
            let message = error.to_string();
            let Error::Version { oldest, newest } = error else { panic!("{error:?}") };
            assert_eq!((oldest, newest), range);
            assert!(
                message.contains(&format!("the daemon speaks {said} of the protocol, this client version 1"))
            );
            assert!(message.contains(older), "{message}");
        }
    }

    daemon.says(Reply::of(2, 0, &[2, 3]));
    let newer = home.command(["list"]).run().fails_with(1);
    newer.saying(&["the daemon speaks versions 2 to 3", "\nhint: update procurify-token\n"]);
    daemon.says(Reply::of(0, 0, &[0, 0]));
    let older = home.command(["list"]).run().fails_with(1);
    older.saying(&[
        "the daemon speaks version 0",
        "\nhint: update procurify-tokend, then: procurify-token stop\n",
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_denies_the_version_that_it_speaks_is_not_believed() {
    let home = Home::new(&[]);
    let daemon = OtherDaemon::start(&home);
    for range in [[1, 1], [0, 9], [1, 2], [3, 2]] {
        for error in daemon.errors(&home, Reply::of(1, 0, &range)).await {
            let denied = DecodeError::Versions { oldest: range[0], newest: range[1] };
            assert!(is_body(&error, denied), "{error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_nobody_knows_is_treated_by_its_hundreds() {
    let home = Home::new(&[]);
    let daemon = OtherDaemon::start(&home);
    for (code, class, is_transient, exit_code) in [
        (199_u16, RefusalClass::Request, false, 1),
        (299, RefusalClass::Denied, false, 6),
        (399, RefusalClass::Vault, false, 13),
        (499, RefusalClass::Credential, false, 12),
        (599, RefusalClass::Rejected, false, 8),
        (699, RefusalClass::Unavailable, true, 9),
        (799, RefusalClass::Internal, false, 1),
        (65_535, RefusalClass::Internal, false, 1),
    ] {
        let body = [&[251][..], &code.to_le_bytes(), b"\x01\x02\x00\x03new\x07do that"].concat();
        let reply = Reply::of(1, 3, &body);
        for error in daemon.errors(&home, reply.clone()).await {
            assert_eq!(error.is_transient(), is_transient, "{code}");
            let Error::Refused(refusal) = error else { panic!("{error:?}") };
            assert_eq!((refusal.code.number(), refusal.code.class()), (code, class));
            assert_eq!(refusal.retry_after, Some(Duration::from_secs(2)));
            assert_eq!((refusal.message.as_str(), refusal.advice.as_str()), ("new", "do that"));
        }
        daemon.says(reply);
        let typed = home.command(["list"]).run().fails_with(exit_code);
        typed.saying(&["procurify-token: new", "hint: do that"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_knows_is_an_error_that_says_what_to_do() {
    let home = Home::new(&[]);
    let daemon = OtherDaemon::start(&home);
    let longer = [STATUS, &[0]].concat();
    for body in [&[14][..], &[200], &[251, 0, 1, 7], &[252, 0xff, 0xff, 0xff, 0xff], &[], &longer, &[4, 0]] {
        for error in daemon.errors(&home, Reply::of(1, 2, body)).await {
            assert!(is_body(&error, DecodeError::Malformed), "{body:?}: {error:?}");
            assert!(error.to_string().contains("use the same release of both"), "{error}");
        }
    }
    // A request from a daemon, a refusal with a field too many, a broken one.
    for (kind, body) in [(1, &[4][..]), (3, b"\x64\x00\x00\x00\x00"), (3, &[100]), (0, &[2])] {
        for error in daemon.errors(&home, Reply::of(1, kind, body)).await {
            assert!(is_body(&error, DecodeError::Malformed), "{kind} {body:?}: {error:?}");
        }
    }
    // An answer, but to another request.
    for reply in [Reply::of(1, 2, &[0]), Reply::of(1, 2, STATUS).to(999), Reply::of(1, 2, STATUS).to(0)] {
        for error in daemon.errors(&home, reply).await {
            let is_it = matches!(&error, Error::Protocol(ProtocolError::UnexpectedAnswer));
            assert!(is_it && error.to_string().contains("use the same release of both"), "{error:?}");
        }
    }

    daemon.says(Reply::of(1, 2, &[14]));
    let typed = home.command(["list"]).run().fails_with(1);
    typed
        .saying(&["answers what this command does not understand", "hint: install the same release of both"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_daemon_at_all_is_an_error() {
    let home = Home::new(&[]);
    let daemon = OtherDaemon::start(&home);
    for (bytes, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], FrameError::TooLong),
        (&[0xff; 8], FrameError::TooLong),
        (&[3, 0, 0, 0], FrameError::Malformed),
        (&[0; 64], FrameError::Malformed),
        (&[4, 0, 0, 0, 1, 4, 1, 0], FrameError::Malformed),
    ] {
        for error in daemon.errors(&home, Reply::raw(bytes)).await {
            assert!(matches!(error, Error::Protocol(ProtocolError::Frame(said)) if said == why), "{error:?}");
        }
    }
    for bytes in [&b""[..], &[5], &[5, 0, 0, 0, 1, 2, 1, 0]] {
        for error in daemon.errors(&home, Reply::raw(bytes).and_closes()).await {
            assert!(matches!(error, Error::Connection(_)), "{bytes:?}: {error:?}");
        }
    }
    daemon.says(Reply::raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let typed = home.command(["list"]).run().fails_with(1);
    typed.saying(&["what answers on the socket is not a procurify-tokend"]);

    // One that says nothing, or never comes to an end, is waited for until the deadline and no longer.
    let soon = Duration::from_millis(50);
    for silent in [&b""[..], &[5, 0, 0, 0, 1, 2]] {
        daemon.says(Reply::raw(silent));
        let blocking = blocking::Client::connect(&home.options()).unwrap().request(&Request::Status, soon);
        let client = Client::connect(&home.options()).await.unwrap();
        for outcome in [blocking, client.request(&Request::Status, soon).await] {
            assert!(matches!(outcome, Err(Error::Deadline)), "{outcome:?}");
        }
    }
}

/// What an older daemon says to a newer client's request: that is told, and the connection is of use.
#[test]
fn a_daemon_that_does_not_know_a_request_is_asked_others() {
    let home = Home::new(&[]);
    let daemon = OtherDaemon::start(&home);
    let mut client = home.client();
    daemon.says(Reply::of(1, 3, b"\x66\x00\x10not that request\x06update"));
    let refused = client.request(&Request::Examine, PATIENCE);
    assert!(matches!(refused, Err(Error::Refused(refusal)) if refusal.code == RefusalCode::UNKNOWN_REQUEST));
    daemon.says(Reply::of(1, 2, STATUS));
    assert_eq!(client.status().unwrap().pid, 1);
    assert_eq!(daemon.connections(), 1);
}

fn is_body(error: &Error, why: DecodeError) -> bool {
    matches!(error, Error::Protocol(ProtocolError::Body(said)) if *said == why)
}

/// Somebody who listens where a daemon is meant to be, and says the same to every request.
struct OtherDaemon(Arc<Mutex<Saying>>);

#[derive(Default)]
struct Saying {
    reply: Reply,
    connections: usize,
}

#[derive(Clone, Default)]
struct Reply {
    bytes: Vec<u8>,
    /// Under the id of the request, unless it has one of its own.
    is_addressed: bool,
    closes: bool,
}

impl Reply {
    fn of(version: u8, kind: u8, body: &[u8]) -> Self {
        let length = u32::try_from(4 + body.len()).unwrap().to_le_bytes();
        let bytes = [&length[..], &[version, kind, 0, 0], body].concat();
        Self { bytes, is_addressed: true, closes: false }
    }

    fn raw(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::default() }
    }

    fn to(mut self, request_id: u16) -> Self {
        self.bytes[6..8].copy_from_slice(&request_id.to_le_bytes());
        Self { is_addressed: false, ..self }
    }

    fn and_closes(self) -> Self {
        Self { closes: true, ..self }
    }
}

impl OtherDaemon {
    fn start(home: &Home) -> Self {
        let socket = home.socket();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let saying = Arc::new(Mutex::new(Saying::default()));
        let shared = Arc::clone(&saying);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                shared.lock().unwrap().connections += 1;
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self(saying)
    }

    fn says(&self, reply: Reply) {
        self.0.lock().unwrap().reply = reply;
    }

    fn connections(&self) -> usize {
        self.0.lock().unwrap().connections
    }

    /// What the blocking client and the async one make of a reply; both are of use after it.
    async fn errors(&self, home: &Home, reply: Reply) -> [Error; 2] {
        let (mut blocking, client) = (home.client(), home.async_client().await);
        self.says(reply.clone());
        let errors = [blocking.status().unwrap_err(), client.status().await.unwrap_err()];
        // A token is no other matter.
        assert!(blocking.token(&name("acme")).is_err() && client.token(&name("acme")).await.is_err());
        self.says(Reply::of(1, 2, STATUS));
        assert_eq!((blocking.status().unwrap().pid, client.status().await.unwrap().pid), (1, 1));
        errors
    }
}

fn serve(mut stream: UnixStream, saying: &Mutex<Saying>) {
    let mut head = [0; 8];
    while stream.read_exact(&mut head).is_ok() {
        let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize - 4];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let Reply { mut bytes, is_addressed, closes } = saying.lock().unwrap().reply.clone();
        if is_addressed {
            bytes[6..8].copy_from_slice(&head[6..8]);
        }
        if stream.write_all(&bytes).is_err() || closes {
            return;
        }
    }
}

/// A status of process 1, with everything else that is least.
const STATUS: &[u8] = &[4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
