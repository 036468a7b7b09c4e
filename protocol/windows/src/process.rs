//! Processes: whether one runs, its end, and what this one leaves to its children and to reports of a crash. And how much room a
//! disk has, the one other fact that is asked for by number.

#![expect(unsafe_code, reason = "Windows is asked about processes here")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_TIMEOUT};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetDiskFreeSpaceExW, GetFileType};
use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::ErrorReporting::{WER_FAULT_REPORTING_FLAG_NOHEAP, WerSetFlags};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_ACCESS_RIGHTS, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess,
    WaitForSingleObject,
};

use crate::text::wide;

/// Whether a process runs; one that may not be looked at does.
pub fn is_running(pid: u32) -> bool {
    match open(pid, PROCESS_SYNCHRONIZE) {
        // SAFETY: the handle is ours.
        Ok(process) => unsafe { WaitForSingleObject(process.as_raw_handle(), 0) == WAIT_TIMEOUT },
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Ends a process without a chance to say goodbye; one that has ended by itself is left alone.
pub fn kill(pid: u32) {
    if let Ok(process) = open(pid, PROCESS_TERMINATE) {
        // SAFETY: the handle is ours.
        unsafe { TerminateProcess(process.as_raw_handle(), 1) };
    }
}

fn open(pid: u32, rights: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    // SAFETY: the call takes numbers.
    let process = unsafe { OpenProcess(rights, 0, pid) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has just been opened for us.
    Ok(unsafe { OwnedHandle::from_raw_handle(process) })
}

/// Keeps this process's own stdin, stdout and stderr from the children that it starts from now on: they have those that they are
/// given, and do not hold open what a shell or a job waits for.
pub fn keep_handles_from_children() {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    for handle in [stdin.as_handle(), stdout.as_handle(), stderr.as_handle()] {
        // SAFETY: it is borrowed, or none, which is refused.
        unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, 0) };
    }
}

/// Whether this leads into another program.
pub fn is_pipe(file: impl AsHandle) -> bool {
    // SAFETY: the handle is borrowed.
    unsafe { GetFileType(file.as_handle().as_raw_handle()) == FILE_TYPE_PIPE }
}

/// No window waits for somebody to confirm a crash, and what Windows reports of one has nothing of the heap.
///
/// # Errors
/// What Windows says.
pub fn keep_memory_from_reports() -> io::Result<()> {
    // SAFETY: the call takes a number.
    unsafe { SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX) };
    // SAFETY: so does this one.
    match unsafe { WerSetFlags(WER_FAULT_REPORTING_FLAG_NOHEAP) } {
        0 => Ok(()),
        refused => Err(io::Error::other(format!("WerSetFlags: {refused:#x}"))),
    }
}

/// How many bytes this user can still write in a folder.
///
/// # Errors
/// What Windows says.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let folder = wide(folder)?;
    let mut free = 0;
    // SAFETY: the name ends with a zero, and the place is one for a number.
    let is_told = unsafe { GetDiskFreeSpaceExW(folder.as_ptr(), &raw mut free, null_mut(), null_mut()) };
    if is_told == 0 { Err(io::Error::last_os_error()) } else { Ok(free) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_runs_until_it_is_ended() {
        assert!(is_running(std::process::id()));
        let mut child = Command::new("cmd.exe")
            .args(["/c", "pause"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(is_running(child.id()));
        kill(child.id());
        child.wait().unwrap();
        assert!(!is_running(child.id()));
    }

    #[test]
    fn there_is_room_on_the_disk() {
        assert!(free_space(&std::env::temp_dir()).unwrap() > 0);
        assert!(free_space(Path::new("C:\\no\\such\\folder")).is_err());
    }
}
