//! Two kinds of peers: a raw one, which may send whatever it likes, and a well-behaved one, which keeps asking.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::protocol::codec::{self, DecodeError};
use procurify_token_tests::protocol::frame::{FrameBuffer, FrameError, Kind, MAX_ANSWER};
use procurify_token_tests::protocol::{Answer, Refusal, Request};
use procurify_token_tests::{Home, PATIENCE, name, text_of};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A connection on which anything may be sent.
pub(crate) struct Peer {
    stream: UnixStream,
    buffer: FrameBuffer,
}

/// What a raw peer gets to hear.
#[derive(Debug)]
pub(crate) enum Heard {
    Answer(u16, Answer),
    Refusal(u16, Refusal),
    Versions {
        request_id: u16,
        oldest: u8,
        newest: u8,
    },
    /// The daemon closed the connection.
    Closed,
}

impl Peer {
    pub(crate) fn connect(home: &Home) -> Self {
        Self::of(UnixStream::connect(home.socket()).expect("the daemon accepts connections"))
    }

    pub(crate) fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { stream, buffer: FrameBuffer::new(MAX_ANSWER) }
    }

    /// Sends as much as the daemon takes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // It may have hung up already, which is its answer.
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn ask(&mut self, request_id: u16, request: &Request) {
        self.send(&codec::encode_request(request_id, request).expect("the request fits"));
    }

    /// Sends until nothing more fits, without ever reading.
    pub(crate) fn stuff(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a socket can be told not to block");
        let mut sent = 0;
        while let Ok(count) = self.stream.write(bytes) {
            sent += count;
        }
        sent
    }

    pub(crate) fn stop_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn stop_listening(&self) {
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    /// Reads a single byte.
    pub(crate) fn taste(&mut self) {
        let _ = self.stream.read(&mut [0]);
    }

    /// The next thing that the daemon says.
    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            match self.buffer.next_frame() {
                Ok(Some(frame)) => {
                    let request_id = frame.request_id;
                    assert_ne!(frame.kind, Kind::Request, "a daemon asks nothing");
                    return match codec::decode_reply(frame) {
                        Ok(Ok(answer)) => Heard::Answer(request_id, answer),
                        Ok(Err(refusal)) => Heard::Refusal(request_id, refusal),
                        Err(DecodeError::Versions { oldest, newest }) => {
                            Heard::Versions { request_id, oldest, newest }
                        }
                        Err(error) => panic!("the daemon speaks nonsense: {error}"),
                    };
                }
                Ok(None) => {}
                Err(error @ (FrameError::TooLong | FrameError::Malformed | FrameError::Version { .. })) => {
                    panic!("the daemon speaks nonsense: {error}")
                }
            }
            match self.stream.read(self.buffer.space()) {
                Ok(0) => return Heard::Closed,
                Ok(count) => self.buffer.filled(count),
                Err(error) if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()) => {
                    return Heard::Closed;
                }
                Err(error) => panic!("the daemon neither answers nor closes: {error}"),
            }
        }
    }

    /// Waits until the daemon has closed the connection, without reading what it said.
    pub(crate) fn await_hang_up(&self) {
        let limit = Timespec::try_from(PATIENCE).expect("a limit of less than centuries");
        let mut ended = [PollFd::new(&self.stream, PollFlags::empty())];
        let count = poll(&mut ended, Some(&limit)).expect("a socket can be polled");
        assert!(count == 1 && ended[0].revents().contains(PollFlags::HUP), "the daemon does not hang up");
    }
}

/// Somebody who does everything right, and asks for the token of `acme` again and again: on a connection that it keeps
/// and on new ones. Every answer has to be the token.
pub(crate) struct Caller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    leave: AtomicBool,
    answered: Mutex<usize>,
    more: Condvar,
}

impl Caller {
    pub(crate) fn of(home: &Home) -> Self {
        let options = home.options();
        let mut kept = home.client();
        let token = text_of(&kept.token(&name("acme")).expect("a token"));
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !mine.leave.load(Ordering::Relaxed) {
                let mut fresh = Client::connect(&options).expect("the daemon opens to a well-behaved caller");
                for client in [&mut kept, &mut fresh] {
                    let grant = client.token(&name("acme")).expect("a well-behaved caller is answered");
                    assert_eq!(text_of(&grant), token);
                }
                *mine.answered.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                mine.more.notify_all();
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Waits until it was answered anew: on both connections, and asked after this was called.
    #[track_caller]
    pub(crate) fn is_still_served(&self) {
        let answered = self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *answered + 2;
        let is_alive = || self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        let waited = self
            .shared
            .more
            .wait_timeout_while(answered, PATIENCE, |answered| *answered < enough && is_alive());
        let answered = *waited.unwrap_or_else(PoisonError::into_inner).0;
        assert!(answered >= enough, "the well-behaved caller is no longer answered");
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.shared.leave.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        assert!(ended.is_ok() || thread::panicking(), "the well-behaved caller was not answered");
    }
}
