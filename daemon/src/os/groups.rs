//! The supplementary groups of whoever connected: `SO_PEERGROUPS` (socket(7)), which no safe binding has.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "one socket option is read here"))]

use std::io;
use std::os::fd::RawFd;

/// The groups at the time of connecting, whatever became of the process since.
#[cfg(target_os = "linux")]
pub(super) fn supplementary(socket: RawFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let size = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
        // SAFETY: the kernel writes no more than `length` bytes, which is what the vector holds, and any bytes are numbers. The
        // caller has borrowed the socket.
        let outcome = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if outcome == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Where they do not fit, the kernel says how many there are.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}
