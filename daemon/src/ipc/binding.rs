//! How the place to listen at is taken, on each system, and what the system says of whoever connects there. The two files
//! export the same names.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[cfg(unix)]
pub use unix::Inherited;
#[cfg(unix)]
pub(super) use unix::{bind, has_hung_up, identify, is_gone, process_of};
#[cfg(windows)]
pub use windows::Inherited;
#[cfg(windows)]
pub(super) use windows::{bind, has_hung_up, identify, is_gone, process_of};

/// Who gets as far as the socket. What they may do there is for the access rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The daemon's own user, and root.
    Private,
    /// Whoever the folder lets through.
    Open,
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
    /// The name is not that of a pipe.
    #[error(r"{} names no pipe of this machine; choose one with --socket \\.\pipe\NAME", .0.display())]
    NotAPipe(PathBuf),
    /// The system refused.
    #[error("cannot listen on {}: {error}", .socket.display())]
    Io {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}
