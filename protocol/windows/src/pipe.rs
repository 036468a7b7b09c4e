//! The client's end of a named pipe: opened so that whoever listens may see who we are and nothing more, and, for programs
//! without a runtime, read and written with time limits.

#![expect(unsafe_code, reason = "a pipe is read and written here so that it can be given up")]

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{
    AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle, RawHandle,
};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_OVERLAPPED, ReadFile, SECURITY_IDENTIFICATION, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, WaitForSingleObject};

use crate::security::PIPE_ACCESS;

/// Connects. Whoever listens may learn who we are, but not act as us (`SECURITY_IDENTIFICATION`).
///
/// # Errors
/// What Windows says: [`io::ErrorKind::NotFound`] where nobody listens; `ERROR_PIPE_BUSY` where as many as there is room for are
/// connected already.
pub fn connect(pipe: &Path) -> io::Result<OwnedHandle> {
    OpenOptions::new()
        .access_mode(PIPE_ACCESS)
        .share_mode(0)
        .custom_flags(FILE_FLAG_OVERLAPPED)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(pipe)
        .map(OwnedHandle::from)
}

/// Whether the other end of a pipe is closed and has left nothing to read.
pub fn pipe_is_closed(pipe: BorrowedHandle<'_>) -> bool {
    // SAFETY: the handle is borrowed, and nothing is asked for.
    let is_open =
        unsafe { PeekNamedPipe(pipe.as_raw_handle(), null_mut(), 0, null_mut(), null_mut(), null_mut()) };
    is_open == 0
}

/// A connection whose reads and writes end after a while.
#[derive(Debug)]
pub struct Stream {
    pipe: OwnedHandle,
    done: OwnedHandle,
    limit: Option<Duration>,
}

impl Stream {
    /// Of what [`connect`] gave.
    ///
    /// # Errors
    /// What Windows says.
    pub fn new(pipe: OwnedHandle) -> io::Result<Self> {
        // SAFETY: nothing is pointed to.
        let done = unsafe { CreateEventW(null(), 1, 0, null()) };
        if done.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it has just been made for us.
        Ok(Self { pipe, done: unsafe { OwnedHandle::from_raw_handle(done) }, limit: None })
    }

    /// For how long each read and each write may wait: [`io::ErrorKind::TimedOut`] then, and what was written before it is not
    /// told.
    pub fn set_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
    }

    /// Begins one operation, and waits until it has ended or was given up.
    fn transfer(&self, begin: impl FnOnce(RawHandle, *mut OVERLAPPED) -> i32) -> io::Result<usize> {
        let mut operation = OVERLAPPED { hEvent: self.done.as_raw_handle(), ..OVERLAPPED::default() };
        let pipe = self.pipe.as_raw_handle();
        if begin(pipe, &raw mut operation) == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
                return Err(error);
            }
        }
        let limit = self.limit.map_or(INFINITE, |limit| {
            // Rounded up, and never what means for ever.
            u32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE).min(INFINITE - 1)
        });
        // SAFETY: the event is ours.
        if unsafe { WaitForSingleObject(self.done.as_raw_handle(), limit) } == WAIT_TIMEOUT {
            // SAFETY: it has ended, or is the one that was begun. Where it has ended nothing happens.
            unsafe { CancelIoEx(pipe, &raw const operation) };
        }
        let mut count = 0;
        // SAFETY: it waits until the operation has really ended: nothing writes to `operation` or the buffer after this.
        if unsafe { GetOverlappedResult(pipe, &raw const operation, &raw mut count, 1) } != 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(ERROR_OPERATION_ABORTED.cast_signed()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Err(error)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let read = self.transfer(|pipe, operation| {
            // SAFETY: no more is read than there is room, and `transfer` holds on to both until it is over.
            unsafe { ReadFile(pipe, buffer.as_mut_ptr(), room, null_mut(), operation) }
        });
        let is_end = |error: &io::Error| {
            [ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED]
                .map(u32::cast_signed)
                .map(Some)
                .contains(&error.raw_os_error())
        };
        match read {
            Err(error) if is_end(&error) => Ok(0),
            read => read,
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.transfer(|pipe, operation| {
            // SAFETY: no more is written than there is, and `transfer` holds on to both until it is over.
            unsafe { WriteFile(pipe, bytes.as_ptr(), length, null_mut(), operation) }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsHandle for Stream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.pipe.as_handle()
    }
}
