//! Users and groups by their names, as the system's name service knows them.

use std::ffi::CString;

use crate::principal::Principal;
use nix::unistd::{Gid, Group, User, getgrouplist};

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user.
    pub user: Principal,
    /// The groups, the user's own first.
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
    let mut groups = vec![user.gid.as_raw()];
    if let Ok(name) = CString::new(user.name.as_str()) {
        let others = getgrouplist(&name, user.gid).unwrap_or_default().into_iter().map(Gid::as_raw);
        groups.extend(others.filter(|group| *group != user.gid.as_raw()));
    }
    let groups = groups.into_iter().map(Principal::from).collect();
    Some(Account { name: user.name, user: user.uid.as_raw().into(), groups })
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
