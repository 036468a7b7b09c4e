//! SIDs, in the form that they are shown in: it is the same for the same account, whatever the account is called.

#![expect(unsafe_code, reason = "Windows is asked for names and texts of SIDs here")]

use std::fmt;
use std::io;
use std::ptr::null;
use std::sync::Arc;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::ConvertSidToStringSidW;
use windows_sys::Win32::Security::{LookupAccountNameW, PSID};

use crate::text::wide;

/// Who somebody is: a user, a group, or one of those that are everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sid(Arc<str>);

impl Sid {
    /// One that is written as it is shown, `S-1-…`; none where it is not.
    pub fn of_text(text: &str) -> Option<Self> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = text.strip_prefix("S-1-")?;
        (parts.contains('-') && parts.split('-').all(is_number)).then(|| Self(text.into()))
    }

    /// That of the user or group with this name, as this system or its domain knows it. Blocks on a domain controller.
    ///
    /// # Errors
    /// What Windows says; most often that nobody has that name.
    pub fn of_account(name: &str) -> io::Result<Self> {
        let name = wide(name)?;
        let (mut sid, mut domain) = ([0_u64; 16], [0_u16; 256]);
        let (mut sid_length, mut domain_length, mut kind) = (128_u32, 256_u32, 0);
        // SAFETY: the name ends with a zero; each place is as long as its length says, and a SID has 68 bytes at most.
        let is_found = unsafe {
            LookupAccountNameW(
                null(),
                name.as_ptr(),
                sid.as_mut_ptr().cast(),
                &raw mut sid_length,
                domain.as_mut_ptr(),
                &raw mut domain_length,
                &raw mut kind,
            )
        };
        if is_found == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: Windows has just written a SID there.
        unsafe { Self::of_raw(sid.as_mut_ptr().cast()) }
    }

    /// SYSTEM, as whom services run that are to be able to do everything.
    pub fn is_system(&self) -> bool {
        &*self.0 == SYSTEM
    }

    /// The group of those who administer the machine.
    pub fn is_administrators(&self) -> bool {
        &*self.0 == ADMINISTRATORS
    }

    /// The group of those who administer the machine.
    pub fn administrators() -> Self {
        Self(ADMINISTRATORS.into())
    }

    /// Windows's own installer (`TrustedInstaller`), to whom what comes with Windows belongs.
    pub fn is_installer(&self) -> bool {
        &*self.0 == INSTALLER
    }

    /// Whoever owns the thing in whose access list this stands.
    pub fn is_owner(&self) -> bool {
        &*self.0 == OWNER_RIGHTS
    }

    /// Everybody.
    pub(crate) fn everybody() -> Self {
        Self(EVERYBODY.into())
    }

    /// # Safety
    /// What it points to is a SID.
    pub(crate) unsafe fn of_raw(sid: PSID) -> io::Result<Self> {
        let mut text = std::ptr::null_mut();
        // SAFETY: the caller says that it is a SID; a text is allocated for us.
        if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it ends with a zero.
        let length = (0..).take_while(|at| unsafe { *text.add(*at) } != 0).count();
        // SAFETY: so much of it was just read.
        let told = String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) });
        // SAFETY: it was allocated for us, and nothing borrows from it any more.
        unsafe { LocalFree(text.cast()) };
        Ok(Self(told.into()))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) const SYSTEM: &str = "S-1-5-18";
pub(crate) const ADMINISTRATORS: &str = "S-1-5-32-544";
pub(crate) const INSTALLER: &str = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
const OWNER_RIGHTS: &str = "S-1-3-4";
const EVERYBODY: &str = "S-1-1-0";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name() {
        assert!(Sid::of_account("SYSTEM").unwrap().is_system());
        assert!(Sid::of_account("Administrators").unwrap().is_administrators());
        assert!(Sid::of_account("no such user").is_err());
    }

    #[test]
    fn a_sid_is_written_as_it_is_shown() {
        assert_eq!(Sid::of_text("S-1-5-18").unwrap().to_string(), "S-1-5-18");
        for text in ["", "S-1-", "S-1-5", "s-1-5-18", "S-1-5-18-", "S-1-5-x", "eve"] {
            assert_eq!(Sid::of_text(text), None, "{text}");
        }
    }
}
