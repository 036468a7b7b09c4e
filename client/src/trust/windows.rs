//! Windows: a pipe is owned by whoever made it first, and nobody can make it look like somebody else's. Believed are the
//! user's own, SYSTEM's and the administrators'. Who runs the process at its other end is not asked: its number proves
//! nothing, and only the owner of a pipe, or whom its access list lets, can listen on it.
//!
//! A path that is no pipe of this machine is not opened at all.

use std::io;
use std::path::{Path, PathBuf};

/// A connection of which can be told who listens at its other end.
pub(crate) use std::os::windows::io::AsHandle as Connected;

use procurify_token_windows::{Security, Sid, own_identity};

use super::{Distrust, Doubt};

/// A pipe of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name.
    pub(crate) socket: PathBuf,
}

impl Place {
    pub(crate) fn of(socket: &Path) -> io::Result<Self> {
        let name = socket.to_str().unwrap_or_default();
        let is_pipe = name.get(..PIPES.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PIPES));
        if !is_pipe || name.len() == PIPES.len() {
            let message = format!(r"name a pipe of this machine, {PIPES}NAME");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self { socket: socket.to_owned() })
    }

    /// Whether whoever listens may be believed.
    #[expect(clippy::unused_self, reason = "elsewhere the place is a part of the judgement")]
    pub(crate) fn meet(&self, stream: &impl Connected) -> Result<(), Doubt> {
        let owner = Security::of(stream).map_err(Doubt::Unknown)?.owner;
        let own = own_identity().map_err(Doubt::Unknown)?.user;
        judge(&owner, &own).map_err(Doubt::Distrust)
    }
}

fn judge(owner: &Sid, own: &Sid) -> Result<(), Distrust> {
    if owner == own || owner.is_system() || owner.is_administrators() {
        return Ok(());
    }
    Err(Distrust::StrangersPipe { owner: owner.to_string(), own: own.to_string() })
}

const PIPES: &str = r"\\.\pipe\";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_systems_and_the_administrators_pipes_are_believed() {
        let sid = |text: &str| Sid::of_text(text).unwrap();
        let (eve, mallory) = (sid("S-1-5-21-1-2-3-1000"), sid("S-1-5-21-1-2-3-1001"));
        for owner in [&eve, &sid("S-1-5-18"), &sid("S-1-5-32-544")] {
            assert_eq!(judge(owner, &eve), Ok(()));
        }
        // Nor are the local service, everybody, or plain users.
        for owner in [&mallory, &sid("S-1-5-19"), &sid("S-1-1-0"), &sid("S-1-5-32-545")] {
            let why = Distrust::StrangersPipe { owner: owner.to_string(), own: eve.to_string() };
            assert_eq!(judge(owner, &eve), Err(why));
        }
    }

    #[test]
    fn what_is_no_pipe_of_this_machine_is_not_opened() {
        for name in [r"\\.\pipe\a", r"\\.\PIPE\a"] {
            assert_eq!(Place::of(Path::new(name)).unwrap().socket, Path::new(name));
        }
        for name in [r"C:\a", r"\\server\pipe\a", r"\\.\pipe\", "a", "/run/a"] {
            assert_eq!(Place::of(Path::new(name)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }
}
