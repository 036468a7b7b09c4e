//! Whether somebody else could change what the daemon goes by: its configuration file and the folder that this stands in. For who looks
//! in the daemon's place (root at the service's), also whether the daemon could read it.
//!
//! Whoever can write there decides who is served and which program runs. Links are followed, and what they lead to is judged too. The
//! folders above are not judged; `doctor` looks at them. A group is as good as a user where nobody else is in it (user private groups,
//! with an umask of 002); root's files are root's alone.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use rustix::process::geteuid;
use thiserror::Error;

use super::account;
use crate::principal::Principal;

/// Why a configuration is not gone by.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Unfit {
    /// By its owner.
    #[error(
        "{path} belongs to user {owner}, who could change the configuration, and must belong to user {own} or to root: \
         sudo chown {wanted} '{path}'",
        path = .path.display()
    )]
    ByOwner {
        /// A file or a folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The user that the daemon runs as.
        own: u32,
        /// Whose it should be: as what it stands in.
        wanted: u32,
    },
    /// By its mode.
    #[error(
        "{path} has mode {mode:04o}, so that others than its owner could change the configuration: chmod go-w '{path}'",
        path = .path.display()
    )]
    ByMode {
        /// A file or a folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is closed to the daemon.
    #[error("{path} has mode {mode:04o}, so that user {own}, as whom the daemon runs, cannot read it: chmod a+rX '{path}'", path = .path.display())]
    Closed {
        /// A file or a folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The user that the daemon runs as.
        own: u32,
    },
}

/// Judges a configuration file and its folder, for a daemon of the user `own`. What is not there is nobody's to judge.
///
/// # Errors
/// Who could change it, or why the daemon cannot read it, with what to type; or that it cannot be looked at.
pub fn judge_settings(file: &Path, own: u32) -> io::Result<()> {
    let is_another = own != geteuid().as_raw();
    // A name service may take its time, and the daemon itself has no need of it.
    let groups = if is_another { account(&own.to_string()) } else { None };
    let groups = groups.map(|account| account.groups).unwrap_or_default();
    let real = fs::canonicalize(file).ok();
    // What is no name in a file system (a pipe by way of /dev/fd) leads nowhere else.
    for file in [Some(file), real.as_deref()].into_iter().flatten() {
        for path in file.parent().into_iter().chain([file]) {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let metadata = match fs::metadata(path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let facts = Facts::of(path, &metadata);
            judge(path, facts, own, is_private).map_err(io::Error::other)?;
            if is_another {
                judge_access(path, facts, own, &groups, metadata.is_dir()).map_err(io::Error::other)?;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
    /// What is read from it is not kept in it, as with /dev/null.
    is_device: bool,
    has_access_list: bool,
    /// Of what it stands in.
    owner_above: Option<u32>,
}

impl Facts {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
            is_device: metadata.file_type().is_char_device(),
            has_access_list: has_access_list(path),
            owner_above: path.parent().and_then(|above| Some(fs::metadata(above).ok()?.uid())),
        }
    }
}

fn judge(path: &Path, facts: Facts, own: u32, is_private: impl Fn(u32, u32) -> bool) -> Result<(), Unfit> {
    let Facts { owner, group, mode, .. } = facts;
    if facts.is_device {
        return Ok(());
    }
    if owner != own && owner != 0 {
        let wanted = if facts.owner_above == Some(0) { 0 } else { own };
        return Err(Unfit::ByOwner { path: path.to_owned(), owner, own, wanted });
    }
    // With an access list, the group's bits are what it grants at most, to whomever it names.
    let by_group = mode & 0o020 != 0
        && (owner == 0 || owner != own || facts.has_access_list || !is_private(group, owner));
    if mode & 0o002 != 0 || by_group {
        return Err(Unfit::ByMode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Whether the daemon's user gets at it. What an access list grants is not known.
fn judge_access(
    path: &Path,
    facts: Facts,
    own: u32,
    groups: &[Principal],
    is_folder: bool,
) -> Result<(), Unfit> {
    let Facts { owner, group, mode, .. } = facts;
    let wanted = if is_folder { 0o1 } else { 0o4 };
    let granted = match (owner == own, groups.contains(&Principal::from(group))) {
        (true, _) => mode >> 6,
        (false, true) => mode >> 3,
        (false, false) => mode,
    };
    if own == 0 || facts.has_access_list || granted & wanted != 0 {
        return Ok(());
    }
    Err(Unfit::Closed { path: path.to_owned(), mode, own })
}

/// Whether nobody else is in the group: it has the user's name, is the user's first, and has no other members.
fn is_private(group: u32, user: u32) -> bool {
    let user = User::from_uid(user.into()).ok().flatten();
    let group = Group::from_gid(group.into()).ok().flatten();
    let (Some(user), Some(group)) = (user, group) else { return false };
    user.gid == group.gid && user.name == group.name && group.mem.iter().all(|member| *member == user.name)
}

#[cfg(target_os = "linux")]
fn has_access_list(path: &Path) -> bool {
    let mut nothing: [u8; 0] = [];
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing).is_ok_and(|length| length > 0)
}

#[cfg(not(target_os = "linux"))]
fn has_access_list(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const OWN: u32 = 1000;
    const GOOD: Facts = Facts {
        owner: OWN,
        group: OWN,
        mode: 0o644,
        is_device: false,
        has_access_list: false,
        owner_above: Some(OWN),
    };

    #[rstest]
    #[case::ours(GOOD, true)]
    #[case::roots(Facts { owner: 0, group: 0, ..GOOD }, true)]
    #[case::a_strangers(Facts { owner: 7, ..GOOD }, false)]
    #[case::everybodys(Facts { mode: 0o646, ..GOOD }, false)]
    #[case::sticky(Facts { owner: 0, mode: 0o1777, ..GOOD }, false)]
    #[case::our_own_group(Facts { mode: 0o2775, ..GOOD }, true)]
    #[case::our_own_group_and_a_list(Facts { mode: 0o664, has_access_list: true, ..GOOD }, false)]
    #[case::a_group_of_many(Facts { mode: 0o664, group: 100, ..GOOD }, false)]
    #[case::roots_for_our_group(Facts { mode: 0o664, owner: 0, ..GOOD }, false)]
    #[case::dev_null(Facts { owner: 0, mode: 0o666, is_device: true, ..GOOD }, true)]
    fn who_else_could_change_it_is_told_by_owner_and_mode(#[case] facts: Facts, #[case] is_good: bool) {
        let judged = judge(Path::new("/c"), facts, OWN, |group, user| group == OWN && user == OWN);
        assert_eq!(judged.is_ok(), is_good, "{judged:?}");
    }

    #[rstest]
    #[case::everybodys(Facts { owner: 0, ..GOOD }, false, true)]
    #[case::nobodys(Facts { owner: 0, mode: 0, ..GOOD }, false, false)]
    #[case::roots_alone(Facts { owner: 0, mode: 0o600, ..GOOD }, false, false)]
    #[case::its_groups(Facts { owner: 0, mode: 0o640, ..GOOD }, false, true)]
    #[case::another_groups(Facts { owner: 0, mode: 0o640, group: 7, ..GOOD }, false, false)]
    #[case::its_own(Facts { mode: 0o600, ..GOOD }, false, true)]
    #[case::its_own_and_closed_to_it(Facts { mode: 0o044, ..GOOD }, false, false)]
    #[case::a_list(Facts { owner: 0, mode: 0o600, has_access_list: true, ..GOOD }, false, true)]
    #[case::a_folder_to_pass(Facts { owner: 0, mode: 0o711, ..GOOD }, true, true)]
    #[case::a_closed_folder(Facts { owner: 0, mode: 0o700, ..GOOD }, true, false)]
    fn what_the_daemon_itself_cannot_read_is_told_to_who_can(
        #[case] facts: Facts,
        #[case] is_folder: bool,
        #[case] is_good: bool,
    ) {
        let judged = judge_access(Path::new("/c"), facts, OWN, &[Principal::from(OWN)], is_folder);
        assert_eq!(judged.is_ok(), is_good, "{judged:?}");
    }

    #[test]
    fn what_is_given_back_goes_to_whose_the_place_is() {
        let told = |above| {
            let facts = Facts { owner: 7, owner_above: Some(above), ..GOOD };
            judge(Path::new("/c"), facts, OWN, |_, _| false).unwrap_err().to_string()
        };
        assert!(told(0).ends_with("sudo chown 0 '/c'"), "{}", told(0));
        assert!(told(OWN).ends_with("sudo chown 1000 '/c'"), "{}", told(OWN));
    }

    #[test]
    fn links_are_followed_and_folders_are_looked_at() {
        let own = geteuid().as_raw();
        let root = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| root.path().join(name));
        for folder in [&here, &there] {
            fs::create_dir(folder).unwrap();
            set_mode(folder, 0o755);
        }
        let (link, file) = (here.join("config.toml"), there.join("mine.toml"));
        assert!(judge_settings(&link, own).is_ok(), "there is none");
        fs::write(&file, "").unwrap();
        set_mode(&file, 0o644);
        symlink(&file, &link).unwrap();
        assert!(judge_settings(&link, own).is_ok());
        for (path, bad, good) in [(&here, 0o757, 0o755), (&there, 0o1777, 0o755), (&file, 0o666, 0o644)] {
            set_mode(path, bad);
            let told = judge_settings(&link, own).unwrap_err().to_string();
            assert!(told.contains(&format!("mode {bad:04o}")) && told.contains("chmod go-w"), "{told}");
            set_mode(path, good);
        }
        fs::remove_file(&link).unwrap();
        set_mode(&here, 0o777);
        assert!(judge_settings(&link, own).is_err(), "anybody could put one there");
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}
