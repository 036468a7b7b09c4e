//! Whether who listens on a socket may be believed to be the daemon. Each system has its own way to tell who that is,
//! and its own rule: both are in the file of that system, and the two files export the same names.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[cfg(unix)]
pub(crate) use unix::{Connected, Place};
#[cfg(windows)]
pub(crate) use windows::{Connected, Place};

/// What is wrong with a socket.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Distrust {
    /// Others than its owner may write in the socket's folder.
    #[error("the socket's folder has mode {mode:04o}; nobody but its owner may be able to write there")]
    WritableFolder {
        /// The folder, without symbolic links.
        folder: PathBuf,
        /// Its owner's uid.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// The listener runs as somebody else.
    #[error(
        "the listener runs as uid {peer}; it has to run as uid {own}, as root, or as the owner of a folder \
         that nobody but root could have made"
    )]
    Stranger {
        /// As whom the listener runs.
        peer: u32,
        /// As whom this program runs.
        own: u32,
        /// The socket's folder, without symbolic links.
        folder: PathBuf,
        /// Its owner's uid.
        owner: u32,
    },
    /// The pipe is somebody else's.
    #[error(
        "the pipe belongs to {owner}; it has to be {own}'s, who runs this program, or SYSTEM's or the administrators'"
    )]
    StrangersPipe {
        /// The SID of its owner.
        owner: String,
        /// The SID as which this program runs.
        own: String,
    },
}

/// Why a connection is not used.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// Somebody listens who is not believed.
    Distrust(Distrust),
    /// As many as there is room for are waiting already.
    #[cfg_attr(windows, expect(dead_code, reason = "one learns of it there when connecting"))]
    Crowd,
    /// The system does not say who listens.
    Unknown(io::Error),
}
