//! Identities, from access tokens: this process's own, and that of whoever is at the other end of a pipe.
//!
//! The latter is taken by impersonating the client for the moment of one look, and is what Windows noted when the client opened
//! the pipe. A client that forbids even that (anonymous level), or that asked to be looked at with each message instead
//! (dynamic tracking) and has sent none, has no identity.

#![expect(unsafe_code, reason = "access tokens are opened and read here")]

use std::io;
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle};
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, HANDLE};
use windows_sys::Win32::Security::{
    GetTokenInformation, RevertToSelf, SID_AND_ATTRIBUTES, TOKEN_GROUPS, TOKEN_INFORMATION_CLASS,
    TOKEN_QUERY, TOKEN_USER, TokenGroups, TokenUser,
};
use windows_sys::Win32::System::Pipes::ImpersonateNamedPipeClient;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcessToken, OpenThreadToken,
};

use crate::sid::Sid;

/// Who somebody is, and what that somebody belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Sid,
    /// The groups that count for this token. A group that only ever denies does not: an administrator who has not confirmed it
    /// is none.
    pub groups: Vec<Sid>,
}

/// As whom this process runs.
///
/// # Errors
/// What Windows says.
pub fn own_identity() -> io::Result<Identity> {
    let mut token = null_mut();
    // SAFETY: the handle of this process is always good, and the other is written where it may be.
    taken(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) }, token)
        .and_then(|token| Identity::of(&token))
}

/// Who opened the other end of this pipe, of which this process has the server's end.
///
/// The thread is the client for the moment; nothing else is done meanwhile.
///
/// # Errors
/// What Windows says, also where the client allows nobody to know who it is.
pub fn identity_of_client(pipe: BorrowedHandle<'_>) -> io::Result<Identity> {
    let token = {
        // SAFETY: the caller has borrowed the handle.
        if unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let _until_here = Impersonation;
        let mut token = null_mut();
        // SAFETY: the handle of this thread is always good, and the other is written where it may be. It is opened with the
        // rights of the process, for the client's may not suffice.
        taken(unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) }, token)
    };
    Identity::of(&token?)
}

/// Ends when it is dropped.
struct Impersonation;

impl Drop for Impersonation {
    fn drop(&mut self) {
        // SAFETY: the call takes nothing.
        if unsafe { RevertToSelf() } == 0 {
            // To go on as somebody else would be worse than anything.
            std::process::abort();
        }
    }
}

/// A handle that Windows gave, or its error.
fn taken(outcome: i32, handle: HANDLE) -> io::Result<OwnedHandle> {
    if outcome == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has just been made for us.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

impl Identity {
    fn of(token: &OwnedHandle) -> io::Result<Self> {
        let user = information(token, TokenUser)?;
        // SAFETY: it holds what was asked for, and is aligned for it; the SID lies in it.
        let user = unsafe { Sid::of_raw((*user.as_ptr().cast::<TOKEN_USER>()).User.Sid)? };
        let groups = information(token, TokenGroups)?;
        let groups = groups.as_ptr().cast::<TOKEN_GROUPS>();
        // SAFETY: as above; so many follow each other from there on.
        let groups: &[SID_AND_ATTRIBUTES] = unsafe {
            std::slice::from_raw_parts((&raw const (*groups).Groups).cast(), (*groups).GroupCount as usize)
        };
        let counting = groups.iter().filter(|group| group.Attributes & (ENABLED | ONLY_DENIES) == ENABLED);
        // SAFETY: each of them points to a SID within what was read.
        let groups = counting.map(|group| unsafe { Sid::of_raw(group.Sid) }).collect::<io::Result<_>>()?;
        Ok(Self { user, groups })
    }
}

/// What a token says of itself, aligned for any structure.
fn information(token: &OwnedHandle, what: TOKEN_INFORMATION_CLASS) -> io::Result<Vec<u64>> {
    let mut told = vec![0_u64; 128];
    loop {
        let room = u32::try_from(told.len() * size_of::<u64>()).map_err(io::Error::other)?;
        let mut needed = 0;
        // SAFETY: no more is written than there is room.
        let is_told = unsafe {
            GetTokenInformation(token.as_raw_handle(), what, told.as_mut_ptr().cast(), room, &raw mut needed)
        };
        if is_told != 0 {
            return Ok(told);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) || needed <= room {
            return Err(error);
        }
        told.resize((needed as usize).div_ceil(size_of::<u64>()), 0);
    }
}

/// `SE_GROUP_ENABLED`.
const ENABLED: u32 = 0x4;
/// `SE_GROUP_USE_FOR_DENY_ONLY`.
const ONLY_DENIES: u32 = 0x10;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_as_somebody_who_is_in_groups() {
        let own = own_identity().unwrap();
        assert!(own.user.to_string().starts_with("S-1-5-"), "{own:?}");
        let everybody = Sid::of_text("S-1-1-0").unwrap();
        assert!(own.groups.contains(&everybody), "{own:?}");
        assert!(!own.groups.contains(&own.user));
    }
}
