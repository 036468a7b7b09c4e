//! Unix: the judgement is over plain data: who owns the folders, and as whom the listener runs. Believed are root, the
//! user's own processes, and the owner of the socket's folder where only root could have given it to him: below
//! `/run`, not below `/tmp`. The folder itself must be writable by nobody but its owner, or the socket could be
//! anybody's.
//!
//! It is the *running process* that is judged, by the credentials that the kernel noted when it began to listen; a
//! socket that a service manager opened for the daemon is root's. The kernel shows no peer across PID namespaces, so a
//! client in a container is not served through a socket of the machine around it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A connection of which can be told who listens at its other end.
pub(crate) use interprocess::local_socket::traits::StreamCommon as Connected;

use super::{Distrust, Doubt};

/// A socket's surroundings.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The socket, its folder without symbolic links: what was judged is what is connected to.
    pub(crate) socket: PathBuf,
    folder: PathBuf,
    standing: Standing,
    ancestors: Vec<Standing>,
}

/// Whose a folder is and who may change it.
#[derive(Clone, Copy, Debug)]
struct Standing {
    owner: u32,
    mode: u32,
}

impl Place {
    pub(crate) fn of(socket: &Path) -> io::Result<Self> {
        let name = socket.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = match socket.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => fs::canonicalize(parent)?,
            _ => fs::canonicalize(".")?,
        };
        Ok(Self {
            socket: folder.join(name),
            standing: Standing::of(&folder)?,
            ancestors: folder.ancestors().skip(1).map(Standing::of).collect::<io::Result<_>>()?,
            folder,
        })
    }

    /// Whether whoever listens may be believed.
    pub(crate) fn meet(&self, stream: &impl Connected) -> Result<(), Doubt> {
        let peer = match stream.peer_creds() {
            Ok(creds) => creds.euid().ok_or_else(|| Doubt::Unknown(io::ErrorKind::Unsupported.into()))?,
            // interprocess connects without blocking and takes "the queue is full" for "under way"; such a stream has no
            // peer.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Doubt::Crowd),
            Err(error) => return Err(Doubt::Unknown(error)),
        };
        self.judge(peer, rustix::process::geteuid().as_raw()).map_err(Doubt::Distrust)
    }

    /// Whether a listener that runs as `peer` may be believed by a program that runs as `own`.
    fn judge(&self, peer: u32, own: u32) -> Result<(), Distrust> {
        let Standing { owner, mode } = self.standing;
        if self.standing.is_writable_by_others() {
            return Err(Distrust::WritableFolder { folder: self.folder.clone(), owner, mode });
        }
        if peer == own || peer == ROOT || (peer == owner && self.is_given_by_root()) {
            return Ok(());
        }
        Err(Distrust::Stranger { peer, own, folder: self.folder.clone(), owner })
    }

    fn is_given_by_root(&self) -> bool {
        self.ancestors.iter().all(|folder| folder.owner == ROOT && !folder.is_writable_by_others())
    }
}

impl Standing {
    fn of(folder: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(folder)?;
        Ok(Self { owner: metadata.uid(), mode: metadata.mode() & 0o7777 })
    }

    fn is_writable_by_others(self) -> bool {
        self.mode & 0o022 != 0
    }
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const EVE: u32 = 1000;
    const MALLORY: u32 = 1001;
    const SERVICE: u32 = 990;

    fn place(folder: (u32, u32), ancestors: &[(u32, u32)]) -> Place {
        let standing = |(owner, mode)| Standing { owner, mode };
        Place {
            socket: "/folder/tokend.sock".into(),
            folder: "/folder".into(),
            standing: standing(folder),
            ancestors: ancestors.iter().copied().map(standing).collect(),
        }
    }

    fn below_run() -> Place {
        place((SERVICE, 0o755), &[(ROOT, 0o755), (ROOT, 0o755)])
    }

    #[test]
    fn ones_own_daemon_and_roots_are_believed() {
        let private = place((EVE, 0o700), &[(EVE, 0o700), (ROOT, 0o755)]);
        assert_eq!(private.judge(EVE, EVE), Ok(()));
        assert_eq!(private.judge(ROOT, EVE), Ok(()));
    }

    #[test]
    fn a_service_is_believed_where_only_root_could_have_placed_it() {
        assert_eq!(below_run().judge(SERVICE, EVE), Ok(()));
    }

    #[test]
    fn a_stranger_in_the_services_folder_is_not_believed() {
        let folder = PathBuf::from("/folder");
        assert_eq!(
            below_run().judge(MALLORY, EVE),
            Err(Distrust::Stranger { peer: MALLORY, own: EVE, folder, owner: SERVICE })
        );
    }

    #[test]
    fn a_folder_below_tmp_proves_nothing_about_its_owner() {
        let below_tmp = place((MALLORY, 0o755), &[(ROOT, 0o1777), (ROOT, 0o755)]);
        assert!(matches!(below_tmp.judge(MALLORY, EVE), Err(Distrust::Stranger { .. })));
        assert!(matches!(below_tmp.judge(MALLORY, ROOT), Err(Distrust::Stranger { .. })));
    }

    #[test]
    fn a_folder_below_somebodys_home_proves_nothing_to_others() {
        let below_home = place((MALLORY, 0o755), &[(MALLORY, 0o755), (ROOT, 0o755)]);
        assert!(matches!(below_home.judge(MALLORY, EVE), Err(Distrust::Stranger { .. })));
    }

    #[test]
    fn a_group_that_may_write_into_an_ancestor_spoils_it() {
        let loose = place((SERVICE, 0o755), &[(ROOT, 0o775), (ROOT, 0o755)]);
        assert!(matches!(loose.judge(SERVICE, EVE), Err(Distrust::Stranger { .. })));
    }

    #[test]
    fn a_folder_that_others_may_write_in_is_refused_whoever_listens() {
        for mode in [0o777, 0o770, 0o702, 0o1777] {
            let open = place((EVE, mode), &[(ROOT, 0o755)]);
            let why = Distrust::WritableFolder { folder: "/folder".into(), owner: EVE, mode };
            assert_eq!(open.judge(EVE, EVE), Err(why.clone()));
            assert_eq!(open.judge(ROOT, EVE), Err(why));
        }
    }

    #[test]
    fn what_is_judged_is_where_a_symbolic_link_leads() {
        let outer = tempfile::tempdir().unwrap();
        let real = outer.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o777)).unwrap();
        symlink(&real, outer.path().join("link")).unwrap();
        let place = Place::of(&outer.path().join("link/tokend.sock")).unwrap();
        assert_eq!(place.socket, real.join("tokend.sock"));
        assert_eq!(place.standing.mode, 0o777);
        assert_eq!(place.ancestors.len(), real.ancestors().count() - 1);
    }
}
