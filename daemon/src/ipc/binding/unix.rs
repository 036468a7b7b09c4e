//! Unix sockets.
//!
//! The folder and the lock beside the socket are checked first: a socket is only ever put where nobody else could have
//! put one, and a live daemon is never displaced.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::unix::uds_local_socket::tokio::Listener as UdSocket;
use rustix::io::FdFlags;

use super::{BindError, Door};
use crate::os;
use crate::principal::Principal;

/// A socket that a service manager has bound for this process.
#[derive(Debug)]
pub struct Inherited(UnixListener);

impl Inherited {
    /// Those that there are (`LISTEN_FDS`, see `sd_listen_fds(3)`).
    ///
    /// # Errors
    /// What was handed over is something else.
    pub fn from_environment() -> io::Result<Vec<Self>> {
        let mut given = listenfd::ListenFd::from_env();
        let taken = (0..given.len()).map(|at| given.take_unix_listener(at));
        taken.filter_map(io::Result::transpose).map(|socket| socket.map(Self)).collect()
    }

    /// Where it listens; empty where it has no name.
    pub fn path(&self) -> PathBuf {
        let address = self.0.local_addr().ok();
        address.and_then(|address| address.as_pathname().map(Path::to_owned)).unwrap_or_default()
    }

    pub(in crate::ipc) fn open(self) -> io::Result<LocalSocketListener> {
        let Self(socket) = self;
        // Handed over open, and not for programs that this one starts.
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        socket.set_nonblocking(true)?;
        UdSocket::try_from(OwnedFd::from(socket)).map(LocalSocketListener::UdSocket)
    }
}

/// Binds a socket, taking the place of one that a dead daemon left.
pub(in crate::ipc) fn bind(
    socket: &Path,
    door: Door,
) -> Result<(LocalSocketListener, Option<File>), BindError> {
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
    os::verify_socket_mode(socket, mode(door)).map_err(io)?;
    Ok((inner, Some(lock)))
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

/// Whether the socket's name was swept away.
pub(in crate::ipc) fn is_gone(socket: &Path) -> bool {
    fs::symlink_metadata(socket).is_err()
}

/// Asks the kernel who connected.
pub(in crate::ipc) fn identify(
    stream: &LocalSocketStream,
    groups_matter: impl Fn(&Principal) -> bool,
) -> io::Result<os::Identity> {
    let LocalSocketStream::UdSocket(socket) = stream;
    os::identify(socket, groups_matter)
}

/// The process that connected, where the system holds on to it.
pub(in crate::ipc) fn process_of(stream: &LocalSocketStream, pid: Option<i32>) -> Option<os::Process> {
    let LocalSocketStream::UdSocket(socket) = stream;
    os::Process::of_peer(socket, pid)
}

/// Nothing is said: to write nothing is the way to learn of it.
pub(in crate::ipc) fn has_hung_up(_: &LocalSocketStream) -> Option<bool> {
    None
}

fn mode(door: Door) -> u32 {
    match door {
        Door::Private => 0o600,
        Door::Open => 0o666,
    }
}

const LONGEST_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
