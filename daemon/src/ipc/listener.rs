//! Binding the socket and accepting callers.
//!
//! The folder and the lock beside the socket are checked first: a socket is only ever put where nobody else could have
//! put one, and a live daemon is never displaced.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::unix::uds_local_socket::tokio::Listener as UdSocket;
use procurify_token_protocol::codec;
use rustix::io::FdFlags;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::places::{Places, Standing};
use super::session::{Caller, Origin, Service, converse};
use crate::access::{LookAt, Peer};
use crate::clock::Clock;
use crate::{explain, os};

/// A bound socket. Its file goes when this is dropped, unless a service manager has bound it.
#[derive(Debug)]
pub struct Listener {
    inner: LocalSocketListener,
    /// How many more callers can be served, on this and the daemon's other sockets.
    places: Arc<Places>,
    callers: TaskTracker,
    socket: PathBuf,
    door: Door,
    /// Of a socket that this process has bound: the right to its name.
    lock: Option<File>,
}

/// Who gets as far as the socket. What they may do there is for the access rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The daemon's own user, and root.
    Private,
    /// Whoever the folder lets through.
    Open,
}

impl Door {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Open => 0o666,
        }
    }
}

/// Why a socket cannot be bound.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another daemon listens there.
    #[error("another procurify-tokend listens on {}; ask it: procurify-token status", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has the socket's name.
    #[error("{} exists and is not a socket; move it away or choose another place with --socket", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit into a socket address.
    #[error("{} is too long for a socket (about 100 bytes fit); choose a shorter one with --socket", .0.display())]
    TooLong(PathBuf),
    /// The system refused.
    #[error("cannot listen on {}: {error}", .socket.display())]
    Io {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Listener {
    /// Binds the socket, taking the place of a socket that a dead daemon left.
    ///
    /// Must be called within a tokio runtime. Each caller takes one of the `places` while it is served.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub fn bind(socket: &Path, door: Door, places: &Arc<Places>) -> Result<Self, BindError> {
        let (inner, lock) = bind(socket, door)?;
        let (socket, places) = (socket.to_owned(), Arc::clone(places));
        Ok(Self { inner, socket, door, places, callers: TaskTracker::new(), lock: Some(lock) })
    }

    /// Takes over a socket that a service manager has bound and keeps over restarts: whoever connects meanwhile waits in it, and
    /// its mode is the service manager's affair.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError::Io`].
    pub fn inherit(socket: UnixListener, places: &Arc<Places>) -> Result<Self, BindError> {
        let address = socket.local_addr().ok();
        let path = address.and_then(|address| address.as_pathname().map(Path::to_owned)).unwrap_or_default();
        // Handed over open, and not for programs that this one starts.
        let kept = rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(io::Error::from);
        let inner = kept.and_then(|()| socket.set_nonblocking(true));
        let inner = inner.and_then(|()| UdSocket::try_from(OwnedFd::from(socket)));
        let inner = inner.map_err(|error| BindError::Io { socket: path.clone(), error })?;
        let (inner, places) = (LocalSocketListener::UdSocket(inner), Arc::clone(places));
        Ok(Self { inner, socket: path, door: Door::Open, places, callers: TaskTracker::new(), lock: None })
    }

    /// Accepts callers for ever, a task for each.
    async fn accept<C: Clock>(&self, service: &Arc<Service<C>>) {
        let (mut is_failing, mut in_a_row) = (false, 0_usize);
        loop {
            match self.inner.accept().await {
                Ok(stream) => {
                    is_failing = false;
                    self.receive(stream, service).await;
                    in_a_row += 1;
                    if in_a_row % AT_ONCE == 0 && self.places.are_shared() {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    // The system is out of descriptors or of memory: those who are being served will leave. Said once.
                    if !is_failing {
                        warn!(%error, "cannot accept a connection; where descriptors are short, raise LimitNOFILE= or lower max-connections");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts nobody any more, and gives the socket's name up. What is left are the callers to wait for.
    pub fn close(self) -> TaskTracker {
        self.callers.close();
        self.callers
    }

    fn mend(&mut self) {
        let Some(lock) = &self.lock else { return };
        if fs::symlink_metadata(&self.socket).is_ok() {
            return;
        }
        // The lock is ours already, and would keep us out ourselves.
        let _ = lock.unlock();
        match bind(&self.socket, self.door) {
            Ok((inner, lock)) => {
                warn!(socket = %self.socket.display(), "the socket was gone, and is back");
                // The old one would take the new one's name along when it goes.
                self.inner.do_not_reclaim_name_on_drop();
                (self.inner, self.lock) = (inner, Some(lock));
            }
            Err(problem) => debug!("the socket is gone: {problem}"),
        }
    }

    async fn receive<C: Clock>(&self, stream: LocalSocketStream, service: &Arc<Service<C>>) {
        let LocalSocketStream::UdSocket(socket) = &stream;
        let access = Arc::clone(&service.access.borrow());
        let identity = os::identify(socket, |uid| !access.is_unlimited_user(uid)).unwrap_or_default();
        let os::Identity { uid, pid, groups } = identity;
        let peer = Peer { uid, pid, groups, ..Peer::default() };
        let standing = if access.may_know(&peer) { Standing::Known } else { Standing::Stranger };
        let process =
            (access.looks_at(&peer) != LookAt::default()).then(|| os::Process::of_peer(socket, pid));
        let service = Arc::clone(service);
        let Some(place) = self.places.take(uid, standing) else {
            debug!(uid = peer.uid, pid = peer.pid, "turned away: every place is taken");
            // At once: a crowd of them must not take descriptors from those who are served. What is said fits into a new socket.
            return turn_away(stream).await;
        };
        let caller = Caller { peer, process: process.flatten().map(Arc::new), place: Some(place) };
        self.callers.spawn(converse(stream, caller, service));
    }
}

/// Serves at these sockets for ever. One whose name was swept away gets it back.
pub async fn serve<C: Clock>(listeners: &mut [Listener], service: &Arc<Service<C>>) {
    loop {
        let accepting = join_all(listeners.iter().map(|listener| listener.accept(service)));
        tokio::select! {
            _ = accepting => {}
            () = C::nap(SWEEP) => {}
        }
        listeners.iter_mut().for_each(Listener::mend);
    }
}

impl Origin for LocalSocketStream {
    fn process(&self, pid: Option<i32>) -> Option<os::Process> {
        let Self::UdSocket(socket) = self;
        os::Process::of_peer(socket, pid)
    }
}

async fn turn_away(mut stream: LocalSocketStream) {
    if let Ok(frame) = codec::encode_reply(0, &Err(explain::busy())) {
        let _ = tokio::time::timeout(ACCEPT_PAUSE, stream.write_all(&frame)).await;
    }
}

fn bind(socket: &Path, door: Door) -> Result<(LocalSocketListener, File), BindError> {
    let io = |error| BindError::Io { socket: socket.to_owned(), error };
    if socket.as_os_str().len() > LONGEST_PATH {
        return Err(BindError::TooLong(socket.to_owned()));
    }
    if let Some(folder) = socket.parent() {
        os::make_private_folder(folder, door == Door::Open).map_err(io)?;
    }
    let lock = lock_beside(socket)?;
    // Whoever left this socket holds no lock any more, so it is dead.
    match fs::symlink_metadata(socket) {
        Ok(metadata) if os::is_socket(&metadata) => fs::remove_file(socket).map_err(io)?,
        Ok(_) => return Err(BindError::NotASocket(socket.to_owned())),
        Err(_) => {}
    }
    let name = socket.to_fs_name::<GenericFilePath>().map_err(io)?;
    let inner = ListenerOptions::new().name(name).create_tokio().map_err(io)?;
    os::verify_socket_mode(socket, door.mode()).map_err(io)?;
    Ok((inner, lock))
}

fn lock_beside(socket: &Path) -> Result<File, BindError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let io = |error| BindError::Io { socket: socket.to_owned(), error };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::InUse(socket.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

const LONGEST_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// How often to look whether the sockets still have their names.
const SWEEP: Duration = Duration::from_mins(1);
/// So many are let in before those who are in are served.
const AT_ONCE: usize = 4;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
