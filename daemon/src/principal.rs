//! Users and groups as the system knows them: a number on Unix, a SID on Windows. What one of them may do is not known here.

use std::fmt;

#[cfg(unix)]
type Id = u32;
#[cfg(windows)]
type Id = procurify_token_windows::Sid;

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Id);

impl From<Id> for Principal {
    fn from(id: Id) -> Self {
        Self(id)
    }
}

#[cfg(unix)]
impl Principal {
    /// The number, where the system has numbers.
    pub fn uid(&self) -> Option<u32> {
        Some(self.0)
    }

    /// The SID, where the system has them.
    pub fn sid(&self) -> Option<String> {
        None
    }

    /// Whether this user could do everything anyway: root.
    pub fn is_superuser(&self) -> bool {
        self.0 == 0
    }

    /// Whether whoever is in this group could do everything anyway; there is no such group.
    pub fn is_group_of_superusers(&self) -> bool {
        false
    }
}

#[cfg(windows)]
impl Principal {
    /// The number, where the system has numbers.
    pub fn uid(&self) -> Option<u32> {
        None
    }

    /// The SID, where the system has them.
    pub fn sid(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    /// Whether this user could do everything anyway: SYSTEM.
    pub fn is_superuser(&self) -> bool {
        self.0.is_system()
    }

    /// Whether whoever is in this group could do everything anyway: the administrators.
    pub fn is_group_of_superusers(&self) -> bool {
        self.0.is_administrators()
    }

    /// The SID.
    pub fn as_sid(&self) -> &procurify_token_windows::Sid {
        &self.0
    }
}

/// For tests: somebody who has this number in one way or another; 0 could do everything anyway.
#[cfg(any(test, fuzzing))]
impl Principal {
    /// Somebody.
    pub fn numbered(number: u32) -> Self {
        #[cfg(unix)]
        return Self(number);
        #[cfg(windows)]
        {
            let text = if number == 0 { "S-1-5-18".to_owned() } else { format!("S-1-5-21-1-2-3-{number}") };
            Self(Id::of_text(&text).expect("this is a SID"))
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
