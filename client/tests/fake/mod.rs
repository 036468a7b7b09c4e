//! A daemon that follows a script: a thread behind a real socket that speaks through the protocol crate.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use procurify_token_client::protocol::codec;
use procurify_token_client::protocol::frame::{FrameBuffer, MAX_REQUEST};
use procurify_token_client::{
    AccessToken, Answer, CredentialName, Fingerprint, Options, Refusal, RefusalCode, Request, TokenGrant,
};
use tempfile::TempDir;

/// A private folder with a place for a socket.
pub(crate) struct Place {
    folder: TempDir,
    socket: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tokend.sock");
        Self { folder, socket }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn options(&self) -> Options {
        Options::new().socket(&self.socket).without_cache()
    }

    /// Listens from now on and follows the script. Join it last: it ends only when the client did its part.
    pub(crate) fn daemon(&self, script: impl FnOnce(Listener) + Send + 'static) -> JoinHandle<()> {
        let listener = Listener::bind(&self.socket);
        std::thread::spawn(move || script(listener))
    }
}

pub(crate) struct Listener {
    listener: UnixListener,
    socket: PathBuf,
}

impl Listener {
    pub(crate) fn bind(socket: &Path) -> Self {
        Self { listener: UnixListener::bind(socket).unwrap(), socket: socket.to_owned() }
    }

    pub(crate) fn accept(&self) -> Wire {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Wire { stream, incoming: FrameBuffer::new(MAX_REQUEST) }
    }

    /// Stops listening, removes the socket, hangs up, and starts again.
    pub(crate) fn restart(self, wire: Wire) -> Self {
        let Self { listener, socket } = self;
        fs::remove_file(&socket).unwrap();
        drop(listener);
        drop(wire);
        Self::bind(&socket)
    }
}

pub(crate) struct Wire {
    stream: UnixStream,
    incoming: FrameBuffer,
}

impl Wire {
    pub(crate) fn request(&mut self) -> (u16, Request) {
        loop {
            if let Some(frame) = self.incoming.next_frame().unwrap() {
                let id = frame.request_id;
                return (id, codec::decode_request(frame).unwrap());
            }
            let count = self.stream.read(self.incoming.space()).unwrap();
            assert!(count > 0, "the client hung up");
            self.incoming.filled(count);
        }
    }

    pub(crate) fn get(&mut self) -> (u16, CredentialName) {
        match self.request() {
            (id, Request::Get { name, .. }) => (id, name),
            other => panic!("not a get: {other:?}"),
        }
    }

    pub(crate) fn request_is_status(&mut self) {
        let (id, request) = self.request();
        assert!(matches!(request, Request::Status), "{request:?}");
        self.answer(id, Answer::Done);
    }

    pub(crate) fn answer(&mut self, id: u16, answer: Answer) {
        self.raw(&codec::encode_reply(id, &Ok(answer)).unwrap());
    }

    pub(crate) fn refuse(&mut self, id: u16, refusal: Refusal) {
        self.raw(&codec::encode_reply(id, &Err(refusal)).unwrap());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
}

pub(crate) fn name(name: &str) -> CredentialName {
    name.parse().unwrap()
}

/// A token whose fingerprint tells it from others.
pub(crate) fn token(number: u8) -> Answer {
    let token = AccessToken::new("token".into(), fingerprint(number), chrono::DateTime::UNIX_EPOCH).unwrap();
    Answer::Token(TokenGrant { token: token.into(), base_url: "https://acme.procurify.com".parse().unwrap() })
}

pub(crate) fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; 8])
}

pub(crate) fn refusal(code: RefusalCode) -> Refusal {
    Refusal { code, retry_after: None, message: "no".into(), advice: "ask again".into() }
}
