//! Windows: accounts and callers by their SIDs, folders with access lists of their own. All that is asked without safety is in
//! the crate for it.

use std::io;
use std::os::windows::io::BorrowedHandle;
use std::path::{Path, PathBuf};

use procurify_token_windows::{
    Grants, Security, Sid, changeable_by_others, closing, identity_of_client, make_folder, own_identity,
};

use super::Identity;
use crate::principal::Principal;

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user.
    pub user: Principal,
    /// The groups: none, for they are known only of whoever has signed in.
    pub groups: Vec<Principal>,
}

/// The user with this name or SID.
pub fn account(named: &str) -> Option<Account> {
    let user = group(named)?;
    Some(Account { name: named.to_owned(), user, groups: Vec::new() })
}

/// The group with this name or SID.
pub fn group(named: &str) -> Option<Principal> {
    Sid::of_text(named).or_else(|| Sid::of_account(named).ok()).map(Principal::from)
}

/// The user as whom the daemon runs.
///
/// # Panics
/// Where Windows does not tell a process who it is, which does not happen.
pub fn effective_user() -> Principal {
    own_identity().expect("a process may look at its own token").user.into()
}

/// Asks the kernel who connected. The process is taken as it is told.
///
/// # Errors
/// What the kernel says.
pub fn identify(pipe: BorrowedHandle<'_>, pid: Option<i32>) -> io::Result<Identity> {
    let told = identity_of_client(pipe)?;
    let groups = told.groups.into_iter().map(Principal::from).collect();
    Ok(Identity { user: Some(told.user.into()), pid, groups })
}

/// What is made has an access list of its own instead.
pub fn restrict_file_modes() {}

/// A report of a crash shows nothing of the heap. Another process of the same user can read this one's memory all the same.
///
/// # Errors
/// What Windows says.
pub fn forbid_core_dumps() -> io::Result<()> {
    procurify_token_windows::keep_memory_from_reports()
}

/// Whoever waits at the other end is told by the line, and does not wait for the end: there is no way to close it safely.
///
/// # Errors
/// Never.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
pub fn close_standard_output() -> io::Result<()> {
    Ok(())
}

/// There is no journal.
pub fn stderr_is_journal() -> bool {
    false
}

/// Makes a folder that is its user's alone, or checks that nobody else can change what is in an existing one.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] with whoever could put something in.
pub fn make_private_folder(folder: &Path, _: bool) -> io::Result<()> {
    let own = own_identity()?.user;
    let missing: Vec<_> = folder.ancestors().take_while(|above| !above.exists()).collect();
    for folder in missing.into_iter().rev() {
        match make_folder(folder, &own, "") {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let security = Security::of_path(folder)?;
    let stranger = security.stranger(&own, Grants::writing);
    stranger.map_or(Ok(()), |who| {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{who} may write in {}; close it: {}", folder.display(), closing(folder)),
        ))
    })
}

/// Makes a folder of the system's where there is none: SYSTEM's and the administrators' alone, or of this process's own user where
/// that is neither. The one above it is made like it.
///
/// # Errors
/// What Windows says, naming the folder.
pub fn make_system_folder(folder: &Path) -> io::Result<()> {
    let own = own_identity()?;
    let is_mighty = own.user.is_system() || own.groups.iter().any(Sid::is_administrators);
    let owner = if is_mighty { Sid::administrators() } else { own.user };
    for folder in folder.parent().into_iter().chain([folder]) {
        match make_folder(folder, &owner, "") {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let why = format!("cannot make the folder {}: {error}", folder.display());
                return Err(io::Error::new(error.kind(), why));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether nobody but SYSTEM, the administrators and this process's own user could change a file or folder or exchange it, all the
/// folders above it included. What is not there passes.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] with whoever could change what, and how it is closed to them; and what Windows says.
pub fn judge_way(path: &Path) -> io::Result<()> {
    let own = own_identity()?.user;
    changeable_by_others(path, &own)?.map_or(Ok(()), |weak| {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{weak}, and nobody may but SYSTEM and the administrators. Whoever may could have put something in: look at what \
                 is there; what is not yours has to go. Then, as an administrator: {}",
                weak.closing()
            ),
        ))
    })
}

/// A pipe is in no folder.
pub fn closed_to_others(_: &Path) -> Option<PathBuf> {
    None
}

/// There is no limit that matters.
pub fn raise_descriptor_limit() -> Option<u64> {
    None
}

/// Nobody's are looked at.
pub fn may_look_into_others() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_sid() {
        let system = account("SYSTEM").unwrap();
        assert!(system.user.is_superuser());
        assert_eq!(account("S-1-5-18").unwrap().user, system.user);
        assert!(group("Administrators").unwrap().is_group_of_superusers());
        assert_eq!((account("no such user"), group("a\0b")), (None, None));
    }

    #[test]
    fn whoever_may_write_beside_us_is_a_stranger() {
        let own = own_identity().unwrap().user;
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("a").join("b");
        make_private_folder(&ours, false).unwrap();
        let security = Security::of_path(&ours).unwrap();
        assert_eq!(security.stranger(&own, Grants::writing), None, "{security:?}");
        assert_eq!(security.stranger(&own, Grants::reading), None, "{security:?}");
        let theirs = Security { owner: Sid::of_text("S-1-5-21-1-2-3-4").unwrap(), ..security };
        assert!(theirs.stranger(&own, Grants::writing).is_some());
    }

    #[test]
    fn what_is_made_for_the_system_passes() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        make_system_folder(&ours.join("config")).unwrap();
        make_system_folder(&ours.join("data")).unwrap();
        judge_way(&ours.join("config").join("config.toml")).unwrap();
        judge_way(&ours.join("data")).unwrap();
    }
}
