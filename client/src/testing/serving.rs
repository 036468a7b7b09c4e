//! How the fake daemon is talked to: a thread with a runtime of its own, a task for each connection and for each request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
use procurify_token_protocol::codec::{self, DecodeError};
use procurify_token_protocol::frame::{FrameBuffer, MAX_REQUEST};
use procurify_token_protocol::{Answer, CredentialName, Refusal, RefusalCode, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::state::{State, refusal};
use super::{Asked, Shared, Watching};

/// Where it listens: a socket in the folder, or a pipe of the folder's name.
pub(crate) fn address(folder: &Path) -> PathBuf {
    if cfg!(windows) {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return PathBuf::from(format!(r"\\.\pipe\{name}"));
    }
    folder.join("tokend.sock")
}

/// Returns when somebody can connect.
pub(crate) fn start(
    shared: Arc<Shared>,
    socket: &Path,
    mut has_ended: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _within = runtime.enter();
        ListenerOptions::new().name(socket.to_fs_name::<GenericFilePath>()?).create_tokio()?
    };
    std::thread::Builder::new().name("fake procurify-tokend".to_owned()).spawn(move || {
        runtime.block_on(async move {
            tokio::select! {
                () = accept(shared, listener) => {}
                _ = has_ended.wait_for(|has_ended| *has_ended) => {}
            }
        });
    })
}

async fn accept(shared: Arc<Shared>, listener: Listener) {
    let mut connections = JoinSet::new();
    while let Ok(stream) = listener.accept().await {
        connections.spawn(converse(Arc::clone(&shared), stream));
    }
}

/// A frame, and the watch that it answers.
type Outgoing = (Zeroizing<Vec<u8>>, Option<Watching>);

async fn converse(shared: Arc<Shared>, stream: Stream) {
    let mut incoming = FrameBuffer::new(MAX_REQUEST);
    let (replies, mut written) = mpsc::unbounded_channel::<Outgoing>();
    let mut answering = JoinSet::new();
    loop {
        loop {
            let (id, request) = match incoming.next_frame() {
                Ok(Some(frame)) => (frame.request_id, codec::decode_request(frame)),
                Ok(None) => break,
                Err(_) => return,
            };
            match request {
                Ok(request) => answering.spawn(reply(Arc::clone(&shared), id, request, replies.clone())),
                Err(DecodeError::UnknownRequest) => {
                    shared.state().asked.push(Asked::Other);
                    send(&replies, id, &Err(refusal(RefusalCode::UNKNOWN_REQUEST)), None);
                    continue;
                }
                Err(_) => return,
            };
        }
        tokio::select! {
            Some((frame, _watching)) = written.recv() => if (&stream).write_all(&frame).await.is_err() { return },
            read = read_some(&stream, &mut incoming) => match read {
                Ok(count @ 1..) => incoming.filled(count),
                _ => return,
            },
            Some(_) = answering.join_next() => {}
        }
    }
}

async fn read_some(mut stream: &Stream, incoming: &mut FrameBuffer) -> io::Result<usize> {
    stream.read(incoming.space()).await
}

async fn reply(shared: Arc<Shared>, id: u16, request: Request, replies: mpsc::UnboundedSender<Outgoing>) {
    let mut watching = None;
    let outcome = match request {
        Request::Get { name, deadline, .. } => {
            shared.state().asked.push(Asked::Get(name.clone()));
            let late = Err(refusal(RefusalCode::DEADLINE));
            until(&shared, deadline, |state| state.token(&name)).await.unwrap_or(late)
        }
        Request::Watch { name, seen, deadline } => {
            watching = Some(Watching::new(&shared, name.clone()));
            match until(&shared, deadline, |state| state.watched(&name, seen)).await {
                Some(outcome) => outcome,
                None => unchanged(&shared.state(), &name),
            }
        }
        Request::Invalidate { name, fingerprint } => {
            let mut outcome = Ok(Answer::Done);
            shared.change(|state| {
                state.asked.push(Asked::Invalidate(name.clone(), fingerprint));
                outcome = state.invalidate(&name, fingerprint);
            });
            outcome
        }
        _ => {
            shared.state().asked.push(Asked::Other);
            Err(refusal(RefusalCode::UNKNOWN_REQUEST))
        }
    };
    send(&replies, id, &outcome, watching);
}

fn unchanged(state: &State, name: &CredentialName) -> Result<Answer, Refusal> {
    state.watched(name, None).unwrap_or_else(|| Err(refusal(RefusalCode::INTERNAL)))
}

/// What there is to say, as soon as there is something; `None` at the deadline.
async fn until<T>(
    shared: &Shared,
    deadline: Duration,
    mut look: impl FnMut(&State) -> Option<T>,
) -> Option<T> {
    let mut changed = shared.changed.subscribe();
    let waiting = async {
        loop {
            changed.mark_unchanged();
            if let Some(found) = look(&shared.state()) {
                return Some(found);
            }
            changed.changed().await.ok()?;
        }
    };
    tokio::time::timeout(deadline, waiting).await.ok().flatten()
}

fn send(
    replies: &mpsc::UnboundedSender<Outgoing>,
    id: u16,
    outcome: &Result<Answer, Refusal>,
    watching: Option<Watching>,
) {
    if let Ok(frame) = codec::encode_reply(id, outcome) {
        let _ = replies.send((frame, watching));
    }
}
