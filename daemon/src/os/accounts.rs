//! Users and groups by their names, as the system's name service knows them.

use nix::unistd::{Group, User};

use crate::principal::Principal;

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user.
    pub user: Principal,
    /// The groups that a caller of this user is known to be in, the user's own first; on macOS that is the only one.
    pub groups: Vec<Principal>,
}

/// The user with this name, or, where nobody has it, with this number.
pub fn account(named: &str) -> Option<Account> {
    let by_name = User::from_name(named).ok().flatten();
    let user = by_name.or_else(|| User::from_uid(named.parse::<u32>().ok()?.into()).ok().flatten());
    let Some(user) = user else {
        let uid: u32 = named.parse().ok()?;
        return Some(Account { name: named.to_owned(), user: Principal::from(uid), groups: Vec::new() });
    };
    let own = user.gid.as_raw();
    let others = other_groups(&user).into_iter().filter(|group| *group != own);
    let groups = std::iter::once(own).chain(others).map(Principal::from).collect();
    Some(Account { name: user.name, user: user.uid.as_raw().into(), groups })
}

#[cfg(not(target_vendor = "apple"))]
fn other_groups(user: &User) -> Vec<u32> {
    let Ok(name) = std::ffi::CString::new(user.name.as_str()) else { return Vec::new() };
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
}

/// The kernel tells no others of a caller.
#[cfg(target_vendor = "apple")]
fn other_groups(_: &User) -> Vec<u32> {
    Vec::new()
}

/// The number of the group with this name, or with this number.
pub fn group(named: &str) -> Option<Principal> {
    let by_name = Group::from_name(named).ok().flatten().map(|group| group.gid.as_raw());
    by_name.or_else(|| named.parse().ok()).map(Principal::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let root = account("root").unwrap();
        let zero = Principal::from(0);
        assert_eq!((&root.user, root.groups.first()), (&zero, Some(&zero)));
        assert_eq!(account("0"), Some(root));
        let nobody =
            Account { name: "4000000000".to_owned(), user: 4_000_000_000.into(), groups: Vec::new() };
        assert_eq!(account("4000000000"), Some(nobody), "a number needs no name");
        assert_eq!((account("no such user"), account("a\0b")), (None, None));
        assert_eq!((group("0"), group("no such group")), (Some(zero), None));
    }
}
