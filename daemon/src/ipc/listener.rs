//! Binding the socket and accepting callers.
//!
//! The folder and the lock beside the socket are checked first: a socket is only ever put where nobody else could have
//! put one, and a live daemon is never displaced.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use procurify_token_protocol::codec;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::places::{Places, Standing};
use super::session::{Caller, Service, converse};
use crate::access::{LookAt, Peer};
use crate::audit::Keep;
use crate::clock::Clock;
use crate::{explain, os};

/// A bound socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    inner: LocalSocketListener,
    /// How many more callers can be served, on this and the daemon's other sockets.
    places: Arc<Places>,
    callers: TaskTracker,
    socket: PathBuf,
    door: Door,
    lock: File,
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
        Ok(Self { inner, socket, door, places, callers: TaskTracker::new(), lock })
    }

    /// Accepts callers for ever, a task for each. A socket whose name was swept away gets it back.
    pub async fn serve<C: Clock>(&mut self, service: Arc<Service<C>>) {
        loop {
            let accepted = tokio::time::timeout(SWEEP, self.inner.accept()).await;
            match accepted {
                Ok(Ok(stream)) => self.receive(stream, &service),
                Ok(Err(error)) => {
                    // Out of descriptors, most likely: those who are being served will leave.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Err(_) => self.mend(),
            }
        }
    }

    /// Accepts nobody any more, and gives the socket's name up. What is left are the callers to wait for.
    pub fn close(self) -> TaskTracker {
        self.callers.close();
        self.callers
    }

    fn mend(&mut self) {
        if fs::symlink_metadata(&self.socket).is_ok() {
            return;
        }
        // The lock is ours already, and would keep us out ourselves.
        let _ = self.lock.unlock();
        match bind(&self.socket, self.door) {
            Ok((inner, lock)) => {
                warn!(socket = %self.socket.display(), "the socket was gone, and is back");
                // The old one would take the new one's name along when it goes.
                self.inner.do_not_reclaim_name_on_drop();
                (self.inner, self.lock) = (inner, lock);
            }
            Err(problem) => debug!("the socket is gone: {problem}"),
        }
    }

    fn receive<C: Clock>(&self, stream: LocalSocketStream, service: &Arc<Service<C>>) {
        let LocalSocketStream::UdSocket(socket) = &stream;
        let identity = os::identify(socket).unwrap_or_default();
        let os::Identity { uid, pid, groups } = identity;
        let peer = Peer { uid, pid, groups, ..Peer::default() };
        let access = Arc::clone(&service.access.borrow());
        let standing = if access.may_know(&peer) { Standing::Known } else { Standing::Stranger };
        let is_looked_at = access.looks_at(&peer) != LookAt::default() || service.audit.keep() != Keep::Off;
        let process = is_looked_at.then(|| os::Process::of_peer(socket, pid));
        let service = Arc::clone(service);
        let Some(place) = self.places.take(uid, standing) else {
            debug!(uid = peer.uid, pid = peer.pid, "turned away: every place is taken");
            tokio::spawn(turn_away(stream));
            return;
        };
        self.callers.spawn(async move {
            converse(stream, Caller { peer, process: process.flatten().map(Arc::new) }, service).await;
            drop(place);
        });
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
        os::make_private_folder(folder).map_err(io)?;
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
/// How often the listener looks whether its socket still has its name.
const SWEEP: Duration = Duration::from_mins(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
