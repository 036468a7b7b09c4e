//! A page of memory that is not written to the disk.

#![expect(unsafe_code, reason = "a page of memory is asked for and given back here")]

use std::ptr::{NonNull, null};

use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc, VirtualFree, VirtualLock,
};

/// A page that is nobody else's, zeroed when it comes.
#[derive(Debug)]
pub struct Page {
    start: NonNull<[u8; Page::LENGTH]>,
    is_locked: bool,
}

// SAFETY: the page belongs to this value alone, wherever that goes.
unsafe impl Send for Page {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Page {}

impl Page {
    /// In bytes: the least that Windows gives.
    pub const LENGTH: usize = 4096;

    /// `None` where Windows has none to give.
    pub fn new() -> Option<Self> {
        // SAFETY: Windows chooses an address at which nothing is.
        let start = unsafe { VirtualAlloc(null(), Self::LENGTH, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) };
        let start: NonNull<[u8; Self::LENGTH]> = NonNull::new(start.cast())?;
        // SAFETY: all of it is ours.
        let is_locked = unsafe { VirtualLock(start.as_ptr().cast(), Self::LENGTH) } != 0;
        Some(Self { start, is_locked })
    }

    /// Whether it stays out of the page file.
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8; Self::LENGTH] {
        // SAFETY: it is ours, so long, aligned, initialised by Windows, and borrowed with `self`.
        unsafe { self.start.as_ref() }
    }

    /// What is in it, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8; Self::LENGTH] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { self.start.as_mut() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: it was allocated by us, and nothing borrows from it any more. A failure leaves a page behind that was wiped.
        let _ = unsafe { VirtualFree(self.start.as_ptr().cast(), 0, MEM_RELEASE) };
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "to panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_zeroed_and_holds_what_is_put_there() {
        let mut page = Page::new().unwrap();
        assert!(page.bytes().iter().all(|byte| *byte == 0));
        page.bytes_mut()[7] = 7;
        assert_eq!(page.bytes()[7], 7);
        assert!(page.is_locked());
    }
}
